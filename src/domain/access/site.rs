//! Sites: which hosts are which resources, so that who may open a host is a question of permissions.

use serde::{Deserialize, Serialize};

use super::{
    Resource,
    template::{HostTemplate, Reading, ResourceTemplate, check_pair},
};
use crate::{
    clock::Timestamp,
    domain::{ROUNDS, Refusal, Service, ids::Name},
    store::{CommitError, Key, Record, Row, When, decode},
};

/// The most sites that there can be: all of them are one row, which whoever judges a request reads.
pub const MAX_SITES: usize = 100;

/// A site: the hosts of one shape, and the resource that each of them is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Site {
    /// Its id, for ever.
    pub id: Name,
    /// The hosts.
    pub host: HostTemplate,
    /// What each of them is.
    pub resource: ResourceTemplate,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All sites, by id. They are one row, so that judging a request reads them together with what else it needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sites {
    sites: Vec<Site>,
}

/// What a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// No site's.
    Unmapped,
    /// A site's, but nobody can say which resource: it can be read in two ways, two sites read it differently, or
    /// what it is read as cannot be a resource. Nothing opens it.
    Ambiguous,
    /// This resource.
    To(Resource),
}

impl Sites {
    /// Where they are.
    pub fn key() -> Key {
        Key::new("site#sites", "sites")
    }

    /// The sites of a row; none are there until one is made.
    pub fn of_row(row: Option<Row<Self>>) -> Self {
        row.map(|row| row.record).unwrap_or_default()
    }

    /// What a host is. `host` comes without a port. It is taken in lower case and without a final dot, since a host that is
    /// written otherwise must not look like nobody's.
    pub fn resolve(&self, host: &str) -> Mapping {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let mut found: Option<Resource> = None;
        for site in &self.sites {
            let read = match site.host.read(&host) {
                Reading::None => continue,
                Reading::Many => None,
                Reading::One(values) => site.resource.fill(&values),
            };
            let Some(resource) = read else { return Mapping::Ambiguous };
            if found.as_ref().is_some_and(|other| *other != resource) {
                return Mapping::Ambiguous;
            }
            found = Some(resource);
        }
        found.map_or(Mapping::Unmapped, Mapping::To)
    }

    /// A site's place among the others, or the place where it would be.
    fn place(&self, id: &str) -> Result<usize, usize> {
        self.sites.binary_search_by(|site| site.id.as_str().cmp(id))
    }

    fn find(&self, id: &str) -> Result<usize, Refusal> {
        self.place(id).map_err(|_| Refusal::absent("there is no site of that id"))
    }
}

impl Record for Sites {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key()
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// A site to be made.
#[derive(Clone, Debug)]
pub struct NewSite {
    /// Its id.
    pub id: String,
    /// The template of its hosts.
    pub host: String,
    /// The template of its resources.
    pub resource: String,
}

/// What may be changed of a site.
#[derive(Clone, Debug, Default)]
pub struct SitePatch {
    /// The template of its hosts.
    pub host: Option<String>,
    /// The template of its resources.
    pub resource: Option<String>,
}

/// Makes a site.
///
/// # Errors
/// `Invalid`: for `id`, `host` or `resource`, and for `id` where there are [`MAX_SITES`]. `Conflict`: the id is there.
/// `Unavailable`.
pub async fn create(service: &Service, now: Timestamp, new: &NewSite, actor: &str) -> Result<Site, Refusal> {
    let cluster = &service.policy.cluster;
    let site = Site {
        id: Name::parse(&new.id, "id")?,
        host: HostTemplate::parse(&new.host, cluster)?,
        resource: ResourceTemplate::parse(&new.resource, cluster)?,
        created_at: now,
    };
    check_pair(&site.host, &site.resource)?;
    change(service, now, |sites| {
        let Err(place) = sites.place(site.id.as_str()) else {
            return Err(Refusal::conflict("there is a site of that id"));
        };
        if sites.sites.len() >= MAX_SITES {
            return Err(Refusal::invalid("id", format!("there are {MAX_SITES} sites, and there can be no more")));
        }
        sites.sites.insert(place, site.clone());
        Ok(())
    })
    .await?;
    tell("site_created", &site, actor);
    Ok(site)
}

/// Reads a site.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn get(service: &Service, now: Timestamp, id: &str) -> Result<Site, Refusal> {
    let mut all = read(service, now).await?;
    let place = all.find(id)?;
    Ok(all.sites.swap_remove(place))
}

/// Lists sites by id.
///
/// # Errors
/// `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Site>, Option<String>), Refusal> {
    let mut sites = read(service, now).await?.sites;
    sites.retain(|site| after.is_none_or(|after| site.id.as_str() > after));
    let more = sites.len() > limit;
    sites.truncate(limit);
    let next = sites.last().filter(|_| more).map(|last| last.id.to_string());
    Ok((sites, next))
}

async fn read(service: &Service, now: Timestamp) -> Result<Sites, Refusal> {
    Ok(Sites::of_row(service.read(now, Sites::key()).await?))
}

