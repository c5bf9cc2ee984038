//! Resources as this dialect calls them: `scheme://cluster/ORGANISATION/namespace[/…]`.

use crate::{
    clock::Timestamp,
    domain::{
        Refusal,
        access::{Resource, Subject},
        account::manage,
        ids::Name,
    },
    http::App,
};

/// The field that a URI stands in.
const URI: &str = "uri";

/// That system's schemes: their URIs have an organisation.
const THEIRS: [&str; 8] = ["storage", "image", "job", "blob", "disk", "flow", "secret", "role"];

/// Schemes of this service alone, which no organisation is put into.
const OURS: [&str; 3] = ["gatetoken", "serviceaccount", "tokenreview"];

/// How this service is called in URIs.
pub(super) struct Uris<'a> {
    organisation: &'a str,
    cluster: &'a Name,
}

/// A URI that was read.
#[derive(Debug)]
struct Read {
    resource: Resource,
    /// What stands where the organisation might: a namespace only if there is one of that name.
    unproven: Option<String>,
}

/// What of a list is wanted.
#[derive(Debug)]
pub(super) enum Filter {
    /// All of it.
    All,
    /// What has this scheme.
    Scheme(String),
    /// A resource and what is below it.
    Below(Resource),
}

impl Filter {
    /// The resource that it is about, if it is about one.
    pub(super) fn below(&self) -> Option<&Resource> {
        match self {
            Self::Below(resource) => Some(resource),
            Self::All | Self::Scheme(_) => None,
        }
    }

    /// Whether a resource is wanted.
    pub(super) fn wants(&self, resource: &Resource) -> bool {
        match self {
            Self::All => true,
            Self::Scheme(scheme) => resource.scheme() == scheme,
            Self::Below(above) => resource.is_within(above),
        }
    }
}

impl<'a> Uris<'a> {
    /// As the operator has set it.
    pub(super) fn of(app: &'a App) -> Self {
        let policy = &app.service.policy;
        Self { organisation: &policy.organisation, cluster: &policy.cluster }
    }

    /// A resource as that system's clients know it.
    pub(super) fn show(&self, resource: &Resource) -> String {
        let text = resource.as_str();
        match resource.namespace() {
            Some(_) if is_theirs(resource) => {
                let (scheme, cluster, organisation) = (resource.scheme(), resource.cluster(), self.organisation);
                let rest = &text[scheme.len() + 3 + cluster.len()..];
                format!("{scheme}://{cluster}/{organisation}{rest}")
            }
            _ => text.to_owned(),
        }
    }

