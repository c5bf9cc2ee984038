//! May a request to somebody else's route pass? Only with a token that stands, and only where it may.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use gatemint::{
    domain::{
        Policy, RefusalKind, Secret,
        access::{
            self, Action, Asked, Passer,
            site::{self, NewSite},
            verify,
        },
        client::{GrantType, manage::NewClient},
        gate::{
            Host, Path, Scheme, Target,
            mint::{self, NewGateToken},
        },
    },
    http::Options,
};
use serde_json::json;

use crate::support::{ISSUER, PASSWORD, TestService};

/// Bob's job, and its host.
const SITE: &str = "train--bob.jobs.example.org";
const RESOURCE: &str = "job://default/bob/train";

/// A service with one site, on which hosts are jobs.
async fn with_site() -> TestService {
    let test = TestService::new().await.user("ada", &["analysts"]).await.user("bob", &[]).await;
    map_jobs(&test).await;
    test
}

async fn map_jobs(test: &TestService) {
    let new = NewSite {
        id: "jobs".into(),
        host: "{name}--{owner}.jobs.example.org".into(),
        resource: "job://{cluster}/{owner}/{name}".into(),
    };
    site::create(&test.service, test.service.now(), &new, "test").await.unwrap();
}

async fn grant(test: &TestService, user: &str, resource: &str, action: Action) {
    test.grant(user, resource, action).await;
}

fn target(method: &str, host: &str, path: &str) -> Target {
    Target {
        method: gatemint::domain::gate::Method::parse(method).unwrap(),
        scheme: Some(Scheme::Https),
        host: Host::parse(host, Some(Scheme::Https)).unwrap(),
        path: Path::of_encoded(path).unwrap(),
    }
}

/// What becomes of a request with these tokens.
async fn judged(test: &TestService, target: &Target, tokens: &[&str]) -> Result<Passer, RefusalKind> {
    let tokens = tokens.iter().map(|token| Secret::new((*token).to_owned())).collect();
    let asked = Asked { target, audience: None };
    verify(&test.service, test.service.now(), asked, tokens).await.map_err(|refusal| refusal.kind)
}

async fn at_site(test: &TestService, token: &str) -> Result<Passer, RefusalKind> {
    judged(test, &target("GET", SITE, "/"), &[token]).await
}

fn passer(user: &str, email: &str, groups: &[&str]) -> Passer {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Passer { user: user.into(), email: email.into(), groups, used: None }
}

const FORBIDDEN: Result<Passer, RefusalKind> = Err(RefusalKind::Forbidden);
const NOBODY: Result<Passer, RefusalKind> = Err(RefusalKind::Unauthenticated);

/// Makes a gate token of this name in the namespace `vms`.
async fn gate_token(test: &TestService, access: &str, name: &str, urls: &[&str], verbs: &[&str]) -> String {
    let now = test.service.now();
    let caller = access::identity(&test.service, now, Some(Secret::new(access.to_owned()))).await.unwrap();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let new = NewGateToken {
        name: name.into(),
        urls: texts(urls),
        verbs: Some(texts(verbs)).filter(|verbs: &Vec<String>| !verbs.is_empty()),
        ..NewGateToken::default()
    };
    let shown = mint::create(&test.service, now, &caller, "vms", new).await.unwrap();
    let token = shown.token.unwrap().expose().clone();
    test.keep(&token);
    token
}

