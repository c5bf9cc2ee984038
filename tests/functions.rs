//! The functions on DynamoDB and Secrets Manager, through a network that fails: what each asks for, and when.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

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

/// A state in the cloud, and a network of its own before it.
async fn cloud_behind_a_proxy() -> (Cloud, Proxy) {
    let mut cloud = Cloud::new().await;
    let proxy = Proxy::before(Emulator::ministack().endpoint()).await;
    let endpoint = proxy.config().endpoint_url().unwrap().to_owned();
    cloud.variables.insert("AWS_ENDPOINT_URL", endpoint);
    cloud.variables.insert("GATEMINT_LOG", "info,gatemint=debug".to_owned());
    (cloud, proxy)
}

/// An authorizer event with a token.
fn question(token: &str) -> String {
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:us-east-1:123456789012:b5c6d7e8f9/$default/GET/",
        "rawPath": "/",
        "headers": { "authorization": format!("Bearer {token}") },
        "requestContext": { "http": { "method": "GET", "path": "/", "sourceIp": "192.0.2.1" } },
    })
    .to_string()
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
        ("admin", counts([keys])),
        ("authorizer", counts([keys])),
        ("token", counts([keys, ("GetSecretValue", 2)])),
        ("http", counts([keys, ("GetSecretValue", 2)])),
        ("rotate-keys", counts([])),
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
        assert_eq!(proxy.requests(), counts([("BatchGetItem", 1)]), "an authorizer event");
    }
    println!("counted: {} functions, the requests of each", expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_asked_for_at_init_is_asked_for_at_the_same_time() {
    let (cloud, proxy) = cloud_behind_a_proxy().await;
    // One after the other they would take longer than init waits.
    proxy.fail("*", 3, Fault::SlowReply(Duration::from_millis(1500)));
    let mut function = cloud.function("token").await;
    let (status, reply) = sign_in(&mut function).await;
    assert_eq!(status, 200, "{reply}");
    assert!(function.output().contains("keys are at hand"), "{}", function.output());
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
