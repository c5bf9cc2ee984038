//! A gate token or link that somebody presents: what it says, and whether its record still stands.

use super::{Exchange, GateToken, Jti, Minter, token::parse_subject};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        account::Account,
        client::Client,
        ids::{AccountKey, Name},
        key::jwt::{BadToken, GateClaims, Kind},
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

    /// Judges it by these rows, in the order of [`Presented::keys`]. Of one that came of an exchange,
    /// [`BySession`] is still to be judged.
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
    /// What else it depends on, if it came of an exchange.
    pub fn by_session(&self) -> Option<BySession> {
        BySession::of(&self.row.record.minter)
    }
}

/// The session that an exchanged token ends with.
#[derive(Clone, Debug)]
pub struct BySession {
    exchange: Exchange,
    minter: AccountKey,
}

impl BySession {
    /// What a minter's token depends on besides the account; none unless it came of an exchange.
    pub(super) fn of(minter: &Minter) -> Option<Self> {
        minter.exchange.clone().map(|exchange| Self { exchange, minter: minter.key() })
    }

    /// Whether the account counts as an admin, if it is one.
    pub fn as_admin(&self) -> bool {
        self.exchange.as_admin
    }

    /// What must be read to judge it: the session, and the client that it was opened through.
    pub fn keys(&self) -> [Key; 2] {
        [Session::key_of(self.minter, self.exchange.session), Client::key_of(self.exchange.client.as_str())]
    }

    /// Whether the session still stands, with this account, by these rows, in the order of [`BySession::keys`].
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn stands(&self, rows: [Option<Item>; 2], account: &Account, now: Timestamp) -> Result<bool, Refusal> {
        let [session, client] = rows;
        let session: Option<Row<Session>> = decode(session)?;
        let client = Client::of_row(self.exchange.client.as_str(), decode(client)?);
        Ok(session.is_some_and(|row| {
            !row.record.is_over(now)
                && row.record.id == self.exchange.session
                && row.record.client == self.exchange.client
                && row.record.is_upheld_by(Some(account), client.as_ref())
        }))
    }
}

/// Judges what is presented, whole: for whoever asks about one alone. Two round trips for what came of an exchange.
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
    if let Some(session) = standing.by_session() {
        let mut rows = service.store.get(now, &session.keys()).await?.into_iter();
        let rows = [rows.next().flatten(), rows.next().flatten()];
        if !session.stands(rows, &standing.account, now)? {
            return Ok(Err(Closed::Revoked));
        }
    }
    Ok(Ok(standing))
}
