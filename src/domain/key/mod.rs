//! Signing keys: their timetable, where they are kept, and the tokens that are made and judged with them.
//!
//! The vault's secret `keys/gatemint-jwt-secret` holds the private keys, the store row `keys#jwks` the public ones. A
//! verifier reads only that row; a signer uses no key that the row does not list. What state a key is in follows from
//! its timetable and `now`; nothing is written between rotations.

mod cached;
mod document;
pub mod foreign;
pub mod jwt;
pub mod rotate;
mod set;
mod verdicts;

pub use cached::{Cached, Keys};
pub(crate) use cached::{NO_PUBLIC_KEYS, read_key_set, read_peppers};
pub(crate) use document::KeyDocument;
pub use set::{Algorithm, KeySet, Material, PublicKey, PublicKeys, State, Timetable};
