//! gatemint: a serverless token service.

pub mod clock;
pub mod domain;
pub mod entropy;
pub mod store;
pub mod vault;
#[cfg(feature = "http")]
pub mod http;
