//! What is refused: bodies that are not what they must be, names, fields, methods.

use super::*;

#[tokio::test]
async fn a_service_account_that_is_wrong_is_refused_by_its_field() {
    let all = Everybody::with_ci().await;
    let long = "x".repeat(64);
    let with = |field: &str, value: Value| {
        let mut wanted = account("x");
        wanted[field] = value;
        wanted
    };
    let named = |metadata: Value| json!({ "metadata": metadata });
    let cases = [
        (with("apiVersion", json!("v2")), "apiVersion"),
        (with("kind", json!("Pod")), "kind"),
        (with("spec", json!({})), "spec"),
        (with("secrets", json!([{ "name": "x-token-abcde" }])), "secrets"),
        (with("secrets", json!("x")), "secrets"),
        (with("imagePullSecrets", json!([{ "name": "x" }])), "imagePullSecrets"),
        (with("automountServiceAccountToken", json!("no")), "automountServiceAccountToken"),
        (with("metadata", json!([])), "metadata"),
        (named(json!({})), "metadata.name"),
        (named(json!({ "name": 1 })), "metadata.name"),
        (named(json!({ "name": "CI" })), "metadata.name"),
        (named(json!({ "name": "a/b" })), "metadata.name"),
        (named(json!({ "name": "a:b" })), "metadata.name"),
        (named(json!({ "name": ".." })), "metadata.name"),
        (named(json!({ "name": "system:masters" })), "metadata.name"),
        (named(json!({ "name": long })), "metadata.name"),
        (named(json!({ "generateName": "A-" })), "metadata.generateName"),
        (named(json!({ "generateName": long })), "metadata.generateName"),
        (named(json!({ "name": "x", "namespace": "eve" })), "metadata.namespace"),
        (named(json!({ "name": "x", "labels": { "a": 1 } })), "metadata.labels"),
        (named(json!({ "name": "x", "labels": { "a b": "" } })), "metadata.labels"),
    ];
    for (body, field) in &cases {
        let refused = all.post(PATH, &all.owner, body.clone()).await;
        assert_status(&refused, 422, "Invalid", Some(field));
        assert_eq!(refused.json["details"]["kind"], "ServiceAccount", "{}", refused.text);
    }
    assert_status(&all.post(&format!("{PATH}?dryRun=All"), &all.owner, account("x")).await, 400, "BadRequest", None);
    assert_eq!(names(&all.get(PATH, &all.owner).await.json), ["ci"], "nothing was made");
    println!("counted: {} ServiceAccounts refused", cases.len() + 1);
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_everywhere() {
    let all = Everybody::with_ci().await;
    let send = async |path: &str, media_type: &str, body: &str| {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", all.owner))
            .header(header::CONTENT_TYPE, media_type);
        all.test.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let mut refused = 0;
    let large = format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", "x".repeat(65_536));
    for path in [PATH.to_owned(), token_of("ci"), ROLES.to_owned(), BINDINGS.to_owned(), REVIEWS.to_owned()] {
        for body in ["", "null", "[]", "1", "{", "{\"spec\":{},\"spec\":{}}", "\u{0}"] {
            assert_status(&send(&path, "application/json", body).await, 400, "BadRequest", None);
            refused += 1;
        }
        for media_type in
            ["application/yaml", "application/x-www-form-urlencoded", "text/plain", "application/apply-patch+yaml"]
        {
            assert_status(&send(&path, media_type, "{}").await, 415, "UnsupportedMediaType", None);
            refused += 1;
        }
        assert_status(&send(&path, "application/json", &large).await, 413, "RequestEntityTooLarge", None);
        assert_status(&all.post(&format!("{path}?dryRun=All"), &all.root, json!({})).await, 400, "BadRequest", None);
        refused += 2;
    }
    println!("counted: {refused} bodies refused");
}

#[tokio::test]
async fn names_in_paths_that_are_none_are_not_found_or_refused_and_never_an_error_of_ours() {
    let all = Everybody::with_ci().await;
    let names =
        ["CI", "a%2Fb", "..", "%2e%2e", "a:b", "%00", "%C3%A4", "x%20y", "service-account-x", "-token", "token"];
    let long = "x".repeat(300);
    let mut asked = 0;
    for name in names.iter().copied().chain([long.as_str()]) {
        let namespace = format!("/api/v1/namespaces/{name}");
        let rbac = format!("{BINDINGS}/{name}");
        let of_account = [
            (Method::GET, at(name)),
            (Method::DELETE, at(name)),
            (Method::POST, token_of(name)),
            (Method::GET, token_of(name)),
            (Method::GET, format!("{SECRETS}/{name}-token")),
            (Method::GET, format!("{SECRETS}/{name}")),
            (Method::GET, rbac.clone()),
            (Method::DELETE, rbac),
            (Method::DELETE, format!("{ROLES}/{name}-create-token")),
            (Method::GET, format!("{namespace}/serviceaccounts/ci")),
            (Method::GET, format!("{namespace}/serviceaccounts")),
            (Method::POST, format!("{namespace}/serviceaccounts/ci/token")),
            (Method::GET, format!("{namespace}/secrets")),
        ];
        for (method, path) in of_account {
            for access in [&all.owner, &all.root] {
                let answer = all.ask(method.clone(), &path, access, Some(json!({}))).await;
                // In a namespace that is nobody's there is nothing, or what is in every namespace.
                if answer.status == StatusCode::OK {
                    let lists = answer.json["kind"].as_str().unwrap().ends_with("List");
                    assert!(
                        lists && ["token", "service-account-x"].contains(&name),
                        "{method} {path}: {}",
                        answer.text
                    );
                    continue;
                }
                assert!([400, 403, 404, 422].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.text);
                assert_eq!(answer.json["kind"], "Status", "{method} {path}");
                asked += 1;
            }
        }
    }
    println!("counted: {asked} requests with names that are none");
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_and_what_apply_remembers_is_answered() {
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    let all = Everybody::with_ci().await;
    all.post(ROLES, &all.owner, role("ci")).await;
    all.post(BINDINGS, &all.owner, binding("ci")).await;
    let remembered = json!({ "metadata": { "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": "{\"kind\":\"ServiceAccount\"}\n"
    } } });
    let patch = async |path: &str, access: &str, media_type: &str, body: &Value| {
        let request = Request::patch(path)
            .header(header::AUTHORIZATION, format!("Bearer {access}"))
            .header(header::CONTENT_TYPE, media_type);
        all.test.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let mut patched = 0;
    for (path, absent) in [
        (at("ci"), at("no")),
        (format!("{ROLES}/ci-create-token"), format!("{ROLES}/no-create-token")),
        (format!("{BINDINGS}/ci-create-token"), format!("{BINDINGS}/no-create-token")),
    ] {
        let before = all.get(&path, &all.owner).await.json;
        for media_type in [STRATEGIC, "application/merge-patch+json"] {
            let answer = patch(&path, &all.owner, media_type, &remembered).await;
            assert_eq!((answer.status, &answer.json), (StatusCode::OK, &before), "{}", answer.text);
        }
        for wrong in [
            json!({ "metadata": { "labels": { "a": "b" } } }),
            json!({ "metadata": { "annotations": { "a": "b" } } }),
            json!({ "rules": [] }),
            json!({ "subjects": null }),
        ] {
            assert_status(&patch(&path, &all.owner, STRATEGIC, &wrong).await, 422, "Invalid", Some("metadata"));
        }
        assert_status(
            &patch(&path, &all.owner, "application/apply-patch+yaml", &remembered).await,
            415,
            "UnsupportedMediaType",
            None,
        );
        assert_status(&patch(&absent, &all.owner, STRATEGIC, &remembered).await, 404, "NotFound", None);
        assert_status(&patch(&path, &all.stranger, STRATEGIC, &remembered).await, 404, "NotFound", None);
        assert_status(
            &all.ask(Method::PUT, &path, &all.owner, Some(before.clone())).await,
            405,
            "MethodNotAllowed",
            None,
        );
        assert_eq!(all.get(&path, &all.owner).await.json, before);
        patched += 10;
    }
    println!("counted: {patched} changes answered or refused");
}
