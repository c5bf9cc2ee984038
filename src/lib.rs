//! gatemint: a serverless token service.

pub mod clock;
pub mod domain;
pub mod entropy;
#[cfg(feature = "http")]
pub mod http;
pub mod store;
pub mod vault;
