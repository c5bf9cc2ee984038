use std::time::Duration;

use axum::http::Method;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatemint::domain::{
    RefusalKind, Secret,
    access::{Action, Subject, permission},
    account::manage::{self as accounts, AccountPatch},
    service_account::{self, NewServiceAccount, TokenRequest, token_request, token_review},
};
use serde_json::{Value, json};

use super::{
    permissions::{at_the_door, grant, granted, principal, resource, user_again, with_jobs},
    tokens::{Signer, introspected, message, part},
};
use crate::support::{ISSUER, TestService};

const CI: &str = "ada/service-accounts/ci";

/// Makes ada's service account `ci`; its token.
async fn make(test: &TestService) -> String {
    let new = NewServiceAccount {
        namespace: "ada".into(),
        name: Some("ci".into()),
        with_token: true,
        ..NewServiceAccount::default()
    };
    let made = service_account::create(&test.service, test.service.now(), &Subject::operator(), new).await.unwrap();
    let token = made.token.unwrap().expose().clone();
    test.keep(&token);
    token
}

/// A short-lived token of ada's `ci`.
async fn short(test: &TestService, audience: &str) -> String {
    let asked = TokenRequest { audiences: vec![audience.to_owned()], expiration_seconds: Some(600) };
    let (service, now) = (&test.service, test.service.now());
    let made = token_request::request(service, now, &Subject::operator(), "ada", "ci", asked).await.unwrap();
    let token = made.token.expose().clone();
    test.keep(&token);
    token
}

/// What a review says of a token: whose it is.
async fn reviewed(test: &TestService, token: &str, audience: &str) -> Option<String> {
    let (service, now, token) = (&test.service, test.service.now(), Secret::new(token.to_owned()));
    let audiences = [audience.to_owned()];
    let review = token_review::review(service, now, &Subject::operator(), &token, &audiences).await.unwrap();
    assert_eq!(review.who.is_some(), review.error.is_none(), "{review:?}");
    review.who.map(|who| who.username)
}

#[tokio::test]
async fn a_service_account_that_is_made_again_has_neither_the_tokens_nor_the_grants_of_the_one_before() {
    let test = with_jobs().await;
    let (service, operator) = (&test.service, Subject::operator());
    let now = service.now();
    let mut dead: Vec<(String, String)> = Vec::new();
    let mut rounds = 0;
    for end in ["deleted", "her owner was deleted", "deleted", "her owner was deleted with her"] {
        let (long, brief) = (make(&test).await, short(&test, "shop").await);
        assert_eq!(granted(&test, CI).await, [""; 0], "{end}: nothing at birth");
        assert_eq!(at_the_door(&test, &long).await, 403);
        grant(&test, CI, "job://default/ada/web", Action::Read).await;
        assert_eq!(at_the_door(&test, &long).await, 200);
        assert_eq!(reviewed(&test, &brief, "shop").await.as_deref(), Some("system:serviceaccount:ada:ci"));
        for (old, old_brief) in &dead {
            assert_eq!(at_the_door(&test, old).await, 401, "{end}: of one that was made before");
            assert_eq!(reviewed(&test, old_brief, "shop").await, None);
        }
        // Somebody else's grant in her owner's namespace, for below.
        grant(&test, "eve", "job://default/ada/web", Action::Read).await;
        if end == "deleted" {
            service_account::delete(service, now, &operator, "ada", "ci").await.unwrap();
        } else {
            accounts::delete(service, now, "ada", "test").await.unwrap();
        }
        assert_eq!(at_the_door(&test, &long).await, 401, "{end}");
        assert_eq!(reviewed(&test, &brief, "shop").await, None, "{end}");
        let gone = service_account::get(service, now, &operator, "ada", "ci").await.unwrap_err();
        assert_eq!(gone.kind, RefusalKind::Absent, "{end}");
        let wanted = [(resource("job://default/ada/web"), Action::Read)];
        let refusal = permission::grant(service, now, &operator, &principal(CI), &wanted).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Absent, "{end}");
        if end != "deleted" {
            user_again(&test, "ada").await;
            // Her namespace is another one now, and what was granted in it is gone.
            let eve = permission::missing(service, now, &operator, &principal("eve"), &wanted).await.unwrap();
            assert_eq!(eve, wanted, "{end}");
            assert_eq!(at_the_door(&test, &long).await, 401, "{end}");
        }
        dead.push((long, brief));
        rounds += 1;
    }
    make(&test).await;
    assert_eq!(granted(&test, CI).await, [""; 0]);
    for (old, brief) in &dead {
        assert_eq!(at_the_door(&test, old).await, 401);
        assert_eq!(reviewed(&test, brief, "shop").await, None);
    }
    println!(
        "counted: {rounds} service accounts made again under the name, 0 of {} tokens and 0 grants outlived them",
        2 * rounds
    );
}

