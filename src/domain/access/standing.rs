//! An access token and its record: a signature proves who minted it, the record says that it still stands.

use super::Subject;
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        account::Account,
        client::Client,
        fresh_token::FreshToken,
        gate::Minter,
        grant::Scope,
        ids::{AccountKey, FreshId, Name, SessionId},
        key::jwt::{AccessClaims, Kind},
        service_account::{self, PresentedLongLived},
        session::Session,
    },
    store::{Item, Key, Row, decode},
};

/// A token that stands.
#[derive(Debug)]
pub struct Standing {
    /// What it says.
    pub claims: AccessClaims,
    /// Whose it is, as the rows are now.
    pub holder: Holder,
}

/// Whose a token is.
#[derive(Debug)]
pub enum Holder {
    /// An account's.
    Account {
        /// The account as it is now.
        account: Box<Row<Account>>,
        /// What the token stands with.
        record: AccountRecord,
    },
    /// A client's own.
    Client(Box<Client>),
}

/// What an account's access token stands with.
#[derive(Debug)]
pub enum AccountRecord {
    /// The session that it was obtained in.
    Session(Box<Row<Session>>),
    /// The record of the account's token that is always fresh.
    Fresh(Box<Row<FreshToken>>),
}

impl AccountRecord {
    /// The session, if it is one.
    pub fn session(&self) -> Option<&Row<Session>> {
        match self {
            Self::Session(session) => Some(session),
            Self::Fresh(_) => None,
        }
    }
}

/// An access token that somebody presents, with signature, kind, issuer and time judged; of its record nothing is known yet.
#[derive(Debug)]
pub struct Presented {
    /// What it says.
    pub claims: AccessClaims,
    record: Named,
}

/// The record that a token names.
#[derive(Clone, Copy, Debug)]
enum Named {
    Session(SessionId),
    Fresh(FreshId),
    Client,
}

impl Named {
    fn of(claims: &AccessClaims) -> Self {
        let session = SessionId::parse(&claims.sid).map(Self::Session);
        session.or_else(|| FreshId::of_sid(&claims.sid).map(Self::Fresh)).unwrap_or(Self::Client)
    }
}

impl Presented {
    /// Judges a token; nothing is read but the public keys. None if it is not good, for whatever reason.
    ///
    /// # Errors
    /// `Unavailable`: it could not be judged.
    pub async fn judge(service: &Service, now: Timestamp, token: &Secret<String>) -> Result<Option<Self>, Refusal> {
        let judged = service
            .judge::<AccessClaims>(now, token, Kind::Access)
            .await?
            .and_then(|claims| claims.check(&service.policy.issuer, now).map(|()| claims));
        Ok(match judged {
            Ok(claims) => Some(Self { record: Named::of(&claims), claims }),
            Err(why) => {
                tracing::debug!(reason = %why, "an access token was not accepted");
                None
            }
        })
    }

    /// What must be read to go on: account, session and client; account and record of a token that is always fresh; of a
    /// client's own token the client.
    pub fn keys(&self) -> Vec<Key> {
        let client = Client::key_of(&self.claims.client_id);
        let account = AccountKey::of(&self.claims.preferred_username);
        match self.record {
            Named::Session(session) => vec![Account::key_of(account), Session::key_of(account, session), client],
            Named::Fresh(_) => vec![Account::key_of(account), FreshToken::key_of(account)],
            Named::Client => vec![client],
        }
    }

    /// Whose it is, by these rows, in the order of [`Presented::keys`]; none if it no longer stands.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn accept(&self, now: Timestamp, rows: Vec<Option<Item>>) -> Result<Option<Holder>, Refusal> {
        let mut rows = rows.into_iter();
        let claims = &self.claims;
        if let Named::Client = self.record {
            let client = decode::<Client>(rows.next().flatten())?.map(|row| row.record);
            let client = client
                .filter(|client| client.enabled && client.own_sid() == claims.sid && claims.sub == claims.client_id);
            return Ok(client.map(|client| Holder::Client(Box::new(client))));
        }
        let account: Option<Row<Account>> = decode(rows.next().flatten())?;
        if let Named::Fresh(id) = self.record {
            let fresh: Option<Row<FreshToken>> = decode(rows.next().flatten())?;
            let (Some(account), Some(fresh)) = (account, fresh) else { return Ok(None) };
            let stands = fresh.record.id == id
                && fresh.record.is_upheld_by(Some(&account.record))
                && fresh.record.uid.to_string() == claims.sub;
            let record = AccountRecord::Fresh(Box::new(fresh));
            return Ok(stands.then(|| Holder::Account { account: Box::new(account), record }));
        }
        let session: Option<Row<Session>> = decode(rows.next().flatten())?;
        let client = Client::of_row(&claims.client_id, decode(rows.next().flatten())?);
        let (Some(account), Some(session)) = (account, session) else { return Ok(None) };
        let stands = !session.record.is_over(now)
            && session.record.is_upheld_by(Some(&account.record), client.as_ref())
            && session.record.client.as_str() == claims.client_id
            && session.record.uid.to_string() == claims.sub;
        let record = AccountRecord::Session(Box::new(session));
        Ok(stands.then(|| Holder::Account { account: Box::new(account), record }))
    }
}

