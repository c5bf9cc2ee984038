//! Time as a parameter: the port that the service reads it from, and the type that carries it.

use std::{
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A moment in whole Unix seconds, which is what JWTs (RFC 7519 §2, NumericDate) and purge times use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How long after `earlier` this is; zero if it is not after it (clocks of two machines disagree).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The moment in RFC 3339, in UTC: `2026-11-22T10:20:30Z`. Of one without a date the seconds.
    pub fn rfc3339(self) -> String {
        self.date().map_or_else(|| self.0.to_string(), |moment| moment.to_string())
    }

    /// Whether it has a date: those after the year 9999 have none.
    pub fn has_date(self) -> bool {
        self.date().is_some()
    }

    fn date(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_second(i64::try_from(self.0).ok()?).ok()
    }

    /// Parses a moment as of RFC 3339 §5.6, with date, time and offset; a fraction of a second is dropped. None for what
    /// is before 1970, and for any other spelling.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // jiff reads more spellings than the RFC has.
        let bytes = text.as_bytes();
        let shaped = (20..=40).contains(&bytes.len())
            && bytes[4] == b'-'
            && bytes[7] == b'-'
            && bytes[10].eq_ignore_ascii_case(&b'T')
            && bytes[13] == b':'
            && bytes[16] == b':'
            && !text.contains(['[', ' ', ',']);
        let moment = jiff::Timestamp::from_str(text).ok().filter(|_| shaped)?;
        u64::try_from(moment.as_second()).ok().map(Self)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

/// Where the service reads the time: once per operation.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}
