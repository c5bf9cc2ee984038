//! What all objects have in common: a name, given or made up, an id, an age.

use std::fmt::Write as _;

use crate::entropy::Entropy;

/// The field of an object that carries its name.
pub(super) const NAME: &str = "metadata.name";

/// The field that says what a made-up name begins with.
pub(super) const GENERATE_NAME: &str = "metadata.generateName";

/// The letters of a made-up name's end: Kubernetes' own, which make no words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many of them there are.
const MADE_UP: usize = 5;

/// A name that begins with `prefix` and that most likely nobody has.
pub(super) fn made_up(prefix: &str, entropy: &dyn Entropy) -> String {
    let letters = entropy.bytes::<MADE_UP>().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    prefix.chars().chain(letters).collect()
}

/// As long as a made-up name, for judging what it will be.
pub(super) fn like_made_up(prefix: &str) -> String {
    format!("{prefix}{}", "x".repeat(MADE_UP))
}

/// A text that says something. Whoever writes objects by a fixed form leaves empty what he does not say.
pub(super) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// An id as Kubernetes writes it.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&n) {
            text.push('-');
        }
        // To write into a String cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}

/// A time span as kubectl's users know it: two units while it is short of the greater one.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |greater: u64, unit: char, rest: u64, lesser: char| match rest {
        0 => format!("{greater}{unit}"),
        rest => format!("{greater}{unit}{rest}{lesser}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_reads_as_kubectl_writes_it() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (601, "10m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
