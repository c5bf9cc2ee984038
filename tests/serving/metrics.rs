use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use gatemint::clock::{Clock, SystemClock};

use super::program::listening;
use crate::support::{asking::Asking, process::Serve};

/// What was read: every sample by its name and labels, and every family's type.
#[derive(Default)]
struct Exposition {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Exposition {
    /// Reads Prometheus' text format, and is strict about it.
    fn parse(text: &str) -> Self {
        let mut read = Self::default();
        let mut described = BTreeSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                described.insert(help.split_once(' ').unwrap().0.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(described.contains(name), "{name} is not described");
                assert!(read.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(!sample.contains(' ') || sample.contains('{'), "{line}");
                let name = sample.split('{').next().unwrap();
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| {
                        name.strip_suffix(end)
                            .filter(|family| read.types.get(*family).is_some_and(|kind| kind == "histogram"))
                    })
                    .unwrap_or(name);
                assert!(read.types.contains_key(family), "{line} has no type");
                assert!(read.samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{sample} twice");
            }
        }
        read.histograms_are_sound();
        read
    }

    fn histograms_are_sound(&self) {
        for (family, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            for (sample, count) in
                self.samples.iter().filter(|(sample, _)| sample.starts_with(&format!("{family}_count")))
            {
                let labels = sample.strip_prefix(&format!("{family}_count")).unwrap().trim_matches(['{', '}']);
                let separator = if labels.is_empty() { "" } else { "," };
                let start = format!("{family}_bucket{{{labels}{separator}le=\"");
                let mut buckets: Vec<(f64, f64)> = self
                    .samples
                    .iter()
                    .filter_map(|(sample, value)| {
                        Some((sample.strip_prefix(&start)?.trim_end_matches("\"}").parse().unwrap(), *value))
                    })
                    .collect();
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(buckets.len() > 5, "{sample}: {buckets:?}");
                assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1), "{sample}: {buckets:?}");
                assert_eq!(buckets.last().unwrap(), &(f64::INFINITY, *count), "{sample}");
            }
        }
    }

    #[track_caller]
    fn has(&self, sample: &str, value: u32) {
        assert_eq!(self.samples.get(sample), Some(&f64::from(value)), "{sample}: {:#?}", self.samples);
    }
}

