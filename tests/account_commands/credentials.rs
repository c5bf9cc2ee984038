//! `gatemint credential`: short-lived tokens by the login, by a file, by a passed config; and for clients of Kubernetes.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use serde_json::json;

use super::{World, claims, unpacked};

const AUDIENCE: &str = "istio-ingressgateway.istio-system.svc.cluster.local";

#[test]
fn a_short_lived_token_is_printed_for_whoever_may_ask() {
    let world = World::new();
    let ada = world.signed_in("ada");
    ada.run(&["identity", "create", "--service-account-name", "ci"]).ok();
    let full = ada.run(&["service-account", "rotate", "ci", "-q"]).ok().out;
    let file = ada.place.join("ada-ci.token");

    let by_login = ["credential", "service-account", "ci", "-n", "ada", "--audience", AUDIENCE, "--duration", "10m"];
    let runner = world.nobody("runner");
    fs::copy(&file, runner.place.join("token")).unwrap();
    fs::set_permissions(runner.place.join("token"), Permissions::from_mode(0o600)).unwrap();
    let by_file =
        ["credential", "service-account", "--token-file", "token", "--audience", AUDIENCE, "--duration", "10m"];
    let by_passed = &by_login[..2].iter().chain(&by_login[5..]).copied().collect::<Vec<_>>();
    let tokens = [
        ada.run(&by_login).ok(),
        ada.run(&[&by_login[..3], &by_login[5..]].concat()).ok(),
        runner.run(&by_file).ok(),
        runner.with(&[("APOLO_PASSED_CONFIG", &full)], by_passed).ok(),
        runner.with(&[("GATEMINT_PASSED_CONFIG", &full)], &by_login).ok(),
    ];
    for done in &tokens {
        assert!(done.err.is_empty(), "{}", done.err);
        let says = claims(&done.out);
        assert_eq!((&says["sub"], &says["aud"]), (&json!("system:serviceaccount:ada:ci"), &json!([AUDIENCE])));
        assert_eq!(says["exp"].as_u64().unwrap() - says["iat"].as_u64().unwrap(), 600);
        assert_eq!(done.out.lines().count(), 1);
    }
    let shown = ada.run(&[&by_login[..], &["--json"]].concat()).ok().json();
    assert_eq!(
        (&shown["namespace"], &shown["name"], &shown["audiences"]),
        (&json!("ada"), &json!("ci"), &json!([AUDIENCE]))
    );
    assert_eq!(claims(shown["token"].as_str().unwrap())["aud"], json!([AUDIENCE]));
    let several = ada.run(&["credential", "service-account", "ci", "--audience", "a", "--audience", "b"]).ok();
    assert_eq!(claims(&several.out)["aud"], json!(["a", "b"]));
    // More than a day is cut, and that is said.
    let cut = ada.run(&["credential", "service-account", "ci", "--duration", "7d"]).ok();
    let says = claims(&cut.out);
    assert_eq!(says["exp"].as_u64().unwrap() - says["iat"].as_u64().unwrap(), 86_400);
    assert!(cut.err.contains("sooner than was asked for"), "{}", cut.err);
    println!("counted: {} short-lived tokens", tokens.len() + 3);
}

