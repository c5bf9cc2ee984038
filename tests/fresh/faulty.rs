//! A vault and a store that do what happens to real ones: they are slow, away, out of order for one name, acknowledge
//! nothing that they did, and stop the caller in the middle of what it is at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use gatemint::{
    clock::{Clock, Timestamp},
    domain::Secret,
    store::{CommitError, Item, Key, Page, Store, StoreError, Version, Write},
    vault::{SecretVersion, Vault, VaultError},
};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::support::ManualClock;

/// With what the names of mirrored secrets begin.
pub(super) const MIRRORED: &str = "fresh/";

/// Stops whoever comes to the `at`th door from now on. A call of the vault or the store has one before it and one behind it.
#[derive(Default)]
pub(super) struct Stops(Mutex<Option<Stop>>);

struct Stop {
    left: usize,
    reached: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

impl Stops {
    /// What tells that somebody stands there, and what lets them go on.
    pub(super) fn at(&self, door: usize) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (reached, tells) = oneshot::channel();
        let (lets, go_on) = oneshot::channel();
        *self.0.lock().unwrap() = Some(Stop { left: door, reached, go_on });
        (tells, lets)
    }

    /// Nobody is stopped any more.
    pub(super) fn lift(&self) {
        *self.0.lock().unwrap() = None;
    }

    async fn pass(&self) {
        let stopped = {
            let mut planned = self.0.lock().unwrap();
            match planned.as_mut() {
                Some(stop) if stop.left > 0 => {
                    stop.left -= 1;
                    None
                }
                Some(_) => planned.take(),
                None => None,
            }
        };
        if let Some(Stop { reached, go_on, .. }) = stopped {
            let _ = reached.send(());
            // Whoever is killed here never hears anything any more.
            let _ = go_on.await;
        }
    }
}

/// A store at whose calls one can be stopped.
pub(super) struct StoppedStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) stops: Arc<Stops>,
}

#[async_trait]
impl Store for StoppedStore {
    async fn get(&self, now: Timestamp, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.stops.pass().await;
        let got = self.inner.get(now, keys).await;
        self.stops.pass().await;
        got
    }

    async fn list(&self, now: Timestamp, part: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.stops.pass().await;
        let listed = self.inner.list(now, part, after, limit).await;
        self.stops.pass().await;
        listed
    }

    async fn commit(&self, now: Timestamp, id: Version, writes: Vec<Write>) -> Result<(), CommitError> {
        self.stops.pass().await;
        let done = self.inner.commit(now, id, writes).await;
        self.stops.pass().await;
        done
    }
}

/// What the vault does wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Nothing answers.
    pub(super) away: bool,
    /// These cannot be written.
    pub(super) broken: BTreeSet<String>,
    /// These are written, and nobody hears of it.
    pub(super) unheard: BTreeSet<String>,
    /// Whoever writes waits so long, as long as there is patience left for it.
    pub(super) slow: Duration,
    pub(super) patience: Duration,
    /// Whoever writes waits so long in truth.
    pub(super) lingers: Duration,
    /// Of so many writes one is acknowledged and not done; 0: none. No vault does this: it is a fault to be found.
    pub(super) lies: u64,
}

/// A write of a mirrored secret that was done.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) namespace: String,
    /// When, by the service's clock.
    pub(super) at: Timestamp,
    pub(super) token: String,
    /// What was there before.
    pub(super) before: Option<String>,
}

/// The vault.
pub(super) struct FaultyVault {
    inner: Arc<dyn Vault>,
    clock: OnceLock<Arc<ManualClock>>,
    pub(super) stops: Arc<Stops>,
    trouble: Mutex<Trouble>,
    puts: Mutex<Vec<Put>>,
    /// How the last call about each mirrored secret ended.
    ended: Mutex<BTreeMap<String, bool>>,
    written: Mutex<u64>,
}