#[tokio::test]
async fn a_service_account_is_nobody_while_her_owner_is_disabled() {
    let test = with_jobs().await;
    let (service, now) = (&test.service, test.service.now());
    let (long, brief) = (make(&test).await, short(&test, "shop").await);
    grant(&test, CI, "job://default/ada/web", Action::Manage).await;
    let enable = async |enabled: bool| {
        let patch = AccountPatch { enabled: Some(enabled), ..AccountPatch::default() };
        accounts::update(service, now, "ada", patch, "test").await.unwrap();
    };
    for _ in 0..2 {
        assert_eq!(at_the_door(&test, &long).await, 200);
        assert!(reviewed(&test, &brief, "shop").await.is_some());
        enable(false).await;
        assert_eq!(at_the_door(&test, &long).await, 401);
        assert_eq!(reviewed(&test, &brief, "shop").await, None);
        let wanted = [(resource("job://default/ada/web"), Action::List)];
        let missing = permission::missing(service, now, &Subject::operator(), &principal(CI), &wanted).await.unwrap();
        assert_eq!(missing, wanted);
        enable(true).await;
    }
    println!("counted: 2 times disabled, 2 tokens dead each time");
}

/// Every character of a token changed, every part of it missing, twice, empty, or of another token.
fn damaged(token: &str, other: &str) -> Vec<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    let mut damaged = Vec::new();
    for at in (0..token.len()).filter(|at| *at % 3 == 0 || *at + 90 > token.len()) {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        damaged.push(String::from_utf8(bytes).unwrap());
    }
    for n in 0..3 {
        let with = |text: &str| {
            let mut parts = parts.clone();
            parts[n] = text;
            parts.join(".")
        };
        damaged.extend([with(""), with("e30"), with("!"), with(&parts[n].repeat(2)), with(others[n])]);
        damaged.push(with(&format!("{}=", parts[n])));
    }
    damaged.extend([
        parts[..2].join("."),
        format!("{token}."),
        format!("{token}.{}", parts[2]),
        format!(".{token}"),
        format!("{token}A"),
        token.to_uppercase(),
        token[..token.len() - 1].to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        "..".to_owned(),
        format!("{}.{}.{}", parts[0], "A".repeat(60_000), parts[2]),
    ]);
    // Two tokens of one key have the same header.
    damaged.retain(|damaged| damaged != token);
    damaged
}

