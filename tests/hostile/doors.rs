//! The two doors of service accounts and permissions: each refuses in its own words, and nothing comes of what it refused.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::permissions::{at_the_door, granted, with_jobs};
use crate::support::{Answer, TestService};

const APOLO: &str = "/api/v1/service_accounts";
const KUBERNETES: &str = "/api/v1/namespaces/ada/serviceaccounts";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/ada";

/// What makes a service account by the first door.
fn named(name: &str) -> Value {
    json!({"name": name, "default_cluster": "default", "default_project": "ada"})
}

/// The same by the second.
fn object(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

async fn ask(test: &TestService, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
    let answer = test.v1(method.clone(), path, token, body).await;
    assert!(answer.status.as_u16() < 500, "{method} {path}: {} {}", answer.status, answer.text);
    answer
}

/// The long-lived token that an answer shows.
fn token_of(test: &TestService, answer: &Answer) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let full = STANDARD.decode(answer.json["token"].as_str().unwrap()).unwrap();
    let token = serde_json::from_slice::<Value>(&full).unwrap()["token"].as_str().unwrap().to_owned();
    test.keep(&token);
    token
}

/// A service with ada, whose service account `ci` is there, eve, and their access tokens; and `ci`'s.
async fn with_ci() -> (TestService, String, String, String) {
    let test = with_jobs().await;
    let (ada, eve) = (test.sign_in("ada").await.access, test.sign_in("eve").await.access);
    let made = ask(&test, Method::POST, APOLO, &ada, Some(named("ci"))).await;
    let ci = token_of(&test, &made);
    (test, ada, eve, ci)
}

fn is_status(answer: &Answer, code: u16, reason: &str, what: &str) {
    assert_eq!(answer.status.as_u16(), code, "{what}: {}", answer.text);
    let told = (&answer.json["kind"], &answer.json["status"], &answer.json["reason"], &answer.json["code"]);
    assert_eq!(told, (&json!("Status"), &json!("Failure"), &json!(reason), &json!(code)), "{what}: {}", answer.text);
}

#[tokio::test]
async fn a_name_of_a_wrong_shape_makes_nothing_at_either_door() {
    let (test, ada, ..) = with_ci().await;
    let before = ask(&test, Method::GET, APOLO, &ada, None).await.text;
    let mut tried = 0;
    for name in super::resources::bad_names() {
        let shown: String = name.chars().take(40).collect();
        let refused = ask(&test, Method::POST, APOLO, &ada, Some(named(&name))).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{shown:?}: {}", refused.text);
        let error = refused.json["error"].as_str().unwrap();
        assert!(error.contains("Invalid service account name") && error.len() < 500, "{shown:?}: {error}");
        let refused = ask(&test, Method::POST, KUBERNETES, &ada, Some(object(&name))).await;
        is_status(&refused, 422, "Invalid", &format!("{shown:?}"));
        tried += 2;
    }
    for body in [
        json!({"default_cluster": "other", "default_project": "ada"}),
        json!({"default_cluster": "default", "default_project": "../ada"}),
        json!({"default_cluster": "default", "default_project": "ada", "default_org": "other-org"}),
        json!({"default_cluster": "default"}),
        json!({"default_project": "ada"}),
        json!({"name": "x", "default_cluster": "default", "default_project": "ada", "expires_at": "tomorrow"}),
        json!({"name": "x", "default_cluster": "default", "default_project": "ada", "expires_at": "2001-01-01T00:00:00Z"}),
        json!({"name": "x", "default_cluster": "default", "default_project": "ada", "expires": "2101-01-01T00:00:00Z"}),
        json!({"name": "x", "default_cluster": "default", "default_project": "ada", "role": "admin"}),
        json!({"name": "x", "default_cluster": "default", "default_project": "ada", "labels": {"a b": "c"}}),
        json!({"name": 7, "default_cluster": "default", "default_project": "ada"}),
        json!([]),
        json!(null),
        json!("ci"),
    ] {
        let refused = ask(&test, Method::POST, APOLO, &ada, Some(body.clone())).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {}", refused.text);
        assert!(refused.json["error"].is_string(), "{body}: {}", refused.text);
        tried += 1;
    }
    for (field, value) in [
        ("metadata", json!({"name": "x", "namespace": "eve"})),
        ("metadata", json!({"name": "x", "labels": {"a b": "c"}})),
        ("metadata", json!({"name": ["x"]})),
        ("metadata", json!({})),
        ("kind", json!("Secret")),
        ("apiVersion", json!("v2")),
        ("secrets", json!([{"name": "other-token"}])),
        ("rules", json!([])),
    ] {
        let mut body = object("x");
        body[field] = value;
        let refused = ask(&test, Method::POST, KUBERNETES, &ada, Some(body.clone())).await;
        assert!([400, 422].contains(&refused.status.as_u16()), "{body}: {}", refused.text);
        assert_eq!(refused.json["kind"], "Status", "{body}: {}", refused.text);
        tried += 1;
    }
    // The name that is there, by either door.
    let taken = ask(&test, Method::POST, APOLO, &ada, Some(named("ci"))).await;
    let unique = json!({"code": "unique", "description": "Service Account with such name exists"});
    assert_eq!((taken.status, taken.json), (StatusCode::CONFLICT, unique));
    is_status(&ask(&test, Method::POST, KUBERNETES, &ada, Some(object("ci"))).await, 409, "AlreadyExists", "taken");
    assert_eq!(ask(&test, Method::GET, APOLO, &ada, None).await.text, before, "nothing was made");
    println!("counted: {} bodies refused at two doors, 0 service accounts made", tried + 2);
}

