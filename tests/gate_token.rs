//! GateTokens by Kubernetes' paths: who may do what, what is refused and why, what races come to, and what ends a token.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatemint::{
    domain::{
        Policy, RefusalKind, Secret,
        access::{Action, Asked, verify},
        gate::{Host, Path, Target},
    },
    http::Options,
};
use serde_json::{Value, json};

use crate::support::{Answer, ISSUER, PASSWORD, TestService};

// What is refused.
mod refused;
// Lists, page by page, as objects and as tables; discovery; what is read only.
mod reading;
// Beside sessions in /v1/tokens.
mod beside_sessions;
// What came of a token exchange.
mod exchanged;
// Races between processes, and the log.
mod processes;

/// Where the namespace `vms` has them: root, an admin; writer and reader, to whom that was granted; bob, whose namespace it is;
/// eve, a stranger.
const PATH: &str = "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/vms/gatetokens";

fn at(name: &str) -> String {
    format!("{PATH}/{name}")
}

/// Everybody, with their access tokens.
struct Everybody {
    test: TestService,
    root: String,
    writer: String,
    reader: String,
    owner: String,
    stranger: String,
}

impl Everybody {
    async fn new() -> Self {
        Self::with(Policy::new(ISSUER)).await
    }

    async fn with(policy: Policy) -> Self {
        let test = TestService::with(policy, Options::default()).await;
        let test = test.user("root", &["admin"]).await.user("writer", &[]).await.user("reader", &[]).await;
        let test = test.user("eve", &[]).await;
        let root = test.sign_in("root").await.access;
        let bob = json!({ "name": "bob", "password": PASSWORD, "namespace": "vms" });
        assert_eq!(test.v1(Method::POST, "/v1/users", &root, Some(bob)).await.status, StatusCode::CREATED);
        grant(&test, "writer", Action::Write).await;
        grant(&test, "reader", Action::Read).await;
        let [writer, reader, owner, stranger] = [
            test.sign_in("writer").await.access,
            test.sign_in("reader").await.access,
            test.sign_in("bob").await.access,
            test.sign_in("eve").await.access,
        ];
        Self { test, root, writer, reader, owner, stranger }
    }

    async fn ask(&self, method: Method, path: &str, access: &str, body: Option<Value>) -> Answer {
        let answer = self.test.v1(method, path, access, body).await;
        for object in std::iter::once(&answer.json).chain(answer.json["items"].as_array().into_iter().flatten()) {
            if let Some(token) = object["status"]["token"].as_str() {
                self.test.keep(token);
            }
        }
        answer
    }

    async fn get(&self, path: &str, access: &str) -> Answer {
        self.ask(Method::GET, path, access, None).await
    }

    /// Makes one as the writer, with more in `spec`.
    async fn make(&self, name: &str, more: Value) -> Answer {
        self.ask(Method::POST, PATH, &self.writer, Some(object(name, more))).await
    }

    /// Makes one that must succeed; its token.
    async fn token(&self, name: &str, more: Value) -> String {
        let made = self.make(name, more).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json["status"]["token"].as_str().unwrap().to_owned()
    }

    async fn delete(&self, name: &str, access: &str) -> Answer {
        self.ask(Method::DELETE, &at(name), access, None).await
    }

    /// What a gate makes of a request to `/a` with this token.
    async fn opens(&self, token: &str) -> Result<String, RefusalKind> {
        let target = Target {
            method: gatemint::domain::gate::Method::parse("GET").unwrap(),
            scheme: None,
            host: Host::parse("any.example.org", None).unwrap(),
            path: Path::of_encoded("/a").unwrap(),
        };
        let asked = Asked { target: &target, audience: None };
        let tokens = vec![Secret::new(token.to_owned())];
        let passed = verify(&self.test.service, self.test.service.now(), asked, tokens).await;
        passed.map(|passer| passer.user).map_err(|refusal| refusal.kind)
    }
}

