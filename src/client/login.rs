//! The login that is kept between commands: where, whose, and its refresh token. One file, which its owner alone can
//! read, and a lock beside it, so that of several commands at once each uses the token that the one before it left.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{clock::Timestamp, domain::Secret};

const FORMAT: u32 = 1;
/// No login file is longer; what is was not written here.
const MOST: u64 = 64 * 1024;

/// Why a login cannot be kept, or read.
#[derive(Debug, thiserror::Error)]
pub enum LoginFileError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error(
        "{} holds a refresh token, but its mode is {mode:04o}, which lets others read it: run `chmod 600 '{}'`, and sign \
         in again if others may have read it", path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a login that this version knows.
    #[error("{} is damaged, or of a newer gatemint: sign in again with `gatemint login`", .0.display())]
    Damaged(PathBuf),
}

/// A login.
#[derive(Clone, Debug)]
pub struct Login {
    /// The service's URL.
    pub url: String,
    /// The client that it was opened through.
    pub client_id: String,
    /// Who signed in.
    pub username: String,
    /// The current refresh token; none once the session has ended.
    pub refresh_token: Option<Secret<String>>,
    /// When the session ends if it is not used before.
    pub expires_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    url: String,
    client_id: String,
    username: String,
    refresh_token: Option<String>,
    expires_at: Option<Timestamp>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.refresh_token.zeroize();
    }
}

impl Login {
    fn render(&self) -> Zeroizing<Vec<u8>> {
        let stored = Stored {
            v: FORMAT,
            url: self.url.clone(),
            client_id: self.client_id.clone(),
            username: self.username.clone(),
            refresh_token: self.refresh_token.as_ref().map(|token| token.expose().clone()),
            expires_at: self.expires_at,
        };
        // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
        let token = stored.refresh_token.as_ref().map_or(0, String::len);
        let names = stored.url.len() + stored.client_id.len() + stored.username.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(256 + token * 2 + names * 6));
        serde_json::to_writer_pretty(&mut *bytes, &stored)
            .unwrap_or_else(|error| unreachable!("plain data always serialises: {error}"));
        bytes.push(b'\n');
        bytes
    }
}

/// The file in its directory.
#[derive(Clone, Debug)]
pub struct LoginFile {
    directory: PathBuf,
}

impl LoginFile {
    /// In this directory, which need not be there yet.
    pub fn within(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.join("login.json")
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Waits for its turn: from here until the turn is dropped no other command reads or changes the login. Calls `waits`
    /// once if it takes more than a moment.
    ///
    /// # Errors
    /// `Unusable`.
    pub async fn turn(&self, waits: impl FnOnce()) -> Result<Turn, LoginFileError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LoginFileError::Unusable { path, source }
        };
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(at(&self.directory)(error)),
            _ => {}
        }
        let path = self.directory.join("login.lock");
        let mut options = fs::OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(at(&path))?;
        let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
        tokio::pin!(locked);
        let moment = std::time::Duration::from_secs(1);
        let lock = if let Ok(lock) = tokio::time::timeout(moment, &mut locked).await {
            lock
        } else {
            waits();
            locked.await
        };
        let lock = lock.map_err(io::Error::other).flatten().map_err(at(&path))?;
        Ok(Turn { file: self.path(), draft: self.directory.join("login.draft"), _lock: lock })
    }
}

/// The right to read and change the login, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    file: PathBuf,
    draft: PathBuf,
    _lock: fs::File,
}

impl Turn {
    /// The login that is kept, if there is one.
    ///
    /// # Errors
    /// `Exposed`, `Damaged`, `Unusable`.
    pub fn read(&self) -> Result<Option<Login>, LoginFileError> {
        let mut file = match fs::File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unusable(error)),
        };
        let data = file.metadata().map_err(|error| self.unusable(error))?;
        let mode = data.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(LoginFileError::Exposed { path: self.file.clone(), mode });
        }
        let damaged = || LoginFileError::Damaged(self.file.clone());
        if data.len() > MOST {
            return Err(damaged());
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or_default() + 1));
        file.read_to_end(&mut bytes).map_err(|error| self.unusable(error))?;
        let mut stored: Stored = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if stored.v != FORMAT {
            return Err(damaged());
        }
        Ok(Some(Login {
            url: std::mem::take(&mut stored.url),
            client_id: std::mem::take(&mut stored.client_id),
            username: std::mem::take(&mut stored.username),
            refresh_token: stored.refresh_token.take().map(Secret::new),
            expires_at: stored.expires_at,
        }))
    }

    /// Makes sure that a login can be kept, before a token is used up that could not be kept afterwards: on a full disk
    /// or a read-only one nothing is lost.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn rehearse(&self) -> Result<(), LoginFileError> {
        let room = [b' '; 4096];
        self.draft(&room).map_err(|error| self.unusable(error))
    }

    /// Keeps a login in place of what was kept.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn keep(&self, login: &Login) -> Result<(), LoginFileError> {
        self.draft(&login.render())
            .and_then(|()| fs::rename(&self.draft, &self.file))
            .and_then(|()| fs::File::open(self.file.parent().unwrap_or(Path::new(".")))?.sync_all())
            .map_err(|error| self.unusable(error))
    }

    /// Keeps no login any more.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn forget(&self) -> Result<(), LoginFileError> {
        for path in [&self.draft, &self.file] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.unusable(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn draft(&self, bytes: &[u8]) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        // Not truncated first: the room that it has stays its own.
        let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.draft)?;
        // One that was left behind, or copied here, may have another mode.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    }

    fn unusable(&self, source: io::Error) -> LoginFileError {
        LoginFileError::Unusable { path: self.file.clone(), source }
    }
}
