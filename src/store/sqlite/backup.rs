//! A backup: one SQLite file with the store's rows, a vault's secrets beside them, and what is known of both.
//!
//! The rows are copied page by page out of one read transaction. In WAL mode that holds up nobody who writes, and
//! nobody who writes makes it begin again: without the transaction SQLite starts anew after every write by another
//! process, which under load is for ever. Until it is done the write-ahead log is not reset, so it grows by what is
//! written meanwhile.
//!
//! A file is marked as a backup by its application id, so it is never taken for a store, and vouches for itself with a
//! digest: that shows damage, not forgery, since whoever can write the file can write the digest.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Read as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, backup, params, types::Value};
use zeroize::Zeroizing;

use super::{
    file::{self, OpenError, Purpose},
    moment, seconds,
};
use crate::clock::Timestamp;

/// Says in the file's header that it is a backup of gatemint's ("gmbk").
const APPLICATION_ID: i32 = 0x676d_626b;

/// The format of backups that this version writes and reads (the file's `user_version`).
const FORMAT: i32 = 1;

/// How many pages are copied between two looks at whether to go on: 1 MiB.
const STEP_PAGES: i32 = 256;

const FACTS: &str = "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID";
const VAULT: &str = "CREATE TABLE vault (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID";

/// A secret's name and its file's content.
pub type Enclosed = (String, Zeroizing<Vec<u8>>);

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The version of the gatemint that made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// The issuer of the service that it is of.
    pub issuer: String,
}

/// Why there is no backup, or none that can be restored. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(Arc<OpenError>),
    /// There is no such file.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// The file is something else.
    #[error("{} is not a gatemint backup ({what}): name a file that `gatemint backup` made", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// It is of a format that this version does not know.
    #[error(
        "{} was made by a newer gatemint ({what}), and this one cannot read it: restore it with that version",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What is newer.
        what: String,
    },
    /// Others can read or change it.
    #[error(
        "{} holds private keys, and its mode is {mode:03o}, so other users of this machine can get at it; \
         mend it with: chmod 600 {}; and rotate the keys after restoring if others may have read it",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not as it was written.
    #[error("{} is damaged ({what}), and nothing of it was restored: use another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It cannot be read or written.
    #[error("{} cannot be used: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whoever asked for it did not want it any more.
    #[error("stopped; nothing was written")]
    Stopped,
}

fn unusable(path: &Path) -> impl Fn(rusqlite::Error) -> BackupError {
    move |source| BackupError::Unusable { path: path.to_owned(), source: source.into() }
}

/// A store as it is at one moment, however long it is looked at.
pub struct Snapshot {
    path: PathBuf,
    connection: Connection,
}

impl Snapshot {
    /// The store as it is now.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn of(store: &Path) -> Result<Self, BackupError> {
        // Others lock the whole file for a moment: when the first one opens it, when the last one closes it.
        let connect = || file::connect(store, Purpose::Read).map_err(file::Trouble::from);
        let connection = file::patiently(connect, file::Trouble::is_busy).map_err(|trouble| match trouble {
            file::Trouble::Sqlite { source, .. } => {
                BackupError::Unusable { path: store.to_owned(), source: source.into() }
            }
            file::Trouble::Open(error) => BackupError::Store(error),
        })?;
        let connection = connection.connection;
        // A transaction begins with its first read.
        let begin = || {
            if connection.is_autocommit() {
                connection.execute_batch("BEGIN")?;
            }
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        };
        file::patiently(begin, file::is_busy).map_err(unusable(store))?;
        Ok(Self { path: store.to_owned(), connection })
    }

    /// Writes the backup into an empty file, which nobody else may know of yet. `go_on` is told how many pages of how
    /// many are copied, and says whether to go on. Returns how many rows there are. It is not on the disk when this
    /// returns.
    ///
    /// # Errors
    /// The store cannot be read, or is damaged; the file cannot be written; it was stopped.
    pub fn write(
        &self,
        draft: &Path,
        facts: &Facts,
        secrets: &[Enclosed],
        mut go_on: impl FnMut(i32, i32) -> bool,
    ) -> Result<u64, BackupError> {
        let failed = unusable(draft);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(draft, flags).map_err(&failed)?;
        // Nobody else has it: no locks, no shared memory. If anything fails, the whole file goes.
        copy.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY")
            .map_err(&failed)?;
        {
            let copying = backup::Backup::new(&self.connection, &mut copy).map_err(&failed)?;
            loop {
                // Busy and locked cannot be: the source is in a transaction, and the copy is ours. If they are, the
                // next step tries again.
                let done = copying.step(STEP_PAGES).map_err(&failed)? == backup::StepResult::Done;
                let backup::Progress { remaining, pagecount } = copying.progress();
                if !go_on(pagecount - remaining, pagecount) {
                    return Err(BackupError::Stopped);
                }
                if done {
                    break;
                }
            }
        }
        // The copy is in WAL mode as the store is; a backup is one file.
        copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(())).map_err(&failed)?;
        if let Some(what) = flaw(&copy).map_err(&failed)? {
            return Err(BackupError::Damaged { path: self.path.clone(), what });
        }
        let transaction = copy.transaction().map_err(&failed)?;
        enclose(&transaction, facts, secrets).map_err(&failed)?;
        let (digest, rows) = digest_of(&transaction).map_err(&failed)?;
        put_fact(&transaction, DIGEST, &digest).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        if !go_on(1, 1) {
            return Err(BackupError::Stopped);
        }
        copy.close().map_err(|(_, error)| failed(error))?;
        Ok(rows)
    }
}

