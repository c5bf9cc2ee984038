//! Whatever is thrown at it: a clear refusal, nothing lost, never a 500 and never a panic.

// Forms of the token endpoints: each refusal of RFC 6749 §5.2 in its place.
mod forms;
// Random requests to every route.
mod fuzz;
// Our own resources: names, roles, e-mail addresses and JSON of every wrong shape.
mod resources;
// A store that is locked, read-only, full or corrupt, and a data directory that must not be used, under the real program.
mod state;
// Refresh and access tokens with anything changed.
mod tokens;
// What is below HTTP, and what the log says.
mod wire;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use crate::support::{Answer, TestService, Tokens};

const FORM: &str = "application/x-www-form-urlencoded";

/// Posts a body as it is.
async fn post(test: &TestService, path: &str, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::post(path);
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    test.send(request.body(body.into()).unwrap()).await
}

/// What the error page of this dialect has in common.
fn assert_dressed(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), "application/json", "{what}: {}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    let refusal = answer.json.as_object().unwrap_or_else(|| panic!("{what}: {}", answer.text));
    assert_eq!(refusal.keys().collect::<Vec<_>>(), ["error", "error_description"], "{what}");
    assert!(!answer.json["error_description"].as_str().unwrap().is_empty(), "{what}");
}

/// Nothing was lost: the session goes on, and its access token is good.
async fn still_works(test: &TestService, tokens: &Tokens) -> Tokens {
    let tokens = test.refresh(&tokens.refresh).await.tokens();
    let me = test.v1(axum::http::Method::GET, "/v1/me", &tokens.access, None).await;
    assert_eq!(me.status, StatusCode::OK, "{}", me.text);
    tokens
}
