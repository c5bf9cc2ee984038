//! How this dialect says no: RFC 9457.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Refusal, RefusalKind};

/// The body of a refusal (RFC 9457 §3.1).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// `about:blank`: the status says which kind.
    #[schema(pattern = "^about:blank$")]
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong.
    #[schema(min_length = 1)]
    detail: &'a str,
    /// The field that is at fault, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
}

/// A problem without a cause.
pub(in crate::http) fn problem(status: StatusCode, detail: &str) -> Response {
    render(status, detail, None)
}

fn render(status: StatusCode, detail: &str, field: Option<&str>) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, field };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// A refusal on its way out.
pub(super) struct Dressed(Refusal);

impl From<Refusal> for Dressed {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Dressed {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let (status, after) = match refusal.kind {
            RefusalKind::Malformed => (StatusCode::BAD_REQUEST, None),
            RefusalKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, None),
            RefusalKind::Unauthenticated => (StatusCode::UNAUTHORIZED, None),
            RefusalKind::Forbidden => (StatusCode::FORBIDDEN, None),
            RefusalKind::Absent => (StatusCode::NOT_FOUND, None),
            RefusalKind::Conflict => (StatusCode::CONFLICT, None),
            RefusalKind::Gone => (StatusCode::GONE, None),
            RefusalKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            RefusalKind::Throttled(after) => (StatusCode::TOO_MANY_REQUESTS, Some(after.as_secs().max(1))),
            RefusalKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
        };
        if let Some(cause) = &refusal.source {
            tracing::error!(cause = %cause, "a request could not be answered");
        }
        // Whoever does not show a token learns how from the challenge; no field of the body is at fault.
        let field = refusal.field.filter(|_| refusal.kind != RefusalKind::Unauthenticated);
        let mut response = render(status, &refusal.text, field);
        if let Some(after) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if refusal.kind == RefusalKind::Unauthenticated {
            // RFC 6750 §3.1: no error code for a request without a token.
            let challenge = HeaderValue::from_static(match refusal.field {
                Some("authorization") => r#"Bearer realm="gatemint""#,
                _ => r#"Bearer realm="gatemint", error="invalid_token""#,
            });
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
