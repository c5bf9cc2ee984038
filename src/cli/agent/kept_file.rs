//! A file that is kept: a new one beside it takes its place in one step, so that whoever reads finds all of a token,
//! the old one's or the new one's.
//!
//! Several agents may keep one file. They take turns by a lock on its directory; who waits too long goes on without: a
//! draft has a name of its own, and a rename has one winner.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    client::{AccessToken, MAX_TOKEN, may_begin_one},
    entropy::Entropy,
};

/// How often a lock is tried for.
const POLL: Duration = Duration::from_millis(50);
/// How a draft's name ends, after the file's own and something random.
const DRAFT: &str = ".new";

/// What is in a file's place.
#[derive(Debug)]
pub(super) enum Found {
    /// No file, or an empty one.
    Nothing,
    /// A token.
    Token(Box<AccessToken>),
    /// A piece of a token.
    Torn,
    /// Something else, which is nobody's to replace.
    Other,
}

/// A file's path and how it looked.
#[derive(Debug)]
pub(super) struct KeptFile {
    path: PathBuf,
    mode: u32,
    /// What was found, and how the file looked then.
    seen: Option<(Stamp, Found)>,
}

/// What changes with a file's content.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl KeptFile {
    /// The file of this path, which need not be there. New ones get these permission bits.
    pub(super) fn new(path: PathBuf, mode: u32) -> Self {
        Self { path, mode, seen: None }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in its place. It is read only when it has changed.
    ///
    /// # Errors
    /// It is a symbolic link, a directory or anything else than a file; the system refuses.
    pub(super) fn look(&mut self) -> io::Result<&Found> {
        let stamp = plain_file(&self.path)?.map(|data| {
            (data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec())
        });
        let Some(stamp) = stamp else {
            self.seen = None;
            return Ok(&Found::Nothing);
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != stamp) {
            self.seen = None;
            let found = match read(&self.path)? {
                None => Found::Nothing,
                Some(text) => match AccessToken::parse(&text) {
                    _ if text.trim().is_empty() => Found::Nothing,
                    Ok(token) => Found::Token(Box::new(token)),
                    Err(_) if may_begin_one(text.trim()) => Found::Torn,
                    Err(_) => Found::Other,
                },
            };
            return Ok(&self.seen.insert((stamp, found)).1);
        }
        Ok(self.seen.as_ref().map_or(&Found::Nothing, |(_, found)| found))
    }

    /// Waits for this agent's turn; None if others do not let go in time. Whoever has it removes what killed agents left.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be read.
    pub(super) async fn turn(&self, patience: Duration) -> io::Result<Option<File>> {
        let directory = File::open(directory_of(&self.path))?;
        let mut waited = Duration::ZERO;
        loop {
            match directory.try_lock() {
                Ok(()) => {
                    sweep(&self.path)?;
                    return Ok(Some(directory));
                }
                Err(fs::TryLockError::WouldBlock) if waited < patience => {
                    tokio::time::sleep(POLL).await;
                    waited += POLL;
                }
                // Locks are a courtesy: a file system without them does as well.
                Err(_) => return Ok(None),
            }
        }
    }

    /// Makes room for what is to be in its place.
    ///
    /// # Errors
    /// There is none, or the directory cannot be written.
    pub(super) fn draft(&self, entropy: &dyn Entropy) -> io::Result<Draft<'_>> {
        let name = self.path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
        let mut own = OsString::from(".");
        own.push(name);
        own.push(format!(".{:016x}{DRAFT}", u64::from_be_bytes(entropy.bytes())));
        let path = self.path.with_file_name(own);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut draft = Draft { target: self, path, file };
        // Held by whoever is alive: that is how it is known from one that was left behind.
        let _ = draft.file.try_lock();
        draft.file.write_all(&[b' '; 4096])?;
        draft.file.sync_all()?;
        Ok(draft)
    }

    /// Gives a file that stays the permission bits that a new one would have.
    ///
    /// # Errors
    /// It is somebody else's.
    pub(super) fn set_mode(&self) -> io::Result<()> {
        match plain_file(&self.path)? {
            Some(data) if data.mode() & 0o7777 != self.mode => {
                fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode))
            }
            _ => Ok(()),
        }
    }

    /// The text of the file, for its owner's use; None if there is none.
    ///
    /// # Errors
    /// As for [`KeptFile::look`].
    pub(super) fn text(&self) -> io::Result<Option<Zeroizing<String>>> {
        if plain_file(&self.path)?.is_none() { Ok(None) } else { read(&self.path) }
    }
}

/// A file to be; removed if it does not become one.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    target: &'a KeptFile,
    path: PathBuf,
    file: File,
}

