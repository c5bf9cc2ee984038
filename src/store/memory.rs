//! The store in memory: for tests, and for trying things out. It forgets everything when it is dropped.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    CommitError, Item, Key, Page, Store, StoreError, Version, Write, check_shape,
    judge::{Seen, Verdict, judge, stands},
};
use crate::clock::Timestamp;

/// A [`Store`] in memory, with every promise of the port but one: nothing survives the process.
/// It never purges, so a row that is past its purge time stays in memory until it is overwritten or deleted.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<BTreeMap<Key, Item>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Key, Item>> {
        // No code panics between two writes of one commit, so what a poisoned lock guards is whole.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let rows = self.rows();
        Ok(keys.iter().map(|key| rows.get(key).filter(|row| stands(row.expires_at, now)).cloned()).collect())
    }

    async fn list(
        &self,
        now: Timestamp,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, super::MAX_PAGE);
        let from = Key::new(partition, after.unwrap_or_default());
        let from = if after.is_some() { Bound::Excluded(from) } else { Bound::Included(from) };
        let rows = self.rows();
        let items = rows
            .range((from, Bound::Unbounded))
            .map(|(_, row)| row)
            .take_while(|row| row.key.partition == partition)
            .filter(|row| stands(row.expires_at, now))
            .take(limit + 1)
            .cloned()
            .collect();
        Ok(Page::cut(items, limit))
    }

    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        check_shape(&writes)?;
        let mut rows = self.rows();
        let seen: Vec<_> = writes
            .iter()
            .map(|write| rows.get(write.key()).map(|row| Seen { version: row.version, expires_at: row.expires_at }))
            .collect();
        match judge(now, id, &writes, &seen) {
            Verdict::Done => return Ok(()),
            Verdict::Conflict(at) => {
                let current = rows.get(writes[at].key()).filter(|row| stands(row.expires_at, now)).cloned();
                return Err(CommitError::Conflict { at, current });
            }
            Verdict::Do => {}
        }
        for write in writes {
            match write {
                Write::Put { item, .. } => {
                    let row = Item { key: item.key, version: id, expires_at: item.expires_at, body: item.body };
                    rows.insert(row.key.clone(), row);
                }
                Write::Delete { key, .. } => {
                    rows.remove(&key);
                }
                Write::Check { .. } => {}
            }
        }
        Ok(())
    }
}
