//! Signed links: what opens one, where it leads, and what becomes of those that are bad, old, or somebody else's.

// What a link may lead to, and what it never does.
mod places;
// The pages: small, closed to the outside, and escaped.
mod pages;
// Why a link opens nothing.
mod refused;
// `POST /auth/jwt/request`.
mod requests;

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use gatemint::{
    domain::{
        Policy, Refusal, Secret, Service, access,
        gate::mint::{self, NewGateToken, Shown},
    },
    http::{Options, PeerAddress},
};

use crate::support::{Answer, ISSUER, TestService, encode_form, form_request, watched::WatchedStore};

/// The route.
pub(crate) const SET: &str = "/auth/jwt/set";
/// What a browser accepts.
pub(crate) const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// The screen of a virtual machine, as the original's guide asks for it.
pub(crate) const SCREEN: &str = "/apis/subresources.kubevirt.io/v1/namespaces/demo/virtualmachineinstances/testvm/vnc";

/// A service with an admin, who may mint in every namespace.
pub(crate) struct Gate {
    pub(crate) test: TestService,
    pub(crate) access: String,
}

/// What a gate token with these URLs asks for.
pub(crate) fn asked(name: &str, urls: &[&str]) -> NewGateToken {
    NewGateToken {
        name: name.into(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..NewGateToken::default()
    }
}

/// Mints in `demo`, as whoever holds an access token.
pub(crate) async fn mint_at(service: &Service, access: &str, new: NewGateToken) -> Result<Shown, Refusal> {
    let now = service.now();
    let caller = access::identity(service, now, Some(Secret::new(access.to_owned()))).await.unwrap();
    mint::create(service, now, &caller, "demo", new).await
}

impl Gate {
    pub(crate) async fn new() -> Self {
        Self::with(Policy::new(ISSUER)).await
    }

    pub(crate) async fn with(policy: Policy) -> Self {
        Self::on(WatchedStore::default(), policy).await
    }

    pub(crate) async fn on(store: WatchedStore, policy: Policy) -> Self {
        let test = TestService::on(store, policy, Options::default()).await.user("root", &["admin"]).await;
        let access = test.sign_in("root").await.access;
        Self { test, access }
    }

    /// Makes a gate token in `demo`, and returns its token or link.
    pub(crate) async fn mint(&self, new: NewGateToken) -> String {
        let shown = mint_at(&self.test.service, &self.access, new).await.unwrap();
        let token = shown.token.unwrap().expose().clone();
        self.test.keep(&token);
        token
    }

    /// A token for [`SCREEN`].
    pub(crate) async fn screen(&self) -> String {
        self.mint(asked("screen", &[SCREEN])).await
    }

    pub(crate) async fn revoke(&self, name: &str) {
        let service = &self.test.service;
        let now = service.now();
        let caller = access::identity(service, now, Some(Secret::new(self.access.clone()))).await.unwrap();
        mint::delete(service, now, &caller, "demo", name, |_| true).await.unwrap();
    }

    /// Opens a link as a browser does.
    pub(crate) async fn open(&self, parameters: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, parameters, &[("accept", BROWSER)]).await
    }

    /// Asks for a link with headers.
    pub(crate) async fn ask(&self, method: Method, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        self.ask_as_written(method, &encode_form(parameters), headers).await
    }

    /// Asks for a link with a query as it is.
    pub(crate) async fn ask_as_written(&self, method: Method, query: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{SET}?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
        self.test.send(request).await
    }

    /// Posts a link's form as a browser does.
    pub(crate) async fn press(&self, address: &str, parameters: &[(&str, &str)]) -> Answer {
        let mut request = form_request(address, SET, parameters);
        request.headers_mut().insert(header::ACCEPT, BROWSER.parse().unwrap());
        self.test.send(request).await
    }
}

impl Answer {
    /// The one cookie that it sets, if it does.
    pub(crate) fn cookie(&self) -> Option<&str> {
        let mut cookies = self.headers.get_all(header::SET_COOKIE).iter();
        let cookie = cookies.next().map(|cookie| cookie.to_str().unwrap());
        assert!(cookies.next().is_none(), "one cookie at most");
        cookie
    }

    /// The value of the cookie.
    pub(crate) fn cookie_value(&self) -> &str {
        let cookie = self.cookie().unwrap_or_else(|| panic!("no cookie: {} {}", self.status, self.text));
        cookie.strip_prefix("kg-jwt-session-code=").unwrap().split(';').next().unwrap()
    }

