//! A store, in memory unless it stands on another, that counts round trips, remembers every body, and fails when it is told to.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use gatemint::{
    clock::Timestamp,
    store::{CommitError, Item, Key, MemoryStore, Page, Store, StoreError, Version, Write},
};

/// What the next commit does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done.
    Refused,
    /// It is done, and nobody hears of it.
    LostReply,
}

/// The store.
pub(crate) struct WatchedStore {
    inner: Arc<dyn Store>,
    gets: AtomicUsize,
    commits: AtomicUsize,
    bodies: Mutex<Vec<String>>,
    faults: Mutex<VecDeque<Option<Fault>>>,
    /// While set, nothing answers.
    away: std::sync::atomic::AtomicBool,
}

impl Default for WatchedStore {
    fn default() -> Self {
        Self::around(Arc::new(MemoryStore::new()))
    }
}

impl WatchedStore {
    /// Around another store.
    pub(crate) fn around(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            gets: AtomicUsize::default(),
            commits: AtomicUsize::default(),
            bodies: Mutex::default(),
            faults: Mutex::default(),
            away: std::sync::atomic::AtomicBool::default(),
        }
    }

    /// (gets, commits) since the last call.
    pub(crate) fn round_trips(&self) -> (usize, usize) {
        (self.gets.swap(0, Ordering::SeqCst), self.commits.swap(0, Ordering::SeqCst))
    }

    /// Every body that was ever written.
    pub(crate) fn bodies_written(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }

    /// What the next commits do.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// What was to go wrong and has not yet never does.
    pub(crate) fn forget_faults(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Nothing answers from now on, or everything again.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn answers(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) { Err(StoreError::new("away, as the test asked")) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for WatchedStore {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        // As a real store does: others get their turn between the reading and the writing.
        tokio::task::yield_now().await;
        self.answers()?;
        self.inner.get(now, keys).await
    }

    async fn list(
        &self,
        now: Timestamp,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.answers()?;
        self.inner.list(now, partition, after, limit).await
    }

    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.answers()?;
        let fault = self.faults.lock().unwrap().pop_front().flatten();
        if fault == Some(Fault::Refused) {
            return Err(StoreError::new("refused, as the test asked").into());
        }
        let bodies: Vec<_> = writes
            .iter()
            .filter_map(|write| match write {
                Write::Put { item, .. } => Some(item.body.clone()),
                Write::Delete { .. } | Write::Check { .. } => None,
            })
            .collect();
        let done = self.inner.commit(now, id, writes).await;
        if done.is_ok() {
            self.bodies.lock().unwrap().extend(bodies);
        }
        if fault == Some(Fault::LostReply) && done.is_ok() {
            return Err(StoreError::new("the reply was lost, as the test asked").into());
        }
        done
    }
}
