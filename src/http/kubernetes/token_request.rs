//! `…/serviceaccounts/{name}/token`: a short-lived token of a service account (Kubernetes' TokenRequest).

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{
    At,
    body::{Fields, Wrong, object},
    dress::Failure,
    kinds::{SERVICE_ACCOUNT, TOKEN_REQUEST},
    objects::asker,
    options::Query,
    service_account::header as header_of,
};
use crate::{
    domain::{
        Refusal, RefusalKind,
        access::{Principal, Subject},
        service_account::token_request::{self, Granted, TokenRequest},
    },
    http::App,
};

/// `POST …/serviceaccounts/{name}/token`: 201, and who asks for more than a day is warned that he gets a day.
pub(super) async fn create(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let failing = |refusal: Refusal| Failure::of(&refusal, &SERVICE_ACCOUNT, &name);
    let (now, by) = asker(&app, request.headers()).await.map_err(failing)?;
    Query::of(request.uri())?.refuse_dry_run()?;
    let body =
        object(request).await?.ok_or_else(|| Failure::bad_request("a TokenRequest is missing: the body is empty"))?;
    let asked = read(&Fields::of(&body), &namespace, &name)
        .map_err(|wrong| Failure::invalid(&TOKEN_REQUEST, "", &wrong.field, wrong.cause, wrong.text))?;
    let seconds = asked.expiration_seconds;
    let granted = token_request::request(&app.service, now, &by, &namespace, &name, asked).await;
    let granted = granted.map_err(|refusal| match (refusal.kind, refusal.field, seconds) {
        // With the value, as Kubernetes says it: programs look for the whole sentence.
        (RefusalKind::Invalid, Some(field @ "spec.expirationSeconds"), Some(seconds)) => {
            let text = format!("Invalid value: {seconds}: {}", refusal.text);
            Failure::invalid(&TOKEN_REQUEST, "", field, "FieldValueInvalid", &text)
        }
        (RefusalKind::Invalid, ..) => Failure::of(&refusal, &TOKEN_REQUEST, ""),
        _ => failing(refusal),
    })?;
    let Granted { token, expires_at, audiences, cut_from } = granted;
    let life = expires_at.since(now).as_secs();
    let mut object = TOKEN_REQUEST.object(json!({
        "name": name, "namespace": namespace, "creationTimestamp": now.rfc3339()
    }));
    object["spec"] = json!({ "audiences": audiences, "expirationSeconds": life, "boundObjectRef": null });
    object["status"] = json!({ "token": token.expose().as_str(), "expirationTimestamp": expires_at.rfc3339() });
    let mut response = (StatusCode::CREATED, Json(object)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(asked) = cut_from {
        // RFC 7234 §5.5, as the Kubernetes API has it: kubectl shows it.
        let text = format!("299 - \"requested expiration of {asked} seconds shortened to {life} seconds\"");
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(header::WARNING, value);
        }
    }
    Ok(response)
}

/// Reads what is asked for. What a token is to be bound to besides its account is refused: it would not be bound.
fn read(body: &Fields<'_>, namespace: &str, name: &str) -> Result<TokenRequest, Wrong> {
    let metadata = header_of(body, &TOKEN_REQUEST, namespace)?;
    // Whoever writes objects by a fixed form leaves empty what he does not say.
    if metadata.text("name")?.is_some_and(|other| !other.is_empty() && other != name) {
        return Err(metadata.wrong_value("name", "must be the name of the path"));
    }
    body.only(&["apiVersion", "kind", "metadata", "spec", "status"])?;
    let spec = body.object("spec")?;
    spec.only(&["audiences", "expirationSeconds", "boundObjectRef"])?;
    if spec.value("boundObjectRef").is_some() {
        return Err(
            spec.wrong_value("boundObjectRef", "a token is bound to its ServiceAccount, and to nothing else here")
        );
    }
    Ok(TokenRequest {
        audiences: spec.texts("audiences")?.unwrap_or_default(),
        expiration_seconds: spec.integer("expirationSeconds")?,
    })
}

/// `GET …/serviceaccounts/{name}/token`: nobody may look at it. It is what the guides open first, without a token, to see
/// that somebody answers there.
pub(super) async fn read_nothing(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Failure {
    let user = if request.headers().contains_key(header::AUTHORIZATION) {
        match asker(&app, request.headers()).await {
            Ok((_, by)) => user_name(&by),
            Err(refusal) => return Failure::of(&refusal, &SERVICE_ACCOUNT, &name),
        }
    } else {
        "system:anonymous".to_owned()
    };
    Failure::cannot(&user, "get", &TOKEN_REQUEST, &SERVICE_ACCOUNT, &namespace, &name)
}

/// What Kubernetes calls who asks.
pub(super) fn user_name(by: &Subject) -> String {
    match by.principal() {
        Some(Principal::ServiceAccount { namespace, name }) => format!("system:serviceaccount:{namespace}:{name}"),
        _ => by.name().to_owned(),
    }
}
