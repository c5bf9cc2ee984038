//! Durations as Go writes them, since that is what those write who make gate tokens.

use std::time::Duration;

use crate::domain::Refusal;

const FIELD: &str = "spec.duration";

/// The longest text that is looked at.
const LONGEST: usize = 64;

/// Nanoseconds of a unit, as of Go's `time.ParseDuration`; longer names first where one begins with another. The micro
/// sign has two spellings: U+00B5 and U+03BC.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration in Go's syntax (`1h`, `1h30m`, `1.5h`, `90s`): whole seconds, at least one.
///
/// # Errors
/// `Invalid` for `spec.duration`: another syntax, zero, negative, a part of a second, or more than Go's own range of
/// about 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, Refusal> {
    let invalid = |text: &'static str| Refusal::invalid(FIELD, text);
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let parts = if text.len() > LONGEST { Err(Bad::Syntax) } else { nanoseconds(unsigned) };
    let nanoseconds = match parts {
        Ok(nanoseconds) => nanoseconds,
        Err(Bad::Syntax) => {
            return Err(invalid("must be a duration as Go writes it: numbers with the units h, m and s, e.g. 1h30m"));
        }
        Err(Bad::TooLong) => return Err(invalid("is longer than any duration can be")),
        Err(Bad::NotWhole) => return Err(invalid(NOT_WHOLE)),
    };
    if text.starts_with('-') || nanoseconds == 0 {
        return Err(invalid("must be longer than nothing, e.g. 1h"));
    }
    if nanoseconds % 1_000_000_000 != 0 {
        return Err(invalid(NOT_WHOLE));
    }
    u64::try_from(nanoseconds / 1_000_000_000).map(Duration::from_secs).map_err(|_| invalid(NOT_WHOLE))
}

const NOT_WHOLE: &str = "must be whole seconds, e.g. 90s";

enum Bad {
    Syntax,
    TooLong,
    NotWhole,
}

/// `([0-9]*(\.[0-9]*)?[a-zµμ]+)+` with a digit in each number, or `0`.
fn nanoseconds(text: &str) -> Result<u128, Bad> {
    if text == "0" {
        return Ok(0);
    }
    let mut total = 0_u128;
    let mut rest = text;
    loop {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(Bad::Syntax)?);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (_, unit) = UNITS.into_iter().find(|(unit, _)| *unit == name).ok_or(Bad::Syntax)?;
        total =
            total.checked_add(part(number, unit)?).filter(|total| i64::try_from(*total).is_ok()).ok_or(Bad::TooLong)?;
        rest = after;
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// One number of units, in nanoseconds.
fn part(number: &str, unit: u128) -> Result<u128, Bad> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(Bad::Syntax);
    }
    // No digits but zeros after these count, and 18 of them fit.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 18 {
        return Err(Bad::NotWhole);
    }
    // All are digits: only too many of them do not fit.
    let digits = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map_err(|_| Bad::TooLong) };
    let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
    let below = u128::from(digits(fraction)?) * unit;
    if !below.is_multiple_of(scale) {
        return Err(Bad::NotWhole);
    }
    Ok(u128::from(digits(whole)?) * unit + below / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_go_writes_it() {
        for (text, seconds) in [
            ("1h", 3600),
            ("30m", 1800),
            ("25m", 1500),
            ("90s", 90),
            ("1h30m", 5400),
            ("1h0m0s", 3600),
            ("1m1h", 3660),
            ("1h1h", 7200),
            ("1.5h", 5400),
            ("0.1h", 360),
            (".5h", 1800),
            ("1.h", 3600),
            ("1.500h", 5400),
            ("+1h", 3600),
            ("1000ms", 1),
            ("1000000us", 1),
            ("1000000µs", 1),
            ("1000000μs", 1),
            ("1000000000ns", 1),
            ("0.5s500ms", 1),
            ("0h1s", 1),
            ("000001s", 1),
            ("2562047h", 9_223_369_200),
        ] {
            assert_eq!(parse_duration(text).ok(), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_field() {
        let long = format!("{}1h", "0".repeat(LONGEST));
        for bad in [
            "",
            "0",
            "+0",
            "-0",
            "0s",
            "0h0m",
            "-1h",
            "-",
            "+",
            "+-1h",
            "--1h",
            "1",
            "1x",
            "h",
            ".h",
            ".",
            "1.2.3h",
            "1..h",
            "1 h",
            " 1h",
            "1h ",
            "1h-30m",
            "1h+30m",
            "1H",
            "1d",
            "1w",
            "1hm",
            "1e3s",
            "0x1s",
            "１h",
            "1_000s",
            "1s500ms",
            "1.5s",
            "999ms",
            "1ns",
            "0.3333333333333333333h",
            "1.0000000000000000000001h",
            "9999999h",
            "2562048h",
            "9223372037s",
            "99999999999999999999999999h",
            "1h9223372036854775807ns",
            "1h\u{0}",
            &long,
        ] {
            let refusal = parse_duration(bad).expect_err(bad);
            assert_eq!((refusal.kind, refusal.field), (crate::domain::RefusalKind::Invalid, Some(FIELD)), "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_says_which_rule_it_is() {
        let says = |text: &str, words: &str| assert!(parse_duration(text).unwrap_err().text.contains(words), "{text}");
        says("1x", "as Go writes it");
        says("0", "longer than nothing");
        says("-1h", "longer than nothing");
        says("1.5s", "whole seconds");
        says("9999999h", "longer than any");
    }
}
