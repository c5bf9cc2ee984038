use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use crate::support::{PASSWORD, TestService};

pub(super) fn bad_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        " ",
        "-",
        ".",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "a.-b",
        "a-.b",
        "A",
        "Ada",
        "a_b",
        "a b",
        " a",
        "a ",
        "a/b",
        "a\\b",
        "a:b",
        "a@b",
        "a,b",
        "a;b",
        "a+b",
        "a%b",
        "a#b",
        "a?b",
        "a\"b",
        "a'b",
        "a\0",
        "\0",
        "a\n",
        "\ta",
        "a\u{7f}",
        "ä",
        "аda",
        "ａ",
        "a\u{301}",
        "\u{202e}ada",
        "\u{feff}a",
        "..",
        "../a",
        "a/../b",
        "client:a",
        "1a!",
        "*",
        "🦀",
        "ada\r\nx: y",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend(["a".repeat(64), "a".repeat(10_000), "a.".repeat(32), "ä".repeat(31), "-".repeat(63)]);
    names
}

fn bad_roles() -> Vec<Value> {
    let mut roles: Vec<Value> =
        bad_names().into_iter().filter(|name| name != "a/b").map(|name| json!([name])).collect();
    roles.extend([
        json!(["/"]),
        json!(["/a"]),
        json!(["a/"]),
        json!(["a//b"]),
        json!(["a/B"]),
        json!(["a/.."]),
        json!([vec!["a"; 17].join("/")]),
        json!([vec!["a".repeat(63); 5].join("/")]),
        json!(["ok", "Bad"]),
        json!((0..65).map(|n| format!("r{n}")).collect::<Vec<_>>()),
        json!(["a/b/"]),
        json!(["admin "]),
        json!(["ADMIN"]),
        json!(["admin\0"]),
    ]);
    roles
}

fn bad_emails() -> Vec<String> {
    let mut emails: Vec<String> = [
        " ",
        "a",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a@b c",
        " a@b",
        "a@b ",
        "a,b@c",
        "a@b,c@d",
        "a@b\n",
        "a\0@b",
        "a@b\r\nBcc: c@d",
        "ä@b",
        "a@ä",
        "a@b\u{7f}",
        "\u{202e}a@b",
        "a\t@b",
        "a@@b",
    ]
    .map(str::to_owned)
    .to_vec();
    emails.extend([format!("{}@b", "a".repeat(253)), format!("a@{}", "b".repeat(253))]);
    emails
}

/// Asks for a change that must be refused for one field.
async fn invalid(test: &TestService, admin: &str, method: Method, path: &str, body: &Value, field: &str) {
    let answer = test.v1(method, path, admin, Some(body.clone())).await;
    let shown: String = body.to_string().chars().take(200).collect();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {shown}: {}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json["field"], field, "{path} {shown}: {}", answer.text);
    assert!(answer.text.len() < 1000, "a refusal does not repeat what was sent");
}

