//! Making, reading, rotating and ending service accounts, and their long-lived tokens.

use std::{collections::BTreeMap, time::Duration};

use super::{Defaults, IssuedBy, LongLived, Owner, ServiceAccount, ShortLived, Used, presented::sha256};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Secret, Service,
        access::{Action, Resource, Subject, permission},
        account::{Account, NamespaceOwner},
        fresh_token,
        ids::{AccountKey, Epoch, Jti, Name, Uid},
        key::jwt::{Audience, Kind, LongLivedClaims},
        labels,
    },
    store::{CommitError, Record, Row, When, decode},
};

/// The most long-lived tokens of a service account that are good at the same time.
pub const MOST_TOKENS: usize = 10;

/// The longest time for which older tokens stay good after a rotation.
pub const LONGEST_OVERLAP: Duration = Duration::from_hours(31 * 24);

/// How many rows of a list are read at a time.
const PAGE: usize = 100;

/// A service account to be made.
#[derive(Clone, Debug, Default)]
pub struct NewServiceAccount {
    /// Where it is to live.
    pub namespace: String,
    /// Its name; none: one is drawn.
    pub name: Option<String>,
    /// What its owner writes on it.
    pub labels: BTreeMap<String, String>,
    /// What the clients of one dialect are told to begin with.
    pub defaults: Option<Defaults>,
    /// Until when its token is good; none: until it is ended.
    pub expires_at: Option<Timestamp>,
    /// Whether a long-lived token is issued with it.
    pub with_token: bool,
}

/// A service account, with the token that was issued: this is the one time that it is seen.
#[derive(Debug)]
pub struct Issued {
    /// The account.
    pub account: ServiceAccount,
    /// The token, if one was asked for.
    pub token: Option<Secret<String>>,
}

pub(super) fn absent() -> Refusal {
    Refusal::absent("there is no service account of that name")
}

fn all_of(service: &Service, namespace: &Name) -> Resource {
    Resource::service_accounts(&service.policy.cluster, namespace)
}

fn resource(service: &Service, account: &ServiceAccount) -> Resource {
    Resource::service_account(&service.policy.cluster, &account.namespace, &account.name)
}

