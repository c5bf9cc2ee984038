//! An access token and its record: a signature proves who minted it, the record says that it still stands.

use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        account::Account,
        client::Client,
        grant::Scope,
        ids::{AccountKey, SessionId},
        key::jwt::{AccessClaims, BadToken, Kind, Unverified},
        session::Session,
    },
    store::{Row, decode},
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
    /// An account's, by a session.
    Account {
        /// The account as it is now.
        account: Box<Row<Account>>,
        /// The session.
        session: Box<Row<Session>>,
    },
    /// A client's own.
    Client(Box<Client>),
}

/// Judges an access token: signature, kind, issuer, time, and in one round trip its record. None if it is not good,
/// for whatever reason. The audience is for the caller of this to judge.
///
/// # Errors
/// `Unavailable`: it could not be judged.
pub async fn standing(service: &Service, now: Timestamp, token: &Secret<String>) -> Result<Option<Standing>, Refusal> {
    let bad = |why: BadToken| {
        tracing::debug!(reason = %why, "an access token was not accepted");
        Ok(None)
    };
    let unverified = match Unverified::parse(token.expose()) {
        Ok(unverified) => unverified,
        Err(why) => return bad(why),
    };
    let key = service.keys.judging(now, service.entropy.as_ref(), service.store.as_ref(), unverified.kid()).await?;
    let Some(key) = key else { return bad(BadToken::UnknownKey) };
    let judged = unverified
        .verify::<AccessClaims>(&key, Kind::Access)
        .and_then(|claims| claims.check(&service.policy.issuer, now).map(|()| claims));
    let claims = match judged {
        Ok(claims) => claims,
        Err(why) => return bad(why),
    };
    let holder = match SessionId::parse(&claims.sid) {
        Some(session) => account_of(service, now, &claims, session).await?,
        None => client_of(service, now, &claims).await?,
    };
    Ok(holder.map(|holder| Standing { claims, holder }))
}

async fn account_of(
    service: &Service,
    now: Timestamp,
    claims: &AccessClaims,
    session: SessionId,
) -> Result<Option<Holder>, Refusal> {
    let account = AccountKey::of(&claims.preferred_username);
    let keys = [Account::key_of(account), Session::key_of(account, session), Client::key_of(&claims.client_id)];
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let account: Option<Row<Account>> = decode(rows.next().flatten())?;
    let session: Option<Row<Session>> = decode(rows.next().flatten())?;
    let client: Option<Row<Client>> = decode(rows.next().flatten())?;
    let client = Client::of_row(&claims.client_id, client);
    let (Some(account), Some(session)) = (account, session) else { return Ok(None) };
    let stands = !session.record.is_over(now)
        && session.record.is_upheld_by(Some(&account.record), client.as_ref())
        && session.record.client.as_str() == claims.client_id
        && session.record.uid.to_string() == claims.sub;
    Ok(stands.then(|| Holder::Account { account: Box::new(account), session: Box::new(session) }))
}

async fn client_of(service: &Service, now: Timestamp, claims: &AccessClaims) -> Result<Option<Holder>, Refusal> {
    let client: Option<Row<Client>> = service.read(now, Client::key_of(&claims.client_id)).await?;
    let client = client
        .map(|row| row.record)
        .filter(|client| client.enabled && client.own_sid() == claims.sid && claims.sub == claims.client_id);
    Ok(client.map(|client| Holder::Client(Box::new(client))))
}

/// Who asks for one of our own resources.
#[derive(Debug)]
pub struct Caller {
    /// The account as it is now.
    pub account: Row<Account>,
    /// The session whose access token was shown.
    pub session: Row<Session>,
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
        Holder::Account { account, session } => {
            let scope = Scope::of_claim(&standing.claims.scope);
            Ok(Caller { account: *account, session: *session, scope })
        }
        Holder::Client(_) => Err(Refusal::forbidden("a client's own token has no account")),
    }
}

impl Caller {
    /// Whether an admin asks, with a token that was not narrowed to less than her roles.
    pub fn is_admin(&self) -> bool {
        self.account.record.is_admin() && self.scope.has("roles")
    }

    /// Refuses everybody but admins.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn require_admin(&self) -> Result<(), Refusal> {
        if self.is_admin() {
            return Ok(());
        }
        Err(Refusal::forbidden("only admins may do this, with a token whose scope has roles"))
    }
}
