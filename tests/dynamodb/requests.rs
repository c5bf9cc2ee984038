//! How many requests each call makes, counted where they arrive.

use gatemint::store::{Key, Store, When};
use serde_json::Value;

use super::behind_a_proxy;
use crate::store::conformance::{NOW, check, conflict, delete, done, key, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_store_is_one_request() {
    let (proxy, store) = behind_a_proxy().await;
    let mut made = Vec::new();
    let mut count = |what: &str, expected: &[(&str, usize)]| {
        let requests: Vec<(String, usize)> = proxy.requests().into_iter().collect();
        let expected: Vec<_> = expected.iter().map(|(operation, n)| ((*operation).to_owned(), *n)).collect();
        assert_eq!(requests, expected, "{what}");
        let shown: Vec<String> = requests.iter().map(|(operation, n)| format!("{n} {operation}")).collect();
        made.push(format!("{what:<34}{}", if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }));
    };
    let first = done(&store, vec![put("a", "1", When::Absent)]).await;
    count("commit of one put", &[("PutItem", 1)]);
    conflict(&store, vec![put("a", "1", When::Absent)]).await;
    count("commit that conflicts", &[("PutItem", 1)]);
    done(&store, vec![put("a", "2", When::VersionIs(first)), put("b", "", When::Absent), check("c", When::Absent)])
        .await;
    count("commit of several writes", &[("TransactWriteItems", 1)]);
    conflict(&store, vec![put("a", "3", When::VersionIs(first)), put("c", "", When::Absent)]).await;
    count("commit of several that conflicts", &[("TransactWriteItems", 1)]);
    done(&store, vec![delete("b", When::Always)]).await;
    count("commit of one delete", &[("DeleteItem", 1)]);
    done(&store, vec![check("b", When::Absent)]).await;
    count("commit of one check", &[("GetItem", 1)]);
    done(&store, vec![put("d", "", When::Absent), check("e", When::Always)]).await;
    count("a check that checks nothing", &[("PutItem", 1)]);
    store.get(NOW, &[key("a")]).await.unwrap();
    count("get of one key", &[("GetItem", 1)]);
    store.get(NOW, &[key("a"), key("a")]).await.unwrap();
    count("get of one key, twice", &[("GetItem", 1)]);
    store.get(NOW, &[key("a"), key("b"), Key::new("test#else", "a")]).await.unwrap();
    count("get of three keys", &[("BatchGetItem", 1)]);
    let many: Vec<_> = (0..250).map(|n| key(&n.to_string())).collect();
    store.get(NOW, &many[..100]).await.unwrap();
    count("get of 100 keys", &[("BatchGetItem", 1)]);
    store.get(NOW, &many).await.unwrap();
    count("get of 250 keys, at the same time", &[("BatchGetItem", 3)]);
    store.get(NOW, &[]).await.unwrap();
    count("get of nothing", &[]);
    for n in 0..30 {
        done(&store, vec![put(&format!("row-{n}"), "", When::Absent)]).await;
    }
    proxy.requests();
    store.list(NOW, "test#rows", None, 10).await.unwrap();
    count("list of a page", &[("Query", 1)]);
    store.list(NOW, "test#rows", None, 100).await.unwrap();
    count("list to the end", &[("Query", 1)]);
    for line in &made {
        println!("  {line}");
    }
    println!("counted: {} kinds of calls and their requests", made.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_is_strongly_consistent_and_every_condition_brings_the_row_that_won() {
    let (proxy, store) = behind_a_proxy().await;
    store.get(NOW, &[key("a")]).await.unwrap();
    store.get(NOW, &[key("a"), key("b")]).await.unwrap();
    store.list(NOW, "test#rows", None, 10).await.unwrap();
    done(&store, vec![check("a", When::Absent)]).await;
    let reads = proxy.bodies();
    for (operation, body) in &reads {
        let body: Value = serde_json::from_slice(body).unwrap();
        let asked = body["RequestItems"].as_object().and_then(|tables| tables.values().next()).unwrap_or(&body);
        assert_eq!(asked["ConsistentRead"], true, "{operation}");
    }
    let first = done(&store, vec![put("a", "1", When::Absent)]).await;
    done(&store, vec![delete("a", When::VersionIs(first))]).await;
    done(&store, vec![put("a", "1", When::Absent), check("b", When::Absent), delete("c", When::Absent)]).await;
    let writes = proxy.bodies();
    let mut conditions = 0;
    for (operation, body) in &writes {
        let body: Value = serde_json::from_slice(body).unwrap();
        let parts = match body["TransactItems"].as_array() {
            Some(parts) => parts.iter().flat_map(|part| part.as_object().unwrap().values()).collect(),
            None => vec![&body],
        };
        for part in parts {
            assert!(part["ConditionExpression"].is_string(), "{operation}");
            assert_eq!(part["ReturnValuesOnConditionCheckFailure"], "ALL_OLD", "{operation}");
            conditions += 1;
        }
    }
    println!("counted: {} consistent reads, {conditions} conditions that bring the row", reads.len());
}
