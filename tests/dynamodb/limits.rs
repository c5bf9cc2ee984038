//! What operators are told, what DynamoDB cannot keep, and rows that it has not purged yet.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use gatemint::{
    clock::Timestamp,
    store::{Draft, DynamoStore, Key, Page, Store, When, Write},
};

use super::behind_a_proxy;
use crate::{
    store::conformance::{NOW, body, check, conflict, delete, done, fresh_id, key, put, put_until, row, unavailable},
    support::{emulator::Emulator, fault_proxy::Fault},
};

const BODY: &str = "what nobody may read in a log";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_told_what_is_missing_and_no_row_is_quoted() {
    let emulator = Emulator::ministack();
    let writes = || vec![put("a", BODY, When::Absent)];
    let mut told = Vec::new();

    let nowhere = DynamoStore::new(&emulator.config(), "no-such-table");
    for outcome in [
        nowhere.get(NOW, &[key("a")]).await.map(drop),
        nowhere.get(NOW, &[key("a"), key("b")]).await.map(drop),
        nowhere.list(NOW, "test#rows", None, 5).await.map(drop),
    ] {
        told.push((outcome.unwrap_err().to_string(), ["no-such-table", "there is no such table", "template.yaml"]));
    }
    let text = unavailable(nowhere.commit(NOW, fresh_id(), writes()).await);
    told.push((text, ["no-such-table", "there is no such table", "pk, sk"]));

    let stranger = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(emulator.endpoint())
        .build();
    let text = unavailable(DynamoStore::new(&stranger, "gatemint").commit(NOW, fresh_id(), writes()).await);
    told.push((text, ["no AWS credentials", "AWS_PROFILE", "dynamodb:PutItem"]));

    let (proxy, store) = behind_a_proxy().await;
    let said = "User: arn:aws:sts::1:assumed-role/token is not authorized to perform: dynamodb:PutItem on resource: t";
    proxy.fail("PutItem", 1, Fault::error(400, "AccessDeniedException", said));
    let text = unavailable(store.commit(NOW, fresh_id(), writes()).await);
    told.push((text, ["not allowed", "needs dynamodb:PutItem", "assumed-role/token"]));
    proxy.fail("TransactWriteItems", 1, Fault::error(400, "AccessDeniedException", said));
    let text = unavailable(store.commit(NOW, fresh_id(), [writes(), vec![check("b", When::Absent)]].concat()).await);
    told.push((text, ["not allowed", "dynamodb:PutItem, dynamodb:DeleteItem and dynamodb:ConditionCheckItem", said]));
    proxy.fail("PutItem", 1, Fault::error(400, "UnrecognizedClientException", "The security token is invalid."));
    let text = unavailable(store.commit(NOW, fresh_id(), writes()).await);
    told.push((text, ["credentials are not accepted", "UnrecognizedClientException", "security token"]));
    assert_eq!(proxy.requests().into_values().sum::<usize>(), 3, "none of this passes by itself");

    for (text, parts) in &told {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains(BODY), "{text}");
    }
    println!("counted: {} mistakes of operators, {} named with what to do", told.len(), told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dynamodb_cannot_keep_is_refused_in_clear_words_before_anything_is_sent() {
    let (proxy, store) = behind_a_proxy().await;
    let at = |partition: &str, sort: &str| Write::Put {
        item: Draft { key: Key::new(partition, sort), expires_at: None, body: BODY.into() },
        when: When::Absent,
    };
    let (long_partition, long_sort) = ("p".repeat(2049), "s".repeat(1025));
    let beyond = [
        (put("a", &"x".repeat(400 * 1024), When::Absent), "more than DynamoDB keeps"),
        (at("", "a"), "a partition key of 0 bytes"),
        (at("test#rows", ""), "a sort key of 0"),
        (at(&long_partition, "a"), "a partition key of 2049 bytes"),
        (at("test#rows", &long_sort), "a sort key of 1025"),
        (delete("", When::Always), "a sort key of 0"),
        (check("", When::Absent), "a sort key of 0"),
    ];
    for (write, expected) in &beyond {
        let text = unavailable(store.commit(NOW, fresh_id(), vec![write.clone()]).await);
        assert!(text.contains(expected) && !text.contains(BODY) && text.len() < 500, "{text}");
    }
    let keys = [key(""), key(&long_sort), Key::new("", "a"), Key::new(long_partition.clone(), "a")];
    assert_eq!(store.get(NOW, &keys).await.unwrap(), [const { None }; 4]);
    for partition in ["", &long_partition] {
        assert_eq!(store.list(NOW, partition, None, 5).await.unwrap(), Page::default());
    }
    assert!(proxy.requests().is_empty());

    // Just what it can keep.
    let longest = "s".repeat(1024);
    done(&store, vec![put(&longest, &"x".repeat(398 * 1024), When::Absent)]).await;
    assert_eq!(body(&store, &longest).await.unwrap().len(), 398 * 1024);
    // Longer than any sort key: what is after it is still after it.
    done(&store, vec![put("t", "", When::Absent)]).await;
    let after = |text: String| {
        let store = store.clone();
        async move {
            let page = store.list(NOW, "test#rows", Some(&text), 5).await.unwrap();
            page.items.into_iter().map(|row| row.key.sort).collect::<Vec<_>>()
        }
    };
    assert_eq!(after("s".repeat(2000)).await, ["t"]);
    assert_eq!(after(format!("{}é", "s".repeat(1023))).await, ["t"]);
    assert_eq!(after(String::new()).await, [longest, "t".to_owned()]);
    println!("counted: {} writes that DynamoDB would refuse, 0 requests", beyond.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_somebody_else_is_unavailable_and_its_content_is_not_told() {
    let emulator = Emulator::ministack();
    let table = emulator.table().await;
    let store = DynamoStore::new(&emulator.config(), &table);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let request = Client::new(&emulator.config()).put_item().table_name(&table);
    let request = request.item("pk", text("test#rows")).item("sk", text("a")).item("secret", text(BODY));
    request.send().await.unwrap();
    let told = [
        store.get(NOW, &[key("a")]).await.unwrap_err().to_string(),
        store.get(NOW, &[key("a"), key("b")]).await.unwrap_err().to_string(),
        store.list(NOW, "test#rows", None, 5).await.unwrap_err().to_string(),
        unavailable(store.commit(NOW, fresh_id(), vec![put("a", "", When::Absent)]).await),
        unavailable(store.commit(NOW, fresh_id(), vec![check("a", When::Absent)]).await),
        unavailable(store.commit(NOW, fresh_id(), vec![put("a", "", When::Absent), put("b", "", When::Absent)]).await),
    ];
    for text in &told {
        assert!(text.contains("test#rows / a is not gatemint's") && !text.contains(BODY), "{text}");
    }
    println!("counted: {} calls met a row of somebody else, {} named it", told.len(), told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_expired_and_were_not_purged_yet_are_absent_for_every_purpose() {
    let emulator = Emulator::ministack();
    let table = emulator.table().await;
    let store = DynamoStore::new(&emulator.config(), &table);
    let past = Some(Timestamp(NOW.0 - 1));
    let mut ids = Vec::new();
    for n in 0..120 {
        ids.push(done(&store, vec![put_until(&format!("{n:03}"), BODY, When::Absent, past)]).await);
    }
    let raw = Client::new(&emulator.config()).scan().table_name(&table).send().await.unwrap();
    assert_eq!(raw.count(), 120, "they are physically there");

    let names: Vec<String> = (0..120).map(|n| format!("{n:03}")).collect();
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    assert!(store.get(NOW, &keys).await.unwrap().iter().all(Option::is_none));
    assert_eq!(row(&store, "000").await, None);
    assert_eq!(store.list(NOW, "test#rows", None, 5).await.unwrap(), Page::default());
    // One write, and several.
    for beside in [None, Some(put("beside", "", When::Always))] {
        let with = |write: Write| beside.clone().into_iter().chain([write]).collect::<Vec<_>>();
        let at = usize::from(beside.is_some());
        for write in [put("000", "", When::VersionIs(ids[0])), check("000", When::VersionIs(ids[0]))] {
            assert_eq!(conflict(&store, with(write)).await, (at, None));
        }
        done(&store, with(check("000", When::Absent))).await;
        let other = if at == 0 { "001" } else { "002" };
        done(&store, with(delete(other, When::VersionIs(fresh_id())))).await;
        let new = if at == 0 { "003" } else { "004" };
        done(&store, with(put(new, "new", When::Absent))).await;
        assert_eq!(body(&store, new).await.as_deref(), Some("new"));
    }
    println!("counted: {} rows past their purge time and still there, 0 seen", ids.len());
}
