//! An attempt at a password: reserved before it is judged, then given back or booked.
//!
//! The I/O around [`super::throttle`]. A refused attempt writes nothing, so strangers who have spent the allowance
//! cannot slow down the owner's writes either.

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::hmac;

use super::{
    Comer,
    throttle::{AddressThrottle, NameThrottle, Tag},
};
use crate::{
    clock::Timestamp,
    domain::{Refusal, RefusalKind, Service, ids::random_id},
    metric::{self, Throttle},
    store::{CommitError, Item, Key, Record, Row, StoreError, When, Write, decode},
};

/// As many attempts as the free allowance may be under way on one row, and each writes it twice.
const CONTENDED_ROUNDS: usize = 10;

/// What is known of the attempts on a name and from an address.
pub struct Attempts {
    name: Tag,
    address: Tag,
    name_row: Option<Row<NameThrottle>>,
    address_row: Option<Row<AddressThrottle>>,
}

/// An attempt that was reserved, to be given back, booked or withdrawn. One that is dropped (its password could not be
/// judged, its process died) becomes a failure after a minute.
pub struct Attempt {
    id: String,
    address: Tag,
    name_row: Row<NameThrottle>,
    address_row: Option<Row<AddressThrottle>>,
}

impl Attempts {
    /// For a name as it was typed, and where it was typed.
    pub fn new(pepper: &hmac::Key, name: &str, address: IpAddr) -> Self {
        Self {
            name: Tag::of_name(pepper, name),
            address: Tag::of_address(pepper, address),
            name_row: None,
            address_row: None,
        }
    }

    /// The two rows that are needed.
    pub fn keys(&self) -> [Key; 2] {
        [NameThrottle::key_of(&self.name), AddressThrottle::key_of(&self.address)]
    }

