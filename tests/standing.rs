//! A service account's tokens stand exactly as long as they should: each way of ending one is seen at the next request, in
//! every process, for the long-lived, the short-lived and the gate tokens that were minted with them.

use std::{sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use gatemint::domain::{
    Policy, Refusal, RefusalKind, Secret, Service,
    access::{
        self, Action, Asked, Identity, Subject,
        site::{self, NewSite},
        verify,
    },
    account::manage::{self as accounts, AccountPatch},
    gate::{
        Host, Path, Scheme, Target,
        mint::{self, NewGateToken},
    },
    service_account::{self, Issued, MOST_TOKENS, NewServiceAccount, TokenRequest, token_request, token_review},
};
use serde_json::json;

use crate::support::{ISSUER, TestService};

const CI: &str = "ada/service-accounts/ci";
const HOST: &str = "web--ada.jobs.example.org";
const WEB: &str = "job://default/ada/web";
const AUDIENCE: &str = "istio-ingressgateway.istio-system.svc.cluster.local";

/// Ada, who owns the service account `ci`, a site on which hosts are jobs, and ci's long-lived token.
async fn with_ci() -> (TestService, String) {
    let test = TestService::new().await.user("ada", &[]).await.user("eve", &[]).await;
    let new = NewSite {
        id: "jobs".into(),
        host: "{name}--{owner}.jobs.example.org".into(),
        resource: "job://{cluster}/{owner}/{name}".into(),
    };
    site::create(&test.service, test.service.now(), &new, "test").await.unwrap();
    let token = create(&test, "ci").await.unwrap();
    test.grant(CI, WEB, Action::Read).await;
    (test, token)
}

async fn ada(test: &TestService) -> Subject {
    let account = accounts::get(&test.service, test.service.now(), "ada").await.unwrap();
    Subject::of_account(&account.record, true)
}

async fn create(test: &TestService, name: &str) -> Result<String, Refusal> {
    let new = NewServiceAccount {
        namespace: "ada".into(),
        name: Some(name.into()),
        with_token: true,
        ..NewServiceAccount::default()
    };
    let issued = service_account::create(&test.service, test.service.now(), &ada(test).await, new).await?;
    Ok(kept(test, issued))
}

fn kept(test: &TestService, issued: Issued) -> String {
    let token = issued.token.unwrap().expose().clone();
    test.keep(&token);
    token
}

async fn rotate(test: &TestService, overlap: Duration) -> String {
    let (now, by) = (test.service.now(), ada(test).await);
    kept(test, service_account::rotate(&test.service, now, &by, "ada", "ci", overlap, None).await.unwrap())
}

/// A short-lived token for [`AUDIENCE`], asked for by ada.
async fn short(test: &TestService) -> String {
    let (now, by) = (test.service.now(), ada(test).await);
    let asked = TokenRequest { audiences: vec![AUDIENCE.into()], expiration_seconds: Some(600) };
    let granted = token_request::request(&test.service, now, &by, "ada", "ci", asked).await.unwrap();
    let token = granted.token.expose().clone();
    test.keep(&token);
    token
}

async fn judged(service: &Service, audience: Option<&str>, tokens: &[&str]) -> Result<String, RefusalKind> {
    let target = Target {
        method: gatemint::domain::gate::Method::parse("GET").unwrap(),
        scheme: Some(Scheme::Https),
        host: Host::parse(HOST, Some(Scheme::Https)).unwrap(),
        path: Path::of_encoded("/").unwrap(),
    };
    let tokens = tokens.iter().map(|token| Secret::new((*token).to_owned())).collect();
    let passed = verify(service, service.now(), Asked { target: &target, audience }, tokens).await;
    passed.map(|passer| passer.user).map_err(|refusal| refusal.kind)
}

async fn long_passes(test: &TestService, token: &str) -> Result<String, RefusalKind> {
    judged(&test.service, None, &[token]).await
}

async fn short_passes(test: &TestService, token: &str) -> Result<String, RefusalKind> {
    judged(&test.service, Some(AUDIENCE), &[token]).await
}

async fn identity(test: &TestService, token: &str) -> Result<Identity, RefusalKind> {
    let token = Some(Secret::new(token.to_owned()));
    access::identity(&test.service, test.service.now(), token).await.map_err(|refusal| refusal.kind)
}

const NOBODY: Result<String, RefusalKind> = Err(RefusalKind::Unauthenticated);
const FORBIDDEN: Result<String, RefusalKind> = Err(RefusalKind::Forbidden);

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what the judges answer")]
fn ci_passes() -> Result<String, RefusalKind> {
    Ok("system:serviceaccount:ada:ci".to_owned())
}

#[tokio::test]
async fn each_token_is_for_whom_it_says_and_for_nobody_else() {
    let (test, long) = with_ci().await;
    let short = short(&test).await;
    let access = test.sign_in("ada").await.access;
    for (audience, token, answer) in [
        (None, &long, ci_passes()),
        (None, &short, FORBIDDEN),
        (None, &access, Ok("ada".to_owned())),
        (Some(AUDIENCE), &long, FORBIDDEN),
        (Some(AUDIENCE), &short, ci_passes()),
        (Some(AUDIENCE), &access, FORBIDDEN),
        (Some(ISSUER), &long, FORBIDDEN),
        (Some(ISSUER), &short, FORBIDDEN),
        (Some("elsewhere"), &short, FORBIDDEN),
    ] {
        assert_eq!(judged(&test.service, audience, &[token]).await, answer, "{audience:?}");
    }
    // Our own resources take no short-lived token, and /v1 none of a service account at all.
    assert!(matches!(identity(&test, &long).await, Ok(Identity::ServiceAccount(_))));
    assert_eq!(identity(&test, &short).await.unwrap_err(), RefusalKind::Unauthenticated);
    for token in [&long, &short] {
        assert_eq!(test.v1(Method::GET, "/v1/me", token, None).await.status, StatusCode::UNAUTHORIZED);
        let introspected = test.form("/oauth2/introspect", &[("token", token)]).await;
        assert_ne!(introspected.json["active"], json!(true));
    }
    test.revoke(CI, WEB).await;
    assert_eq!((long_passes(&test, &long).await, short_passes(&test, &short).await), (FORBIDDEN, FORBIDDEN));
    println!("counted: 9 tokens and audiences, 3 doors, 1 grant revoked");
}

#[tokio::test]
async fn a_token_that_was_touched_or_is_anothers_is_nobodys() {
    let (test, long) = with_ci().await;
    let (_, signature) = long.rsplit_once('.').unwrap();
    let (head, _) = long.split_once('.').unwrap();
    // One that says the same, but was not issued: only the one that was shown has that digest.
    let forged = format!("{}.{}", long.rsplit_once('.').unwrap().0, signature.replace(['A', 'B', 'C'], "D"));
    let other = create(&test, "other").await.unwrap();
    let mixed = format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap());
    let (padded, doubled) = (format!("{long}="), format!("{long}{long}"));
    let mut tried = 0;
    for bad in [&forged, &mixed, &padded, &doubled, &long[1..], &format!("{head}.e30.{signature}"), "a.b.c", ".."] {
        if bad != long {
            assert_eq!(long_passes(&test, bad).await, NOBODY);
            assert_eq!(identity(&test, bad).await.unwrap_err(), RefusalKind::Unauthenticated);
            tried += 1;
        }
    }
    assert_eq!(long_passes(&test, &other).await, FORBIDDEN, "it was granted nothing");
    assert_eq!(long_passes(&test, &long).await, ci_passes());
    println!("counted: {tried} tokens that are nobody's");
}

