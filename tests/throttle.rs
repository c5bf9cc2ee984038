//! Guessing a password gets slow for strangers, and its owner is not kept out.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Answer, PASSWORD, TestService, form_request, process::Serve, watched::Fault};

const WRONG: &str = "not the right password at all";
const HOME: &str = "198.51.100.7";
/// Guesses that cost nothing.
const FREE: usize = 5;

/// The n-th stranger's address.
fn stranger(n: u32) -> String {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(203, 0, 0, 1)) + n).to_string()
}

async fn guess(test: &TestService, address: &str, name: &str, password: &str) -> Answer {
    let form = [("grant_type", "password"), ("username", name), ("password", password)];
    test.form_from(address, "/oauth2/token", &form).await
}

/// Judged and found wrong.
fn is_wrong(answer: &Answer) -> bool {
    answer.refusal() == (400, "invalid_grant", "Invalid user credentials")
}

/// Refused unjudged.
fn assert_throttled(answer: &Answer) -> u64 {
    assert_eq!((answer.refusal().0, answer.refusal().1), (429, "temporarily_unavailable"), "{}", answer.text);
    let after = answer.header("retry-after").parse().unwrap();
    assert!(after >= 1);
    after
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_guesses_at_once_the_allowance_is_judged_and_the_owner_signs_in_meanwhile() {
    for name in ["ada", "nobody"] {
        let test = Arc::new(TestService::new().await.user("ada", &[]).await);
        let mut tokens = guess(&test, HOME, "ada", PASSWORD).await.tokens();
        let mut guesses = JoinSet::new();
        for n in 0..1000 {
            let (test, name) = (test.clone(), name.to_owned());
            guesses.spawn(async move { guess(&test, &stranger(n), &name, WRONG).await });
        }
        let refreshes = {
            let test = test.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    tokens = test.refresh(&tokens.refresh).await.tokens();
                }
            })
        };
        let owner = {
            let test = test.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    guess(&test, HOME, "ada", PASSWORD).await.tokens();
                }
            })
        };
        let guesses = guesses.join_all().await;
        let judged = guesses.iter().filter(|answer| is_wrong(answer)).count();
        assert!((1..=FREE).contains(&judged), "{judged} guesses were judged");
        for answer in guesses.iter().filter(|answer| !is_wrong(answer)) {
            assert_throttled(answer);
        }
        owner.await.unwrap();
        refreshes.await.unwrap();
        // Elsewhere the owner is a stranger too, and at home she is in even now.
        if judged == FREE {
            assert_throttled(&guess(&test, "198.51.100.8", name, PASSWORD).await);
        }
        guess(&test, HOME, "ada", PASSWORD).await.tokens();
        println!(
            "counted: 1000 guesses at {name} at once from 1000 addresses, {judged} judged, {} refused with 429; the owner \
             signed in 10 of 10 times, 100 of 100 refreshes",
            1000 - judged
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_guesses_at_a_thousand_names_does_not_fill_the_owners_place_in_the_queue() {
    let test = Arc::new(TestService::new().await.user("ada", &[]).await);
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    let mut guesses = JoinSet::new();
    for n in 0..1000 {
        let test = test.clone();
        guesses.spawn(async move { guess(&test, &stranger(n), &format!("user-{n}"), WRONG).await });
    }
    let mut answers = Vec::new();
    // The queue before the hashing threads is full as soon as somebody was turned away.
    while !answers.iter().any(|answer: &Answer| answer.status == StatusCode::TOO_MANY_REQUESTS) {
        answers.push(guesses.join_next().await.unwrap().unwrap());
    }
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    answers.extend(guesses.join_all().await);
    let judged = answers.iter().filter(|answer| is_wrong(answer)).count();
    for answer in answers.iter().filter(|answer| !is_wrong(answer)) {
        assert_throttled(answer);
    }
    println!(
        "counted: 1000 guesses at 1000 names at once, {judged} judged, the others refused with 429; the owner signed in"
    );
}

#[tokio::test]
async fn after_the_allowance_each_guess_waits_twice_as_long_and_a_quiet_hour_halves_it() {
    let test = TestService::new().await.user("ada", &[]).await;
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    let mut address = 0;
    let mut next = || {
        address += 1;
        stranger(address)
    };
    for _ in 0..FREE {
        assert!(is_wrong(&guess(&test, &next(), "ada", WRONG).await));
    }
    let mut waits = Vec::new();
    for _ in 0..12 {
        let wait = assert_throttled(&guess(&test, &next(), "ada", WRONG).await);
        test.clock.advance(Duration::from_secs(wait - 1));
        // Not even the right password is judged before its time.
        assert_eq!(assert_throttled(&guess(&test, &next(), "ada", PASSWORD).await), 1);
        test.clock.advance(Duration::from_secs(1));
        assert!(is_wrong(&guess(&test, &next(), "ada", WRONG).await));
        waits.push(wait);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    // 17 failures: two quiet hours leave 4, so one more is free.
    test.clock.advance(Duration::from_hours(2));
    assert!(is_wrong(&guess(&test, &next(), "ada", WRONG).await));
    assert_eq!(assert_throttled(&guess(&test, &next(), "ada", WRONG).await), 1);
    println!("counted: 12 waits {waits:?} s, 36 guesses, the owner in at home");
}

#[tokio::test]
async fn a_known_name_and_an_unknown_one_answer_alike_to_the_byte() {
    let test = TestService::new().await.user("ada", &[]).await;
    let mut sequences = Vec::new();
    let mut addresses = 0;
    for name in ["ada", "nobody", "Not A Name At All", "ada\u{301}"] {
        let mut sequence = Vec::new();
        for n in 0..24 {
            addresses += 1;
            let answer = guess(&test, &stranger(addresses), name, WRONG).await;
            let mut headers = answer.headers.clone();
            headers.remove("x-request-id").unwrap();
            let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
            sequence.push((answer.status, headers, answer.text));
            if n >= 8 {
                test.clock.advance(Duration::from_secs(n));
            }
        }
        sequences.push(sequence);
    }
    for sequence in &sequences[1..] {
        assert_eq!(sequence, &sequences[0]);
    }
    let statuses = |status| sequences[0].iter().filter(|(found, ..)| *found == status).count();
    let (judged, refused) = (statuses(StatusCode::BAD_REQUEST), statuses(StatusCode::TOO_MANY_REQUESTS));
    assert!(judged > FREE && refused > 3 && judged + refused == 24);
    println!("counted: 4 names, 1 known, each {judged} times judged and {refused} times refused, alike to the byte");
}

#[tokio::test]
async fn an_unknown_name_costs_the_same_round_trips_and_the_same_hash() {
    let test = TestService::new().await.user("ada", &[]).await;
    let mut took: BTreeMap<bool, Vec<Duration>> = BTreeMap::new();
    guess(&test, HOME, "nobody", WRONG).await;
    for n in 0..60_u32 {
        let known = n % 2 == 0;
        // Whatever was remembered of earlier ones is forgotten by then.
        test.clock.advance(Duration::from_hours(6));
        test.service
            .keys
            .public(test.service.now(), test.service.entropy.as_ref(), test.service.store.as_ref())
            .await
            .unwrap();
        test.store.round_trips();
        #[expect(clippy::disallowed_methods, reason = "the real time that an answer takes is what is measured")]
        let begun = Instant::now();
        let answer = guess(&test, &stranger(n), if known { "ada" } else { "nobody" }, WRONG).await;
        took.entry(known).or_default().push(begun.elapsed());
        assert!(is_wrong(&answer), "{}", answer.text);
        assert_eq!(test.store.round_trips(), (1, 2), "known: {known}");
    }
    let mut median = |known: bool| {
        let took = took.get_mut(&known).unwrap();
        took.sort_unstable();
        took[took.len() / 2]
    };
    let (known, unknown) = (median(true), median(false));
    // Without the hash it would be a hundredth. Taken in turns, so that the machine's load is the same for both.
    assert!(known < unknown * 2 && unknown < known * 2, "{known:?} known, {unknown:?} unknown");
    println!("counted: 30 guesses each, median {known:?} at a known name and {unknown:?} at an unknown one");
}

#[tokio::test]
async fn one_address_has_a_hundred_failures_an_hour_over_all_names() {
    let test = TestService::new().await.user("ada", &[]).await;
    let address = "192.0.2.99";
    for n in 0..100 {
        let answer = guess(&test, address, &format!("user-{n}"), WRONG).await;
        assert!(is_wrong(&answer), "{n}: {}", answer.text);
    }
    for name in ["user-0", "user-100", "ada"] {
        let after = assert_throttled(&guess(&test, address, name, PASSWORD).await);
        assert_eq!(after, 3600, "the test's clock stands at the full hour");
    }
    // Neighbours are not concerned, and the hour passes.
    guess(&test, "192.0.2.98", "ada", PASSWORD).await.tokens();
    test.clock.advance(Duration::from_secs(3599));
    assert_eq!(assert_throttled(&guess(&test, address, "ada", PASSWORD).await), 1);
    test.clock.advance(Duration::from_secs(1));
    guess(&test, address, "ada", PASSWORD).await.tokens();
    println!("counted: 100 failures from one address at 100 names, then 4 refused with 429 until the hour was over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guesses_at_a_thousand_names_at_once_from_one_address_end_soon_after_its_hundred() {
    let test = Arc::new(TestService::new().await.user("ada", &[]).await);
    let mut guesses = JoinSet::new();
    for n in 0..1000 {
        let test = test.clone();
        guesses.spawn(async move { guess(&test, "192.0.2.99", &format!("user-{n}"), WRONG).await });
    }
    let guesses = guesses.join_all().await;
    let judged = guesses.iter().filter(|answer| is_wrong(answer)).count();
    for answer in guesses.iter().filter(|answer| !is_wrong(answer)) {
        assert_throttled(answer);
    }
    // What was under way when the hundredth failure was booked: the hashing queue, 65 places for each of two threads.
    assert!(judged <= 100 + 130, "{judged}");
    let mut more = 0;
    for n in 0..1000 {
        if !is_wrong(&guess(&test, "192.0.2.99", &format!("later-{n}"), WRONG).await) {
            break;
        }
        more += 1;
    }
    assert!(judged + more <= 100 + 130, "{judged} and {more} more");
    println!(
        "counted: 1000 names guessed at once from one address, {judged} judged, then {more} more before it was refused"
    );
}

#[tokio::test]
async fn an_attempt_whose_process_dies_is_a_failure_a_minute_later() {
    let test = TestService::new().await.user("ada", &[]).await;
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    for n in 0..FREE {
        // It is reserved, and then nothing more is heard of it.
        test.store.fail([None, Some(Fault::Refused)]);
        let answer = guess(&test, &stranger(u32::try_from(n).unwrap()), "ada", WRONG).await;
        assert!(is_wrong(&answer), "{}", answer.text);
    }
    assert_throttled(&guess(&test, &stranger(6), "ada", WRONG).await);
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    test.clock.advance(Duration::from_secs(61));
    // Five failures by now: the first wait is over, and the next is twice as long.
    assert!(is_wrong(&guess(&test, &stranger(7), "ada", WRONG).await));
    assert_eq!(assert_throttled(&guess(&test, &stranger(8), "ada", WRONG).await), 2);

    // The right password whose session could not be written: it may be tried again, and it is not known at this address.
    test.clock.advance(Duration::from_hours(3));
    for _ in 0..3 {
        test.store.fail([None, Some(Fault::Refused)]);
        let answer = guess(&test, HOME, "ada", PASSWORD).await;
        assert_eq!(answer.refusal().0, 503, "{}", answer.text);
    }
    guess(&test, HOME, "ada", PASSWORD).await.tokens();
    println!("counted: 5 attempts that were reserved and never booked, 5 failures a minute later");
}

#[tokio::test]
async fn changing_a_password_is_throttled_as_signing_in_is() {
    let test = TestService::new().await.user("ada", &[]).await;
    let tokens = guess(&test, HOME, "ada", PASSWORD).await.tokens();
    let new = "another long enough password";
    test.keep(new);
    let change = async |address: &str, old: &str| {
        let mut request = form_request(address, "/v1/me/password", &[]);
        let bearer = format!("Bearer {}", tokens.access);
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        *request.body_mut() = json!({"old": old, "new": new}).to_string().into();
        test.send(request).await
    };
    for n in 0..FREE {
        let answer = change(&stranger(u32::try_from(n).unwrap()), WRONG).await;
        assert_eq!((answer.status, &answer.json["field"]), (StatusCode::FORBIDDEN, &json!("old")), "{}", answer.text);
    }
    for old in [WRONG, PASSWORD] {
        let answer = change(&stranger(9), old).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text);
        assert_eq!((answer.header("retry-after"), answer.header("content-type")), ("1", "application/problem+json"));
    }
    // The same allowance as of sign-ins, and home is not concerned.
    assert_throttled(&guess(&test, &stranger(10), "ada", PASSWORD).await);
    assert_eq!(change(HOME, WRONG).await.status, StatusCode::FORBIDDEN);
    let answer = change(HOME, PASSWORD).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    test.refresh(&tokens.refresh).await.tokens();
    println!("counted: 8 wrong or early changes of a password, 6 judged, 2 refused with 429; the owner's at home done");
}

/// Asks real processes, as a proxy in front of them would.
#[derive(Clone)]
struct Proxy {
    http: reqwest::Client,
}

impl Proxy {
    fn new() -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        Self { http }
    }

    async fn form(&self, url: &str, from: &str, form: &[(&str, &str)]) -> (u16, Option<String>, Value) {
        let request =
            self.http.post(format!("{url}/oauth2/token")).header("x-forwarded-for", format!("6.6.6.6, {from}"));
        let answer = request.form(form).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let after = headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (status, after, answer.json().await.unwrap())
    }

    async fn guess(&self, url: &str, from: &str, name: &str, password: &str) -> (u16, Option<String>, Value) {
        self.form(url, from, &[("grant_type", "password"), ("username", name), ("password", password)]).await
    }

    async fn refresh(&self, url: &str, token: &str) -> (u16, Option<String>, Value) {
        self.form(url, HOME, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }
}

const PROXIED: [(&str, &str); 1] = [("GATEMINT_TRUSTED_PROXIES", "1")];

fn first_password(data: &Path) -> String {
    std::fs::read_to_string(data.join("admin-password")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the real program's clock is the real one")]
fn real_now() -> Instant {
    Instant::now()
}

/// The most guesses that can have been judged after so much real time: five, and one more after 1, 2, 4 … s. The service
/// counts in whole seconds, so a second may be short.
fn allowance(since: Instant) -> usize {
    let whole_seconds = since.elapsed().as_secs() + 2;
    FREE + usize::try_from((whole_seconds + 1).ilog2()).unwrap()
}

fn text(reply: &Value, name: &str) -> String {
    reply[name].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_guesses_over_two_processes_share_one_allowance() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let processes = [Serve::start_with(&data, &PROXIED), Serve::start_with(&data, &PROXIED)];
    let urls = [processes[0].url.clone(), processes[1].url.clone()];
    let (proxy, password) = (Proxy::new(), first_password(&data));
    let (status, _, reply) = proxy.guess(&urls[0], HOME, "admin", &password).await;
    assert_eq!(status, 200, "{reply}");
    let mut refresh_token = text(&reply, "refresh_token");
    for name in ["admin", "nobody"] {
        let begun = real_now();
        let mut guesses = JoinSet::new();
        for n in 0..1000_u32 {
            let (proxy, url) = (proxy.clone(), urls[n as usize % 2].clone());
            guesses.spawn(async move { proxy.guess(&url, &stranger(n), name, WRONG).await });
        }
        let owner = {
            let (proxy, urls, password) = (proxy.clone(), urls.clone(), password.clone());
            tokio::spawn(async move {
                let (mut refused, mut signed_in) = (0, 0);
                for n in 0..10 {
                    let (status, _, reply) = proxy.guess(&urls[n % 2], HOME, "admin", &password).await;
                    match status {
                        200 => signed_in += 1,
                        429 => refused += 1,
                        _ => panic!("{status} {reply}"),
                    }
                }
                (signed_in, refused)
            })
        };
        let refreshes = {
            let (proxy, urls, mut token) = (proxy.clone(), urls.clone(), refresh_token.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    let (status, _, reply) = proxy.refresh(&urls[n % 2], &token).await;
                    assert_eq!(status, 200, "refresh {n}: {reply}");
                    token = text(&reply, "refresh_token");
                }
                token
            })
        };
        let mut judged = 0;
        for (status, after, reply) in guesses.join_all().await {
            match status {
                400 => {
                    assert_eq!(reply["error_description"], "Invalid user credentials");
                    judged += 1;
                }
                429 => assert!(reply["error"] == "temporarily_unavailable" && after.is_some(), "{reply}"),
                _ => panic!("{status} {reply}"),
            }
        }
        let most = allowance(begun);
        assert!((1..=most).contains(&judged), "{judged} guesses were judged in {:?}", begun.elapsed());
        let (signed_in, refused) = owner.await.unwrap();
        assert_eq!((signed_in, refused), (10, 0), "the owner at home, of 10");
        refresh_token = refreshes.await.unwrap();
        println!(
            "counted: 1000 guesses at {name} at once over 2 processes in {:?}, {judged} judged (at most {most}); the owner \
             signed in {signed_in} of 10 times, 50 of 50 refreshes",
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attempts_under_way_when_the_process_is_killed_still_count() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let proxy = Proxy::new();
    let begun = real_now();
    let mut judged = 0;
    let mut sent = 0;
    for round in 0..3 {
        let serve = Serve::start_with(&data, &PROXIED);
        let mut guesses = JoinSet::new();
        for n in 0..64_u32 {
            let (http, url) = (proxy.http.clone(), serve.url.clone());
            guesses.spawn(async move {
                let form = [("grant_type", "password"), ("username", "admin"), ("password", WRONG)];
                let from = stranger(round * 64 + n);
                let answer =
                    http.post(format!("{url}/oauth2/token")).header("x-forwarded-for", from).form(&form).send().await;
                answer.map(|answer| answer.status().as_u16()).ok()
            });
        }
        sent += 64;
        // The first answer comes while others are being hashed.
        let first = guesses.join_next().await.unwrap().unwrap();
        serve.kill();
        for status in guesses.join_all().await.into_iter().chain([first]).flatten() {
            assert!(matches!(status, 400 | 429), "{status}");
            judged += usize::from(status == 400);
        }
    }
    let serve = Serve::start_with(&data, &PROXIED);
    for n in 0..30 {
        let (status, ..) = proxy.guess(&serve.url, &stranger(1000 + n), "admin", WRONG).await;
        assert!(matches!(status, 400 | 429), "{status}");
        judged += usize::from(status == 400);
        sent += 1;
    }
    let most = allowance(begun);
    assert!(judged <= most, "{judged} judged, at most {most}");
    println!("counted: {sent} guesses through 3 kills, {judged} answered as judged (at most {most})");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_right_passwords_does_not_hold_up_refreshes() {
    const USERS: usize = 64;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start_with(&data, &PROXIED);
    let (proxy, password) = (Proxy::new(), first_password(&data));
    let (_, _, reply) = proxy.guess(&serve.url, HOME, "admin", &password).await;
    let (access, mut token) = (text(&reply, "access_token"), text(&reply, "refresh_token"));
    let url = serve.url.clone();
    let mut users = JoinSet::new();
    for n in 0..USERS {
        let request = proxy.http.post(format!("{url}/v1/users")).bearer_auth(&access);
        let user = json!({"name": format!("user-{n}"), "password": PASSWORD});
        users.spawn(async move { request.json(&user).send().await.unwrap().status().as_u16() });
    }
    assert!(users.join_all().await.iter().all(|status| *status == 201));
    let mut flood = JoinSet::new();
    for n in 0..USERS {
        let (proxy, url) = (proxy.clone(), url.clone());
        flood.spawn(async move {
            let (status, _, reply) =
                proxy.guess(&url, &stranger(u32::try_from(n).unwrap()), &format!("user-{n}"), PASSWORD).await;
            assert!(matches!(status, 200 | 429), "{status} {reply}");
            status
        });
    }
    let mut took = Vec::new();
    let mut signed_in = 0;
    while !flood.is_empty() {
        let begun = real_now();
        let (status, _, reply) = proxy.refresh(&url, &token).await;
        took.push(begun.elapsed());
        assert_eq!(status, 200, "{reply}");
        token = text(&reply, "refresh_token");
        while let Some(status) = flood.try_join_next() {
            signed_in += usize::from(status.unwrap() == 200);
        }
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "counted: {signed_in} of {USERS} sign-ins at once, meanwhile {} refreshes of {} answered 200: p50 {:?}, p95 {:?}, most {:?}",
        took.len(),
        took.len(),
        at(50),
        at(95),
        at(100)
    );
    assert!(serve.terminate().success());
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
