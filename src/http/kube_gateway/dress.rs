//! How this dialect says no to programs: `{"kind":"Error","api":"kube-gateway/token","status":"…","code":403}`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    domain::{Refusal, RefusalKind},
    http::refusal,
};

/// The original's body, in its order.
#[derive(Serialize)]
struct Body<'a> {
    kind: &'static str,
    api: &'static str,
    status: &'a str,
    code: u16,
}

/// A refusal with a message.
pub(super) fn refused(status: StatusCode, message: &str) -> Response {
    let body = Body { kind: "Error", api: "kube-gateway/token", status: message, code: status.as_u16() };
    (status, Json(body)).into_response()
}

/// The status of a refusal. The original has 403 for everything; a program that looks at it more closely learns more here.
pub(super) fn status_of(kind: RefusalKind) -> StatusCode {
    match kind {
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
    }
}

/// The domain's fields, in the names of this dialect's request.
const FIELDS: [(&str, &str); 7] = [
    ("spec.urls", "URLs"),
    ("spec.verbs", "verbs"),
    ("spec.from", "from"),
    ("spec.duration", "duration"),
    ("metadata.labels", "id"),
    ("metadata.name", "name"),
    ("metadata.namespace", "namespace"),
];

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
        refusal::log(&refusal);
        // Whoever does not show a token learns how from the challenge; no field of the body is at fault.
        let field = refusal.field.filter(|_| refusal.kind != RefusalKind::Unauthenticated);
        let field =
            field.map(|field| FIELDS.iter().find(|(ours, _)| *ours == field).map_or(field, |(_, theirs)| theirs));
        let message = match field {
            Some(field) => format!("{field}: {}", refusal.text),
            None => refusal.text.clone().into_owned(),
        };
        let mut response = refused(status_of(refusal.kind), &message);
        refusal::add_headers(&mut response, &refusal);
        response
    }
}
