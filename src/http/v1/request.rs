//! What requests of this dialect have in common: a name in the path, an admin who asks, and a JSON body.

use axum::{
    extract::{FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::dress::Dressed;
use crate::{
    clock::Timestamp,
    domain::{Refusal, RefusalKind, Secret, access::Caller},
    http::{
        App, bearer,
        body::{BadBody, is_media_type, read},
    },
};

/// The one name in a path, decoded.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Dressed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Dressed> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|_| Refusal::malformed("the path is not UTF-8").into())
    }
}

/// As [`bearer::caller`], for admins only.
pub(super) async fn admin(app: &App, now: Timestamp, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let caller = bearer::caller(app, now, headers).await?;
    caller.require_admin()?;
    Ok(caller)
}

/// Reads a JSON body, which must be an object. What is wrong with it is told by place alone: the text around may be a password.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let (parts, body) = request.into_parts();
    if !is_media_type(parts.headers.get(header::CONTENT_TYPE), "application/json") {
        return Err(Refusal::malformed("the body must be JSON: Content-Type: application/json"));
    }
    let body = read(body).await.map_err(|why| match why {
        BadBody::TooLarge => Refusal::new(RefusalKind::TooLarge, "the body is larger than 65536 bytes"),
        BadBody::Broken => Refusal::malformed("the body ended early or is not framed as its headers say"),
    })?;
    let body = Secret::new(body);
    // Serde would take an array for a structure too, by position.
    if body.expose().iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first == b'[') {
        return Err(Refusal::malformed("the body must be a JSON object"));
    }
    serde_json::from_slice(body.expose()).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        match error.classify() {
            // The one case whose text holds nothing but names: a field that is not known, or missing.
            serde_json::error::Category::Data if names_a_field(&error) => {
                Refusal { field: None, ..Refusal::malformed(format!("{error}")) }
            }
            serde_json::error::Category::Data => {
                Refusal::malformed(format!("a value is not of the kind that its field takes ({place})"))
            }
            _ => Refusal::malformed(format!("the body is not JSON ({place})")),
        }
    })
}

fn names_a_field(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.len() < 400 && (text.starts_with("unknown field `") || text.starts_with("missing field `"))
}
