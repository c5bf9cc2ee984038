//! What goes back to API Gateway: a response in payload format 2.0.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderMap, Response, StatusCode, header::SET_COOKIE},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::BodyExt as _;
use serde::Serialize;

/// A response in payload format 2.0. Repeated headers are joined by commas, as the format wants them, except for
/// cookies, which have a list of their own; a body that is text goes as text, any other as base64.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    status_code: u16,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    body: String,
    is_base64_encoded: bool,
}

impl Reply {
    /// What the router answered.
    pub(super) async fn from_response(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::error!(error = %error, "a response body could not be read");
                return Self::internal_error();
            }
        };
        let (body, is_base64_encoded) = match String::from_utf8(body.into()) {
            Ok(text) => (text, false),
            Err(bytes) => (STANDARD.encode(bytes.as_bytes()), true),
        };
        Self {
            status_code: parts.status.as_u16(),
            headers: joined(&parts.headers),
            cookies: parts.headers.get_all(SET_COOKIE).iter().map(|cookie| lossy(cookie.as_bytes())).collect(),
            body,
            is_base64_encoded,
        }
    }

    /// A 400 for a request that no dialect got to see. It is dressed as RFC 6749 §5.2: the programs that send most
    /// requests here read that, and everybody else reads the status.
    pub(super) fn bad_request(why: &str) -> Self {
        Self::refusal(StatusCode::BAD_REQUEST, "invalid_request", why)
    }

    /// A 500 for a fault of ours.
    pub(super) fn internal_error() -> Self {
        Self::refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal error")
    }

    /// A 503 for a request that took too long: what it waits for is away.
    pub(super) fn unavailable() -> Self {
        let mut reply = Self::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the service is not available now; try again",
        );
        reply.headers.insert("retry-after".to_owned(), "5".to_owned());
        reply
    }

    fn refusal(status: StatusCode, error: &str, description: &str) -> Self {
        let headers = [("cache-control", "no-store"), ("content-type", "application/json")];
        Self {
            status_code: status.as_u16(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            cookies: Vec::new(),
            body: serde_json::json!({ "error": error, "error_description": description }).to_string(),
            is_base64_encoded: false,
        }
    }
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != SET_COOKIE) {
        let value = lossy(value.as_bytes());
        joined
            .entry(name.as_str().to_owned())
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(&value);
            })
            .or_insert(value);
    }
    joined
}

/// JSON holds no bytes; a header value that is no UTF-8 loses them rather than the whole reply.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn repeated_headers_are_joined_and_cookies_are_kept_apart() {
        let response = Response::builder()
            .status(201)
            .header("vary", "origin")
            .header("vary", "accept")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2, c")
            .body(Body::from("{}"))
            .unwrap();
        assert_eq!(
            serde_json::to_value(Reply::from_response(response).await).unwrap(),
            serde_json::json!({
                "statusCode": 201,
                "headers": { "vary": "origin, accept" },
                "cookies": ["a=1", "b=2, c"],
                "body": "{}",
                "isBase64Encoded": false,
            })
        );
    }

    #[tokio::test]
    async fn a_body_that_is_no_text_goes_as_base64() {
        let reply = Reply::from_response(Response::new(Body::from(vec![0xff, 0x00]))).await;
        assert_eq!((reply.body.as_str(), reply.is_base64_encoded), ("/wA=", true));
    }

    #[tokio::test]
    async fn a_header_that_is_no_utf8_does_not_lose_the_reply() {
        let value = axum::http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("x-name", value);
        assert_eq!(Reply::from_response(response).await.headers["x-name"], "caf\u{fffd}");
    }
}
