//! When something was, in words, as Apolo's command line says it.

use crate::clock::Timestamp;

/// `a moment ago`, `5 minutes ago`, `yesterday`; of what is longer ago, or ahead, the day.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let day = || then.rfc3339().split('T').next().unwrap_or_default().to_owned();
    let several = |seconds: u64, unit: u64, name: &str| match seconds / unit {
        1 => format!("{} {name} ago", if name == "hour" { "an" } else { "a" }),
        number => format!("{number} {name}s ago"),
    };
    if then > now {
        return day();
    }
    match now.since(then).as_secs() {
        0 => "a moment ago".to_owned(),
        seconds @ 1..60 => several(seconds, 1, "second"),
        seconds @ 60..3600 => several(seconds, 60, "minute"),
        seconds @ 3600..86_400 => several(seconds, 3600, "hour"),
        86_400..172_800 => "yesterday".to_owned(),
        _ => day(),
    }
}

/// The same of a moment that came over HTTP; what is no moment stays as it is.
pub(super) fn ago_text(then: &str, now: Timestamp) -> String {
    Timestamp::parse_rfc3339(then).map_or_else(|| then.to_owned(), |then| ago(then, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_words() {
        let now = Timestamp(1_800_000_000);
        for (seconds, words) in [
            (0, "a moment ago"),
            (1, "a second ago"),
            (59, "59 seconds ago"),
            (60, "a minute ago"),
            (3599, "59 minutes ago"),
            (3600, "an hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "yesterday"),
            (172_800, "2027-01-13"),
        ] {
            assert_eq!(ago(Timestamp(now.0 - seconds), now), words);
        }
        assert_eq!(ago(Timestamp(now.0 + 1), now), "2027-01-15");
        assert_eq!(ago_text("2027-01-15T07:00:00Z", now), "an hour ago");
        assert_eq!(ago_text("2027-01-15T09:00:00.5+02:00", now), "an hour ago");
        assert_eq!(ago_text("x", now), "x");
    }
}