const DIGEST: &str = "sha256";
const STORE_FORMAT: &str = "store_format";

fn put_fact(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO facts (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

fn enclose(connection: &Connection, facts: &Facts, secrets: &[Enclosed]) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(&format!("{FACTS}; {VAULT}"))?;
    put_fact(connection, "made_by", &facts.made_by)?;
    put_fact(connection, "made_at", &seconds(facts.made_at).to_string())?;
    put_fact(connection, "issuer", &facts.issuer)?;
    put_fact(connection, STORE_FORMAT, &file::FORMAT.to_string())?;
    for (name, content) in secrets {
        connection.execute("INSERT INTO vault (name, content) VALUES (?1, ?2)", params![name, content.as_slice()])?;
    }
    Ok(())
}

/// What SQLite has against a database, if anything.
fn flaw(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let said: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// The digest of all that a backup holds but the digest itself, and how many rows it is of.
fn digest_of(connection: &Connection) -> rusqlite::Result<(String, u64)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut take = |part: &[u8]| {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    };
    take(b"gatemint backup v1");
    let mut rows_seen = 0;
    let mut statement =
        connection.prepare("SELECT partition, sort, version, expires_at, body FROM items ORDER BY partition, sort")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        rows_seen += 1;
        take(row.get_ref(0)?.as_bytes()?);
        take(row.get_ref(1)?.as_bytes()?);
        take(row.get_ref(2)?.as_bytes()?);
        match row.get::<_, Option<i64>>(3)? {
            Some(at) => take(&at.to_be_bytes()),
            None => take(b""),
        }
        take(row.get_ref(4)?.as_bytes()?);
    }
    for table in [
        "SELECT name, content FROM vault ORDER BY name",
        "SELECT name, value FROM facts WHERE name <> ?1 ORDER BY name",
    ] {
        take(b"table");
        let mut statement = connection.prepare(table)?;
        let named: &[&dyn rusqlite::ToSql] = if statement.parameter_count() == 1 { &[&DIGEST] } else { &[] };
        let mut rows = statement.query(named)?;
        while let Some(row) = rows.next()? {
            take(row.get_ref(0)?.as_bytes()?);
            take(row.get_ref(1)?.as_bytes()?);
        }
    }
    Ok((URL_SAFE_NO_PAD.encode(context.finish()), rows_seen))
}

/// Whether a file's header says that it is a backup; whether it is a whole one is another matter.
///
/// # Errors
/// It cannot be read.
pub fn is_marked(path: &Path) -> io::Result<bool> {
    let mut header = [0; 72];
    match fs::File::open(path)?.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
        // Where SQLite keeps the application id (file format §1.3).
        Ok(()) => Ok(header.starts_with(b"SQLite format 3\0") && header[68..] == APPLICATION_ID.to_be_bytes()),
    }
}

/// A backup that was looked through: whole, and as it was written.
#[derive(Debug)]
pub struct Backup {
    path: PathBuf,
    connection: Connection,
    /// What it says of itself.
    pub facts: Facts,
    /// How many rows of the store it holds.
    pub rows: u64,
}

