//! What it says: the object, the claims, and with which scope; and who is told nothing.

use super::*;

#[tokio::test]
async fn the_secret_has_a_token_for_half_an_hour_with_the_claims_of_its_owner() {
    let (all, bob) = Everybody::with_bob().await;
    let begun = all.test.service.now();
    all.test.clock.advance(Duration::from_mins(10));
    let now = all.test.service.now();
    all.test.store.round_trips();
    let answer = all.read(&bob.access).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let object = answer.json;
    let metadata = &object["metadata"];
    let (uid, version) = (metadata["uid"].as_str().unwrap(), metadata["resourceVersion"].as_str().unwrap());
    assert_eq!((uid.len(), uid.matches('-').count()), (36, 4), "{uid}");
    let data = object["data"]["AUTH_TOKEN"].as_str().unwrap();
    let ends = (now + Duration::from_secs(LIFE)).rfc3339();
    assert_eq!(
        object,
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": "access-token", "namespace": "vms", "creationTimestamp": begun.rfc3339(), "uid": uid,
                "resourceVersion": version, "annotations": { "gatemint/expires-at": ends }
            },
            "data": { "AUTH_TOKEN": data }
        })
    );
    let token = decoded(data);
    let said = claims(&token);
    let me = all.ask(Method::GET, "/v1/me", &token, None).await.json;
    assert_eq!(me["name"], "bob", "it is good for what every access token is good for: {me}");
    for (claim, value) in [
        ("iss", json!(ISSUER)),
        ("aud", json!(ISSUER)),
        ("iat", json!(now.0)),
        ("nbf", json!(now.0)),
        ("exp", json!(now.0 + LIFE)),
        ("auth_time", json!(begun.0)),
        ("scope", json!("profile email roles")),
        ("preferred_username", json!("bob")),
        ("identity", json!("bob")),
        ("namespace", json!("vms")),
        ("email", json!("bob@example.org")),
        ("roles", json!(["analysts"])),
        ("sub", claims(&bob.access)["sub"].clone()),
    ] {
        assert_eq!(said[claim], value, "{claim}");
    }

    // Each read has a token of its own, of the same record.
    let again = all.read(&bob.access).await.json;
    assert_eq!(again["metadata"]["uid"], uid);
    all.test.clock.advance(Duration::from_secs(1));
    let later = all.read(&bob.access).await.json;
    assert_ne!(later["metadata"]["resourceVersion"], version, "other data is another version");
    let jtis = [&object, &again, &later]
        .map(|one| claims(&decoded(one["data"]["AUTH_TOKEN"].as_str().unwrap()))["jti"].as_str().unwrap().to_owned());
    assert!(jtis[0] != jtis[1] && jtis[1] != jtis[2] && jtis[0] != jtis[2], "{jtis:?}");
    assert_eq!(all.test.store.round_trips().1, 0, "a read writes nothing");
    println!("counted: 1 object as documented, 13 claims, 3 reads without a write");
}

