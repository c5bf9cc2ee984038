//! What happens to every request: an id, one log line without a secret in it, and headers that every answer has.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{App, source_address};
use crate::domain::ids::random_id;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps a request.
pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    #[expect(clippy::disallowed_methods, reason = "a duration for the log; nothing is judged by it")]
    let begun = Instant::now();
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .map_or_else(|| random_id(app.service.entropy.as_ref()).replace('_', "-"), str::to_owned);
    let address = source_address::of(&request, app.trusted_proxies);
    request.extensions_mut().insert(source_address::SourceAddress(address));
    // The route's pattern, never the path: a path may hold an id, and a query string may hold anything.
    let route = request.extensions().get::<MatchedPath>().map_or("(none)".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let span = tracing::info_span!("request", request.id = %id, client.address = %address);
    // On a task of its own: what was begun is finished, booked and logged, even if the client hangs up meanwhile.
    let answering = async move {
        let response = next.run(request).await;
        let status = response.status();
        crate::metric::request_answered(&route, method.as_str(), status.as_u16(), begun.elapsed());
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "gatemint::request",
            {
                http.method = %method, http.route = route, http.status = status.as_u16(),
                http.duration_us = took
            },
            "answered"
        );
        response
    };
    let mut response = tokio::spawn(answering.instrument(span)).await.unwrap_or_else(|error| {
        tracing::error!(cause = %error, "a request was not answered");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
