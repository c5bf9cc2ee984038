//! The function `authorizer`: an HTTP API asks whether a request to somebody else's route may pass.
//!
//! What the caller of that route gets is decided by API Gateway from what comes back here (payload format 2.0, simple
//! responses):
//!
//! ```text
//! isAuthorized true                   the request goes on, with `context` for the integration
//! isAuthorized false                  403
//! an error that says `Unauthorized`   401
//! any other error                     500
//! ```
//!
//! The third is API Gateway's convention for all its Lambda authorizers: nothing but the error's text counts, and it must
//! be that word alone. Where it is not honoured, the answer is a 500: closed, in any case.
//!
//! The credential is the Bearer token of the Authorization header, and nothing else.

use std::time::Duration;

use lambda_http::lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;

use crate::{
    domain::{
        RefusalKind, Secret, Service,
        access::{Asked, Credential, Passer, Place, verify},
        gate::{Host, Method, Path, Scheme, Target},
    },
    metric::{self, Stopwatch},
};

/// The longest Authorization header that is looked at: API Gateway takes no more than that for all headers together.
const LONGEST_HEADER: usize = 10_240;

/// How long judging may take: less than the function's own limit, past which Lambda ends the process without a word.
const PATIENCE: Duration = Duration::from_secs(8);

/// A simple response.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    is_authorized: bool,
    context: Context,
}

/// What the integration is told: `$context.authorizer.X-Auth-Request-User` in a parameter mapping,
/// `requestContext.authorizer.lambda` in a function's event. All of it is always there, empty when unknown, so that
/// nothing of the caller's own can stand in its place.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Context {
    #[serde(rename = "X-Auth-Request-User")]
    user: String,
    #[serde(rename = "X-Auth-Request-Preferred-Username")]
    preferred_username: String,
    #[serde(rename = "X-Auth-Request-Email")]
    email: String,
    #[serde(rename = "X-Auth-Request-Groups")]
    groups: String,
    #[serde(rename = "kubeflow-userid")]
    kubeflow_userid: String,
}

impl From<Passer> for Context {
    fn from(passer: Passer) -> Self {
        Self {
            preferred_username: passer.user.clone(),
            kubeflow_userid: passer.user.clone(),
            user: passer.user,
            email: passer.email,
            groups: passer.groups.join(","),
        }
    }
}

/// Answers one authorizer event. Whatever is not an access token that stands, for this issuer, does not pass.
///
/// # Errors
/// `Unauthorized`, which API Gateway makes a 401; `Unavailable`: it could not be judged.
pub(super) async fn answer(service: &Service, event: &Value) -> Result<Verdict, Diagnostic> {
    let begun = Stopwatch::start();
    let judged = tokio::time::timeout(PATIENCE, judge(service, event)).await;
    let answer = judged.unwrap_or_else(|_| {
        tracing::error!("a request was not judged in time");
        Err(refused("Unavailable", "not judged in time"))
    });
    let outcome = match &answer {
        Ok(Verdict { is_authorized: true, .. }) => "allowed",
        Ok(_) => "forbidden",
        Err(refused) if refused.error_type == UNAUTHORIZED => "unauthenticated",
        Err(_) => "unavailable",
    };
    metric::authorized(outcome);
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(
        target: "gatemint::request",
        { authorizer.outcome = outcome, authorizer.duration_us = took },
        "answered"
    );
    answer
}

/// The one text that API Gateway makes a 401.
const UNAUTHORIZED: &str = "Unauthorized";

async fn judge(service: &Service, event: &Value) -> Result<Verdict, Diagnostic> {
    let token = bearer(event).map_err(|why| {
        tracing::info!(reason = why, "authorizer event refused");
        refused(UNAUTHORIZED, UNAUTHORIZED)
    })?;
    let target = target(event).map_err(|why| {
        tracing::info!(reason = why, "authorizer event refused");
        why
    });
    let Ok(target) = target else { return Ok(Verdict::default()) };
    let credentials = token.into_iter().map(|token| Credential { place: Place::Bearer, token }).collect();
    let asked = Asked { target: &target, audience: &service.policy.issuer };
    match verify(service, service.now(), asked, credentials).await {
        Ok(passer) => Ok(Verdict { is_authorized: true, context: passer.into() }),
        Err(refusal) => match refusal.kind {
            RefusalKind::Unauthenticated => Err(refused(UNAUTHORIZED, UNAUTHORIZED)),
            RefusalKind::Unavailable => {
                tracing::error!(cause = refusal.cause(), "a request could not be judged");
                Err(refused("Unavailable", &refusal.text))
            }
            RefusalKind::Malformed
            | RefusalKind::Invalid
            | RefusalKind::Forbidden
            | RefusalKind::Absent
            | RefusalKind::Conflict
            | RefusalKind::Gone
            | RefusalKind::TooLarge
            | RefusalKind::Throttled(_) => Ok(Verdict::default()),
        },
    }
}

