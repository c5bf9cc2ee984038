//! Service accounts: fields and their order, texts, the full token, rotation, and who sees what.

use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use gatemint::domain::Policy;
use serde_json::{Value, json};

use super::{ACCOUNTS, Everybody, assert_error, assert_missing, inside, new, of, plain};
use crate::support::{ISSUER, asking::claims};

fn at(account: &str) -> String {
    format!("{ACCOUNTS}/{account}")
}

#[tokio::test]
async fn a_new_one_is_shown_with_its_full_token_and_then_without() {
    let all = Everybody::new().await;
    let made = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(new(json!({ "name": "test" })))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let (id, full) = (made.json["id"].as_str().unwrap(), made.json["token"].as_str().unwrap());
    let known = |token: &str| {
        format!(
            r#"{{"id":"{id}","name":"test","role":"janedoe/service-accounts/test","owner":"janedoe","default_cluster":"default","default_project":"janedoe","default_org":"default-org","created_at":"2027-01-15T08:00:00Z","role_deleted":false,{token}"expires_at":null}}"#
        )
    };
    assert_eq!(made.text, known(&format!(r#""token":"{full}","#)));
    let uuid = id.strip_prefix("service-account-").unwrap();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{id}");

    let token = plain(full);
    assert_eq!(
        inside(full),
        format!(
            r#"{{"token": "{token}", "cluster": "default", "url": "{ISSUER}/api/v1", "project_name": "janedoe", "org_name": "default-org"}}"#
        )
    );
    let said = claims(&token);
    for (claim, value) in [
        ("identity", "janedoe/service-accounts/test"),
        ("https://platform.neuromation.io/user", "janedoe/service-accounts/test"),
        ("sub", "system:serviceaccount:janedoe:test"),
    ] {
        assert_eq!(said[claim], value, "{said}");
    }
    assert_eq!(said.get("exp"), None);

    for path in [at("test"), at(id)] {
        let read = all.get(&path, &all.jane).await;
        assert_eq!((read.status.as_u16(), read.text), (200, known("")), "{path}");
    }
    println!("counted: 1 service account, 2 readings without its token");
}

#[tokio::test]
async fn what_is_not_said_is_made_up_or_left_out() {
    let all = Everybody::new().await;
    for body in [
        json!({ "default_cluster": "default", "default_project": "janedoe" }),
        json!({ "name": null, "default_cluster": "default", "default_project": "janedoe", "default_org": null }),
    ] {
        let made = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(body)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let name = made.json["name"].as_str().unwrap();
        assert!(name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        assert_eq!(made.json["role"], format!("janedoe/service-accounts/{name}"));
        assert_eq!(made.json["default_org"], Value::Null);
        assert!(!inside(made.json["token"].as_str().unwrap()).contains("org_name"));
    }
    let more = json!({ "name": "ci", "expires_at": "2027-01-15T10:00:00+01:00", "labels": { "team": "a" } });
    let made = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(new(more))).await;
    assert_eq!(made.json["expires_at"], "2027-01-15T09:00:00Z", "{}", made.text);
    assert_eq!(made.json["labels"], json!({ "team": "a" }));
    let token = plain(made.json["token"].as_str().unwrap());
    assert_eq!(claims(&token)["exp"], 1_800_003_600);
    assert_eq!(all.get(&of("janedoe/service-accounts/ci"), &token).await.status, StatusCode::OK);
    all.test.clock.advance(Duration::from_hours(1));
    assert_error(&all.get(&of("janedoe/service-accounts/ci"), &token).await, 401, "token");
    println!("counted: 3 service accounts, 1 whose token ended by itself");
}

#[tokio::test]
async fn they_are_listed_at_once_or_line_by_line() {
    let all = Everybody::new().await;
    assert_eq!(all.get(ACCOUNTS, &all.jane).await.text, "[]");
    for n in 0..120 {
        all.make(&format!("n{n:03}")).await;
    }
    let listed = all.get(ACCOUNTS, &all.jane).await;
    let list = listed.json.as_array().unwrap();
    let names: Vec<_> = list.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.len() == 120 && names.is_sorted(), "{names:?}");
    assert!(list.iter().all(|one| one.get("token").is_none()));
    let lines = all.get_with(ACCOUNTS, &all.jane, header::ACCEPT, "application/x-ndjson").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let read: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&read, list);
    assert!(lines.text.ends_with("}\n"));
    assert_eq!(all.get(ACCOUNTS, &all.eve).await.text, "[]", "hers, not jane's");
    println!("counted: 120 service accounts listed twice");
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let all = Everybody::new().await;
    let first = all.make("test").await;
    let again = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(new(json!({ "name": "test" })))).await;
    assert_eq!(
        (again.status.as_u16(), again.text.as_str()),
        (409, r#"{"code":"unique","description":"Service Account with such name exists"}"#)
    );
    let deleted = all.ask(Method::DELETE, &at("test"), &all.jane, None).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    let anew = all.make("test").await;
    assert_ne!(first["id"], anew["id"]);
    println!("counted: 1 name refused, then given again");
}

#[tokio::test]
async fn one_that_is_not_there_and_anothers_are_told_alike() {
    let all = Everybody::new().await;
    let made = all.make("test").await;
    let id = made["id"].as_str().unwrap();
    let mut asked = 0;
    for name in
        ["test", "nothing", id, "service-account-x", "service-account-00000000-0000-4000-8000-000000000000", "A B"]
    {
        let path = name.replace(' ', "%20");
        for (method, path) in [
            (Method::GET, at(&path)),
            (Method::DELETE, at(&path)),
            (Method::POST, at(&path) + "/rotate"),
            (Method::GET, at(&path) + "/tokens"),
        ] {
            let answer = all.ask(method, &path, &all.eve, None).await;
            let text = format!("Service account {name} not found");
            assert_eq!((answer.status.as_u16(), answer.text), (404, text), "{path}");
            assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
            asked += 1;
        }
    }
    let long = all.get(&at(&"x".repeat(300)), &all.eve).await;
    assert_eq!((long.status.as_u16(), long.text.as_str()), (404, "Service account of that name not found"));
    let control = all.get(&at("a%0ab"), &all.eve).await;
    assert_eq!((control.status.as_u16(), control.text.as_str()), (404, "Service account of that name not found"));
    assert_error(&all.get(&at("%ff"), &all.eve).await, 400, "not UTF-8");
    assert_eq!(all.get(&at("test"), &all.jane).await.status, StatusCode::OK, "it is still there");
    println!("counted: {} answers that tell nothing", asked + 2);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_and_named() {
    let all = Everybody::new().await;
    let long = "x".repeat(64);
    let without = |field: &str| {
        let mut body = new(json!({ "name": "test" }));
        body.as_object_mut().unwrap().remove(field);
        body
    };
    let bodies = [
        (new(json!({ "name": "Test" })), "name: Invalid service account name"),
        (new(json!({ "name": "-a" })), "name: Invalid service account name"),
        (new(json!({ "name": "a/b" })), "name: Invalid service account name"),
        (new(json!({ "name": "a:b" })), "name: Invalid service account name"),
        (new(json!({ "name": "" })), "name: Invalid service account name"),
        (new(json!({ "name": long })), "name: Invalid service account name"),
        (new(json!({ "name": 7 })), "name: must be a string"),
        (new(json!({ "role": "janedoe" })), "a field that is none of"),
        (new(json!({ "expiresAt": "2028-01-01T00:00:00Z" })), "a field that is none of"),
        (new(json!({ "expires_at": "tomorrow" })), "expires_at: must be a time"),
        (new(json!({ "expires_at": 1_900_000_000 })), "expires_at: must be a string"),
        (new(json!({ "expires_at": "2027-01-15T08:00:00Z" })), "expires_at: "),
        (new(json!({ "labels": { "a": 1 } })), "labels: must be an object"),
        (new(json!({ "labels": { "a b": "c" } })), "labels: "),
        (new(json!({ "default_cluster": "other" })), "default_cluster: must be default"),
        (new(json!({ "default_cluster": 1 })), "default_cluster: must be a string"),
        (new(json!({ "default_org": "other" })), "default_org: must be default-org"),
        (new(json!({ "default_project": "a/b" })), "default_project: "),
        (without("default_cluster"), "default_cluster: is missing"),
        (without("default_project"), "default_project: is missing"),
        (json!([]), "must be a JSON object"),
        (json!(null), "must be a JSON object"),
    ];
    for (body, words) in &bodies {
        let answer = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(body.clone())).await;
        assert_error(&answer, 400, words);
    }
    assert_error(&all.ask(Method::POST, ACCOUNTS, &all.jane, None).await, 400, "must be a JSON object");
    all.make("test").await;
    let rotations = [
        (json!({ "overlap": -1 }), "overlap: must be a number"),
        (json!({ "overlap": "1h" }), "overlap: must be a number"),
        (json!({ "overlap": 32 * 86400 }), "overlap: "),
        (json!({ "overlap": u64::MAX }), "overlap: "),
        (json!({ "overlaps": 1 }), "a field that is none of"),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at: "),
        (json!([1]), "must be a JSON object"),
    ];
    for (body, words) in &rotations {
        let answer = all.ask(Method::POST, &(at("test") + "/rotate"), &all.jane, Some(body.clone())).await;
        assert_error(&answer, 400, words);
    }
    assert_eq!(all.get(ACCOUNTS, &all.jane).await.json.as_array().unwrap().len(), 1);
    println!("counted: {} bodies refused", bodies.len() + rotations.len() + 1);
}

#[tokio::test]
async fn a_rotation_leaves_the_older_token_its_overlap() {
    let all = Everybody::new().await;
    let me = of("janedoe/service-accounts/test");
    let works = async |token: &str| all.get(&me, token).await.status == StatusCode::OK;
    let rotate = async |body: Option<Value>| {
        let jane = all.test.sign_in("janedoe").await.access;
        let rotated = all.ask(Method::POST, &(at("test") + "/rotate"), &jane, body).await;
        assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text);
        plain(rotated.json["token"].as_str().unwrap())
    };
    let first = all.token("test").await;
    let second = rotate(None).await;
    assert!(works(&first).await && works(&second).await);
    all.test.clock.advance(Duration::from_secs(86_399));
    assert!(works(&first).await);
    all.test.clock.advance(Duration::from_secs(1));
    assert!(!works(&first).await && works(&second).await);
    let third = rotate(Some(json!({ "overlap": 60, "expires_at": "2027-02-01T00:00:00Z" }))).await;
    assert!(works(&second).await && works(&third).await);
    let jane = all.test.sign_in("janedoe").await.access;
    assert_eq!(all.get(&at("test"), &jane).await.json["expires_at"], "2027-02-01T00:00:00Z");
    let fourth = rotate(Some(json!({ "overlap": 0 }))).await;
    assert!(!works(&second).await && !works(&third).await && works(&fourth).await);
    all.ask(Method::DELETE, &at("test"), &jane, None).await;
    assert!(!works(&fourth).await);
    println!("counted: 3 rotations, 4 tokens that ended when they should");
}

