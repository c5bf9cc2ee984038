//! Token exchange (RFC 8693): one's own access token becomes a gate token for sites that one may open.

use super::{Scope, exchange::Subject};
use crate::{
    clock::Timestamp,
    domain::{
        GrantError, GrantRefusal, Refusal, RefusalKind, Secret, Service,
        access::{Holder, Presented},
        client::Client,
        gate::{Exchange, Patterns, mint},
    },
    store::{Item, Key},
};

/// The kind of token that is exchanged (RFC 8693 §3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The kind of token that is issued.
pub const GATE_TOKEN: &str = "urn:gatemint:params:oauth:token-type:gate";

pub(super) struct Prepared {
    token: Presented,
    urls: Patterns,
    holder: Option<Holder>,
}

/// Judges the token's signature, and reads the URLs: nothing is read from the store for a forged one.
pub(super) async fn prepare(
    service: &Service,
    now: Timestamp,
    subject_token: &Secret<String>,
    resource: &[String],
) -> Result<Prepared, GrantRefusal> {
    let token = Presented::judge(service, now, subject_token).await?;
    // Whom a token was shown that is for somebody else's service must not get more with it than that.
    let token = token.filter(|token| token.claims.aud.contains(&service.policy.issuer)).ok_or_else(not_standing)?;
    let urls = Patterns::parse(resource).map_err(target)?;
    if !urls.as_slice().iter().all(mint::may_be_exchanged) {
        return Err(target_text("Each resource must be an absolute URL, with '*' right after the host's '/' only"));
    }
    Ok(Prepared { token, urls, holder: None })
}

// RFC 8693 §2.2.2: an unacceptable subject_token is an invalid request.
fn not_standing() -> GrantRefusal {
    GrantRefusal::invalid_request("subject_token is not valid, or no longer")
}

fn target_text(text: impl Into<std::borrow::Cow<'static, str>>) -> GrantRefusal {
    GrantRefusal::new(GrantError::InvalidTarget, text)
}

/// What is wrong with the URLs, or what was not granted, is told as the target's fault.
fn target(refusal: Refusal) -> GrantRefusal {
    match refusal.kind {
        RefusalKind::Invalid | RefusalKind::Forbidden => target_text(format!("resource: {}", refusal.text)),
        _ => refusal.into(),
    }
}

impl Prepared {
    pub(super) fn keys(&self) -> Vec<Key> {
        self.token.keys()
    }

    pub(super) fn accept(&mut self, now: Timestamp, rows: Vec<Option<Item>>) -> Result<(), GrantRefusal> {
        self.holder = self.token.accept(now, rows)?;
        Ok(())
    }

    pub(super) async fn redeem(
        self,
        service: &Service,
        now: Timestamp,
        client: &Client,
    ) -> Result<(Subject, Scope), GrantRefusal> {
        let Some(holder) = self.holder else { return Err(not_standing()) };
        let Holder::Account { account, record } = holder else {
            return Err(GrantRefusal::invalid_request("subject_token is a client's own, which opens nobody's site"));
        };
        // A gate token of an exchange ends with the session, and this one has none.
        let Some(session) = record.session() else {
            return Err(GrantRefusal::invalid_request("subject_token is of no session: exchange one of a sign-in"));
        };
        if session.record.client != client.id {
            return Err(GrantRefusal::invalid_request("subject_token was not obtained by this client"));
        }
        let as_admin = account.record.is_admin() && Scope::of_claim(&self.token.claims.scope).has("roles");
        let exchange = Exchange { session: session.record.id, client: client.id.clone(), as_admin };
        let ends_at = session.record.ends_at;
        let shown =
            mint::exchange(service, now, &account.record, exchange, ends_at, self.urls).await.map_err(target)?;
        Ok((Subject::Gate(Box::new(shown)), Scope::of_claim("")))
    }
}