#[tokio::test]
async fn a_long_lived_token_with_anything_changed_is_worth_nothing_even_if_we_signed_it() {
    let test = with_jobs().await.user("mallory", &[]).await;
    let long = make(&test).await;
    grant(&test, CI, "job://default/ada/web", Action::Manage).await;
    grant(&test, "eve", "job://default/ada/web", Action::Manage).await;
    assert_eq!(at_the_door(&test, &long).await, 200);
    let ours = Signer::ours(&test).await;
    let (header, claims) = (part(&long, 0), part(&long, 1));
    assert_eq!((&header["typ"], &claims["aud"]), (&json!("sa+jwt"), &json!(format!("{ISSUER}/service-account"))));
    let second = {
        let new = NewServiceAccount {
            namespace: "eve".into(),
            name: Some("ci".into()),
            with_token: true,
            ..NewServiceAccount::default()
        };
        let made = service_account::create(&test.service, test.service.now(), &Subject::operator(), new).await.unwrap();
        made.token.unwrap().expose().clone()
    };
    let mut tried = 0;
    let mut worthless = async |what: &str, token: &str| {
        assert_eq!(at_the_door(&test, token).await, 401, "{what}");
        tried += 1;
    };
    // What is wrong in a cookie is refused like what is wrong in a bearer; what cannot be in a header is not sent.
    for token in damaged(&long, &second) {
        worthless("damaged", &token).await;
    }
    // Signed again, with our own key: it is not the token whose digest is kept.
    worthless("the same, signed again", &ours.sign(&header.to_string(), &claims.to_string())).await;
    let others = part(&second, 1);
    let with = |changes: &Value| {
        let mut claims = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.to_string()
    };
    let mut changes: Vec<Value> =
        others.as_object().unwrap().iter().map(|(name, value)| json!({name: value})).collect();
    for name in claims.as_object().unwrap().keys() {
        for value in [
            json!(null),
            json!(""),
            json!("x"),
            json!(1),
            json!([]),
            json!({}),
            json!("../../x"),
            json!("a".repeat(3000)),
        ] {
            changes.push(json!({name: value}));
        }
    }
    changes.extend([
        json!({"sub": "system:masters"}),
        json!({"exp": 1}),
        json!({"exp": 4_102_444_800_u64}),
        json!({"kubernetes.io/serviceaccount/namespace": "eve", "sub": "system:serviceaccount:eve:ci"}),
        json!({"kubernetes.io/serviceaccount/service-account.name": "cd"}),
        json!({"kubernetes.io/serviceaccount/namespace": "ada/short-lived"}),
        json!({"kubernetes.io/serviceaccount/namespace": "ADA"}),
        json!({"aud": ISSUER}),
        json!({"aud": [format!("{ISSUER}/service-account"), ISSUER]}),
    ]);
    for changes in &changes {
        worthless(&changes.to_string(), &ours.sign(&header.to_string(), &with(changes))).await;
        let unsigned = format!("{}.{}", message(&header.to_string(), &with(changes)), long.rsplit('.').next().unwrap());
        if unsigned != long {
            worthless(&format!("{changes}, with the old signature"), &unsigned).await;
        }
    }
    for changes in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"typ": "at+jwt"}),
        json!({"typ": "JWT"}),
        json!({"typ": "gate+jwt"}),
        json!({"typ": "link+jwt"}),
        json!({"typ": "SA+JWT"}),
        json!({"typ": null}),
        json!({"kid": "x"}),
        json!({"kid": null}),
        json!({"crit": ["exp"]}),
        json!({"jwk": {}}),
    ] {
        let mut header = header.clone();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        worthless(&changes.to_string(), &ours.sign(&header.to_string(), &claims.to_string())).await;
        worthless(&changes.to_string(), &format!("{}.", message(&header.to_string(), &claims.to_string()))).await;
    }
    // An access token of hers that says it is of another kind.
    let access = test.sign_in("eve").await.access;
    worthless("an access token's claims", &ours.sign(&header.to_string(), &part(&access, 1).to_string())).await;
    assert_eq!(at_the_door(&test, &long).await, 200, "and the right one still passes");
    println!("counted: {tried} long-lived tokens with anything changed, twice each, 0 accepted");
}

