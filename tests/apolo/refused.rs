//! What is refused of permissions: URIs, principals and bodies of every wrong shape.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use super::{Everybody, assert_error, of};

const JOB: &str = "job://default/default-org/janedoe/mytestjob";

#[tokio::test]
async fn uris_of_every_wrong_shape_are_refused() {
    let all = Everybody::new().await;
    let long = format!("{JOB}/{}", "x".repeat(800));
    let deep = format!("{JOB}{}", "/x".repeat(40));
    let uris = [
        "",
        "job",
        "job:mytestjob",
        "job:/janedoe/mytestjob",
        "/janedoe/mytestjob",
        "job://",
        "job:///janedoe/mytestjob",
        "file://default/default-org/janedoe/x",
        "http://default/default-org/janedoe/x",
        "JOB://default/default-org/janedoe/x",
        "job://other/default-org/janedoe/x",
        "job://default/default-org/janedoe/",
        "job://default/default-org//janedoe",
        "job://default//janedoe/x",
        "job://default/default-org/janedoe/../eve/x",
        "job://default/default-org/janedoe/./x",
        "job://default/default-org/janedoe/x?all=1",
        "job://default/default-org/janedoe/x#y",
        "job://default/default-org/janedoe/%2e%2e/eve",
        "job://default/default-org/janedoe/a\nb",
        "job://default/default-org/janedoe/a\u{0}b",
        "job://default/default-org/default-org/x",
        "job://default/default-org/Janedoe/x",
        "job://default/Default-org/janedoe/x",
        "job://janedoe@default/default-org/janedoe/x",
        "job://default:80/default-org/janedoe/x",
        "job://default/nobody-has-this/x",
        &long,
        &deep,
    ];
    for uri in uris {
        assert_error(&all.grant("bob", uri, "read").await, 400, "uri: ");
        let check = json!([{ "uri": uri, "action": "read" }]);
        let checked = all.ask(Method::POST, &(of("bob") + "/check"), &all.root, Some(check)).await;
        assert_error(&checked, 400, "uri: ");
    }
    assert_eq!(all.get(&of("bob"), &all.bob).await.text, "[]");
    println!("counted: {} URIs refused twice", uris.len());
}

#[tokio::test]
async fn principals_of_every_wrong_shape_are_refused() {
    let all = Everybody::new().await;
    let long = format!("janedoe:{}", "x".repeat(300));
    let names = [
        "janedoe%2Fservice-accounts%2Ftest",
        "janedoe%2Fservice-accounts:test",
        "janedoe:service-accounts%2Ftest",
        "janedoe::test",
        ":janedoe",
        "janedoe:",
        ":",
        "Janedoe",
        "a,b",
        "janedoe:a,b",
        "janedoe:..:eve",
        "janedoe%20",
        "janedoe%0a",
        &long,
    ];
    for name in names {
        let path = format!("/api/v1/users/{name}/permissions");
        let body = json!([{ "uri": JOB, "action": "read" }]);
        for answer in [
            all.ask(Method::POST, &path, &all.jane, Some(body.clone())).await,
            all.ask(Method::PUT, &path, &all.root, Some(body.clone())).await,
            all.ask(Method::DELETE, &format!("{path}?uri={JOB}"), &all.jane, None).await,
            all.ask(Method::POST, &format!("{path}/check"), &all.root, Some(body)).await,
            all.get(&path, &all.root).await,
            all.get(&format!("{path}/shared"), &all.root).await,
        ] {
            assert_error(&answer, 400, "name: ");
        }
    }
    assert_error(&all.get("/api/v1/users/%ff/permissions", &all.root).await, 400, "not UTF-8");
    for nobody in ["nobody", "janedoe/service-accounts/nobody", "nobody/service-accounts/x"] {
        assert_error(&all.grant(nobody, JOB, "read").await, 404, "there is no");
    }
    println!("counted: {} principals refused at 6 doors, 3 that are nobody", names.len());
}

#[tokio::test]
async fn bodies_and_queries_of_every_wrong_shape_are_refused() {
    let all = Everybody::new().await;
    let send = async |method: &Method, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", all.root));
        all.test.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let item = |uri: &str| json!({ "uri": uri, "action": "read" });
    let thirteen: Vec<Value> = (0..13).map(|n| item(&format!("{JOB}{n}"))).collect();
    let thirteen = Value::from(thirteen).to_string();
    let twice = json!([item(JOB), item("job://default/janedoe/mytestjob")]).to_string();
    let bodies = [
        ("", "must be a JSON list"),
        ("{}", "must be a JSON list"),
        ("null", "must be a JSON list"),
        ("[", "not JSON"),
        (r#"[{"uri":"job://default/janedoe/x","uri":"job://default/janedoe/y","action":"read"}]"#, "not JSON"),
        (r#"["job://default/janedoe/x"]"#, "must be a JSON object"),
        (r#"[{"uri":"job://default/janedoe/x"}]"#, "action: is missing"),
        (r#"[{"action":"read"}]"#, "uri: is missing"),
        (r#"[{"uri":"job://default/janedoe/x","action":"own"}]"#, "action: must be one of"),
        (r#"[{"uri":"job://default/janedoe/x","action":7}]"#, "action: must be a string"),
        (r#"[{"uri":"job://default/janedoe/x","action":"read","expires_at":"x"}]"#, "none of uri and action"),
        (&twice, "uri: names a resource twice"),
    ];
    let mut refused = 0;
    for (method, path) in [(Method::POST, of("bob")), (Method::PUT, of("bob")), (Method::POST, of("bob") + "/check")] {
        for (body, words) in bodies {
            let is_check = path.ends_with("check");
            if is_check && words.contains("twice") {
                continue;
            }
            assert_error(&send(&method, &path, body).await, 400, words);
            refused += 1;
        }
        if method == Method::POST {
            assert_error(&send(&method, &path, "[]").await, 400, "1 to 12");
            assert_error(&send(&method, &path, &thirteen).await, 400, "1 to 12");
            refused += 2;
        }
        let large = send(&method, &path, &"x".repeat(65_537)).await;
        assert_error(&large, 413, "larger");
        refused += 1;
    }
    for (method, query, words) in [
        (Method::DELETE, "", "1 to 12"),
        (Method::DELETE, "?uri=", "1 to 12"),
        (Method::DELETE, "?url=job://default/janedoe/x", "a parameter that"),
        (Method::DELETE, "?uri=job://default/janedoe/x&uri=job://default/janedoe/x", "twice"),
        (Method::GET, "?url=job:", "a parameter that"),
        (Method::GET, "?uri=job:&uri=disk:", "repeated"),
        (Method::GET, "?uri=file:", "uri: has a scheme"),
        (Method::GET, "?expand_roles=maybe", "expand_roles: must be"),
        (Method::GET, "?uri=%ff", "not UTF-8"),
    ] {
        assert_error(&send(&method, &(of("bob") + query), "").await, 400, words);
        refused += 1;
    }
    assert_eq!(all.get(&of("bob"), &all.bob).await.status, StatusCode::OK);
    println!("counted: {refused} bodies and queries refused");
}
