//! `gatemint client`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    CliError, Global,
    door::{Door, OPERATOR, all_pages},
    output,
};
use crate::{
    domain::client::{
        GrantType,
        manage::{self, ClientPatch, NewClient},
    },
    http::ClientView,
    settings::Settings,
};

#[derive(Args, Clone)]
pub(super) struct Lists {
    /// A grant that it may use (repeatable): password, refresh_token, client_credentials, token-exchange
    #[arg(long = "grant", value_name = "GRANT", value_parser = parse_grant)]
    grants: Vec<GrantType>,
    /// An audience of its access tokens (repeatable) [default: the issuer]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audiences: Vec<String>,
    /// A scope of its own (repeatable)
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// How long its access tokens live, in seconds (1 to 86400) [default: as usual]
    #[arg(long, value_name = "SECONDS")]
    access_life: Option<u64>,
}

fn parse_grant(text: &str) -> Result<GrantType, String> {
    GrantType::ALL
        .into_iter()
        .find(|(grant, name)| [*name, short(*grant)].contains(&text))
        .map(|(grant, _)| grant)
        .ok_or_else(|| "one of password, refresh_token, client_credentials, token-exchange".to_owned())
}

/// What a grant is called among people.
fn short(grant: GrantType) -> &'static str {
    match grant {
        GrantType::TokenExchange => "token-exchange",
        GrantType::Password | GrantType::RefreshToken | GrantType::ClientCredentials => grant.as_str(),
    }
}

#[derive(Subcommand)]
pub(super) enum Client {
    /// Make a client; the secret of a confidential one is shown once
    #[command(
        after_help = "Examples:\n  gatemint client create ua-grant --public --data .gatemint\n  gatemint client create ci --grant client_credentials --audience https://api.example.org --data .gatemint"
    )]
    Create {
        /// The client_id, for ever: a-z, 0-9, '-' and '.'
        id: String,
        /// Without a secret
        #[arg(long)]
        public: bool,
        #[command(flatten)]
        lists: Lists,
        /// May introspect the tokens of all clients
        #[arg(long)]
        introspect: bool,
    },
    /// List all clients
    #[command(alias = "ls")]
    List,
    /// Show a client
    Get {
        /// The client_id
        id: String,
    },
    /// Change a client; what is given replaces what was there
    Set {
        /// The client_id
        id: String,
        #[command(flatten)]
        lists: Lists,
        /// May introspect the tokens of all clients, or no longer
        #[arg(long, value_name = "true|false")]
        introspect: Option<bool>,
        /// Make a new secret, shown once; ends everything that the client obtained with the old one
        #[arg(long)]
        new_secret: bool,
    },
    /// Let no one use the client, and end everything that it obtained
    Disable {
        /// The client_id
        id: String,
    },
    /// Let the client be used again
    Enable {
        /// The client_id
        id: String,
    },
    /// Delete a client with everything that it obtained
    #[command(alias = "rm")]
    Delete {
        /// The client_id
        id: String,
    },
}

fn kind(view: &ClientView) -> String {
    if view.public { "public" } else { "confidential" }.to_owned()
}

fn grants(view: &ClientView) -> String {
    view.grants.iter().map(|grant| short(*grant)).collect::<Vec<_>>().join(", ")
}

fn show(view: &ClientView, global: &Global) -> Result<(), CliError> {
    if global.json {
        return output::json(view);
    }
    let or = |list: &[String], none: &str| if list.is_empty() { none.to_owned() } else { list.join(", ") };
    let mut rows = vec![
        ("Id", view.id.clone()),
        ("Kind", kind(view)),
        ("Enabled", if view.enabled { "yes" } else { "no" }.to_owned()),
        ("Grants", grants(view)),
        ("Audiences", or(&view.audiences, "the issuer")),
        ("Scopes", or(&view.scopes, "")),
        ("Introspects", if view.introspect { "all tokens" } else { "its own tokens" }.to_owned()),
        ("Access life", view.access_life.map_or_else(|| "as usual".into(), |life| format!("{life} s"))),
        ("Created at", view.created_at.clone()),
    ];
    if let Some(secret) = &view.secret {
        rows.push(("Secret", format!("{secret}   (shown once)")));
    }
    output::sheet(&rows);
    Ok(())
}

