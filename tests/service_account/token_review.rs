//! Whose token is this? As a Kubernetes API server with a webhook authenticator asks.

use std::time::Duration;

use super::*;

/// What such a server sends, of this version.
fn review(version: &str, token: &str, audiences: Value) -> Value {
    let mut review = json!({
        "kind": "TokenReview", "apiVersion": format!("authentication.k8s.io/{version}"),
        "metadata": { "creationTimestamp": null }, "spec": { "token": token }, "status": { "user": {} }
    });
    if !audiences.is_null() {
        review["spec"]["audiences"] = audiences;
    }
    review
}

#[tokio::test]
async fn a_good_token_is_told_whose_it_is_in_the_version_that_was_asked() {
    let all = Everybody::with_ci().await;
    let uid = all.get(&at("ci"), &all.owner).await.json["metadata"]["uid"].clone();
    let usual = format!("{ISSUER}/kubernetes");
    let of_ci = |jti: &Value| {
        json!({
            "username": "system:serviceaccount:ada:ci", "uid": uid,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:ada", "system:authenticated"],
            "extra": { "authentication.kubernetes.io/credential-id": [format!("JTI={}", jti.as_str().unwrap())] }
        })
    };
    let mut reviewed = 0;
    for version in ["v1", "v1beta1"] {
        for (of, asked, told) in [
            (json!(["a", "b"]), json!(["b"]), json!(["b"])),
            (json!(["a", "b"]), json!(["x", "b", "a"]), json!(["b", "a"])),
            (json!([]), Value::Null, json!([usual])),
            (json!([]), json!([]), json!([usual])),
            (json!([]), json!([usual]), json!([usual])),
        ] {
            let token = all.short_lived("ci", of).await;
            let answer =
                all.post(&format!("{REVIEWS}?timeout=30s"), &all.root, review(version, &token, asked.clone())).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
            let mut spec = json!({ "token": "" });
            if asked.as_array().is_some_and(|asked| !asked.is_empty()) {
                spec["audiences"] = asked;
            }
            assert_eq!(
                answer.json,
                json!({
                    "apiVersion": format!("authentication.k8s.io/{version}"), "kind": "TokenReview",
                    "metadata": { "creationTimestamp": null }, "spec": spec,
                    "status": { "authenticated": true, "user": of_ci(&part(&token, 1)["jti"]), "audiences": told }
                })
            );
            assert!(!answer.text.contains(&token), "the token is not repeated");
            assert_eq!(answer.header("cache-control"), "no-store");
            reviewed += 1;
        }
    }
    let person = all.post(REVIEWS, &all.root, review("v1", &all.owner, Value::Null)).await.json;
    assert_eq!(person["status"]["user"]["username"], "ada");
    assert_eq!(person["status"]["audiences"], json!([ISSUER]));
    println!("counted: {} tokens reviewed", reviewed + 1);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_no_refusal() {
    let all = Everybody::with_ci().await;
    let gate = json!({ "URLs": ["/x/*"] });
    let gate = all.test.v1(Method::POST, "/auth/jwt/request", &all.root, Some(gate)).await;
    let gate = gate.json["Token"].as_str().unwrap().to_owned();
    let short = all.short_lived("ci", json!(["a"])).await;
    let long = all.long_lived("ci").await;
    let expired = all.short_lived("ci", json!(["a"])).await;
    let tampered = format!("{}{}", &short[..short.len() - 2], if short.ends_with("AA") { "BB" } else { "AA" });
    let mut refused = 0;
    let mut no = async |token: &str, audiences: Value| {
        let access = all.test.sign_in("root").await.access;
        let answer = all.post(REVIEWS, &access, review("v1", token, audiences)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let status = &answer.json["status"];
        assert_eq!((&status["authenticated"], &status["user"]), (&json!(false), &json!({})), "{}", answer.text);
        assert!(!status["error"].as_str().unwrap().is_empty() && status.get("audiences").is_none());
        refused += 1;
    };
    for (token, audiences) in [
        (short.as_str(), json!(["b"])),
        (&short, Value::Null),
        (&short, json!(["A"])),
        (&gate, Value::Null),
        (&gate, json!([format!("{ISSUER}/gate")])),
        (&long, Value::Null),
        (&long, json!([format!("{ISSUER}/service-account")])),
        (&tampered, json!(["a"])),
        ("x", json!(["a"])),
        ("a.b.c", json!(["a"])),
        (" ", Value::Null),
        ("\u{0}", Value::Null),
    ] {
        no(token, audiences).await;
    }
    all.test.clock.advance(Duration::from_hours(1));
    no(&expired, json!(["a"])).await;
    println!("counted: {refused} tokens that are not good, or not for whoever asks");
}

#[tokio::test]
async fn who_asks_needs_a_grant_and_a_question_in_the_right_form() {
    let all = Everybody::with_ci().await;
    let asked = review("v1", "x", Value::Null);
    for (access, code, reason) in
        [("", 401, "Unauthorized"), (&all.owner, 403, "Forbidden"), (&all.stranger, 403, "Forbidden")]
    {
        assert_status(&all.post(REVIEWS, access, asked.clone()).await, code, reason, None);
    }
    // A cluster's own service account, with the long-lived token that its kubeconfig names.
    grant(&all.test, "ada/service-accounts/ci", "tokenreview://default", Action::Read).await;
    let webhook = all.long_lived("ci").await;
    assert_eq!(all.post(REVIEWS, &webhook, asked.clone()).await.status, StatusCode::CREATED);
    // A short-lived token opens nothing of ours, and so does not ask either.
    let short = all.short_lived("ci", json!([])).await;
    assert_status(&all.post(REVIEWS, &short, asked.clone()).await, 401, "Unauthorized", None);
    let cases = [
        (json!({ "apiVersion": "authentication.k8s.io/v2" }), "apiVersion"),
        (json!({ "kind": "TokenRequest" }), "kind"),
        (json!({ "spec": { "token": 1 } }), "spec.token"),
        (json!({ "spec": { "token": "x", "audiences": "a" } }), "spec.audiences"),
        (json!({ "spec": { "token": "x", "audience": ["a"] } }), "spec.audience"),
        (json!({ "token": "x" }), "token"),
        (json!({ "spec": "x" }), "spec"),
    ];
    for (body, field) in &cases {
        assert_status(&all.post(REVIEWS, &webhook, body.clone()).await, 422, "Invalid", Some(field));
    }
    for body in [json!({}), json!({ "spec": {} }), json!({ "spec": { "token": "" } })] {
        let answer = all.post(REVIEWS, &webhook, body).await;
        assert_status(&answer, 400, "BadRequest", None);
        assert_eq!(answer.json["message"], "token is required for TokenReview in authentication");
    }
    assert_status(&all.get(REVIEWS, &webhook).await, 405, "MethodNotAllowed", None);
    println!("counted: 5 who ask, {} questions in the wrong form", cases.len() + 3);
}
