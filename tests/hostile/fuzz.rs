use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, Uri, header},
};
use gatemint::domain::{
    access::Subject,
    client::manage::NewClient,
    service_account::{self, NewServiceAccount},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};

use serde_json::Value;

use crate::support::{PASSWORD, TestService};

const ROUTES: [&str; 48] = [
    "/oauth2/token",
    "/oauth2/revoke",
    "/oauth2/introspect",
    "/realms/x/protocol/openid-connect/token",
    "/realms/x/protocol/openid-connect/revoke",
    "/realms/x/protocol/openid-connect/logout",
    "/realms/x/protocol/openid-connect/token/introspect",
    "/realms/x/protocol/openid-connect/certs",
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/v1/me",
    "/v1/me/password",
    "/v1/users",
    "/v1/users/ada",
    "/v1/clients",
    "/v1/clients/gatemint",
    "/v1/sites",
    "/v1/sites/jobs",
    "/v1/tokens",
    "/v1/tokens/x",
    "/api/v1/config",
    "/api/v1/service_accounts",
    "/api/v1/service_accounts/ci",
    "/api/v1/service_accounts/ci/rotate",
    "/api/v1/service_accounts/ci/tokens",
    "/api/v1/users/ada/permissions",
    "/api/v1/users/ada:service-accounts:ci/permissions",
    "/api/v1/users/ada/permissions/check",
    "/api/v1/users/ada/permissions/shared",
    "/api/v1/namespaces/ada/serviceaccounts",
    "/api/v1/namespaces/ada/serviceaccounts/ci",
    "/api/v1/namespaces/ada/serviceaccounts/ci/token",
    "/kubernetes/api/v1/namespaces/ada/serviceaccounts/ci/token",
    "/api/v1/namespaces/ada/secrets/access-token",
    "/api/v1/namespaces/ada/secrets/ci-token",
    "/refresh-token-download",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/webhooks/add-auth-token",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/ada/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/ada/rolebindings",
    "/openid/v1/jwks",
    "/auth/verify",
    "/",
];
const METHODS: [&str; 8] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "PROPFIND"];
const PARAMETERS: [&str; 12] = [
    "grant_type",
    "username",
    "password",
    "refresh_token",
    "scope",
    "client_id",
    "client_secret",
    "resource",
    "token",
    "token_type_hint",
    "audience",
    "x",
];
/// The routes that take JSON, with an object that they would take.
const TAKERS: [(&str, &str, &str); 15] = [
    (
        "POST",
        "/v1/users",
        r#"{"name":"eve","password":"correct horse battery staple","email":"","roles":["a"],"enabled":true,"namespace":"e"}"#,
    ),
    (
        "PATCH",
        "/v1/users/ada",
        r#"{"email":"a@b","roles":["a"],"enabled":true,"password":"correct horse battery staple"}"#,
    ),
    (
        "POST",
        "/v1/clients",
        r#"{"id":"c","public":true,"grants":["password"],"audiences":["a"],"scopes":["s"],"introspect":false,"access_life":9}"#,
    ),
    (
        "PATCH",
        "/v1/clients/shop",
        r#"{"enabled":true,"grants":["password"],"audiences":[],"scopes":[],"introspect":false,"access_life":null}"#,
    ),
    (
        "POST",
        "/v1/sites",
        r#"{"id":"jobs","host":"{name}--{owner}.{cluster}.example.org","resource":"job://{cluster}/{owner}/{name}"}"#,
    ),
    ("PATCH", "/v1/sites/jobs", r#"{"host":"{a}.example.org","resource":"job://{cluster}/{a}"}"#),
    (
        "POST",
        "/api/v1/service_accounts",
        r#"{"name":"cd","default_cluster":"default","default_project":"ada","default_org":"default-org","expires_at":"2101-01-01T00:00:00Z","labels":{}}"#,
    ),
    ("POST", "/api/v1/service_accounts/ci/rotate", r#"{"overlap":0,"expires_at":"2101-01-01T00:00:00Z"}"#),
    (
        "POST",
        "/api/v1/namespaces/ada/serviceaccounts",
        r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"x"},"secrets":[],"automountServiceAccountToken":true}"#,
    ),
    (
        "POST",
        "/api/v1/namespaces/ada/serviceaccounts/ci/token",
        r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","metadata":{},"spec":{"audiences":["a"],"expirationSeconds":600}}"#,
    ),
    (
        "POST",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"a.b.c","audiences":["a"]}}"#,
    ),
    (
        "POST",
        "/webhooks/add-auth-token",
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE","object":{"metadata":{"annotations":{"hpe-ezua/add-auth-token":"true"}},"spec":{"containers":[{"name":"a","volumeMounts":[]}]}}}}"#,
    ),
    (
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/ada/roles",
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"ci-create-token"},"rules":[]}"#,
    ),
    (
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/ada/rolebindings",
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"ci-create-token"},"subjects":[],"roleRef":{}}"#,
    ),
    ("POST", "/v1/me/password", r#"{"old":"correct horse battery staple","new":"correct horse battery stapler"}"#),
];

