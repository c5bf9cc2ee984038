//! Its record: how it begins, and how it ends by hand.

use serde::{Deserialize, Serialize};

use super::mirror;
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Service,
        account::Account,
        ids::{AccountKey, Epoch, FreshId, Name, Uid},
    },
    store::{CommitError, Item, Key, Record, Row, When, Write, decode},
};

/// The record of an account's token that is always fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshToken {
    /// Where its account is.
    pub account: AccountKey,
    /// The account's name.
    pub name: Name,
    /// The account's namespace, in which the secret is read.
    pub namespace: Name,
    /// The uid of the account.
    pub uid: Uid,
    /// When the account was made: of two of one name the later one's record counts.
    pub account_created_at: Timestamp,
    /// The account's epoch when it began.
    pub epoch: Epoch,
    /// Its id, which its tokens name in `sid`.
    pub id: FreshId,
    /// When the sign-in was that it began with: `auth_time` of its tokens.
    pub begun_at: Timestamp,
}

impl FreshToken {
    /// Where an account's record is.
    pub fn key_of(account: AccountKey) -> Key {
        Key::new(format!("fresh#{account}"), "token")
    }

    /// Whether the account still is the one that it began with, in the same epoch, and enabled.
    pub fn is_upheld_by(&self, account: Option<&Account>) -> bool {
        account.is_some_and(|account| account.upholds(self.uid, self.epoch))
    }

    /// Which of two accounts, or epochs of one, is the later one.
    fn order(&self) -> (Timestamp, Epoch) {
        (self.account_created_at, self.epoch)
    }
}

impl Record for FreshToken {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.account)
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// What a sign-in writes so that its account has a token that is always fresh: nothing, if it has one.
pub(in crate::domain) struct Beginning(Option<(FreshToken, When)>, bool);

impl Beginning {
    /// With the record as it was when the account was read.
    pub(in crate::domain) fn of(
        service: &Service,
        now: Timestamp,
        account: &Account,
        kept: Option<Row<FreshToken>>,
    ) -> Self {
        if kept.as_ref().is_some_and(|row| row.record.is_upheld_by(Some(account))) {
            return Self(None, false);
        }
        let record = FreshToken {
            account: AccountKey::of(account.name.as_str()),
            name: account.name.clone(),
            namespace: account.namespace.clone(),
            uid: account.uid,
            account_created_at: account.created_at,
            epoch: account.epoch,
            id: FreshId::draw(service.entropy.as_ref()),
            begun_at: now,
        };
        let when = kept.map_or(When::Absent, |row| When::VersionIs(row.version));
        Self(Some((record, when)), account.mirror_token)
    }

    /// What is written. The record is the first of it.
    pub(in crate::domain) fn writes(&self) -> Vec<Write> {
        let Some((record, when)) = &self.0 else { return Vec::new() };
        let mirrored = self.1.then(|| mirror::look_at(&record.namespace));
        [record.put(*when)].into_iter().chain(mirrored).collect()
    }

    /// What to write in place of the record, after a conflict with this row; none if the conflict was about something else.
    pub(in crate::domain) fn again(&self, at: usize, current: Option<Item>) -> Option<Write> {
        let (record, _) = self.0.as_ref().filter(|_| at == 0)?;
        let current: Option<Row<FreshToken>> = decode(current).ok()?;
        Some(match current {
            None => record.put(When::Absent),
            Some(row) if row.record.order() < record.order() => record.put(When::VersionIs(row.version)),
            // Another sign-in has begun one: that one stays, with the tokens that were read since.
            Some(row) => Write::Check { key: record.key(), when: When::VersionIs(row.version) },
        })
    }
}

/// Ends this record, and none that was begun since. `mirrored`: its account's token is kept in the vault as well.
///
/// # Errors
/// `Absent`: it has ended. `Unavailable`.
pub(in crate::domain) async fn end(
    service: &Service,
    now: Timestamp,
    row: Row<FreshToken>,
    mirrored: bool,
    actor: &str,
) -> Result<(), Refusal> {
    let Row { record, mut version } = row;
    for _ in 0..ROUNDS {
        let mut writes = vec![Write::Delete { key: record.key(), when: When::VersionIs(version) }];
        if mirrored {
            writes.push(mirror::look_at(&record.namespace));
        }
        match service.commit(now, writes).await {
            Ok(_) => {
                tracing::info!(target: "gatemint::audit", event = "fresh_token_ended", user.name = %record.name, actor);
                return Ok(());
            }
            Err(CommitError::Conflict { current, .. }) => {
                let same = decode::<FreshToken>(current)?.filter(|row| row.record.id == record.id);
                version = same.ok_or_else(|| Refusal::absent("the token has ended"))?.version;
            }
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("the record of a fresh token kept changing"))
}
