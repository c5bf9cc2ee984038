//! Ending a token: RFC 7009, the logout of the Keycloak-named paths, and `/v1/tokens`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{RefreshToken, Session};
use crate::{
    clock::Timestamp,
    domain::{
        GrantError, GrantRefusal, Refusal, RefusalKind, Secret, Service,
        access::{AccountRecord, Holder, standing},
        account::Account,
        client::{Client, Presented, manage},
        fresh_token::{self, FreshToken},
        gate::{GateToken, mint},
        ids::{AccountKey, FreshId, Jti, Name, SessionId},
        service_account::{self, Listed, TokenPage},
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
            Some(Holder::Account { record: AccountRecord::Session(session), .. }) => Some(session.record),
            // Of all clients it names the built-in one, so that one may end it.
            Some(Holder::Account { account, record: AccountRecord::Fresh(fresh) }) => {
                if client.id.as_str() == Client::BUILT_IN {
                    let ended = fresh_token::end(service, now, *fresh, account.record.mirror_token, client.id.as_str());
                    if let Err(refusal) = ended.await
                        && refusal.kind != RefusalKind::Absent
                    {
                        return Err(refusal.into());
                    }
                }
                None
            }
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
    /// A token of a service account of the account's namespace.
    ServiceAccount(service_account::Listed),
    /// A gate token of the account's namespace, whoever minted it.
    Gate(Box<GateToken>),
    /// The account's token that is always fresh.
    Fresh(Box<FreshToken>),
}

/// Names a live token: base64url of kind ‖ account key ‖ record id. No credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenId {
    /// Where the account is: a session's own, or the owner of the namespace.
    pub account: AccountKey,
    /// What of it.
    pub record: RecordId,
}

/// The kind of a token, and what names it among those of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordId {
    /// A session.
    Session(SessionId),
    /// A service account's long-lived token: the bytes that were drawn for it, and the service account's name.
    LongLived([u8; 16], Name),
    /// A service account's short-lived token, likewise.
    ShortLived([u8; 16], Name),
    /// A gate token: the bytes that were drawn for it, so that one that is made again under the name is another, and
    /// the name.
    Gate([u8; 16], Name),
    /// A token that is always fresh.
    Fresh(FreshId),
}

impl TokenId {
    const SESSION: u8 = b's';
    const GATE: u8 = b'g';
    const LONG_LIVED: u8 = b'l';
    const SHORT_LIVED: u8 = b't';
    const FRESH: u8 = b'f';
    /// Kind, account key and the 16 bytes that each kind has.
    const FIXED: usize = 33;

    /// The id of one of the tokens of the account of that name.
    pub fn of(token: &LiveToken, account: &str) -> Self {
        let record = match token {
            LiveToken::Session(session) => RecordId::Session(session.id),
            LiveToken::ServiceAccount(Listed::Long(account, token, _)) => {
                RecordId::LongLived(token.id.drawn(), account.name.clone())
            }
            LiveToken::ServiceAccount(Listed::Short(token)) => {
                RecordId::ShortLived(token.id.drawn(), token.name.clone())
            }
            LiveToken::Gate(token) => RecordId::Gate(token.id.drawn(), token.name.clone()),
            LiveToken::Fresh(token) => RecordId::Fresh(token.id),
        };
        Self { account: AccountKey::of(account), record }
    }

