//! The rows of permissions: what a decision reads, and what lists them.

use serde::{Deserialize, Serialize};

use super::{
    super::{Principal, Resource, principal::Holder},
    Action,
};
use crate::{
    clock::Timestamp,
    domain::ids::{Role, Uid},
    store::{Key, Record},
};

/// The row of a permission: what a decision reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// The principal's uid; of a role, that of its namespace's owner.
    pub(super) principal: Option<Uid>,
    /// The role whose holders have it; none: the account or service account of that uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Role>,
    pub(super) resource: Resource,
    pub(super) action: Action,
    /// Who owned the resource's namespace when it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Uid>,
    /// Set when it was revoked: the row is then past its purge time, so it is absent; this is for a reader whose clock is
    /// behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked_at: Option<Timestamp>,
}

impl Held {
    pub(super) fn partition(holder: &Holder) -> String {
        match holder {
            Holder::One(uid) => format!("perm#{uid}"),
            Holder::Role(role, _) => format!("perm#role:{role}"),
        }
    }

    pub(super) fn key_of(holder: &Holder, resource: &str) -> Key {
        Key::new(Self::partition(holder), resource)
    }

    pub(super) fn new(holder: &Holder, resource: &Resource, action: Action, owner: Option<Uid>) -> Self {
        let (principal, role) = match holder {
            Holder::One(uid) => (Some(*uid), None),
            Holder::Role(role, owner) => (*owner, Some(role.clone())),
        };
        Self { principal, role, resource: resource.clone(), action, owner, revoked_at: None }
    }

    fn holder(&self) -> Option<Holder> {
        match (&self.role, self.principal) {
            (Some(role), owner) => Some(Holder::Role(role.clone(), owner)),
            (None, Some(uid)) => Some(Holder::One(uid)),
            (None, None) => None,
        }
    }

    /// Whether it counts for that holder, in a namespace that `owner` owns now.
    pub(super) fn stands(&self, holder: &Holder, owner: Option<Uid>) -> bool {
        self.revoked_at.is_none()
            && self.holder().as_ref() == Some(holder)
            && (self.owner.is_none() || self.owner == owner)
    }
}

impl Record for Held {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        let partition = match &self.role {
            Some(role) => format!("perm#role:{role}"),
            None => format!("perm#{}", self.principal.unwrap_or(Uid([0; 16]))),
        };
        Key::new(partition, self.resource.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        self.revoked_at
    }
}

/// The entry that lists a permission among those on a namespace's resources. The row of the permission is what counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) principal: Principal,
    /// Who that was; none of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<Uid>,
    pub(super) resource: Resource,
}

impl Listed {
    pub(super) fn new(principal: &Principal, holder: &Holder, resource: &Resource) -> Self {
        let uid = match holder {
            Holder::One(uid) => Some(*uid),
            Holder::Role(..) => None,
        };
        Self { principal: principal.clone(), uid, resource: resource.clone() }
    }

    pub(super) fn partition(namespace: Option<&str>) -> String {
        format!("perm#on:{}", namespace.unwrap_or_default())
    }
}

impl Record for Listed {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        // No resource has a line break, so one's entries never stand among another's.
        Key::new(Self::partition(self.resource.namespace()), format!("{}\n{}", self.resource, self.principal))
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}
