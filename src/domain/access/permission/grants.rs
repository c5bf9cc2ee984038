//! Granting and revoking.

use super::{
    super::{Principal, Resource, Subject, principal::Holder, resource::of_another_cluster},
    Action, Permission,
    holdings::rows_within,
    question::require,
    row::{Held, Listed},
};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Service,
        account::{Account, NamespaceOwner, manage},
        ids::{Role, Uid},
    },
    store::{CommitError, Key, Record, Row, When, Write, decode},
};

/// The most permissions that are granted, revoked or asked about at once.
pub const MOST_AT_ONCE: usize = 12;

fn check(resources: &[&Resource]) -> Result<(), Refusal> {
    if resources.is_empty() || resources.len() > MOST_AT_ONCE {
        return Err(Refusal::malformed(format!("between 1 and {MOST_AT_ONCE} resources must be given")));
    }
    for (n, resource) in resources.iter().enumerate() {
        if resources[..n].contains(resource) {
            return Err(Refusal::invalid("uri", "names a resource twice"));
        }
    }
    Ok(())
}

/// What is granted must be here. What is revoked need not: it may have been granted when the cluster had another name.
fn check_here<'a>(service: &Service, mut resources: impl Iterator<Item = &'a Resource>) -> Result<(), Refusal> {
    if resources.any(|resource| !resource.is_in(&service.policy.cluster)) {
        return Err(of_another_cluster(&service.policy.cluster, "uri"));
    }
    Ok(())
}

/// A principal, and rows that it may have, read together.
struct Rows {
    holder: Holder,
    /// Of each resource: who owns its namespace, and the row as it is.
    held: Vec<(Option<Uid>, Option<Row<Held>>)>,
}

/// Two round trips: who that is, then the rows.
async fn rows_of(service: &Service, now: Timestamp, of: &Principal, resources: &[&Resource]) -> Result<Rows, Refusal> {
    let mut keys = of.keys();
    keys.extend(resources.iter().map(|resource| NamespaceOwner::key_of(resource.namespace().unwrap_or_default())));
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let holder = of.resolve(&mut rows)?.ok_or_else(|| of.absent())?;
    let keys: Vec<Key> = resources.iter().map(|resource| Held::key_of(&holder, resource.as_str())).collect();
    let held = service.store.get(now, &keys).await?;
    let held = rows.zip(held).map(|(owner, held)| {
        let owner = decode::<NamespaceOwner>(owner)?.map(|row| row.record.uid);
        Ok((owner, decode::<Held>(held)?))
    });
    Ok(Rows { held: held.collect::<Result<_, Refusal>>()?, holder })
}

/// Gives a principal permissions, all or none; `by` needs `manage` on each resource. What somebody has already is never
/// lowered, except that a `deny` takes the place of whatever there is, and gives way to whatever is granted after it. The
/// answer is what holds now, in the order asked. Who gets `read` on `role://CLUSTER/NAMESPACE/…` becomes a member of the
/// role `NAMESPACE/…`, until it is revoked.
///
/// # Errors
/// `Forbidden`, with what is missing; `Absent`: there is no such principal; `Malformed`: none or more than
/// [`MOST_AT_ONCE`]; `Invalid` for `uri`: one is in another cluster, or given twice; `Unavailable`.
pub async fn grant(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    to: &Principal,
    wanted: &[(Resource, Action)],
) -> Result<Vec<Permission>, Refusal> {
    let resources: Vec<&Resource> = wanted.iter().map(|(resource, _)| resource).collect();
    check(&resources)?;
    check_here(service, resources.iter().copied())?;
    require_manage(service, now, by, &resources).await?;
    put(service, now, by, to, wanted).await
}

/// The role whose members have `read` on a resource: `role://CLUSTER/NAMESPACE/…` is the role `NAMESPACE/…`.
fn role_of(resource: &Resource) -> Option<Role> {
    let path = resource.as_str().strip_prefix("role://")?;
    let (_, role) = path.split_once('/')?;
    Role::parse(role).ok().filter(|role| role.as_str().contains('/'))
}

