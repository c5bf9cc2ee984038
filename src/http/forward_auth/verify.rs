//! `/auth/verify`: may this request pass?

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};

use super::{Asked, Credential, PATH, Refused, parse};
use crate::{
    domain::{Refusal, RefusalKind, access, service_account},
    http::{App, refusal::challenge},
    metric,
};

/// The route, for every method.
pub(in crate::http) fn routes() -> Router<App> {
    Router::new()
        .route(PATH, any(verify))
        // What Envoy asks about the root; the wildcard wants something after the slash.
        .route(&format!("{PATH}/"), any(verify))
        .route(&format!("{PATH}/{{*path}}"), any(verify))
}

async fn verify(State(app): State<App>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let asked = parse(&method, &uri, &headers, app.forward_headers);
    let shows_nothing = asked.as_ref().is_ok_and(|asked| matches!(asked.credential, Credential::None));
    let answer = judge(&app, asked).await;
    metric::authorized(match &answer {
        Ok(_) => "allowed",
        Err(refusal) => match refusal.kind {
            RefusalKind::Unauthenticated => "unauthenticated",
            RefusalKind::Unavailable => "unavailable",
            _ => "forbidden",
        },
    });
    match answer {
        Ok(headers) => (StatusCode::OK, headers).into_response(),
        Err(refusal) => refused(&refusal, shows_nothing),
    }
}

/// What the guarded service is told, on every 200.
async fn judge(app: &App, asked: Result<Asked, Refused>) -> Result<HeaderMap, Refusal> {
    let asked = asked?;
    let question = access::Asked { target: &asked.target, audience: asked.audience.as_deref() };
    let passer = access::verify(&app.service, app.service.now(), question, asked.credential.into_tokens()).await?;
    service_account::mark(&app.service, passer.used.clone()).await;
    let mut headers = HeaderMap::new();
    for (name, value) in passer.told() {
        // Names, addresses and roles are ASCII, each of them was judged when it was written.
        let value = HeaderValue::try_from(value).map_err(Refusal::unavailable)?;
        headers.insert(HeaderName::try_from(name).map_err(Refusal::unavailable)?, value);
    }
    Ok(headers)
}

fn refused(refusal: &Refusal, shows_nothing: bool) -> Response {
    let status = match refusal.kind {
        RefusalKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RefusalKind::Malformed
        | RefusalKind::Invalid
        | RefusalKind::Forbidden
        | RefusalKind::Absent
        | RefusalKind::Conflict
        | RefusalKind::Gone
        | RefusalKind::TooLarge
        | RefusalKind::Throttled(_) => StatusCode::FORBIDDEN,
    };
    if refusal.kind == RefusalKind::Unavailable {
        tracing::error!(cause = refusal.cause(), "a request could not be judged");
    }
    let mut response = (status, format!("{}\n", refusal.text)).into_response();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge(shows_nothing)));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