async fn grant(test: &TestService, user: &str, action: Action) {
    test.grant(user, "gatetoken://default/vms", action).await;
}

/// An object that is to be made: it opens `/a`, unless `more` says otherwise.
fn object(name: &str, more: Value) -> Value {
    let mut object = json!({
        "apiVersion": "kubegateway.kubevirt.io/v1beta1", "kind": "GateToken",
        "metadata": { "name": name, "namespace": "vms" }, "spec": { "urls": ["/a"] }
    });
    if let Value::Object(more) = more {
        object["spec"].as_object_mut().unwrap().extend(more);
    }
    object
}

/// Asserts that it is a `Status` that refuses, with this code and reason, about this field if any.
#[track_caller]
fn assert_status(answer: &Answer, code: u16, reason: &str, field: Option<&str>) {
    assert_eq!(answer.status.as_u16(), code, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json", "{}", answer.text);
    let status = &answer.json;
    for (name, value) in [("kind", "Status"), ("apiVersion", "v1"), ("status", "Failure"), ("reason", reason)] {
        assert_eq!(status[name], value, "{name}: {}", answer.text);
    }
    assert_eq!(status["code"], code);
    assert!(!status["message"].as_str().unwrap().is_empty());
    assert_eq!(status["details"]["causes"][0]["field"].as_str(), field, "{}", answer.text);
    if let Some(field) = field {
        assert!(status["message"].as_str().unwrap().contains(field) || code != 422, "{}", answer.text);
    }
}

/// A JWT's claims, or its header (part 0).
fn part(token: &str, part: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_made_is_ready_at_once_and_is_read_as_it_was_made() {
    let all = Everybody::new().await;
    let now = all.test.service.now();
    let mut wanted = object(
        "vm-7",
        json!({
            "secret-name": "gatemint-jwt-secret", "secret-namespace": "kube-gateway", "secret-file": "tls.key",
            "urls": ["/a/*", "https://h.example.org/x"], "verbs": ["get", "post"], "from": "2027-01-15T08:00:00Z",
            "duration": "30m"
        }),
    );
    wanted["metadata"]["labels"] = json!({ "app.example.org/name": "vnc", "empty": "" });
    wanted["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" });
    wanted["metadata"]["creationTimestamp"] = Value::Null;
    wanted["status"] = json!({ "phase": "Error", "token": "mine" });
    let made =
        all.ask(Method::POST, &format!("{PATH}?fieldManager=kubectl-create"), &all.writer, Some(wanted.clone())).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let object = &made.json;
    for field in ["apiVersion", "kind", "spec"] {
        assert_eq!(object[field], wanted[field], "{field}");
    }
    let metadata = &object["metadata"];
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("vm-7"), &json!("vms")));
    assert_eq!(metadata["labels"], wanted["metadata"]["labels"]);
    assert_eq!(metadata["creationTimestamp"], now.rfc3339());
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(!metadata["resourceVersion"].as_str().unwrap().is_empty() && metadata.get("annotations").is_none());

    let status = &object["status"];
    assert_eq!(status["phase"], "Ready");
    let conditions = status["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 1);
    for (name, value) in
        [("type", "Ready"), ("status", "True"), ("reason", "TokenCreated"), ("message", "token created")]
    {
        assert_eq!(conditions[0][name], value);
    }
    assert_eq!(conditions[0]["lastTransitionTime"], now.rfc3339());
    let (nbf, exp) = (1_800_000_000_u64, 1_800_001_800_u64);
    assert_eq!(
        status["data"],
        json!({
            "from": "2027-01-15T08:00:00Z", "until": "2027-01-15T08:30:00Z", "duration": "30m", "nbf": nbf, "exp": exp,
            "verbs": ["get", "post"], "urls": ["/a/*", "https://h.example.org/x"]
        })
    );
    let token = status["token"].as_str().unwrap();
    assert_eq!(part(token, 0)["typ"], "gate+jwt");
    let claims = part(token, 1);
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("sub", json!("gatetoken:vms/vm-7")),
        ("aud", json!(format!("{ISSUER}/gate"))),
        ("nbf", json!(nbf)),
        ("exp", json!(exp)),
        ("verbs", json!(["get", "post"])),
        ("URLs", json!(["/a/*", "https://h.example.org/x"])),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }

    let read = all.get(&at("vm-7"), &all.writer).await;
    let mut as_made = read.json.clone();
    // Signed anew, so the signature is another one.
    as_made["status"]["token"] = token.into();
    assert_eq!((read.status, &as_made), (StatusCode::OK, object));
    println!(
        "counted: 1 GateToken, {} fields of its status and 7 claims as they should be",
        status.as_object().unwrap().len()
    );
}

