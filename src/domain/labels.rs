//! Labels: what an owner writes on an object, as Kubernetes has them.

use std::collections::BTreeMap;

use super::Refusal;

/// The most labels.
const MOST: usize = 64;

/// Refuses labels that are too many, too long, or have other characters than Kubernetes allows.
///
/// # Errors
/// `Invalid` for `metadata.labels`.
pub(super) fn check(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let sound = labels.len() <= MOST
        && labels.iter().all(|(key, value)| {
            (1..=317).contains(&key.len()) && plain(key) && value.len() <= 63 && plain(value) && !value.contains('/')
        });
    if sound {
        return Ok(());
    }
    Err(Refusal::invalid(
        "metadata.labels",
        "at most 64; keys of 1 to 317 and values of up to 63 letters, digits, '-', '_' and '.' (keys may have '/')",
    ))
}
