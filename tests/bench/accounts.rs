//! Permissions and service accounts: a decision beside one with less to look through, a requested token beside signature and
//! commit, and service accounts' tokens at the door beside a gate token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gatemint::{domain::key::Algorithm, store::SqliteStore};

use crate::{
    commits::Bare,
    floor::Pair,
    local::Local,
    measure::{Pass, Spread, passes},
    table::Row,
};

/// How many times as long a decision may take, however much else the principal was granted.
const APART: f64 = 1.2;

/// How often something is done for one reading of the passes' clock.
const BATCH: u32 = 20;

fn sqlite(directory: &tempfile::TempDir, name: &str) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::create(&directory.path().join(name)).unwrap())
}

fn batch(mut once: impl FnMut() -> Duration) -> Duration {
    (0..BATCH).map(|_| once()).sum::<Duration>() / BATCH
}

/// A decision with many permissions on the principal, beside one with a single one; both in SQLite files.
pub(crate) fn decisions() -> Vec<Row> {
    let directory = tempfile::tempdir().unwrap();
    let one = Local::on(sqlite(&directory, "1.db"), Algorithm::ES256);
    let (only, ada) = (one.permissions(1), one.ada());
    [100, 10_000]
        .into_iter()
        .map(|count| {
            let many = Local::on(sqlite(&directory, &format!("{count}.db")), Algorithm::ES256);
            let (last, ada_of_many) = (many.permissions(count), many.ada());
            let passes = passes(60, Duration::from_millis(20), &mut || batch(|| one.decide(&ada, &only)), &mut || {
                batch(|| many.decide(&ada_of_many, &last))
            });
            let count = if count == 100 { "100" } else { "10,000" };
            let what = format!("a decision with {count} permissions on the principal; beside one with 1; SQLite");
            ratio(what, &passes, Some(APART))
        })
        .collect()
}

/// A token requested through the router, beside the bare signature of as long a text and one durable commit.
pub(crate) fn token_request() -> Row {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::on(sqlite(&directory, "ours.db"), Algorithm::ES256);
    let long_lived = local.service_account();
    let (_, requested) = local.request_token(&long_lived);
    let token = requested["status"]["token"].as_str().unwrap();
    let (message, _) = token.rsplit_once('.').unwrap();
    let (pair, message) = (Pair::generate(Algorithm::ES256), message.to_owned());
    let mut bare = Bare::open(&directory.path().join("bare.db"));
    let passes = passes(
        60,
        Duration::from_millis(40),
        &mut || {
            let begun = Instant::now();
            std::hint::black_box(pair.sign(message.as_bytes()));
            begun.elapsed() + bare.once()
        },
        &mut || local.request_token(&long_lived).0,
    );
    ratio(
        "TokenRequest as a whole, ES256, SQLite; beside the bare signature and a bare commit".to_owned(),
        &passes,
        None,
    )
}

/// `/auth/verify` with an account's token and with a service account's, beside a gate token; each shown again and again.
pub(crate) fn at_the_door() -> Vec<Row> {
    let local = Local::new(Algorithm::ES256);
    let gate = &local.gate_tokens(1)[0];
    let service_account = local.service_account();
    let access = local.sign_in().1.access;
    [("an access token", &access), ("a long-lived service account token", &service_account)]
        .into_iter()
        .map(|(which, token)| {
            let passes =
                passes(40, Duration::from_millis(20), &mut || local.verify(gate), &mut || local.verify_account(token));
            ratio(format!("/auth/verify with {which}, ES256; beside a gate token"), &passes, None)
        })
        .collect()
}

fn ratio(what: String, passes: &[Pass], most: Option<f64>) -> Row {
    let ratio = Spread::of(passes.iter().map(|pass| pass.ours / pass.floor));
    Row {
        what,
        floor: format!("{:.1} µs", Spread::of(passes.iter().map(|pass| pass.floor)).median),
        ours: format!("{:.1} µs", Spread::of(passes.iter().map(|pass| pass.ours)).median),
        against: format!("{ratio:.2}"),
        target: most.map_or_else(String::new, |most| format!("≤ {most}")),
        met: most.map(|most| ratio.median <= most),
    }
}
