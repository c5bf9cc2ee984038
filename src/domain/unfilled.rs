//! What a secret holds that was made before there was anything to keep in it.

use serde::Deserialize;

/// `{"gatemint":"empty"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unfilled {
    gatemint: String,
}

/// Whether a secret's value says that nothing was kept there yet: the one value that may be replaced without being
/// understood. A template writes it, since a secret without a value cannot be rotated.
pub(crate) fn is_unfilled(value: &[u8]) -> bool {
    // An array would do for a struct, too.
    value.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<Unfilled>(value).is_ok_and(|unfilled| unfilled.gatemint == "empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_object_may_be_replaced() {
        for unfilled in ["{\"gatemint\":\"empty\"}", " { \"gatemint\" :\n\t\"empty\" }\n"] {
            assert!(is_unfilled(unfilled.as_bytes()), "{unfilled}");
        }
        let kept = [
            "",
            "{}",
            "null",
            "\"empty\"",
            "[\"empty\"]",
            "{\"gatemint\":\"Empty\"}",
            "{\"gatemint\":null}",
            "{\"gatemint\":\"empty\",\"v\":1}",
            "{\"gatemint\":\"empty\",\"gatemint\":\"empty\"}",
            "{\"gatemint\":\"empty\"}{}",
            "{\"gatemint\":\"empty\"",
        ];
        for kept in kept {
            assert!(!is_unfilled(kept.as_bytes()), "{kept}");
        }
    }
}