#[tokio::test]
async fn tokens_are_listed_and_ended_one_by_one() {
    let all = Everybody::new().await;
    let me = of("janedoe/service-accounts/test");
    let first = all.token("test").await;
    let rotated = all.ask(Method::POST, &(at("test") + "/rotate"), &all.jane, Some(json!({ "overlap": 3600 }))).await;
    let second = plain(rotated.json["token"].as_str().unwrap());
    assert_eq!(all.get(&me, &second).await.status, StatusCode::OK);

    let listed = all.get(&(at("test") + "/tokens"), &all.jane).await;
    let list = listed.json.as_array().unwrap();
    let fields: Vec<_> = list[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["id", "kind", "issued_at", "expires_at", "last_used_at", "issued_by", "audiences"];
    assert!(fields.len() == expected.len() && expected.iter().all(|field| fields.contains(field)), "{fields:?}");
    let shown: Vec<_> = list
        .iter()
        .map(|one| ["kind", "issued_by", "expires_at", "last_used_at"].map(|field| one[field].clone()))
        .collect();
    assert_eq!(
        shown,
        [
            [json!("long-lived"), json!("creation"), json!("2027-01-15T09:00:00Z"), Value::Null],
            [json!("long-lived"), json!("rotation"), Value::Null, json!("2027-01-15T08:00:00Z")],
        ]
    );
    let text = listed.text;
    assert!(![&first, &second].into_iter().any(|token| text.contains(token.rsplit('.').next().unwrap())));

    let id = list[1]["id"].as_str().unwrap();
    let others = all.test.v1(Method::DELETE, &format!("/v1/tokens/{id}"), &all.eve, None).await;
    assert_eq!(others.status, StatusCode::NOT_FOUND, "{}", others.text);
    let ended = all.test.v1(Method::DELETE, &format!("/v1/tokens/{id}"), &all.jane, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text);
    assert_error(&all.get(&me, &second).await, 401, "token");
    assert_eq!(all.get(&me, &first).await.status, StatusCode::OK, "the other stands");
    assert_eq!(all.get(&(at("test") + "/tokens"), &all.jane).await.json.as_array().unwrap().len(), 1);
    println!("counted: 2 tokens listed, 1 ended");
}

#[tokio::test]
async fn a_service_account_may_nothing_at_birth_and_manages_others_once_that_is_granted() {
    let all = Everybody::new().await;
    let token = all.token("test").await;
    assert_missing(&all.get(ACCOUNTS, &token).await, &[("serviceaccount://default/janedoe", "list")]);
    let make = async |name: &str| all.ask(Method::POST, ACCOUNTS, &token, Some(new(json!({ "name": name })))).await;
    assert_missing(&make("other").await, &[("serviceaccount://default/janedoe", "manage")]);
    assert_eq!(all.get(&at("test"), &token).await.status, StatusCode::NOT_FOUND);
    let granted = all.grant("janedoe/service-accounts/test", "serviceaccount://default/janedoe", "manage").await;
    assert_eq!(granted.status, StatusCode::CREATED, "{}", granted.text);
    assert_eq!(make("other").await.status, StatusCode::CREATED);
    assert_eq!(all.get(ACCOUNTS, &token).await.json.as_array().unwrap().len(), 2);
    assert_eq!(all.ask(Method::DELETE, &at("other"), &token, None).await.status, StatusCode::NO_CONTENT);
    println!("counted: 3 refusals at birth, 3 answers after a grant");
}

#[tokio::test]
async fn an_organisation_and_a_cluster_may_have_other_names() {
    let policy = Policy {
        organisation: "acme".into(),
        cluster: gatemint::domain::ids::Name::parse("eu.prod", "cluster").unwrap(),
        ..Policy::new(ISSUER)
    };
    let all = Everybody::with(policy).await;
    let body =
        json!({ "name": "test", "default_cluster": "eu.prod", "default_project": "janedoe", "default_org": "acme" });
    let made = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(inside(made.json["token"].as_str().unwrap()).ends_with(
        r#""cluster": "eu.prod", "url": "http://gatemint.test/api/v1", "project_name": "janedoe", "org_name": "acme"}"#
    ));
    let usual = all.ask(Method::POST, ACCOUNTS, &all.jane, Some(new(json!({ "name": "other" })))).await;
    assert_error(&usual, 400, "default_cluster: must be eu.prod");
    let granted = all.grant("janedoe/service-accounts/test", "job://eu.prod/acme/janedoe/x", "read").await;
    assert_eq!(granted.json, json!([{ "uri": "job://eu.prod/acme/janedoe/x", "action": "read" }]), "{}", granted.text);
    assert_error(&all.grant("bob", "job://eu.prod/default-org/janedoe/x", "read").await, 400, "another organisation");
    println!("counted: 1 service account elsewhere, 2 refusals of what is usual");
}
