//! Making, changing and ending clients; and the authentication that endpoints share.

use std::time::Duration;

use super::{Client, ClientName, ClientSecretHash, GrantType, Presented};
use crate::{
    clock::Timestamp,
    domain::{
        GrantRefusal, ROUNDS, Refusal, Secret, Service,
        grant::Scope,
        ids::{Epoch, Name, Uid},
    },
    store::{CommitError, Record, Row, When, Write, decode},
};

/// The most audiences or scopes of a client.
const MOST: usize = 64;

/// Finds a client and judges how it showed who it is.
///
/// # Errors
/// `invalid_client`, alike for unknown, disabled and wrong; `temporarily_unavailable`.
pub async fn authenticate(
    service: &Service,
    now: Timestamp,
    id: &str,
    presented: &Presented,
) -> Result<Client, GrantRefusal> {
    // What cannot be an id names no client, and is no store key either.
    Name::parse(id, "client_id").map_err(|_| GrantRefusal::invalid_client())?;
    let row: Option<Row<Client>> = service.read(now, Client::key_of(id)).await?;
    Client::of_row(id, row).filter(|client| client.authentic(presented)).ok_or_else(GrantRefusal::invalid_client)
}

/// A client to be made.
#[derive(Debug, Default)]
pub struct NewClient {
    /// Without a secret.
    pub public: bool,
    /// The grants that it may use; none: password, refresh_token and token exchange, and client_credentials unless public.
    pub grants: Option<Vec<GrantType>>,
    /// The audiences of its access tokens.
    pub audiences: Vec<String>,
    /// Its own scopes.
    pub scopes: Vec<String>,
    /// May introspect all tokens.
    pub introspect: bool,
    /// How long its access tokens live.
    pub access_life: Option<Duration>,
}

/// What may be changed of a client.
#[derive(Debug, Default)]
pub struct ClientPatch {
    /// Use it or not. Disabling ends everything that it obtained.
    pub enabled: Option<bool>,
    /// The grants that it may use.
    pub grants: Option<Vec<GrantType>>,
    /// The audiences of its access tokens.
    pub audiences: Option<Vec<String>>,
    /// Its own scopes.
    pub scopes: Option<Vec<String>>,
    /// May introspect all tokens.
    pub introspect: Option<bool>,
    /// How long its access tokens live; `Some(None)`: as usual.
    pub access_life: Option<Option<Duration>>,
    /// A new secret. It ends everything that the client obtained with the old one.
    pub new_secret: bool,
}

/// Makes a client. The secret is shown here and never again.
///
/// # Errors
/// `Invalid`, `Conflict`, `Unavailable`.
pub async fn create(
    service: &Service,
    now: Timestamp,
    id: &str,
    new: NewClient,
    actor: &str,
) -> Result<(Client, Option<Secret<String>>), Refusal> {
    let id = Name::parse(id, "id")?;
    if id.as_str() == Client::BUILT_IN {
        return Err(Refusal::conflict("the client gatemint is built in; it can be changed, not made"));
    }
    let (secret, hash) = if new.public {
        (None, None)
    } else {
        let (secret, hash) = ClientSecretHash::draw(service.entropy.as_ref());
        (Some(secret), Some(hash))
    };
    let grants = new.grants.unwrap_or_else(|| {
        let mut grants = vec![GrantType::Password, GrantType::RefreshToken, GrantType::TokenExchange];
        grants.extend((!new.public).then_some(GrantType::ClientCredentials));
        grants
    });
    let client = Client {
        id: id.clone(),
        uid: Uid::draw(service.entropy.as_ref()),
        epoch: Epoch::default(),
        enabled: true,
        secret: hash,
        grants,
        audiences: new.audiences,
        scopes: new.scopes,
        introspect: new.introspect,
        access_life: new.access_life,
        created_at: now,
        deleted_at: None,
    };
    check(&client)?;
    let writes = vec![client.put(When::Absent), ClientName { id }.put(When::Always)];
    match service.commit(now, writes).await {
        Ok(_) => {
            tracing::info!(target: "gatemint::audit", event = "client_created", client.id = %client.id, actor);
            Ok((client, secret))
        }
        Err(CommitError::Conflict { .. }) => Err(Refusal::conflict("there is a client of that id")),
        Err(unavailable) => Err(unavailable.into()),
    }
}

/// Reads a client.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn get(service: &Service, now: Timestamp, id: &str) -> Result<Client, Refusal> {
    Ok(find(service, now, id).await?.0)
}

async fn find(service: &Service, now: Timestamp, id: &str) -> Result<(Client, When), Refusal> {
    if Name::parse(id, "id").is_err() {
        return current(id, None);
    }
    let row: Option<Row<Client>> = service.read(now, Client::key_of(id)).await?;
    current(id, row)
}

/// The client of a row, or the built-in one, with the condition under which it can be replaced.
fn current(id: &str, row: Option<Row<Client>>) -> Result<(Client, When), Refusal> {
    row.map(|row| (row.record, When::VersionIs(row.version)))
        .or_else(|| Client::built_in(id).map(|client| (client, When::Absent)))
        .ok_or_else(|| Refusal::absent("there is no client of that id"))
}

