//! Typed records: how a value of the domain becomes a row and comes back.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Draft, Item, Key, StoreError, Version, When, Write};
use crate::clock::Timestamp;

/// A value that is kept as a row. Its body carries a format number `v`.
pub trait Record: Serialize + DeserializeOwned {
    /// The format that is written. A reader accepts it and whatever [`Record::upgrade`] knows.
    const FORMAT: u32;

    /// Where this record is kept.
    fn key(&self) -> Key;

    /// When its row may be purged, in whole seconds; none for ever.
    fn expires_at(&self) -> Option<Timestamp>;

    /// Turns the body of an older format into the current one; none if the format is not known.
    fn upgrade(_format: u32, _body: serde_json::Value) -> Option<serde_json::Value> {
        None
    }

    /// The write that puts this record under a condition.
    fn put(&self, when: When) -> Write {
        let body = serde_json::to_string(&Versioned { v: Self::FORMAT, record: self })
            .unwrap_or_else(|error| unreachable!("records are plain data and always serialise: {error}"));
        Write::Put { item: Draft { key: self.key(), expires_at: self.expires_at(), body }, when }
    }
}

/// A record together with the version of the row that it was read from.
#[derive(Clone, Debug)]
pub struct Row<T> {
    /// The record.
    pub record: T,
    /// The id of the commit that wrote it.
    pub version: Version,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    record: &'a T,
}

/// A body's format, whatever its record is.
#[derive(Deserialize)]
struct Format {
    v: u32,
}

/// A body's record, whatever its format is.
#[derive(Deserialize)]
struct Stored<T> {
    record: T,
}

/// A row that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the row {partition} / {sort} cannot be read: {reason}")]
pub struct UnreadableRow {
    partition: String,
    sort: String,
    reason: String,
}

/// Where a body is wrong: the parser's own words may quote what it read, a password hash for example.
fn place(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// Reads a record back from its row.
///
/// # Errors
/// The body is not JSON, is of a newer or unknown format, or lacks a field: the data was damaged, or written by a
/// newer gatemint.
pub fn decode<T: Record>(item: Option<Item>) -> Result<Option<Row<T>>, StoreError> {
    let Some(item) = item else { return Ok(None) };
    let unreadable = |reason: String| {
        StoreError::new(UnreadableRow { partition: item.key.partition.clone(), sort: item.key.sort.clone(), reason })
    };
    let malformed = |error: serde_json::Error| unreadable(place(&error));
    let Format { v } = serde_json::from_str(&item.body).map_err(malformed)?;
    let record = if v == T::FORMAT {
        // Without a tree of values in between: every request comes through here several times.
        let Stored { record } = serde_json::from_str(&item.body).map_err(malformed)?;
        record
    } else {
        let Stored { record } = serde_json::from_str(&item.body).map_err(malformed)?;
        let record = T::upgrade(v, record)
            .ok_or_else(|| unreadable(format!("format {v} is not known, this version writes {}", T::FORMAT)))?;
        serde_json::from_value(record).map_err(malformed)?
    };
    Ok(Some(Row { record, version: item.version }))
}
