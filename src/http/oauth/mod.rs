//! The OAuth 2.0 dialect: `/oauth2`, `/.well-known`, the same handlers at Keycloak's paths under `/realms`, and a refresh
//! token as a file.
//!
//! Refusals are dressed as RFC 6749 §5.2 has it. The realm in a path is any name and has no meaning.

mod described;
mod discovery;
mod download;
mod dress;
mod form;
mod token;

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::HttpMethod::{Get, Post};

use super::{App, Routes, panicked};

/// Grants, revocation, introspection.
pub(super) fn tokens() -> Routes {
    const REALM: &str = "/realms/{realm}/protocol/openid-connect";
    let at_keycloak = described::at_keycloak;
    Routes::new()
        .route(Post, "/oauth2/token", token::token, described::token())
        .route(Post, "/oauth2/revoke", token::revoke, described::revoke())
        .route(Post, "/oauth2/introspect", token::introspect, described::introspect())
        .route(
            Post,
            &format!("{REALM}/token"),
            token::token,
            at_keycloak(described::token(), "keycloak_token", "Get tokens"),
        )
        .route(
            Post,
            &format!("{REALM}/revoke"),
            token::revoke,
            at_keycloak(described::revoke(), "keycloak_revoke", "End the session of any token"),
        )
        .route(Post, &format!("{REALM}/logout"), token::logout, described::logout())
        .route(
            Post,
            &format!("{REALM}/token/introspect"),
            token::introspect,
            at_keycloak(described::introspect(), "keycloak_introspect", "Judge a token"),
        )
        .with(dressed)
}

/// A refresh token as a file.
pub(super) fn download() -> Routes {
    let described = described::refresh_token_download();
    Routes::new().route(Get, "/refresh-token-download", download::download, described).with(dressed)
}

/// Keys and discovery documents.
pub(super) fn discovery() -> Routes {
    let certs = described::at_keycloak(described::jwks(), "keycloak_certs", "The keys that tokens are verified with");
    let at_kubernetes = described::jwks().also(
        "kubernetes_jwks",
        described::METADATA,
        "The keys that tokens are verified with, at Kubernetes' path",
    );
    Routes::new()
        .route(Get, "/.well-known/jwks.json", discovery::jwks, described::jwks())
        .route(Get, "/realms/{realm}/protocol/openid-connect/certs", discovery::jwks, certs)
        .route(Get, "/openid/v1/jwks", discovery::jwks, at_kubernetes)
        .route(
            Get,
            "/.well-known/openid-configuration",
            discovery::openid_configuration,
            described::openid_configuration(),
        )
        .route(
            Get,
            "/.well-known/oauth-authorization-server",
            discovery::authorization_server,
            described::authorization_server(),
        )
        .with(dressed)
}

/// Health and readiness.
pub(super) fn health() -> Routes {
    Routes::new()
        .route(Get, "/healthz", discovery::health, described::health())
        .route(Get, "/readyz", discovery::readiness, described::readiness())
        .with(dressed)
}

/// What no handler answers wears this dialect's dress too.
fn dressed(router: Router<App>) -> Router<App> {
    router
        .method_not_allowed_fallback(|| async {
            dress::refused(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "This path does not answer this method")
        })
        .layer(CatchPanicLayer::custom(|_| {
            panicked();
            dress::refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The request could not be answered")
        }))
}

/// Whether a path that nothing answers at would be one of this dialect's.
pub(super) fn is_ours(path: &str) -> bool {
    ["/oauth2", "/realms", "/.well-known"]
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// There is nothing at a path.
pub(super) fn nothing_here() -> Response {
    dress::refused(StatusCode::NOT_FOUND, "invalid_request", "There is nothing at this path").into_response()
}
