//! How guessing a password is slowed down without keeping its owner out.
//!
//! A name, known or not, has one row. An attempt from an address at which the right password was given in the last
//! 30 days draws on that address's own counter; any other draws on the name's. So strangers exhaust the strangers'
//! allowance, never the owner's. An attempt is *reserved* by a conditional write before the password is hashed: of a
//! thousand guesses in parallel only the allowance is ever judged. Everything here is pure; the callers do the I/O.

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    store::{Key, Record},
};

/// Failures that cost nothing.
const FREE: u32 = 5;
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// Failures in one (UTC) day, after which the next one waits for tomorrow.
const A_DAY: u32 = 100;
/// Attempts that may be under way at once.
const MOST_PENDING: usize = 32;
/// An attempt that was never decided (its process died) counts as a failure after this long.
const PENDING_ENDS: Duration = Duration::from_mins(1);
/// Addresses that are remembered for a name.
const MOST_KNOWN: usize = 16;
/// How long an address stays known after the right password.
const KNOWN_FOR: Duration = Duration::from_secs(30 * DAY);
/// Failures from one address in one hour, for all names together.
const AN_HOUR_PER_ADDRESS: u32 = 100;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Names a row without naming the user or the address: an HMAC under the active pepper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(String);

impl Tag {
    const LABEL: &'static [u8] = b"gatemint throttle v1\0";

    fn of(pepper: &hmac::Key, what: &[u8], value: &[u8]) -> Self {
        let mut mac = hmac::Context::with_key(pepper);
        mac.update(Self::LABEL);
        mac.update(what);
        mac.update(value);
        Self(URL_SAFE_NO_PAD.encode(&mac.sign().as_ref()[..16]))
    }

    /// Of a name that somebody typed, whatever it is.
    pub fn of_name(pepper: &hmac::Key, name: &str) -> Self {
        Self::of(pepper, b"name\0", name.as_bytes())
    }

    /// Of an address: IPv4 as it is, IPv6 by its /64, since that is what one subscriber has.
    pub fn of_address(pepper: &hmac::Key, address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(four) => Self::of(pepper, b"v4\0", &four.octets()),
            IpAddr::V6(six) => Self::of(pepper, b"v6\0", &six.octets()[..8]),
        }
    }
}

/// How far the clocks of two machines may differ.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

/// Whether a clock was ahead when this was written.
fn is_future(at: Timestamp, now: Timestamp) -> bool {
    at > now + CLOCKS_DIFFER
}

/// Counts failures; they halve with every quiet hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    failures: u32,
    last: Timestamp,
    day: u64,
    today: u32,
}

impl Counter {
    fn failures(&self, now: Timestamp) -> u32 {
        let quiet_hours = now.since(self.last).as_secs() / HOUR;
        u32::try_from(quiet_hours).ok().and_then(|hours| self.failures.checked_shr(hours)).unwrap_or(0)
    }

    fn today(&self, now: Timestamp) -> u32 {
        if self.day == now.0 / DAY { self.today } else { 0 }
    }

    fn forget_the_future(&mut self, now: Timestamp) {
        if is_future(self.last, now) {
            *self = Self::default();
        }
    }

    fn book(&mut self, now: Timestamp) {
        let now = Timestamp(now.0.max(self.last.0));
        *self = Self {
            failures: self.failures(now).saturating_add(1),
            last: now,
            day: now.0 / DAY,
            today: self.today(now).saturating_add(1),
        };
    }

    /// How long the next attempt has to wait, with those under way counted as failures: each may be one.
    fn wait(&self, now: Timestamp, pending: impl Iterator<Item = Timestamp>) -> Option<Duration> {
        let (under_way, latest) = pending.fold((0, self.last), |(count, latest), at| (count + 1, latest.max(at)));
        if self.today(now) + under_way >= A_DAY {
            return Some(Duration::from_secs(DAY - now.0 % DAY));
        }
        let doublings = (self.failures(now) + under_way).checked_sub(FREE)?;
        let wait = Duration::from_secs(1u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(LONGEST_WAIT);
        wait.checked_sub(now.since(latest)).filter(|left| !left.is_zero())
    }
}

/// An attempt under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    id: String,
    at: Timestamp,
    /// The known address that it draws on; none: the name's own counter.
    known: Option<Tag>,
}

/// An address at which the right password was given.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KnownAddress {
    address: Tag,
    at: Timestamp,
    counter: Counter,
}

/// What is remembered of the attempts on one name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NameThrottle {
    name: Tag,
    strangers: Counter,
    pending: Vec<Pending>,
    known: Vec<KnownAddress>,
    /// The latest moment that anything was written, from which the row's purge time follows.
    touched: Timestamp,
}

impl NameThrottle {
    /// Where the row of a name is.
    pub fn key_of(name: &Tag) -> Key {
        Key::new(format!("throttle#{}", name.0), "name")
    }

    /// Nothing is remembered.
    pub fn new(name: Tag) -> Self {
        Self { name, strangers: Counter::default(), pending: Vec::new(), known: Vec::new(), touched: Timestamp(0) }
    }

