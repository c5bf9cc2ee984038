//! Faults, each through the real store: what may pass is tried again, what was done is done once, and a call ends in time.

use std::{collections::HashSet, time::Duration};

use gatemint::store::{CommitError, DynamoStore, Store, StoreError, When, Write};
use serde_json::Value;

use super::behind_a_proxy;
use crate::{
    store::conformance::{NOW, body, check, delete, done, fresh_id, key, put, row, unavailable},
    support::{emulator, fault_proxy::Fault},
};

/// A call's whole time, and a second for a machine that is busy with other tests.
const BUDGET: Duration = Duration::from_secs(7);

/// One call of each kind, by the operation that it makes.
const OPERATIONS: [&str; 6] = ["GetItem", "BatchGetItem", "Query", "PutItem", "DeleteItem", "TransactWriteItems"];

/// Makes one call, which is one request when nothing goes wrong.
async fn call(store: &DynamoStore, operation: &str, n: usize) -> Result<(), CommitError> {
    let read = |outcome: Result<(), StoreError>| outcome.map_err(CommitError::from);
    let new = format!("{operation}-{n}");
    match operation {
        "GetItem" => read(store.get(NOW, &[key("a")]).await.map(drop)),
        "BatchGetItem" => read(store.get(NOW, &[key("a"), key("b")]).await.map(drop)),
        "Query" => read(store.list(NOW, "test#rows", None, 10).await.map(drop)),
        "PutItem" => store.commit(NOW, fresh_id(), vec![put(&new, "1", When::Absent)]).await,
        "DeleteItem" => store.commit(NOW, fresh_id(), vec![delete("none", When::Always)]).await,
        _ => {
            let writes = vec![put(&new, "1", When::Absent), check("none", When::Absent)];
            store.commit(NOW, fresh_id(), writes).await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_until_it_is_fine() {
    let (proxy, store) = behind_a_proxy().await;
    let passing = [
        Fault::throughput_exceeded(),
        Fault::throttled(),
        Fault::internal_error(),
        Fault::error(503, "ServiceUnavailable", "busy"),
        Fault::Cut,
    ];
    let mut survived = 0;
    for (n, fault) in passing.iter().enumerate() {
        for operation in OPERATIONS {
            proxy.requests();
            proxy.fail(operation, 3, fault.clone());
            call(&store, operation, n).await.unwrap_or_else(|error| panic!("{operation}, {fault:?}: {error}"));
            assert_eq!(proxy.requests()[operation], 4, "{operation}, {fault:?}");
            survived += 1;
        }
    }
    println!("counted: {survived} calls failed three times for a passing reason, {survived} went well then");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_unavailable_in_time_and_says_why() {
    let (proxy, store) = behind_a_proxy().await;
    let mut tasks = tokio::task::JoinSet::new();
    proxy.fail("*", usize::MAX, Fault::throughput_exceeded());
    for operation in OPERATIONS {
        let store = store.clone();
        tasks.spawn(async move {
            let outcome = tokio::time::timeout(BUDGET, call(&store, operation, 0)).await.expect("an answer in time");
            let text = unavailable(outcome);
            let expected = format!("dynamodb:{operation} on the table ");
            assert!(text.contains(&expected) && text.contains("ProvisionedThroughputExceededException"), "{text}");
            assert!(text.contains("gave up after"), "{text}");
        });
    }
    let calls = tasks.join_all().await.len();
    let requests: usize = proxy.requests().values().sum();
    assert!(requests > calls && requests <= 10 * calls, "{requests}");
    proxy.heal();
    assert_eq!(store.list(NOW, "test#rows", None, 10).await.unwrap().items, [], "nothing was written");
    println!("counted: {calls} calls throttled for ever, {requests} requests, {calls} ended in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_not_waited_for_and_what_was_done_is_done_once() {
    let mut tasks = tokio::task::JoinSet::new();
    for operation in OPERATIONS {
        tasks.spawn(async move {
            let (proxy, store) = behind_a_proxy().await;
            proxy.fail(operation, 1, Fault::SlowReply(Duration::from_secs(5)));
            let outcome = tokio::time::timeout(Duration::from_secs(4), call(&store, operation, 0)).await;
            outcome.expect("an answer in time").unwrap();
            assert_eq!(proxy.requests()[operation], 2, "{operation}");
        });
    }
    println!(
        "counted: {} calls answered after 5 s, each went well at the second attempt",
        tasks.join_all().await.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_always_slow_is_unavailable_in_time() {
    let (proxy, store) = behind_a_proxy().await;
    proxy.fail("PutItem", usize::MAX, Fault::SlowReply(Duration::from_secs(5)));
    let id = fresh_id();
    let write = vec![put("a", "1", When::Absent)];
    let outcome = tokio::time::timeout(BUDGET, store.commit(NOW, id, write.clone())).await;
    let text = unavailable(outcome.expect("an answer in time"));
    assert!(text.contains("no answer in time"), "{text}");
    // It happened all the same, and the caller's own retry finds it.
    proxy.heal();
    store.commit(NOW, id, write).await.unwrap();
    assert_eq!(row(&store, "a").await.unwrap().version, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_reached_is_unavailable_in_time_and_recovers_by_itself() {
    let (proxy, store) = behind_a_proxy().await;
    done(&store, vec![put("a", "1", When::Absent)]).await;
    proxy.set_away(true);
    let mut tasks = tokio::task::JoinSet::new();
    for operation in OPERATIONS {
        let store = store.clone();
        tasks.spawn(async move {
            let outcome = tokio::time::timeout(BUDGET, call(&store, operation, 0)).await;
            let text = unavailable(outcome.expect("an answer in time"));
            assert!(text.contains("the connection failed"), "{text}");
        });
    }
    tasks.join_all().await;
    proxy.set_away(false);
    assert_eq!(body(&store, "a").await.as_deref(), Some("1"));
    for operation in OPERATIONS {
        call(&store, operation, 1).await.unwrap();
    }

    // Nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = DynamoStore::new(&emulator::config(&format!("http://{closed}")), "gatemint");
    let text = unavailable(tokio::time::timeout(BUDGET, call(&store, "PutItem", 0)).await.expect("an answer in time"));
    assert!(text.contains("the connection failed"), "{text}");
    println!("counted: {} calls to a store that is away, and as many after its return", OPERATIONS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_reply_was_lost_is_done_once_and_known_to_be_done() {
    let (proxy, store) = behind_a_proxy().await;
    let lost = async |operation: &str, writes: Vec<Write>| {
        proxy.requests();
        proxy.fail(operation, 2, Fault::LostReply);
        let id = fresh_id();
        store.commit(NOW, id, writes).await.unwrap();
        assert_eq!(proxy.requests()[operation], 3, "{operation}");
        id
    };
    let created = lost("PutItem", vec![put("a", "1", When::Absent)]).await;
    assert_eq!(row(&store, "a").await.unwrap().version, created);
    let changed = lost("PutItem", vec![put("a", "2", When::VersionIs(created))]).await;
    assert_eq!(row(&store, "a").await.unwrap().version, changed);
    let forced = lost("PutItem", vec![put("a", "3", When::Always)]).await;
    assert_eq!(row(&store, "a").await.unwrap().version, forced);
    let several =
        vec![check("none", When::Absent), put("a", "4", When::VersionIs(forced)), put("b", "4", When::Absent)];
    let transaction = lost("TransactWriteItems", several).await;
    for sort in ["a", "b"] {
        let row = row(&store, sort).await.unwrap();
        assert_eq!((row.version, row.body.as_str()), (transaction, "4"));
    }
    lost("DeleteItem", vec![delete("a", When::VersionIs(transaction))]).await;
    assert_eq!(row(&store, "a").await, None);
    println!("counted: 5 writes lost their reply twice, 5 were done once and answered Ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_arrives_long_after_its_retry_changes_nothing() {
    let (proxy, store) = behind_a_proxy().await;
    let first = done(&store, vec![put("a", "0", When::Absent)]).await;
    for (operation, beside) in [("PutItem", None), ("TransactWriteItems", Some("b"))] {
        let before = row(&store, "a").await.unwrap().version;
        let mut writes = vec![put("a", "1", When::VersionIs(before))];
        writes.extend(beside.map(|sort| put(sort, "1", When::Always)));
        proxy.fail(operation, 1, Fault::LateRequest(Duration::from_secs(4)));
        let mine = done(&store, writes).await;
        let theirs = done(&store, vec![put("a", "2", When::VersionIs(mine))]).await;
        if let Some(sort) = beside {
            done(&store, vec![put(sort, "2", When::Always)]).await;
        }
        proxy.late_request_arrived().await;
        assert_eq!(row(&store, "a").await.unwrap().version, theirs, "{operation}");
        if let Some(sort) = beside {
            assert_eq!(body(&store, sort).await.as_deref(), Some("2"), "its token is remembered");
        }
        assert_ne!(first, theirs);
    }
    println!("counted: 2 requests arrived after their own retry and after others, 0 did anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_the_same_request_and_two_calls_never_share_a_token() {
    let (proxy, store) = behind_a_proxy().await;
    let several =
        |name: &str| vec![put(name, "1", When::Absent), put("b", "1", When::Always), check("c", When::Absent)];
    let mut tokens = HashSet::new();
    let id = fresh_id();
    for n in 0..2 {
        proxy.requests();
        proxy.fail("TransactWriteItems", 4, Fault::throttled());
        // The second call is the caller's own retry: DynamoDB's memory must not answer for the rows.
        store.commit(NOW, id, several("a")).await.unwrap();
        let bodies = proxy.bodies();
        assert_eq!(bodies.len(), 5);
        let body: Value = serde_json::from_slice(&bodies[0].1).unwrap();
        for (_, other) in &bodies {
            assert_eq!(serde_json::from_slice::<Value>(other).unwrap(), body, "call {n}");
        }
        tokens.insert(body["ClientRequestToken"].as_str().unwrap().to_owned());
    }
    assert_eq!(tokens.len(), 2);
    println!("counted: 2 calls, 10 requests, 2 tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_cancelled_for_a_passing_reason_is_tried_again() {
    let (proxy, store) = behind_a_proxy().await;
    let mut survived = 0;
    for reasons in [
        ["None", "TransactionConflict"],
        ["TransactionConflict", "None"],
        ["ThrottlingError", "None"],
        ["None", "ProvisionedThroughputExceeded"],
        // Whether the other write would have failed as well, or was this very commit's, is not known.
        ["ConditionalCheckFailed", "TransactionConflict"],
    ] {
        proxy.requests();
        proxy.fail("TransactWriteItems", 3, Fault::cancelled(&reasons));
        let name = reasons.join("-");
        done(&store, vec![put(&name, "1", When::Absent), check("none", When::Absent)]).await;
        assert_eq!(proxy.requests()["TransactWriteItems"], 4, "{reasons:?}");
        survived += 1;
    }
    // A single write meets a transaction in the same way.
    proxy.fail("PutItem", 3, Fault::error(400, "TransactionConflictException", "Transaction is ongoing for the item"));
    done(&store, vec![put("single", "1", When::Absent)]).await;
    println!("counted: {} writes met transactions of others, all were done at the fourth attempt", survived + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_pass_is_not_tried_again() {
    let (proxy, store) = behind_a_proxy().await;
    let lasting = [
        ("PutItem", Fault::error(400, "ValidationException", "wrong"), "ValidationException: wrong"),
        ("TransactWriteItems", Fault::cancelled(&["ValidationError", "None"]), "cancelled: ValidationError"),
        (
            "TransactWriteItems",
            Fault::cancelled(&["ValidationError", "TransactionConflict"]),
            "cancelled: ValidationError",
        ),
        (
            "TransactWriteItems",
            Fault::error(400, "IdempotentParameterMismatchException", "other parameters"),
            "IdempotentParameterMismatchException",
        ),
        ("GetItem", Fault::error(400, "ValidationException", "wrong"), "ValidationException: wrong"),
    ];
    for (operation, fault, expected) in &lasting {
        proxy.requests();
        proxy.fail(operation, usize::MAX, fault.clone());
        let text = unavailable(call(&store, operation, 0).await);
        assert!(text.contains(expected), "{text}");
        assert_eq!(proxy.requests()[*operation], 1, "{fault:?}");
        proxy.heal();
    }
    println!("counted: {} lasting errors, one request each", lasting.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_not_processed_are_asked_for_again() {
    let (proxy, store) = behind_a_proxy().await;
    let names: Vec<String> = (0..7).map(|n| n.to_string()).collect();
    for name in &names {
        done(&store, vec![put(name, name, When::Absent)]).await;
    }
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    proxy.requests();
    proxy.fail("BatchGetItem", 2, Fault::Unprocessed(3));
    let rows = store.get(NOW, &keys).await.unwrap();
    let bodies: Vec<_> = rows.into_iter().map(|row| row.unwrap().body).collect();
    assert_eq!(bodies, names);
    assert_eq!(proxy.requests()["BatchGetItem"], 3);
    println!("counted: {} keys of one get, 5 times one was left unprocessed, all read in 3 requests", keys.len());
}
