//! The DynamoDB store on moto: the conformance suite of every store, in full.

use std::sync::Arc;

use gatemint::store::DynamoStore;

use crate::{
    store::conformance::{Backend, Bed, conformance},
    support::emulator::Emulator,
};

struct Moto;

impl Backend for Moto {
    // It does 14 to 40 transactions a second.
    const RACES: usize = 40;

    async fn fresh() -> Bed {
        let emulator = Emulator::moto();
        let store = DynamoStore::new(&emulator.config(), emulator.table().await);
        Bed { store: Arc::new(store), _directory: None }
    }
}

conformance!(Moto);
