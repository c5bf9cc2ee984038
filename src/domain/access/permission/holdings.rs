//! Who holds what: lists of permissions, and checks of somebody else's.

use super::{
    super::{Principal, Resource, Subject, principal::Holder},
    Action, MOST_AT_ONCE, Permission,
    grants::require_manage,
    question::not_granted,
    row::{Held, Listed},
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, RefusalKind, Service,
        account::{Account, NamespaceOwner},
        ids::{AccountKey, Uid},
        service_account::ServiceAccount,
    },
    store::{Key, Record, Row, decode},
};

/// The most permissions that a list has.
const MOST_LISTED: usize = 20_000;

/// How many rows of a list are read at a time.
const PAGE: usize = 500;

/// What a principal was granted and denied, by resource: what is `below` a resource, or all. What it has as an owner or an
/// admin is not among it. `with_roles`: also what its roles hold, under their names. For the principal itself, for admins,
/// and for whoever has `manage` on `below`.
///
/// # Errors
/// `Forbidden`, `Absent`; `TooLarge`: more than 20,000; `Unavailable`.
pub async fn held(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    below: Option<&Resource>,
    with_roles: bool,
) -> Result<Vec<Permission>, Refusal> {
    if by.principal() != Some(of) {
        require_sight(service, now, by, below).await?;
    }
    let (mut principals, mut account) = (vec![of.clone()], None);
    if let (true, Principal::User(name)) = (with_roles, of) {
        let row: Option<Row<Account>> = service.read(now, Account::key_of(AccountKey::of(name.as_str()))).await?;
        account = row.map(|row| row.record);
        let roles = account.iter().flat_map(|account| account.roles.clone());
        principals.extend(roles.filter(|role| role.as_str().contains('/')).map(Principal::Role));
    }
    let mut found = Vec::new();
    for principal in principals {
        let holder = principal.find(service, now).await?;
        if let (Holder::Role(role, owner), Some(account)) = (&holder, &account)
            && !account.role_counts(role, *owner)
        {
            continue;
        }
        let partition = Held::partition(&holder);
        let rows = rows_within(service, now, &partition, below, |held: &Held| &held.resource).await?;
        found.extend(rows.into_iter().map(|held| (principal.clone(), holder.clone(), held)));
    }
    let owners = owners_of(service, now, found.iter().map(|(_, _, held)| &held.resource)).await?;
    let standing = found.into_iter().filter(|(_, holder, held)| held.stands(holder, owners.of(&held.resource)));
    let mut permissions: Vec<_> = standing
        .map(|(principal, _, held)| Permission { principal, resource: held.resource, action: held.action })
        .collect();
    permissions.sort_by(|one, other| (&one.resource, &one.principal).cmp(&(&other.resource, &other.principal)));
    Ok(permissions)
}

/// To see what others hold: admins, or `manage` on what is looked at.
async fn require_sight(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    below: Option<&Resource>,
) -> Result<(), Refusal> {
    match below {
        _ if by.is_admin() => Ok(()),
        Some(below) => require_manage(service, now, by, &[below]).await,
        None => Err(Refusal::forbidden("what others were granted is shown to admins, or by a uri that you manage")),
    }
}

/// What others were granted and denied on the resources of a principal's namespace, or on what is `below` a resource; by
/// resource. For the principal itself about its own namespace, for admins, and for whoever has `manage` on `below`.
///
/// # Errors
/// `Forbidden`, `Absent`; `TooLarge`: more than 20,000; `Unavailable`.
pub async fn shared(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    below: Option<&Resource>,
) -> Result<Vec<Permission>, Refusal> {
    let namespace = match (below, of.namespace()) {
        (Some(below), _) => {
            require_sight(service, now, by, Some(below)).await?;
            below.namespace().map(ToOwned::to_owned)
        }
        (None, own) => {
            // A service account lives in a namespace that is not its own.
            let own_namespace = by.namespace().filter(|own| by.principal() == Some(of) && by.owns(own.as_str()));
            if own_namespace.is_none() {
                require_sight(service, now, by, None).await?;
            }
            match (own, own_namespace) {
                (Some(own), _) => Some(own.to_owned()),
                (None, Some(own)) => Some(own.to_string()),
                (None, None) => {
                    let account: Option<Row<Account>> =
                        service.read(now, Account::key_of(AccountKey::of(&of.to_string()))).await?;
                    let account = account.filter(|row| row.record.deleted_at.is_none()).ok_or_else(|| of.absent())?;
                    Some(account.record.namespace.to_string())
                }
            }
        }
    };
    let partition = Listed::partition(namespace.as_deref());
    let listed = rows_within(service, now, &partition, below, |listed: &Listed| &listed.resource).await?;
    let listed: Vec<Listed> = listed.into_iter().filter(|listed| listed.principal != *of).collect();
    standing_of(service, now, listed).await
}

