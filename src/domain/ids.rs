//! Names and ids as types: what a caller may choose is parsed once, what we draw is random.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Refusal;
use crate::entropy::Entropy;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 63;

/// The name of a user, a namespace or a client: lower-case letters, digits, `-` and `.`, each dot-separated part
/// beginning and ending with a letter or digit, at most 63 bytes. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Parses a name.
    ///
    /// # Errors
    /// `Invalid`, for the field named.
    pub fn parse(text: &str, field: &'static str) -> Result<Self, Refusal> {
        if is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::invalid(
                field,
                "must be 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending each part with a letter or digit, \
                 e.g. ada or build-7.ci",
            ))
        }
    }

    /// The name that a service has in resources unless it is given another one.
    pub fn usual_cluster() -> Self {
        Self("default".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is a [`Name`], for what has one inside.
pub(in crate::domain) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_NAME
        && text.split('.').all(|part| {
            let bytes = part.as_bytes();
            matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if plain(*first) && plain(*last))
                && bytes.iter().all(|byte| plain(*byte) || *byte == b'-')
        })
}

impl TryFrom<String> for Name {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text, "name")
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A role as it stands in the `roles` claim: 1 to 16 names joined by `/`, at most 253 bytes. One without `/` is given
/// by admins only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(String);

impl Role {
    /// The role whose holders may do everything.
    pub const ADMIN: &'static str = "admin";

    /// Parses a role.
    ///
    /// # Errors
    /// `Invalid` for `roles`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() <= 253 && text.split('/').count() <= 16 && text.split('/').all(is_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::invalid(
                "roles",
                "each role is 1 to 16 names joined by '/', at most 253 characters, e.g. admin or ada/readers",
            ))
        }
    }

    /// The role as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Role {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.0
    }
}

/// An e-mail address, or nothing: at most 254 printable ASCII characters without space and comma, with one `@` inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl Email {
    /// Parses an e-mail address.
    ///
    /// # Errors
    /// `Invalid` for `email`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let sound = text.len() <= 254
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
            && text
                .split_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        if text.is_empty() || sound {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::invalid(
                "email",
                "must be empty, or at most 254 printable ASCII characters without space and comma, with one '@' inside",
            ))
        }
    }

    /// The address as text; empty if there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Email {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

/// 16 bytes, written as 22 characters of base64url.
macro_rules! id_16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Parses the 22 characters; none for any other spelling.
            pub fn parse(text: &str) -> Option<Self> {
                URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not 16 bytes in base64url"))
            }
        }
    };
}

id_16! {
    /// What an account or client *is*, drawn when it is made: a name that is made again has another one, so that it
    /// inherits nothing. An account's is the `sub` of its tokens.
    Uid
}

id_16! {
    /// A session's id: the `sid` of its access tokens, and `session_state` in replies.
    SessionId
}

id_16! {
    /// The id of the record of an account's token that is always fresh: a record that is begun again has another one.
    FreshId
}

id_16! {
    /// Where an account's rows are: the first 16 bytes of SHA-256("account\0" ‖ name).
    AccountKey
}

impl Uid {
    /// A new one.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self(entropy.bytes())
    }
}

impl SessionId {
    /// A new one.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self(entropy.bytes())
    }
}

impl FreshId {
    /// What its tokens' `sid` begins with, as no session's and no client's does.
    const SID: &str = "fresh.";

    /// A new one.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self(entropy.bytes())
    }

    /// The `sid` of its tokens.
    pub fn sid(self) -> String {
        format!("{}{self}", Self::SID)
    }

    /// Parses a `sid`; none for any other spelling.
    pub fn of_sid(sid: &str) -> Option<Self> {
        sid.strip_prefix(Self::SID).and_then(Self::parse)
    }
}

