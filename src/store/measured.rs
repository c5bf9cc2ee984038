//! A store whose round trips are measured.

use std::sync::Arc;

use async_trait::async_trait;

use super::{CommitError, Item, Key, Page, Store, StoreError, Version, Write};
use crate::{
    clock::Timestamp,
    metric::{self, Stopwatch},
};

/// Counts and times every call of the store within; changes nothing.
pub struct MeasuredStore(Arc<dyn Store>);

impl MeasuredStore {
    /// Around a store.
    pub fn new(within: Arc<dyn Store>) -> Self {
        Self(within)
    }
}

fn outcome<T>(answer: &Result<T, StoreError>) -> &'static str {
    if answer.is_ok() { "ok" } else { "unavailable" }
}

#[async_trait]
impl Store for MeasuredStore {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let begun = Stopwatch::start();
        let answer = self.0.get(now, keys).await;
        metric::store_called("get", outcome(&answer), begun.elapsed());
        answer
    }

    async fn list(
        &self,
        now: Timestamp,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let begun = Stopwatch::start();
        let answer = self.0.list(now, partition, after, limit).await;
        metric::store_called("list", outcome(&answer), begun.elapsed());
        answer
    }

    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        let begun = Stopwatch::start();
        let answer = self.0.commit(now, id, writes).await;
        let outcome = match &answer {
            Ok(()) => "ok",
            Err(CommitError::Conflict { .. }) => "conflict",
            Err(CommitError::Unavailable(_)) => "unavailable",
        };
        metric::store_called("commit", outcome, begun.elapsed());
        answer
    }
}
