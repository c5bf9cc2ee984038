//! The DynamoDB store on ministack: the conformance suite of every store, every fault that a network and a busy service
//! have, and a whole service on top of it.

use std::sync::Arc;

use gatemint::store::DynamoStore;

// What goes wrong between here and there, and what comes of it.
mod faults;
// What operators are told, and what DynamoDB cannot keep.
mod limits;
// Requests that each call makes.
mod requests;
// A service whose state is there.
mod service;
// The same verdicts as in memory, whatever the history.
mod verdicts;

use crate::{
    store::conformance::{Backend, Bed},
    support::{emulator::Emulator, fault_proxy::Proxy},
};

pub(crate) struct Ministack;

impl Backend for Ministack {
    const RACES: usize = 40;

    async fn fresh() -> Bed {
        let emulator = Emulator::ministack();
        let store = DynamoStore::new(&emulator.config(), emulator.table().await);
        Bed { store: Arc::new(store), _directory: None }
    }
}

/// What every store promises.
mod promises {
    crate::store::conformance::conformance!(super::Ministack);
}

/// A store on an empty table behind a proxy of its own.
async fn behind_a_proxy() -> (Proxy, DynamoStore) {
    let emulator = Emulator::ministack();
    let proxy = Proxy::before(emulator.endpoint()).await;
    let store = DynamoStore::new(&proxy.config(), emulator.table().await);
    (proxy, store)
}
