//! The store of one machine: a SQLite file, which several processes may use at once.
//!
//! Commits go to one thread per store, which writes whatever is waiting in one transaction (`writer`); reads are done
//! where they are asked for, each in a snapshot of its own (`readers`); what a file must be like to be opened, and what
//! is set on every connection, is in `file`.

pub mod backup;
mod file;
mod readers;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::oneshot;

pub use file::OpenError;
use readers::Readers;
use writer::{Job, Writer};

use super::{CommitError, Item, Key, Page, Store, StoreError, Version, Write, check_shape};
use crate::clock::Timestamp;

/// A [`Store`] in a SQLite file in WAL mode, with `synchronous=FULL`: a commit that was acknowledged is on the disk.
///
/// * Several stores, in one process or in many, may use the same file; it must be on a local disk.
/// * A commit waits at most about two seconds for other processes, a read for whoever locks the file exclusively;
///   then it answers `Unavailable`, as it does when the disk is full or the file damaged. Nothing needs to be
///   restarted when the cause has gone, nor when the file was replaced by another.
/// * Rows are purged by the way, by commits, a day or more after their purge time.
///
/// Dropping it waits for the commits that were handed over before.
#[derive(Debug)]
pub struct SqliteStore {
    readers: Arc<Readers>,
    // An Option only so that `drop` can close the channel before it waits for the thread.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens a database that is there.
    ///
    /// # Errors
    /// There is none, it is not gatemint's, it is of a newer format, or it cannot be used; the text says what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::start(path.to_owned())
    }

    /// Makes an empty database that only its owner may read (mode 0600), or opens the one that is there.
    /// Of several processes that do so at once each succeeds.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; and the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, OpenError> {
        file::make(path)?;
        Self::start(path.to_owned())
    }

    fn start(path: PathBuf) -> Result<Self, OpenError> {
        let writer = Writer::open(path.clone())?;
        let (jobs, inbox) = mpsc::channel();
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.serve(&inbox))
            .map_err(|source| OpenError::Unusable { path: path.clone(), source: source.into() })?;
        Ok(Self { readers: Arc::new(Readers::new(path)), jobs: Some(jobs), writer: Some(writer) })
    }

    /// Reads at once on this thread, which takes microseconds in WAL mode; only if somebody has locked the whole file
    /// is it worth a thread of its own to wait there.
    async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let trouble = match self.readers.read(&work) {
            Ok(value) => return Ok(value),
            Err(trouble) => trouble,
        };
        if !trouble.is_busy() {
            return Err(StoreError::new(trouble));
        }
        let readers = Arc::clone(&self.readers);
        tokio::task::spawn_blocking(move || file::patiently(|| readers.read(&work), file::Trouble::is_busy))
            .await
            .map_err(StoreError::new)?
            .map_err(StoreError::new)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            // An Err is a panic of the thread, which was reported where it happened.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let keys = keys.to_vec();
        self.read(move |connection| {
            // One snapshot for all keys: without a transaction each statement would have its own.
            // Its statements are kept ready, as rusqlite's own transactions' are not; an error costs the connection.
            connection.prepare_cached("BEGIN")?.execute([])?;
            let rows = keys
                .iter()
                .map(|key| Ok(read_row(connection, key)?.filter(|row| super::judge::stands(row.expires_at, now))))
                .collect::<rusqlite::Result<_>>()?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(rows)
        })
        .await
    }

    async fn list(
        &self,
        now: Timestamp,
        partition: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, super::MAX_PAGE);
        let partition = partition.to_owned();
        let after = after.map(str::to_owned);
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT sort, version, expires_at, body FROM items
                 WHERE partition = ?1 AND sort >= ?2 AND (?3 OR sort > ?2) AND (expires_at IS NULL OR expires_at > ?4)
                 ORDER BY sort LIMIT ?5",
            )?;
            let from = after.as_deref().unwrap_or_default();
            // One more than was asked for shows whether the partition goes on.
            let rows = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            let items = statement
                .query_map(params![partition, from, after.is_none(), seconds(now), rows], |row| {
                    Ok(Item {
                        key: Key::new(partition.clone(), row.get::<_, String>(0)?),
                        version: Version(row.get(1)?),
                        expires_at: row.get::<_, Option<i64>>(2)?.map(moment),
                        body: row.get(3)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Page::cut(items, limit))
        })
        .await
    }

    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        check_shape(&writes)?;
        let (reply, answer) = oneshot::channel();
        let ended = || StoreError::new("the thread that writes to the database has ended");
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Job { now, id, writes, reply }).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Reads one row, whether or not it is past its purge time.
fn read_row(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Item>> {
    connection
        .prepare_cached("SELECT version, expires_at, body FROM items WHERE partition = ?1 AND sort = ?2")?
        .query_row(params![key.partition, key.sort], |row| {
            Ok(Item {
                key: key.clone(),
                version: Version(row.get(0)?),
                expires_at: row.get::<_, Option<i64>>(1)?.map(moment),
                body: row.get(2)?,
            })
        })
        .optional()
}

/// A time as SQLite's signed integer. What does not fit is further away than any clock goes.
fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// The reverse. A negative number was not written here; a row with one is long past its purge time.
fn moment(seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(seconds).unwrap_or_default())
}