#[tokio::test]
async fn what_is_not_said_has_its_usual_value() {
    let all = Everybody::new().await;
    // As from somebody who writes objects by a fixed form.
    let empty =
        json!({ "secret-name": "", "secret-file": "", "from": "", "duration": "", "verbs": null, "one-time": null });
    for (name, more) in [("plain", json!({})), ("empty", empty)] {
        let made = all.make(name, more).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let spec = json!({ "secret-name": "gatemint-jwt-secret", "urls": ["/a"], "verbs": ["get"] });
        assert_eq!(made.json["spec"], spec, "{name}");
        let data = &made.json["status"]["data"];
        let now = all.test.service.now();
        assert_eq!(
            (&data["duration"], &data["from"], &data["nbf"], &data["exp"]),
            (&json!("1h"), &json!(now.rfc3339()), &json!(now.0), &json!(now.0 + 3600))
        );
    }
    // Without apiVersion, kind and namespace the path says what it is.
    let bare = json!({ "metadata": { "name": "bare" }, "spec": { "urls": ["/a"] } });
    let made = all.ask(Method::POST, PATH, &all.writer, Some(bare)).await;
    assert_eq!((made.status, &made.json["kind"]), (StatusCode::CREATED, &json!("GateToken")), "{}", made.text);

    let mut names = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut nameless = object("", json!({}));
        nameless["metadata"] = json!({ "generateName": "vnc-" });
        let made = all.ask(Method::POST, PATH, &all.writer, Some(nameless)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let name = made.json["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.len() == 9 && name.starts_with("vnc-"), "{name}");
        assert!(names.insert(name), "a made-up name is a new one");
    }
    println!("counted: 3 GateTokens by their usual values, {} made-up names", names.len());
}

#[tokio::test]
async fn who_may_do_what() {
    let all = Everybody::new().await;
    let narrowed = [("grant_type", "password"), ("username", "root"), ("password", PASSWORD), ("scope", "profile")];
    let narrowed = all.test.form("/oauth2/token", &narrowed).await.tokens().access;
    let forged = format!("{}x", &all.root[..all.root.len() - 4]);
    // Who, and what they hear: making, listing, reading (and whether with the token), ending.
    let rights = [
        ("root", all.root.as_str(), 201, 200, Some(true), 200),
        ("writer", &all.writer, 201, 200, Some(true), 200),
        ("reader", &all.reader, 403, 200, Some(false), 403),
        ("owner", &all.owner, 403, 200, Some(false), 200),
        ("stranger", &all.stranger, 403, 403, None, 403),
        ("narrowed", &narrowed, 403, 403, None, 403),
        ("nobody", "", 401, 401, None, 401),
        ("forged", &forged, 401, 401, None, 401),
    ];
    let mut asked = 0;
    for (who, access, makes, lists, reads, ends) in rights {
        let own = format!("of-{who}");
        let made = all.ask(Method::POST, PATH, access, Some(object(&own, json!({})))).await;
        assert_eq!(made.status.as_u16(), makes, "{who}: {}", made.text);
        all.token("there", json!({})).await;
        let listed = all.get(PATH, access).await;
        assert_eq!(listed.status.as_u16(), lists, "{who}: {}", listed.text);
        let read = all.get(&at("there"), access).await;
        assert_eq!(read.status.as_u16(), lists, "{who}: {}", read.text);
        if let Some(with_token) = reads {
            let items = listed.json["items"].as_array().unwrap();
            assert!(items.iter().any(|item| item["metadata"]["name"] == "there"));
            for object in items.iter().chain([&read.json]) {
                assert_eq!(object["status"]["token"].is_string(), with_token, "{who}: {object}");
                assert_eq!(object["status"]["phase"], "Ready");
            }
        } else {
            // What is not there is told to nobody who may not look.
            let absent = all.get(&at("not-there"), access).await;
            assert_eq!(absent.status, read.status, "{who}");
            let text = |answer: &Answer| answer.text.replace("not-there", "there");
            assert_eq!(text(&absent), text(&read), "{who}");
        }
        let ended = all.delete("there", access).await;
        assert_eq!(ended.status.as_u16(), ends, "{who}: {}", ended.text);
        if ends == 200 {
            assert_status(&all.get(&at("there"), &all.root).await, 404, "NotFound", None);
        } else {
            assert_eq!(all.delete("there", &all.root).await.status, StatusCode::OK);
        }
        for (answer, code) in [(&made, makes), (&listed, lists), (&read, lists), (&ended, ends)] {
            if code >= 400 {
                assert_status(answer, code, if code == 401 { "Unauthorized" } else { "Forbidden" }, None);
            }
            assert_eq!(answer.header("www-authenticate").starts_with("Bearer "), code == 401, "{who}");
            asked += 1;
        }
    }
    // Of another namespace the writer has nothing.
    let other = PATH.replace("vms", "eve");
    assert_status(&all.get(&other, &all.writer).await, 403, "Forbidden", None);
    println!("counted: {asked} requests of {} people judged", rights.len());
}

#[tokio::test]
async fn no_cookie_and_no_gate_token_is_a_credential_here() {
    let all = Everybody::new().await;
    let gate = all.token("a", json!({})).await;
    let mut refused = 0;
    for (name, value) in [
        ("cookie", format!("dat={}", all.root)),
        ("cookie", format!("kg-jwt-session-code={}", all.root)),
        ("authorization", format!("Basic {}", all.root)),
        ("authorization", format!("Bearer {gate}")),
    ] {
        for path in [PATH, "/api/v1/namespaces/vms/secrets"] {
            let request = Request::get(path).header(name, &value).body(Body::empty()).unwrap();
            assert_status(&all.test.send(request).await, 401, "Unauthorized", None);
            refused += 1;
        }
    }
    let twice = Request::get(PATH)
        .header(header::AUTHORIZATION, format!("Bearer {}", all.root))
        .header(header::AUTHORIZATION, format!("Bearer {}", all.root));
    assert_status(&all.test.send(twice.body(Body::empty()).unwrap()).await, 400, "BadRequest", None);
    println!("counted: {} requests without a good credential refused", refused + 1);
}

#[tokio::test]
async fn a_name_that_is_made_again_is_another_token() {
    let all = Everybody::new().await;
    let first = all.token("a", json!({})).await;
    assert_eq!(all.opens(&first).await, Ok("gatetoken:vms/a".to_owned()));
    let uid = all.get(&at("a"), &all.root).await.json["metadata"]["uid"].clone();
    assert_status(&all.make("a", json!({})).await, 409, "AlreadyExists", Some("metadata.name"));

    let deleted = all.delete("a", &all.writer).await;
    assert_eq!(deleted.status, StatusCode::OK);
    let details = json!({ "name": "a", "group": "kubegateway.kubevirt.io", "kind": "gatetokens", "uid": uid });
    assert_eq!(
        (&deleted.json["kind"], &deleted.json["status"], &deleted.json["details"]),
        (&json!("Status"), &json!("Success"), &details)
    );
    assert_eq!(all.opens(&first).await, Err(RefusalKind::Unauthenticated));
    assert_status(&all.delete("a", &all.writer).await, 404, "NotFound", None);

    let second = all.token("a", json!({})).await;
    assert_eq!(all.opens(&first).await, Err(RefusalKind::Unauthenticated), "the old one stays dead");
    assert!(all.opens(&second).await.is_ok());
    // Whoever means the one before does not end this one.
    let only_first = json!({ "preconditions": { "uid": uid } });
    let refused = all.ask(Method::DELETE, &at("a"), &all.writer, Some(only_first)).await;
    assert_status(&refused, 409, "Conflict", None);
    let uid = all.get(&at("a"), &all.root).await.json["metadata"]["uid"].clone();
    let only_second =
        json!({ "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": { "uid": uid } });
    assert_eq!(all.ask(Method::DELETE, &at("a"), &all.writer, Some(only_second)).await.status, StatusCode::OK);
    assert_eq!(all.opens(&second).await, Err(RefusalKind::Unauthenticated));
    println!("counted: 2 tokens under 1 name, both ended, neither by what was meant for the other");
}

#[tokio::test]
async fn what_its_minter_cannot_stand_for_is_gone() {
    let all = Everybody::new().await;
    let token = all.token("a", json!({})).await;
    let change = json!({ "enabled": false });
    let disabled = all.ask(Method::PATCH, "/v1/users/writer", &all.root, Some(change)).await;
    assert_eq!(disabled.status, StatusCode::OK, "{}", disabled.text);
    assert_eq!(all.opens(&token).await, Err(RefusalKind::Unauthenticated));
    assert_status(&all.get(&at("a"), &all.root).await, 404, "NotFound", None);
    assert_status(&all.delete("a", &all.root).await, 404, "NotFound", None);
    assert_eq!(all.get(PATH, &all.root).await.json["items"], json!([]));
    // Its name is free.
    let made = all.ask(Method::POST, PATH, &all.root, Some(object("a", json!({})))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(all.opens(&token).await, Err(RefusalKind::Unauthenticated));
    println!("counted: 1 token gone with its minter in 4 ways");
}

#[tokio::test]
async fn a_one_time_token_shows_a_link_and_no_gate_token() {
    let all = Everybody::new().await;
    let link = all.token("a", json!({ "one-time": true })).await;
    assert_eq!(
        (&part(&link, 0)["typ"], &part(&link, 1)["aud"]),
        (&json!("link+jwt"), &json!(format!("{ISSUER}/link")))
    );
    assert_eq!(all.opens(&link).await, Err(RefusalKind::Unauthenticated), "a link opens nothing itself");
    let read = all.get(&at("a"), &all.root).await.json;
    assert_eq!(read["spec"]["one-time"], true);
    assert_eq!(part(read["status"]["token"].as_str().unwrap(), 0)["typ"], "link+jwt");
    println!("counted: 2 links, neither of them a gate token");
}

#[tokio::test]
async fn what_has_expired_is_shown_without_a_token_until_it_is_purged() {
    let all = Everybody::new().await;
    let token = all.token("a", json!({ "duration": "10m" })).await;
    all.test.clock.advance(std::time::Duration::from_mins(10));
    assert_eq!(all.opens(&token).await, Err(RefusalKind::Unauthenticated));
    let read = all.get(&at("a"), &all.writer).await.json;
    assert_eq!((&read["status"]["phase"], &read["status"]["token"]), (&json!("Error"), &Value::Null));
    let condition = &read["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"], &condition["lastTransitionTime"]),
        (&json!("Ready"), &json!("False"), &json!("TokenExpired"), &read["status"]["data"]["until"])
    );
    all.test.clock.advance(std::time::Duration::from_hours(24));
    let root = all.test.sign_in("root").await.access;
    assert_status(&all.get(&at("a"), &root).await, 404, "NotFound", None);
    println!("counted: 1 token at 3 moments of its life");
}
