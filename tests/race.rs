//! Refreshes at once: one moves the session, all get the same successor, and a replay ends everything.

// Random histories of one session, against a model that is slow and obvious.
mod model;

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde_json::Value;

use crate::support::{PASSWORD, TestService, process::Serve, watched::Fault};

/// One client for all requests to real processes.
fn http() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap()
}

async fn post(http: &reqwest::Client, url: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let answer = http.post(format!("{url}/oauth2/token")).form(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

pub(crate) async fn admin_sign_in(http: &reqwest::Client, url: &str, data: &Path) -> String {
    let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
    let form = [("grant_type", "password"), ("username", "admin"), ("password", password.as_str())];
    let (status, reply) = post(http, url, &form).await;
    assert_eq!(status, 200, "{reply}");
    reply["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_refreshes_over_two_processes_share_one_successor() {
    const ROUNDS: usize = 5;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let one = Serve::start(&data);
    let other = Serve::start(&data);
    let http = http();
    let mut token = admin_sign_in(&http, &one.url, &data).await;
    let mut answered = 0;
    for round in 1..=ROUNDS {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let (http, token) = (http.clone(), token.clone());
            let url = if n % 2 == 0 { one.url.clone() } else { other.url.clone() };
            tasks.spawn(async move {
                post(&http, &url, &[("grant_type", "refresh_token"), ("refresh_token", &token)]).await
            });
        }
        let replies = tasks.join_all().await;
        let mut successors = HashSet::new();
        for (status, reply) in &replies {
            assert_eq!(*status, 200, "round {round}: {reply}");
            successors.insert(reply["refresh_token"].as_str().unwrap().to_owned());
        }
        answered += replies.len();
        assert_eq!(successors.len(), 1, "round {round}");
        token = successors.into_iter().next().unwrap();
        assert_eq!(generation(&token), u32::try_from(round).unwrap(), "one generation a round");
    }
    println!(
        "counted: {answered} refreshes at once over 2 processes, {answered} answered 200, {ROUNDS} successors in {ROUNDS} rounds"
    );
}

/// The generation that a refresh token carries, read as anybody can.
pub(crate) fn generation(token: &str) -> u32 {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("gmr_").unwrap()).unwrap();
    u32::from_be_bytes(bytes[34..38].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_one_process_too_and_every_access_token_is_good() {
    let test = Arc::new(TestService::new().await.user("ada", &[]).await);
    let first = test.sign_in("ada").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (test, token) = (test.clone(), first.refresh.clone());
        tasks.spawn(async move { test.refresh(&token).await.tokens() });
    }
    let replies = tasks.join_all().await;
    let successors: HashSet<_> = replies.iter().map(|tokens| &tokens.refresh).collect();
    assert_eq!(successors.len(), 1);
    for tokens in &replies {
        let me = test.v1(axum::http::Method::GET, "/v1/me", &tokens.access, None).await;
        assert_eq!(me.status, StatusCode::OK);
    }
    println!("counted: {} refreshes at once, 1 successor, {} good access tokens", replies.len(), replies.len());
}

#[tokio::test]
async fn a_retry_gets_the_same_successor_then_late_is_refused_and_a_replay_ends_the_session() {
    let test = TestService::new().await.user("ada", &[]).await;
    let first = test.sign_in("ada").await;
    let second = test.refresh(&first.refresh).await.tokens();
    test.clock.advance(Duration::from_secs(29));
    let repeated = test.refresh(&first.refresh).await.tokens();
    assert_eq!(repeated.refresh, second.refresh, "inside the window");
    test.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let late = test.refresh(&first.refresh).await;
        assert_eq!(late.refusal(), (400, "invalid_grant", "Refresh token already used"));
    }
    let third = test.refresh(&second.refresh).await.tokens();
    assert_ne!(third.refresh, second.refresh, "the session stood");

    // Somebody has the first token: two generations behind.
    assert_eq!(test.refresh(&first.refresh).await.refusal(), (400, "invalid_grant", "Session ended"));
    for tokens in [&second, &third] {
        assert_eq!(test.refresh(&tokens.refresh).await.refusal(), (400, "invalid_grant", "Session ended"));
    }
    for tokens in [&first, &second, &repeated, &third] {
        let me = test.v1(axum::http::Method::GET, "/v1/me", &tokens.access, None).await;
        assert_eq!(me.status, StatusCode::UNAUTHORIZED, "no access token of the session works");
    }
    println!("counted: 1 session, 1 replay, 0 of 3 refresh tokens and 0 of 4 access tokens work afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replay_among_parallel_refreshes_leaves_no_descendant() {
    let mut sessions = 0;
    for _ in 0..20 {
        let test = Arc::new(TestService::new().await.user("ada", &[]).await);
        let first = test.sign_in("ada").await;
        let second = test.refresh(&first.refresh).await.tokens();
        test.refresh(&second.refresh).await.tokens();
        let third = test.refresh(&second.refresh).await.tokens();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..32 {
            let (test, token) = (test.clone(), if n == 7 { first.refresh.clone() } else { third.refresh.clone() });
            tasks.spawn(async move { test.refresh(&token).await });
        }
        for answer in tasks.join_all().await {
            if answer.status == StatusCode::OK {
                let tokens = answer.tokens();
                assert_eq!(test.refresh(&tokens.refresh).await.refusal().2, "Session ended");
                let me = test.v1(axum::http::Method::GET, "/v1/me", &tokens.access, None).await;
                assert_eq!(me.status, StatusCode::UNAUTHORIZED);
            } else {
                assert_eq!(answer.refusal(), (400, "invalid_grant", "Session ended"));
            }
        }
        sessions += 1;
    }
    println!("counted: {sessions} sessions with a replay among 32 refreshes, 0 descendants alive");
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_forks_nothing() {
    let test = TestService::new().await.user("ada", &[]).await;
    let mut tokens = test.sign_in("ada").await;
    let mut lost = 0;
    for fault in [Fault::LostReply, Fault::Refused].into_iter().cycle().take(20) {
        test.store.fail([Some(fault)]);
        let answer = test.refresh(&tokens.refresh).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        lost += 1;
        tokens = test.refresh(&tokens.refresh).await.tokens();
    }
    assert_eq!(generation(&tokens.refresh), 20);
    println!("counted: {lost} lost or refused commits, 20 generations");
}

#[tokio::test]
async fn password_change_disable_and_delete_end_what_they_should() {
    use axum::http::Method;
    use serde_json::json;
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let (mine, other) = (test.sign_in("ada").await, test.sign_in("ada").await);
    let new = "another long enough password";
    test.keep(new);
    let body = json!({"old": PASSWORD, "new": new});
    let changed = test.v1(Method::POST, "/v1/me/password", &mine.access, Some(body)).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    assert_eq!(test.refresh(&other.refresh).await.refusal().2, "Session ended");
    assert_eq!(test.v1(Method::GET, "/v1/me", &mine.access, None).await.status, StatusCode::OK);
    let mine = test.refresh(&mine.refresh).await.tokens();

    for (method, body, text) in [
        (Method::PATCH, Some(json!({"enabled": false})), "Account disabled"),
        (Method::DELETE, None, "Invalid user credentials"),
    ] {
        let answer = test.v1(method, "/v1/users/ada", &admin, body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        assert_eq!(test.refresh(&mine.refresh).await.refusal().2, "Session ended");
        let form = [("grant_type", "password"), ("username", "ada"), ("password", new)];
        assert_eq!(test.form("/oauth2/token", &form).await.refusal(), (400, "invalid_grant", text));
    }
    // A user made again under the name inherits nothing.
    let again = json!({"name": "ada", "password": new});
    assert_eq!(test.v1(Method::POST, "/v1/users", &admin, Some(again)).await.status, StatusCode::CREATED);
    assert_eq!(test.refresh(&mine.refresh).await.refusal().2, "Session ended");
    println!("counted: 3 ways to end sessions, each counted at the next refresh");
}