/// Makes a service account. It may do nothing before it is granted something.
///
/// # Errors
/// `Forbidden` without `manage` on the namespace's service accounts; `Absent` for `metadata.namespace`: nobody owns the
/// namespace; `Conflict` for `metadata.name`; `Invalid` for `metadata.name`, `metadata.namespace`, `metadata.labels`,
/// `expires_at`; `Unavailable`.
pub async fn create(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    new: NewServiceAccount,
) -> Result<Issued, Refusal> {
    let namespace = Name::parse(&new.namespace, "metadata.namespace")?;
    permission::require(service, now, by, &[(all_of(service, &namespace), Action::Manage)]).await?;
    if let Some(name) = &new.name {
        check_name(service, name)?;
    }
    let drawn = || format!("{:016x}", u64::from_be_bytes(service.entropy.bytes()));
    let name = Name::parse(&new.name.clone().unwrap_or_else(drawn), "metadata.name")?;
    labels::check(&new.labels)?;
    check_end(now, new.expires_at)?;
    let owner: Option<Row<NamespaceOwner>> = service.read(now, NamespaceOwner::key_of(namespace.as_str())).await?;
    let owner = owner.ok_or_else(|| Refusal {
        field: Some("metadata.namespace"),
        ..Refusal::absent("no account owns a namespace of that name")
    })?;
    let mut account = ServiceAccount {
        uid: Uid::draw_uuid(service.entropy.as_ref()),
        owner: Owner { name: owner.record.owner, uid: owner.record.uid },
        namespace,
        name,
        created_at: now,
        labels: new.labels,
        defaults: new.defaults,
        tokens: Vec::new(),
        epoch: Epoch::default(),
        may_request_role: None,
        deleted_at: None,
    };
    let mut token = None;
    if new.with_token {
        let (signed, record) = new_token(service, now, &account, new.expires_at, IssuedBy::Creation).await?;
        account.tokens.push(record);
        token = Some(signed);
    }
    let mut when = When::Absent;
    for _ in 0..ROUNDS {
        match service.commit(now, vec![account.put(when)]).await {
            Ok(_) => {
                audit("service_account_created", by, &account);
                return Ok(Issued { account, token });
            }
            Err(CommitError::Conflict { current, .. }) => {
                let row: Option<Row<ServiceAccount>> = decode(current)?;
                when = match row {
                    // What was left by an account that is gone, and had the namespace before.
                    Some(row) if row.record.owner != account.owner || row.record.deleted_at.is_some() => {
                        When::VersionIs(row.version)
                    }
                    Some(_) => {
                        return Err(Refusal {
                            field: Some("metadata.name"),
                            ..Refusal::conflict("Service Account with such name exists")
                        });
                    }
                    None => When::Absent,
                };
            }
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a service account kept changing"))
}

/// A name must not be taken for an id, and the Secret that shows tokens must not hide another one.
fn check_name(service: &Service, name: &str) -> Result<(), Refusal> {
    let secret = format!("{name}-token");
    if name.starts_with(ID) || secret == fresh_token::NAME || service.policy.key_sets.contains(&secret) {
        return Err(Refusal::invalid(
            "metadata.name",
            format!(
                "must not begin with {ID}, and {secret} must not be the name of another Secret, as {} is",
                fresh_token::NAME
            ),
        ));
    }
    Ok(())
}

/// With what ids begin.
const ID: &str = "service-account-";

fn check_end(now: Timestamp, end: Option<Timestamp>) -> Result<(), Refusal> {
    if end.is_some_and(|end| end <= now) {
        return Err(Refusal::invalid("expires_at", "must be later than now"));
    }
    Ok(())
}

fn audit(event: &'static str, by: &Subject, account: &ServiceAccount) {
    tracing::info!(
        target: "gatemint::audit", event, actor = by.name(),
        service_account = %account.principal(), service_account.id = account.id(),
    );
}

/// Signs a token, and makes its record.
async fn new_token(
    service: &Service,
    now: Timestamp,
    account: &ServiceAccount,
    expires_at: Option<Timestamp>,
    by: IssuedBy,
) -> Result<(Secret<String>, LongLived), Refusal> {
    let id = Jti::draw(account.owner_key(), service.entropy.as_ref());
    let issuer = &service.policy.issuer;
    let identity = account.principal().to_string();
    let claims = LongLivedClaims {
        iss: issuer.clone(),
        sub: account.user_name(),
        aud: Audience(Kind::ServiceAccount.audience(issuer).into_iter().collect()),
        jti: id.to_string(),
        iat: now,
        exp: expires_at,
        user: identity.clone(),
        identity,
        namespace: account.namespace.to_string(),
        name: account.name.to_string(),
        uid: account.uid.uuid(),
        secret: account.secret_name(),
    };
    let token = service.sign(now, Kind::ServiceAccount, &claims).await?;
    let record = LongLived { id, sha256: sha256(&token), issued_at: now, expires_at, by };
    Ok((token, record))
}

/// The service account of that name, with a namespace's owner of now; whoever asks is for the caller of this to judge.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub(super) async fn standing(
    service: &Service,
    now: Timestamp,
    namespace: &Name,
    name: &Name,
) -> Result<Row<ServiceAccount>, Refusal> {
    let keys = [ServiceAccount::key_of(namespace.as_str(), name.as_str()), NamespaceOwner::key_of(namespace.as_str())];
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let row = decode::<ServiceAccount>(rows.next().flatten())?;
    let owner = decode::<NamespaceOwner>(rows.next().flatten())?.map(|row| row.record.uid);
    row.filter(|row| row.record.deleted_at.is_none() && Some(row.record.owner.uid) == owner).ok_or_else(absent)
}

/// Finds one by its name or id, for who has `wanted` on it; who has not even `list` is not told that it is there.
async fn find(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    id_or_name: &str,
    wanted: Action,
) -> Result<Row<ServiceAccount>, Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace").map_err(|_| absent())?;
    let row = match Name::parse(id_or_name, "metadata.name") {
        Ok(name) => match standing(service, now, &namespace, &name).await {
            Err(refusal) if refusal.kind == crate::domain::RefusalKind::Absent => None,
            found => Some(found?),
        },
        Err(_) => None,
    };
    let row = match row {
        Some(row) => row,
        None if id_or_name.starts_with(ID) => {
            // Who may not see the namespace's service accounts does not make us read all of them.
            let all = all_of(service, &namespace);
            if !permission::may(service, now, by, &all, Action::List).await? {
                return Err(absent());
            }
            by_id(service, now, &namespace, id_or_name).await?
        }
        None => return Err(absent()),
    };
    let resource = resource(service, &row.record);
    match permission::level(service, now, by, &resource).await? {
        Some(has) if has.gives(wanted) => Ok(row),
        Some(has) if has.gives(Action::List) => Err(Refusal::not_granted(vec![(resource, wanted)])),
        _ => Err(absent()),
    }
}

