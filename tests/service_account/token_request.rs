//! Short-lived tokens: lifetimes, audiences, claims, and the texts that programs look for.

use std::time::Duration;

use super::*;

impl Everybody {
    async fn request(&self, spec: Value) -> Answer {
        self.post(&token_of("ci"), &self.owner, json!({ "spec": spec })).await
    }
}

#[tokio::test]
async fn a_token_is_answered_as_kubernetes_does() {
    let all = Everybody::with_ci().await;
    let now = all.test.service.now();
    // As kubectl sends it.
    let sent = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": { "creationTimestamp": null },
        "spec": { "audiences": ["istio-ingressgateway.istio-system.svc.cluster.local"], "expirationSeconds": 600,
            "boundObjectRef": null },
        "status": { "token": "", "expirationTimestamp": null }
    });
    let answer = all.post(&token_of("ci"), &all.owner, sent).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!((answer.header("cache-control"), answer.header("warning")), ("no-store", ""));
    let mut object = answer.json.clone();
    let token = object["status"]["token"].take();
    let end = (now + Duration::from_mins(10)).rfc3339();
    assert_eq!(
        object,
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": { "name": "ci", "namespace": "ada", "creationTimestamp": now.rfc3339() },
            "spec": { "audiences": ["istio-ingressgateway.istio-system.svc.cluster.local"], "expirationSeconds": 600,
                "boundObjectRef": null },
            "status": { "token": null, "expirationTimestamp": end }
        })
    );
    let token = token.as_str().unwrap();
    assert_eq!(part(token, 0)["typ"], "JWT");
    let uid = all.get(&at("ci"), &all.owner).await.json["metadata"]["uid"].clone();
    let claims = part(token, 1);
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("sub", json!("system:serviceaccount:ada:ci")),
        ("aud", json!(["istio-ingressgateway.istio-system.svc.cluster.local"])),
        ("iat", json!(now.0)),
        ("nbf", json!(now.0)),
        ("exp", json!(now.0 + 600)),
        ("kubernetes.io", json!({ "namespace": "ada", "serviceaccount": { "name": "ci", "uid": uid } })),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims["jti"].is_string());
    println!("counted: 1 TokenRequest, {} claims", claims.as_object().unwrap().len());
}

