//! `gatemint backup` and `gatemint restore`: store and vault in one file, and back.
//!
//! What is made appears under its name when it is whole, and not before: a backup is written into a draft beside its
//! place, a data directory beside its own. Whoever is asked to stop removes what he began; what a kill left is removed
//! by the next one.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, Global, output};
use crate::{
    domain::Service,
    metric::Stopwatch,
    settings::Settings,
    store::backup::{self, BackupError, Facts, Snapshot},
    vault::FileVault,
    wiring::{self, Opener, StateLocation, WiringError},
};

/// What takes less is done before anybody has read how far it is.
const WORTH_TELLING: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(
    after_help = "The file holds private keys: keep it where nobody else reads it.\n\nExample:\n  gatemint backup /var/backups/gatemint-1 --data .gatemint"
)]
pub(super) struct Backup {
    /// The file to make
    file: PathBuf,
    /// Replace the backup that is there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  gatemint restore /var/backups/gatemint-1 --data .gatemint")]
pub(super) struct Restore {
    /// The file that `gatemint backup` made
    file: PathBuf,
}

/// What is said of a backup, made or restored.
#[derive(Serialize)]
struct View {
    file: String,
    made_at: String,
    made_by: String,
    issuer: String,
    rows: u64,
    secrets: usize,
}

impl View {
    fn of(file: &Path, facts: &Facts, rows: u64, secrets: usize) -> Self {
        Self {
            file: file.display().to_string(),
            made_at: facts.made_at.rfc3339(),
            made_by: facts.made_by.clone(),
            issuer: facts.issuer.clone(),
            rows,
            secrets,
        }
    }

    fn show(&self, global: &Global) -> Result<(), CliError> {
        if global.json {
            return output::json(self);
        }
        output::sheet(&[
            ("File", self.file.clone()),
            ("Made at", self.made_at.clone()),
            ("Made by", format!("gatemint {}", self.made_by)),
            ("Issuer", self.issuer.clone()),
            ("Rows", self.rows.to_string()),
            ("Secrets", self.secrets.to_string()),
        ]);
        Ok(())
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Backup {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let place = StateLocation::of_settings(settings)?.ok_or(WiringError::NoStore)?;
        output::start_log(settings, "gatemint::audit=info,warn")?;
        // Only what was started is worth keeping, and only what can be opened can be kept.
        let (store, vault) = place.files()?;
        let service = wiring::existing(settings, &place, Opener::command()).await?;
        let facts = Facts {
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: service.now(),
            issuer: service.policy.issuer.clone(),
        };
        drop(service);
        let (store, vault) = (store.to_owned(), FileVault::open(vault).map_err(WiringError::from)?);
        let view = until_stopped(move |stop| self.write(&store, &vault, &facts, stop)).await?;
        view.show(global)
    }

    fn write(&self, store: &Path, vault: &FileVault, facts: &Facts, stop: &AtomicBool) -> Result<View, CliError> {
        let spot = Spot::of(&self.file)?;
        self.may_write()?;
        let _turn = spot.turn(stop)?;
        let draft = Draft(spot.beside("draft"));
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| CliError::Failed(format!("{path} cannot be written: {error}"))
        };
        draft.remove().map_err(failed(&draft.0))?;
        let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0);
        // Closed before SQLite opens it: closing a second handle would give up SQLite's locks.
        drop(new.map_err(failed(&draft.0))?);

        // Under the vault's lock nothing is promoted; so the rows of this moment fit the secrets of this moment. The
        // copying itself may take its time: the snapshot stays as it is.
        let (snapshot, secrets) =
            vault.copy(|| Snapshot::of(store)).map_err(|error| CliError::Failed(error.to_string()))?;
        let mut progress = Progress::new("copied");
        let rows = snapshot?.write(&draft.0, facts, &secrets, |done, all| {
            progress.tell(done, all);
            !stop.load(Ordering::Relaxed)
        })?;
        progress.end();

