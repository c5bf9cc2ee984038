//! One path against 500 patterns: what a request costs that none of them, or the last of them, covers.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::Criterion;
use gatemint::domain::gate::{Host, Method, Path, Patterns, Scheme, Target};

use crate::{
    measure::{Spread, passes},
    table::Row,
};

/// The most that it may take, in microseconds.
const AT_MOST: f64 = 20.0;

/// How often an operation is done for one reading of the clock.
const BATCH: u32 = 100;

/// 500 patterns that begin alike, of every kind.
fn texts() -> Vec<String> {
    let kinds = ["", "*", "/*", "/%61%20b/*"];
    (0..Patterns::MAX)
        .map(|n| {
            let origin = if n % 2 == 0 { "https://vnc--ada.jobs.example.org" } else { "" };
            format!("{origin}/apis/v1/namespaces/ns/virtualmachineinstances/vm-{n:03}{}", kinds[n / 2 % kinds.len()])
        })
        .collect()
}

fn target(path: &str) -> Target {
    Target {
        method: Method::parse("GET").unwrap(),
        scheme: Some(Scheme::Https),
        host: Host::parse("vnc--ada.jobs.example.org", Some(Scheme::Https)).unwrap(),
        path: Path::of_encoded(path).unwrap(),
    }
}

/// A path that nothing covers, so that all are looked at to their ends.
const UNCOVERED: &str = "/apis/v1/namespaces/ns/virtualmachineinstances/vm-500/vnc";
/// One that the last pattern alone covers.
const LAST: &str = "/apis/v1/namespaces/ns/virtualmachineinstances/vm-499/a%20b/vnc";

fn timed(mut operation: impl FnMut()) -> Duration {
    let begun = Instant::now();
    for _ in 0..BATCH {
        operation();
    }
    begun.elapsed() / BATCH
}

/// Matching, beside looking for the path itself among 500 texts.
pub(crate) fn row() -> Row {
    let (texts, target) = (texts(), target(UNCOVERED));
    let patterns = Patterns::parse(&texts).unwrap();
    let mut floor = || timed(|| assert!(!black_box(&texts).iter().any(|text| text == black_box(UNCOVERED))));
    let mut ours = || timed(|| assert!(!black_box(&patterns).covers(black_box(&target))));
    let passes = passes(40, Duration::from_millis(20), &mut floor, &mut ours);
    let ours = Spread::of(passes.iter().map(|pass| pass.ours));
    Row {
        what: "one path against 500 patterns; beside comparing it with 500 texts".to_owned(),
        floor: format!("{:.2} µs", Spread::of(passes.iter().map(|pass| pass.floor)).median),
        ours: format!("{:.2} µs", ours.median),
        against: format!("× {}", Spread::of(passes.iter().map(|pass| pass.ours / pass.floor))),
        target: format!("≤ {AT_MOST:.0} µs"),
        met: Some(ours.median <= AT_MOST),
    }
}

/// Step by step, with Criterion.
pub(crate) fn steps(criterion: &mut Criterion) {
    let mut steps = criterion.benchmark_group("matching");
    let texts = texts();
    let json = serde_json::to_vec(&texts).unwrap();
    let patterns = Patterns::parse(&texts).unwrap();
    let (uncovered, last) = (target(UNCOVERED), target(LAST));
    assert!(patterns.covers(&last) && !patterns.covers(&uncovered));
    steps.bench_function("a path becomes a path", |bench| bench.iter(|| Path::of_encoded(black_box(LAST)).unwrap()));
    steps.bench_function("500 patterns, none covers it", |bench| bench.iter(|| patterns.covers(black_box(&uncovered))));
    steps.bench_function("500 patterns, the last covers it", |bench| bench.iter(|| patterns.covers(black_box(&last))));
    steps.bench_function("500 patterns are read from their record", |bench| {
        bench.iter(|| serde_json::from_slice::<Patterns>(black_box(&json)).unwrap());
    });
    steps.finish();
}