    /// Nobody keeps it, and nobody learns from it where the browser was.
    #[track_caller]
    pub(crate) fn is_private(&self) {
        assert_eq!((self.header("cache-control"), self.header("referrer-policy")), ("no-store", "no-referrer"));
    }

    /// It refuses, and sets and leads nowhere.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.cookie().is_none() && !self.headers.contains_key(header::LOCATION), "{:?}", self.headers);
        self.is_private();
    }
}

#[tokio::test]
async fn a_link_becomes_a_cookie_that_ends_with_its_token_and_leads_to_the_machines_screen() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let machine = [("token", token.as_str()), ("name", "testvm"), ("namespace", "demo")];
    let place = format!("/noVNC/vnc_lite.html?path=k8s{SCREEN}");
    gate.test.clock.advance(Duration::from_mins(1));
    gate.test.store.round_trips();

    let answer = gate.open(&machine).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, place.as_str()));
    let cookie = format!("kg-jwt-session-code={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3540");
    assert_eq!(answer.cookie(), Some(cookie.as_str()));
    answer.is_private();
    assert_eq!(answer.text, "");
    assert_eq!(gate.test.store.round_trips(), (1, 0), "one read, and nothing is written");

    // As a form, as the original's helper page sends it.
    let posted = gate.press("192.0.2.1", &machine).await;
    assert_eq!((posted.status, posted.header("location")), (StatusCode::SEE_OTHER, place.as_str()));
    assert_eq!(posted.cookie(), Some(cookie.as_str()));
    posted.is_private();

    // In quotation marks, as the original's guide makes it.
    let quoted = format!("\"{token}\"");
    let quoted = [("token", quoted.as_str()), machine[1], machine[2]];
    for answer in [gate.open(&quoted).await, gate.press("192.0.2.1", &quoted).await] {
        assert_eq!((answer.cookie(), answer.header("location")), (Some(cookie.as_str()), place.as_str()));
    }
    println!("counted: 4 links opened, each with the same cookie");
}

#[tokio::test]
async fn the_cookie_is_secure_where_the_issuer_is() {
    let gate = Gate::with(Policy::new("https://gatemint.test")).await;
    let token = gate.screen().await;
    // Whatever the request says: the issuer is the operator's word.
    let headers = [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http")];
    let answer = gate.ask(Method::GET, &[("token", token.as_str())], &headers).await;
    let cookie = format!("kg-jwt-session-code={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure");
    assert_eq!(answer.cookie(), Some(cookie.as_str()));
    assert_eq!(answer.header("location"), SCREEN);
}

#[tokio::test]
async fn looking_at_a_link_sets_nothing_and_uses_nothing() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let once = gate.mint(NewGateToken { one_time: true, ..asked("once", &[SCREEN]) }).await;
    gate.test.store.round_trips();
    for (token, status) in [(&token, 302), (&once, 200)] {
        let answer = gate.ask(Method::HEAD, &[("token", token.as_str())], &[("accept", BROWSER)]).await;
        assert_eq!((answer.status.as_u16(), answer.cookie(), answer.text.as_str()), (status, None, ""));
        answer.is_private();
    }
    let mut ahead = 0;
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("purpose", "prefetch"),
        ("Purpose", "Prefetch"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
    ] {
        for token in [&token, &once] {
            for method in [Method::GET, Method::HEAD] {
                let answer = gate.ask(method, &[("token", token.as_str())], &[(name, value)]).await;
                answer.is_refused(403);
                ahead += 1;
            }
        }
    }
    assert_eq!(gate.test.store.round_trips().1, 0, "nothing was written");
    // Both are still good.
    assert!(gate.open(&[("token", &token)]).await.cookie().is_some());
    assert!(gate.press("192.0.2.1", &[("token", &once)]).await.cookie().is_some());
    println!("counted: 2 HEADs and {ahead} requests ahead of time, no cookie");
}

#[tokio::test]
async fn a_link_does_what_it_says_in_every_function_that_serves_it_and_with_no_other_method() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let mut refused = 0;
    for path in [SET, "/auth/jwt/request"] {
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET"] {
            if (path, method) == (SET, "GET") {
                continue;
            }
            let uri = format!("{path}?token={token}");
            let answer = gate.test.send(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await;
            answer.is_refused(405);
            let body = r#"{"kind":"Error","api":"kube-gateway/token","status":"this path does not answer this method","code":405}"#;
            assert_eq!(answer.text, body);
            assert_eq!(answer.header("allow"), if path == SET { "GET,HEAD,POST" } else { "POST" });
            refused += 1;
        }
    }
    println!("counted: {refused} requests with another method, refused");
}
