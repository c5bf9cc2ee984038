//! Every sample event, through the real artefact: `gatemint-lambda` against a Lambda Runtime API.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking, as a test does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rusqlite::Connection;
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
    /// The status of the answer, if it is an HTTP API's.
    status: Option<u16>,
    /// What the function is told besides, if anything: each such set of settings has a process of its own.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// What the function fails with, if it is to: API Gateway makes a 401 of one such text.
    error: Option<String>,
    /// What the answer's body holds, as it stands.
    #[serde(default)]
    body_contains: Vec<String>,
    /// The answer's headers that have to be there, and what each holds.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How long the event may be sent again until the answer is as expected, where that takes time; otherwise once.
    #[serde(default)]
    within_s: u64,
    /// What later steps need: the name of a placeholder, and a JSON pointer into the answer's body.
    #[serde(default)]
    keep: BTreeMap<String, String>,
    /// The same for what is in base64 there.
    #[serde(default)]
    keep_decoded: BTreeMap<String, String>,
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
    // It may have been killed in the middle of a run that looks after mirrored tokens, which nobody takes over for two minutes.
    let database = Connection::open(home.path().join("data/gatemint.db")).unwrap();
    database.execute("DELETE FROM items WHERE partition = 'fresh#run'", []).unwrap();
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

fn of_base64(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
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

/// What an event came to.
#[derive(Debug)]
struct Told {
    /// Of an HTTP API's answer.
    status: Option<u16>,
    headers: Value,
    /// The error's text where it is one.
    error: Option<String>,
    /// What is left to read.
    body: String,
}

impl Told {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Response(reply) if reply.get("statusCode").is_some() => {
                let headers = reply["headers"].clone();
                let (status, body) = answer(Outcome::Response(reply));
                Self { status: Some(status), headers, error: None, body }
            }
            Outcome::Response(reply) => Self { status: None, headers: json!({}), error: None, body: reply.to_string() },
            Outcome::Error(error) => {
                let text = error["errorMessage"].as_str().map(str::to_owned);
                Self { status: None, headers: json!({}), error: text, body: error.to_string() }
            }
        }
    }

    fn is_as_expected(&self, step: &Step) -> bool {
        let has =
            |(name, part): (&String, &String)| self.headers[name].as_str().is_some_and(|value| value.contains(part));
        self.status == step.status
            && self.error == step.error
            && step.body_contains.iter().all(|part| self.body.contains(part))
            && step.headers.iter().all(has)
    }
}

/// The processes of a local run on one data directory, one for each set of settings.
struct Functions<'h> {
    home: &'h TempDir,
    running: BTreeMap<BTreeMap<String, String>, Function>,
}

impl Functions<'_> {
    async fn told(&mut self, settings: &BTreeMap<String, String>) -> &mut Function {
        if !self.running.contains_key(settings) {
            let data = self.home.path().join("data");
            let mut variables =
                vec![("GATEMINT_DATA", data.to_str().unwrap()), ("GATEMINT_ISSUER", "https://auth.example.org")];
            variables.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            self.running.insert(settings.clone(), Function::start(&variables).await);
        }
        self.running.get_mut(settings).unwrap()
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
    let mut functions = Functions { home: &home, running: BTreeMap::new() };
    let password = fs::read_to_string(home.path().join("data/admin-password")).unwrap();
    let signing_secret = gatemint::domain::key::KeySet::SECRET.to_owned();
    let mut kept = BTreeMap::from([
        // As `Authorization: Basic` has it.
        ("admin_basic".to_owned(), STANDARD.encode(format!("admin:{password}"))),
        ("admin_password".to_owned(), password),
        ("signing_secret".to_owned(), signing_secret),
    ]);
    let mut wrong = Vec::new();
    for step in &steps {
        let event = fill(&sample(&step.event).to_string(), &kept);
        assert!(!event.contains("{{"), "{}: nothing was kept for a placeholder", step.event);
        let function = functions.told(&step.settings).await;
        let deadline = now() + Duration::from_secs(step.within_s);
        let mut told = Told::of(function.invoke(&event).await);
        while !told.is_as_expected(step) && now() < deadline {
            told = Told::of(function.invoke(&event).await);
        }
        let body: Value = serde_json::from_str(&told.body).unwrap_or_default();
        let text = |pointer: &String| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let plain = step.keep.iter().map(|(name, pointer)| (name, text(pointer)));
        let decoded =
            step.keep_decoded.iter().map(|(name, pointer)| (name, text(pointer).as_deref().and_then(of_base64)));
        for (name, value) in plain.chain(decoded) {
            kept.extend(value.map(|value| (name.clone(), value)));
        }
        if !told.is_as_expected(step) {
            wrong.push(format!("{}: {told:?}", step.event));
        }
    }
    let outputs: Vec<String> = functions.running.values().map(Function::output).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), outputs.join("\n"));
    assert!(functions.running.values_mut().all(|function| function.exited().is_none()));
    report(&format!("counted: {} events, {} answered as expected", steps.len(), steps.len() - wrong.len()));
}