/// Where the metrics are, by the greeting.
fn metrics_url(serve: &Serve) -> String {
    let rest = serve.greeting.split("Metrics on ").nth(1).unwrap_or_else(|| panic!("{}", serve.greeting));
    rest.split("/metrics").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_events_are_counted_as_what_they_are_and_nobody_is_named() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start_with(&data, &[("GATEMINT_METRICS_LISTEN", "127.0.0.1:0")]);
    let asking = Asking::at(&serve.url);
    let metrics = asking.elsewhere(&metrics_url(&serve));
    let read = async || {
        let answer = metrics.get("/metrics").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        (Exposition::parse(&answer.text), answer.text)
    };
    let (before, _) = read().await;
    before.has("gatemint_replays_total", 0);
    before.has("gatemint_connections", 0);

    let first = asking.admin(&data).await;
    let second = asking.refresh(&first.refresh).await.tokens();
    assert_eq!(asking.refresh(&first.refresh).await.tokens().refresh, second.refresh, "a retry");
    let third = asking.refresh(&second.refresh).await.tokens();
    assert_eq!(asking.refresh(&first.refresh).await.status, StatusCode::BAD_REQUEST, "a replay");
    assert_eq!(asking.refresh(&third.refresh).await.status, StatusCode::BAD_REQUEST, "of a session that ended");
    // Each second lets one more be judged, so a slow machine throttles fewer of them.
    let (mut refused, mut throttled) = (0, 0);
    while throttled < 2 {
        match asking.password("mallory", "not a password of anybody").await.status {
            StatusCode::TOO_MANY_REQUESTS => throttled += 1,
            _ => refused += 1,
        }
    }
    assert!((5..12).contains(&refused), "{refused}");
    asking.get("/v1/users/some-user-name").await;
    asking.get("/there/is/nothing?here=secret").await;
    let odd = reqwest::Method::from_bytes(b"ODDMETHOD").unwrap();
    reqwest::Client::new().request(odd, format!("{}/healthz", serve.url)).send().await.unwrap();

    let (after, text) = read().await;
    let grant = |grant: &str, outcome: &str| format!(r#"gatemint_grants_total{{grant="{grant}",outcome="{outcome}"}}"#);
    after.has(&grant("password", "ok"), 1);
    after.has(&grant("password", "invalid_grant"), refused);
    after.has(&grant("password", "throttled"), 2);
    after.has(&grant("refresh_token", "ok"), 3);
    after.has(&grant("refresh_token", "invalid_grant"), 2);
    after.has(r#"gatemint_grant_duration_seconds_count{grant="password"}"#, 1 + refused + 2);
    after.has("gatemint_replays_total", 1);
    after.has("gatemint_repeats_total", 1);
    after.has(r#"gatemint_throttled_total{by="name"}"#, 2);
    after.has(r#"gatemint_throttled_total{by="address"}"#, 0);
    // The first password was hashed for the admin's account, then judged.
    after.has("gatemint_hashing_seconds_count", 1 + 1 + refused);
    after.has("gatemint_hashing_queue", 0);
    let request = |route: &str, method: &str, status: u16| {
        format!(
            r#"gatemint_http_request_duration_seconds_count{{route="{route}",method="{method}",status="{status}"}}"#
        )
    };
    after.has(&request("/oauth2/token", "POST", 200), 4);
    after.has(&request("/oauth2/token", "POST", 429), 2);
    after.has(&request("/v1/users/{name}", "GET", 401), 1);
    after.has(&request("(none)", "GET", 404), 1);
    after.has(&request("/healthz", "other", 405), 1);
    for operation in ["get", "commit"] {
        let calls =
            after.samples[&format!(r#"gatemint_store_round_trips_total{{operation="{operation}",outcome="ok"}}"#)];
        let before =
            before.samples[&format!(r#"gatemint_store_round_trips_total{{operation="{operation}",outcome="ok"}}"#)];
        // Eight passwords or more and five refreshes read once each; what the admin's request reads comes on top of it.
        assert!(calls - before >= 10.0, "{operation}: {before} to {calls}");
        let counted = after.samples[&format!(r#"gatemint_store_duration_seconds_count{{operation="{operation}"}}"#)];
        assert!(counted >= calls);
    }
    assert!(after.samples["gatemint_connections"] >= 1.0, "the client keeps its connection");
    after.has(&format!(r#"gatemint_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION")), 1);
    let started = after.samples["process_start_time_seconds"];
    assert_eq!(started.fract().total_cmp(&0.0), std::cmp::Ordering::Equal);
    let started: u64 = format!("{started:.0}").parse().unwrap();
    assert!((started..started + 300).contains(&SystemClock.now().0), "{started}");
    for secret in ["admin", "mallory", "some-user", "here", "secret", "127.0.0.1", "ODD", "gmr_", first.access.as_str()]
    {
        assert!(!text.contains(secret), "{secret}");
    }

    let readme = include_str!("../../README.md");
    for name in after.types.keys() {
        assert!(readme.contains(&format!("`{name}`")), "the README does not tell of {name}");
    }
    assert_eq!(metrics.get("/healthz").await.status, StatusCode::NOT_FOUND, "it serves nothing else");
    assert_eq!(asking.get("/metrics").await.status, StatusCode::NOT_FOUND, "and nobody else serves it");
    assert_eq!(serve.terminate().code(), Some(0));
    println!("counted: {} samples of {} metrics read and judged", after.samples.len(), after.types.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_measured_unless_it_is_asked_for_and_an_open_address_is_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    assert!(!serve.greeting.contains("etrics"), "{}", serve.greeting);
    assert_eq!(Asking::at(&serve.url).get("/metrics").await.status, StatusCode::NOT_FOUND);
    assert_eq!(listening(serve.id()), 1, "one listener");
    assert_eq!(serve.terminate().code(), Some(0));
    assert!(!std::fs::read_to_string(data.with_extension("log")).unwrap().contains("etrics"));

    let serve = Serve::start_with(&data, &[("GATEMINT_METRICS_LISTEN", "0.0.0.0:0")]);
    assert_eq!(listening(serve.id()), 2);
    let port = metrics_url(&serve).rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(Asking::at(&format!("http://127.0.0.1:{port}")).get("/metrics").await.status, StatusCode::OK);
    assert_eq!(serve.terminate().code(), Some(0));
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("WARNING: the metrics on 0.0.0.0:"), "{log}");
    assert!(log.contains("metrics on an address that is not loopback"), "{log}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = crate::support::process::gatemint()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .env("GATEMINT_METRICS_LISTEN", &address)
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("GATEMINT_METRICS_LISTEN") && said.contains(&address), "{said}");
    println!("counted: 1 service without metrics, 1 open address warned of");
}