/// The account whose roles go with permissions on these resources; none, if none of them is about a role.
async fn member(
    service: &Service,
    now: Timestamp,
    of: &Principal,
    holder: &Holder,
    mut resources: impl Iterator<Item = &Resource>,
) -> Result<Option<Row<Account>>, Refusal> {
    match of {
        Principal::User(name) if resources.any(|resource| role_of(resource).is_some()) => {
            still(of, holder, Some(manage::get(service, now, name.as_str()).await?)).map(Some)
        }
        _ => Ok(None),
    }
}

/// An account, if it is the one that holds the permissions: one that was made again under the name is another one.
fn still(of: &Principal, holder: &Holder, row: Option<Row<Account>>) -> Result<Row<Account>, Refusal> {
    row.filter(|row| row.record.deleted_at.is_none() && Holder::One(row.record.uid) == *holder)
        .ok_or_else(|| of.absent())
}

/// An account's roles, to be written together with the permissions that they come of.
struct Membership {
    account: Account,
    when: When,
    /// Roles that it gets, and roles that are taken from it; none, if it is right as it is.
    changes: Vec<(Role, bool)>,
}

impl Membership {
    /// Whoever has `read` on a role is its member: the account lists it, and so what was granted to the role counts.
    ///
    /// # Errors
    /// `Invalid` for `roles`: it would have too many.
    fn of<'a>(
        member: Option<&Row<Account>>,
        permissions: impl Iterator<Item = (&'a Permission, Option<Uid>)>,
    ) -> Result<Option<Self>, Refusal> {
        let Some(row) = member else { return Ok(None) };
        let mut account = row.record.clone();
        let mut changes = Vec::new();
        for (permission, owner) in permissions {
            let Some(role) = role_of(&permission.resource) else { continue };
            let is_member = permission.action.gives(Action::Read);
            if manage::set_role(&mut account, &role, owner, is_member)? {
                changes.push((role, is_member));
            }
        }
        Ok(Some(Self { account, when: When::VersionIs(row.version), changes }))
    }

    /// Also an account that is right as it is must not have changed meanwhile.
    fn write(&self) -> Write {
        if self.changes.is_empty() {
            return Write::Check { key: self.account.key(), when: self.when };
        }
        self.account.put(self.when)
    }

    fn audit(&self, by: &Subject) {
        for (role, is_member) in &self.changes {
            let event = if *is_member { "role_given" } else { "role_taken" };
            tracing::info!(
                target: "gatemint::audit", event, user.name = %self.account.name, role = %role, actor = by.name(),
            );
        }
    }
}

pub(super) async fn require_manage(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    resources: &[&Resource],
) -> Result<(), Refusal> {
    let needed: Vec<_> = resources.iter().map(|resource| ((*resource).clone(), Action::Manage)).collect();
    require(service, now, by, &needed).await
}

