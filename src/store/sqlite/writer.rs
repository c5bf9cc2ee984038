//! The thread that writes: group commit, and purging by the way.
//!
//! Nearly all of a durable commit's time is the `fsync` at its end. So whatever is waiting when the thread comes back
//! from one shares the next. Nobody ever waits for others to come: a commit alone goes at once.

use std::{path::PathBuf, sync::mpsc};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    file::{self, Open, OpenError, Purpose, Trouble},
    read_row, seconds,
};
use crate::{
    clock::Timestamp,
    store::{
        CommitError, Key, StoreError, Version, Write,
        judge::{Seen, Verdict, judge, stands},
    },
};

/// The most commits that share an `fsync`: past this its cost no longer matters, but how long the first waits does.
const MAX_GROUP: usize = 64;

/// A commit that was asked for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) now: Timestamp,
    pub(super) id: Version,
    pub(super) writes: Vec<Write>,
    pub(super) reply: oneshot::Sender<Result<(), CommitError>>,
}

/// What became of a commit. Conflicts are settled with the others: a row that it tells of may not be on the disk yet.
type Answer = Result<(), CommitError>;

pub(super) struct Writer {
    path: PathBuf,
    open: Option<Open>,
    sweep: Sweep,
}

impl Writer {
    pub(super) fn open(path: PathBuf) -> Result<Self, OpenError> {
        let open = file::connect(&path, Purpose::Write)?;
        Ok(Self { path, open: Some(open), sweep: Sweep::default() })
    }

    /// Does jobs until nobody can send any more.
    pub(super) fn serve(mut self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            let mut group = vec![first];
            match self.commit(&mut group, inbox) {
                Ok(answers) => {
                    for (job, answer) in group.into_iter().zip(answers) {
                        // Nobody listens if the caller was cancelled; the commit stands nevertheless.
                        let _ = job.reply.send(answer);
                    }
                }
                Err(trouble) => {
                    for job in group {
                        let _ = job.reply.send(Err(StoreError::new(trouble.clone()).into()));
                    }
                }
            }
        }
    }

    /// Does `group`, and whatever else is waiting once it can write. An error is everybody's.
    fn commit(&mut self, group: &mut Vec<Job>, inbox: &mpsc::Receiver<Job>) -> Result<Vec<Answer>, Trouble> {
        let open = match self.open.take().filter(|open| open.is_current(&self.path)) {
            Some(open) => open,
            None => file::connect(&self.path, Purpose::Write)?,
        };
        let begun = open.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
        if let Err(error) = begun {
            let trouble = Trouble::new(&self.path, error);
            if trouble.is_busy() {
                // Who came meanwhile fails as well, else he would wait his turn and then as long again.
                group.extend(inbox.try_iter());
                self.open = Some(open);
            }
            return Err(trouble);
        }
        group.extend(inbox.try_iter().take(MAX_GROUP - group.len()));
        // From here on the connection is only kept if all goes well. Otherwise it is dropped, which rolls back, and the
        // next group gets a new one.
        let mut sound = true;
        let mut answers = Vec::with_capacity(group.len());
        // One that is alone needs no savepoint: nobody else's work is undone with it.
        let alone = group.len() == 1;
        for job in &*group {
            let done = if alone {
                commit_one(&open.connection, job)
            } else {
                apart(&open.connection, |connection| commit_one(connection, job))
            };
            answers.push(match done {
                Ok(answer) => answer,
                // A damaged page is the trouble of those whose rows are there. But if the transaction has ended with
                // it, it is everybody's.
                Err(error) => {
                    let trouble = Trouble::new(&self.path, error);
                    if alone || open.connection.is_autocommit() {
                        return Err(trouble);
                    }
                    sound = false;
                    Err(StoreError::new(trouble).into())
                }
            });
        }
        if let Err(error) = self.sweep.go_on(&open.connection, group) {
            tracing::warn!(error = %error, store.path = %self.path.display(), "old rows could not be purged");
            sound = false;
        }
        open.connection
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]))
            .map_err(|error| Trouble::new(&self.path, error))?;
        if sound {
            self.open = Some(open);
        }
        Ok(answers)
    }
}

/// Does `work` so that it is undone as a whole if it fails, and only it.
fn apart<T>(connection: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]);
    run("SAVEPOINT one")?;
    let outcome = work(connection);
    if outcome.is_err() && !connection.is_autocommit() {
        run("ROLLBACK TO one")?;
    }
    if !connection.is_autocommit() {
        run("RELEASE one")?;
    }
    outcome
}

