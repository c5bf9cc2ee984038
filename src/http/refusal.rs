//! What goes with a refusal in every dialect, whatever its body is.

use axum::{
    http::{HeaderValue, header},
    response::Response,
};

use crate::domain::{Refusal, RefusalKind};

/// Writes down for the operator what the caller is not told.
pub(super) fn log(refusal: &Refusal) {
    if let Some(cause) = &refusal.source {
        tracing::error!(cause = %cause, "a request could not be answered");
    }
}

/// When to come back, or which credential is needed.
pub(super) fn add_headers(response: &mut Response, refusal: &Refusal) {
    let headers = response.headers_mut();
    match refusal.kind {
        RefusalKind::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(1_u64));
        }
        RefusalKind::Throttled(after) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        RefusalKind::Unauthenticated => {
            let challenge = challenge(refusal.field == Some("authorization"));
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        _ => {}
    }
}

/// How an access token is shown (RFC 6750 §3.1): no error code for a request without one.
pub(super) fn challenge(shows_nothing: bool) -> &'static str {
    if shows_nothing { r#"Bearer realm="gatemint""# } else { r#"Bearer realm="gatemint", error="invalid_token""# }
}
