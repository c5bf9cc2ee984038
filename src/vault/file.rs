//! The vault of one machine: a directory that only its owner may enter.
//!
//! A secret `keys/signing` is the file `keys/signing.json`, which holds its current and its staged version. A file is
//! never changed: a new one is written beside it, brought to the disk and then given the name, so that a reader sees
//! the old secret or the new one, and a process that is killed leaves one or the other. Writers take turns through a
//! lock on `.lock`; readers need none.

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    SecretVersion, Vault, VaultError,
    entry::{Entry, check_name, exists, missing},
};
use crate::{
    domain::Secret,
    entropy::{Entropy, SystemEntropy},
};

/// The file format that is written and read.
const FORMAT: u32 = 1;

/// The most that a secret's file may measure, in bytes: what is longer was not written here.
const MAX_FILE: u64 = 4 << 20;

/// Why a vault was not opened, or one of its files not read. The text says how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such directory.
    #[error("there is no vault at {}: check the path, or let gatemint create one there", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Others than the owner may read or change it.
    #[error(
        "{} holds secrets, but its mode is {mode:04o}, which lets others than its owner in: \
         run `chmod {} '{}'`, and replace the secrets if others may have read them",
        path.display(), if *directory { "700" } else { "600" }, path.display()
    )]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is a directory.
        directory: bool,
    },
    /// The system refuses.
    #[error("the vault's {} cannot be used: {source}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A secret's name and its file's content.
pub type SecretFile = (String, Zeroizing<Vec<u8>>);

/// A [`Vault`] in a directory of mode 0700, its files of mode 0600. Several processes may use it at once.
#[derive(Clone, Debug)]
pub struct FileVault {
    directory: PathBuf,
}

impl FileVault {
    /// Opens a vault that is there.
    ///
    /// # Errors
    /// There is none, or something in it is accessible to the group or to others, or cannot be looked at.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        match fs::metadata(directory) {
            Ok(data) if data.is_dir() => {}
            Ok(_) => return Err(unusable(directory)(ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(OpenError::Missing { path: directory.to_owned() });
            }
            Err(error) => return Err(unusable(directory)(error)),
        }
        check_tree(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Makes an empty vault, or opens the one that is there. The directory's parent must be there.
    ///
    /// # Errors
    /// As [`FileVault::open`]; and the directory cannot be made.
    pub fn create(directory: &Path) -> Result<Self, OpenError> {
        make_directory(directory).map_err(unusable(directory))?;
        Self::open(directory)
    }

    /// Every secret's name and file, while nobody changes any. `meanwhile` is done under the same lock, before they are
    /// read: what it looks at fits the secrets.
    ///
    /// # Errors
    /// One cannot be read, or is damaged.
    pub fn copy<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<(T, Vec<SecretFile>), VaultError> {
        let _lock = lock(&self.directory).map_err(VaultError::unavailable)?;
        let done = meanwhile();
        let mut names = Vec::new();
        collect_names(&self.directory, "", &mut names).map_err(VaultError::unavailable)?;
        names.sort_unstable();
        let mut files = Vec::new();
        for name in names {
            let kept = KeptSecret::new(&self.directory, &name)?;
            if let Some(bytes) = kept.bytes()? {
                // What is damaged must not be found out when it is needed.
                kept.parse(&bytes)?;
                files.push((name, bytes));
            }
        }
        Ok((done, files))
    }

    /// Makes a secret of a file that [`FileVault::copy`] read.
    ///
    /// # Errors
    /// The name or the content is none of a secret's; there is such a secret already; it cannot be written.
    pub fn paste(&self, name: &str, content: &[u8]) -> Result<(), VaultError> {
        let kept = KeptSecret::new(&self.directory, name)?;
        let entry = kept.parse(content)?;
        let _lock = lock(&self.directory).map_err(VaultError::unavailable)?;
        kept.create(&entry)
    }

    /// Does file work where it holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&KeptSecret) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let kept = KeptSecret::new(&self.directory, name)?;
        tokio::task::spawn_blocking(move || work(&kept)).await.map_err(VaultError::unavailable)?
    }

    /// The same, while no other process changes anything.
    async fn locked<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&KeptSecret) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        self.blocking(name, |kept| {
            let _lock = lock(&kept.root).map_err(VaultError::unavailable)?;
            work(kept)
        })
        .await
    }
}

#[async_trait]
impl Vault for FileVault {
    async fn current(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        self.blocking(name, |kept| Ok(kept.read()?.map(|entry| entry.current))).await
    }

    async fn create(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.locked(name, move |kept| kept.create(&Entry::new(random_id(), value))).await
    }

