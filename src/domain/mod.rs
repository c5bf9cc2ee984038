//! What the service does; no framework, no SDK, no wire types.

mod secret;

pub use secret::{Secret, same_secret};
