//! `/apis/authentication.k8s.io/v1/tokenreviews`: whose token is this? For whoever is shown tokens and judges none itself,
//! a Kubernetes API server with a webhook authenticator among them.
//!
//! Such a server sends a TokenReview of the version that it was told to (`v1beta1`, unless
//! `--authentication-token-webhook-version=v1` is given) to the one path that it was told, and reads the answer as that
//! version: so it is answered in it. A token that is not good is no refusal: the answer says `authenticated: false`. Where
//! that cannot be known the answer is 503, which such a server asks again about.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    body::{Fields, Wrong, object},
    dress::Failure,
    kinds::{AUTHENTICATION, TOKEN_REVIEW},
    objects::asker,
    options::Query,
};
use crate::{
    domain::{
        Refusal, Secret,
        service_account::token_review::{self, Reviewed},
    },
    http::App,
};

/// The versions in which a review may come.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// `POST /apis/authentication.k8s.io/v1/tokenreviews`: 201, whatever the verdict.
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let failing = |refusal: Refusal| Failure::of(&refusal, &TOKEN_REVIEW, "");
    let (now, by) = asker(&app, request.headers()).await.map_err(failing)?;
    Query::of(request.uri())?.refuse_dry_run()?;
    let body =
        object(request).await?.ok_or_else(|| Failure::bad_request("a TokenReview is missing: the body is empty"))?;
    let Asked { version, token, audiences } = read(&Fields::of(&body))
        .map_err(|wrong| Failure::invalid(&TOKEN_REVIEW, "", &wrong.field, wrong.cause, wrong.text))?;
    if token.expose().is_empty() {
        return Err(Failure::bad_request("token is required for TokenReview in authentication"));
    }
    let reviewed = token_review::review(&app.service, now, &by, &token, &audiences).await.map_err(failing)?;
    // The token is not said again, but Kubernetes' Python client insists on a text there.
    let mut spec = json!({ "token": "" });
    if !audiences.is_empty() {
        spec["audiences"] = json!(audiences);
    }
    let answer = json!({
        "apiVersion": version, "kind": TOKEN_REVIEW.name, "metadata": { "creationTimestamp": null }, "spec": spec,
        "status": status(reviewed)
    });
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(answer)).into_response())
}

/// What is asked.
struct Asked {
    /// `apiVersion`, as it is to be answered.
    version: String,
    token: Secret<String>,
    audiences: Vec<String>,
}

fn read(body: &Fields<'_>) -> Result<Asked, Wrong> {
    let known = VERSIONS.map(|version| format!("{AUTHENTICATION}/{version}"));
    let version = body.text("apiVersion")?.unwrap_or_else(|| known[0].clone());
    if !known.contains(&version) {
        return Err(body.wrong_value("apiVersion", "must be authentication.k8s.io/v1 or authentication.k8s.io/v1beta1"));
    }
    body.expect("kind", TOKEN_REVIEW.name, "must be that of the path")?;
    body.only(&["apiVersion", "kind", "metadata", "spec", "status"])?;
    let spec = body.object("spec")?;
    spec.only(&["token", "audiences"])?;
    Ok(Asked {
        version,
        token: Secret::new(spec.text("token")?.unwrap_or_default()),
        audiences: spec.texts("audiences")?.unwrap_or_default(),
    })
}

fn status(reviewed: Reviewed) -> Value {
    let Some(who) = reviewed.who else {
        let mut status = json!({ "authenticated": false, "user": {} });
        if let Some(error) = reviewed.error {
            status["error"] = error.into();
        }
        return status;
    };
    let user = json!({
        "username": who.username, "uid": who.uid, "groups": who.groups,
        "extra": { "authentication.kubernetes.io/credential-id": [format!("JTI={}", who.jti)] }
    });
    json!({ "authenticated": true, "user": user, "audiences": reviewed.audiences })
}
