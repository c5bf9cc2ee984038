//! The client row, and how presented credentials are judged against it.

use std::{fmt, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    domain::{
        Secret,
        ids::{Epoch, Name, Uid},
        same_secret,
    },
    entropy::Entropy,
    store::{Key, Record, Row},
};

/// A grant that a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantType {
    /// RFC 6749 §4.3
    #[serde(rename = "password")]
    Password,
    /// RFC 6749 §6
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 6749 §4.4
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 8693
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

/// The name of a token exchange in `grant_type` (RFC 8693 §2.1).
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

impl GrantType {
    /// Every grant, as its name in `grant_type`.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Password, "password"),
        (Self::RefreshToken, "refresh_token"),
        (Self::ClientCredentials, "client_credentials"),
        (Self::TokenExchange, TOKEN_EXCHANGE),
    ];

    /// The grant of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(grant, _)| grant)
    }

    /// Its name in `grant_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => TOKEN_EXCHANGE,
        }
    }
}

/// SHA-256 of a client's secret. The secret is 256 random bits, so a fast hash gives nothing away.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSecretHash(String);

impl fmt::Debug for ClientSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[client secret hash]")
    }
}

impl ClientSecretHash {
    /// A new secret, to be shown once, and what is kept of it.
    pub fn draw(entropy: &dyn Entropy) -> (Secret<String>, Self) {
        let secret = Secret::new(format!("gmc_{}", URL_SAFE_NO_PAD.encode(entropy.bytes::<32>())));
        let hash = Self::of(secret.expose());
        (secret, hash)
    }

    fn of(secret: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes())))
    }
}

/// How a client showed who it is.
#[derive(Clone, Debug)]
pub enum Presented {
    /// A `client_id` alone.
    Public,
    /// With a secret, by Basic or in the body.
    Secret(Secret<String>),
}

/// A client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Client {
    /// Its `client_id`, for ever.
    pub id: Name,
    /// What it is: a client that is made again under the same id has another.
    pub uid: Uid,
    /// Counts how often everything that it obtained was ended at once.
    pub epoch: Epoch,
    /// Whether it may be used.
    pub enabled: bool,
    /// What is kept of its secret; none for a public client.
    pub secret: Option<ClientSecretHash>,
    /// The grants that it may use.
    pub grants: Vec<GrantType>,
    /// The audiences of its access tokens; empty: the issuer.
    pub audiences: Vec<String>,
    /// The scopes that it may ask for beside the standard ones.
    pub scopes: Vec<String>,
    /// Whether it may introspect tokens that are not its own (RFC 7662).
    pub introspect: bool,
    /// How long its access tokens live, if not as usual.
    pub access_life: Option<Duration>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Set when it was deleted: as of an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl Client {
    /// The public client that is always there, and used where a request names none.
    pub const BUILT_IN: &'static str = "gatemint";

    /// Where the client of that id is.
    pub fn key_of(id: &str) -> Key {
        Key::new(format!("client#{id}"), "client")
    }

    /// The built-in client as it is until somebody changes it; none for any other id.
    pub fn built_in(id: &str) -> Option<Self> {
        (id == Self::BUILT_IN).then(|| Self {
            id: Name::parse(Self::BUILT_IN, "client_id").unwrap_or_else(|_| unreachable!("a constant, and a name")),
            uid: Uid([0; 16]),
            epoch: Epoch(0),
            enabled: true,
            secret: None,
            grants: vec![GrantType::Password, GrantType::RefreshToken, GrantType::TokenExchange],
            audiences: Vec::new(),
            scopes: Vec::new(),
            introspect: false,
            access_life: None,
            created_at: Timestamp(0),
            deleted_at: None,
        })
    }

    /// The client that a row of that id holds, or the built-in one that nobody has changed.
    pub fn of_row(id: &str, row: Option<Row<Self>>) -> Option<Self> {
        row.map(|row| row.record).or_else(|| Self::built_in(id))
    }

    /// Whether the client is who it says: enabled, and with its secret if it has one. A secret given for a public
    /// client is refused, except an empty one: clients in the wild send `Basic id:`.
    pub fn authentic(&self, presented: &Presented) -> bool {
        let given = match presented {
            Presented::Secret(secret) if !secret.expose().is_empty() => Some(secret),
            Presented::Secret(_) | Presented::Public => None,
        };
        let right = match (&self.secret, given) {
            (None, None) => true,
            (Some(kept), Some(given)) => {
                same_secret(kept.0.as_bytes(), ClientSecretHash::of(given.expose()).0.as_bytes())
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        right && self.enabled && self.deleted_at.is_none()
    }

    /// Whether what was obtained by `uid` in `epoch` still stands.
    pub fn upholds(&self, uid: Uid, epoch: Epoch) -> bool {
        self.enabled && self.deleted_at.is_none() && self.uid == uid && self.epoch == epoch
    }

    /// Whether it may use the grant.
    pub fn may(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }

    /// The `sid` of its own tokens (`client_credentials`): base64url of uid and epoch, so that its row is their record.
    pub fn own_sid(&self) -> String {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.uid.0);
        bytes[16..].copy_from_slice(&self.epoch.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl Record for Client {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.id.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        self.deleted_at
    }
}

/// The entry that lists a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientName {
    /// The client's id.
    pub id: Name,
}

impl ClientName {
    /// Where the ids of all clients are.
    pub const PARTITION: &'static str = "names#clients";
}

impl Record for ClientName {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Key::new(Self::PARTITION, self.id.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}
