//! The endpoints that take a form: token, revoke, logout, introspect.

use axum::{
    Json,
    extract::{Extension, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    dress::Dressed,
    form::{Form, form},
};
use crate::{
    domain::{
        GrantError, GrantRefusal, Secret,
        access::Holder,
        grant::{self, Grant, Scope, Tokens},
        session::{
            introspect::{self, Active, Asker},
            revoke,
        },
    },
    http::{App, source_address::SourceAddress},
};

/// The reply of RFC 6749 §5.1, with `refresh_expires_in` and `session_state` as Keycloak's clients read them.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(super) struct TokenReply<'a> {
    /// A JWT (RFC 9068).
    access_token: &'a str,
    /// How it is shown: `Authorization: Bearer …`.
    #[schema(pattern = "^(Bearer|N_A)$")]
    token_type: &'static str,
    /// Of a token exchange: what was issued (RFC 8693 §2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    issued_token_type: Option<&'static str>,
    /// For how many seconds the access token is good.
    #[schema(minimum = 1)]
    expires_in: u64,
    /// For the next refresh; a client's own token has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^gmr_[A-Za-z0-9_-]+$")]
    refresh_token: Option<&'a str>,
    /// For how many seconds the refresh token is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    refresh_expires_in: Option<u64>,
    /// What was granted, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<String>,
    /// The session: `sid` in the access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_state: Option<&'a str>,
}

/// `POST /oauth2/token` (RFC 6749 §3.2).
pub(super) async fn token(
    State(app): State<App>,
    Extension(SourceAddress(address)): Extension<SourceAddress>,
    request: Request,
) -> Result<Response, Dressed> {
    let form = form(request).await?;
    let dressed = |refusal| Dressed { refusal, tried: form.tried(), status: None };
    let request = grant_request(&form, address).map_err(dressed)?;
    let tokens = grant::exchange(&app.service, request).await.map_err(dressed)?;
    Ok(granted(&tokens))
}

fn grant_request(form: &Form, address: std::net::IpAddr) -> Result<grant::Request, GrantRefusal> {
    let grant = match form.need("grant_type")? {
        "password" => Grant::Password {
            username: form.need("username")?.to_owned(),
            password: Secret::new(form.need("password")?.as_bytes().to_vec()),
        },
        "refresh_token" => Grant::RefreshToken { token: form.need_secret("refresh_token")? },
        "client_credentials" => Grant::ClientCredentials,
        "urn:ietf:params:oauth:grant-type:token-exchange" => return exchange_request(form, address),
        _ => {
            return Err(GrantRefusal::new(
                GrantError::UnsupportedGrantType,
                "grant_type must be password, refresh_token, client_credentials or urn:ietf:params:oauth:grant-type:token-exchange",
            ));
        }
    };
    let (client_id, presented) = form.client()?;
    let scope = form.get("scope").map(str::to_owned);
    Ok(grant::Request { client_id, presented, grant, scope, resource: form.all("resource"), address })
}

/// A token exchange (RFC 8693 §2.1): its `resource` are URLs that the gate token is to open.
fn exchange_request(form: &Form, address: std::net::IpAddr) -> Result<grant::Request, GrantRefusal> {
    let must_be = |parameter, value: &str| {
        if form.need(parameter)? == value {
            return Ok(());
        }
        Err(GrantRefusal::invalid_request(format!("{parameter} must be {value}")))
    };
    must_be("subject_token_type", grant::ACCESS_TOKEN)?;
    must_be("requested_token_type", grant::GATE_TOKEN)?;
    for parameter in ["actor_token", "audience"] {
        if form.get(parameter).is_some() {
            return Err(GrantRefusal::invalid_request(format!("{parameter} has no meaning here; leave it out")));
        }
    }
    form.need("resource")?;
    let grant =
        Grant::TokenExchange { subject_token: form.need_secret("subject_token")?, resource: form.all("resource") };
    let (client_id, presented) = form.client()?;
    Ok(grant::Request { client_id, presented, grant, scope: None, resource: Vec::new(), address })
}