    /// Whether the right password was given at this address within the last 30 days.
    pub fn knows(&self, now: Timestamp, address: &Tag) -> bool {
        self.known.iter().any(|known| known.address == *address && now.since(known.at) < KNOWN_FOR)
    }

    /// Reserves an attempt, or says how long to wait.
    ///
    /// # Errors
    /// How long the next attempt from this address has to wait, at least a second.
    pub fn reserve(&mut self, now: Timestamp, address: &Tag, id: String) -> Result<(), Duration> {
        self.settle(now);
        let known = self.known.iter().find(|known| known.address == *address);
        let drawn_on = known.map(|known| known.address.clone());
        let counter = known.map_or(self.strangers, |known| known.counter);
        let under_way = self.pending.iter().filter(|pending| pending.known == drawn_on).map(|pending| pending.at);
        if let Some(wait) = counter.wait(now, under_way) {
            return Err(wait);
        }
        // A place among the pending is kept for addresses that are known, or strangers could keep the owner out here.
        let strangers_places = MOST_PENDING / 2;
        let strangers = self.pending.iter().filter(|pending| pending.known.is_none()).count();
        if self.pending.len() >= MOST_PENDING || (drawn_on.is_none() && strangers >= strangers_places) {
            return Err(Duration::from_secs(1));
        }
        self.pending.push(Pending { id, at: now, known: drawn_on });
        self.touched = now;
        Ok(())
    }

    /// The attempt found the right password: it costs nothing, and its address is known from now on.
    pub fn give_back(&mut self, now: Timestamp, address: &Tag, id: &str) {
        self.settle(now);
        self.pending.retain(|pending| pending.id != id);
        let counter = self.known.iter().find(|known| known.address == *address).map(|known| known.counter);
        self.known.retain(|known| known.address != *address);
        self.known.push(KnownAddress { address: address.clone(), at: now, counter: counter.unwrap_or_default() });
        if self.known.len() > MOST_KNOWN {
            self.known.remove(0);
        }
        self.touched = now;
    }

    /// The attempt was undone before anything was judged: it costs nothing and teaches nothing.
    pub fn withdraw(&mut self, now: Timestamp, id: &str) {
        self.settle(now);
        self.pending.retain(|pending| pending.id != id);
        self.touched = now;
    }

    /// The attempt found a wrong password.
    pub fn book_failure(&mut self, now: Timestamp, id: &str) {
        self.settle(now);
        if let Some(at) = self.pending.iter().position(|pending| pending.id == id) {
            let pending = self.pending.remove(at);
            self.counter(pending.known.as_ref()).book(now);
        }
        self.touched = now;
    }

    fn counter(&mut self, known: Option<&Tag>) -> &mut Counter {
        let known = known.and_then(|address| self.known.iter().position(|known| known.address == *address));
        match known {
            Some(at) => &mut self.known[at].counter,
            None => &mut self.strangers,
        }
    }

    /// Does what time has done: attempts that were never decided became failures, addresses were forgotten.
    fn settle(&mut self, now: Timestamp) {
        // A clock that was ahead must not keep anybody out once it is right again: what it counted is forgotten.
        self.strangers.forget_the_future(now);
        self.pending.retain(|pending| !is_future(pending.at, now));
        for known in &mut self.known {
            known.at = known.at.min(now);
            known.counter.forget_the_future(now);
        }
        let (over, pending): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|pending| now.since(pending.at) > PENDING_ENDS);
        self.pending = pending;
        for attempt in over {
            self.counter(attempt.known.as_ref()).book(attempt.at);
        }
        self.known.retain(|known| now.since(known.at) < KNOWN_FOR);
    }
}

impl Record for NameThrottle {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(&self.name)
    }
    /// When nothing that it says would matter any more.
    fn expires_at(&self) -> Option<Timestamp> {
        let forgotten = if self.known.is_empty() { Duration::from_secs(2 * DAY) } else { KNOWN_FOR };
        Some(self.touched + forgotten)
    }
}

/// What is remembered of the failures from one address in the current hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddressThrottle {
    address: Tag,
    hour: u64,
    failures: u32,
}

impl AddressThrottle {
    /// Where the row of an address is.
    pub fn key_of(address: &Tag) -> Key {
        Key::new(format!("throttle#{}", address.0), "address")
    }

    /// Nothing is remembered.
    pub fn new(address: Tag) -> Self {
        Self { address, hour: 0, failures: 0 }
    }

    /// Whether another attempt may be made.
    ///
    /// # Errors
    /// How long this address has to wait.
    pub fn check(&self, now: Timestamp) -> Result<(), Duration> {
        if self.hour == now.0 / HOUR && self.failures >= AN_HOUR_PER_ADDRESS {
            return Err(Duration::from_secs(HOUR - now.0 % HOUR));
        }
        Ok(())
    }

    /// One more failure.
    pub fn book_failure(&mut self, now: Timestamp) {
        let hour = now.0 / HOUR;
        let failures = if self.hour == hour { self.failures } else { 0 };
        self.hour = hour;
        self.failures = failures.saturating_add(1);
    }
}

