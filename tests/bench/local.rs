//! A service in memory, asked through the router as `serve` does it, on one thread.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, StatusCode, header},
};
use gatemint::{
    clock::SystemClock,
    domain::{
        Policy, Secret, Service,
        access::{self, Action, Principal, Resource, Subject, permission},
        account::manage::{self, NewAccount},
        birth,
        gate::mint::{self, NewGateToken},
        key::Algorithm,
    },
    entropy::SystemEntropy,
    http::{Function, Options, PeerAddress, router},
    store::MemoryStore,
    vault::MemoryVault,
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// The service, with one user, `ada`.
pub(crate) struct Local {
    pub(crate) service: Arc<Service>,
    pub(crate) runtime: Runtime,
    router: Router,
}

impl Local {
    pub(crate) fn new(alg: Algorithm) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let policy = Policy { signing_alg: Some(alg), ..Policy::new("http://gatemint.bench") };
        let service = Arc::new(Service::new(
            Arc::new(MemoryStore::new()),
            Arc::new(MemoryVault::new()),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            policy,
            1,
        ));
        runtime.block_on(async {
            birth::make_keys(&service).await.unwrap();
            let ada = NewAccount {
                name: "ada".into(),
                namespace: None,
                email: "ada@example.org".into(),
                roles: vec!["analysts".into()],
                enabled: true,
                password: Secret::new(PASSWORD.as_bytes().to_vec()),
            };
            manage::create(&service, service.now(), ada, "bench").await.unwrap();
        });
        let router = router(service.clone(), Function::Http, &Options::default());
        Self { service, runtime, router }
    }

    /// Sends a request; the answer must be 200. How long it took until the whole of it was there, and its JSON.
    fn send(&self, request: Request<Body>) -> (Duration, Value) {
        let (took, body) = self.answered(request);
        (took, serde_json::from_slice(&body).unwrap())
    }

    /// Sends a request; the answer must be 200.
    fn answered(&self, mut request: Request<Body>) -> (Duration, Bytes) {
        request.extensions_mut().insert(PeerAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let (took, status, body) = self.runtime.block_on(async {
            let begun = Instant::now();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (begun.elapsed(), parts.status, body)
        });
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        (took, body)
    }

    fn token(&self, form: String) -> (Duration, Tokens) {
        let request = Request::post("/oauth2/token").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (took, answer) = self.send(request.body(Body::from(form)).unwrap());
        let token = |name: &str| answer[name].as_str().unwrap().to_owned();
        (took, Tokens { access: token("access_token"), refresh: token("refresh_token") })
    }

    /// Signs ada in.
    pub(crate) fn sign_in(&self) -> (Duration, Tokens) {
        self.token(format!("grant_type=password&username=ada&password={}", PASSWORD.replace(' ', "+")))
    }

    /// Refreshes.
    pub(crate) fn refresh(&self, token: &str) -> (Duration, Tokens) {
        let (took, tokens) = self.token(format!("grant_type=refresh_token&refresh_token={token}"));
        assert_ne!(tokens.refresh, token, "a refresh makes a successor");
        (took, tokens)
    }

    /// Asks who one is.
    pub(crate) fn me(&self, access: &str) -> Duration {
        let request = Request::get("/v1/me").header(header::AUTHORIZATION, format!("Bearer {access}"));
        let (took, answer) = self.send(request.body(Body::empty()).unwrap());
        assert_eq!(answer["name"], "ada");
        took
    }
}

impl Local {
    /// So many gate tokens of one namespace, each of which opens `/k8s/apis/*`.
    pub(crate) fn gate_tokens(&self, count: usize) -> Vec<String> {
        let service = &self.service;
        let (_, tokens) = self.sign_in();
        self.runtime.block_on(async {
            let now = service.now();
            let vms = Resource::parse("gatetoken://default/vms", "uri").unwrap();
            let to = Principal::parse("ada", "user").unwrap();
            permission::grant(service, now, &Subject::operator(), &to, &[(vms, Action::Write)]).await.unwrap();
            let ada = access::identity(service, now, Some(Secret::new(tokens.access))).await.unwrap();
            let mut made = Vec::with_capacity(count);
            for n in 0..count {
                let urls = vec!["/k8s/apis/*".to_owned()];
                let new = NewGateToken { name: format!("t{n}"), urls, ..NewGateToken::default() };
                let shown = mint::create(service, now, &ada, "vms", new).await.unwrap();
                made.push(shown.token.unwrap().expose().clone());
            }
            made
        })
    }

    /// Asks as nginx does whether a gate token opens a path.
    pub(crate) fn verify(&self, token: &str) -> Duration {
        let request = Request::get("/auth/verify")
            .header("x-original-method", "GET")
            .header("x-original-url", "https://vms.example.org/k8s/apis/subresources.kubevirt.io/v1/namespaces/a/vnc")
            .header(header::COOKIE, format!("kg-jwt-session-code={token}"));
        self.answered(request.body(Body::empty()).unwrap()).0
    }

    /// Asks for what needs nothing.
    pub(crate) fn nothing(&self) -> Duration {
        self.answered(Request::get("/healthz").body(Body::empty()).unwrap()).0
    }
}

/// The two tokens of a reply.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// As `serve` logs where nobody watches, into nothing: the lines are made, since that is part of every request.
pub(crate) fn log_into_nothing() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(std::io::sink)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .init();
}
