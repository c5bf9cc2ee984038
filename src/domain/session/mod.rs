//! Sessions: what a sign-in opens, a refresh moves on, and a revocation ends.

pub mod introspect;
pub mod refresh;
pub mod revoke;
mod session;
mod token;

pub use session::Session;
pub use token::{Generation, Pepper, PepperRing, RefreshToken};
