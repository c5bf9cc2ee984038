//! Keys in memory: read once, again after a while, at once on an unknown id (but not often), and used stale while the
//! place that they come from is away.

use std::{
    future::Future,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use super::{KeySet, PublicKey, PublicKeys, verdicts::Verdicts};
use crate::{
    clock::Timestamp,
    domain::{Refusal, RefusalKind, session::PepperRing},
    entropy::Entropy,
    store::{Row, Store, decode},
    vault::Vault,
};

/// How old a value may grow before it is read again, unless said otherwise.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// How often an unknown id, which anybody can send, may make us read again; and how often a source is asked that is away.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often our own keys may make us read again, when those at hand do not fit each other.
const MEND_AFTER: Duration = Duration::from_secs(1);
/// How long reading may take: everybody waits for it who has no value.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a value is used while its source is away.
const STALE_FOR: Duration = Duration::from_hours(24);

/// Why nothing can be signed or judged without the public row.
pub(crate) const NO_PUBLIC_KEYS: &str =
    "no signing keys yet: the store lists none (keys#jwks); the first rotation, or `gatemint key rotate`, makes them";

struct Entry<T> {
    value: Arc<T>,
    read_at: Timestamp,
    fresh_until: Timestamp,
}

impl<T> Entry<T> {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.read_at <= now && now < self.fresh_until
    }

    /// An entry from the future is of any age: the clock was set back.
    fn is_younger(&self, now: Timestamp, than: Duration) -> bool {
        self.read_at <= now && now.since(self.read_at) < than
    }
}

/// Which value will do when it cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The one at hand, for a day.
    Any,
    /// None: somebody needs to know what is there now.
    Newer,
}

/// One value with its age.
pub struct Cached<T> {
    entry: RwLock<Option<Entry<T>>>,
    /// Held while reading, so that a crowd asks once. Holds when that failed last, unless it succeeded since.
    reading: Mutex<Option<Timestamp>>,
    /// How many times it was read, or could not be.
    asked: AtomicU64,
    fresh_for: Duration,
}

impl<T> Cached<T> {
    /// Holds nothing yet, and will read again what is older than `fresh_for`.
    pub fn new(fresh_for: Duration) -> Self {
        Self { entry: RwLock::new(None), reading: Mutex::new(None), asked: AtomicU64::new(0), fresh_for }
    }

    fn peek(&self, wanted: impl Fn(&Entry<T>) -> bool) -> Option<Arc<T>> {
        let entry = self.entry.read().unwrap_or_else(PoisonError::into_inner);
        entry.as_ref().filter(|entry| wanted(entry)).map(|entry| entry.value.clone())
    }

