//! A gate token or link that somebody presents: what it says, and whether its record still stands.

use super::{ByServiceAccount, Exchange, GateToken, Minter, token::parse_subject};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        account::Account,
        client::Client,
        ids::{AccountKey, Jti, Name},
        key::jwt::{BadToken, GateClaims, Kind},
        service_account::ServiceAccount,
        session::Session,
    },
    store::{Item, Key, Row, decode},
};

/// Why what was presented opens nothing. A caller may hear it: whoever has the token could read most of it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Not a token of this kind, not signed by us, or meant for something else.
    #[error("it is not valid")]
    Invalid,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its record is gone: deleted, or ended with the account or the session that it came of.
    #[error("it was revoked")]
    Revoked,
    /// It was good once, and was used.
    #[error("it was used already")]
    Used,
}

impl From<BadToken> for Closed {
    fn from(why: BadToken) -> Self {
        match why {
            BadToken::Expired => Self::Expired,
            BadToken::NotYet => Self::NotYet,
            BadToken::Malformed | BadToken::UnknownKey | BadToken::BadSignature | BadToken::ForSomethingElse => {
                Self::Invalid
            }
        }
    }
}

/// What is presented, with signature, kind and time judged; of its record nothing is known yet.
#[derive(Clone, Debug)]
pub struct Presented {
    kind: Kind,
    id: Jti,
    namespace: Name,
    name: Name,
}

impl Presented {
    /// Judges a token of a kind; nothing is read but the public keys.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn judge(
        service: &Service,
        now: Timestamp,
        token: &Secret<String>,
        kind: Kind,
    ) -> Result<Result<Self, Closed>, Refusal> {
        let claims = service.judge::<GateClaims>(now, token, kind).await?.and_then(|claims| {
            claims.check(kind, &service.policy.issuer, now)?;
            Ok(claims)
        });
        Ok(claims.map_err(Closed::from).and_then(|claims| {
            let id = Jti::parse(&claims.jti).ok_or(Closed::Invalid)?;
            let (namespace, name) = parse_subject(&claims.sub).ok_or(Closed::Invalid)?;
            Ok(Self { kind, id, namespace, name })
        }))
    }

    /// What must be read to go on: the record, and the account that minted it.
    pub fn keys(&self) -> [Key; 2] {
        [GateToken::key_of(self.namespace.as_str(), self.name.as_str()), Account::key_of(self.id.account)]
    }

    /// Judges it by these rows, in the order of [`Presented::keys`]. What [`Standing::through`] names is still to be judged.
    ///
    /// # Errors
    /// The rows cannot be read. Inside: `Revoked`, `Used`.
    pub fn accept(&self, rows: [Option<Item>; 2]) -> Result<Result<Standing, Closed>, Refusal> {
        let [record, account] = rows;
        let record: Option<Row<GateToken>> = decode(record)?;
        let account: Option<Row<Account>> = decode(account)?;
        let (Some(row), Some(account)) = (record, account) else { return Ok(Err(Closed::Revoked)) };
        if !row.record.minter.is_upheld_by(Some(&account.record)) || row.record.minter.key() != self.id.account {
            return Ok(Err(Closed::Revoked));
        }
        let of_this = if row.record.one_time && self.kind == Kind::Gate {
            row.record.used.as_ref().is_some_and(|used| used.cookie == self.id)
        } else {
            row.record.id == self.id && row.record.kind() == self.kind
        };
        Ok(if of_this { Ok(Standing { row, account: account.record }) } else { Err(Closed::Revoked) })
    }
}

/// A gate token that stands with its record and its minter.
#[derive(Debug)]
pub struct Standing {
    /// The record.
    pub row: Row<GateToken>,
    /// The account that minted it, as it is now.
    pub account: Account,
}

impl Standing {
    /// What else it depends on, if it was not minted by the account itself.
    pub fn through(&self) -> Option<Through> {
        Through::of(&self.row.record.minter)
    }
}

/// Through what an account's token was minted, and with what it ends.
#[derive(Clone, Debug)]
pub enum Through {
    /// An exchange: the session whose access token was exchanged.
    Session {
        /// Session and client.
        exchange: Exchange,
        /// Where the account is.
        minter: AccountKey,
    },
    /// A service account of the account's namespace.
    ServiceAccount(ByServiceAccount),
}

impl Through {
    /// What a minter's token depends on besides the account.
    pub(super) fn of(minter: &Minter) -> Option<Self> {
        let exchange = minter.exchange.clone().map(|exchange| Self::Session { exchange, minter: minter.key() });
        exchange.or_else(|| minter.service_account.clone().map(Self::ServiceAccount))
    }

    /// Whether each request is judged by what the account may then; `Some(true)`: as an admin, if it is one.
    pub fn judged_as_admin(&self) -> Option<bool> {
        match self {
            Self::Session { exchange, .. } => Some(exchange.as_admin),
            Self::ServiceAccount(_) => None,
        }
    }

    /// What must be read to judge it: the session and the client that it was opened through, or the service account.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Session { exchange, minter } => {
                vec![Session::key_of(*minter, exchange.session), Client::key_of(exchange.client.as_str())]
            }
            Self::ServiceAccount(by) => vec![ServiceAccount::key_of(by.namespace.as_str(), by.name.as_str())],
        }
    }

    /// Whether it still stands, with this account, by these rows, in the order of [`Through::keys`]; they are taken.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn stands(
        &self,
        rows: &mut impl Iterator<Item = Option<Item>>,
        account: &Account,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        match self {
            Self::Session { exchange, .. } => {
                let session: Option<Row<Session>> = decode(rows.next().flatten())?;
                let client = Client::of_row(exchange.client.as_str(), decode(rows.next().flatten())?);
                Ok(session.is_some_and(|row| {
                    !row.record.is_over(now)
                        && row.record.id == exchange.session
                        && row.record.client == exchange.client
                        && row.record.is_upheld_by(Some(account), client.as_ref())
                }))
            }
            Self::ServiceAccount(by) => {
                let row: Option<Row<ServiceAccount>> = decode(rows.next().flatten())?;
                Ok(row.is_some_and(|row| {
                    row.record.uid == by.uid && row.record.epoch == by.epoch && row.record.is_upheld_by(Some(account))
                }))
            }
        }
    }
}

/// Judges what is presented, whole: for whoever asks about one alone. Two round trips for what was minted through a session
/// or a service account.
///
/// # Errors
/// `Unavailable`.
pub async fn standing(
    service: &Service,
    now: Timestamp,
    token: &Secret<String>,
    kind: Kind,
) -> Result<Result<Standing, Closed>, Refusal> {
    let presented = match Presented::judge(service, now, token, kind).await? {
        Ok(presented) => presented,
        Err(closed) => return Ok(Err(closed)),
    };
    let mut rows = service.store.get(now, &presented.keys()).await?.into_iter();
    let rows = [rows.next().flatten(), rows.next().flatten()];
    let standing = match presented.accept(rows)? {
        Ok(standing) => standing,
        Err(closed) => return Ok(Err(closed)),
    };
    if let Some(through) = standing.through() {
        let mut rows = service.store.get(now, &through.keys()).await?.into_iter();
        if !through.stands(&mut rows, &standing.account, now)? {
            return Ok(Err(Closed::Revoked));
        }
    }
    Ok(Ok(standing))
}
