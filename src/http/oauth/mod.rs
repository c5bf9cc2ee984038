//! The OAuth 2.0 dialect: `/oauth2`, `/.well-known`, and the same handlers at Keycloak's paths under `/realms`.
//!
//! Refusals are dressed as RFC 6749 §5.2 has it. The realm in a path is any name and has no meaning.

mod discovery;
mod dress;
mod form;
mod token;

use axum::{
    Router,
    routing::{get, post},
};

use super::App;

/// Grants, revocation, introspection.
pub(super) fn tokens() -> Router<App> {
    const REALM: &str = "/realms/{realm}/protocol/openid-connect";
    Router::new()
        .route("/oauth2/token", post(token::token))
        .route("/oauth2/revoke", post(token::revoke))
        .route("/oauth2/introspect", post(token::introspect))
        .route(&format!("{REALM}/token"), post(token::token))
        .route(&format!("{REALM}/revoke"), post(token::revoke))
        .route(&format!("{REALM}/logout"), post(token::logout))
        .route(&format!("{REALM}/token/introspect"), post(token::introspect))
}

/// Keys and discovery documents.
pub(super) fn discovery() -> Router<App> {
    Router::new()
        .route("/.well-known/jwks.json", get(discovery::jwks))
        .route("/realms/{realm}/protocol/openid-connect/certs", get(discovery::jwks))
        .route("/.well-known/openid-configuration", get(discovery::openid_configuration))
        .route("/.well-known/oauth-authorization-server", get(discovery::authorization_server))
}

/// Health and readiness.
pub(super) fn health() -> Router<App> {
    Router::new().route("/healthz", get(discovery::health)).route("/readyz", get(discovery::readiness))
}
