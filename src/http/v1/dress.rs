//! How this dialect says no: RFC 9457.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{Refusal, RefusalKind},
    http::refusal,
};

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
        let status = match refusal.kind {
            RefusalKind::Malformed => StatusCode::BAD_REQUEST,
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::Absent => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Gone => StatusCode::GONE,
            RefusalKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalKind::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        refusal::log(&refusal);
        // Whoever does not show a token learns how from the challenge; no field of the body is at fault.
        let field = refusal.field.filter(|_| refusal.kind != RefusalKind::Unauthenticated);
        let mut response = render(status, &refusal.text, field);
        refusal::add_headers(&mut response, &refusal);
        response
    }
}
