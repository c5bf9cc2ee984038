//! Options that several commands have.

use std::time::Duration;

use crate::settings::parse_duration;

/// Reads a duration.
///
/// # Errors
/// Another shape; the text says which.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a number with the unit s, m, h or d, e.g. 900s, 15m, 24h or 30d".to_owned())
}
