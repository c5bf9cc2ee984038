//! The store port: one conformance suite for every backend, and what only a file can go through.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use gatemint::{
    clock::Timestamp,
    store::{
        CommitError, Draft, Item, Key, MAX_WRITES, MemoryStore, Page, SqliteStore, Store, StoreError, Version, When,
        Write,
    },
};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_800_000_000);

/// Makes empty stores of one kind.
trait Backend {
    fn fresh() -> Bed;
}

/// A store and what it stands on.
struct Bed {
    store: Arc<dyn Store>,
    _directory: Option<TempDir>,
}

struct Memory;

impl Backend for Memory {
    fn fresh() -> Bed {
        Bed { store: Arc::new(MemoryStore::new()), _directory: None }
    }
}

struct Sqlite;

impl Backend for Sqlite {
    fn fresh() -> Bed {
        let (directory, path) = scratch();
        Bed { store: Arc::new(SqliteStore::create(&path).unwrap()), _directory: Some(directory) }
    }
}

/// Two handles on one file, as two processes would have, which take turns call by call.
struct TwoSqlites;

impl Backend for TwoSqlites {
    fn fresh() -> Bed {
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

/// A commit id that no other commit of this run has.
fn fresh_id() -> Version {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    Version(u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

fn key(sort: &str) -> Key {
    Key::new("test#rows", sort)
}

fn put(sort: &str, body: &str, when: When) -> Write {
    put_until(sort, body, when, None)
}

fn put_until(sort: &str, body: &str, when: When, expires_at: Option<Timestamp>) -> Write {
    Write::Put { item: Draft { key: key(sort), expires_at, body: body.into() }, when }
}

fn delete(sort: &str, when: When) -> Write {
    Write::Delete { key: key(sort), when }
}

fn check(sort: &str, when: When) -> Write {
    Write::Check { key: key(sort), when }
}

/// Commits what must succeed; its version.
async fn done(store: &dyn Store, writes: Vec<Write>) -> Version {
    let id = fresh_id();
    store.commit(NOW, id, writes).await.unwrap();
    id
}

/// Commits what must conflict.
async fn conflict(store: &dyn Store, writes: Vec<Write>) -> (usize, Option<Item>) {
    conflict_of(store.commit(NOW, fresh_id(), writes).await)
}

fn conflict_of(outcome: Result<(), CommitError>) -> (usize, Option<Item>) {
    match outcome {
        Err(CommitError::Conflict { at, current }) => (at, current),
        other => panic!("a conflict was expected, not {other:?}"),
    }
}

fn unavailable(outcome: Result<(), CommitError>) -> String {
    match outcome {
        Err(CommitError::Unavailable(error)) => error.to_string(),
        other => panic!("Unavailable was expected, not {other:?}"),
    }
}

async fn row(store: &dyn Store, sort: &str) -> Option<Item> {
    store.get(NOW, &[key(sort)]).await.unwrap().remove(0)
}

async fn body(store: &dyn Store, sort: &str) -> Option<String> {
    row(store, sort).await.map(|row| row.body)
}

/// What every backend promises. Each test gets an empty store.
mod suite {
    use super::*;

    pub(super) async fn what_was_put_is_read_back_whole(store: Arc<dyn Store>) {
        let text = "{\"name\":\"Ада\",\"quote\":\"\\\"'; --\"}";
        let until = Timestamp(NOW.0 + 60);
        let id = done(&*store, vec![put_until("a", text, When::Absent, Some(until))]).await;
        let expected = Item { key: key("a"), version: id, expires_at: Some(until), body: text.into() };
        assert_eq!(row(&*store, "a").await, Some(expected.clone()));
        assert_eq!(store.list(NOW, "test#rows", None, 10).await.unwrap().items, [expected]);
    }

    pub(super) async fn a_commit_is_all_or_nothing(store: Arc<dyn Store>) {
        let one = done(&*store, vec![put("a", "1", When::Absent), put("b", "1", When::Absent)]).await;
        let failed = vec![
            put("a", "2", When::VersionIs(one)),
            put("new", "2", When::Absent),
            delete("b", When::VersionIs(fresh_id())),
        ];
        assert_eq!(conflict(&*store, failed).await.0, 2);
        assert_eq!(body(&*store, "a").await.as_deref(), Some("1"));
        assert_eq!(body(&*store, "b").await.as_deref(), Some("1"));
        assert_eq!(body(&*store, "new").await, None);

        let whole = vec![
            put("a", "2", When::VersionIs(one)),
            put("new", "2", When::Absent),
            delete("b", When::VersionIs(one)),
            check("never", When::Absent),
        ];
        let two = done(&*store, whole).await;
        assert_eq!(row(&*store, "a").await.unwrap().version, two);
        assert_eq!(row(&*store, "new").await.unwrap().version, two);
        assert_eq!(body(&*store, "b").await, None);
    }

    pub(super) async fn a_conflict_names_the_first_write_that_failed_and_the_row_that_is_there(store: Arc<dyn Store>) {
        let id = done(&*store, vec![put("taken", "theirs", When::Absent)]).await;
        let current = Some(Item { key: key("taken"), version: id, expires_at: None, body: "theirs".into() });
        assert_eq!(conflict(&*store, vec![put("taken", "mine", When::Absent)]).await, (0, current.clone()));
        let two_wrong = vec![
            put("free", "mine", When::Absent),
            check("taken", When::VersionIs(fresh_id())),
            put("nothing", "mine", When::VersionIs(id)),
        ];
        assert_eq!(conflict(&*store, two_wrong).await, (1, current));
        assert_eq!(conflict(&*store, vec![put("nothing", "mine", When::VersionIs(id))]).await, (0, None));
        assert_eq!(conflict(&*store, vec![check("nothing", When::VersionIs(id))]).await, (0, None));
        assert_eq!(conflict(&*store, vec![check("taken", When::Absent)]).await.0, 0);
    }

    pub(super) async fn a_put_without_a_condition_always_happens(store: Arc<dyn Store>) {
        done(&*store, vec![put("a", "1", When::Always)]).await;
        done(&*store, vec![put("a", "2", When::Always)]).await;
        assert_eq!(body(&*store, "a").await.as_deref(), Some("2"));
    }

    pub(super) async fn a_delete_of_what_is_gone_is_done_and_of_another_version_a_conflict(store: Arc<dyn Store>) {
        let one = done(&*store, vec![put("a", "1", When::Absent)]).await;
        let (at, current) = conflict(&*store, vec![delete("a", When::VersionIs(fresh_id()))]).await;
        assert_eq!((at, current.map(|row| row.version)), (0, Some(one)));
        assert_eq!(conflict(&*store, vec![delete("a", When::Absent)]).await.0, 0);
        let removal = fresh_id();
        for _ in 0..2 {
            // The second time is the retry after a lost reply.
            store.commit(NOW, removal, vec![delete("a", When::VersionIs(one))]).await.unwrap();
            assert_eq!(row(&*store, "a").await, None);
        }
        done(&*store, vec![delete("a", When::Always)]).await;
        done(&*store, vec![delete("a", When::Absent)]).await;
    }

    pub(super) async fn of_sixteen_who_create_a_row_one_wins(store: Arc<dyn Store>) {
        let rounds = 160;
        for round in 0..rounds {
            one_wins(&store, &format!("row-{round}"), When::Absent).await;
        }
        println!("counted: {rounds} races for a new row, {rounds} with one winner");
    }

    pub(super) async fn of_sixteen_who_change_a_row_one_wins(store: Arc<dyn Store>) {
        let rounds = 160;
        let mut version = done(&*store, vec![put("row", "", When::Absent)]).await;
        for _ in 0..rounds {
            version = one_wins(&store, "row", When::VersionIs(version)).await;
        }
        println!("counted: {rounds} races for a change, {rounds} with one winner");
    }

    /// A race of 16; the winner's version. Every other one has two writes, of which the second decides.
    async fn one_wins(store: &Arc<dyn Store>, sort: &str, when: When) -> Version {
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let (store, sort) = (Arc::clone(store), sort.to_owned());
                tokio::spawn(async move {
                    let id = fresh_id();
                    let mut writes = vec![put(&sort, &racer.to_string(), when)];
                    if racer % 2 == 1 {
                        writes.insert(0, put(&format!("{sort}-beside-{racer}"), "", When::Always));
                    }
                    let decisive = writes.len() - 1;
                    (id, racer, decisive, store.commit(NOW, id, writes).await)
                })
            })
            .collect();
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for racer in racers {
            let (id, racer, decisive, outcome) = racer.await.unwrap();
            match outcome {
                Ok(()) => winners.push((id, racer)),
                other => losers.push((id, racer, decisive, conflict_of(other))),
            }
        }
        assert_eq!(winners.len(), 1, "who won: {winners:?}");
        let (id, winner) = winners[0];
        let standing = row(&**store, sort).await.unwrap();
        assert_eq!((standing.version, &standing.body), (id, &winner.to_string()));
        for (loser, racer, decisive, (at, current)) in losers {
            assert_eq!((at, current.as_ref()), (decisive, Some(&standing)), "a loser is told the row that won");
            let beside = row(&**store, &format!("{sort}-beside-{racer}")).await;
            assert_ne!(beside.map(|row| row.version), Some(loser), "a loser leaves nothing behind");
        }
        id
    }

    pub(super) async fn a_row_past_its_purge_time_is_absent_for_every_purpose(store: Arc<dyn Store>) {
        let until = Timestamp(NOW.0 + 100);
        let old = done(&*store, vec![put_until("a", "old", When::Absent, Some(until))]).await;
        let before = Timestamp(until.0 - 1);
        for (now, there) in [(before, true), (until, false), (Timestamp(until.0 + 1), false)] {
            assert_eq!(store.get(now, &[key("a")]).await.unwrap()[0].is_some(), there);
            assert_eq!(store.list(now, "test#rows", None, 10).await.unwrap().items.len(), usize::from(there));
            let present = store.commit(now, fresh_id(), vec![check("a", When::VersionIs(old))]).await;
            let absent = store.commit(now, fresh_id(), vec![check("a", When::Absent)]).await;
            if there {
                present.unwrap();
                assert!(conflict_of(absent).1.is_some());
            } else {
                assert_eq!(conflict_of(present), (0, None));
                absent.unwrap();
            }
        }
        let changed = store.commit(until, fresh_id(), vec![put("a", "new", When::VersionIs(old))]).await;
        assert_eq!(conflict_of(changed), (0, None));
        // Gone is gone, also for a delete that names another version.
        store.commit(until, fresh_id(), vec![delete("a", When::VersionIs(fresh_id()))]).await.unwrap();
        store.commit(until, fresh_id(), vec![put("a", "new", When::Absent)]).await.unwrap();
        assert_eq!(body(&*store, "a").await.as_deref(), Some("new"));
    }

    pub(super) async fn a_purged_row_neither_fills_a_page_nor_ends_a_list(store: Arc<dyn Store>) {
        let past = Some(Timestamp(NOW.0 - 1));
        for n in 0..30 {
            let expires_at = if n % 3 == 0 { None } else { past };
            done(&*store, vec![put_until(&format!("{n:02}"), "", When::Absent, expires_at)]).await;
        }
        let seen = walk(&*store, 4, |_| async {}).await;
        assert_eq!(seen, ["00", "03", "06", "09", "12", "15", "18", "21", "24", "27"]);
    }

    pub(super) async fn a_commit_whose_reply_was_lost_finds_itself_done(store: Arc<dyn Store>) {
        let first = done(&*store, vec![put("a", "0", When::Absent), put("b", "0", When::Absent)]).await;
        // One put, created and changed.
        let created = fresh_id();
        for _ in 0..2 {
            store.commit(NOW, created, vec![put("c", "1", When::Absent)]).await.unwrap();
        }
        let changed = fresh_id();
        for _ in 0..2 {
            store.commit(NOW, changed, vec![put("c", "2", When::VersionIs(created))]).await.unwrap();
        }
        assert_eq!(row(&*store, "c").await.unwrap().version, changed);
        // Several writes of every kind.
        let transaction = fresh_id();
        let writes = vec![
            check("b", When::VersionIs(first)),
            put("a", "1", When::VersionIs(first)),
            put("d", "1", When::Absent),
            delete("c", When::VersionIs(changed)),
        ];
        for _ in 0..2 {
            store.commit(NOW, transaction, writes.clone()).await.unwrap();
        }
        assert_eq!(row(&*store, "a").await.unwrap().version, transaction);
        assert_eq!(row(&*store, "c").await, None);

        // Somebody went on from one of its rows: it was done all the same, and his change stands.
        let later = done(&*store, vec![put("a", "2", When::VersionIs(transaction))]).await;
        store.commit(NOW, transaction, writes.clone()).await.unwrap();
        assert_eq!(row(&*store, "a").await.unwrap().version, later);

        // Somebody went on from all of its rows: it is told what is there, and changes nothing.
        done(&*store, vec![put("d", "2", When::VersionIs(transaction))]).await;
        let (at, current) = conflict_of(store.commit(NOW, transaction, writes).await);
        assert_eq!((at, current.map(|row| row.version)), (1, Some(later)));
        assert_eq!(body(&*store, "d").await.as_deref(), Some("2"));
    }

    pub(super) async fn a_commit_that_is_sent_many_times_at_once_happens_once(store: Arc<dyn Store>) {
        let rounds = 40;
        for round in 0..rounds {
            let id = fresh_id();
            let copies: Vec<_> = (0..8)
                .map(|_| {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move {
                        store.commit(NOW, id, vec![put(&format!("{round}"), "", When::Absent)]).await
                    })
                })
                .collect();
            for copy in copies {
                copy.await.unwrap().unwrap();
            }
        }
        println!("counted: {rounds} commits sent 8 times at once, {rounds} done once");
    }

    pub(super) async fn a_list_is_sorted_by_bytes_and_stays_in_its_partition(store: Arc<dyn Store>) {
        for sort in ["b", "a", "é", "a/b", "Z", "a\u{0}", ""] {
            done(&*store, vec![put(if sort.is_empty() { "10" } else { sort }, "", When::Absent)]).await;
        }
        for partition in ["test#row", "test#rowsx", "test#rowr", "test#rowt"] {
            let item = Draft { key: Key::new(partition, "b"), expires_at: None, body: String::new() };
            done(&*store, vec![Write::Put { item, when: When::Absent }]).await;
        }
        let seen = walk(&*store, 2, |_| async {}).await;
        assert_eq!(seen, ["10", "Z", "a", "a\u{0}", "a/b", "b", "é"]);
        assert_eq!(store.list(NOW, "test#nothing", None, 5).await.unwrap(), Page::default());
        assert_eq!(store.list(NOW, "test#rows", Some("é"), 5).await.unwrap().items, []);
    }

    pub(super) async fn a_walk_page_by_page_misses_and_repeats_nothing_while_rows_are_inserted(store: Arc<dyn Store>) {
        for n in 0..25 {
            done(&*store, vec![put(&format!("{n:03}0"), "", When::Absent)]).await;
        }
        let inserted = std::sync::Mutex::new(Vec::new());
        let seen = walk(&*store, 5, |page| {
            let store = Arc::clone(&store);
            // One before where the walk is, one right after it.
            let late = format!("{}~", page.items.last().unwrap().key.sort);
            if page.next.is_some() {
                inserted.lock().unwrap().push(late.clone());
            }
            async move {
                done(&*store, vec![put("0000-early", "", When::Always), put(&late, "", When::Always)]).await;
            }
        })
        .await;
        let mut expected: Vec<_> = (0..25).map(|n| format!("{n:03}0")).collect();
        expected.append(&mut inserted.lock().unwrap());
        expected.sort();
        assert_eq!(seen, expected);
    }

    /// Reads a partition page by page, with something happening after each page.
    async fn walk<F: Future<Output = ()>>(
        store: &dyn Store,
        limit: usize,
        meanwhile: impl Fn(Page) -> F,
    ) -> Vec<String> {
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.list(NOW, "test#rows", after.as_deref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.iter().map(|row| row.key.sort.clone()));
            after.clone_from(&page.next);
            if !page.items.is_empty() {
                meanwhile(page).await;
            }
            if after.is_none() {
                return seen;
            }
        }
    }