impl AccountKey {
    /// The key of the account of that name, whether or not there is one.
    pub fn of(name: &str) -> Self {
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        hash.update(b"account\0");
        hash.update(name.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(key)
    }
}

impl Uid {
    /// A new one, with the bits of a version 4 UUID set (RFC 9562 §5.4), for what is shown as one.
    pub fn draw_uuid(entropy: &dyn Entropy) -> Self {
        let mut bytes: [u8; 16] = entropy.bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// As a UUID is written: 36 characters.
    pub fn uuid(self) -> String {
        let hex = format!("{:032x}", u128::from_be_bytes(self.0));
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// What a token's own id begins with that stands with an account.
const WITH_ACCOUNT: u8 = b'a';

/// A token's own id that tells where the account is that it stands with, and 16 drawn bytes: so the account is read
/// together with the token's record, in one round trip. Written as 44 characters of base64url; no credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Jti {
    /// Where the account is: who minted a gate token, or who owns a service account.
    pub account: AccountKey,
    drawn: [u8; 16],
}

impl Jti {
    /// A new one.
    pub fn draw(account: AccountKey, entropy: &dyn Entropy) -> Self {
        Self { account, drawn: entropy.bytes() }
    }

    /// The one of these parts.
    pub fn of(account: AccountKey, drawn: [u8; 16]) -> Self {
        Self { account, drawn }
    }

    /// Parses the 44 characters; none for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 33] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let account = AccountKey(bytes[1..17].try_into().ok()?);
        let drawn = bytes[17..].try_into().ok()?;
        (bytes[0] == WITH_ACCOUNT).then_some(Self { account, drawn })
    }

    /// The drawn bytes, for whoever needs an id of 16.
    pub fn drawn(&self) -> [u8; 16] {
        self.drawn
    }
}

impl fmt::Display for Jti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [WITH_ACCOUNT; 33];
        bytes[1..17].copy_from_slice(&self.account.0);
        bytes[17..].copy_from_slice(&self.drawn);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Jti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Jti {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Jti {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the id of a token"))
    }
}

/// How often everything of an account or client was ended at once. A record of an older epoch is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch in which nothing of this one stands.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// 16 random bytes as 22 characters: a token's `jti`, an attempt's id.
pub fn random_id(entropy: &dyn Entropy) -> String {
    URL_SAFE_NO_PAD.encode(entropy.bytes::<16>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for good in ["a", "ada", "a-b", "a.b", "0", "build-7.ci", &"a".repeat(63)] {
            assert!(Name::parse(good, "name").is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a.", "a..b", "A", "a_b", "a b", "ä", "a\0", "a/b", "a.-b", &"a".repeat(64)]
        {
            assert!(Name::parse(bad, "name").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_role_is_up_to_sixteen_names() {
        for good in ["admin", "ada/readers", &["a"; 16].join("/")] {
            assert!(Role::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "A", &["a"; 17].join("/"), &"a".repeat(254), "a,b"] {
            assert!(Role::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_email_has_one_at_and_no_comma() {
        for good in ["", "a@b", "ada@example.org", "a+b@x"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in ["a", "@", "a@", "@b", "a@b@c", "a b@c", "a,b@c", "a@b\n", "ä@b", &format!("{}@b", "a".repeat(253))]
        {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tokens_own_id_has_one_spelling_and_tells_its_account() {
        let id = Jti { account: AccountKey::of("ada"), drawn: [7; 16] };
        let text = id.to_string();
        assert_eq!(text.len(), 44);
        assert_eq!(Jti::parse(&text), Some(id));
        assert_eq!(Jti::parse(&text[..43]), None);
        assert_eq!(Jti::parse(&format!("{text}A")), None);
        // Another kind of account.
        assert_eq!(Jti::parse(&URL_SAFE_NO_PAD.encode([b'x'; 33])), None);
    }

    #[test]
    fn a_uid_may_be_shown_as_a_uuid() {
        let uid = Uid([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef, 0x80, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(uid.uuid(), "12345678-9abc-4def-8000-000000000001");
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = Uid([255; 16]);
        assert_eq!(Uid::parse(&id.to_string()), Some(id));
        // The last character carries two bits; the other four must be zero.
        let mut other = id.to_string();
        other.pop();
        other.push('x');
        assert_eq!(Uid::parse(&other), None);
    }
}
