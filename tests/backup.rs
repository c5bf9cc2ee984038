//! A backup is of one moment, whatever goes on meanwhile, and what is made of it works; anything else is refused.

// What is no backup, or not as it was written, and what gets in the way.
mod refused;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::http::{Method, StatusCode};
use rusqlite::{Connection, params};
use serde_json::Value;
use tokio::sync::Notify;

use crate::{
    kill::{assert_private, tree},
    race::generation,
    support::{
        PASSWORD, Tokens,
        asking::{Asking, claims},
        process::{Serve, gatemint, given, operator},
    },
};

/// A command of the program with a file, on a data directory.
fn command(what: &str, file: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = gatemint();
    command.arg(what).arg(file).arg("--data").arg(data).args(more).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn back_up(file: &Path, data: &Path) -> Value {
    let made = done(&command("backup", file, data, &["--json"]).output().unwrap());
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
    made
}

fn restore(file: &Path, data: &Path) -> Value {
    let restored = done(&command("restore", file, data, &["--json"]).output().unwrap());
    assert_private(data);
    restored
}

/// A directory that was started once, and serves no more.
fn started(home: &Path) -> PathBuf {
    let data = home.join("data");
    assert_eq!(Serve::start(&data).terminate().code(), Some(0));
    data
}

/// What is in a directory, by name.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every session's generation, as a store's file has it.
fn generations(data: &Path) -> HashMap<String, u32> {
    let connection = Connection::open(data.join("gatemint.db")).unwrap();
    let mut statement = connection.prepare("SELECT body FROM items WHERE partition LIKE 'session#%'").unwrap();
    let bodies = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    bodies
        .map(|body| serde_json::from_str::<Value>(&body.unwrap()).unwrap()["record"].clone())
        .map(|record| {
            (record["id"].as_str().unwrap().to_owned(), u32::try_from(record["generation"].as_u64().unwrap()).unwrap())
        })
        .collect()
}

/// A session with every token that it ever had.
struct Chain {
    session: String,
    tokens: Vec<Tokens>,
}

impl Chain {
    async fn open(asking: &Asking, name: &str) -> Self {
        let answer = asking.password(name, PASSWORD).await;
        let session = answer.json["session_state"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned();
        Self { session, tokens: vec![answer.tokens()] }
    }

    async fn step(&mut self, asking: &Asking) {
        let tokens = asking.refresh(&self.tokens.last().unwrap().refresh).await.tokens();
        assert_eq!(generation(&tokens.refresh) as usize, self.tokens.len());
        self.tokens.push(tokens);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_goes_on_from_where_it_was_when_the_backup_was_made() {
    const USERS: usize = 4;
    const BUSY: usize = 12;
    const IDLE: usize = 8;
    const BACKUPS: usize = 5;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let issuer = serve.url.clone();
    for user in 0..USERS {
        let mut create = gatemint();
        create.args(["user", "create", &format!("user-{user}"), "--password-stdin", "--data"]).arg(&data);
        assert!(given(&mut create, PASSWORD.as_bytes()).status.success());
    }
    let asking = Asking::at(&serve.url);
    let mut chains = Vec::new();
    for n in 0..BUSY + IDLE {
        chains.push(Chain::open(&asking, &format!("user-{}", n % USERS)).await);
    }
    let mut idle = chains.split_off(BUSY);
    for chain in &mut idle {
        chain.step(&asking).await;
    }

    let (refreshed, progress) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = chains
        .into_iter()
        .map(|mut chain| {
            let (asking, refreshed, progress) = (Asking::at(&serve.url), refreshed.clone(), progress.clone());
            let enough = enough.clone();
            tokio::spawn(async move {
                while !enough.load(Ordering::SeqCst) {
                    chain.step(&asking).await;
                    refreshed.fetch_add(1, Ordering::SeqCst);
                    progress.notify_one();
                }
                chain
            })
        })
        .collect();
    let mut made = Vec::new();
    for n in 0..BACKUPS {
        let goal = refreshed.load(Ordering::SeqCst) + 60;
        while refreshed.load(Ordering::SeqCst) < goal {
            progress.notified().await;
        }
        let file = home.path().join(format!("backup-{n}"));
        let (from, to) = (data.clone(), file.clone());
        let before = refreshed.load(Ordering::SeqCst);
        let view = tokio::task::spawn_blocking(move || back_up(&to, &from)).await.unwrap();
        assert_eq!(view["issuer"], issuer.as_str());
        made.push((file, view, refreshed.load(Ordering::SeqCst) - before));
    }
    enough.store(true, Ordering::SeqCst);
    let mut chains = idle;
    for client in clients {
        chains.push(client.await.unwrap());
    }
    assert_eq!(serve.terminate().code(), Some(0));
    let during: usize = made.iter().map(|(_, _, during)| during).sum();
    assert!(during > 0, "refreshes went on while backups were made");

    let (mut went_on, mut verified, mut ended) = (0, 0, 0);
    for (n, (file, view, _)) in made.iter().enumerate() {
        let restored = home.path().join(format!("restored-{n}"));
        assert_eq!(&restore(file, &restored), view, "what is restored is what was backed up");
        assert_eq!(names(&restored), ["gatemint.db", "vault"], "and the first password is not part of it");
        let held = generations(&restored);
        assert_eq!(held.len(), chains.len());
        let serve = Serve::start(&restored);
        let asking = Asking::at(&serve.url);
        let keys = asking.get("/.well-known/jwks.json").await.json;
        for (place, chain) in chains.iter().enumerate() {
            let at = held[&chain.session] as usize;
            let tokens = &chain.tokens[at];
            if place < IDLE {
                assert_eq!(at, chain.tokens.len() - 1, "an idle session is at its latest token");
            }
            let me = asking.v1(Method::GET, "/v1/me", &tokens.access, None).await;
            assert_eq!(me.status, StatusCode::OK, "{}", me.text);
            let inspected = claims(&tokens.access);
            assert_eq!(
                (&inspected["iss"], &inspected["sid"]),
                (&issuer.as_str().into(), &chain.session.as_str().into())
            );
            verified += 1;
            if place >= IDLE && place % 3 == 0 && at + 1 < chain.tokens.len() {
                // Refreshed after the backup: its token is ahead of the row, as a thief's would be.
                let ahead = asking.refresh(&chain.tokens.last().unwrap().refresh).await;
                assert_eq!(ahead.refusal().1, "invalid_grant", "{}", ahead.text);
                let after = asking.refresh(&tokens.refresh).await;
                assert_eq!(after.refusal().1, "invalid_grant", "the session has ended: {}", after.text);
                ended += 1;
                continue;
            }
            let next = asking.refresh(&tokens.refresh).await.tokens();
            assert_eq!(generation(&next.refresh) as usize, at + 1);
            let me = asking.v1(Method::GET, "/v1/me", &next.access, None).await;
            assert_eq!(me.status, StatusCode::OK, "{}", me.text);
            assert_eq!(claims(&next.access)["iss"], issuer.as_str(), "the issuer is the one that was recorded");
            went_on += 1;
        }
        for user in 0..USERS {
            asking.password(&format!("user-{user}"), PASSWORD).await.tokens();
        }
        assert!(!keys["keys"].as_array().unwrap().is_empty());
        assert_eq!(serve.terminate().code(), Some(0));
    }
    assert!(ended > 0, "some had moved on");
    println!(
        "counted: {BACKUPS} backups under load, {during} refreshes while they were made, {went_on} sessions went on, \
         {verified} access tokens verified, {ended} sessions that had moved on ended"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_keys_are_replaced_has_rows_and_keys_that_fit() {
    const ROTATIONS: usize = 6;
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let password = fs::read_to_string(data.join("admin-password")).unwrap();
    let rotations = Arc::new(AtomicUsize::new(0));
    let rotating = {
        let (data, rotations) = (data.clone(), rotations.clone());
        std::thread::spawn(move || {
            for n in 0..ROTATIONS {
                let more =
                    if n % 2 == 0 { &["key", "rotate", "--now"][..] } else { &["key", "rotate", "--refresh", "--now"] };
                let output = operator(&data, more);
                assert!(output.status.success(), "{}", said(&output));
                rotations.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let mut files = Vec::new();
    while rotations.load(Ordering::SeqCst) < ROTATIONS && !rotating.is_finished() {
        files.push(home.path().join(format!("backup-{}", files.len())));
        back_up(files.last().unwrap(), &data);
    }
    rotating.join().unwrap();
    let mut signers = std::collections::HashSet::new();
    let mut served = 0;
    for (n, file) in files.iter().enumerate() {
        let restored = home.path().join(format!("restored-{n}"));
        // A restore warns when a service cannot be started on what it made: no key signs, or no pepper is there.
        let output = command("restore", file, &restored, &[]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
        if n % 3 != 0 {
            continue;
        }
        let serve = Serve::start(&restored);
        let asking = Asking::at(&serve.url);
        let ready = asking.get("/readyz").await;
        assert_eq!(ready.status, StatusCode::OK, "{}", ready.text);
        let tokens = asking.password("admin", &password).await.tokens();
        let me = asking.v1(Method::GET, "/v1/me", &tokens.access, None).await;
        assert_eq!(me.status, StatusCode::OK, "{}", me.text);
        asking.refresh(&tokens.refresh).await.tokens();
        signers.insert(tokens.access.split('.').next().unwrap().to_owned());
        served += 1;
    }
    assert!(signers.len() > 1, "keys were replaced between backups");
    println!(
        "counted: {} backups during {ROTATIONS} rotations, all fit to start on; {served} were, and {} different keys signed",
        files.len(),
        signers.len()
    );
}

/// Makes a store long, so that copying it takes a while: rows that no service asks for.
fn lengthen(data: &Path, megabytes: usize) {
    let mut connection = Connection::open(data.join("gatemint.db")).unwrap();
    let transaction = connection.transaction().unwrap();
    let body = "x".repeat(10_000);
    for n in 0..megabytes * 100 {
        transaction
            .execute(
                "INSERT INTO items (partition, sort, version, body) VALUES ('test#long', ?1, ?2, ?3)",
                params![format!("{n:08}"), [0_u8; 16], body],
            )
            .unwrap();
    }
    transaction.commit().unwrap();
}

/// Begins a command and waits until its draft, or what is in it, has so many bytes. What a kill has left there is not it.
fn begun(mut command: Command, draft: &Path, bytes: u64) -> Child {
    // Held open, so that the system gives its number to no other.
    let left = fs::File::open(draft).ok();
    let left_number = left.as_ref().map(|left| left.metadata().unwrap().ino());
    let is_new = || fs::metadata(draft).is_ok_and(|data| Some(data.ino()) != left_number);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let size = || tree(draft).iter().filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum::<u64>();
    while !is_new() || size() < bytes {
        assert!(child.try_wait().unwrap().is_none(), "it was done before it was noticed");
        std::hint::spin_loop();
    }
    child
}

#[test]
fn a_backup_or_restore_that_is_ended_in_the_middle_leaves_nothing_that_could_be_taken_for_one() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    lengthen(&data, 150);
    let place = home.path().join("backups");
    fs::create_dir(&place).unwrap();
    let file = place.join("backup");
    let draft = place.join(".backup.draft");
    let mut ended = 0;
    for bytes in [1, 10 << 20, 50 << 20] {
        let mut child = begun(command("backup", &file, &data, &[]), &draft, bytes);
        assert_eq!(fs::metadata(&draft).unwrap().permissions().mode() & 0o7777, 0o600, "from the beginning");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!file.exists());
        for signal in ["-TERM", "-INT", "-HUP"] {
            // What a kill has left is in nobody's way.
            let child = begun(command("backup", &file, &data, &[]), &draft, bytes);
            assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
            refused(&child.wait_with_output().unwrap(), &["stopped; nothing was written"]);
            assert_eq!(names(&place), [""; 0], "nothing is left");
            ended += 1;
        }
        ended += 1;
    }
    back_up(&file, &data);
    assert_eq!(names(&place), ["backup"]);

    let target = home.path().join("restored");
    let draft = home.path().join(".restored.restoring");
    for bytes in [1, 20 << 20] {
        let mut child = begun(command("restore", &file, &target, &[]), &draft, bytes);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!target.exists());
        let child = begun(command("restore", &file, &target, &[]), &draft, bytes);
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        refused(&child.wait_with_output().unwrap(), &["stopped; nothing was written"]);
        assert!(!target.exists() && !draft.exists());
        ended += 2;
    }
    restore(&file, &target);
    assert!(!draft.exists());
    for data in [&data, &target] {
        assert_eq!(Serve::start(data).terminate().code(), Some(0), "both are as they should be");
    }
    println!("counted: {ended} backups and restores ended in the middle, none left a file");
}

#[test]
fn a_list_tells_whose_password_hash_is_weaker_than_todays() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    for user in ["ada", "eve"] {
        let mut create = gatemint();
        create.args(["user", "create", user, "--password-stdin", "--data"]).arg(&data);
        assert!(given(&mut create, PASSWORD.as_bytes()).status.success());
    }
    let listed = |more: &[&str]| {
        let output = operator(&data, &[&["user", "list", "--stale-hash"], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(serde_json::from_str::<Value>(&listed(&["--json"])).unwrap(), serde_json::json!([]));
    let connection = Connection::open(data.join("gatemint.db")).unwrap();
    let changed = connection
        .execute(
            "UPDATE items SET body = replace(body, 'm=19456,t=2', 'm=19456,t=1') WHERE partition LIKE 'account#%' \
             AND json_extract(body, '$.record.name') = 'eve'",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    let json: Value = serde_json::from_str(&listed(&["--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().iter().map(|user| &user["name"]).collect::<Vec<_>>(), ["eve"]);
    let shown = listed(&[]);
    assert!(shown.contains("eve") && !shown.contains("ada") && !shown.contains("argon"), "{shown}");
    println!("counted: 1 weak hash found among 3");
}
