//! Ways to ask real processes over HTTP, as any client would.

use std::{path::Path, time::Duration};

use axum::http::Method;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Answer, Tokens};

/// One client of one process.
#[derive(Clone)]
pub(crate) struct Asking {
    http: reqwest::Client,
    pub(crate) url: String,
}

impl Asking {
    /// A client of the process at this URL, with connections of its own.
    pub(crate) fn at(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        Self { http, url: url.to_owned() }
    }

    /// The same connections and patience, another process.
    pub(crate) fn elsewhere(&self, url: &str) -> Self {
        Self { http: self.http.clone(), url: url.to_owned() }
    }

    /// Posts a form; an error is a connection that broke before the whole answer was there.
    pub(crate) async fn try_form(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Answer> {
        answer(self.http.post(format!("{}{path}", self.url)).form(form).send().await?).await
    }

    /// Posts a form.
    pub(crate) async fn form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.try_form(path, form).await.unwrap()
    }

    /// Asks for a token with a password.
    pub(crate) async fn password(&self, name: &str, password: &str) -> Answer {
        self.form("/oauth2/token", &[("grant_type", "password"), ("username", name), ("password", password)]).await
    }

    /// Signs in as the admin, with the password that the first start left in the data directory.
    pub(crate) async fn admin(&self, data: &Path) -> Tokens {
        let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
        self.password("admin", &password).await.tokens()
    }

    /// Refreshes; an error is a connection that broke before the whole answer was there.
    pub(crate) async fn try_refresh(&self, token: &str) -> reqwest::Result<Answer> {
        self.try_form("/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Refreshes.
    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.try_refresh(token).await.unwrap()
    }

    /// Asks whether a token is good, with an access token as the asker's.
    pub(crate) async fn introspect(&self, bearer: &str, token: &str) -> Answer {
        let request = self.http.post(format!("{}/oauth2/introspect", self.url));
        answer(request.bearer_auth(bearer).form(&[("token", token)]).send().await.unwrap()).await.unwrap()
    }

    /// Asks for one of our own resources; without an access token if it is empty.
    pub(crate) async fn v1(&self, method: Method, path: &str, access: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !access.is_empty() {
            request = request.bearer_auth(access);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await.unwrap()
    }

    /// Gets a resource without a token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.v1(Method::GET, path, "", None).await
    }
}

async fn answer(response: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, text, json })
}

/// What a JWT says, unjudged.
pub(crate) fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

/// A number below `limit` that nobody planned.
pub(crate) fn random(limit: u64) -> u64 {
    use gatemint::entropy::{Entropy, SystemEntropy};
    let entropy: &dyn Entropy = &SystemEntropy;
    u64::from_be_bytes(entropy.bytes()) % limit
}
