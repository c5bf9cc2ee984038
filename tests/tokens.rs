//! Grants, sessions, revocation and introspection, through the router.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatemint::domain::client::{GrantType, manage::NewClient};
use serde_json::{Value, json};

use crate::support::{ISSUER, PASSWORD, TestService, encode_form};

fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn a_password_becomes_tokens_with_every_field_and_claim() {
    let test = TestService::new().await.user("ada", &["analysts"]).await;
    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    let answer = test.form("/oauth2/token", &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let reply = &answer.json;
    assert_eq!(reply["token_type"], "Bearer");
    assert_eq!((&reply["expires_in"], &reply["refresh_expires_in"]), (&json!(900), &json!(604_800)));
    assert_eq!(reply["scope"], "profile email roles");
    let claims = claims(reply["access_token"].as_str().unwrap());
    assert_eq!(reply["session_state"], claims["sid"]);
    let now = 1_800_000_000;
    for (claim, expected) in [
        ("iss", json!(ISSUER)),
        ("aud", json!(ISSUER)),
        ("client_id", json!("gatemint")),
        ("iat", json!(now)),
        ("nbf", json!(now)),
        ("exp", json!(now + 900)),
        ("auth_time", json!(now)),
        ("scope", json!("profile email roles")),
        ("preferred_username", json!("ada")),
        ("identity", json!("ada")),
        ("namespace", json!("ada")),
        ("email", json!("ada@example.org")),
        ("roles", json!(["analysts"])),
    ] {
        assert_eq!(claims[claim], expected, "{claim}");
    }
    let names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 16, "{names:?}");
    println!("counted: {} claims and 7 fields of a reply", names.len());
}

#[tokio::test]
async fn each_operation_makes_the_round_trips_that_the_design_allows() {
    let test = TestService::new().await.user("ada", &[]).await;
    test.sign_in("ada").await;
    test.store.round_trips();
    let first = test.sign_in("ada").await;
    assert_eq!(test.store.round_trips(), (1, 2), "password: one get, the reservation, the session");
    test.refresh(&first.refresh).await.tokens();
    assert_eq!(test.store.round_trips(), (1, 1), "refresh");
    test.refresh(&first.refresh).await.tokens();
    assert_eq!(test.store.round_trips(), (1, 0), "repeat");
    let wrong = [("grant_type", "password"), ("username", "ada"), ("password", "not the right password")];
    test.form("/oauth2/token", &wrong).await;
    assert_eq!(test.store.round_trips(), (1, 2), "a wrong password: one get, the reservation, the failure");
    let mut forged = first.refresh.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    assert_eq!(test.refresh(&forged).await.refusal(), (400, "invalid_grant", "Invalid refresh token"));
    assert_eq!(test.store.round_trips(), (0, 0), "a forged token reads nothing");
    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration", "/healthz"] {
        test.v1(Method::GET, path, "", None).await;
    }
    assert_eq!(test.store.round_trips(), (0, 0), "keys and discovery, warm");
}

#[tokio::test]
async fn a_refresh_reads_the_account_again_and_narrows_its_scope() {
    let test = TestService::new().await.user("ada", &["a"]).await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let tokens = test.sign_in("ada").await;
    let changed = test.v1(Method::PATCH, "/v1/users/ada", &admin, Some(json!({"roles": ["b"], "email": ""}))).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let refreshed = test.refresh(&tokens.refresh).await.tokens();
    assert_eq!(claims(&refreshed.access)["roles"], json!(["b"]));
    assert_eq!(claims(&refreshed.access)["email"], "");
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refreshed.refresh), ("scope", "profile")];
    let narrowed = test.form("/oauth2/token", &form).await;
    assert_eq!(narrowed.json["scope"], "profile");
    let narrowed = narrowed.tokens();
    assert_eq!(claims(&narrowed.access)["roles"], json!([]));
    let whole = test.refresh(&narrowed.refresh).await;
    assert_eq!(whole.json["scope"], "profile email roles", "the session keeps its scope");
    let refresh = whole.tokens().refresh;
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("scope", "profile offline_access")];
    assert_eq!(test.form("/oauth2/token", &form).await.refusal().1, "invalid_scope");
    test.refresh(&refresh).await.tokens();
}

