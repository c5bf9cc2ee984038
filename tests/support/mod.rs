//! What the tests share: a service in memory with a clock that the test moves, and ways to ask it.

pub(crate) mod asking;
#[cfg(feature = "aws")]
pub(crate) mod emulator;
#[cfg(feature = "aws")]
pub(crate) mod fault_proxy;
pub(crate) mod many;
pub(crate) mod process;
pub(crate) mod runtime_api;
pub(crate) mod watched;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use gatemint::{
    clock::{Clock, Timestamp},
    domain::{
        Policy, Secret, Service,
        access::{Action, Principal, Resource, Subject, permission},
        account::manage::{self as accounts, NewAccount},
        birth,
        client::manage::{self as clients, NewClient},
    },
    entropy::SystemEntropy,
    http::{Function, Options, PeerAddress, router},
    vault::{MemoryVault, Vault},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use watched::WatchedStore;

/// A password that is long enough.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The issuer of every test service.
pub(crate) const ISSUER: &str = "http://gatemint.test";

/// A clock that stands still until the test moves it.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn at(seconds: u64) -> Self {
        Self(AtomicU64::new(seconds))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Sets it forward or back by so many seconds, as somebody does who corrects it.
    pub(crate) fn jump(&self, seconds: i64) {
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| now.checked_add_signed(seconds));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A service in memory. Dropping it asserts that nothing secret and no token was ever stored, that no generation of a session was
/// made twice, and that one key signs at most.
pub(crate) struct TestService {
    pub(crate) service: Arc<Service>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<WatchedStore>,
    vault: Arc<dyn Vault>,
    router: Router,
    /// Everything secret that went in or out.
    secrets: Mutex<Vec<String>>,
}

impl TestService {
    /// With the usual policy.
    pub(crate) async fn new() -> Self {
        Self::with(Policy::new(ISSUER), Options::default()).await
    }

    /// With a policy and options.
    pub(crate) async fn with(policy: Policy, options: Options) -> Self {
        Self::on(WatchedStore::default(), policy, options).await
    }

    /// On a store of the test's own.
    pub(crate) async fn on(store: WatchedStore, policy: Policy, options: Options) -> Self {
        let service = Self::unfilled(store, Arc::new(MemoryVault::new()), policy, &options);
        birth::make_keys(&service.service).await.unwrap();
        service
    }

    /// On a store and a vault as they are: no keys are made there.
    pub(crate) fn unfilled(store: WatchedStore, vault: Arc<dyn Vault>, policy: Policy, options: &Options) -> Self {
        let clock = Arc::new(ManualClock::at(1_800_000_000));
        let store = Arc::new(store);
        let service = Self::start(&store, &vault, &clock, policy);
        let router = router(service.clone(), Function::Http, options);
        Self { service, clock, store, vault, router, secrets: Mutex::default() }
    }

    fn start(
        store: &Arc<WatchedStore>,
        vault: &Arc<dyn Vault>,
        clock: &Arc<ManualClock>,
        policy: Policy,
    ) -> Arc<Service> {
        Arc::new(Service::new(store.clone(), vault.clone(), clock.clone(), Arc::new(SystemEntropy), policy, 2))
    }

    /// Another process on the same state: nothing is in its memory.
    pub(crate) fn restart(&mut self) {
        self.service = Self::start(&self.store, &self.vault, &self.clock, self.service.policy.clone());
        self.router = router(self.service.clone(), Function::Http, &Options::default());
    }

    /// Another process beside this one, with a memory and perhaps a policy of its own.
    pub(crate) fn beside(&self, policy: Policy) -> Arc<Service> {
        Self::start(&self.store, &self.vault, &self.clock, policy)
    }

    /// Another process on the same state, whose clock is its own.
    #[cfg(feature = "aws")]
    pub(crate) fn elsewhere(&self, clock: ManualClock) -> Self {
        let clock = Arc::new(clock);
        let service = Self::start(&self.store, &self.vault, &clock, self.service.policy.clone());
        let router = router(service.clone(), Function::Http, &Options::default());
        let (store, vault) = (self.store.clone(), self.vault.clone());
        Self { service, clock, store, vault, router, secrets: Mutex::default() }
    }

    /// Grants a permission as the operator, and tells what holds then. `principal` is a user, a service account or a role.
    pub(crate) async fn grant(&self, principal: &str, uri: &str, action: Action) -> Action {
        let (to, resource) = (Principal::parse(principal, "user").unwrap(), Resource::parse(uri, "uri").unwrap());
        let asked = [(resource, action)];
        let has = permission::grant(&self.service, self.service.now(), &Subject::operator(), &to, &asked).await;
        has.unwrap().remove(0).action
    }