/// Judges an access token: signature, kind, issuer, time, and in one round trip its record. None if it is not good,
/// for whatever reason. The audience is for the caller of this to judge.
///
/// # Errors
/// `Unavailable`: it could not be judged.
pub async fn standing(service: &Service, now: Timestamp, token: &Secret<String>) -> Result<Option<Standing>, Refusal> {
    let Some(presented) = Presented::judge(service, now, token).await? else { return Ok(None) };
    let rows = service.store.get(now, &presented.keys()).await?;
    let holder = presented.accept(now, rows)?;
    Ok(holder.map(|holder| Standing { claims: presented.claims, holder }))
}

/// Who asks for one of our own resources.
#[derive(Debug)]
pub struct Caller {
    /// The account as it is now.
    pub account: Row<Account>,
    /// What the access token that was shown stands with.
    pub record: AccountRecord,
    /// What the token is good for.
    scope: Scope,
}

/// Judges the access token that a request to our own resources carries: its audience must have the issuer, and its
/// holder must be an account.
///
/// # Errors
/// `Unauthenticated`, `Forbidden` for a client's own token, `Unavailable`.
pub async fn caller(service: &Service, now: Timestamp, token: Option<Secret<String>>) -> Result<Caller, Refusal> {
    let token = token.ok_or_else(|| Refusal {
        field: Some("authorization"),
        ..Refusal::unauthenticated("an access token is needed: Authorization: Bearer …")
    })?;
    let standing = standing(service, now, &token)
        .await?
        .filter(|standing| standing.claims.aud.contains(&service.policy.issuer))
        .ok_or_else(|| Refusal::unauthenticated("the access token is not valid here, or no longer"))?;
    match standing.holder {
        Holder::Account { account, record } => {
            let scope = Scope::of_claim(&standing.claims.scope);
            Ok(Caller { account: *account, record, scope })
        }
        Holder::Client(_) => Err(Refusal::forbidden("a client's own token has no account")),
    }
}

impl Caller {
    /// Whether an admin asks, with a sign-in's token that was not narrowed to less than her roles.
    pub fn is_admin(&self) -> bool {
        self.account.record.is_admin() && self.scope.has("roles") && !self.shows_fresh_token()
    }

    /// Whether the token that was shown is one that is always fresh.
    pub fn shows_fresh_token(&self) -> bool {
        matches!(self.record, AccountRecord::Fresh(_))
    }

    /// What the token is good for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who asks, as far as permissions are concerned.
    pub fn subject(&self) -> Subject {
        let subject = Subject::of_account(&self.account.record, self.is_admin());
        if self.shows_fresh_token() {
            subject.with_fresh_token()
        } else if self.scope.has("roles") {
            subject
        } else {
            subject.without_roles()
        }
    }

    /// Refuses everybody but admins.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn require_admin(&self) -> Result<(), Refusal> {
        if self.is_admin() {
            return Ok(());
        }
        Err(Refusal::forbidden("only admins may do this, with a sign-in's token whose scope has roles"))
    }
}

/// Who asks for a resource of a dialect that service accounts use as well.
#[derive(Debug)]
pub enum Identity {
    /// An account, by an access token.
    Account(Box<Caller>),
    /// A service account, by a long-lived token.
    ServiceAccount(Box<service_account::Holder>),
}

/// Judges the token that such a request carries: an access token as [`caller`] does, or a service account's long-lived one.
///
/// # Errors
/// As [`caller`].
pub async fn identity(service: &Service, now: Timestamp, token: Option<Secret<String>>) -> Result<Identity, Refusal> {
    let Some(presented) = token.as_ref().and_then(PresentedLongLived::read) else {
        return caller(service, now, token).await.map(|caller| Identity::Account(Box::new(caller)));
    };
    let mut rows = service.store.get(now, &presented.keys()).await?.into_iter();
    let holder = presented.accept(now, &mut rows)?;
    let holder =
        holder.ok_or_else(|| Refusal::unauthenticated("the service account's token is not valid, or no longer"))?;
    Ok(Identity::ServiceAccount(Box::new(holder)))
}

impl Identity {
    /// Who asks, as far as permissions are concerned.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Account(caller) => caller.subject(),
            Self::ServiceAccount(holder) => holder.subject(),
        }
    }

    /// Whether the token that was shown is one that is always fresh.
    pub fn shows_fresh_token(&self) -> bool {
        matches!(self, Self::Account(caller) if caller.shows_fresh_token())
    }

    /// The namespace that is an account's own, or where the service account lives.
    pub fn namespace(&self) -> &Name {
        match self {
            Self::Account(caller) => &caller.account.record.namespace,
            Self::ServiceAccount(holder) => &holder.account.namespace,
        }
    }

    /// As whom it mints gate tokens.
    pub fn minter(&self) -> Minter {
        match self {
            Self::Account(caller) => Minter::account(&caller.account.record),
            Self::ServiceAccount(holder) => Minter::service_account(&holder.account),
        }
    }
}
