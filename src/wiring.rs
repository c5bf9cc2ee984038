//! From settings to a service: which store, which vault, which issuer. Used by `cli` and `lambda` alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::{Clock, SystemClock},
    domain::{Policy, Service, account::PasswordPolicy, birth::Born, key::Keys},
    entropy::SystemEntropy,
    settings::{Settings, StoreSetting},
    store::{self, MeasuredStore, MemoryStore, SqliteStore, Store},
    vault::{self, FileVault},
};

/// How old keys in memory grow on one machine, where reading them costs little: how soon an emergency rotation by
/// another process counts.
const NEAR: Duration = Duration::from_secs(10);

/// Where the state is, decided.
#[derive(Clone, Debug)]
pub struct StateLocation {
    store: StoreSetting,
    vault: PathBuf,
    /// The directory of both, if it is one.
    pub data: Option<PathBuf>,
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// Nothing says where the state is.
    #[error("no store: give --data DIR, or set GATEMINT_DATA, or GATEMINT_STORE and GATEMINT_VAULT")]
    NoStore,
    /// Half of it is said.
    #[error("{0} is set and {1} is not: set both, or GATEMINT_DATA in their place")]
    Half(&'static str, &'static str),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] vault::OpenError),
    /// The data directory cannot be used.
    #[error("{0}")]
    Data(String),
    /// The first start has not happened.
    #[error("{place} was never started: run `{serve}` once; it makes keys and the first account")]
    NotBorn {
        /// Where the state would be.
        place: String,
        /// The command that starts it.
        serve: String,
    },
    /// Another process's memory cannot be opened.
    #[error("memory: is the memory of one `gatemint serve`; nothing else can work on it")]
    Memory,
    /// What is there cannot be read.
    #[error("{0}{1}")]
    Unreadable(String, String),
}

impl From<crate::domain::Refusal> for WiringError {
    fn from(refusal: crate::domain::Refusal) -> Self {
        let cause = refusal.source.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Unreadable(refusal.to_string(), cause)
    }
}

impl StateLocation {
    /// A data directory.
    pub fn of_data(directory: &Path) -> Self {
        Self {
            store: StoreSetting::Sqlite(directory.join("gatemint.db")),
            vault: directory.join("vault"),
            data: Some(directory.to_owned()),
        }
    }

    /// What the settings say, if they say it.
    ///
    /// # Errors
    /// Only one of store and vault is set.
    pub fn of_settings(settings: &Settings) -> Result<Option<Self>, WiringError> {
        match (&settings.data, &settings.store, &settings.vault) {
            (Some(directory), _, _) => Ok(Some(Self::of_data(directory))),
            (None, Some(store), Some(vault)) => {
                Ok(Some(Self { store: store.clone(), vault: vault.clone(), data: None }))
            }
            (None, Some(_), None) => Err(WiringError::Half("GATEMINT_STORE", "GATEMINT_VAULT")),
            (None, None, Some(_)) => Err(WiringError::Half("GATEMINT_VAULT", "GATEMINT_STORE")),
            (None, None, None) => Ok(None),
        }
    }

    /// For messages.
    pub fn name(&self) -> String {
        match (&self.data, &self.store) {
            (Some(data), _) => data.display().to_string(),
            (None, StoreSetting::Sqlite(path)) => path.display().to_string(),
            (None, StoreSetting::Memory) => "memory:".into(),
        }
    }

    /// The database and the vault's directory.
    ///
    /// # Errors
    /// The store is a process's memory.
    pub fn files(&self) -> Result<(&Path, &Path), WiringError> {
        match &self.store {
            StoreSetting::Sqlite(path) => Ok((path, &self.vault)),
            StoreSetting::Memory => Err(WiringError::Memory),
        }
    }

    /// The command that starts the service here.
    fn serve(&self) -> String {
        match &self.data {
            Some(data) => format!("gatemint serve --data {}", data.display()),
            None => "gatemint serve".into(),
        }
    }

    /// The file with the first password, where there is a directory for it.
    pub fn first_password(&self) -> Option<PathBuf> {
        self.data.as_ref().or(Some(&self.vault)).map(|directory| directory.join("admin-password"))
    }

    /// Makes directory and files where they are missing: only `serve` does.
    ///
    /// # Errors
    /// A directory that others can read, or that cannot be made.
    pub fn make(&self) -> Result<(), WiringError> {
        let Some(data) = &self.data else { return Ok(()) };
        make_private_directory(data)
    }

