//! What a permission is about: `scheme://cluster[/namespace[/segment…]]`, which has one spelling.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Refusal,
    ids::{Name, is_name},
};

/// The longest resource, in bytes: together with the longest principal it is a store's longest sort key.
pub const MAX_RESOURCE: usize = 768;

/// The most segments behind the cluster: a decision reads each of them, for the principal and for each of its roles.
pub const MAX_DEPTH: usize = 32;

/// A resource's URI: `scheme://cluster[/namespace[/segment…]]`, at most 768 bytes and 32 segments behind the cluster.
/// Cluster and namespace are names; a segment is not empty, not `.` or `..`, and has no `?`, `#`, `%` and no control
/// character. So no two spellings are about the same thing, and nothing in it is ever decoded.
///
/// What is above it, segment by segment up to the cluster, is its ancestors: a permission on one of them counts for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Resource(String);

impl Resource {
    /// The scheme of what opens gates: `write` on it is the right to mint gate tokens.
    pub const GATETOKEN: &'static str = "gatetoken";

    /// Parses a whole URI.
    ///
    /// # Errors
    /// `Invalid`, for the field named.
    pub fn parse(text: &str, field: &'static str) -> Result<Self, Refusal> {
        if is_resource(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::invalid(
                field,
                "must be scheme://cluster[/namespace[/segment…]], at most 768 bytes and 32 segments, without empty \
                 segments, '.', '..', '?', '#' and '%', e.g. job://default/ada/notebook",
            ))
        }
    }

    /// Parses a URI as a person writes it: whole, or short, in this cluster. `SCHEME:path` is below the namespace
    /// given, `SCHEME:` is all of it, `SCHEME:/NAMESPACE/path` is in another one; of gate tokens, which have no path,
    /// `gatetoken:NAMESPACE` names the namespace.
    ///
    /// # Errors
    /// `Invalid`, for the field named: no URI, or a short one without a namespace that it could be in.
    pub fn named(text: &str, cluster: &Name, namespace: Option<&Name>, field: &'static str) -> Result<Self, Refusal> {
        let Some((scheme, path)) = text.split_once(':') else {
            return Err(Refusal::invalid(
                field,
                format!("must be a URI, whole (job://{cluster}/ada/notebook) or short (job:notebook)"),
            ));
        };
        if path.starts_with("//") {
            return Self::parse(text, field);
        }
        let in_own = || {
            namespace.ok_or_else(|| {
                Refusal::invalid(field, format!("must be a whole URI here, e.g. {scheme}://{cluster}/ada/notebook"))
            })
        };
        let whole = match (scheme, path) {
            (_, path) if path.starts_with('/') => format!("{scheme}://{cluster}{path}"),
            (_, "") => format!("{scheme}://{cluster}/{}", in_own()?),
            (Self::GATETOKEN, other) => format!("{scheme}://{cluster}/{other}"),
            (_, path) => format!("{scheme}://{cluster}/{}/{path}", in_own()?),
        };
        Self::parse(&whole, field)
    }

    /// The resource on which `write` is the right to mint gate tokens in a namespace.
    pub fn gatetoken(cluster: &Name, namespace: &Name) -> Self {
        Self(format!("{}://{cluster}/{namespace}", Self::GATETOKEN))
    }

    /// All service accounts of a namespace: `manage` is the right to make and end them.
    pub fn service_accounts(cluster: &Name, namespace: &Name) -> Self {
        Self(format!("serviceaccount://{cluster}/{namespace}"))
    }

    /// A service account.
    pub fn service_account(cluster: &Name, namespace: &Name, name: &Name) -> Self {
        Self(format!("serviceaccount://{cluster}/{namespace}/{name}"))
    }

    /// The resource on which `write` is the right to request short-lived tokens of a service account.
    pub fn service_account_token(cluster: &Name, namespace: &Name, name: &Name) -> Self {
        Self(format!("serviceaccount://{cluster}/{namespace}/{name}/token"))
    }

    /// The resource on which `read` is the right to have tokens reviewed.
    pub fn token_review(cluster: &Name) -> Self {
        Self(format!("tokenreview://{cluster}"))
    }

    /// A secret.
    pub fn secret(cluster: &Name, namespace: &Name, name: &Name) -> Self {
        Self(format!("secret://{cluster}/{namespace}/{name}"))
    }

    /// The URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before `://`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The cluster, a name.
    pub fn cluster(&self) -> &str {
        self.part(2).unwrap_or_default()
    }

    /// The namespace, a name; none of a whole cluster.
    pub fn namespace(&self) -> Option<&str> {
        self.part(3)
    }

    /// Itself, and what is above it: a segment less each time, the cluster last.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let cluster = self.0.find("://").map_or(0, |at| at + 3);
        let cuts = self.0.bytes().enumerate().skip(cluster).filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
        let above: Vec<usize> = cuts.collect();
        std::iter::once(self.0.as_str()).chain(above.into_iter().rev().map(|at| &self.0[..at]))
    }

    /// Whether it is `other`, or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether it is in that cluster.
    pub fn is_in(&self, cluster: &Name) -> bool {
        self.cluster() == cluster.as_str()
    }

    fn part(&self, n: usize) -> Option<&str> {
        self.0.split('/').nth(n)
    }
}

