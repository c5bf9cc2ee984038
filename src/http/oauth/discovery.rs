//! What clients and verifiers read before they ask: keys, metadata, health.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::dress::Dressed;
use crate::{
    domain::{
        client::GrantType,
        key::{Algorithm, Material, PublicKey},
    },
    http::{App, CACHED, Function},
};

fn cached(body: Value) -> Response {
    ([(header::CACHE_CONTROL, CACHED)], Json(body)).into_response()
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5): every key that judges now or will.
pub(super) async fn jwks(State(app): State<App>) -> Result<Response, Dressed> {
    let service = &app.service;
    let now = service.now();
    let keys = service
        .keys
        .public(now, service.entropy.as_ref(), service.store.as_ref())
        .await
        .map_err(|refusal| Dressed::from(crate::domain::GrantRefusal::from(refusal)))?;
    let keys: Vec<Value> = keys.keys.iter().filter(|key| key.times.judges(now)).map(jwk).collect();
    Ok(cached(json!({ "keys": keys })))
}

fn jwk(key: &PublicKey) -> Value {
    let mut jwk = match &key.material {
        Material::Ec { x, y } => json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
        Material::Rsa { n, e } => json!({ "kty": "RSA", "n": n, "e": e }),
        Material::Okp { x } => json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
    };
    jwk["kid"] = key.kid.as_str().into();
    jwk["alg"] = key.material.algorithm().as_str().into();
    jwk["use"] = "sig".into();
    jwk
}

/// RFC 8414 §2, without what this service does not have.
fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "grant_types_supported": GrantType::ALL.map(|(_, name)| name),
        "response_types_supported": [],
        "scopes_supported": ["profile", "email", "roles", "offline_access"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    })
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).
pub(super) async fn authorization_server(State(app): State<App>) -> Response {
    cached(metadata(&app.service.policy.issuer))
}

/// `GET /.well-known/openid-configuration` (OpenID Connect Discovery §4), for clients that look only there.
pub(super) async fn openid_configuration(State(app): State<App>) -> Response {
    let mut metadata = metadata(&app.service.policy.issuer);
    metadata["subject_types_supported"] = json!(["public"]);
    metadata["id_token_signing_alg_values_supported"] = json!(Algorithm::ALL.map(Algorithm::as_str));
    metadata["claims_supported"] = json!([
        "iss",
        "sub",
        "aud",
        "client_id",
        "iat",
        "nbf",
        "exp",
        "jti",
        "scope",
        "auth_time",
        "sid",
        "preferred_username",
        "identity",
        "namespace",
        "email",
        "roles"
    ]);
    cached(metadata)
}

/// `GET /healthz`: the process answers. No I/O.
pub(super) async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: store and keys can be read.
pub(super) async fn readiness(State(app): State<App>) -> Response {
    // The function `discovery` has no right to private keys; where it runs alone, it needs none.
    match app.service.ready(app.function == Function::Http).await {
        Ok(()) => Json(json!({ "status": "ready" })).into_response(),
        Err(refusal) => {
            if let Some(cause) = &refusal.source {
                tracing::error!(cause = %cause, "not ready");
            }
            let body = Json(json!({ "status": "not ready", "detail": refusal.text }));
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], body).into_response()
        }
    }
}
