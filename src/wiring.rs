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
    settings::{Settings, StoreSetting, VaultSetting},
    store::{self, MeasuredStore, MemoryStore, SqliteStore, Store},
    vault::{self, FileVault, NoVault, Vault},
};

/// How old keys in memory grow on one machine, where reading them costs little: how soon an emergency rotation by
/// another process counts.
const NEAR: Duration = Duration::from_secs(10);

/// Where the state is, decided.
#[derive(Clone, Debug)]
pub struct StateLocation {
    store: StoreSetting,
    vault: VaultSetting,
    /// The directory of both, if it is one.
    pub data: Option<PathBuf>,
}

/// Who opens the backends, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Opener {
    makes_files: bool,
    reads_vault: bool,
    /// Whether round trips to the store are counted from the start.
    measures: bool,
    #[cfg(feature = "aws")]
    connect: crate::aws::Connect,
}

impl Opener {
    /// `serve`: makes files where they are missing.
    pub fn serve() -> Self {
        Self { makes_files: true, ..Self::command() }
    }

    /// A command: works on what is there.
    pub fn command() -> Self {
        Self {
            makes_files: false,
            reads_vault: true,
            measures: false,
            #[cfg(feature = "aws")]
            connect: crate::aws::of_operator,
        }
    }

    /// A Lambda function, with the credentials that Lambda gives it. One that does not read the vault builds no client
    /// for it.
    pub fn function(reads_vault: bool) -> Self {
        Self {
            makes_files: false,
            reads_vault,
            measures: true,
            #[cfg(feature = "aws")]
            connect: crate::aws::of_function,
        }
    }
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
    /// Nothing records the issuer where several machines share the state.
    #[error(
        "GATEMINT_ISSUER is not set: {0} records no issuer, so say which one the tokens name, e.g. https://auth.example.org"
    )]
    NoIssuer(String),
    /// This build speaks to no AWS service.
    #[error("{0} needs AWS, and this gatemint was built without it: cargo install --path . --locked --features aws")]
    WithoutAws(String),
    /// AWS cannot be spoken to.
    #[cfg(feature = "aws")]
    #[error(transparent)]
    Aws(#[from] crate::aws::AwsError),
    /// Only files can be copied.
    #[error("{0} is not on this machine: {1}")]
    NotHere(String, &'static str),
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
            vault: VaultSetting::File(directory.join("vault")),
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
            (None, StoreSetting::DynamoDb(table)) => format!("dynamodb:{table}"),
        }
    }

    /// The database and the vault's directory.
    ///
    /// # Errors
    /// The store is a process's memory, or one of the two is elsewhere.
    pub fn files(&self) -> Result<(&Path, &Path), WiringError> {
        match (&self.store, &self.vault) {
            (StoreSetting::Sqlite(store), VaultSetting::File(vault)) => Ok((store, vault)),
            (StoreSetting::Memory, _) => Err(WiringError::Memory),
            (StoreSetting::DynamoDb(_), _) => Err(WiringError::NotHere(
                self.name(),
                "use DynamoDB's point-in-time recovery or its backups (and keep the secrets of Secrets Manager)",
            )),
            (_, VaultSetting::SecretsManager(prefix)) => Err(WiringError::NotHere(
                format!("secretsmanager:{prefix}"),
                "a backup holds keys and state of one moment, and can only be made where both are files",
            )),
        }
    }

    /// Whether all of the state is this machine's, so that a first start makes it, and `serve` rotates its keys. In Secrets
    /// Manager the function `rotate-keys` does.
    pub fn is_on_one_machine(&self) -> bool {
        // Settings that name one here and one there are refused.
        matches!(self.vault, VaultSetting::File(_))
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
        match (&self.data, &self.vault) {
            (Some(directory), _) | (None, VaultSetting::File(directory)) if self.is_on_one_machine() => {
                Some(directory.join("admin-password"))
            }
            _ => None,
        }
    }

    /// Makes directory and files where they are missing: only `serve` does.
    ///
    /// # Errors
    /// A directory that others can read, or that cannot be made.
    pub fn make(&self) -> Result<(), WiringError> {
        let Some(data) = &self.data else { return Ok(()) };
        make_private_directory(data)
    }

    /// Opens store and vault.
    ///
    /// # Errors
    /// They are missing, of a newer format, damaged, or readable by others; AWS cannot be spoken to.
    pub async fn open(&self, settings: &Settings, opener: Opener) -> Result<Backends, WiringError> {
        if let Some(data) = &self.data {
            check_private_directory(data)?;
        }
        let create = opener.makes_files;
        let (cloud_store, cloud_vault) = self.open_in_the_cloud(settings, opener).await?;
        let store: Arc<dyn Store> = match (&self.store, cloud_store) {
            (_, Some(store)) => store,
            (StoreSetting::Sqlite(path), _) if create => Arc::new(SqliteStore::create(path)?),
            (StoreSetting::Sqlite(path), _) => Arc::new(SqliteStore::open(path)?),
            (StoreSetting::Memory, _) => Arc::new(MemoryStore::new()),
            (StoreSetting::DynamoDb(_), None) => return Err(WiringError::WithoutAws(self.name())),
        };
        let vault: Arc<dyn Vault> = match (&self.vault, cloud_vault) {
            _ if !opener.reads_vault => Arc::new(NoVault),
            (_, Some(vault)) => vault,
            (VaultSetting::File(directory), _) if create => Arc::new(FileVault::create(directory)?),
            (VaultSetting::File(directory), _) => Arc::new(FileVault::open(directory)?),
            (VaultSetting::SecretsManager(prefix), None) => {
                return Err(WiringError::WithoutAws(format!("secretsmanager:{prefix}")));
            }
        };
        let keys_fresh_for = self.is_on_one_machine().then_some(NEAR);
        Ok(Backends { store, vault, keys_fresh_for, first_password: self.first_password() })
    }

    /// What of the two is in AWS; each client is built only where it is used.
    #[cfg(feature = "aws")]
    async fn open_in_the_cloud(&self, settings: &Settings, opener: Opener) -> Result<CloudBackends, WiringError> {
        use crate::{store::DynamoStore, vault::SecretsManagerVault};
        let table = if let StoreSetting::DynamoDb(table) = &self.store { Some(table) } else { None };
        let prefix = if let VaultSetting::SecretsManager(prefix) = &self.vault { Some(prefix) } else { None };
        let prefix = prefix.filter(|_| opener.reads_vault);
        if table.is_none() && prefix.is_none() {
            return Ok((None, None));
        }
        let config = (opener.connect)(settings.tls_roots).await?;
        let store = table.map(|table| Arc::new(DynamoStore::new(&config, table)) as Arc<dyn Store>);
        let vault = prefix.map(|prefix| Arc::new(SecretsManagerVault::new(&config, prefix)) as Arc<dyn Vault>);
        Ok((store, vault))
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "it is with the feature")]
    async fn open_in_the_cloud(&self, _: &Settings, _: Opener) -> Result<CloudBackends, WiringError> {
        Ok((None, None))
    }
}