#[tokio::test]
async fn sessions_end_idle_after_seven_days_and_in_all_after_thirty_but_offline_ones_only_idle() {
    let test = TestService::new().await.user("ada", &[]).await;
    let day = Duration::from_hours(24);
    let mut tokens = test.sign_in("ada").await;
    for _ in 0..4 {
        test.clock.advance(day * 6);
        let answer = test.refresh(&tokens.refresh).await;
        tokens = answer.tokens();
    }
    test.clock.advance(day * 5);
    let answer = test.refresh(&tokens.refresh).await;
    assert_eq!(answer.json["refresh_expires_in"], json!(86_400), "24 + 5 days are gone, one is left");
    test.clock.advance(day);
    let ended = test.refresh(&answer.tokens().refresh).await;
    assert_eq!(ended.refusal(), (400, "invalid_grant", "Refresh token expired"));

    let idle = test.sign_in("ada").await;
    test.clock.advance(day * 7);
    assert_eq!(test.refresh(&idle.refresh).await.refusal().2, "Refresh token expired");

    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD), ("scope", "offline_access")];
    let answer = test.form("/oauth2/token", &form).await;
    assert_eq!(answer.json["refresh_expires_in"], json!(2_592_000));
    let mut offline = answer.tokens();
    for _ in 0..5 {
        test.clock.advance(day * 29);
        offline = test.refresh(&offline.refresh).await.tokens();
    }
    test.clock.advance(day * 30);
    assert_eq!(test.refresh(&offline.refresh).await.refusal().2, "Refresh token expired");
}

#[tokio::test]
async fn a_clients_own_token_has_the_client_as_its_record() {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let secret = test.client("ci", NewClient { introspect: true, ..NewClient::default() }).await.unwrap();
    let form = [("grant_type", "client_credentials"), ("client_id", "ci"), ("client_secret", &secret)];
    let answer = test.form("/oauth2/token", &form).await;
    assert!(answer.json["refresh_token"].is_null(), "{}", answer.text);
    let token = answer.tokens().access;
    assert_eq!((&claims(&token)["sub"], &claims(&token)["client_id"]), (&json!("ci"), &json!("ci")));
    let introspect = [("token", token.as_str()), ("client_id", "ci"), ("client_secret", &secret)];
    assert_eq!(test.form("/oauth2/introspect", &introspect).await.json["active"], true);
    assert_eq!(test.form("/oauth2/revoke", &introspect).await.refusal().1, "unsupported_token_type");
    assert_eq!(test.v1(Method::GET, "/v1/me", &token, None).await.status, StatusCode::FORBIDDEN);

    let renewed = test.v1(Method::PATCH, "/v1/clients/ci", &admin, Some(json!({"new_secret": true}))).await;
    let new = renewed.json["secret"].as_str().unwrap().to_owned();
    assert_eq!(test.form("/oauth2/token", &form).await.refusal().1, "invalid_client", "the old secret");
    let introspect = [("token", token.as_str()), ("client_id", "ci"), ("client_secret", &new)];
    assert_eq!(test.form("/oauth2/introspect", &introspect).await.json, json!({"active": false}));
}

