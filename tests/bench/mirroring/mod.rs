//! The runs, and what they are measured beside.

pub(crate) mod memory;
mod place;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::Client;
use futures_util::future::join_all;
use gatemint::{
    domain::key::Algorithm,
    store::{DynamoStore, MemoryStore, Store},
    vault::SecretsManagerVault,
};

use crate::{
    emulator::Emulator,
    floor::Pair,
    measure::{Pass, Spread, passes},
    table::Row,
};
use place::Place;

/// How many namespaces at most, and at least.
const MANY: usize = 10_000;
const FEW: usize = 1_000;

/// How many are written on the emulator, and how many writes are under way at a time, as a run has them.
const ON_THE_EMULATOR: usize = 400;
const AT_A_TIME: usize = 8;

/// Tokens per second.
fn per_second(side: fn(&Pass) -> f64, passes: &[Pass]) -> String {
    format!("{:.0}/s", Spread::of(passes.iter().map(|pass| 1e6 / side(pass))).median)
}

fn row(what: String, passes: &[Pass], target: &str, met: Option<bool>) -> Row {
    Row {
        what,
        floor: per_second(|pass| pass.floor, passes),
        ours: per_second(|pass| pass.ours, passes),
        against: format!("{}", Spread::of(passes.iter().map(|pass| pass.floor / pass.ours))),
        target: target.to_owned(),
        met,
    }
}

/// Whole runs, all in memory, beside as many bare signatures; and many namespaces beside few.
pub(crate) fn signatures() -> Vec<Row> {
    let (few, many) = (Place::in_memory(FEW), Place::in_memory(MANY));
    let pair = Pair::generate(Algorithm::ES256);
    let message = few.message();
    let mut bare = || {
        let begun = Instant::now();
        for _ in 0..100 {
            std::hint::black_box(pair.sign(message.as_bytes()));
        }
        begun.elapsed() / 100
    };
    let mut rows = Vec::new();
    for (place, count) in [(&few, "1,000"), (&many, "10,000")] {
        let passes = passes(12, Duration::from_millis(100), &mut bare, &mut || place.run());
        let what = format!("refresh-secrets over {count} namespaces in memory, ES256, tokens; beside bare signatures");
        rows.push(row(what, &passes, "", None));
    }
    let passes = passes(8, Duration::ZERO, &mut || few.run(), &mut || many.run());
    let flat = Spread::of(passes.iter().map(|pass| pass.floor / pass.ours)).median >= 0.8;
    rows.push(row("the same over 10,000 namespaces, tokens; beside 1,000".to_owned(), &passes, "≥ 0.8", Some(flat)));
    rows
}

/// Whole runs on the emulator of DynamoDB and Secrets Manager, beside bare `PutSecretValue`s of as long a text there.
pub(crate) fn writes() -> Vec<Row> {
    let emulator = Emulator::ministack();
    let runtime = place::runtime();
    let table = runtime.block_on(emulator.table());
    let client = Client::new(&emulator.config());
    let stores: [(&str, Arc<dyn Store>); 2] = [
        ("on the emulators of DynamoDB and Secrets Manager", Arc::new(DynamoStore::new(&emulator.config(), &table))),
        ("on the latter, with the state in memory", Arc::new(MemoryStore::new())),
    ];
    let places = stores.map(|(on, store)| {
        let vault = SecretsManagerVault::new(&emulator.config(), format!("{table}-{}", on.len()));
        (on, Place::new(store, Arc::new(vault), ON_THE_EMULATOR))
    });
    let message = places[0].1.message();
    runtime.block_on(async {
        for n in 0..AT_A_TIME {
            client.create_secret().name(format!("bare/{n}")).secret_string("{}").send().await.unwrap();
        }
    });
    let mut bare = || {
        let begun = Instant::now();
        runtime.block_on(async {
            let left = AtomicUsize::new(ON_THE_EMULATOR);
            let writers = (0..AT_A_TIME).map(|n| {
                let (client, left, message) = (&client, &left, &message);
                async move {
                    while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                        let put = client.put_secret_value().secret_id(format!("bare/{n}"));
                        put.secret_string(format!(r#"{{"AUTH_TOKEN":"{message}"}}"#)).send().await.unwrap();
                    }
                }
            });
            join_all(writers).await;
        });
        begun.elapsed() / u32::try_from(ON_THE_EMULATOR).unwrap()
    };
    let mut rows = Vec::new();
    for (on, place) in &places {
        let passes = passes(3, Duration::ZERO, &mut bare, &mut || place.run());
        let what = format!(
            "refresh-secrets over {ON_THE_EMULATOR} namespaces {on}, tokens; beside bare PutSecretValues, {AT_A_TIME} at a time"
        );
        rows.push(row(what, &passes, "", None));
    }
    rows
}
