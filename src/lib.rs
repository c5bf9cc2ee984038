//! gatemint: a serverless token service.

pub mod clock;
pub mod domain;
pub mod entropy;
#[cfg(feature = "http")]
pub mod http;
<<<<<<< HEAD
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(any(feature = "cli", feature = "lambda"))]
pub mod settings;
#[cfg(all(feature = "sqlite", any(feature = "cli", feature = "lambda")))]
pub mod wiring;
=======
pub mod store;
pub mod vault;
>>>>>>> house