    pub(super) async fn a_get_answers_in_order_and_a_key_may_repeat(store: Arc<dyn Store>) {
        assert_eq!(store.get(NOW, &[]).await.unwrap(), []);
        done(&*store, vec![put("a", "A", When::Absent), put("b", "B", When::Absent)]).await;
        let keys = ["b", "none", "a", "b", "b", "none"].map(key);
        let bodies: Vec<_> =
            store.get(NOW, &keys).await.unwrap().into_iter().map(|row| row.map(|row| row.body)).collect();
        let expected = [Some("B"), None, Some("A"), Some("B"), Some("B"), None];
        assert_eq!(bodies, expected.map(|body| body.map(String::from)));
        // More than one request of any backend holds.
        let many: Vec<_> = (0..250).map(|n| key(if n % 2 == 0 { "a" } else { "none" })).collect();
        let rows = store.get(NOW, &many).await.unwrap();
        assert_eq!(rows.len(), 250);
        assert!(rows.iter().enumerate().all(|(n, row)| row.is_some() == (n % 2 == 0)));
    }

    pub(super) async fn a_commit_of_a_wrong_shape_is_refused_whole(store: Arc<dyn Store>) {
        let many = |count: usize| (0..count).map(|n| put(&format!("{n}"), "", When::Always)).collect::<Vec<_>>();
        let wrong = [
            vec![],
            many(MAX_WRITES + 1),
            vec![put("a", "1", When::Always), check("a", When::Absent)],
            vec![delete("a", When::Always), check("b", When::Absent)],
        ];
        for writes in wrong {
            unavailable(store.commit(NOW, fresh_id(), writes).await);
        }
        assert_eq!(store.list(NOW, "test#rows", None, 10).await.unwrap().items, []);
        done(&*store, many(MAX_WRITES)).await;
    }
}