        fs::File::open(&draft.0).and_then(|file| file.sync_all()).map_err(failed(&draft.0))?;
        if self.force {
            self.may_write()?;
            fs::rename(&draft.0, &self.file).map_err(failed(&self.file))?;
        } else {
            // A link fails where a rename would replace what came to be meanwhile.
            match fs::hard_link(&draft.0, &self.file) {
                Ok(()) => fs::remove_file(&draft.0).map_err(failed(&draft.0))?,
                // Not every file system has links.
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    self.may_write()?;
                    fs::rename(&draft.0, &self.file).map_err(failed(&self.file))?;
                }
                Err(error) => return Err(failed(&self.file)(error)),
            }
        }
        spot.sync().map_err(failed(&self.file))?;
        Ok(View::of(&self.file, facts, rows, secrets.len()))
    }

    /// Nothing but a backup is ever replaced, and that only when it is asked for.
    fn may_write(&self) -> Result<(), CliError> {
        let shown = self.file.display();
        match fs::symlink_metadata(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(CliError::Failed(format!("{shown} cannot be looked at: {error}"))),
            Ok(_) if !self.force => Err(CliError::Failed(format!(
                "{shown} is there already; name another file, or replace it with --force"
            ))),
            Ok(data) if data.is_file() && backup::is_marked(&self.file).unwrap_or(false) => Ok(()),
            Ok(_) => {
                Err(CliError::Failed(format!("{shown} is not a gatemint backup, and is not replaced; move it away")))
            }
        }
    }
}

impl Restore {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let Some(data) = settings.data.clone() else {
            return Err(CliError::Usage("say where to make the data directory: --data DIR".into()));
        };
        output::start_log(settings, "gatemint::audit=info,warn")?;
        let file = self.file.clone();
        let settings = settings.clone();
        let view = until_stopped(move |stop| restore(&file, &data, &settings, stop)).await?;
        view.show(global)
    }
}

fn restore(file: &Path, data: &Path, settings: &Settings, stop: &AtomicBool) -> Result<View, CliError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| CliError::Failed(format!("{path} cannot be made: {error}"))
    };
    let spot = Spot::of(data)?;
    must_be_free(data)?;
    let backup = backup::Backup::open(file)?;
    let _turn = spot.turn(stop)?;
    let draft = Draft(spot.beside("restoring"));
    draft.remove().map_err(failed(&draft.0))?;
    fs::DirBuilder::new().mode(0o700).create(&draft.0).map_err(failed(&draft.0))?;
    let place = StateLocation::of_data(&draft.0);
    let (store, vault) = place.files()?;
    backup.fill(store, || !stop.load(Ordering::Relaxed))?;
    let vault = FileVault::create(vault).map_err(WiringError::from)?;
    let secrets = backup.secrets()?;
    for (name, content) in &secrets {
        let pasted = vault.paste(name, content);
        pasted.map_err(|error| CliError::Failed(format!("{}: {error}; nothing was restored", file.display())))?;
    }
    // What is put in its place is what a service can be started on.
    let checked = tokio::runtime::Handle::current().block_on(check(settings, &place));
    if stop.load(Ordering::Relaxed) {
        return Err(BackupError::Stopped.into());
    }
    if let Err(why) = checked {
        let why = why.replace(&draft.0.display().to_string(), &data.display().to_string());
        let file = file.display();
        return Err(CliError::Failed(format!(
            "`gatemint serve` would not start on what is in {file}: {why}; nothing was restored"
        )));
    }
    fs::File::open(&draft.0).and_then(|directory| directory.sync_all()).map_err(failed(&draft.0))?;
    must_be_free(data)?;
    // Takes the place of an empty directory, and fails over one in which something has come to be.
    fs::rename(&draft.0, data).map_err(failed(data))?;
    spot.sync().map_err(failed(data))?;
    Ok(View::of(file, &backup.facts, backup.rows, secrets.len()))
}

/// Whether a service can be started there.
async fn check(settings: &Settings, place: &StateLocation) -> Result<(), String> {
    let service: Service =
        wiring::existing(settings, place, Opener::command()).await.map_err(|error| error.to_string())?;
    service.ready(true).await.map_err(|refusal| refusal.cause())
}