impl FaultyVault {
    pub(super) fn around(inner: Arc<dyn Vault>) -> Self {
        Self {
            inner,
            clock: OnceLock::new(),
            stops: Arc::default(),
            trouble: Mutex::default(),
            puts: Mutex::default(),
            ended: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// What its writes take time of.
    pub(super) fn keeps_time_by(&self, clock: &Arc<ManualClock>) {
        let _ = self.clock.set(clock.clone());
    }

    /// What is wrong from now on.
    pub(super) fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// What was written since the last call.
    pub(super) fn take_puts(&self) -> Vec<Put> {
        std::mem::take(&mut *self.puts.lock().unwrap())
    }

    /// Whose last call failed since the last question.
    pub(super) fn take_failed(&self) -> BTreeSet<String> {
        let ended = std::mem::take(&mut *self.ended.lock().unwrap());
        ended.into_iter().filter(|(_, well)| !well).map(|(namespace, _)| namespace).collect()
    }

    /// The token that is mirrored in a namespace, as a reader has it, whatever is wrong.
    pub(super) async fn reads(&self, namespace: &str) -> Option<String> {
        let secret = self.inner.current(&format!("{MIRRORED}{namespace}")).await.unwrap()?;
        Some(token_in(secret.value.expose()))
    }

    /// The namespaces that something is mirrored of.
    pub(super) async fn mirrored(&self) -> BTreeSet<String> {
        let names = self.inner.list(MIRRORED).await.unwrap();
        names.iter().map(|name| name.strip_prefix(MIRRORED).unwrap().to_owned()).collect()
    }

    async fn begin(&self, name: &str) -> Result<Trouble, VaultError> {
        tokio::task::yield_now().await;
        if name.starts_with(MIRRORED) {
            self.stops.pass().await;
        }
        let trouble = self.trouble.lock().unwrap().clone();
        if trouble.away {
            self.note(name, false);
            return Err(VaultError::unavailable("away, as the test asked"));
        }
        Ok(trouble)
    }

    fn note(&self, name: &str, well: bool) {
        if let Some(namespace) = name.strip_prefix(MIRRORED).filter(|namespace| !namespace.is_empty()) {
            self.ended.lock().unwrap().insert(namespace.to_owned(), well);
        }
    }

    fn wait(&self, trouble: &Trouble) {
        let takes = trouble.slow.min(trouble.patience);
        self.trouble.lock().unwrap().patience = trouble.patience.saturating_sub(takes);
        if let Some(clock) = self.clock.get() {
            clock.advance(takes);
        }
    }

    /// Writes a secret one way or the other.
    async fn write(&self, name: &str, value: Secret<Vec<u8>>, make: bool) -> Result<(), VaultError> {
        let trouble = self.begin(name).await?;
        let Some(namespace) = name.strip_prefix(MIRRORED) else {
            return if make { self.inner.create(name, value).await } else { self.inner.put(name, value).await };
        };
        self.wait(&trouble);
        if !trouble.lingers.is_zero() {
            tokio::time::sleep(trouble.lingers).await;
        }
        if trouble.broken.contains(namespace) {
            self.note(name, false);
            return Err(VaultError::unavailable("ThrottlingException: Rate exceeded"));
        }
        let token = token_in(value.expose());
        let before = self.reads(namespace).await;
        let number = {
            let mut written = self.written.lock().unwrap();
            *written += 1;
            *written
        };
        let lies = trouble.lies > 0 && number.is_multiple_of(trouble.lies);
        if !lies {
            if make {
                self.inner.create(name, value).await?;
            } else {
                self.inner.put(name, value).await?;
            }
        }
        let at = self.clock.get().map_or_else(Timestamp::default, |clock| clock.now());
        self.puts.lock().unwrap().push(Put { namespace: namespace.to_owned(), at, token, before });
        self.stops.pass().await;
        let heard = !trouble.unheard.contains(namespace);
        self.note(name, heard);
        if heard { Ok(()) } else { Err(VaultError::unavailable("the reply was lost, as the test asked")) }
    }
}

/// The token in a mirrored secret; what is not such a secret is torn.
pub(super) fn token_in(secret: &[u8]) -> String {
    let secret: Value = serde_json::from_slice(secret).expect("a mirrored secret is whole");
    let members = secret.as_object().unwrap();
    assert_eq!(members.len(), 1, "the token alone");
    members["AUTH_TOKEN"].as_str().unwrap().to_owned()
}

#[async_trait]
impl Vault for FaultyVault {
    async fn current(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        self.begin(name).await?;
        self.inner.current(name).await
    }

    async fn create(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.write(name, value, true).await
    }

    async fn stage(&self, name: &str, request_id: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.begin(name).await?;
        self.inner.stage(name, request_id, value).await
    }

    async fn staged(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        self.begin(name).await?;
        self.inner.staged(name).await
    }

    async fn unstage(&self, name: &str, request_id: &str) -> Result<(), VaultError> {
        self.begin(name).await?;
        self.inner.unstage(name, request_id).await
    }

    async fn promote(&self, name: &str, request_id: &str, from: &str) -> Result<(), VaultError> {
        self.begin(name).await?;
        self.inner.promote(name, request_id, from).await
    }

    async fn put(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.write(name, value, false).await
    }

    async fn delete(&self, name: &str) -> Result<(), VaultError> {
        let trouble = self.begin(name).await?;
        if name.strip_prefix(MIRRORED).is_some_and(|namespace| trouble.broken.contains(namespace)) {
            self.note(name, false);
            return Err(VaultError::unavailable("ThrottlingException: Rate exceeded"));
        }
        self.inner.delete(name).await?;
        self.stops.pass().await;
        self.note(name, true);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        self.begin(prefix).await?;
        self.inner.list(prefix).await
    }
}
