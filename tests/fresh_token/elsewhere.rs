//! The token where others are judged: introspection, revocation, exchange, and the door for proxies.

use gatemint::domain::{
    access::site::{self, NewSite},
    client::manage::NewClient,
};

use super::*;

#[tokio::test]
async fn introspection_tells_it_by_its_record() {
    let (all, bob) = Everybody::with_bob().await;
    let seer = all.test.client("seer", NewClient { introspect: true, ..NewClient::default() }).await.unwrap();
    let other = all.test.client("other", NewClient::default()).await.unwrap();
    let token = all.token(&bob.access).await;
    let ask = async |id: &str, secret: &str| {
        let form = [("client_id", id), ("client_secret", secret), ("token", token.as_str())];
        all.test.form("/oauth2/introspect", &form).await.json
    };
    all.change(json!({ "roles": ["now"] })).await;
    let told = ask("seer", &seer).await;
    for (claim, value) in [
        ("active", json!(true)),
        ("token_type", json!("Bearer")),
        ("username", json!("bob")),
        ("namespace", json!("vms")),
        ("roles", json!(["now"])),
        ("exp", claims(&token)["exp"].clone()),
        ("sid", claims(&token)["sid"].clone()),
    ] {
        assert_eq!(told[claim], value, "{claim}: {told}");
    }
    assert_eq!(ask("other", &other).await, json!({ "active": false }), "it is nobody's but those who see all");
    all.change(json!({ "enabled": false })).await;
    assert_eq!(ask("seer", &seer).await, json!({ "active": false }));
    println!("counted: 3 introspections, 7 claims");
}

#[tokio::test]
async fn the_client_that_it_names_revokes_it_and_the_sessions_go_on() {
    let (all, bob) = Everybody::with_bob().await;
    let confidential = all.test.client("ci", NewClient::default()).await.unwrap();
    let token = all.token(&bob.access).await;
    assert_eq!(claims(&token)["client_id"], "gatemint");
    let by_another = [("token", token.as_str()), ("client_id", "ci"), ("client_secret", &confidential)];
    assert_eq!(all.test.form("/oauth2/revoke", &by_another).await.status, StatusCode::OK);
    assert!(all.is_good(&token).await, "another client's token is not ended");
    // RFC 7009 §2.2: what has ended is answered like what ends.
    for _ in 0..2 {
        assert_eq!(all.test.form("/oauth2/revoke", &[("token", &token)]).await.status, StatusCode::OK);
        assert!(!all.is_good(&token).await);
    }
    assert_eq!(all.read(&all.root).await.status, StatusCode::NOT_FOUND);
    assert!(all.is_good(&bob.access).await);
    println!("counted: 3 revocations, 1 record ended");
}

#[tokio::test]
async fn it_opens_its_owners_sites_and_is_exchanged_for_nothing() {
    let (all, bob) = Everybody::with_bob().await;
    let new = NewSite {
        id: "jobs".into(),
        host: "{name}--{owner}.jobs.example.org".into(),
        resource: "job://{cluster}/{owner}/{name}".into(),
    };
    site::create(&all.test.service, all.test.service.now(), &new, "test").await.unwrap();
    let token = all.token(&bob.access).await;
    let verify = async |host: &str| {
        let request = Request::get("/auth/verify")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header("X-Original-Method", "GET")
            .header("X-Original-URL", format!("https://{host}/lab"))
            .body(Body::empty())
            .unwrap();
        all.test.send(request).await
    };
    let passed = verify("train--vms.jobs.example.org").await;
    assert_eq!(passed.status, StatusCode::OK, "{}", passed.text);
    assert_eq!((passed.header("x-auth-request-user"), passed.header("x-auth-request-groups")), ("bob", "analysts"));
    assert_eq!(verify("train--eve.jobs.example.org").await.status, StatusCode::FORBIDDEN);

    // A gate token of an exchange ends with its session, and this one is of none.
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
        ("resource", "https://train--vms.jobs.example.org/*"),
    ];
    let refused = all.test.form("/oauth2/token", &form).await;
    assert_eq!((refused.refusal().0, refused.refusal().1), (400, "invalid_request"), "{}", refused.text);
    // Nor is it a refresh token.
    assert_eq!(all.test.refresh(&token).await.refusal(), (400, "invalid_grant", "Invalid refresh token"));
    assert!(all.is_good(&token).await);
    all.change(json!({ "enabled": false })).await;
    assert_eq!(verify("train--vms.jobs.example.org").await.status, StatusCode::UNAUTHORIZED);
    println!("counted: 3 requests judged at the door, 2 other uses refused");
}

#[tokio::test]
async fn it_changes_no_password_and_is_no_way_to_guess_one() {
    let (all, bob) = Everybody::with_bob().await;
    let token = all.token(&bob.access).await;
    let new = "another horse battery staple";
    all.test.keep(new);
    let change = async |old: &str, access: &str| {
        let body = json!({ "old": old, "new": new });
        all.ask(Method::POST, "/v1/me/password", access, Some(body)).await
    };
    let wrong = change("not the right password at all", &token).await;
    let right = change(PASSWORD, &token).await;
    assert_eq!((wrong.status, right.status), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(wrong.text, right.text, "nothing is said of the password");
    assert!(right.text.contains("sign-in"), "what to do: {}", right.text);
    assert!(all.is_good(&token).await && all.is_good(&bob.access).await);
    // With a sign-in's it ends, as every other session does.
    assert_eq!(change(PASSWORD, &bob.access).await.status, StatusCode::NO_CONTENT);
    assert!(!all.is_good(&token).await && all.is_good(&bob.access).await);
    println!("counted: 2 passwords tried with it, none changed and none confirmed");
}
