//! Looks at the raw event and turns it into a request, or says why not.
//!
//! Everything in an event but its frame was chosen by whoever sent the request, so each field is judged before it is
//! used, and nothing here can panic. The request's URI is the path and the query alone: who is asked for never follows
//! from `Host`, and no header can bend the route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
        header::{COOKIE, HOST},
        uri::PathAndQuery,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::http::PeerAddress;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is wrong with the request in an HTTP API event: the caller is told, with a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Turns an HTTP API event of payload format 2.0 into a request that carries the caller's [`PeerAddress`] and an
/// `X-Request-Id`: the caller's own if it is an id (`[A-Za-z0-9-]{1,64}`), else API Gateway's, else `invocation`, the id
/// that Lambda logs.
pub(super) fn parse(event: &Value, invocation: &str) -> Result<Request<Body>, Malformed> {
    let event = event.as_object().ok_or(Malformed("the event is no object"))?;
    let context = event
        .get("requestContext")
        .and_then(Value::as_object)
        .ok_or(Malformed("requestContext is missing or no object"))?;
    let http = context
        .get("http")
        .and_then(Value::as_object)
        .ok_or(Malformed("requestContext.http is missing or no object"))?;

    let mut request = Request::new(body(event)?);
    *request.method_mut() = method(http)?;
    *request.uri_mut() = uri(event)?;
    *request.headers_mut() = headers(event)?;
    if let Some(address) = source_address(http)? {
        request.extensions_mut().insert(PeerAddress(address));
    }
    if let Some(id) = request_id(request.headers().get(X_REQUEST_ID), context, invocation) {
        request.headers_mut().insert(X_REQUEST_ID, id);
    }
    Ok(request)
}

/// A member that is a string where it is there at all; null counts as absent.
fn text<'e>(
    members: &'e Map<String, Value>,
    name: &str,
    otherwise: &'static str,
) -> Result<Option<&'e str>, Malformed> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Malformed(otherwise)),
    }
}

fn method(http: &Map<String, Value>) -> Result<Method, Malformed> {
    const WRONG: &str = "requestContext.http.method is not an HTTP method";
    let name = text(http, "method", WRONG)?.ok_or(Malformed(WRONG))?;
    Method::from_bytes(name.as_bytes()).map_err(|_| Malformed(WRONG))
}

/// Path and query. API Gateway decodes `rawPath`, so whatever is not plain in it is encoded again: a `?` or `#` that the
/// caller had escaped stays part of the path, and a `%` is a percent sign, never the beginning of a second decoding.
fn uri(event: &Map<String, Value>) -> Result<Uri, Malformed> {
    const WRONG_PATH: &str = "rawPath is not a path";
    const WRONG_QUERY: &str = "rawQueryString is not a query";
    let path = text(event, "rawPath", WRONG_PATH)?.ok_or(Malformed(WRONG_PATH))?;
    if !path.starts_with('/') || path.contains(|c: char| c.is_ascii_control()) {
        return Err(Malformed(WRONG_PATH));
    }
    let query = text(event, "rawQueryString", WRONG_QUERY)?.unwrap_or_default();
    // `Uri` would drop a fragment without a word.
    if query.contains('#') {
        return Err(Malformed(WRONG_QUERY));
    }
    let mut target = encode_path(path);
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target).map(Uri::from).map_err(|_| Malformed(WRONG_QUERY))
}

/// Percent-encodes what RFC 3986 §3.3 does not allow in a path.
fn encode_path(path: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 0x0f)]));
        }
    }
    encoded
}

fn headers(event: &Map<String, Value>) -> Result<HeaderMap, Malformed> {
    let mut headers = HeaderMap::new();
    match event.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(members)) => {
            for (name, value) in members {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| Malformed("a header's name is not a header name"))?;
                let value = value
                    .as_str()
                    .and_then(|value| HeaderValue::from_str(value).ok())
                    .ok_or(Malformed("a header's value is not a header value"))?;
                // API Gateway joins repeated headers, so two spellings of one name are somebody's trick.
                match headers.try_insert(name, value) {
                    Ok(None) => {}
                    Ok(Some(_)) => return Err(Malformed("a header is there twice")),
                    Err(_) => return Err(Malformed("there are too many headers")),
                }
            }
        }
        Some(_) => return Err(Malformed("headers is no object")),
    }
    if let Some(cookies) = cookies(event)? {
        headers.insert(COOKIE, cookies);
    }
    if headers.get(HOST).is_some_and(|host| !host.to_str().is_ok_and(is_host)) {
        return Err(Malformed("the Host header does not name a host"));
    }
    if headers.get(X_FORWARDED_PROTO).is_some_and(|scheme| !scheme.to_str().is_ok_and(is_scheme)) {
        return Err(Malformed("the X-Forwarded-Proto header is not a URL scheme"));
    }
    Ok(headers)
}

