//! The database file: how it is made, what is refused, and what is set on every connection.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// Says in the file's header that it is gatemint's ("gmnt"), for `file(1)` and for ourselves.
pub(super) const APPLICATION_ID: i32 = 0x676d_6e74;

/// The data format that this version reads and writes (the file's `user_version`).
pub(super) const FORMAT: i32 = 1;

/// The one table.
pub(super) const ITEMS: &str = "CREATE TABLE items (
                     partition TEXT NOT NULL,
                     sort TEXT NOT NULL,
                     version BLOB NOT NULL,
                     expires_at INTEGER,
                     body TEXT NOT NULL,
                     PRIMARY KEY (partition, sort)
                 ) STRICT, WITHOUT ROWID";

/// How long to wait for other processes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries. Much shorter than SQLite's own steps of up to 100 ms: with those a process would hardly ever
/// meet the gap between two transactions of another one that is busy all the time.
const STEP: Duration = Duration::from_millis(1);

/// Why a database was not opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    #[error("there is no database at {}: check the path, or let gatemint create one there", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is something else: not a database, another application's, or an empty one.
    #[error("{} is not a gatemint database ({what}): name another file, or move this one away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The data are of a format that this version does not know; nothing was changed.
    #[error(
        "{} has data format {found}, and this gatemint knows formats up to {known}: \
         run the gatemint that wrote it or a newer one, or restore a backup made before the upgrade",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format of the data.
        found: i32,
        /// The newest format that this version knows.
        known: i32,
    },
    /// Other users of the machine can read or change it.
    #[error(
        "{} has mode {mode:03o}, so other users of this machine can get at it; mend it with: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is there but cannot be used: permissions, a full disk, damage, a lock that somebody holds on to.
    #[error("the database {} cannot be used: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why an open database did not do as asked; cheap to clone, since one cause can fail a whole group of commits.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{}: {source}", path.display())]
    Sqlite { path: PathBuf, source: Arc<rusqlite::Error> },
    #[error(transparent)]
    Open(Arc<OpenError>),
}

impl Trouble {
    pub(super) fn new(path: &Path, source: rusqlite::Error) -> Self {
        Self::Sqlite { path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether somebody else has a lock that he will give back.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => is_busy(source),
            Self::Open(error) => match &**error {
                OpenError::Unusable { source, .. } => source.downcast_ref().is_some_and(is_busy),
                _ => false,
            },
        }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        Self::Open(Arc::new(error))
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Tries again while it is `busy`, for about [`PATIENCE`].
pub(super) fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, busy: impl Fn(&E) -> bool) -> Result<T, E> {
    let mut left = PATIENCE.as_millis() / STEP.as_millis();
    loop {
        match attempt() {
            Err(error) if busy(&error) && left > 0 => {
                left -= 1;
                thread::sleep(STEP);
            }
            outcome => return outcome,
        }
    }
}

/// A connection, and which file it has open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) connection: Connection,
    identity: Identity,
}

/// A file's device and inode.
type Identity = (u64, u64);

impl Open {
    /// Whether the path still leads to this file. If the file was moved away or replaced, SQLite would go on with the
    /// old one: what is committed there is lost.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|now| now == self.identity)
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|data| (data.dev(), data.ino()))
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading; never waits.
    Read,
    /// Writing; waits for other processes.
    Write,
}

/// Connects to a database that is there, if it is ours.
pub(super) fn connect(path: &Path, purpose: Purpose) -> Result<Open, OpenError> {
    let attempt = || connect_once(path, purpose).map_err(|error| refusal(path, error));
    match purpose {
        Purpose::Read => attempt(),
        // SQLite's own waiting does not cover all of it: not the switch to WAL, nor another's last connection closing.
        Purpose::Write => patiently(
            attempt,
            |error| matches!(error, OpenError::Unusable { source, .. } if source.downcast_ref().is_some_and(is_busy)),
        ),
    }
}

/// Makes an empty database, or completes one whose making was interrupted; leaves any other as it is.
pub(super) fn make(path: &Path) -> Result<(), OpenError> {
    make_file(path).map_err(|source| OpenError::Unusable { path: path.to_owned(), source: source.into() })?;
    let fill = || -> rusqlite::Result<()> {
        let mut connection = bare(path)?;
        if !is_empty(&connection)? {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if is_empty(&transaction)? {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.execute_batch(ITEMS)?;
        }
        transaction.commit()
    };
    patiently(fill, is_busy).map_err(|error| refusal(path, error.into()))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && header(connection)? == (0, 0))
}

/// The header's application id and format.
pub(super) fn header(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, format))
}

/// Makes an empty file that only its owner may read, if there is none.
fn make_file(path: &Path) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if path.exists() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let fresh = parent.join(format!(".gatemint-new-{}-{count}", std::process::id()));
    // It gets its name only after it was closed: closing any handle of a file gives up all POSIX locks that this
    // process has on it, and another thread may have opened the database the moment its name is there.
    drop(fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?);
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

enum Failure {
    Sqlite(rusqlite::Error),
    Io(io::Error),
    Refused(OpenError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn refusal(path: &Path, failure: Failure) -> OpenError {
    let path = path.to_owned();
    match failure {
        Failure::Refused(error) => error,
        Failure::Io(error) if error.kind() == ErrorKind::NotFound => OpenError::Missing { path },
        Failure::Io(error) => OpenError::Unusable { path, source: error.into() },
        Failure::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            OpenError::Foreign { path, what: "not a SQLite file, or one whose header is damaged".into() }
        }
        Failure::Sqlite(error) => OpenError::Unusable { path, source: error.into() },
    }
}

fn bare(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

fn connect_once(path: &Path, purpose: Purpose) -> Result<Open, Failure> {
    let before = identity(path)?;
    let mut connection = bare(path)?;
    let refuse = |what: String| Failure::Refused(OpenError::Foreign { path: path.to_owned(), what });
    match header(&connection)? {
        (APPLICATION_ID, FORMAT) => {
            let mode = fs::metadata(path)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(Failure::Refused(OpenError::Exposed { path: path.to_owned(), mode }));
            }
        }
        (APPLICATION_ID, found) if found > FORMAT => {
            return Err(Failure::Refused(OpenError::Newer { path: path.to_owned(), found, known: FORMAT }));
        }
        (APPLICATION_ID, found) => return Err(refuse(format!("data format {found} has never been in use"))),
        (0, 0) if is_empty(&connection)? => return Err(refuse("it is empty".into())),
        (other, _) => return Err(refuse(format!("another application's, with application_id {other:#x}"))),
    }
    // Damage is to be found before it is believed; and no temporary file, which would need room elsewhere.
    connection.execute_batch("PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY")?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failure::Refused(OpenError::Unusable {
            path: path.to_owned(),
            source: format!(
                "its file system does not allow SQLite's WAL mode (it is in mode {mode}); use a local disk"
            )
            .into(),
        }));
    }
    match purpose {
        Purpose::Read => connection.pragma_update(None, "query_only", true)?,
        Purpose::Write => {
            connection.pragma_update(None, "synchronous", "FULL")?;
            let tries = i32::try_from(PATIENCE.as_millis() / STEP.as_millis()).unwrap_or(i32::MAX);
            connection.busy_handler(Some(move |tried| {
                thread::sleep(STEP);
                tried < tries
            }))?;
        }
    }
    // Replaced in between: which of the two was opened is anybody's guess, so let the next use find out.
    let identity = identity(path).map(|after| if after == before { after } else { (0, 0) })?;
    Ok(Open { connection, identity })
}
