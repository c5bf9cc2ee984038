//! How this dialect says no: `{"error": …}`, `{"missing": […]}`, `{"code": "unique", …}`, or a line of text.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use super::uris::Uris;
use crate::{
    domain::{
        Refusal, RefusalKind,
        access::{Action, Resource},
    },
    http::{App, refusal},
};

/// The longest name that is repeated in a refusal.
const LONGEST_NAME: usize = 253;

/// The domain's fields, in the names of this dialect's bodies.
const FIELDS: [(&str, &str); 3] =
    [("metadata.name", "name"), ("metadata.namespace", "namespace"), ("metadata.labels", "labels")];

/// A refusal on its way out.
pub(super) struct Failure(Box<Response>);

impl Failure {
    /// What comes of a refusal of the domain.
    pub(super) fn on(app: &App) -> impl Fn(Refusal) -> Self + '_ {
        move |refusal| Self::of(app, &refusal, status_of(refusal.kind))
    }

    /// A refusal of the domain, with a status.
    pub(super) fn of(app: &App, refusal: &Refusal, status: StatusCode) -> Self {
        refusal::log(refusal);
        let mut response = if refusal.missing.is_empty() {
            // Whoever does not show a token learns how from the challenge; no field of the body is at fault.
            let field = refusal.field.filter(|_| refusal.kind != RefusalKind::Unauthenticated);
            let theirs = |field| FIELDS.iter().find(|(ours, _)| *ours == field).map_or(field, |(_, theirs)| *theirs);
            match field.map(theirs) {
                Some(field) => error(status, &format!("{field}: {}", refusal.text)),
                None => error(status, &refusal.text),
            }
        } else {
            (status, Json(Missing::of(&Uris::of(app), &refusal.missing))).into_response()
        };
        refusal::add_headers(&mut response, refusal);
        Self(Box::new(response))
    }

    /// There is no such service account, or none that whoever asks may know of.
    pub(super) fn no_such_account(id_or_name: &str) -> Self {
        let shown = id_or_name.len() <= LONGEST_NAME && !id_or_name.contains(char::is_control);
        let name = if shown { id_or_name } else { "of that name" };
        Self(Box::new((StatusCode::NOT_FOUND, format!("Service account {name} not found")).into_response()))
    }

    /// There is a service account of that name.
    pub(super) fn taken() -> Self {
        let body = json!({ "code": "unique", "description": "Service Account with such name exists" });
        Self(Box::new((StatusCode::CONFLICT, Json(body)).into_response()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// What somebody lacks, as the checks of that system answer it.
#[derive(Serialize)]
pub(super) struct Missing {
    missing: Vec<Lacked>,
}

#[derive(Serialize)]
struct Lacked {
    uri: String,
    action: &'static str,
}

impl Missing {
    pub(super) fn of(uris: &Uris<'_>, missing: &[(Resource, Action)]) -> Self {
        let missing =
            missing.iter().map(|(resource, action)| Lacked { uri: uris.show(resource), action: action.as_str() });
        Self { missing: missing.collect() }
    }
}

/// A refusal with a message.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

fn status_of(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Malformed | RefusalKind::Invalid => StatusCode::BAD_REQUEST,
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
