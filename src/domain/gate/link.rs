//! Signed links: what a browser is given for the token in one.

use std::{net::IpAddr, time::Duration};

use super::{
    GateToken, GateTokenId, Use,
    mint::same,
    presented::{Closed, standing},
};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Secret, Service,
        key::jwt::{Kind, Unverified},
    },
    store::{CommitError, Record, Row, When},
};

/// How long whoever used a one-time link gets the same answer again: her browser may have lost the first.
const RETRY: Duration = Duration::from_secs(10);

/// What a link is good for.
#[derive(Debug)]
pub enum Link {
    /// The token itself becomes the cookie.
    Ordinary(Opened),
    /// Whoever presses the button gets the cookie: looking at the link must not use it up, since mail scanners look.
    OneTime(Box<GateToken>),
}

/// A cookie.
#[derive(Debug)]
pub struct Opened {
    /// Its value: a gate token.
    pub cookie: Secret<String>,
    /// How long it is good.
    pub life: Duration,
    /// The record.
    pub token: Box<GateToken>,
}

/// Judges the token of a link that is looked at. Nothing is written.
///
/// # Errors
/// `Unavailable`. Inside: why it opens nothing.
pub async fn look(service: &Service, now: Timestamp, token: Secret<String>) -> Result<Result<Link, Closed>, Refusal> {
    let kind = kind_of(&token);
    Ok(judge(service, now, &token, kind).await?.and_then(|row| match kind {
        Kind::Link if row.record.used.is_some() => Err(Closed::Used),
        Kind::Link => Ok(Link::OneTime(Box::new(row.record))),
        Kind::Gate | Kind::Access => Ok(Link::Ordinary(opened(token, row.record, now))),
    }))
}

async fn judge(
    service: &Service,
    now: Timestamp,
    token: &Secret<String>,
    kind: Kind,
) -> Result<Result<Row<GateToken>, Closed>, Refusal> {
    Ok(standing(service, now, token, kind).await?.map(|standing| standing.row))
}

/// Exchanges a one-time link for its cookie: one conditional write, so of many who press at once one wins. The same
/// address gets the same cookie again for ten seconds. An ordinary link is opened as if it were looked at.
///
/// # Errors
/// `Unavailable`. Inside: why it opens nothing.
pub async fn press(
    service: &Service,
    now: Timestamp,
    token: Secret<String>,
    address: IpAddr,
) -> Result<Result<Opened, Closed>, Refusal> {
    let kind = kind_of(&token);
    let mut row = match judge(service, now, &token, kind).await? {
        Ok(row) => row,
        Err(closed) => return Ok(Err(closed)),
    };
    if kind != Kind::Link {
        return Ok(Ok(opened(token, row.record, now)));
    }
    for _ in 0..ROUNDS {
        if let Some(used) = &row.record.used {
            // A clock behind the winner's sees an age of zero.
            if used.address != address || now.since(used.at) >= RETRY {
                return Ok(Err(Closed::Used));
            }
            return cookie_of(service, now, row.record).await.map(Ok);
        }
        let cookie = GateTokenId::draw(row.record.id.minter, service.entropy.as_ref());
        let used = GateToken { used: Some(Use { cookie, at: now, address }), ..row.record.clone() };
        match service.commit(now, vec![used.put(When::VersionIs(row.version))]).await {
            Ok(_) => {
                tracing::info!(
                    target: "gatemint::audit", event = "link_used", gatetoken.namespace = %used.namespace,
                    gatetoken.name = %used.name, gatetoken.id = %used.id, client.address = %address,
                );
                return cookie_of(service, now, used).await.map(Ok);
            }
            Err(CommitError::Conflict { current, .. }) => match same(current, &row.record)? {
                Some(current) => row = current,
                None => return Ok(Err(Closed::Revoked)),
            },
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a one-time link kept changing"))
}

/// What the header says that the token is; the signature is judged for that kind alone.
fn kind_of(token: &Secret<String>) -> Kind {
    match Unverified::parse(token.expose()) {
        Ok(unverified) if unverified.typ() == Kind::Link.typ() => Kind::Link,
        Ok(_) | Err(_) => Kind::Gate,
    }
}

async fn cookie_of(service: &Service, now: Timestamp, token: GateToken) -> Result<Opened, Refusal> {
    let Some(used) = &token.used else { return Err(Refusal::unavailable("a used link without its use")) };
    let cookie = token.sign_as(service, now, Kind::Gate, used.cookie, used.at).await?;
    Ok(opened(cookie, token, now))
}

fn opened(cookie: Secret<String>, token: GateToken, now: Timestamp) -> Opened {
    Opened { cookie, life: token.exp.since(now), token: Box::new(token) }
}
