//! Making, changing and ending accounts.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Account, AccountName, Comer, NamespaceOwner, PasswordHash, attempt::Attempts};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Secret, Service,
        access::{AccountRecord, Caller},
        fresh_token::{FreshToken, mirror},
        ids::{AccountKey, Email, Epoch, Name, Role, Uid},
        session::Session,
    },
    store::{CommitError, Record, Row, When, Write, decode},
};

/// The most roles of an account.
const MOST_ROLES: usize = 64;

/// The most roles of one namespace that its owner gives an account, and of all of them together, in bytes: they stand in
/// the account's tokens, and whoever gives them must not make these too long to be of use.
const MOST_GIVEN: usize = 8;
const LONGEST_GIVEN: usize = 2048;

/// An account to be made.
#[derive(Debug)]
pub struct NewAccount {
    /// Its name.
    pub name: String,
    /// Its namespace; none: its name.
    pub namespace: Option<String>,
    /// Its e-mail address, or empty.
    pub email: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether it may sign in.
    pub enabled: bool,
    /// Its password.
    pub password: Secret<Vec<u8>>,
    /// Whether its token that is always fresh is kept in the vault as well.
    pub mirror_token: bool,
}

/// What may be changed of an account.
#[derive(Debug, Default)]
pub struct AccountPatch {
    /// Its e-mail address, or empty.
    pub email: Option<String>,
    /// All its roles.
    pub roles: Option<Vec<String>>,
    /// Whether it may sign in. Disabling ends all its sessions.
    pub enabled: Option<bool>,
    /// A new password. It ends all its sessions.
    pub password: Option<Secret<Vec<u8>>>,
    /// Whether its token that is always fresh is kept in the vault as well.
    pub mirror_token: Option<bool>,
}

fn parse_roles(roles: &[String]) -> Result<Vec<Role>, Refusal> {
    if roles.len() > MOST_ROLES {
        return Err(Refusal::invalid("roles", "at most 64"));
    }
    let mut parsed: Vec<Role> = Vec::with_capacity(roles.len());
    for role in roles {
        let role = Role::parse(role)?;
        if !parsed.contains(&role) {
            parsed.push(role);
        }
    }
    Ok(parsed)
}

async fn hash(service: &Service, password: Secret<Vec<u8>>) -> Result<PasswordHash, Refusal> {
    service.policy.password.check(password.expose())?;
    service.hashing.admit(Comer::Known)?.hash(password, service.entropy.bytes()).await
}

/// Judges a new account and hashes its password; nothing is written yet.
///
/// # Errors
/// `Invalid`, `Unavailable`.
pub async fn prepare(service: &Service, now: Timestamp, new: NewAccount) -> Result<(Account, Vec<Write>), Refusal> {
    let name = Name::parse(&new.name, "name")?;
    let namespace = match new.namespace {
        Some(namespace) => Name::parse(&namespace, "namespace")?,
        None => name.clone(),
    };
    if namespace.as_str() == service.policy.organisation {
        return Err(Refusal::invalid("namespace", "is the name of the organisation, which no namespace may take"));
    }
    if new.mirror_token {
        mirror::check_namespace(&namespace)?;
    }
    let email = Email::parse(&new.email)?;
    let roles = parse_roles(&new.roles)?;
    let password = hash(service, new.password).await?;
    let account = Account {
        uid: Uid::draw(service.entropy.as_ref()),
        name,
        namespace,
        email,
        roles,
        role_owners: BTreeMap::new(),
        enabled: new.enabled,
        epoch: Epoch::default(),
        password,
        created_at: now,
        mirror_token: new.mirror_token,
        deleted_at: None,
    };
    let owner = NamespaceOwner { namespace: account.namespace.clone(), owner: account.name.clone(), uid: account.uid };
    let listed = AccountName { name: account.name.clone() };
    let mut writes = vec![account.put(When::Absent), owner.put(When::Absent), listed.put(When::Always)];
    if account.mirror_token {
        writes.push(mirror::look_at(&account.namespace));
    }
    Ok((account, writes))
}

/// Makes an account: its row, its namespace and its place in the list, all or none.
///
/// # Errors
/// `Invalid`, `Conflict`, `Unavailable`.
pub async fn create(service: &Service, now: Timestamp, new: NewAccount, actor: &str) -> Result<Account, Refusal> {
    let (account, writes) = prepare(service, now, new).await?;
    match service.commit(now, writes).await {
        Ok(_) => {
            tracing::info!(target: "gatemint::audit", event = "account_created", user.name = %account.name, actor);
            Ok(account)
        }
        Err(CommitError::Conflict { at: 0, .. }) => {
            Err(Refusal { field: Some("name"), ..Refusal::conflict("there is a user of that name") })
        }
        Err(CommitError::Conflict { .. }) => {
            Err(Refusal { field: Some("namespace"), ..Refusal::conflict("the namespace is somebody else's") })
        }
        Err(unavailable) => Err(unavailable.into()),
    }
}