    fn read(&self, text: &str) -> Result<Read, Refusal> {
        let (scheme, path) = text
            .split_once("://")
            .ok_or_else(|| self.invalid("must be a whole URI"))
            .and_then(|(scheme, path)| known(scheme).map(|()| (scheme, path)))?;
        let mut parts = path.splitn(3, '/');
        let (cluster, first, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let is_explicit = first == Some(self.organisation);
        let resource = match rest {
            Some(rest) if is_explicit => Resource::parse(&format!("{scheme}://{cluster}/{rest}"), URI)?,
            None if is_explicit => Resource::parse(&format!("{scheme}://{cluster}"), URI)?,
            _ => Resource::parse(text, URI)?,
        };
        if !resource.is_in(self.cluster) {
            return Err(self.invalid("is in another cluster than this service"));
        }
        if resource.namespace() == Some(self.organisation) {
            return Err(self.invalid("has the organisation twice"));
        }
        let unproven = resource.namespace().filter(|_| !is_explicit && is_theirs(&resource)).map(str::to_owned);
        Ok(Read { resource, unproven })
    }

    /// The resources that these texts name.
    ///
    /// # Errors
    /// `Invalid`: no URI of this cluster and organisation. `Unavailable`.
    pub(super) async fn resources(
        &self,
        app: &App,
        now: Timestamp,
        by: &Subject,
        texts: &[&str],
    ) -> Result<Vec<Resource>, Refusal> {
        let read = texts.iter().map(|text| self.read(text)).collect::<Result<Vec<_>, _>>()?;
        let own = by.namespace().map(Name::as_str);
        let mut unproven: Vec<&str> =
            read.iter().filter_map(|read| read.unproven.as_deref()).filter(|name| Some(*name) != own).collect();
        unproven.sort_unstable();
        unproven.dedup();
        if !unproven.is_empty() && !manage::are_namespaces(&app.service, now, &unproven).await? {
            return Err(self.invalid("is of another organisation, or of a namespace that nobody has"));
        }
        Ok(read.into_iter().map(|read| read.resource).collect())
    }

    /// What of a list is wanted: a URI with what is below it, or, as `SCHEME:`, all of a scheme.
    ///
    /// # Errors
    /// As [`Uris::resources`].
    pub(super) async fn filter(
        &self,
        app: &App,
        now: Timestamp,
        by: &Subject,
        text: Option<&str>,
    ) -> Result<Filter, Refusal> {
        let Some(text) = text else { return Ok(Filter::All) };
        let scheme = text.strip_suffix("://").or_else(|| text.strip_suffix(':'));
        if let Some(scheme) = scheme {
            return known(scheme).map(|()| Filter::Scheme(scheme.to_owned()));
        }
        let resource = self.resources(app, now, by, &[text]).await?.pop();
        Ok(resource.map_or(Filter::All, Filter::Below))
    }

    fn invalid(&self, why: &str) -> Refusal {
        let Self { organisation, cluster } = self;
        Refusal::invalid(URI, format!("{why}; e.g. job://{cluster}/{organisation}/ada/notebook"))
    }
}

fn known(scheme: &str) -> Result<(), Refusal> {
    if THEIRS.contains(&scheme) || OURS.contains(&scheme) {
        return Ok(());
    }
    Err(Refusal::invalid(URI, format!("has a scheme that is none of {}, {}", THEIRS.join(", "), OURS.join(", "))))
}

/// Whether it is a resource of that system, and not of this service alone.
pub(super) fn is_theirs(resource: &Resource) -> bool {
    THEIRS.contains(&resource.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<String>), String> {
        let cluster = Name::usual_cluster();
        let read = Uris { organisation: "default-org", cluster: &cluster }.read(text);
        read.map(|read| (read.resource.to_string(), read.unproven)).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_organisation_is_taken_out_and_put_back() {
        let cluster = Name::usual_cluster();
        let uris = Uris { organisation: "default-org", cluster: &cluster };
        for (theirs, ours) in [
            ("job://default/default-org/ada/web", "job://default/ada/web"),
            ("job://default/default-org/ada", "job://default/ada"),
            ("storage://default/default-org/ada/default-org/x", "storage://default/ada/default-org/x"),
            ("secret://default/default-org/ada/access-token", "secret://default/ada/access-token"),
            ("role://default/default-org/ada/readers", "role://default/ada/readers"),
            ("job://default", "job://default"),
            ("gatetoken://default/vms", "gatetoken://default/vms"),
            ("serviceaccount://default/ada/ci/token", "serviceaccount://default/ada/ci/token"),
            ("tokenreview://default", "tokenreview://default"),
        ] {
            assert_eq!(read(theirs), Ok((ours.to_owned(), None)), "{theirs}");
            assert_eq!(uris.show(&Resource::parse(ours, URI).unwrap()), theirs);
        }
        // A whole organisation is a whole cluster; gate tokens know of none, and take it out as well.
        assert_eq!(read("job://default/default-org"), Ok(("job://default".to_owned(), None)));
        assert_eq!(read("gatetoken://default/default-org/vms"), Ok(("gatetoken://default/vms".to_owned(), None)));
        // Without it, what stands there must be a namespace.
        let unproven = ("job://default/ada/web".to_owned(), Some("ada".to_owned()));
        assert_eq!(read("job://default/ada/web"), Ok(unproven));
    }

    #[test]
    fn what_is_no_uri_of_ours_is_refused() {
        let long = format!("job://default/default-org/ada/{}", "x".repeat(800));
        for (bad, words) in [
            ("", "whole URI"),
            ("job:web", "whole URI"),
            ("/job/web", "whole URI"),
            ("file://default/default-org/ada", "scheme"),
            ("JOB://default/default-org/ada", "scheme"),
            ("http://default/ada", "scheme"),
            ("://default/ada", "scheme"),
            ("job://other/default-org/ada/web", "another cluster"),
            ("job://default/default-org/default-org/web", "organisation twice"),
            ("job://default/default-org/", "must be"),
            ("job://default/default-org//web", "must be"),
            ("job://default/default-org/ada/", "must be"),
            ("job://default/default-org/ada//web", "must be"),
            ("job://default/default-org/../ada", "must be"),
            ("job://default/default-org/ada/../eve", "must be"),
            ("job://default/default-org/ada/web?x=1", "must be"),
            ("job://default/default-org/ada/web#x", "must be"),
            ("job://default/default-org/ada/%2e%2e", "must be"),
            ("job://default/Default-org/ada", "must be"),
            ("job://ada@default/default-org/ada", "must be"),
            ("job://default:80/default-org/ada", "must be"),
            ("job:///default-org/ada", "must be"),
            (&long, "must be"),
        ] {
            let refused = read(bad).unwrap_err();
            assert!(refused.starts_with("uri: ") && refused.contains(words), "{bad}: {refused}");
        }
    }
}
