//! Where Argon2id runs: on a few threads of its own kind, so that a flood of sign-ins cannot take the cores from
//! refreshes, and with a queue that ends.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    PasswordHash,
    password::{BadHash, Judgement, Memory},
};
use crate::{
    domain::{Refusal, Secret},
    metric::{self, Stopwatch},
};

/// How many may wait for each thread that hashes. At 20 ms a hash the last of them waits about 1.3 s.
const WAITING_PER_THREAD: usize = 64;
/// How many more may wait of those who are not strangers, so that a flood of strangers does not keep them out.
const KEPT_PER_THREAD: usize = 16;

/// The queue before the hashing threads is full: try again in a second.
#[derive(Clone, Copy, Debug)]
pub struct HashingQueueFull;

/// Who wants something hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comer {
    /// Anybody.
    Stranger,
    /// Somebody with an access token, or at an address that is known for the name.
    Known,
}

/// The hashing threads.
#[derive(Clone)]
pub struct Hashing {
    threads: Arc<Semaphore>,
    places: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Memory>>>,
}

/// A place in the queue. It is taken before an attempt is reserved: a full queue costs nobody an attempt.
pub struct QueuePlace {
    hashing: Hashing,
    _place: OwnedSemaphorePermit,
}

impl Hashing {
    /// With so many threads (at least one).
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads * (WAITING_PER_THREAD + 1))),
            kept: Arc::new(Semaphore::new(threads * KEPT_PER_THREAD)),
            spare: Arc::default(),
        }
    }

    /// Takes a place in the queue, at once or not at all.
    ///
    /// # Errors
    /// The queue is full.
    pub fn admit(&self, comer: Comer) -> Result<QueuePlace, HashingQueueFull> {
        let kept = match comer {
            Comer::Known => self.kept.clone().try_acquire_owned().ok(),
            Comer::Stranger => None,
        };
        let place = match kept {
            Some(place) => place,
            None => self.places.clone().try_acquire_owned().map_err(|_| {
                metric::throttled(metric::Throttle::Queue);
                HashingQueueFull
            })?,
        };
        Ok(QueuePlace { hashing: self.clone(), _place: place })
    }

    /// Runs one piece of work on a hashing thread, in the order of asking.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, BadHash> + Send + 'static,
    ) -> Result<T, Refusal> {
        let waiting = metric::hashing_waits();
        let turn = self.threads.clone().acquire_owned().await.map_err(Refusal::unavailable)?;
        drop(waiting);
        let hashing = self.clone();
        tokio::task::spawn_blocking(move || {
            let turn = turn;
            let mut memory = hashing.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let begun = Stopwatch::start();
            let result = work(&mut memory);
            metric::hashed(begun.elapsed());
            // Kept, one block for each thread that may hash at once. Blocks that are given back pile up in the
            // allocator's arenas, one for every thread that ever ran this: hundreds of MiB.
            hashing.spare.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            drop(turn);
            result
        })
        .await
        .map_err(Refusal::unavailable)?
        .map_err(Refusal::unavailable)
    }
}

impl QueuePlace {
    /// Whether this is the password of that hash; with no hash the same work is done and the answer is no.
    pub(crate) async fn judge(&self, hash: Option<PasswordHash>, password: Secret<Vec<u8>>) -> Result<bool, Refusal> {
        self.judge_and_renew(hash, password, None).await.map(|(matches, _)| matches)
    }

    /// As [`QueuePlace::judge`]; if the hash is right and weaker than what is made now, a new one with `salt` comes along.
    pub(crate) async fn judge_and_renew(
        &self,
        hash: Option<PasswordHash>,
        password: Secret<Vec<u8>>,
        salt: Option<[u8; 16]>,
    ) -> Result<(bool, Option<PasswordHash>), Refusal> {
        self.hashing
            .run(move |memory| {
                let Judgement { matches, weaker } = PasswordHash::judge(hash.as_ref(), password.expose(), memory)?;
                let renewed = match salt {
                    Some(salt) if matches && weaker => Some(PasswordHash::make(password.expose(), salt, memory)?),
                    _ => None,
                };
                Ok((matches, renewed))
            })
            .await
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Secret<Vec<u8>>, salt: [u8; 16]) -> Result<PasswordHash, Refusal> {
        self.hashing.run(move |memory| PasswordHash::make(password.expose(), salt, memory)).await
    }
}

impl From<HashingQueueFull> for Refusal {
    fn from(_: HashingQueueFull) -> Self {
        Self::new(
            crate::domain::RefusalKind::Throttled(std::time::Duration::from_secs(1)),
            "too many sign-ins at this moment; try again",
        )
    }
}