impl Client {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        match self {
            Self::Create { id, public, lists, introspect } => {
                let new = NewClient {
                    public,
                    grants: (!lists.grants.is_empty()).then_some(lists.grants),
                    audiences: lists.audiences,
                    scopes: lists.scopes,
                    introspect,
                    access_life: lists.access_life.map(Duration::from_secs),
                };
                show(&door.create_client(&id, new).await?, global)
            }
            Self::List => {
                let all = door.clients().await?;
                if global.json {
                    return output::json(&all);
                }
                let rows = all.into_iter().map(|client| {
                    let enabled = if client.enabled { "yes" } else { "no" }.to_owned();
                    vec![client.id.clone(), kind(&client), enabled, grants(&client)]
                });
                output::table(&["id", "kind", "enabled", "grants"], rows);
                Ok(())
            }
            Self::Get { id } => show(&door.client(&id).await?, global),
            Self::Set { id, lists, introspect, new_secret } => {
                let patch = ClientPatch {
                    enabled: None,
                    grants: (!lists.grants.is_empty()).then_some(lists.grants),
                    audiences: (!lists.audiences.is_empty()).then_some(lists.audiences),
                    scopes: (!lists.scopes.is_empty()).then_some(lists.scopes),
                    introspect,
                    access_life: lists.access_life.map(|life| Some(Duration::from_secs(life))),
                    new_secret,
                };
                let nothing = patch.grants.is_none()
                    && patch.audiences.is_none()
                    && patch.scopes.is_none()
                    && patch.introspect.is_none()
                    && patch.access_life.is_none()
                    && !new_secret;
                if nothing {
                    return Err(CliError::Usage(
                        "nothing to change: give --grant, --audience, --scope, --introspect, --access-life or --new-secret"
                            .into(),
                    ));
                }
                show(&door.change_client(&id, patch).await?, global)
            }
            Self::Disable { id } => enable(&door, global, &id, false).await,
            Self::Enable { id } => enable(&door, global, &id, true).await,
            Self::Delete { id } => {
                door.delete_client(&id).await?;
                output::aside(&format!("The client {id} and everything that it obtained are gone."));
                Ok(())
            }
        }
    }
}

async fn enable(door: &Door, global: &Global, id: &str, on: bool) -> Result<(), CliError> {
    let patch = ClientPatch { enabled: Some(on), ..ClientPatch::default() };
    show(&door.change_client(id, patch).await?, global)
}

impl Door {
    async fn create_client(&self, id: &str, new: NewClient) -> Result<ClientView, CliError> {
        match self {
            Self::Store(service) => {
                let (client, secret) = manage::create(service, service.now(), id, new, OPERATOR).await?;
                Ok(ClientView::of(&client, secret.as_ref()))
            }
            Self::Remote(access) => {
                let body = json!({
                    "id": id,
                    "public": new.public,
                    "grants": new.grants,
                    "audiences": new.audiences,
                    "scopes": new.scopes,
                    "introspect": new.introspect,
                    "access_life": new.access_life.map(|life| life.as_secs()),
                });
                Ok(access.post(&["clients"], body).await?)
            }
        }
    }

    async fn clients(&self) -> Result<Vec<ClientView>, CliError> {
        match self {
            Self::Store(service) => {
                let now = service.now();
                let all = all_pages(async |after, limit| manage::list(service, now, after, limit).await).await?;
                Ok(all.iter().map(|client| ClientView::of(client, None)).collect())
            }
            Self::Remote(access) => access.all(&["clients"], &[]).await,
        }
    }

    async fn client(&self, id: &str) -> Result<ClientView, CliError> {
        match self {
            Self::Store(service) => Ok(ClientView::of(&manage::get(service, service.now(), id).await?, None)),
            Self::Remote(access) => Ok(access.get(&["clients", id]).await?),
        }
    }

    async fn change_client(&self, id: &str, patch: ClientPatch) -> Result<ClientView, CliError> {
        match self {
            Self::Store(service) => {
                let (client, secret) = manage::update(service, service.now(), id, &patch, OPERATOR).await?;
                Ok(ClientView::of(&client, secret.as_ref()))
            }
            Self::Remote(access) => {
                let mut body = serde_json::Map::new();
                let mut set = |field: &str, value: Option<serde_json::Value>| {
                    body.extend(value.map(|value| (field.to_owned(), value)));
                };
                set("enabled", patch.enabled.map(Into::into));
                set("grants", patch.grants.map(|grants| json!(grants)));
                set("audiences", patch.audiences.map(Into::into));
                set("scopes", patch.scopes.map(Into::into));
                set("introspect", patch.introspect.map(Into::into));
                set("access_life", patch.access_life.map(|life| json!(life.map(|life| life.as_secs()))));
                set("new_secret", patch.new_secret.then_some(true.into()));
                Ok(access.patch(&["clients", id], body.into()).await?)
            }
        }
    }

    async fn delete_client(&self, id: &str) -> Result<(), CliError> {
        match self {
            Self::Store(service) => Ok(manage::delete(service, service.now(), id, OPERATOR).await?),
            Self::Remote(access) => Ok(access.delete(&["clients", id]).await?),
        }
    }
}
