//! How this dialect says no: RFC 6749 §5.2.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{GrantError, GrantRefusal};

/// The challenge to show a name and a password, or a client's id and secret (RFC 7617 §2).
pub(super) const BASIC: &str = r#"Basic realm="gatemint", charset="UTF-8""#;

/// A refusal on its way out.
pub(super) struct Dressed {
    pub(super) refusal: GrantRefusal,
    /// The scheme with which the client tried to authenticate, for the challenge.
    pub(super) tried: Option<&'static str>,
    /// Instead of the status that the code has.
    pub(super) status: Option<StatusCode>,
}

impl From<GrantRefusal> for Dressed {
    fn from(refusal: GrantRefusal) -> Self {
        Self { refusal, tried: None, status: None }
    }
}

/// The body of a refusal (RFC 6749 §5.2).
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct Body<'a> {
    /// Which kind, for programs: `invalid_request`, `invalid_client`, `invalid_grant`, `unauthorized_client`,
    /// `unsupported_grant_type`, `invalid_scope`, `invalid_target`, `unsupported_token_type`,
    /// `temporarily_unavailable` or `server_error`.
    #[schema(pattern = "^[a-z_]+$")]
    error: &'static str,
    /// What is wrong, for people.
    #[schema(min_length = 1)]
    error_description: &'a str,
}

/// A refusal of what no handler answers: no such path, another method, a mistake of ours.
pub(in crate::http) fn refused(status: StatusCode, error: &'static str, error_description: &str) -> Response {
    let pragma = [(header::PRAGMA, HeaderValue::from_static("no-cache"))];
    (status, pragma, Json(Body { error, error_description })).into_response()
}

impl IntoResponse for Dressed {
    fn into_response(self) -> Response {
        let error = self.refusal.error.code();
        let (status, after) = match self.refusal.error {
            GrantError::InvalidRequest
            | GrantError::InvalidGrant
            | GrantError::UnauthorizedClient
            | GrantError::UnsupportedGrantType
            | GrantError::InvalidScope
            | GrantError::InvalidTarget
            | GrantError::UnsupportedTokenType => (StatusCode::BAD_REQUEST, None),
            GrantError::InvalidClient => (StatusCode::UNAUTHORIZED, None),
            GrantError::Throttled(after) => (StatusCode::TOO_MANY_REQUESTS, Some(after.as_secs().max(1))),
            GrantError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
        };
        if let Some(cause) = &self.refusal.source {
            tracing::error!(cause = %cause, error, "a token request could not be answered");
        }
        let body = Body { error, error_description: &self.refusal.description };
        let mut response = (self.status.unwrap_or(status), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        if let Some(after) = after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if self.refusal.error == GrantError::InvalidClient
            && let Some(scheme) = self.tried
        {
            let challenge = match scheme {
                "Bearer" => r#"Bearer realm="gatemint", error="invalid_token""#,
                _ => BASIC,
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
