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
    store::{CommitError, Key, Record, Row, When},
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
}

/// A use that is worth a write, as the row was when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    used: Used,
    when: When,
}

impl Use {
    /// The use at `used.at`, if it is worth a write.
    pub(super) fn of(used: Used, before: Option<&Row<Used>>) -> Option<Self> {
        let when = match before {
            None => When::Absent,
            Some(row) if row.record.at + EXACT_TO <= used.at => When::VersionIs(row.version),
            Some(_) => return None,
        };
        Some(Self { used, when })
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

/// Writes down a use, if it is worth a write. Of several at once one does. That this cannot be done is no reason to refuse
/// whoever came.
pub async fn mark(service: &Service, of: Option<Use>) {
    let Some(Use { used, when }) = of else { return };
    match service.commit(used.at, vec![used.put(when)]).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => {}
        Err(error) => tracing::debug!(error = %error, "the last use of a token was not written down"),
    }
}
