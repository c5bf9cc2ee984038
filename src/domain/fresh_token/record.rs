//! Its record: how it begins, and how it ends by hand.

use serde::{Deserialize, Serialize};

use super::mirror;
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Service,
        account::Account,
        ids::{AccountKey, Epoch, FreshId, Name, Uid},
    },
    store::{CommitError, Item, Key, Record, Row, Version, When, Write, decode},
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
pub(in crate::domain) enum Beginning {
    /// It has one.
    Stands,
    /// Now it begins.
    Now {
        /// The record.
        record: Box<FreshToken>,
        /// What its row has to be.
        when: When,
        /// The version of the account's row that it was made of.
        account: Version,
        /// Whether it is mirrored, as far as that row says.
        mirrored: bool,
    },
}

impl Beginning {
    /// With the record as it was when the account was read.
    pub(in crate::domain) fn of(
        service: &Service,
        now: Timestamp,
        account: &Row<Account>,
        kept: Option<Row<FreshToken>>,
    ) -> Self {
        let Row { record: account, version } = account;
        if kept.as_ref().is_some_and(|row| row.record.is_upheld_by(Some(account))) {
            return Self::Stands;
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
        Self::Now {
            record: Box::new(record),
            when: kept.map_or(When::Absent, |row| When::VersionIs(row.version)),
            account: *version,
            mirrored: account.mirror_token,
        }
    }

    /// Whether it begins now.
    pub(in crate::domain) fn is_now(&self) -> bool {
        matches!(self, Self::Now { .. })
    }

    /// What is written: the record, and the account must be what it was, or a wish to have it mirrored might come between
    /// and find nothing to mirror. No other write of the commit may be about the account.
    pub(in crate::domain) fn writes(&self) -> Vec<Write> {
        let Self::Now { record, when, account, mirrored } = self else { return Vec::new() };
        let check = Write::Check { key: Account::key_of(record.account), when: When::VersionIs(*account) };
        let mirrored = mirrored.then(|| mirror::look_at(&record.namespace));
        [record.put(*when), check].into_iter().chain(mirrored).collect()
    }

    /// What to write in place of the write at this place, after a conflict with this row; none if nothing can be.
    pub(in crate::domain) fn again(&self, at: usize, current: Option<Item>) -> Option<Write> {
        let Self::Now { record, mirrored, .. } = self else { return None };
        if at == 0 {
            let current: Option<Row<FreshToken>> = decode(current).ok()?;
            return Some(match current {
                None => record.put(When::Absent),
                Some(row) if row.record.order() < record.order() => record.put(When::VersionIs(row.version)),
                // Another sign-in has begun one: that one stays, with the tokens that were read since.
                Some(row) => Write::Check { key: record.key(), when: When::VersionIs(row.version) },
            });
        }
        let account: Row<Account> = decode(current).ok().flatten().filter(|_| at == 1)?;
        let is_same = account.record.uid == record.uid && account.record.deleted_at.is_none();
        is_same.then(|| {
            if account.record.mirror_token && !mirrored {
                return mirror::look_at(&record.namespace);
            }
            Write::Check { key: Account::key_of(record.account), when: When::VersionIs(account.version) }
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
    let Row { record, version } = row;
    let mut writes = vec![Write::Delete { key: record.key(), when: When::VersionIs(version) }];
    if mirrored {
        writes.push(mirror::look_at(&record.namespace));
    }
    match service.commit(now, writes).await {
        Ok(_) => {
            tracing::info!(
                target: "gatemint::audit", event = "fresh_token_ended", user.name = %record.name, fresh.id = %record.id, actor,
            );
            Ok(())
        }
        // A record is never written again under its id: it has ended, and another one has begun.
        Err(CommitError::Conflict { .. }) => Err(Refusal::absent("the token has ended")),
        Err(unavailable) => Err(unavailable.into()),
    }
}