impl Backup {
    /// Opens a backup and reads all of it once. The file is not changed.
    ///
    /// # Errors
    /// It is none, of a newer format, damaged, or others can get at it.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let data = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => BackupError::Missing(path.to_owned()),
            _ => BackupError::Unusable { path: path.to_owned(), source: error.into() },
        })?;
        let foreign = |what: &str| BackupError::Foreign { path: path.to_owned(), what: what.to_owned() };
        if !data.is_file() {
            return Err(foreign("not a file"));
        }
        let broken = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => foreign("not a SQLite file, or one whose header is damaged"),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure) => {
                unusable(path)(error)
            }
            _ => BackupError::Damaged { path: path.to_owned(), what: error.to_string() },
        };
        let connection = open_unchanging(path).map_err(broken)?;
        match file::header(&connection).map_err(broken)? {
            (APPLICATION_ID, FORMAT) => {}
            (APPLICATION_ID, found) if found > FORMAT => {
                let what = format!("backup format {found}, known up to {FORMAT}");
                return Err(BackupError::Newer { path: path.to_owned(), what });
            }
            (APPLICATION_ID, found) => return Err(foreign(&format!("format {found} has never been in use"))),
            (file::APPLICATION_ID, _) => return Err(foreign("a store's own database")),
            (0, 0) => return Err(foreign("an empty file or another application's")),
            (other, _) => return Err(foreign(&format!("another application's, with application_id {other:#x}"))),
        }
        let mode = data.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(BackupError::Exposed { path: path.to_owned(), mode });
        }
        let damaged = |what: &str| BackupError::Damaged { path: path.to_owned(), what: what.to_owned() };
        if let Some(what) = flaw(&connection).map_err(broken)? {
            return Err(damaged(&what));
        }
        let fact = |name: &str| -> rusqlite::Result<Option<String>> {
            connection.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0)).optional()
        };
        // Nothing is asked of a table that is not what we make: a view or a trigger could answer in its place.
        let schema = schema(&connection).map_err(broken)?;
        if schema != expected_schema() {
            return Err(damaged("its tables are not those of a backup"));
        }
        let format = fact(STORE_FORMAT).map_err(broken)?.and_then(|format| format.parse::<i32>().ok());
        match format {
            Some(file::FORMAT) => {}
            Some(found) if found > file::FORMAT => {
                let what = format!("data format {found}, known up to {}", file::FORMAT);
                return Err(BackupError::Newer { path: path.to_owned(), what });
            }
            _ => return Err(damaged("the format of its data is not said")),
        }
        let (digest, rows) = digest_of(&connection).map_err(broken)?;
        if fact(DIGEST).map_err(broken)?.as_deref() != Some(digest.as_str()) {
            return Err(damaged("its content is not what was written"));
        }
        let text = |name: &str| fact(name).map_err(broken)?.ok_or_else(|| damaged(&format!("{name} is not said")));
        let made_at = text("made_at")?.parse().map_err(|_| damaged("made_at is no time"))?;
        let facts = Facts { made_by: text("made_by")?, made_at: moment(made_at), issuer: text("issuer")? };
        Ok(Self { path: path.to_owned(), connection, facts, rows })
    }

    /// The vault's secrets.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn secrets(&self) -> Result<Vec<Enclosed>, BackupError> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT name, content FROM vault ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, Zeroizing::new(row.get(1)?))))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(unusable(&self.path))
    }

    /// Makes a store with the rows, where there is none. It is on the disk when this returns.
    ///
    /// # Errors
    /// There is one; it cannot be written; `go_on` says no (it is asked every few thousand rows).
    pub fn fill(&self, store: &Path, mut go_on: impl FnMut() -> bool) -> Result<(), BackupError> {
        if store.exists() {
            return Err(BackupError::Unusable { path: store.to_owned(), source: "it is there already".into() });
        }
        file::make(store).map_err(|error| BackupError::Store(error.into()))?;
        // A new database that our own code made, and rows alone: nothing else of a backup's file gets into it, its
        // secrets' traces in free pages least of all.
        let open = file::connect(store, Purpose::Write).map_err(|error| BackupError::Store(error.into()))?;
        let mut connection = open.connection;
        let mut fill = || -> rusqlite::Result<bool> {
            let transaction = connection.transaction()?;
            {
                let mut read =
                    self.connection.prepare("SELECT partition, sort, version, expires_at, body FROM items")?;
                let mut write = transaction.prepare(
                    "INSERT INTO items (partition, sort, version, expires_at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?;
                let mut rows = read.query([])?;
                let mut copied = 0_u32;
                while let Some(row) = rows.next()? {
                    for column in 0..5 {
                        write.raw_bind_parameter(column + 1, row.get::<_, Value>(column)?)?;
                    }
                    write.raw_execute()?;
                    copied = copied.wrapping_add(1);
                    if copied.is_multiple_of(4096) && !go_on() {
                        return Ok(false);
                    }
                }
            }
            transaction.commit()?;
            Ok(true)
        };
        if !fill().map_err(unusable(store))? {
            return Err(BackupError::Stopped);
        }
        // The last one to close it leaves one file, without a log beside it.
        connection.close().map_err(|(_, error)| unusable(store)(error))
    }
}

/// Every object's kind, name and text, however the text is set.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    let mut statement =
        connection.prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, set_plainly(&row.get::<_, String>(2)?))))?.collect()
}

fn expected_schema() -> Vec<(String, String, String)> {
    [("facts", FACTS), ("items", file::ITEMS), ("vault", VAULT)]
        .map(|(name, sql)| ("table".to_owned(), name.to_owned(), set_plainly(sql)))
        .to_vec()
}

fn set_plainly(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Opens a file that is only to be looked at: no lock is taken, nothing beside it is read, nothing is written.
fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = b"file://".to_vec();
    for byte in whole.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => uri.push(*byte),
        }
    }
    uri.extend_from_slice(b"?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(OsString::from_vec(uri), flags)?;
    connection.execute_batch("PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY")?;
    Ok(connection)
}