#[expect(clippy::disallowed_methods, reason = "how long a test waits")]
fn now() -> Instant {
    Instant::now()
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

/// The named function of a local run on `home`.
async fn named_function(home: &TempDir, name: &str) -> Function {
    let data = home.path().join("data");
    let issuer = "https://auth.example.org";
    Function::start(&[
        ("GATEMINT_DATA", data.to_str().unwrap()),
        ("GATEMINT_ISSUER", issuer),
        ("GATEMINT_FUNCTION", name),
    ])
    .await
}

/// The sample event of a sign-in, with the password that the first start made.
fn sign_in(home: &TempDir) -> String {
    let password = fs::read_to_string(home.path().join("data/admin-password")).unwrap();
    fill(&sample("token-password.json").to_string(), &BTreeMap::from([("admin_password".to_owned(), password)]))
}

#[tokio::test]
async fn each_function_answers_its_own_kind_of_event_and_refuses_the_others() {
    let home = data_directory();
    let own = [
        ("discovery", "jwks.json"),
        ("gate", "verify-none.json"),
        ("admin", "users-list.json"),
        ("token", "token-password.json"),
        ("authorizer", "authorizer-none.json"),
        ("rotate-keys", "rotate-create.json"),
        ("refresh-secrets", "schedule.json"),
    ];
    for (name, event) in own {
        let mut function = named_function(&home, name).await;
        let is_unsupported =
            |outcome: &Outcome| matches!(outcome, Outcome::Error(error) if error["errorType"] == "UnsupportedEvent");
        let outcome = function.invoke(&sample(event).to_string()).await;
        assert!(!is_unsupported(&outcome), "{name}: {outcome:?}");
        for other in ["healthz.json", "authorizer-none.json", "rotate-create.json", "schedule.json"] {
            let is_own = match other {
                "healthz.json" => ["discovery", "gate", "admin", "token"].contains(&name),
                other => other == event,
            };
            let outcome = function.invoke(&sample(other).to_string()).await;
            assert_eq!(is_unsupported(&outcome), !is_own, "{name} got {other}: {outcome:?}");
        }
        assert_eq!(function.exited(), None);
    }
    report(&format!("counted: {} functions, each answers its own kind of event", own.len()));
}

#[tokio::test]
async fn a_function_that_needs_no_vault_runs_without_one() {
    let home = data_directory();
    let mut tokens = named_function(&home, "token").await;
    let (_, body) = answer(tokens.invoke(&sign_in(&home)).await);
    let access_token = serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned();
    let kept = BTreeMap::from([("access_token".to_owned(), access_token)]);
    let mut admin = named_function(&home, "admin").await;
    assert_eq!(answer(admin.invoke(&fill(&sample("sites-create.json").to_string(), &kept)).await).0, 201);
    fs::rename(home.path().join("data/vault"), home.path().join("elsewhere")).unwrap();

    let mut discovery = named_function(&home, "discovery").await;
    for event in ["readyz.json", "jwks.json"] {
        assert_eq!(answer(discovery.invoke(&sample(event).to_string()).await).0, 200, "{event}");
    }
    let mut authorizer = named_function(&home, "authorizer").await;
    let outcome = authorizer.invoke(&fill(&sample("authorizer.json").to_string(), &kept)).await;
    let Outcome::Response(verdict) = outcome else { panic!("{outcome:?}") };
    assert_eq!(verdict["isAuthorized"], true, "{verdict}");
}

#[tokio::test]
async fn keys_that_are_away_at_init_are_told_of_and_found_without_a_restart() {
    let home = data_directory();
    let (there, away) = (home.path().join("data/vault/refresh"), home.path().join("away"));
    fs::rename(&there, &away).unwrap();
    let mut function = named_function(&home, "token").await;
    let process_id = function.process_id();
    for _ in 0..2 {
        let Outcome::Response(reply) = function.invoke(&sign_in(&home)).await else { panic!("no answer") };
        assert_eq!((&reply["statusCode"], reply["headers"]["retry-after"].is_string()), (&json!(503), true), "{reply}");
    }
    let output = function.output();
    let told = output
        .lines()
        .find(|line| line.contains("keys could not be read at init"))
        .unwrap_or_else(|| panic!("{output}"));
    assert!(told.contains("refresh/gatemint-refresh-secret") && told.contains("init.duration_us"), "{told}");

    fs::rename(&away, &there).unwrap();
    let (status, body) = answer(function.invoke(&sign_in(&home)).await);
    assert_eq!(status, 200, "{body}");
    assert_eq!((function.process_id(), function.exited()), (process_id, None));
}

#[tokio::test]
async fn keys_that_were_read_at_init_are_not_read_by_the_first_request() {
    let home = data_directory();
    let mut function = named_function(&home, "token").await;
    // The first answer shows that init is over.
    answer(function.invoke(&sample("unknown-route.json").to_string()).await);
    fs::rename(home.path().join("data/vault"), home.path().join("elsewhere")).unwrap();
    let (status, body) = answer(function.invoke(&sign_in(&home)).await);
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn every_line_of_a_request_has_its_id_and_metrics_name_nobody() {
    let home = data_directory();
    let mut function = named_function(&home, "token").await;
    let (status, body) = answer(function.invoke(&sign_in(&home)).await);
    assert_eq!(status, 200, "{body}");
    let tokens: Value = serde_json::from_str(&body).unwrap();
    let mut refused = sample("token-password.json");
    refused["body"] = json!("grant_type=password&username=ada&password=a-needle-in-a-haystack");
    assert_eq!(answer(function.invoke(&refused.to_string()).await).0, 400);
    // The next answer shows that whatever the ones before had to log was written.
    answer(function.invoke(&sample("unknown-route.json").to_string()).await);

    let output = function.output();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let id = line["requestId"].as_str().unwrap_or_default();
        assert!(id.starts_with("00000000-0000-4000-8000-"), "a line that leads to no invocation: {line}");
        let members = line.as_object().unwrap().iter().filter(|(name, _)| *name != "_aws");
        assert!(members.into_iter().all(|(_, value)| !value.is_object()), "a line that is not flat: {line}");
    }
    let metrics: Vec<&Value> = lines.iter().filter(|line| line["_aws"].is_object()).collect();
    let of = |id: usize| {
        *metrics.iter().find(|line| line["requestId"].as_str().unwrap().ends_with(&format!("{id:012}"))).unwrap()
    };
    for (id, outcome) in [(1, "ok"), (2, "invalid_grant")] {
        let line = of(id);
        assert_eq!((&line["function"], &line["grant"]), (&json!("gatemint"), &json!("password")), "{line}");
        assert_eq!((&line["outcome"], &line["gatemint_grants_total"]), (&json!(outcome), &json!(1)), "{line}");
    }
    // One get, the reservation, the session; and the public keys, at init.
    assert_eq!(of(1)["gatemint_store_round_trips_total"], 4, "{}", of(1));
    assert_eq!(of(1)["gatemint_store_duration_seconds"].as_array().unwrap().len(), 4);
    let password = fs::read_to_string(home.path().join("data/admin-password")).unwrap();
    let secrets = ["access_token", "refresh_token"].map(|name| tokens[name].as_str().unwrap());
    for secret in secrets.into_iter().chain([password.as_str(), "needle"]) {
        assert!(!output.contains(secret), "a secret is in the output");
    }
    for line in &metrics {
        let line = line.to_string();
        assert!(!["admin", "ada", "198.51.100.7"].iter().any(|name| line.contains(&format!("\"{name}\""))), "{line}");
    }
    report(&format!("counted: {} lines of a log, {} of them metrics", lines.len(), metrics.len()));
}

#[tokio::test]
async fn an_unknown_function_stops_at_init() {
    let (status, output) = Function::start(&[("GATEMINT_FUNCTION", "tokens")]).await.ended().await;
    assert!(!status.success());
    assert!(
        output.contains("GATEMINT_FUNCTION")
            && output.contains("token, discovery, gate, admin, http, authorizer, rotate-keys, refresh-secrets, all"),
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
