//! What an agent tells in its log: a line of status when something happened, and after it a line of metrics.

use std::{path::Path, time::Duration};

use super::held::{Held, Moment};
use crate::{
    cli::{CliError, output},
    clock::Timestamp,
};

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Tokens that were fetched.
    pub(super) fetches: u64,
    /// Tokens that were not: the service could not be reached, or refused.
    pub(super) fetch_failures: u64,
    /// Files that were written.
    pub(super) writes: u64,
    /// Files that were not, because they could not be.
    pub(super) write_failures: u64,
    /// Files that were left, because the token in them lives longer.
    pub(super) left: u64,
}

/// How much the readers of all files can count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Ten minutes and more.
    Good,
    /// Less.
    Low,
    /// Nothing, or nobody knows how much.
    Over,
}

impl Level {
    /// What so much is, where less than `alarm_below` is too little.
    pub(super) fn of(left: Option<Duration>, alarm_below: Duration) -> Self {
        match left {
            Some(left) if left >= alarm_below => Self::Good,
            Some(left) if !left.is_zero() => Self::Low,
            _ => Self::Over,
        }
    }
}

/// The agent begins.
pub(super) fn begins(source: &str, files: usize) {
    tracing::info!(agent.source = source, agent.files = files, "keeping files fresh");
}

/// A file was written. What was in it is told, too: `token of another`, time and again, is somebody else who keeps it.
pub(super) fn written(file: &Path, before: &'static str, held: &Held, now: Moment, after_failures: u32) {
    tracing::info!(
        file.path = %file.display(),
        file.held_before = before,
        file.failures_before = after_failures,
        token.left_s = held.left(&held.token, now).as_secs(),
        token.expires_at = held.token.expires_at.rfc3339(),
        "a fresh token is in the file"
    );
}

/// A file was left as it is.
pub(super) fn left(file: &Path, expires_at: Timestamp) {
    tracing::info!(
        file.path = %file.display(),
        token.expires_at = expires_at.rfc3339(),
        "the token in the file lives longer than the one that was fetched, and stays"
    );
}

/// A file could not be written. What was in it still is.
pub(super) fn not_written(file: &Path, why: &str, wait: Duration) {
    tracing::warn!(file.path = %file.display(), cause = why, retry.after_ms = millis(wait), "the file cannot be written");
}

/// No token was fetched. What is in the files stays.
pub(super) fn not_fetched(why: &CliError, source: &str, wait: Duration) {
    tracing::warn!(
        agent.source = source,
        cause = output::harmless(&why.to_string()),
        retry.after_ms = millis(wait),
        "no fresh token was got; the files stay as they are"
    );
}

/// The first token came, and it is a short one.
pub(super) fn short_lived(held: &Held) {
    tracing::warn!(
        token.life_s = held.life().as_secs(),
        token.renewed_below_s = held.renew_below().as_secs(),
        "tokens from here live too short to have ten minutes left at all times"
    );
}

/// By the time of day the token that came is over.
pub(super) fn came_too_late(held: &Held) {
    tracing::warn!(
        token.expires_at = held.token.expires_at.rfc3339(),
        "the token that came has ended, by this machine's clock: that is wrong, or something on the way keeps answers; another \
         one is asked for every minute"
    );
}

/// What is fetched with ends soon.
pub(super) fn login_ends(ends: Timestamp) {
    tracing::warn!(
        login.expires_at = ends.rfc3339(),
        "the session ends soon, and nothing is got then: sign in again, `gatemint login --offline`"
    );
}

/// The readers can count on less than before, or on as much as they should again.
pub(super) fn level(level: Level, least_left: Option<Duration>) {
    let token_least_left_s = least_left.map(|left| left.as_secs());
    match level {
        Level::Good => tracing::info!(token.least_left_s = token_least_left_s, "every file has a fresh token again"),
        Level::Low => tracing::error!(token.least_left_s = token_least_left_s, "a file has less than ten minutes left"),
        Level::Over => {
            tracing::error!(token.least_left_s = token_least_left_s, "a file has no token that is good any more");
        }
    }
}

/// The agent ends.
pub(super) fn ends() {
    tracing::info!("asked to stop; the files stay as they are");
}

impl Counts {
    /// All of it, for whoever collects it from the log.
    pub(super) fn tell(&self, files: usize, fetch: Option<Duration>, least_left: Option<Duration>) {
        let token_least_left_s = least_left.map(|left| left.as_secs());
        tracing::info!(
            target: "gatemint::metrics",
            {
                agent.files = files,
                agent.fetches_total = self.fetches,
                agent.fetch_failures_total = self.fetch_failures,
                agent.writes_total = self.writes,
                agent.write_failures_total = self.write_failures,
                agent.left_total = self.left,
                fetch.duration_ms = fetch.map(millis),
                token.least_left_s = token_least_left_s
            },
            "agent"
        );
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
