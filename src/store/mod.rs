//! The store: where accounts, clients, sessions and counters are kept.
//!
//! The port is three calls over opaque rows. A backend knows keys, versions and purge times, and nothing of
//! what a row means; the domain says in each [`When`] what must still be true, and the backend decides the race.
//!
//! What every backend promises (one conformance suite holds all of them to it):
//! * `get` and `list` are strongly consistent: they see every commit that was acknowledged before they began.
//! * `commit` is all or nothing, and what it acknowledged survives a crash.
//! * Of several commits that race for the same row under [`When::Absent`] or [`When::VersionIs`], one wins, and each
//!   loser is told the row that won.
//! * A row whose `expires_at` has come is absent for every purpose, whether or not it was purged yet.
//! * A commit that is retried under its own id after a lost reply finds its own work and reports success.

#[cfg(feature = "aws")]
mod dynamodb;
mod judge;
mod measured;
mod memory;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "aws")]
pub use dynamodb::DynamoStore;
pub use measured::MeasuredStore;
pub use memory::MemoryStore;
pub use row::{Record, Row, UnreadableRow, decode};
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteStore, backup};

use async_trait::async_trait;

use crate::clock::Timestamp;

/// The most writes that one commit may hold.
pub const MAX_WRITES: usize = 25;

/// The most rows that one page of a `list` may hold.
pub const MAX_PAGE: usize = 1000;

/// Names a row: a partition, and a place in it. `partition` begins with the row's kind and `#`
/// (`account#…`), so that access rules can speak of kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The partition key, e.g. `session#<account key>`.
    pub partition: String,
    /// The sort key within the partition; `list` sorts by its bytes.
    pub sort: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }
}

/// A row's version: the random id of the commit that wrote it (128 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub [u8; 16]);

/// A row as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub key: Key,
    /// The id of the commit that wrote it.
    pub version: Version,
    /// When it may be purged, if ever; absent for every purpose from that second on.
    pub expires_at: Option<Timestamp>,
    /// The record, as UTF-8 JSON.
    pub body: String,
}

/// A row to be written; the commit's id becomes its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it goes.
    pub key: Key,
    /// When it may be purged, if ever.
    pub expires_at: Option<Timestamp>,
    /// The record, as UTF-8 JSON.
    pub body: String,
}

/// What must still be true of a row for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// No row, or one that is past its purge time.
    Absent,
    /// The row is there, not past its purge time, and was written by this commit.
    VersionIs(Version),
    /// No condition.
    Always,
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Writes a row.
    Put {
        /// The row.
        item: Draft,
        /// Its condition.
        when: When,
    },
    /// Removes a row. It must never decide a race: a retried delete cannot recognise itself. For that reason a row
    /// that is absent or past its purge time satisfies it under [`When::VersionIs`] as well: the row is gone, which is
    /// what was wanted. A row that is there with another version is a conflict.
    Delete {
        /// The row's key.
        key: Key,
        /// Its condition.
        when: When,
    },
    /// Changes nothing, and fails the commit if the condition does not hold.
    Check {
        /// The row's key.
        key: Key,
        /// The condition.
        when: When,
    },
}

impl Write {
    /// The row that this write is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { item, .. } => &item.key,
            Self::Delete { key, .. } | Self::Check { key, .. } => key,
        }
    }

    /// The condition under which it happens.
    pub fn when(&self) -> When {
        match self {
            Self::Put { when, .. } | Self::Delete { when, .. } | Self::Check { when, .. } => *when,
        }
    }
}

/// A page of a partition, sorted by sort key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub items: Vec<Item>,
    /// The sort key to go on after; none when the partition ended.
    pub next: Option<String>,
}

impl Page {
    /// Makes the page of a backend that read one row more than was asked for, to learn whether the partition goes on.
    fn cut(mut items: Vec<Item>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| last.key.sort.clone());
        Self { items, next }
    }
}

/// Why a read failed. The store's own words are for the operator's log, never for a caller.
#[derive(Debug, thiserror::Error)]
#[error("the store did not answer: {0}")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps a backend's error.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The condition of write `at` did not hold; nothing was written. `current` is the row that is there now
    /// (none if it is absent or past its purge time).
    #[error("the condition of write {at} did not hold")]
    Conflict {
        /// The index of the first write whose condition failed.
        at: usize,
        /// The row that is there now.
        current: Option<Item>,
    },
    /// The store did not answer, or could not write. The commit may or may not have happened: retried under the
    /// same id it happens at most once.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// The port. `now` is the operation's one clock reading; it judges purge times.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads rows in one round trip, in the order of `keys` (a key may repeat).
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError>;

    /// Reads up to `limit` (1..=[`MAX_PAGE`]; what is outside is taken as the nearer end) rows of a partition whose sort key is greater than `after`.
    async fn list(
        &self,
        now: Timestamp,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Does all the writes, or none. `id` is random and made once per commit; a retry uses it again, and finds itself
    /// done as long as one of the rows that it put is still as it put it. When others have since overwritten or deleted
    /// all of them, a retry is judged like a new commit: a put under `VersionIs` then conflicts, while one under
    /// `Always` is written again, and so is one under `Absent` whose row is gone.
    /// At most [`MAX_WRITES`] writes, a key at most once, and a commit of several writes holds at least one `Put`;
    /// anything else is a mistake of ours and answers `Unavailable`.
    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError>;
}

/// Says what is wrong with a commit's shape, if anything: each backend asks before it begins.
///
/// # Errors
/// Too many writes, a key twice, several writes without a `Put`.
pub fn check_shape(writes: &[Write]) -> Result<(), StoreError> {
    if writes.is_empty() || writes.len() > MAX_WRITES {
        return Err(StoreError::new(format!("a commit holds 1 to {MAX_WRITES} writes, not {}", writes.len())));
    }
    for (n, write) in writes.iter().enumerate() {
        if writes[..n].iter().any(|earlier| earlier.key() == write.key()) {
            return Err(StoreError::new("a commit names each key at most once"));
        }
    }
    if writes.len() > 1 && !writes.iter().any(|write| matches!(write, Write::Put { .. })) {
        return Err(StoreError::new("a commit of several writes holds at least one put"));
    }
    Ok(())
}
