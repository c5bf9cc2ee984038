//! `/v1`: oneself, users, clients and tokens; that changes count in every process at once; and what races come to.

use std::{collections::HashMap, path::Path, sync::Arc};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestService, Tokens, asking::Asking, process::Serve};

const OTHER: &str = "another long enough password";

/// Ada, and root who is an admin, with their tokens.
async fn two() -> (TestService, Tokens, Tokens) {
    let test = TestService::new().await.user("ada", &["analysts"]).await.user("root", &["admin"]).await;
    let (ada, root) = (test.sign_in("ada").await, test.sign_in("root").await);
    (test, ada, root)
}

/// Asserts that it is a problem (RFC 9457) of this status, about this field if any.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, field: Option<&str>) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
    assert_eq!(answer.json["status"], status);
    assert_eq!(answer.json["type"], "about:blank");
    assert!(!answer.json["title"].as_str().unwrap().is_empty());
    assert!(!answer.json["detail"].as_str().unwrap().is_empty());
    assert_eq!(answer.json["field"].as_str(), field, "{}", answer.text);
}

/// Every item of a list, page by page, and how many pages there were.
async fn every(test: &TestService, path: &str, limit: usize, access: &str) -> (Vec<Value>, usize) {
    let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let mut url = format!("{path}{}limit={limit}", if path.contains('?') { '&' } else { '?' });
        if !cursor.is_empty() {
            url = format!("{url}&cursor={cursor}");
        }
        let page = test.v1(Method::GET, &url, access, None).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        items.extend(page.json["items"].as_array().unwrap().iter().cloned());
        pages += 1;
        match page.json["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return (items, pages),
        }
    }
}

const ENDPOINTS: [(Method, &str); 19] = [
    (Method::GET, "/v1/me"),
    (Method::POST, "/v1/me/password"),
    (Method::GET, "/v1/tokens"),
    (Method::DELETE, "/v1/tokens/x"),
    (Method::GET, "/v1/users"),
    (Method::POST, "/v1/users"),
    (Method::GET, "/v1/users/ada"),
    (Method::PATCH, "/v1/users/ada"),
    (Method::DELETE, "/v1/users/ada"),
    (Method::GET, "/v1/clients"),
    (Method::POST, "/v1/clients"),
    (Method::GET, "/v1/clients/gatemint"),
    (Method::PATCH, "/v1/clients/gatemint"),
    (Method::DELETE, "/v1/clients/gatemint"),
    (Method::GET, "/v1/sites"),
    (Method::POST, "/v1/sites"),
    (Method::GET, "/v1/sites/jobs"),
    (Method::PATCH, "/v1/sites/jobs"),
    (Method::DELETE, "/v1/sites/jobs"),
];

#[tokio::test]
async fn without_a_token_nothing_is_told_and_without_the_role_nothing_of_others() {
    let (test, ada, _) = two().await;
    let mut refused = 0;
    for (method, path) in ENDPOINTS {
        for token in ["", "not-a-token", &ada.refresh] {
            let answer = test.v1(method.clone(), path, token, None).await;
            assert_problem(&answer, 401, None);
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{method} {path}");
            refused += 1;
        }
        if ["/v1/users", "/v1/clients", "/v1/sites"].iter().any(|start| path.starts_with(start)) {
            let answer = test.v1(method.clone(), path, &ada.access, Some(json!({"enabled": false}))).await;
            assert_problem(&answer, 403, None);
            refused += 1;
        }
    }
    let of_root = test.v1(Method::GET, "/v1/tokens?account=root", &ada.access, None).await;
    assert_problem(&of_root, 403, None);
    let twice = Request::get("/v1/me")
        .header(header::AUTHORIZATION, format!("Bearer {}", ada.access))
        .header(header::AUTHORIZATION, format!("Bearer {}", ada.access));
    assert_problem(&test.send(twice.body(Body::empty()).unwrap()).await, 400, None);
    // No cookie is read, and no scheme but Bearer.
    for (name, value) in [("cookie", format!("dat={}", ada.access)), ("authorization", format!("Basic {}", ada.access))]
    {
        let request = Request::get("/v1/me").header(name, value).body(Body::empty()).unwrap();
        assert_problem(&test.send(request).await, 401, None);
    }
    println!("counted: {} requests refused as they should be", refused + 4);
}

