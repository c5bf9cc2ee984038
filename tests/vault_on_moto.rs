//! The vault's conformance suite on Secrets Manager, by a second emulator's lights.

use crate::{secrets_manager::bed_on, support::emulator::Emulator, vault::Bed};

fn moto() -> Bed {
    bed_on(&Emulator::moto().config())
}

crate::vault::conformance!(on_moto, crate::vault_on_moto::moto);