#[tokio::test]
async fn every_way_of_ending_one_is_seen_by_the_next_request() {
    // Deleted, and made again under the name: the predecessor's tokens are dead, and its grants gone.
    let (test, long) = with_ci().await;
    let short_lived = short(&test).await;
    let beside = test.beside(Policy::new(ISSUER));
    assert_eq!(judged(&beside, None, &[&long]).await, ci_passes());
    let (now, by) = (test.service.now(), ada(&test).await);
    service_account::delete(&test.service, now, &by, "ada", "ci").await.unwrap();
    for service in [&*test.service, &*beside] {
        assert_eq!(judged(service, None, &[&long]).await, NOBODY);
        assert_eq!(judged(service, Some(AUDIENCE), &[&short_lived]).await, NOBODY);
    }
    let again = create(&test, "ci").await.unwrap();
    assert_eq!((long_passes(&test, &long).await, long_passes(&test, &again).await), (NOBODY, FORBIDDEN));
    assert_eq!(short_passes(&test, &short_lived).await, NOBODY);

    // Its owner disabled, enabled, deleted, and made again.
    let (test, long) = with_ci().await;
    let short_lived = short(&test).await;
    let enabled = async |enabled: bool| {
        let patch = AccountPatch { enabled: Some(enabled), ..AccountPatch::default() };
        accounts::update(&test.service, test.service.now(), "ada", patch, "test").await.unwrap();
    };
    enabled(false).await;
    assert_eq!((long_passes(&test, &long).await, short_passes(&test, &short_lived).await), (NOBODY, NOBODY));
    assert_eq!(identity(&test, &long).await.unwrap_err(), RefusalKind::Unauthenticated);
    enabled(true).await;
    assert_eq!((long_passes(&test, &long).await, short_passes(&test, &short_lived).await), (ci_passes(), ci_passes()));
    accounts::delete(&test.service, test.service.now(), "ada", "test").await.unwrap();
    assert_eq!((long_passes(&test, &long).await, short_passes(&test, &short_lived).await), (NOBODY, NOBODY));
    let test = test.user("ada", &[]).await;
    assert_eq!((long_passes(&test, &long).await, short_passes(&test, &short_lived).await), (NOBODY, NOBODY));
    let (now, by) = (test.service.now(), ada(&test).await);
    let (all, _) = service_account::list(&test.service, now, &by, "ada", None, 9).await.unwrap();
    assert!(all.is_empty(), "the one before owned it");
    create(&test, "ci").await.unwrap();
    println!("counted: 6 ways, 2 processes");
}