fn refused(kind: &str, text: &str) -> Diagnostic {
    Diagnostic { error_type: kind.to_owned(), error_message: text.to_owned() }
}

/// What the request wants. API Gateway takes requests over TLS alone, decodes the path once, and says itself which host the
/// request came to.
fn target(event: &Value) -> Result<Target, &'static str> {
    let context = &event["requestContext"];
    let method = context["http"]["method"].as_str().and_then(Method::parse).ok_or("the method is none")?;
    let host = context["domainName"].as_str().ok_or("domainName is no string")?;
    let host = Host::parse(host, Some(Scheme::Https)).map_err(|_| "domainName is no host")?;
    let path = event["rawPath"].as_str().ok_or("rawPath is no string")?;
    let path = Path::of_decoded(path).map_err(|_| "rawPath has more than one reading")?;
    Ok(Target { method, scheme: Some(Scheme::Https), host, path })
}

/// The Bearer token of the event's Authorization header, if it has one; else what is wrong. API Gateway joins the values
/// of a header that is there twice with a comma, which no token has.
fn bearer(event: &Value) -> Result<Option<Secret<String>>, &'static str> {
    let headers = match event.get("headers") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(headers)) => headers,
        Some(_) => return Err("headers is no object"),
    };
    // They are in lower case; another spelling beside it is somebody's trick.
    let mut found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let Some((_, value)) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err("more than one Authorization header");
    }
    let value = value.as_str().ok_or("the Authorization header is no string")?;
    if value.len() > LONGEST_HEADER {
        return Err("the Authorization header is too long");
    }
    let Some((scheme, token)) = value.split_once(' ') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Ok(None);
    }
    let token = token.trim_matches(' ');
    // RFC 6750 §2.1
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err("the Authorization header holds no single token");
    }
    Ok(Some(Secret::new(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_headers(headers: &Value) -> Result<Option<String>, &'static str> {
        bearer(&json!({ "headers": headers })).map(|token| token.map(|token| token.expose().clone()))
    }

    #[test]
    fn the_token_of_one_authorization_header_is_the_credential() {
        for name in ["authorization", "Authorization"] {
            for scheme in ["Bearer", "bearer", "BEARER"] {
                let value = format!("{scheme} a.b-c.d_e");
                assert_eq!(with_headers(&json!({ name: value })), Ok(Some("a.b-c.d_e".to_owned())));
            }
        }
    }

    #[test]
    fn without_one_there_is_no_credential() {
        assert!(bearer(&json!({})).unwrap().is_none());
        let none = [
            json!(null),
            json!({}),
            json!({ "authorization": "" }),
            json!({ "authorization": "Bearer" }),
            json!({ "authorization": "Basic YTpi" }),
            json!({ "authorization": "DPoP a.b.c" }),
            json!({ "proxy-authorization": "Bearer a.b.c", "cookie": "dat=a.b.c" }),
        ];
        for headers in none {
            assert_eq!(with_headers(&headers), Ok(None), "{headers}");
        }
    }

    #[test]
    fn whatever_may_be_two_credentials_or_none_is_refused() {
        let wrong = [
            json!([]),
            json!("authorization"),
            json!({ "authorization": null }),
            json!({ "authorization": ["Bearer a.b.c"] }),
            json!({ "authorization": "Bearer a.b.c", "Authorization": "Bearer d.e.f" }),
            json!({ "authorization": "Bearer a.b.c,Bearer d.e.f" }),
            json!({ "authorization": "Bearer a.b.c, Basic YTpi" }),
            json!({ "authorization": "Bearer a.b.c d.e.f" }),
            json!({ "authorization": "Bearer  " }),
            json!({ "authorization": "Bearer a\u{0}b" }),
            json!({ "authorization": "Bearer \u{e9}" }),
            json!({ "authorization": format!("Bearer {}", "a".repeat(LONGEST_HEADER)) }),
        ];
        for headers in wrong {
            assert!(with_headers(&headers).is_err(), "{headers}");
        }
    }

    #[test]
    fn the_context_always_has_all_five_fields() {
        let empty = serde_json::to_value(Verdict::default()).unwrap();
        assert_eq!(
            empty,
            json!({
                "isAuthorized": false,
                "context": {
                    "X-Auth-Request-User": "",
                    "X-Auth-Request-Preferred-Username": "",
                    "X-Auth-Request-Email": "",
                    "X-Auth-Request-Groups": "",
                    "kubeflow-userid": "",
                },
            })
        );
    }
}
