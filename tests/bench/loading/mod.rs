//! The load test's parts.

mod child;
mod client;
pub(crate) mod prototype;
pub(crate) mod run;
mod turn;
