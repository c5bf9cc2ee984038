//! Lists, page by page, as objects and as tables; what kubectl asks before; what is read only.

use std::{collections::BTreeMap, fs};

use super::*;

/// What `kubectl get` accepts.
const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

impl Everybody {
    /// As `kubectl get` asks.
    async fn table(&self, path: &str, access: &str) -> Answer {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {access}"))
            .header(header::ACCEPT, TABLE)
            .body(Body::empty())
            .unwrap();
        self.test.send(request).await
    }

    /// The names of a list, page by page.
    async fn names(&self, query: &str, limit: usize) -> (Vec<String>, usize) {
        let (mut names, mut pages, mut next) = (Vec::new(), 0, String::new());
        loop {
            let list = self.get(&format!("{PATH}?{query}limit={limit}&continue={next}"), &self.reader).await;
            assert_eq!((list.status, &list.json["kind"]), (StatusCode::OK, &json!("GateTokenList")), "{}", list.text);
            let items = list.json["items"].as_array().unwrap();
            names.extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
            pages += 1;
            match list.json["metadata"]["continue"].as_str() {
                Some(place) => place.clone_into(&mut next),
                None => return (names, pages),
            }
        }
    }
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_nothing_twice() {
    const COUNT: usize = 120;
    let all = Everybody::new().await;
    let mut made = Vec::new();
    for n in 0..COUNT {
        let name = format!("vm-{n:03}");
        let mut wanted = object(&name, json!({}));
        wanted["metadata"]["labels"] = json!({ "odd": (n % 2).to_string() });
        assert_eq!(all.ask(Method::POST, PATH, &all.writer, Some(wanted)).await.status, StatusCode::CREATED);
        made.push(name);
    }
    for limit in [0, 1, 7, 99, 100, 119, 120, 121, 500, 100_000] {
        let (names, pages) = all.names("", limit).await;
        assert_eq!(names, made, "limit {limit}");
        assert_eq!(pages, if limit == 0 { 1 } else { COUNT.div_ceil(limit) }, "limit {limit}");
    }
    for (query, selected) in [
        ("labelSelector=odd%3D1", COUNT / 2),
        ("labelSelector=odd!%3D1", COUNT / 2),
        ("labelSelector=odd", COUNT),
        ("labelSelector=!odd", 0),
        ("labelSelector=", COUNT),
        ("fieldSelector=metadata.name%3Dvm-007", 1),
        ("fieldSelector=metadata.name%3Dvm-007,metadata.namespace%3Dvms", 1),
        ("fieldSelector=metadata.name%3Dvm-007,metadata.namespace%3Deve", 0),
        ("fieldSelector=metadata.name%3Dnot-there", 0),
        ("fieldSelector=metadata.name%3Dvm-007&labelSelector=odd%3D0", 0),
        ("watch=0&resourceVersion=0", COUNT),
    ] {
        assert_eq!(all.names(&format!("{query}&"), 50).await.0.len(), selected, "{query}");
    }
    // One that is ended between two pages is missed by nobody, and one that is made is seen or not.
    let first = all.get(&format!("{PATH}?limit=10"), &all.reader).await.json;
    assert_eq!(all.delete("vm-009", &all.writer).await.status, StatusCode::OK);
    let next = first["metadata"]["continue"].as_str().unwrap();
    let second = all.get(&format!("{PATH}?limit=10&continue={next}"), &all.reader).await.json;
    assert_eq!(second["items"][0]["metadata"]["name"], "vm-010");
    println!("counted: {COUNT} GateTokens in 10 sizes of pages and by 11 selectors");
}

#[tokio::test]
async fn kubectl_get_is_given_the_table_that_it_prints() {
    let all = Everybody::new().await;
    all.token("a", json!({ "duration": "10m" })).await;
    all.test.clock.advance(std::time::Duration::from_mins(12));
    let access = all.test.sign_in("writer").await.access;
    assert_eq!(all.ask(Method::POST, PATH, &access, Some(object("b", json!({})))).await.status, StatusCode::CREATED);
    all.test.clock.advance(std::time::Duration::from_secs(150));
    let table = all.table(PATH, &access).await;
    assert_eq!(table.status, StatusCode::OK, "{}", table.text);
    assert_eq!((&table.json["kind"], &table.json["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let columns: Vec<_> = table.json["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Name", "Ready", "Expires", "Age"]);
    let rows = table.json["rows"].as_array().unwrap();
    assert_eq!(rows[0]["cells"], json!(["a", "False", "2027-01-15T08:10:00Z", "14m"]));
    assert_eq!(rows[1]["cells"], json!(["b", "True", "2027-01-15T09:12:00Z", "2m30s"]));
    assert_eq!(rows[0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(rows[0]["object"]["metadata"]["name"], "a");
    assert!(!table.text.contains("\"token\""), "the table of metadata has no token");

    let one = all.table(&at("b"), &access).await.json;
    assert_eq!((one["rows"].as_array().unwrap().len(), &one["rows"][0]["cells"][0]), (1, &json!("b")));
    let whole = all.table(&format!("{PATH}?includeObject=Object&limit=1"), &access).await.json;
    assert_eq!(whole["rows"][0]["object"]["kind"], "GateToken");
    assert!(whole["metadata"]["continue"].is_string());
    let none = all.table(&format!("{PATH}?includeObject=None"), &access).await.json;
    assert_eq!(none["rows"][0]["object"], Value::Null);
    assert_status(&all.table(&format!("{PATH}?includeObject=x"), &access).await, 400, "BadRequest", None);
    assert_status(&all.table(PATH, &all.test.sign_in("eve").await.access).await, 403, "Forbidden", None);
    println!("counted: 4 tables, {} rows and columns in the first", rows.len() + columns.len());
}

#[tokio::test]
async fn discovery_needs_no_token_and_names_what_is_served() {
    let all = Everybody::new().await;
    all.test.store.round_trips();
    let get = async |path: &str| {
        let answer = all.get(path, "").await;
        // Clients that are generated from Kubernetes' own document put a slash behind it.
        assert_eq!(all.get(&format!("{path}/"), "").await.text, answer.text, "{path}/");
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"), "{path}");
        answer.json
    };
    assert_eq!(get("/api").await["versions"], json!(["v1"]));
    let groups = get("/apis").await;
    let groups: Vec<_> = groups["groups"].as_array().unwrap().clone();
    for group in &groups {
        let name = group["name"].as_str().unwrap();
        let alone = get(&format!("/apis/{name}")).await;
        assert_eq!((&alone["name"], &alone["preferredVersion"]), (&group["name"], &group["preferredVersion"]));
        assert_eq!(group["preferredVersion"]["groupVersion"].as_str().unwrap().split('/').next(), Some(name));
    }
    assert!(get("/version").await["gitVersion"].as_str().unwrap().starts_with("v1.20."));
    assert_eq!(all.test.store.round_trips(), (0, 0), "nothing is read for it");
    let mut paths = vec![("/api/v1".to_owned(), "v1")];
    paths.extend(groups.iter().map(|group| {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        (format!("/apis/{version}"), version)
    }));
    let mut named = 0;
    for (path, version) in paths {
        let list = get(&path).await;
        assert_eq!((&list["kind"], &list["groupVersion"]), (&json!("APIResourceList"), &json!(version)));
        for resource in list["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap().replace('/', "/any/");
            let namespace = if resource["namespaced"] == true { "/namespaces/vms" } else { "" };
            let served = all.get(&format!("{path}{namespace}/{name}"), &all.root).await;
            // What is only asked, and not kept, has nothing to be listed.
            let lists = resource["verbs"].as_array().unwrap().contains(&json!("list"));
            let expected: &[u16] = if lists { &[200] } else { &[403, 405] };
            assert!(expected.contains(&served.status.as_u16()), "{}", served.text);
            assert!(!lists || served.json["kind"].as_str().unwrap().starts_with(resource["kind"].as_str().unwrap()));
            named += 1;
        }
    }
    assert_eq!((groups.len(), named), (3, 8));
    println!("counted: {} documents of discovery, {named} resources in them, all served", 4 + 2 * groups.len());
}

#[tokio::test]
async fn the_gate_server_and_the_names_of_secrets_are_there_to_be_read_and_no_data_is() {
    let mut policy = Policy::new("https://auth.example.org:8443");
    policy.key_sets = vec!["gatemint-jwt-secret".into(), "other".into()];
    let all = Everybody::with(policy).await;
    let servers = "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/vms/gateservers";
    let secrets = "/api/v1/namespaces/vms/secrets";
    let list = all.get(servers, &all.stranger).await.json;
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("GateServerList"), 1));
    assert_eq!(list["items"][0]["spec"], json!({ "route": "auth.example.org:8443" }));
    assert_eq!(all.get(&format!("{servers}/gatemint"), &all.stranger).await.json, list["items"][0]);
    let list = all.get(secrets, &all.stranger).await.json;
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["access-token", "gatemint-jwt-secret", "other"]);
    for item in list["items"].as_array().unwrap() {
        assert!(item.get("data").is_none() && item.get("stringData").is_none(), "{item}");
        let name = item["metadata"]["name"].as_str().unwrap();
        // What that one holds is not everybody's.
        if name == "access-token" {
            assert_status(&all.get(&format!("{secrets}/{name}"), &all.stranger).await, 403, "Forbidden", None);
        } else {
            assert_eq!(all.get(&format!("{secrets}/{name}"), &all.stranger).await.json, *item);
        }
    }
    for path in [servers, secrets] {
        let table = all.table(path, &all.stranger).await.json;
        let columns = table["columnDefinitions"].as_array().unwrap().len();
        for row in table["rows"].as_array().unwrap() {
            assert_eq!(row["cells"].as_array().unwrap().len(), columns);
        }
        assert_eq!(table["kind"], "Table");
        assert_status(&all.get(path, "").await, 401, "Unauthorized", None);
        assert_status(&all.get(&format!("{path}/nothing"), &all.root).await, 404, "NotFound", None);
        assert_status(&all.get(&path.replace("vms", "A"), &all.root).await, 422, "Invalid", Some("metadata.namespace"));
        assert_status(&all.get(&format!("{path}?watch=1"), &all.root).await, 405, "MethodNotAllowed", None);
    }
    let none = all.get(&format!("{secrets}?fieldSelector=metadata.name%3Dx"), &all.root).await.json;
    assert_eq!(none["items"], json!([]));
    println!("counted: 1 GateServer, {} names of secrets, none with data", names.len());
}

/// The routes of this dialect: what they answer has a sample event each.
#[test]
fn every_route_has_a_sample_event() {
    const METHODS: [(&str, &[&str]); 5] = [
        ("get(", &["GET"]),
        ("post(", &["POST"]),
        ("delete(", &["DELETE"]),
        ("objects::all(", &["GET"]),
        ("objects::one(", &["GET", "PATCH"]),
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/http/kubernetes/mod.rs")).unwrap();
    let pieces: Vec<&str> = source.split('"').collect();
    let starts = ["/version", "/api", "/apis", "/kubernetes/"];
    // A path, and what follows it: who answers which method there. What nobody may look at has no answer to be seen.
    let patterns: Vec<(&str, Vec<&str>)> = pieces
        .windows(2)
        .filter(|pair| starts.iter().any(|start| pair[0].starts_with(start)) && pair[1].contains("::"))
        .map(|pair| {
            let answers = pair[1].replace("get(token_request::read_nothing)", "");
            let answers = answers.replace("get(objects::read_no_namespace)", "");
            let given = METHODS.iter().filter(|(call, _)| answers.contains(call));
            (pair[0], given.flat_map(|(_, methods)| *methods).copied().collect())
        })
        .collect();
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(root.join("tests/events/expected.json")).unwrap()).unwrap();
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in expected.as_array().unwrap().iter().filter(|step| step["status"].as_u64().is_some_and(|s| s < 300)) {
        let event = fs::read_to_string(root.join("events").join(step["event"].as_str().unwrap())).unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        let method = event["requestContext"]["http"]["method"].as_str().unwrap().to_owned();
        seen.entry(event["rawPath"].as_str().unwrap().to_owned()).or_default().push(method);
    }
    let (mut found, mut missing) = (0, Vec::new());
    for (pattern, wanted) in &patterns {
        let matches = |path: &str| {
            let (wanted, have): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
            wanted.len() == have.len() && wanted.iter().zip(&have).all(|(a, b)| a.starts_with('{') || a == b)
        };
        let methods: Vec<&String> =
            seen.iter().filter(|(path, _)| matches(path)).flat_map(|(_, methods)| methods).collect();
        // Below /kubernetes the same handlers answer: one event shows that the path leads there.
        let once = pattern.starts_with("/kubernetes/") && methods.iter().any(|have| wanted.contains(&have.as_str()));
        for method in wanted {
            if once || methods.iter().any(|have| have == method) {
                found += 1;
            } else {
                missing.push(format!("{method} {pattern}"));
            }
        }
    }
    assert!(missing.is_empty(), "no sample event:\n{}", missing.join("\n"));
    assert!(patterns.len() >= 27, "{patterns:?}");
    println!("counted: {found} sample events for {} routes", patterns.len());
}