    /// Takes a permission away as the operator.
    pub(crate) async fn revoke(&self, principal: &str, uri: &str) {
        let (of, resource) = (Principal::parse(principal, "user").unwrap(), Resource::parse(uri, "uri").unwrap());
        let now = self.service.now();
        permission::revoke(&self.service, now, &Subject::operator(), &of, &[resource]).await.unwrap();
    }

    /// Makes a user with [`PASSWORD`].
    pub(crate) async fn user(self, name: &str, roles: &[&str]) -> Self {
        let new = NewAccount {
            name: name.into(),
            namespace: None,
            email: format!("{name}@example.org"),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            enabled: true,
            password: Secret::new(PASSWORD.as_bytes().to_vec()),
        };
        accounts::create(&self.service, self.service.now(), new, "test").await.unwrap();
        self.keep(PASSWORD);
        self
    }

    /// Makes a client; the secret of a confidential one comes back.
    pub(crate) async fn client(&self, id: &str, new: NewClient) -> Option<String> {
        let (_, secret) = clients::create(&self.service, self.service.now(), id, new, "test").await.unwrap();
        let secret = secret.map(|secret| secret.expose().clone());
        if let Some(secret) = &secret {
            self.keep(secret);
        }
        secret
    }

    /// Remembers a secret that must never be stored.
    pub(crate) fn keep(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Answer { status: parts.status, headers: parts.headers, text, json };
        for token in ["access_token", "refresh_token"] {
            if let Some(token) = answer.json[token].as_str() {
                self.keep(token);
            }
        }
        answer
    }

    /// Posts a form.
    pub(crate) async fn form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.form_from("192.0.2.1", path, form).await
    }

    /// Posts a form from an address.
    pub(crate) async fn form_from(&self, address: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(form_request(address, path, form)).await
    }

    /// Signs in with [`PASSWORD`].
    pub(crate) async fn sign_in(&self, name: &str) -> Tokens {
        let answer =
            self.form("/oauth2/token", &[("grant_type", "password"), ("username", name), ("password", PASSWORD)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.tokens()
    }

    /// Refreshes.
    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.form("/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Asks for one of our own resources with an access token.
    pub(crate) async fn v1(&self, method: Method, path: &str, access: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !access.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {access}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }
}

/// A form's request.
pub(crate) fn form_request(address: &str, path: &str, form: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encode_form(form)))
        .unwrap();
    request.extensions_mut().insert(PeerAddress(address.parse::<IpAddr>().unwrap()));
    request
}

/// A form's text.
pub(crate) fn encode_form(form: &[(&str, &str)]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (name, value) in form {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").unwrap();
            }
        }
    }
    text
}

impl Drop for TestService {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let secrets = self.secrets.lock().unwrap();
        let now = self.clock.now().0;
        let mut made_at = std::collections::BTreeMap::new();
        for body in self.store.bodies_written() {
            for secret in secrets.iter() {
                assert!(!body.contains(secret.as_str()), "a secret was stored: {body}");
            }
            assert!(!holds_jwt(&body), "a token was stored: {body}");
            let record = &serde_json::from_str::<Value>(&body).unwrap()["record"];
            if let (Some(id), Some(generation)) = (record["id"].as_str(), record["generation"].as_u64()) {
                let rotated_at = record["rotated_at"].as_u64();
                let first = *made_at.entry((id.to_owned(), generation)).or_insert(rotated_at);
                assert_eq!(first, rotated_at, "generation {generation} of session {id} was made twice");
            }
            let signing = record["keys"].as_array().into_iter().flatten().filter(|key| {
                let times = &key["timetable"];
                times["signs_from"].as_u64().unwrap() <= now
                    && times["signs_until"].as_u64().is_none_or(|until| now < until)
            });
            assert!(signing.count() <= 1, "more than one key signs: {body}");
        }
    }
}

/// Whether a JWT stands in a text: two of its parts, each of which begins as `{"` in base64url does.
fn holds_jwt(text: &str) -> bool {
    text.match_indices(".eyJ").any(|(at, _)| {
        let before = text[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next();
        before.is_some_and(|header| header.starts_with("eyJ"))
    })
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// The two tokens of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Answer {
    /// The tokens of a 200.
    pub(crate) fn tokens(&self) -> Tokens {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let token = |name: &str| self.json[name].as_str().unwrap_or_default().to_owned();
        Tokens { access: token("access_token"), refresh: token("refresh_token") }
    }

    /// `error` and `error_description` of an OAuth refusal.
    pub(crate) fn refusal(&self) -> (u16, &str, &str) {
        let text = |name: &str| self.json[name].as_str().unwrap_or_default();
        (self.status.as_u16(), text("error"), text("error_description"))
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