/// Payload 2.0 keeps cookies apart; a request has them in one header.
fn cookies(event: &Map<String, Value>) -> Result<Option<HeaderValue>, Malformed> {
    const WRONG: Malformed = Malformed("cookies is not a list of cookies");
    let cookies = match event.get("cookies") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(cookies)) => cookies,
        Some(_) => return Err(WRONG),
    };
    let cookies = cookies.iter().map(|cookie| cookie.as_str().ok_or(WRONG)).collect::<Result<Vec<_>, _>>()?;
    if cookies.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_str(&cookies.join("; ")).map(Some).map_err(|_| WRONG)
}

/// Whether this is `host[:port]` as a browser would send it: names in ASCII, IPv6 in brackets, an IPv4 address if the
/// last label is a number (the URL standard refuses `x.127.0.0.1`), a port that fits.
fn is_host(value: &str) -> bool {
    if let Some(bracketed) = value.strip_prefix('[') {
        return bracketed
            .split_once(']')
            .is_some_and(|(address, port)| address.parse::<Ipv6Addr>().is_ok() && is_port(port));
    }
    let (host, port) = value.split_at(value.find(':').unwrap_or(value.len()));
    is_name_or_ipv4(host) && is_port(port)
}

/// Whether this is what may follow a host: nothing, a colon, or a colon and a port.
fn is_port(rest: &str) -> bool {
    match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some("") => true,
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    }
}

fn is_name_or_ipv4(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let last_is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.len() <= 253 && name.split('.').all(is_label) && (!last_is_number || name.parse::<Ipv4Addr>().is_ok())
}

/// RFC 3986 §3.1, and no longer than a scheme has reason to be.
fn is_scheme(value: &str) -> bool {
    value.len() <= 64
        && value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn body(event: &Map<String, Value>) -> Result<Body, Malformed> {
    let Some(body) = text(event, "body", "body is not a string")? else { return Ok(Body::empty()) };
    let is_base64 = match event.get("isBase64Encoded") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_base64)) => *is_base64,
        Some(_) => return Err(Malformed("isBase64Encoded is neither true nor false")),
    };
    if !is_base64 {
        return Ok(Body::from(body.to_owned()));
    }
    STANDARD.decode(body).map(Body::from).map_err(|_| Malformed("body is said to be base64 and is not"))
}

fn source_address(http: &Map<String, Value>) -> Result<Option<IpAddr>, Malformed> {
    const WRONG: &str = "requestContext.http.sourceIp is not an IP address";
    match text(http, "sourceIp", WRONG)? {
        None | Some("") => Ok(None),
        Some(address) => address.parse().map(Some).map_err(|_| Malformed(WRONG)),
    }
}