#[tokio::test]
async fn me_is_who_asks_and_only_the_right_old_password_sets_a_new_one() {
    let (test, ada, _) = two().await;
    let me = test.v1(Method::GET, "/v1/me", &ada.access, None).await;
    assert_eq!(me.status, StatusCode::OK);
    let mut names: Vec<_> = me.json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["created_at", "email", "enabled", "mirror_token", "name", "namespace", "roles", "uid"],
        "{}",
        me.text
    );
    assert_eq!((&me.json["name"], &me.json["roles"]), (&json!("ada"), &json!(["analysts"])));

    let change = async |body: Value| test.v1(Method::POST, "/v1/me/password", &ada.access, Some(body)).await;
    assert_problem(&change(json!({"old": PASSWORD, "new": "short"})).await, 422, Some("new"));
    assert_problem(&change(json!({"old": "not the old password", "new": OTHER})).await, 403, Some("old"));
    for malformed in [json!({"old": PASSWORD}), json!({"old": PASSWORD, "new": 7}), json!([]), json!({"odl": 1})] {
        let answer = change(malformed).await;
        assert_problem(&answer, 400, None);
        assert!(!answer.text.contains(PASSWORD), "{}", answer.text);
    }
    test.keep(OTHER);
    assert_eq!(change(json!({"old": PASSWORD, "new": OTHER})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(test.v1(Method::GET, "/v1/me", &ada.access, None).await.status, StatusCode::OK);
    println!("counted: 1 password changed, 6 attempts refused");
}

#[tokio::test]
async fn guessing_the_old_password_is_throttled_and_the_session_stands() {
    let (test, ada, _) = two().await;
    let mut statuses = Vec::new();
    for n in 0..8 {
        let body = json!({"old": format!("a wrong old password {n}"), "new": OTHER});
        let answer = test.v1(Method::POST, "/v1/me/password", &ada.access, Some(body)).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [403, 403, 403, 403, 403, 429, 429, 429]);
    assert_eq!(test.v1(Method::GET, "/v1/me", &ada.access, None).await.status, StatusCode::OK);
    assert_eq!(test.refresh(&ada.refresh).await.status, StatusCode::OK, "refreshes are never throttled by it");
    println!("counted: 8 guesses, 5 judged, 3 throttled");
}

#[tokio::test]
async fn an_admin_makes_reads_changes_lists_and_deletes_users() {
    let (test, _, root) = two().await;
    let ask = async |method: Method, path: &str, body: Option<Value>| test.v1(method, path, &root.access, body).await;
    let eve = json!({"name": "eve", "password": OTHER, "email": "eve@example.org", "roles": ["a", "b", "a"], "namespace": "eves"});
    test.keep(OTHER);
    let made = ask(Method::POST, "/v1/users", Some(eve)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert!(!made.text.contains("argon2") && !made.text.contains(OTHER));
    assert_eq!(made.json["roles"], json!(["a", "b"]));
    assert_eq!(made.json["namespace"], "eves");
    assert_eq!(ask(Method::GET, "/v1/users/eve", None).await.json, made.json);

    let changed = ask(Method::PATCH, "/v1/users/eve", Some(json!({"email": "", "roles": []}))).await;
    assert_eq!(
        (changed.status, &changed.json["email"], &changed.json["roles"]),
        (StatusCode::OK, &json!(""), &json!([]))
    );
    assert_eq!(changed.json["uid"], made.json["uid"]);

    assert_eq!(ask(Method::DELETE, "/v1/users/eve", None).await.status, StatusCode::NO_CONTENT);
    for method in [Method::GET, Method::DELETE] {
        assert_problem(&ask(method, "/v1/users/eve", None).await, 404, None);
    }
    assert_problem(&ask(Method::PATCH, "/v1/users/eve", Some(json!({}))).await, 404, None);

    for n in 0..23 {
        let body = json!({"name": format!("user-{n:02}"), "password": PASSWORD});
        assert_eq!(ask(Method::POST, "/v1/users", Some(body)).await.status, StatusCode::CREATED);
    }
    for limit in [1, 7, 25, 99] {
        let (users, pages) = every(&test, "/v1/users", limit, &root.access).await;
        let names: Vec<_> = users.iter().map(|user| user["name"].as_str().unwrap()).collect();
        assert!(names.is_sorted() && names.len() == 25 && !names.contains(&"eve"), "{names:?}");
        assert_eq!(pages, 25_usize.div_ceil(limit));
    }
    for query in ["limit=0", "limit=100", "limit=x", "limit=-1", "cursor=%21", "limit=1&limit=2", "cursor=_w"] {
        assert_problem(&ask(Method::GET, &format!("/v1/users?{query}"), None).await, 400, None);
    }
    println!("counted: 24 users made, 4 ways to page through 25, 7 bad queries and 4 absent users refused");
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_told_by_its_field() {
    let (test, _, root) = two().await;
    let make = async |body: Value| test.v1(Method::POST, "/v1/users", &root.access, Some(body)).await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"name": "eve", "password": PASSWORD});
        body[name] = value;
        body
    };
    let wrong = [
        ("name", json!("Eve")),
        ("name", json!("")),
        ("name", json!("a".repeat(64))),
        ("password", json!("fourteen bytes")),
        ("password", json!("x".repeat(1025))),
        ("password", json!("fifteen bytes\u{0}!!")),
        ("email", json!("nobody")),
        ("email", json!("a@b,c@d")),
        ("roles", json!(["Admin"])),
        ("roles", json!([""])),
        ("roles", json!((0..65).map(|n| format!("r{n}")).collect::<Vec<_>>())),
        ("namespace", json!("default-org")),
        ("namespace", json!("no_")),
    ];
    for (field, value) in &wrong {
        assert_problem(&make(with(field, value.clone())).await, 422, Some(field));
    }
    // The name is the namespace unless another one is given.
    assert_problem(&make(json!({"name": "default-org", "password": PASSWORD})).await, 422, Some("namespace"));
    let malformed = [json!({"name": "eve"}), with("surprise", json!(1)), with("enabled", json!("yes")), json!("eve")];
    for body in &malformed {
        let answer = make(body.clone()).await;
        assert_problem(&answer, 400, None);
        assert!(!answer.text.contains(PASSWORD));
    }
    for (content_type, body) in [("text/plain", "{}"), ("application/json", "{"), ("application/json", "")] {
        let request = Request::post("/v1/users")
            .header(header::AUTHORIZATION, format!("Bearer {}", root.access))
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body));
        assert_problem(&test.send(request.unwrap()).await, 400, None);
    }
    assert_problem(&make(with("email", json!("x".repeat(70_000)))).await, 413, None);
    let immutable = json!({"namespace": "other"});
    assert_problem(&test.v1(Method::PATCH, "/v1/users/ada", &root.access, Some(immutable)).await, 400, None);

    // What is somebody's is nobody else's, a deleted user's excepted.
    assert_problem(&make(json!({"name": "ada", "password": PASSWORD})).await, 409, Some("name"));
    let of_ada = json!({"name": "eve", "namespace": "ada", "password": PASSWORD});
    assert_problem(&make(of_ada.clone()).await, 409, Some("namespace"));
    assert_eq!(test.v1(Method::GET, "/v1/users/eve", &root.access, None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(test.v1(Method::DELETE, "/v1/users/ada", &root.access, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(make(of_ada).await.status, StatusCode::CREATED);
    assert_problem(&make(json!({"name": "ada", "password": PASSWORD})).await, 409, Some("namespace"));
    println!("counted: {} bodies refused", wrong.len() + malformed.len() + 9);
}

#[tokio::test]
async fn an_admin_makes_reads_changes_lists_and_deletes_clients() {
    let (test, _, root) = two().await;
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let answer = test.v1(method, path, &root.access, body).await;
        if let Some(secret) = answer.json["secret"].as_str() {
            test.keep(secret);
        }
        answer
    };
    let made =
        ask(Method::POST, "/v1/clients", Some(json!({"id": "ci", "scopes": ["jobs:run"], "access_life": 60}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let secret = made.json["secret"].as_str().unwrap().to_owned();
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(made.json["grants"], json!(["password", "refresh_token", exchange, "client_credentials"]));
    let own = async |secret: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", "ci"), ("client_secret", secret)];
        test.form("/oauth2/token", &form).await
    };
    let token = own(&secret).await;
    assert_eq!((token.status, &token.json["expires_in"]), (StatusCode::OK, &json!(60)), "{}", token.text);
    let read = ask(Method::GET, "/v1/clients/ci", None).await;
    assert!(read.json.get("secret").is_none(), "shown once: {}", read.text);

    let renewed = ask(Method::PATCH, "/v1/clients/ci", Some(json!({"new_secret": true, "access_life": null}))).await;
    let new_secret = renewed.json["secret"].as_str().unwrap().to_owned();
    assert_eq!(own(&secret).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(own(&new_secret).await.json["expires_in"], 900);
    let disabled = ask(Method::PATCH, "/v1/clients/ci", Some(json!({"enabled": false}))).await;
    assert_eq!(disabled.json["enabled"], false);
    assert_eq!(own(&new_secret).await.status, StatusCode::UNAUTHORIZED);

    let public = ask(Method::POST, "/v1/clients", Some(json!({"id": "app", "public": true}))).await;
    assert_eq!((public.status, public.json.get("secret")), (StatusCode::CREATED, None), "{}", public.text);
    assert_eq!(public.json["grants"], json!(["password", "refresh_token", exchange]));
    assert_problem(
        &ask(Method::PATCH, "/v1/clients/app", Some(json!({"new_secret": true}))).await,
        422,
        Some("secret"),
    );

    for (body, status, field) in [
        (json!({"id": "ci"}), 409, None),
        (json!({"id": "gatemint"}), 409, None),
        (json!({"id": "No"}), 422, Some("id")),
        (json!({"id": "x", "public": true, "grants": ["client_credentials"]}), 422, Some("grants")),
        (json!({"id": "x", "grants": ["implicit"]}), 400, None),
        (json!({"id": "x", "audiences": ["a b"]}), 422, Some("audiences")),
        (json!({"id": "x", "audiences": ["http://gatemint.test/gate"]}), 422, Some("audiences")),
        (json!({"id": "x", "scopes": ["a\"b"]}), 422, Some("scopes")),
        (json!({"id": "x", "access_life": 0}), 422, Some("access_life")),
        (json!({"id": "x", "access_life": 86_401}), 422, Some("access_life")),
        (json!({"public": true}), 400, None),
    ] {
        assert_problem(&ask(Method::POST, "/v1/clients", Some(body)).await, status, field);
    }

    for n in 0..9 {
        let body = json!({"id": format!("client-{n}"), "public": true});
        assert_eq!(ask(Method::POST, "/v1/clients", Some(body)).await.status, StatusCode::CREATED);
    }
    for limit in [1, 4, 50] {
        let (clients, _) = every(&test, "/v1/clients", limit, &root.access).await;
        let ids: Vec<_> = clients.iter().map(|client| client["id"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), ids[0]), (12, "gatemint"), "{ids:?}");
    }

    // The built-in client is disabled, not deleted, and can be enabled again.
    assert_problem(&ask(Method::DELETE, "/v1/clients/gatemint", None).await, 409, None);
    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    // (The admin asks with a token of that very client, so he enables it as an operator would.)
    assert_eq!(
        ask(Method::PATCH, "/v1/clients/gatemint", Some(json!({"enabled": false}))).await.status,
        StatusCode::OK
    );
    assert_eq!(test.form("/oauth2/token", &form).await.refusal().1, "invalid_client");
    assert_eq!(ask(Method::GET, "/v1/me", None).await.status, StatusCode::UNAUTHORIZED, "its tokens ended with it");
    let patch = gatemint::domain::client::manage::ClientPatch { enabled: Some(true), ..Default::default() };
    let now = test.service.now();
    gatemint::domain::client::manage::update(&test.service, now, "gatemint", &patch, "test").await.unwrap();
    let root = test.sign_in("root").await;
    for (path, status) in [("/v1/clients/ci", 204), ("/v1/clients/ci", 404), ("/v1/clients/none", 404)] {
        assert_eq!(test.v1(Method::DELETE, path, &root.access, None).await.status.as_u16(), status);
    }
    println!("counted: 12 clients listed, 2 secrets shown once, 13 bodies refused");
}

#[tokio::test]
async fn everybody_sees_and_ends_own_tokens_and_admins_anyones() {
    let (test, ada, root) = two().await;
    let more: Vec<_> = [test.sign_in("ada").await, test.sign_in("ada").await, test.sign_in("ada").await].into();
    let (own, pages) = every(&test, "/v1/tokens", 3, &ada.access).await;
    assert_eq!((own.len(), pages), (5, 2));
    let fresh = own.last().unwrap();
    assert_eq!((&fresh["kind"], &fresh["subject"]), (&json!("fresh"), &json!("ada")), "{fresh}");
    assert!(fresh.get("expires_at").is_none() && fresh.get("client_id").is_none(), "{fresh}");
    for token in &own[..4] {
        assert_eq!(
            (&token["kind"], &token["subject"], &token["client_id"]),
            (&json!("session"), &json!("ada"), &json!("gatemint"))
        );
        for field in ["id", "scope", "issued_at", "expires_at", "last_used_at"] {
            assert!(!token[field].as_str().unwrap().is_empty(), "{field}");
        }
        // An id is no credential.
        assert_eq!(test.refresh(token["id"].as_str().unwrap()).await.refusal().2, "Invalid refresh token");
        assert_eq!(
            test.v1(Method::GET, "/v1/me", token["id"].as_str().unwrap(), None).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let (of_ada, _) = every(&test, "/v1/tokens?account=ada", 99, &root.access).await;
    assert_eq!(of_ada, own);
    let (of_root, _) = every(&test, "/v1/tokens", 99, &root.access).await;
    assert_eq!(of_root.len(), 2);
    assert_problem(&test.v1(Method::GET, "/v1/tokens?account=nobody", &root.access, None).await, 404, None);

    let end = async |id: &Value, access: &str| {
        test.v1(Method::DELETE, &format!("/v1/tokens/{}", id.as_str().unwrap()), access, None).await
    };
    // Another's token does not exist.
    assert_problem(&end(&of_root[0]["id"], &ada.access).await, 404, None);
    assert_problem(&end(&json!("nonsense"), &ada.access).await, 404, None);
    assert_eq!(end(&own[0]["id"], &root.access).await.status, StatusCode::NO_CONTENT);
    assert_problem(&end(&own[0]["id"], &root.access).await, 404, None);

    let mut alive = Vec::new();
    for tokens in std::iter::once(&ada).chain(&more) {
        let me = test.v1(Method::GET, "/v1/me", &tokens.access, None).await.status == StatusCode::OK;
        let refresh = test.refresh(&tokens.refresh).await;
        assert_eq!(me, refresh.status == StatusCode::OK, "the access token ends with its session");
        if me {
            alive.push(refresh.tokens());
        }
    }
    assert_eq!(alive.len(), 3);
    // Her own, by herself; the session that she asks with last.
    let (left, _) = every(&test, "/v1/tokens", 99, &alive[0].access).await;
    assert_eq!(left.len(), 4);
    for token in left.iter().rev() {
        let answer = end(&token["id"], &alive[0].access).await;
        if answer.status == StatusCode::UNAUTHORIZED {
            break;
        }
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(test.v1(Method::GET, "/v1/me", &alive[0].access, None).await.status, StatusCode::UNAUTHORIZED);
    println!("counted: 7 live tokens listed, ended one by one by their owner and by an admin");
}

/// Two real processes on one directory, the first with an admin's token.
struct Pair {
    _home: tempfile::TempDir,
    _serves: [Serve; 2],
    one: Asking,
    other: Asking,
    admin: String,
}

impl Pair {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let serves = [Serve::start(&data), Serve::start(&data)];
        let one = Asking::at(&serves[0].url);
        let other = one.elsewhere(&serves[1].url);
        let admin = one.admin(Path::new(&data)).await.access;
        Self { _home: home, _serves: serves, one, other, admin }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.one.v1(method, path, &self.admin, body).await
    }

    async fn make(&self, name: &str) -> Answer {
        let body =
            json!({"name": name, "password": PASSWORD, "email": format!("{name}@example.org"), "roles": ["old"]});
        let made = self.ask(Method::POST, "/v1/users", Some(body)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made
    }

    async fn sign_in(&self, name: &str) -> Tokens {
        self.other.password(name, PASSWORD).await.tokens()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_changes_counts_in_the_other_at_once() {
    let pair = Pair::start().await;
    let made = pair.make("ada").await;
    let ada = pair.sign_in("ada").await;

    // New roles and address: at the next refresh and introspection, without a new sign-in.
    let patch = json!({"roles": ["new", "ada/readers"], "email": "new@example.org"});
    assert_eq!(pair.ask(Method::PATCH, "/v1/users/ada", Some(patch)).await.status, StatusCode::OK);
    let seen = pair.other.introspect(&pair.admin, &ada.access).await;
    assert_eq!(
        (&seen.json["active"], &seen.json["roles"]),
        (&json!(true), &json!(["new", "ada/readers"])),
        "{}",
        seen.text
    );
    let ada = pair.other.refresh(&ada.refresh).await.tokens();
    let claims = crate::support::asking::claims(&ada.access);
    assert_eq!((&claims["roles"], &claims["email"]), (&json!(["new", "ada/readers"]), &json!("new@example.org")));

    let dead = async |tokens: &Tokens| {
        for process in [&pair.one, &pair.other] {
            assert_eq!(process.refresh(&tokens.refresh).await.refusal(), (400, "invalid_grant", "Session ended"));
            for token in [&tokens.access, &tokens.refresh] {
                assert_eq!(process.introspect(&pair.admin, token).await.json, json!({"active": false}));
            }
            assert_eq!(process.v1(Method::GET, "/v1/me", &tokens.access, None).await.status, StatusCode::UNAUTHORIZED);
        }
    };
    let mut ended = 0;
    // Disabled, and enabled again: sessions from before stay ended.
    for enabled in [false, true] {
        let patch = json!({"enabled": enabled});
        assert_eq!(pair.ask(Method::PATCH, "/v1/users/ada", Some(patch)).await.status, StatusCode::OK);
        dead(&ada).await;
        let sign_in = pair.other.password("ada", PASSWORD).await;
        assert_eq!(sign_in.status == StatusCode::OK, enabled, "{}", sign_in.text);
        ended += 1;
    }
    // A password set by an admin.
    let ada = pair.sign_in("ada").await;
    assert_eq!(pair.ask(Method::PATCH, "/v1/users/ada", Some(json!({"password": OTHER}))).await.status, StatusCode::OK);
    dead(&ada).await;
    assert_eq!(pair.other.password("ada", PASSWORD).await.refusal().2, "Invalid user credentials");
    let ada = pair.other.password("ada", OTHER).await.tokens();
    ended += 1;

    // Deleted, and made again under the name with the same password: another account.
    assert_eq!(pair.ask(Method::DELETE, "/v1/users/ada", None).await.status, StatusCode::NO_CONTENT);
    dead(&ada).await;
    let again = pair.make("ada").await;
    assert_ne!(again.json["uid"], made.json["uid"]);
    dead(&ada).await;
    ended += 2;
    let listed = pair.ask(Method::GET, "/v1/tokens?account=ada", None).await;
    assert_eq!(listed.json["items"], json!([]), "it inherits no token");
    let new = pair.sign_in("ada").await;
    let claims = crate::support::asking::claims(&new.access);
    assert_eq!((&claims["sub"], &claims["roles"]), (&again.json["uid"], &json!(["old"])));

    // A role counts by the row, not by the token.
    assert_eq!(pair.other.v1(Method::GET, "/v1/users", &new.access, None).await.status, StatusCode::FORBIDDEN);
    pair.ask(Method::PATCH, "/v1/users/ada", Some(json!({"roles": ["admin"]}))).await;
    assert_eq!(pair.other.v1(Method::GET, "/v1/users", &new.access, None).await.status, StatusCode::OK);
    pair.ask(Method::PATCH, "/v1/users/ada", Some(json!({"roles": []}))).await;
    assert_eq!(pair.other.v1(Method::GET, "/v1/users", &new.access, None).await.status, StatusCode::FORBIDDEN);

    // Logout and the end of one token by its id.
    let two = [pair.sign_in("ada").await, pair.sign_in("ada").await];
    let logout = [("client_id", "gatemint"), ("refresh_token", two[0].refresh.as_str())];
    assert_eq!(
        pair.one.form("/realms/any/protocol/openid-connect/logout", &logout).await.status,
        StatusCode::NO_CONTENT
    );
    dead(&two[0]).await;
    let mut left = 0;
    for token in pair.ask(Method::GET, "/v1/tokens?account=ada", None).await.json["items"].as_array().unwrap() {
        let id = token["id"].as_str().unwrap();
        assert_eq!(pair.ask(Method::DELETE, &format!("/v1/tokens/{id}"), None).await.status, StatusCode::NO_CONTENT);
        left += 1;
    }
    assert_eq!(left, 3, "the one that was signed in before, the one that did not log out, and the fresh token");
    dead(&two[1]).await;
    dead(&new).await;
    ended += 3;
    println!("counted: 2 processes, {ended} ways and moments of an end, each seen by both at the next request");
}

/// How often each status came.
fn tally(answers: &[Answer]) -> HashMap<u16, usize> {
    let mut tally = HashMap::new();
    for answer in answers {
        *tally.entry(answer.status.as_u16()).or_default() += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_creations_of_one_user_one_succeeds() {
    let pair = Arc::new(Pair::start().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let pair = pair.clone();
        tasks.spawn(async move {
            let process = if n % 2 == 0 { &pair.one } else { &pair.other };
            let body = json!({"name": "ada", "password": format!("the password of number {n}")});
            (n, process.v1(Method::POST, "/v1/users", &pair.admin, Some(body)).await)
        });
    }
    let answers = tasks.join_all().await;
    let (winners, losers): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(_, answer)| answer.status == StatusCode::CREATED);
    assert_eq!(winners.len(), 1);
    for (_, answer) in &losers {
        assert_problem(answer, 409, Some("name"));
    }
    let (winner, made) = &winners[0];
    assert_eq!(pair.ask(Method::GET, "/v1/users/ada", None).await.json, made.json);
    let password = format!("the password of number {winner}");
    assert_eq!(pair.other.password("ada", &password).await.status, StatusCode::OK, "the winner's password is it");

    // Many names, one namespace.
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let pair = pair.clone();
        tasks.spawn(async move {
            let process = if n % 2 == 0 { &pair.one } else { &pair.other };
            let body = json!({"name": format!("user-{n}"), "namespace": "shared", "password": PASSWORD});
            process.v1(Method::POST, "/v1/users", &pair.admin, Some(body)).await
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(tally(&answers), HashMap::from([(201, 1), (409, 15)]));
    let users = pair.ask(Method::GET, "/v1/users", None).await;
    assert_eq!(users.json["items"].as_array().unwrap().len(), 3, "a loser leaves nothing behind: {}", users.text);
    println!("counted: 64 creations, 1 made, {} refused with 409; 16 for one namespace, 1 made", losers.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_password_changes_from_one_session_one_succeeds_and_the_session_stands() {
    const ROUNDS: usize = 3;
    let pair = Arc::new(Pair::start().await);
    let mut total = HashMap::<u16, usize>::new();
    for round in 0..ROUNDS {
        let name = format!("ada-{round}");
        pair.make(&name).await;
        let (mine, other) = (pair.sign_in(&name).await, pair.sign_in(&name).await);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let (pair, access) = (pair.clone(), mine.access.clone());
            tasks.spawn(async move {
                let process = if n % 2 == 0 { &pair.one } else { &pair.other };
                let body = json!({"old": PASSWORD, "new": format!("the new password, number {n}")});
                (n, process.v1(Method::POST, "/v1/me/password", &access, Some(body)).await)
            });
        }
        let mut winners = Vec::new();
        for (n, answer) in tasks.join_all().await {
            *total.entry(answer.status.as_u16()).or_default() += 1;
            match answer.status.as_u16() {
                204 => winners.push(n),
                // Somebody was faster; the old password is not it any more; too many at a time.
                409 => assert_problem(&answer, 409, None),
                403 => assert_problem(&answer, 403, Some("old")),
                429 => assert_problem(&answer, 429, None),
                status => panic!("{status}: {}", answer.text),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let me = pair.other.v1(Method::GET, "/v1/me", &mine.access, None).await;
        assert_eq!(me.status, StatusCode::OK, "the session is not lost");
        assert_eq!(pair.one.refresh(&mine.refresh).await.status, StatusCode::OK);
        assert_eq!(pair.one.refresh(&other.refresh).await.refusal().2, "Session ended");
    }
    println!("counted: {} password changes at once in {ROUNDS} rounds, by status {total:?}", 64 * ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_change_beside_refreshes_of_the_same_session_never_loses_it() {
    const ROUNDS: usize = 10;
    let pair = Arc::new(Pair::start().await);
    pair.make("ada").await;
    let mut mine = pair.sign_in("ada").await;
    let (mut password, mut at_once, mut again_made, mut busy) = (PASSWORD.to_owned(), 0, 0, 0);
    for round in 0..ROUNDS {
        let new = format!("password number {round} of ada");
        let change = {
            let (pair, access, body) = (pair.clone(), mine.access.clone(), json!({"old": password, "new": new}));
            tokio::spawn(async move { pair.one.v1(Method::POST, "/v1/me/password", &access, Some(body)).await })
        };
        // Refreshes beside it, in the other process: one, or a chain until the change has its answer.
        loop {
            let answer = pair.other.refresh(&mine.refresh).await;
            match answer.status.as_u16() {
                200 => mine = answer.tokens(),
                // Try again, said with the right words.
                503 => {
                    assert_eq!(answer.refusal().1, "temporarily_unavailable");
                    busy += 1;
                }
                status => panic!("round {round}: {status} {}", answer.text),
            }
            if round % 2 == 0 || change.is_finished() {
                break;
            }
        }
        let answer = change.await.unwrap();
        match answer.status.as_u16() {
            204 => at_once += 1,
            409 => {
                assert_problem(&answer, 409, None);
                // Trying again is all that it takes: the old password was right, so nothing counts as a guess.
                let body = json!({"old": password, "new": new});
                let again = pair.one.v1(Method::POST, "/v1/me/password", &mine.access, Some(body)).await;
                assert_eq!(again.status, StatusCode::NO_CONTENT, "round {round}: {}", again.text);
                again_made += 1;
            }
            status => panic!("round {round}: {status} {}", answer.text),
        }
        password = new;
        mine = pair.one.refresh(&mine.refresh).await.tokens();
        assert_eq!(pair.one.v1(Method::GET, "/v1/me", &mine.access, None).await.status, StatusCode::OK);
    }
    assert_eq!(pair.one.password("ada", &password).await.status, StatusCode::OK);
    println!(
        "counted: {ROUNDS} changes beside refreshes, {at_once} made at once, {again_made} at the second try after a 409, \
         {busy} refreshes told to try again, 0 sessions lost"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_beside_refreshes_leaves_nothing_alive() {
    const ROUNDS: usize = 10;
    let pair = Arc::new(Pair::start().await);
    let mut before = 0;
    for round in 0..ROUNDS {
        let name = format!("ada-{round}");
        pair.make(&name).await;
        let first = pair.sign_in(&name).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..17 {
            let (pair, token, name) = (pair.clone(), first.refresh.clone(), name.clone());
            tasks.spawn(async move {
                if n == 8 {
                    pair.ask(Method::DELETE, &format!("/v1/users/{name}"), None).await
                } else {
                    let process = if n % 2 == 0 { &pair.one } else { &pair.other };
                    process.refresh(&token).await
                }
            });
        }
        let mut deleted = 0;
        let mut given = vec![first];
        for answer in tasks.join_all().await {
            match answer.status.as_u16() {
                204 => deleted += 1,
                200 => given.push(answer.tokens()),
                _ => assert_eq!(answer.refusal(), (400, "invalid_grant", "Session ended")),
            }
        }
        assert_eq!(deleted, 1);
        before += given.len() - 1;
        for tokens in &given {
            assert_eq!(pair.other.refresh(&tokens.refresh).await.refusal().2, "Session ended");
            let me = pair.other.v1(Method::GET, "/v1/me", &tokens.access, None).await;
            assert_eq!(me.status, StatusCode::UNAUTHORIZED);
        }
    }
    println!("counted: {ROUNDS} deletes among 16 refreshes each, {before} refreshes were faster, 0 descendants alive");
}
