//! The webhook that gives pods the token that is always fresh, as an API server asks it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::{
    domain::Policy,
    http::{Function, Options, router},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tower::ServiceExt;

use crate::support::{Answer, ISSUER, TestService, asking::random};

const PATH: &str = "/webhooks/add-auth-token";
const ANNOTATION: &str = "hpe-ezua/add-auth-token";
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
/// The largest review.
const LARGEST: usize = 3 * 1024 * 1024;

/// A pod as it is when an API server asks: its defaults filled in, the service account's token mounted.
fn pod(annotations: &Value) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "generateName": "notebook-", "namespace": "ada", "creationTimestamp": null, "annotations": annotations,
            "labels": { "app": "notebook" },
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-22T10:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:metadata": { "f:annotations": { ".": {}, format!("f:{ANNOTATION}"): {} } } }
            }]
        },
        "spec": {
            "volumes": [{ "name": "kube-api-access-7xk2p", "projected": {
                "sources": [{ "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } }], "defaultMode": 420
            } }],
            "initContainers": [{ "name": "prepare", "image": "busybox:1.36", "resources": {} }],
            "containers": [
                { "name": "notebook", "image": "jupyter:1", "resources": {}, "volumeMounts": [{
                    "name": "kube-api-access-7xk2p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"
                }] },
                { "name": "proxy", "image": "proxy:1", "resources": {} }
            ],
            "restartPolicy": "Always", "serviceAccountName": "default"
        },
        "status": {}
    })
}

/// What an API server sends about the creation of an object.
fn review(object: &Value) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "ada", "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "a2c6",
                "groups": ["system:serviceaccounts", "system:authenticated"]
            },
            "object": object, "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" }
        }
    })
}

async fn send(test: &TestService, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::post(format!("{PATH}?timeout=10s"));
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    test.send(request.body(body.into()).unwrap()).await
}

/// The answer to a review, which is one.
async fn ask(test: &TestService, review: &Value) -> Value {
    let answer = send(test, Some("application/json"), review.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/json", "no-store"));
    assert_eq!(
        (&answer.json["kind"], &answer.json["apiVersion"]),
        (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
    );
    assert_eq!(answer.json.as_object().unwrap().len(), 3, "{}", answer.text);
    let response = answer.json["response"].clone();
    assert_eq!((&response["uid"], &response["allowed"]), (&review["request"]["uid"], &json!(true)), "{response}");
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "{response}");
    response
}

fn patch(response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch", "{response}");
    serde_json::from_slice(&STANDARD.decode(response["patch"].as_str().unwrap()).unwrap()).unwrap()
}

/// The object with the patch applied, of which only `add` is there (RFC 6902 §4.1).
fn applied(mut object: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        assert_eq!(operation["op"], "add");
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(list) if name == "-" => list.push(operation["value"].clone()),
            Value::Object(members) => {
                members.insert(name.to_owned(), operation["value"].clone());
            }
            other => panic!("{other}"),
        }
    }
    object
}

