//! One-time links: of all who press the button one wins, and nobody else gets in after.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use gatemint::{
    domain::{Policy, Service, gate::mint::NewGateToken, key::Algorithm},
    store::SqliteStore,
};

use crate::{
    links::{Gate, SCREEN, asked},
    support::{
        Answer, ISSUER,
        asking::{Asking, claims},
        process::Serve,
        watched::{Fault, WatchedStore},
    },
};

/// Browsers at once.
const BROWSERS: usize = 64;

fn once(name: &str) -> NewGateToken {
    NewGateToken { one_time: true, ..asked(name, &[SCREEN]) }
}

/// An address for each browser.
fn address(n: usize) -> String {
    format!("198.51.100.{n}")
}

/// What becomes of a request for the screen with this cookie.
async fn at_gate(gate: &Gate, cookie: &str) -> u16 {
    let request = Request::get("/auth/verify")
        .header("x-original-method", "GET")
        .header("x-original-url", format!("https://console.example.org{SCREEN}"))
        .header("cookie", format!("kg-jwt-session-code={cookie}"));
    gate.test.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
}

#[track_caller]
fn was_told_that_it_was_used(answer: &Answer) {
    answer.is_refused(403);
    assert!(answer.text.contains("<h1>This link was used already</h1>"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_browsers_press_at_once_and_one_wins() {
    const LINKS: usize = 5;
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(&home.path().join("store.sqlite")).unwrap();
    let gate = Arc::new(Gate::on(WatchedStore::around(Arc::new(store)), Policy::new(ISSUER)).await);
    for round in 0..LINKS {
        let link = gate.mint(once(&format!("once-{round}"))).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..BROWSERS {
            let (gate, link) = (gate.clone(), link.clone());
            tasks.spawn(async move {
                let looked = gate.open(&[("token", &link)]).await;
                (n, looked.status, gate.press(&address(n), &[("token", &link)]).await)
            });
        }
        let answers = tasks.join_all().await;
        let (winners, others): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, _, answer)| answer.status == StatusCode::SEE_OTHER);
        assert_eq!((winners.len(), others.len()), (1, BROWSERS - 1), "round {round}");
        for (_, _, answer) in &others {
            was_told_that_it_was_used(answer);
        }
        let (winner, looked, answer) = &winners[0];
        assert_eq!((*looked, answer.header("location")), (StatusCode::OK, SCREEN));
        assert_eq!(at_gate(&gate, answer.cookie_value()).await, 200);
        // The winner's browser lost the answer.
        let again = gate.press(&address(*winner), &[("token", &link)]).await;
        assert_eq!(again.status, StatusCode::SEE_OTHER);
        assert_eq!(claims(again.cookie_value()), claims(answer.cookie_value()));
        was_told_that_it_was_used(&gate.press(&address(BROWSERS), &[("token", &link)]).await);
    }
    println!(
        "counted: {} browsers pressed {LINKS} buttons at once, {LINKS} won, {} were told that it was used",
        LINKS * BROWSERS,
        LINKS * (BROWSERS - 1)
    );
}

#[tokio::test]
async fn a_retry_gets_the_same_cookie_for_ten_seconds_from_the_same_address() {
    let mut equal = 0;
    for alg in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
        let gate = Gate::with(Policy { signing_alg: Some(alg), ..Policy::new(ISSUER) }).await;
        let link = gate.mint(once("once")).await;
        let press = async |address: &'static str| gate.press(address, &[("token", &link)]).await;
        gate.test.store.round_trips();
        let first = press("192.0.2.1").await;
        assert_eq!(gate.test.store.round_trips(), (1, 1), "one read, one conditional write");
        assert_eq!(first.status, StatusCode::SEE_OTHER);
        let cookie =
            format!("kg-jwt-session-code={}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600", first.cookie_value());
        assert_eq!(first.cookie(), Some(cookie.as_str()));
        assert_eq!(claims(first.cookie_value())["aud"], "http://gatemint.test/gate");
        assert_ne!(claims(first.cookie_value())["jti"], claims(&link)["jti"]);

        gate.test.clock.advance(Duration::from_secs(9));
        let retry = press("192.0.2.1").await;
        assert_eq!(claims(retry.cookie_value()), claims(first.cookie_value()), "the same claims, and the same jti");
        if alg != Algorithm::ES256 {
            assert_eq!(retry.cookie_value(), first.cookie_value(), "the same bytes");
            equal += 1;
        }
        was_told_that_it_was_used(&press("192.0.2.2").await);
        was_told_that_it_was_used(&gate.open(&[("token", &link)]).await);
        gate.test.clock.advance(Duration::from_secs(1));
        was_told_that_it_was_used(&press("192.0.2.1").await);
        // The cookie is good for as long as the link was.
        assert_eq!(at_gate(&gate, first.cookie_value()).await, 200);
        gate.test.clock.advance(Duration::from_secs(3_590));
        assert_eq!(at_gate(&gate, first.cookie_value()).await, 401);
    }
    println!("counted: 3 algorithms, {equal} of them with the same bytes again");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_by_the_retry() {
    let gate = Gate::new().await;
    let link = gate.mint(once("once")).await;
    gate.test.store.fail([Some(Fault::LostReply)]);
    let first = gate.press("192.0.2.1", &[("token", &link)]).await;
    first.is_refused(503);
    was_told_that_it_was_used(&gate.press("192.0.2.2", &[("token", &link)]).await);
    let retry = gate.press("192.0.2.1", &[("token", &link)]).await;
    assert_eq!(at_gate(&gate, retry.cookie_value()).await, 200);

    let other = gate.mint(once("other")).await;
    gate.test.store.fail([Some(Fault::Refused)]);
    gate.press("192.0.2.1", &[("token", &other)]).await.is_refused(503);
    assert!(gate.press("192.0.2.2", &[("token", &other)]).await.cookie().is_some(), "it was not used");
}

#[tokio::test]
async fn deleting_the_gate_token_closes_the_link_and_the_cookie() {
    let gate = Gate::new().await;
    let (unused, link) = (gate.mint(once("unused")).await, gate.mint(once("once")).await);
    let cookie = gate.press("192.0.2.1", &[("token", &link)]).await.cookie_value().to_owned();
    assert_eq!(at_gate(&gate, &cookie).await, 200);
    for name in ["unused", "once"] {
        gate.revoke(name).await;
    }
    assert_eq!(at_gate(&gate, &cookie).await, 401);
    for link in [&unused, &link] {
        for answer in [gate.open(&[("token", link)]).await, gate.press("192.0.2.1", &[("token", link)]).await] {
            answer.is_refused(403);
            assert!(answer.text.contains("<h1>This link was revoked</h1>"), "{}", answer.text);
        }
    }
    // Made again: the old link and the old cookie stay closed, and the new link is unused.
    let again = gate.mint(once("once")).await;
    assert_eq!(at_gate(&gate, &cookie).await, 401);
    gate.press("192.0.2.1", &[("token", &link)]).await.is_refused(403);
    assert!(gate.press("192.0.2.9", &[("token", &again)]).await.cookie().is_some());
}

#[tokio::test]
async fn a_link_that_leads_to_the_wrong_place_is_not_used_up() {
    let gate = Gate::new().await;
    let link = gate.mint(once("once")).await;
    gate.press("192.0.2.1", &[("token", &link), ("then", "//evil.example")]).await.is_refused(403);
    gate.press("192.0.2.1", &[("token", &link), ("name", ".."), ("namespace", "demo")]).await.is_refused(403);
    assert!(gate.press("192.0.2.2", &[("token", &link)]).await.cookie().is_some());
}

/// Another service on the state of a running program, to mint there.
fn beside(data: &std::path::Path, url: &str) -> Arc<Service> {
    use gatemint::{clock::SystemClock, entropy::SystemEntropy, vault::FileVault};
    let store = Arc::new(SqliteStore::open(&data.join("gatemint.db")).unwrap());
    let vault = Arc::new(FileVault::open(&data.join("vault")).unwrap());
    Arc::new(Service::new(store, vault, Arc::new(SystemClock), Arc::new(SystemEntropy), Policy::new(url), 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_two_processes_one_wins_too() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // Browsers differ by address, which the proxy in front tells.
    let settings = [("GATEMINT_TRUSTED_PROXIES", "1")];
    let processes = [Serve::start_with(&data, &settings), Serve::start_with(&data, &settings)];
    let issuer = processes[0].url.clone();
    let access = Asking::at(&issuer).admin(&data).await.access;
    let service = beside(&data, &issuer);
    let shown = crate::links::mint_at(&service, &access, once("once")).await.unwrap();
    let link = shown.token.unwrap().expose().clone();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..BROWSERS {
        let request = http
            .post(format!("{}/auth/jwt/set", processes[n % 2].url))
            .header("x-forwarded-for", address(n))
            .form(&[("token", &link)]);
        tasks.spawn(async move { request.send().await.unwrap() });
    }
    let (mut statuses, mut cookies) = (Vec::new(), HashSet::new());
    for answer in tasks.join_all().await {
        statuses.push(answer.status().as_u16());
        cookies.extend(answer.headers().get("set-cookie").cloned());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), BROWSERS - 1, "{statuses:?}");
    assert_eq!(cookies.len(), 1);
    println!("counted: {BROWSERS} browsers at once over 2 processes, 1 won");
}