async fn by_id(service: &Service, now: Timestamp, namespace: &Name, id: &str) -> Result<Row<ServiceAccount>, Refusal> {
    let mut after: Option<String> = None;
    loop {
        let (rows, next) = rows(service, now, namespace, after.as_deref(), PAGE).await?;
        if let Some(row) = rows.into_iter().find(|row| row.record.id() == id) {
            return Ok(row);
        }
        after = next;
        if after.is_none() {
            return Err(absent());
        }
    }
}

/// A namespace's service accounts, with its owner of now.
async fn rows(
    service: &Service,
    now: Timestamp,
    namespace: &Name,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Row<ServiceAccount>>, Option<String>), Refusal> {
    let owner: Option<Row<NamespaceOwner>> = service.read(now, NamespaceOwner::key_of(namespace.as_str())).await?;
    let Some(owner) = owner else { return Ok((Vec::new(), None)) };
    let page = service.store.list(now, &ServiceAccount::partition(namespace.as_str()), after, limit).await?;
    let mut found = Vec::with_capacity(page.items.len());
    for item in page.items {
        found.extend(
            decode::<ServiceAccount>(Some(item))?
                .filter(|row| row.record.deleted_at.is_none() && row.record.owner.uid == owner.record.uid),
        );
    }
    Ok((found, page.next))
}

/// Reads a service account, by its name or id.
///
/// # Errors
/// `Absent`, also for who has not even `list` on it; `Forbidden` without `read`; `Unavailable`.
pub async fn get(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    id_or_name: &str,
) -> Result<ServiceAccount, Refusal> {
    find(service, now, by, namespace, id_or_name, Action::Read).await.map(|row| row.record)
}

/// Lists a namespace's service accounts, by name.
///
/// # Errors
/// `Forbidden` without `list` on them; `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<ServiceAccount>, Option<String>), Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace")?;
    permission::require(service, now, by, &[(all_of(service, &namespace), Action::List)]).await?;
    let (rows, next) = rows(service, now, &namespace, after, limit).await?;
    Ok((rows.into_iter().map(|row| row.record).collect(), next))
}