/// One request; what is not a request at all for the library that parses it is left out.
#[derive(Debug)]
struct Attempt {
    method: &'static str,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// Which credential goes along, if one does.
    bearer: Option<usize>,
}

/// Every byte as a URL and a form escape it.
fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").unwrap();
        text
    })
}

fn target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![any::<String>(), vec(any::<u8>(), 0..12).prop_map(|bytes| escape(&bytes)), "[!-~]{0,20}",];
    let query = proptest::option::of("[!-~]{0,40}");
    (select(&ROUTES[..]), any::<bool>(), piece, query).prop_map(|(route, whole, piece, query)| {
        let path = if whole { route.to_owned() } else { format!("{}/{piece}", route.trim_end_matches('/')) };
        query.map_or(path.clone(), |query| format!("{path}?{query}"))
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,40}",
        select(vec![
            "password",
            "refresh_token",
            "client_credentials",
            "ada",
            "root",
            "gatemint",
            PASSWORD,
            "profile",
            "gmr_",
            "a.b.c",
            ""
        ])
        .prop_map(str::to_owned),
        "gmr_[A-Za-z0-9_-]{94}",
        "[A-Za-z0-9_-]{10,60}\\.[A-Za-z0-9_-]{10,60}\\.[A-Za-z0-9_-]{86}",
    ]
}

fn form() -> impl Strategy<Value = Vec<u8>> {
    let escaped = value().prop_map(|value| escape(value.as_bytes()));
    let raw = vec(any::<u8>(), 0..40);
    let pair = (select(&PARAMETERS[..]), prop_oneof![4 => escaped.prop_map(String::into_bytes), 1 => raw])
        .prop_map(|(name, value)| [name.as_bytes(), b"=", &value].concat());
    prop_oneof![4 => vec(pair, 0..7).prop_map(|pairs| pairs.join(&b'&')), 1 => vec(any::<u8>(), 0..300)]
}

/// Any JSON value.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        value().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// A text with one byte changed, cut off, or as it is.
fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    (text, any::<Index>(), any::<u8>(), 0..6u8).prop_map(|(text, at, byte, how)| {
        let mut bytes = text.into_bytes();
        match how {
            0 if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            1 => bytes.truncate(at.index(bytes.len() + 1)),
            _ => {}
        }
        bytes
    })
}

/// A request that would be taken, but for one field.
fn almost_right() -> impl Strategy<Value = Attempt> {
    let value = prop_oneof![
        3 => value().prop_map(Value::from),
        3 => vec(value(), 0..5).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => json(),
    ];
    let text = (select(&TAKERS[..]), any::<Index>(), value).prop_map(|((method, target, body), at, value)| {
        let mut body: Value = serde_json::from_str(body).unwrap();
        let fields = body.as_object_mut().unwrap();
        let field = fields.keys().nth(at.index(fields.len())).unwrap().clone();
        fields[&field] = value;
        (method, target, body.to_string())
    });
    text.prop_flat_map(|(method, target, body)| {
        damaged(Just(body)).prop_map(move |body| Attempt {
            method,
            target: target.into(),
            headers: vec![("content-type".into(), b"application/json".to_vec())],
            body,
            bearer: Some(0),
        })
    })
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        select(vec![
            "authorization",
            "content-type",
            "content-length",
            "transfer-encoding",
            "host",
            "x-request-id",
            "x-forwarded-for",
            "cookie",
            "origin",
            "accept",
            "accept-encoding",
            "range",
            "expect",
            "if-none-match",
            "connection",
            "upgrade",
        ])
        .prop_map(str::to_owned),
        "[a-z-]{1,12}",
    ];
    vec((name, vec(any::<u8>(), 0..60)), 0..5)
}