#[tokio::test]
async fn whenever_it_is_read_it_has_half_an_hour_and_the_claims_of_that_moment() {
    let (all, _) = Everybody::with_bob().await;
    let mut reads = 0;
    // For a week nobody signs in as bob; his session is over by then.
    for day in 0..14 {
        all.test.clock.advance(Duration::from_hours(12));
        let root = all.test.sign_in("root").await.access;
        let roles = json!([format!("of-day-{day}")]);
        let change = json!({ "roles": roles, "email": format!("day-{day}@example.org") });
        let changed = all.ask(Method::PATCH, "/v1/users/bob", &root, Some(change)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
        let token = all.token(&root).await;
        let said = claims(&token);
        assert_eq!(said["exp"].as_u64().unwrap() - all.test.service.now().0, LIFE);
        assert_eq!((&said["roles"], &said["email"]), (&roles, &json!(format!("day-{day}@example.org"))));
        assert!(all.is_good(&token).await);
        reads += 1;
    }
    // Its readers have until its end and no longer.
    let root = all.test.sign_in("root").await.access;
    let token = all.token(&root).await;
    all.test.clock.advance(Duration::from_secs(LIFE - 1));
    assert!(all.is_good(&token).await);
    all.test.clock.advance(Duration::from_secs(1));
    assert!(!all.is_good(&token).await);
    println!("counted: {reads} reads in a week, each with {LIFE} s to live");
}

#[tokio::test]
async fn its_owner_admins_and_whoever_may_read_the_secret_read_it_and_nobody_else() {
    let all = Everybody::new().await;
    // Before bob's first sign-in there is none, which whoever may read it is told, with what to do.
    for access in [&all.root, &all.reader] {
        let absent = all.read(access).await;
        assert_status(&absent, 404, "NotFound", r#"secrets "access-token" not found: "#);
        assert!(absent.json["message"].as_str().unwrap().contains("sign"), "{}", absent.text);
    }
    let forbidden = all.read(&all.stranger).await;
    assert_status(&forbidden, 403, "Forbidden", &format!("read on {RESOURCE} was not granted to you"));
    let bob = all.test.sign_in("bob").await.access;
    for access in [&all.root, &all.reader, &bob] {
        assert!(all.is_good(&all.token(access).await).await);
    }
    // Of strangers it is nobody's business whether there is one.
    let there = all.read(&all.stranger).await;
    assert_eq!(there.text, forbidden.text);
    assert_status(&all.read("").await, 401, "Unauthorized", "access token is needed");
    assert_status(&all.read("nobody's").await, 401, "Unauthorized", "");

    // By a permission on what is above it, or a higher one; not by a lower one.
    let mut asked = 9;
    for (uri, action, may) in [
        ("secret://default/vms/access-token", Action::List, false),
        ("secret://default/vms/other", Action::Manage, false),
        ("secret://default/reader/access-token", Action::Manage, false),
        ("secret://default/vms", Action::Read, true),
        ("secret://default", Action::Read, true),
        ("secret://default/vms/access-token", Action::Write, true),
        ("secret://default/vms/access-token", Action::Deny, false),
    ] {
        all.test.grant("eve", uri, action).await;
        assert_eq!(all.read(&all.stranger).await.status == StatusCode::OK, may, "{uri} {action:?}");
        if action != Action::Deny {
            all.test.revoke("eve", uri).await;
        }
        asked += 1;
    }
    // A denial binds neither the owner nor an admin.
    all.test.grant("bob", RESOURCE, Action::Deny).await;
    all.test.grant("root", RESOURCE, Action::Deny).await;
    for access in [&bob, &all.root] {
        assert_eq!(all.read(access).await.status, StatusCode::OK);
    }
    // An admin whose token was narrowed is none.
    let form = [("grant_type", "password"), ("username", "root"), ("password", PASSWORD), ("scope", "profile")];
    let narrowed = all.test.form("/oauth2/token", &form).await.tokens().access;
    assert_status(&all.read(&narrowed).await, 403, "Forbidden", "");
    // Where nobody lives there is nothing; where nothing can be, neither.
    let nowhere = "/api/v1/namespaces/nowhere/secrets/access-token";
    assert_status(&all.ask(Method::GET, nowhere, &all.root, None).await, 404, "NotFound", "");
    assert_status(&all.ask(Method::GET, nowhere, &all.stranger, None).await, 403, "Forbidden", "");
    let no_name = "/api/v1/namespaces/A_B/secrets/access-token";
    assert_status(&all.ask(Method::GET, no_name, &all.root, None).await, 422, "Invalid", "metadata.namespace");
    // kubectl asks for the namespace when what it wants is not there. Only if that is there, or not for it to know, does it
    // show what it was told before.
    for (namespace, access) in [("vms", &all.root), ("nowhere", &all.root), ("vms", &all.stranger)] {
        let answer = all.ask(Method::GET, &format!("/api/v1/namespaces/{namespace}"), access, None).await;
        assert_status(&answer, 403, "Forbidden", r#"cannot get resource "namespaces" in API group """#);
    }
    assert_status(&all.ask(Method::GET, "/api/v1/namespaces/vms", "", None).await, 401, "Unauthorized", "");
    println!("counted: {} reads by 8 kinds of readers", asked + 6);
}

#[tokio::test]
async fn a_program_reads_it_with_its_service_accounts_token() {
    let (all, bob) = Everybody::with_bob().await;
    let new = json!({ "name": "feeder", "default_cluster": "default", "default_project": "eve" });
    let made = all.ask(Method::POST, "/api/v1/service_accounts", &all.stranger, Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let full: Value = serde_json::from_str(&decoded(made.json["token"].as_str().unwrap())).unwrap();
    let feeder = full["token"].as_str().unwrap();
    all.test.keep(feeder);
    assert_status(&all.read(feeder).await, 403, "Forbidden", "");
    all.test.grant("eve/service-accounts/feeder", RESOURCE, Action::Read).await;
    let said = claims(&all.token(feeder).await);
    assert_eq!((&said["preferred_username"], &said["scope"]), (&json!("bob"), &json!("profile email roles")));
    all.test.revoke("eve/service-accounts/feeder", RESOURCE).await;
    assert_status(&all.read(feeder).await, 403, "Forbidden", "");

    // One that lives in the namespace has nothing by that.
    let new = json!({ "name": "own", "default_cluster": "default", "default_project": "vms" });
    let made = all.ask(Method::POST, "/api/v1/service_accounts", &bob.access, Some(new)).await;
    let full: Value = serde_json::from_str(&decoded(made.json["token"].as_str().unwrap())).unwrap();
    all.test.keep(full["token"].as_str().unwrap());
    assert_status(&all.read(full["token"].as_str().unwrap()).await, 403, "Forbidden", "");
    println!("counted: 4 reads by 2 service accounts, 1 allowed");
}

#[tokio::test]
async fn an_owner_gets_no_more_of_a_scope_than_she_shows() {
    let (all, bob) = Everybody::with_bob().await;
    for (scope, expected, email, roles) in [
        ("profile", "profile", "", json!([])),
        ("email profile", "profile email", "bob@example.org", json!([])),
        ("roles", "roles", "", json!(["analysts"])),
        ("offline_access roles", "roles", "", json!(["analysts"])),
        ("offline_access", "profile email roles", "bob@example.org", json!(["analysts"])),
    ] {
        let said = claims(&all.token(&all.narrow(scope).await).await);
        let scopes = |text: &str| {
            let mut scopes: Vec<_> = text.split(' ').map(str::to_owned).collect();
            scopes.sort_unstable();
            scopes
        };
        assert_eq!(scopes(said["scope"].as_str().unwrap()), scopes(expected), "{scope}");
        assert_eq!((&said["email"], &said["roles"]), (&json!(email), &roles), "{scope}");
    }
    // Whoever was granted it reads what it is, whatever her own token is good for.
    let form = [("grant_type", "password"), ("username", "reader"), ("password", PASSWORD), ("scope", "profile")];
    let narrowed = all.test.form("/oauth2/token", &form).await.tokens().access;
    assert_eq!(claims(&all.token(&narrowed).await)["scope"], "profile email roles");

    // It is no credential for another one of itself, nor for anybody else's.
    let token = all.token(&bob.access).await;
    assert_status(&all.read(&token).await, 403, "Forbidden", "");
    let narrow = all.token(&all.narrow("profile").await).await;
    assert_status(&all.read(&narrow).await, 403, "Forbidden", "");
    all.test.grant("bob", "secret://default/root/access-token", Action::Read).await;
    let of_root = "/api/v1/namespaces/root/secrets/access-token";
    assert_eq!(all.ask(Method::GET, of_root, &bob.access, None).await.status, StatusCode::OK);
    assert_status(&all.ask(Method::GET, of_root, &token, None).await, 403, "Forbidden", "");
    println!("counted: 6 scopes, 3 reads with a fresh token refused");
}

#[tokio::test]
async fn lists_tables_and_heads_have_no_data_and_sign_nothing() {
    let (all, bob) = Everybody::with_bob().await;
    let accepting = async |path: &str, access: &str, accept: &str| {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {access}"))
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .unwrap();
        all.test.send(request).await
    };
    let table = async |path: &str, access: &str| accepting(path, access, TABLE).await;
    let object = all.read(&bob.access).await.json;
    let list = all.ask(Method::GET, SECRETS, &bob.access, None).await;
    assert_eq!(list.json["items"][0]["metadata"]["name"], "access-token");
    let one = table(PATH, &bob.access).await;
    assert_eq!((&one.json["kind"], one.json["rows"].as_array().unwrap().len()), (&json!("Table"), 1), "{}", one.text);
    assert_eq!(one.json["rows"][0]["cells"], json!(["access-token", "Opaque"]));
    assert_eq!(one.json["rows"][0]["object"]["metadata"]["uid"], object["metadata"]["uid"]);
    let whole = table(&format!("{PATH}?includeObject=Object"), &bob.access).await;
    assert_eq!(whole.json["rows"][0]["object"]["kind"], "Secret");
    let metadata = accepting(PATH, &bob.access, METADATA).await;
    assert_eq!(metadata.json["metadata"]["uid"], object["metadata"]["uid"], "{}", metadata.text);
    let head = all.ask(Method::HEAD, PATH, &bob.access, None).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    for answer in [&list, &one, &whole, &metadata, &table(SECRETS, &bob.access).await] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(!answer.text.contains("\"data\"") && !answer.text.contains("AUTH_TOKEN"), "{}", answer.text);
        // A JWT's header begins so, in base64 and in base64 of that.
        assert!(!answer.text.contains("eyJ") && !answer.text.contains("ZXlK"), "{}", answer.text);
    }
    // Who may not read it sees neither.
    assert_status(&table(PATH, &all.stranger).await, 403, "Forbidden", "");
    assert_eq!(all.ask(Method::HEAD, PATH, &all.stranger, None).await.status, StatusCode::FORBIDDEN);
    assert_eq!(all.ask(Method::HEAD, PATH, "", None).await.status, StatusCode::UNAUTHORIZED);
    // It is there to be read: nothing makes, changes or removes it by this path.
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_status(&all.ask(method, PATH, &bob.access, None).await, 405, "MethodNotAllowed", "");
    }
    println!("counted: 4 lists and tables and 1 head without data, 4 other methods refused");
}

#[tokio::test]
async fn with_the_store_away_it_is_not_read() {
    let (all, bob) = Everybody::with_bob().await;
    all.test.store.set_away(true);
    assert_status(&all.read(&bob.access).await, 503, "ServiceUnavailable", "");
    all.test.store.set_away(false);
    assert_eq!(all.read(&bob.access).await.status, StatusCode::OK);
    println!("counted: 1 read refused while the store was away");
}