macro_rules! conformance {
    ($($test:ident)*) => {
        conformance!(@module memory Memory $($test)*);
        conformance!(@module sqlite Sqlite $($test)*);
        conformance!(@module two_handles_on_one_sqlite_file TwoSqlites $($test)*);
    };
    (@module $module:ident $backend:ident $($test:ident)*) => {
        mod $module {
            use super::Backend as _;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let bed = super::$backend::fresh();
                    super::suite::$test(std::sync::Arc::clone(&bed.store)).await;
                }
            )*
        }
    };
}

conformance! {
    what_was_put_is_read_back_whole
    a_commit_is_all_or_nothing
    a_conflict_names_the_first_write_that_failed_and_the_row_that_is_there
    a_put_without_a_condition_always_happens
    a_delete_of_what_is_gone_is_done_and_of_another_version_a_conflict
    of_sixteen_who_create_a_row_one_wins
    of_sixteen_who_change_a_row_one_wins
    a_row_past_its_purge_time_is_absent_for_every_purpose
    a_purged_row_neither_fills_a_page_nor_ends_a_list
    a_commit_whose_reply_was_lost_finds_itself_done
    a_commit_that_is_sent_many_times_at_once_happens_once
    a_list_is_sorted_by_bytes_and_stays_in_its_partition
    a_walk_page_by_page_misses_and_repeats_nothing_while_rows_are_inserted
    a_get_answers_in_order_and_a_key_may_repeat
    a_commit_of_a_wrong_shape_is_refused_whole
}

