//! The refresh token: its bytes and its MAC.
//!
//! `gmr_` and base64url, without padding, of 70 bytes: version ‖ pepper id ‖ account key (16) ‖ session id (16) ‖
//! generation (u32, big endian) ‖ HMAC-SHA256(pepper, "gatemint refresh v1\0" ‖ all before it) (32). A token is derived
//! from its session's row, so that the same successor can be derived again for a retry, and none is ever stored.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{PepperRing, Session};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        ids::{AccountKey, SessionId},
    },
};

const PREFIX: &str = "gmr_";
const VERSION: u8 = 1;
const LABEL: &[u8] = b"gatemint refresh v1\0";
const UNSIGNED: usize = 1 + 1 + 16 + 16 + 4;
const BYTES: usize = UNSIGNED + 32;

/// Counts a session's refreshes; the token of each refresh carries its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The next one; none after four billion.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// A refresh token that we made, taken apart.
#[derive(Clone)]
pub struct RefreshToken {
    /// The pepper that the MAC is made with.
    pub pepper: u8,
    /// Where the session's account is.
    pub account: AccountKey,
    /// The session.
    pub session: SessionId,
    /// Which of the session's tokens it is.
    pub generation: Generation,
    mac: [u8; 32],
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken({}, generation {})", self.session, self.generation.0)
    }
}

impl RefreshToken {
    /// The token, if it is one that we made: nothing else of this service takes a refresh token apart. Only the ring of
    /// peppers is read, and only if the token names one that is not at hand.
    ///
    /// # Errors
    /// `Unavailable`: the peppers cannot be read.
    pub async fn authentic(service: &Service, now: Timestamp, text: &Secret<String>) -> Result<Option<Self>, Refusal> {
        let Some(token) = Self::parse(text.expose()) else { return Ok(None) };
        let ring =
            service.keys.peppers_with(now, service.entropy.as_ref(), service.vault.as_ref(), token.pepper).await?;
        Ok(token.is_authentic(&ring).then_some(token))
    }

    /// Takes a token apart; none if its length or spelling is not the one that we write.
    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        let encoded = text.strip_prefix(PREFIX)?;
        // Refuses other alphabets, other lengths, padding, and stray bits in the last character.
        if URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()? != BYTES || bytes[0] != VERSION {
            return None;
        }
        let (unsigned, mac) = bytes.split_at(UNSIGNED);
        let token = Self {
            pepper: unsigned[1],
            account: AccountKey(unsigned[2..18].try_into().ok()?),
            session: SessionId(unsigned[18..34].try_into().ok()?),
            generation: Generation(u32::from_be_bytes(unsigned[34..38].try_into().ok()?)),
            mac: mac.try_into().ok()?,
        };
        bytes.zeroize();
        Some(token)
    }

    fn unsigned(&self) -> [u8; UNSIGNED] {
        let mut bytes = [0; UNSIGNED];
        bytes[0] = VERSION;
        bytes[1] = self.pepper;
        bytes[2..18].copy_from_slice(&self.account.0);
        bytes[18..34].copy_from_slice(&self.session.0);
        bytes[34..38].copy_from_slice(&self.generation.0.to_be_bytes());
        bytes
    }

    /// Whether we made it: the MAC is right under the pepper that it names. In constant time.
    fn is_authentic(&self, peppers: &PepperRing) -> bool {
        let Some(pepper) = peppers.find(self.pepper) else { return false };
        let mut message = Vec::with_capacity(LABEL.len() + UNSIGNED);
        message.extend_from_slice(LABEL);
        message.extend_from_slice(&self.unsigned());
        hmac::verify(&pepper.key, &message, &self.mac).is_ok()
    }

    /// Derives the current token of a session; none if its pepper is not in the ring.
    pub fn derive(session: &Session, peppers: &PepperRing) -> Option<Secret<String>> {
        let pepper = peppers.find(session.pepper)?;
        let token = Self {
            pepper: session.pepper,
            account: session.account,
            session: session.id,
            generation: session.generation,
            mac: [0; 32],
        };
        let unsigned = token.unsigned();
        let mut mac = hmac::Context::with_key(&pepper.key);
        mac.update(LABEL);
        mac.update(&unsigned);
        let mut bytes = [0; BYTES];
        bytes[..UNSIGNED].copy_from_slice(&unsigned);
        bytes[UNSIGNED..].copy_from_slice(mac.sign().as_ref());
        let mut text = String::with_capacity(PREFIX.len() + BYTES.div_ceil(3) * 4);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        bytes.zeroize();
        Some(Secret::new(text))
    }
}
