//! What is measured: every metric's name, unit and labels in one place, and a function for each event.
//!
//! Whoever has something to count calls a function of this module, as he would write a log line. Until
//! [`switch_on`] was called each of them returns at once. Labels take values from short lists: never a name, a path, an
//! id or a client, or a stranger could fill the memory with series.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) const GRANTS: &str = "gatemint_grants_total";
const GRANT_DURATION: &str = "gatemint_grant_duration_seconds";
pub(crate) const REQUEST_DURATION: &str = "gatemint_http_request_duration_seconds";
pub(crate) const REPLAYS: &str = "gatemint_replays_total";
pub(crate) const REPEATS: &str = "gatemint_repeats_total";
pub(crate) const THROTTLED: &str = "gatemint_throttled_total";
pub(crate) const STORE_ROUND_TRIPS: &str = "gatemint_store_round_trips_total";
pub(crate) const STORE_RETRIES: &str = "gatemint_store_retries_total";
pub(crate) const STORE_DURATION: &str = "gatemint_store_duration_seconds";
pub(crate) const AUTHORIZATIONS: &str = "gatemint_authorizations_total";
pub(crate) const MIRROR_WRITTEN: &str = "gatemint_mirror_written_total";
pub(crate) const MIRROR_FAILED: &str = "gatemint_mirror_failed_total";
pub(crate) const MIRROR_LEFT: &str = "gatemint_mirror_left_total";
pub(crate) const MIRROR_LEAST_LIFE: &str = "gatemint_mirror_least_left_seconds";
const HASHING_QUEUE: &str = "gatemint_hashing_queue";
const HASHING_DURATION: &str = "gatemint_hashing_seconds";
const CONNECTIONS: &str = "gatemint_connections";
const CONNECTIONS_REFUSED: &str = "gatemint_connections_refused_total";
const LOG_LINES_DROPPED: &str = "gatemint_log_lines_dropped_total";
const BUILD: &str = "gatemint_build_info";
/// Prometheus' own name for it, which its dashboards know.
const START: &str = "process_start_time_seconds";

/// What a store takes, and a request without a password: tens of microseconds to what nobody waits for.
const QUICK: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// A hash takes 15 ms at least.
const SLOW: &[f64] = &[0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The histograms with the upper bounds of their buckets, in seconds.
pub const BUCKETS: &[(&str, &[f64])] =
    &[(REQUEST_DURATION, QUICK), (GRANT_DURATION, QUICK), (STORE_DURATION, QUICK), (HASHING_DURATION, SLOW)];

/// Those that get a label: a method can be any word that a client makes up.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

static ON: AtomicBool = AtomicBool::new(false);

fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Measures from now on, into the recorder that was installed before; `started` is the process's start in Unix seconds.
pub fn switch_on(started: u64) {
    describe_counter!(GRANTS, "Grants by outcome: ok, or the OAuth error code.");
    describe_histogram!(GRANT_DURATION, Unit::Seconds, "How long a grant took, refused ones included.");
    describe_histogram!(REQUEST_DURATION, Unit::Seconds, "How long a request took from its head to its answer.");
    describe_counter!(REPLAYS, "Refresh tokens that were taken for stolen; each ended a session.");
    describe_counter!(REPEATS, "Retried refreshes that got the same successor again.");
    describe_counter!(THROTTLED, "Password attempts that were not judged, by what had its fill.");
    describe_counter!(AUTHORIZATIONS, "Requests to others' routes that were judged, by outcome.");
    describe_counter!(STORE_ROUND_TRIPS, "Calls of the store.");
    describe_counter!(STORE_RETRIES, "Requests to the store's service that had to be sent again.");
    describe_histogram!(STORE_DURATION, Unit::Seconds, "How long a call of the store took.");
    describe_counter!(MIRROR_WRITTEN, "Mirrored tokens that were written anew.");
    describe_counter!(MIRROR_FAILED, "Mirrored tokens that a run could not write or remove.");
    describe_counter!(MIRROR_LEFT, "Mirrored tokens that a run had no time for.");
    describe_gauge!(
        MIRROR_LEAST_LIFE,
        Unit::Seconds,
        "The shortest life that a mirrored token had left after the last run that looked."
    );
    describe_gauge!(HASHING_QUEUE, "Passwords that wait to be hashed.");
    describe_histogram!(HASHING_DURATION, Unit::Seconds, "How long a hashing thread worked on a password.");
    describe_gauge!(CONNECTIONS, "Open connections of the service.");
    describe_counter!(CONNECTIONS_REFUSED, "Connections that were closed unheard or not accepted.");
    describe_counter!(LOG_LINES_DROPPED, "Log lines that nobody read in time.");
    describe_gauge!(BUILD, "Always 1; the version is a label.");
    describe_gauge!(START, Unit::Seconds, "When the process started, in Unix seconds.");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    #[expect(clippy::cast_precision_loss, reason = "whole Unix seconds are exact for some hundred million years")]
    gauge!(START).set(started as f64);
    // What happens seldom is there from the beginning: a counter that appears at 1 hides its first event from `rate`.
    gauge!(CONNECTIONS).set(0.0);
    gauge!(HASHING_QUEUE).set(0.0);
    counter!(REPLAYS).increment(0);
    counter!(REPEATS).increment(0);
    counter!(MIRROR_WRITTEN).increment(0);
    counter!(MIRROR_FAILED).increment(0);
    counter!(MIRROR_LEFT).increment(0);
    for by in [Throttle::Name, Throttle::Address, Throttle::Queue] {
        counter!(THROTTLED, "by" => by.label()).increment(0);
    }
    for why in [Turned::Peer, Turned::System] {
        counter!(CONNECTIONS_REFUSED, "why" => why.label()).increment(0);
    }
    for kind in ["audit", "other"] {
        counter!(LOG_LINES_DROPPED, "kind" => kind).increment(0);
    }
    ON.store(true, Ordering::Relaxed);
}

/// Measures a duration; nothing is judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[expect(clippy::disallowed_methods, reason = "a duration for a metric")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was started.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A request was answered. `route` is the pattern that matched.
pub fn request_answered(route: &str, method: &str, status: u16, took: Duration) {
    if !is_on() {
        return;
    }
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
    histogram!(REQUEST_DURATION, "route" => route.to_owned(), "method" => method, "status" => status.to_string())
        .record(took);
}

/// A grant was given or refused. `outcome` is `ok` or the OAuth error code.
pub fn grant_judged(grant: &'static str, outcome: &'static str, took: Duration) {
    if is_on() {
        counter!(GRANTS, "grant" => grant, "outcome" => outcome).increment(1);
        histogram!(GRANT_DURATION, "grant" => grant).record(took);
    }
}

/// A session ended because one of its refresh tokens was taken for stolen.
pub fn replay_detected() {
    if is_on() {
        counter!(REPLAYS).increment(1);
    }
}

/// A retry got the same successor again.
pub fn refresh_repeated() {
    if is_on() {
        counter!(REPEATS).increment(1);
    }
}

/// What had its fill of password attempts.
#[derive(Clone, Copy, Debug)]
pub enum Throttle {
    /// The name.
    Name,
    /// The address.
    Address,
    /// The queue before the hashing threads.
    Queue,
}

impl Throttle {
    fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Queue => "queue",
        }
    }
}