/// Whether somebody has each of these namespaces.
///
/// # Errors
/// `Unavailable`.
pub async fn are_namespaces(service: &Service, now: Timestamp, names: &[&str]) -> Result<bool, Refusal> {
    let keys: Vec<_> = names.iter().map(|name| NamespaceOwner::key_of(name)).collect();
    if keys.is_empty() {
        return Ok(true);
    }
    Ok(service.store.get(now, &keys).await?.iter().all(Option::is_some))
}

/// Reads an account.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn get(service: &Service, now: Timestamp, name: &str) -> Result<Row<Account>, Refusal> {
    present(service.read(now, Account::key_of(AccountKey::of(name))).await?)
}

fn present(row: Option<Row<Account>>) -> Result<Row<Account>, Refusal> {
    row.filter(|row| row.record.deleted_at.is_none()).ok_or_else(|| Refusal::absent("there is no user of that name"))
}

/// Lists accounts by name.
///
/// # Errors
/// `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Account>, Option<String>), Refusal> {
    let page = service.store.list(now, AccountName::PARTITION, after, limit).await?;
    let keys: Vec<_> = page.items.iter().map(|item| Account::key_of(AccountKey::of(&item.key.sort))).collect();
    let mut accounts = Vec::with_capacity(keys.len());
    if !keys.is_empty() {
        for row in service.store.get(now, &keys).await? {
            let row: Option<Row<Account>> = decode(row)?;
            accounts.extend(row.map(|row| row.record));
        }
    }
    Ok((accounts, page.next))
}

