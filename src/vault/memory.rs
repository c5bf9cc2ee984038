//! The vault in memory: for tests, and for trying things out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{SecretVersion, Vault, VaultError, entry::Entry};
use crate::domain::Secret;

/// A [`Vault`] in memory; it forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryVault {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    secrets: BTreeMap<String, Entry>,
    count: u64,
}

impl State {
    /// An id that no version had before.
    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("memory-{}", self.count)
    }

    fn existing(&mut self, name: &str) -> Result<&mut Entry, VaultError> {
        self.secrets.get_mut(name).ok_or_else(|| super::entry::missing(name))
    }
}

impl MemoryVault {
    /// An empty vault.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics half way through a change, so what a poisoned lock guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Vault for MemoryVault {
    async fn current(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        super::entry::check_name(name)?;
        Ok(self.state().secrets.get(name).map(|entry| entry.current.clone()))
    }

    async fn create(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        super::entry::check_name(name)?;
        let mut state = self.state();
        if state.secrets.contains_key(name) {
            return Err(super::entry::exists(name));
        }
        let id = state.next_id();
        state.secrets.insert(name.to_owned(), Entry::new(id, value));
        Ok(())
    }

    async fn stage(&self, name: &str, request_id: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        super::entry::check_name(name)?;
        self.state().existing(name)?.stage(request_id, value).map(|_| ())
    }

    async fn staged(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        super::entry::check_name(name)?;
        Ok(self.state().secrets.get(name).and_then(|entry| entry.staged.clone()))
    }

    async fn unstage(&self, name: &str, request_id: &str) -> Result<(), VaultError> {
        super::entry::check_name(name)?;
        if let Some(entry) = self.state().secrets.get_mut(name) {
            entry.unstage(request_id);
        }
        Ok(())
    }

    async fn promote(&self, name: &str, request_id: &str, from: &str) -> Result<(), VaultError> {
        super::entry::check_name(name)?;
        self.state().existing(name)?.promote(request_id, from).map(|_| ())
    }

    async fn put(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        super::entry::check_name(name)?;
        let mut state = self.state();
        let id = state.next_id();
        match state.secrets.get_mut(name) {
            Some(entry) => entry.current = SecretVersion { id, value },
            None => {
                state.secrets.insert(name.to_owned(), Entry::new(id, value));
            }
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), VaultError> {
        super::entry::check_name(name)?;
        self.state().secrets.remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        Ok(self.state().secrets.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }
}
