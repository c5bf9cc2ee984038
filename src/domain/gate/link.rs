//! Signed links: what a browser is given for the token in one.

use std::{net::IpAddr, time::Duration};

use super::{
    GateToken, Use,
    mint::same,
    presented::{Closed, standing},
};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Secret, Service,
        ids::Jti,
        key::jwt::{Kind, Unverified},
    },
    store::{CommitError, Record, Row, When},
};

/// How long whoever used a one-time link gets the same answer again: her browser may have lost the first.
const RETRY: Duration = Duration::from_secs(10);

/// The longest token that is put into a cookie, in bytes: browsers keep 4 KiB of name and value, and drop what is longer without
/// a word. One of [`LONGEST`](super::token::LONGEST) grows a little when a later key signs it.
const LONGEST_COOKIE: usize = 4_000;

/// A link whose token is good, and whose record stands.
#[derive(Debug)]
pub struct Link {
    token: Secret<String>,
    kind: Kind,
    row: Row<GateToken>,
}

/// A cookie.
#[derive(Debug)]
pub struct Opened {
    /// Its value: a gate token.
    pub cookie: Secret<String>,
    /// How long it is good.
    pub life: Duration,
}

/// Judges the token of a link that is looked at. Nothing is written.
///
/// # Errors
/// `Unavailable`. Inside: why it opens nothing.
pub async fn look(service: &Service, now: Timestamp, token: Secret<String>) -> Result<Result<Link, Closed>, Refusal> {
    if token.expose().len() > LONGEST_COOKIE {
        return Ok(Err(Closed::Invalid));
    }
    let kind = kind_of(&token);
    let standing = standing(service, now, &token, kind).await?;
    Ok(standing.map(|standing| Link { token, kind, row: standing.row }))
}

impl Link {
    /// The record.
    pub fn record(&self) -> &GateToken {
        &self.row.record
    }

    /// Whether it is exchanged once, by whoever presses a button: looking at it must not use it up, since mail scanners look.
    pub fn is_one_time(&self) -> bool {
        self.kind == Kind::Link
    }

    /// Whether a one-time link was exchanged. Whoever did may still press again, for a moment.
    pub fn is_used(&self) -> bool {
        self.is_one_time() && self.row.record.used.is_some()
    }

    /// The cookie. Of an ordinary link it is the token itself. A one-time link is exchanged for it: one conditional write, so
    /// of many who press at once one wins. The same address gets the same cookie again for ten seconds.
    ///
    /// # Errors
    /// `Unavailable`. Inside: why it opens nothing.
    pub async fn press(
        self,
        service: &Service,
        now: Timestamp,
        address: IpAddr,
    ) -> Result<Result<Opened, Closed>, Refusal> {
        let Self { token, kind, mut row } = self;
        if kind != Kind::Link {
            audit("link_opened", &row.record, address);
            return Ok(Ok(opened(token, &row.record, now)));
        }
        for _ in 0..ROUNDS {
            if let Some(used) = &row.record.used {
                // A clock behind the winner's sees an age of zero.
                if used.address != address || now.since(used.at) >= RETRY {
                    return Ok(Err(Closed::Used));
                }
                return cookie_of(service, now, &row.record).await.map(Ok);
            }
            let cookie = Jti::draw(row.record.id.account, service.entropy.as_ref());
            let used = GateToken { used: Some(Use { cookie, at: now, address }), ..row.record.clone() };
            match service.commit(now, vec![used.put(When::VersionIs(row.version))]).await {
                Ok(_) => {
                    audit("link_used", &used, address);
                    return cookie_of(service, now, &used).await.map(Ok);
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
}

fn audit(event: &'static str, token: &GateToken, address: IpAddr) {
    tracing::info!(
        target: "gatemint::audit",
        event, gatetoken.namespace = %token.namespace, gatetoken.name = %token.name, gatetoken.id = %token.id,
        client.address = %address,
    );
}

/// What the header says that the token is; the signature is judged for that kind alone.
fn kind_of(token: &Secret<String>) -> Kind {
    match Unverified::parse(token.expose()) {
        Ok(unverified) if unverified.typ() == Kind::Link.typ() => Kind::Link,
        Ok(_) | Err(_) => Kind::Gate,
    }
}

async fn cookie_of(service: &Service, now: Timestamp, token: &GateToken) -> Result<Opened, Refusal> {
    let Some(used) = &token.used else { return Err(Refusal::unavailable("a used link without its use")) };
    let cookie = token.sign_as(service, now, Kind::Gate, used.cookie, used.at).await?;
    Ok(opened(cookie, token, now))
}

fn opened(cookie: Secret<String>, token: &GateToken, now: Timestamp) -> Opened {
    Opened { cookie, life: token.exp.since(now) }
}
