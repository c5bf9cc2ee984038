//! The account row, and the rows that make names findable and namespaces unique.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PasswordHash;
use crate::{
    clock::Timestamp,
    domain::{
        grant::Scope,
        ids::{AccountKey, Email, Epoch, Name, Role, Uid},
    },
    store::{Key, Record},
};

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Its name, for ever.
    pub name: Name,
    /// What it is; the `sub` of its tokens.
    pub uid: Uid,
    /// The namespace that it owns, for ever.
    pub namespace: Name,
    /// Where to write to; may be empty.
    pub email: Email,
    /// The roles that its tokens carry.
    pub roles: Vec<Role>,
    /// Of those that it has by a permission on `role://…`: who owned the role's namespace then. One whose namespace has
    /// another owner since gives nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub role_owners: BTreeMap<Role, Uid>,
    /// Whether it may sign in and refresh.
    pub enabled: bool,
    /// Counts how often all its sessions were ended at once.
    pub epoch: Epoch,
    /// Its password's hash.
    pub password: PasswordHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether its token that is always fresh is kept in the vault as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirror_token: bool,
    /// Set when it was deleted: the row is then past its purge time, so it is absent; this is for a reader whose
    /// clock is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl Account {
    /// Where the account of that name is.
    pub fn key_of(account: AccountKey) -> Key {
        Key::new(format!("account#{account}"), "account")
    }

    /// What a token of that scope says of it: e-mail address and roles, each empty if the scope has not got it.
    pub fn shown_in(&self, scope: &Scope) -> (String, Vec<String>) {
        let email = if scope.has("email") { self.email.as_str().to_owned() } else { String::new() };
        let roles = self.roles.iter().filter(|_| scope.has("roles")).map(|role| role.as_str().to_owned()).collect();
        (email, roles)
    }

    /// Whether the row grants everything: its `admin` role, now.
    pub fn is_admin(&self) -> bool {
        self.enabled && self.roles.iter().any(|role| role.as_str() == Role::ADMIN)
    }

    /// Whether a role that it lists gives what the role was granted, while `owner` owns the role's namespace.
    pub fn role_counts(&self, role: &Role, owner: Option<Uid>) -> bool {
        self.role_owners.get(role).is_none_or(|then| Some(*then) == owner)
    }

    /// Whether what was born of `uid` in `epoch` still stands.
    pub fn upholds(&self, uid: Uid, epoch: Epoch) -> bool {
        self.enabled && self.deleted_at.is_none() && self.uid == uid && self.epoch == epoch
    }
}

impl Record for Account {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(AccountKey::of(self.name.as_str()))
    }
    fn expires_at(&self) -> Option<Timestamp> {
        self.deleted_at
    }
}

/// The entry that lists an account: no partition holds the accounts themselves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountName {
    /// The account's name.
    pub name: Name,
}

impl AccountName {
    /// Where the names of all accounts are.
    pub const PARTITION: &'static str = "names#accounts";
}

impl Record for AccountName {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Key::new(Self::PARTITION, self.name.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The entry that makes a namespace nobody else's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamespaceOwner {
    /// The namespace.
    pub namespace: Name,
    /// The name of its owner.
    pub owner: Name,
    /// The owner's uid.
    pub uid: Uid,
}

impl NamespaceOwner {
    /// Where it is written who owns that namespace.
    pub fn key_of(namespace: &str) -> Key {
        Key::new("names#namespaces", namespace)
    }
}

impl Record for NamespaceOwner {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.namespace.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}
