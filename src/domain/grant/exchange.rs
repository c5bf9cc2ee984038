//! The pipeline that every grant goes through.

use std::{net::IpAddr, time::Duration};

use super::{Scope, client_credentials, password, refresh_token, token_exchange};
use crate::{
    clock::Timestamp,
    domain::{
        GrantError, GrantRefusal, Secret, Service,
        account::Account,
        client::{Client, GrantType, Presented},
        gate::mint::Shown,
        ids::{Name, random_id},
        key::jwt::{AccessClaims, Audience, Kind},
        session::{RefreshToken, Session},
    },
    metric::{self, Stopwatch},
    store::{Row, decode},
};

/// What is given in exchange.
pub enum Grant {
    /// A user's name and password (RFC 6749 §4.3).
    Password {
        /// As it was typed; it need not be a name at all.
        username: String,
        /// As it was typed.
        password: Secret<Vec<u8>>,
    },
    /// A refresh token (RFC 6749 §6).
    RefreshToken {
        /// As it was presented.
        token: Secret<String>,
    },
    /// The client's own authentication (RFC 6749 §4.4).
    ClientCredentials,
    /// One's own access token, for a gate token (RFC 8693).
    TokenExchange {
        /// As it was presented.
        subject_token: Secret<String>,
        /// The URLs that the gate token is to open: not audiences, so the client's list does not apply to them.
        resource: Vec<String>,
    },
}

impl Grant {
    fn grant_type(&self) -> GrantType {
        match self {
            Self::Password { .. } => GrantType::Password,
            Self::RefreshToken { .. } => GrantType::RefreshToken,
            Self::ClientCredentials => GrantType::ClientCredentials,
            Self::TokenExchange { .. } => GrantType::TokenExchange,
        }
    }
}

/// A request to the token endpoint, parsed.
pub struct Request {
    /// Who asks.
    pub client_id: String,
    /// How it shows that.
    pub presented: Presented,
    /// What it gives.
    pub grant: Grant,
    /// The scopes that it asks for, as one text.
    pub scope: Option<String>,
    /// Whom the access token is for (RFC 8707), if it says so.
    pub resource: Vec<String>,
    /// Where the request came from.
    pub address: IpAddr,
}

/// What is given back (RFC 6749 §5.1).
#[derive(Debug)]
pub struct Tokens {
    /// The access token; of a token exchange the gate token (RFC 8693 §2.2.1 calls it so, whatever it is).
    pub access_token: Secret<String>,
    /// How long it lives.
    pub expires_in: Duration,
    /// What else is said of an access token; none: it is a gate token.
    pub access: Option<AccessGranted>,
}

/// What is said of an access token besides.
#[derive(Debug)]
pub struct AccessGranted {
    /// The refresh token, and how long it can be used if it is not used before.
    pub refresh: Option<(Secret<String>, Duration)>,
    /// What the access token is good for.
    pub scope: Scope,
    /// Its `sid`.
    pub session_state: String,
}

/// Whom the token will speak of.
pub(super) enum Subject {
    /// An account's, by a session.
    Account { account: Box<Account>, session: Box<Session> },
    /// The client's own.
    Client,
    /// Nobody: it is a gate token, and was made.
    Gate(Box<Shown>),
}

/// Exchanges a grant for tokens.
///
/// # Errors
/// As RFC 6749 §5.2; `temporarily_unavailable` when throttled, or with store or keys away.
pub async fn exchange(service: &Service, request: Request) -> Result<Tokens, GrantRefusal> {
    let (grant, begun) = (request.grant.grant_type(), Stopwatch::start());
    let outcome = judge(service, request).await;
    let code = outcome.as_ref().map_or_else(
        |refusal| match refusal.error {
            // Apart, though the wire has one code for both: an attack is not an outage.
            GrantError::Throttled(_) => "throttled",
            error => error.code(),
        },
        |_| "ok",
    );
    metric::grant_judged(grant.as_str(), code, begun.elapsed());
    outcome
}

async fn judge(service: &Service, request: Request) -> Result<Tokens, GrantRefusal> {
    // 1. One reading of the clock for all that follows.
    let now = service.now();

    // 2. What can be refused without reading anything: a forged refresh token costs a MAC.
    let (grant_type, mut prepared) = match request.grant {
        Grant::Password { username, password } => {
            let prepared = password::prepare(service, now, username, password, request.address).await?;
            (GrantType::Password, Prepared::Password(prepared))
        }
        Grant::RefreshToken { token } => {
            (GrantType::RefreshToken, Prepared::RefreshToken(refresh_token::prepare(service, now, &token).await?))
        }
        Grant::ClientCredentials => (GrantType::ClientCredentials, Prepared::ClientCredentials),
        Grant::TokenExchange { subject_token, resource } => {
            let prepared = token_exchange::prepare(service, now, &subject_token, &resource).await?;
            (GrantType::TokenExchange, Prepared::TokenExchange(prepared))
        }
    };

    // What cannot be a client's id names none, and is no store key either.
    if Name::parse(&request.client_id, "client_id").is_err() {
        return Err(GrantRefusal::invalid_client());
    }

    // 3. One round trip: the client's row and whatever the grant needs.
    let mut keys = vec![Client::key_of(&request.client_id)];
    keys.extend(prepared.keys());
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let client: Option<Row<Client>> = decode(rows.next().flatten())?;
    prepared.accept(now, rows.collect())?;

    // 4. Is the client who it says, and may it do this?
    let client = Client::of_row(&request.client_id, client);
    let client =
        client.filter(|client| client.authentic(&request.presented)).ok_or_else(GrantRefusal::invalid_client)?;
    if !client.may(grant_type) {
        return Err(GrantRefusal::new(GrantError::UnauthorizedClient, "The client may not use this grant_type"));
    }

    // 5. Whom the token is for.
    let audience = audience(&client, &service.policy.issuer, &request.resource)?;

    // 6. The grant's own judgement, and its commit.
    let asked = request.scope.as_deref();
    let (holder, scope) = match prepared {
        Prepared::Password(prepared) => prepared.redeem(service, now, &client, asked).await?,
        Prepared::RefreshToken(prepared) => prepared.redeem(service, now, &client, asked).await?,
        Prepared::ClientCredentials => client_credentials::redeem(&client, asked)?,
        Prepared::TokenExchange(prepared) => prepared.redeem(service, now, &client).await?,
    };

    // 7. The tokens.
    issue(service, now, &client, holder, scope, audience).await
}