/// A password attempt was refused unjudged.
pub fn throttled(by: Throttle) {
    if is_on() {
        counter!(THROTTLED, "by" => by.label()).increment(1);
    }
}

/// A request to somebody else's route was judged. `outcome` is `allowed`, `unauthenticated`, `forbidden` or
/// `unavailable`.
pub fn authorized(outcome: &'static str) {
    if is_on() {
        counter!(AUTHORIZATIONS, "outcome" => outcome).increment(1);
    }
}

/// The store did something. `operation` is `get`, `list` or `commit`; `outcome` is `ok`, `conflict` or `unavailable`.
pub fn store_called(operation: &'static str, outcome: &'static str, took: Duration) {
    if is_on() {
        counter!(STORE_ROUND_TRIPS, "operation" => operation, "outcome" => outcome).increment(1);
        histogram!(STORE_DURATION, "operation" => operation).record(took);
    }
}

/// A request to the service behind the store failed for a passing reason, and is sent again: throttled, for example.
pub fn store_retried() {
    if is_on() {
        counter!(STORE_RETRIES).increment(1);
    }
}

/// A run has looked after the mirrored tokens: how many were written, how many could be neither written nor removed, how
/// many were left for want of time, and the shortest life that one has now; not a number if there is none.
pub fn mirrored(written: usize, failed: usize, left: usize, least_left: Option<Duration>) {
    if !is_on() {
        return;
    }
    for (name, number) in [(MIRROR_WRITTEN, written), (MIRROR_FAILED, failed), (MIRROR_LEFT, left)] {
        counter!(name).increment(u64::try_from(number).unwrap_or(u64::MAX));
    }
    // Without a token the one before is not to be taken for what is there.
    gauge!(MIRROR_LEAST_LIFE).set(least_left.map_or(f64::NAN, |least| least.as_secs_f64()));
}

/// Somebody who counts in a gauge until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Present(&'static str);

impl Present {
    fn among(name: &'static str) -> Self {
        gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}

/// A password waits to be hashed, for as long as the value lives.
pub fn hashing_waits() -> Option<Present> {
    is_on().then(|| Present::among(HASHING_QUEUE))
}

/// A hashing thread did a piece of work.
pub fn hashed(took: Duration) {
    if is_on() {
        histogram!(HASHING_DURATION).record(took);
    }
}

/// A connection is open, for as long as the value lives.
pub fn connected() -> Option<Present> {
    is_on().then(|| Present::among(CONNECTIONS))
}

/// Why a connection was not served.
#[derive(Clone, Copy, Debug)]
pub enum Turned {
    /// Its peer has as many as one peer may have.
    Peer,
    /// The system refused: no file descriptors left.
    System,
}

impl Turned {
    fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::System => "system",
        }
    }
}

/// A connection was not served.
pub fn connection_refused(why: Turned) {
    if is_on() {
        counter!(CONNECTIONS_REFUSED, "why" => why.label()).increment(1);
    }
}

/// Log lines were dropped because nobody read them.
pub fn log_lines_dropped(audit: u64, other: u64) {
    if is_on() {
        counter!(LOG_LINES_DROPPED, "kind" => "audit").increment(audit);
        counter!(LOG_LINES_DROPPED, "kind" => "other").increment(other);
    }
}
