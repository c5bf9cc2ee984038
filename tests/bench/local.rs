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
        access::{
            self, Action, Principal, Resource, Subject, permission,
            site::{self, NewSite},
        },
        account::manage::{self, NewAccount},
        birth,
        gate::mint::{self, NewGateToken},
        key::Algorithm,
        service_account::{self, NewServiceAccount},
    },
    entropy::SystemEntropy,
    http::{Function, Options, PeerAddress, router},
    store::{MemoryStore, Store},
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
    /// On a store in memory.
    pub(crate) fn new(alg: Algorithm) -> Self {
        Self::on(Arc::new(MemoryStore::new()), alg)
    }

    /// On a store that is empty.
    pub(crate) fn on(store: Arc<dyn Store>, alg: Algorithm) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let policy = Policy { signing_alg: Some(alg), ..Policy::new("http://gatemint.bench") };
        let service = Arc::new(Service::new(
            store,
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
                mirror_token: false,
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

    /// Sends a request; the answer must be 200, or 201.
    fn answered(&self, mut request: Request<Body>) -> (Duration, Bytes) {
        request.extensions_mut().insert(PeerAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let (took, status, body) = self.runtime.block_on(async {
            let begun = Instant::now();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (begun.elapsed(), parts.status, body)
        });
        let done = [StatusCode::OK, StatusCode::CREATED].contains(&status);
        assert!(done, "{status} {}", String::from_utf8_lossy(&body));
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
            self.grant("ada", &["gatetoken://default/vms".to_owned()], Action::Write).await;
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

    /// Grants a principal an action on resources.
    async fn grant(&self, to: &str, on: &[String], action: Action) {
        let (now, to) = (self.service.now(), Principal::parse(to, "principal").unwrap());
        let wanted: Vec<_> = on.iter().map(|on| (Resource::parse(on, "uri").unwrap(), action)).collect();
        for some in wanted.chunks(permission::MOST_AT_ONCE) {
            permission::grant(&self.service, now, &Subject::operator(), &to, some).await.unwrap();
        }
    }

    /// Grants ada `read` on so many jobs of eve's; the last one of them.
    pub(crate) fn permissions(&self, count: usize) -> Resource {
        let all: Vec<String> = (0..count).map(|n| format!("job://default/eve/batch/{n:05}")).collect();
        self.runtime.block_on(self.grant("ada", &all, Action::Read));
        Resource::parse(all.last().unwrap(), "uri").unwrap()
    }

    /// Ada, as far as permissions are concerned.
    pub(crate) fn ada(&self) -> Subject {
        let ada = self.runtime.block_on(manage::get(&self.service, self.service.now(), "ada")).unwrap();
        Subject::of_account(&ada.record, true)
    }

    /// Whether somebody may read a resource: how long it takes to say yes.
    pub(crate) fn decide(&self, subject: &Subject, resource: &Resource) -> Duration {
        let begun = Instant::now();
        let now = self.service.now();
        let may = self.runtime.block_on(permission::may(&self.service, now, subject, resource, Action::Read)).unwrap();
        let took = begun.elapsed();
        assert!(may);
        took
    }

    /// A service account of ada's that may request tokens of itself, and see the job of ada's that a host is mapped to; its
    /// long-lived token.
    pub(crate) fn service_account(&self) -> String {
        self.runtime.block_on(async {
            let (service, now) = (&self.service, self.service.now());
            let site = NewSite {
                id: "jobs".into(),
                host: "{name}--{owner}.jobs.example.org".into(),
                resource: "job://{cluster}/{owner}/{name}".into(),
            };
            site::create(service, now, &site, "bench").await.unwrap();
            let ci = NewServiceAccount {
                namespace: "ada".into(),
                name: Some("ci".into()),
                with_token: true,
                ..NewServiceAccount::default()
            };
            let made = service_account::create(service, now, &Subject::operator(), ci).await.unwrap();
            self.grant("ada/service-accounts/ci", &["serviceaccount://default/ada/ci/token".to_owned()], Action::Write)
                .await;
            self.grant("ada/service-accounts/ci", &["job://default/ada/web".to_owned()], Action::Read).await;
            made.token.unwrap().expose().clone()
        })
    }

    /// Requests a token that lives ten minutes, for one audience.
    pub(crate) fn request_token(&self, long_lived: &str) -> (Duration, Value) {
        let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest",
            "spec":{"audiences":["istio-ingressgateway.istio-system.svc.cluster.local"],"expirationSeconds":600}}"#;
        let request = Request::post("/api/v1/namespaces/ada/serviceaccounts/ci/token")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {long_lived}"));
        self.send(request.body(Body::from(body)).unwrap())
    }

    /// Asks as nginx does whether a token of an account or of a service account opens ada's job.
    pub(crate) fn verify_account(&self, token: &str) -> Duration {
        let request = Request::get("/auth/verify")
            .header("x-original-method", "GET")
            .header("x-original-url", "https://web--ada.jobs.example.org/k8s/apis/subresources.kubevirt.io/v1/a/vnc")
            .header(header::COOKIE, format!("dat={token}"));
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
