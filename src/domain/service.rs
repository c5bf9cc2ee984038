//! The one context of every operation.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Policy, Refusal, Secret,
    account::Hashing,
    ids::Name,
    key::{
        Keys,
        jwt::{self, BadToken, Unverified},
    },
};
use crate::{
    clock::{Clock, Timestamp},
    entropy::Entropy,
    store::{CommitError, Key, Record, Row, Store, Version, Write, decode},
    vault::Vault,
};

/// How often an operation decides again with the row that beat it, before it gives up with "try again".
pub const ROUNDS: usize = 3;

/// Everything that an operation needs.
pub struct Service {
    /// Where accounts, clients and sessions are.
    pub store: Arc<dyn Store>,
    /// Where private keys and peppers are.
    pub vault: Arc<dyn Vault>,
    /// Where the time comes from; an operation reads it once.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
    /// What the operator decided.
    pub policy: Policy,
    /// Keys in memory.
    pub keys: Keys,
    /// Where passwords are hashed.
    pub hashing: Hashing,
    /// Told, after the commit, whose password was changed: on one machine the first password's file goes then.
    pub password_changed: Box<dyn Fn(&Name) + Send + Sync>,
}

impl Service {
    /// A service on these parts, with so many hashing threads.
    pub fn new(
        store: Arc<dyn Store>,
        vault: Arc<dyn Vault>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        policy: Policy,
        hashing_threads: usize,
    ) -> Self {
        Self {
            store,
            vault,
            clock,
            entropy,
            policy,
            keys: Keys::default(),
            hashing: Hashing::new(hashing_threads),
            password_changed: Box::new(|_| ()),
        }
    }

    /// The time; read once per operation.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Commits under a new id, which becomes the version of every row written.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<Version, CommitError> {
        let id = Version(self.entropy.bytes());
        self.store.commit(now, id, writes).await?;
        Ok(id)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn read<T: Record>(&self, now: Timestamp, key: Key) -> Result<Option<Row<T>>, Refusal> {
        Ok(decode(self.store.get(now, &[key]).await?.pop().flatten())?)
    }

    /// Signs a token with the key whose turn it is.
    ///
    /// # Errors
    /// `Unavailable`: no key signs now that the public row lists.
    pub async fn sign<C: Serialize>(
        &self,
        now: Timestamp,
        kind: jwt::Kind,
        claims: &C,
    ) -> Result<Secret<String>, Refusal> {
        let entropy = self.entropy.as_ref();
        let (store, vault) = (self.store.as_ref(), self.vault.as_ref());
        let mut published = self.keys.public(now, entropy, store).await?;
        let mut private = self.keys.private(now, entropy, vault).await?;
        if private.signer(now, &published).is_none() {
            // One of the two is older than a rotation that would not wait.
            published = self.keys.newer_public(now, entropy, store).await?;
            private = self.keys.newer_private(now, entropy, vault).await?;
        }
        let key = private
            .signer(now, &published)
            .ok_or_else(|| Refusal::unavailable("no key signs at this moment that keys#jwks lists"))?;
        key.sign(kind, claims).map_err(Refusal::unavailable)
    }

    /// Judges signature and kind of a token that somebody presents, and reads its claims: with the public keys in memory
    /// nothing is read. Issuer, audience and time are the claims' own to judge.
    ///
    /// # Errors
    /// `Unavailable`: no key could be read. Inside: why the token is not good.
    pub async fn judge<C: DeserializeOwned>(
        &self,
        now: Timestamp,
        token: &Secret<String>,
        kind: jwt::Kind,
    ) -> Result<Result<C, BadToken>, Refusal> {
        let unverified = match Unverified::parse(token.expose()) {
            Ok(unverified) => unverified,
            Err(why) => return Ok(Err(why)),
        };
        let key = self.keys.judging(now, self.entropy.as_ref(), self.store.as_ref(), unverified.kid()).await?;
        let Some(key) = key else { return Ok(Err(BadToken::UnknownKey)) };
        let checked = self.keys.verdicts.once(token.expose(), || unverified.check_signature(&key));
        Ok(checked.and_then(|()| unverified.claims(kind)))
    }

    /// Reads what requests will need into memory: the public keys, and at the same time, of the vault, with `signing` the private
    /// keys and then with `refresh` the peppers: over one connection, since a second one's handshake costs more than it would
    /// save.
    ///
    /// # Errors
    /// `Unavailable`: something could not be read. The rest was; a request reads again what it lacks.
    pub async fn warm(&self, signing: bool, refresh: bool) -> Result<(), Refusal> {
        let (now, entropy) = (self.now(), self.entropy.as_ref());
        let public = self.keys.public(now, entropy, self.store.as_ref());
        let secrets = async {
            let mut read = Ok(());
            if signing {
                read = self.keys.private(now, entropy, self.vault.as_ref()).await.map(drop);
            }
            if refresh {
                let peppers = self.keys.peppers(now, entropy, self.vault.as_ref()).await;
                read = read.and(peppers.map(drop));
            }
            read
        };
        let (public, secrets) = tokio::join!(public, secrets);
        public.map(drop).and(secrets)
    }

    /// Whether store, public keys and private keys can be read, for readiness. `signs`: this function signs tokens.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ready(&self, signs: bool) -> Result<(), Refusal> {
        let now = self.now();
        let published = self
            .read::<super::key::PublicKeys>(now, super::key::PublicKeys::row())
            .await?
            .ok_or_else(|| Refusal::unavailable(super::key::NO_PUBLIC_KEYS))?;
        if signs {
            // From the vault itself, not from memory, which would go on for a day.
            super::key::read_key_set(self.vault.as_ref())
                .await?
                .signer(now, &published.record)
                .ok_or_else(|| Refusal::unavailable("no key signs at this moment that keys#jwks lists"))?;
            super::key::read_peppers(self.vault.as_ref(), now).await?;
        }
        Ok(())
    }
}