/// Only where nothing is may anything be restored.
fn must_be_free(data: &Path) -> Result<(), CliError> {
    let shown = data.display();
    match fs::read_dir(data).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(CliError::Failed(format!("{shown} is not empty; restore into a directory that does not exist")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CliError::Failed(format!("{shown} cannot be restored into: {error}"))),
    }
}

/// Where something is going to be.
struct Spot {
    parent: PathBuf,
    name: OsString,
}

impl Spot {
    fn of(path: &Path) -> Result<Self, CliError> {
        let name = path.file_name().ok_or_else(|| {
            CliError::Usage(format!("{} has no name of its own; name a file or directory", path.display()))
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return Err(CliError::Failed(format!("there is no directory {}; make it first", parent.display())));
        }
        Ok(Self { parent: parent.to_owned(), name: name.to_owned() })
    }

    /// A hidden name beside it.
    fn beside(&self, what: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{what}"));
        self.parent.join(name)
    }

    /// Waits until nobody else makes something here. Some network file systems cannot lock a directory: there the
    /// operator has to see to it.
    fn turn(&self, stop: &AtomicBool) -> Result<Option<fs::File>, CliError> {
        let Ok(directory) = fs::File::open(&self.parent) else { return Ok(None) };
        for attempt in 0_u32.. {
            if attempt == ATTEMPTS_IN_SILENCE {
                let parent = self.parent.display();
                output::aside(&format!(
                    "another process has locked {parent}; waiting for it to finish (Ctrl-C ends this)"
                ));
            }
            match directory.try_lock() {
                Ok(()) => return Ok(Some(directory)),
                Err(fs::TryLockError::WouldBlock) if stop.load(Ordering::Relaxed) => {
                    return Err(BackupError::Stopped.into());
                }
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
                Err(fs::TryLockError::Error(_)) => break,
            }
        }
        Ok(None)
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.parent)?.sync_all()
    }
}

/// How often a lock is tried before the user is told: a second.
const ATTEMPTS_IN_SILENCE: u32 = 20;

/// What is on its way to become something; gone when it does not.
struct Draft(PathBuf);

impl Draft {
    /// Removes it, with what SQLite keeps beside a database.
    fn remove(&self) -> io::Result<()> {
        let beside = ["-journal", "-wal", "-shm"].map(|end| {
            let mut path = self.0.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        });
        for path in beside.iter().chain([&self.0]) {
            let removed = match fs::symlink_metadata(path) {
                Ok(data) if data.is_dir() => fs::remove_dir_all(path),
                Ok(_) => fs::remove_file(path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Its name is another's by now, or it was never finished.
        let _ = self.remove();
    }
}

/// Does work on a thread of its own, and tells it when it is to stop: on the first signal that would end the process.
async fn until_stopped<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    let failed = |error: io::Error| CliError::Failed(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let mut working = tokio::task::spawn_blocking(move || work(&asked));
    let done = tokio::select! {
        done = &mut working => done,
        _ = interrupt.recv() => { stop.store(true, Ordering::Relaxed); working.await }
        _ = terminate.recv() => { stop.store(true, Ordering::Relaxed); working.await }
        _ = hangup.recv() => { stop.store(true, Ordering::Relaxed); working.await }
    };
    done.map_err(|error| CliError::Failed(error.to_string()))?
}

/// One line on a terminal that says how far it is.
struct Progress {
    what: &'static str,
    begun: Stopwatch,
    told: Option<i32>,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Self { what, begun: Stopwatch::start(), told: None }
    }

    fn tell(&mut self, done: i32, all: i32) {
        let percent = i32::try_from(i64::from(done) * 100 / i64::from(all.max(1))).unwrap_or(100);
        if self.told != Some(percent)
            && self.begun.elapsed() >= WORTH_TELLING
            && output::progress_line(&format!("{percent} % {}", self.what))
        {
            self.told = Some(percent);
        }
    }

    fn end(&self) {
        if self.told.is_some() {
            output::progress_line("");
        }
    }
}