    async fn stage(&self, name: &str, request_id: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        let request_id = request_id.to_owned();
        self.locked(name, move |kept| kept.change(|entry| entry.stage(&request_id, value))).await
    }

    async fn staged(&self, name: &str) -> Result<Option<SecretVersion>, VaultError> {
        self.blocking(name, |kept| Ok(kept.read()?.and_then(|entry| entry.staged))).await
    }

    async fn unstage(&self, name: &str, request_id: &str) -> Result<(), VaultError> {
        let request_id = request_id.to_owned();
        self.locked(name, move |kept| {
            let Some(mut entry) = kept.read()? else { return Ok(()) };
            if entry.unstage(&request_id) { kept.replace(&entry) } else { Ok(()) }
        })
        .await
    }

    async fn promote(&self, name: &str, request_id: &str, from: &str) -> Result<(), VaultError> {
        let (request_id, from) = (request_id.to_owned(), from.to_owned());
        self.locked(name, move |kept| kept.change(|entry| entry.promote(&request_id, &from))).await
    }

    async fn put(&self, name: &str, value: Secret<Vec<u8>>) -> Result<(), VaultError> {
        self.locked(name, move |kept| {
            let fresh = Entry::new(random_id(), value);
            match kept.bytes()? {
                None => kept.create(&fresh),
                // Whoever puts knows all of it, so that what is damaged is mended by it.
                Some(old) => {
                    let staged = kept.parse(&old).ok().and_then(|old| old.staged);
                    kept.replace(&Entry { current: fresh.current, staged })
                }
            }
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), VaultError> {
        self.locked(name, KeptSecret::delete).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        let (directory, prefix) = (self.directory.clone(), prefix.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut names = Vec::new();
            collect_names(&directory, "", &mut names).map_err(VaultError::unavailable)?;
            names.retain(|name| name.starts_with(&prefix));
            names.sort_unstable();
            Ok(names)
        })
        .await
        .map_err(VaultError::unavailable)?
    }
}

/// Where a secret is kept.
struct KeptSecret {
    name: String,
    root: PathBuf,
    folder: PathBuf,
    file: PathBuf,
    /// What is on its way to become the file. It may be left over from a process that was killed; whoever has the lock
    /// may remove it.
    draft: PathBuf,
}

impl KeptSecret {
    fn new(root: &Path, name: &str) -> Result<Self, VaultError> {
        check_name(name)?;
        let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
        let folder = root.join(folders);
        Ok(Self {
            name: name.to_owned(),
            root: root.to_owned(),
            file: folder.join(format!("{last}.json")),
            draft: folder.join(format!(".{last}.json.new")),
            folder,
        })
    }

