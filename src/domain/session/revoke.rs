//! Ending a session: RFC 7009, the logout of the Keycloak-named paths, and `/v1/tokens`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{RefreshToken, Session};
use crate::{
    clock::Timestamp,
    domain::{
        GrantError, GrantRefusal, Refusal, Secret, Service,
        access::{Holder, standing},
        account::Account,
        client::{Client, Presented, manage},
        ids::{AccountKey, SessionId},
    },
    store::{Key, Record, Row, When, Write, decode},
};

/// Ends the session of a token that the client presents (RFC 7009 §2). A refresh token of any generation will do. A
/// token of another client, or none of ours: nothing happens, and the answer is the same.
///
/// # Errors
/// `invalid_client`, `unsupported_token_type` for a client's own token (end the client's secret instead),
/// `temporarily_unavailable`.
pub async fn revoke(
    service: &Service,
    client_id: &str,
    presented: &Presented,
    token: &Secret<String>,
) -> Result<(), GrantRefusal> {
    let now = service.now();
    let client = manage::authenticate(service, now, client_id, presented).await?;
    let session = match RefreshToken::authentic(service, now, token).await? {
        Some(refresh) => {
            let row: Option<Row<Session>> =
                service.read(now, Session::key_of(refresh.account, refresh.session)).await?;
            row.map(|row| row.record)
        }
        None => match standing(service, now, token).await?.map(|standing| standing.holder) {
            Some(Holder::Account { session, .. }) => Some(session.record),
            Some(Holder::Client(holder)) if holder.id == client.id => {
                return Err(GrantRefusal::new(
                    GrantError::UnsupportedTokenType,
                    "A client's own token ends with its secret; give the client a new one",
                ));
            }
            Some(Holder::Client(_)) | None => None,
        },
    };
    if let Some(session) = session.filter(|session| session.client == client.id && session.client_uid == client.uid) {
        end(service, now, session.key()).await?;
        tracing::info!(
            target: "gatemint::audit", event = "revoked", client.id = %client.id, session.id = %session.id,
        );
    }
    Ok(())
}

async fn end(service: &Service, now: Timestamp, key: Key) -> Result<(), Refusal> {
    service.commit(now, vec![Write::Delete { key, when: When::Always }]).await?;
    Ok(())
}

/// A live token as `/v1/tokens` and `gatemint tokens list` show it.
#[derive(Clone, Debug)]
pub struct LiveToken {
    /// Names it; no credential.
    pub id: TokenId,
    /// The session.
    pub session: Session,
}

/// Names a live token: base64url of kind ‖ account key ‖ record id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenId {
    /// Where the account is.
    pub account: AccountKey,
    /// The session.
    pub session: SessionId,
}

impl TokenId {
    /// The kind of a session.
    const SESSION: u8 = b's';

    /// Parses an id; none for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 33] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let account = AccountKey(bytes[1..17].try_into().ok()?);
        let session = SessionId(bytes[17..].try_into().ok()?);
        (bytes[0] == Self::SESSION).then_some(Self { account, session })
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [Self::SESSION; 33];
        bytes[1..17].copy_from_slice(&self.account.0);
        bytes[17..].copy_from_slice(&self.session.0);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Lists an account's live sessions.
///
/// # Errors
/// `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    account: &Account,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<LiveToken>, Option<String>), Refusal> {
    let key = AccountKey::of(account.name.as_str());
    let page = service.store.list(now, &Session::partition(key), after, limit).await?;
    let mut sessions = Vec::with_capacity(page.items.len());
    for item in page.items {
        let row: Option<Row<Session>> = decode(Some(item))?;
        sessions.extend(row.map(|row| row.record).filter(|session| !session.is_over(now)));
    }
    let clients = clients_of(service, now, &sessions).await?;
    let live = sessions
        .into_iter()
        .filter(|session| {
            session.is_upheld_by(Some(account), clients.iter().find(|client| client.id == session.client))
        })
        .map(|session| LiveToken { id: TokenId { account: key, session: session.id }, session })
        .collect();
    Ok((live, page.next))
}

async fn clients_of(service: &Service, now: Timestamp, sessions: &[Session]) -> Result<Vec<Client>, Refusal> {
    let mut ids: Vec<_> = sessions.iter().map(|session| session.client.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = ids.iter().map(|id| Client::key_of(id)).collect();
    let mut clients = Vec::with_capacity(ids.len());
    for (id, row) in ids.into_iter().zip(service.store.get(now, &keys).await?) {
        let row: Option<Row<Client>> = decode(row)?;
        clients.extend(Client::of_row(id, row));
    }
    Ok(clients)
}

/// Ends one token by its id. `of`: only if it is this account's; for everybody else it does not exist.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn end_by_id(
    service: &Service,
    now: Timestamp,
    id: &str,
    of: Option<&Account>,
    actor: &str,
) -> Result<(), Refusal> {
    let absent = || Refusal::absent("there is no token of that id");
    let id = TokenId::parse(id).ok_or_else(absent)?;
    if of.is_some_and(|account| AccountKey::of(account.name.as_str()) != id.account) {
        return Err(absent());
    }
    let row: Option<Row<Session>> = service.read(now, Session::key_of(id.account, id.session)).await?;
    let session = row.map(|row| row.record).ok_or_else(absent)?;
    if of.is_some_and(|account| account.uid != session.uid) {
        return Err(absent());
    }
    end(service, now, session.key()).await?;
    tracing::info!(
        target: "gatemint::audit", event = "revoked", actor, client.id = %session.client, session.id = %session.id,
    );
    Ok(())
}