    /// Takes the two rows.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn accept(&mut self, name: Option<Item>, address: Option<Item>) -> Result<(), StoreError> {
        self.name_row = decode(name)?;
        self.address_row = decode(address)?;
        Ok(())
    }

    /// Whether the address is known for the name.
    pub fn comer(&self, now: Timestamp) -> Comer {
        let known = self.name_row.as_ref().is_some_and(|row| row.record.knows(now, &self.address));
        if known { Comer::Known } else { Comer::Stranger }
    }

    /// Reserves an attempt: one conditional write, or none if it is refused.
    ///
    /// # Errors
    /// `Throttled`, `Unavailable`.
    pub async fn reserve(self, service: &Service, now: Timestamp) -> Result<Attempt, Refusal> {
        // Whoever shares an address with the owner must not use up what is hers: at an address that is known for the
        // name, its own counter there is what counts.
        if let Some(row) = self.address_row.as_ref().filter(|_| self.comer(now) == Comer::Stranger) {
            row.record.check(now).map_err(|wait| throttled_by(Throttle::Address, wait))?;
        }
        let id = random_id(service.entropy.as_ref());
        let mut row = self.name_row;
        for _ in 0..CONTENDED_ROUNDS {
            let when = condition(row.as_ref());
            let mut record = row.map_or_else(|| NameThrottle::new(self.name.clone()), |row| row.record);
            let reserved = record.reserve(now, &self.address, id.clone());
            reserved.map_err(|wait| throttled_by(Throttle::Name, wait))?;
            match service.commit(now, vec![record.put(when)]).await {
                Ok(version) => {
                    let name_row = Row { record, version };
                    return Ok(Attempt { id, address: self.address, name_row, address_row: self.address_row });
                }
                Err(CommitError::Conflict { current, .. }) => row = decode(current)?,
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
        Err(throttled_by(Throttle::Name, Duration::from_secs(1)))
    }
}

impl Attempt {
    /// The right password: commits `needed` together with the reservation given back, and `welcome` unless one of
    /// those meets a conflict: they can be done another time. If one of `needed` meets a conflict, `again` may say by
    /// the row that won what to write instead; if it does not, nothing is done, but the attempt costs nothing all the
    /// same.
    ///
    /// # Errors
    /// A conflict of one of `needed`, or `Unavailable`.
    pub async fn give_back_with(
        self,
        service: &Service,
        now: Timestamp,
        needed: Vec<Write>,
        welcome: Vec<Write>,
        again: impl Fn(usize, Option<Item>) -> Option<Write>,
    ) -> Result<(), CommitError> {
        let Self { id, address, name_row, .. } = self;
        let reserved = Row { record: name_row.record.clone(), version: name_row.version };
        let given =
            settle(service, now, name_row, needed, welcome, again, |record| record.give_back(now, &address, &id)).await;
        if matches!(given, Err(CommitError::Conflict { .. })) {
            let withdrawn =
                settle(service, now, reserved, Vec::new(), Vec::new(), |_, _| None, |record| record.withdraw(now, &id));
            if let Err(error) = withdrawn.await {
                tracing::warn!(cause = %error, "an attempt could not be withdrawn; it counts as a failure in a minute");
            }
        }
        given
    }

    /// Nothing was learned from it, and it costs nothing.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn withdraw(self, service: &Service, now: Timestamp) -> Result<(), CommitError> {
        let Self { id, name_row, .. } = self;
        settle(service, now, name_row, Vec::new(), Vec::new(), |_, _| None, |record| record.withdraw(now, &id)).await
    }

    /// A wrong password. If it cannot be written, the reservation becomes a failure by itself in a minute.
    pub async fn book_failure(self, service: &Service, now: Timestamp) {
        let Self { id, address, mut name_row, mut address_row } = self;
        for _ in 0..CONTENDED_ROUNDS {
            let mut name = name_row.record.clone();
            name.book_failure(now, &id);
            let address_when = condition(address_row.as_ref());
            let mut failures =
                address_row.as_ref().map_or_else(|| AddressThrottle::new(address.clone()), |row| row.record.clone());
            failures.book_failure(now);
            let writes = vec![name.put(When::VersionIs(name_row.version)), failures.put(address_when)];
            let changed = match service.commit(now, writes).await {
                Ok(_) => return,
                Err(CommitError::Conflict { at: 0, current }) => match decode(current) {
                    Ok(Some(row)) => {
                        name_row = row;
                        Ok(())
                    }
                    // Purged or unreadable: nothing is left to book on.
                    Ok(None) => return,
                    Err(error) => Err(error),
                },
                Err(CommitError::Conflict { current, .. }) => decode(current).map(|row| address_row = row),
                Err(CommitError::Unavailable(error)) => Err(error),
            };
            if let Err(error) = changed {
                tracing::warn!(cause = %error, "a failed sign-in could not be booked; it counts in a minute");
                return;
            }
        }
        tracing::warn!("a failed sign-in could not be booked for contention; it counts in a minute");
    }
}

/// Commits the writes and a change of the name's row, as often as that row changes underneath.
async fn settle(
    service: &Service,
    now: Timestamp,
    mut row: Row<NameThrottle>,
    mut needed: Vec<Write>,
    mut welcome: Vec<Write>,
    again: impl Fn(usize, Option<Item>) -> Option<Write>,
    change: impl Fn(&mut NameThrottle),
) -> Result<(), CommitError> {
    for _ in 0..CONTENDED_ROUNDS {
        let mut record = row.record.clone();
        change(&mut record);
        let mut writes = needed.clone();
        writes.push(record.put(When::VersionIs(row.version)));
        writes.extend(welcome.iter().cloned());
        match service.commit(now, writes).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { at, current }) if at == needed.len() => {
                row = decode(current)?.ok_or_else(|| StoreError::new("a throttle row vanished during an attempt"))?;
            }
            Err(CommitError::Conflict { at, .. }) if at > needed.len() => welcome.clear(),
            Err(CommitError::Conflict { at, current }) => match again(at, current.clone()) {
                Some(write) => needed[at] = write,
                None => return Err(CommitError::Conflict { at, current }),
            },
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::new("a throttle row kept changing").into())
}

fn condition<T>(row: Option<&Row<T>>) -> When {
    row.map_or(When::Absent, |row| When::VersionIs(row.version))
}

fn throttled_by(by: Throttle, after: Duration) -> Refusal {
    metric::throttled(by);
    let after = after.max(Duration::from_secs(1));
    Refusal::new(RefusalKind::Throttled(after), "too many attempts; try again later")
}