#[tokio::test]
async fn names_roles_and_e_mail_addresses_of_every_wrong_shape_are_refused_by_field() {
    let test = TestService::new().await.user("ada", &["a"]).await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let users = test.v1(Method::GET, "/v1/users", &admin, None).await.text;
    let clients = test.v1(Method::GET, "/v1/clients", &admin, None).await.text;
    let mut tried = 0;
    let ada = "/v1/users/ada";
    for name in bad_names() {
        let user = json!({"name": name, "password": PASSWORD});
        invalid(&test, &admin, Method::POST, "/v1/users", &user, "name").await;
        let user = json!({"name": "eve", "namespace": name, "password": PASSWORD});
        invalid(&test, &admin, Method::POST, "/v1/users", &user, "namespace").await;
        invalid(&test, &admin, Method::POST, "/v1/clients", &json!({"id": name}), "id").await;
        let site = json!({"id": name, "host": "a.example.org", "resource": "flow://default/a"});
        invalid(&test, &admin, Method::POST, "/v1/sites", &site, "id").await;
        tried += 4;
    }
    let organisation = json!({"name": "eve", "namespace": "default-org", "password": PASSWORD});
    invalid(&test, &admin, Method::POST, "/v1/users", &organisation, "namespace").await;
    invalid(
        &test,
        &admin,
        Method::POST,
        "/v1/users",
        &json!({"name": "default-org", "password": PASSWORD}),
        "namespace",
    )
    .await;
    for roles in bad_roles() {
        let user = json!({"name": "eve", "roles": roles, "password": PASSWORD});
        invalid(&test, &admin, Method::POST, "/v1/users", &user, "roles").await;
        invalid(&test, &admin, Method::PATCH, ada, &json!({"roles": roles}), "roles").await;
        tried += 2;
    }
    for email in bad_emails() {
        let user = json!({"name": "eve", "email": email, "password": PASSWORD});
        invalid(&test, &admin, Method::POST, "/v1/users", &user, "email").await;
        invalid(&test, &admin, Method::PATCH, ada, &json!({"email": email}), "email").await;
        tried += 2;
    }
    let passwords = [
        String::new(),
        "short".into(),
        "a".repeat(14),
        "a".repeat(1025),
        "ä".repeat(513),
        "with a \0 in the middle".into(),
        "a line end at the end\n".into(),
        "an escape \u{1b}[2J in it".into(),
        "a control \u{85} of another kind".into(),
    ];
    for password in passwords {
        invalid(&test, &admin, Method::POST, "/v1/users", &json!({"name": "eve", "password": password}), "password")
            .await;
        invalid(&test, &admin, Method::PATCH, ada, &json!({"password": password}), "password").await;
        tried += 2;
    }
    for (field, values) in [
        (
            "audiences",
            vec![
                json!([""]),
                json!([" "]),
                json!(["a b"]),
                json!(["ä"]),
                json!(["a".repeat(254)]),
                json!(["a\n"]),
                json!(vec!["a"; 65]),
                json!(["x/gate"]),
                json!(["http://gatemint.test/link"]),
                json!(["/service-account"]),
                json!(["a", "/kubernetes"]),
            ],
        ),
        (
            "scopes",
            vec![
                json!([""]),
                json!(["a b"]),
                json!(["a\"b"]),
                json!(["a\\b"]),
                json!(["ä"]),
                json!(["a".repeat(254)]),
                json!(vec!["a"; 65]),
                json!(["a\0"]),
            ],
        ),
        ("access_life", vec![json!(0), json!(86_401), json!(u64::MAX)]),
    ] {
        for value in values {
            let mut client = json!({"id": "shop"});
            client[field] = value.clone();
            invalid(&test, &admin, Method::POST, "/v1/clients", &client, field).await;
            invalid(&test, &admin, Method::PATCH, "/v1/clients/gatemint", &json!({ field: value }), field).await;
            tried += 2;
        }
    }
    let machine = json!({"id": "shop", "public": true, "grants": ["client_credentials"]});
    invalid(&test, &admin, Method::POST, "/v1/clients", &machine, "grants").await;
    invalid(&test, &admin, Method::PATCH, "/v1/clients/gatemint", &json!({"new_secret": true}), "secret").await;
    assert_eq!(test.v1(Method::GET, "/v1/users", &admin, None).await.text, users, "nothing changed");
    assert_eq!(test.v1(Method::GET, "/v1/clients", &admin, None).await.text, clients, "nothing changed");
    println!("counted: {} values of a wrong shape, each refused with 422 and its field, nothing changed", tried + 4);
}

