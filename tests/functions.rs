//! The functions on DynamoDB and Secrets Manager, through a network that fails: what each asks for, and when.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    support::{
        PASSWORD,
        emulator::Emulator,
        fault_proxy::{Fault, Proxy},
        runtime_api::{Function, Outcome},
    },
    two_doors::{Cloud, post, refresh, text},
};

/// Several failed attempts at everything that is asked for once.
const MANY: usize = 100;

/// Ada's job, and the host that a site maps to it.
const SITE: &str = "train--ada.jobs.example.org";

/// A state in the cloud with a site, and a network of its own before it.
async fn cloud_behind_a_proxy() -> (Cloud, Proxy) {
    let mut cloud = Cloud::new().await;
    let site = ["--host", "{name}--{owner}.jobs.example.org", "--resource", "job://{cluster}/{owner}/{name}"];
    cloud.command(&[&["site", "create", "jobs"][..], &site].concat(), b"");
    let proxy = Proxy::before(Emulator::ministack().endpoint()).await;
    let endpoint = proxy.config().endpoint_url().unwrap().to_owned();
    cloud.variables.insert("AWS_ENDPOINT_URL", endpoint);
    cloud.variables.insert("GATEMINT_LOG", "info,gatemint=debug".to_owned());
    (cloud, proxy)
}

/// An authorizer event with a token, about the site.
fn question(token: &str) -> String {
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:us-east-1:123456789012:b5c6d7e8f9/$default/GET/",
        "rawPath": "/",
        "headers": { "authorization": format!("Bearer {token}") },
        "requestContext": {
            "domainName": SITE,
            "http": { "method": "GET", "path": "/", "sourceIp": "192.0.2.1" },
        },
    })
    .to_string()
}

