//! `password` (RFC 6749 §4.3): a sign-in opens a session.
//!
//! RFC 9700 §2.4 advises against this grant, and for redirect-capable clients it is right. It is here for programs and
//! people with `curl`, and can be taken from any client.

use std::net::IpAddr;

use super::{Scope, exchange::Subject, refresh_token::ends_at};
use crate::{
    clock::Timestamp,
    domain::{
        GrantRefusal, RefusalKind, Secret, Service,
        account::{Account, attempt::Attempts},
        client::Client,
        fresh_token::{Beginning, FreshToken},
        ids::{AccountKey, SessionId},
        session::{Generation, Session},
    },
    store::{CommitError, Item, Key, Record, Row, When, decode},
};

/// The one answer to an unknown user and to a wrong password.
const WRONG: &str = "Invalid user credentials";

pub(super) struct Prepared {
    username: String,
    password: Secret<Vec<u8>>,
    attempts: Attempts,
    account: Option<Row<Account>>,
    fresh: Option<Row<FreshToken>>,
    pepper: u8,
}

pub(super) async fn prepare(
    service: &Service,
    now: Timestamp,
    username: String,
    password: Secret<Vec<u8>>,
    address: IpAddr,
) -> Result<Prepared, GrantRefusal> {
    let ring = service.keys.peppers(now, service.entropy.as_ref(), service.vault.as_ref()).await?;
    let pepper = ring.active(now);
    let attempts = Attempts::new(&pepper.key, &username, address);
    Ok(Prepared { username, password, attempts, account: None, fresh: None, pepper: pepper.id })
}

impl Prepared {
    pub(super) fn keys(&self) -> Vec<Key> {
        let [name, address] = self.attempts.keys();
        let account = AccountKey::of(&self.username);
        vec![Account::key_of(account), FreshToken::key_of(account), name, address]
    }

    pub(super) fn accept(&mut self, rows: Vec<Option<Item>>) -> Result<(), GrantRefusal> {
        let mut rows = rows.into_iter();
        self.account = decode(rows.next().flatten())?;
        self.fresh = decode(rows.next().flatten())?;
        self.attempts.accept(rows.next().flatten(), rows.next().flatten())?;
        Ok(())
    }

    pub(super) async fn redeem(
        self,
        service: &Service,
        now: Timestamp,
        client: &Client,
        asked: Option<&str>,
    ) -> Result<(Subject, Scope), GrantRefusal> {
        let scope = Scope::granted(asked, &client.scopes)?;
        let place = service.hashing.admit(self.attempts.comer(now)).map_err(crate::domain::Refusal::from)?;
        // Only a name that exists is logged: what was typed may have been a password.
        let name = self.account.as_ref().map(|row| row.record.name.to_string());
        let attempt = self.attempts.reserve(service, now).await.inspect_err(|refusal| {
            if matches!(refusal.kind, RefusalKind::Throttled(_)) {
                tracing::info!(
                    target: "gatemint::audit", event = "sign_in_refused",
                    user.name = name, client.id = %client.id, reason = "throttled",
                );
            }
        })?;

        let hash = self.account.as_ref().map(|row| row.record.password.clone());
        let salt = service.entropy.bytes();
        let (matches, renewed) = place.judge_and_renew(hash, self.password, Some(salt)).await?;
        // An unknown user never matches, so this is the one refusal for both.
        let Some(row) = self.account.filter(|_| matches) else {
            attempt.book_failure(service, now).await;
            tracing::info!(
                target: "gatemint::audit", event = "sign_in_refused",
                user.name = name, client.id = %client.id, reason = "wrong password or unknown user",
            );
            return Err(GrantRefusal::invalid_grant(WRONG));
        };
        if !row.record.enabled {
            attempt.withdraw(service, now).await?;
            tracing::info!(
                target: "gatemint::audit", event = "sign_in_refused",
                user.name = %row.record.name, client.id = %client.id, reason = "account disabled",
            );
            return Err(GrantRefusal::invalid_grant("Account disabled"));
        }

        let beginning = Beginning::of(service, now, &row, self.fresh);
        let account = row.record;
        let mut session = Session {
            id: SessionId::draw(service.entropy.as_ref()),
            account: AccountKey::of(account.name.as_str()),
            uid: account.uid,
            // Of the row that the password was judged against: if the account has moved on, this session is born dead.
            epoch: account.epoch,
            client: client.id.clone(),
            client_uid: client.uid,
            client_epoch: client.epoch,
            scope: scope.clone(),
            opened_at: now,
            generation: Generation(0),
            pepper: self.pepper,
            pepper_before: None,
            rotated_at: now,
            ends_at: now,
        };
        session.ends_at = ends_at(service, &session, now);
        // Both would be about the account's row; the hash can be made again with the next sign-in.
        let renewed = renewed.filter(|_| !beginning.is_now());
        let renewed = renewed.map(|password| Account { password, ..account.clone() }.put(When::VersionIs(row.version)));
        // One commit: the session, the token that is always fresh begun if it is not, the reservation given back, and the
        // hash made again if it was weak.
        let mut needed = vec![session.put(When::Absent)];
        needed.extend(beginning.writes());
        let renewed = renewed.into_iter().collect();
        let again = |at: usize, current| beginning.again(at.checked_sub(1)?, current);
        attempt.give_back_with(service, now, needed, renewed, again).await.map_err(|error| match error {
            // The account is gone meanwhile.
            CommitError::Conflict { .. } => GrantRefusal::invalid_grant(WRONG),
            error @ CommitError::Unavailable(_) => error.into(),
        })?;
        tracing::info!(
            target: "gatemint::audit", event = "signed_in",
            user.name = %account.name, client.id = %client.id, session.id = %session.id,
            fresh_token.begun = beginning.is_now(),
        );
        Ok((Subject::Account { account: Box::new(account), session: Box::new(session) }, scope))
    }
}
