//! Whatever is thrown at it: a clear refusal, nothing lost, never a 500 and never a panic.

// Forms of the token endpoints: each refusal of RFC 6749 §5.2 in its place.
mod forms;
// The door for proxies: paths, hosts, headers, cookies and tokens of every wrong kind.
mod gates;
// The doors of service accounts and permissions, each in its own words.
mod doors;
// Who is given what: roles, resources and principals of every wrong shape, and more than anybody needs.
mod permissions;
// Service accounts and their tokens: forged, old, somebody else's, and made again.
mod service_accounts;
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

use crate::support::{Answer, PASSWORD, TestService, Tokens, process::Serve};

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

/// Asks a real process.
struct Asker {
    http: reqwest::Client,
    url: String,
}

/// What it answered.
#[derive(Debug)]
struct Heard {
    status: u16,
    retry_after: Option<String>,
    text: String,
    json: serde_json::Value,
}

impl Asker {
    fn new(serve: &Serve) -> Self {
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_mins(1)).build().unwrap();
        Self { http, url: serve.url.clone() }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Heard {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let text = answer.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Heard { status, retry_after, text, json }
    }

    async fn form(&self, path: &str, form: &[(&str, &str)]) -> Heard {
        self.send(self.http.post(format!("{}{path}", self.url)).form(form)).await
    }

    async fn refresh(&self, token: &str) -> Heard {
        self.form("/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn sign_in(&self, name: &str, password: &str) -> Heard {
        self.form("/oauth2/token", &[("grant_type", "password"), ("username", name), ("password", password)]).await
    }

    async fn get(&self, path: &str, access: &str) -> Heard {
        self.send(self.http.get(format!("{}{path}", self.url)).bearer_auth(access)).await
    }

    async fn post_json(&self, path: &str, access: &str, body: &serde_json::Value) -> Heard {
        self.send(self.http.post(format!("{}{path}", self.url)).bearer_auth(access).json(body)).await
    }

    /// Signs in as the admin of the first start.
    async fn admin(&self, data: &std::path::Path) -> Tokens {
        let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
        self.sign_in("admin", &password).await.tokens()
    }
}

impl Heard {
    fn tokens(&self) -> Tokens {
        assert_eq!(self.status, 200, "{self:?}");
        let token = |name: &str| self.json[name].as_str().unwrap().to_owned();
        Tokens { access: token("access_token"), refresh: token("refresh_token") }
    }

    /// A 503 that says when to come again, and nothing of the cause.
    fn assert_away(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        assert_eq!(self.retry_after.as_deref(), Some("1"), "{self:?}");
        for word in ["gatemint.db", "sqlite", "SQL", "database", "disk", "/tmp"] {
            assert!(!self.text.contains(word), "the cause is for the log: {self:?}");
        }
    }
}
