//! How a row looks in the table: `pk`, `sk` and `body` are strings, `v` is the version in 16 bytes, `expires_at` a
//! number, which is not there for a row that stays for ever.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

use super::super::{Draft, Item, Key, StoreError, Version, Write};
use crate::clock::Timestamp;

/// A row, or its key, as DynamoDB has it.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// DynamoDB's limits, in bytes.
const LONGEST_PARTITION: usize = 2048;
const LONGEST_SORT: usize = 1024;
const LARGEST_ROW: usize = 400 * 1024;
/// The attributes' names, the version, and a number of 21 bytes at most.
const AROUND_A_BODY: usize = "pkskvbodyexpires_at".len() + 16 + 21;

/// Whether a row can be there.
pub(super) fn possible(key: &Key) -> bool {
    possible_partition(&key.partition) && (1..=LONGEST_SORT).contains(&key.sort.len())
}

/// Whether a partition can hold rows.
pub(super) fn possible_partition(partition: &str) -> bool {
    (1..=LONGEST_PARTITION).contains(&partition.len())
}

/// The longest sort key that is not greater than this text.
pub(super) fn nearest_sort(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_SORT)]
}

/// Refuses what DynamoDB would refuse in less clear words.
pub(super) fn check(write: &Write) -> Result<(), StoreError> {
    let key = write.key();
    if !possible(key) {
        return Err(StoreError::new(format!(
            "DynamoDB keeps no row with a partition key of {} bytes (1 to {LONGEST_PARTITION}) and a sort key of {} \
             (1 to {LONGEST_SORT})",
            key.partition.len(),
            key.sort.len()
        )));
    }
    let Write::Put { item, .. } = write else { return Ok(()) };
    let size = key.partition.len() + key.sort.len() + item.body.len() + AROUND_A_BODY;
    if size > LARGEST_ROW {
        return Err(StoreError::new(format!(
            "a row of {size} bytes is more than DynamoDB keeps ({LARGEST_ROW}): {} / {}",
            key.partition, key.sort
        )));
    }
    Ok(())
}

/// A key's two attributes.
pub(super) fn key(key: &Key) -> Attributes {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(key.partition.clone())),
        ("sk".to_owned(), AttributeValue::S(key.sort.clone())),
    ])
}

/// All attributes of a row that a commit writes.
pub(super) fn attributes(draft: &Draft, id: Version) -> Attributes {
    let mut attributes = key(&draft.key);
    attributes.insert("v".to_owned(), version(id));
    attributes.insert("body".to_owned(), AttributeValue::S(draft.body.clone()));
    if let Some(at) = draft.expires_at {
        attributes.insert("expires_at".to_owned(), seconds(at));
    }
    attributes
}

/// A time as DynamoDB's number.
pub(super) fn seconds(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.0.to_string())
}

/// A version as 16 bytes.
pub(super) fn version(version: Version) -> AttributeValue {
    AttributeValue::B(Blob::new(version.0))
}

/// Reads a row back.
///
/// # Errors
/// An attribute is missing or of another type: somebody else wrote it. Its content is not told.
pub(super) fn read(attributes: &Attributes) -> Result<Item, StoreError> {
    let text = |name: &str| attributes.get(name).and_then(|value| value.as_s().ok()).cloned();
    let wrong = |name: &str| {
        let part = |name| text(name).unwrap_or_else(|| "?".to_owned());
        let (pk, sk) = (part("pk"), part("sk"));
        StoreError::new(format!(
            "the row {pk} / {sk} is not gatemint's: its attribute {name} is missing or of another type"
        ))
    };
    let version = attributes
        .get("v")
        .and_then(|value| value.as_b().ok())
        .and_then(|bytes| <[u8; 16]>::try_from(bytes.as_ref()).ok())
        .ok_or_else(|| wrong("v"))?;
    let expires_at = match attributes.get("expires_at") {
        None => None,
        Some(value) => {
            let seconds = value.as_n().ok().and_then(|number| number.parse().ok());
            Some(Timestamp(seconds.ok_or_else(|| wrong("expires_at"))?))
        }
    };
    Ok(Item {
        key: Key::new(text("pk").ok_or_else(|| wrong("pk"))?, text("sk").ok_or_else(|| wrong("sk"))?),
        version: Version(version),
        expires_at,
        body: text("body").ok_or_else(|| wrong("body"))?,
    })
}