/// Changes a site.
///
/// # Errors
/// `Absent`, `Invalid` for `host` or `resource`, `Unavailable`.
pub async fn update(
    service: &Service,
    now: Timestamp,
    id: &str,
    patch: &SitePatch,
    actor: &str,
) -> Result<Site, Refusal> {
    let cluster = &service.policy.cluster;
    let host = patch.host.as_deref().map(|text| HostTemplate::parse(text, cluster)).transpose()?;
    let resource = patch.resource.as_deref().map(|text| ResourceTemplate::parse(text, cluster)).transpose()?;
    let site = change(service, now, |sites| {
        let place = sites.find(id)?;
        let site = &mut sites.sites[place];
        if let Some(host) = &host {
            site.host.clone_from(host);
        }
        if let Some(resource) = &resource {
            site.resource.clone_from(resource);
        }
        check_pair(&site.host, &site.resource)?;
        Ok(site.clone())
    })
    .await?;
    tell("site_changed", &site, actor);
    Ok(site)
}

/// Ends a site: its hosts are no longer anybody's.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn delete(service: &Service, now: Timestamp, id: &str, actor: &str) -> Result<(), Refusal> {
    let site = change(service, now, |sites| Ok(sites.sites.remove(sites.find(id)?))).await?;
    tell("site_deleted", &site, actor);
    Ok(())
}

/// Changes the row of all sites, deciding again with the one that won as long as somebody else was first.
async fn change<T>(
    service: &Service,
    now: Timestamp,
    decide: impl Fn(&mut Sites) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut row: Option<Row<Sites>> = service.read(now, Sites::key()).await?;
    for _ in 0..ROUNDS {
        let when = row.as_ref().map_or(When::Absent, |row| When::VersionIs(row.version));
        let mut sites = Sites::of_row(row);
        let decided = decide(&mut sites)?;
        match service.commit(now, vec![sites.put(when)]).await {
            Ok(_) => return Ok(decided),
            Err(CommitError::Conflict { current, .. }) => row = decode(current)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("the sites kept changing"))
}

fn tell(event: &'static str, site: &Site, actor: &str) {
    tracing::info!(
        target: "gatemint::audit", event, site.id = %site.id, site.host = site.host.as_str(),
        site.resource = site.resource.as_str(), actor,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(pairs: &[(&str, &str)]) -> Sites {
        let cluster = Name::parse("default", "name").unwrap();
        let site = |(n, (host, resource)): (usize, &(&str, &str))| Site {
            id: Name::parse(&format!("s{n}"), "id").unwrap(),
            host: HostTemplate::parse(host, &cluster).unwrap(),
            resource: ResourceTemplate::parse(resource, &cluster).unwrap(),
            created_at: Timestamp(0),
        };
        Sites { sites: pairs.iter().enumerate().map(site).collect() }
    }

    fn resolved(sites: &Sites, host: &str) -> String {
        match sites.resolve(host) {
            Mapping::Unmapped => "unmapped".into(),
            Mapping::Ambiguous => "ambiguous".into(),
            Mapping::To(resource) => resource.to_string(),
        }
    }

    const JOBS: (&str, &str) = ("{name}--{owner}.jobs.{cluster}.example.org", "job://{cluster}/{owner}/{name}");

    #[test]
    fn a_host_is_the_resource_that_its_site_makes_of_it() {
        let sites = sites(&[JOBS, ("wiki.example.org", "flow://default/ada/wiki")]);
        for (host, expected) in [
            ("web--ada.jobs.default.example.org", "job://default/ada/web"),
            ("WEB--Ada.jobs.default.Example.org.", "job://default/ada/web"),
            ("wiki.example.org", "flow://default/ada/wiki"),
            ("a--b--c.jobs.default.example.org", "ambiguous"),
            ("a--b-.jobs.default.example.org", "ambiguous"),
            ("web.jobs.default.example.org", "unmapped"),
            ("web--ada.jobs.other.example.org", "unmapped"),
            ("example.org", "unmapped"),
            ("127.0.0.1", "unmapped"),
            ("[::1]", "unmapped"),
            ("", "unmapped"),
            (".", "unmapped"),
        ] {
            assert_eq!(resolved(&sites, host), expected, "{host}");
        }
        assert_eq!(resolved(&Sites::default(), "wiki.example.org"), "unmapped");
    }

    #[test]
    fn two_sites_that_read_a_host_differently_open_it_to_nobody() {
        let sites = sites(&[
            JOBS,
            ("{x}.jobs.default.example.org", "blob://default/{x}"),
            ("web--eve.jobs.default.example.org", "job://default/eve/web"),
        ]);
        assert_eq!(resolved(&sites, "web--ada.jobs.default.example.org"), "ambiguous");
        assert_eq!(resolved(&sites, "ada.jobs.default.example.org"), "blob://default/ada");
        let alike = self::sites(&[JOBS, ("web--eve.jobs.default.example.org", "job://default/eve/web")]);
        assert_eq!(resolved(&alike, "web--eve.jobs.default.example.org"), "job://default/eve/web", "the same twice");
    }

    #[test]
    fn a_row_that_holds_what_is_no_template_cannot_be_read() {
        let body = serde_json::to_value(sites(&[JOBS])).unwrap();
        assert!(serde_json::from_value::<Sites>(body.clone()).is_ok());
        for (field, damaged) in [("host", "{name"), ("host", "{a}.{a}"), ("resource", "job:x"), ("id", "A")] {
            let mut body = body.clone();
            body["sites"][0][field] = damaged.into();
            assert!(serde_json::from_value::<Sites>(body).is_err(), "{field}");
        }
    }
}