#[tokio::test]
async fn an_account_passes_where_a_site_maps_the_host_and_it_may() {
    let test = with_site().await.user("root", &["admin"]).await;
    let [ada, bob, root] =
        [test.sign_in("ada").await.access, test.sign_in("bob").await.access, test.sign_in("root").await.access];
    assert_eq!(at_site(&test, &bob).await, Ok(passer("bob", "bob@example.org", &[])), "it is his");
    assert_eq!(at_site(&test, &root).await, Ok(passer("root", "root@example.org", &["admin"])));
    assert_eq!(at_site(&test, &ada).await, FORBIDDEN);
    grant(&test, "ada", RESOURCE, Action::List).await;
    assert_eq!(at_site(&test, &ada).await, FORBIDDEN, "to know of it is not to read it");
    grant(&test, "ada", RESOURCE, Action::Read).await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert!(judged(&test, &target(method, SITE, "/x"), &[&ada]).await.is_ok(), "{method}");
    }
    for method in ["POST", "PUT", "DELETE", "PROPFIND"] {
        assert_eq!(judged(&test, &target(method, SITE, "/x"), &[&ada]).await, FORBIDDEN, "{method}");
    }
    grant(&test, "ada", RESOURCE, Action::Write).await;
    assert!(judged(&test, &target("POST", SITE, "/x"), &[&ada]).await.is_ok());
    // A port does not make it another host; another job is another job.
    assert!(judged(&test, &target("GET", &format!("{SITE}:8443"), "/x"), &[&ada]).await.is_ok());
    for elsewhere in ["other--bob.jobs.example.org", "example.org", "jobs.example.org", "a--b--bob.jobs.example.org"] {
        assert_eq!(judged(&test, &target("GET", elsewhere, "/"), &[&ada]).await, FORBIDDEN, "{elsewhere}");
    }
    assert_eq!(
        judged(&test, &target("GET", "a--b--bob.jobs.example.org", "/"), &[&root]).await,
        FORBIDDEN,
        "two readings"
    );
    test.revoke("ada", RESOURCE).await;
    assert_eq!(at_site(&test, &ada).await, FORBIDDEN, "right after it was taken away");
    println!("counted: 18 requests with accounts' tokens");
}