/// A request to a function, with a Bearer token; its status, its headers and its body.
async fn ask(
    gate: &mut Function,
    method: &str,
    path: &str,
    headers: Value,
    body: Option<Value>,
) -> (u64, Value, Value) {
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": { "http": { "method": method, "path": path, "sourceIp": "192.0.2.1" }, "requestId": "a" },
        "isBase64Encoded": false,
    });
    event["headers"]["host"] = json!("auth.example.org");
    if let Some(body) = body {
        event["body"] = json!(body.to_string());
    }
    match gate.invoke(&event.to_string()).await {
        Outcome::Response(reply) => {
            let body = serde_json::from_str(reply["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
            (reply["statusCode"].as_u64().unwrap(), reply["headers"].clone(), body)
        }
        Outcome::Error(error) => panic!("an error instead of an answer: {error}"),
    }
}

/// What nginx asks about a request with a token.
async fn verify(gate: &mut Function, token: &str, url: &str) -> (u64, Value) {
    let asked = json!({
        "authorization": format!("Bearer {token}"),
        "x-original-method": "GET",
        "x-original-url": url,
    });
    let (status, headers, _) = ask(gate, "GET", "/auth/verify", asked, None).await;
    (status, headers)
}

async fn sign_in(function: &mut Function) -> (u64, serde_json::Value) {
    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    post(function, "/oauth2/token", &form, None).await
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(operation, times)| (operation.to_owned(), times)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_function_asks_at_init_for_what_it_will_need_and_nothing_twice() {
    let (cloud, proxy) = cloud_behind_a_proxy().await;
    proxy.requests();
    let keys = ("GetItem", 1);
    let expected = [
        ("discovery", counts([keys])),
        // The keys that it signs with, and never the peppers.
        ("gate", counts([keys, ("GetSecretValue", 1)])),
        // Service accounts' tokens are signed there.
        ("admin", counts([keys, ("GetSecretValue", 1)])),
        ("authorizer", counts([keys])),
        ("token", counts([keys, ("GetSecretValue", 2)])),
        ("http", counts([keys, ("GetSecretValue", 2)])),
        ("rotate-keys", counts([])),
        // It signs, too.
        ("refresh-secrets", counts([keys, ("GetSecretValue", 1)])),
    ];
    for (name, at_init) in &expected {
        let mut function = cloud.function(name).await;
        // Whatever it makes of this, it reads nothing for it, and its init is over.
        function.invoke("{}").await;
        assert_eq!(proxy.requests(), *at_init, "{name}");
    }

    let mut token = cloud.function("token").await;
    token.invoke("{}").await;
    proxy.requests();
    let (status, reply) = sign_in(&mut token).await;
    assert_eq!(status, 200, "{reply}");
    let made: usize = proxy.requests().values().sum();
    assert_eq!(made, 3, "one read, the reservation, the session");
    let (status, reply) = refresh(&mut token, &text(&reply, "refresh_token")).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(proxy.requests(), counts([("BatchGetItem", 1), ("PutItem", 1)]), "a refresh");

    let mut authorizer = cloud.function("authorizer").await;
    authorizer.invoke("{}").await;
    proxy.requests();
    for _ in 0..2 {
        let outcome = authorizer.invoke(&question(&text(&reply, "access_token"))).await;
        let Outcome::Response(verdict) = outcome else { panic!("{outcome:?}") };
        assert_eq!((&verdict["isAuthorized"], &verdict["context"]["kubeflow-userid"]), (&json!(true), &json!("ada")));
        assert_eq!(proxy.requests(), counts([("BatchGetItem", 1)]), "records and site: an admin needs no permission");
    }
    a_gate_tokens_life_in_requests(&cloud, &proxy, &text(&reply, "access_token")).await;
    a_service_accounts_life_in_requests(&cloud, &proxy, &text(&reply, "access_token")).await;
    println!("counted: {} functions, the requests of each", expected.len());
}

async fn a_gate_tokens_life_in_requests(cloud: &Cloud, proxy: &Proxy, access: &str) {
    let mut gate = cloud.function("gate").await;
    gate.invoke("{}").await;
    proxy.requests();
    let bearer = json!({ "authorization": format!("Bearer {access}"), "content-type": "application/json" });
    let wanted = json!({ "URLs": ["/x/*"], "id": "functions" });
    let (status, _, minted) = ask(&mut gate, "POST", "/auth/jwt/request", bearer, Some(wanted)).await;
    assert_eq!(status, 200, "{minted}");
    let expected = counts([("BatchGetItem", 1), ("GetItem", 1), ("PutItem", 1)]);
    assert_eq!(proxy.requests(), expected, "the caller, the sites, the record: what an admin may is known");
    for _ in 0..2 {
        let (status, headers) = verify(&mut gate, &text(&minted, "Token"), "https://www.example.org/x/y").await;
        assert_eq!(status, 200, "{headers}");
        assert!(headers["kubeflow-userid"].as_str().unwrap().starts_with("gatetoken:ada/request-"), "{headers}");
        assert_eq!(proxy.requests(), counts([("BatchGetItem", 1)]), "a gate token at /auth/verify");
    }
    let (status, headers) = verify(&mut gate, access, &format!("https://{SITE}/")).await;
    assert_eq!((status, &headers["x-auth-request-user"]), (200, &json!("ada")));
    assert_eq!(proxy.requests(), counts([("BatchGetItem", 1)]), "an access token at /auth/verify");

    let mut token = cloud.function("token").await;
    token.invoke("{}").await;
    proxy.requests();
    let resource = format!("https://{SITE}/*");
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("client_id", "gatemint"),
        ("subject_token", access),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
        ("resource", &resource),
    ];
    let (status, reply) = post(&mut token, "/oauth2/token", &form, None).await;
    assert_eq!(status, 200, "{reply}");
    let expected = counts([("BatchGetItem", 1), ("GetItem", 1), ("PutItem", 1)]);
    assert_eq!(proxy.requests(), expected, "session and client, sites, the record");
    let (status, headers) = verify(&mut gate, &text(&reply, "access_token"), &format!("https://{SITE}/x")).await;
    assert_eq!(status, 200, "{headers}");
    assert_eq!(proxy.requests(), counts([("BatchGetItem", 2)]), "the record, then session and permission");
    println!("counted: 6 requests of a gate token's life, what each asks for");
}

async fn a_service_accounts_life_in_requests(cloud: &Cloud, proxy: &Proxy, access: &str) {
    let mut admin = cloud.function("admin").await;
    admin.invoke("{}").await;
    proxy.requests();
    let as_who =
        |token: &str| json!({ "authorization": format!("Bearer {token}"), "content-type": "application/json" });
    let new = json!({ "name": "ci", "default_cluster": "default", "default_project": "ada" });
    let (status, _, made) = ask(&mut admin, "POST", "/api/v1/service_accounts", as_who(access), Some(new)).await;
    assert_eq!(status, 201, "{made}");
    let expected = counts([("BatchGetItem", 1), ("GetItem", 1), ("PutItem", 1)]);
    assert_eq!(proxy.requests(), expected, "the caller, the namespace's owner, the service account");
    let full: Value = serde_json::from_slice(&STANDARD.decode(text(&made, "token")).unwrap()).unwrap();
    let long_lived = text(&full, "token");

    let permissions = "/api/v1/users/ada:service-accounts:ci/permissions";
    let job = json!([{ "uri": "job://default/default-org/ada/train", "action": "read" }]);
    let (status, _, granted) = ask(&mut admin, "POST", permissions, as_who(access), Some(job)).await;
    assert_eq!(status, 201, "{granted}");
    let expected = counts([("BatchGetItem", 2), ("GetItem", 1), ("TransactWriteItems", 1)]);
    assert_eq!(proxy.requests(), expected, "the caller, the principal, what it has, the permission with its entry");

    let mut gate = cloud.function("gate").await;
    gate.invoke("{}").await;
    proxy.requests();
    let url = format!("https://{SITE}/");
    for writes in [&[("PutItem", 1)][..], &[]] {
        let (status, headers) = verify(&mut gate, &long_lived, &url).await;
        assert_eq!((status, &headers["kubeflow-userid"]), (200, &json!("system:serviceaccount:ada:ci")));
        let mut expected = counts([("BatchGetItem", 2)]);
        expected.extend(writes.iter().map(|(operation, times)| ((*operation).to_owned(), *times)));
        assert_eq!(proxy.requests(), expected, "the account and the sites, what it was granted; its use, once an hour");
    }

    let acl = |uri: &str, action: &str| {
        cloud.command(&["acl", "grant", uri, "ada/service-accounts/ci", action], b"");
        proxy.requests();
    };
    let request = "/kubernetes/api/v1/namespaces/ada/serviceaccounts/ci/token";
    let spec = || Some(json!({ "spec": { "audiences": ["pipelines.example.org"] } }));
    let (status, _, requested) = ask(&mut admin, "POST", request, as_who(access), spec()).await;
    assert_eq!(status, 201, "{requested}");
    let expected = counts([("BatchGetItem", 2), ("PutItem", 1)]);
    assert_eq!(proxy.requests(), expected, "the caller, the service account, the record");
    acl("serviceaccount://default/ada/ci/token", "write");
    let (status, _, requested) = ask(&mut admin, "POST", request, as_who(&long_lived), spec()).await;
    assert_eq!(status, 201, "{requested}");
    let expected = counts([("BatchGetItem", 3), ("PutItem", 1)]);
    assert_eq!(proxy.requests(), expected, "who asks, what it was granted, the service account; the record");

    acl("tokenreview://default", "read");
    let review = json!({ "spec": { "token": requested["status"]["token"], "audiences": ["pipelines.example.org"] } });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (status, _, reviewed) = ask(&mut admin, "POST", path, as_who(&long_lived), Some(review)).await;
    assert_eq!((status, &reviewed["status"]["authenticated"]), (201, &json!(true)), "{reviewed}");
    let expected = counts([("BatchGetItem", 2), ("GetItem", 1)]);
    assert_eq!(proxy.requests(), expected, "who asks, what it was granted, the token's rows");
    println!("counted: 7 requests of a service account's life, what each asks for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_asked_for_at_init_is_asked_for_at_the_same_time() {
    let (cloud, proxy) = cloud_behind_a_proxy().await;
    // A machine that is busy with something else may take as long by itself, but not every time.
    let mut outputs = Vec::new();
    for _ in 0..4 {
        // One after the other they would take longer than init waits, always.
        proxy.fail("*", 3, Fault::SlowReply(Duration::from_millis(1500)));
        let mut function = cloud.function("token").await;
        let (status, reply) = sign_in(&mut function).await;
        assert_eq!(status, 200, "{reply}");
        let output = function.output();
        if output.contains("keys are at hand") {
            return;
        }
        outputs.push(output);
    }
    panic!("{outputs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_away_at_init_costs_503s_until_it_is_back_and_no_restart() {
    let (cloud, proxy) = cloud_behind_a_proxy().await;
    for away in ["GetSecretValue", "*"] {
        proxy.fail(away, MANY, Fault::Cut);
        let mut function = cloud.function("token").await;
        let process_id = function.process_id();
        let (status, reply) = sign_in(&mut function).await;
        assert_eq!((status, &reply["error"]), (503, &json!("temporarily_unavailable")), "{away}: {reply}");
        let output = function.output();
        let told = output.lines().find(|line| line.contains("keys could not be read at init"));
        let told = told.unwrap_or_else(|| panic!("{away}: {output}"));
        assert!(told.contains("\"cause\":\""), "{told}");
        assert!(away == "*" || told.contains("secretsmanager:GetSecretValue"), "the cause is named: {told}");

        proxy.heal();
        let (status, reply) = sign_in(&mut function).await;
        assert_eq!(status, 200, "{away}: {reply}");
        assert_eq!((function.process_id(), function.exited()), (process_id, None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_authorizer_without_its_store_says_neither_yes_nor_that_a_token_is_bad() {
    let (cloud, proxy) = cloud_behind_a_proxy().await;
    let mut token = cloud.function("token").await;
    let (status, reply) = sign_in(&mut token).await;
    assert_eq!(status, 200, "{reply}");
    let question = question(&text(&reply, "access_token"));
    let mut authorizer = cloud.function("authorizer").await;
    authorizer.invoke("{}").await;
    proxy.fail("*", MANY, Fault::Cut);
    let Outcome::Error(error) = authorizer.invoke(&question).await else { panic!("it was answered") };
    assert_eq!(error["errorType"], "Unavailable", "{error}");
    assert_ne!(error["errorMessage"], "Unauthorized");
    proxy.heal();
    let Outcome::Response(verdict) = authorizer.invoke(&question).await else { panic!("an error") };
    assert_eq!(verdict["isAuthorized"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_can_do_nothing_is_an_error_and_the_next_one_makes_it_good() {
    let (cloud, proxy) = cloud_behind_a_proxy().await;
    let mut token = cloud.function("token").await;
    let (status, reply) = sign_in(&mut token).await;
    assert_eq!(status, 200, "{reply}");
    let bearer = json!({
        "authorization": format!("Bearer {}", text(&reply, "access_token")), "content-type": "application/json",
    });
    let mut admin = cloud.function("admin").await;
    let wish = Some(json!({ "mirror_token": true }));
    let (status, _, account) = ask(&mut admin, "PATCH", "/v1/users/ada", bearer, wish).await;
    assert_eq!((status, &account["mirror_token"]), (200, &json!(true)), "{account}");

    let due = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} }).to_string();
    let mut function = cloud.function("refresh-secrets").await;
    let process_id = function.process_id();
    let faults = [
        ("PutSecretValue", Fault::Cut),
        ("PutSecretValue", Fault::throttled()),
        ("CreateSecret", Fault::error(400, "InvalidRequestException", "scheduled for deletion")),
        ("PutSecretValue", Fault::error(400, "LimitExceededException", "too many versions")),
        ("PutItem", Fault::Cut),
        ("Query", Fault::throttled()),
        ("*", Fault::Cut),
    ];
    for (operation, fault) in &faults {
        proxy.fail(operation, MANY, fault.clone());
        let Outcome::Error(error) = function.invoke(&due).await else { panic!("{operation}: it was answered") };
        assert_eq!(error["errorType"], "RunFailed", "{operation}: {error}");
        assert!(!error.to_string().contains("eyJ"), "{error}");
        proxy.heal();
    }
    let output = function.output();
    for said in ["a mirrored token could not be refreshed", "may be scheduled for deletion", "mirrored tokens were not"]
    {
        assert!(output.contains(said), "{said}: {output}");
    }

    proxy.requests();
    let mut runs = 0;
    for written in [1, 0, 0] {
        let Outcome::Response(run) = function.invoke(&due).await else { panic!("an error") };
        assert_eq!((&run["outcome"], &run["written"]), (&json!("done"), &json!(written)), "{run}");
        assert_eq!((&run["mirrored"], &run["failed"]), (&json!(1), &json!(0)), "{run}");
        assert!(run["least_left_s"].as_u64().is_some_and(|left| (600..=1800).contains(&left)), "{run}");
        runs += 1;
    }
    let made = proxy.requests();
    assert_eq!((made["PutSecretValue"], made["CreateSecret"]), (1, 1), "tried, and then made: {made:?}");
    assert_eq!(made.get("GetSecretValue"), None, "the keys are at hand, and what was written is never read: {made:?}");
    assert!(!function.output().contains("eyJ"), "no token is in the log");
    assert_eq!((function.process_id(), function.exited()), (process_id, None));
    println!("counted: {} runs that failed, {runs} that did not", faults.len());
}
