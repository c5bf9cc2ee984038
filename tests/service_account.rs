//! Service accounts by Kubernetes' paths: who may do what, short-lived tokens and what is said of them, and the manual way.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatemint::{
    domain::{
        Policy,
        access::{Action, Principal, Resource, Subject, permission},
    },
    http::{Function, Options, router},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, ISSUER, TestService};

// What is refused.
mod refused;
// Short-lived tokens: lifetimes, audiences, claims, texts.
mod token_request;
// Whose token is this?
mod token_review;
// Role and RoleBinding of the manual way, and the Secret whose data issues a token.
mod manual_way;

/// Where the service accounts of ada's namespace are.
const PATH: &str = "/api/v1/namespaces/ada/serviceaccounts";
/// Where its roles are.
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/ada/roles";
/// Where its role bindings are.
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/ada/rolebindings";
/// Where its secrets are.
const SECRETS: &str = "/api/v1/namespaces/ada/secrets";
/// Where tokens are reviewed.
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// What `kubectl get` accepts.
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

fn at(name: &str) -> String {
    format!("{PATH}/{name}")
}

fn token_of(name: &str) -> String {
    format!("{PATH}/{name}/token")
}

/// Everybody, with their access tokens: root, an admin; ada, whose namespace it is; reader, who may read its service
/// accounts; eve, a stranger.
struct Everybody {
    test: TestService,
    root: String,
    owner: String,
    reader: String,
    stranger: String,
}

impl Everybody {
    async fn new() -> Self {
        let test = TestService::with(Policy::new(ISSUER), Options::default()).await;
        let test = test.user("root", &["admin"]).await.user("ada", &[]).await;
        let test = test.user("reader", &[]).await.user("eve", &[]).await;
        grant(&test, "reader", "serviceaccount://default/ada", Action::Read).await;
        let [root, owner, reader, stranger] = [
            test.sign_in("root").await.access,
            test.sign_in("ada").await.access,
            test.sign_in("reader").await.access,
            test.sign_in("eve").await.access,
        ];
        Self { test, root, owner, reader, stranger }
    }

    /// With the service account `ci`, which may do nothing.
    async fn with_ci() -> Self {
        let all = Self::new().await;
        all.make("ci").await;
        all
    }

    async fn ask(&self, method: Method, path: &str, access: &str, body: Option<Value>) -> Answer {
        let answer = self.test.v1(method, path, access, body).await;
        if let Some(token) = answer.json["status"]["token"].as_str() {
            self.test.keep(token);
        }
        if let Some(token) = answer.json["data"]["token"].as_str() {
            self.test.keep(token);
            self.test.keep(&decoded(token));
        }
        answer
    }

    async fn get(&self, path: &str, access: &str) -> Answer {
        self.ask(Method::GET, path, access, None).await
    }

    async fn post(&self, path: &str, access: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, access, Some(body)).await
    }

    async fn delete(&self, path: &str, access: &str) -> Answer {
        self.ask(Method::DELETE, path, access, None).await
    }

    /// Makes a service account as ada.
    async fn make(&self, name: &str) -> Value {
        let made = self.post(PATH, &self.owner, account(name)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json
    }

    /// A long-lived token of a service account, from its Secret.
    async fn long_lived(&self, name: &str) -> String {
        let secret = self.get(&format!("{SECRETS}/{name}-token"), &self.owner).await;
        assert_eq!(secret.status, StatusCode::OK, "{}", secret.text);
        decoded(secret.json["data"]["token"].as_str().unwrap())
    }

    /// A short-lived token that ada asks for.
    async fn short_lived(&self, name: &str, audiences: Value) -> String {
        let asked = json!({ "spec": { "audiences": audiences } });
        let made = self.post(&token_of(name), &self.owner, asked).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json["status"]["token"].as_str().unwrap().to_owned()
    }

    /// As `kubectl get` asks.
    async fn table(&self, path: &str, access: &str) -> Answer {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {access}"))
            .header(header::ACCEPT, TABLE)
            .body(Body::empty())
            .unwrap();
        self.test.send(request).await
    }

    /// How many long-lived tokens `ci` has: the entries of its row.
    async fn long_lived_tokens(&self) -> usize {
        let (service, now) = (&self.test.service, self.test.service.now());
        let account = gatemint::domain::service_account::get(service, now, &Subject::operator(), "ada", "ci").await;
        account.unwrap().tokens.len()
    }
}

