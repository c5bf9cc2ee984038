//! Every sample event, through the real artefact: `gatemint-lambda` against a Lambda Runtime API.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking, as a test does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::runtime_api::{Function, Outcome};

/// One step of `tests/events/expected.json`: steps run in the file's order, and one may need what another one kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The file's name in `events/`.
    event: String,
    /// The status of the answer.
    status: u16,
    /// What the answer's body holds, as it stands.
    #[serde(default)]
    body_contains: Vec<String>,
    /// What later steps need: the name of a placeholder, and a JSON pointer into the answer's body.
    #[serde(default)]
    keep: BTreeMap<String, String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A data directory as a first `gatemint serve` makes it.
fn data_directory() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_gatemint"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .env_clear()
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It prints how to sign in once the data directory is complete; the output ends if it cannot make one.
    let ready = BufReader::new(serve.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("admin-password"));
    serve.kill().unwrap();
    serve.wait().unwrap();
    assert!(ready, "serve ended before its data directory was complete");
    home
}

/// The variables of a local run on `home`, with the issuer that the sample events are made for.
async fn local_function(home: &TempDir) -> Function {
    let data = home.path().join("data");
    Function::start(&[("GATEMINT_DATA", data.to_str().unwrap()), ("GATEMINT_ISSUER", "https://auth.example.org")]).await
}

