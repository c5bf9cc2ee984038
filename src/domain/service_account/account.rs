//! The service account's row: what it is, and its long-lived tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    domain::{
        access::Principal,
        account::Account,
        ids::{AccountKey, Epoch, Jti, Name, Uid},
        same_secret,
    },
    store::{Key, Record},
};

/// A service account. It lives in the namespace of an account, its owner, and stands as long as she does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Where it lives, for ever.
    pub namespace: Name,
    /// Its name there, for ever.
    pub name: Name,
    /// What it is: one that is made again under the name has another one.
    pub uid: Uid,
    /// Whose it is.
    pub owner: Owner,
    /// When it was made.
    pub created_at: Timestamp,
    /// What its owner writes on it.
    pub labels: BTreeMap<String, String>,
    /// What the clients of one dialect are told to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// Its long-lived tokens, the oldest first; those that ended are dropped at the next change.
    pub tokens: Vec<LongLived>,
    /// Counts how often all its short-lived tokens were ended at once.
    pub epoch: Epoch,
    /// When its owner made the Role by which it may request tokens of itself, which without its binding gives nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_request_role: Option<Timestamp>,
    /// Set when it was deleted: the row is then past its purge time, so it is absent; this is for a reader whose clock is
    /// behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// The account that owns a service account's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name.
    pub name: Name,
    /// Its uid.
    pub uid: Uid,
}

/// Cluster, project and organisation that a client uses unless it is told otherwise. Shown as they were given; nothing is
/// judged by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// The cluster.
    pub cluster: String,
    /// The project.
    pub project: String,
    /// The organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
}

/// A long-lived token's record. The token itself is never stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LongLived {
    /// The token's `jti`.
    pub id: Jti,
    /// SHA-256 of the token, in base64url.
    pub sha256: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Until when it is good; none: until it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How it came about.
    pub by: IssuedBy,
}

/// How a long-lived token came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuedBy {
    /// With its account.
    Creation,
    /// By a rotation.
    Rotation,
    /// By reading the account's Secret.
    Secret,
}

impl IssuedBy {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::Rotation => "rotation",
            Self::Secret => "secret",
        }
    }
}

impl LongLived {
    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether this is its token, in a time that does not depend on where the two differ.
    pub(super) fn is_of(&self, token_sha256: &str) -> bool {
        same_secret(self.sha256.as_bytes(), token_sha256.as_bytes())
    }
}

impl ServiceAccount {
    /// Where the service account of that name is.
    pub fn key_of(namespace: &str, name: &str) -> Key {
        Key::new(Self::partition(namespace), name)
    }

    /// Where those of a namespace are.
    pub(super) fn partition(namespace: &str) -> String {
        format!("sa#{namespace}")
    }

    /// `service-account-` and its uid.
    pub fn id(&self) -> String {
        format!("service-account-{}", self.uid.uuid())
    }

    /// As whom it holds permissions.
    pub fn principal(&self) -> Principal {
        Principal::ServiceAccount { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// What Kubernetes calls it: `system:serviceaccount:NAMESPACE:NAME`.
    pub fn user_name(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// The groups that Kubernetes has it in.
    pub fn groups(&self) -> Vec<String> {
        let of_namespace = format!("system:serviceaccounts:{}", self.namespace);
        vec!["system:serviceaccounts".to_owned(), of_namespace, "system:authenticated".to_owned()]
    }

    /// The Secret whose data issues a token.
    pub fn secret_name(&self) -> String {
        format!("{}-token", self.name)
    }

    /// Its long-lived tokens that are good at `now`.
    pub fn live_tokens(&self, now: Timestamp) -> impl Iterator<Item = &LongLived> {
        self.tokens.iter().filter(move |token| !token.is_over(now))
    }

    /// Where its owner's account is.
    pub fn owner_key(&self) -> AccountKey {
        AccountKey::of(self.owner.name.as_str())
    }

    /// Whether it is that account's.
    pub fn is_of(&self, owner: &Account) -> bool {
        self.deleted_at.is_none() && owner.deleted_at.is_none() && owner.uid == self.owner.uid
    }

    /// Whether it stands: its owner is there, and enabled.
    pub fn is_upheld_by(&self, owner: Option<&Account>) -> bool {
        owner.is_some_and(|owner| self.is_of(owner) && owner.enabled)
    }
}

impl Record for ServiceAccount {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.namespace.as_str(), self.name.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        self.deleted_at
    }
}