/// Changes an account.
///
/// # Errors
/// `Absent`, `Invalid`, `Unavailable`.
pub async fn update(
    service: &Service,
    now: Timestamp,
    name: &str,
    patch: AccountPatch,
    actor: &str,
) -> Result<Account, Refusal> {
    let email = patch.email.as_deref().map(Email::parse).transpose()?;
    let roles = patch.roles.as_deref().map(parse_roles).transpose()?;
    let mut row = get(service, now, name).await?;
    let password = match patch.password {
        Some(password) => Some(hash(service, password).await?),
        None => None,
    };
    for _ in 0..ROUNDS {
        let mut account = row.record;
        account.email = email.clone().unwrap_or(account.email);
        if let Some(roles) = &roles {
            // What an admin gives is hers to give, whoever owns the namespaces.
            account.roles.clone_from(roles);
            account.role_owners.clear();
        }
        if patch.mirror_token == Some(true) {
            mirror::check_namespace(&account.namespace)?;
        }
        let was_mirrored = account.mirror_token;
        account.mirror_token = patch.mirror_token.unwrap_or(was_mirrored);
        let ends_all = password.is_some() || patch.enabled == Some(false);
        if ends_all {
            account.epoch = account.epoch.next();
        }
        account.enabled = patch.enabled.unwrap_or(account.enabled);
        account.password = password.clone().unwrap_or(account.password);
        let mut writes = vec![account.put(When::VersionIs(row.version))];
        if account.mirror_token != was_mirrored || was_mirrored && ends_all {
            writes.push(mirror::look_at(&account.namespace));
        }
        match service.commit(now, writes).await {
            Ok(_) => {
                let event = match patch.enabled {
                    Some(false) => "account_disabled",
                    Some(true) => "account_enabled",
                    None if password.is_some() => "password_set",
                    None => "account_changed",
                };
                tracing::info!(
                    target: "gatemint::audit", event, user.name = %account.name, actor,
                    changed.password = password.is_some(), changed.email = email.is_some(),
                    changed.roles = roles.is_some(), admin = account.is_admin(), mirror_token = account.mirror_token,
                );
                if password.is_some() {
                    (service.password_changed)(&account.name);
                }
                return Ok(account);
            }
            Err(CommitError::Conflict { current, .. }) => row = present(decode(current)?)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("an account kept changing"))
}

/// Gives an account a role of a namespace that `owner` owns, or takes it away: whether that changes it. Whether whoever asks
/// may is for the caller of this to judge, and to write it.
///
/// # Errors
/// `Invalid` for `roles`: it would have too many.
pub(in crate::domain) fn set_role(
    account: &mut Account,
    role: &Role,
    owner: Option<Uid>,
    member: bool,
) -> Result<bool, Refusal> {
    let has = account.roles.contains(role);
    if !member {
        account.roles.retain(|other| other != role);
        account.role_owners.remove(role);
        return Ok(has);
    }
    if has && account.role_counts(role, owner) {
        return Ok(false);
    }
    if !has {
        let namespace = |role: &Role| role.as_str().split('/').next().unwrap_or_default().to_owned();
        let of_namespace = account.roles.iter().filter(|other| namespace(other) == namespace(role)).count();
        let bytes: usize = account.roles.iter().map(|other| other.as_str().len()).sum();
        if account.roles.len() >= MOST_ROLES
            || of_namespace >= MOST_GIVEN
            || bytes + role.as_str().len() > LONGEST_GIVEN
        {
            return Err(Refusal::invalid(
                "roles",
                format!(
                    "whoever owns a namespace gives a user at most {MOST_GIVEN} of its roles, and nobody has more than \
                     {MOST_ROLES}, or {LONGEST_GIVEN} bytes of them"
                ),
            ));
        }
        account.roles.push(role.clone());
    }
    match owner {
        Some(owner) => account.role_owners.insert(role.clone(), owner),
        None => account.role_owners.remove(role),
    };
    Ok(true)
}

/// Ends an account: its sessions, its place in the list, and its hold on its namespace.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn delete(service: &Service, now: Timestamp, name: &str, actor: &str) -> Result<(), Refusal> {
    let mut row = get(service, now, name).await?;
    for _ in 0..ROUNDS {
        let mut account = row.record;
        // A put, since a delete cannot decide a race: a row that is past its purge time is absent.
        account.enabled = false;
        account.epoch = account.epoch.next();
        account.deleted_at = Some(now);
        let owner =
            NamespaceOwner { namespace: account.namespace.clone(), owner: account.name.clone(), uid: account.uid };
        let mut writes = vec![
            account.put(When::VersionIs(row.version)),
            Write::Delete { key: owner.key(), when: When::Always },
            Write::Delete { key: AccountName { name: account.name.clone() }.key(), when: When::Always },
            Write::Delete { key: FreshToken::key_of(AccountKey::of(account.name.as_str())), when: When::Always },
        ];
        if account.mirror_token {
            writes.push(mirror::look_at(&account.namespace));
        }
        match service.commit(now, writes).await {
            Ok(_) => {
                tracing::info!(target: "gatemint::audit", event = "account_deleted", user.name = %account.name, actor);
                (service.password_changed)(&account.name);
                return Ok(());
            }
            Err(CommitError::Conflict { current, .. }) => row = present(decode(current)?)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("an account kept changing"))
}

/// Changes the caller's own password: one commit of the new hash, the next epoch, and the caller's session in that
/// epoch, so that only the others end, and the token that is always fresh. Guessing the old one is throttled as a sign-in is.
///
/// # Errors
/// `Forbidden` for a wrong old password or a token that is always fresh, `Invalid`, `Throttled`, `Conflict`, `Unavailable`.
pub async fn change_own_password(
    service: &Service,
    now: Timestamp,
    caller: Caller,
    old: Secret<Vec<u8>>,
    new: Secret<Vec<u8>>,
    address: IpAddr,
) -> Result<(), Refusal> {
    let Caller { account, record, .. } = caller;
    let AccountRecord::Session(session) = record else {
        return Err(Refusal::forbidden("a token that is always fresh changes no password: use one of a sign-in"));
    };
    let named = |refusal| Refusal { field: Some("new"), ..refusal };
    service.policy.password.check(new.expose()).map_err(named)?;
    let place = service.hashing.admit(Comer::Known)?;
    let ring = service.keys.peppers(now, service.entropy.as_ref(), service.vault.as_ref()).await?;
    let name = account.record.name.clone();
    let mut attempts = Attempts::new(&ring.active(now).key, name.as_str(), address);
    let mut rows = service.store.get(now, &attempts.keys()).await?.into_iter();
    attempts.accept(rows.next().flatten(), rows.next().flatten())?;
    let attempt = attempts.reserve(service, now).await?;

    if !place.judge(Some(account.record.password.clone()), old).await? {
        attempt.book_failure(service, now).await;
        tracing::info!(target: "gatemint::audit", event = "password_change_refused", user.name = %name);
        return Err(Refusal { field: Some("old"), ..Refusal::forbidden("the old password is not right") });
    }
    let password = place.hash(new, service.entropy.bytes()).await?;
    let epoch = account.record.epoch.next();
    let account_id = account.version;
    let account = Account { epoch, password, ..account.record };
    let mut writes = vec![account.put(When::VersionIs(account_id))];
    // Both or neither: a session that a refresh moved on meanwhile must not be left behind in the old epoch. It may be
    // moved on again and again; as long as it stands in the epoch that ends here, it comes along.
    writes.push(Session { epoch, ..session.record }.put(When::VersionIs(session.version)));
    if account.mirror_token {
        writes.push(mirror::look_at(&account.namespace));
    }
    let along = |at: usize, current| {
        let row: Row<Session> = decode(current).ok().flatten().filter(|_| at == 1)?;
        let stands = row.record.uid == account.uid && row.record.epoch.next() == epoch;
        stands.then(|| Session { epoch, ..row.record }.put(When::VersionIs(row.version)))
    };
    match attempt.give_back_with(service, now, writes, Vec::new(), along).await {
        Ok(()) => {
            tracing::info!(target: "gatemint::audit", event = "password_changed", user.name = %name);
            (service.password_changed)(&name);
            Ok(())
        }
        Err(CommitError::Conflict { .. }) => {
            Err(Refusal::conflict("the account or this session changed at the same moment; try again"))
        }
        Err(unavailable) => Err(unavailable.into()),
    }
}
