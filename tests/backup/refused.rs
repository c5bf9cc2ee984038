use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use gatemint::vault::FileVault;
use rusqlite::Connection;

use super::{back_up, command, names, refused, restore, said, started};
use crate::support::process::{PROGRAM, without_settings};

/// A file with this content that only its owner may read.
fn private(path: &Path, content: &[u8]) -> PathBuf {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

#[test]
fn what_is_no_backup_or_not_as_it_was_written_is_refused_with_a_reason() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let good = home.path().join("good");
    back_up(&good, &data);
    let bytes = fs::read(&good).unwrap();
    let place = home.path().join("place");
    fs::create_dir(&place).unwrap();
    let target = place.join("restored");
    let mut tried = 0;
    let mut refuses = |file: &Path, words: &[&str]| {
        let before = fs::read(file).ok();
        refused(&command("restore", file, &target, &[]).output().unwrap(), words);
        assert_eq!(names(&place), [""; 0], "nothing is left");
        assert_eq!(fs::read(file).ok(), before, "the file stays as it is");
        tried += 1;
    };

    refuses(&home.path().join("missing"), &["there is no file"]);
    refuses(home.path(), &["not a gatemint backup"]);
    refuses(&private(&home.path().join("empty"), b""), &["not a gatemint backup"]);
    refuses(&private(&home.path().join("text"), &b"no database at all\n".repeat(1000)), &["not a gatemint backup"]);
    refuses(&data.join("gatemint.db"), &["not a gatemint backup", "a store's own database"]);
    let other = home.path().join("other");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    refuses(&other, &["not a gatemint backup"]);

    // Cut off anywhere.
    let cut = home.path().join("cut");
    for length in [1, 50, 100, 512, 4095, 4096, 5000, 8192, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        private(&cut, &bytes[..length]);
        refuses(&cut, &[cut.to_str().unwrap()]);
    }
    // A byte is another one: wherever it is, it is noticed, or it was of no account.
    let flipped = home.path().join("flipped");
    let mut harmless = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        private(&flipped, &changed);
        let output = command("restore", &flipped, &target, &["--json"]).output().unwrap();
        if output.status.success() {
            // In a part of a page that holds nothing.
            harmless += 1;
            fs::remove_dir_all(&target).unwrap();
        } else {
            refused(&output, &[flipped.to_str().unwrap()]);
        }
        assert_eq!(names(&place), [""; 0]);
    }
    assert!(harmless < 90, "{harmless} of 97 are not noticed");

    // Changed by somebody who knows SQLite.
    let tampered = home.path().join("tampered");
    for change in [
        "UPDATE items SET body = replace(body, '\"admin\"', '\"mallory\"') WHERE body LIKE '%\"admin\"%'",
        "DELETE FROM items WHERE partition LIKE 'account#%'",
        "INSERT INTO items VALUES ('account#x', 'x', x'00', NULL, '{}')",
        "UPDATE items SET expires_at = 1 WHERE expires_at IS NULL",
        "UPDATE vault SET content = x'7b7d'",
        "UPDATE vault SET name = '../../' || name",
        "DELETE FROM vault",
        "UPDATE facts SET value = 'http://elsewhere' WHERE name = 'issuer'",
        "UPDATE facts SET value = '' WHERE name = 'sha256'",
        "DELETE FROM facts",
        "DROP TABLE vault",
        "CREATE TABLE more (x)",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER more AFTER INSERT ON items BEGIN SELECT 1; END",
        "ALTER TABLE items RENAME TO kept; CREATE VIEW items AS SELECT * FROM kept",
    ] {
        private(&tampered, &bytes);
        Connection::open(&tampered).unwrap().execute_batch(change).unwrap();
        refuses(&tampered, &["damaged", "use another backup"]);
    }
    for change in ["PRAGMA user_version = 2", "UPDATE facts SET value = '2' WHERE name = 'store_format'"] {
        private(&tampered, &bytes);
        Connection::open(&tampered).unwrap().execute_batch(change).unwrap();
        refuses(&tampered, &["made by a newer gatemint"]);
    }
    private(&tampered, &bytes);
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&tampered, fs::Permissions::from_mode(mode)).unwrap();
        refuses(&tampered, &["private keys", "chmod 600"]);
    }

    restore(&good, &target);
    println!("counted: {tried} files refused, 97 bytes changed of which {harmless} were of no account");
}