    /// Parses an id; none for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (fixed, name) = bytes.split_at_checked(Self::FIXED)?;
        let account = AccountKey(fixed[1..17].try_into().ok()?);
        let id: [u8; 16] = fixed[17..].try_into().ok()?;
        let named = || Name::parse(std::str::from_utf8(name).ok()?, "id").ok();
        let record = match fixed[0] {
            Self::SESSION if name.is_empty() => RecordId::Session(SessionId(id)),
            Self::FRESH if name.is_empty() => RecordId::Fresh(FreshId(id)),
            Self::LONG_LIVED => RecordId::LongLived(id, named()?),
            Self::SHORT_LIVED => RecordId::ShortLived(id, named()?),
            Self::GATE => RecordId::Gate(id, named()?),
            _ => return None,
        };
        Some(Self { account, record })
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, id, name) = match &self.record {
            RecordId::Session(session) => (Self::SESSION, &session.0, ""),
            RecordId::LongLived(drawn, name) => (Self::LONG_LIVED, drawn, name.as_str()),
            RecordId::ShortLived(drawn, name) => (Self::SHORT_LIVED, drawn, name.as_str()),
            RecordId::Gate(drawn, name) => (Self::GATE, drawn, name.as_str()),
            RecordId::Fresh(fresh) => (Self::FRESH, &fresh.0, ""),
        };
        let bytes = [&[kind][..], &self.account.0, id, name.as_bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The kinds of tokens in the order in which they are listed.
#[derive(Clone, Copy)]
enum Stage {
    Sessions,
    LongLived,
    ShortLived,
    GateTokens,
    Fresh,
}

impl Stage {
    /// With what a place among them begins: of sessions with nothing, and no session's place begins with another's.
    const ALL: [(Self, &'static str); 5] = [
        (Self::Fresh, "!"),
        (Self::GateTokens, "~"),
        (Self::ShortLived, ":"),
        (Self::LongLived, "."),
        (Self::Sessions, ""),
    ];

    /// The stage of a place, and the place in it.
    fn of(place: &str) -> (Self, &str) {
        let found = Self::ALL.into_iter().find_map(|(stage, prefix)| Some((stage, place.strip_prefix(prefix)?)));
        found.unwrap_or((Self::Sessions, place))
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Sessions => "",
            Self::LongLived => ".",
            Self::ShortLived => ":",
            Self::GateTokens => "~",
            Self::Fresh => "!",
        }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::Sessions => Some(Self::LongLived),
            Self::LongLived => Some(Self::ShortLived),
            Self::ShortLived => Some(Self::GateTokens),
            Self::GateTokens => Some(Self::Fresh),
            Self::Fresh => None,
        }
    }

    /// Whether a text can be a place in it.
    fn has(self, place: &str) -> bool {
        match self {
            Self::Sessions => true,
            Self::LongLived | Self::GateTokens => Name::parse(place, "cursor").is_ok(),
            // There is one at most.
            Self::Fresh => false,
            Self::ShortLived => place
                .split_once('/')
                .is_some_and(|(name, id)| Name::parse(name, "cursor").is_ok() && Jti::parse(id).is_some()),
        }
    }
}

/// Lists an account's live tokens: its sessions, then those of the service accounts of its namespace, the namespace's gate tokens,
/// and its token that is always fresh.
///
/// # Errors
/// `Malformed`: `after` is no place in such a list. `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    account: &Account,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<LiveToken>, Option<String>), Refusal> {
    let (mut stage, place) = Stage::of(after.unwrap_or_default());
    let mut place = Some(place).filter(|place| !place.is_empty()).map(ToOwned::to_owned);
    if place.as_ref().is_some_and(|place| !stage.has(place)) {
        return Err(Refusal::malformed("cursor must be the next_cursor of an earlier page"));
    }
    let (mut live, mut left) = (Vec::new(), limit);
    loop {
        // A page that is full is the last one unless there is more.
        let page = page_of(service, now, account, stage, place.as_deref(), left.max(1)).await?;
        if left == 0 && (page.read > 0 || page.next.is_some()) {
            return Ok((live, Some(stage.prefix().to_owned())));
        }
        live.extend(page.live);
        left = left.saturating_sub(page.read);
        if let Some(next) = page.next {
            return Ok((live, Some(format!("{}{next}", stage.prefix()))));
        }
        match stage.next() {
            Some(next) => (stage, place) = (next, None),
            None => return Ok((live, None)),
        }
    }
}

/// A page of one kind.
struct Page {
    live: Vec<LiveToken>,
    /// How many rows were read for them.
    read: usize,
    next: Option<String>,
}