#[tokio::test]
async fn a_json_body_of_a_wrong_shape_is_refused_without_a_word_of_it() {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let tokens = test.sign_in("root").await;
    let admin = &tokens.access;
    let hidden = "hidden-in-the-body";
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"{".to_vec(),
        b"}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"1".to_vec(),
        b"\"x\"".to_vec(),
        b"{}".to_vec(),
        format!(r#"{{"name":"{hidden}"#).into_bytes(),
        format!(r#"{{"name":1,"password":"{hidden}"}}"#).into_bytes(),
        format!(r#"{{"name":["{hidden}"],"password":"{hidden}"}}"#).into_bytes(),
        format!(r#"{{"id":{{"{hidden}":1}}}}"#).into_bytes(),
        format!(r#"{{"id":null,"name":null,"old":null,"password":"{hidden}"}}"#).into_bytes(),
        format!("'{hidden}'").into_bytes(),
        format!(r#"{{"name":"eve","name":"mallory","password":"{hidden}"}}"#).into_bytes(),
        format!(r#"["{hidden}"]"#).into_bytes(),
        format!(r#"{{"id":"a","grants":["{hidden}"],"roles":"{hidden}","enabled":"{hidden}","old":7}}"#).into_bytes(),
        format!(r#"{{"name":"eve","password":"{hidden}"}} trailing"#).into_bytes(),
        br#"{"name":"\ud800","id":"\ud800","old":"\ud800"}"#.to_vec(),
        b"{\"name\":\"\xff\xfe\",\"id\":\"\xff\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        vec![0; 1000],
        vec![b'['; 60_000],
        br#"{"a":"#.repeat(10_000),
        b"{\"name\":1e999,\"id\":1e999,\"old\":1e999}".to_vec(),
        b"{\"access_life\":-1,\"id\":\"a\",\"name\":-1,\"old\":-1}".to_vec(),
    ];
    let routes = [
        (Method::POST, "/v1/users"),
        (Method::PATCH, "/v1/users/root"),
        (Method::POST, "/v1/clients"),
        (Method::PATCH, "/v1/clients/gatemint"),
        (Method::POST, "/v1/sites"),
        (Method::POST, "/v1/me/password"),
    ];
    let ask = async |method: &Method, path: &str, content_type: Option<&str>, body: &[u8]| {
        let mut request =
            Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {admin}"));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        test.send(request.body(Body::from(body.to_vec())).unwrap()).await
    };
    let mut tried = 0;
    for (method, path) in &routes {
        for body in &bodies {
            let answer = ask(method, path, Some("application/json"), body).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            // An empty object changes nothing, and says so.
            let harmless = *method == Method::PATCH && body == b"{}";
            let expected = if harmless { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            assert_eq!(answer.status, expected, "{method} {path} {shown}: {}", answer.text);
            assert!(!answer.text.contains(hidden), "{method} {path} {shown}: {}", answer.text);
            tried += 1;
        }
        for content_type in
            [None, Some("text/json"), Some("application/x-www-form-urlencoded"), Some("application/jsonp"), Some("")]
        {
            let answer = ask(method, path, content_type, b"{}").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path} {content_type:?}: {}", answer.text);
            tried += 1;
        }
        let mut long = b"{}".to_vec();
        long.resize(64 * 1024 + 1, b' ');
        let answer = ask(method, path, Some("application/json"), &long).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{method} {path}: {}", answer.text);
        long.pop();
        let answer = ask(method, path, Some("application/json"), &long).await;
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{method} {path}: {}", answer.text);
        tried += 2;
    }
    let (name, _) = (
        test.v1(Method::GET, "/v1/me", admin, None).await.json["name"].clone(),
        super::still_works(&test, &tokens).await,
    );
    assert_eq!(name, "root");
    println!(
        "counted: {tried} JSON bodies of a wrong shape over {} routes, refused without a word of them",
        routes.len()
    );
}

#[tokio::test]
async fn paths_and_queries_that_name_nothing_are_refused() {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let mut tried = 0;
    for name in [
        "nobody",
        "Root",
        "root%20",
        "root%00",
        "%00",
        "%2e%2e",
        "..%2froot",
        "%c3%a4",
        "root%2f",
        "root%3f",
        "*",
        "%25",
        "%20",
        "client:x",
        &"a".repeat(5000),
    ] {
        for (collection, methods) in [
            ("users", vec![Method::GET, Method::DELETE, Method::PATCH]),
            ("clients", vec![Method::GET, Method::DELETE, Method::PATCH]),
            ("sites", vec![Method::GET, Method::DELETE, Method::PATCH]),
            ("tokens", vec![Method::DELETE]),
        ] {
            for method in methods {
                let body = (method == Method::PATCH).then(|| json!({}));
                let answer = test.v1(method.clone(), &format!("/v1/{collection}/{name}"), &admin, body).await;
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {collection} {name:.20}: {}", answer.text);
                assert_eq!(answer.header("content-type"), "application/problem+json");
                tried += 1;
            }
        }
    }
    for name in ["%ff", "%c3%28", "a%80b", "%ed%a0%80"] {
        for collection in ["users", "clients", "sites", "tokens"] {
            let answer = test.v1(Method::DELETE, &format!("/v1/{collection}/{name}"), &admin, None).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{collection} {name}: {}", answer.text);
            assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
            tried += 1;
        }
    }
    for query in [
        "limit=0",
        "limit=100",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "limit=99999999999999999999",
        "limit=1&limit=2",
        "limit=%ff",
        "cursor=!",
        "cursor=a",
        "cursor=_w",
        "cursor=YQ==",
        "cursor=a&cursor=a",
        "%ff",
        "limit=%00",
        "limit=+1",
    ] {
        for collection in ["users", "clients", "sites", "tokens"] {
            let answer = test.v1(Method::GET, &format!("/v1/{collection}?{query}"), &admin, None).await;
            // What Rust's integers accept beyond digits is a number all the same.
            if query != "limit=+1" {
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{collection} {query}: {}", answer.text);
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
            assert!(answer.status.as_u16() < 500);
            tried += 1;
        }
    }
    for query in ["", "limit", "limit=", "unknown=1", "cursor=YQ", "cursor=AA", "&&&", "=", "=x", "limit=1&x=%00"] {
        for collection in ["users", "clients", "sites", "tokens"] {
            let answer = test.v1(Method::GET, &format!("/v1/{collection}?{query}"), &admin, None).await;
            assert_eq!(answer.status, StatusCode::OK, "{collection} {query}: {}", answer.text);
            tried += 1;
        }
    }
    println!("counted: {tried} paths and queries, none of which was a 500");
}