#[test]
fn what_is_there_is_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let file = home.path().join("backup");
    back_up(&file, &data);
    let kept = fs::read(&file).unwrap();
    let number = fs::metadata(&file).unwrap().ino();
    refused(&command("backup", &file, &data, &[]).output().unwrap(), &["there already", "--force"]);
    assert_eq!(fs::read(&file).unwrap(), kept);
    let again = command("backup", &file, &data, &["--force"]).output().unwrap();
    assert!(again.status.success(), "{}", said(&again));
    assert_ne!(fs::metadata(&file).unwrap().ino(), number, "it is another file");

    // What is no backup stays, whatever is said: the store itself least of all.
    let diary = private(&home.path().join("diary"), b"dear diary");
    let database = data.join("gatemint.db");
    for other in [&diary, &database] {
        let before = fs::read(other).unwrap();
        refused(&command("backup", other, &data, &["--force"]).output().unwrap(), &["is not a gatemint backup"]);
        assert_eq!(fs::read(other).unwrap(), before);
    }
    refused(&command("backup", &home.path().join("no/where"), &data, &[]).output().unwrap(), &["make it first"]);

    let full = home.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("x"), "").unwrap();
    refused(&command("restore", &file, &full, &[]).output().unwrap(), &["not empty"]);
    refused(&command("restore", &file, &data, &[]).output().unwrap(), &["not empty"]);
    refused(&command("restore", &file, &diary, &[]).output().unwrap(), &["cannot be restored into"]);
    assert_eq!(names(&full), ["x"]);
    fs::remove_file(full.join("x")).unwrap();
    restore(&file, &full);

    let never = home.path().join("never");
    refused(
        &command("backup", &home.path().join("b"), &never, &[]).output().unwrap(),
        &["there is no data directory", "gatemint serve"],
    );
    println!("counted: 7 things that were there stayed");
}

#[test]
fn on_a_full_disk_nothing_is_left_behind() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    super::lengthen(&data, 3);
    let place = home.path().join("place");
    fs::create_dir(&place).unwrap();
    let file = home.path().join("good");
    back_up(&file, &data);
    // A file that may not grow is the same as a disk that is full, and it needs no privilege.
    let on_a_full_disk = |what: &str, file: &Path, data: &Path, kilobytes: usize| {
        let mut shell = Command::new("sh");
        let script = format!(r#"trap "" XFSZ; ulimit -f {}; exec "$@""#, kilobytes * 2);
        shell.args(["-c", &script, "sh", PROGRAM, what]).arg(file).arg("--data").arg(data);
        without_settings(shell).output().unwrap()
    };
    let mut tried = 0;
    for kilobytes in [0, 4, 100, 1000, 2900] {
        refused(&on_a_full_disk("backup", &place.join("backup"), &data, kilobytes), &["gatemint: "]);
        assert_eq!(names(&place), [""; 0], "at {kilobytes} KiB");
        refused(&on_a_full_disk("restore", &file, &place.join("restored"), kilobytes), &["gatemint: "]);
        assert_eq!(names(&place), [""; 0], "at {kilobytes} KiB");
        tried += 2;
    }
    back_up(&place.join("backup"), &data);
    restore(&file, &place.join("restored"));
    println!("counted: {tried} full disks, nothing left behind");
}

#[test]
fn a_secret_from_a_backup_gets_no_name_that_leads_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let vault = FileVault::create(&home.path().join("vault")).unwrap();
    let content = br#"{"v":1,"current":{"id":"1","value":"c2VjcmV0"}}"#;
    let names =
        ["../out", "..", "a/../../out", "/etc/out", "", ".hidden", "a//b", "a/.b", "A", "a\0b", "a.json", "a\\b"];
    for name in names {
        assert!(vault.paste(name, content).is_err(), "{name}");
    }
    for content in [
        &b""[..],
        b"{}",
        br#"{"v":2,"current":{"id":"1","value":"c2VjcmV0"}}"#,
        br#"{"v":1,"current":{"id":"1","value":"?"}}"#,
    ] {
        assert!(vault.paste("good", content).is_err());
    }
    vault.paste("good/name", content).unwrap();
    assert!(vault.paste("good/name", content).is_err(), "nothing is replaced");
    let ((), files) = vault.copy(|| ()).unwrap();
    assert_eq!(files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["good/name"]);
    println!("counted: {} names refused", names.len());
}
