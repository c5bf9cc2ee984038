//! The manual way: a Role and a RoleBinding in exactly the documented shape, and a Secret whose data issues a token.

use super::*;

impl Everybody {
    /// Whether `ci`, with this token, is given a short-lived one.
    async fn may(&self, token: &str) -> bool {
        let answer = self.post(&token_of("ci"), token, json!({ "spec": { "audiences": ["a"] } })).await;
        assert!([201, 403].contains(&answer.status.as_u16()), "{}", answer.text);
        answer.status == StatusCode::CREATED
    }
}

#[tokio::test]
async fn role_and_binding_let_a_service_account_request_tokens_for_itself() {
    let all = Everybody::with_ci().await;
    let ci = all.long_lived("ci").await;
    assert!(!all.may(&ci).await, "it has nothing at birth");

    // Without its Role there is no binding, as in Kubernetes.
    let early = all.post(BINDINGS, &all.owner, binding("ci")).await;
    assert_status(&early, 404, "NotFound", None);
    assert_eq!(early.json["message"], r#"roles.rbac.authorization.k8s.io "ci-create-token" not found"#);
    let made = all.post(ROLES, &all.owner, role("ci")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(!all.may(&ci).await, "a Role gives nothing before it is bound");
    let bound = all.post(BINDINGS, &all.owner, binding("ci")).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text);
    assert!(all.may(&ci).await);

    // They are what they were made as, so that `kubectl apply` finds nothing to change.
    for (path, answer, wanted) in [(ROLES, made, role("ci")), (BINDINGS, bound, binding("ci"))] {
        let mut object = answer.json.clone();
        assert_eq!(object["metadata"]["creationTimestamp"].take(), all.test.service.now().rfc3339());
        object["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
        assert_eq!(object, wanted);
        assert_eq!(all.get(&format!("{path}/ci-create-token"), &all.owner).await.json, answer.json);
        assert_eq!(all.get(path, &all.owner).await.json["items"], json!([answer.json]));
        let again = all.post(path, &all.owner, wanted).await;
        assert_status(&again, 409, "AlreadyExists", Some("metadata.name"));
    }

    let unbound = all.delete(&format!("{BINDINGS}/ci-create-token"), &all.owner).await;
    assert_eq!((unbound.status, &unbound.json["status"]), (StatusCode::OK, &json!("Success")), "{}", unbound.text);
    assert!(!all.may(&ci).await);
    assert_status(&all.get(&format!("{BINDINGS}/ci-create-token"), &all.owner).await, 404, "NotFound", None);
    assert_status(&all.delete(&format!("{BINDINGS}/ci-create-token"), &all.owner).await, 404, "NotFound", None);
    assert_eq!(names(&all.get(ROLES, &all.owner).await.json), ["ci-create-token"], "its Role is still there");

    // To delete the Role takes away what its binding gave.
    assert_eq!(all.post(BINDINGS, &all.owner, binding("ci")).await.status, StatusCode::CREATED);
    assert!(all.may(&ci).await);
    assert_eq!(all.delete(&format!("{ROLES}/ci-create-token"), &all.owner).await.status, StatusCode::OK);
    assert!(!all.may(&ci).await);
    assert_eq!(names(&all.get(BINDINGS, &all.owner).await.json), [""; 0]);
    assert_status(&all.delete(&format!("{ROLES}/ci-create-token"), &all.owner).await, 404, "NotFound", None);
    println!("counted: 1 Role and 2 RoleBindings made, read and ended, 7 times asked for a token");
}

#[tokio::test]
async fn a_binding_is_the_permission_however_that_was_granted() {
    let all = Everybody::with_ci().await;
    all.make("other").await;
    let resource = "serviceaccount://default/ada/ci/token";
    let (of, uri) =
        (Principal::parse("ada/service-accounts/ci", "of").unwrap(), Resource::parse(resource, "uri").unwrap());
    let there = async || names(&all.get(BINDINGS, &all.owner).await.json).join(" ");
    // What somebody else holds, or what it holds on something else, is no binding.
    grant(&all.test, "eve", resource, Action::Manage).await;
    grant(&all.test, "ada/service-accounts/other", resource, Action::Write).await;
    grant(&all.test, "ada/service-accounts/ci", "serviceaccount://default/ada/other/token", Action::Write).await;
    grant(&all.test, "ada/service-accounts/ci", resource, Action::Read).await;
    assert_eq!(there().await, "");
    grant(&all.test, "ada/service-accounts/ci", resource, Action::Write).await;
    assert_eq!(there().await, "ci-create-token");
    let one = format!("{BINDINGS}?fieldSelector=metadata.name%3Dci-create-token");
    assert_eq!(names(&all.get(&one, &all.owner).await.json), ["ci-create-token"]);
    let (service, now) = (&all.test.service, all.test.service.now());
    assert_eq!(all.delete(&format!("{BINDINGS}/ci-create-token"), &all.owner).await.status, StatusCode::OK);
    let held = permission::held(service, now, &Subject::operator(), &of, Some(&uri), false).await.unwrap();
    assert!(held.is_empty(), "{held:?}");
    // A denial is none either, and a binding takes its place.
    grant(&all.test, "ada/service-accounts/ci", resource, Action::Deny).await;
    assert_eq!(there().await, "");
    all.post(ROLES, &all.owner, role("ci")).await;
    assert_eq!(all.post(BINDINGS, &all.owner, binding("ci")).await.status, StatusCode::CREATED);
    assert_eq!(there().await, "ci-create-token");
    println!("counted: 6 permissions, of which 2 are bindings");
}

#[tokio::test]
async fn who_may_make_and_end_them() {
    let all = Everybody::with_ci().await;
    let ci = all.long_lived("ci").await;
    let mut asked = 0;
    for (who, access, codes) in [
        ("reader", all.reader.as_str(), [403, 404, 403, 404]),
        ("stranger", &all.stranger, [404, 404, 403, 403]),
        ("itself", &ci, [404, 404, 403, 403]),
        ("nobody", "", [401; 4]),
    ] {
        let answers = [
            all.post(ROLES, access, role("ci")).await,
            all.post(BINDINGS, access, binding("ci")).await,
            all.get(BINDINGS, access).await,
            all.get(ROLES, access).await,
        ];
        for (n, (answer, code)) in answers.iter().zip(codes).enumerate() {
            let code = if who == "reader" && n == 3 { 200 } else { code };
            assert_eq!(answer.status.as_u16(), code, "{who} {n}: {}", answer.text);
            asked += 1;
        }
    }
    all.post(ROLES, &all.owner, role("ci")).await;
    all.post(BINDINGS, &all.owner, binding("ci")).await;
    // Authorized, it may request tokens, and still neither see nor change what authorizes it.
    for path in [format!("{ROLES}/ci-create-token"), format!("{BINDINGS}/ci-create-token"), at("ci")] {
        for access in [&ci, &all.stranger] {
            assert_status(&all.get(&path, access).await, 404, "NotFound", None);
            assert_status(&all.delete(&path, access).await, 404, "NotFound", None);
            asked += 2;
        }
        assert_eq!(all.delete(&path, &all.reader).await.status, StatusCode::FORBIDDEN, "{path}");
        asked += 1;
    }
    assert!(all.may(&ci).await);
    println!("counted: {asked} requests judged");
}

#[tokio::test]
async fn any_other_role_is_refused_and_told_the_one_that_is_known() {
    let all = Everybody::with_ci().await;
    let rule = |field: &str, value: Value| {
        let mut role = role("ci");
        role["rules"][0][field] = value;
        role
    };
    let changed = |mut object: Value, field: &str, value: Value| {
        object[field] = value;
        object
    };
    let roles = [
        rule("verbs", json!(["*"])),
        rule("verbs", json!(["create", "get"])),
        rule("verbs", json!([])),
        rule("resources", json!(["serviceaccounts"])),
        rule("resources", json!(["serviceaccounts/token", "secrets"])),
        rule("resourceNames", json!(["other"])),
        rule("resourceNames", json!([])),
        rule("resourceNames", Value::Null),
        rule("apiGroups", json!(["*"])),
        rule("nonResourceURLs", json!(["/"])),
        changed(role("ci"), "rules", json!([])),
        changed(role("ci"), "rules", Value::Null),
        changed(role("ci"), "rules", json!([role("ci")["rules"][0], role("ci")["rules"][0]])),
    ];
    for body in &roles {
        let answer = all.post(ROLES, &all.owner, body.clone()).await;
        assert_status(&answer, 422, "Invalid", Some("rules"));
        assert!(answer.json["message"].as_str().unwrap().contains(r#""resourceNames":["ci"]"#), "{}", answer.text);
    }
    all.post(ROLES, &all.owner, role("ci")).await;
    let bindings = [
        (changed(binding("ci"), "subjects", json!([])), "subjects"),
        (changed(binding("ci"), "subjects", Value::Null), "subjects"),
        (changed(binding("ci"), "subjects", json!([{ "kind": "User", "name": "eve" }])), "subjects"),
        (changed(binding("ci"), "subjects", json!([{ "kind": "Group", "name": "system:masters" }])), "subjects"),
        (changed(binding("ci"), "subjects", binding("other")["subjects"].clone()), "subjects"),
        (
            changed(
                binding("ci"),
                "subjects",
                json!([binding("ci")["subjects"][0], { "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve" }]),
            ),
            "subjects",
        ),
        (
            changed(binding("ci"), "subjects", json!([{ "kind": "ServiceAccount", "name": "ci", "namespace": "eve" }])),
            "subjects",
        ),
        (
            changed(
                binding("ci"),
                "roleRef",
                json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" }),
            ),
            "roleRef",
        ),
        (changed(binding("ci"), "roleRef", binding("other")["roleRef"].clone()), "roleRef"),
    ];
    for (body, field) in &bindings {
        let answer = all.post(BINDINGS, &all.owner, body.clone()).await;
        assert_status(&answer, 422, "Invalid", Some(field));
        assert!(answer.json["message"].as_str().unwrap().contains("ci"), "{}", answer.text);
    }
    let mut names_refused = 0;
    for (path, object) in [(ROLES, role("ci")), (BINDINGS, binding("ci"))] {
        for name in ["ci", "create-token", "-create-token", "ci-create-tokens", ""] {
            let mut object = object.clone();
            object["metadata"]["name"] = name.into();
            assert_status(&all.post(path, &all.owner, object).await, 422, "Invalid", Some("metadata.name"));
            names_refused += 1;
        }
        for (field, value) in [("kind", "ClusterRole"), ("apiVersion", "rbac.authorization.k8s.io/v1beta1")] {
            let answer = all.post(path, &all.owner, changed(object.clone(), field, value.into())).await;
            assert_status(&answer, 422, "Invalid", Some(field));
            names_refused += 1;
        }
        let extra = changed(object.clone(), "aggregationRule", json!({}));
        assert_status(&all.post(path, &all.owner, extra).await, 422, "Invalid", Some("aggregationRule"));
        let absent = if path == ROLES { role("no") } else { binding("no") };
        let answer = all.post(path, &all.owner, absent).await;
        assert_status(&answer, 404, "NotFound", None);
        assert_eq!(answer.json["message"], r#"serviceaccounts "no" not found"#);
    }
    assert_eq!(names(&all.get(BINDINGS, &all.owner).await.json), [""; 0]);
    // Clients that write every field leave the core group empty.
    let mut whole = binding("ci");
    whole["subjects"][0]["apiGroup"] = "".into();
    whole["metadata"]["creationTimestamp"] = Value::Null;
    assert_eq!(all.post(BINDINGS, &all.owner, whole).await.status, StatusCode::CREATED);
    println!("counted: {} roles and bindings refused", roles.len() + bindings.len() + names_refused);
}

#[tokio::test]
async fn to_read_a_secrets_data_issues_a_token_and_to_list_secrets_issues_none() {
    let all = Everybody::with_ci().await;
    all.make("cd").await;
    let secret = format!("{SECRETS}/ci-token");
    let list = all.get(SECRETS, &all.owner).await.json;
    assert_eq!(names(&list), ["access-token", "gatemint-jwt-secret", "cd-token", "ci-token"]);
    for item in list["items"].as_array().unwrap() {
        assert!(item.get("data").is_none() && item.get("stringData").is_none(), "{item}");
    }
    let uid = all.get(&at("ci"), &all.owner).await.json["metadata"]["uid"].clone();
    assert_eq!(list["items"][3]["type"], "kubernetes.io/service-account-token");
    assert_eq!(
        list["items"][3]["metadata"]["annotations"],
        json!({ "kubernetes.io/service-account.name": "ci", "kubernetes.io/service-account.uid": uid })
    );
    // A stranger sees what is in every namespace.
    assert_eq!(names(&all.get(SECRETS, &all.stranger).await.json), ["access-token", "gatemint-jwt-secret"]);
    for (query, found) in [("limit=1", 3), ("fieldSelector=metadata.name%3Dci-token", 1), ("labelSelector=a%3Db", 0)] {
        assert_eq!(names(&all.get(&format!("{SECRETS}?{query}"), &all.owner).await.json).len(), found, "{query}");
    }
    let first = all.get(&format!("{SECRETS}?limit=1"), &all.owner).await.json;
    let next = first["metadata"]["continue"].as_str().unwrap();
    let second = all.get(&format!("{SECRETS}?limit=1&continue={next}"), &all.owner).await.json;
    assert_eq!(names(&second), ["ci-token"]);
    all.table(SECRETS, &all.owner).await;
    all.table(&format!("{secret}?includeObject=Object"), &all.owner).await;
    let head = all.ask(Method::HEAD, &secret, &all.owner, None).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_status(&all.get(&secret, &all.reader).await, 403, "Forbidden", None);
    assert_eq!(all.long_lived_tokens().await, 0, "nothing was issued so far");

    let mut tokens = std::collections::BTreeSet::new();
    for n in 1..=10 {
        let read = all.get(&secret, &all.owner).await;
        assert_eq!((read.status, read.header("cache-control")), (StatusCode::OK, "no-store"), "{}", read.text);
        assert_eq!((&read.json["kind"], &read.json["metadata"]["name"]), (&json!("Secret"), &json!("ci-token")));
        assert_eq!(decoded(read.json["data"]["namespace"].as_str().unwrap()), "ada");
        let token = decoded(read.json["data"]["token"].as_str().unwrap());
        let claims = part(&token, 1);
        for (claim, value) in [
            ("sub", json!("system:serviceaccount:ada:ci")),
            ("kubernetes.io/serviceaccount/namespace", json!("ada")),
            ("kubernetes.io/serviceaccount/service-account.name", json!("ci")),
            ("kubernetes.io/serviceaccount/service-account.uid", uid.clone()),
            ("kubernetes.io/serviceaccount/secret.name", json!("ci-token")),
        ] {
            assert_eq!(claims[claim], value, "{claim}");
        }
        assert!(tokens.insert(token));
        assert_eq!(all.long_lived_tokens().await, n);
    }
    let one_more = all.get(&secret, &all.owner).await;
    assert_status(&one_more, 409, "Conflict", None);
    assert!(one_more.json["message"].as_str().unwrap().contains("exceeded quota"), "{}", one_more.text);
    assert_status(&all.get(&format!("{SECRETS}/no-token"), &all.owner).await, 404, "NotFound", None);
    println!("counted: {} tokens issued, 9 times none", tokens.len());
}
