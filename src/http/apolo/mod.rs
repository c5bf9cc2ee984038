//! The dialect of Apolo (Neuro.mation before it): service accounts, permissions, and what its command line reads to sign in.
//!
//! Sources: `platform_service_accounts_api` of <https://github.com/neuro-inc/platform-service-accounts-api> for paths,
//! fields and texts; `apolo_sdk` of <https://github.com/neuro-inc/apolo-cli> and `neuro_auth_client` for what clients ask
//! and read of permissions, whose server is not public; `platform_api` for `GET /api/v1/config`.
//!
//! What differs on purpose: a token may have an end, is rotated with an overlap, and is listed and ended one by one; a
//! body says nothing twice; a trailing slash, an escape or a query in a URI is refused, and not read as something else.
//!
//! Quirks: between cluster and namespace that system has an organisation. This service has one (`GATEMINT_ORG`): it is
//! taken out of a URI on its way in and put in on its way out, where the scheme is one of that system's. A URI without it
//! is understood as well if it names a namespace that somebody has; what begins with anything else is of another
//! organisation, and refused. In a path the `/` of a principal is a `:`. A service account always has a name. The URLs of
//! clusters that are none of ours (registry, storage, …) are the issuer's: that system's clients want them, and nothing is
//! there. Its command line knows the actions read, write and manage alone, and stumbles over `list` and `deny` in a list.

mod body;
mod config;
mod dress;
mod permissions;
mod query;
mod service_account;
mod service_accounts;
mod uris;

use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::{App, bearer, panicked};
use crate::{
    clock::Timestamp,
    domain::{access::Subject, ids::Name},
};
use dress::{Failure, error};
#[cfg(feature = "cli")]
pub(crate) use service_account::object as service_account_object;
#[cfg(feature = "cli")]
pub(crate) use service_accounts::token_objects as service_account_token_objects;

/// The routes of this dialect.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/config", get(config::read))
        .route("/api/v1/service_accounts", get(service_accounts::list).post(service_accounts::create))
        .route("/api/v1/service_accounts/{account}", get(service_accounts::read).delete(service_accounts::delete))
        .route("/api/v1/service_accounts/{account}/rotate", post(service_accounts::rotate))
        .route("/api/v1/service_accounts/{account}/tokens", get(service_accounts::tokens))
        .route(
            "/api/v1/users/{name}/permissions",
            get(permissions::list).post(permissions::grant).put(permissions::replace).delete(permissions::revoke),
        )
        .route("/api/v1/users/{name}/permissions/check", post(permissions::check))
        .route("/api/v1/users/{name}/permissions/shared", get(permissions::shared))
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer this method")
        })
        .layer(CatchPanicLayer::custom(|_| {
            panicked();
            error(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered")
        }))
        .layer(middleware::map_response(kept_by_nobody))
}

/// Whether a path is one of this dialect's, so that what is not there is told in its way. What else is below `/api` is
/// Kubernetes'.
pub(super) fn is_ours(path: &str) -> bool {
    ["/api/v1/config", "/api/v1/service_accounts", "/api/v1/users"]
        .into_iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The answer to a path that is not there.
pub(super) fn nothing_here() -> Response {
    error(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// Some answers hold a token, all of them say who may do what.
async fn kept_by_nobody(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The one name in a path, decoded.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name))
            .map_err(|_| error(StatusCode::BAD_REQUEST, "the path is not UTF-8").into_response())
    }
}

/// Who asks, and when.
struct Asker {
    now: Timestamp,
    by: Subject,
    /// Where the account lives: whose service accounts are meant.
    namespace: Name,
}

impl Asker {
    async fn of(app: &App, headers: &HeaderMap) -> Result<Self, Failure> {
        let now = app.service.now();
        let identity = bearer::identity(app, now, headers).await.map_err(Failure::on(app))?;
        Ok(Self { now, by: identity.subject(), namespace: identity.namespace().clone() })
    }
}
