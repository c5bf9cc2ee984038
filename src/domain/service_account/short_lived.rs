//! The record of a short-lived token: each has its own, so each can be ended.

use serde::{Deserialize, Serialize};

use super::ServiceAccount;
use crate::{
    clock::Timestamp,
    domain::ids::{Epoch, Jti, Name, Uid},
    store::{Key, Record},
};

/// A short-lived token's record. The token itself is never stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShortLived {
    /// Where its service account lives.
    pub namespace: Name,
    /// The service account's name there.
    pub name: Name,
    /// The service account's uid.
    pub uid: Uid,
    /// Its epoch when the token was issued.
    pub epoch: Epoch,
    /// The token's `jti`.
    pub id: Jti,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Who asked for it.
    pub by: String,
}

impl ShortLived {
    /// Where the record of that token is.
    pub fn key_of(namespace: &str, name: &str, id: &Jti) -> Key {
        Key::new(Self::partition(namespace), format!("{name}/{id}"))
    }

    /// Where those of a namespace are, one service account's after another's.
    pub(super) fn partition(namespace: &str) -> String {
        // No namespace has a slash: this is not the partition of another one's service accounts.
        format!("sa#{namespace}/short-lived")
    }

    /// Whether it stands with its service account.
    pub fn stands(&self, account: &ServiceAccount, now: Timestamp) -> bool {
        self.uid == account.uid && self.epoch == account.epoch && now < self.expires_at
    }
}

impl Record for ShortLived {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.namespace.as_str(), self.name.as_str(), &self.id)
    }
    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }
}
