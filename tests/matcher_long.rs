//! The same as `matcher`, a million times and more.

use crate::matcher::{agreement, parsers, report};

#[test]
fn matcher_and_reference_agree_a_million_times() {
    let agreed = agreement(10_000);
    assert!(agreed.cases() >= 1_000_000, "{agreed:?}");
    report(&agreed);
}

// The parsers' four make another million together; a form costs a request each.

#[test]
fn very_many_tokens_are_read_to_a_verdict() {
    parsers::tokens(350_000).report("tokens");
}

#[test]
fn very_many_credentials_are_read_to_a_verdict() {
    parsers::credentials(350_000).report("Authorization and Cookie headers");
}

#[test]
fn very_many_forward_headers_are_read_to_a_verdict() {
    parsers::forwarded(350_000).report("requests of proxies");
}

#[test]
fn very_many_forms_are_read_to_a_verdict() {
    parsers::forms(100_000).report("forms");
}
