//! What the service does; no framework, no SDK, no wire types.
//!
//! An operation reads the clock once, reads what it needs in one round trip, lets a pure function decide, and says in
//! the conditions of one commit what must still be true.

pub mod access;
pub mod account;
pub mod birth;
pub mod client;
pub mod fresh_token;
pub mod gate;
pub mod grant;
pub mod ids;
pub mod key;
mod labels;
mod policy;
mod refusal;
mod secret;
mod service;
pub mod service_account;
pub mod session;
mod unfilled;

pub use policy::Policy;
pub use refusal::{GrantError, GrantRefusal, Refusal, RefusalKind};
pub use secret::{Secret, same_secret};
pub use service::{ROUNDS, Service};
pub(crate) use unfilled::is_unfilled;
