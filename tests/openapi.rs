//! The OpenAPI document and its page: stored as served, every route in it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::{
    domain::Policy,
    http::{Function, Options, router},
};
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{Answer, TestService};

/// The issuer that the stored document is made for: what a first start on the usual address records.
const ISSUER: &str = "http://127.0.0.1:9000";
/// With this in the environment the stored document is written anew.
const RENEW: &str = "RENEW_OPENAPI";
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

async fn service() -> TestService {
    TestService::with(Policy::new(ISSUER), Options::default()).await
}

async fn get(test: &TestService, path: &str) -> Answer {
    test.v1(Method::GET, path, "", None).await
}

async fn document(test: &TestService) -> Value {
    get(test, "/openapi.json").await.json
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path → the methods that the document has for it.
fn operations(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| -> BTreeSet<String> {
        item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// A path as a request has it.
fn filled(path: &str) -> String {
    path.replace("{realm}", "any").replace("{name}", "ada").replace("{id}", "ci")
}

#[tokio::test]
async fn the_stored_document_is_the_served_one() {
    let test = service().await;
    let served = get(&test, "/openapi.json").await;
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(served.header("content-type"), "application/json");
    assert_eq!(served.header("cache-control"), "public, max-age=300");
    let file = root().join("tests/openapi.json");
    if std::env::var_os(RENEW).is_some() {
        fs::write(&file, &served.text).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap();
    assert!(
        stored == served.text,
        "tests/openapi.json is not what /openapi.json serves; if that is as you want it, renew the file and look at the \
         difference:\n    {RENEW}=1 cargo test --test capabilities -- openapi::the_stored_document && git diff tests/openapi.json"
    );
    assert_eq!(served.json["openapi"], "3.1.0");
    assert_eq!(served.json["servers"], serde_json::json!([{ "url": ISSUER }]));
    println!("counted: {} lines stored as they are served", stored.lines().count());
}

#[tokio::test]
async fn what_the_document_names_is_answered_and_nothing_else() {
    let test = service().await;
    let operations = operations(&document(&test).await);
    let (mut answered, mut refused) = (0, 0);
    for (path, methods) in &operations {
        let mut allowed = methods.clone();
        if methods.contains("GET") {
            allowed.insert("HEAD".into());
        }
        for method in METHODS {
            let request = Request::builder().method(method).uri(filled(path)).body(Body::empty()).unwrap();
            let answer = test.send(request).await;
            if allowed.contains(method) {
                // A handler's own 404 would need a token first.
                assert!(
                    ![404, 405].contains(&answer.status.as_u16()),
                    "{method} {path}: {} {}",
                    answer.status,
                    answer.text
                );
                answered += 1;
                continue;
            }
            // Any page may read these: the answer is the preflight's (Fetch §4.8), for whatever asks with OPTIONS.
            if method == "OPTIONS"
                && (path.starts_with("/.well-known/") || path.ends_with("/certs") || path.ends_with("/jwks"))
            {
                assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::OK, "*"));
                continue;
            }
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}: {}", answer.text);
            let allow: BTreeSet<String> =
                answer.header("allow").split(',').map(|method| method.trim().to_owned()).collect();
            assert_eq!(allow, allowed, "{method} {path}");
            refused += 1;
        }
    }
    println!("counted: {answered} documented requests answered, {refused} others refused with 405 and Allow");
}

/// Folders whose routes are others' interfaces, described by those whose they are: the document is about OAuth and our own
/// resources. What they answer is tested where they are.
const OTHERS: [&str; 4] = ["apolo", "forward_auth", "kube_gateway", "kubernetes"];

/// Where those routes are.
const PATHS_OF_OTHERS: [&str; 6] = ["/api", "/apis", "/auth", "/kubernetes", "/version", "/webhooks"];

fn is_of_others(path: &str) -> bool {
    PATHS_OF_OTHERS
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The router takes its routes from `Routes` alone, which takes none without its description.
#[test]
fn no_route_is_added_beside_the_described_ones() {
    fn walk(place: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut files = Vec::new();
    walk(&root().join("src/http"), &mut files);
    let mut looked_at = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        if file.iter().any(|folder| OTHERS.iter().any(|other| folder == *other)) {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        let adds = ["routing::", ".route_service(", ".nest("].iter().any(|way| text.contains(way));
        assert_eq!(adds, file.ends_with("src/http/routes.rs"), "{}", file.display());
        looked_at += 1;
    }
    println!("counted: {looked_at} files, 1 of them adds routes");
}

/// The two ways round: every operation has a sample event, and every event that is answered has an operation.
#[tokio::test]
async fn every_operation_has_a_sample_event() {
    let operations = operations(&document(&service().await).await);
    let matches = |pattern: &str, path: &str| {
        let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
        pattern.len() == path.len()
            && pattern.iter().zip(&path).all(|(wanted, have)| wanted.starts_with('{') || wanted == have)
    };
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(root().join("tests/events/expected.json")).unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for step in expected.as_array().unwrap() {
        let file = step["event"].as_str().unwrap();
        let event: Value =
            serde_json::from_str(&fs::read_to_string(root().join("events").join(file)).unwrap()).unwrap();
        // Those of other kinds, an authorizer's or a rotation's, are answered without a status.
        let Some(status) = step["status"].as_u64() else { continue };
        let method = event["requestContext"]["http"]["method"].as_str().unwrap().to_owned();
        let path = event["rawPath"].as_str().unwrap();
        if is_of_others(path) {
            continue;
        }
        let found = operations.iter().find(|(pattern, methods)| matches(pattern, path) && methods.contains(&method));
        if status < 400 {
            let (pattern, _) = found.unwrap_or_else(|| panic!("{file}: {method} {path} is in no document"));
            seen.insert((pattern.clone(), method));
        }
    }
    let all: BTreeSet<_> = operations
        .into_iter()
        .flat_map(|(path, methods)| methods.into_iter().map(move |method| (path.clone(), method)))
        .collect();
    let without: Vec<_> =
        all.difference(&seen).filter(|(path, _)| path != "/realms/{realm}/protocol/openid-connect/revoke").collect();
    assert!(without.is_empty(), "no sample event: {without:?}");
    println!("counted: {} operations in sample events", seen.len());
}

#[tokio::test]
async fn the_document_stands_on_its_own() {
    let document = document(&service().await).await;
    let (mut references, mut examples) = (0, 0);
    let mut stack = vec![&document];
    while let Some(value) = stack.pop() {
        match value {
            Value::Array(items) => stack.extend(items),
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target} is not there");
                    references += 1;
                }
                stack.extend(fields.values());
            }
            _ => {}
        }
    }
    let mut ids = BTreeSet::new();
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: its id is another's");
            assert!(tags.contains(operation["tags"][0].as_str().unwrap()), "{place}");
            for field in ["summary", "description"] {
                assert!(!operation[field].as_str().unwrap().is_empty(), "{place}: no {field}");
            }
            for content in
                operation["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values())
            {
                assert!(!content["examples"].as_object().unwrap().is_empty(), "{place}: no example of a request");
                examples += 1;
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
            for (status, response) in responses {
                let shared = response["$ref"].as_str().and_then(|target| document.pointer(&target[1..]));
                let response = shared.unwrap_or(response);
                assert!(response["headers"]["X-Request-Id"].is_object(), "{place} {status}");
                for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                    assert!(media_type == "text/html" || !content["example"].is_null(), "{place} {status}: no example");
                    examples += 1;
                }
            }
        }
    }
    println!("counted: {} operations, {references} references, {examples} examples", ids.len());
}

