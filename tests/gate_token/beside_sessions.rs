//! Gate tokens beside sessions in `/v1/tokens`: listed for the owner of the namespace, and ended by id.

use super::*;

impl Everybody {
    /// Bob's tokens, page by page.
    async fn of_owner(&self, limit: usize, access: &str) -> (Vec<Value>, usize) {
        let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = self.get(&format!("/v1/tokens?account=bob&limit={limit}&cursor={cursor}"), access).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            items.extend(page.json["items"].as_array().unwrap().iter().cloned());
            pages += 1;
            match page.json["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return (items, pages),
            }
        }
    }

    async fn end(&self, id: &Value, access: &str) -> StatusCode {
        let path = format!("/v1/tokens/{}", id.as_str().unwrap());
        self.ask(Method::DELETE, &path, access, None).await.status
    }
}

#[tokio::test]
async fn the_owner_of_a_namespace_sees_its_gate_tokens_after_the_sessions() {
    let all = Everybody::new().await;
    for _ in 0..3 {
        all.test.sign_in("bob").await;
    }
    let mut sizes = 0;
    for gate_tokens in [0, 1, 4, 5] {
        for n in 0..gate_tokens {
            all.make(&format!("vm-{n}"), json!({})).await;
        }
        for limit in 1..=10 {
            let (items, pages) = all.of_owner(limit, &all.owner).await;
            let kinds: Vec<_> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, [vec!["session"; 4], vec!["gate"; gate_tokens], vec!["fresh"]].concat(), "limit {limit}");
            let total = 5 + gate_tokens;
            assert_eq!(pages, total.div_ceil(limit), "{gate_tokens} gate tokens, limit {limit}");
            let mut ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), total);
            sizes += 1;
        }
        assert_eq!(all.of_owner(99, &all.root).await.0, all.of_owner(99, &all.owner).await.0, "admins see the same");
    }
    for place in ["~A", "~../x", "!x", &format!("~{}", "a".repeat(2000))] {
        let path = format!("/v1/tokens?cursor={}", URL_SAFE_NO_PAD.encode(place));
        assert_eq!(all.get(&path, &all.owner).await.status, StatusCode::BAD_REQUEST, "{place}");
    }
    let (items, _) = all.of_owner(99, &all.owner).await;
    let gate = &items[4];
    let now = all.test.service.now();
    assert_eq!((&gate["subject"], &gate["issued_at"]), (&json!("gatetoken:vms/vm-0"), &json!(now.rfc3339())));
    assert!(gate["expires_at"].is_string() && gate.get("client_id").is_none() && gate.get("last_used_at").is_none());
    // The minter's own list has none: it is the namespace that has them.
    let of_writer = all.get("/v1/tokens", &all.writer).await.json;
    let kinds: Vec<_> =
        of_writer["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session", "fresh"]);

    all.test.clock.advance(std::time::Duration::from_hours(2));
    let bob = all.test.sign_in("bob").await.access;
    let (items, _) = all.of_owner(2, &bob).await;
    assert!(items.iter().all(|item| item["kind"] != "gate"), "what has expired is not live");
    println!("counted: {sizes} ways to page through three kinds, and 1 list of what has not expired");
}

#[tokio::test]
async fn an_id_ends_its_own_gate_token_and_no_other_of_the_name() {
    let all = Everybody::new().await;
    let first = all.token("a", json!({})).await;
    let id = all.of_owner(99, &all.owner).await.0[1]["id"].clone();
    // No credential, and nobody else's.
    assert_eq!(all.opens(id.as_str().unwrap()).await, Err(RefusalKind::Unauthenticated));
    for access in [&all.stranger, &all.writer, &all.reader] {
        assert_eq!(all.end(&id, access).await, StatusCode::NOT_FOUND);
    }
    assert!(all.opens(&first).await.is_ok());
    assert_eq!(all.end(&id, &all.owner).await, StatusCode::NO_CONTENT);
    assert_eq!(all.opens(&first).await, Err(RefusalKind::Unauthenticated));
    assert_eq!(all.end(&id, &all.owner).await, StatusCode::NOT_FOUND);

    let second = all.token("a", json!({})).await;
    for access in [&all.owner, &all.root] {
        assert_eq!(all.end(&id, access).await, StatusCode::NOT_FOUND, "that one was another token");
    }
    assert!(all.opens(&second).await.is_ok());
    let again = all.of_owner(99, &all.owner).await.0[1]["id"].clone();
    assert_ne!(id, again);
    assert_eq!(all.end(&again, &all.root).await, StatusCode::NO_CONTENT);
    assert_eq!(all.opens(&second).await, Err(RefusalKind::Unauthenticated));

    // The same bytes with another name, kind or account name nothing.
    all.token("b", json!({})).await;
    let id = all.of_owner(99, &all.owner).await.0[1]["id"].clone();
    let bytes = URL_SAFE_NO_PAD.decode(id.as_str().unwrap()).unwrap();
    let mut tried = 0;
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert_eq!(all.end(&json!(URL_SAFE_NO_PAD.encode(other)), &all.root).await, StatusCode::NOT_FOUND, "byte {at}");
        tried += 1;
    }
    assert_eq!(all.get(PATH, &all.root).await.json["items"].as_array().unwrap().len(), 1);
    println!("counted: 2 gate tokens ended by id, {tried} other ids end nothing");
}
