//! The session row.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Generation;
use crate::{
    clock::Timestamp,
    domain::{
        account::Account,
        client::Client,
        grant::Scope,
        ids::{AccountKey, Epoch, Name, SessionId, Uid},
    },
    store::{Key, Record},
};

/// Rows are purged a day after their logical end, so that a token that is presented late hears what happened.
const KEPT_AFTER_END: Duration = Duration::from_hours(24);

/// A session. It holds the generation of its refresh token and the pepper that it was derived with, never the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Where its account is.
    pub account: AccountKey,
    /// The uid of the account.
    pub uid: Uid,
    /// The account's epoch when the session was opened: as it was in the row that the password was judged against.
    pub epoch: Epoch,
    /// The client that it was opened through.
    pub client: Name,
    /// The uid of the client.
    pub client_uid: Uid,
    /// The client's epoch when the session was opened.
    pub client_epoch: Epoch,
    /// What was granted.
    pub scope: Scope,
    /// When the password was given (`auth_time`).
    pub opened_at: Timestamp,
    /// The generation of the one refresh token that is current.
    pub generation: Generation,
    /// The id of the pepper that the current token was derived with.
    pub pepper: u8,
    /// The pepper that the token before the current one was derived with; none if there was none, or if an older version
    /// wrote the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pepper_before: Option<u8>,
    /// When the current token was made.
    pub rotated_at: Timestamp,
    /// When the session ends if nothing moves it on: what `refresh_expires_in` promised.
    pub ends_at: Timestamp,
}

impl Session {
    /// Where the sessions of an account are.
    pub fn partition(account: AccountKey) -> String {
        format!("session#{account}")
    }

    /// Where a session is.
    pub fn key_of(account: AccountKey, id: SessionId) -> Key {
        Key::new(Self::partition(account), id.to_string())
    }

    /// Whether account and client still are those that it was opened for, in the same epochs, and enabled.
    pub fn is_upheld_by(&self, account: Option<&Account>, client: Option<&Client>) -> bool {
        account.is_some_and(|account| account.upholds(self.uid, self.epoch))
            && client.is_some_and(|client| client.upholds(self.client_uid, self.client_epoch))
    }

    /// Whether its time has come.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.ends_at
    }
}

impl Record for Session {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.account, self.id)
    }
    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.ends_at + KEPT_AFTER_END)
    }
}
