//! A whole service whose state is in DynamoDB: many refreshes at once, faults under it, and clocks that disagree.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use gatemint::{
    clock::Clock,
    domain::{Policy, client::manage::NewClient},
    http::Options,
    store::DynamoStore,
};

use crate::{
    race::generation,
    support::{
        Answer, ISSUER, ManualClock, TestService,
        emulator::Emulator,
        fault_proxy::{Fault, Proxy},
        watched::WatchedStore,
    },
};

/// A service with the user ada on a new table behind a proxy.
async fn service() -> (Proxy, TestService) {
    let emulator = Emulator::ministack();
    let proxy = Proxy::before(emulator.endpoint()).await;
    let store = DynamoStore::new(&proxy.config(), emulator.table().await);
    let store = WatchedStore::around(Arc::new(store));
    let test = TestService::on(store, Policy::new(ISSUER), Options::default()).await.user("ada", &[]).await;
    (proxy, test)
}

/// Sends one refresh token many times at once, to services in turn.
async fn refresh_at_once(services: &[Arc<TestService>], token: &str, times: usize) -> Vec<Answer> {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..times {
        let (test, token) = (services[n % services.len()].clone(), token.to_owned());
        tasks.spawn(async move { test.refresh(&token).await });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixty_four_refreshes_at_once_one_wins_and_all_get_its_successor() {
    const ROUNDS: u32 = 5;
    let (proxy, test) = service().await;
    let test = [Arc::new(test)];
    let mut token = test[0].sign_in("ada").await.refresh;
    proxy.requests();
    for round in 1..=ROUNDS {
        let answers = refresh_at_once(&test, &token, 64).await;
        let successors: HashSet<String> = answers.iter().map(|answer| answer.tokens().refresh).collect();
        assert_eq!(successors.len(), 1);
        token = successors.into_iter().next().unwrap();
        assert_eq!(generation(&token), round, "one generation a round");
    }
    println!("counted: {} refreshes at once on DynamoDB, {ROUNDS} successors in {ROUNDS} rounds", 64 * ROUNDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_through_faults_mints_one_successor() {
    let (proxy, test) = service().await;
    let mut token = test.sign_in("ada").await.refresh;
    let faults = [
        ("PutItem", 3, Fault::throughput_exceeded()),
        ("BatchGetItem", 3, Fault::throttled()),
        ("PutItem", 2, Fault::LostReply),
        ("PutItem", 2, Fault::Cut),
        ("PutItem", 1, Fault::SlowReply(Duration::from_secs(5))),
        ("BatchGetItem", 1, Fault::SlowReply(Duration::from_secs(5))),
        ("BatchGetItem", 2, Fault::Unprocessed(1)),
        ("*", 3, Fault::internal_error()),
    ];
    for (n, (operation, times, fault)) in faults.iter().enumerate() {
        proxy.fail(operation, *times, fault.clone());
        let next = test.refresh(&token).await.tokens().refresh;
        assert_eq!(generation(&next), u32::try_from(n).unwrap() + 1, "{operation} {fault:?}");
        assert_eq!(test.refresh(&token).await.tokens().refresh, next, "a retry gets the same");
        token = next;
    }
    println!("counted: {} refreshes through faults, {} successors, none made twice", faults.len(), faults.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_whose_reply_never_comes_is_done_once_and_found_by_the_retry() {
    let (proxy, test) = service().await;
    let tokens = test.sign_in("ada").await;
    proxy.fail("PutItem", usize::MAX, Fault::LostReply);
    let answer = test.refresh(&tokens.refresh).await;
    proxy.heal();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    let next = test.refresh(&tokens.refresh).await.tokens();
    assert_eq!(generation(&next.refresh), 1, "the lost one was done, and nothing was done twice");

    // Sixty-four at once, half of whose writes lose their reply.
    let services = [Arc::new(test)];
    for _ in 0..4 {
        proxy.fail("PutItem", 1, Fault::LostReply);
        proxy.fail("PutItem", 1, Fault::throughput_exceeded());
    }
    let answers = refresh_at_once(&services, &next.refresh, 64).await;
    let successors: HashSet<String> = answers.iter().map(|answer| answer.tokens().refresh).collect();
    assert_eq!(successors.len(), 1);
    assert!(successors.iter().all(|token| generation(token) == 2));
    println!("counted: 65 refreshes whose writes were lost or throttled, 2 successors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_store_is_away_says_so_and_recovers() {
    let (proxy, test) = service().await;
    let tokens = test.sign_in("ada").await;
    proxy.set_away(true);
    let answer = tokio::time::timeout(Duration::from_secs(25), test.refresh(&tokens.refresh)).await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert!(!answer.text.contains("dynamodb") && !answer.text.contains("127.0.0.1"), "{}", answer.text);
    proxy.set_away(false);
    assert_eq!(generation(&test.refresh(&tokens.refresh).await.tokens().refresh), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn services_whose_clocks_differ_by_a_minute_fork_nothing() {
    let mut refreshes = 0;
    for (here, there) in [(0, 60), (60, 0)] {
        let (_proxy, test) = service().await;
        // The keys are made before either clock.
        test.clock.advance(Duration::from_mins(2));
        let begun = test.clock.now().0;
        let other = test.elsewhere(ManualClock::at(begun + there));
        test.clock.advance(Duration::from_secs(here));
        let services = [Arc::new(test), Arc::new(other)];

        // In turns.
        let mut token = services[0].sign_in("ada").await.refresh;
        for n in 1..=6 {
            let [one, other] = [&services[n % 2], &services[(n + 1) % 2]];
            let next = one.refresh(&token).await.tokens();
            assert_eq!(generation(&next.refresh), u32::try_from(n).unwrap());
            // A token from the future is not good yet at who is behind (`nbf`); that fails closed, and passes.
            let not_yet = one.clock.now() > other.clock.now();
            for (service, good) in [(one, true), (other, !not_yet)] {
                let me = service.v1(Method::GET, "/v1/me", &next.access, None).await;
                assert_eq!(me.status == StatusCode::OK, good, "{}", me.text);
            }
            token = next.refresh;
            refreshes += 1;
        }
        // At once. Who is ahead may take a repeat for late, and refuses it; nobody takes it for stolen.
        for round in 7..=10 {
            let answers = refresh_at_once(&services, &token, 64).await;
            refreshes += answers.len();
            let mut successors = HashSet::new();
            for answer in &answers {
                if answer.status == StatusCode::OK {
                    successors.insert(answer.tokens().refresh);
                } else {
                    assert_eq!(answer.refusal(), (400, "invalid_grant", "Refresh token already used"));
                }
            }
            assert_eq!(successors.len(), 1, "round {round}");
            token = successors.into_iter().next().unwrap();
            assert_eq!(generation(&token), round, "one generation a round");
        }
    }
    println!("counted: {refreshes} refreshes by two services a minute apart, 0 forks, 0 sessions ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_makes_the_requests_that_the_design_allows() {
    let (proxy, test) = service().await;
    let secret = test.client("ci", NewClient { introspect: true, ..NewClient::default() }).await.unwrap();
    test.sign_in("ada").await;
    // What is read once and kept: keys.
    test.store.round_trips();
    proxy.requests();
    let mut table = Vec::new();
    let mut count = |what: &str, calls: (usize, usize)| {
        let requests = proxy.requests();
        assert_eq!(test.store.round_trips(), calls, "{what}: calls of the store");
        let of = |names: &[&str]| names.iter().filter_map(|name| requests.get(*name)).sum::<usize>();
        let reads = of(&["GetItem", "BatchGetItem", "Query"]);
        let writes = of(&["PutItem", "DeleteItem", "TransactWriteItems"]);
        assert_eq!((reads, writes), calls, "{what}: a call is a request: {requests:?}");
        let shown: Vec<String> = requests.iter().map(|(operation, n)| format!("{n} {operation}")).collect();
        table.push(format!("{what:<34}{reads} + {writes}   {}", shown.join(", ")));
    };
    let tokens = test.sign_in("ada").await;
    count("password", (1, 2));
    test.refresh(&tokens.refresh).await.tokens();
    count("refresh", (1, 1));
    test.refresh(&tokens.refresh).await.tokens();
    count("repeat", (1, 0));
    let wrong = [("grant_type", "password"), ("username", "ada"), ("password", "not the right password")];
    test.form("/oauth2/token", &wrong).await;
    count("password, wrong", (1, 2));
    let mut forged = tokens.refresh.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    test.refresh(&forged).await;
    count("refresh, forged", (0, 0));
    let client = [("client_id", "ci"), ("client_secret", secret.as_str())];
    let machine = [&client[..], &[("grant_type", "client_credentials")]].concat();
    assert_eq!(test.form("/oauth2/token", &machine).await.status, StatusCode::OK);
    count("client_credentials", (1, 0));
    let introspect = [&client[..], &[("token", tokens.access.as_str())]].concat();
    assert_eq!(test.form("/oauth2/introspect", &introspect).await.json["active"], true);
    count("introspect an access token", (2, 0));
    assert_eq!(test.v1(Method::GET, "/v1/me", &tokens.access, None).await.status, StatusCode::OK);
    count("verify an account's access token", (1, 0));
    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration", "/healthz"] {
        test.v1(Method::GET, path, "", None).await;
    }
    count("JWKS and discovery, warm", (0, 0));
    for line in &table {
        println!("  {line}");
    }
    println!("counted: {} operations, reads + writes as HTTP requests", table.len());
}