/// The first of the three that is an id. API Gateway's loses its base64 padding, which no id of ours has.
fn request_id(own: Option<&HeaderValue>, context: &Map<String, Value>, invocation: &str) -> Option<HeaderValue> {
    let own = own.and_then(|id| id.to_str().ok());
    let gateway = context.get("requestId").and_then(Value::as_str).map(|id| id.trim_end_matches('='));
    [own, gateway, Some(invocation)]
        .into_iter()
        .flatten()
        .find(|id| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
        .and_then(|id| HeaderValue::from_str(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/oauth2/token",
            "rawQueryString": "",
            "headers": { "host": "auth.example.org", "content-type": "text/plain" },
            "requestContext": {
                "requestId": "JKJaXmPLvHcESHA=",
                "domainName": "auth.example.org",
                "http": { "method": "POST", "path": "/oauth2/token", "sourceIp": "192.0.2.1" },
            },
            "body": "a=1",
            "isBase64Encoded": false,
        })
    }

    /// The event with one value replaced; a pointer to nothing adds it.
    fn with(pointer: &str, value: Value) -> Value {
        let mut event = event();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[name] = value;
        event
    }

    fn without(parent: &str, name: &str) -> Value {
        let mut event = event();
        event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        event
    }

    fn is_malformed(event: &Value) -> bool {
        parse(event, "8476a536-e9f4-11e8-9739-2dfe598c3fcd").is_err()
    }

    async fn bytes(request: Request<Body>) -> Vec<u8> {
        use http_body_util::BodyExt as _;
        request.into_body().collect().await.unwrap().to_bytes().into()
    }

    #[tokio::test]
    async fn an_event_becomes_the_request_that_it_was_made_from() {
        let request = parse(&event(), "").unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/oauth2/token");
        assert_eq!(request.headers()["host"], "auth.example.org");
        assert_eq!(request.headers()["x-request-id"], "JKJaXmPLvHcESHA");
        assert_eq!(request.extensions().get::<PeerAddress>().unwrap().0, "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(bytes(request).await, b"a=1");
    }

    #[tokio::test]
    async fn a_base64_body_is_decoded_once() {
        let mut event = with("/body", json!("/wA9"));
        event["isBase64Encoded"] = json!(true);
        assert_eq!(bytes(parse(&event, "").unwrap()).await, [0xff, 0x00, b'=']);
    }

    #[tokio::test]
    async fn what_may_be_absent_may_be_absent() {
        let mut event = event();
        for name in ["headers", "rawQueryString", "body", "isBase64Encoded"] {
            event[name] = Value::Null;
        }
        event["requestContext"]["http"]["sourceIp"] = Value::Null;
        let request = parse(&event, "").unwrap();
        assert!(request.extensions().get::<PeerAddress>().is_none());
        assert!(bytes(request).await.is_empty());
    }

    #[test]
    fn cookies_become_one_header() {
        let request = parse(&with("/cookies", json!(["a=1", "b=2"])), "").unwrap();
        assert_eq!(request.headers()["cookie"], "a=1; b=2");
    }

    #[test]
    fn the_path_is_decoded_already_and_stays_a_path() {
        let path = |raw: &str| parse(&with("/rawPath", json!(raw)), "").unwrap().uri().to_string();
        assert_eq!(path("/a b/é"), "/a%20b/%C3%A9");
        assert_eq!(path("/a?b#c"), "/a%3Fb%23c");
        assert_eq!(path("/a%2Fb"), "/a%252Fb");
        assert_eq!(path("/a/../b\\c"), "/a/../b%5Cc");
        assert_eq!(path("//x"), "//x");
        assert_eq!(path("/a:b@c;d=e"), "/a:b@c;d=e");
    }

    #[test]
    fn the_query_is_taken_as_it_is() {
        let request = parse(&with("/rawQueryString", json!("a=%20&b=?&b=/")), "").unwrap();
        assert_eq!(request.uri().query(), Some("a=%20&b=?&b=/"));
    }

    #[test]
    fn a_host_of_any_legal_kind_is_let_through() {
        for host in
            ["a", "A.b-c.example.org:443", "127.0.0.1:9000", "[::1]", "[::1]:80", "a_b.internal", "localhost.", "a:"]
        {
            assert!(!is_malformed(&with("/headers/host", json!(host))), "{host}");
        }
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for host in [
            "",
            " ",
            "a b",
            "[",
            "[::1",
            "[1]",
            "]",
            "a:99999",
            "a:-1",
            "a:+1",
            "a:b",
            "x.127.0.0.1",
            "1.2.3",
            "256.1.1.1",
            "x.0x7f",
            "a@b",
            "a/b",
            "a?b",
            "a#b",
            "a%00",
            "a..b",
            ".",
            ":",
            ":80",
            "é.org",
            "a, b",
            "a|b",
            "::1",
        ] {
            assert!(is_malformed(&with("/headers/host", json!(host))), "{host}");
        }
    }

    #[test]
    fn a_forwarded_scheme_that_is_none_is_refused() {
        for scheme in ["", "1", "https, http", "ht tp", ":", "é", "-"] {
            assert!(is_malformed(&with("/headers/x-forwarded-proto", json!(scheme))), "{scheme}");
        }
        assert!(is_malformed(&with("/headers/x-forwarded-proto", json!("a".repeat(65)))));
        for scheme in ["http", "https", "wss"] {
            assert!(!is_malformed(&with("/headers/x-forwarded-proto", json!(scheme))), "{scheme}");
        }
    }

    #[test]
    fn every_other_wrong_field_is_refused() {
        let wrong = [
            ("/requestContext", json!(null)),
            ("/requestContext", json!("x")),
            ("/requestContext/http", json!([])),
            ("/requestContext/http/method", json!("GE T")),
            ("/requestContext/http/method", json!("")),
            ("/requestContext/http/method", json!(1)),
            ("/requestContext/http/method", json!(null)),
            ("/requestContext/http/sourceIp", json!("somewhere")),
            ("/requestContext/http/sourceIp", json!(1)),
            ("/rawPath", json!("")),
            ("/rawPath", json!("a")),
            ("/rawPath", json!("*")),
            ("/rawPath", json!("/a\u{0}b")),
            ("/rawPath", json!("/a\nb")),
            ("/rawPath", json!("/".repeat(70_000))),
            ("/rawPath", json!(["/"])),
            ("/rawQueryString", json!("a=b c")),
            ("/rawQueryString", json!("a#b")),
            ("/rawQueryString", json!("a\r\nb")),
            ("/rawQueryString", json!({})),
            ("/headers", json!([])),
            ("/headers/x-a", json!("a\nb")),
            ("/headers/x-a", json!("\u{0}")),
            ("/headers/x-a", json!(["a"])),
            ("/headers/x-a", json!(null)),
            ("/headers/a b", json!("x")),
            ("/headers/", json!("x")),
            ("/headers/Host", json!("b.example.org")),
            ("/cookies", json!("a=1")),
            ("/cookies", json!([1])),
            ("/cookies", json!(["a\nb"])),
            ("/body", json!({})),
            ("/isBase64Encoded", json!("true")),
        ];
        for (pointer, value) in wrong {
            assert!(is_malformed(&with(pointer, value.clone())), "{pointer} {value}");
        }
        assert!(is_malformed(&without("", "requestContext")));
        assert!(is_malformed(&without("/requestContext", "http")));
        assert!(is_malformed(&without("/requestContext/http", "method")));
        assert!(is_malformed(&without("", "rawPath")));
    }

    #[test]
    fn a_body_that_is_not_the_base64_it_is_said_to_be_is_refused() {
        for body in ["%%%", "YQ", "YQ===", "YR==", "é", "Y Q="] {
            let mut event = with("/body", json!(body));
            event["isBase64Encoded"] = json!(true);
            assert!(is_malformed(&event), "{body}");
        }
    }

    #[test]
    fn the_callers_request_id_stays_and_lambdas_own_is_the_last_choice() {
        let id = |event: &Value| {
            let request = parse(event, "8476a536-e9f4").unwrap();
            request.headers().get("x-request-id").unwrap().clone()
        };
        assert_eq!(id(&with("/headers/x-request-id", json!("mine"))), "mine");
        assert_eq!(id(&with("/headers/x-request-id", json!("not an id"))), "JKJaXmPLvHcESHA");
        assert_eq!(id(&with("/requestContext/requestId", json!("not an id"))), "8476a536-e9f4");
        assert_eq!(id(&with("/requestContext/requestId", json!(7))), "8476a536-e9f4");
        assert!(!parse(&without("/requestContext", "requestId"), "").unwrap().headers().contains_key("x-request-id"));
    }

    proptest::proptest! {
        /// Whatever a field holds, it is a request or a refusal.
        #[test]
        fn no_event_panics(
            pointer in proptest::sample::select(vec![
                "/rawPath", "/rawQueryString", "/body", "/headers/host", "/headers/x-forwarded-proto", "/headers/cookie",
                "/requestContext/http/method", "/requestContext/http/sourceIp", "/requestContext/requestId",
            ]),
            value in proptest::prelude::any::<String>(),
            is_base64: bool,
        ) {
            let mut event = with(pointer, json!(value));
            event["isBase64Encoded"] = json!(is_base64);
            let _ = parse(&event, &value);
        }
    }
}