impl Draft<'_> {
    /// Puts a text in the file's place. From here on it survives whatever happens to the machine.
    ///
    /// # Errors
    /// The system refuses; what was there is there still.
    pub(super) fn keep(mut self, text: &str) -> io::Result<()> {
        // Not truncated first: the room that it has stays its own. A umask may have taken more away than was asked for.
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)?;
        self.file.set_permissions(fs::Permissions::from_mode(self.target.mode))?;
        self.file.sync_all()?;
        plain_file(&self.target.path)?;
        fs::rename(&self.path, &self.target.path)?;
        File::open(directory_of(&self.target.path))?.sync_all()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Once it is in its place, there is none.
        let _ = fs::remove_file(&self.path);
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the file is like, if there is one. A link is not followed: what it leads to is somebody else's, and with the
/// link in its place gone, nobody would find it any more.
fn plain_file(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_symlink() => {
            Err(io::Error::other("it is a symbolic link, which is neither followed nor replaced: name the file itself"))
        }
        Ok(data) if data.is_dir() => Err(io::Error::other("it is a directory: name a file in it")),
        Ok(data) if !data.is_file() => Err(io::Error::other("it is not a file; move it away")),
        Ok(data) => Ok(Some(data)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file's text; what is no text or too long is given as a character that no token has.
fn read(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 8));
    file.take(MAX_TOKEN as u64 + 4).read_to_end(&mut bytes)?;
    let text = if bytes.len() > MAX_TOKEN + 2 { None } else { std::str::from_utf8(&bytes).ok() };
    Ok(Some(Zeroizing::new(text.map_or_else(|| char::REPLACEMENT_CHARACTER.to_string(), str::to_owned))))
}

/// Removes the drafts that nobody is at any more.
fn sweep(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let prefix = format!(".{}.", name.to_string_lossy());
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        let found = entry.file_name();
        let random = found.to_str().and_then(|found| found.strip_prefix(&prefix)?.strip_suffix(DRAFT));
        if !random.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            continue;
        }
        let is_left_behind = entry.file_type().is_ok_and(|kind| kind.is_file())
            && OpenOptions::new().write(true).open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_left_behind {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::entropy::SystemEntropy;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_text_takes_its_place_whole_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".auth_token");
        for (text, mode) in [("eyJ.a-long-one", 0o600), ("eyJ.short", 0o640), ("eyJ.other", 0o400), ("eyJ.last", 0o600)]
        {
            let mut file = KeptFile::new(path.clone(), mode);
            let turn = file.turn(Duration::ZERO).await.unwrap();
            assert!(turn.is_some() && file.turn(Duration::ZERO).await.unwrap().is_none(), "one at a time");
            file.draft(&SystemEntropy).unwrap().keep(text).unwrap();
            assert_eq!(file.text().unwrap().unwrap().as_str(), text);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            assert!(matches!(file.look().unwrap(), Found::Torn));
            assert_eq!(names(directory.path()), [".auth_token"]);
        }
    }

    #[tokio::test]
    async fn what_a_killed_agent_left_is_removed_and_what_a_living_one_writes_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeptFile::new(directory.path().join("t"), 0o600);
        let left = directory.path().join(".t.0123456789abcdef.new");
        fs::write(&left, "eyJ").unwrap();
        for other in [".t.0123456789abcdex.new", ".t.1.new", ".u.0123456789abcdef.new"] {
            fs::write(directory.path().join(other), "").unwrap();
        }
        let living = file.draft(&SystemEntropy).unwrap();
        assert!(left.exists(), "without the turn nothing is removed");
        assert!(file.turn(Duration::ZERO).await.unwrap().is_some());
        assert!(!left.exists() && living.path.exists());
        living.keep("eyJ.x").unwrap();
        assert_eq!(names(directory.path()).len(), 4, "{:?}", names(directory.path()));
    }

    #[test]
    fn only_a_token_s_place_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let found = |name: &str, content: &[u8]| {
            fs::write(at(name), content).unwrap();
            format!("{:?}", KeptFile::new(at(name), 0o600).look().unwrap())
        };
        assert!(matches!(KeptFile::new(at("none"), 0o600).look().unwrap(), Found::Nothing));
        for empty in [&b""[..], b" \n"] {
            assert_eq!(found("empty", empty), "Nothing");
        }
        assert_eq!((found("torn", b"eyJhbGci"), found("torn", b"eyJhbGci.e30.c2ln")), ("Torn".into(), "Torn".into()));
        for other in [&b"alias ll='ls -l'\n"[..], b"eyJ\xff", b"eyJ x", &[b'e'; MAX_TOKEN + 9]] {
            assert_eq!(found("other", other), "Other");
        }
        symlink(at("torn"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        for (name, why) in [("link", "symbolic link"), ("dangling", "symbolic link"), ("directory", "a directory")] {
            let mut file = KeptFile::new(at(name), 0o600);
            assert!(file.look().unwrap_err().to_string().contains(why), "{name}");
            let refused = file.draft(&SystemEntropy).unwrap().keep("eyJ.x").unwrap_err();
            assert!(refused.to_string().contains(why), "{name}");
        }
        assert_eq!(fs::read(at("torn")).unwrap(), b"eyJhbGci.e30.c2ln", "what the link leads to");
        assert!(KeptFile::new(at("no/where"), 0o600).draft(&SystemEntropy).is_err());
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let mut file = KeptFile::new(path.clone(), 0o600);
        assert!(matches!(file.look().unwrap(), Found::Nothing));
        fs::write(&path, "eyJ").unwrap();
        assert!(matches!(file.look().unwrap(), Found::Torn));
        fs::write(&path, "something else").unwrap();
        assert!(matches!(file.look().unwrap(), Found::Other));
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.look().unwrap(), Found::Nothing));
    }
}
