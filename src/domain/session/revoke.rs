//! Ending a token: RFC 7009, the logout of the Keycloak-named paths, and `/v1/tokens`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{RefreshToken, Session};
use crate::{
    clock::Timestamp,
    domain::{
        GrantError, GrantRefusal, Refusal, RefusalKind, Secret, Service,
        access::{Holder, standing},
        account::Account,
        client::{Client, Presented, manage},
        gate::{GateToken, mint},
        ids::{AccountKey, Name, SessionId},
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
pub enum LiveToken {
    /// A session, with all tokens that come of it.
    Session(Box<Session>),
    /// A gate token of the account's namespace, whoever minted it.
    Gate(Box<GateToken>),
}

/// Names a live token: base64url of kind ‖ account key ‖ record id. No credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenId {
    /// Where the account is: a session's own, or the owner of a gate token's namespace.
    pub account: AccountKey,
    /// What of it.
    pub record: RecordId,
}

/// The kind of a token, and what names it among those of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordId {
    /// A session.
    Session(SessionId),
    /// A gate token: the bytes that were drawn for it, so that one that is made again under the name is another, and
    /// the name.
    Gate([u8; 16], Name),
}

impl TokenId {
    const SESSION: u8 = b's';
    const GATE: u8 = b'g';
    /// Kind, account key and the 16 bytes that each kind has.
    const FIXED: usize = 33;

    /// The id of one of an account's tokens.
    pub fn of(token: &LiveToken, account: &Account) -> Self {
        let record = match token {
            LiveToken::Session(session) => RecordId::Session(session.id),
            LiveToken::Gate(token) => RecordId::Gate(token.id.drawn(), token.name.clone()),
        };
        Self { account: AccountKey::of(account.name.as_str()), record }
    }

    /// Parses an id; none for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (fixed, name) = bytes.split_at_checked(Self::FIXED)?;
        let account = AccountKey(fixed[1..17].try_into().ok()?);
        let id: [u8; 16] = fixed[17..].try_into().ok()?;
        let record = match fixed[0] {
            Self::SESSION if name.is_empty() => RecordId::Session(SessionId(id)),
            Self::GATE => RecordId::Gate(id, Name::parse(std::str::from_utf8(name).ok()?, "id").ok()?),
            _ => return None,
        };
        Some(Self { account, record })
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, id, name) = match &self.record {
            RecordId::Session(session) => (Self::SESSION, &session.0, ""),
            RecordId::Gate(drawn, name) => (Self::GATE, drawn, name.as_str()),
        };
        let bytes = [&[kind][..], &self.account.0, id, name.as_bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// What a place in a list begins with once the sessions are through: no session's place does.
const AMONG_GATE_TOKENS: char = '~';

/// Lists an account's live tokens: its sessions, then the gate tokens of its namespace.
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
    let (mut live, after, left) = match after.and_then(|after| after.strip_prefix(AMONG_GATE_TOKENS)) {
        Some(name) => (Vec::new(), Some(name).filter(|name| !name.is_empty()), limit),
        None => {
            let page = sessions(service, now, account, after, limit).await?;
            if page.next.is_some() {
                return Ok((page.live, page.next));
            }
            (page.live, None, limit.saturating_sub(page.read))
        }
    };
    // A page that the sessions filled is the last one unless there are gate tokens, too.
    let (tokens, next) = mint::standing_of(service, now, &account.namespace, after, left.max(1)).await?;
    if left == 0 {
        let more = next.is_some() || !tokens.is_empty();
        return Ok((live, more.then(|| AMONG_GATE_TOKENS.to_string())));
    }
    let tokens = tokens.into_iter().map(|row| row.record).filter(|token| !token.is_over(now));
    live.extend(tokens.map(|token| LiveToken::Gate(Box::new(token))));
    Ok((live, next.map(|name| format!("{AMONG_GATE_TOKENS}{name}"))))
}

/// A page of an account's sessions.
struct Sessions {
    live: Vec<LiveToken>,
    /// How many rows were read for them.
    read: usize,
    next: Option<String>,
}

async fn sessions(
    service: &Service,
    now: Timestamp,
    account: &Account,
    after: Option<&str>,
    limit: usize,
) -> Result<Sessions, Refusal> {
    let key = AccountKey::of(account.name.as_str());
    let page = service.store.list(now, &Session::partition(key), after, limit).await?;
    let read = page.items.len();
    let mut sessions = Vec::with_capacity(read);
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
        .map(|session| LiveToken::Session(Box::new(session)))
        .collect();
    Ok(Sessions { live, read, next: page.next })
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
    let id = TokenId::parse(id).ok_or_else(absent)?;
    if of.is_some_and(|account| AccountKey::of(account.name.as_str()) != id.account) {
        return Err(absent());
    }
    match id.record {
        RecordId::Session(session) => end_session(service, now, Session::key_of(id.account, session), of, actor).await,
        RecordId::Gate(drawn, name) => end_gate_token(service, now, id.account, drawn, &name, actor).await,
    }
}

fn absent() -> Refusal {
    Refusal::absent("there is no token of that id")
}

async fn end_session(
    service: &Service,
    now: Timestamp,
    key: Key,
    of: Option<&Account>,
    actor: &str,
) -> Result<(), Refusal> {
    let row: Option<Row<Session>> = service.read(now, key).await?;
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

/// Ends a gate token of the namespace that the account owns now.
async fn end_gate_token(
    service: &Service,
    now: Timestamp,
    owner: AccountKey,
    drawn: [u8; 16],
    name: &Name,
    actor: &str,
) -> Result<(), Refusal> {
    let owner: Row<Account> = service.read(now, Account::key_of(owner)).await?.ok_or_else(absent)?;
    let found = mint::find(service, now, &owner.record.namespace, name.as_str()).await;
    let row = found.map_err(|refusal| if refusal.kind == RefusalKind::Absent { absent() } else { refusal })?;
    if row.record.id.drawn() != drawn {
        return Err(absent());
    }
    mint::end(service, now, row, actor).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling_for_each_kind() {
        let account = AccountKey::of("ada");
        let gate = |name: &str| RecordId::Gate([7; 16], Name::parse(name, "name").unwrap());
        for record in [RecordId::Session(SessionId([7; 16])), gate("a"), gate("b"), gate(&"a".repeat(63))] {
            let id = TokenId { account, record };
            let text = id.to_string();
            assert_eq!(TokenId::parse(&text), Some(id));
            assert_eq!(TokenId::parse(&format!("{text}=")), None);
        }
        let session = URL_SAFE_NO_PAD.decode(TokenId { account, record: gate("a") }.to_string()).unwrap();
        for (at, byte) in [(0, b's'), (0, b'x'), (33, b'A'), (33, b'/'), (33, 0xff)] {
            let mut other = session.clone();
            other[at] = byte;
            assert_eq!(TokenId::parse(&URL_SAFE_NO_PAD.encode(other)), None, "{at} {byte}");
        }
        for length in [0, 1, 32, 33] {
            assert_eq!(TokenId::parse(&URL_SAFE_NO_PAD.encode(&session[..length])), None, "{length}");
        }
    }
}
