//! `/webhooks/add-auth-token`: what an API server asks before it keeps a pod (a mutating admission webhook), and the
//! answer: the patch by which a pod that asks for it gets the token that is always fresh.
//!
//! The answer follows from the request alone. Nothing is read, written or remembered, and no credential is asked for:
//! whoever sends a pod learns what its patch is, which is no secret, and an API server shows none unless it is told to.
//!
//! A pod is never refused. What does not ask for a token, what cannot be given one, and what is no creation of a pod at all
//! is allowed as it is; where somebody may have expected more, a warning says why, which `kubectl` prints, and so does the
//! log. (The token is a convenience, and the webhook may be away: a pod has to cope without it anyway. An API server with
//! `failurePolicy: Fail` would otherwise keep pods out that run well today.) What is refused, with a `Status`, is what no
//! API server sends: no AdmissionReview of version v1, or one of a Pod that is none; one that is too large or too slow; and
//! for a second a large one while there are too many of them.
//!
//! Large reviews are few at a time, and are judged apart: nobody has to show who he is, and he must not keep others out.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    body::HttpBody,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::Sleep};

use super::{
    add_auth_token::{Verdict, decide, harmless},
    by_name::{by_name, by_name_if_any},
    dress::Failure,
    kinds::ADMISSION_REVIEW,
    pod::Pod,
};
use crate::{
    domain::{Refusal, RefusalKind},
    http::{
        App,
        body::{Arriving, MAX_BODY, discard, is_media_type},
    },
};

/// The largest review, in bytes: what an API server takes of its own clients.
const LARGEST: usize = 3 * 1024 * 1024;

/// The longest `uid` that is repeated; an API server's has 36 characters.
const LONGEST_UID: usize = 253;

/// How many reviews are taken at a time of which more has arrived than any other body may have: 192 MiB of them, in buffers
/// that may be twice as large for a moment while they grow. Nobody has to show who he is here, and this bounds what strangers
/// make us hold; most reviews of pods are far smaller.
const LARGE_ONES: usize = 64;

/// How long one of them may take to arrive and to get its turn. An API server has given up by then, unless it was told to
/// wait for longer than it does by itself.
const LARGE_TIME: Duration = Duration::from_secs(10);

/// How many of them are judged at a time.
const JUDGED_AT_ONCE: usize = 2;

/// `POST /webhooks/add-auth-token`
pub(super) fn route() -> MethodRouter<App> {
    let turns = Turns { held: Arc::new(Semaphore::new(LARGE_ONES)), judged: Arc::new(Semaphore::new(JUDGED_AT_ONCE)) };
    post(move |request: Request| create(turns.clone(), request))
}

/// What large reviews have to share.
#[derive(Clone)]
struct Turns {
    held: Arc<Semaphore>,
    judged: Arc<Semaphore>,
}

async fn create(turns: Turns, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > LARGEST as u64 {
        discard(body, 2 * LARGEST).await;
        return Err(too_large());
    }
    let mut late = pin!(tokio::time::sleep(LARGE_TIME));
    let mut body = Arriving::new(body);
    // What has not arrived takes nobody's place, whatever it says of its length.
    if body.read_past(MAX_BODY).await.map_err(|_| broken())? {
        check_media_type(&parts.headers)?;
        return judge(&body.into_bytes()).map(IntoResponse::into_response);
    }
    let place = turns.held.try_acquire_owned().map_err(|_| busy())?;
    let has_ended = within(late.as_mut(), body.read_past(LARGEST)).await.ok_or_else(broken)?.map_err(|_| broken())?;
    if !has_ended {
        return Err(too_large());
    }
    check_media_type(&parts.headers)?;
    let turn = within(late, turns.judged.acquire_owned()).await.and_then(Result::ok).ok_or_else(busy)?;
    // On a thread that may be held up; those that answer everybody may not.
    let (body, span) = (body.into_bytes(), tracing::Span::current());
    let judging = tokio::task::spawn_blocking(move || {
        // Both are given back when it is done, even if nobody waits for it any more.
        let _both = (place, turn);
        span.in_scope(|| judge(&body))
    });
    let judged = judging.await.map_err(|error| Failure::of(&Refusal::unavailable(error), &ADMISSION_REVIEW, ""))?;
    judged.map(IntoResponse::into_response)
}

/// What comes of it before that time is up.
async fn within<T>(end: Pin<&mut Sleep>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = end => None,
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_some() && !is_media_type(content_type, "application/json") {
        let text = "the body must be JSON: Content-Type: application/json";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text));
    }
    Ok(())
}

/// The answer to a review: it takes as long as it is to read it.
fn judge(body: &[u8]) -> Result<Json<Value>, Failure> {
    let asked = read(body)?;
    let verdict = if asked.is_about_a_new_pod() {
        let pod = read_pod(body)?;
        let verdict = decide(&pod);
        log(&asked, &pod, &verdict);
        verdict
    } else {
        Verdict::unchanged("nothing is added here: add-auth-token is for the creation of Pods")
    };
    Ok(Json(answer(&asked.uid, verdict)))
}

fn broken() -> Failure {
    Failure::bad_request("the body ended early, took too long or is not framed as its headers say")
}

fn too_large() -> Failure {
    let text = "the AdmissionReview is larger than 3145728 bytes";
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", text)
}

