//! What a permission is about: `scheme://cluster/namespace[/segment…]`, which has one spelling.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Refusal,
    ids::{Name, is_name},
};

/// The longest resource, in bytes: a store's sort key takes no more.
pub const MAX_RESOURCE: usize = 1024;

/// A resource's URI: `scheme://cluster/namespace[/segment…]`, at most 1,024 bytes. Cluster and namespace are names; a
/// segment is not empty, not `.` or `..`, and has no `?`, `#`, `%` and no control character. So no two spellings are
/// about the same thing, and nothing in it is ever decoded.
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
                "must be scheme://cluster/namespace[/segment…], at most 1024 bytes, without empty segments, '.', '..', \
                 '?', '#' and '%', e.g. job://default/ada/notebook",
            ))
        }
    }

    /// Parses a URI as a person writes it: whole, or `gatetoken:NAMESPACE`.
    ///
    /// # Errors
    /// `Invalid`, for the field named: another short form, or no URI at all.
    pub fn named(text: &str, cluster: &Name, field: &'static str) -> Result<Self, Refusal> {
        match text.split_once(':') {
            Some((_, rest)) if rest.starts_with("//") => Self::parse(text, field),
            Some((Self::GATETOKEN, namespace)) => Ok(Self::gatetoken(cluster, &Name::parse(namespace, field)?)),
            _ => Err(Refusal::invalid(
                field,
                format!(
                    "must be a whole URI, e.g. job://{cluster}/ada/notebook; the one short form is gatetoken:NAMESPACE"
                ),
            )),
        }
    }

    /// The resource on which `write` is the right to mint gate tokens in a namespace.
    pub fn gatetoken(cluster: &Name, namespace: &Name) -> Self {
        Self(format!("{}://{cluster}/{namespace}", Self::GATETOKEN))
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
        self.part(2)
    }

    /// The namespace, a name.
    pub fn namespace(&self) -> &str {
        self.part(3)
    }

    /// Whether it is in that cluster.
    pub fn is_in(&self, cluster: &Name) -> bool {
        self.cluster() == cluster.as_str()
    }

    fn part(&self, n: usize) -> &str {
        self.0.split('/').nth(n).unwrap_or_default()
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
        && segments.next().is_some_and(is_name)
        && segments.next().is_some_and(is_name)
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
        for good in
            ["job://default/ada", "job://default/ada/a b/ä", "x-1://eu.prod/a.b/c:d", "storage://c/n/...", &longest]
        {
            assert!(Resource::parse(good, "uri").is_ok(), "{good}");
        }
        let too_long = format!("{longest}x");
        for bad in [
            "",
            "job",
            "job:ada",
            "job://",
            "job://default",
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
        assert_eq!((resource.scheme(), resource.cluster(), resource.namespace()), ("job", "eu.prod", "ada"));
        assert!(resource.is_in(&name("eu.prod")) && !resource.is_in(&name("eu")));
        let gate = Resource::gatetoken(&name("default"), &name("vms"));
        assert_eq!(gate.as_str(), "gatetoken://default/vms");
        assert_eq!(Resource::parse(gate.as_str(), "uri").unwrap(), gate);
    }

    #[test]
    fn a_person_writes_it_whole_or_names_a_namespace_of_gate_tokens() {
        let cluster = name("default");
        let named = |text: &str| Resource::named(text, &cluster, "uri").map(|resource| resource.0);
        assert_eq!(named("gatetoken:vms").unwrap(), "gatetoken://default/vms");
        assert_eq!(named("job://default/ada/x").unwrap(), "job://default/ada/x");
        let bad = ["job:x", "gatetoken:", "gatetoken:a/b", "gatetoken:A", "vms", "", "job://default"];
        for bad in bad {
            assert_eq!(named(bad).unwrap_err().field, Some("uri"), "{bad}");
        }
    }
}