#[tokio::test]
async fn a_client_shows_itself_by_basic_or_post_or_id_and_never_in_two_ways() {
    let test = TestService::new().await.user("ada", &[]).await;
    let secret = test.client("ci", NewClient::default()).await.unwrap();
    test.client("pub", NewClient { public: true, ..NewClient::default() }).await;
    let basic = |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let ask = async |authorization: Option<String>, extra: &[(&str, &str)]| {
        let mut form = vec![("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
        form.extend_from_slice(extra);
        let mut request =
            axum::http::Request::post("/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        test.send(request.body(encode_form(&form).into()).unwrap()).await
    };
    for (authorization, extra) in [
        (None, vec![]),
        (None, vec![("client_id", "pub")]),
        (Some(basic("pub", "")), vec![]),
        (Some(basic("ci", &secret)), vec![]),
        (Some(basic("ci", &secret)), vec![("client_id", "ci")]),
        (None, vec![("client_id", "ci"), ("client_secret", secret.as_str())]),
    ] {
        let answer = ask(authorization, &extra).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    for (authorization, extra, expected) in [
        (Some(basic("ci", "wrong")), vec![], (401, "invalid_client")),
        (Some(basic("ci", "")), vec![], (401, "invalid_client")),
        (Some(basic("nobody", "x")), vec![], (401, "invalid_client")),
        (Some(basic("pub", "guess")), vec![], (401, "invalid_client")),
        (Some("Basic ###".into()), vec![], (401, "invalid_client")),
        (Some("Digest x".into()), vec![], (401, "invalid_client")),
        (None, vec![("client_id", "ci")], (401, "invalid_client")),
        (None, vec![("client_id", "nobody")], (401, "invalid_client")),
        (Some(basic("ci", &secret)), vec![("client_id", "pub")], (400, "invalid_request")),
        (Some(basic("ci", &secret)), vec![("client_secret", secret.as_str())], (400, "invalid_request")),
        (None, vec![("client_secret", "x")], (400, "invalid_request")),
    ] {
        let tried_basic = authorization.is_some();
        let answer = ask(authorization, &extra).await;
        let (status, error, _) = answer.refusal();
        assert_eq!((status, error), expected, "{}", answer.text);
        let challenged = answer.header("www-authenticate").starts_with("Basic");
        assert_eq!(challenged, tried_basic && status == 401, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_client_may_do_what_it_lists_and_nothing_else() {
    let test = TestService::new().await.user("ada", &[]).await;
    let new = NewClient {
        public: true,
        grants: Some(vec![GrantType::Password]),
        audiences: vec!["https://a.example".into(), "https://b.example".into()],
        scopes: vec!["jobs".into()],
        ..NewClient::default()
    };
    test.client("narrow", new).await;
    let base = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD), ("client_id", "narrow")];
    let ask = async |extra: &[(&str, &str)]| test.form("/oauth2/token", &[&base, extra].concat()).await;
    let answer = ask(&[("scope", "jobs")]).await;
    let tokens = answer.tokens();
    assert_eq!(claims(&tokens.access)["aud"], json!(["https://a.example", "https://b.example"]));
    let one = ask(&[("resource", "https://b.example")]).await.tokens();
    assert_eq!(claims(&one.access)["aud"], "https://b.example");
    assert_eq!(ask(&[("resource", "https://c.example")]).await.refusal().1, "invalid_target");
    assert_eq!(ask(&[("scope", "other")]).await.refusal().1, "invalid_scope");
    let refresh = [("grant_type", "refresh_token"), ("client_id", "narrow"), ("refresh_token", &tokens.refresh)];
    assert_eq!(test.form("/oauth2/token", &refresh).await.refusal().1, "unauthorized_client");
    assert_eq!(test.v1(Method::GET, "/v1/me", &one.access, None).await.status, StatusCode::UNAUTHORIZED, "not for us");
}

#[tokio::test]
async fn a_refresh_token_is_its_own_clients() {
    let test = TestService::new().await.user("ada", &[]).await;
    test.client("other", NewClient { public: true, ..NewClient::default() }).await;
    let tokens = test.sign_in("ada").await;
    let stolen = [("grant_type", "refresh_token"), ("client_id", "other"), ("refresh_token", &tokens.refresh)];
    assert_eq!(test.form("/oauth2/token", &stolen).await.refusal(), (400, "invalid_grant", "Invalid refresh token"));
    let revoke = [("client_id", "other"), ("token", tokens.refresh.as_str())];
    assert_eq!(test.form("/oauth2/revoke", &revoke).await.status, StatusCode::OK);
    test.refresh(&tokens.refresh).await.tokens();
}

#[tokio::test]
async fn a_revoked_token_of_either_kind_ends_the_session_at_once() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    for kind in ["refresh", "access", "old refresh", "logout"] {
        let first = test.sign_in("ada").await;
        let second = test.refresh(&first.refresh).await.tokens();
        let (path, name, token, status) = match kind {
            "refresh" => ("/oauth2/revoke", "token", &second.refresh, StatusCode::OK),
            "access" => ("/oauth2/revoke", "token", &second.access, StatusCode::OK),
            "old refresh" => ("/oauth2/revoke", "token", &first.refresh, StatusCode::OK),
            _ => {
                ("/realms/UA/protocol/openid-connect/logout", "refresh_token", &second.refresh, StatusCode::NO_CONTENT)
            }
        };
        assert_eq!(test.form(path, &[(name, token)]).await.status, status, "{kind}");
        assert_eq!(test.refresh(&second.refresh).await.refusal(), (400, "invalid_grant", "Session ended"), "{kind}");
        for token in [&first.access, &second.access, &second.refresh] {
            let request = axum::http::Request::post("/oauth2/introspect")
                .header("content-type", "application/x-www-form-urlencoded")
                .header("authorization", format!("Bearer {admin}"))
                .body(encode_form(&[("token", token)]).into())
                .unwrap();
            assert_eq!(test.send(request).await.json, json!({"active": false}), "{kind}");
        }
        assert_eq!(test.form(path, &[(name, token)]).await.status, status, "again, {kind}");
    }
    assert_eq!(test.form("/oauth2/revoke", &[("token", "nonsense")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn introspection_shows_a_client_its_own_tokens_and_an_admin_all() {
    let test = TestService::new().await.user("ada", &["a"]).await.user("root", &["admin"]).await;
    let own = test.client("own", NewClient::default()).await.unwrap();
    let nosy = test.client("nosy", NewClient::default()).await.unwrap();
    let seer = test.client("seer", NewClient { introspect: true, ..NewClient::default() }).await.unwrap();
    let form = [
        ("grant_type", "password"),
        ("username", "ada"),
        ("password", PASSWORD),
        ("client_id", "own"),
        ("client_secret", own.as_str()),
    ];
    let tokens = test.form("/oauth2/token", &form).await.tokens();
    let ask = async |id: &str, secret: &str, token: &str| {
        test.form("/oauth2/introspect", &[("client_id", id), ("client_secret", secret), ("token", token)]).await
    };
    for token in [&tokens.access, &tokens.refresh] {
        assert_eq!(ask("own", &own, token).await.json["active"], true);
        assert_eq!(ask("seer", &seer, token).await.json["active"], true);
        assert_eq!(ask("nosy", &nosy, token).await.json, json!({"active": false}));
    }
    let shown = ask("own", &own, &tokens.access).await;
    for (claim, expected) in [("username", json!("ada")), ("token_type", json!("Bearer")), ("roles", json!(["a"]))] {
        assert_eq!(shown.json[claim], expected, "{}", shown.text);
    }
    assert_eq!(test.form("/oauth2/introspect", &[("token", &tokens.access)]).await.status, StatusCode::UNAUTHORIZED);
    // New roles count at once.
    let admin = test.sign_in("root").await.access;
    test.v1(Method::PATCH, "/v1/users/ada", &admin, Some(json!({"roles": ["b"]}))).await;
    assert_eq!(ask("own", &own, &tokens.access).await.json["roles"], json!(["b"]));
    // So does a disabled account.
    test.v1(Method::PATCH, "/v1/users/ada", &admin, Some(json!({"enabled": false}))).await;
    assert_eq!(ask("own", &own, &tokens.access).await.json, json!({"active": false}));
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503_and_nothing_is_lost() {
    let test = TestService::new().await.user("ada", &[]).await;
    let tokens = test.sign_in("ada").await;
    test.store.set_away(true);
    let answer = test.refresh(&tokens.refresh).await;
    assert_eq!((answer.refusal().0, answer.refusal().1), (503, "temporarily_unavailable"));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.text.contains("as the test asked"), "the cause is for the log: {}", answer.text);
    assert_eq!(test.v1(Method::GET, "/readyz", "", None).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(test.v1(Method::GET, "/healthz", "", None).await.status, StatusCode::OK);
    assert_eq!(test.v1(Method::GET, "/.well-known/jwks.json", "", None).await.status, StatusCode::OK, "in memory");
    test.store.set_away(false);
    test.refresh(&tokens.refresh).await.tokens();
    assert_eq!(test.v1(Method::GET, "/readyz", "", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_scope_that_is_taken_from_a_client_leaves_its_sessions_too() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    test.client("jobs", NewClient { public: true, scopes: vec!["jobs:run".into()], ..NewClient::default() }).await;
    let form = [
        ("grant_type", "password"),
        ("username", "ada"),
        ("password", PASSWORD),
        ("client_id", "jobs"),
        ("scope", "jobs:run profile"),
    ];
    let tokens = test.form("/oauth2/token", &form).await.tokens();
    let taken = test.v1(Method::PATCH, "/v1/clients/jobs", &admin, Some(json!({"scopes": []}))).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
    let refresh = [("grant_type", "refresh_token"), ("client_id", "jobs"), ("refresh_token", &tokens.refresh)];
    assert_eq!(test.form("/oauth2/token", &refresh).await.json["scope"], "profile");
}

#[tokio::test]
async fn an_admins_token_without_roles_in_its_scope_is_nobodys() {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let form = [("grant_type", "password"), ("username", "root"), ("password", PASSWORD), ("scope", "profile")];
    let narrow = test.form("/oauth2/token", &form).await.tokens().access;
    assert_eq!(test.v1(Method::GET, "/v1/me", &narrow, None).await.status, StatusCode::OK);
    assert_eq!(test.v1(Method::GET, "/v1/users", &narrow, None).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_largest_account_that_may_be_made_has_tokens_that_work() {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let roles: Vec<String> = (0..64).map(|n| format!("r{n}/{}", vec!["x".repeat(60); 4].join("/"))).collect();
    let made = json!({"name": "big", "password": PASSWORD, "roles": roles});
    assert_eq!(test.v1(Method::POST, "/v1/users", &admin, Some(made)).await.status, StatusCode::CREATED);
    let token = test.sign_in("big").await.access;
    assert!(token.len() > 16 * 1024, "{}", token.len());
    assert_eq!(test.v1(Method::GET, "/v1/me", &token, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_damaged_row_is_a_503_whose_cause_quotes_nothing_of_it() {
    use gatemint::{
        clock::Timestamp,
        store::{Item, Key, StoreError, Version, decode},
    };
    let item = Item {
        key: Key::new("account#x", "account"),
        version: Version([0; 16]),
        expires_at: None,
        body: r#"{"v":1,"record":{"name":"ada","enabled":"$argon2id$v=19$secret"}}"#.into(),
    };
    let read: Result<_, StoreError> = decode::<gatemint::domain::account::Account>(Some(item));
    let cause = read.map(|_| ()).unwrap_err().to_string();
    assert!(cause.contains("account#x") && !cause.contains("argon2id"), "{cause}");
    assert!(Timestamp(0).rfc3339().starts_with("1970-01-01T00:00:00"));
}
