//! What a token that is always fresh, and one without the roles, are not good for: whatever lasts longer, or is more.

use super::*;

const SERVICE_ACCOUNTS: &str = "/api/v1/namespaces/vms/serviceaccounts";

/// Everybody with bob, who has a service account that may read his token.
struct WithReader {
    all: Everybody,
    bob: Tokens,
    /// The service account's token.
    robot: String,
}

impl WithReader {
    async fn new() -> Self {
        let (all, bob) = Everybody::with_bob().await;
        assert_eq!(Self::make(&all, &bob.access, "ci").await, 201);
        assert_eq!(Self::grant(&all, &bob.access, "vms:service-accounts:ci", RESOURCE).await, 201);
        let issued = all.ask(Method::GET, &format!("{SECRETS}/ci-token"), &bob.access, None).await;
        assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
        let robot = decoded(issued.json["data"]["token"].as_str().unwrap());
        all.test.keep(&robot);
        Self { all, bob, robot }
    }

    async fn make(all: &Everybody, access: &str, name: &str) -> u16 {
        let body = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
        all.ask(Method::POST, SERVICE_ACCOUNTS, access, Some(body)).await.status.as_u16()
    }

    async fn grant(all: &Everybody, access: &str, to: &str, uri: &str) -> u16 {
        let body = json!([{ "uri": uri, "action": "read" }]);
        all.ask(Method::POST, &format!("/api/v1/users/{to}/permissions"), access, Some(body)).await.status.as_u16()
    }

    /// Every way to something that outlives a token, or that reads the secret for somebody else.
    async fn ways(&self, access: &str, name: &str) -> Vec<(&'static str, u16)> {
        let all = &self.all;
        let request =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "audiences": ["x"] } });
        let apolo = json!({ "name": format!("{name}-too"), "default_cluster": "default", "default_project": "vms" });
        let status = |answer: Answer| answer.status.as_u16();
        vec![
            ("a service account is made", Self::make(all, access, name).await),
            (
                "the same by Apolo's path",
                status(all.ask(Method::POST, "/api/v1/service_accounts", access, Some(apolo)).await),
            ),
            ("its token is issued", status(all.ask(Method::GET, &format!("{SECRETS}/ci-token"), access, None).await)),
            (
                "its token is rotated",
                status(all.ask(Method::POST, "/api/v1/service_accounts/ci/rotate", access, Some(json!({}))).await),
            ),
            (
                "a short one is requested",
                status(all.ask(Method::POST, &format!("{SERVICE_ACCOUNTS}/ci/token"), access, Some(request)).await),
            ),
            ("the secret is granted", Self::grant(all, access, "eve", RESOURCE).await),
            ("all secrets are granted", Self::grant(all, access, "eve", "secret://default/vms").await),
            ("a role is granted", Self::grant(all, access, "eve", "role://default/vms/readers").await),
            ("a service account is granted", Self::grant(all, access, "eve", "serviceaccount://default/vms").await),
        ]
    }
}

#[tokio::test]
async fn a_stolen_fresh_token_gets_nothing_that_outlives_it() {
    let with = WithReader::new().await;
    let fresh = with.all.token(&with.bob.access).await;
    let ways = with.ways(&fresh, "evil").await;
    for (way, status) in &ways {
        assert_eq!(*status, 403, "{way}");
    }
    // Nor does it change what its owner is: by her password, or out of a role.
    let of_role = "/api/v1/users/bob/permissions?uri=role://default/root/readers";
    assert_eq!(WithReader::grant(&with.all, &with.all.root, "bob", "role://default/root/readers").await, 201);
    let password = json!({ "old": PASSWORD, "new": "another long enough password" });
    for (method, path, body) in
        [(Method::POST, "/v1/me/password", Some(password)), (Method::DELETE, of_role, None::<Value>)]
    {
        let refused = with.all.ask(method, path, &fresh, body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.text);
    }
    let left = with.all.ask(Method::DELETE, of_role, &with.bob.access, None).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT, "by a sign-in's: {}", left.text);
    // It reads what its owner reads, and ends what is hers.
    for path in ["/v1/me", "/v1/tokens", SERVICE_ACCOUNTS, SECRETS] {
        assert_eq!(with.all.ask(Method::GET, path, &fresh, None).await.status, StatusCode::OK, "{path}");
    }
    let refused = with.all.ask(Method::GET, PATH, &fresh, None).await;
    assert_status(&refused, 403, "Forbidden", "access-token");
    // An admin's is no admin's here.
    let of_root = with.all.ask(Method::GET, "/api/v1/namespaces/root/secrets/access-token", &with.all.root, None).await;
    let of_root = decoded(of_root.json["data"]["AUTH_TOKEN"].as_str().unwrap());
    assert_eq!(claims(&of_root)["roles"], json!(["admin"]));
    for (method, path, body) in [
        (Method::GET, "/v1/users", None),
        (Method::PATCH, "/v1/users/bob", Some(json!({ "password": PASSWORD }))),
        (Method::POST, "/v1/clients", Some(json!({ "id": "evil" }))),
        (Method::GET, PATH, None),
    ] {
        assert_eq!(with.all.ask(method, path, &of_root, body).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    // A sign-in's does all of it.
    for (way, status) in with.ways(&with.bob.access, "good").await {
        assert!((200..300).contains(&status), "{way}: {status}");
    }
    println!("counted: {} ways to more, none of them open to a fresh token, and 4 to an admin's", ways.len());
}

#[tokio::test]
async fn a_token_without_roles_gets_them_by_nobody_else() {
    let with = WithReader::new().await;
    for scope in ["profile", "email", "profile email"] {
        let narrow = with.all.narrow(scope).await;
        for (way, status) in with.ways(&narrow, "evil").await {
            assert_eq!(status, 403, "{way}, with {scope}");
        }
        let own = claims(&with.all.token(&narrow).await);
        assert_eq!((&own["roles"], &own["scope"]), (&json!([]), &json!(scope)), "{own}");
    }
    // Whoever was let read it before by a whole one reads all of it.
    let all_of_it = claims(&with.all.token(&with.robot).await);
    assert_eq!(all_of_it["roles"], json!(["analysts"]));
    println!("counted: 3 scopes without roles, 9 ways to more, none open");
}