#[tokio::test]
async fn what_is_told_is_what_the_account_is_now_and_no_more_than_the_scope() {
    let test = with_site().await.user("root", &["admin"]).await;
    let bob = test.sign_in("bob").await;
    let root = test.sign_in("root").await;
    let change = json!({ "roles": ["ops"], "email": "" });
    let answer = test.v1(Method::PATCH, "/v1/users/bob", &root.access, Some(change)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(at_site(&test, &bob.access).await, Ok(passer("bob", "", &["ops"])));
    let form = [("grant_type", "password"), ("username", "root"), ("password", PASSWORD), ("scope", "profile")];
    let narrowed = test.form("/oauth2/token", &form).await.tokens();
    assert_eq!(at_site(&test, &narrowed.access).await, FORBIDDEN, "without the scope she is no admin");
}

#[tokio::test]
async fn judging_costs_two_round_trips_for_an_account_and_one_for_a_gate_token() {
    let mut test = with_site().await.user("root", &["admin"]).await;
    let tokens = test.sign_in("bob").await;
    let root = test.sign_in("root").await;
    grant(&test, "ada", RESOURCE, Action::Read).await;
    let granted = test.sign_in("ada").await;
    let gate = gate_token(&test, &root.access, "t1", &["/x/*"], &[]).await;
    test.restart();
    test.store.round_trips();
    test.service.warm(false, false).await.unwrap();
    assert_eq!(test.store.round_trips(), (1, 0), "the public keys");
    for _ in 0..2 {
        assert!(at_site(&test, &tokens.access).await.is_ok());
        assert_eq!(test.store.round_trips(), (1, 0), "an owner's records");
        assert!(at_site(&test, &granted.access).await.is_ok());
        assert_eq!(test.store.round_trips(), (2, 0), "records, then the permissions");
        assert!(judged(&test, &target("GET", "example.org", "/x/a"), &[&gate]).await.is_ok());
        assert_eq!(test.store.round_trips(), (1, 0), "the record");
    }
    for nothing in [&[][..], &["a.b.c"], &["a.b.c", ""]] {
        assert_eq!(judged(&test, &target("GET", SITE, "/"), nothing).await, NOBODY);
        assert_eq!(test.store.round_trips(), (0, 0), "what is no token costs nothing");
    }
    let eight =
        [&tokens.access, &gate, "a.b.c", &granted.access, &gate, &root.access, &gate, &gate].map(|it| it as &str);
    assert!(judged(&test, &target("GET", SITE, "/"), &eight).await.is_ok());
    assert_eq!(test.store.round_trips(), (2, 0), "however many there are");
}

#[tokio::test]
async fn what_does_not_stand_is_nobodys() {
    let test = with_site().await.user("root", &["admin"]).await;
    let bob = test.sign_in("bob").await;
    for wrong in ["", "a.b.c", &bob.refresh, &bob.access[1..], &format!("{}AAAA", bob.access)] {
        assert_eq!(at_site(&test, wrong).await, NOBODY, "{wrong}");
    }
    let ada = test.sign_in("ada").await;
    let swapped: Vec<&str> = bob.access.split('.').take(2).chain(ada.access.rsplit('.').take(1)).collect();
    assert_eq!(at_site(&test, &swapped.join(".")).await, NOBODY, "another token's signature");

    let second = test.sign_in("bob").await;
    test.form("/oauth2/revoke", &[("token", &second.refresh)]).await;
    assert_eq!(at_site(&test, &second.access).await, NOBODY, "its session ended");
    let root = test.sign_in("root").await;
    assert!(at_site(&test, &bob.access).await.is_ok());
    test.v1(Method::PATCH, "/v1/users/bob", &root.access, Some(json!({ "enabled": false }))).await;
    assert_eq!(at_site(&test, &bob.access).await, NOBODY, "its account is disabled");
    assert!(at_site(&test, &root.access).await.is_ok());
    test.clock.advance(Duration::from_mins(15));
    assert_eq!(at_site(&test, &root.access).await, NOBODY, "it expired");
    println!("counted: 9 ways of not standing");
}

#[tokio::test]
async fn a_token_for_another_audience_and_a_clients_own_open_no_site() {
    let test = with_site().await;
    let client = |audiences: &[&str]| NewClient {
        grants: Some(vec![GrantType::Password, GrantType::ClientCredentials, GrantType::TokenExchange]),
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        ..NewClient::default()
    };
    let reports = "https://reports.example.org";
    for (id, audiences, passes) in
        [("here", &[][..], true), ("there", &[reports][..], false), ("both", &[reports, ISSUER][..], true)]
    {
        let secret = test.client(id, client(audiences)).await.unwrap();
        let own = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", &secret)];
        let own = test.form("/oauth2/token", &own).await.tokens();
        assert_eq!(at_site(&test, &own.access).await, FORBIDDEN, "{id}: no account, no site");
        let hers = [
            ("grant_type", "password"),
            ("username", "bob"),
            ("password", PASSWORD),
            ("client_id", id),
            ("client_secret", &secret),
        ];
        let hers = test.form("/oauth2/token", &hers).await.tokens();
        assert_eq!(at_site(&test, &hers.access).await.is_ok(), passes, "{id}");
        // Nor does an exchange make of it what it is not.
        let exchange = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", &hers.access),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
            ("resource", &format!("https://{SITE}/*")),
            ("client_id", id),
            ("client_secret", &secret),
        ];
        let exchanged = test.form("/oauth2/token", &exchange).await;
        assert_eq!(exchanged.status == StatusCode::OK, passes, "{id}: {}", exchanged.text);
        // A guard may ask for another audience.
        let tokens = vec![Secret::new(hers.access.clone())];
        let asked = Asked { target: &target("GET", SITE, "/"), audience: Some(reports) };
        let at_reports = verify(&test.service, test.service.now(), asked, tokens).await;
        assert_eq!(at_reports.is_ok(), audiences.contains(&reports), "{id}");
    }
    println!("counted: 9 tokens of 3 clients");
}