async fn put(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    to: &Principal,
    wanted: &[(Resource, Action)],
) -> Result<Vec<Permission>, Refusal> {
    let resources: Vec<&Resource> = wanted.iter().map(|(resource, _)| resource).collect();
    let Rows { holder, mut held } = rows_of(service, now, to, &resources).await?;
    let mut member = member(service, now, to, &holder, resources.iter().copied()).await?;
    for _ in 0..ROUNDS {
        let (mut writes, mut stay, mut granted) = (Vec::new(), Vec::new(), Vec::new());
        // Which of the wanted a write is about, if it has a condition.
        let mut about = Vec::new();
        let mut outcome = Vec::with_capacity(wanted.len());
        for (n, ((resource, wanted), (owner, row))) in wanted.iter().zip(&held).enumerate() {
            let has = row.as_ref().filter(|row| row.record.stands(&holder, *owner)).map(|row| row.record.action);
            let stays = has.filter(|has| *wanted != Action::Deny && *has != Action::Deny && has >= wanted);
            outcome.push(Permission {
                principal: to.clone(),
                resource: resource.clone(),
                action: stays.unwrap_or(*wanted),
            });
            let when = row.as_ref().map_or(When::Absent, |row| When::VersionIs(row.version));
            if stays.is_some() {
                stay.push((n, Write::Check { key: Held::key_of(&holder, resource.as_str()), when }));
            } else {
                writes.push(Held::new(&holder, resource, *wanted, *owner).put(when));
                writes.push(Listed::new(to, &holder, resource).put(When::Always));
                about.extend([Some(n), None]);
                granted.push(n);
            }
        }
        // With what was granted before, too: the role may have been taken by another way.
        let membership = Membership::of(member.as_ref(), outcome.iter().zip(held.iter().map(|(owner, _)| *owner)))?;
        if writes.is_empty() && membership.as_ref().is_none_or(|membership| membership.changes.is_empty()) {
            return Ok(outcome);
        }
        for (n, check) in stay {
            writes.push(check);
            about.push(Some(n));
        }
        writes.extend(membership.as_ref().map(Membership::write));
        match service.commit(now, writes).await {
            Ok(_) => {
                for n in granted {
                    audit("permission_granted", by, &outcome[n]);
                }
                if let Some(membership) = membership {
                    membership.audit(by);
                }
                return Ok(outcome);
            }
            Err(CommitError::Conflict { at, current }) => match about.get(at).copied().flatten() {
                Some(n) => held[n].1 = decode(current)?,
                // The account's row is the last one.
                None => member = Some(still(to, &holder, decode(current)?)?),
            },
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a permission kept changing"))
}

fn audit(event: &'static str, by: &Subject, permission: &Permission) {
    tracing::info!(
        target: "gatemint::audit", event, actor = by.name(), principal = %permission.principal,
        permission.resource = %permission.resource, permission.action = permission.action.as_str(),
    );
}

/// Takes permissions of a principal away, grants and denials alike; `by` needs `manage` on each resource, but to leave a
/// role. What it holds above or below them stays.
///
/// # Errors
/// `Forbidden`, with what is missing; `Absent`: there is no such principal; `Conflict`: it holds none of them; `Malformed`,
/// `Invalid` as [`grant`]; `Unavailable`.
pub async fn revoke(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    resources: &[Resource],
) -> Result<(), Refusal> {
    let resources: Vec<&Resource> = resources.iter().collect();
    check(&resources)?;
    // A token that only reads roles leaves none, either.
    let may_leave = |resource: &&Resource| {
        role_of(resource).is_some() && by.limited(resource.scheme(), Action::Write) == Action::Write
    };
    let own_roles = by.principal() == Some(of) && resources.iter().all(may_leave);
    let mut manages = by.is_admin();
    if !manages && !own_roles {
        require_manage(service, now, by, &resources).await?;
        manages = true;
    }
    for _ in 0..ROUNDS {
        let Rows { holder, held } = rows_of(service, now, of, &resources).await?;
        // Whoever was made a member of a role may leave it; a denial is not hers to take away.
        let is_member = |row: &Option<Row<Held>>| row.as_ref().is_some_and(|row| row.record.action.gives(Action::Read));
        if !manages && !held.iter().all(|(_, row)| is_member(row)) {
            require_manage(service, now, by, &resources).await?;
            manages = true;
        }
        let stands = |(owner, row): &(Option<Uid>, Option<Row<Held>>)| {
            row.as_ref().is_some_and(|row| row.record.stands(&holder, *owner))
        };
        let revoked = held.iter().any(stands);
        // Who leaves does so from what was seen, and not from a denial that came meanwhile.
        let when = |row: &Row<Held>| if manages { When::Always } else { When::VersionIs(row.version) };
        let rows: Vec<_> = held.into_iter().filter_map(|(_, row)| row).map(|row| (when(&row), row.record)).collect();
        if take_away(service, now, by, of, &holder, &rows).await? {
            return if revoked { Ok(()) } else { Err(Refusal::conflict("Operation has no effect")) };
        }
    }
    Err(Refusal::unavailable("a permission kept changing"))
}

/// A row and the entry that lists it go in one commit, and a role with them: of what is granted at the same moment all is
/// there, or nothing. `When::Always`: whatever the row has become meanwhile, nothing is left of it. False: one is not what
/// was asked for any more, and those with it stay.
async fn take_away(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    holder: &Holder,
    rows: &[(When, Held)],
) -> Result<bool, Refusal> {
    for some in rows.chunks(MOST_AT_ONCE) {
        let mut member = member(service, now, of, holder, some.iter().map(|(_, held)| &held.resource)).await?;
        let gone = |action: fn(&Held) -> Action| -> Vec<Permission> {
            let permission = |held: &Held| Permission {
                principal: of.clone(),
                resource: held.resource.clone(),
                action: action(held),
            };
            some.iter().map(|(_, held)| permission(held)).collect()
        };
        let mut rounds = 0..ROUNDS;
        loop {
            rounds.next().ok_or_else(|| Refusal::unavailable("an account kept changing"))?;
            let mut writes = Vec::with_capacity(2 * some.len() + 1);
            for (when, held) in some {
                // A put, since a delete cannot tell whether it was done: a row that is past its purge time is absent.
                writes.push(Held { revoked_at: Some(now), ..held.clone() }.put(*when));
                writes.push(Write::Delete { key: Listed::new(of, holder, &held.resource).key(), when: When::Always });
            }
            let membership = Membership::of(member.as_ref(), gone(|_| Action::Deny).iter().map(|gone| (gone, None)))?;
            writes.extend(membership.as_ref().map(Membership::write));
            match service.commit(now, writes).await {
                Ok(_) => {
                    for permission in gone(|held| held.action) {
                        audit("permission_revoked", by, &permission);
                    }
                    if let Some(membership) = membership {
                        membership.audit(by);
                    }
                    break;
                }
                Err(CommitError::Conflict { at, .. }) if at < 2 * some.len() => return Ok(false),
                Err(CommitError::Conflict { current, .. }) => member = Some(still(of, holder, decode(current)?)?),
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
    }
    Ok(true)
}

/// Makes these a principal's permissions, and takes away what else it was granted itself. For admins. Not one commit:
/// what is new is granted first.
///
/// # Errors
/// `Forbidden`; `Absent`; `Invalid` for `uri` as [`grant`]; `Malformed`: more than 1,000; `Unavailable`: some may be done.
pub async fn replace(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    all: &[(Resource, Action)],
) -> Result<(), Refusal> {
    const MOST: usize = 1000;
    if !by.is_admin() {
        return Err(Refusal::forbidden("only admins may replace all permissions of somebody"));
    }
    if all.len() > MOST {
        return Err(Refusal::malformed(format!("at most {MOST} permissions can be given at once")));
    }
    let mut resources: Vec<&Resource> = all.iter().map(|(resource, _)| resource).collect();
    resources.sort_unstable();
    if resources.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::invalid("uri", "names a resource twice"));
    }
    check_here(service, resources.iter().copied())?;
    let holder = of.find(service, now).await?;
    let before = rows_within(service, now, &Held::partition(&holder), None, |held: &Held| &held.resource).await?;
    for some in all.chunks(MOST_AT_ONCE) {
        put(service, now, by, of, some).await?;
    }
    let mut gone = Vec::new();
    for held in before {
        let kept = all.iter().find(|(resource, _)| *resource == held.resource);
        match kept {
            // What was more than is wanted now has to go before the lesser is granted.
            Some((_, wanted)) if *wanted != Action::Deny && held.action > *wanted => {
                let lesser = [(held.resource.clone(), *wanted)];
                take_away(service, now, by, of, &holder, &[(When::Always, held)]).await?;
                put(service, now, by, of, &lesser).await?;
            }
            Some(_) => {}
            None => gone.push((When::Always, held)),
        }
    }
    take_away(service, now, by, of, &holder, &gone).await.map(drop)
}

/// Takes away what an account that is gone was granted, as far as that is quickly done: nothing of it counts any more, since
/// its uid never comes back, and it would only lie there.
pub(in crate::domain) async fn sweep(
    service: &Service,
    now: Timestamp,
    of: &Principal,
    uid: Uid,
) -> Result<(), Refusal> {
    const MOST: usize = 100;
    let holder = Holder::One(uid);
    let page = service.store.list(now, &Held::partition(&holder), None, MOST).await?;
    let keys: Vec<Key> = page.items.iter().map(|item| item.key.clone()).collect();
    let mut entries = Vec::with_capacity(keys.len());
    for item in page.items {
        entries.extend(decode::<Held>(Some(item))?.map(|row| Listed::new(of, &holder, &row.record.resource).key()));
    }
    let listed = if entries.is_empty() { Vec::new() } else { service.store.get(now, &entries).await? };
    for entry in listed {
        let Some(Row { record, version, .. }) = decode::<Listed>(entry)? else { continue };
        // One that is made again under the name may have been granted the same by now: its entry stays.
        if record.uid == Some(uid) {
            match service.commit(now, vec![Write::Delete { key: record.key(), when: When::VersionIs(version) }]).await {
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
    }
    for key in keys {
        service.commit(now, vec![Write::Delete { key, when: When::Always }]).await?;
    }
    Ok(())
}
