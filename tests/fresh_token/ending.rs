//! What ends it, what does not, and when it begins again. What has ended is good for nothing, at once and everywhere.

use super::*;

impl Everybody {
    /// The token's line in `/v1/tokens`, as the admin sees it.
    async fn listed(&self) -> Option<Value> {
        let list = self.ask(Method::GET, "/v1/tokens?account=bob&limit=99", &self.root, None).await;
        assert_eq!(list.status, StatusCode::OK, "{}", list.text);
        let items = list.json["items"].as_array().unwrap();
        let mut fresh = items.iter().filter(|item| item["kind"] == "fresh");
        let found = fresh.next().cloned();
        assert!(fresh.next().is_none(), "there is one at most: {}", list.text);
        found
    }

    async fn end(&self, id: &Value, access: &str) -> StatusCode {
        let path = format!("/v1/tokens/{}", id.as_str().unwrap());
        self.ask(Method::DELETE, &path, access, None).await.status
    }

    /// The uid of its record.
    async fn uid(&self) -> Value {
        self.read(&self.root).await.json["metadata"]["uid"].clone()
    }

    /// There is none now, for whoever may read it; one that was read before is good for nothing.
    #[track_caller]
    fn assert_ended(&self, before: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            for access in [&self.root, &self.reader] {
                let read = self.read(access).await;
                assert_eq!(read.status, StatusCode::NOT_FOUND, "{place}: {}", read.text);
            }
            assert!(!self.is_good(before).await, "{place}");
            assert_eq!(self.listed().await, None, "{place}");
        }
    }
}

#[tokio::test]
async fn it_outlives_its_session_and_every_logout() {
    let (all, bob) = Everybody::with_bob().await;
    let token = all.token(&bob.access).await;
    let ended = all.test.form("/oauth2/revoke", &[("token", &bob.refresh)]).await;
    assert_eq!(ended.status, StatusCode::OK);
    assert!(!all.is_good(&bob.access).await);
    assert!(all.is_good(&token).await, "logout ends the session alone");
    let uid = all.uid().await;
    // A sign-in that finds one begins none.
    all.test.clock.advance(Duration::from_mins(1));
    let again = all.test.sign_in("bob").await;
    assert_eq!(all.uid().await, uid);
    assert!(all.is_good(&token).await);
    // Neither does a refresh, nor a change that ends nothing.
    all.test.refresh(&again.refresh).await.tokens();
    all.change(json!({ "email": "b@example.org", "roles": [] })).await;
    assert_eq!(all.uid().await, uid);
    println!("counted: 1 logout, 2 sign-ins, 1 refresh and 1 change, 1 record");
}

#[tokio::test]
async fn disabling_the_account_ends_it_and_enabling_it_does_not_bring_it_back() {
    let (all, bob) = Everybody::with_bob().await;
    let (token, uid) = (all.token(&bob.access).await, all.uid().await);
    all.change(json!({ "enabled": false })).await;
    all.assert_ended(&token).await;
    all.change(json!({ "enabled": true })).await;
    all.assert_ended(&token).await;
    let bob = all.test.sign_in("bob").await;
    let next = all.token(&bob.access).await;
    assert!(all.is_good(&next).await && !all.is_good(&token).await);
    assert_ne!(all.uid().await, uid, "another record");
    println!("counted: 1 account disabled and enabled, 2 records");
}

#[tokio::test]
async fn a_new_password_ends_it_until_the_next_sign_in() {
    let (all, bob) = Everybody::with_bob().await;
    let token = all.token(&bob.access).await;
    let next = "another horse battery staple";
    all.test.keep(next);
    let body = json!({ "old": PASSWORD, "new": next });
    let changed = all.ask(Method::POST, "/v1/me/password", &bob.access, Some(body)).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    // His own session goes on; the token does not.
    assert!(all.is_good(&bob.access).await);
    all.assert_ended(&token).await;
    assert_status(&all.read(&bob.access).await, 404, "NotFound", "sign");
    let form = [("grant_type", "password"), ("username", "bob"), ("password", next)];
    let again = all.test.form("/oauth2/token", &form).await.tokens();
    let second = all.token(&again.access).await;
    assert!(all.is_good(&second).await && !all.is_good(&token).await);

    // The same by an admin's hand.
    all.change(json!({ "password": PASSWORD })).await;
    all.assert_ended(&second).await;
    all.test.sign_in("bob").await;
    assert_eq!(all.read(&all.root).await.status, StatusCode::OK);
    println!("counted: 2 new passwords, 3 records");
}

