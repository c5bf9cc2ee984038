//! `gatemint site`

use clap::Subcommand;
use serde_json::json;

use super::{
    CliError, Global,
    door::{Door, OPERATOR, all_pages},
    output,
};
use crate::{
    domain::access::site::{self, NewSite, SitePatch},
    http::SiteView,
    settings::Settings,
};

#[derive(Subcommand)]
pub(super) enum Site {
    /// Make a site: say which hosts are which resources
    #[command(after_help = "\
Examples:
  gatemint site create jobs --host '{name}--{owner}.jobs.{cluster}.example.org' --resource 'job://{cluster}/{owner}/{name}'
  gatemint site create wiki --host wiki.example.org --resource flow://default/ada/wiki --data .gatemint

A placeholder stands for 1 to 63 of a-z, 0-9 and '-' within one label of the host. {cluster} is GATEMINT_CLUSTER.")]
    Create {
        /// The id, for ever: a-z, 0-9, '-' and '.'
        id: String,
        /// The hosts, in lower case and without a port, with {placeholders}
        #[arg(long, value_name = "TEMPLATE")]
        host: String,
        /// What each of them is, with the same {placeholders}
        #[arg(long, value_name = "TEMPLATE")]
        resource: String,
    },
    /// List all sites
    #[command(alias = "ls")]
    List,
    /// Show a site
    Get {
        /// The id
        id: String,
    },
    /// Change a site; what is not given stays
    #[command(after_help = "Example:\n  gatemint site set wiki --host wiki.example.net --data .gatemint")]
    Set {
        /// The id
        id: String,
        /// The hosts, in lower case and without a port, with {placeholders}
        #[arg(long, value_name = "TEMPLATE")]
        host: Option<String>,
        /// What each of them is, with the same {placeholders}
        #[arg(long, value_name = "TEMPLATE")]
        resource: Option<String>,
    },
    /// Delete a site; its hosts are nobody's then
    #[command(alias = "rm")]
    Delete {
        /// The id
        id: String,
    },
}

fn show(view: &SiteView, global: &Global) -> Result<(), CliError> {
    if global.json {
        return output::json(view);
    }
    output::sheet(&[
        ("Id", view.id.clone()),
        ("Host", view.host.clone()),
        ("Resource", view.resource.clone()),
        ("Created at", view.created_at.clone()),
    ]);
    Ok(())
}

impl Site {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        match self {
            Self::Create { id, host, resource } => {
                show(&door.create_site(NewSite { id, host, resource }).await?, global)
            }
            Self::List => {
                let all = door.sites().await?;
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|site| vec![site.id, site.host, site.resource]);
                output::table(&["id", "host", "resource"], rows);
                Ok(())
            }
            Self::Get { id } => show(&door.site(&id).await?, global),
            Self::Set { id, host, resource } => {
                if host.is_none() && resource.is_none() {
                    return Err(CliError::Usage("nothing to change: give --host or --resource".into()));
                }
                show(&door.change_site(&id, SitePatch { host, resource }).await?, global)
            }
            Self::Delete { id } => {
                door.delete_site(&id).await?;
                output::aside(&format!("The site {id} is gone; its hosts are nobody's."));
                Ok(())
            }
        }
    }
}

impl Door {
    async fn create_site(&self, new: NewSite) -> Result<SiteView, CliError> {
        match self {
            Self::Store(service) => Ok(SiteView::of(&site::create(service, service.now(), &new, OPERATOR).await?)),
            Self::Remote(access) => {
                let body = json!({ "id": new.id, "host": new.host, "resource": new.resource });
                Ok(access.post(&["sites"], body).await?)
            }
        }
    }

    async fn sites(&self) -> Result<Vec<SiteView>, CliError> {
        match self {
            Self::Store(service) => {
                let now = service.now();
                let all = all_pages(async |after, limit| site::list(service, now, after, limit).await).await?;
                Ok(all.iter().map(SiteView::of).collect())
            }
            Self::Remote(access) => access.all(&["sites"], &[]).await,
        }
    }

    async fn site(&self, id: &str) -> Result<SiteView, CliError> {
        match self {
            Self::Store(service) => Ok(SiteView::of(&site::get(service, service.now(), id).await?)),
            Self::Remote(access) => Ok(access.get(&["sites", id]).await?),
        }
    }

    async fn change_site(&self, id: &str, patch: SitePatch) -> Result<SiteView, CliError> {
        match self {
            Self::Store(service) => {
                Ok(SiteView::of(&site::update(service, service.now(), id, &patch, OPERATOR).await?))
            }
            Self::Remote(access) => {
                let body = json!({ "host": patch.host, "resource": patch.resource });
                Ok(access.patch(&["sites", id], body).await?)
            }
        }
    }

    async fn delete_site(&self, id: &str) -> Result<(), CliError> {
        match self {
            Self::Store(service) => Ok(site::delete(service, service.now(), id, OPERATOR).await?),
            Self::Remote(access) => Ok(access.delete(&["sites", id]).await?),
        }
    }
}
