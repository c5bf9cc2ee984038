//! A gate token's own id: its `jti`, and what tells one record from another of the same name.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{domain::ids::AccountKey, entropy::Entropy};

/// What an id begins with whose minter is an account.
const OF_ACCOUNT: u8 = b'a';

/// Where the minter's account is, and 16 drawn bytes: so the account is read together with the record, in one round trip.
/// Written as 44 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GateTokenId {
    /// Where the account is that minted it.
    pub minter: AccountKey,
    drawn: [u8; 16],
}

impl GateTokenId {
    /// A new one.
    pub fn draw(minter: AccountKey, entropy: &dyn Entropy) -> Self {
        Self { minter, drawn: entropy.bytes() }
    }

    /// Parses the 44 characters; none for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 33] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let minter = AccountKey(bytes[1..17].try_into().ok()?);
        let drawn = bytes[17..].try_into().ok()?;
        (bytes[0] == OF_ACCOUNT).then_some(Self { minter, drawn })
    }

    /// The drawn bytes, for whoever needs an id of 16.
    pub fn drawn(&self) -> [u8; 16] {
        self.drawn
    }
}

impl fmt::Display for GateTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [OF_ACCOUNT; 33];
        bytes[1..17].copy_from_slice(&self.minter.0);
        bytes[17..].copy_from_slice(&self.drawn);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for GateTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for GateTokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GateTokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the id of a gate token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling_and_tells_its_minter() {
        let id = GateTokenId { minter: AccountKey::of("ada"), drawn: [7; 16] };
        let text = id.to_string();
        assert_eq!(text.len(), 44);
        assert_eq!(GateTokenId::parse(&text), Some(id));
        assert_eq!(GateTokenId::parse(&text[..43]), None);
        assert_eq!(GateTokenId::parse(&format!("{text}A")), None);
        // Another kind of minter.
        assert_eq!(GateTokenId::parse(&URL_SAFE_NO_PAD.encode([b'x'; 33])), None);
    }
}
