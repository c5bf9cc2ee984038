//! Durable commits of the SQLite store, from one task and from many, beside a bare loop over SQLite.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use gatemint::{
    clock::{Clock as _, SystemClock},
    store::{Draft, Key, SqliteStore, Store, Version, When, Write},
};
use rusqlite::{Connection, params};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{measure::Spread, table::Row};

const TASKS: [usize; 3] = [1, 16, 64];
const PASSES: usize = 9;
const SLICE: Duration = Duration::from_millis(250);
/// What many tasks must reach, in commits of one.
const MANY: f64 = 3.0;

const UPDATE: &str = "UPDATE items SET version = ?4, body = ?5 WHERE partition = ?1 AND sort = ?2 AND version = ?3";

/// About as long as a session's row.
fn body() -> String {
    format!("\"{}\"", "x".repeat(480))
}

/// One conditional update per transaction: what is left when everything else is taken away.
pub(crate) struct Bare {
    connection: Connection,
    version: u128,
}

impl Bare {
    pub(crate) fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection
            .execute_batch(
                "CREATE TABLE items (partition TEXT NOT NULL, sort TEXT NOT NULL, version BLOB NOT NULL,
                     expires_at INTEGER, body TEXT NOT NULL, PRIMARY KEY (partition, sort)) STRICT, WITHOUT ROWID",
            )
            .unwrap();
        let first = params!["session#0", "0", 0_u128.to_be_bytes(), body()];
        connection.execute("INSERT INTO items VALUES (?1, ?2, ?3, NULL, ?4)", first).unwrap();
        Self { connection, version: 0 }
    }

    /// One commit.
    pub(crate) fn once(&mut self) -> Duration {
        let body = body();
        let (old, new) = (self.version.to_be_bytes(), (self.version + 1).to_be_bytes());
        let begun = Instant::now();
        let mut update = self.connection.prepare_cached(UPDATE).unwrap();
        assert_eq!(update.execute(params!["session#0", "0", old, new, body]).unwrap(), 1);
        let took = begun.elapsed();
        drop(update);
        self.version += 1;
        took
    }

    /// Commits per second.
    fn rate(&mut self) -> f64 {
        let body = body();
        let mut update = self.connection.prepare_cached(UPDATE).unwrap();
        let begun = Instant::now();
        let mut commits = 0.0;
        while begun.elapsed() < SLICE {
            let (old, new) = (self.version.to_be_bytes(), (self.version + 1).to_be_bytes());
            assert_eq!(update.execute(params!["session#0", "0", old, new, body]).unwrap(), 1);
            self.version += 1;
            commits += 1.0;
        }
        commits / begun.elapsed().as_secs_f64()
    }
}

/// Moves a row of its own on, again and again. How often, and the version that it was left with.
async fn keep_committing(store: Arc<SqliteStore>, task: usize, mut version: u128, until: Instant) -> (u32, u128) {
    let (now, body) = (SystemClock.now(), body());
    let mut commits = 0;
    while Instant::now() < until {
        let key = Key::new(format!("session#{task}"), "0");
        // Ids tell commits of all tasks apart, as random ones would.
        let next = version + TASKS[2] as u128;
        let when =
            if version < TASKS[2] as u128 { When::Always } else { When::VersionIs(Version(version.to_be_bytes())) };
        let put = Write::Put { item: Draft { key, expires_at: None, body: body.clone() }, when };
        store.commit(now, Version(next.to_be_bytes()), vec![put]).await.unwrap();
        version = next;
        commits += 1;
    }
    (commits, version)
}

/// Commits per second of so many tasks.
fn rate(runtime: &Runtime, store: &Arc<SqliteStore>, versions: &mut [u128]) -> f64 {
    runtime.block_on(async {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for (task, version) in versions.iter().copied().enumerate() {
            let store = store.clone();
            tasks.spawn(async move { (task, keep_committing(store, task, version, begun + SLICE).await) });
        }
        let mut all = 0;
        while let Some(ended) = tasks.join_next().await {
            let (task, (commits, version)) = ended.unwrap();
            versions[task] = version;
            all += commits;
        }
        f64::from(all) / begun.elapsed().as_secs_f64()
    })
}

/// Commits per second that one pass found.
struct Pass {
    bare: f64,
    ours: [f64; 3],
}

/// One row for one task, and one for each larger number.
pub(crate) fn rows() -> Vec<Row> {
    // On the disk that is built on: a temporary directory may be memory, where nothing is ever durable.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut bare = Bare::open(&directory.path().join("bare.db"));
    let store = Arc::new(SqliteStore::create(&directory.path().join("ours.db")).unwrap());
    let runtime = Runtime::new().unwrap();
    let mut versions: Vec<u128> = (0..TASKS[2] as u128).collect();
    let mut passes: Vec<Pass> = Vec::new();
    for n in 0..=PASSES {
        let floor = bare.rate();
        let ours = TASKS.map(|tasks| rate(&runtime, &store, &mut versions[..tasks]));
        // The first one warms up.
        if n > 0 {
            passes.push(Pass { bare: floor, ours });
        }
    }
    let median = |of: &dyn Fn(&Pass) -> f64| Spread::of(passes.iter().map(of)).median;
    let mut rows: Vec<Row> = TASKS
        .iter()
        .enumerate()
        .map(|(n, tasks)| {
            let ratio = Spread::of(passes.iter().map(|pass| pass.ours[n] / pass.bare));
            Row {
                what: format!("durable commits from {tasks} tasks; beside a bare loop over SQLite")
                    .replace("1 tasks;", "1 task;"),
                floor: format!("{:.0}/s", median(&|pass| pass.bare)),
                ours: format!("{:.0}/s", median(&|pass| pass.ours[n])),
                against: format!("{ratio:.2}"),
                target: "≥ 1".into(),
                met: Some(ratio.median >= 1.0),
            }
        })
        .collect();
    let ratio = Spread::of(passes.iter().map(|pass| pass.ours[2] / pass.ours[0]));
    rows.push(Row {
        what: "durable commits from 64 tasks; beside one task".into(),
        floor: format!("{:.0}/s", median(&|pass| pass.ours[0])),
        ours: format!("{:.0}/s", median(&|pass| pass.ours[2])),
        against: format!("{ratio:.2}"),
        target: format!("≥ {MANY:.0}"),
        met: Some(ratio.median >= MANY),
    });
    rows
}
