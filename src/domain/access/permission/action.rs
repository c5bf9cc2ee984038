//! What may be done, and what a principal may do with a resource.

use serde::{Deserialize, Serialize};

use super::super::{Principal, Resource};

/// What may be done with a resource. A higher one implies the lower ones; `deny` is none of them, and gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing, whatever else was granted.
    Deny,
    /// To learn that it is there.
    List,
    /// To look at it.
    Read,
    /// To change it.
    Write,
    /// To give others permissions on it.
    Manage,
}

impl Action {
    /// All of them, with their names, from the least to the most.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Deny, "deny"),
        (Self::List, "list"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Manage, "manage"),
    ];

    /// The action of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(action, _)| action)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(action, _)| *action == self).map_or("", |(_, name)| name)
    }

    /// Whether who has this may do `wanted`. Nobody wants to be denied: whoever asks for that asks for something else by
    /// mistake.
    pub fn gives(self, wanted: Self) -> bool {
        wanted != Self::Deny && self >= wanted
    }
}

/// What a principal holds on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Whose it is.
    pub principal: Principal,
    /// What it is about: this, and what is below it.
    pub resource: Resource,
    /// What may be done.
    pub action: Action,
}
