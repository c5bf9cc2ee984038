//! A file that is kept: a new one beside it takes its place in one step, so that whoever reads finds all of a token,
//! the old one's or the new one's.
//!
//! Several agents may keep one file. They take turns by a lock on its directory; who waits too long goes on without: a
//! draft has a name of its own, and a rename has one winner.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    cli::plain_file::{self, Links},
    client::{AccessToken, MAX_ACCESS_TOKEN, is_piece_of_one},
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
    /// The permission bits that it has, when it was looked at last.
    bits: Option<u32>,
    /// What became of the permission bits that it was given: not every file system has them all.
    given: Option<u32>,
}

/// What changes with a file's content.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl KeptFile {
    /// The file of this path, which need not be there. New ones get these permission bits.
    pub(super) fn new(path: PathBuf, mode: u32) -> Self {
        Self { path, mode, seen: None, bits: None, given: None }
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
        let data = plain_file::look(&self.path, Links::Refused)?;
        self.bits = data.as_ref().map(bits_of);
        let Some(data) = data else {
            self.seen = None;
            return Ok(&Found::Nothing);
        };
        let stamp = stamp_of(&data);
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != stamp) {
            self.seen = None;
            let Some((file, data)) = open(&self.path)? else { return Ok(&Found::Nothing) };
            let text = read(file)?;
            let found = match AccessToken::parse(&text) {
                _ if text.trim().is_empty() => Found::Nothing,
                Ok(token) => Found::Token(Box::new(token)),
                Err(_) if is_piece_of_one(text.trim()) => Found::Torn,
                Err(_) => Found::Other,
            };
            self.bits = Some(bits_of(&data));
            return Ok(&self.seen.insert((stamp_of(&data), found)).1);
        }
        Ok(self.seen.as_ref().map_or(&Found::Nothing, |(_, found)| found))
    }

    /// Whether the file that was looked at has other permission bits than it should have, and could have.
    pub(super) fn has_a_wrong_mode(&self) -> bool {
        self.bits.is_some_and(|bits| bits != self.mode && self.given != Some(bits))
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
    pub(super) fn set_mode(&mut self) -> io::Result<()> {
        if let Some((file, data)) = open(&self.path)?
            && bits_of(&data) != self.mode
        {
            file.set_permissions(fs::Permissions::from_mode(self.mode))?;
            self.given = Some(bits_of(&file.metadata()?));
        }
        Ok(())
    }

    /// Puts a text in its place, by way of a draft. From here on it survives whatever happens to the machine.
    ///
    /// # Errors
    /// As for [`KeptFile::draft`] and [`Draft::keep`]; what was there is there still.
    pub(super) fn replace(&mut self, text: &str, entropy: &dyn Entropy) -> io::Result<()> {
        let given = self.draft(entropy)?.keep(text)?;
        self.given = Some(given);
        Ok(())
    }

    /// The text of the file, for its owner's use; None if there is none.
    ///
    /// # Errors
    /// As for [`KeptFile::look`].
    pub(super) fn text(&self) -> io::Result<Option<Zeroizing<String>>> {
        open(&self.path)?.map(|(file, _)| read(file)).transpose()
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
    /// Puts a text in the file's place; says which permission bits it has there. From here on it survives whatever happens
    /// to the machine.
    ///
    /// # Errors
    /// The system refuses; what was there is there still.
    pub(super) fn keep(mut self, text: &str) -> io::Result<u32> {
        // Not truncated first: the room that it has stays its own. A umask may have taken more away than was asked for.
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)?;
        self.file.set_permissions(fs::Permissions::from_mode(self.target.mode))?;
        self.file.sync_all()?;
        let given = bits_of(&self.file.metadata()?);
        plain_file::look(&self.target.path, Links::Refused)?;
        fs::rename(&self.path, &self.target.path)?;
        File::open(directory_of(&self.target.path))?.sync_all()?;
        Ok(given)
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

fn stamp_of(data: &Metadata) -> Stamp {
    (data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec())
}

fn bits_of(data: &Metadata) -> u32 {
    data.mode() & 0o7777
}

fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    plain_file::open(path, OpenOptions::new().read(true), Links::Refused)
}

/// A file's text; what is no text or too long is given as a character that no token has.
fn read(file: File) -> io::Result<Zeroizing<String>> {
    // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ACCESS_TOKEN + 8));
    file.take(MAX_ACCESS_TOKEN as u64 + 4).read_to_end(&mut bytes)?;
    let text = if bytes.len() > MAX_ACCESS_TOKEN + 2 { None } else { std::str::from_utf8(&bytes).ok() };
    Ok(Zeroizing::new(text.map_or_else(|| char::REPLACEMENT_CHARACTER.to_string(), str::to_owned)))
}

/// Removes the drafts that nobody is at any more.
fn sweep(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let prefix = [b".", name.as_encoded_bytes(), b"."].concat();
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        let found = entry.file_name();
        let random =
            found.as_encoded_bytes().strip_prefix(&*prefix).and_then(|rest| rest.strip_suffix(DRAFT.as_bytes()));
        if !random.is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit)) {
            continue;
        }
        let is_left_behind = entry.file_type().is_ok_and(|kind| kind.is_file())
            && plain_file::open(&entry.path(), OpenOptions::new().write(true), Links::Refused)
                .is_ok_and(|opened| opened.is_some_and(|(file, _)| file.try_lock().is_ok()));
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
        for (text, mode) in [("eyJhbGciOiJF", 0o600), ("eyJ", 0o640), ("eyJhbGc", 0o400), ("eyJhbG", 0o600)] {
            let mut file = KeptFile::new(path.clone(), mode);
            let turn = file.turn(Duration::ZERO).await.unwrap();
            assert!(turn.is_some() && file.turn(Duration::ZERO).await.unwrap().is_none(), "one at a time");
            file.replace(text, &SystemEntropy).unwrap();
            assert_eq!(file.text().unwrap().unwrap().as_str(), text);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            assert!(matches!(file.look().unwrap(), Found::Torn));
            assert_eq!(names(directory.path()), [".auth_token"]);
        }
    }

    #[test]
    fn another_mode_is_noticed_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let set = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let mut file = KeptFile::new(path.clone(), 0o640);
        file.replace("eyJ", &SystemEntropy).unwrap();
        let is_wrong = |file: &mut KeptFile| {
            file.look().unwrap();
            file.has_a_wrong_mode()
        };
        assert!(!is_wrong(&mut file));
        for bits in [0o644, 0o600, 0o440] {
            set(bits);
            assert!(is_wrong(&mut file), "{bits:o}");
            file.set_mode().unwrap();
            assert!(!is_wrong(&mut file) && fs::metadata(&path).unwrap().mode() & 0o7777 == 0o640);
        }
        // What the file system has made of it is as good as it gets.
        set(0o600);
        file.given = Some(0o600);
        assert!(!is_wrong(&mut file));
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
        assert_eq!((found("torn", b"eyJhbGci"), found("torn", b"eyJ\n")), ("Torn".into(), "Torn".into()));
        // A whole token of another kind, such as a service account's long-lived one, is shown once.
        let whole = b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJpIiwic3ViIjoicyJ9.c2ln";
        for other in
            [&b"alias ll='ls -l'\n"[..], b"eyJ\xff", b"eyJ x", "e".repeat(MAX_ACCESS_TOKEN + 9).as_bytes(), whole]
        {
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
        assert_eq!(fs::read(at("torn")).unwrap(), b"eyJ\n", "what the link leads to");
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
