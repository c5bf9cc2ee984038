//! How many requests each call makes, counted where they arrive.

use gatemint::store::{Key, Store, When};

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