/// Ends a service account, with all its tokens: at once, for every process.
///
/// # Errors
/// `Absent`; `Forbidden` without `manage` on it; `Unavailable`.
pub async fn delete(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    id_or_name: &str,
) -> Result<ServiceAccount, Refusal> {
    let Row { record: account, mut version } = find(service, now, by, namespace, id_or_name, Action::Manage).await?;
    for _ in 0..ROUNDS {
        // A put, since a create that was held up must not bring it back: a row that is past its purge time is absent.
        let gone = ServiceAccount { deleted_at: Some(now), tokens: Vec::new(), ..account.clone() };
        match service.commit(now, vec![gone.put(When::VersionIs(version))]).await {
            Ok(_) => {
                audit("service_account_deleted", by, &account);
                // It counts for nothing any more: what cannot be cleared away now lies there and does no harm.
                if let Err(refusal) = permission::sweep(service, now, &account.principal(), account.uid).await {
                    tracing::debug!(
                        error = refusal.cause(),
                        "permissions of a deleted service account were left behind"
                    );
                }
                return Ok(account);
            }
            Err(CommitError::Conflict { current, .. }) => version = same(decode(current)?, &account)?.version,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a service account kept changing"))
}

/// The row, if it still is that account's.
fn same(row: Option<Row<ServiceAccount>>, account: &ServiceAccount) -> Result<Row<ServiceAccount>, Refusal> {
    row.filter(|row| row.record.uid == account.uid && row.record.deleted_at.is_none()).ok_or_else(absent)
}

/// Changes a service account, deciding again with whatever it has become meanwhile.
async fn change<T>(
    service: &Service,
    now: Timestamp,
    mut row: Row<ServiceAccount>,
    mut decide: impl FnMut(&mut ServiceAccount) -> Result<T, Refusal> + Send,
) -> Result<(ServiceAccount, T), Refusal> {
    for _ in 0..ROUNDS {
        let mut account = row.record.clone();
        let outcome = decide(&mut account)?;
        match service.commit(now, vec![account.put(When::VersionIs(row.version))]).await {
            Ok(_) => return Ok((account, outcome)),
            Err(CommitError::Conflict { current, .. }) => row = same(decode(current)?, &account)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a service account kept changing"))
}

/// Issues a new long-lived token, and ends the older ones after `overlap` (0 s to 31 days). With an overlap of 0 nothing
/// that was issued before is good from now on, short-lived tokens included. `expires_at`: none gives it as long a life as the
/// newest one before it has.
///
/// # Errors
/// `Absent`; `Forbidden` without `manage` on it; `Invalid` for `overlap` or `expires_at`; `Conflict`: [`MOST_TOKENS`] are
/// still good for their overlaps; `Unavailable`.
pub async fn rotate(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    id_or_name: &str,
    overlap: Duration,
    expires_at: Option<Timestamp>,
) -> Result<Issued, Refusal> {
    if overlap > LONGEST_OVERLAP {
        return Err(Refusal::invalid("overlap", "must be at most 31 days"));
    }
    check_end(now, expires_at)?;
    let row = find(service, now, by, namespace, id_or_name, Action::Manage).await?;
    let newest = row.record.tokens.last();
    let as_long = || newest.and_then(|token| Some(now + (token.expires_at?.since(token.issued_at))));
    let expires_at = expires_at.or_else(as_long);
    let (token, record) = new_token(service, now, &row.record, expires_at, IssuedBy::Rotation).await?;
    let rotated = |account: &mut ServiceAccount| {
        for token in &mut account.tokens {
            let end = now + overlap;
            token.expires_at = Some(token.expires_at.map_or(end, |own| own.min(end)));
        }
        if overlap.is_zero() {
            account.epoch = account.epoch.next();
        }
        account.tokens.retain(|token| !token.is_over(now));
        if account.tokens.len() >= MOST_TOKENS {
            return Err(full());
        }
        account.tokens.push(record.clone());
        Ok(())
    };
    let (account, ()) = change(service, now, row, rotated).await?;
    audit("service_account_rotated", by, &account);
    Ok(Issued { account, token: Some(token) })
}

fn full() -> Refusal {
    Refusal::conflict(format!(
        "exceeded quota: long-lived tokens, used: {MOST_TOKENS}, limited: {MOST_TOKENS}; rotate the service account with a \
         shorter overlap, or end tokens by their ids"
    ))
}

/// Issues one more long-lived token.
///
/// # Errors
/// `Absent`; `Forbidden` without `manage` on it; `Conflict`: it has [`MOST_TOKENS`] already; `Unavailable`.
pub async fn issue(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    name: &str,
) -> Result<Issued, Refusal> {
    let row = find(service, now, by, namespace, name, Action::Manage).await?;
    let (token, record) = new_token(service, now, &row.record, None, IssuedBy::Secret).await?;
    let (account, ()) = change(service, now, row, |account| {
        if account.live_tokens(now).count() >= MOST_TOKENS {
            return Err(full());
        }
        account.tokens.retain(|token| !token.is_over(now));
        account.tokens.push(record.clone());
        Ok(())
    })
    .await?;
    audit("service_account_token_issued", by, &account);
    Ok(Issued { account, token: Some(token) })
}

/// Notes that the Role was made, or deleted, by which the account may request tokens of itself. True if that changes
/// something.
///
/// # Errors
/// `Absent`; `Forbidden` without `manage` on it; `Unavailable`.
pub async fn set_may_request_role(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    name: &str,
    there: bool,
) -> Result<bool, Refusal> {
    let row = find(service, now, by, namespace, name, Action::Manage).await?;
    let (_, changed) = change(service, now, row, |account| {
        let changed = account.may_request_role.is_some() != there;
        if changed {
            account.may_request_role = there.then_some(now);
        }
        Ok(changed)
    })
    .await?;
    Ok(changed)
}

/// A token of a service account that is good now.
#[derive(Clone, Debug)]
pub enum Listed {
    /// A long-lived one, with the last use to the hour.
    Long(Box<ServiceAccount>, Box<LongLived>, Option<Timestamp>),
    /// A short-lived one.
    Short(Box<ShortLived>),
}

/// Lists a service account's tokens: the long-lived ones, then the short-lived ones.
///
/// # Errors
/// `Absent`; `Forbidden` without `read` on it; `Unavailable`.
pub async fn tokens(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    id_or_name: &str,
) -> Result<(ServiceAccount, Vec<Listed>), Refusal> {
    let account = find(service, now, by, namespace, id_or_name, Action::Read).await?.record;
    let mut found = long_lived(service, now, std::slice::from_ref(&account)).await?;
    let mut after = format!("{}/", account.name);
    let prefix = after.clone();
    loop {
        let partition = ShortLived::partition(account.namespace.as_str());
        let page = service.store.list(now, &partition, Some(&after), PAGE).await?;
        for item in page.items {
            if !item.key.sort.starts_with(&prefix) {
                return Ok((account, found));
            }
            let row = decode::<ShortLived>(Some(item))?.map(|row| row.record);
            found.extend(row.filter(|token| token.stands(&account, now)).map(|token| Listed::Short(Box::new(token))));
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok((account, found)),
        }
    }
}

/// Long-lived tokens of these that are good now, with their last use.
async fn long_lived(service: &Service, now: Timestamp, accounts: &[ServiceAccount]) -> Result<Vec<Listed>, Refusal> {
    let live = || accounts.iter().flat_map(|account| account.live_tokens(now).map(move |token| (account, token)));
    let keys: Vec<_> = live()
        .map(|(account, token)| Used::key_of(account.namespace.as_str(), account.name.as_str(), &token.id))
        .collect();
    let rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? };
    let mut found = Vec::with_capacity(rows.len());
    for ((account, token), row) in live().zip(rows) {
        let used = decode::<Used>(row)?.map(|row| row.record.at);
        found.push(Listed::Long(Box::new(account.clone()), Box::new(token.clone()), used));
    }
    Ok(found)
}

/// A page of tokens, and how many rows were read for it.
pub type TokenPage = (Vec<Listed>, usize, Option<String>);

/// Lists the long-lived tokens of a namespace's service accounts, by account; `limit` counts accounts.
///
/// # Errors
/// `Unavailable`.
pub async fn long_lived_of(
    service: &Service,
    now: Timestamp,
    namespace: &Name,
    after: Option<&str>,
    limit: usize,
) -> Result<TokenPage, Refusal> {
    let (rows, next) = rows(service, now, namespace, after, limit).await?;
    let accounts: Vec<_> = rows.into_iter().map(|row| row.record).collect();
    Ok((long_lived(service, now, &accounts).await?, accounts.len(), next))
}

/// Lists the short-lived tokens of a namespace's service accounts, by account.
///
/// # Errors
/// `Unavailable`.
pub async fn short_lived_of(
    service: &Service,
    now: Timestamp,
    namespace: &Name,
    after: Option<&str>,
    limit: usize,
) -> Result<TokenPage, Refusal> {
    let page = service.store.list(now, &ShortLived::partition(namespace.as_str()), after, limit).await?;
    let read = page.items.len();
    if read == 0 {
        return Ok((Vec::new(), 0, page.next));
    }
    let mut short = Vec::with_capacity(read);
    for item in page.items {
        short.extend(decode::<ShortLived>(Some(item))?.map(|row| row.record));
    }
    let mut names: Vec<Name> = short.iter().map(|token| token.name.clone()).collect();
    names.dedup();
    let mut keys: Vec<_> = names.iter().map(|name| ServiceAccount::key_of(namespace.as_str(), name.as_str())).collect();
    keys.push(NamespaceOwner::key_of(namespace.as_str()));
    let mut rows = service.store.get(now, &keys).await?;
    let owner = decode::<NamespaceOwner>(rows.pop().flatten())?.map(|row| row.record.uid);
    let accounts: Vec<Option<Row<ServiceAccount>>> = rows.into_iter().map(decode).collect::<Result<_, _>>()?;
    short.retain(|token| {
        let of_this = accounts.iter().flatten().find(|row| row.record.name == token.name);
        of_this.is_some_and(|row| Some(row.record.owner.uid) == owner && token.stands(&row.record, now))
    });
    Ok((short.into_iter().map(|token| Listed::Short(Box::new(token))).collect(), read, page.next))
}

/// Ends one long-lived token of a service account of that owner's namespace.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn end_long_lived(
    service: &Service,
    now: Timestamp,
    owner: &Account,
    name: &Name,
    drawn: [u8; 16],
    actor: &str,
) -> Result<(), Refusal> {
    let row = standing(service, now, &owner.namespace, name).await?;
    let (account, ()) = change(service, now, row, |account| {
        let before = account.tokens.len();
        account.tokens.retain(|token| token.id.drawn() != drawn);
        if account.tokens.len() == before { Err(absent()) } else { Ok(()) }
    })
    .await?;
    tracing::info!(
        target: "gatemint::audit", event = "service_account_token_ended", actor,
        service_account = %account.principal(), long_lived = true,
    );
    Ok(())
}

/// Ends one short-lived token of a service account of that owner's namespace.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn end_short_lived(
    service: &Service,
    now: Timestamp,
    owner: &Account,
    name: &Name,
    drawn: [u8; 16],
    actor: &str,
) -> Result<(), Refusal> {
    let id = Jti::of(AccountKey::of(owner.name.as_str()), drawn);
    let key = ShortLived::key_of(owner.namespace.as_str(), name.as_str(), &id);
    let row: Option<Row<ShortLived>> = service.read(now, key).await?;
    let token = row.map(|row| row.record).filter(|token| token.id == id).ok_or_else(absent)?;
    // A put, as in `delete`.
    service.commit(now, vec![ShortLived { expires_at: now, ..token }.put(When::Always)]).await?;
    tracing::info!(
        target: "gatemint::audit", event = "service_account_token_ended", actor,
        service_account = format!("{}/service-accounts/{name}", owner.namespace), long_lived = false,
    );
    Ok(())
}
