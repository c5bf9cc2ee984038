//! The HTTP surface: a function name becomes a router. `serve`, the Lambda functions and the tests use the same one.
//!
//! A *dialect* is a folder: its routes, its wire types, its way to say no. It may use the domain, never another dialect.

mod apolo;
mod bearer;
mod body;
mod described;
mod docs;
pub mod forward_auth;
mod json;
mod kube_gateway;
mod kubernetes;
mod listening;
mod oauth;
mod refusal;
mod routes;
mod source_address;
mod v1;

use std::{fmt, str::FromStr, sync::Arc};

use axum::{
    Router,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware,
};
use tower_http::cors::CorsLayer;

#[cfg(feature = "cli")]
pub(crate) use apolo::{service_account_object, service_account_token_objects};
#[cfg(feature = "cli")]
pub(crate) use kubernetes::gate_token_object;
pub use source_address::PeerAddress;
#[cfg(feature = "cli")]
pub(crate) use v1::{ClientView, SiteView, TokenView, UserView};

use crate::domain::Service;
use routes::{Document, Routes};

/// How long verifiers and readers may keep what changes seldom: keys, metadata, documentation.
const CACHED: &str = "public, max-age=300";

/// The HTTP functions: each has the routes that its rights in the cloud are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Grants, revocation, introspection, one's own password.
    Token,
    /// Keys and discovery documents, health and readiness.
    Discovery,
    /// Gate tokens and signed links, and the door for proxies.
    Gate,
    /// The other resources: those under `/v1`, service accounts with their tokens, permissions.
    Admin,
    /// Every route: one function, one URL; also `serve`.
    Http,
}

impl Function {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Token, "token"),
        (Self::Discovery, "discovery"),
        (Self::Gate, "gate"),
        (Self::Admin, "admin"),
        (Self::Http, "http"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(function, _)| *function == self).map_or("", |(_, name)| name)
    }

    fn serves(self, routes: Self) -> bool {
        self == Self::Http || self == routes
    }
}

/// A name that no HTTP function has.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no HTTP function has that name")]
pub struct UnknownFunction;

impl FromStr for Function {
    type Err = UnknownFunction;
    fn from_str(text: &str) -> Result<Self, UnknownFunction> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(function, _)| function).ok_or(UnknownFunction)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What of the HTTP surface the operator decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many proxies in front are trusted to append to `X-Forwarded-For`; with 0 the peer's address counts.
    pub trusted_proxies: usize,
    /// The origins whose pages may call more than discovery.
    pub cors_origins: Vec<HeaderValue>,
    /// Which proxies ask about requests; none: whichever the headers are of.
    pub forward_headers: Option<forward_auth::Family>,
}

impl Options {
    /// From the settings' texts.
    ///
    /// # Errors
    /// An origin that cannot stand in a header, or a family of headers that is none.
    pub fn of(
        trusted_proxies: usize,
        cors_origins: &[String],
        forward_headers: Option<&str>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let forward_headers = forward_headers.map(str::parse).transpose()?;
        let cors_origins = cors_origins.iter().map(|origin| HeaderValue::from_str(origin)).collect::<Result<_, _>>()?;
        Ok(Self { trusted_proxies, cors_origins, forward_headers })
    }
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) function: Function,
    pub(crate) trusted_proxies: usize,
    pub(crate) forward_headers: Option<forward_auth::Family>,
    pub(crate) document: Document,
}

/// The routes of a function.
pub fn router(service: Arc<Service>, function: Function, options: &Options) -> Router {
    let document = Document::new(&service.policy.issuer);
    let (trusted_proxies, forward_headers) = (options.trusted_proxies, options.forward_headers);
    let app = App { service, function, trusted_proxies, forward_headers, document };
    let mut ours = Router::new();
    if function.serves(Function::Token) {
        ours = ours.merge(oauth::tokens().into_router()).merge(v1::own_password().into_router());
    }
    if function.serves(Function::Admin) {
        ours = ours.merge(v1::resources().into_router());
    }
    if !options.cors_origins.is_empty() {
        ours = ours.layer(
            CorsLayer::new()
                .allow_origin(options.cors_origins.clone())
                .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
                .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]),
        );
    }
    let mut routes = ours;
    // No other origin's page has any business with these.
    if function.serves(Function::Token) {
        routes = routes.merge(oauth::download().into_router());
    }
    if function.serves(Function::Admin) {
        routes = routes.merge(apolo::routes()).merge(kubernetes::admin_routes());
    }
    if function.serves(Function::Gate) {
        routes = routes.merge(kubernetes::gate_routes()).merge(kube_gateway::routes()).merge(forward_auth::routes());
    }
    if function.serves(Function::Discovery) {
        // Public by nature: any page may read keys and discovery documents.
        routes = routes
            .merge(oauth::discovery().into_router().layer(CorsLayer::new().allow_origin(tower_http::cors::Any)))
            .merge(oauth::health().into_router())
            .merge(routes::about().into_router());
    }
    routes
        .fallback(async |uri: Uri| {
            if oauth::is_ours(uri.path()) {
                oauth::nothing_here()
            } else if apolo::is_ours(uri.path()) {
                apolo::nothing_here()
            } else if kubernetes::is_ours(uri.path()) {
                kubernetes::nothing_here()
            } else {
                v1::problem(StatusCode::NOT_FOUND, "there is nothing at this path")
            }
        })
        .layer(middleware::from_fn_with_state(app.clone(), listening::observe))
        .with_state(app)
}

/// A panic is a mistake of ours. It was logged with its place by the panic hook; the caller learns nothing of it.
fn panicked() {
    tracing::error!("a request handler panicked");
}
