//! How much memory a run takes: in a process of its own, beside one with fewer namespaces. The state is in a SQLite file, and
//! the vault forgets what it is given, so that only what the run itself holds is seen.

use std::{path::Path, process::Command, sync::Arc};

use async_trait::async_trait;
use gatemint::{
    domain::Secret,
    store::SqliteStore,
    vault::{FileVault, SecretVersion, Vault, VaultError},
};

use super::{FEW, MANY, place::Place};
use crate::table::Row;

/// How much more a run over ten times as many namespaces may take, in MB.
const MOST_MORE: f64 = 8.0;

/// Remembers keys and forgets tokens.
struct Forgetful(FileVault);

#[async_trait]
impl Vault for Forgetful {
    async fn current(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        self.0.current(name).await
    }
    async fn create(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.0.create(name, value).await
    }
    async fn stage(&self, name: &str, request_id: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.0.stage(name, request_id, value).await
    }
    async fn staged(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        self.0.staged(name).await
    }
    async fn unstage(&self, name: &str, request_id: &str) -> Result<(), VaultError> {
        self.0.unstage(name, request_id).await
    }
    async fn promote(&self, name: &str, request_id: &str, from: &str) -> Result<(), VaultError> {
        self.0.promote(name, request_id, from).await
    }
    async fn put(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        if name.starts_with("fresh/") { Ok(()) } else { self.0.put(name, value).await }
    }
    async fn delete(&self, name: &str) -> Result<(), VaultError> {
        self.0.delete(name).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        self.0.list(prefix).await
    }
}

/// Prints the most memory, in kB, that this process had resident when it has run over all namespaces of a directory.
pub(crate) fn child(directory: &Path, count: usize) {
    let store = Arc::new(SqliteStore::open(&directory.join("ours.db")).unwrap());
    let vault = Arc::new(Forgetful(FileVault::open(&directory.join("vault")).unwrap()));
    let place = Place::as_it_is(store, vault, count);
    for _ in 0..3 {
        place.run();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    println!("{}", peak.trim());
}

/// The most memory of a run over so many, in MB.
fn peak(count: usize) -> f64 {
    // On the disk that is built on: a temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = SqliteStore::create(&directory.path().join("ours.db")).unwrap();
    let vault = FileVault::create(&directory.path().join("vault")).unwrap();
    // In this process: a password is hashed for it, which takes more memory than any run.
    drop(Place::without_tokens(Arc::new(store), Arc::new(vault), count));
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["memory", &count.to_string()]).arg(directory.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let peak = printed.trim().parse::<f64>();
    peak.unwrap_or_else(|_| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr))) / 1024.0
}

/// Many namespaces beside few.
pub(crate) fn row() -> Row {
    let (few, many) = (peak(FEW), peak(MANY));
    Row {
        what: "peak resident memory of a run over 10,000 namespaces, SQLite; beside 1,000".to_owned(),
        floor: format!("{few:.1} MB"),
        ours: format!("{many:.1} MB"),
        against: format!("{:+.1} MB", many - few),
        target: format!("≤ +{MOST_MORE:.0} MB"),
        met: Some(many - few <= MOST_MORE),
    }
}
