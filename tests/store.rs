//! The store port: one conformance suite for every backend, and what only a file can go through.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gatemint::{
    clock::Timestamp,
    store::{CommitError, Item, Key, MemoryStore, Page, SqliteStore, Store, StoreError, Version, Write},
};
use tempfile::TempDir;

// What every backend promises.
pub(crate) mod conformance;
// What happens to a file and not to a table.
mod sqlite_file;

use conformance::{Backend, Bed};

pub(crate) struct Memory;

impl Backend for Memory {
    async fn fresh() -> Bed {
        Bed { store: Arc::new(MemoryStore::new()), _directory: None }
    }
}

pub(crate) struct Sqlite;

impl Backend for Sqlite {
    async fn fresh() -> Bed {
        let (directory, path) = scratch();
        Bed { store: Arc::new(SqliteStore::create(&path).unwrap()), _directory: Some(directory) }
    }
}

/// Two handles on one file, as two processes would have, which take turns call by call.
struct TwoSqlites;

impl Backend for TwoSqlites {
    async fn fresh() -> Bed {
        let (directory, path) = scratch();
        let stores = [SqliteStore::create(&path).unwrap(), SqliteStore::open(&path).unwrap()];
        Bed { store: Arc::new(Alternating { stores, turn: AtomicUsize::new(0) }), _directory: Some(directory) }
    }
}

struct Alternating {
    stores: [SqliteStore; 2],
    turn: AtomicUsize,
}

impl Alternating {
    fn next(&self) -> &SqliteStore {
        &self.stores[self.turn.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[async_trait::async_trait]
impl Store for Alternating {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.next().get(now, keys).await
    }
    async fn list(&self, now: Timestamp, part: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.next().list(now, part, after, limit).await
    }
    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        self.next().commit(now, id, writes).await
    }
}

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gatemint.db");
    (directory, path)
}

mod memory {
    crate::store::conformance::conformance!(super::Memory);
}

mod sqlite {
    crate::store::conformance::conformance!(super::Sqlite);
}

mod two_handles_on_one_sqlite_file {
    crate::store::conformance::conformance!(super::TwoSqlites);
}
