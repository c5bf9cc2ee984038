//! Permissions: given, taken away, listed, asked about, with the organisation that Apolo's clients write.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Everybody, assert_error, assert_missing, of};

const JOB: &str = "job://default/default-org/janedoe/mytestjob";
const ACCOUNT: &str = "janedoe/service-accounts/test";

fn one(uri: &str, action: &str) -> Value {
    json!([{ "uri": uri, "action": action }])
}

/// The same as it is written.
fn written(uri: &str, action: &str) -> String {
    format!(r#"[{{"uri":"{uri}","action":"{action}"}}]"#)
}

async fn checked(all: &Everybody, whose: &str, uri: &str, action: &str) -> u16 {
    let path = of(whose) + "/check";
    let answer = all.ask(Method::POST, &path, &all.root, Some(one(uri, action))).await;
    let missing = if answer.status == StatusCode::OK { json!([]) } else { one(uri, action) };
    assert_eq!(answer.json, json!({ "missing": missing }), "{}", answer.text);
    answer.status.as_u16()
}

#[tokio::test]
async fn a_permission_is_granted_seen_and_taken_away() {
    let all = Everybody::new().await;
    let token = all.token("test").await;
    assert_eq!(checked(&all, ACCOUNT, JOB, "read").await, 403);
    let granted = all.grant(ACCOUNT, JOB, "read").await;
    assert_eq!((granted.status.as_u16(), granted.text.as_str()), (201, written(JOB, "read").as_str()));
    assert_eq!(checked(&all, ACCOUNT, JOB, "read").await, 200);
    assert_eq!(checked(&all, ACCOUNT, &format!("{JOB}/logs"), "list").await, 200);
    assert_eq!(checked(&all, ACCOUNT, JOB, "write").await, 403);
    assert_eq!(checked(&all, ACCOUNT, &format!("{JOB}2"), "read").await, 403);

    // By whom it is about, by whose it is, and by an admin.
    let held = all.get(&of(ACCOUNT), &token).await;
    assert_eq!((held.status.as_u16(), held.text), (200, written(JOB, "read")));
    let shared = all.get(&(of("janedoe") + "/shared"), &all.jane).await;
    let expected = json!([{ "user": ACCOUNT, "uri": JOB, "action": "read" }]);
    assert_eq!((shared.status.as_u16(), shared.json), (200, expected));
    assert!(shared.text.starts_with(r#"[{"user":"#), "{}", shared.text);
    assert_eq!(all.get(&of(ACCOUNT), &all.root).await.json, one(JOB, "read"));

    let revoked = all.revoke(ACCOUNT, JOB).await;
    assert_eq!((revoked.status.as_u16(), revoked.text.as_str()), (204, ""));
    assert_eq!(checked(&all, ACCOUNT, JOB, "read").await, 403);
    assert_eq!(all.get(&of(ACCOUNT), &token).await.text, "[]");
    assert_eq!(all.get(&(of("janedoe") + "/shared"), &all.jane).await.text, "[]");
    let again = all.revoke(ACCOUNT, JOB).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (400, r#"{"error":"Operation has no effect"}"#));
    println!("counted: 1 grant, 1 revocation, 7 questions");
}

#[tokio::test]
async fn a_grant_answers_what_holds() {
    let all = Everybody::new().await;
    for (asked, holds) in [
        ("write", "write"),
        ("read", "write"),
        ("manage", "manage"),
        ("list", "manage"),
        ("deny", "deny"),
        ("list", "list"),
    ] {
        let granted = all.grant("bob", JOB, asked).await;
        assert_eq!((granted.status.as_u16(), granted.json), (201, one(JOB, holds)), "{asked}");
    }
    let two = json!([{ "uri": "job://default/janedoe/b", "action": "read" }, { "uri": JOB, "action": "read" }]);
    let granted = all.ask(Method::POST, &of("bob"), &all.jane, Some(two.clone())).await;
    assert_eq!(granted.json, two, "in the order asked, and as it was written");
    let path = format!("{}?uri={JOB}&uri=job://default/janedoe/b", of("bob"));
    assert_eq!(all.ask(Method::DELETE, &path, &all.jane, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(all.get(&of("bob"), &all.bob).await.text, "[]");
    println!("counted: 8 grants, 2 revoked at once");
}

#[tokio::test]
async fn the_organisation_is_there_or_not_and_no_other_is() {
    let all = Everybody::new().await;
    let short = "job://default/janedoe/mytestjob";
    assert_eq!(all.grant("bob", short, "read").await.json, one(short, "read"));
    assert_eq!(all.get(&of("bob"), &all.bob).await.json, one(JOB, "read"), "it is put in");
    for uri in [short, JOB] {
        assert_eq!(checked(&all, "bob", uri, "read").await, 200);
        let filtered = all.get(&format!("{}?uri={uri}", of("bob")), &all.bob).await;
        assert_eq!(filtered.json, one(JOB, "read"), "{uri}");
    }
    assert_eq!(all.revoke("bob", JOB).await.status, StatusCode::NO_CONTENT);
    let other = "job://default/other-org/janedoe/mytestjob";
    let check = of("bob") + "/check";
    for answer in [
        all.grant("bob", other, "read").await,
        all.revoke("bob", other).await,
        all.ask(Method::POST, &of("bob"), &all.root, Some(one(other, "read"))).await,
        all.ask(Method::PUT, &of("bob"), &all.root, Some(one(other, "read"))).await,
        all.ask(Method::POST, &check, &all.root, Some(one(other, "read"))).await,
        all.get(&format!("{}?uri={other}", of("bob")), &all.root).await,
        all.get(&format!("{}/shared?uri={other}", of("bob")), &all.root).await,
    ] {
        assert_error(&answer, 400, "uri: is of another organisation");
    }
    // What is this service's own has none.
    let gate = "gatetoken://default/vms";
    let granted = all.ask(Method::POST, &of("bob"), &all.root, Some(one(gate, "write"))).await;
    assert_eq!((granted.status.as_u16(), &granted.json), (201, &one(gate, "write")));
    assert_eq!(all.get(&of("bob"), &all.bob).await.json, one(gate, "write"));
    println!("counted: 3 spellings of one resource, 7 of another organisation refused");
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let all = Everybody::new().await;
    let mut refused = 0;
    for (method, body) in [(Method::POST, Some(one(JOB, "read"))), (Method::POST, Some(one(JOB, "deny")))] {
        for access in [&all.eve, &all.bob] {
            let answer = all.ask(method.clone(), &of("eve"), access, body.clone()).await;
            assert_missing(&answer, &[(JOB, "manage")]);
            refused += 1;
        }
    }
    let path = format!("{}?uri={JOB}", of("eve"));
    assert_missing(&all.ask(Method::DELETE, &path, &all.eve, None).await, &[(JOB, "manage")]);
    // Another's list, another's shares, another's check.
    let check = of("bob") + "/check";
    assert_missing(&all.ask(Method::POST, &check, &all.eve, Some(one(JOB, "read"))).await, &[(JOB, "manage")]);
    assert_missing(&all.get(&format!("{}?uri={JOB}", of("bob")), &all.eve).await, &[(JOB, "manage")]);
    assert_missing(&all.get(&format!("{}/shared?uri={JOB}", of("janedoe")), &all.eve).await, &[(JOB, "manage")]);
    assert_error(&all.get(&of("bob"), &all.eve).await, 403, "");
    assert_error(&all.get(&(of("janedoe") + "/shared"), &all.eve).await, 403, "");
    assert_error(&all.ask(Method::PUT, &of("janedoe"), &all.jane, Some(json!([]))).await, 403, "admins");
    // Whoever manages a resource sees who else has it, and grants it.
    all.grant("eve", JOB, "manage").await;
    all.grant("bob", JOB, "read").await;
    assert_eq!(all.get(&format!("{}?uri={JOB}", of("bob")), &all.eve).await.json, one(JOB, "read"));
    let granted = all.ask(Method::POST, &of("root"), &all.eve, Some(one(JOB, "write"))).await;
    assert_eq!(granted.status, StatusCode::CREATED, "{}", granted.text);
    println!("counted: {} refusals", refused + 7);
}

#[tokio::test]
async fn a_list_is_of_a_resource_or_a_scheme_or_all() {
    let all = Everybody::new().await;
    let storage = "storage://default/default-org/janedoe/data";
    for (to, uri) in [("bob", JOB), ("bob", storage), ("janedoe/readers", JOB)] {
        assert_eq!(all.grant(to, uri, "read").await.status, StatusCode::CREATED);
    }
    let uris = async |query: &str| {
        let listed = all.get(&format!("{}?{query}", of("bob")), &all.bob).await;
        assert_eq!(listed.status, StatusCode::OK, "{query}: {}", listed.text);
        listed.json.as_array().unwrap().iter().map(|one| one["uri"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(uris("").await, [JOB, JOB, storage], "bob's own, and his role's");
    assert_eq!(uris("expand_roles=false").await, [JOB, storage]);
    for scheme in ["job:", "job://", "job%3A"] {
        assert_eq!(uris(&format!("uri={scheme}&expand_roles=0")).await, [JOB], "{scheme}");
    }
    for above in
        ["storage://default", "storage://default/default-org", "storage://default/default-org/janedoe", storage]
    {
        assert_eq!(uris(&format!("uri={above}")).await, [storage], "{above}");
    }
    for beside in ["disk:", "storage://default/default-org/janedoe/dat", "storage://default/default-org/bob"] {
        assert_eq!(uris(&format!("uri={beside}")).await, [""; 0], "{beside}");
    }
    let shared = all.get(&format!("{}/shared?uri=storage:", of("janedoe")), &all.jane).await;
    assert_eq!(shared.json, json!([{ "user": "bob", "uri": storage, "action": "read" }]));
    println!("counted: 12 lists");
}

#[tokio::test]
async fn an_admin_replaces_everything_at_once() {
    let all = Everybody::new().await;
    let put = async |body: Value| all.ask(Method::PUT, &of("bob"), &all.root, Some(body)).await;
    all.grant("bob", JOB, "manage").await;
    all.grant("bob", "job://default/default-org/janedoe/other", "read").await;
    let replaced =
        put(json!([{ "uri": JOB, "action": "read" }, { "uri": "disk://default/janedoe", "action": "deny" }])).await;
    assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    let disk = json!({ "uri": "disk://default/default-org/janedoe", "action": "deny" });
    assert_eq!(all.get(&of("bob"), &all.bob).await.json, json!([disk, { "uri": JOB, "action": "read" }]));
    assert_eq!(put(json!([])).await.status, StatusCode::NO_CONTENT);
    assert_eq!(all.get(&of("bob"), &all.bob).await.text, "[]");
    println!("counted: 2 replacements");
}

#[tokio::test]
async fn an_account_that_is_made_again_has_nothing_of_its_predecessor() {
    let all = Everybody::new().await;
    let before = all.token("test").await;
    all.grant(ACCOUNT, JOB, "read").await;
    all.ask(Method::DELETE, "/api/v1/service_accounts/test", &all.jane, None).await;
    assert_error(&all.grant(ACCOUNT, JOB, "read").await, 404, "there is no service account");
    let after = all.token("test").await;
    assert_error(&all.get(&of(ACCOUNT), &before).await, 401, "token");
    assert_eq!(all.get(&of(ACCOUNT), &after).await.text, "[]");
    assert_eq!(checked(&all, ACCOUNT, JOB, "read").await, 403);
    println!("counted: 1 account made again, without its permission and its token");
}
