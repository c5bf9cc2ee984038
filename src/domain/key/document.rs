//! The private document: what the vault's secret holds, how the first one is made, and what follows on one. Pure, but
//! for the new key itself.

use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, Pkcs8V2Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Algorithm, KeySet, Timetable};
use crate::{
    clock::Timestamp,
    domain::{Refusal, Secret, is_unfilled},
};

const FORMAT: u32 = 1;

/// How long a key judges after it stopped signing: no token of ours lives longer than 31 days, and verifiers keep a
/// JWKS for two hours.
const JUDGES_ON_FOR: Duration = Duration::from_hours(31 * 24 + 2);

/// The signing keys as the vault keeps them, oldest first.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyDocument {
    v: u32,
    /// The vault's version that this one follows on, and may replace: no other.
    pub(super) based_on: Option<String>,
    keys: Vec<PrivateKey>,
}

/// A private key with its timetable. Wiped when dropped.
#[derive(Serialize, Deserialize)]
pub(super) struct PrivateKey {
    pub(super) alg: Algorithm,
    /// PKCS #8 in base64.
    pkcs8: String,
    #[serde(rename = "timetable")]
    pub(super) times: Timetable,
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

impl PrivateKey {
    /// Makes a key. aws-lc draws its bytes itself: the one randomness that does not come through `Entropy`.
    fn generate(alg: Algorithm, times: Timetable) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pkcs8 = match alg {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                STANDARD.encode(pair.to_pkcs8v1()?)
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                STANDARD.encode(AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate()?;
                STANDARD.encode(AsDer::<Pkcs8V2Der<'_>>::as_der(&pair)?.as_ref())
            }
        };
        Ok(Self { alg, pkcs8, times })
    }

    /// The key's PKCS #8 document; none if what is kept is not base64.
    pub(super) fn pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        STANDARD.decode(&self.pkcs8).ok().map(Zeroizing::new)
    }
}

/// Makes a key where it holds nobody up: an RSA key takes a tenth of a second and more.
async fn generate(alg: Algorithm, times: Timetable) -> Result<PrivateKey, Refusal> {
    let made = tokio::task::spawn_blocking(move || PrivateKey::generate(alg, times)).await;
    made.map_err(Refusal::unavailable)?.map_err(Refusal::unavailable)
}

fn at_once(now: Timestamp) -> Timetable {
    Timetable { published_at: now, signs_from: now, signs_until: None, gone_after: None }
}

impl KeyDocument {
    /// One new key, which signs at once.
    ///
    /// # Errors
    /// `Unavailable`: the cryptographic library made no key.
    pub(crate) async fn first(alg: Algorithm, now: Timestamp) -> Result<Self, Refusal> {
        Ok(Self { v: FORMAT, based_on: None, keys: vec![generate(alg, at_once(now)).await?] })
    }

    /// What follows on this document, which is the vault's version `id`: one new key is published and signs after
    /// `ahead`, the one that signs so far stops then, and what judges nothing any more is dropped.
    ///
    /// # Errors
    /// `Conflict`: a key is upcoming already. `Unavailable`: the cryptographic library made no key.
    pub(super) async fn followed(
        self,
        id: &str,
        alg: Algorithm,
        now: Timestamp,
        ahead: Duration,
    ) -> Result<Self, Refusal> {
        if let Some(upcoming) = self.keys.iter().find(|key| key.times.is_upcoming(now)) {
            let from = upcoming.times.signs_from.rfc3339();
            return Err(Refusal::conflict(format!("a new key is published already, and signs from {from}")));
        }
        let signs_from = now + ahead;
        let new = generate(alg, Timetable { signs_from, ..at_once(now) }).await?;
        let mut keys: Vec<_> = self.keys.into_iter().filter(|key| key.times.judges(now)).collect();
        for key in keys.iter_mut().filter(|key| key.times.signs_until.is_none()) {
            key.times.signs_until = Some(signs_from);
            key.times.gone_after = Some(signs_from + JUDGES_ON_FOR);
        }
        keys.push(new);
        Ok(Self { v: FORMAT, based_on: Some(id.to_owned()), keys })
    }

    /// One new key in the place of all that the vault's version `id` holds.
    ///
    /// # Errors
    /// `Unavailable`: the cryptographic library made no key.
    pub(super) async fn replaced(id: &str, alg: Algorithm, now: Timestamp) -> Result<Self, Refusal> {
        Ok(Self { based_on: Some(id.to_owned()), ..Self::first(alg, now).await? })
    }

    /// The newest key's timetable, if it was announced: made to be known to verifiers before it signs.
    pub(super) fn announced(&self) -> Option<Timetable> {
        let newest = self.keys.last().map(|newest| newest.times);
        newest.filter(|times| times.is_upcoming(times.published_at))
    }

    /// Whether it is time for a new key: the newest is older than `every`, or of another algorithm than is wanted.
    pub(super) fn is_due(&self, now: Timestamp, every: Duration, wanted: Option<Algorithm>) -> bool {
        self.keys.last().is_some_and(|newest| {
            !newest.times.is_upcoming(now)
                && (newest.times.published_at + every <= now || wanted.is_some_and(|alg| alg != newest.alg))
        })
    }

    /// The algorithm of the newest key.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.keys.last().map_or(Algorithm::ES256, |newest| newest.alg)
    }

    pub(super) fn keys(&self) -> &[PrivateKey] {
        &self.keys
    }

    /// As it goes into the vault.
    pub(crate) fn render(&self) -> Secret<Vec<u8>> {
        // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
        let room = 256 + self.keys.iter().map(|key| key.pkcs8.len() + 256).sum::<usize>();
        let mut bytes = Vec::with_capacity(room);
        serde_json::to_writer(&mut bytes, self)
            .unwrap_or_else(|error| unreachable!("plain data always serialises: {error}"));
        Secret::new(bytes)
    }

    /// Reads the vault's document.
    ///
    /// # Errors
    /// It is not a key set that this version knows. The text holds nothing of the keys.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if is_unfilled(bytes) {
            return Err(format!(
                "no signing keys yet: {} is empty, its first rotation or `gatemint key rotate` makes them",
                KeySet::SECRET
            ));
        }
        let document: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("{} is not a key set: {:?} error", KeySet::SECRET, error.classify()))?;
        if document.v != FORMAT {
            return Err(format!("{} has format {}, this version knows {FORMAT}", KeySet::SECRET, document.v));
        }
        if document.keys.is_empty() {
            return Err(format!("{} holds no key", KeySet::SECRET));
        }
        Ok(document)
    }
}
