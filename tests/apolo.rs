//! Apolo's clients: service accounts, permissions and what a sign-in reads, as their paths, fields and texts have them.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::{domain::Policy, http::Options};
use serde_json::{Value, json};

use crate::support::{Answer, ISSUER, TestService};

// What a client reads to sign in.
mod config;
// Who may do what.
mod permissions;
// What is refused of permissions, and why.
mod refused;
// Made, listed, rotated, ended.
mod service_accounts;

const ACCOUNTS: &str = "/api/v1/service_accounts";

/// Everybody, with their access tokens: root, an admin; janedoe, whose namespace it is; bob; eve, a stranger.
struct Everybody {
    test: TestService,
    root: String,
    jane: String,
    bob: String,
    eve: String,
}

impl Everybody {
    async fn new() -> Self {
        Self::with(Policy::new(ISSUER)).await
    }

    async fn with(policy: Policy) -> Self {
        let test = TestService::with(policy, Options::default()).await;
        let test = test.user("root", &["admin"]).await.user("janedoe", &[]).await;
        let test = test.user("bob", &["janedoe/readers"]).await.user("eve", &[]).await;
        let [root, jane, bob, eve] = [
            test.sign_in("root").await.access,
            test.sign_in("janedoe").await.access,
            test.sign_in("bob").await.access,
            test.sign_in("eve").await.access,
        ];
        Self { test, root, jane, bob, eve }
    }

    /// Asks; whatever token comes back must never be stored.
    async fn ask(&self, method: Method, path: &str, access: &str, body: Option<Value>) -> Answer {
        let answer = self.test.v1(method, path, access, body).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.text);
        if let Some(full) = answer.json["token"].as_str() {
            self.test.keep(full);
            self.test.keep(&plain(full));
        }
        answer
    }

    async fn get(&self, path: &str, access: &str) -> Answer {
        self.ask(Method::GET, path, access, None).await
    }

    /// Makes a service account of jane's that must succeed.
    async fn make(&self, name: &str) -> Value {
        let made = self.ask(Method::POST, ACCOUNTS, &self.jane, Some(new(json!({ "name": name })))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json
    }

    /// Makes one, and returns its token.
    async fn token(&self, name: &str) -> String {
        plain(self.make(name).await["token"].as_str().unwrap())
    }

    /// Grants, as jane.
    async fn grant(&self, to: &str, uri: &str, action: &str) -> Answer {
        let body = json!([{ "uri": uri, "action": action }]);
        self.ask(Method::POST, &of(to), &self.jane, Some(body)).await
    }

    async fn revoke(&self, of_whom: &str, uri: &str) -> Answer {
        self.ask(Method::DELETE, &format!("{}?uri={uri}", of(of_whom)), &self.jane, None).await
    }

    /// A request with headers of its own.
    async fn get_with(&self, path: &str, access: &str, name: header::HeaderName, value: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {access}")).header(name, value);
        self.test.send(request.body(Body::empty()).unwrap()).await
    }
}

/// Where the permissions of a principal are.
fn of(principal: &str) -> String {
    format!("/api/v1/users/{}/permissions", principal.replace('/', ":"))
}

/// A body that makes a service account, with more in it.
fn new(more: Value) -> Value {
    let mut body = json!({ "default_cluster": "default", "default_project": "janedoe", "default_org": "default-org" });
    if let Value::Object(more) = more {
        body.as_object_mut().unwrap().extend(more);
    }
    body
}

/// The text inside a full token.
fn inside(full: &str) -> String {
    String::from_utf8(STANDARD.decode(full).unwrap()).unwrap()
}

/// The token inside a full token.
fn plain(full: &str) -> String {
    serde_json::from_str::<Value>(&inside(full)).unwrap()["token"].as_str().unwrap().to_owned()
}

/// Asserts a refusal with a text.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json", "{}", answer.text);
    let error = answer.json["error"].as_str().unwrap_or_default();
    assert!(error.contains(words) && !error.is_empty(), "{words:?}: {}", answer.text);
    assert_eq!(answer.json.as_object().unwrap().len(), 1, "{}", answer.text);
}

/// Asserts a refusal that says what is missing.
#[track_caller]
fn assert_missing(answer: &Answer, missing: &[(&str, &str)]) {
    let missing: Vec<_> = missing.iter().map(|(uri, action)| json!({ "uri": uri, "action": action })).collect();
    assert_eq!(answer.json, json!({ "missing": missing }), "{}", answer.text);
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_dress_of_the_path() {
    let all = Everybody::new().await;
    for path in ["/api/v1/users", "/api/v1/users/ada", "/api/v1/config/x", "/api/v1/service_accounts/x/y/z"] {
        assert_error(&all.test.v1(Method::GET, path, &all.jane, None).await, 404, "nothing at this path");
    }
    for path in ["/api/v1/namespaces", "/api/v1/usersx", "/api/v1/configs"] {
        let answer = all.test.v1(Method::GET, path, &all.jane, None).await;
        assert_eq!((answer.status.as_u16(), &answer.json["kind"]), (404, &json!("Status")), "{path}: {}", answer.text);
    }
    for (method, path) in [
        (Method::PUT, ACCOUNTS),
        (Method::PATCH, "/api/v1/service_accounts/x"),
        (Method::POST, "/api/v1/config"),
        (Method::PATCH, "/api/v1/users/ada/permissions"),
        (Method::GET, "/api/v1/users/ada/permissions/check"),
    ] {
        let answer = all.ask(method, path, &all.jane, None).await;
        assert_error(&answer, 405, "does not answer this method");
        assert!(!answer.header("allow").is_empty(), "{path}");
    }
    println!("counted: 12 paths and methods that are not there");
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_that_stands() {
    let all = Everybody::new().await;
    let paths = [
        (Method::GET, ACCOUNTS.to_owned()),
        (Method::POST, ACCOUNTS.to_owned()),
        (Method::GET, format!("{ACCOUNTS}/x")),
        (Method::DELETE, format!("{ACCOUNTS}/x")),
        (Method::POST, format!("{ACCOUNTS}/x/rotate")),
        (Method::GET, format!("{ACCOUNTS}/x/tokens")),
        (Method::GET, of("janedoe")),
        (Method::POST, of("janedoe")),
        (Method::PUT, of("janedoe")),
        (Method::DELETE, of("janedoe")),
        (Method::POST, of("janedoe") + "/check"),
        (Method::GET, of("janedoe") + "/shared"),
    ];
    let dead = all.token("dead").await;
    all.ask(Method::DELETE, &format!("{ACCOUNTS}/dead"), &all.jane, None).await;
    for (method, path) in &paths {
        for access in ["", "x", "a.b.c", &dead] {
            let answer = all.ask(method.clone(), path, access, None).await;
            assert_error(&answer, 401, "token");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
        }
    }
    println!("counted: {} requests without a token that stands, none answered", paths.len() * 4);
}
