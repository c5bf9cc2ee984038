//! Sites and permissions: `/v1/sites`, what a host is, who is granted what; and what races come to.

// The commands `site` and `acl`, on the store and over HTTP.
mod commands;
// What a host is, against a reference that is slow and obvious.
mod hosts;
// Grants: to whom, on what, and what is left of them.
mod permissions;

use std::{collections::BTreeSet, sync::Arc};

use axum::http::{Method, StatusCode};
use gatemint::{
    domain::{
        Policy,
        access::{Mapping, Sites},
        ids::Name,
    },
    http::Options,
};
use serde_json::{Value, json};

use crate::support::{Answer, ISSUER, TestService, watched::Fault};

const HOST: &str = "{name}--{owner}.jobs.{cluster}.example.org";
const RESOURCE: &str = "job://{cluster}/{owner}/{name}";

/// A service with an admin, and her access token.
async fn with_admin() -> (TestService, String) {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let access = test.sign_in("root").await.access;
    (test, access)
}

async fn ask(test: &TestService, access: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    test.v1(method, path, access, body).await
}

/// All sites, as whoever judges a request reads them.
async fn sites(test: &TestService) -> Sites {
    Sites::of_row(test.service.read(test.service.now(), Sites::key()).await.unwrap())
}

fn to(sites: &Sites, host: &str) -> Option<String> {
    match sites.resolve(host) {
        Mapping::To(resource) => Some(resource.to_string()),
        Mapping::Unmapped | Mapping::Ambiguous => None,
    }
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|site| site["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_site_maps_its_hosts_from_its_making_to_its_end() {
    let (test, admin) = with_admin().await;
    let body = json!({"id": "jobs", "host": HOST, "resource": RESOURCE});
    let made = ask(&test, &admin, Method::POST, "/v1/sites", Some(body.clone())).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let expected = json!({
        "id": "jobs", "host": "{name}--{owner}.jobs.default.example.org", "resource": "job://default/{owner}/{name}",
        "created_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!(made.json, expected, "the cluster is resolved at once");
    let read = ask(&test, &admin, Method::GET, "/v1/sites/jobs", None).await;
    assert_eq!((read.status, read.json), (StatusCode::OK, expected));
    let host = "web--ada.jobs.default.example.org";
    assert_eq!(to(&sites(&test).await, host).as_deref(), Some("job://default/ada/web"));
    let again = ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await;
    assert_eq!((again.status, &again.json["detail"]), (StatusCode::CONFLICT, &json!("there is a site of that id")));

    for (patch, changed) in [
        (json!({}), HOST),
        (json!({"host": null, "resource": null}), HOST),
        (json!({"host": "{name}.{owner}.example.net"}), "{name}.{owner}.example.net"),
    ] {
        let patched = ask(&test, &admin, Method::PATCH, "/v1/sites/jobs", Some(patch)).await;
        assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);
        assert_eq!(patched.json["host"], changed.replace("{cluster}", "default"));
        assert_eq!(patched.json["resource"], "job://default/{owner}/{name}");
    }
    let all = sites(&test).await;
    assert_eq!((to(&all, host), to(&all, "web.ada.example.net").as_deref()), (None, Some("job://default/ada/web")));

    for id in ["blog", "a", "wiki", "z.9"] {
        let body =
            json!({"id": id, "host": format!("{id}.example.org"), "resource": format!("flow://default/ada/{id}")});
        assert_eq!(ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await.status, StatusCode::CREATED);
    }
    for limit in [1, 2, 5, 50] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = ask(&test, &admin, Method::GET, &format!("/v1/sites?limit={limit}{cursor}"), None).await;
            assert!(page.json["items"].as_array().unwrap().len() <= limit);
            seen.extend(ids(&page.json));
            let Some(next) = page.json["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, ["a", "blog", "jobs", "wiki", "z.9"], "{limit}");
    }
    for (path, status) in [("/v1/sites/jobs", 204), ("/v1/sites/jobs", 404), ("/v1/sites/none", 404)] {
        assert_eq!(ask(&test, &admin, Method::DELETE, path, None).await.status.as_u16(), status);
    }
    assert_eq!(ask(&test, &admin, Method::GET, "/v1/sites/jobs", None).await.status, StatusCode::NOT_FOUND);
    let patch = Some(json!({"host": "x"}));
    assert_eq!(ask(&test, &admin, Method::PATCH, "/v1/sites/jobs", patch).await.status, StatusCode::NOT_FOUND);
    assert_eq!(sites(&test).await.resolve("web.ada.example.net"), Mapping::Unmapped);
    println!("counted: 5 sites made, 4 ways to page through them, 1 changed and ended");
}

#[tokio::test]
async fn a_template_of_a_wrong_shape_is_refused_by_field_and_changes_nothing() {
    let (test, admin) = with_admin().await;
    let body = json!({"id": "jobs", "host": HOST, "resource": RESOURCE});
    assert_eq!(ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await.status, StatusCode::CREATED);
    let before = ask(&test, &admin, Method::GET, "/v1/sites", None).await.text;
    let long = "a".repeat(60_000);
    let hosts = [
        "",
        ".",
        "*.example.org",
        "Jobs.example.org",
        "jobs.example.org:443",
        "https://jobs.example.org",
        "jobs.example.org/x",
        "jobs..example.org",
        "jobs.example.org.",
        "{name}{owner}.example.org",
        "{name}--{owner}.{name}.example.org",
        "{name--{owner}.example.org",
        "{}--{name}--{owner}.example.org",
        "{name.owner}.example.org",
        "-{name}--{owner}.example.org",
        "{name}--{owner}.b\u{fc}cher.example",
        "{name}--{owner}.example.org\n",
        "{name}--{owner}.\0",
        "[::1]",
        &long,
        &format!("{{name}}--{{owner}}.{}", "{cluster}.".repeat(30) + "x"),
    ];
    let resources = [
        "",
        "job:{name}",
        "job://{cluster}/{owner}/{name}/",
        "job://{cluster}//{owner}/{name}",
        "job://{cluster}/{owner}/../{name}",
        "job://{cluster}/{owner}/{name}?x",
        "job://{cluster}/{owner}/{name}#x",
        "job://{cluster}/{owner}/%7bname%7d",
        "job://{cluster}/{owner}/{name}\u{7}",
        "{name}://{cluster}/{owner}",
        "job://{name}/{owner}/x",
        "job://other/{owner}/{name}",
        "job://{owner}/{cluster}/{name}",
        "JOB://{cluster}/{owner}/{name}",
        &long,
    ];
    let unpaired = [
        ("host", "{name}--{owner}.example.org", "job://{cluster}/{owner}"),
        ("resource", "{owner}.example.org", "job://{cluster}/{owner}/{name}"),
        ("resource", "jobs.example.org", "job://{cluster}/{owner}"),
        ("host", "{name}.example.org", "job://{cluster}/ada/x"),
    ];
    let mut wrong: Vec<(&str, Value)> = Vec::new();
    wrong.extend(hosts.map(|host| ("host", json!({"host": host, "resource": RESOURCE}))));
    wrong.extend(resources.map(|resource| ("resource", json!({"host": HOST, "resource": resource}))));
    wrong.extend(unpaired.map(|(field, host, resource)| (field, json!({"host": host, "resource": resource}))));
    for (field, body) in &wrong {
        let mut new = body.clone();
        new["id"] = "other".into();
        for (method, path, body) in [(Method::POST, "/v1/sites", &new), (Method::PATCH, "/v1/sites/jobs", body)] {
            let answer = ask(&test, &admin, method.clone(), path, Some(body.clone())).await;
            let shown: String = body.to_string().chars().take(200).collect();
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {shown}: {}", answer.text);
            assert_eq!(answer.json["field"], *field, "{method} {shown}: {}", answer.text);
            assert!(answer.text.len() < 1000, "a refusal does not repeat what was sent");
        }
    }
    // One of the two alone does not fit the other one that is there.
    for (field, body) in [
        ("host", json!({"host": "{name}--{owner}--{more}.example.org"})),
        ("resource", json!({"host": "{name}.example.org"})),
        ("resource", json!({"resource": "job://default/{owner}/{name}/{more}"})),
        ("host", json!({"resource": "job://default/{owner}"})),
    ] {
        let answer = ask(&test, &admin, Method::PATCH, "/v1/sites/jobs", Some(body.clone())).await;
        assert_eq!((answer.status.as_u16(), &answer.json["field"]), (422, &json!(field)), "{body}: {}", answer.text);
    }
    for malformed in [
        json!({"id": "x", "host": "a.example.org"}),
        json!({"id": "x", "resource": "job://default/ada"}),
        json!({"host": "a.example.org", "resource": "job://default/ada"}),
        json!({"id": "x", "host": ["a"], "resource": "job://default/ada"}),
        json!({"id": "x", "host": "a.example.org", "resource": "job://default/ada", "port": 1}),
        json!([]),
    ] {
        let answer = ask(&test, &admin, Method::POST, "/v1/sites", Some(malformed)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    }
    assert_eq!(ask(&test, &admin, Method::GET, "/v1/sites", None).await.text, before, "nothing changed");
    println!("counted: {} bodies refused, nothing changed", 2 * wrong.len() + 10);
}

#[tokio::test]
async fn there_is_room_for_a_hundred() {
    let (test, admin) = with_admin().await;
    let body = |n: usize| {
        json!({"id": format!("s{n}"), "host": format!("{}.{n}.example.org", "h".repeat(63)),
        "resource": format!("flow://default/ada/{}", "r".repeat(400) + &n.to_string())})
    };
    for n in 0..100 {
        let made = ask(&test, &admin, Method::POST, "/v1/sites", Some(body(n))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{n}: {}", made.text);
    }
    let refused = ask(&test, &admin, Method::POST, "/v1/sites", Some(body(100))).await;
    assert_eq!((refused.status.as_u16(), &refused.json["field"]), (422, &json!("id")), "{}", refused.text);
    assert!(refused.json["detail"].as_str().unwrap().contains("100"), "{}", refused.text);
    // The id that is there is what stands in its way, not the number.
    let taken = ask(&test, &admin, Method::POST, "/v1/sites", Some(body(7))).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let page = ask(&test, &admin, Method::GET, "/v1/sites?limit=99", None).await;
    assert_eq!((ids(&page.json).len(), page.json["next_cursor"].is_string()), (99, true));
    assert_eq!(ask(&test, &admin, Method::DELETE, "/v1/sites/s50", None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&test, &admin, Method::POST, "/v1/sites", Some(body(100))).await.status, StatusCode::CREATED);
    println!("counted: 101 sites made, 100 at a time, 2 refused");
}

#[tokio::test]
async fn a_service_has_one_cluster_and_its_sites_keep_it() {
    let policy = Policy { cluster: Name::parse("eu.prod", "cluster").unwrap(), ..Policy::new(ISSUER) };
    let test = TestService::with(policy, Options::default()).await.user("root", &["admin"]).await;
    let admin = test.sign_in("root").await.access;
    let body = json!({"id": "jobs", "host": HOST, "resource": RESOURCE});
    let made = ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await;
    assert_eq!(made.json["host"], "{name}--{owner}.jobs.eu.prod.example.org", "{}", made.text);
    assert_eq!(made.json["resource"], "job://eu.prod/{owner}/{name}");
    let mapped = to(&sites(&test).await, "web--ada.jobs.eu.prod.example.org");
    assert_eq!(mapped.as_deref(), Some("job://eu.prod/ada/web"));
    for resource in ["job://default/{owner}", "job://eu/{owner}", "job://eu.prod.x/{owner}"] {
        let body = json!({"id": "x", "host": "{owner}.example.org", "resource": resource});
        let refused = ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await;
        assert_eq!((refused.status.as_u16(), &refused.json["field"]), (422, &json!("resource")), "{}", refused.text);
        assert!(refused.text.contains("eu.prod") && refused.text.contains("GATEMINT_CLUSTER"), "{}", refused.text);
    }
    println!("counted: 1 site in a cluster of another name, 3 resources of other clusters refused");
}

/// All of these at once, each by a task of its own; their answers, in the same order.
async fn at_once(test: &Arc<TestService>, access: &str, requests: Vec<(Method, String, Option<Value>)>) -> Vec<Answer> {
    let mut tasks = Vec::new();
    for (method, path, body) in requests {
        let (test, access) = (test.clone(), access.to_owned());
        tasks.push(tokio::spawn(async move { test.v1(method, &path, &access, body).await }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_sites_made_at_once_none_is_lost() {
    let (test, admin) = with_admin().await;
    let test = Arc::new(test);
    let (mut made, mut again, mut rounds) = (0, 0, 0);
    let mut wanted: BTreeSet<usize> = (0..16).collect();
    while !wanted.is_empty() {
        rounds += 1;
        let body = |n: &usize| json!({"id": format!("s{n}"), "host": format!("{n}.example.org"), "resource": "job://default/ada"});
        let requests = wanted.iter().map(|n| (Method::POST, "/v1/sites".to_owned(), Some(body(n)))).collect();
        let answers = at_once(&test, &admin, requests).await;
        for (n, answer) in wanted.clone().into_iter().zip(answers) {
            match answer.status {
                StatusCode::CREATED => {
                    wanted.remove(&n);
                    made += 1;
                }
                // It kept being overtaken, and is told to try again.
                StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(!answer.header("retry-after").is_empty());
                    again += 1;
                }
                _ => panic!("{}", answer.text),
            }
        }
        let have = ids(&ask(&test, &admin, Method::GET, "/v1/sites", None).await.json);
        assert_eq!(have.len(), made, "what was acknowledged is there, and nothing else: {have:?}");
    }
    assert_eq!(made, 16);

    // One id, asked for by sixteen: one has it.
    let requests = (0..16)
        .map(|n| json!({"id": "one", "host": format!("one-{n}.example.org"), "resource": "job://default/ada"}))
        .map(|body| (Method::POST, "/v1/sites".to_owned(), Some(body)))
        .collect();
    let answers = at_once(&test, &admin, requests).await;
    let with = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).collect::<Vec<_>>();
    assert_eq!((with(201).len(), with(409).len() + with(503).len()), (1, 15));
    let read = ask(&test, &admin, Method::GET, "/v1/sites/one", None).await;
    assert_eq!(read.json["host"], with(201)[0].json["host"], "the one that was told so");
    println!("counted: 16 sites made at once in {rounds} rounds, {again} told to try again, 0 lost; 1 of 16 got an id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_changed_at_once_the_two_templates_fit_each_other() {
    let (test, admin) = with_admin().await;
    let test = Arc::new(test);
    let body = json!({"id": "s", "host": "{a}.example.org", "resource": "job://default/{a}"});
    assert_eq!(ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await.status, StatusCode::CREATED);
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let patches = [
            json!({"host": "{a}.example.org", "resource": "job://default/{a}"}),
            json!({"host": "{b}.example.org", "resource": "job://default/{b}"}),
            json!({"host": "{a}.example.net"}),
            json!({"resource": "job://default/{b}/x"}),
        ];
        let requests = patches.map(|patch| (Method::PATCH, "/v1/sites/s".to_owned(), Some(patch)));
        for answer in at_once(&test, &admin, requests.into()).await {
            assert!([200, 422, 503].contains(&answer.status.as_u16()), "{}", answer.text);
            seen.insert(answer.status.as_u16());
        }
        let now = ask(&test, &admin, Method::GET, "/v1/sites/s", None).await.json;
        for word in ["{a}", "{b}"] {
            let has = |field: &str| now[field].as_str().unwrap().contains(word);
            assert_eq!(has("host"), has("resource"), "{now}");
        }
    }
    println!("counted: 32 changes at once, answered with {seen:?}, and the templates always fit");
}

#[tokio::test]
async fn a_store_that_is_away_or_loses_a_reply_leaves_no_doubt_behind() {
    let (test, admin) = with_admin().await;
    let body = json!({"id": "jobs", "host": HOST, "resource": RESOURCE});
    test.store.fail([Some(Fault::Refused)]);
    let refused = ask(&test, &admin, Method::POST, "/v1/sites", Some(body.clone())).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ids(&ask(&test, &admin, Method::GET, "/v1/sites", None).await.json), [""; 0]);
    // It was made, and nobody heard of it: whoever tries again is told that it is there.
    test.store.fail([Some(Fault::LostReply)]);
    let lost = ask(&test, &admin, Method::POST, "/v1/sites", Some(body.clone())).await;
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&test, &admin, Method::POST, "/v1/sites", Some(body)).await.status, StatusCode::CONFLICT);
    test.store.set_away(true);
    for (method, path, body) in [
        (Method::GET, "/v1/sites", None),
        (Method::GET, "/v1/sites/jobs", None),
        (Method::PATCH, "/v1/sites/jobs", Some(json!({}))),
        (Method::DELETE, "/v1/sites/jobs", None),
    ] {
        assert_eq!(ask(&test, &admin, method, path, body).await.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    test.store.set_away(false);
    assert_eq!(ask(&test, &admin, Method::GET, "/v1/sites/jobs", None).await.status, StatusCode::OK);
    println!("counted: 6 requests while the store failed, each told to try again");
}