    /// The value, read again if it is old. If it cannot be read, the one that is there, for a day.
    ///
    /// # Errors
    /// It cannot be read and there is none, or none that is young enough.
    pub async fn get<F: Future<Output = Result<T, Refusal>>>(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Refusal> {
        if let Some(value) = self.peek(|entry| entry.is_fresh(now)) {
            return Ok(value);
        }
        self.read_again(now, entropy, Wanted::Any, |entry| entry.is_fresh(now), read).await
    }

    /// The value, read again now whatever its age, unless it was read less than `patience` ago.
    ///
    /// # Errors
    /// It cannot be read now, or could not a moment ago: what is at hand says nothing about what is newer.
    pub async fn get_newer<F: Future<Output = Result<T, Refusal>>>(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        patience: Duration,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Refusal> {
        self.read_again(now, entropy, Wanted::Newer, |entry| entry.is_younger(now, patience), read).await
    }

    /// Lets the value be read again at its next use, though it stays at hand for as long as it cannot be read.
    async fn expire(&self) {
        // Whoever reads now may have begun before whatever changed.
        let mut failed_at = self.reading.lock().await;
        *failed_at = None;
        if let Some(entry) = &mut *self.entry.write().unwrap_or_else(PoisonError::into_inner) {
            entry.fresh_until = Timestamp(0);
        }
    }

    async fn read_again<F: Future<Output = Result<T, Refusal>>>(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        wanted: Wanted,
        good_enough: impl Fn(&Entry<T>) -> bool,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Refusal> {
        let asked = self.asked.load(Ordering::SeqCst);
        let mut failed_at = self.reading.lock().await;
        // Somebody else may have read it while we waited for our turn.
        if let Some(value) = self.peek(&good_enough) {
            return Ok(value);
        }
        let stale = self.peek(|entry| wanted == Wanted::Any && entry.is_younger(now, STALE_FOR));
        // Or have failed: a crowd that waited for one reading does not then wait for as many as it has heads.
        if stale.is_none() && failed_at.is_some() && asked != self.asked.load(Ordering::SeqCst) {
            return Err(Refusal::unavailable("keys could not be read a moment ago"));
        }
        // While the source is away, it is asked now and then, not by every request.
        let failed_just_now = failed_at.is_some_and(|failed| failed <= now && now.since(failed) < ASK_AGAIN_AFTER);
        match stale {
            Some(value) if failed_just_now => return Ok(value),
            None if failed_just_now && wanted == Wanted::Newer => {
                return Err(Refusal::unavailable("keys could not be read a moment ago"));
            }
            _ => {}
        }
        let read = tokio::time::timeout(PATIENCE, read()).await;
        self.asked.fetch_add(1, Ordering::SeqCst);
        match read.unwrap_or_else(|_| Err(Refusal::unavailable("keys were not read in time"))) {
            Ok(value) => {
                *failed_at = None;
                let value = Arc::new(value);
                // ± 20 %, so that processes do not ask in step.
                let seconds = self.fresh_for.as_secs();
                let jitter = u64::from(u16::from_be_bytes(entropy.bytes())) % (seconds * 2 / 5).max(1);
                let fresh_until = now + Duration::from_secs(seconds * 4 / 5 + jitter);
                let entry = Entry { value: value.clone(), read_at: now, fresh_until };
                *self.entry.write().unwrap_or_else(PoisonError::into_inner) = Some(entry);
                Ok(value)
            }
            // It is gone, on purpose for all we know: what is in memory must not outlive it.
            Err(refusal) if refusal.kind == RefusalKind::Absent => {
                *self.entry.write().unwrap_or_else(PoisonError::into_inner) = None;
                Err(Refusal::unavailable(refusal.text))
            }
            Err(refusal) => {
                *failed_at = Some(now);
                let Some(value) = stale else { return Err(refusal) };
                tracing::warn!(cause = refusal.cause(), "keys cannot be read again, the ones at hand are used");
                Ok(value)
            }
        }
    }
}

/// The three things that are kept in memory: public keys, private keys, peppers.
pub struct Keys {
    public: Cached<PublicKeys>,
    private: Cached<KeySet>,
    peppers: Cached<PepperRing>,
    /// What was found out about presented tokens.
    pub(crate) verdicts: Verdicts,
}

impl Default for Keys {
    fn default() -> Self {
        Self::fresh_for(FRESH_FOR)
    }
}

impl Keys {
    /// Nothing yet; what is older than that is read again. Where store and vault are near, a short time makes a
    /// rotation that would not wait count soon.
    pub fn fresh_for(time: Duration) -> Self {
        Self {
            public: Cached::new(time),
            private: Cached::new(time),
            peppers: Cached::new(time),
            verdicts: Verdicts::default(),
        }
    }

    /// How old what is at hand may be: so soon every process notices a rotation that would not wait.
    pub fn kept_for(&self) -> Duration {
        self.private.fresh_for * 6 / 5
    }

    /// Lets everything be read again at its next use: something was rotated.
    pub async fn expire(&self) {
        self.public.expire().await;
        self.private.expire().await;
        self.peppers.expire().await;
    }

    /// The public keys.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn public(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        store: &dyn Store,
    ) -> Result<Arc<PublicKeys>, Refusal> {
        self.public.get(now, entropy, || read_public(now, store)).await
    }

    /// The public key of that id, if it judges at `now`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn judging(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        store: &dyn Store,
        kid: &str,
    ) -> Result<Option<PublicKey>, Refusal> {
        let find = |keys: &PublicKeys| keys.keys.iter().find(|key| key.kid == kid && key.times.judges(now)).cloned();
        if let Some(key) = find(&*self.public(now, entropy, store).await?) {
            return Ok(Some(key));
        }
        let newer = self.public.get_newer(now, entropy, ASK_AGAIN_AFTER, || read_public(now, store)).await?;
        Ok(find(&newer))
    }

    /// The public keys as they are now: those at hand do not list what signs.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn newer_public(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        store: &dyn Store,
    ) -> Result<Arc<PublicKeys>, Refusal> {
        self.public.get_newer(now, entropy, MEND_AFTER, || read_public(now, store)).await
    }

    /// The private keys as they are now: none of those at hand is listed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn newer_private(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        vault: &dyn Vault,
    ) -> Result<Arc<KeySet>, Refusal> {
        self.private.get_newer(now, entropy, MEND_AFTER, || read_key_set(vault)).await
    }

    /// The private keys.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn private(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        vault: &dyn Vault,
    ) -> Result<Arc<KeySet>, Refusal> {
        self.private.get(now, entropy, || read_key_set(vault)).await
    }

    /// The peppers.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn peppers(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        vault: &dyn Vault,
    ) -> Result<Arc<PepperRing>, Refusal> {
        self.peppers.get(now, entropy, || read_peppers(vault, now)).await
    }

    /// The peppers, with the one of that id if there is one anywhere: read again if it is not at hand.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn peppers_with(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        vault: &dyn Vault,
        id: u8,
    ) -> Result<Arc<PepperRing>, Refusal> {
        let ring = self.peppers(now, entropy, vault).await?;
        if ring.find(id).is_some() {
            return Ok(ring);
        }
        self.peppers.get_newer(now, entropy, ASK_AGAIN_AFTER, || read_peppers(vault, now)).await
    }
}

