//! What is refused: every field by its name, every request that is not answered in words that say why.

use super::*;

/// A change to the object, and the field that is then at fault.
fn changed(pointer: &str, value: Value) -> Value {
    let mut object = object("a", json!({}));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[name] = value;
    object
}

#[tokio::test]
async fn each_rule_is_a_422_that_names_the_field() {
    let all = Everybody::new().await;
    let urls = |count: usize| (0..count).map(|n| format!("/{n}")).collect::<Vec<_>>();
    let long = "x".repeat(64);
    let mut cases = Vec::new();
    let mut case = |pointer: &str, value: Value, field: &'static str| cases.push((changed(pointer, value), field));
    for name in ["", "A", "a..b", "../x", "a/b", "-a", "a_b", "ä", &long] {
        case("/metadata/name", json!(name), "metadata.name");
    }
    case("/metadata", json!({ "generateName": "A-" }), "metadata.generateName");
    case("/metadata", json!({ "generateName": "x".repeat(59) }), "metadata.generateName");
    case("/metadata", json!({}), "metadata.name");
    case("/metadata/namespace", json!("other"), "metadata.namespace");
    case("/kind", json!("GateServer"), "kind");
    case("/apiVersion", json!("v1"), "apiVersion");
    for labels in [json!({ "a b": "c" }), json!({ "a": "b/c" }), json!({ "a": "x".repeat(64) }), json!({ "": "x" })] {
        case("/metadata/labels", labels, "metadata.labels");
    }
    case("/spec", Value::Null, "spec.urls");
    for urls in [
        json!([]),
        json!(urls(501)),
        json!([""]),
        json!(["*"]),
        json!(["/*/x"]),
        json!(["x"]),
        json!(["//h/x"]),
        json!(["/a/../b"]),
        json!(["/%2e%2e/b"]),
        json!(["/a%2fb"]),
        json!(["/%252e"]),
        json!(["/a\\b"]),
        json!(["/a;x=y"]),
        json!(["/%00"]),
        json!(["/%c0%ae"]),
        json!(["javascript:alert(1)"]),
        json!(["https://u@h/"]),
        json!(["/a?b"]),
        json!(["/ok", "/a#b"]),
    ] {
        case("/spec/urls", urls, "spec.urls");
    }
    for verbs in [json!([]), json!(["get", "watch-it"]), json!([""]), json!(["GET POST"])] {
        case("/spec/verbs", verbs, "spec.verbs");
    }
    for from in [
        "tomorrow",
        "2026-13-01T00:00:00Z",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2028-01-15T08:00:00Z",
        "1970-01-01T00:00:00Z",
    ] {
        case("/spec/from", json!(from), "spec.from");
    }
    for duration in ["0", "0s", "-1h", "1x", "9999999h", "25h", "1", "h", "1h 2m", "500ms", "1.5ns", "P1D", "∞"] {
        case("/spec/duration", json!(duration), "spec.duration");
    }
    for secret in ["kube-gateway-jwt", "GATEMINT-JWT-SECRET", "../x"] {
        case("/spec/secret-name", json!(secret), "spec.secret-name");
    }
    case("/spec/secret-file", json!("a\nb"), "spec.secret-file");
    case("/spec/secret-namespace", json!("x".repeat(254)), "spec.secret-namespace");
    // Of another type, or not known: nothing is passed over in silence.
    for (pointer, field) in [
        ("/metadata", "metadata"),
        ("/metadata/name", "metadata.name"),
        ("/metadata/labels", "metadata.labels"),
        ("/spec", "spec"),
        ("/spec/urls", "spec.urls"),
        ("/spec/verbs", "spec.verbs"),
        ("/spec/from", "spec.from"),
        ("/spec/duration", "spec.duration"),
        ("/spec/one-time", "spec.one-time"),
        ("/spec/secret-name", "spec.secret-name"),
        ("/spec/one_time", "spec.one_time"),
        ("/spec/URLs", "spec.URLs"),
    ] {
        case(pointer, json!(7), field);
    }
    case("/metadata/labels", json!({ "a": 1 }), "metadata.labels");
    case("/spec/urls", json!(["/a", 1]), "spec.urls");
    for (object, field) in &cases {
        let answer = all.ask(Method::POST, PATH, &all.writer, Some(object.clone())).await;
        assert_status(&answer, 422, "Invalid", Some(field));
        let details = &answer.json["details"];
        assert_eq!((&details["kind"], &details["group"]), (&json!("GateToken"), &json!("kubegateway.kubevirt.io")));
        assert!(details["causes"][0]["reason"].as_str().unwrap().starts_with("FieldValue"), "{}", answer.text);
    }
    assert_eq!(all.get(PATH, &all.root).await.json["items"], json!([]), "nothing was made");
    println!("counted: {} objects refused by the field that is at fault", cases.len());
}

