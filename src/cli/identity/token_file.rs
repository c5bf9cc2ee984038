//! The file that a token is stored in: for its owner alone, whole or not at all, without a line end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    cli::CliError,
    client::{MAX_TOKEN, ServiceAccountToken},
    domain::Secret,
};

/// A file to be, with room for a token: on a full disk or in a directory that cannot be written nothing is issued that
/// could not be stored.
pub(super) struct TokenFile {
    path: PathBuf,
    draft: PathBuf,
    file: File,
}

impl TokenFile {
    /// Makes room beside the file.
    ///
    /// # Errors
    /// There is none, or what is there is no file.
    pub(super) fn prepare(path: &Path) -> Result<Self, CliError> {
        let failed = |why: &dyn std::fmt::Display| CliError::Failed(format!("{}: {why}", path.display()));
        if fs::symlink_metadata(path).is_ok_and(|data| !data.is_file()) {
            return Err(failed(&"it is not a file; move it away"));
        }
        // Of this process alone: another one at the same time has its own.
        let draft = path.with_extension(format!("token.{}", std::process::id()));
        let made = remove_if_there(&draft).and_then(|()| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(&[b' '; 4096])?;
            file.sync_all()?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Self { path: path.to_owned(), draft, file }),
            Err(error) => {
                let _ = fs::remove_file(&draft);
                Err(failed(&error))
            }
        }
    }

    /// The token that is stored there, if it is one of this service account.
    pub(super) fn stored(&self, namespace: &str, name: &str) -> Option<ServiceAccountToken> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN + 2));
        File::open(&self.path).ok()?.take(MAX_TOKEN as u64 + 1).read_to_string(&mut text).ok()?;
        ServiceAccountToken::parse(&text).ok().filter(|token| token.namespace == namespace && token.name == name)
    }

    /// Stores a token in place of what was there.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn store(mut self, token: &Secret<String>) -> Result<(), CliError> {
        let bytes = token.expose().as_bytes();
        // Not truncated first: the room that it has stays its own. A umask may have taken more away than was asked for.
        self.file
            .set_permissions(fs::Permissions::from_mode(0o600))
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(bytes))
            .and_then(|()| self.file.set_len(bytes.len() as u64))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.draft, &self.path))
            .and_then(|()| {
                let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
                File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
            })
            .map_err(|error| CliError::Failed(format!("{}: {error}", self.path.display())))
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // Once it is stored, there is none.
        let _ = remove_if_there(&self.draft);
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_stored_whole_for_its_owner_alone_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ada-ci.token");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        drop(TokenFile::prepare(&path).unwrap());
        assert_eq!(names(), 0, "what was not stored leaves nothing behind");
        for token in ["a-long-one", "short"] {
            TokenFile::prepare(&path).unwrap().store(&Secret::new(token.to_owned())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), token);
            assert_eq!((fs::metadata(&path).unwrap().permissions().mode() & 0o7777, names()), (0o600, 1));
        }
        assert!(TokenFile::prepare(&path).unwrap().stored("ada", "ci").is_none(), "no token at all");
        assert!(TokenFile::prepare(directory.path()).is_err(), "no file");
        assert!(TokenFile::prepare(&directory.path().join("no/where.token")).is_err());
    }
}