    fn bytes(&self) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let mut file = match fs::File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VaultError::unavailable(unusable(&self.file)(error))),
        };
        let data = file.metadata().map_err(|error| VaultError::unavailable(unusable(&self.file)(error)))?;
        check_mode(&self.file, &data).map_err(VaultError::unavailable)?;
        if data.len() > MAX_FILE {
            return Err(self.damaged("it is too long"));
        }
        // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or_default() + 1));
        file.read_to_end(&mut bytes).map_err(|error| VaultError::unavailable(unusable(&self.file)(error)))?;
        Ok(Some(bytes))
    }

    fn read(&self) -> Result<Option<Entry>, VaultError> {
        self.bytes()?.map(|bytes| self.parse(&bytes)).transpose()
    }

    fn parse(&self, bytes: &[u8]) -> Result<Entry, VaultError> {
        // The parser's own words may quote what it read.
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| self.damaged(&format!("line {}", error.line())))?;
        if document.v != FORMAT {
            return Err(self.damaged(&format!("format {} is not known, this version writes {FORMAT}", document.v)));
        }
        let decode = |kept: &Kept| {
            let value = STANDARD.decode(&kept.value).map_err(|_| self.damaged("a value is not base64"))?;
            Ok(SecretVersion { id: kept.id.clone(), value: Secret::new(value) })
        };
        Ok(Entry { current: decode(&document.current)?, staged: document.staged.as_ref().map(decode).transpose()? })
    }

    /// What to do about it is the operator's to decide: nothing here overwrites it but `put`, which needs nothing of it.
    fn damaged(&self, how: &str) -> VaultError {
        VaultError::unavailable(format!("{} is damaged ({how}): restore it from a backup", self.file.display()))
    }

    fn create(&self, entry: &Entry) -> Result<(), VaultError> {
        let io = |error| VaultError::unavailable(unusable(&self.file)(error));
        self.make_folders().map_err(io)?;
        self.write_draft(entry).map_err(io)?;
        // A link fails where a rename would replace: also if a process without the lock was faster.
        let linked = fs::hard_link(&self.draft, &self.file);
        fs::remove_file(&self.draft).map_err(io)?;
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(&self.name)),
            linked => linked.and_then(|()| sync_directory(&self.folder)).map_err(io),
        }
    }

    fn replace(&self, entry: &Entry) -> Result<(), VaultError> {
        self.write_draft(entry)
            .and_then(|()| fs::rename(&self.draft, &self.file))
            .and_then(|()| sync_directory(&self.folder))
            .map_err(|error| VaultError::unavailable(unusable(&self.file)(error)))
    }

    fn change(&self, change: impl FnOnce(&mut Entry) -> Result<bool, VaultError>) -> Result<(), VaultError> {
        let mut entry = self.read()?.ok_or_else(|| missing(&self.name))?;
        if change(&mut entry)? { self.replace(&entry) } else { Ok(()) }
    }

    fn delete(&self) -> Result<(), VaultError> {
        remove_if_there(&self.draft)
            .and_then(|()| remove_if_there(&self.file))
            .and_then(|()| if self.folder.exists() { sync_directory(&self.folder) } else { Ok(()) })
            .map_err(|error| VaultError::unavailable(unusable(&self.file)(error)))
    }

    fn write_draft(&self, entry: &Entry) -> io::Result<()> {
        let keep =
            |version: &SecretVersion| Kept { id: version.id.clone(), value: STANDARD.encode(version.value.expose()) };
        let document = Document { v: FORMAT, current: keep(&entry.current), staged: entry.staged.as_ref().map(keep) };
        let length = |kept: &Kept| kept.id.len() * 6 + kept.value.len() + 64;
        let room = length(&document.current) + document.staged.as_ref().map_or(0, length) + 64;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *bytes, &document)?;
        // Never written over: a draft left behind by a kill may be a second name of the secret that it became.
        remove_if_there(&self.draft)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.draft)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
            // Half a secret is still a secret; and the room may be needed.
            let _ = fs::remove_file(&self.draft);
        })
    }

    fn make_folders(&self) -> io::Result<()> {
        let mut folder = self.root.clone();
        for part in self.folder.strip_prefix(&self.root).unwrap_or(Path::new("")) {
            folder.push(part);
            make_directory(&folder)?;
        }
        Ok(())
    }
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    current: Kept,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged: Option<Kept>,
}

/// A version as it is kept; the value in base64.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Kept {
    id: String,
    value: String,
}

fn unusable(path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Unusable { path: path.clone(), source }
}

/// An id that no version had before.
fn random_id() -> String {
    let entropy: &dyn Entropy = &SystemEntropy;
    format!("{:032x}", u128::from_be_bytes(entropy.bytes()))
}

/// Waits until no other process, and no other thread of this one, changes the vault. Given back when dropped.
fn lock(root: &Path) -> Result<fs::File, OpenError> {
    let path = root.join(".lock");
    let open = || {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(unusable(&path))
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
            _ => sync_directory(Path::new(".")),
        },
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Brings a directory's names to the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_mode(path: &Path, data: &fs::Metadata) -> Result<(), OpenError> {
    let mode = data.mode() & 0o7777;
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    Err(OpenError::Exposed { path: path.to_owned(), mode, directory: data.is_dir() })
}

/// Checks the modes of a directory and of all that is in it.
fn check_tree(path: &Path) -> Result<(), OpenError> {
    let data = match fs::metadata(path) {
        Ok(data) => data,
        // Replaced or removed by another process while we look.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(path)(error)),
    };
    check_mode(path, &data)?;
    if data.is_dir() {
        for entry in fs::read_dir(path).map_err(unusable(path))? {
            check_tree(&entry.map_err(unusable(path))?.path())?;
        }
    }
    Ok(())
}

fn collect_names(folder: &Path, above: &str, names: &mut Vec<String>) -> Result<(), OpenError> {
    for entry in fs::read_dir(folder).map_err(unusable(folder))? {
        let entry = entry.map_err(unusable(folder))?;
        let file_name = entry.file_name();
        // What is not spelt like a secret's file or folder is not ours: lost+found, an editor's backup.
        let Some(part) = file_name.to_str().filter(|part| !part.starts_with('.')) else { continue };
        if entry.file_type().map_err(unusable(&entry.path()))?.is_dir() {
            collect_names(&entry.path(), &format!("{above}{part}/"), names)?;
        } else if let Some(last) = part.strip_suffix(".json") {
            let name = format!("{above}{last}");
            if check_name(&name).is_ok() {
                names.push(name);
            }
        }
    }
    Ok(())
}