/// A grant between its preparation and its judgement.
enum Prepared {
    Password(password::Prepared),
    RefreshToken(refresh_token::Prepared),
    ClientCredentials,
    TokenExchange(token_exchange::Prepared),
}

impl Prepared {
    fn keys(&self) -> Vec<crate::store::Key> {
        match self {
            Self::Password(prepared) => prepared.keys(),
            Self::RefreshToken(prepared) => prepared.keys(),
            Self::ClientCredentials => Vec::new(),
            Self::TokenExchange(prepared) => prepared.keys(),
        }
    }

    fn accept(&mut self, now: Timestamp, rows: Vec<Option<crate::store::Item>>) -> Result<(), GrantRefusal> {
        match self {
            Self::Password(prepared) => prepared.accept(rows),
            Self::RefreshToken(prepared) => prepared.accept(rows),
            Self::ClientCredentials => Ok(()),
            Self::TokenExchange(prepared) => prepared.accept(now, rows),
        }
    }
}

fn audience(client: &Client, issuer: &str, resource: &[String]) -> Result<Audience, GrantRefusal> {
    let allowed = if client.audiences.is_empty() { vec![issuer.to_owned()] } else { client.audiences.clone() };
    if resource.is_empty() {
        return Ok(Audience(allowed));
    }
    let mut chosen: Vec<String> = Vec::new();
    for one in resource {
        if !allowed.contains(one) {
            return Err(GrantRefusal::new(GrantError::InvalidTarget, "The client may not ask for this resource"));
        }
        if !chosen.contains(one) {
            chosen.push(one.clone());
        }
    }
    Ok(Audience(chosen))
}

async fn issue(
    service: &Service,
    now: Timestamp,
    client: &Client,
    holder: Subject,
    scope: Scope,
    audience: Audience,
) -> Result<Tokens, GrantRefusal> {
    let life = client.access_life.unwrap_or(service.policy.access_life);
    let issuer = service.policy.issuer.clone();
    let client_id = client.id.to_string();
    let jti = random_id(service.entropy.as_ref());
    let (claims, refresh) = match holder {
        Subject::Account { account, session } => {
            // No access token outlives its session.
            let exp = (now + life).min(session.ends_at);
            let refresh = derive(service, now, &session).await?;
            let (email, roles) = account.shown_in(&scope);
            let claims = AccessClaims {
                iss: issuer,
                sub: account.uid.to_string(),
                aud: audience,
                client_id,
                iat: now,
                nbf: now,
                exp,
                jti,
                scope: scope.to_string(),
                auth_time: session.opened_at,
                sid: session.id.to_string(),
                preferred_username: account.name.to_string(),
                identity: account.name.to_string(),
                namespace: account.namespace.to_string(),
                email,
                roles,
            };
            (claims, Some((refresh, session.ends_at.since(now))))
        }
        Subject::Client => {
            let who = format!("client:{client_id}");
            let claims = AccessClaims {
                iss: issuer,
                sub: client_id.clone(),
                aud: audience,
                client_id,
                iat: now,
                nbf: now,
                exp: now + life,
                jti,
                scope: scope.to_string(),
                auth_time: now,
                sid: client.own_sid(),
                preferred_username: who.clone(),
                identity: who,
                namespace: String::new(),
                email: String::new(),
                roles: Vec::new(),
            };
            (claims, None)
        }
        Subject::Gate(shown) => {
            let Shown { row, token } = *shown;
            let access_token = token.ok_or_else(|| GrantRefusal::unavailable("a gate token was not signed"))?;
            return Ok(Tokens { access_token, expires_in: row.record.exp.since(now), access: None });
        }
    };
    let access_token = service.sign(now, Kind::Access, &claims).await?;
    let expires_in = claims.exp.since(now);
    Ok(Tokens { access_token, expires_in, access: Some(AccessGranted { refresh, scope, session_state: claims.sid }) })
}

/// The session's current refresh token. Its pepper may be newer than the ring at hand.
async fn derive(service: &Service, now: Timestamp, session: &Session) -> Result<Secret<String>, GrantRefusal> {
    let ring = service.keys.peppers_with(now, service.entropy.as_ref(), service.vault.as_ref(), session.pepper).await?;
    RefreshToken::derive(session, &ring)
        .ok_or_else(|| GrantRefusal::unavailable(format!("pepper {} is not in the ring", session.pepper)))
}