fn authorization() -> impl Strategy<Value = Vec<u8>> {
    (
        select(vec!["Bearer ", "Basic ", "basic", "BEARER\t", "Digest ", "", "Bearer"]),
        prop_oneof![value().prop_map(String::into_bytes), vec(any::<u8>(), 0..80)],
    )
        .prop_map(|(scheme, rest)| [scheme.as_bytes(), &rest].concat())
}

fn request(attempt: &Attempt, bearers: &[String]) -> Option<Request<Body>> {
    let uri: Uri = attempt.target.parse().ok()?;
    let mut request = Request::builder().method(Method::from_bytes(attempt.method.as_bytes()).ok()?).uri(uri);
    if let Some(bearer) = attempt.bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", bearers[bearer % bearers.len()]));
    }
    for (name, value) in &attempt.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) else { continue };
        request = request.header(name, value);
    }
    request.body(Body::from(attempt.body.clone())).ok()
}

/// Sends as many requests as asked for; how many were answered with which status.
fn run(cases: u32, strategy: &impl Strategy<Value = Attempt>) -> BTreeMap<u16, usize> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (test, bearers) = runtime.block_on(async {
        let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
        test.client("shop", NewClient::default()).await;
        for namespace in ["ada", "root"] {
            let ci = NewServiceAccount {
                namespace: namespace.into(),
                name: Some("ci".into()),
                ..NewServiceAccount::default()
            };
            service_account::create(&test.service, test.service.now(), &Subject::operator(), ci).await.unwrap();
        }
        let bearers = vec![test.sign_in("root").await.access, test.sign_in("ada").await.access];
        (test, bearers)
    });
    let seen = std::cell::RefCell::new(BTreeMap::new());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    TestRunner::new(config)
        .run(strategy, |attempt| {
            let Some(request) = request(&attempt, &bearers) else { return Ok(()) };
            let answer = runtime.block_on(test.send(request));
            prop_assert!(!answer.status.is_server_error(), "{} {}", answer.status, answer.text);
            prop_assert_eq!(answer.header("x-content-type-options"), "nosniff");
            *seen.borrow_mut().entry(answer.status.as_u16()).or_default() += 1;
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    // Whatever came in, the service goes on.
    let health = runtime.block_on(test.v1(Method::GET, "/readyz", "", None));
    assert!(health.status.is_success(), "{}", health.text);
    seen.into_inner()
}

fn report(what: &str, seen: &BTreeMap<u16, usize>, least: usize) {
    let sent: usize = seen.values().sum();
    assert!(sent >= least, "only {sent} of the {what} were requests at all");
    println!("counted: {sent} {what}, 0 of them a 5xx or a panic; by status: {seen:?}");
}

#[test]
fn random_forms_are_answered_without_a_500() {
    let post = (select(&ROUTES[..7]), form(), proptest::option::weighted(0.2, 0..2usize)).prop_map(
        |(target, body, bearer)| Attempt {
            method: "POST",
            target: target.into(),
            headers: vec![("content-type".into(), b"application/x-www-form-urlencoded".to_vec())],
            body,
            bearer,
        },
    );
    report("random forms", &run(1200, &post), 1200);
}

#[test]
fn random_json_and_paths_are_answered_without_a_500() {
    let request = (
        select(&METHODS[..]),
        target(),
        damaged(json().prop_map(|value| value.to_string())),
        proptest::option::weighted(0.9, 0..2usize),
    )
        .prop_map(|(method, target, body, bearer)| Attempt {
            method,
            target,
            headers: vec![("content-type".into(), b"application/json".to_vec())],
            body,
            bearer,
        });
    report("random paths with random JSON", &run(1500, &request), 700);
    report("requests with one field or byte wrong from an admin", &run(800, &almost_right()), 800);
}

#[test]
fn random_headers_are_answered_without_a_500() {
    let request = (select(&METHODS[..]), select(&ROUTES[..]), headers(), authorization(), form()).prop_map(
        |(method, target, mut headers, authorization, body)| {
            headers.push(("authorization".into(), authorization));
            headers.push(("content-type".into(), b"application/x-www-form-urlencoded".to_vec()));
            Attempt { method, target: target.into(), headers, body, bearer: None }
        },
    );
    report("requests with random headers", &run(1200, &request), 1200);
}
