//! gatemint: a serverless token service.

#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod domain;
pub mod entropy;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(any(feature = "cli", feature = "lambda"))]
pub mod settings;
pub mod store;
pub mod vault;
#[cfg(all(feature = "sqlite", any(feature = "cli", feature = "lambda")))]
pub mod wiring;