#[tokio::test]
async fn a_life_is_an_hour_unless_it_is_said_and_a_day_at_most() {
    let all = Everybody::with_ci().await;
    let now = all.test.service.now();
    let given = [
        (json!({}), 3600, ""),
        (json!({ "audiences": null, "expirationSeconds": null }), 3600, ""),
        (json!({ "expirationSeconds": 600 }), 600, ""),
        (json!({ "expirationSeconds": 86_400 }), 86_400, ""),
        (
            json!({ "expirationSeconds": 86_401 }),
            86_400,
            "299 - \"requested expiration of 86401 seconds shortened to 86400 seconds\"",
        ),
        (
            json!({ "expirationSeconds": 4_294_967_296_u64 }),
            86_400,
            "299 - \"requested expiration of 4294967296 seconds shortened to 86400 seconds\"",
        ),
    ];
    for (spec, seconds, warning) in &given {
        let answer = all.request(spec.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{spec}: {}", answer.text);
        assert_eq!(answer.json["spec"]["expirationSeconds"], json!(seconds), "{spec}");
        let end = (now + Duration::from_secs(*seconds)).rfc3339();
        assert_eq!(answer.json["status"]["expirationTimestamp"], end, "{spec}");
        assert_eq!(answer.header("warning"), *warning, "{spec}");
        assert_eq!(answer.json["spec"]["audiences"], json!([format!("{ISSUER}/kubernetes")]));
    }
    let refused = [
        (60, "may not specify a duration less than 10 minutes"),
        (599, "may not specify a duration less than 10 minutes"),
        (0, "may not specify a duration less than 10 minutes"),
        (-1, "may not specify a duration less than 10 minutes"),
        (4_294_967_297_i64, "may not specify a duration larger than 2^32 seconds"),
    ];
    for (seconds, text) in refused {
        let answer = all.request(json!({ "expirationSeconds": seconds })).await;
        assert_status(&answer, 422, "Invalid", Some("spec.expirationSeconds"));
        let cause = format!("Invalid value: {seconds}: {text}");
        assert_eq!(
            answer.json["message"],
            format!(r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: {cause}"#)
        );
        assert_eq!(
            answer.json["details"],
            json!({
                "group": "authentication.k8s.io", "kind": "TokenRequest",
                "causes": [{ "reason": "FieldValueInvalid", "message": cause, "field": "spec.expirationSeconds" }]
            })
        );
    }
    println!("counted: {} lives given, {} refused", given.len(), refused.len());
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_its_field() {
    let all = Everybody::with_ci().await;
    let spec = |spec: Value| json!({ "spec": spec });
    let long = "x".repeat(300);
    let cases = [
        (spec(json!({ "expirationSeconds": "600" })), "spec.expirationSeconds"),
        (spec(json!({ "expirationSeconds": 600.5 })), "spec.expirationSeconds"),
        (spec(json!({ "expirationSeconds": 1e300 })), "spec.expirationSeconds"),
        (spec(json!({ "expirationSeconds": u64::MAX })), "spec.expirationSeconds"),
        (spec(json!({ "audiences": "a" })), "spec.audiences"),
        (spec(json!({ "audiences": [1] })), "spec.audiences"),
        (spec(json!({ "audiences": [""] })), "spec.audiences"),
        (spec(json!({ "audiences": ["a b"] })), "spec.audiences"),
        (spec(json!({ "audiences": [long] })), "spec.audiences"),
        (spec(json!({ "audiences": (0..17).map(|n| n.to_string()).collect::<Vec<_>>() })), "spec.audiences"),
        // What other kinds of tokens have.
        (spec(json!({ "audiences": [ISSUER] })), "spec.audiences"),
        (spec(json!({ "audiences": ["x", format!("{ISSUER}/gate")] })), "spec.audiences"),
        (spec(json!({ "audiences": [format!("{ISSUER}/link")] })), "spec.audiences"),
        (spec(json!({ "audiences": [format!("{ISSUER}/service-account")] })), "spec.audiences"),
        // It would not be bound.
        (spec(json!({ "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": "p" } })), "spec.boundObjectRef"),
        (spec(json!({ "boundObjectRef": {} })), "spec.boundObjectRef"),
        (spec(json!({ "expiration": 600 })), "spec.expiration"),
        (json!({ "spec": [] }), "spec"),
        (json!({ "audiences": ["a"] }), "audiences"),
        (json!({ "kind": "TokenReview" }), "kind"),
        (json!({ "apiVersion": "v1" }), "apiVersion"),
        (json!({ "metadata": { "name": "other" } }), "metadata.name"),
        (json!({ "metadata": { "namespace": "eve" } }), "metadata.namespace"),
    ];
    for (body, field) in &cases {
        let answer = all.post(&token_of("ci"), &all.owner, body.clone()).await;
        assert_status(&answer, 422, "Invalid", Some(field));
        assert_eq!(answer.json["details"]["kind"], "TokenRequest", "{}", answer.text);
    }
    assert_status(&all.post(&token_of("no"), &all.owner, json!({})).await, 404, "NotFound", None);
    println!("counted: {} TokenRequests refused", cases.len());
}

#[tokio::test]
async fn whoever_only_looks_hears_what_the_guides_show() {
    let all = Everybody::with_ci().await;
    let shown = |user: &str| {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!(
                "serviceaccounts \"default\" is forbidden: User \"{user}\" cannot get resource \
                 \"serviceaccounts/token\" in API group \"\" in the namespace \"default\""
            ),
            "reason": "Forbidden", "details": { "name": "default", "kind": "serviceaccounts" }, "code": 403
        })
    };
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let ci = all.long_lived("ci").await;
    let mut asked = 0;
    for path in [path.to_owned(), format!("/kubernetes{path}")] {
        for (access, user) in [
            ("", "system:anonymous"),
            (all.owner.as_str(), "ada"),
            (&all.root, "root"),
            (&ci, "system:serviceaccount:ada:ci"),
        ] {
            let answer = all.get(&path, access).await;
            assert_eq!((answer.status, &answer.json), (StatusCode::FORBIDDEN, &shown(user)), "{user}");
            asked += 1;
        }
        assert_status(&all.get(&path, "nobody's").await, 401, "Unauthorized", None);
    }
    println!("counted: {asked} times what the guides show");
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_none_is_good_for_the_one_made_again() {
    let all = Everybody::with_ci().await;
    let itself = all.long_lived("ci").await;
    let short = all.short_lived("ci", json!(["a"])).await;
    let review = async || {
        let asked = json!({ "spec": { "token": short, "audiences": ["a"] } });
        all.post(REVIEWS, &all.root, asked).await.json["status"]["authenticated"].clone()
    };
    assert_eq!(review().await, true);
    grant(&all.test, "ada/service-accounts/ci", "serviceaccount://default/ada/ci/token", Action::Write).await;
    assert_eq!(all.post(&token_of("ci"), &itself, json!({})).await.status, StatusCode::CREATED);
    assert_eq!(all.delete(&at("ci"), &all.owner).await.status, StatusCode::OK);
    for again in [false, true] {
        if again {
            all.make("ci").await;
        }
        assert_eq!(review().await, false);
        assert_status(&all.post(&token_of("ci"), &itself, json!({})).await, 401, "Unauthorized", None);
    }
    // Nor has the one that is made again what was granted to the one before.
    let of_new = all.long_lived("ci").await;
    assert_status(&all.post(&token_of("ci"), &of_new, json!({})).await, 403, "Forbidden", None);
    assert_status(&all.get(&format!("{BINDINGS}/ci-create-token"), &all.owner).await, 404, "NotFound", None);
    println!("counted: 2 tokens that ended with their account, 1 grant that nobody inherited");
}
