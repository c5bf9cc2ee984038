//! What the vaults that keep their secrets themselves have in common: a secret's two versions, and names.

use super::{SecretVersion, VaultError};
use crate::domain::{Secret, same_secret};

/// A secret: its current version, and perhaps one that waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) current: SecretVersion,
    pub(super) staged: Option<SecretVersion>,
}

impl Entry {
    pub(super) fn new(id: String, value: Secret<Vec<u8>>) -> Self {
        Self { current: SecretVersion { id, value }, staged: None }
    }

    /// Stages a version; says whether anything changed.
    pub(super) fn stage(&mut self, request_id: &str, value: Secret<Vec<u8>>) -> Result<bool, VaultError> {
        let known = [Some(&self.current), self.staged.as_ref()].into_iter().flatten().find(|v| v.id == request_id);
        match known {
            Some(known) if same_secret(known.value.expose(), value.expose()) => Ok(false),
            Some(_) => Err(VaultError::Conflict(format!("{request_id} was staged with another value"))),
            None => {
                self.staged = Some(SecretVersion { id: request_id.to_owned(), value });
                Ok(true)
            }
        }
    }

    /// Drops the staged version if it has this id; says whether anything changed.
    pub(super) fn unstage(&mut self, request_id: &str) -> bool {
        self.staged.take_if(|staged| staged.id == request_id).is_some()
    }

    /// Promotes the staged version; says whether anything changed.
    pub(super) fn promote(&mut self, request_id: &str, from: &str) -> Result<bool, VaultError> {
        if self.current.id == request_id {
            return Ok(false);
        }
        if self.current.id != from {
            return Err(VaultError::Conflict(format!("the current version is {}, not {from}", self.current.id)));
        }
        match self.staged.take() {
            Some(staged) if staged.id == request_id => {
                self.current = staged;
                Ok(true)
            }
            other => {
                self.staged = other;
                Err(VaultError::Conflict(format!("nothing is staged as {request_id}")))
            }
        }
    }
}

/// Refuses to stage or promote what does not exist.
pub(super) fn missing(name: &str) -> VaultError {
    VaultError::Conflict(format!("there is no secret {name}"))
}

/// Refuses to create what exists.
pub(super) fn exists(name: &str) -> VaultError {
    VaultError::Conflict(format!("there is a secret {name} already"))
}

/// Checks a name's spelling: parts of `[a-z0-9._-]`, none of which begins with a dot (so neither leads elsewhere nor
/// is hidden) or ends like the files that hold secrets (so a part is never both a file and a directory).
pub(super) fn check_name(name: &str) -> Result<(), VaultError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= 200
            && part.bytes().all(allowed)
            && !part.starts_with('.')
            && part.strip_suffix(".json").is_none()
    };
    if name.split('/').all(good) {
        return Ok(());
    }
    Err(VaultError::unavailable(format!(
        "{name:?} is not a secret's name: use a-z, 0-9, '.', '_' and '-' in parts separated by '/', \
         and no part that begins with '.' or ends in .json"
    )))
}
