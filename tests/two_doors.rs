//! One state in the cloud, two doors: `gatemint serve` and the Lambda binary on one table and the same secrets.

use std::{
    collections::{BTreeMap, HashSet},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    race::generation,
    support::{
        PASSWORD,
        asking::{Asking, claims},
        emulator::Emulator,
        process::{Serve, gatemint, given},
        runtime_api::{Function, Outcome},
    },
};

const ISSUER: &str = "https://auth.example.org";

/// A table, its two secrets, and what names them.
pub(crate) struct Cloud {
    pub(crate) variables: BTreeMap<&'static str, String>,
    home: TempDir,
}

impl Cloud {
    /// As README says to make them by hand: empty secrets, a first key, a first pepper, a user.
    pub(crate) async fn new() -> Self {
        let emulator = Emulator::ministack();
        let table = emulator.table().await;
        let secrets = aws_sdk_secretsmanager::Client::new(&emulator.config());
        for name in ["keys/gatemint-jwt-secret", "refresh/gatemint-refresh-secret"] {
            let made = secrets.create_secret().name(format!("{table}/{name}")).secret_string(r#"{"gatemint":"empty"}"#);
            made.send().await.unwrap();
        }
        let variables = BTreeMap::from([
            ("AWS_ENDPOINT_URL", emulator.endpoint().to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("GATEMINT_STORE", format!("dynamodb:{table}")),
            ("GATEMINT_VAULT", format!("secretsmanager:{table}")),
            ("GATEMINT_ISSUER", ISSUER.to_owned()),
        ]);
        let cloud = Self { variables, home: tempfile::tempdir().unwrap() };
        cloud.command(&["key", "rotate"], b"");
        cloud.command(&["key", "rotate", "--refresh"], b"");
        cloud.command(&["user", "create", "ada", "--role", "admin", "--password-stdin"], PASSWORD.as_bytes());
        cloud
    }

    fn gatemint(&self) -> Command {
        let mut command = gatemint();
        command.envs(&self.variables).current_dir(self.home.path());
        command
    }

    /// Runs a command on the table and the secrets, as an operator; what it printed.
    pub(crate) fn command(&self, arguments: &[&str], stdin: &[u8]) -> String {
        let output = given(self.gatemint().args(arguments), stdin);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    fn serve(&self) -> Serve {
        let mut command = self.gatemint();
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        Serve::run(command, &self.home.path().join("serve.log"))
    }

    pub(crate) async fn function(&self, name: &str) -> Function {
        let mut variables: Vec<_> = self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.extend([("GATEMINT_FUNCTION", name), ("LAMBDA_TASK_ROOT", "/var/task")]);
        Function::start(&variables).await
    }
}

/// Posts a form to the token endpoint through a function.
pub(crate) async fn post(
    function: &mut Function,
    path: &str,
    form: &[(&str, &str)],
    bearer: Option<&str>,
) -> (u64, Value) {
    let body = form.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect::<Vec<_>>();
    let mut event = json!({
        "version": "2.0",
        "routeKey": format!("POST {path}"),
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "host": "auth.example.org", "content-type": "application/x-www-form-urlencoded" },
        "requestContext": { "http": { "method": "POST", "path": path, "sourceIp": "192.0.2.1" }, "requestId": "a" },
        "body": body.join("&"),
        "isBase64Encoded": false,
    });
    if let Some(bearer) = bearer {
        event["headers"]["authorization"] = json!(format!("Bearer {bearer}"));
    }
    match function.invoke(&event.to_string()).await {
        Outcome::Response(reply) => {
            let body = serde_json::from_str(reply["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
            (reply["statusCode"].as_u64().unwrap(), body)
        }
        Outcome::Error(error) => panic!("an error instead of an answer: {error}"),
    }
}

pub(crate) async fn refresh(function: &mut Function, token: &str) -> (u64, Value) {
    post(function, "/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)], None).await
}

pub(crate) fn text(reply: &Value, name: &str) -> String {
    reply[name].as_str().unwrap_or_else(|| panic!("no {name} in {reply}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_was_begun_at_one_door_goes_on_at_the_other() {
    let cloud = Cloud::new().await;
    let serve = cloud.serve();
    let asking = Asking::at(&serve.url);
    let mut token = cloud.function("token").await;
    let mut at_serve = 0;
    let mut at_lambda = 0;

    let begun = asking.password("ada", PASSWORD).await.tokens();
    let (status, reply) = refresh(&mut token, &begun.refresh).await;
    assert_eq!(status, 200, "{reply}");
    let mut current = text(&reply, "refresh_token");
    let mut access = text(&reply, "access_token");
    at_lambda += 1;
    for _ in 0..10 {
        let here = asking.refresh(&current).await.tokens();
        let (status, reply) = refresh(&mut token, &here.refresh).await;
        assert_eq!(status, 200, "{reply}");
        (current, access) = (text(&reply, "refresh_token"), text(&reply, "access_token"));
        at_serve += 1;
        at_lambda += 1;
    }
    // Each knows the other's access tokens, and one issuer is in all of them.
    assert_eq!(claims(&access)["iss"], ISSUER);
    assert_eq!(asking.introspect(&access, &access).await.json["active"], true);
    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    let (status, reply) = post(&mut token, "/oauth2/token", &form, None).await;
    assert_eq!(status, 200, "{reply}");
    let elsewhere = asking.refresh(&text(&reply, "refresh_token")).await.tokens();
    at_serve += 1;

    // What is ended at one door is over at the other, at once.
    let (status, _) = post(&mut token, "/oauth2/revoke", &[("token", &elsewhere.refresh)], None).await;
    assert_eq!(status, 200);
    assert_eq!(asking.refresh(&elsewhere.refresh).await.refusal(), (400, "invalid_grant", "Session ended"));
    let (status, reply) = post(&mut token, "/oauth2/introspect", &[("token", &elsewhere.access)], Some(&access)).await;
    assert_eq!((status, &reply), (200, &json!({ "active": false })));

    // The command line is a third door.
    cloud.command(&["user", "disable", "ada"], b"");
    assert_eq!(asking.refresh(&current).await.refusal(), (400, "invalid_grant", "Session ended"));
    let (status, _) = refresh(&mut token, &current).await;
    assert_eq!(status, 400);
    println!(
        "counted: 2 sessions, {at_serve} refreshes at serve and {at_lambda} at the function taking turns; 2 ends, each seen at the other door at once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_refreshes_split_over_both_doors_have_one_winner() {
    const FUNCTIONS: usize = 8;
    const EACH: usize = 4;
    let cloud = Cloud::new().await;
    let serve = cloud.serve();
    let asking = Asking::at(&serve.url);
    let mut functions = Vec::new();
    for _ in 0..FUNCTIONS {
        functions.push(cloud.function("token").await);
    }
    let mut token = asking.password("ada", PASSWORD).await.tokens().refresh;
    let rounds = 3;
    let mut answered = 0;
    for round in 1..=rounds {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 - FUNCTIONS * EACH {
            let (asking, token) = (asking.clone(), token.clone());
            tasks.spawn(async move { (None, vec![asking.refresh(&token).await.tokens().refresh]) });
        }
        for mut function in functions.drain(..) {
            let token = token.clone();
            tasks.spawn(async move {
                let mut successors = Vec::new();
                for _ in 0..EACH {
                    let (status, reply) = refresh(&mut function, &token).await;
                    assert_eq!(status, 200, "{reply}");
                    successors.push(text(&reply, "refresh_token"));
                }
                (Some(function), successors)
            });
        }
        let mut successors = HashSet::new();
        for (function, got) in tasks.join_all().await {
            functions.extend(function);
            answered += got.len();
            successors.extend(got);
        }
        assert_eq!(successors.len(), 1, "round {round}");
        token = successors.into_iter().next().unwrap();
        assert_eq!(generation(&token), round, "one generation a round");
    }
    println!(
        "counted: {answered} refreshes at once over serve and {FUNCTIONS} function processes, all answered, {rounds} successors in {rounds} rounds"
    );
}