#[tokio::test]
async fn each_kind_of_token_is_good_for_what_it_is_and_for_nothing_else() {
    let test = with_jobs().await;
    let root = test.sign_in("root").await.access;
    let long = make(&test).await;
    let (brief, usual) = (short(&test, "shop").await, short(&test, &format!("{ISSUER}/kubernetes")).await);
    grant(&test, CI, "job://default/ada/web", Action::Manage).await;
    let mut asked = 0;
    // Our own API is for accounts: neither kind opens it, nor introspection, nor the token endpoint.
    for token in [&long, &brief, &usual] {
        for (method, path) in [
            (Method::GET, "/v1/me"),
            (Method::POST, "/v1/me/password"),
            (Method::GET, "/v1/users"),
            (Method::GET, "/v1/tokens"),
            (Method::DELETE, "/v1/tokens/x"),
            (Method::GET, "/v1/sites"),
        ] {
            let body = (method == Method::POST).then(|| json!({"old": "x", "new": "y"}));
            let status = test.v1(method, path, token, body).await.status.as_u16();
            assert!([401, 403].contains(&status), "{path}: {status}");
            asked += 1;
        }
        let status = introspected(&test, token, &long).await.status.as_u16();
        assert!([401, 403].contains(&status), "{status}");
        let refreshed = test.refresh(token).await;
        assert_eq!(refreshed.refusal(), (400, "invalid_grant", "Invalid refresh token"));
        // To revoke is for whoever owns it: a service account's token is ended by its id.
        let revoked = test.form("/oauth2/revoke", &[("token", token)]).await;
        assert_eq!(revoked.status, 200, "{}", revoked.text);
        asked += 3;
    }
    assert_eq!(at_the_door(&test, &long).await, 200, "and none of that ended it");
    // A short-lived one opens nothing at the door without its audience being asked for.
    for token in [&brief, &usual] {
        assert!([401, 403].contains(&at_the_door(&test, token).await));
        asked += 1;
    }
    // A review never says yes to what is not for showing around.
    for (token, audience, who) in [
        (&long, "shop", None),
        (&long, "http://gatemint.test/service-account", None),
        (&brief, "shop", Some("system:serviceaccount:ada:ci")),
        (&brief, "shoe", None),
        (&brief, ISSUER, None),
        (&usual, "shop", None),
        (&root, ISSUER, Some("root")),
        (&root, "shop", None),
    ] {
        assert_eq!(reviewed(&test, token, audience).await.as_deref(), who, "{audience}");
        asked += 1;
    }
    // Time is up.
    test.clock.advance(Duration::from_mins(10));
    assert_eq!(reviewed(&test, &brief, "shop").await, None);
    assert_eq!(at_the_door(&test, &long).await, 200, "a long-lived one has no end of its own");
    println!("counted: {} tokens in right and wrong places", asked + 2);
}

#[tokio::test]
async fn a_short_lived_token_with_anything_changed_or_without_a_record_is_worth_nothing() {
    let test = with_jobs().await;
    make(&test).await;
    let brief = short(&test, "shop").await;
    let ours = Signer::ours(&test).await;
    let (header, claims) = (part(&brief, 0), part(&brief, 1));
    assert_eq!(header["typ"], "JWT");
    let mut tried = 0;
    // What cannot be told apart is the same token: as it was signed, by the key that we sign with.
    let again = ours.sign(&header.to_string(), &claims.to_string());
    assert!(reviewed(&test, &again, "shop").await.is_some(), "the forger's tools work");
    let other = URL_SAFE_NO_PAD.encode([7; 33]);
    let mut changes = vec![
        json!({"jti": other}),
        json!({"jti": ""}),
        json!({"jti": "x"}),
        json!({"sub": "system:serviceaccount:eve:ci"}),
        json!({"sub": "system:masters"}),
        json!({"sub": "ada"}),
        json!({"iss": "https://other.example.org"}),
        json!({"exp": 1}),
        json!({"exp": "9999999999"}),
        json!({"nbf": 4_102_444_800_u64}),
        json!({"aud": []}),
        json!({"aud": ["shoe"]}),
        json!({"aud": 1}),
        json!({"kubernetes.io": {"namespace": "eve", "serviceaccount": claims["kubernetes.io"]["serviceaccount"]}}),
        json!({"kubernetes.io": {"namespace": "ada", "serviceaccount": {"name": "cd", "uid": "x"}}}),
        json!({"kubernetes.io": {"namespace": "../ada", "serviceaccount": {"name": "#", "uid": ""}}}),
        json!({"kubernetes.io": {}}),
        json!({"kubernetes.io": null}),
    ];
    for name in claims.as_object().unwrap().keys() {
        changes.push(json!({name: null}));
        changes.push(json!({name: {"x": []}}));
    }
    for changes in &changes {
        let mut claims = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = ours.sign(&header.to_string(), &claims.to_string());
        assert_eq!(reviewed(&test, &token, "shop").await, None, "{changes}");
        tried += 1;
    }
    for token in damaged(&brief, &test.sign_in("eve").await.access) {
        assert_eq!(reviewed(&test, &token, "shop").await, None);
        tried += 1;
    }
    assert!(reviewed(&test, &brief, "shop").await.is_some());
    println!("counted: {tried} short-lived tokens with anything changed, 0 accepted");
}