/// Too many large reviews at once; an API server asks again after that second.
fn busy() -> Failure {
    let refusal = Refusal::new(RefusalKind::Throttled(Duration::from_secs(1)), "too many large reviews at once");
    Failure::of(&refusal, &ADMISSION_REVIEW, "")
}

/// A body as far as it says what is asked; the object in it is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(default, deserialize_with = "by_name_if_any")]
    request: Option<Asked>,
}

/// `request` of a review.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    uid: String,
    #[serde(default, deserialize_with = "by_name_if_any")]
    kind: Option<AskedKind>,
    sub_resource: Option<String>,
    operation: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct AskedKind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

impl Asked {
    fn is_about_a_new_pod(&self) -> bool {
        // To what runs already no volume can be added; and a debug container is given what it asks for alone.
        let is_new =
            self.operation.as_deref() == Some("CREATE") && self.sub_resource.as_deref().is_none_or(str::is_empty);
        let names = |kind: &AskedKind| kind.group.is_empty() && kind.version == "v1" && kind.kind == "Pod";
        is_new && self.kind.as_ref().is_some_and(names)
    }
}

/// Reads what is asked.
fn read(body: &[u8]) -> Result<Asked, Failure> {
    // What is read by name could else be read by place, too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::bad_request("the body must be a JSON object"));
    }
    let review: Review =
        serde_json::from_slice(body).map_err(|error| unreadable("the body", "an AdmissionReview", &error))?;
    let (version, kind) = (ADMISSION_REVIEW.api_version(), ADMISSION_REVIEW.name);
    if review.kind.as_deref() != Some(kind) {
        return Err(Failure::bad_request("the body must be of the kind AdmissionReview"));
    }
    if review.api_version.as_deref() != Some(&version) {
        let text = "the AdmissionReview must be of admission.k8s.io/v1: set admissionReviewVersions to [v1]";
        return Err(Failure::bad_request(text));
    }
    let asked = review.request.ok_or_else(|| Failure::bad_request("the AdmissionReview has no request"))?;
    if asked.uid.is_empty() || asked.uid.len() > LONGEST_UID {
        return Err(Failure::bad_request("request.uid must have 1 to 253 characters"));
    }
    Ok(asked)
}

/// Reads the pod in a review of one.
fn read_pod(body: &[u8]) -> Result<Pod, Failure> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(deserialize_with = "by_name")]
        request: Object,
    }
    #[derive(Deserialize)]
    struct Object {
        #[serde(default, deserialize_with = "by_name_if_any")]
        object: Option<Pod>,
    }
    let whole: Whole = serde_json::from_slice(body).map_err(|error| unreadable("request.object", "a Pod", &error))?;
    whole.request.object.ok_or_else(|| Failure::bad_request("request.object is missing"))
}

/// What is said of it is its place: what is there may be anything.
fn unreadable(what: &'static str, expected: &'static str, error: &serde_json::Error) -> Failure {
    let place = format!("line {} column {}", error.line(), error.column());
    Failure::bad_request(if error.is_data() {
        format!("{what} is not {expected} ({place})")
    } else {
        format!("the body is not JSON ({place})")
    })
}

fn answer(uid: &str, verdict: Verdict) -> Value {
    let mut response = json!({ "uid": uid, "allowed": true });
    if !verdict.patch.is_empty() {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(Value::Array(verdict.patch).to_string()).into();
    }
    if !verdict.warnings.is_empty() {
        response["warnings"] = json!(verdict.warnings);
    }
    json!({ "kind": ADMISSION_REVIEW.name, "apiVersion": ADMISSION_REVIEW.api_version(), "response": response })
}

fn log(asked: &Asked, pod: &Pod, verdict: &Verdict) {
    let (namespace, name) = (harmless(asked.namespace.as_deref().unwrap_or_default()), harmless(pod.name()));
    if verdict.mounted > 0 {
        tracing::info!(
            { pod.namespace = %namespace, pod.name = %name, pod.containers = verdict.mounted },
            "a pod gets the token that is always fresh"
        );
    }
    for warning in &verdict.warnings {
        tracing::warn!({ pod.namespace = %namespace, pod.name = %name, cause = %warning }, "a pod, or a container of it, gets no token");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> u16 {
        read(body.as_bytes()).err().map_or(200, |failure| failure.into_response().status().as_u16())
    }

    #[test]
    fn what_is_no_review_of_this_version_is_refused() {
        let good = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u"}}"#;
        assert_eq!(refused(good), 200);
        for (from, to) in [
            ("admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
            ("AdmissionReview", "ConversionReview"),
            (r#""uid":"u""#, ""),
            (r#"{"uid":"u"}"#, "null"),
            (r#""uid":"u""#, r#""uid":7"#),
            (r#""uid":"u""#, r#""uid":"u","uid":"v""#),
            ("}}", "}"),
            (good, r#"["admission.k8s.io/v1","AdmissionReview",["u"]]"#),
            (good, ""),
            (r#"{"uid":"u"}"#, r#"["u"]"#),
            (r#"{"uid":"u"}"#, r#"["u",["","v1","Pod"],null,"CREATE","ada"]"#),
            (r#""uid":"u""#, r#""uid":"u","kind":["","v1","Pod"]"#),
        ] {
            assert_eq!(refused(&good.replace(from, to)), 400, "{to}");
        }
    }
}