#[test]
fn what_cannot_be_had_is_refused_with_a_next_step() {
    let world = World::new();
    let (ada, eve) = (world.signed_in("ada"), world.signed_in("eve"));
    let full = ada.run(&["service-account", "create", "--name", "ci", "-q"]).ok().out;
    let token = unpacked(&full)["token"].as_str().unwrap().to_owned();
    let ask = |more: &[&'static str]| [&["credential", "service-account"][..], more].concat();
    ada.run(&ask(&[])).refused(2, &["NAME"]);
    ada.run(&ask(&["ci", "--duration", "599s"])).refused(1, &["may not specify a duration less than 10 minutes"]);
    ada.run(&ask(&["ci", "--duration", "10"])).refused(2, &["--duration", "15m"]);
    ada.run(&ask(&["nobody"])).refused(1, &["not found"]);
    ada.run(&ask(&[".."])).refused(1, &["nothing of that name"]);
    ada.run(&ask(&["ci", "--audience", &*format!("{}/gate", world.serve.url).leak()])).refused(1, &["spec.audiences"]);
    eve.run(&ask(&["ci", "-n", "ada"])).refused(1, &[]);
    ada.run(&ask(&["ci", "--json", "--exec-credential"])).refused(2, &["cannot be used with"]);
    world.nobody("nobody").run(&ask(&["ci"])).refused(1, &["gatemint login"]);
    ada.run(&ask(&["ci", "--data", "x"])).refused(2, &["leave out --data"]);

    // Of itself it may ask nothing until it was authorized.
    let runner = world.nobody("runner");
    let file = runner.place.join("token");
    let by_file = ask(&["--token-file", "token"]);
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let told = runner.run(&by_file).refused(1, &["chmod 600"]).err;
    assert!(!told.contains("eyJ"), "{told}");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    ada.run(&["acl", "grant", "serviceaccount:ci/token", "ada/service-accounts/ci", "write"]).ok();
    assert!(runner.run(&by_file).ok().err.is_empty());
    // A file that holds something else.
    for junk in ["", "secret", "a.b.c", &full, &"x".repeat(100_000), &format!("{token} {token}")] {
        fs::write(&file, junk).unwrap();
        let told = runner.run(&by_file).refused(1, &["token: it is no service account's long-lived token"]).err;
        assert!(!told.contains("secret") && !told.contains("eyJ"), "{told}");
    }
    fs::write(&file, &token).unwrap();
    runner.run(&ask(&["--token-file", "nowhere"])).refused(1, &["nowhere"]);
    runner.run(&ask(&["--token-file", "token", "--url", "http://127.0.0.1:1"])).refused(1, &["cannot be reached"]);
    ada.run(&["service-account", "rotate", "ci", "--overlap", "0s"]).ok();
    let told = runner.run(&by_file).refused(1, &["of no use any more", "identity create"]).err;
    assert!(!told.contains("eyJ"), "{told}");
    println!("counted: 21 commands refused");
}

#[test]
fn a_client_of_kubernetes_gets_what_it_asks_for() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let exec = |info: &str| {
        let variables: &[(&str, &str)] = if info.is_empty() { &[] } else { &[("KUBERNETES_EXEC_INFO", info)] };
        ada.with(variables, &["credential", "kubectl"])
    };
    let v1 = "client.authentication.k8s.io/v1";
    for (info, version) in [
        ("", v1.to_owned()),
        ("not json", v1.to_owned()),
        (r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{}}"#, v1.to_owned()),
        (r#"{"apiVersion":"client.authentication.k8s.io/v1beta1"}"#, format!("{v1}beta1")),
    ] {
        let given = exec(info).ok().json();
        assert_eq!((&given["apiVersion"], &given["kind"]), (&json!(version), &json!("ExecCredential")));
        let says = claims(given["status"]["token"].as_str().unwrap());
        assert_eq!(says["preferred_username"], "ada");
        let ends = given["status"]["expirationTimestamp"].as_str().unwrap();
        let ends = gatemint::clock::Timestamp::parse_rfc3339(ends).unwrap().0;
        assert!(ends.abs_diff(says["exp"].as_u64().unwrap()) <= 2, "{ends}");
    }
    exec(r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#).refused(2, &["v1alpha1", "v1beta1"]);

    let full = ada.run(&["service-account", "create", "--name", "ci", "-q"]).ok().out;
    let short = ada.run(&["credential", "service-account", "ci", "--exec-credential"]).ok().json();
    assert_eq!(claims(short["status"]["token"].as_str().unwrap())["sub"], "system:serviceaccount:ada:ci");
    assert!(short["status"]["expirationTimestamp"].is_string(), "{short}");
    // A passed config has one token, which ends when it ends.
    let runner = world.nobody("runner");
    let long = runner.with(&[("GATEMINT_PASSED_CONFIG", &full)], &["credential", "kubectl"]).ok().json();
    assert_eq!(long["status"], json!({ "token": unpacked(&full)["token"] }));
    println!("counted: 6 ExecCredentials");
}

#[test]
fn an_s3_client_gets_an_access_token_by_the_login_or_from_a_kept_file() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let told = ada.run(&["credential", "aws"]).ok().json();
    let token = told["AccessKeyId"].as_str().unwrap();
    let says = claims(token);
    assert_eq!((&says["preferred_username"], &says["exp"].is_u64()), (&json!("ada"), &true));
    let ends = gatemint::clock::Timestamp(says["exp"].as_u64().unwrap()).rfc3339();
    let expected = json!({
        "Version": 1, "AccessKeyId": token, "SecretAccessKey": "s3", "SessionToken": "", "Expiration": ends
    });
    assert_eq!(told, expected);

    // A kept file needs no login and no service.
    let pod = world.nobody("pod");
    let file = pod.place.join(".auth_token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let from_file = ["credential", "aws", "--file", ".auth_token"];
    assert_eq!(pod.run(&from_file).ok().json(), expected);
    // Secrets are mounted as links, and everybody in the pod may read them.
    std::os::unix::fs::symlink(".auth_token", pod.place.join("link")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    let done = pod.run(&["credential", "aws", "--file", "link"]).ok();
    assert_eq!((done.json(), done.err.as_str()), (expected, ""));

    pod.run(&["credential", "aws"]).refused(1, &["gatemint login"]);
    pod.run(&["credential", "aws", "--file", "nowhere"]).refused(1, &["nowhere", "gatemint agent"]);
    pod.run(&["credential", "aws", "--file", "."]).refused(1, &["it is a directory"]);
    let told = pod.run(&["credential", "aws", "--file", "/dev/zero"]).refused(1, &["not a file"]).err;
    assert!(!told.contains("eyJ"), "{told}");
    ada.run(&["credential", "aws", "--data", "x"]).refused(2, &["leave out --data"]);
    let full = ada.run(&["service-account", "create", "--name", "ci", "-q"]).ok().out;
    pod.with(&[("GATEMINT_PASSED_CONFIG", &full)], &["credential", "aws"]).refused(2, &["long-lived", "--file"]);
    println!("counted: 3 credentials for S3 clients, 6 refused");
}
