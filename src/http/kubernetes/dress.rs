//! How this dialect says no: a `Status` (Kubernetes API conventions, "Response Status Kind").

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::kinds::Kind;
use crate::{
    domain::{Refusal, RefusalKind},
    http::refusal::challenge,
};

/// The longest name that is repeated in a refusal.
const LONGEST_NAME: usize = 253;

/// A refusal on its way out.
pub(super) struct Failure {
    status: StatusCode,
    reason: &'static str,
    message: Cow<'static, str>,
    details: Value,
    after: Option<u64>,
    challenge: Option<&'static str>,
}

impl Failure {
    /// A refusal without details.
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason, message: message.into(), details: json!({}), after: None, challenge: None }
    }

    /// The request is not in the form that it must have.
    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// A field's value is not allowed. `cause` is the kind of mistake, as Kubernetes names it.
    pub(super) fn invalid(kind: &Kind, name: &str, field: &str, cause: &str, text: &str) -> Self {
        let name = shown(name);
        let qualified = kind.qualified(kind.name);
        let message = format!("{qualified} {name:?} is invalid: {field}: {text}");
        let failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure.on(kind.group, kind.name, name).because(field, cause, text)
    }

    /// Nobody with the rights of this user may do that, in the words of Kubernetes: `what` of the object `of` that name.
    pub(super) fn cannot(user: &str, verb: &str, what: &Kind, of: &Kind, namespace: &str, name: &str) -> Self {
        let (name, namespace) = (shown(name), shown(namespace));
        let message = format!(
            "{} {name:?} is forbidden: User {user:?} cannot {verb} resource {:?} in API group {:?} in the namespace \
             {namespace:?}",
            of.qualified(of.plural),
            what.plural,
            of.group
        );
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).on(of.group, of.plural, name)
    }

    /// The same, and why.
    pub(super) fn explained(mut self, why: &str) -> Self {
        self.message = format!("{}: {why}", self.message).into();
        self
    }

    fn on(mut self, group: &str, kind: &str, name: &str) -> Self {
        for (field, text) in [("name", name), ("group", group), ("kind", kind)] {
            if !text.is_empty() {
                self.details[field] = text.into();
            }
        }
        self
    }

    fn because(mut self, field: &str, cause: &str, text: &str) -> Self {
        self.details["causes"] = json!([{ "reason": cause, "message": text, "field": field }]);
        self
    }

    /// A refusal of the domain, about an object or about all of its kind.
    pub(super) fn of(refusal: &Refusal, kind: &Kind, name: &str) -> Self {
        if let Some(cause) = &refusal.source {
            tracing::error!(cause = %cause, "a request could not be answered");
        }
        let name = shown(name);
        let text = &refusal.text;
        // An object is spoken of by name, all of a kind without one.
        let resource = kind.qualified(kind.plural);
        let object = if name.is_empty() { resource } else { format!("{resource} {name:?}") };
        let about =
            |status, reason, message: String| Self::new(status, reason, message).on(kind.group, kind.plural, name);
        let mut failure = match refusal.kind {
            RefusalKind::Malformed => Self::bad_request(text.clone()),
            RefusalKind::Invalid => {
                return Self::invalid(kind, name, refusal.field.unwrap_or_default(), "FieldValueInvalid", text);
            }
            RefusalKind::Unauthenticated => Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", text.clone()),
            RefusalKind::Forbidden => {
                about(StatusCode::FORBIDDEN, "Forbidden", format!("{object} is forbidden: {text}"))
            }
            RefusalKind::Absent => about(StatusCode::NOT_FOUND, "NotFound", format!("{object} not found")),
            // The one thing that a new object clashes with is another one of its name.
            RefusalKind::Conflict if refusal.field == Some("metadata.name") => {
                about(StatusCode::CONFLICT, "AlreadyExists", format!("{object} already exists"))
            }
            RefusalKind::Conflict => about(StatusCode::CONFLICT, "Conflict", format!("{object}: {text}")),
            RefusalKind::Gone => about(StatusCode::GONE, "Gone", format!("{object}: {text}")),
            RefusalKind::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", text.clone()),
            RefusalKind::Throttled(_) => Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", text.clone()),
            RefusalKind::Unavailable => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", text.clone()),
        };
        failure.after = match refusal.kind {
            RefusalKind::Throttled(after) => Some(after.as_secs().max(1)),
            RefusalKind::Unavailable => Some(1),
            _ => None,
        };
        if let Some(after) = failure.after {
            failure.details["retryAfterSeconds"] = after.into();
        }
        if refusal.kind == RefusalKind::Unauthenticated {
            failure.challenge = Some(challenge(refusal.field == Some("authorization")));
        } else if let Some(field) = refusal.field {
            let cause = match refusal.kind {
                RefusalKind::Conflict => "FieldValueDuplicate",
                _ => "FieldValueForbidden",
            };
            failure = failure.because(field, cause, text);
        }
        failure
    }
}

fn shown(name: &str) -> &str {
    if name.len() <= LONGEST_NAME { name } else { "" }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
            "reason": self.reason, "code": self.status.as_u16()
        });
        if self.details.as_object().is_some_and(|details| !details.is_empty()) {
            status["details"] = self.details;
        }
        let mut response = (self.status, Json(status)).into_response();
        if let Some(after) = self.after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// The answer to a delete; without a `uid` if objects of the kind have none.
pub(super) fn deleted(kind: &Kind, name: &str, uid: &str) -> Response {
    let mut details = json!({ "name": name, "group": kind.group, "kind": kind.plural });
    if !uid.is_empty() {
        details["uid"] = uid.into();
    }
    Json(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details, "code": 200
    }))
    .into_response()
}
