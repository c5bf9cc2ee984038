//! The key set: the private document in the vault and the public row in the store.

use std::fmt;

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::jwt::SigningKey;
use crate::{
    clock::Timestamp,
    domain::{Refusal, Secret},
    entropy::Entropy,
    store::{Key, Record},
};

/// A signature algorithm (RFC 7518 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

impl Algorithm {
    /// Its name in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
        }
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

impl Timetable {
    /// Whether the key signs at `now`.
    pub fn signs(&self, now: Timestamp) -> bool {
        self.signs_from <= now && self.signs_until.is_none_or(|until| now < until)
    }

    /// Whether signatures of the key are judged at `now`.
    pub fn judges(&self, now: Timestamp) -> bool {
        self.gone_after.is_none_or(|gone| now < gone)
    }
}

/// A key's public half as a JWK (RFC 7517 §4) with its timetable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The algorithm that it judges; no header can choose another.
    pub alg: Algorithm,
    /// The coordinate `x` of the point (RFC 7518 §6.2.1.2).
    pub x: String,
    /// The coordinate `y` (RFC 7518 §6.2.1.3).
    pub y: String,
    /// When it signs and judges.
    #[serde(rename = "timetable")]
    pub times: Timetable,
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

#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    /// Names this content; what is staged next says that it is based on it.
    id: String,
    based_on: Option<String>,
    keys: Vec<PrivateKey>,
}

#[derive(Serialize, Deserialize)]
struct PrivateKey {
    alg: Algorithm,
    /// PKCS #8 in base64.
    pkcs8: String,
    timetable: Timetable,
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

impl KeySet {
    /// The secret's name in the vault.
    pub const SECRET: &'static str = "keys/gatemint-jwt-secret";

    /// A document of one new key, which signs at once.
    ///
    /// # Errors
    /// The cryptographic library failed to make a key.
    pub fn first(entropy: &dyn Entropy, now: Timestamp) -> Result<Secret<Vec<u8>>, Refusal> {
        // aws-lc draws a key's bytes itself: the one randomness that does not come through `Entropy`.
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(Refusal::unavailable)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(Refusal::unavailable)?;
        let document = Document {
            v: 1,
            id: crate::domain::ids::random_id(entropy),
            based_on: None,
            keys: vec![PrivateKey {
                alg: Algorithm::ES256,
                pkcs8: STANDARD.encode(pkcs8.as_ref()),
                timetable: Timetable { published_at: now, signs_from: now, signs_until: None, gone_after: None },
            }],
        };
        serde_json::to_vec(&document).map(Secret::new).map_err(Refusal::unavailable)
    }

    /// Reads the vault's document and parses its keys, once.
    ///
    /// # Errors
    /// It is not a key set that this version knows. The text holds nothing of the keys.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|error| format!("{} is not a key set: {:?} error", Self::SECRET, error.classify()))?;
        if document.v != 1 {
            return Err(format!("{} has format {}, this version knows 1", Self::SECRET, document.v));
        }
        let mut keys = Vec::with_capacity(document.keys.len());
        let mut public = Vec::with_capacity(document.keys.len());
        for key in &document.keys {
            let damaged = || format!("{} holds a key that cannot be read", Self::SECRET);
            let mut pkcs8 = STANDARD.decode(&key.pkcs8).map_err(|_| damaged())?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| damaged())?;
            pkcs8.zeroize();
            let public_key = public_half(&pair, key.timetable);
            keys.push((SigningKey::new(pair, public_key.kid.clone()), key.timetable));
            public.push(public_key);
        }
        if keys.is_empty() {
            return Err(format!("{} holds no key", Self::SECRET));
        }
        Ok(Self { keys, public: PublicKeys { keys: public } })
    }

    /// The public half, as it goes into the store.
    pub fn public(&self) -> &PublicKeys {
        &self.public
    }

    /// The key that signs at `now`, if the public row lists it: no verifier would know it otherwise.
    pub fn signer(&self, now: Timestamp, published: &PublicKeys) -> Option<&SigningKey> {
        self.keys
            .iter()
            .rev()
            .find(|(key, times)| times.signs(now) && published.keys.iter().any(|listed| listed.kid == key.kid()))
            .map(|(key, _)| key)
    }
}

fn public_half(pair: &EcdsaKeyPair, times: Timetable) -> PublicKey {
    // An uncompressed point: 0x04 ‖ x ‖ y.
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
    // RFC 7638 §3: the required members, in the order of their names.
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    PublicKey { kid, alg: Algorithm::ES256, x, y, times }
}