#[tokio::test]
async fn a_rotation_ends_the_older_tokens_after_its_overlap() {
    let (test, first) = with_ci().await;
    let short_lived = short(&test).await;
    let second = rotate(&test, Duration::from_mins(5)).await;
    for token in [&first, &second] {
        assert_eq!(long_passes(&test, token).await, ci_passes());
    }
    test.clock.advance(Duration::from_secs(299));
    assert_eq!(long_passes(&test, &first).await, ci_passes());
    test.clock.advance(Duration::from_secs(1));
    assert_eq!((long_passes(&test, &first).await, long_passes(&test, &second).await), (NOBODY, ci_passes()));
    assert_eq!(short_passes(&test, &short_lived).await, ci_passes(), "with an overlap nothing ends at once");
    let third = rotate(&test, Duration::ZERO).await;
    assert_eq!((long_passes(&test, &second).await, long_passes(&test, &third).await), (NOBODY, ci_passes()));
    assert_eq!(short_passes(&test, &short_lived).await, NOBODY, "without one everything does");

    let (now, by) = (test.service.now(), ada(&test).await);
    let too_long = Duration::from_hours(24 * 31) + Duration::from_secs(1);
    let refused = service_account::rotate(&test.service, now, &by, "ada", "ci", too_long, None).await.unwrap_err();
    assert_eq!((refused.kind, refused.field), (RefusalKind::Invalid, Some("overlap")));
    let refused = service_account::rotate(&test.service, now, &by, "ada", "ci", Duration::ZERO, Some(now)).await;
    assert_eq!(refused.unwrap_err().field, Some("expires_at"));
    let ends = Some(now + Duration::from_mins(1));
    let fourth = service_account::rotate(&test.service, now, &by, "ada", "ci", Duration::ZERO, ends).await.unwrap();
    let fourth = kept(&test, fourth);
    assert_eq!(long_passes(&test, &fourth).await, ci_passes());
    test.clock.advance(Duration::from_mins(1));
    assert_eq!(long_passes(&test, &fourth).await, NOBODY, "it ends by itself");
    println!("counted: 3 rotations, 1 end by itself");
}

