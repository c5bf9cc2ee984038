//! May a request to somebody else's route pass? Only with a token that stands, for this issuer.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use gatemint::domain::{
    RefusalKind, Secret,
    access::{Passer, verify},
    client::{GrantType, manage::NewClient},
};
use serde_json::json;

use crate::support::{ISSUER, PASSWORD, TestService};

/// What becomes of a request with this token.
async fn judged(test: &TestService, token: &str) -> Result<Passer, RefusalKind> {
    let token = Secret::new(token.to_owned());
    verify(&test.service, test.service.now(), Some(&token)).await.map_err(|refusal| refusal.kind)
}

fn passer(user: &str, email: &str, groups: &[&str]) -> Passer {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Passer { user: user.into(), email: email.into(), groups }
}

#[tokio::test]
async fn a_token_that_stands_passes_with_what_its_account_is_now() {
    let test = TestService::new().await.user("ada", &["analysts", "ops"]).await.user("root", &["admin"]).await;
    let ada = test.sign_in("ada").await;
    assert_eq!(judged(&test, &ada.access).await, Ok(passer("ada", "ada@example.org", &["analysts", "ops"])));
    let root = test.sign_in("root").await;
    let change = json!({ "roles": ["ops"], "email": "" });
    let answer = test.v1(Method::PATCH, "/v1/users/ada", &root.access, Some(change)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(judged(&test, &ada.access).await, Ok(passer("ada", "", &["ops"])));
}

#[tokio::test]
async fn a_token_shows_no_more_than_its_scope() {
    let test = TestService::new().await.user("ada", &["analysts"]).await;
    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD), ("scope", "profile")];
    let tokens = test.form("/oauth2/token", &form).await.tokens();
    assert_eq!(judged(&test, &tokens.access).await, Ok(passer("ada", "", &[])));
}

#[tokio::test]
async fn judging_costs_one_round_trip() {
    let mut test = TestService::new().await.user("ada", &[]).await;
    let tokens = test.sign_in("ada").await;
    test.restart();
    test.store.round_trips();
    test.service.warm(false, false).await.unwrap();
    assert_eq!(test.store.round_trips(), (1, 0), "the public keys");
    for _ in 0..2 {
        assert!(judged(&test, &tokens.access).await.is_ok());
        assert_eq!(test.store.round_trips(), (1, 0), "the record");
    }
    assert!(judged(&test, "a.b.c").await.is_err());
    assert_eq!(test.store.round_trips(), (0, 0), "what is no token costs nothing");
}

#[tokio::test]
async fn what_does_not_stand_is_nobodys() {
    let test = TestService::new().await.user("ada", &[]).await.user("bob", &[]).await.user("root", &["admin"]).await;
    let nobody = Err(RefusalKind::Unauthenticated);
    assert_eq!(verify(&test.service, test.service.now(), None).await.unwrap_err().kind, RefusalKind::Unauthenticated);
    let ada = test.sign_in("ada").await;
    for wrong in ["", "a.b.c", &ada.refresh, &ada.access[1..], &format!("{}AAAA", ada.access)] {
        assert_eq!(judged(&test, wrong).await, nobody, "{wrong}");
    }
    let bob = test.sign_in("bob").await;
    let swapped: Vec<&str> = ada.access.split('.').take(2).chain(bob.access.rsplit('.').take(1)).collect();
    assert_eq!(judged(&test, &swapped.join(".")).await, nobody, "another token's signature");

    test.form("/oauth2/revoke", &[("token", &ada.refresh)]).await;
    assert_eq!(judged(&test, &ada.access).await, nobody, "its session ended");
    let root = test.sign_in("root").await;
    assert!(judged(&test, &bob.access).await.is_ok());
    test.v1(Method::PATCH, "/v1/users/bob", &root.access, Some(json!({ "enabled": false }))).await;
    assert_eq!(judged(&test, &bob.access).await, nobody, "its account is disabled");
    assert!(judged(&test, &root.access).await.is_ok());
    test.clock.advance(Duration::from_mins(15));
    assert_eq!(judged(&test, &root.access).await, nobody, "it expired");
    println!("counted: 9 ways of not standing");
}

#[tokio::test]
async fn a_token_for_another_audience_is_somebodys_who_may_not() {
    let test = TestService::new().await.user("ada", &[]).await;
    let client = |audiences: &[&str]| NewClient {
        grants: Some(vec![GrantType::Password, GrantType::ClientCredentials]),
        audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        ..NewClient::default()
    };
    let mut tokens = Vec::new();
    for (id, audiences) in [
        ("here", &[][..]),
        ("there", &["https://reports.example.org"]),
        ("both", &["https://reports.example.org", ISSUER]),
    ] {
        let secret = test.client(id, client(audiences)).await.unwrap();
        let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", &secret)];
        let answer = test.form("/oauth2/token", &form).await;
        tokens.push(answer.json["access_token"].as_str().unwrap().to_owned());
    }
    // No account's name has a colon, so that no client can be taken for an account.
    assert_eq!(judged(&test, &tokens[0]).await, Ok(passer("client:here", "", &[])));
    assert_eq!(judged(&test, &tokens[1]).await, Err(RefusalKind::Forbidden));
    assert_eq!(judged(&test, &tokens[2]).await, Ok(passer("client:both", "", &[])));
    println!("counted: 3 audiences");
}

#[tokio::test]
async fn a_store_that_is_away_is_never_a_yes() {
    let test = TestService::new().await.user("ada", &[]).await;
    let tokens = test.sign_in("ada").await;
    assert!(judged(&test, &tokens.access).await.is_ok());
    test.store.set_away(true);
    assert_eq!(judged(&test, &tokens.access).await, Err(RefusalKind::Unavailable));
    test.store.set_away(false);
    assert!(judged(&test, &tokens.access).await.is_ok());
}