fn granted(tokens: &Tokens) -> Response {
    let access = tokens.access.as_ref();
    let refresh = access.and_then(|access| access.refresh.as_ref());
    let reply = TokenReply {
        access_token: tokens.access_token.expose(),
        // RFC 8693 §2.2.1: what is not an access token is none of the known types.
        token_type: if access.is_some() { "Bearer" } else { "N_A" },
        issued_token_type: access.is_none().then_some(grant::GATE_TOKEN),
        expires_in: tokens.expires_in.as_secs(),
        refresh_token: refresh.map(|(token, _)| token.expose().as_str()),
        refresh_expires_in: refresh.map(|(_, left)| left.as_secs()),
        scope: access.map(|access| access.scope.to_string()),
        session_state: access.map(|access| access.session_state.as_str()),
    };
    uncached(Json(reply).into_response())
}

/// What nobody may keep.
pub(super) fn uncached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// `POST /oauth2/revoke` (RFC 7009 §2).
pub(super) async fn revoke(State(app): State<App>, request: Request) -> Result<Response, Dressed> {
    end(&app, request, "token").await?;
    Ok(uncached(StatusCode::OK.into_response()))
}

/// `POST …/logout`, Keycloak's way to end a session.
pub(super) async fn logout(State(app): State<App>, request: Request) -> Result<Response, Dressed> {
    end(&app, request, "refresh_token").await?;
    Ok(uncached(StatusCode::NO_CONTENT.into_response()))
}

async fn end(app: &App, request: Request, parameter: &'static str) -> Result<(), Dressed> {
    let form = form(request).await?;
    let dressed = |refusal| Dressed { refusal, tried: form.tried(), status: None };
    let token = form.need_secret(parameter).map_err(dressed)?;
    let (client, presented) = form.client().map_err(dressed)?;
    revoke::revoke(&app.service, &client, &presented, &token).await.map_err(dressed)
}

/// `POST /oauth2/introspect` (RFC 7662 §2).
pub(super) async fn introspect(State(app): State<App>, request: Request) -> Result<Response, Dressed> {
    let form = form(request).await?;
    let dressed = |refusal| Dressed { refusal, tried: form.tried(), status: None };
    let token = form.need_secret("token").map_err(dressed)?;
    let asker = match form.bearer() {
        Some(bearer) => Asker::Bearer(bearer),
        None => form.client().map(|(id, presented)| Asker::Client(id, presented)).map_err(dressed)?,
    };
    let active = introspect::introspect(&app.service, asker, &token).await.map_err(dressed)?;
    let answer = active.map_or_else(
        || serde_json::json!({ "active": false }),
        |active| {
            let mut claims = claims(&active, &app.service.policy.issuer);
            claims["active"] = true.into();
            claims
        },
    );
    Ok(uncached(Json(answer).into_response()))
}

/// What is said of an active token: an account's e-mail address and roles as they are now.
fn claims(active: &Active, issuer: &str) -> serde_json::Value {
    match active {
        Active::Access(standing) => {
            let mut claims = standing.claims.clone();
            if let Holder::Account { account, .. } = &standing.holder {
                let scope = Scope::of_claim(&claims.scope);
                (claims.email, claims.roles) = account.record.shown_in(&scope);
            }
            let username = claims.preferred_username.clone();
            let mut claims = serde_json::to_value(claims).unwrap_or_default();
            claims["token_type"] = "Bearer".into();
            claims["username"] = username.into();
            claims
        }
        Active::Refresh { account, session } => serde_json::json!({
            "iss": issuer,
            "sub": account.uid,
            "client_id": session.client,
            "username": account.name,
            "scope": session.scope.to_string(),
            "sid": session.id,
            "iat": session.rotated_at,
            "exp": session.ends_at,
            "token_type": "refresh_token",
        }),
    }
}