#[tokio::test]
async fn a_token_that_no_cookie_could_hold_is_refused_and_one_just_below_is_made() {
    let all = Everybody::new().await;
    let urls = |count: usize| (0..count).map(|n| format!("/apis/of/some/length/{n:04}/*")).collect::<Vec<_>>();
    let mut longest = 0;
    for count in [20, 40, 60, 80, 100, 500] {
        let name = format!("with-{count}");
        let made = all.make(&name, json!({ "urls": urls(count) })).await;
        if made.status == StatusCode::CREATED {
            longest = made.json["status"]["token"].as_str().unwrap().len();
            assert!(longest <= 3500, "{longest}");
            continue;
        }
        assert_status(&made, 422, "Invalid", Some("spec.urls"));
        assert!(made.json["message"].as_str().unwrap().contains("3500"), "{}", made.text);
        assert_status(&all.get(&at(&name), &all.root).await, 404, "NotFound", None);
    }
    assert!((2000..=3500).contains(&longest), "{longest}");
    println!("counted: the longest token of 6 has {longest} bytes");
}

#[tokio::test]
async fn what_is_no_object_in_json_is_refused_clearly() {
    let all = Everybody::new().await;
    let good = object("a", json!({})).to_string();
    let post = async |content_type: &str, body: String| {
        let mut request = Request::post(PATH).header(header::AUTHORIZATION, format!("Bearer {}", all.writer));
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        all.test.send(request.body(Body::from(body)).unwrap()).await
    };
    let mut refused = 0;
    for content_type in ["application/yaml", "application/cbor", "text/plain", "application/x-www-form-urlencoded"] {
        let answer = post(content_type, good.clone()).await;
        assert_status(&answer, 415, "UnsupportedMediaType", None);
        assert!(answer.text.contains("application/json"), "{}", answer.text);
        refused += 1;
    }
    for body in ["{", "[]", "7", "\"a\"", "null", "", "{\"a\":\u{0}}", "kind: GateToken", &"[".repeat(10_000)] {
        assert_status(&post("application/json", body.to_owned()).await, 400, "BadRequest", None);
        refused += 1;
    }
    // What is said twice, or one level too high, must not get lost: it may be what the token is limited by.
    for (twice, field) in [(r#""urls":["/a"]"#, r#""urls":["/*"]"#), (r#""one-time":true"#, r#""one-time":false"#)] {
        let body = good.replace(r#""urls":["/a"]"#, &format!(r#""urls":["/a"],{twice},{field}"#));
        assert_status(&post("application/json", body).await, 400, "BadRequest", None);
        refused += 1;
    }
    for field in ["one-time", "duration", "verbs", "annotations"] {
        let mut body = object("a", json!({}));
        body[field] = json!("1m");
        assert_status(&post("application/json", body.to_string()).await, 422, "Invalid", Some(field));
        refused += 1;
    }
    let large = object("a", json!({ "secret-file": "x".repeat(66_000) })).to_string();
    assert_status(&post("application/json", large).await, 413, "RequestEntityTooLarge", None);
    let made = post("application/json; charset=utf-8", good).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    // As Kubernetes' Python client sends it.
    let made = post("", object("b", json!({})).to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    println!("counted: {} bodies refused, 2 taken", refused + 1);
}

#[tokio::test]
async fn what_only_tries_changes_watches_or_selects_otherwise_is_refused_and_does_nothing() {
    let all = Everybody::new().await;
    all.token("a", json!({})).await;
    let name = at("a");
    let query = |path: &str, query: &str| format!("{path}?{query}");
    let mut refused = 0;
    for (method, path, body, code, reason, words) in [
        (Method::POST, query(PATH, "dryRun=All"), Some(object("b", json!({}))), 400, "BadRequest", "dryRun"),
        (Method::POST, query(PATH, "dryRun=x"), Some(object("b", json!({}))), 400, "BadRequest", "dryRun"),
        (Method::DELETE, query(&name, "dryRun=All"), None, 400, "BadRequest", "dryRun"),
        (Method::DELETE, name.clone(), Some(json!({ "dryRun": ["All"] })), 400, "BadRequest", "dryRun"),
        (Method::DELETE, name.clone(), Some(json!({ "preconditions": 7 })), 400, "BadRequest", "DeleteOptions"),
        (
            Method::DELETE,
            name.clone(),
            Some(json!({ "preconditions": { "resourceVersion": "x" } })),
            400,
            "BadRequest",
            "uid",
        ),
        (Method::PUT, name.clone(), Some(object("a", json!({}))), 405, "MethodNotAllowed", "immutable"),
        (Method::PATCH, name.clone(), Some(json!({})), 405, "MethodNotAllowed", "immutable"),
        (Method::POST, name.clone(), Some(object("a", json!({}))), 405, "MethodNotAllowed", "immutable"),
        (Method::DELETE, PATH.to_owned(), None, 405, "MethodNotAllowed", "immutable"),
        (Method::GET, query(PATH, "watch=1"), None, 405, "MethodNotAllowed", "watch"),
        (Method::GET, query(PATH, "watch=true"), None, 405, "MethodNotAllowed", "watch"),
        (Method::GET, query(PATH, "limit=x"), None, 400, "BadRequest", "limit"),
        (Method::GET, query(PATH, "limit=-1"), None, 400, "BadRequest", "limit"),
        (Method::GET, query(PATH, "limit=1&limit=2"), None, 400, "BadRequest", "repeated"),
        (Method::GET, query(PATH, "continue=%21"), None, 400, "BadRequest", "continue"),
        (Method::GET, query(PATH, "continue=QQ"), None, 400, "BadRequest", "continue"),
        (Method::GET, query(PATH, "labelSelector=a+in+(b)"), None, 400, "BadRequest", "labelSelector"),
        (Method::GET, query(PATH, "fieldSelector=status.phase%3DReady"), None, 400, "BadRequest", "fieldSelector"),
        (Method::GET, query(PATH, "limit=%ff"), None, 400, "BadRequest", "UTF-8"),
        (Method::GET, at("%ff"), None, 400, "BadRequest", "UTF-8"),
        (Method::GET, at("not-there"), None, 404, "NotFound", "not found"),
        (Method::GET, at("..%2Fx"), None, 404, "NotFound", "not found"),
        (
            Method::GET,
            "/apis/kubegateway.kubevirt.io/v1beta1/gatetokens".into(),
            None,
            404,
            "NotFound",
            "could not find",
        ),
        (Method::GET, "/apis/kubegateway.kubevirt.io/v1".into(), None, 404, "NotFound", "could not find"),
        (Method::GET, "/api/v1/namespaces/vms/pods".into(), None, 404, "NotFound", "could not find"),
        (Method::GET, "/api/v2".into(), None, 404, "NotFound", "could not find"),
        (Method::POST, "/api/v1/namespaces/vms/secrets".into(), Some(json!({})), 405, "MethodNotAllowed", "method"),
        (Method::DELETE, "/api/v1/namespaces/vms/secrets/access-token".into(), None, 405, "MethodNotAllowed", "method"),
        (Method::POST, "/apis".into(), Some(json!({})), 405, "MethodNotAllowed", "method"),
    ] {
        let answer = all.ask(method.clone(), &path, &all.root, body).await;
        assert_status(&answer, code, reason, None);
        assert!(answer.json["message"].as_str().unwrap().contains(words), "{method} {path}: {}", answer.text);
        assert_eq!(answer.header("allow").is_empty(), code != 405 || path.contains("watch"), "{method} {path}");
        refused += 1;
    }
    // Elsewhere another dress is worn.
    for path in ["/apix", "/v1/nothing", "/versions"] {
        assert_eq!(all.get(path, "").await.header("content-type"), "application/problem+json", "{path}");
    }
    let items = all.get(PATH, &all.root).await.json["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "nothing was made, nothing ended");
    println!("counted: {refused} requests refused, nothing changed by them");
}

#[tokio::test]
async fn a_service_that_is_away_says_when_to_ask_again() {
    let all = Everybody::new().await;
    all.test.store.set_away(true);
    let mut asked = 0;
    for (method, path, body) in [
        (Method::POST, PATH.to_owned(), Some(object("a", json!({})))),
        (Method::GET, PATH.to_owned(), None),
        (Method::GET, at("a"), None),
        (Method::DELETE, at("a"), None),
    ] {
        let answer = all.ask(method, &path, &all.writer, body).await;
        assert_status(&answer, 503, "ServiceUnavailable", None);
        assert_eq!((answer.header("retry-after"), &answer.json["details"]["retryAfterSeconds"]), ("1", &json!(1)));
        asked += 1;
    }
    all.test.store.set_away(false);
    println!("counted: {asked} requests told to come again");
}
