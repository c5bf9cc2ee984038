//! The token that is always fresh, over days: whoever reads it from us gets half an hour, and whoever reads it from the
//! vault never less than ten minutes as long as at most one run in a row is missed; whatever is slow, away or killed, and
//! whichever way the clock is set. What races come to, and a run that is cut off.

// At the same moment: sign-ins, ends, and changes beside a run.
mod at_once;
// A vault and a store that do what happens to real ones.
mod faulty;
// Days in seconds, and what each reader was promised.
mod history;
// `gatemint serve`, killed while it mirrors.
mod killed;
// A vault that is away for minutes, a namespace that nothing helps, a run whose time is up.
mod outages;
// The service and its mirror.
mod place;
// What may happen.
mod plan;

use std::{cell::RefCell, time::Duration};

use gatemint::domain::fresh_token::mirror::Timetable;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::store::{Memory, Sqlite, conformance::Backend};
use history::{LEAST, Rules, Tally, World};
use plan::{Slot, slots};

/// Lives through a history on an empty store: what it came to, or what was promised and not kept.
async fn live_through<B: Backend>(slots: &[Slot], rules: Rules) -> Result<Tally, String> {
    let bed = B::fresh().await;
    let mut world = World::begin(bed.store.clone(), rules).await;
    for (number, slot) in slots.iter().enumerate() {
        let before = &slots[number.saturating_sub(6)..=number];
        world.live(number, slot).await.map_err(|why| format!("slot {number}: {why}; the last were {before:?}"))?;
    }
    world.end(slots.len()).await.map_err(|why| format!("in the end: {why}"))?;
    Ok(world.tally.clone())
}

/// Random histories, each of so many runs: what all came to, or what the first said that broke a promise.
fn histories<B: Backend>(count: u32, runs: usize, calm: bool, first: u8, rules: Rules) -> Result<Tally, String> {
    let total = RefCell::new(Tally::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // The same histories every time: what fails once fails again.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[first; 32]);
    // What is to fail need not be made small.
    let max_shrink_iters = if rules.is_usual() { 20 } else { 0 };
    let config = Config { cases: count, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let outcome = TestRunner::new_with_rng(config, rng).run(&slots(runs, calm), |slots| {
        let tally = runtime.block_on(live_through::<B>(&slots, rules)).map_err(TestCaseError::fail)?;
        total.borrow_mut().add(&tally);
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(total.into_inner()),
        Err(TestError::Fail(why, _)) => Err(why.to_string()),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

fn hours(seconds: u64) -> f64 {
    Duration::from_secs(seconds).as_secs_f64() / 3600.0
}

/// Says what histories came to; they went everywhere.
fn say(name: &str, count: u32, all: &Tally) {
    let seen =
        [all.written, all.removed, all.missed, all.killed, all.busy, all.deeds, all.jumps, all.gets, all.refused];
    assert!(seen.iter().all(|seen| *seen > 0), "{all:?}");
    let least = |missed: usize| all.least.get(&missed).copied();
    let promised = least(0).into_iter().chain(least(1)).min().unwrap();
    assert!(promised >= LEAST && all.least_got.unwrap() >= LEAST);
    println!(
        "counted: {name}: {count} random histories of {:.0} hours, {} runs ({} more missed, {} killed, {} found another \
         at work), {} writes, {} secrets removed, {} changes by people, {} jumps of the clock, {} reads of the vault and {} \
         of the secret, {} tokens refused that had ended",
        hours(all.seconds),
        all.runs,
        all.missed,
        all.killed,
        all.busy,
        all.written,
        all.removed,
        all.deeds,
        all.jumps,
        all.reads,
        all.gets,
        all.refused,
    );
    println!(
        "counted: {name}: the least life that any reader of the vault saw: {promised} s, with at most one run in a row \
         missed; of the secret: {} s (by how many were missed, vault: {:?})",
        all.least_got.unwrap(),
        all.least,
    );
}

#[test]
fn no_reader_in_memory_ever_sees_less_than_ten_minutes() {
    let all = histories::<Memory>(5, 1000, false, 1, Rules::default()).unwrap();
    say("memory", 5, &all);
}

#[test]
fn no_reader_beside_a_sqlite_file_ever_sees_less_than_ten_minutes() {
    let all = histories::<Sqlite>(2, 300, false, 2, Rules::default()).unwrap();
    say("SQLite", 2, &all);
}

#[cfg(feature = "aws")]
#[test]
fn no_reader_beside_dynamodb_ever_sees_less_than_ten_minutes() {
    let all = histories::<crate::dynamodb::Ministack>(2, 120, false, 3, Rules::default());
    say("DynamoDB", 2, &all.unwrap());
}

/// Days on which nothing happens but runs that are late, slow or missed: what the timetable is made for.
#[test]
fn on_days_without_people_the_timetable_keeps_twelve_minutes() {
    let all = histories::<Memory>(2, 1500, true, 4, Rules::default()).unwrap();
    let least = all.least.iter().filter(|(missed, _)| **missed <= 1).map(|(_, least)| *least).min().unwrap();
    assert!(least >= 12 * 60, "{:?}", all.least);
    println!(
        "counted: 2 histories of {:.0} hours with nothing but runs that are late by up to a minute, take up to 100 s and are \
         missed one in five times: {} runs, {} writes, the least life read {least} s",
        hours(all.seconds),
        all.runs,
        all.written,
    );
}

/// Each of these faults is one that a mirror could have; a test that does not see them sees nothing.
#[test]
fn a_mirror_with_a_fault_is_found_out() {
    let usual = Timetable::default();
    let faults = [
        (
            "writes below 13 minutes",
            Rules { timetable: Timetable { write_below: Duration::from_mins(13), ..usual }, ..Rules::default() },
        ),
        ("runs every five minutes", Rules { every: 300, ..Rules::default() }),
        ("one write in 40 acknowledged and not done", Rules { lies: 40, ..Rules::default() }),
    ];
    let count = faults.len();
    for (fault, rules) in faults {
        let why = histories::<Memory>(6, 500, false, 5, rules).expect_err(fault);
        assert!(why.contains("missed"), "{fault}: {why}");
        println!("{fault}: found: {}", why.split(';').next().unwrap());
    }
    println!("counted: {count} faults planted, {count} found");
}
