//! Sessions: what a sign-in opens, a refresh moves on, and a revocation ends.

pub mod introspect;
mod peppers;
pub mod refresh;
pub mod revoke;
mod rotate_peppers;
mod session;
mod token;

pub(crate) use peppers::RingDocument;
pub use peppers::{Pepper, PepperRing, PepperState};
pub use rotate_peppers::{RotatedPepper, rotate_peppers};
pub use session::Session;
pub use token::{Generation, RefreshToken};
