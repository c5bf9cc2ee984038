//! What happens to a file and not to a table.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use gatemint::{
    clock::Timestamp,
    store::{OpenError, SqliteStore, Store, Version, When},
};
use rusqlite::Connection;

use super::{
    conformance::{NOW, body, check, done, fresh_id, key, put, put_until, row, unavailable},
    scratch,
};

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
