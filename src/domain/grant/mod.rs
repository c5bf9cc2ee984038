//! Grants: the token endpoint's work (RFC 6749 §3.2).
//!
//! [`exchange()`] is one numbered pipeline. A grant is one variant of [`Grant`] and one file that says which rows it
//! needs and what it makes of them; it cannot forget a shared step.

mod client_credentials;
mod exchange;
mod password;
mod refresh_token;
mod scope;
mod token_exchange;

pub use exchange::{Grant, Request, Tokens, exchange};
pub use scope::Scope;
pub use token_exchange::{ACCESS_TOKEN, GATE_TOKEN};