/// The store and the vault, as far as they are in AWS.
type CloudBackends = (Option<Arc<dyn Store>>, Option<Arc<dyn Vault>>);

/// Store and vault, open.
pub struct Backends {
    /// The store.
    pub store: Arc<dyn Store>,
    vault: Arc<dyn Vault>,
    keys_fresh_for: Option<Duration>,
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
            cluster: settings.cluster.clone(),
            ..Policy::new(issuer)
        };
        let mut service = Service::new(
            self.store,
            self.vault,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            policy,
            settings.hash_threads,
        );
        if let Some(time) = self.keys_fresh_for {
            service.keys = Keys::fresh_for(time);
        }
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

/// A service on state that is there: made by a first start, or, in the cloud, by whoever made the table. A function's
/// round trips to the store are measured.
///
/// # Errors
/// As [`StateLocation::open`]; the first start has not happened; nobody said which issuer the tokens name.
pub async fn existing(settings: &Settings, place: &StateLocation, opener: Opener) -> Result<Service, WiringError> {
    let never_started = || WiringError::NotBorn { place: place.name(), serve: place.serve() };
    if place.store == StoreSetting::Memory {
        return Err(WiringError::Memory);
    }
    let backends = place.open(settings, opener).await.map_err(|error| match error {
        WiringError::Store(store::OpenError::Missing { .. }) | WiringError::Vault(vault::OpenError::Missing { .. }) => {
            never_started()
        }
        error => error,
    })?;
    let issuer = if place.is_on_one_machine() {
        let born = backends.born().await?.ok_or_else(never_started)?;
        settings.issuer.clone().unwrap_or(born.issuer)
    } else {
        settings.issuer.clone().ok_or_else(|| WiringError::NoIssuer(place.name()))?
    };
    let backends = if opener.measures { backends.measured() } else { backends };
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