async fn page_of(
    service: &Service,
    now: Timestamp,
    account: &Account,
    stage: Stage,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, Refusal> {
    let namespace = &account.namespace;
    let of_service_accounts = |(tokens, read, next): TokenPage| Page {
        live: tokens.into_iter().map(LiveToken::ServiceAccount).collect(),
        read,
        next,
    };
    Ok(match stage {
        Stage::Sessions => sessions(service, now, account, after, limit).await?,
        Stage::LongLived => {
            of_service_accounts(service_account::long_lived_of(service, now, namespace, after, limit).await?)
        }
        Stage::ShortLived => {
            of_service_accounts(service_account::short_lived_of(service, now, namespace, after, limit).await?)
        }
        Stage::GateTokens => {
            let (rows, next) = mint::standing_of(service, now, namespace, after, limit).await?;
            let read = rows.len();
            let tokens = rows.into_iter().map(|row| row.record).filter(|token| !token.is_over(now));
            Page { live: tokens.map(|token| LiveToken::Gate(Box::new(token))).collect(), read, next }
        }
        Stage::Fresh => {
            let key = AccountKey::of(account.name.as_str());
            let row: Option<Row<FreshToken>> = service.read(now, FreshToken::key_of(key)).await?;
            let standing = row.map(|row| row.record).filter(|record| record.is_upheld_by(Some(account)));
            let live: Vec<_> = standing.map(|record| LiveToken::Fresh(Box::new(record))).into_iter().collect();
            Page { read: live.len(), live, next: None }
        }
    })
}

async fn sessions(
    service: &Service,
    now: Timestamp,
    account: &Account,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, Refusal> {
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
    Ok(Page { live, read, next: page.next })
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
        RecordId::Fresh(fresh) => {
            let owner = owner(service, now, id.account).await?;
            let row: Option<Row<FreshToken>> = service.read(now, FreshToken::key_of(id.account)).await?;
            let row = row.filter(|row| row.record.id == fresh && row.record.is_upheld_by(Some(&owner)));
            let row = row.ok_or_else(absent)?;
            fresh_token::end(service, now, row, owner.mirror_token, actor).await.map_err(as_absent)
        }
        RecordId::Gate(drawn, name) => end_gate_token(service, now, id.account, drawn, &name, actor).await,
        RecordId::LongLived(drawn, name) => {
            let owner = owner(service, now, id.account).await?;
            service_account::end_long_lived(service, now, &owner, &name, drawn, actor).await.map_err(as_absent)
        }
        RecordId::ShortLived(drawn, name) => {
            let owner = owner(service, now, id.account).await?;
            service_account::end_short_lived(service, now, &owner, &name, drawn, actor).await.map_err(as_absent)
        }
    }
}

fn absent() -> Refusal {
    Refusal::absent("there is no token of that id")
}

/// What is not there is not there as a token of that id, whatever it is.
fn as_absent(refusal: Refusal) -> Refusal {
    if refusal.kind == RefusalKind::Absent { absent() } else { refusal }
}

async fn owner(service: &Service, now: Timestamp, key: AccountKey) -> Result<Account, Refusal> {
    let row: Option<Row<Account>> = service.read(now, Account::key_of(key)).await?;
    row.map(|row| row.record).filter(|account| account.deleted_at.is_none()).ok_or_else(absent)
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
    let owner = self::owner(service, now, owner).await?;
    let row = mint::find(service, now, &owner.namespace, name.as_str()).await.map_err(as_absent)?;
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
        let name = Name::parse("ci", "name").unwrap();
        let of_service_account = [RecordId::LongLived([7; 16], name.clone()), RecordId::ShortLived([7; 16], name)];
        for record in of_service_account.into_iter().chain([
            RecordId::Session(SessionId([7; 16])),
            RecordId::Fresh(FreshId([7; 16])),
            gate("a"),
            gate("b"),
            gate(&"a".repeat(63)),
        ]) {
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