#[tokio::test]
async fn it_is_listed_once_and_ended_by_hand_by_its_owner_or_an_admin() {
    let (all, bob) = Everybody::with_bob().await;
    let begun = all.test.service.now().rfc3339();
    all.test.clock.advance(Duration::from_mins(1));
    let token = all.token(&bob.access).await;
    let line = all.listed().await.unwrap();
    assert_eq!((&line["subject"], &line["issued_at"]), (&json!("bob"), &json!(begun)));
    assert!(line.get("expires_at").is_none(), "{line}");
    // Page by page it is there once, and last.
    for limit in 1..4 {
        let (mut kinds, mut cursor) = (Vec::new(), String::new());
        loop {
            let page =
                all.ask(Method::GET, &format!("/v1/tokens?limit={limit}&cursor={cursor}"), &bob.access, None).await;
            let items = page.json["items"].as_array().unwrap().clone();
            kinds.extend(items.iter().map(|item| item["kind"].as_str().unwrap().to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(kinds, ["session", "fresh"], "limit {limit}");
    }
    // Not by others, and its id is no credential.
    for access in [&all.stranger, &all.reader] {
        assert_eq!(all.end(&line["id"], access).await, StatusCode::NOT_FOUND);
    }
    assert!(!all.is_good(line["id"].as_str().unwrap()).await && all.is_good(&token).await);

    assert_eq!(all.end(&line["id"], &bob.access).await, StatusCode::NO_CONTENT);
    all.assert_ended(&token).await;
    assert!(all.is_good(&bob.access).await, "the session goes on");
    assert_eq!(all.end(&line["id"], &bob.access).await, StatusCode::NOT_FOUND);
    let bob = all.test.sign_in("bob").await;
    let (second, next) = (all.token(&bob.access).await, all.listed().await.unwrap());
    assert_ne!(next["id"], line["id"]);
    // The id of one that has ended does not end the next.
    assert_eq!(all.end(&line["id"], &all.root).await, StatusCode::NOT_FOUND);
    assert!(all.is_good(&second).await);
    assert_eq!(all.end(&next["id"], &all.root).await, StatusCode::NO_CONTENT);
    all.assert_ended(&second).await;

    // Even by itself: to give it up is no more than to be careful.
    let bob = all.test.sign_in("bob").await;
    let third = all.token(&bob.access).await;
    let id = all.listed().await.unwrap()["id"].clone();
    assert_eq!(all.end(&id, &third).await, StatusCode::NO_CONTENT);
    all.assert_ended(&third).await;
    println!("counted: 3 records listed and ended by hand, 4 refused");
}

#[tokio::test]
async fn a_name_that_is_made_again_inherits_none() {
    let (all, bob) = Everybody::with_bob().await;
    let token = all.token(&bob.access).await;
    let deleted = all.ask(Method::DELETE, "/v1/users/bob", &all.root, None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
    assert_eq!(all.read(&all.root).await.status, StatusCode::NOT_FOUND);
    assert!(!all.is_good(&token).await);
    let new = json!({ "name": "bob", "password": PASSWORD, "namespace": "vms" });
    let made = all.ask(Method::POST, "/v1/users", &all.root, Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(all.read(&all.root).await.status, StatusCode::NOT_FOUND);
    assert!(!all.is_good(&token).await && all.listed().await.is_none());
    let bob = all.test.sign_in("bob").await;
    let next = all.token(&bob.access).await;
    assert_ne!(claims(&next)["sub"], claims(&token)["sub"]);
    assert!(all.is_good(&next).await && !all.is_good(&token).await);
    println!("counted: 1 name made again, 2 records");
}