#[tokio::test]
async fn several_tokens_are_listed_and_ended_one_by_one() {
    let (test, first) = with_ci().await;
    let access = test.sign_in("ada").await.access;
    let (now, by) = (test.service.now(), ada(&test).await);
    let mut long = vec![first];
    for _ in 1..MOST_TOKENS {
        long.push(kept(&test, service_account::issue(&test.service, now, &by, "ada", "ci").await.unwrap()));
    }
    let full = service_account::issue(&test.service, now, &by, "ada", "ci").await.unwrap_err();
    assert_eq!(full.kind, RefusalKind::Conflict);
    assert!(full.text.starts_with("exceeded quota"), "{}", full.text);
    let short_lived = [short(&test).await, short(&test).await];
    assert_eq!(long_passes(&test, &long[3]).await, ci_passes());
    let page = test.v1(Method::GET, "/v1/tokens?limit=90", &access, None).await;
    let of = |kind: &str| {
        let items = page.json["items"].as_array().unwrap();
        items.iter().filter(|item| item["kind"] == kind).cloned().collect::<Vec<_>>()
    };
    assert_eq!((of("session").len(), of("service-account").len(), of("token-request").len()), (1, 10, 2));
    assert!(of("service-account").iter().all(|one| one["subject"] == "system:serviceaccount:ada:ci"));
    // Page by page it is the same list.
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = test.v1(Method::GET, &format!("/v1/tokens?limit=1{after}"), &access, None).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        seen.extend(page.json["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(next) = page.json["next_cursor"].as_str() else { break };
        after = format!("&cursor={}", next.replace('+', "%2B"));
    }
    assert_eq!(seen.len(), 14, "with the fresh token");

    // In the order of their making; others may not, and nobody twice.
    let eve = test.sign_in("eve").await.access;
    let id = of("service-account")[3]["id"].as_str().unwrap().to_owned();
    let end =
        async |access: &str, id: &str| test.v1(Method::DELETE, &format!("/v1/tokens/{id}"), access, None).await.status;
    assert_eq!(end(&eve, &id).await, StatusCode::NOT_FOUND);
    assert_eq!(end(&access, &id).await, StatusCode::NO_CONTENT);
    assert_eq!(end(&access, &id).await, StatusCode::NOT_FOUND);
    for (n, token) in long.iter().enumerate() {
        assert_eq!(long_passes(&test, token).await, if n == 3 { NOBODY } else { ci_passes() }, "{n}");
    }
    for one in of("token-request") {
        assert_eq!(end(&access, one["id"].as_str().unwrap()).await, StatusCode::NO_CONTENT);
    }
    for token in &short_lived {
        assert_eq!(short_passes(&test, token).await, NOBODY);
    }
    service_account::issue(&test.service, now, &by, "ada", "ci").await.map(|issued| kept(&test, issued)).unwrap();
    println!("counted: 13 tokens listed, 3 ended one by one");
}

#[tokio::test]
async fn what_a_service_account_minted_ends_with_it_and_not_with_its_owners_password() {
    let (test, long) = with_ci().await;
    test.grant(CI, "gatetoken://default/vms", Action::Write).await;
    let mint = async |name: &str, urls: &[&str]| {
        let by = identity(&test, &long).await.unwrap();
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let new = NewGateToken { name: name.into(), urls, ..NewGateToken::default() };
        let shown = mint::create(&test.service, test.service.now(), &by, "vms", new).await?;
        let token = shown.token.unwrap().expose().clone();
        test.keep(&token);
        Ok::<_, Refusal>(token)
    };
    assert_eq!(
        mint("t0", &[&format!("https://{HOST}/")]).await.unwrap_err().kind,
        RefusalKind::Forbidden,
        "it has read"
    );
    test.grant(CI, WEB, Action::Manage).await;
    let token = mint("t1", &[&format!("https://{HOST}/*")]).await.unwrap();
    let passes = async |token: &str| judged(&test.service, None, &[token]).await;
    assert_eq!(passes(&token).await, Ok("gatetoken:vms/t1".to_owned()));
    let password = Some(Secret::new(b"another password of hers".to_vec()));
    let patch = AccountPatch { password, ..AccountPatch::default() };
    accounts::update(&test.service, test.service.now(), "ada", patch, "test").await.unwrap();
    assert_eq!(passes(&token).await, Ok("gatetoken:vms/t1".to_owned()));
    let second = rotate(&test, Duration::ZERO).await;
    assert_eq!(passes(&token).await, NOBODY, "nothing of before stands after a rotation without overlap");
    assert!(identity(&test, &second).await.is_ok());
    println!("counted: 3 mintings by a service account");
}

#[tokio::test]
async fn the_last_use_is_written_down_once_an_hour() {
    let (mut test, long) = with_ci().await;
    let ask = async |test: &TestService| {
        let request = axum::http::Request::get("/auth/verify")
            .header("x-original-method", "GET")
            .header("x-original-url", format!("https://{HOST}/"))
            .header("cookie", format!("dat={long}"))
            .body(axum::body::Body::empty())
            .unwrap();
        test.send(request).await.status
    };
    assert_eq!(ask(&test).await, StatusCode::OK);
    test.restart();
    test.service.warm(false, false).await.unwrap();
    test.store.round_trips();
    assert_eq!(ask(&test).await, StatusCode::OK);
    assert_eq!(test.store.round_trips(), (2, 0), "records, then the permissions; nothing is written");
    let used = test.service.now();
    test.clock.advance(Duration::from_mins(59));
    assert_eq!(ask(&test).await, StatusCode::OK);
    test.store.round_trips();
    let (by, now) = (ada(&test).await, test.service.now());
    let last = async |test: &TestService| {
        let (_, all) = service_account::tokens(&test.service, now, &by, "ada", "ci").await.unwrap();
        let service_account::Listed::Long(_, _, used) = all[0] else { panic!("a long-lived token") };
        used
    };
    assert_eq!(last(&test).await, Some(used));
    test.clock.advance(Duration::from_mins(1));
    assert_eq!(ask(&test).await, StatusCode::OK);
    assert_eq!(last(&test).await, Some(test.service.now()));
    println!("counted: 4 uses, 2 written down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixty_four_requests_during_a_deletion_no_token_outlives_it() {
    let (test, _) = with_ci().await;
    let test = Arc::new(test);
    let by = ada(&test).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let (test, by) = (test.clone(), by.clone());
        tasks.spawn(async move {
            let now = test.service.now();
            if n == 31 {
                service_account::delete(&test.service, now, &by, "ada", "ci").await.unwrap();
                return None;
            }
            let asked = TokenRequest { audiences: vec![AUDIENCE.into()], expiration_seconds: None };
            match token_request::request(&test.service, now, &by, "ada", "ci", asked).await {
                Ok(granted) => Some(granted.token.expose().clone()),
                Err(refusal) => {
                    assert_eq!(refusal.kind, RefusalKind::Absent);
                    None
                }
            }
        });
    }
    let granted: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    for token in &granted {
        assert_eq!(short_passes(&test, token).await, NOBODY);
    }
    // Of 64 that make it again, one does.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let test = test.clone();
        tasks.spawn(async move { create(&test, "ci").await.is_ok() });
    }
    let made = tasks.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 1);
    for token in &granted {
        assert_eq!(short_passes(&test, token).await, NOBODY);
    }
    // Of 64 rotations at once each that was answered is good, as many as there is room for.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (test, by) = (test.clone(), by.clone());
        tasks.spawn(async move {
            let overlap = Duration::from_hours(1);
            let rotated = service_account::rotate(&test.service, test.service.now(), &by, "ada", "ci", overlap, None);
            rotated.await.map(|issued| kept(&test, issued))
        });
    }
    let (mut good, mut busy) = (0, 0);
    for rotated in tasks.join_all().await {
        match rotated {
            Ok(token) => {
                assert!(identity(&test, &token).await.is_ok(), "each that was answered is good");
                good += 1;
            }
            Err(refusal) => {
                assert!(matches!(refusal.kind, RefusalKind::Unavailable | RefusalKind::Conflict), "{refusal}");
                busy += 1;
            }
        }
    }
    assert!((1..=MOST_TOKENS).contains(&good), "{good}");
    println!(
        "counted: {} tokens of before a deletion, 64 creations, 64 rotations ({busy} told to try again)",
        granted.len()
    );
}