fn commit_one(connection: &Connection, job: &Job) -> rusqlite::Result<Answer> {
    let rows =
        job.writes.iter().map(|write| read_row(connection, write.key())).collect::<rusqlite::Result<Vec<_>>>()?;
    let seen: Vec<_> = rows
        .iter()
        .map(|row| row.as_ref().map(|row| Seen { version: row.version, expires_at: row.expires_at }))
        .collect();
    match judge(job.now, job.id, &job.writes, &seen) {
        Verdict::Done => return Ok(Ok(())),
        Verdict::Conflict(at) => {
            let current = rows.into_iter().nth(at).flatten().filter(|row| stands(row.expires_at, job.now));
            return Ok(Err(CommitError::Conflict { at, current }));
        }
        Verdict::Do => {}
    }
    for write in &job.writes {
        match write {
            Write::Put { item, .. } => {
                let Key { partition, sort } = &item.key;
                connection
                    .prepare_cached(
                        "INSERT INTO items (partition, sort, version, expires_at, body) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (partition, sort) DO UPDATE
                         SET version = excluded.version, expires_at = excluded.expires_at, body = excluded.body",
                    )?
                    .execute(params![partition, sort, job.id.0, item.expires_at.map(seconds), item.body])?;
            }
            Write::Delete { key, .. } => delete(connection, key)?,
            Write::Check { .. } => {}
        }
    }
    Ok(Ok(()))
}

fn delete(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM items WHERE partition = ?1 AND sort = ?2")?
        .execute(params![key.partition, key.sort])?;
    Ok(())
}

/// Purges old rows by walking through the table, a stretch every so many commits, round and round. An index by purge
/// time would find them faster, but every commit would pay for it with another page to write; walking four rows per
/// commit keeps the dead to a small part of the table, which is all that purging is for.
#[derive(Debug, Default)]
struct Sweep {
    /// Where the next stretch begins.
    after: Option<Key>,
    /// How many commits came since the last stretch.
    commits: usize,
    /// The earliest `now` of these commits.
    earliest: Option<Timestamp>,
}

impl Sweep {
    const EVERY_COMMITS: usize = 25;
    const STRETCH_ROWS: i32 = 100;

    /// What a row's purge time must have been past for. `now` is what a caller says, and the clocks of several
    /// processes differ: one that is hours ahead must not destroy what still stands for the others. One that is
    /// further ahead than this is outvoted, unless no other has committed anything in the last
    /// [`Self::EVERY_COMMITS`] commits: the earliest `now` of all of them counts.
    const GRACE: std::time::Duration = std::time::Duration::from_hours(24);

    fn go_on(&mut self, connection: &Connection, group: &[Job]) -> rusqlite::Result<()> {
        self.commits += group.len();
        self.earliest = group.iter().map(|job| job.now).chain(self.earliest).min();
        if self.commits < Self::EVERY_COMMITS {
            return Ok(());
        }
        let before = self.earliest.take().unwrap_or_default() - Self::GRACE;
        self.commits = 0;
        // Taken: after an error the walk begins anew, else one damaged page would hold it up for ever.
        let after = self.after.take();
        self.after = apart(connection, |connection| Self::stretch(connection, after.as_ref(), before))?;
        Ok(())
    }

    /// Purges among the next rows; says where to go on, none at the end of the table.
    fn stretch(connection: &Connection, after: Option<&Key>, before: Timestamp) -> rusqlite::Result<Option<Key>> {
        let (partition, sort) = after.map_or(("", ""), |key| (&key.partition, &key.sort));
        let rows = connection
            .prepare_cached(
                "SELECT partition, sort, expires_at <= ?3 FROM items
                 WHERE (partition, sort) > (?1, ?2) ORDER BY partition, sort LIMIT ?4",
            )?
            .query_map(params![partition, sort, seconds(before), Self::STRETCH_ROWS], |row| {
                let key = Key::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                Ok((key, row.get::<_, Option<bool>>(2)?.unwrap_or(false)))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for (key, dead) in &rows {
            if *dead {
                delete(connection, key)?;
            }
        }
        let whole = i32::try_from(rows.len()) == Ok(Self::STRETCH_ROWS);
        Ok(rows.into_iter().last().map(|(key, _)| key).filter(|_| whole))
    }
}