/// The refusal of what is in another cluster than ours.
pub(super) fn of_another_cluster(cluster: &Name, field: &'static str) -> Refusal {
    Refusal::invalid(field, format!("is in another cluster than this service, which is {cluster} (GATEMINT_CLUSTER)"))
}

fn is_resource(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let mut segments = rest.split('/');
    text.len() <= MAX_RESOURCE
        && is_scheme(scheme)
        && rest.split('/').count() <= MAX_DEPTH + 1
        && segments.next().is_some_and(is_name)
        && segments.next().is_none_or(is_name)
        && segments.all(is_segment)
}

/// `[a-z][a-z0-9-]*`
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_segment(text: &str) -> bool {
    !["", ".", ".."].contains(&text) && !text.chars().any(|c| c.is_control() || "?#%".contains(c))
}

impl TryFrom<String> for Resource {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text, "resource")
    }
}

impl From<Resource> for String {
    fn from(resource: Resource) -> Self {
        resource.0
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, "name").unwrap()
    }

    #[test]
    fn a_resource_has_one_spelling() {
        let longest = format!("job://default/ada/{}", "x".repeat(MAX_RESOURCE - 18));
        let deepest = format!("job://default/ada{}", "/x".repeat(MAX_DEPTH - 1));
        for good in [
            "job://default/ada",
            "job://default/ada/a b/ä",
            "x-1://eu.prod/a.b/c:d",
            "storage://c/n/...",
            "job://default",
            &longest,
            &deepest,
        ] {
            assert!(Resource::parse(good, "uri").is_ok(), "{good}");
        }
        let too_long = format!("{longest}x");
        for bad in [
            "",
            "job",
            "job:ada",
            "job://",
            &format!("{deepest}/x"),
            "job://default/",
            "job:///ada",
            "job://default//x",
            "job://default/ada/",
            "job://default/ada//x",
            "job://default/ada/.",
            "job://default/ada/../eve",
            "job://default/../eve",
            "job://default/ada/x?y",
            "job://default/ada/x#y",
            "job://default/ada/%2e%2e",
            "job://default/ada/a\nb",
            "job://default/ada/a\u{85}b",
            "job://default/ada/a\0b",
            "Job://default/ada",
            "1job://default/ada",
            "-job://default/ada",
            "://default/ada",
            "job://Default/ada",
            "job://default:80/ada",
            "job://u@default/ada",
            "job://default/Ada",
            "job://default/-ada",
            "job://default/{owner}",
            " job://default/ada",
            &too_long,
        ] {
            assert_eq!(Resource::parse(bad, "uri").unwrap_err().field, Some("uri"), "{bad:?}");
        }
    }

    #[test]
    fn its_parts_are_found_again() {
        let resource = Resource::parse("job://eu.prod/ada/a/b", "uri").unwrap();
        assert_eq!((resource.scheme(), resource.cluster(), resource.namespace()), ("job", "eu.prod", Some("ada")));
        let above: Vec<_> = resource.ancestors().collect();
        let all = ["job://eu.prod/ada/a/b", "job://eu.prod/ada/a", "job://eu.prod/ada", "job://eu.prod"];
        assert_eq!(above, all);
        for whole in above {
            let above = Resource::parse(whole, "uri").unwrap();
            assert!(resource.is_within(&above));
            assert_eq!(above.is_within(&resource), above == resource);
        }
        let beside = Resource::parse("job://eu.prod/ada/a/bc", "uri").unwrap();
        assert!(!beside.is_within(&resource) && !resource.is_within(&beside));
        assert_eq!(Resource::parse("tokenreview://default", "uri").unwrap().namespace(), None);
        assert!(resource.is_in(&name("eu.prod")) && !resource.is_in(&name("eu")));
        let gate = Resource::gatetoken(&name("default"), &name("vms"));
        assert_eq!(gate.as_str(), "gatetoken://default/vms");
        assert_eq!(Resource::parse(gate.as_str(), "uri").unwrap(), gate);
    }

    #[test]
    fn a_person_writes_it_whole_or_short() {
        let (cluster, own) = (name("default"), name("ada"));
        let named = |text: &str| Resource::named(text, &cluster, Some(&own), "uri").map(|resource| resource.0);
        for (text, whole) in [
            ("gatetoken:vms", "gatetoken://default/vms"),
            ("gatetoken:", "gatetoken://default/ada"),
            ("job://default/ada/x", "job://default/ada/x"),
            ("job:x", "job://default/ada/x"),
            ("storage:a/b", "storage://default/ada/a/b"),
            ("storage:/eve/b", "storage://default/eve/b"),
            ("job:", "job://default/ada"),
        ] {
            assert_eq!(named(text).unwrap(), whole);
        }
        for bad in ["gatetoken:A", "vms", "", "job:../eve", "job:x/", "job:/", "Job:x", ":x", "job:x?y", "job:a//b"] {
            assert_eq!(named(bad).unwrap_err().field, Some("uri"), "{bad}");
        }
        for short in ["job:x", "job:"] {
            assert!(Resource::named(short, &cluster, None, "uri").is_err(), "{short}");
        }
    }
}