fn fill(text: &str, kept: &BTreeMap<String, String>) -> String {
    kept.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

fn sample(name: &str) -> Value {
    let path = root().join("events").join(name);
    serde_json::from_str(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Status and body of an answer in payload format 2.0.
fn answer(outcome: Outcome) -> (u16, String) {
    match outcome {
        Outcome::Response(reply) => {
            assert_eq!(reply["isBase64Encoded"], json!(false), "every answer so far is text: {reply}");
            let status = reply["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
            (status, reply["body"].as_str().unwrap_or_default().to_owned())
        }
        Outcome::Error(error) => panic!("an error instead of an answer: {error}"),
    }
}

#[tokio::test]
async fn every_sample_event_is_answered_as_expected() {
    let steps: Vec<Step> =
        serde_json::from_str(&fs::read_to_string(root().join("tests/events/expected.json")).unwrap()).unwrap();
    let files: BTreeSet<String> = fs::read_dir(root().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected: BTreeSet<String> = steps.iter().map(|step| step.event.clone()).collect();
    assert_eq!(files, expected, "events/ and tests/events/expected.json name different files");

    let home = data_directory();
    let mut function = local_function(&home).await;
    let password = fs::read_to_string(home.path().join("data/admin-password")).unwrap();
    let mut kept = BTreeMap::from([("admin_password".to_owned(), password)]);
    let mut wrong = Vec::new();
    for step in &steps {
        let event = fill(&sample(&step.event).to_string(), &kept);
        assert!(!event.contains("{{"), "{}: nothing was kept for a placeholder", step.event);
        let (status, body) = answer(function.invoke(&event).await);
        for (name, pointer) in &step.keep {
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            if let Some(value) = body.pointer(pointer).and_then(Value::as_str) {
                kept.insert(name.clone(), value.to_owned());
            }
        }
        if status != step.status || !step.body_contains.iter().all(|part| body.contains(part)) {
            wrong.push(format!("{}: {status} {body}", step.event));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), function.output());
    assert_eq!(function.exited(), None);
    report(&format!("counted: {} events, {} answered as expected", steps.len(), steps.len() - wrong.len()));
}

#[expect(clippy::print_stdout, reason = "the count is for whoever reads the run")]
fn report(line: &str) {
    println!("{line}");
}

#[tokio::test]
async fn an_event_that_would_end_a_handler_is_refused_and_the_next_one_is_answered() {
    let home = data_directory();
    let mut function = local_function(&home).await;
    let process_id = function.process_id();
    let healthz = sample("healthz.json").to_string();
    for (pointer, value) in [
        ("/headers/host", json!("a b")),
        ("/headers/host", json!("[")),
        ("/headers/host", json!("a:99999")),
        ("/headers/host", json!("x.127.0.0.1")),
        ("/headers/x-forwarded-proto", json!("1")),
        ("/headers/x-a", json!("a\nb")),
        ("/headers/a b", json!("c")),
        ("/requestContext/http/method", json!("GE T")),
        ("/requestContext/http", json!({})),
        ("/requestContext", json!(null)),
        ("/rawPath", json!("healthz")),
        ("/rawPath", json!("/\u{7f}")),
        ("/rawQueryString", json!("a b")),
        ("/rawQueryString", json!("a".repeat(70_000))),
    ] {
        let mut event = sample("healthz.json");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[name] = value.clone();
        let (status, body) = answer(function.invoke(&event.to_string()).await);
        assert_eq!(status, 400, "{pointer} {value}: {body}");
        assert!(body.contains("invalid_request"), "{pointer} {value}: {body}");
        assert_eq!(answer(function.invoke(&healthz).await).0, 200, "after {pointer} {value}");
    }
    assert_eq!((function.process_id(), function.exited()), (process_id, None));
}

#[tokio::test]
async fn an_event_that_is_no_http_event_is_an_error_and_the_next_one_is_answered() {
    let home = data_directory();
    let mut function = local_function(&home).await;
    for event in [
        json!({ "Records": [{ "eventSource": "aws:sqs" }] }).to_string(),
        json!({ "version": "1.0", "httpMethod": "GET", "path": "/healthz" }).to_string(),
        "null".to_owned(),
    ] {
        let Outcome::Error(error) = function.invoke(&event).await else { panic!("{event} was answered") };
        assert_eq!(error["errorType"], "UnsupportedEvent");
        assert!(error["errorMessage"].as_str().unwrap().contains("payload format 2.0"), "{error}");
    }
    // Half a surrogate pair is JSON to some and nothing to a Rust string.
    let Outcome::Error(_) = function.invoke(r#"{"rawPath":"/\ud800"}"#).await else { panic!("answered") };
    assert_eq!(answer(function.invoke(&sample("healthz.json").to_string()).await).0, 200);
}

#[tokio::test]
async fn an_unknown_function_stops_at_init() {
    let (status, output) = Function::start(&[("GATEMINT_FUNCTION", "tokens")]).await.ended().await;
    assert!(!status.success());
    assert!(
        output.contains("GATEMINT_FUNCTION") && output.contains("token, discovery, admin, http, all"),
        "the known functions are named:\n{output}"
    );
}

#[tokio::test]
async fn a_deployed_function_without_a_store_stops_at_init() {
    let deployed =
        [("LAMBDA_TASK_ROOT", "/var/task"), ("_HANDLER", "bootstrap"), ("GATEMINT_ISSUER", "https://auth.example.org")];
    let (status, output) = Function::start(&deployed).await.ended().await;
    assert!(!status.success());
    assert!(output.contains("GATEMINT_STORE"), "the setting is named:\n{output}");
}

#[tokio::test]
async fn a_deployed_function_is_never_all_of_them() {
    let (status, output) = Function::start(&[("LAMBDA_TASK_ROOT", "/var/task")]).await.ended().await;
    assert!(!status.success());
    assert!(output.contains("GATEMINT_FUNCTION"), "the setting is named:\n{output}");
}

#[tokio::test]
async fn a_local_function_without_data_stops_at_init() {
    let absent: PathBuf = tempfile::tempdir().unwrap().path().join("absent");
    let (status, output) = Function::start(&[("GATEMINT_DATA", absent.to_str().unwrap())]).await.ended().await;
    assert!(!status.success());
    assert!(output.contains("gatemint serve"), "the way out is named:\n{output}");
    assert!(!absent.exists(), "only serve creates a data directory");
}

#[tokio::test]
async fn no_log_level_shows_what_a_request_holds() {
    let home = data_directory();
    let data = home.path().join("data");
    let mut function = Function::start(&[
        ("GATEMINT_DATA", data.to_str().unwrap()),
        ("GATEMINT_LOG", "trace,lambda_runtime::layers=trace"),
    ])
    .await;
    let mut event = sample("token-password.json");
    event["body"] = json!("grant_type=password&username=ada&password=a-needle-in-a-haystack");
    event["headers"]["authorization"] = json!("Bearer another-needle-in-it");
    let (status, body) = answer(function.invoke(&event.to_string()).await);
    assert_eq!(status, 401, "{body}");
    // The next answer shows that whatever the first one had to log was written.
    answer(function.invoke(&sample("healthz.json").to_string()).await);
    let output = function.output();
    assert!(!output.is_empty(), "the level was not set");
    assert!(!output.contains("needle"), "{output}");
}
