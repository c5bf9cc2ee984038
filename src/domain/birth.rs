//! The first start on one machine: keys, peppers, the admin, and the row that says that it happened.

use serde::{Deserialize, Serialize};

use super::{
    Refusal, RefusalKind, Secret, Service,
    account::manage::{self, NewAccount},
    ids::Role,
    is_unfilled,
    key::{
        Algorithm, KeyDocument, KeySet,
        rotate::{self, Pace},
    },
    session::{self, PepperRing, RingDocument},
};
use crate::{
    clock::Timestamp,
    store::{CommitError, Key, Record, Row, Store, When, decode},
    vault::{Vault, VaultError},
};

/// The admin's name.
pub const ADMIN: &str = "admin";

/// Who fills an empty secret, in the audit log.
const ACTOR: &str = "first start";

/// The row that says that the first start happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Born {
    /// The issuer that the first start recorded.
    pub issuer: String,
    /// When it happened.
    pub at: Timestamp,
}

impl Born {
    /// Reads it, before there is a service.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn read(store: &dyn Store, now: Timestamp) -> Result<Option<Self>, Refusal> {
        let row: Option<Row<Self>> = decode(store.get(now, &[Self::row()]).await?.pop().flatten())?;
        Ok(row.map(|row| row.record))
    }

    fn row() -> Key {
        Key::new("meta#born", "born")
    }
}

impl Record for Born {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::row()
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// Makes what is missing of keys, peppers and the row of public keys; fills what was made empty. Of several that race the
/// first one's stand.
///
/// # Errors
/// `Unavailable`.
pub async fn make_keys(service: &Service) -> Result<(), Refusal> {
    let now = service.now();
    let entropy = service.entropy.as_ref();
    let alg = service.policy.signing_alg.unwrap_or(Algorithm::ES256);
    let first_keys = async || Ok(KeyDocument::first(alg, now).await?.render());
    if create_secret(service.vault.as_ref(), KeySet::SECRET, first_keys).await? == Held::Nothing {
        stands(rotate::rotate(service, Pace::Announced, ACTOR).await)?;
    }
    let first_pepper = async || Ok(RingDocument::first(entropy, now).render());
    if create_secret(service.vault.as_ref(), PepperRing::SECRET, first_pepper).await? == Held::Nothing {
        stands(session::rotate_peppers(service, Pace::Announced, ACTOR).await)?;
    }
    let keys = service.keys.private(now, entropy, service.vault.as_ref()).await?;
    match service.commit(now, vec![keys.public().put(When::Absent)]).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(unavailable) => Err(unavailable.into()),
    }
}

/// What a secret holds.
#[derive(PartialEq, Eq)]
enum Held {
    Something,
    /// It was made empty.
    Nothing,
}

async fn create_secret(
    vault: &dyn Vault,
    name: &str,
    value: impl AsyncFnOnce() -> Result<Secret<Vec<u8>>, Refusal>,
) -> Result<Held, Refusal> {
    if let Some(held) = vault.current(name).await? {
        return Ok(if is_unfilled(held.value.expose()) { Held::Nothing } else { Held::Something });
    }
    match vault.create(name, value().await?).await {
        Ok(()) | Err(VaultError::Conflict(_)) => Ok(Held::Something),
        Err(unavailable) => Err(unavailable.into()),
    }
}

/// Whoever was faster has filled it.
fn stands<T>(rotated: Result<T, Refusal>) -> Result<(), Refusal> {
    match rotated {
        Err(refusal) if refusal.kind != RefusalKind::Conflict => Err(refusal),
        _ => Ok(()),
    }
}

/// Makes the admin, with the first password, and the row that says so, in one commit. If another process was faster,
/// its work stands.
///
/// # Errors
/// `Unavailable`, `Invalid` for the password.
pub async fn bear(service: &Service, password: Secret<Vec<u8>>) -> Result<(), Refusal> {
    let now = service.now();
    let admin = NewAccount {
        name: ADMIN.into(),
        namespace: None,
        email: String::new(),
        roles: vec![Role::ADMIN.into()],
        enabled: true,
        mirror_token: false,
        password,
    };
    let (_, mut writes) = manage::prepare(service, now, admin).await?;
    writes.push(Born { issuer: service.policy.issuer.clone(), at: now }.put(When::Absent));
    match service.commit(now, writes).await {
        Ok(_) => {
            tracing::info!(target: "gatemint::audit", event = "first_start", issuer = service.policy.issuer);
            Ok(())
        }
        Err(CommitError::Conflict { .. }) => Ok(()),
        Err(unavailable) => Err(unavailable.into()),
    }
}
