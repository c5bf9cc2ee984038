//! When a long-lived token was last used. In rows of their own: whoever writes them needs no right on the accounts' rows,
//! which decide what is good.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    domain::{
        Service,
        ids::{Jti, Name},
    },
    store::{Key, Record, When},
};

/// How exact it is: more often, a busy token would write a row with each request.
const EXACT_TO: Duration = Duration::from_hours(1);

/// How long it is kept after the last use.
const KEPT: Duration = Duration::from_hours(400 * 24);

/// When a long-lived token was last used, to the hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Where its service account lives.
    pub namespace: Name,
    /// The service account's name.
    pub name: Name,
    /// The token's `jti`.
    pub id: Jti,
    /// When.
    pub at: Timestamp,
}

impl Used {
    /// Where it is written when that token was last used.
    pub fn key_of(namespace: &str, name: &str, id: &Jti) -> Key {
        Key::new(format!("used#{namespace}"), format!("{name}/{id}"))
    }

    /// Whether a use at `now` is worth a write.
    pub(super) fn is_due(before: Option<&Self>, now: Timestamp) -> bool {
        before.is_none_or(|before| before.at + EXACT_TO <= now)
    }
}

impl Record for Used {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.namespace.as_str(), self.name.as_str(), &self.id)
    }
    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.at + KEPT)
    }
}

/// Writes down a use, if it is worth a write. That this cannot be done is no reason to refuse whoever came.
pub async fn mark(service: &Service, used: Option<Used>) {
    let Some(used) = used else { return };
    if let Err(error) = service.commit(used.at, vec![used.put(When::Always)]).await {
        tracing::debug!(error = %error, "the last use of a token was not written down");
    }
}