impl Record for AddressThrottle {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(&self.address)
    }
    fn expires_at(&self) -> Option<Timestamp> {
        Some(Timestamp((self.hour + 2) * HOUR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[9; 32])
    }
    fn address(text: &str) -> Tag {
        Tag::of_address(&pepper(), text.parse().unwrap())
    }
    fn ada() -> NameThrottle {
        NameThrottle::new(Tag::of_name(&pepper(), "ada"))
    }
    const NOON: Timestamp = Timestamp(20_000 * DAY + 12 * HOUR);

    #[test]
    fn five_guesses_are_free_then_each_waits_twice_as_long() {
        let (mut row, stranger) = (ada(), address("192.0.2.1"));
        let mut now = NOON;
        for n in 0..FREE {
            row.reserve(now, &stranger, n.to_string()).unwrap();
            row.book_failure(now, &n.to_string());
        }
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let wait = row.reserve(now, &stranger, "x".into()).unwrap_err();
            assert_eq!(wait, Duration::from_secs(expected));
            assert!(row.reserve(now + wait.saturating_sub(Duration::from_secs(1)), &stranger, "x".into()).is_err());
            now = now + wait;
            row.reserve(now, &stranger, "x".into()).unwrap();
            row.book_failure(now, "x");
        }
    }

    #[test]
    fn guesses_under_way_count_as_failures() {
        let (mut row, stranger) = (ada(), address("192.0.2.1"));
        let reserved = (0..1000).filter(|n| row.reserve(NOON, &stranger, n.to_string()).is_ok()).count();
        assert_eq!(reserved, FREE as usize);
    }

    #[test]
    fn an_attempt_whose_process_died_becomes_a_failure() {
        let (mut row, stranger) = (ada(), address("192.0.2.1"));
        for n in 0..FREE {
            row.reserve(NOON, &stranger, n.to_string()).unwrap();
        }
        let later = NOON + Duration::from_secs(61);
        row.reserve(later, &stranger, "next".into()).unwrap();
        assert_eq!((row.pending.len(), row.strangers.failures), (1, FREE));
    }

    #[test]
    fn strangers_do_not_keep_the_owner_out() {
        let (mut row, home) = (ada(), address("198.51.100.7"));
        row.reserve(NOON, &home, "mine".into()).unwrap();
        row.give_back(NOON, &home, "mine");
        for n in 0..200 {
            let stranger = address(&format!("203.0.113.{n}"));
            if row.reserve(NOON, &stranger, n.to_string()).is_ok() && n % 2 == 0 {
                row.book_failure(NOON, &n.to_string());
            }
        }
        row.reserve(NOON, &home, "again".into()).unwrap();
    }

    #[test]
    fn a_hundred_failures_are_a_days_allowance() {
        let (mut row, stranger) = (ada(), address("192.0.2.1"));
        row.strangers =
            Counter { failures: 0, last: NOON - Duration::from_secs(3 * HOUR), day: NOON.0 / DAY, today: 99 };
        row.reserve(NOON, &stranger, "last".into()).unwrap();
        row.book_failure(NOON, "last");
        assert_eq!(row.reserve(NOON, &stranger, "x".into()), Err(Duration::from_secs(12 * HOUR)));
        row.reserve(NOON + Duration::from_secs(12 * HOUR), &stranger, "x".into()).unwrap();
    }

    #[test]
    fn failures_halve_with_every_quiet_hour() {
        let counter = Counter { failures: 12, last: NOON, day: 0, today: 0 };
        let after = |hours: u64| counter.failures(NOON + Duration::from_secs(hours * HOUR));
        assert_eq!([after(0), after(1), after(2), after(3), after(40)], [12, 6, 3, 1, 0]);
    }

    #[test]
    fn an_address_is_known_for_thirty_days_and_sixteen_at_most() {
        let mut row = ada();
        for n in 0..20 {
            row.give_back(NOON, &address(&format!("198.51.100.{n}")), "");
        }
        assert_eq!(row.known.len(), MOST_KNOWN);
        assert!(row.known.iter().all(|known| known.address != address("198.51.100.3")));
        row.settle(NOON + KNOWN_FOR);
        assert!(row.known.is_empty());
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nobody_out_once_it_is_right() {
        let (mut row, home) = (ada(), address("198.51.100.7"));
        let ahead = NOON + Duration::from_hours(400 * 24);
        row.give_back(ahead, &home, "");
        for n in 0..FREE {
            row.reserve(ahead, &home, n.to_string()).unwrap();
            row.book_failure(ahead, &n.to_string());
        }
        row.clone().reserve(ahead, &home, "x".into()).unwrap_err();
        row.clone().reserve(NOON, &home, "x".into()).unwrap();
        assert!(row.knows(NOON, &home), "what was learned stays");
    }

    #[test]
    fn one_address_may_fail_a_hundred_times_an_hour() {
        let mut row = AddressThrottle::new(address("192.0.2.1"));
        for _ in 0..AN_HOUR_PER_ADDRESS {
            row.check(NOON).unwrap();
            row.book_failure(NOON);
        }
        assert_eq!(row.check(NOON), Err(Duration::from_secs(HOUR)));
        row.check(NOON + Duration::from_secs(HOUR)).unwrap();
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }
}
