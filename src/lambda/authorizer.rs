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
//! The credential is the Bearer token of the Authorization header, or the cookies that may hold a token, as for `/auth/verify`.

use std::time::Duration;

use lambda_http::lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    domain::{
        Refusal, RefusalKind, Secret, Service,
        access::{Asked, Passer, verify},
        gate::{Host, Method, Path, Scheme, Target},
    },
    http::forward_auth::Credential,
    metric::{self, Stopwatch},
};

/// How long judging may take: less than the function's own limit, past which Lambda ends the process without a word.
const PATIENCE: Duration = Duration::from_secs(8);

/// A simple response.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    is_authorized: bool,
    context: Map<String, Value>,
}

impl Verdict {
    fn of(passer: Option<&Passer>) -> Self {
        Self { is_authorized: passer.is_some(), context: context(passer.unwrap_or(&Passer::default())) }
    }
}

/// What the integration is told: `$context.authorizer.X-Auth-Request-User` in a parameter mapping,
/// `requestContext.authorizer.lambda` in a function's event. All of it is always there, empty when unknown, so that
/// nothing of the caller's own can stand in its place.
fn context(passer: &Passer) -> Map<String, Value> {
    passer.told().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Answers one authorizer event. Whatever does not stand, or does not open this, does not pass.
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

async fn pass(service: &Service, event: &Value) -> Result<Passer, Refusal> {
    let (target, tokens) = (target(event)?, tokens(event)?);
    let asked = Asked { target: &target, audience: None };
    verify(service, service.now(), asked, tokens).await
}

async fn judge(service: &Service, event: &Value) -> Result<Verdict, Diagnostic> {
    match pass(service, event).await {
        Ok(passer) => Ok(Verdict::of(Some(&passer))),
        Err(refusal) => match refusal.kind {
            RefusalKind::Unauthenticated => {
                tracing::info!(reason = %refusal.text, "a request was not let pass");
                Err(refused(UNAUTHORIZED, UNAUTHORIZED))
            }
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
            | RefusalKind::Throttled(_) => {
                tracing::info!(reason = %refusal.text, "a request was not let pass");
                Ok(Verdict::of(None))
            }
        },
    }
}

fn refused(kind: &str, text: &str) -> Diagnostic {
    Diagnostic { error_type: kind.to_owned(), error_message: text.to_owned() }
}

/// What the request wants. API Gateway takes requests over TLS alone, decodes the path once, and says itself which host the
/// request came to.
fn target(event: &Value) -> Result<Target, Refusal> {
    let none = |what: &'static str| move || Refusal::forbidden(what);
    let context = &event["requestContext"];
    let method = context["http"]["method"].as_str().and_then(Method::parse).ok_or_else(none("the method is none"))?;
    let host = context["domainName"].as_str().and_then(|host| Host::parse(host, Some(Scheme::Https)).ok());
    let host = host.ok_or_else(none("domainName is no host"))?;
    let path = event["rawPath"].as_str().and_then(|path| Path::of_decoded(path).ok());
    let path = path.ok_or_else(none("rawPath has more than one reading"))?;
    Ok(Target { method, scheme: Some(Scheme::Https), host, path })
}

/// The tokens that came with the request: of its Authorization header, else of its cookies, which this payload format has in a
/// list of their own. API Gateway joins the values of a header that is there twice with a comma, which no token has.
fn tokens(event: &Value) -> Result<Vec<Secret<String>>, Refusal> {
    let malformed = |why: &'static str| Refusal::unauthenticated(why);
    let mut authorization = Vec::new();
    let mut cookies = Vec::new();
    match &event["headers"] {
        Value::Null => {}
        Value::Object(headers) => {
            for (name, value) in headers {
                // They are in lower case; another spelling beside it is somebody's trick, and counts as a second one.
                let values = if name.eq_ignore_ascii_case("authorization") {
                    &mut authorization
                } else if name.eq_ignore_ascii_case("cookie") {
                    &mut cookies
                } else {
                    continue;
                };
                values.push(value.as_str().ok_or_else(|| malformed("a header is no string"))?.as_bytes());
            }
        }
        _ => return Err(malformed("headers is no object")),
    }
    match &event["cookies"] {
        Value::Null => {}
        Value::Array(list) => {
            // The list has all of them, also where the header is there besides.
            cookies.clear();
            for cookie in list {
                cookies.push(cookie.as_str().ok_or_else(|| malformed("a cookie is no string"))?.as_bytes());
            }
        }
        _ => return Err(malformed("cookies is no array")),
    }
    Ok(Credential::of(authorization, cookies)?.into_tokens())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(event: &Value) -> Option<Vec<String>> {
        let tokens = tokens(event).ok()?;
        Some(tokens.iter().map(|token| token.expose().clone()).collect())
    }

    fn with_headers(headers: &Value) -> Option<Vec<String>> {
        found(&json!({ "headers": headers }))
    }

    #[test]
    fn the_token_of_one_authorization_header_is_the_credential() {
        for name in ["authorization", "Authorization"] {
            for scheme in ["Bearer", "bearer", "BEARER"] {
                let value = format!("{scheme} a.b-c.d_e");
                assert_eq!(with_headers(&json!({ name: value })), Some(vec!["a.b-c.d_e".to_owned()]));
            }
        }
    }

    #[test]
    fn cookies_are_candidates_where_there_is_no_bearer() {
        let cookies = json!(["a=b", "dat=x.y.z", "kg-jwt-session-code=p.q.r"]);
        let two = Some(vec!["x.y.z".to_owned(), "p.q.r".to_owned()]);
        assert_eq!(found(&json!({ "cookies": cookies })), two);
        let bearer = json!({ "authorization": "Bearer a.b.c" });
        assert_eq!(found(&json!({ "headers": bearer, "cookies": cookies })), Some(vec!["a.b.c".to_owned()]));
        let both = json!({ "headers": { "cookie": "dat=p.q.r" }, "cookies": ["dat=x.y.z"] });
        assert_eq!(found(&both), Some(vec!["x.y.z".to_owned()]), "none counts twice");
        let nine: Vec<String> = (0..9).map(|n| format!("dat=x.y.{n}")).collect();
        assert_eq!(found(&json!({ "cookies": nine })), None);
        assert_eq!(found(&json!({ "cookies": [1] })), None);
        assert_eq!(found(&json!({ "cookies": "dat=x.y.z" })), None);
    }

    #[test]
    fn without_one_there_is_no_credential() {
        assert_eq!(found(&json!({})), Some(vec![]));
        let none = [
            json!(null),
            json!({}),
            json!({ "authorization": "" }),
            json!({ "authorization": "Basic YTpi" }),
            json!({ "authorization": "DPoP a.b.c" }),
            json!({ "proxy-authorization": "Bearer a.b.c", "cookie": "other=a.b.c" }),
        ];
        for headers in none {
            assert_eq!(with_headers(&headers), Some(vec![]), "{headers}");
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
            json!({ "authorization": "Bearer" }),
            json!({ "authorization": "Bearer  " }),
            json!({ "authorization": "Bearer a\u{0}b" }),
            json!({ "authorization": "Bearer \u{e9}" }),
            json!({ "authorization": format!("Bearer {}", "a".repeat(65 * 1024)) }),
            json!({ "cookie": 1 }),
        ];
        for headers in wrong {
            assert_eq!(with_headers(&headers), None, "{headers}");
        }
    }

    #[test]
    fn the_context_always_has_all_five_fields() {
        let empty = serde_json::to_value(Verdict::of(None)).unwrap();
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
