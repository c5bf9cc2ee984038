//! The key set: the private document in the vault and the public row in the store.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{document::KeyDocument, jwt::SigningKey};
use crate::{
    clock::Timestamp,
    store::{Key, Record},
};

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSA with 2048 bits, PKCS #1 v1.5 and SHA-256.
    RS256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ES256, Self::RS256, Self::EdDSA];

    /// Its name in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a key is published, signs, and is gone. Its state at a moment follows from these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// Verifiers can know it from here on.
    pub published_at: Timestamp,
    /// It signs from here on.
    pub signs_from: Timestamp,
    /// It signs until here; none while no successor is known.
    pub signs_until: Option<Timestamp>,
    /// It judges nothing from here on.
    pub gone_after: Option<Timestamp>,
}

/// What a key does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is published, so that every verifier knows it when it signs.
    Upcoming,
    /// It signs, and judges what it signed.
    Signing,
    /// It signs no more; what it signed is still judged by it.
    Judging,
    /// It does nothing any more.
    Gone,
}

impl Timetable {
    /// Its state.
    pub fn state(&self, now: Timestamp) -> State {
        match () {
            () if !self.judges(now) => State::Gone,
            () if self.signs_until.is_some_and(|until| until <= now) => State::Judging,
            () if self.is_upcoming(now) => State::Upcoming,
            () => State::Signing,
        }
    }

    /// Whether the key is published and does not sign yet.
    pub fn is_upcoming(&self, now: Timestamp) -> bool {
        now < self.signs_from
    }

    /// Whether the key signs at `now`.
    pub fn signs(&self, now: Timestamp) -> bool {
        !self.is_upcoming(now) && self.signs_until.is_none_or(|until| now < until)
    }

    /// Whether signatures of the key are judged at `now`.
    pub fn judges(&self, now: Timestamp) -> bool {
        self.gone_after.is_none_or(|gone| now < gone)
    }
}

/// What a public key is made of, in base64url as a JWK has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A point on P-256 (RFC 7518 §6.2.1).
    Ec {
        /// Its first coordinate.
        x: String,
        /// Its second coordinate.
        y: String,
    },
    /// RSA (RFC 7518 §6.3.1).
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point on Ed25519 (RFC 8037 §2).
    Okp {
        /// The point.
        x: String,
    },
}

impl Material {
    /// The one algorithm that it judges.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ec { .. } => Algorithm::ES256,
            Self::Rsa { .. } => Algorithm::RS256,
            Self::Okp { .. } => Algorithm::EdDSA,
        }
    }

    /// RFC 7638 §3: the hash of the required members, in the order of their names.
    pub(super) fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::Ec { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }
}

/// A key's public half with its timetable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredKey", into = "StoredKey")]
pub struct PublicKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The key itself; no header can choose another algorithm than its.
    pub material: Material,
    /// When it signs and judges.
    pub times: Timetable,
}

/// A key as the row holds it: the members of a JWK (RFC 7517 §4) that its algorithm has.
#[derive(Serialize, Deserialize)]
struct StoredKey {
    kid: String,
    alg: Algorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(rename = "timetable")]
    times: Timetable,
}

impl TryFrom<StoredKey> for PublicKey {
    type Error = &'static str;

    fn try_from(stored: StoredKey) -> Result<Self, &'static str> {
        let material = match (stored.alg, stored.x, stored.y, stored.n, stored.e) {
            (Algorithm::ES256, Some(x), Some(y), None, None) => Material::Ec { x, y },
            (Algorithm::RS256, None, None, Some(n), Some(e)) => Material::Rsa { n, e },
            (Algorithm::EdDSA, Some(x), None, None, None) => Material::Okp { x },
            _ => return Err("a key's members are not those of its algorithm"),
        };
        Ok(Self { kid: stored.kid, material, times: stored.times })
    }
}

impl From<PublicKey> for StoredKey {
    fn from(key: PublicKey) -> Self {
        let alg = key.material.algorithm();
        let (x, y, n, e) = match key.material {
            Material::Ec { x, y } => (Some(x), Some(y), None, None),
            Material::Rsa { n, e } => (None, None, Some(n), Some(e)),
            Material::Okp { x } => (Some(x), None, None, None),
        };
        Self { kid: key.kid, alg, x, y, n, e, times: key.times }
    }
}

/// The row `keys#jwks`: every key that judges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeys {
    /// The keys, oldest first.
    pub keys: Vec<PublicKey>,
}

impl PublicKeys {
    /// Where they are.
    pub fn row() -> Key {
        Key::new("keys#jwks", "jwks")
    }

    /// Whether it lists a key of that id.
    pub fn lists(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid == kid)
    }
}

impl Record for PublicKeys {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::row()
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The private keys, ready to sign.
pub struct KeySet {
    keys: Vec<(SigningKey, Timetable)>,
    public: PublicKeys,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.public.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl KeySet {
    /// The secret's name in the vault.
    pub const SECRET: &'static str = "keys/gatemint-jwt-secret";

    /// Reads the vault's document and parses its keys, once.
    ///
    /// # Errors
    /// It is not a key set that this version knows. The text holds nothing of the keys.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        Self::of(&KeyDocument::parse(document)?)
    }

    pub(super) fn of(document: &KeyDocument) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(document.keys().len());
        let mut public = Vec::with_capacity(document.keys().len());
        for key in document.keys() {
            let (signing, material) = key
                .pkcs8()
                .and_then(|pkcs8| SigningKey::of_pkcs8(key.alg, &pkcs8))
                .ok_or_else(|| format!("{} holds a key that cannot be read", Self::SECRET))?;
            public.push(PublicKey { kid: signing.kid().to_owned(), material, times: key.times });
            keys.push((signing, key.times));
        }
        Ok(Self { keys, public: PublicKeys { keys: public } })
    }

    /// The public half, as it goes into the store.
    pub fn public(&self) -> &PublicKeys {
        &self.public
    }

    /// The newest key, whether it signs yet or not.
    pub(super) fn newest(&self) -> Option<&SigningKey> {
        self.keys.last().map(|(key, _)| key)
    }

    /// The key that signs at `now`, if the public row lists it: no verifier would know it otherwise.
    pub fn signer(&self, now: Timestamp, published: &PublicKeys) -> Option<&SigningKey> {
        self.keys.iter().rev().find(|(key, times)| times.signs(now) && published.lists(key.kid())).map(|(key, _)| key)
    }
}