/// What happens to a file and not to a table.
mod sqlite_file {
    use std::{
        fs,
        io::{Seek as _, SeekFrom, Write as _},
        os::unix::fs::PermissionsExt as _,
        path::Path,
        process::Command,
    };

    use gatemint::store::OpenError;
    use rusqlite::Connection;

    use super::*;

    /// Fills a database with rows of about a page each, and closes it.
    async fn filled(path: &Path, rows: usize) {
        let store = SqliteStore::create(path).unwrap();
        for n in 0..rows {
            done(&store, vec![put(&format!("{n:04}"), &"x".repeat(3000), When::Absent)]).await;
        }
    }

    fn rows_in_the_file(path: &Path) -> i64 {
        Connection::open(path).unwrap().query_row("SELECT count(*) FROM items", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_database_is_its_owners_alone_and_is_there_again_after_a_restart() {
        let (_directory, path) = scratch();
        assert!(matches!(SqliteStore::open(&path).unwrap_err(), OpenError::Missing { .. }));
        let store = SqliteStore::create(&path).unwrap();
        let id = done(&store, vec![put("a", "1", When::Absent)]).await;
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
        }
        drop(store);
        for store in [SqliteStore::open(&path).unwrap(), SqliteStore::create(&path).unwrap()] {
            assert_eq!(row(&store, "a").await.unwrap().version, id);
        }
    }

    #[test]
    fn many_who_create_the_same_database_at_once_all_get_it() {
        let rounds = 20;
        for _ in 0..rounds {
            let (_directory, path) = scratch();
            std::thread::scope(|scope| {
                let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| SqliteStore::create(&path))).collect();
                for opener in openers {
                    opener.join().unwrap().unwrap();
                }
            });
            let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["gatemint.db"]);
        }
        println!("counted: {rounds} races of 8 to create a database, {rounds} without a loser");
    }

    #[test]
    fn what_is_not_a_gatemint_database_is_refused_and_left_alone() {
        let (_directory, path) = scratch();
        fs::write(&path, "[settings]\n".repeat(1000)).unwrap();
        let before = fs::read(&path).unwrap();
        for outcome in [SqliteStore::open(&path), SqliteStore::create(&path)] {
            assert!(matches!(outcome.unwrap_err(), OpenError::Foreign { .. }));
        }
        assert_eq!(fs::read(&path).unwrap(), before);

        fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE invoices (id); PRAGMA user_version = 1").unwrap();
        let before = fs::read(&path).unwrap();
        for outcome in [SqliteStore::open(&path), SqliteStore::create(&path)] {
            let text = outcome.unwrap_err().to_string();
            assert!(text.contains("another application's") && text.contains("name another file"), "{text}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);

        fs::write(&path, "").unwrap();
        assert!(SqliteStore::open(&path).unwrap_err().to_string().contains("it is empty"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = SqliteStore::create(&path).unwrap_err();
        assert!(exposed.to_string().contains("chmod 600"), "{exposed}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        SqliteStore::create(&path).unwrap();
        SqliteStore::open(&path).unwrap();
        let directory = SqliteStore::create(path.parent().unwrap()).unwrap_err();
        assert!(matches!(directory, OpenError::Unusable { .. }), "{directory}");
    }

    #[tokio::test]
    async fn a_newer_data_format_is_refused_with_what_to_do() {
        let (_directory, path) = scratch();
        filled(&path, 1).await;
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
        for outcome in [SqliteStore::open(&path), SqliteStore::create(&path)] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }));
            let text = error.to_string();
            assert!(text.contains("data format 2") && text.contains("restore a backup"), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_get_sees_one_moment_for_all_its_keys() {
        let (_directory, path) = scratch();
        let store = Arc::new(SqliteStore::create(&path).unwrap());
        done(&*store, vec![put("a", "0", When::Always), put("b", "0", When::Always)]).await;
        let writer = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                for n in 1..=300 {
                    let text = n.to_string();
                    done(&*store, vec![put("a", &text, When::Always), put("b", &text, When::Always)]).await;
                }
            }
        });
        let other = SqliteStore::open(&path).unwrap();
        let mut reads = 0;
        while !writer.is_finished() {
            for reader in [&*store as &dyn Store, &other] {
                let rows = reader.get(NOW, &[key("a"), key("b")]).await.unwrap();
                assert_eq!(rows[0].as_ref().unwrap().version, rows[1].as_ref().unwrap().version);
                reads += 1;
            }
        }
        writer.await.unwrap();
        assert!(reads > 0);
        println!("counted: {reads} gets of two keys beside 300 commits, {reads} of one moment");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_locked_database_is_unavailable_and_recovers_by_itself() {
        let (_directory, path) = scratch();
        let store = Arc::new(SqliteStore::create(&path).unwrap());
        done(&*store, vec![put("a", "1", When::Absent)]).await;
        let holder = Connection::open(&path).unwrap();
        holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let waiting: Vec<_> = (0..20)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let id = fresh_id();
                    let write = vec![put(&format!("late-{n}"), "", When::Absent)];
                    (id, write.clone(), store.commit(NOW, id, write).await)
                })
            })
            .collect();
        // Who only reads does not notice.
        assert_eq!(body(&*store, "a").await.as_deref(), Some("1"));
        let mut retries = Vec::new();
        for one in waiting {
            let (id, write, outcome) = one.await.unwrap();
            let text = unavailable(outcome);
            assert!(text.contains("database is locked"), "{text}");
            retries.push((id, write));
        }
        holder.execute_batch("ROLLBACK").unwrap();
        for (id, write) in retries {
            store.commit(NOW, id, write).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_database_that_was_moved_away_is_unavailable_until_it_is_back_or_replaced() {
        let (_directory, path) = scratch();
        let aside = path.with_extension("aside");
        let other = path.with_extension("other");
        filled(&other, 3).await;
        let store = SqliteStore::create(&path).unwrap();
        done(&store, vec![put("a", "1", When::Absent)]).await;
        fs::rename(&path, &aside).unwrap();
        let text = unavailable(store.commit(NOW, fresh_id(), vec![put("b", "1", When::Absent)]).await);
        assert!(text.contains("there is no database at"), "{text}");
        store.get(NOW, &[key("a")]).await.unwrap_err();
        fs::rename(&aside, &path).unwrap();
        done(&store, vec![put("b", "1", When::Absent)]).await;
        assert_eq!(body(&store, "a").await.as_deref(), Some("1"));
        drop(store);

        let store = SqliteStore::open(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(body(&store, "a").await, None);
        assert!(body(&store, "0002").await.is_some());
        done(&store, vec![put("c", "1", When::Absent)]).await;
        assert_eq!(rows_in_the_file(&path), 4);
    }

    #[tokio::test]
    async fn a_damaged_file_is_unavailable_where_it_is_damaged_and_never_a_panic() {
        let rows = 200;
        let (_directory, path) = scratch();
        filled(&path, rows).await;
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let middle = file.metadata().unwrap().len() / 2 / 4096 * 4096;
        file.seek(SeekFrom::Start(middle)).unwrap();
        file.write_all(&vec![0xff; 40 * 4096]).unwrap();
        drop(file);
        let (read, written) = use_all(&path, rows).await;
        println!("counted: {rows} rows in a damaged file, {read} readable, {written} written");
        assert!(read > 0 && read < rows, "{read}");
        assert!(written > 0 && written < rows, "{written}");
    }

    #[tokio::test]
    async fn a_truncated_file_is_unavailable_or_refused_and_never_a_panic() {
        let rows = 200;
        let (_directory, path) = scratch();
        filled(&path, rows).await;
        let whole = fs::metadata(&path).unwrap().len();
        for length in [whole / 4096 / 2 * 4096, whole / 3, 4096, 100] {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            let (read, written) = use_all(&path, rows).await;
            println!("counted: {rows} rows in a file cut to {length} bytes, {read} readable, {written} written");
            assert!(read < rows && written < rows);
        }
    }

    /// Reads and writes every row; says how many of each succeeded.
    async fn use_all(path: &Path, rows: usize) -> (usize, usize) {
        let Ok(store) = SqliteStore::open(path) else { return (0, 0) };
        let (mut read, mut written) = (0, 0);
        for n in 0..rows {
            let sort = format!("{n:04}");
            read += usize::from(store.get(NOW, &[key(&sort)]).await.is_ok_and(|rows| rows[0].is_some()));
            match store.commit(NOW, fresh_id(), vec![put(&sort, "new", When::Always)]).await {
                Ok(()) => written += 1,
                other => assert!(!unavailable(other).is_empty()),
            }
        }
        let _ = store.list(NOW, "test#rows", None, 1000).await;
        (read, written)
    }

    #[tokio::test]
    async fn rows_are_purged_a_day_after_their_purge_time_and_no_earlier() {
        let (_directory, path) = scratch();
        let store = SqliteStore::create(&path).unwrap();
        for n in 0..150 {
            let until = Timestamp(NOW.0 + n);
            done(&store, vec![put_until(&format!("{n}"), "", When::Absent, Some(until))]).await;
        }
        done(&store, vec![put("for ever", "", When::Absent)]).await;
        let day = 24 * 60 * 60;
        let tick = async |now: u64, times: usize| {
            for _ in 0..times {
                store.commit(Timestamp(now), fresh_id(), vec![check("none", When::Absent)]).await.unwrap();
            }
        };
        tick(NOW.0 + 149 + day / 2, 200).await;
        assert_eq!(rows_in_the_file(&path), 151, "nothing is purged within a day");
        for _ in 0..200 {
            // One caller's clock is a century ahead, another's is not.
            tick(NOW.0 + 100 * 365 * day, 1).await;
            tick(NOW.0, 1).await;
        }
        assert_eq!(rows_in_the_file(&path), 151, "a clock that is ahead does not decide alone");
        tick(NOW.0 + 49 + day, 200).await;
        assert_eq!(rows_in_the_file(&path), 101);
        tick(NOW.0 + 1000 + day, 200).await;
        assert_eq!(rows_in_the_file(&path), 1);
        assert!(row(&store, "for ever").await.is_some());
    }

    /// Runs itself again in a process whose files may not grow beyond a megabyte or two: for a file that is the same
    /// as a full disk, and it needs no privilege.
    #[test]
    fn a_full_disk_is_unavailable_loses_nothing_and_recovers_by_itself() {
        const MARK: &str = "GATEMINT_TEST_FULL_DISK";
        if let Some(directory) = std::env::var_os(MARK) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            return runtime.block_on(on_a_full_disk(&PathBuf::from(directory).join("gatemint.db")));
        }
        let (directory, _) = scratch();
        let child = Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; ulimit -S -f 2000; exec "$@""#, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("store::sqlite_file::a_full_disk_is_unavailable_loses_nothing_and_recovers_by_itself")
            .env(MARK, directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
        let counted = said.split_once("counted:").expect("the test ran in the child").1;
        println!("counted:{}", counted.lines().next().unwrap_or_default());
    }

    async fn on_a_full_disk(path: &Path) {
        let store = Arc::new(SqliteStore::create(path).unwrap());
        let big = "x".repeat(20_000);
        let mut acknowledged = Vec::new();
        let mut number = 0;
        let mut refused_in_a_row = Vec::new();
        // The first refusal is not the end: when the log is full there is room in the database for a while.
        while refused_in_a_row.len() < 5 {
            assert!(number < 10_000, "the limit does not hold");
            number += 1;
            let sort = format!("{number:05}");
            let id = fresh_id();
            let write = vec![put(&sort, &big, When::Absent)];
            match store.commit(NOW, id, write.clone()).await {
                Ok(()) => {
                    acknowledged.push((sort, id));
                    refused_in_a_row.clear();
                }
                other => {
                    let text = unavailable(other);
                    assert!(text.contains("disk"), "{text}");
                    refused_in_a_row.push((id, write));
                }
            }
        }
        let group: Vec<_> = (0..40)
            .map(|n| {
                let (store, big) = (Arc::clone(&store), big.clone());
                tokio::spawn(async move {
                    store.commit(NOW, fresh_id(), vec![put(&format!("group-{n}"), &big, When::Absent)]).await
                })
            })
            .collect();
        let mut refused = 0;
        for (n, one) in group.into_iter().enumerate() {
            let outcome = one.await.unwrap();
            if outcome.is_err() {
                unavailable(outcome);
                refused += 1;
            } else {
                assert!(row(&*store, &format!("group-{n}")).await.is_some());
            }
        }
        assert!(refused > 0);
        let keys: Vec<_> = acknowledged.iter().map(|(sort, _)| key(sort)).collect();
        let versions: Vec<_> = acknowledged.iter().map(|(_, id)| Some(*id)).collect();
        let read = async |store: &SqliteStore| -> Vec<Option<Version>> {
            store.get(NOW, &keys).await.unwrap().into_iter().map(|row| row.map(|row| row.version)).collect()
        };
        assert_eq!(read(&store).await, versions);

        let lifted = Command::new("prlimit")
            .args(["--fsize=unlimited:unlimited", "--pid", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(lifted.success());
        for (id, write) in refused_in_a_row {
            store.commit(NOW, id, write).await.unwrap();
        }
        done(&*store, vec![put("after", &big, When::Absent)]).await;
        assert_eq!(read(&store).await, versions);
        drop(store);
        assert_eq!(read(&SqliteStore::open(path).unwrap()).await, versions);
        println!("counted: {} commits acknowledged before the disk was full, all there", acknowledged.len());
    }
}