#[tokio::test]
async fn somebody_elses_service_account_is_not_there() {
    let (test, ada, eve, ci) = with_ci().await;
    let shown = ask(&test, Method::GET, &format!("{APOLO}/ci"), &ada, None).await;
    let id = shown.json["id"].as_str().unwrap().to_owned();
    let mut asked = 0;
    for name in
        ["ci", id.as_str(), "none", "service-account-00000000-0000-4000-8000-000000000000", "ada:ci", "..%2fada%2fci"]
    {
        for (method, path) in [
            (Method::GET, format!("{APOLO}/{name}")),
            (Method::DELETE, format!("{APOLO}/{name}")),
            (Method::POST, format!("{APOLO}/{name}/rotate")),
            (Method::GET, format!("{APOLO}/{name}/tokens")),
        ] {
            let answer = ask(&test, method.clone(), &path, &eve, None).await;
            let decoded = name.replace("%2f", "/");
            let told = format!("Service account {decoded} not found");
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (404, told.as_str()), "{method} {path}");
            asked += 1;
        }
    }
    // Where the path says whose it is: what is there and what is not are told apart by nobody who may not see it.
    for (method, end, body) in
        [(Method::GET, "", None), (Method::DELETE, "", None), (Method::POST, "/token", Some(json!({})))]
    {
        let mut answers = Vec::new();
        for name in ["ci", "none"] {
            let answer = ask(&test, method.clone(), &format!("{KUBERNETES}/{name}{end}"), &eve, body.clone()).await;
            assert!([403, 404].contains(&answer.status.as_u16()), "{}", answer.text);
            answers.push(answer.text.replace("none", "ci"));
            asked += 1;
        }
        assert_eq!(answers[0], answers[1], "{method} {end}");
    }
    for path in [
        KUBERNETES,
        "/api/v1/namespaces/ada/secrets/ci-token",
        &format!("{RBAC}/roles"),
        &format!("{RBAC}/rolebindings"),
    ] {
        let answer = ask(&test, Method::GET, path, &eve, None).await;
        assert!([403, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text);
        asked += 1;
    }
    // A service account is not even told of itself before that was granted, and never of others.
    for path in [format!("{APOLO}/ci"), APOLO.to_owned(), format!("{KUBERNETES}/ci"), KUBERNETES.to_owned()] {
        let answer = ask(&test, Method::GET, &path, &ci, None).await;
        assert!([403, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text);
        asked += 1;
    }
    assert_eq!(ask(&test, Method::GET, &format!("{APOLO}/ci"), &ada, None).await.json, shown.json, "it stands");
    assert_eq!(at_the_door(&test, &ci).await, 403, "and so does its token");
    println!("counted: {asked} questions about somebody else's service account, none of which said that it is there");
}

#[tokio::test]
async fn principals_and_uris_are_written_in_one_way_and_nobody_gives_herself_anything() {
    let (test, ada, eve, _) = with_ci().await;
    let job = "job://default/default-org/ada/web";
    let read = |uri: &str| Some(json!([{"uri": uri, "action": "read"}]));
    let of = |name: &str| format!("/api/v1/users/{name}/permissions");
    let mut refused = 0;
    // A slash is a colon in a path, and nothing else.
    for name in [
        "ada%2fservice-accounts%2fci",
        "ada%2Fservice-accounts:ci",
        "ada:service-accounts%2fci",
        "ada:service-accounts:",
        ":service-accounts:ci",
        "ada::ci",
        "ada:service-accounts:CI",
        "ada:service-accounts:ci%00",
        "ada:service-accounts:ci%20",
        "ada:%2e%2e:eve",
        ":",
        "::",
        "Eve",
        "ev%65%00",
        "eve,ada",
        "eve;ada",
        "eve%0aada",
        "eve:readers,admin",
        "%20eve",
        "%e2%80%aeeve",
        "*",
    ] {
        for (method, path, body) in [
            (Method::POST, of(name), read(job)),
            (Method::DELETE, format!("{}?uri={job}", of(name)), None),
            (Method::GET, format!("{}?uri={job}", of(name)), None),
            (Method::POST, format!("{}/check", of(name)), read(job)),
        ] {
            let answer = ask(&test, method.clone(), &path, &ada, body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path}: {}", answer.text);
            assert!(answer.json["error"].is_string(), "{}", answer.text);
            refused += 1;
        }
    }
    for name in ["nobody", "ada:service-accounts:none", "eve:service-accounts:ci", "service-account-0"] {
        let answer = ask(&test, Method::POST, &of(name), &ada, read(job)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}: {}", answer.text);
        refused += 1;
    }
    let long = format!("job://default/default-org/ada/{}", "x".repeat(800));
    let deep = format!("job://default/default-org/ada{}", "/x".repeat(40));
    for uri in [
        "",
        "web",
        "job:web",
        "job:/ada/web",
        "job://",
        "job:///ada/web",
        "job://default/default-org/ada/../eve",
        "job://default/default-org/ada/./web",
        "job://default/default-org/../../eve",
        "job://default/default-org/ada//web",
        "job://default/default-org/ada/web/",
        "job://default//default-org/ada/web",
        "job://default/default-org/ada/web?x=y",
        "job://default/default-org/ada/web#x",
        "job://default/default-org/ada/%2e%2e/eve",
        "job://default/default-org/ada/web%00",
        "job://other/default-org/ada/web",
        "job://default/other-org/ada/web",
        "job://default/default-org/default-org/web",
        "job://DEFAULT/default-org/ada/web",
        "JOB://default/default-org/ada/web",
        "spaceship://default/default-org/ada/web",
        "http://default/default-org/ada/web",
        "job://ada@default/default-org/ada/web",
        "job://default:80/default-org/ada/web",
        "job://default/default-org/ada/\u{7}",
        &long,
        &deep,
    ] {
        for (path, body) in [(of("eve"), read(uri)), (format!("{}/check", of("ada")), read(uri))] {
            let answer = ask(&test, Method::POST, &path, &ada, body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri:.60}: {}", answer.text);
            assert!(answer.json["error"].as_str().unwrap().len() < 500, "{}", answer.text);
            refused += 1;
        }
    }
    let thirteen: Vec<_> =
        (0..13).map(|n| json!({"uri": format!("job://default/default-org/ada/{n}"), "action": "read"})).collect();
    for body in [
        json!({}),
        json!({"uri": job, "action": "read"}),
        json!([]),
        json!([{}]),
        json!([{"uri": job}]),
        json!([{"action": "read"}]),
        json!([{"uri": job, "action": "own"}]),
        json!([{"uri": job, "action": "READ"}]),
        json!([{"uri": job, "action": "read "}]),
        json!([{"uri": job, "action": 3}]),
        json!([{"uri": [job], "action": "read"}]),
        json!([{"uri": job, "action": "read", "user": "eve"}]),
        json!([{"uri": job, "action": "read"}, {"uri": job, "action": "write"}]),
        json!([{"uri": job, "action": "read"}, "x"]),
        json!([[job, "read"]]),
        json!(thirteen),
        json!(null),
    ] {
        let answer = ask(&test, Method::POST, &of("eve"), &ada, Some(body.clone())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        refused += 1;
    }
    assert_eq!(granted(&test, "eve").await, [""; 0]);
    let nothing = json!({"error": "Operation has no effect"});
    // To oneself, to others, to a role of one's own: without `manage` nothing, and what is missing is told.
    for uri in [
        job,
        "job://default/default-org/ada",
        "job://default",
        "gatetoken://default/eve",
        "tokenreview://default",
        "serviceaccount://default/ada/ci/token",
        "role://default/default-org/ada/readers",
    ] {
        for name in ["eve", "ada", "eve:readers", "ada:service-accounts:ci"] {
            let answer = ask(&test, Method::POST, &of(name), &eve, Some(json!([{"uri": uri, "action": "list"}]))).await;
            let missing = json!({"missing": [{"uri": uri, "action": "manage"}]});
            assert_eq!((answer.status.as_u16(), &answer.json), (403, &missing), "{uri} to {name}");
            let answer = ask(&test, Method::DELETE, &format!("{}?uri={uri}", of(name)), &eve, None).await;
            assert_eq!((answer.status.as_u16(), &answer.json), (403, &missing), "{uri} of {name}");
            refused += 2;
        }
        let answer = ask(&test, Method::PUT, &of("eve"), &eve, read(uri)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        let answer = ask(&test, Method::GET, &format!("{}?uri={uri}", of("ada")), &eve, None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        let answer = ask(&test, Method::GET, &format!("{}/shared?uri={uri}", of("eve")), &eve, None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        refused += 3;
    }
    // Nothing to take away.
    let answer = ask(&test, Method::DELETE, &format!("{}?uri={job}", of("eve")), &ada, None).await;
    assert_eq!((answer.status.as_u16(), &answer.json), (400, &nothing));
    assert_eq!((granted(&test, "eve").await, granted(&test, "ada").await), (vec![], vec![]));
    println!("counted: {refused} requests about permissions refused, 0 permissions made");
}

#[tokio::test]
async fn a_token_request_is_for_ten_minutes_to_a_day_and_for_nobody_else() {
    let (test, ada, _, ci) = with_ci().await;
    let path = format!("{KUBERNETES}/ci/token");
    let request = async |spec: Value| {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        ask(&test, Method::POST, &path, &ada, Some(body)).await
    };
    let mut asked = 0;
    for seconds in [i64::MIN, -1, 0, 1, 60, 599] {
        let refused = request(json!({"expirationSeconds": seconds})).await;
        is_status(&refused, 422, "Invalid", &seconds.to_string());
        let told = format!(
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: {seconds}: may not \
             specify a duration less than 10 minutes"
        );
        assert_eq!(refused.json["message"], told);
        asked += 1;
    }
    let refused = request(json!({"expirationSeconds": (1_i64 << 32) + 1})).await;
    is_status(&refused, 422, "Invalid", "2^32 + 1");
    assert!(refused.text.contains("may not specify a duration larger than 2^32 seconds"), "{}", refused.text);
    for seconds in [json!("600"), json!(600.5), json!(1e30), json!([600]), json!(true)] {
        let refused = request(json!({"expirationSeconds": seconds})).await;
        assert!([400, 422].contains(&refused.status.as_u16()), "{seconds}: {}", refused.text);
        asked += 1;
    }
    let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
    for audiences in [
        json!(["http://gatemint.test"]),
        json!(["http://gatemint.test/gate"]),
        json!(["x", "http://gatemint.test/link"]),
        json!(["http://gatemint.test/service-account"]),
        json!([""]),
        json!(["a b"]),
        json!(["a\n"]),
        json!(["ä"]),
        json!(["a".repeat(257)]),
        json!(many),
        json!("x"),
        json!([1]),
        json!({"x": 1}),
    ] {
        let refused = request(json!({"audiences": audiences, "expirationSeconds": 600})).await;
        assert!([400, 422].contains(&refused.status.as_u16()), "{audiences}: {}", refused.text);
        assert!(refused.text.contains("spec.audiences"), "{audiences}: {}", refused.text);
        asked += 1;
    }
    for spec in [
        json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x", "uid": "y"}}),
        json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "ci-token"}}),
        json!({"expirationsSeconds": 600}),
        json!([]),
        json!("x"),
    ] {
        let refused = request(spec.clone()).await;
        assert!([400, 422].contains(&refused.status.as_u16()), "{spec}: {}", refused.text);
        asked += 1;
    }
    for (seconds, life, warned) in
        [(600, 600, false), (86_400, 86_400, false), (86_401, 86_400, true), (1 << 32, 86_400, true)]
    {
        let granted = request(json!({"expirationSeconds": seconds_of(seconds), "audiences": ["shop"]})).await;
        assert_eq!(granted.status, StatusCode::CREATED, "{}", granted.text);
        test.keep(granted.json["status"]["token"].as_str().unwrap());
        assert_eq!(granted.json["spec"]["expirationSeconds"], life);
        assert_eq!(!granted.header("warning").is_empty(), warned, "{seconds}");
        asked += 1;
    }
    // The account itself, before it was authorized, and with its binding; and nobody by somebody else's.
    let body = json!({"spec": {"audiences": ["shop"]}});
    is_status(&ask(&test, Method::POST, &path, &ci, Some(body.clone())).await, 403, "Forbidden", "itself");
    let other = ask(&test, Method::POST, KUBERNETES, &ada, Some(object("cd"))).await;
    assert_eq!(other.status, StatusCode::CREATED, "{}", other.text);
    let path = format!("{KUBERNETES}/cd/token");
    is_status(&ask(&test, Method::POST, &path, &ci, Some(body)).await, 403, "Forbidden", "another one's");
    println!("counted: {} token requests, each answered as Kubernetes does", asked + 3);
}

fn seconds_of(seconds: i64) -> Value {
    seconds.into()
}

#[tokio::test]
async fn a_role_gives_one_thing_to_one_service_account_and_any_other_is_refused_by_name() {
    let (test, ada, ..) = with_ci().await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "ci-create-token"},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["ci"], "verbs": ["create"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "ci-create-token"},
        "subjects": [{"kind": "ServiceAccount", "name": "ci", "namespace": "ada"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ci-create-token"},
    });
    let mut refused = 0;
    let with = |key: &str, value: Value| {
        let mut known = role["rules"][0].clone();
        known[key] = value;
        json!([known])
    };
    for rules in [
        with("verbs", json!(["*"])),
        with("verbs", json!(["create", "get"])),
        with("verbs", json!([])),
        with("resources", json!(["*"])),
        with("resources", json!(["serviceaccounts"])),
        with("resources", json!(["secrets"])),
        with("resourceNames", json!(["cd"])),
        with("resourceNames", json!([])),
        with("resourceNames", json!(["ci", "cd"])),
        with("resourceNames", json!(null)),
        with("apiGroups", json!(["*"])),
        with("nonResourceURLs", json!(["/"])),
        json!([role["rules"][0], role["rules"][0]]),
        json!([]),
        json!({}),
        json!("*"),
    ] {
        let mut role = role.clone();
        role["rules"] = rules.clone();
        let answer = ask(&test, Method::POST, &format!("{RBAC}/roles"), &ada, Some(role)).await;
        is_status(&answer, 422, "Invalid", &rules.to_string());
        assert!(answer.text.contains("serviceaccounts/token"), "the known shape is named: {}", answer.text);
        refused += 1;
    }
    // A binding of nothing, and then of what there is.
    let bindings = format!("{RBAC}/rolebindings");
    let answer = ask(&test, Method::POST, &bindings, &ada, Some(binding.clone())).await;
    is_status(&answer, 404, "NotFound", "without its Role");
    let answer = ask(&test, Method::POST, &format!("{RBAC}/roles"), &ada, Some(role)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let subject = |key: &str, value: Value| {
        let mut subject = binding["subjects"][0].clone();
        subject[key] = value;
        ("subjects", json!([subject]))
    };
    for (field, value) in [
        subject("kind", json!("User")),
        subject("kind", json!("Group")),
        subject("name", json!("cd")),
        subject("name", json!("system:masters")),
        subject("namespace", json!("eve")),
        subject("namespace", json!(null)),
        subject("apiGroup", json!("rbac.authorization.k8s.io")),
        ("subjects", json!([])),
        ("subjects", json!([binding["subjects"][0], {"kind": "Group", "name": "system:masters"}])),
        ("roleRef", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"})),
        ("roleRef", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ci-create-token"})),
        ("roleRef", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cd-create-token"})),
        ("roleRef", json!(null)),
    ] {
        let mut binding = binding.clone();
        binding[field] = value.clone();
        let answer = ask(&test, Method::POST, &bindings, &ada, Some(binding)).await;
        is_status(&answer, 422, "Invalid", &value.to_string());
        refused += 1;
    }
    for name in ["ci", "-create-token", "CI-create-token", "cd-create-token", "ci-create-tokens", ""] {
        let mut binding = binding.clone();
        binding["metadata"]["name"] = name.into();
        let answer = ask(&test, Method::POST, &bindings, &ada, Some(binding)).await;
        assert!([404, 422].contains(&answer.status.as_u16()), "{name}: {}", answer.text);
        refused += 1;
    }
    assert_eq!(granted(&test, "ada/service-accounts/ci").await, [""; 0], "nothing came of all that");
    let answer = ask(&test, Method::POST, &bindings, &ada, Some(binding)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(granted(&test, "ada/service-accounts/ci").await, ["write serviceaccount://default/ada/ci/token"]);
    println!("counted: {refused} roles and bindings of another shape refused by name, 1 of the known shape taken");
}