#[tokio::test]
async fn the_page_loads_and_runs_nothing() {
    let test = service().await;
    let answer = get(&test, "/docs").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let page = &answer.text;
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with(&format!("default-src 'none'; style-src 'sha256-{}'", STANDARD.encode(hash))),
        "{policy}"
    );
    for loading in
        ["<script", "<link", "<img", "<iframe", "<form", " src=", "url(", "@import", "style=", " on", "javascript:"]
    {
        let found = page.match_indices(loading).find(|(at, _)| {
            // ` on` of a sentence is no attribute: that would be inside a tag.
            loading != " on" || page[..*at].rfind('<') > page[..*at].rfind('>')
        });
        assert!(found.is_none(), "{loading} at {found:?}");
    }
    let attributes = |name: &str| -> Vec<&str> {
        page.split(&format!(" {name}=\"")).skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
    };
    let ids = attributes("id");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id is there twice");
    let links = attributes("href");
    for link in &links {
        let target = link.strip_prefix('#');
        assert!(*link == "openapi.json" || target.is_some_and(|id| ids.contains(&id)), "{link} leads nowhere");
    }
    let mut shown = 0;
    for item in document(&test).await["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.contains(&id) && links.contains(&format!("#{id}").as_str()), "{id} is not on the page");
            shown += 1;
        }
    }
    for landmark in ["<header>", "<nav ", "<main ", "lang=\"en\"", "class=\"skip\" href=\"#main\""] {
        assert_eq!(page.matches(landmark).count(), 1, "{landmark}");
    }
    assert_eq!(page.matches("<h1>").count(), 1);
    println!("counted: {shown} operations on the page, {} links that lead somewhere", links.len());
}

#[tokio::test]
async fn document_and_page_are_discoverys_and_need_no_state() {
    let test = service().await;
    test.store.set_away(true);
    test.store.round_trips();
    for path in ["/openapi.json", "/docs"] {
        assert_eq!(get(&test, path).await.status, StatusCode::OK, "{path}");
    }
    let (gets, commits) = test.store.round_trips();
    assert_eq!((gets, commits), (0, 0));
    let mut asked = 0;
    for (function, name) in Function::ALL {
        let serves = matches!(function, Function::Discovery | Function::Http);
        for path in ["/openapi.json", "/docs"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = router(test.service.clone(), function, &Options::default()).oneshot(request).await.unwrap();
            assert_eq!(answer.status() == StatusCode::OK, serves, "{name} {path}");
            asked += 1;
        }
    }
    test.store.set_away(false);
    println!("counted: {asked} answers of functions, no round trip");
}

#[tokio::test]
async fn what_no_handler_answers_wears_the_dress_of_its_path() {
    let test = service().await;
    let mut tried = 0;
    for (method, path, status, oauth) in [
        ("GET", "/oauth2/token", 405, true),
        ("GET", "/oauth2/nothing", 404, true),
        ("POST", "/.well-known/jwks.json", 405, true),
        ("GET", "/realms/x/protocol/openid-connect/auth", 404, true),
        ("PUT", "/v1/users/ada", 405, false),
        ("GET", "/v1/nothing", 404, false),
        ("GET", "/oauth2token", 404, false),
        ("POST", "/docs", 405, false),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = test.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        let content_type = if oauth { "application/json" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), content_type, "{method} {path}");
        assert_eq!(answer.json["error"].is_string(), oauth, "{method} {path}: {}", answer.text);
        assert_eq!(answer.header("cache-control"), "no-store");
        tried += 1;
    }
    println!("counted: {tried} refusals in the right dress");
}