async fn read_public(now: Timestamp, store: &dyn Store) -> Result<PublicKeys, Refusal> {
    let row = store.get(now, &[PublicKeys::row()]).await?.pop().flatten();
    let row: Option<Row<PublicKeys>> = decode(row)?;
    row.map(|row| row.record).ok_or_else(|| Refusal::absent(NO_PUBLIC_KEYS))
}

/// The private keys as the vault has them now. `Absent`: it has none.
pub(crate) async fn read_key_set(vault: &dyn Vault) -> Result<KeySet, Refusal> {
    read_secret(vault, KeySet::SECRET, KeySet::parse).await
}

/// The peppers as the vault has them now. `Absent`: it has none.
pub(crate) async fn read_peppers(vault: &dyn Vault, now: Timestamp) -> Result<PepperRing, Refusal> {
    read_secret(vault, PepperRing::SECRET, |document| PepperRing::parse(document, now)).await
}

async fn read_secret<T>(
    vault: &dyn Vault,
    name: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, Refusal> {
    let secret = vault.current(name).await?.ok_or_else(|| Refusal::absent(format!("the vault holds no {name}")))?;
    parse(secret.value.expose()).map_err(Refusal::unavailable)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::entropy::SystemEntropy;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    /// A source that counts how often it is read, and is away when it is told to be.
    #[derive(Default)]
    struct Source {
        reads: AtomicU32,
        away: AtomicU32,
    }

    impl Source {
        fn read(&self) -> std::future::Ready<Result<u32, Refusal>> {
            let count = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
            let away = self.away.load(Ordering::SeqCst) > 0;
            std::future::ready(if away { Err(Refusal::unavailable("away")) } else { Ok(count) })
        }

        async fn get(&self, cached: &Cached<u32>, now: Timestamp) -> u32 {
            *cached.get(now, &SystemEntropy, || self.read()).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_does_not_keep_a_value_for_ever() {
        let (cached, source) = (Cached::new(FRESH_FOR), Source::default());
        assert_eq!(source.get(&cached, NOW + HOUR).await, 1);
        assert_eq!(source.get(&cached, NOW).await, 2);
        assert_eq!(source.get(&cached, NOW).await, 2);
        let newer = cached.get_newer(NOW - HOUR, &SystemEntropy, ASK_AGAIN_AFTER, || source.read()).await;
        assert_eq!(*newer.unwrap(), 3);
    }

    #[tokio::test]
    async fn what_is_at_hand_is_used_for_a_day_but_is_no_answer_about_what_is_newer() {
        let (cached, source) = (Cached::new(FRESH_FOR), Source::default());
        assert_eq!(source.get(&cached, NOW).await, 1);
        source.away.store(1, Ordering::SeqCst);
        assert_eq!(source.get(&cached, NOW + HOUR).await, 1);
        for _ in 0..3 {
            let newer = cached.get_newer(NOW + HOUR, &SystemEntropy, ASK_AGAIN_AFTER, || source.read()).await;
            assert_eq!(newer.unwrap_err().kind, RefusalKind::Unavailable);
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 2, "asked now and then, not by everybody");
        let late = NOW + HOUR * 25;
        assert!(cached.get(late, &SystemEntropy, || source.read()).await.is_err());
        source.away.store(0, Ordering::SeqCst);
        assert!(source.get(&cached, late).await > 2);
    }

    #[tokio::test]
    async fn a_crowd_without_a_value_waits_for_one_reading_and_not_for_one_each() {
        let (cached, source) = (Arc::new(Cached::new(FRESH_FOR)), Arc::new(Source::default()));
        source.away.store(1, Ordering::SeqCst);
        let crowd: Vec<_> = (0..32)
            .map(|_| {
                let (cached, source) = (cached.clone(), source.clone());
                tokio::spawn(async move {
                    let read = || async {
                        tokio::task::yield_now().await;
                        source.read().await
                    };
                    cached.get(NOW, &SystemEntropy, read).await.map(drop)
                })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.unwrap().unwrap_err().kind, RefusalKind::Unavailable);
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 1);
        source.away.store(0, Ordering::SeqCst);
        assert_eq!(source.get(&cached, NOW).await, 2, "whoever comes later asks anew");
    }

    #[tokio::test]
    async fn a_source_that_hangs_holds_nobody_up_who_has_a_value() {
        let (cached, source) = (Cached::new(FRESH_FOR), Source::default());
        assert_eq!(source.get(&cached, NOW).await, 1);
        let value = cached.get(NOW + HOUR, &SystemEntropy, std::future::pending::<Result<u32, Refusal>>).await;
        assert_eq!(*value.unwrap(), 1);
    }
}