#[tokio::test]
async fn a_gate_token_opens_what_it_names_and_nothing_that_a_site_maps() {
    let test = with_site().await.user("root", &["admin"]).await;
    let root = test.sign_in("root").await.access;
    let by_path = gate_token(&test, &root, "t1", &["/x/*"], &["get", "post"]).await;
    let everything = gate_token(&test, &root, "t2", &["/*"], &[]).await;
    let absolute = gate_token(&test, &root, "t3", &[&format!("https://{SITE}/x/*")], &[]).await;
    let passes = async |token: &str, method: &str, host: &str, path: &str| {
        judged(&test, &target(method, host, path), &[token]).await
    };
    let named = passer("gatetoken:vms/t1", "", &[]);
    assert_eq!(passes(&by_path, "GET", "example.org", "/x/a").await, Ok(named));
    assert!(passes(&by_path, "HEAD", "example.org", "/x/a").await.is_ok(), "HEAD goes with GET");
    assert!(passes(&by_path, "POST", "example.org", "/x/").await.is_ok());
    assert_eq!(passes(&by_path, "PUT", "example.org", "/x/a").await, FORBIDDEN);
    assert_eq!(passes(&by_path, "GET", "example.org", "/x").await, FORBIDDEN);
    assert_eq!(passes(&by_path, "GET", "example.org", "/xy").await, FORBIDDEN);
    assert_eq!(passes(&by_path, "GET", "example.org", "/X/a").await, FORBIDDEN);
    for host in [SITE, &format!("{SITE}:8443"), &SITE.to_uppercase(), "a--b--c.jobs.example.org"] {
        assert_eq!(passes(&everything, "GET", host, "/x/a").await, FORBIDDEN, "{host}");
    }
    assert!(passes(&absolute, "GET", SITE, "/x/a").await.is_ok());
    assert_eq!(passes(&absolute, "GET", &format!("{SITE}:8443"), "/x/a").await, FORBIDDEN, "another port");
    assert_eq!(passes(&absolute, "GET", "other--bob.jobs.example.org", "/x/a").await, FORBIDDEN);
    assert_eq!(passes(&absolute, "GET", "example.org", "/x/a").await, FORBIDDEN);
    let plain = Target { scheme: Some(Scheme::Http), ..target("GET", SITE, "/x/a") };
    assert_eq!(judged(&test, &plain, &[&absolute]).await, FORBIDDEN, "another scheme");

    // A site that is made later is not opened by a URL that named its host before.
    let early = gate_token(&test, &root, "t4", &["https://x--ada.labs.example.org/*"], &[]).await;
    assert!(passes(&early, "GET", "x--ada.labs.example.org", "/").await.is_ok());
    let new = NewSite {
        id: "labs".into(),
        host: "{name}--{owner}.labs.example.org".into(),
        resource: "job://{cluster}/{owner}/{name}".into(),
    };
    site::create(&test.service, test.service.now(), &new, "test").await.unwrap();
    assert_eq!(passes(&early, "GET", "x--ada.labs.example.org", "/").await, FORBIDDEN);
    println!("counted: 20 requests with gate tokens");
}

#[tokio::test]
async fn of_several_tokens_the_first_that_allows_decides_and_accounts_come_first() {
    let test = with_site().await.user("root", &["admin"]).await;
    let root = test.sign_in("root").await.access;
    let [ada, bob] = [test.sign_in("ada").await.access, test.sign_in("bob").await.access];
    let planted = gate_token(&test, &root, "t1", &[&format!("https://{SITE}/*")], &[]).await;
    let at = target("GET", SITE, "/");
    assert_eq!(judged(&test, &at, &[&planted, &bob]).await.unwrap().user, "bob", "a planted link is not preferred");
    assert_eq!(judged(&test, &at, &[&planted, &ada]).await.unwrap().user, "gatetoken:vms/t1", "ada may not");
    assert_eq!(judged(&test, &at, &["a.b.c", &ada, &bob]).await.unwrap().user, "bob");
    assert_eq!(judged(&test, &at, &["a.b.c", &ada]).await, NOBODY, "the first one's answer");
    assert_eq!(judged(&test, &at, &[&ada, "a.b.c"]).await, FORBIDDEN, "the first one's answer");
}

