//! What a host is: a slow and obvious reference says the same, and no host is worth waiting for.

use gatemint::domain::access::{Mapping, Resource, Sites};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy},
    prop_assert_eq, prop_oneof,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::json;

/// Every way to read a host by a template: what each placeholder stands for. Every length is tried for each of them.
fn readings(template: &str, host: &str) -> Vec<Vec<(String, String)>> {
    let Some(first) = template.chars().next() else {
        return if host.is_empty() { vec![Vec::new()] } else { Vec::new() };
    };
    if first != '{' {
        return match host.strip_prefix(first) {
            Some(host) => readings(&template[first.len_utf8()..], host),
            None => Vec::new(),
        };
    }
    let (word, rest) = template[1..].split_once('}').unwrap();
    let mut found = Vec::new();
    for end in 1..=host.len() {
        let value = &host[..end];
        if !value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            break;
        }
        for mut reading in readings(rest, &host[end..]) {
            reading.push((word.to_owned(), value.to_owned()));
            found.push(reading);
        }
    }
    found
}

/// What the host is, by every reading of every site.
fn reference(sites: &[(String, String)], host: &str) -> Mapping {
    let mut resources = Vec::new();
    for (template, resource) in sites {
        let all = readings(template, host);
        if all.len() > 1 {
            return Mapping::Ambiguous;
        }
        for reading in all {
            let filled = reading
                .iter()
                .fold(resource.clone(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value));
            resources.push(Resource::parse(&filled, "resource").ok());
        }
    }
    resources.dedup();
    match resources.as_slice() {
        [] => Mapping::Unmapped,
        [Some(resource)] => Mapping::To(resource.clone()),
        _ => Mapping::Ambiguous,
    }
}

/// A template of a host out of few characters, so that many hosts fit, with the resource to it.
fn site() -> impl Strategy<Value = (String, String)> {
    let literal = select(vec!["a", "b", "a-", "-", "--", "-a", ""]);
    let label = (literal.clone(), vec(literal.clone(), 0..3), literal, 0..4_usize);
    vec(label, 1..3).prop_map(|labels| {
        let mut words = ["x", "y", "z"].into_iter();
        let mut used = Vec::new();
        let mut texts = Vec::new();
        for (before, between, after, placeholders) in labels {
            let mut text = before.to_owned();
            for n in 0..placeholders.min(between.len() + 1) {
                let Some(word) = words.next() else { break };
                if n > 0 {
                    text.push_str(if between[n - 1].is_empty() { "-" } else { between[n - 1] });
                }
                used.push(word);
                text = format!("{text}{{{word}}}");
            }
            text.push_str(after);
            // A label neither begins nor ends with a dash.
            let text = text.trim_matches('-');
            texts.push(if text.is_empty() { "a".to_owned() } else { text.to_owned() });
        }
        let segments = if used.is_empty() { "ada".to_owned() } else { format!("{{{}}}", used.join("}/{")) };
        (texts.join("."), format!("job://default/{segments}"))
    })
}

/// A host that a template could be about: its placeholders filled with something, or few characters at random.
fn host() -> impl Strategy<Value = (Option<Index>, Vec<String>, String)> {
    let value = prop_oneof![Just("a".to_owned()), "[ab-]{1,6}", "[ab.]{1,4}", "[aB_]{1,3}"];
    (proptest::option::weighted(0.8, proptest::prelude::any::<Index>()), vec(value, 3), "[ab.-]{0,12}")
}

#[test]
fn what_a_host_is_a_slow_reference_says_too() {
    let seen = std::cell::RefCell::new([0_usize; 3]);
    let config = Config { cases: 8_000, failure_persistence: None, ..Config::default() };
    let cases = (vec(site(), 1..4), host());
    TestRunner::new(config)
        .run(&cases, |(pairs, (which, values, random))| {
            let rows: Vec<_> = pairs
                .iter()
                .enumerate()
                .map(|(n, (host, resource))| {
                    json!({"id": format!("s{n}"), "host": host, "resource": resource, "created_at": 0})
                })
                .collect();
            let sites: Sites = serde_json::from_value(json!({ "sites": rows })).unwrap();
            let host = which.map_or(random, |which| {
                let (template, _) = which.get(&pairs);
                ["x", "y", "z"]
                    .iter()
                    .zip(&values)
                    .fold(template.clone(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
            });
            // A host is read in lower case and without its final dot; the reference takes it so.
            let canonical = host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase();
            let expected = reference(&pairs, &canonical);
            seen.borrow_mut()[match expected {
                Mapping::Unmapped => 0,
                Mapping::Ambiguous => 1,
                Mapping::To(_) => 2,
            }] += 1;
            prop_assert_eq!(sites.resolve(&host), expected, "{}", host);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let [unmapped, ambiguous, mapped] = seen.into_inner();
    assert!([unmapped, ambiguous, mapped].iter().all(|seen| *seen > 300), "{unmapped} {ambiguous} {mapped}");
    println!("counted: {mapped} hosts mapped, {ambiguous} ambiguous, {unmapped} unmapped, as the reference has them");
}

#[test]
fn no_host_is_worth_waiting_for() {
    // With a walk through every reading each of these would take longer than anybody waits.
    let words: Vec<_> = (0..20).map(|n| format!("{{p{n}}}")).collect();
    let resource = format!("job://default/ada/{}", words[..11].join("-"));
    let row = |n: usize| {
        let host = format!("{}x{}.example.org", words[..11].join("-"), "x".repeat(n % 10));
        json!({"id": format!("s{n}"), "host": host, "resource": resource, "created_at": 0})
    };
    let rows: Vec<_> = (0..100).map(row).collect();
    let sites: Sites = serde_json::from_value(json!({ "sites": rows })).unwrap();
    let labels =
        ["-".repeat(63), "a-".repeat(31), "-".repeat(62) + "a", "x".repeat(63), "-x".repeat(31), "-".repeat(500)];
    let mut asked = 0;
    for label in &labels {
        for _ in 0..50 {
            let mapping = sites.resolve(&format!("{label}.example.org"));
            assert!(!matches!(mapping, Mapping::To(_)), "{label}: {mapping:?}");
            asked += 1;
        }
    }
    for strange in [
        "",
        ".",
        "..",
        "\0",
        "{p0}-{p1}",
        "a\u{301}.example.org",
        "[::1]",
        "a b",
        &".".repeat(10_000),
        &"a".repeat(100_000),
    ] {
        assert_eq!(sites.resolve(strange), Mapping::Unmapped, "{strange:.20}");
        asked += 1;
    }
    println!("counted: {asked} hosts that were made to be slow, or strange, beside {} sites", rows.len());
}