/// Lists clients by id, the built-in one first.
///
/// # Errors
/// `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Client>, Option<String>), Refusal> {
    let page = service.store.list(now, ClientName::PARTITION, after, limit).await?;
    let mut keys: Vec<_> = page.items.iter().map(|item| Client::key_of(&item.key.sort)).collect();
    if after.is_none() {
        keys.insert(0, Client::key_of(Client::BUILT_IN));
    }
    let rows = service.store.get(now, &keys).await?;
    let mut clients = Vec::with_capacity(rows.len());
    for (n, row) in rows.into_iter().enumerate() {
        let row: Option<Row<Client>> = decode(row)?;
        let built_in = (after.is_none() && n == 0).then(|| Client::built_in(Client::BUILT_IN)).flatten();
        clients.extend(row.map(|row| row.record).or(built_in));
    }
    Ok((clients, page.next))
}

/// Changes a client. A new secret is shown here and never again.
///
/// # Errors
/// `Absent`, `Invalid`, `Unavailable`.
pub async fn update(
    service: &Service,
    now: Timestamp,
    id: &str,
    patch: &ClientPatch,
    actor: &str,
) -> Result<(Client, Option<Secret<String>>), Refusal> {
    let (mut client, mut when) = find(service, now, id).await?;
    let (secret, hash) = ClientSecretHash::draw(service.entropy.as_ref());
    for _ in 0..ROUNDS {
        if patch.new_secret {
            if client.secret.is_none() {
                return Err(Refusal::invalid("secret", "a public client has no secret; make a confidential one"));
            }
            client.secret = Some(hash.clone());
        }
        if patch.new_secret || patch.enabled == Some(false) {
            client.epoch = client.epoch.next();
        }
        client.enabled = patch.enabled.unwrap_or(client.enabled);
        client.grants = patch.grants.clone().unwrap_or(client.grants);
        client.audiences = patch.audiences.clone().unwrap_or(client.audiences);
        client.scopes = patch.scopes.clone().unwrap_or(client.scopes);
        client.introspect = patch.introspect.unwrap_or(client.introspect);
        client.access_life = patch.access_life.unwrap_or(client.access_life);
        check(&client)?;
        match service.commit(now, vec![client.put(when)]).await {
            Ok(_) => {
                let event = match patch.enabled {
                    Some(false) => "client_disabled",
                    Some(true) => "client_enabled",
                    None => "client_changed",
                };
                tracing::info!(
                    target: "gatemint::audit", event, client.id = %client.id, actor,
                    changed.secret = patch.new_secret, changed.grants = patch.grants.is_some(),
                    changed.audiences = patch.audiences.is_some(), changed.scopes = patch.scopes.is_some(),
                    introspects_all = client.introspect,
                );
                return Ok((client, patch.new_secret.then_some(secret)));
            }
            Err(CommitError::Conflict { current: row, .. }) => (client, when) = current(id, decode(row)?)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a client kept changing"))
}

/// Ends a client with everything that it obtained.
///
/// # Errors
/// `Absent`, `Conflict` for the built-in one, `Unavailable`.
pub async fn delete(service: &Service, now: Timestamp, id: &str, actor: &str) -> Result<(), Refusal> {
    if id == Client::BUILT_IN {
        return Err(Refusal::conflict("the client gatemint is built in; disable it instead"));
    }
    let (mut client, mut when) = find(service, now, id).await?;
    for _ in 0..ROUNDS {
        // A put, since a delete cannot decide a race: a row that is past its purge time is absent.
        client.enabled = false;
        client.epoch = client.epoch.next();
        client.deleted_at = Some(now);
        let name = ClientName { id: client.id.clone() }.key();
        match service.commit(now, vec![client.put(when), Write::Delete { key: name, when: When::Always }]).await {
            Ok(_) => {
                tracing::info!(target: "gatemint::audit", event = "client_deleted", client.id = %client.id, actor);
                return Ok(());
            }
            Err(CommitError::Conflict { current: row, .. }) => (client, when) = current(id, decode(row)?)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a client kept changing"))
}

fn check(client: &Client) -> Result<(), Refusal> {
    if client.secret.is_none() && client.may(GrantType::ClientCredentials) {
        return Err(Refusal::invalid("grants", "client_credentials needs a confidential client"));
    }
    if client.audiences.len() > MOST || client.audiences.iter().any(|audience| !is_audience(audience)) {
        return Err(Refusal::invalid(
            "audiences",
            "each is 1 to 253 printable ASCII characters without space, at most 64 of them, e.g. https://api.example.org",
        ));
    }
    // What only kinds of tokens of our own carry; an access token must not look like one.
    if client.audiences.iter().any(|audience| {
        ["/gate", "/link", "/service-account", "/kubernetes"].iter().any(|reserved| audience.ends_with(reserved))
    }) {
        return Err(Refusal::invalid("audiences", "must not end in /gate, /link, /service-account or /kubernetes"));
    }
    if client.scopes.len() > MOST || client.scopes.iter().any(|scope| !Scope::is_token(scope) || scope.len() > 253) {
        return Err(Refusal::invalid(
            "scopes",
            "each is a scope token (RFC 6749 §3.3), at most 64 of them, e.g. jobs:run",
        ));
    }
    if client.access_life.is_some_and(|life| life < Duration::from_secs(1) || life > Duration::from_hours(24)) {
        return Err(Refusal::invalid("access_life", "must be 1 s to 24 h"));
    }
    Ok(())
}

fn is_audience(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