#[tokio::test]
async fn a_review_says_yes_to_accounts_and_short_lived_tokens_alone() {
    let (test, long) = with_ci().await;
    let short_lived = short(&test).await;
    let access = test.sign_in("ada").await.access;
    let now = test.service.now();
    let eve = accounts::get(&test.service, now, "eve").await.unwrap().record;
    let by = Subject::of_account(&eve, true);
    let review = async |token: &str, audiences: &[&str]| {
        let audiences: Vec<String> = audiences.iter().map(|one| (*one).to_owned()).collect();
        token_review::review(&test.service, now, &by, &Secret::new(token.to_owned()), &audiences).await
    };
    let refused = review(&short_lived, &[AUDIENCE]).await.unwrap_err();
    assert_eq!((refused.kind, refused.missing[0].0.as_str()), (RefusalKind::Forbidden, "tokenreview://default"));
    test.grant("eve", "tokenreview://default", Action::Read).await;
    let yes = review(&short_lived, &["x", AUDIENCE]).await.unwrap();
    let who = yes.who.unwrap();
    assert_eq!((who.username.as_str(), yes.audiences), ("system:serviceaccount:ada:ci", vec![AUDIENCE.to_owned()]));
    let groups = ["system:serviceaccounts", "system:serviceaccounts:ada", "system:authenticated"];
    assert_eq!(who.groups, groups);
    assert_eq!(review(&access, &[]).await.unwrap().who.unwrap().username, "ada");
    for (token, audiences) in [
        (&long, &[][..]),
        (&long, &["http://gatemint.test/service-account"]),
        (&short_lived, &[]),
        (&short_lived, &["x"]),
        (&access, &[AUDIENCE]),
        (&"a.b.c".to_owned(), &[]),
    ] {
        let no = review(token, audiences).await.unwrap();
        assert!(no.who.is_none() && no.error.is_some() && no.audiences.is_empty(), "{no:?}");
    }
    let everywhere = "x".repeat(200_000);
    assert!(review(&everywhere, &[]).await.unwrap().who.is_none());
    println!("counted: 10 reviews");
}
