//! A token's times, for eyes and for judgement.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;

/// A claim's NumericDate (RFC 7519 §2) in whole Unix seconds; a fraction is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumericDate(i64);

impl NumericDate {
    /// The claims that are NumericDates: RFC 7519 §4.1, and OpenID Connect Core §2 and §5.1.
    pub const CLAIMS: [&'static str; 5] = ["exp", "nbf", "iat", "auth_time", "updated_at"];

    /// Reads a claim's value; none if it is no number. What is beyond all calendars is their edge.
    pub fn of(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        if let Some(seconds) = number.as_i64() {
            return Some(Self(seconds));
        }
        let float = number.as_f64()?;
        let size = Duration::try_from_secs_f64(float.abs()).map_or(u64::MAX, |size| size.as_secs());
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        Some(Self(if float < 0.0 { -size } else { size }))
    }

    /// The moment as a NumericDate.
    pub fn at(moment: Timestamp) -> Self {
        Self(i64::try_from(moment.0).unwrap_or(i64::MAX))
    }

    /// The moment in RFC 3339, in UTC: `2026-11-22T10:20:30Z`; none outside the years -9999 to 9999.
    pub fn rfc3339(self) -> Option<String> {
        jiff::Timestamp::from_second(self.0).ok().map(|moment| moment.to_string())
    }

    /// How far from `now`, in words: `in 14 minutes`, `5 minutes ago`, `now`. Rounded towards now.
    pub fn words(self, now: Timestamp) -> String {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        const YEAR: u64 = 365 * DAY;
        let now = Self::at(now).0;
        let far = self.0.abs_diff(now);
        // From two of a unit on, so that rounding never hides more than half.
        let (count, unit) = match far {
            0 => return "now".into(),
            1..=119 => (far, "second"),
            120..=7_199 => (far / MINUTE, "minute"),
            7_200..=172_799 => (far / HOUR, "hour"),
            172_800..=63_071_999 => (far / DAY, "day"),
            _ => (far / YEAR, "year"),
        };
        let plural = if count == 1 { "" } else { "s" };
        if self.0 > now { format!("in {count} {unit}{plural}") } else { format!("{count} {unit}{plural} ago") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_of_any_kind_is_a_moment() {
        let seconds = |value: Value| NumericDate::of(&value).map(|date| date.0);
        assert_eq!(seconds(json!(1_763_800_000)), Some(1_763_800_000));
        assert_eq!(seconds(json!(1_763_800_000.9)), Some(1_763_800_000));
        assert_eq!(seconds(json!(-1.5)), Some(-1));
        assert_eq!(seconds(json!(1e300)), Some(i64::MAX));
        assert_eq!(seconds(json!(-1e300)), Some(-i64::MAX));
        assert_eq!(seconds(json!(u64::MAX)), Some(i64::MAX));
        for no_number in [json!("1763800000"), json!(null), json!(true), json!([1])] {
            assert_eq!(seconds(no_number), None);
        }
    }

    #[test]
    fn a_moment_is_told_in_words() {
        let now = Timestamp(1_800_000_000);
        let words = |offset: i64| NumericDate(1_800_000_000 + offset).words(now);
        assert_eq!(words(0), "now");
        assert_eq!((words(1), words(-1)), ("in 1 second".into(), "1 second ago".into()));
        assert_eq!((words(119), words(120)), ("in 119 seconds".into(), "in 2 minutes".into()));
        assert_eq!((words(-899), words(7200)), ("14 minutes ago".into(), "in 2 hours".into()));
        assert_eq!((words(-172_799), words(172_800)), ("47 hours ago".into(), "in 2 days".into()));
        assert_eq!(words(63_072_000), "in 2 years");
        assert_eq!(NumericDate(i64::MAX).rfc3339(), None);
        assert!(NumericDate(-i64::MAX).words(now).ends_with("years ago"));
        assert_eq!(NumericDate(1_800_000_000).rfc3339().unwrap(), "2027-01-15T08:00:00Z");
    }
}