    /// Opens store and vault. `create`: makes them where they are missing.
    ///
    /// # Errors
    /// They are missing, of a newer format, damaged, or readable by others.
    pub fn open(&self, create: bool) -> Result<Backends, WiringError> {
        if let Some(data) = &self.data {
            check_private_directory(data)?;
        }
        let store: Arc<dyn Store> = match &self.store {
            StoreSetting::Sqlite(path) if create => Arc::new(SqliteStore::create(path)?),
            StoreSetting::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
            StoreSetting::Memory => Arc::new(MemoryStore::new()),
        };
        let vault = if create { FileVault::create(&self.vault)? } else { FileVault::open(&self.vault)? };
        Ok(Backends { store, vault, first_password: self.first_password() })
    }
}

/// Store and vault, open.
pub struct Backends {
    /// The store.
    pub store: Arc<dyn Store>,
    vault: FileVault,
    first_password: Option<PathBuf>,
}

impl Backends {
    /// What the first start recorded, if it happened.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn born(&self) -> Result<Option<Born>, WiringError> {
        Ok(Born::read(self.store.as_ref(), SystemClock.now()).await?)
    }

    /// The same, with every round trip to the store measured.
    #[must_use]
    pub fn measured(self) -> Self {
        Self { store: Arc::new(MeasuredStore::new(self.store)), ..self }
    }

    /// The service on these backends.
    pub fn service(self, settings: &Settings, issuer: String) -> Service {
        let policy = Policy {
            access_life: settings.access_life,
            refresh_idle: settings.refresh_idle,
            refresh_max: settings.refresh_max,
            offline_idle: settings.offline_idle,
            reuse_window: settings.reuse_window,
            signing_alg: settings.signing_alg,
            key_rotate_every: settings.key_rotate_every,
            key_publish_ahead: settings.key_publish_ahead,
            password: PasswordPolicy { min_bytes: settings.password_min },
            organisation: settings.organisation.clone(),
            ..Policy::new(issuer)
        };
        let mut service = Service::new(
            self.store,
            Arc::new(self.vault),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            policy,
            settings.hash_threads,
        );
        service.keys = Keys::fresh_for(NEAR);
        if let Some(file) = self.first_password {
            // The first password's file goes when it stops being the password.
            service.password_changed = Box::new(move |name| {
                if name.as_str() == crate::domain::birth::ADMIN {
                    match std::fs::remove_file(&file) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            tracing::warn!(file = %file.display(), cause = %error, "the old first password stays");
                        }
                        _ => {}
                    }
                }
            });
        }
        service
    }
}

/// A service on state that a first start has made.
///
/// # Errors
/// As [`StateLocation::open`]; the first start has not happened.
pub async fn existing(settings: &Settings, place: &StateLocation) -> Result<Service, WiringError> {
    let never_started = || WiringError::NotBorn { place: place.name(), serve: place.serve() };
    if place.store == StoreSetting::Memory {
        return Err(WiringError::Memory);
    }
    let backends = place.open(false).map_err(|error| match error {
        WiringError::Store(store::OpenError::Missing { .. }) | WiringError::Vault(vault::OpenError::Missing { .. }) => {
            never_started()
        }
        error => error,
    })?;
    let born = backends.born().await?.ok_or_else(never_started)?;
    let issuer = settings.issuer.clone().unwrap_or(born.issuer);
    Ok(backends.service(settings, issuer))
}

fn make_private_directory(directory: &Path) -> Result<(), WiringError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Ok(()) => check_private_directory(directory),
        Err(error) => Err(WiringError::Data(format!("{} cannot be made: {error}", directory.display()))),
    }
}

fn check_private_directory(directory: &Path) -> Result<(), WiringError> {
    use std::os::unix::fs::PermissionsExt;
    let shown = directory.display();
    let metadata = match std::fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(WiringError::Data(format!(
                "there is no data directory {shown}; `gatemint serve --data {shown}` makes one"
            )));
        }
        Err(error) => return Err(WiringError::Data(format!("{shown} cannot be read: {error}"))),
    };
    if !metadata.is_dir() {
        return Err(WiringError::Data(format!("{shown} is not a directory")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(WiringError::Data(format!(
            "{shown} has mode {mode:03o}, so other users of this machine can get at it; mend it with: chmod 700 {shown}"
        )));
    }
    Ok(())
}
