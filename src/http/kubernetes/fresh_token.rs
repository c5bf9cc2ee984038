//! The Secret `access-token`: an account's token that is always fresh, as an object.
//!
//! To read it signs the token for this answer and writes nothing. A table and `HEAD` are of the record alone: nothing is
//! signed for them, and they have no data.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{
    accept::{self, Row},
    dress::Failure,
    kinds::SECRET,
    metadata::uuid,
    options::Query,
    service_account::Form,
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, RefusalKind,
        access::Identity,
        fresh_token::{self, FreshToken, Shown},
    },
    http::App,
};

/// Until when the token of this answer is good. It is an annotation because a Secret has no field for it.
const EXPIRES_AT: &str = "gatemint/expires-at";

/// Answers who reads it: with the token, or with what is known of it.
pub(super) async fn read(
    app: &App,
    now: Timestamp,
    by: &Identity,
    namespace: &str,
    shows_data: bool,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response, Failure> {
    if shows_data {
        let shown = fresh_token::read(&app.service, now, by, namespace).await.map_err(|refusal| refused(&refusal))?;
        let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        return Ok((no_store, Json(with_data(&shown))).into_response());
    }
    let row = fresh_token::find(&app.service, now, by, namespace).await.map_err(|refusal| refused(&refusal))?;
    let cells = vec![fresh_token::NAME.to_owned(), "Opaque".to_owned()];
    accept::shown(
        Form::Secret.columns(),
        Row { cells, object: without_data(&row.record, &row.version.0) },
        headers,
        query,
    )
}

/// One that is not there may be there after a sign-in, which whoever may read it is told.
fn refused(refusal: &Refusal) -> Failure {
    let failure = Failure::of(refusal, &SECRET, fresh_token::NAME);
    if refusal.kind == RefusalKind::Absent { failure.explained(&refusal.text) } else { failure }
}

fn without_data(token: &FreshToken, version: &[u8]) -> Value {
    let mut object = SECRET.object(json!({
        "name": fresh_token::NAME, "namespace": token.namespace.as_str(), "uid": uuid(token.id.0),
        "creationTimestamp": token.begun_at.rfc3339(), "resourceVersion": URL_SAFE_NO_PAD.encode(version)
    }));
    object["type"] = "Opaque".into();
    object
}

fn with_data(shown: &Shown) -> Value {
    let mut object = without_data(&shown.row.record, &shown.row.version.0);
    let metadata = &mut object["metadata"];
    metadata["annotations"] = json!({ EXPIRES_AT: shown.expires_at.rfc3339() });
    // Whoever compares versions must find that the data is another one.
    let version = metadata["resourceVersion"].as_str().unwrap_or_default();
    metadata["resourceVersion"] = format!("{version}.{}", shown.expires_at.0).into();
    object["data"] = json!({ fresh_token::FIELD: STANDARD.encode(shown.token.expose()) });
    object
}
