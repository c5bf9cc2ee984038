//! Routes with what is said of them: a path cannot be served without being described, nor described without being served.
//!
//! [`Routes`] collects both; the router takes the one, [`Document`] the other. The OpenAPI document is that of the whole
//! service, whichever function serves it: rights are cut by function, the interface is not.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    handler::Handler,
    http::header,
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use utoipa::openapi::{
    Components, HttpMethod, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, RefOr,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    server::Server,
    tag::TagBuilder,
};

use super::{
    App, CACHED,
    described::{Built, Described, headers, schema},
    docs, oauth, v1,
};

/// Routes, and what is said of each.
pub(super) struct Routes {
    router: Router<App>,
    described: Vec<(String, HttpMethod, Built)>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), described: Vec::new() }
    }

    /// Adds a route.
    pub(super) fn route<H, T>(mut self, method: HttpMethod, path: &str, handler: H, described: Described) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter(&method), handler));
        self.described.push((path.to_owned(), method, described.build()));
        self
    }

    /// Does something to the router alone: layers, fallbacks.
    pub(super) fn with(mut self, change: impl FnOnce(Router<App>) -> Router<App>) -> Self {
        self.router = change(self.router);
        self
    }

    /// What is served.
    pub(super) fn into_router(self) -> Router<App> {
        self.router
    }
}

/// The two pages about the interface, made when they are first asked for.
#[derive(Clone)]
pub(crate) struct Document(Arc<Rendered>);

struct Rendered {
    issuer: String,
    json: OnceLock<Bytes>,
    page: OnceLock<Bytes>,
}

impl Document {
    /// The document of a service with this issuer.
    pub(super) fn new(issuer: &str) -> Self {
        Self(Arc::new(Rendered { issuer: issuer.to_owned(), json: OnceLock::new(), page: OnceLock::new() }))
    }

    fn json(&self) -> Bytes {
        let made = || {
            let mut text = open_api(&self.0.issuer).to_pretty_json().unwrap_or_default();
            text.push('\n');
            text.into()
        };
        self.0.json.get_or_init(made).clone()
    }

    fn page(&self) -> Bytes {
        self.0.page.get_or_init(|| docs::render(&open_api(&self.0.issuer), &self.0.issuer).into()).clone()
    }
}

/// The document: every route of every function, the issuer as the server.
fn open_api(issuer: &str) -> OpenApi {
    let mut paths = Paths::new();
    let mut components = Components::new();
    for routes in [
        oauth::tokens(),
        oauth::download(),
        v1::own_password(),
        v1::resources(),
        oauth::discovery(),
        oauth::health(),
        about(),
    ] {
        for (path, method, built) in routes.described {
            paths.add_path_operation(path, vec![method], built.operation);
            components.schemas.extend(built.schemas);
            components.responses.extend(built.responses);
        }
    }
    components.headers.extend(headers().into_iter().map(|(name, header)| (name.to_owned(), RefOr::T(header))));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token, from `POST /oauth2/token`."))
        .build();
    let basic = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some(
            "`client_secret_basic`: the client's id and secret, each form-encoded before they are joined (RFC 6749 \
             §2.3.1). In place of it a client may send `client_id` and `client_secret` in the form \
             (`client_secret_post`, for which OpenAPI has no kind of scheme); a public client sends `client_id` alone.",
        ))
        .build();
    let password = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("A user's name and password, in UTF-8 (RFC 7617)."))
        .build();
    components.add_security_scheme("password", SecurityScheme::Http(password));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("basic", SecurityScheme::Http(basic));
    let mut licence = License::new(env!("CARGO_PKG_LICENSE"));
    licence.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    let info = InfoBuilder::new()
        .title("gatemint")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(licence))
        .build();
    let tags = TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new(issuer)]))
        .paths(paths)
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

const ABOUT: &str = "\
A username and password, or a refresh token, become a short-lived JWT.

Tokens speak OAuth 2.0: requests are forms, refusals have `error` and `error_description` (RFC 6749 §5.2). Our own \
resources are under `/v1`: requests are JSON, refusals are problems (RFC 9457). Bodies are at most 65536 bytes. Times are \
RFC 3339 under `/v1` and Unix seconds in tokens. `HEAD` is answered wherever `GET` is. A path that is not here is answered \
with 404, a method that is not here with 405 and `Allow`.";

/// The groups, in the order in which they are read.
pub(super) const TAGS: [(&str, &str); 8] = [
    ("Tokens", "Getting, ending and judging tokens (RFC 6749, RFC 7009, RFC 7662)."),
    ("Oneself", "Whoever asks, by an access token."),
    ("Users", "For users with the role `admin`, whose token's scope has `roles`."),
    ("Clients", "The programs that ask for tokens. For users with the role `admin`, whose token's scope has `roles`."),
    ("Sites", "Which hosts are which resources. For users with the role `admin`, whose token's scope has `roles`."),
    (
        "Keys and metadata",
        "What verifiers and clients read before they ask. No credential is needed, and any page may read it.",
    ),
    ("Health and documentation", "For operators and readers."),
    (
        "Keycloak's paths",
        "The same at the paths of Keycloak, so that programs written for it work with the host changed. The realm is any \
         name and has no meaning.",
    ),
];

schema! {
    /// The document itself.
    OpenApiDocument = utoipa::openapi::ObjectBuilder::new()
        .description(Some("An OpenAPI 3.1 document."))
        .property("openapi", utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String).pattern(Some("^3\\.1\\.")))
        .required("openapi")
        .required("info")
        .required("paths")
}

const DOCUMENTATION: &str = "Health and documentation";

/// The routes of the document itself.
pub(super) fn about() -> Routes {
    let json = Described::new(
        "openapi",
        DOCUMENTATION,
        "This document, as OpenAPI 3.1",
        "Every route of the service, generated from its code; `servers` is the issuer. No I/O.",
    )
    .answers::<OpenApiDocument>(
        200,
        "The document.",
        serde_json::json!({ "openapi": "3.1.0", "info": { "title": "gatemint" } }),
    );
    let page = Described::new(
        "docs",
        DOCUMENTATION,
        "This document, as a page",
        "The same for readers: HTML without a script and without anything from elsewhere. No I/O.",
    )
    .answers_text(200, "The page.", "text/html", &["Content-Security-Policy"]);
    Routes::new()
        .route(HttpMethod::Get, "/openapi.json", serve_json, json)
        .route(HttpMethod::Get, "/docs", serve_page, page)
        .with(v1::dressed)
}

async fn serve_json(State(app): State<App>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHED)];
    (headers, app.document.json()).into_response()
}

async fn serve_page(State(app): State<App>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, CACHED),
        (header::CONTENT_SECURITY_POLICY, docs::policy()),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, app.document.page()).into_response()
}

/// An HTTP method as axum filters by it.
fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}
