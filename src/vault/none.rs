//! The vault of whoever has none.

use async_trait::async_trait;

use super::{SecretVersion, Vault, VaultError};
use crate::domain::Secret;

/// The [`Vault`] of a function that has no business with secrets: every call is refused, and says so.
#[derive(Clone, Copy, Debug)]
pub struct NoVault;

fn none<T>() -> Result<T, VaultError> {
    Err(VaultError::unavailable("this function has no vault"))
}

#[async_trait]
impl Vault for NoVault {
    async fn current(&self, _: &str) -> Result<Option<SecretVersion>, VaultError> {
        none()
    }

    async fn create(&self, _: &str, _: Secret<Vec<u8>>) -> Result<(), VaultError> {
        none()
    }

    async fn stage(&self, _: &str, _: &str, _: Secret<Vec<u8>>) -> Result<(), VaultError> {
        none()
    }

    async fn unstage(&self, _: &str, _: &str) -> Result<(), VaultError> {
        none()
    }

    async fn staged(&self, _: &str) -> Result<Option<SecretVersion>, VaultError> {
        none()
    }

    async fn promote(&self, _: &str, _: &str, _: &str) -> Result<(), VaultError> {
        none()
    }

    async fn put(&self, _: &str, _: Secret<Vec<u8>>) -> Result<(), VaultError> {
        none()
    }

    async fn delete(&self, _: &str) -> Result<(), VaultError> {
        none()
    }

    async fn list(&self, _: &str) -> Result<Vec<String>, VaultError> {
        none()
    }
}
