//! The vault: where private keys and peppers are kept, apart from all other state.
//!
//! A secret has a name of one or more `/`-separated parts and a current version; a second, *staged* version can wait
//! beside it until it is promoted by a compare-and-swap. The names in use are `keys/gatemint-jwt-secret` (the signing
//! keys), `refresh/gatemint-refresh-secret` (the pepper ring) and `fresh/NAMESPACE` (mirrored tokens). A request id has 32 to 64 letters, digits and hyphens
//! where Secrets Manager is to take it. A part is spelt with `a-z`, `0-9`, `.`, `_` and `-`,
//! and neither begins with a dot nor ends in `.json`; another name answers `Unavailable`.

mod entry;
#[cfg(feature = "sqlite")]
mod file;
mod memory;
mod none;
#[cfg(feature = "aws")]
mod secrets_manager;

#[cfg(feature = "sqlite")]
pub use file::{FileVault, OpenError, SecretFile};
pub use memory::MemoryVault;
pub use none::NoVault;
#[cfg(feature = "aws")]
pub use secrets_manager::SecretsManagerVault;

use async_trait::async_trait;

use crate::domain::Secret;

/// A version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// The version's id: for a staged one the request id that it was staged with.
    pub id: String,
    /// The secret itself.
    pub value: Secret<Vec<u8>>,
}

/// Why the vault did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// `create`: there is one already; `stage`: the request id stands for another value, or another one was
    /// faster; `promote`: the current
    /// version is not the one expected, or nothing was staged with that id; both: there is no such secret.
    #[error("the vault refused: {0}")]
    Conflict(String),
    /// The vault did not answer, or what it holds is unusable.
    #[error("the vault did not answer: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl VaultError {
    /// Wraps a backend's error.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into())
    }
}

/// The port.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The current version, or none if there is no such secret.
    async fn current(&self, name: &str) -> Result<Option<SecretVersion>, VaultError>;

    /// Makes a secret. Of several that race one wins; the others get `Conflict` and can read the winner's. Where a retry
    /// whose first reply was lost cannot be told otherwise, a secret that holds this very value counts as made.
    async fn create(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError>;

    /// Keeps a value beside the current one under `request_id`. The same id with the same value again is `Ok`; with
    /// another value `Conflict`, also when it was promoted meanwhile. A secret has at most one staged version: a new id
    /// replaces it.
    async fn stage(&self, name: &str, request_id: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError>;

    /// The staged version, or none.
    async fn staged(&self, name: &str) -> Result<Option<SecretVersion>, VaultError>;

    /// Gives up what is staged as `request_id`: nothing is staged then, and another id may be. `Ok` if that was not staged,
    /// or is current by now: the current version stays.
    async fn unstage(&self, name: &str, request_id: &str) -> Result<(), VaultError>;

    /// Makes the version staged as `request_id` the current one, if the current one's id is still `from`.
    /// Promoting what is already current is `Ok`.
    async fn promote(&self, name: &str, request_id: &str, from: &str) -> Result<(), VaultError>;

    /// Writes a new current version, whatever was there; makes the secret if there was none. A staged version stays,
    /// but whoever staged it cannot promote it any more over the version that it was based on.
    async fn put(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError>;

    /// Removes a secret with all its versions; `Ok` if there was none.
    async fn delete(&self, name: &str) -> Result<(), VaultError>;

    /// The names that begin with `prefix`, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError>;
}

/// What a secret is called in an account of Secrets Manager whose secrets of ours begin with `prefix`.
pub fn id_under(prefix: &str, name: &str) -> String {
    format!("{prefix}/{name}")
}
