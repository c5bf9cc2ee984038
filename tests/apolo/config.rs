//! `GET /api/v1/config`: URLs for everybody, the rest for whom it concerns.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ACCOUNTS, Everybody};

const CONFIG: &str = "/api/v1/config";

/// Name and role of each project.
fn projects(config: &Value) -> Vec<(&str, &str)> {
    let all = config["projects"].as_array().unwrap().iter();
    all.map(|one| {
        assert_eq!((&one["cluster_name"], &one["org_name"]), (&json!("default"), &json!("default-org")));
        (one["name"].as_str().unwrap(), one["role"].as_str().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn without_a_token_that_stands_it_has_urls_alone() {
    let all = Everybody::new().await;
    let dead = all.token("dead").await;
    all.ask(Method::DELETE, &format!("{ACCOUNTS}/dead"), &all.jane, None).await;
    for access in ["", "x", &dead] {
        let config = all.get(CONFIG, access).await;
        assert_eq!(config.status, StatusCode::OK, "{}", config.text);
        assert_eq!(
            config.text,
            concat!(
                r#"{"authorized":false,"auth_url":"http://gatemint.test/docs","token_url":"http://gatemint.test/oauth2/token","#,
                r#""logout_url":"http://gatemint.test/docs","client_id":"gatemint","audience":"http://gatemint.test","#,
                r#""callback_urls":[],"headless_callback_url":"http://gatemint.test/docs"}"#
            )
        );
    }
    println!("counted: 3 answers without a token that stands");
}

#[tokio::test]
async fn with_a_token_it_has_what_its_holder_may_list() {
    let all = Everybody::new().await;
    let config = all.get(CONFIG, &all.jane).await;
    assert_eq!(config.status, StatusCode::OK, "{}", config.text);
    assert_eq!((&config.json["authorized"], projects(&config.json)), (&json!(true), vec![("janedoe", "owner")]));
    assert_eq!(config.json["clusters"].as_array().unwrap().len(), 1);
    let cluster = &config.json["clusters"][0];
    assert_eq!((&cluster["name"], &cluster["orgs"]), (&json!("default"), &json!(["default-org"])));
    for url in ["registry", "storage", "users", "monitoring", "secrets", "disks", "buckets"] {
        assert!(cluster[format!("{url}_url")].as_str().unwrap().starts_with("http://gatemint.test"), "{url}");
    }
    assert_eq!((&cluster["resource_pool_types"], &cluster["resource_presets"]), (&json!([]), &json!([])));

    let token = all.token("test").await;
    let account = "janedoe/service-accounts/test";
    assert_eq!(projects(&all.get(CONFIG, &token).await.json), [("janedoe", "reader")], "where it lives");
    all.grant(account, "storage://default/default-org/janedoe", "write").await;
    assert_eq!(projects(&all.get(CONFIG, &token).await.json), [("janedoe", "writer")]);

    // Others' namespaces, by one's own permissions and by those of one's roles; what is denied is not there.
    let own = |list: &[(&'static str, &'static str)]| list.to_vec();
    assert_eq!(projects(&all.get(CONFIG, &all.bob).await.json), own(&[("bob", "owner")]));
    all.grant("janedoe/readers", "job://default/default-org/janedoe/x", "list").await;
    assert_eq!(projects(&all.get(CONFIG, &all.bob).await.json), own(&[("bob", "owner"), ("janedoe", "reader")]));
    all.grant("bob", "job://default/default-org/janedoe/y", "manage").await;
    assert_eq!(projects(&all.get(CONFIG, &all.bob).await.json), own(&[("bob", "owner"), ("janedoe", "manager")]));
    all.grant("bob", "job://default/default-org/janedoe", "deny").await;
    assert_eq!(projects(&all.get(CONFIG, &all.bob).await.json), own(&[("bob", "owner")]));
    assert_eq!(projects(&all.get(CONFIG, &all.eve).await.json), own(&[("eve", "owner")]));
    println!("counted: 8 answers, each with what its holder may list");
}
