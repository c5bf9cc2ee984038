//! The token that is always fresh, as it is read by Kubernetes' paths: who may, what it says, what ends it; and the
//! refresh token that is downloaded.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::domain::access::Action;
use serde_json::{Value, json};

use crate::support::{Answer, ISSUER, PASSWORD, TestService, Tokens, asking::claims};

// What it says: the object, the claims, and with which scope.
mod reading;
// What ends it, and when it begins again.
mod ending;
// Judged, revoked and exchanged as any access token is, or not.
mod elsewhere;
// What it, and a token without the roles, are not good for.
mod limits;
// A refresh token as a file, for a name and a password.
mod download;

/// Where the secrets of bob's namespace are.
const SECRETS: &str = "/api/v1/namespaces/vms/secrets";
/// Where his token is read.
const PATH: &str = "/api/v1/namespaces/vms/secrets/access-token";
/// What a permission to read it is about.
const RESOURCE: &str = "secret://default/vms/access-token";
/// How long it lives, in seconds.
const LIFE: u64 = 1800;

/// What a client accepts that keeps metadata alone.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// What `kubectl get` accepts.
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// Everybody, with their access tokens: root, an admin; bob, whose namespace `vms` is; reader, who may read the secret;
/// eve, a stranger. Bob has not signed in yet.
struct Everybody {
    test: TestService,
    root: String,
    reader: String,
    stranger: String,
}

impl Everybody {
    async fn new() -> Self {
        let test = TestService::new().await.user("root", &["admin"]).await;
        let test = test.user("reader", &[]).await.user("eve", &[]).await;
        let root = test.sign_in("root").await.access;
        let bob = json!({
            "name": "bob", "password": PASSWORD, "namespace": "vms", "email": "bob@example.org", "roles": ["analysts"]
        });
        assert_eq!(test.v1(Method::POST, "/v1/users", &root, Some(bob)).await.status, StatusCode::CREATED);
        test.grant("reader", RESOURCE, Action::Read).await;
        let [reader, stranger] = [test.sign_in("reader").await.access, test.sign_in("eve").await.access];
        Self { test, root, reader, stranger }
    }

    /// The same after bob has signed in; his tokens.
    async fn with_bob() -> (Self, Tokens) {
        let all = Self::new().await;
        let bob = all.test.sign_in("bob").await;
        (all, bob)
    }

    /// Asks, and remembers the token of the answer, which must never be stored.
    async fn ask(&self, method: Method, path: &str, access: &str, body: Option<Value>) -> Answer {
        let answer = self.test.v1(method, path, access, body).await;
        if let Some(data) = answer.json["data"]["AUTH_TOKEN"].as_str() {
            self.test.keep(data);
            self.test.keep(&decoded(data));
        }
        answer
    }

    async fn read(&self, access: &str) -> Answer {
        self.ask(Method::GET, PATH, access, None).await
    }

    /// The token itself.
    async fn token(&self, access: &str) -> String {
        let answer = self.read(access).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        decoded(answer.json["data"]["AUTH_TOKEN"].as_str().unwrap())
    }

    /// Changes bob's account as the admin does.
    async fn change(&self, change: Value) {
        let changed = self.ask(Method::PATCH, "/v1/users/bob", &self.root, Some(change)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    }

    /// Whether a token is good for `/v1/me`.
    async fn is_good(&self, token: &str) -> bool {
        let answer = self.ask(Method::GET, "/v1/me", token, None).await;
        assert!([200, 401].contains(&answer.status.as_u16()), "{}", answer.text);
        answer.status == StatusCode::OK
    }

    /// An access token of bob's that is good for this alone.
    async fn narrow(&self, scope: &str) -> String {
        let form = [("grant_type", "password"), ("username", "bob"), ("password", PASSWORD), ("scope", scope)];
        self.test.form("/oauth2/token", &form).await.tokens().access
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

/// Asserts that it is a `Status` that refuses, with this code and reason, and these words in its message.
#[track_caller]
fn assert_status(answer: &Answer, code: u16, reason: &str, words: &str) {
    assert_eq!(answer.status.as_u16(), code, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json", "{}", answer.text);
    for (name, value) in [("kind", "Status"), ("apiVersion", "v1"), ("status", "Failure"), ("reason", reason)] {
        assert_eq!(answer.json[name], value, "{name}: {}", answer.text);
    }
    assert_eq!(answer.json["code"], code);
    assert!(answer.json["message"].as_str().unwrap().contains(words), "{}", answer.text);
    assert!(answer.json.get("data").is_none());
}
