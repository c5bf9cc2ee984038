//! A service with a mirror and a clock that is moved on, so that everything is due again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gatemint::{
    clock::{Clock, SystemClock, Timestamp},
    domain::{
        Policy, Secret, Service,
        account::manage::{self, NewAccount},
        birth,
        fresh_token::mirror::{Outcome, refresh_secrets},
        key::Algorithm,
    },
    entropy::SystemEntropy,
    store::{MemoryStore, Store},
    vault::{MemoryVault, Vault},
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::many;

struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// One thread.
pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// So many namespaces, each of which has a token in the vault.
pub(super) struct Place {
    service: Service,
    clock: Arc<Moved>,
    runtime: Runtime,
    count: usize,
}

impl Place {
    pub(super) fn in_memory(count: usize) -> Self {
        Self::new(Arc::new(MemoryStore::new()), Arc::new(MemoryVault::new()), count)
    }

    /// On a store and a vault that are empty.
    pub(super) fn new(store: Arc<dyn Store>, vault: Arc<dyn Vault>, count: usize) -> Self {
        let place = Self::without_tokens(store, vault, count);
        place.run();
        place
    }

    /// The same before the first run.
    pub(super) fn without_tokens(store: Arc<dyn Store>, vault: Arc<dyn Vault>, count: usize) -> Self {
        let place = Self::as_it_is(store, vault, count);
        place.runtime.block_on(async {
            let service = &place.service;
            birth::make_keys(service).await.unwrap();
            let ada = NewAccount {
                name: "ada".into(),
                namespace: None,
                email: "ada@example.org".into(),
                roles: Vec::new(),
                enabled: true,
                mirror_token: false,
                password: Secret::new(b"correct horse battery staple".to_vec()),
            };
            manage::create(service, service.now(), ada, "bench").await.unwrap();
            many::mirrored(service, "ada", 0..count).await;
        });
        place
    }

    /// On a store and a vault that another one was made on.
    pub(super) fn as_it_is(store: Arc<dyn Store>, vault: Arc<dyn Vault>, count: usize) -> Self {
        let clock = Arc::new(Moved(AtomicU64::new(SystemClock.now().0)));
        let policy = Policy { signing_alg: Some(Algorithm::ES256), ..Policy::new("http://gatemint.bench") };
        let service = Service::new(store, vault, clock.clone(), Arc::new(SystemEntropy), policy, 1);
        Self { service, clock, runtime: runtime(), count }
    }

    /// One run that writes all of them: how long it took for each.
    pub(super) fn run(&self) -> Duration {
        self.clock.0.fetch_add(12 * 60, Ordering::SeqCst);
        let begun = Instant::now();
        let run = self.runtime.block_on(refresh_secrets(&self.service)).unwrap();
        let took = begun.elapsed();
        assert_eq!((run.outcome, run.written, run.failed), (Outcome::Done, self.count, 0), "{run:?}");
        took / u32::try_from(self.count).unwrap()
    }

    /// What is signed for one of them.
    pub(super) fn message(&self) -> String {
        let secret = self.runtime.block_on(self.service.vault.current("fresh/n00000")).unwrap().unwrap();
        let secret: Value = serde_json::from_slice(secret.value.expose()).unwrap();
        let (message, _) = secret["AUTH_TOKEN"].as_str().unwrap().rsplit_once('.').unwrap();
        message.to_owned()
    }
}
