//! Permissions beside a slow and obvious reference, on every store: random histories of grants, denials and revocations, of
//! roles, accounts and service accounts that come, go and come again under the same name; and what races come to.

// Many at the same moment: one order explains what each was told, and what is left.
mod at_once;
// What happens, to the service and to the reference.
mod history;
// The rules as they are told.
mod model;

use std::cell::RefCell;

use gatemint::{domain::Policy, http::Options};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::{
    store::{
        Memory, Sqlite,
        conformance::{Backend, Bed},
    },
    support::{ISSUER, TestService, watched::WatchedStore},
};
use history::{History, RESOURCES, Step, Tally, steps};

/// A service on an empty store of a kind; the store is there as long as its bed.
async fn service_on<B: Backend>() -> (TestService, Bed) {
    let bed = B::fresh().await;
    let test = TestService::on(WatchedStore::around(bed.store.clone()), Policy::new(ISSUER), Options::default()).await;
    (test, bed)
}

/// Lives through a history: after each step the decisions that it could have changed are compared, and in the end all.
async fn live_through<B: Backend>(steps: Vec<Step>) -> Tally {
    let (test, _bed) = service_on::<B>().await;
    let mut history = History::begin(test).await;
    for (n, step) in steps.iter().enumerate() {
        history.step(step).await;
        // A few of them, others each time.
        let mut touched = History::touched(step);
        let first = n % touched.len().max(1);
        touched.rotate_left(first);
        touched.truncate(4);
        history.compare(&touched).await;
        if n % 16 == 15 {
            history.compare_lists().await;
        }
    }
    history.compare(&RESOURCES).await;
    history.compare_lists().await;
    history.tally
}

/// Random histories on stores of one kind, each from an empty one.
fn histories<B: Backend>(name: &str, count: u32, length: usize, first: u8) {
    let total = RefCell::new(Tally::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // The same histories every time: what fails once fails again.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[first; 32]);
    let config = Config { cases: count, failure_persistence: None, max_shrink_iters: 150, ..Config::default() };
    let outcome = TestRunner::new_with_rng(config, rng).run(&steps(length..length + length / 2), |steps| {
        let tally = runtime.block_on(live_through::<B>(steps));
        total.borrow_mut().add(&tally);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}, after {steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    let all = total.into_inner();
    // A history that never gets anywhere would agree with everything.
    let seen = [all.granted, all.denied, all.revoked, all.refused, all.deleted, all.again];
    let asked = [all.passed, all.forbidden, all.unauthenticated, all.allowed, all.decisions - all.allowed];
    assert!(seen.iter().chain(&asked).all(|seen| *seen > 0), "{all:?}");
    println!(
        "counted: {name}: {count} random histories of {} steps ({} grants, {} of them with a denial, {} revocations, {} \
         refusals, {} deletions, {} names made again), {} decisions ({} yes), {} lists and {} questions at /auth/verify \
         ({} passed), all as the reference has them",
        all.steps,
        all.granted,
        all.denied,
        all.revoked,
        all.refused,
        all.deleted,
        all.again,
        all.decisions,
        all.allowed,
        all.lists,
        all.passed + all.forbidden + all.unauthenticated,
        all.passed,
    );
}

#[test]
fn random_histories_in_memory_agree_with_an_obvious_reference() {
    histories::<Memory>("memory", 36, 40, 1);
}

#[test]
fn random_histories_in_a_sqlite_file_agree_with_an_obvious_reference() {
    histories::<Sqlite>("SQLite", 10, 40, 2);
}

#[cfg(feature = "aws")]
#[test]
fn random_histories_on_dynamodb_agree_with_an_obvious_reference() {
    histories::<crate::dynamodb::Ministack>("DynamoDB", 5, 30, 3);
}
