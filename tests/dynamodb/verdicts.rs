//! Random histories on DynamoDB and in memory at the same time: every commit, read and page comes to the same.

use gatemint::{
    clock::Timestamp,
    store::{CommitError, DynamoStore, Item, MemoryStore, Store, Version, When, Write},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    store::conformance::{NOW, check, delete, fresh_id, key, put_until},
    support::emulator::Emulator,
};

const HISTORIES: usize = 40;
const SORTS: [&str; 4] = ["a", "b", "c", "d"];

/// What a step does; numbers choose from what the history has so far.
#[derive(Clone, Debug)]
enum Step {
    /// A commit of (row, kind, condition, version, purge time), so many seconds from the beginning.
    Commit(Vec<(usize, u8, u8, usize, Option<u64>)>, u64),
    /// An earlier commit again, under its own id.
    Again(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let one = (0..SORTS.len(), 0_u8..6, 0_u8..3, 0..6_usize, proptest::option::of(0_u64..8));
    prop_oneof![
        4 => (proptest::collection::vec(one, 1..4), 0_u64..8).prop_map(|(writes, now)| Step::Commit(writes, now)),
        1 => (0..12_usize, 0_u64..8).prop_map(|(which, now)| Step::Again(which, now)),
    ]
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 + seconds)
}

/// The writes that a step's numbers stand for; each row once.
fn writes(drawn: &[(usize, u8, u8, usize, Option<u64>)], versions: &[Version]) -> Vec<Write> {
    let mut writes: Vec<Write> = Vec::new();
    for (n, (row, kind, condition, version, until)) in drawn.iter().enumerate() {
        let sort = SORTS[*row];
        if writes.iter().any(|write| write.key().sort == sort) {
            continue;
        }
        // The newest versions are those that rows have.
        let version = versions.iter().rev().nth(*version).copied().unwrap_or(Version([0xff; 16]));
        let when = [When::Absent, When::VersionIs(version), When::Always][usize::from(*condition)];
        writes.push(match kind {
            0 => delete(sort, when),
            1 => check(sort, when),
            _ => put_until(sort, &n.to_string(), when, until.map(at)),
        });
    }
    writes
}

/// What a commit came to. Some are of a wrong shape, which both must refuse.
fn told(outcome: Result<(), CommitError>) -> Result<(), Option<(usize, Option<Item>)>> {
    outcome.map_err(|error| match error {
        CommitError::Conflict { at, current } => Some((at, current)),
        CommitError::Unavailable(_) => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_history_comes_to_the_same_as_in_memory() {
    // The same histories every time: what fails once fails again.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let history = proptest::collection::vec(step(), 12);
    let emulator = Emulator::ministack();
    let table = emulator.table().await;
    let dynamo = DynamoStore::new(&emulator.config(), table);
    let (mut done, mut conflicts, mut refused) = (0, 0, 0);
    for _ in 0..HISTORIES {
        let steps = history.new_tree(&mut runner).unwrap().current();
        let memory = MemoryStore::new();
        let mut commits: Vec<(Version, Vec<Write>)> = Vec::new();
        for sort in SORTS {
            dynamo.commit(NOW, fresh_id(), vec![delete(sort, When::Always)]).await.unwrap();
        }
        for step in &steps {
            let (now, (id, writes)) = match step {
                Step::Commit(drawn, now) => {
                    let versions: Vec<Version> = commits.iter().map(|(id, _)| *id).collect();
                    (at(*now), (fresh_id(), writes(drawn, &versions)))
                }
                Step::Again(which, now) => match commits.get(*which) {
                    Some(commit) => (at(*now), commit.clone()),
                    None => continue,
                },
            };
            commits.push((id, writes.clone()));
            let expected = told(memory.commit(now, id, writes.clone()).await);
            let outcome = told(dynamo.commit(now, id, writes.clone()).await);
            assert_eq!(outcome, expected, "{writes:?} at {now:?} in {steps:?}");
            match outcome {
                Ok(()) => done += 1,
                Err(Some(_)) => conflicts += 1,
                Err(None) => refused += 1,
            }
            let keys = SORTS.map(key);
            assert_eq!(dynamo.get(now, &keys).await.unwrap(), memory.get(now, &keys).await.unwrap());
            for limit in [1, 3] {
                let page = dynamo.list(now, "test#rows", Some("a"), limit).await.unwrap();
                assert_eq!(page, memory.list(now, "test#rows", Some("a"), limit).await.unwrap());
            }
        }
    }
    assert!(done > 100 && conflicts > 100 && refused > 0, "{done} {conflicts} {refused}");
    println!(
        "counted: {} commits of {HISTORIES} random histories, {done} done and {conflicts} in conflict as in memory",
        done + conflicts
    );
}