async fn grant(test: &TestService, to: &str, resource: &str, action: Action) {
    let (to, resource) = (Principal::parse(to, "to").unwrap(), Resource::parse(resource, "uri").unwrap());
    let (service, now) = (&test.service, test.service.now());
    permission::grant(service, now, &Subject::operator(), &to, &[(resource, action)]).await.unwrap();
}

fn decoded(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

fn account(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "ada" } })
}

/// A Role of the manual way.
fn role(name: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": format!("{name}-create-token"), "namespace": "ada" },
        "rules": [{
            "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"]
        }]
    })
}

/// A RoleBinding of the manual way.
fn binding(name: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": format!("{name}-create-token"), "namespace": "ada" },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("{name}-create-token")
        },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": "ada" }]
    })
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
}

/// A JWT's claims, or its header (part 0).
fn part(token: &str, part: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap()).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_service_account_is_made_read_listed_and_ended() {
    let all = Everybody::new().await;
    let mut wanted = account("ci");
    wanted["metadata"]["labels"] = json!({ "arrikto.com/service-account-creator": "" });
    // What kubectl and manifests have besides.
    wanted["metadata"]["creationTimestamp"] = Value::Null;
    wanted["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" });
    wanted["automountServiceAccountToken"] = false.into();
    wanted["secrets"] = json!([]);
    wanted["imagePullSecrets"] = Value::Null;
    let path = format!("{PATH}?fieldManager=kubectl-create&fieldValidation=Strict");
    let made = all.post(&path, &all.owner, wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let uid = made.json["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!((uid.len(), uid.as_bytes()[14]), (36, b'4'), "{uid}");
    let expected = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": "ci", "namespace": "ada", "uid": uid, "creationTimestamp": all.test.service.now().rfc3339(),
            "labels": { "arrikto.com/service-account-creator": "" }
        },
        "secrets": [{ "name": "ci-token" }]
    });
    assert_eq!(made.json, expected);
    assert_eq!(all.long_lived_tokens().await, 0, "a token is asked for apart");
    for access in [&all.owner, &all.reader, &all.root] {
        assert_eq!(all.get(&at("ci"), access).await.json, expected);
    }
    let list = all.get(PATH, &all.reader).await.json;
    assert_eq!((&list["kind"], &list["items"]), (&json!("ServiceAccountList"), &json!([expected])));

    assert_status(&all.post(PATH, &all.owner, account("ci")).await, 409, "AlreadyExists", Some("metadata.name"));
    let deleted = all.delete(&at("ci"), &all.owner).await;
    assert_eq!((deleted.status, &deleted.json), (StatusCode::OK, &expected), "it is what it was, as in Kubernetes");
    for gone in [all.get(&at("ci"), &all.owner).await, all.delete(&at("ci"), &all.owner).await] {
        assert_status(&gone, 404, "NotFound", None);
        assert_eq!(gone.json["message"], r#"serviceaccounts "ci" not found"#);
        assert_eq!(gone.json["details"], json!({ "name": "ci", "kind": "serviceaccounts" }));
    }
    println!("counted: 1 service account made, read in 5 ways and ended");
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_by_selectors() {
    const COUNT: usize = 103;
    let all = Everybody::new().await;
    let mut made = Vec::new();
    for n in 0..COUNT {
        let mut wanted = account(&format!("ci-{n:03}"));
        wanted["metadata"]["labels"] = json!({ "odd": (n % 2).to_string() });
        assert_eq!(all.post(PATH, &all.owner, wanted).await.status, StatusCode::CREATED);
        made.push(format!("ci-{n:03}"));
    }
    for limit in [0, 1, 50, 99, 102, 103, 104, 1000] {
        let (mut found, mut pages, mut next) = (Vec::new(), 0, String::new());
        loop {
            let page = all.get(&format!("{PATH}?limit={limit}&continue={next}"), &all.reader).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            found.extend(names(&page.json).into_iter().map(ToOwned::to_owned));
            pages += 1;
            match page.json["metadata"]["continue"].as_str() {
                Some(place) => place.clone_into(&mut next),
                None => break,
            }
        }
        assert_eq!(found, made, "limit {limit}");
        assert_eq!(pages, if limit == 0 { 1 } else { COUNT.div_ceil(limit) }, "limit {limit}");
    }
    for (query, selected) in [
        ("labelSelector=odd%3D1", COUNT / 2),
        ("labelSelector=!odd", 0),
        ("fieldSelector=metadata.name%3Dci-007", 1),
        ("fieldSelector=metadata.name%3Dci-007,metadata.namespace%3Dada", 1),
        ("fieldSelector=metadata.name%3Dci-007,metadata.namespace%3Deve", 0),
        ("fieldSelector=metadata.name%3Dci-007&labelSelector=odd%3D0", 0),
        ("fieldSelector=metadata.name%3Dnot-there", 0),
    ] {
        let list = all.get(&format!("{PATH}?{query}"), &all.reader).await;
        assert_eq!(names(&list.json).len(), selected, "{query}");
    }
    assert_status(&all.get(&format!("{PATH}?watch=1"), &all.reader).await, 405, "MethodNotAllowed", None);
    assert_status(&all.get(&format!("{PATH}?labelSelector=a+in+(b)"), &all.reader).await, 400, "BadRequest", None);
    println!("counted: {COUNT} service accounts in 8 sizes of pages and by 7 selectors");
}

#[tokio::test]
async fn kubectl_get_is_given_the_tables_that_it_prints() {
    let all = Everybody::with_ci().await;
    all.post(ROLES, &all.owner, role("ci")).await;
    all.post(BINDINGS, &all.owner, binding("ci")).await;
    let made = all.test.service.now().rfc3339();
    all.test.clock.advance(std::time::Duration::from_secs(150));
    let mut tables = 0;
    for (path, columns, cells) in [
        (PATH, &["Name", "Secrets", "Age"][..], json!(["ci", "1", "2m30s"])),
        (ROLES, &["Name", "Created At"], json!(["ci-create-token", made])),
        (BINDINGS, &["Name", "Role", "Age"], json!(["ci-create-token", "Role/ci-create-token", "2m30s"])),
        (SECRETS, &["Name", "Type"], json!(["ci-token", "kubernetes.io/service-account-token"])),
    ] {
        let name = cells[0].as_str().unwrap();
        for path in [path.to_owned(), format!("{path}/{name}"), format!("{path}?fieldSelector=metadata.name%3D{name}")]
        {
            let table = all.table(&path, &all.owner).await;
            assert_eq!((table.status, &table.json["kind"]), (StatusCode::OK, &json!("Table")), "{}", table.text);
            let headings = table.json["columnDefinitions"].as_array().unwrap().iter();
            assert_eq!(headings.map(|column| column["name"].as_str().unwrap()).collect::<Vec<_>>(), columns);
            assert_eq!(table.json["rows"].as_array().unwrap().last().unwrap()["cells"], cells, "{path}");
            tables += 1;
        }
    }
    assert_eq!(all.long_lived_tokens().await, 0, "no table issues a token");
    println!("counted: {tables} tables");
}

#[tokio::test]
async fn who_may_do_what() {
    let all = Everybody::with_ci().await;
    grant(&all.test, "ada/service-accounts/ci", "serviceaccount://default/ada/ci/token", Action::Write).await;
    let itself = all.long_lived("ci").await;
    let short = all.short_lived("ci", json!([])).await;
    let forged = format!("{}x", &all.root[..all.root.len() - 4]);
    // What they hear: making, listing, reading, a token, the Secret's data, ending.
    let rights = [
        ("root", all.root.as_str(), [201, 200, 200, 201, 200, 200]),
        ("owner", &all.owner, [201, 200, 200, 201, 200, 200]),
        ("reader", &all.reader, [403, 200, 200, 403, 403, 403]),
        ("stranger", &all.stranger, [403, 403, 404, 403, 404, 404]),
        ("itself", &itself, [403, 403, 404, 201, 404, 404]),
        ("short-lived", &short, [401; 6]),
        ("nobody", "", [401; 6]),
        ("forged", &forged, [401; 6]),
    ];
    let mut asked = 0;
    for (who, access, codes) in rights {
        let other = format!("of-{who}");
        let answers = [
            all.post(PATH, access, account(&other)).await,
            all.get(PATH, access).await,
            all.get(&at("ci"), access).await,
            all.post(&token_of("ci"), access, json!({})).await,
            all.get(&format!("{SECRETS}/ci-token"), access).await,
            {
                all.post(PATH, &all.owner, account("other")).await;
                all.delete(&at("other"), access).await
            },
        ];
        for (n, (answer, code)) in answers.iter().zip(codes).enumerate() {
            assert_eq!(answer.status.as_u16(), code, "{who} {n}: {}", answer.text);
            let reason = match code {
                401 => "Unauthorized",
                403 => "Forbidden",
                404 => "NotFound",
                _ => "",
            };
            if !reason.is_empty() {
                assert_status(answer, code, reason, None);
            }
            assert_eq!(answer.header("www-authenticate").starts_with("Bearer "), code == 401, "{who} {n}");
            asked += 1;
        }
    }
    // Of what is not there nobody learns more than of what he may not see.
    let (there, not) = (all.get(&at("ci"), &all.stranger).await, all.get(&at("no"), &all.stranger).await);
    assert_eq!(there.text.replace("ci", "no"), not.text);
    println!("counted: {asked} requests of {} people judged", rights.len());
}

#[tokio::test]
async fn a_namespace_that_is_nobodys_is_told_so_and_another_ones_names_are_apart() {
    let all = Everybody::with_ci().await;
    let nobodys = all.post(
        "/api/v1/namespaces/nobodys/serviceaccounts",
        &all.root,
        json!({
            "metadata": { "name": "ci" }
        }),
    );
    let nobodys = nobodys.await;
    assert_status(&nobodys, 404, "NotFound", None);
    assert_eq!(nobodys.json["message"], r#"namespaces "nobodys" not found"#);
    assert_eq!(nobodys.json["details"], json!({ "name": "nobodys", "kind": "namespaces" }));
    let eves =
        all.post("/api/v1/namespaces/eve/serviceaccounts", &all.stranger, json!({ "metadata": { "name": "ci" } }));
    assert_eq!(eves.await.status, StatusCode::CREATED);
    let at_adas = all.get(&at("ci"), &all.owner).await.json["metadata"]["uid"].clone();
    let at_eves = all.get("/api/v1/namespaces/eve/serviceaccounts/ci", &all.stranger).await.json;
    assert_ne!(at_eves["metadata"]["uid"], at_adas);
    println!("counted: 2 service accounts of one name, 1 namespace of nobody's");
}

#[tokio::test]
async fn a_name_is_made_up_where_one_is_asked_for() {
    let all = Everybody::new().await;
    let mut found = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let made = all.post(PATH, &all.owner, json!({ "metadata": { "generateName": "ci-" } })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let name = made.json["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.len() == 8 && name.starts_with("ci-"), "{name}");
        assert_eq!(made.json["secrets"][0]["name"], format!("{name}-token"));
        assert!(found.insert(name));
    }
    let both = all.post(PATH, &all.owner, json!({ "metadata": { "generateName": "x-", "name": "own" } })).await;
    assert_eq!(both.json["metadata"]["name"], "own");
    println!("counted: {} made-up names", found.len());
}

#[tokio::test]
async fn one_that_is_made_again_is_another_one() {
    let all = Everybody::with_ci().await;
    let before = all.get(&at("ci"), &all.owner).await.json["metadata"]["uid"].clone();
    assert_eq!(all.delete(&at("ci"), &all.owner).await.status, StatusCode::OK);
    let after = all.make("ci").await["metadata"]["uid"].clone();
    assert_ne!(before, after);
    let meant = |uid: &Value| json!({ "preconditions": { "uid": uid }, "propagationPolicy": "Background" });
    let other = all.ask(Method::DELETE, &at("ci"), &all.owner, Some(meant(&before))).await;
    assert_status(&other, 409, "Conflict", None);
    let this = all.ask(Method::DELETE, &at("ci"), &all.owner, Some(meant(&after))).await;
    assert_eq!(this.status, StatusCode::OK, "{}", this.text);
    // The id that other clients use for it is no name.
    all.make("ci").await;
    let id =
        format!("service-account-{}", all.get(&at("ci"), &all.owner).await.json["metadata"]["uid"].as_str().unwrap());
    assert_status(&all.get(&at(&id), &all.owner).await, 404, "NotFound", None);
    assert_status(&all.delete(&at(&id), &all.owner).await, 404, "NotFound", None);
    println!("counted: 2 deletes of one that was meant or not, 2 by an id that is no name");
}

#[tokio::test]
async fn the_same_is_there_below_kubernetes() {
    let all = Everybody::new().await;
    let under = |path: &str| format!("/kubernetes{path}");
    let made = all.post(&under(PATH), &all.owner, account("ci")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    for path in [PATH.to_owned(), at("ci")] {
        assert_eq!(all.get(&under(&path), &all.owner).await.json, all.get(&path, &all.owner).await.json);
    }
    let token = all.post(&under(&token_of("ci")), &all.owner, json!({ "spec": { "audiences": ["a"] } })).await;
    assert_eq!(token.status, StatusCode::CREATED, "{}", token.text);
    assert_eq!(all.delete(&under(&at("ci")), &all.owner).await.status, StatusCode::OK);
    assert_status(&all.get(&at("ci"), &all.owner).await, 404, "NotFound", None);
    // Nothing else of the API is there.
    for path in
        ["/kubernetes", "/kubernetes/api/v1", "/kubernetes/api/v1/namespaces/ada/secrets", "/kubernetes/version"]
    {
        assert_status(&all.get(path, &all.owner).await, 404, "NotFound", None);
    }
    let not_allowed = all.ask(Method::PUT, &under(&at("ci")), &all.owner, Some(json!({}))).await;
    assert_status(&not_allowed, 405, "MethodNotAllowed", None);
    println!("counted: 5 requests below /kubernetes, 5 that are refused there");
}

#[tokio::test]
async fn each_function_has_its_own_routes() {
    let all = Everybody::with_ci().await;
    let paths = [
        ("/api/v1", Function::Gate),
        ("/apis/rbac.authorization.k8s.io/v1", Function::Gate),
        ("/apis/kubegateway.kubevirt.io/v1beta1/namespaces/ada/gateservers", Function::Gate),
        (PATH, Function::Admin),
        (SECRETS, Function::Admin),
        (ROLES, Function::Admin),
        (BINDINGS, Function::Admin),
        ("/kubernetes/api/v1/namespaces/ada/serviceaccounts", Function::Admin),
        ("/openid/v1/jwks", Function::Discovery),
    ];
    for (path, owner) in paths {
        for (function, name) in Function::ALL {
            let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {}", all.owner));
            let routes = router(all.test.service.clone(), function, &Options::default());
            let answer = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let served = function == owner || function == Function::Http;
            assert_eq!(answer.status() == StatusCode::OK, served, "{name} {path}: {}", answer.status());
        }
    }
    println!("counted: {} paths, each in its own function alone", paths.len());
}

#[tokio::test]
async fn the_keys_are_at_kubernetes_path_too() {
    let all = Everybody::new().await;
    let (here, there) = (all.get("/openid/v1/jwks", "").await, all.get("/.well-known/jwks.json", "").await);
    assert_eq!((here.status, &here.text), (StatusCode::OK, &there.text));
    assert_eq!(here.header("cache-control"), there.header("cache-control"));
    println!("counted: {} keys", here.json["keys"].as_array().unwrap().len());
}

#[tokio::test]
async fn the_protobuf_of_newer_kubectls_is_understood_and_answered_in_json() {
    // What kubectl 1.33 sends for `create serviceaccount ci`, `create rolebinding ci-create-token --role=ci-create-token
    // --serviceaccount=ada:ci`, and `create token ci --audience A --audience B --duration 10m`, `-n ada` each.
    const ACCOUNT: &str = "6b3873000a140a027631120e536572766963654163636f756e7412170a150a02636912001a0361646122002a003200380042001a002200";
    const BINDING: &str = "6b3873000a2b0a1c726261632e617574686f72697a6174696f6e2e6b38732e696f2f7631120b526f6c6542696e64696e67\
                           12750a220a0f63692d6372656174652d746f6b656e12001a0361646122002a00320038004200121b0a0e53657276696365\
                           4163636f756e7412001a02636922036164611a320a19726261632e617574686f72697a6174696f6e2e6b38732e696f1204\
                           526f6c651a0f63692d6372656174652d746f6b656e1a002200";
    const TOKEN: &str = "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e5265717565737412230a\
                         100a0012001a0022002a0032003800420012090a01410a014220d8041a040a0012001a002200";
    let all = Everybody::new().await;
    let send = async |path: &str, body: Vec<u8>| {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", all.owner))
            .header(header::ACCEPT, "application/vnd.kubernetes.protobuf,application/json")
            .header(header::CONTENT_TYPE, "application/vnd.kubernetes.protobuf");
        all.test.send(request.body(Body::from(body)).unwrap()).await
    };
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).unwrap()).collect()
    };
    let mut understood = 0;
    for (path, body) in [(PATH, ACCOUNT), (BINDINGS, BINDING), (&token_of("ci"), TOKEN)] {
        if path == BINDINGS {
            assert_eq!(all.post(ROLES, &all.owner, role("ci")).await.status, StatusCode::CREATED);
        }
        let answer = send(path, bytes(body)).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::CREATED, "application/json"),
            "{}",
            answer.text
        );
        if let Some(token) = answer.json["status"]["token"].as_str() {
            assert_eq!(part(token, 1)["aud"], json!(["A", "B"]));
            assert_eq!(answer.json["spec"]["expirationSeconds"], 600);
        }
        understood += 1;
    }
    assert_eq!(names(&all.get(BINDINGS, &all.owner).await.json), ["ci-create-token"]);
    // One kind at another's path, what is no envelope, and a kind that is sent as JSON.
    assert_status(&send(ROLES, bytes(ACCOUNT)).await, 422, "Invalid", Some("apiVersion"));
    assert_status(&send(PATH, b"{}".to_vec()).await, 400, "BadRequest", None);
    let pod = bytes(ACCOUNT).iter().map(|byte| if *byte == b'S' { b'X' } else { *byte }).collect();
    assert_status(&send(PATH, pod).await, 415, "UnsupportedMediaType", None);
    println!("counted: {understood} bodies of Protobuf understood, 3 refused");
}
