//! The login that is kept between commands: where, whose, and its refresh token. One file, which its owner alone can
//! read, and a lock beside it, so that of several commands at once each uses the token that the one before it left.

use std::{
    fs,
    io::{self, ErrorKind, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
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
    /// Others than the owner may change the directory.
    #[error("{} has mode {mode:04o}, which lets others change what is in it: run `chmod go-w '{}'`", path.display(), path.display())]
    Open {
        /// The directory.
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

    /// What tells the session that is kept from others, in which each refresh token is used up by the next: nothing that
    /// can be used. It waits for nobody: a login is replaced in one step. None if there is none, or it cannot be read.
    pub fn session(&self) -> Option<String> {
        let login = read(&self.path()).ok()??;
        session_of(login.refresh_token?.expose()).map(|session| format!("{} {session}", login.url))
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
        let mode = fs::metadata(&self.directory).map_err(at(&self.directory))?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(LoginFileError::Open { path: self.directory.clone(), mode });
        }
        let path = self.directory.join("login.lock");
        must_be_a_file(&path).map_err(at(&path))?;
        let mut options = fs::OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(at(&path))?;
        lock.set_permissions(fs::Permissions::from_mode(0o600)).map_err(at(&path))?;
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
        read(&self.file)
    }

    /// Makes sure that a login can be kept, before a token is used up that could not be kept afterwards: on a full disk
    /// or a read-only one nothing is lost.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn rehearse(&self) -> Result<Room<'_>, LoginFileError> {
        // Made anew: one that was left behind may be anything.
        let made = remove_if_there(&self.draft).and_then(|()| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.draft)?;
            file.write_all(&[b' '; 4096])?;
            file.sync_all()?;
            Ok(file)
        });
        let file = made.map_err(|error| self.unusable(error))?;
        Ok(Room { turn: self, file })
    }

    /// Keeps no login any more.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn forget(&self) -> Result<(), LoginFileError> {
        for path in [&self.draft, &self.file] {
            remove_if_there(path).map_err(|error| self.unusable(error))?;
        }
        Ok(())
    }

    fn unusable(&self, source: io::Error) -> LoginFileError {
        LoginFileError::Unusable { path: self.file.clone(), source }
    }
}

/// Room on the disk for a login.
#[derive(Debug)]
pub struct Room<'a> {
    turn: &'a Turn,
    file: fs::File,
}

impl Room<'_> {
    /// Keeps a login in place of what was kept.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn keep(mut self, login: &Login) -> Result<(), LoginFileError> {
        let Turn { file, draft, .. } = self.turn;
        let bytes = login.render();
        // Not truncated first: the room that it has stays its own.
        self.file
            .rewind()
            .and_then(|()| self.file.write_all(&bytes))
            .and_then(|()| self.file.set_len(bytes.len() as u64))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(draft, file))
            .and_then(|()| fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all())
            .map_err(|error| self.turn.unusable(error))
    }
}

fn read(path: &Path) -> Result<Option<Login>, LoginFileError> {
    let unusable = |source| LoginFileError::Unusable { path: path.to_owned(), source };
    must_be_a_file(path).map_err(unusable)?;
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error)),
    };
    let data = file.metadata().map_err(unusable)?;
    let mode = data.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(LoginFileError::Exposed { path: path.to_owned(), mode });
    }
    let damaged = || LoginFileError::Damaged(path.to_owned());
    if data.len() > MOST {
        return Err(damaged());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or_default() + 1));
    file.read_to_end(&mut bytes).map_err(unusable)?;
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

/// The part of a refresh token that all of a session have in common, and no other session's: of its first 34 bytes (version,
/// pepper, account, session) those from the third on, as far as they are whole characters. Whatever else it is made of, no
/// part of the MAC is in it. None if it is none of ours.
pub fn session_of(refresh_token: &str) -> Option<String> {
    let begin = URL_SAFE_NO_PAD.decode(refresh_token.strip_prefix("gmr_")?.get(..44)?).ok()?;
    Some(URL_SAFE_NO_PAD.encode(begin.get(2..)?))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A pipe, for one, would be waited for, for ever.
fn must_be_a_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(data) if !data.is_file() => Err(io::Error::other("it is not a file; move it away")),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(session: u8, generation: u8) -> String {
        token_by(7, session, generation)
    }

    fn token_by(pepper: u8, session: u8, generation: u8) -> String {
        let mut bytes = [7; 70];
        bytes[1] = pepper;
        bytes[18..34].fill(session);
        bytes[34..].fill(generation);
        format!("gmr_{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    #[tokio::test]
    async fn a_session_is_told_from_others_and_not_its_tokens() {
        let place = tempfile::tempdir().unwrap();
        let file = LoginFile::within(&place.path().join("g"));
        assert_eq!(file.session(), None);
        let turn = file.turn(|| ()).await.unwrap();
        let keep = |refresh_token: Option<String>| {
            let login = Login {
                url: "https://auth.example.org".into(),
                client_id: "gatemint".into(),
                username: "ada".into(),
                refresh_token: refresh_token.map(Secret::new),
                expires_at: None,
            };
            turn.rehearse().unwrap().keep(&login).unwrap();
            file.session()
        };
        let first = keep(Some(token(1, 1)));
        assert!(first.as_ref().is_some_and(|session| !session.contains(&token(1, 1))));
        assert_eq!(keep(Some(token(1, 2))), first, "the next token of the same session");
        assert_eq!(keep(Some(token_by(8, 1, 3))), first, "made with another pepper");
        assert_ne!(keep(Some(token(2, 1))), first, "signed in anew");
        assert_eq!((keep(None), keep(Some("other".into()))), (None, None));
    }
}
