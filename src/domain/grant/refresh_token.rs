//! `refresh_token` (RFC 6749 §6): a session moves on by one generation.

use super::{Scope, exchange::Subject};
use crate::{
    clock::Timestamp,
    domain::{
        GrantRefusal, ROUNDS, Secret, Service,
        account::Account,
        client::Client,
        session::{
            RefreshToken, Session,
            refresh::{Verdict, decide},
        },
    },
    metric,
    store::{CommitError, Item, Key, Record, Row, When, Write, decode},
};

const INVALID: &str = "Invalid refresh token";
const ENDED: &str = "Session ended";

pub(super) struct Prepared {
    token: RefreshToken,
    session: Option<Row<Session>>,
    account: Option<Row<Account>>,
}

/// Judges the token's form and MAC: nothing is read for a forged one.
pub(super) async fn prepare(
    service: &Service,
    now: Timestamp,
    presented: &Secret<String>,
) -> Result<Prepared, GrantRefusal> {
    let token = RefreshToken::authentic(service, now, presented).await?;
    let token = token.ok_or_else(|| GrantRefusal::invalid_grant(INVALID))?;
    Ok(Prepared { token, session: None, account: None })
}

impl Prepared {
    pub(super) fn keys(&self) -> Vec<Key> {
        vec![Session::key_of(self.token.account, self.token.session), Account::key_of(self.token.account)]
    }

    pub(super) fn accept(&mut self, rows: Vec<Option<Item>>) -> Result<(), GrantRefusal> {
        let mut rows = rows.into_iter();
        self.session = decode(rows.next().flatten())?;
        self.account = decode(rows.next().flatten())?;
        Ok(())
    }

    pub(super) async fn redeem(
        self,
        service: &Service,
        now: Timestamp,
        client: &Client,
        asked: Option<&str>,
    ) -> Result<(Subject, Scope), GrantRefusal> {
        let Some(mut row) = self.session else { return Err(GrantRefusal::invalid_grant(ENDED)) };
        // Another client's token: as if it were none, and nothing changes.
        if row.record.client != client.id || row.record.client_uid != client.uid {
            return Err(GrantRefusal::invalid_grant(INVALID));
        }
        let Some(account) = self.account.map(|row| row.record) else {
            return Err(GrantRefusal::invalid_grant(ENDED));
        };
        if !row.record.is_upheld_by(Some(&account), Some(client)) {
            return Err(GrantRefusal::invalid_grant(ENDED));
        }
        let scope = row.record.scope.still_allowed(&client.scopes).narrowed(asked)?;

        for _ in 0..ROUNDS {
            let session = row.record;
            let current =
                match decide(&session, (self.token.generation, self.token.pepper), now, service.policy.reuse_window) {
                    Verdict::Repeat => {
                        metric::refresh_repeated();
                        audit("refresh_repeated", &account, client, &session);
                        return Ok((
                            Subject::Account { account: Box::new(account), session: Box::new(session) },
                            scope,
                        ));
                    }
                    Verdict::Late => {
                        audit("refresh_late", &account, client, &session);
                        return Err(GrantRefusal::invalid_grant("Refresh token already used"));
                    }
                    Verdict::Forged => {
                        audit("refresh_forged", &account, client, &session);
                        return Err(GrantRefusal::invalid_grant(INVALID));
                    }
                    Verdict::Expired => return Err(GrantRefusal::invalid_grant("Refresh token expired")),
                    Verdict::Replay => {
                        let end = Write::Delete { key: session.key(), when: When::Always };
                        service.commit(now, vec![end]).await?;
                        metric::replay_detected();
                        audit("replay_detected", &account, client, &session);
                        return Err(GrantRefusal::invalid_grant(ENDED));
                    }
                    Verdict::Rotate(next) => {
                        let peppers =
                            service.keys.peppers(now, service.entropy.as_ref(), service.vault.as_ref()).await?;
                        let moved_on = Session {
                            generation: next,
                            pepper: peppers.active(now).id,
                            pepper_before: Some(session.pepper),
                            rotated_at: now,
                            ends_at: ends_at(service, &session, now),
                            ..session.clone()
                        };
                        match service.commit(now, vec![moved_on.put(When::VersionIs(row.version))]).await {
                            Ok(_) => {
                                audit("refreshed", &account, client, &moved_on);
                                return Ok((
                                    Subject::Account { account: Box::new(account), session: Box::new(moved_on) },
                                    scope,
                                ));
                            }
                            Err(CommitError::Conflict { current, .. }) => current,
                            Err(unavailable) => return Err(unavailable.into()),
                        }
                    }
                };
            // Somebody was faster: judge again by the row that won.
            row = decode(current)?.ok_or_else(|| GrantRefusal::invalid_grant(ENDED))?;
            if !row.record.is_upheld_by(Some(&account), Some(client)) {
                // The owner changed her password from this very session in between: the account at hand is old.
                return Err(GrantRefusal::unavailable("the session moved to a new epoch during a refresh"));
            }
        }
        Err(GrantRefusal::unavailable("a session kept changing during a refresh"))
    }
}

/// When a session ends if it is not moved on after `now`: idle time, and for all but offline sessions a last day.
pub(super) fn ends_at(service: &Service, session: &Session, now: Timestamp) -> Timestamp {
    if session.scope.is_offline() {
        now + service.policy.offline_idle
    } else {
        (now + service.policy.refresh_idle).min(session.opened_at + service.policy.refresh_max)
    }
}

fn audit(event: &'static str, account: &Account, client: &Client, session: &Session) {
    tracing::info!(
        target: "gatemint::audit",
        event,
        user.name = %account.name,
        client.id = %client.id,
        session.id = %session.id,
        session.generation = session.generation.0,
    );
}