#[tokio::test]
async fn an_exchanged_token_opens_what_its_account_may_now_and_ends_with_the_session() {
    let test = with_site().await.user("root", &["admin"]).await;
    let ada = test.sign_in("ada").await;
    let exchange = async |access: &str, resource: &[&str]| {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", access),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
        ];
        form.extend(resource.iter().map(|url| ("resource", *url)));
        test.form("/oauth2/token", &form).await
    };
    let url = format!("https://{SITE}/*");
    let refused = exchange(&ada.access, &[&url]).await;
    assert_eq!(refused.refusal().1, "invalid_target", "{}", refused.text);
    grant(&test, "ada", RESOURCE, Action::Read).await;
    for bad in ["/x", "https://example.org/*", "https://a--b--c.jobs.example.org/", &format!("https://{SITE}/x/*")] {
        assert_eq!(exchange(&ada.access, &[bad]).await.refusal().1, "invalid_target", "{bad}");
    }
    for bad in ["a.b.c", &ada.refresh] {
        assert_eq!(exchange(bad, &[&url]).await.refusal().1, "invalid_request", "{bad}");
    }
    let answer = exchange(&ada.access, &[&url]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json["issued_token_type"], "urn:gatemint:params:oauth:token-type:gate");
    assert_eq!(answer.json["token_type"], "N_A");
    assert_eq!(answer.json["expires_in"], 3600);
    assert!(answer.json.get("refresh_token").is_none() && answer.json.get("scope").is_none());
    let token = answer.tokens().access;
    test.store.round_trips();
    let passed = at_site(&test, &token).await.unwrap();
    assert_eq!(test.store.round_trips(), (2, 0));
    assert!(passed.user.starts_with("gatetoken:ada/exchange-"), "{}", passed.user);
    // It is no access token.
    assert_eq!(test.v1(Method::GET, "/v1/me", &token, None).await.status, StatusCode::UNAUTHORIZED);

    test.revoke("ada", RESOURCE).await;
    assert_eq!(at_site(&test, &token).await, FORBIDDEN, "asked again at every request");
    grant(&test, "ada", RESOURCE, Action::Read).await;
    assert!(at_site(&test, &token).await.is_ok());
    test.form("/oauth2/revoke", &[("token", &ada.refresh)]).await;
    assert_eq!(at_site(&test, &token).await, NOBODY, "its session ended");
    // One that is dead takes nothing away from one that stands, in whatever order they come.
    let (first, second) = (test.sign_in("ada").await, test.sign_in("ada").await);
    let dead = exchange(&first.access, &[&url]).await.tokens().access;
    let stands = exchange(&second.access, &[&url]).await.tokens().access;
    test.form("/oauth2/revoke", &[("token", &first.refresh)]).await;
    let at = target("GET", SITE, "/");
    for tokens in [&[&dead as &str, &stands][..], &[&stands, &dead], &[&dead, &dead, &stands]] {
        assert!(judged(&test, &at, tokens).await.is_ok());
    }
    assert_eq!(judged(&test, &at, &[&dead, &dead, &dead, &dead]).await, NOBODY);
    // A token that was narrowed to less than its account's roles does not get them back.
    let form = |scope| [("grant_type", "password"), ("username", "root"), ("password", PASSWORD), ("scope", scope)];
    for (scope, may) in [("profile", false), ("profile roles", true)] {
        let root = test.form("/oauth2/token", &form(scope)).await.tokens();
        assert_eq!(exchange(&root.access, &[&url]).await.status == StatusCode::OK, may, "{scope}");
    }
    println!("counted: 14 exchanges and requests");
}

#[tokio::test]
async fn what_asks_for_no_duration_gets_what_the_operator_allows() {
    let policy = Policy { gate_max_life: Duration::from_mins(15), ..Policy::new(ISSUER) };
    let test = TestService::with(policy, Options::default()).await.user("bob", &[]).await;
    map_jobs(&test).await;
    let bob = test.sign_in("bob").await.access;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &bob),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
        ("resource", &format!("https://{SITE}/*")),
    ];
    let answer = test.form("/oauth2/token", &form).await;
    assert_eq!((answer.status, &answer.json["expires_in"]), (StatusCode::OK, &json!(900)), "{}", answer.text);
}

#[tokio::test]
async fn a_store_that_is_away_is_never_a_yes() {
    let test = with_site().await;
    let tokens = test.sign_in("bob").await;
    assert!(at_site(&test, &tokens.access).await.is_ok());
    test.store.set_away(true);
    assert_eq!(at_site(&test, &tokens.access).await, Err(RefusalKind::Unavailable));
    test.store.set_away(false);
    assert!(at_site(&test, &tokens.access).await.is_ok());
}
