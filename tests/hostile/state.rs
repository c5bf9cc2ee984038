use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rusqlite::Connection;
use serde_json::json;

use super::{Asker, PASSWORD};
use crate::support::{
    Tokens,
    process::{PROGRAM, Serve, gatemint, without_settings},
};

/// A running service with a session, and a user whose password nobody has used yet.
struct Bed {
    _home: tempfile::TempDir,
    data: PathBuf,
    serve: Serve,
    asker: Asker,
    tokens: Tokens,
}

impl Bed {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let serve = Serve::start(&data);
        Self::on(home, data, serve).await
    }

    async fn on(home: tempfile::TempDir, data: PathBuf, serve: Serve) -> Self {
        let asker = Asker::new(&serve);
        let tokens = asker.admin(&data).await;
        let user = asker.post_json("/v1/users", &tokens.access, &json!({"name": "ada", "password": PASSWORD})).await;
        assert_eq!(user.status, 201, "{user:?}");
        Self { _home: home, data, serve, asker, tokens }
    }

    fn database(&self) -> PathBuf {
        self.data.join("gatemint.db")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.with_extension("log")).unwrap()
    }

    /// Everything that writes answers 503 now; how many requests that were.
    async fn writes_are_refused(&self) -> usize {
        let refresh = async || self.asker.refresh(&self.tokens.refresh).await;
        let (a, b, c) = tokio::join!(refresh(), refresh(), refresh());
        let sign_in = self.asker.sign_in("ada", PASSWORD).await;
        let user = json!({"name": "eve", "password": PASSWORD});
        let created = self.asker.post_json("/v1/users", &self.tokens.access, &user).await;
        for heard in [&a, &b, &c, &sign_in, &created] {
            heard.assert_away();
        }
        for heard in [a, b, c, sign_in] {
            assert_eq!(heard.json["error"], "temporarily_unavailable");
        }
        5
    }

    /// What the log tells of failed requests, each with its cause: as many as that at least. A line may come a moment after
    /// the answer that it is about.
    fn causes(&self, at_least: usize) -> Vec<String> {
        let mut causes = Vec::new();
        for _ in 0..500 {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            causes = lines
                .filter(|line| line["level"] == "ERROR")
                .filter_map(|line| Some(line["cause"].as_str()?.to_owned()))
                .collect();
            if causes.len() >= at_least {
                return causes;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{at_least} causes were expected in the log: {causes:?}");
    }

    /// Nothing was lost and nothing has to be restarted: the same token refreshes, the user signs in, once.
    async fn recovers(mut self) {
        self.tokens = self.asker.refresh(&self.tokens.refresh).await.tokens();
        assert_eq!(self.asker.get("/v1/me", &self.tokens.access).await.status, 200);
        self.asker.sign_in("ada", PASSWORD).await.tokens();
        let absent = self.asker.get("/v1/users/eve", &self.tokens.access).await;
        assert_eq!(absent.status, 404, "what was refused was not done: {absent:?}");
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(self.serve.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_store_is_a_503_for_writers_and_recovers_by_itself() {
    let bed = Bed::new().await;
    let lock = Connection::open(bed.database()).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = bed.writes_are_refused().await;
    assert_eq!(bed.asker.get("/v1/me", &bed.tokens.access).await.status, 200, "reading goes on");
    assert_eq!(bed.asker.get("/healthz", "").await.status, 200);
    let causes = bed.causes(refused);
    assert!(causes.iter().all(|cause| cause.contains("locked")), "{causes:?}");
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    bed.recovers().await;
    println!("counted: {refused} requests to a locked store, {refused} answered 503 with a logged cause, 0 restarts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_store_is_a_503_with_its_cause_in_the_log_and_recovers_when_it_is_mended() {
    let bed = Bed::new().await;
    // Everything into the database itself, and out of the log that would still have it right.
    let connection = Connection::open(bed.database()).unwrap();
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
    drop(connection);
    let right = fs::read(bed.database()).unwrap();
    assert!(right.len() >= 8192);
    let overwrite = |bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(bed.database()).unwrap();
        file.write_all_at(bytes, 4096).unwrap();
        file.sync_all().unwrap();
    };
    overwrite(&vec![0xa5; right.len() - 4096]);
    let me = bed.asker.get("/v1/me", &bed.tokens.access).await;
    me.assert_away();
    let refused = 2 + bed.writes_of_a_corrupt_store().await;
    let ready = bed.asker.get("/readyz", "").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(bed.asker.get("/healthz", "").await.status, 200);
    assert_eq!(bed.asker.get("/.well-known/jwks.json", "").await.status, 200, "in memory");
    let causes = bed.causes(refused);
    assert!(causes.iter().all(|cause| cause.contains("malformed")), "{causes:?}");
    overwrite(&right[4096..]);
    bed.recovers().await;
    println!("counted: {refused} requests to a corrupt store, {refused} answered 503 with a logged cause, 0 restarts");
}

impl Bed {
    async fn writes_of_a_corrupt_store(&self) -> usize {
        for heard in [
            self.asker.refresh(&self.tokens.refresh).await,
            self.asker.sign_in("ada", PASSWORD).await,
            self.asker.sign_in("nobody", PASSWORD).await,
            self.asker.form("/oauth2/revoke", &[("token", &self.tokens.refresh)]).await,
        ] {
            heard.assert_away();
        }
        4
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_503_for_writers_and_recovers_when_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // A file that may not grow is the same as a disk that is full, and it needs no privilege.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$@""#, "sh", PROGRAM]);
    let serve = Serve::launch(without_settings(shell), &data, &[("GATEMINT_LOG", "error")]);
    let mut bed = Bed::on(home, data, serve).await;
    for _ in 0..40 {
        bed.tokens = bed.asker.refresh(&bed.tokens.refresh).await.tokens();
    }
    let limit = |bytes: &str| {
        let limited = Command::new("prlimit")
            .arg(format!("--fsize={bytes}:"))
            .args(["--pid", &bed.serve.id().to_string()])
            .status();
        assert!(limited.unwrap().success());
    };
    let wal = fs::metadata(bed.data.join("gatemint.db-wal")).unwrap().len();
    assert!(bed.log().len() < 10_000 && wal > 100_000, "room for the log: {wal}");
    limit(&wal.to_string());
    let refused = bed.writes_are_refused().await;
    assert_eq!(bed.asker.get("/v1/me", &bed.tokens.access).await.status, 200, "reading goes on");
    let causes = bed.causes(refused);
    assert!(causes.iter().all(|cause| cause.contains("disk")), "{causes:?}");
    limit("unlimited");
    bed.recovers().await;
    println!("counted: {refused} requests on a full disk, {refused} answered 503 with a logged cause, 0 restarts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_store_is_a_503_and_recovers_when_it_can_be_written_again() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // Permissions do not bind root: as root the service runs as somebody else, in a home of his own.
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let program = home.path().join("gatemint");
    fs::copy(PROGRAM, &program).unwrap();
    let mut command = Command::new(&program);
    if root {
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let serve = Serve::launch(without_settings(command), &data, &[]);
    let bed = Bed::on(home, data, serve).await;
    // A backup is put in place, as it should be but for its mode.
    let backup = bed.data.join("backup.db");
    let connection = Connection::open(bed.database()).unwrap();
    connection.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    drop(connection);
    if root {
        chown(&backup, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&backup, 0o400);
    for beside in ["gatemint.db-wal", "gatemint.db-shm"] {
        fs::remove_file(bed.data.join(beside)).unwrap();
    }
    fs::rename(&backup, bed.database()).unwrap();
    mode(&bed.data, 0o500);
    let refused = bed.writes_are_refused().await;
    let causes = bed.causes(refused);
    assert!(causes.iter().all(|cause| cause.contains("gatemint.db")), "{causes:?}");
    assert!(causes.iter().any(|cause| cause.contains("readonly") || cause.contains("read-only")), "{causes:?}");
    mode(&bed.data, 0o700);
    mode(&bed.database(), 0o600);
    bed.recovers().await;
    println!(
        "counted: {refused} requests to a read-only store, {refused} answered 503 with a logged cause, 0 restarts"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_a_newer_format_is_a_503_and_stays_as_it_is() {
    let bed = Bed::new().await;
    let connection = Connection::open(bed.database()).unwrap();
    let replace = |old: &str, new: &str| {
        connection
            .execute("UPDATE items SET body = replace(body, ?1, ?2) WHERE partition LIKE 'session#%'", [old, new])
            .unwrap()
    };
    assert_eq!(replace(r#"{"v":1,"#, r#"{"v":7,"#), 1);
    for _ in 0..3 {
        bed.asker.refresh(&bed.tokens.refresh).await.assert_away();
    }
    let causes = bed.causes(3);
    assert!(causes.iter().all(|cause| cause.contains("format 7 is not known")), "{causes:?}");
    assert_eq!(replace(r#"{"v":7,"#, "damaged"), 1);
    bed.asker.refresh(&bed.tokens.refresh).await.assert_away();
    assert_eq!(replace("damaged", r#"{"v":1,"#), 1);
    drop(connection);
    bed.recovers().await;
    println!("counted: 4 requests to rows that cannot be read, 4 answered 503 with a logged cause, 0 rows changed");
}

/// Starts it where it must refuse; what it said.
fn refuses(data: &Path) -> String {
    let output = gatemint()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "no greeting: {}", String::from_utf8_lossy(&output.stdout));
    assert!(!said.contains("panicked"), "{said}");
    // The operator's commands refuse alike.
    let listed = gatemint().args(["user", "list", "--data"]).arg(data).stdin(Stdio::null()).output().unwrap();
    assert_eq!(listed.status.code(), Some(1), "{}", String::from_utf8_lossy(&listed.stderr));
    said
}

#[test]
fn a_data_directory_that_others_can_enter_is_refused_with_the_command_that_mends_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert!(Serve::start(&data).terminate().success());
    let mut tried = 0;
    let places = [
        "",
        "vault",
        "vault/keys",
        "vault/keys/gatemint-jwt-secret.json",
        "vault/refresh/gatemint-refresh-secret.json",
    ];
    for place in places {
        let path = data.join(place);
        for extra in [0o040, 0o004, 0o044, 0o020, 0o002, 0o001, 0o077] {
            let before = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            fs::set_permissions(&path, fs::Permissions::from_mode(before | extra)).unwrap();
            let said = refuses(&data);
            // The command that it says is the one that helps.
            let command = said.split("chmod ").nth(1).unwrap_or_else(|| panic!("{said}"));
            let command = command.split(['`', '\n']).next().unwrap();
            assert!(Command::new("sh").args(["-c", &format!("chmod {command}")]).status().unwrap().success(), "{said}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, before, "{said}");
            tried += 1;
        }
    }
    assert!(Serve::start(&data).terminate().success());
    println!(
        "counted: {tried} modes of 5 files and directories refused with exit 1, each mended by the command it named"
    );
}

#[test]
fn data_of_a_newer_format_or_of_something_else_are_refused_and_left_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert!(Serve::start(&data).terminate().success());
    let database = data.join("gatemint.db");
    let pragma = |text: &str| Connection::open(&database).unwrap().execute_batch(text).unwrap();
    pragma("PRAGMA user_version=99");
    let said = refuses(&data);
    assert!(said.contains("data format 99") && said.contains("gatemint.db"), "{said}");
    pragma("PRAGMA user_version=1; PRAGMA application_id=7");
    assert!(refuses(&data).contains("another application's"));
    pragma("PRAGMA application_id=0x676d6e74");
    let right = fs::read(&database).unwrap();
    let mut tried = 2;
    for (bytes, what) in [
        (b"not a database at all, just some text that is long enough to be one".repeat(100), "not a gatemint database"),
        (vec![0; 8192], "gatemint.db"),
        ([b"SQLite format 3\0".as_slice(), &[0xff; 8000]].concat(), "gatemint.db"),
    ] {
        fs::write(&database, &bytes).unwrap();
        let said = refuses(&data);
        assert!(said.contains(what), "{said}");
        assert_eq!(fs::read(&database).unwrap(), bytes, "left as it was");
        tried += 1;
    }
    fs::write(&database, &right).unwrap();
    // The vault's documents too.
    for secret in ["vault/keys/gatemint-jwt-secret.json", "vault/refresh/gatemint-refresh-secret.json"] {
        let path = data.join(secret);
        let right = fs::read(&path).unwrap();
        let text = String::from_utf8(right.clone()).unwrap();
        let newer = text.replacen(r#""v":1"#, r#""v":99"#, 1).replacen(r#""format":1"#, r#""format":99"#, 1);
        for wrong in
            [newer.into_bytes(), b"{}".to_vec(), b"".to_vec(), b"\xff\xfe".to_vec(), right[..right.len() / 2].to_vec()]
        {
            assert_ne!(wrong, right, "{text:.40}");
            fs::write(&path, &wrong).unwrap();
            let output = gatemint()
                .args(["serve", "--listen", "127.0.0.1:0", "--data"])
                .arg(&data)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(secret.rsplit('/').next().unwrap().trim_end_matches(".json")), "{said}");
            assert_eq!(fs::read(&path).unwrap(), wrong, "left as it was");
            tried += 1;
        }
        fs::write(&path, &right).unwrap();
    }
    // A file where the directory should be, and a directory where the file should be.
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refuses(&file).contains("file"));
    let odd = home.path().join("odd");
    fs::create_dir_all(odd.join("gatemint.db")).unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(refuses(&odd).contains("gatemint.db"));
    tried += 2;
    assert!(Serve::start(&data).terminate().success());
    println!("counted: {tried} data directories of a newer format, damaged or of something else, refused with exit 1");
}
