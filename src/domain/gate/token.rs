//! The GateToken: what is kept of a gate token, and what is signed from it. The token itself is never stored.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Patterns, Verbs};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        access::Resource,
        account::Account,
        ids::{AccountKey, Epoch, Jti, Name, SessionId, Uid},
        key::jwt::{Audience, GateClaims, Kind},
        service_account::ServiceAccount,
    },
    store::{Key, Record},
};

/// The longest gate token, in bytes: browsers keep cookies of up to 4 KiB, and API Gateway takes 10,240 bytes of headers
/// in all.
pub(super) const LONGEST: usize = 3_500;

/// Rows are purged a day after their logical end, so that a token that is presented late hears what happened.
const KEPT_AFTER_END: Duration = Duration::from_hours(24);

/// Who minted a gate token: it stands as long as the account does, in this epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minter {
    /// The account's name.
    pub name: Name,
    /// Its uid.
    pub uid: Uid,
    /// Its epoch when the token was minted.
    pub epoch: Epoch,
    /// What a token that came of an exchange ends with; it opens only what the account may at the time of each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// The service account of the account's namespace that minted: then it is that one's token, and stands with both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ByServiceAccount>,
}

/// The service account that minted a gate token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByServiceAccount {
    /// Where it lives.
    pub namespace: Name,
    /// Its name there.
    pub name: Name,
    /// Its uid.
    pub uid: Uid,
    /// Its epoch when the token was minted.
    pub epoch: Epoch,
}

/// The session whose access token was exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The session.
    pub session: SessionId,
    /// The client that it was opened through.
    pub client: Name,
    /// Whether the access token showed its account as an admin: one that was narrowed to less does not get it back here.
    pub as_admin: bool,
}

impl Minter {
    /// An account itself.
    pub fn account(account: &Account) -> Self {
        Self {
            name: account.name.clone(),
            uid: account.uid,
            epoch: account.epoch,
            exchange: None,
            service_account: None,
        }
    }

    /// A service account.
    pub fn service_account(account: &ServiceAccount) -> Self {
        Self {
            name: account.owner.name.clone(),
            uid: account.owner.uid,
            epoch: Epoch::default(),
            exchange: None,
            service_account: Some(ByServiceAccount {
                namespace: account.namespace.clone(),
                name: account.name.clone(),
                uid: account.uid,
                epoch: account.epoch,
            }),
        }
    }

    /// Whether the account still is the one that minted, in the same epoch, and enabled. What its service account minted
    /// does not end with its password, since it did not begin with it.
    pub fn is_upheld_by(&self, account: Option<&Account>) -> bool {
        account.is_some_and(|account| match self.service_account {
            None => account.upholds(self.uid, self.epoch),
            Some(_) => account.upholds(self.uid, account.epoch),
        })
    }

    /// Who minted, in the audit log's words.
    pub fn actor(&self) -> String {
        match &self.service_account {
            None => self.name.to_string(),
            Some(by) => format!("{}/service-accounts/{}", by.namespace, by.name),
        }
    }

    /// Where the account is.
    pub fn key(&self) -> AccountKey {
        AccountKey::of(self.name.as_str())
    }
}

/// The one use of a one-time link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The `jti` of the gate token that it was exchanged for.
    pub cookie: Jti,
    /// When.
    pub at: Timestamp,
    /// By whom: the same address gets the same answer again for a moment.
    pub address: IpAddr,
}

/// A gate token's record. Immutable, but for the use of a one-time link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GateToken {
    /// Its namespace.
    pub namespace: Name,
    /// Its name in it.
    pub name: Name,
    /// What it is: a token that is made again under the same name has another.
    pub id: Jti,
    /// Who minted it.
    pub minter: Minter,
    /// When.
    pub created_at: Timestamp,
    /// What its owner wrote on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `spec.secret-name`
    pub key_set: String,
    /// `spec.secret-namespace`: kept to be shown, and without a meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_namespace: Option<String>,
    /// `spec.secret-file`: likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// What it opens.
    pub urls: Patterns,
    /// For which methods.
    pub verbs: Verbs,
    /// The sites' resources that its absolute URLs named when it was minted, which was allowed then. A site that is made
    /// later, or that names another resource later, is not opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// `spec.from` as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `spec.duration` as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// From when on it is good.
    pub nbf: Timestamp,
    /// Until when.
    pub exp: Timestamp,
    /// Whether it is a link that is exchanged once.
    pub one_time: bool,
    /// The use of a one-time link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Use>,
}

impl GateToken {
    /// Where the gate tokens of a namespace are.
    pub fn partition(namespace: &str) -> String {
        format!("gate#{namespace}")
    }

    /// Where a gate token is.
    pub fn key_of(namespace: &str, name: &str) -> Key {
        Key::new(Self::partition(namespace), name)
    }

    /// The `sub` of its tokens.
    pub fn subject(&self) -> String {
        format!("{SUBJECT}{}/{}", self.namespace, self.name)
    }

    /// Whether its time has come.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.exp
    }

    /// How long it is good, in Go's syntax: as its request said, else what came of it.
    pub fn duration_text(&self) -> String {
        match (&self.duration, self.exp.since(self.nbf).as_secs()) {
            (Some(said), _) => said.clone(),
            (None, 3600) => "1h".to_owned(),
            (None, seconds) => format!("{seconds}s"),
        }
    }

    /// The kind of what its reader is given: the link, if it is one that is exchanged once.
    pub fn kind(&self) -> Kind {
        if self.one_time { Kind::Link } else { Kind::Gate }
    }

    /// Signs what its reader is given.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sign(&self, service: &Service, now: Timestamp) -> Result<Secret<String>, Refusal> {
        self.sign_as(service, now, self.kind(), self.id, now).await
    }

    /// Signs a token of a kind, under an id.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn sign_as(
        &self,
        service: &Service,
        now: Timestamp,
        kind: Kind,
        id: Jti,
        iat: Timestamp,
    ) -> Result<Secret<String>, Refusal> {
        let issuer = &service.policy.issuer;
        let claims = GateClaims {
            iss: issuer.clone(),
            sub: self.subject(),
            aud: Audience(kind.audience(issuer).into_iter().collect()),
            jti: id.to_string(),
            iat,
            nbf: self.nbf,
            exp: self.exp,
            urls: self.urls.clone().into(),
            verbs: self.verbs.clone().into(),
        };
        service.sign(now, kind, &claims).await
    }
}

/// What a gate token's `sub` begins with.
const SUBJECT: &str = "gatetoken:";

/// Namespace and name of a gate token's `sub`; none if it is something else.
pub(super) fn parse_subject(sub: &str) -> Option<(Name, Name)> {
    let (namespace, name) = sub.strip_prefix(SUBJECT)?.split_once('/')?;
    Some((Name::parse(namespace, "sub").ok()?, Name::parse(name, "sub").ok()?))
}

impl Record for GateToken {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.namespace.as_str(), self.name.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.exp + KEPT_AFTER_END)
    }
}