/// The permissions that entries list, as their rows are now; without those that are gone, or whose principals are.
async fn standing_of(service: &Service, now: Timestamp, listed: Vec<Listed>) -> Result<Vec<Permission>, Refusal> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let mut principals: Vec<&Principal> = listed.iter().map(|listed| &listed.principal).collect();
    principals.sort_unstable();
    principals.dedup();
    let keys: Vec<Key> = principals.iter().flat_map(|principal| principal.keys()).collect();
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let mut holders = Vec::with_capacity(principals.len());
    for principal in principals {
        holders.push((principal.clone(), principal.resolve(&mut rows)?));
    }
    let holder_of = |principal: &Principal| {
        let at = holders.binary_search_by(|(known, _)| known.cmp(principal)).ok()?;
        holders[at].1.clone()
    };
    let owners = owners_of(service, now, listed.iter().map(|listed| &listed.resource)).await?;
    let mut found = Vec::with_capacity(listed.len());
    let mut keys = Vec::with_capacity(listed.len());
    for listed in listed {
        let Some(holder) = holder_of(&listed.principal) else { continue };
        keys.push(Held::key_of(&holder, listed.resource.as_str()));
        found.push((listed, holder));
    }
    let rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? };
    let mut permissions = Vec::with_capacity(found.len());
    for ((listed, holder), row) in found.into_iter().zip(rows) {
        let held = decode::<Held>(row)?.map(|row| row.record);
        if let Some(held) = held.filter(|held| held.stands(&holder, owners.of(&listed.resource))) {
            let Listed { principal, resource, .. } = listed;
            permissions.push(Permission { principal, resource, action: held.action });
        }
    }
    Ok(permissions)
}

/// Who owns which namespace now, by the namespaces' names.
struct Owners(Vec<(String, Option<Uid>)>);

impl Owners {
    fn of(&self, resource: &Resource) -> Option<Uid> {
        let namespace = resource.namespace()?;
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(namespace)).ok()?;
        self.0[at].1
    }
}

async fn owners_of(
    service: &Service,
    now: Timestamp,
    resources: impl Iterator<Item = &Resource>,
) -> Result<Owners, Refusal> {
    let mut namespaces: Vec<&str> = resources.filter_map(Resource::namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    if namespaces.is_empty() {
        return Ok(Owners(Vec::new()));
    }
    let keys: Vec<Key> = namespaces.iter().map(|namespace| NamespaceOwner::key_of(namespace)).collect();
    let rows = service.store.get(now, &keys).await?;
    let mut owners = Vec::with_capacity(rows.len());
    for (namespace, row) in namespaces.into_iter().zip(rows) {
        owners.push((namespace.to_owned(), decode::<NamespaceOwner>(row)?.map(|row| row.record.uid)));
    }
    Ok(Owners(owners))
}

/// The records of a partition whose resource is `below` one, or all of them. Their sort keys begin with the resource.
pub(super) async fn rows_within<T: Record>(
    service: &Service,
    now: Timestamp,
    partition: &str,
    below: Option<&Resource>,
    resource: impl Fn(&T) -> &Resource,
) -> Result<Vec<T>, Refusal> {
    let mut found = Vec::new();
    let prefix = below.map(|below| below.as_str().to_owned());
    // The resource's own place is not after itself; what comes just before it is not known, so a character less is.
    let mut after = prefix.clone();
    after.as_mut().map(String::pop);
    loop {
        let page = service.store.list(now, partition, after.as_deref(), PAGE).await?;
        for item in page.items {
            if prefix
                .as_ref()
                .is_some_and(|prefix| !item.key.sort.starts_with(prefix.as_str()) && item.key.sort > *prefix)
            {
                return Ok(found);
            }
            let Some(row) = decode::<T>(Some(item))? else { continue };
            if below.is_none_or(|below| resource(&row.record).is_within(below)) {
                found.push(row.record);
            }
            if found.len() > MOST_LISTED {
                return Err(Refusal::new(
                    RefusalKind::TooLarge,
                    "there are more than 20,000 permissions: ask for those below a uri",
                ));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Those of `asked` that a principal may not do. For the principal itself, for admins, and for whoever has `manage` on all
/// that is asked about.
///
/// # Errors
/// `Forbidden`, `Absent`, `Malformed`, `Invalid` as [`super::grant`]; `Unavailable`.
pub async fn missing(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    asked: &[(Resource, Action)],
) -> Result<Vec<(Resource, Action)>, Refusal> {
    let resources: Vec<&Resource> = asked.iter().map(|(resource, _)| resource).collect();
    if resources.is_empty() || resources.len() > MOST_AT_ONCE {
        return Err(Refusal::malformed(format!("between 1 and {MOST_AT_ONCE} resources must be given")));
    }
    if by.principal() == Some(of) {
        return not_granted(service, now, by, asked).await;
    }
    if !by.is_admin() {
        require_manage(service, now, by, &resources).await?;
    }
    let subject = match of {
        Principal::User(name) => {
            let account: Option<Row<Account>> =
                service.read(now, Account::key_of(AccountKey::of(name.as_str()))).await?;
            let account = account.filter(|row| row.record.deleted_at.is_none()).ok_or_else(|| of.absent())?;
            Subject::of_account(&account.record, true)
        }
        Principal::ServiceAccount { namespace, name } => {
            let account: Option<Row<ServiceAccount>> =
                service.read(now, ServiceAccount::key_of(namespace.as_str(), name.as_str())).await?;
            let account = account.ok_or_else(|| of.absent())?.record;
            let owner: Option<Row<Account>> =
                service.read(now, Account::key_of(AccountKey::of(account.owner.name.as_str()))).await?;
            let owner = owner.map(|row| row.record);
            if !owner.as_ref().is_some_and(|owner| account.is_of(owner)) {
                return Err(of.absent());
            }
            Subject::of_service_account(&account, account.is_upheld_by(owner.as_ref()))
        }
        Principal::Role(role) => Subject::of_role(role),
    };
    not_granted(service, now, &subject, asked).await
}