#[tokio::test]
async fn a_pod_that_asks_gets_the_token_once_and_nobody_is_asked_for_anything() {
    let test = TestService::new().await;
    test.store.round_trips();
    test.store.set_away(true);
    let asking = pod(&json!({ ANNOTATION: "true", "a/b~c": "d" }));
    let response = ask(&test, &review(&asking)).await;
    assert_eq!(response.as_object().unwrap().len(), 4, "{response}");
    let mount = json!({ "name": "ezua-auth-token", "mountPath": "/etc/secrets/ezua", "readOnly": true });
    let mut expected = asking.clone();
    expected["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "ezua-auth-token", "secret": {
        "secretName": "access-token", "items": [{ "key": "AUTH_TOKEN", "path": ".auth_token" }],
        "defaultMode": 0o444, "optional": true
    } }));
    expected["spec"]["initContainers"][0]["volumeMounts"] = json!([mount]);
    expected["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount.clone());
    expected["spec"]["containers"][1]["volumeMounts"] = json!([mount]);
    let patched = applied(asking.clone(), &patch(&response));
    assert_eq!(patched, expected);

    // The same request has the same answer, and what has it gets it no second time, also with a container more.
    assert_eq!(ask(&test, &review(&asking)).await, response);
    assert_eq!(ask(&test, &review(&patched)).await, json!({ "uid": UID, "allowed": true }));
    let mut injected = patched.clone();
    injected["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "late", "image": "late:1" }));
    assert_eq!(
        patch(&ask(&test, &review(&injected)).await),
        json!([{ "op": "add", "path": "/spec/containers/2/volumeMounts", "value": [mount] }])
    );
    let mut tried = review(&asking);
    tried["request"]["dryRun"] = true.into();
    assert_eq!(ask(&test, &tried).await, response);
    assert_eq!(test.store.round_trips(), (0, 0));
    println!("counted: 5 reviews of pods that ask, by nobody's leave and with the store away");
}

#[tokio::test]
async fn what_does_not_ask_or_cannot_have_it_is_allowed_as_it_is() {
    let test = TestService::new().await;
    let unchanged = json!({ "uid": UID, "allowed": true });
    for annotations in [json!({}), Value::Null, json!({ ANNOTATION: "false" }), json!({ "add-auth-token": "true" })] {
        assert_eq!(ask(&test, &review(&pod(&annotations))).await, unchanged, "{annotations}");
    }
    let warned = async |review: &Value, word: &str| {
        let response = ask(&test, review).await;
        let warnings = response["warnings"].as_array().unwrap();
        assert!(response.get("patch").is_none() && warnings.len() == 1, "{response}");
        assert!(warnings[0].as_str().unwrap().contains(word), "{response}");
    };
    for odd in [json!(true), json!("True"), json!("yes"), json!(""), Value::Null, json!(1), json!(["true"]), json!({})]
    {
        warned(&review(&pod(&json!({ ANNOTATION: odd }))), "in quotes").await;
    }
    let mut nothing = pod(&json!({}));
    nothing["metadata"] = Value::Null;
    assert_eq!(ask(&test, &review(&nothing)).await, unchanged);
    let mut label = pod(&json!({}));
    label["metadata"]["labels"][ANNOTATION] = "true".into();
    warned(&review(&label), "must be an annotation").await;
    warned(&review(&pod(&json!({ ANNOTATION: "true", "kubernetes.io/config.mirror": "x" }))), "static pod").await;

    // Another volume in its place: that container is left alone, the others are not.
    let mut clashing = pod(&json!({ ANNOTATION: "true" }));
    clashing["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "ezua-auth-token", "emptyDir": {} }));
    clashing["spec"]["containers"][1]["volumeMounts"] =
        json!([{ "name": "ezua-auth-token", "mountPath": "/etc/secrets/ezua" }]);
    let response = ask(&test, &review(&clashing)).await;
    assert!(response["warnings"][0].as_str().unwrap().starts_with("container proxy gets no token"), "{response}");
    let patched = applied(clashing.clone(), &patch(&response));
    assert_eq!(patched["spec"]["containers"][1], clashing["spec"]["containers"][1]);
    assert_eq!(patched["spec"]["containers"][0]["volumeMounts"][1]["name"], "ezua-auth-token-2");
    assert_eq!(patched["spec"]["volumes"][2]["name"], "ezua-auth-token-2");

    // What is asked about something else than a new pod.
    let asking = review(&pod(&json!({ ANNOTATION: "true" })));
    for (pointer, other) in [
        ("/request/kind/kind", json!("Deployment")),
        ("/request/kind/group", json!("apps")),
        ("/request/kind/version", json!("v2")),
        ("/request/operation", json!("UPDATE")),
        ("/request/operation", json!("DELETE")),
        ("/request/operation", json!("CONNECT")),
        ("/request/kind", Value::Null),
    ] {
        let mut review = asking.clone();
        *review.pointer_mut(pointer).unwrap() = other;
        warned(&review, "creation of Pods").await;
    }
    let mut debugged = asking.clone();
    debugged["request"]["subResource"] = "ephemeralcontainers".into();
    warned(&debugged, "creation of Pods").await;
    let mut deleted = asking;
    (deleted["request"]["operation"], deleted["request"]["object"]) = ("DELETE".into(), Value::Null);
    warned(&deleted, "creation of Pods").await;
    println!("counted: 25 reviews allowed as they are, and it is said why");
}

/// The Status of a refusal.
fn refusal(answer: &Answer) -> (u16, &str) {
    assert_eq!(
        (&answer.json["kind"], &answer.json["status"]),
        (&json!("Status"), &json!("Failure")),
        "{}",
        answer.text
    );
    assert_eq!(answer.json["code"], answer.status.as_u16(), "{}", answer.text);
    (answer.status.as_u16(), answer.json["message"].as_str().unwrap())
}

#[tokio::test]
async fn what_is_no_review_is_refused_and_nothing_of_it_is_repeated() {
    let test = TestService::new().await;
    let good = review(&pod(&json!({ ANNOTATION: "true" }))).to_string();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let hidden = "hidden-in-the-pod";
    let mut refused = 0;
    for (body, told) in [
        (String::new(), "JSON object"),
        ("null".into(), "JSON object"),
        (format!("[{good}]"), "JSON object"),
        (format!("not json: {hidden}"), "JSON object"),
        (good[..good.len() - 1].to_owned(), "not JSON"),
        (format!("{good}}}"), "not JSON"),
        (format!("{good}{good}"), "not JSON"),
        ("{}".into(), "kind AdmissionReview"),
        (with("AdmissionReview", "TokenReview"), "kind AdmissionReview"),
        (with(r#""AdmissionReview""#, "7"), "not an AdmissionReview"),
        (with("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), "admissionReviewVersions"),
        (with(r#""request":{"#, r#""response":{"#), "no request"),
        (with(&format!(r#""uid":"{UID}""#), r#""x":1"#), "request.uid"),
        (with(UID, ""), "request.uid"),
        (with(UID, &"u".repeat(300)), "request.uid"),
        (with(r#""operation":"CREATE""#, r#""operation":["CREATE"]"#), "not an AdmissionReview"),
        (with(r#""operation":"CREATE""#, r#""operation":"CREATE","operation":"UPDATE""#), "not an AdmissionReview"),
        (with(r#""containers":["#, &format!(r#""containers":"{hidden}","x":["#)), "request.object is not a Pod"),
        (with(r#""name":"proxy""#, r#""name":{}"#), "request.object is not a Pod"),
        (with(r#""name":"proxy""#, r#""no":"name""#), "request.object is not a Pod"),
        (
            with(r#""annotations":{"#, r#""annotations":{"hpe-ezua/add-auth-token":"false","#),
            "request.object is not a Pod",
        ),
        (with(r#""annotations":{"#, r#""annotations":["#).replacen(r#""true"}"#, r#""true"]"#, 1), "not JSON"),
        (
            with(r#""containers":["#, &format!(r#""containers":[["{hidden}",null,null],"#)),
            "request.object is not a Pod",
        ),
        (
            with(r#""metadata":{"#, r#""metadata":[null,null,{"hpe-ezua/add-auth-token":"true"},null],"x":{"#),
            "request.object is not a Pod",
        ),
        (with(r#""kind":{"group":"","#, r#""kind":["","v1","Pod"],"x":{"group":"","#), "not an AdmissionReview"),
        (with(r#""spec":{"#, r#""specification":{"#), "request.object is not a Pod"),
        (with(r#""object":{"#, r#""subject":{"#), "request.object is missing"),
    ] {
        let answer = send(&test, Some("application/json"), body.clone()).await;
        let (status, message) = refusal(&answer);
        assert_eq!(status, 400, "{body}: {message}");
        assert!(message.contains(told), "{body}: {message}");
        assert!(!answer.text.contains(hidden), "{message}");
        refused += 1;
    }
    for wrong in ["application/x-www-form-urlencoded", "text/plain", "application/yaml", ""] {
        assert_eq!(refusal(&send(&test, Some(wrong), good.clone()).await).0, 415, "{wrong}");
        refused += 1;
    }
    for fine in [None, Some("application/json; charset=utf-8")] {
        assert_eq!(send(&test, fine, good.clone()).await.status, StatusCode::OK);
    }
    for (method, path, status) in [
        (Method::GET, PATH, 405),
        (Method::PUT, PATH, 405),
        (Method::OPTIONS, PATH, 405),
        (Method::POST, "/webhooks", 404),
        (Method::POST, "/webhooks/other", 404),
        (Method::GET, "/webhooks/add-auth-token/x", 404),
    ] {
        let request = Request::builder().method(&method).uri(path).header(header::ORIGIN, "https://evil.example");
        let answer = test.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(refusal(&answer).0, status, "{method} {path}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        refused += 1;
    }
    println!("counted: {refused} requests refused by a Status");
}

/// A review of exactly this many bytes.
fn of_length(length: usize) -> String {
    let mut asking = pod(&json!({ ANNOTATION: "true", "filling": "" }));
    let short = review(&asking).to_string().len();
    asking["metadata"]["annotations"]["filling"] = "x".repeat(length - short).into();
    let text = review(&asking).to_string();
    assert_eq!(text.len(), length);
    text
}

#[tokio::test]
async fn a_review_may_have_three_mebibytes_and_no_byte_more() {
    let test = TestService::new().await;
    let json = Some("application/json");
    for length in [64 * 1024, 64 * 1024 + 1, LARGEST] {
        let answer = send(&test, json, of_length(length)).await;
        assert_eq!(answer.status, StatusCode::OK, "{length}: {}", answer.text);
        assert_eq!(patch(&answer.json["response"]).as_array().unwrap().len(), 4);
    }
    let long = of_length(LARGEST + 1);
    // Of a length that is not said.
    let in_pieces = |text: &str| Body::new(Full::new(Bytes::from(text.to_owned())).map_frame(|frame| frame));
    for body in [Body::from(long.clone()), in_pieces(&long), Body::from(vec![b'['; LARGEST * 2])] {
        let answer = send(&test, json, body).await;
        assert_eq!(refusal(&answer), (413, "the AdmissionReview is larger than 3145728 bytes"));
        assert_eq!(answer.json["reason"], "RequestEntityTooLarge");
    }
    assert_eq!(send(&test, json, in_pieces(&of_length(LARGEST))).await.status, StatusCode::OK);
    // Deep, and without an end.
    for filling in [
        "[".repeat(LARGEST),
        "{\"a\":".repeat(LARGEST / 5),
        format!("{{\"request\":{{\"object\":{}", "[".repeat(LARGEST - 22)),
    ] {
        assert_eq!(refusal(&send(&test, json, filling).await).0, 400);
    }
    // As many containers, mounts and volumes as there is room for.
    for (member, element) in [
        ("containers", r#"{"name":""},"#),
        ("volumes", r#"{"name":""},"#),
        ("initContainers", r#"{"name":"","volumeMounts":[]},"#),
    ] {
        let room = (LARGEST - 10_000) / element.len();
        let sent = review(&pod(&json!({ ANNOTATION: "true" }))).to_string();
        let begins = format!("\"{member}\":[");
        assert!(sent.contains(&begins));
        let answer = send(&test, json, sent.replacen(&begins, &format!("{begins}{}", element.repeat(room)), 1)).await;
        let response = &answer.json["response"];
        assert_eq!((answer.status, &response["allowed"]), (StatusCode::OK, &json!(true)), "{}", answer.text);
        assert!(response.get("patch").is_none(), "{}", answer.text);
        assert!(response["warnings"][0].as_str().unwrap().contains("more than 1000 elements"), "{}", answer.text);
    }
    println!("counted: 13 reviews of up to 3 MiB and a byte");
}

/// A body that says when it is read, has so much in it at once, and ends when it is told to.
struct Held {
    read: Option<mpsc::UnboundedSender<()>>,
    at_once: Option<Bytes>,
    end: Option<oneshot::Receiver<()>>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(bytes) = self.at_once.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // Whoever asks for more has what was there.
        if let Some(read) = self.read.take() {
            read.send(()).unwrap();
        }
        match &mut self.end {
            Some(end) => Pin::new(end).poll(context).map(|_| None),
            None => Poll::Ready(None),
        }
    }
}

/// Reviews under way, of each of which so much has arrived as that.
struct Underway {
    ends: Vec<oneshot::Sender<()>>,
    answers: Vec<JoinHandle<Answer>>,
}

impl Underway {
    async fn begin(test: &Arc<TestService>, number: usize, at_once: &str) -> Self {
        let (read, mut reading) = mpsc::unbounded_channel();
        let (mut ends, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..number {
            let (ender, end) = oneshot::channel();
            let at_once = Some(Bytes::from(at_once.to_owned()));
            let body = Body::new(Held { read: Some(read.clone()), at_once, end: Some(end) });
            let test = test.clone();
            answers.push(tokio::spawn(async move { send(&test, Some("application/json"), body).await }));
            ends.push(ender);
            reading.recv().await.unwrap();
        }
        Self { ends, answers }
    }
}

#[tokio::test]
async fn strangers_cannot_make_it_hold_more_than_sixty_four_large_reviews_at_a_time_nor_for_long() {
    let test = Arc::new(TestService::new().await);
    let json = Some("application/json");
    let begun = " ".repeat(64 * 1024 + 1);
    let mut held = Underway::begin(&test, 64, &begun).await;
    let busy = send(&test, json, of_length(LARGEST)).await;
    assert_eq!((refusal(&busy).0, busy.header("retry-after")), (429, "1"), "{}", busy.text);
    assert_eq!(send(&test, json, of_length(64 * 1024)).await.status, StatusCode::OK, "usual ones are answered");
    held.ends.pop().unwrap().send(()).unwrap();
    assert_eq!(held.answers.pop().unwrap().await.unwrap().status, StatusCode::BAD_REQUEST);
    assert_eq!(send(&test, json, of_length(LARGEST)).await.status, StatusCode::OK);
    // Nobody ends the others, and they end; a usual body would be waited for three times as long.
    let all_end = async {
        for answer in held.answers {
            let answer = answer.await.unwrap();
            let (status, message) = refusal(&answer);
            assert!(status == 400 && message.contains("took too long"), "{status}: {message}");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_end).await.unwrap();
    let again = Underway::begin(&test, 64, &begun).await;
    println!("counted: {} large reviews held, twice, and the next one told to come again", again.ends.len());
}

#[tokio::test]
async fn what_has_not_arrived_keeps_no_large_review_out() {
    let test = Arc::new(TestService::new().await);
    // As a client leaves them that says nothing of their length and sends a byte of it, or all that a usual body may have.
    let (one_byte, usual) = ("{".to_owned(), " ".repeat(64 * 1024));
    let idle = [Underway::begin(&test, 100, &one_byte).await, Underway::begin(&test, 100, &usual).await];
    let answer = send(&test, Some("application/json"), of_length(LARGEST)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let waiting = idle.iter().flat_map(|some| &some.answers).filter(|answer| !answer.is_finished()).count();
    assert_eq!(waiting, 200);
    println!("counted: {waiting} bodies that do not end, beside a large review");
}

/// A review of more than half a MiB that takes long to judge, as reviews go: of volumes with the token, and of mounts in its place
/// that are of none of them.
fn crowded() -> String {
    let secret = json!({ "secretName": "access-token", "items": [{ "key": "AUTH_TOKEN", "path": ".auth_token" }] });
    let volumes: Vec<Value> =
        (0..1000).map(|number| json!({ "name": format!("a{number:04}"), "secret": secret })).collect();
    let mounts: Vec<Value> =
        (0..1000).map(|number| json!({ "name": format!("b{number:04}"), "mountPath": "/etc/secrets/ezua" })).collect();
    let containers: Vec<Value> =
        (0..12).map(|number| json!({ "name": format!("c{number}"), "volumeMounts": mounts })).collect();
    let mut asking = pod(&json!({ ANNOTATION: "true" }));
    (asking["spec"]["containers"], asking["spec"]["volumes"]) = (containers.into(), volumes.into());
    let text = review(&asking).to_string();
    assert!((LARGEST / 6..=LARGEST).contains(&text.len()), "{}", text.len());
    text
}

/// On one thread, so that whatever holds it up holds up everybody.
#[tokio::test]
async fn others_are_answered_while_large_reviews_are_under_way() {
    let test = Arc::new(TestService::new().await);
    let review = Bytes::from(crowded());
    let (read, mut reading) = mpsc::unbounded_channel();
    let mut answers = Vec::new();
    for _ in 0..16 {
        let body = Body::new(Held { read: Some(read.clone()), at_once: Some(review.clone()), end: None });
        let test = test.clone();
        answers.push(tokio::spawn(async move { send(&test, Some("application/json"), body).await }));
    }
    for _ in 0..16 {
        reading.recv().await.unwrap();
    }
    let healthy = test.send(Request::get("/healthz").body(Body::empty()).unwrap()).await;
    let judged = answers.iter().filter(|answer| answer.is_finished()).count();
    assert_eq!(healthy.status, StatusCode::OK);
    assert!(judged < 8, "{judged} of 16 were judged before anybody else was answered");
    for answer in answers {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json["response"]["warnings"].as_array().unwrap().len(), 6, "{}", answer.text);
    }
    println!("counted: 16 large reviews, {judged} of them judged when somebody else was answered");
}

#[tokio::test]
async fn the_functions_that_answer_are_admin_and_the_one_for_everything() {
    let test = TestService::new().await;
    let mut answered = Vec::new();
    for (function, name) in Function::ALL {
        let body = review(&pod(&json!({}))).to_string();
        let request =
            Request::post(PATH).header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap();
        let of = test.beside(Policy::new(ISSUER));
        let response = router(of, function, &Options::default()).oneshot(request).await.unwrap();
        if response.status() == StatusCode::OK {
            answered.push(name);
        }
    }
    assert_eq!(answered, ["admin", "http"]);
    println!("counted: {} functions asked", Function::ALL.len());
}

/// Random damage never makes more of an answer than a refusal, or a pod that is allowed.
#[tokio::test]
async fn whatever_is_sent_it_is_a_verdict_or_a_refusal() {
    let test = TestService::new().await;
    let good = review(&pod(&json!({ ANNOTATION: "true" }))).to_string();
    let (mut verdicts, mut refusals) = (0, 0);
    let within = tokio::time::timeout(Duration::from_mins(2), async {
        for _ in 0..3000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..=random(3) {
                let at = usize::try_from(random(bytes.len() as u64)).unwrap();
                match random(4) {
                    0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                    1 => {
                        bytes.remove(at);
                    }
                    2 => bytes.insert(at, b"{}[]\",:0tn"[usize::try_from(random(10)).unwrap()]),
                    _ => {
                        let end = (at + 1 + usize::try_from(random(60)).unwrap()).min(bytes.len());
                        drop(bytes.drain(at..end));
                    }
                }
            }
            let answer = send(&test, Some("application/json"), bytes).await;
            match answer.status.as_u16() {
                200 => {
                    assert_eq!(answer.json["response"]["allowed"], true, "{}", answer.text);
                    verdicts += 1;
                }
                400 => {
                    refusal(&answer);
                    refusals += 1;
                }
                other => panic!("{other}: {}", answer.text),
            }
        }
    });
    within.await.unwrap();
    assert!(verdicts > 0 && refusals > 0);
    println!("counted: {} damaged reviews, {verdicts} verdicts and {refusals} refusals", verdicts + refusals);
}
