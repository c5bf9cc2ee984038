//! Who may do what with a resource: what was granted and denied, and what owners and admins have without it.
//!
//! Resources are a tree by segment. What counts for a principal on a resource is what it, and the roles that its account
//! lists now, hold on the resource and on its ancestors: any `deny` refuses, else the highest action counts. A decision reads
//! exactly those rows in one batch, so it does not matter how much else a principal was granted.
//!
//! A row holds the uid of its principal, and of whoever owned the resource's namespace at the time: neither a name that is
//! made again, nor a namespace that somebody else has since, inherits anything. One that was granted while nobody owned
//! the namespace stands whoever comes to own it.

use serde::{Deserialize, Serialize};

use super::{Principal, Resource, Subject, principal::Holder, resource::of_another_cluster};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, RefusalKind, Service,
        account::{Account, NamespaceOwner},
        ids::{AccountKey, Role, Uid},
        service_account::ServiceAccount,
    },
    store::{CommitError, Item, Key, Record, Row, When, Write, decode},
};

/// The most permissions that are granted, revoked or asked about at once.
pub const MOST_AT_ONCE: usize = 12;

/// The most permissions that a list has, or that replace others.
const MOST_LISTED: usize = 20_000;

/// How many rows of a list are read at a time.
const PAGE: usize = 500;

/// What may be done with a resource. A higher one implies the lower ones; `deny` is none of them, and gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing, whatever else was granted.
    Deny,
    /// To learn that it is there.
    List,
    /// To look at it.
    Read,
    /// To change it.
    Write,
    /// To give others permissions on it.
    Manage,
}

impl Action {
    /// All of them, with their names, from the least to the most.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Deny, "deny"),
        (Self::List, "list"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Manage, "manage"),
    ];

    /// The action of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(action, _)| action)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(action, _)| *action == self).map_or("", |(_, name)| name)
    }

    /// Whether who has this may do `wanted`. Nobody wants to be denied: whoever asks for that asks for something else by
    /// mistake.
    pub fn gives(self, wanted: Self) -> bool {
        wanted != Self::Deny && self >= wanted
    }
}

/// What a principal holds on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Whose it is.
    pub principal: Principal,
    /// What it is about: this, and what is below it.
    pub resource: Resource,
    /// What may be done.
    pub action: Action,
}

/// The row of a permission: what a decision reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    /// The principal's uid; of a role, that of its namespace's owner.
    principal: Option<Uid>,
    /// The role whose holders have it; none: the account or service account of that uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    resource: Resource,
    action: Action,
    /// Who owned the resource's namespace when it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Uid>,
    /// Set when it was revoked: the row is then past its purge time, so it is absent; this is for a reader whose clock is
    /// behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
}

impl Held {
    fn partition(holder: &Holder) -> String {
        match holder {
            Holder::One(uid) => format!("perm#{uid}"),
            Holder::Role(role, _) => format!("perm#role:{role}"),
        }
    }

    fn key_of(holder: &Holder, resource: &str) -> Key {
        Key::new(Self::partition(holder), resource)
    }

    fn new(holder: &Holder, resource: &Resource, action: Action, owner: Option<Uid>) -> Self {
        let (principal, role) = match holder {
            Holder::One(uid) => (Some(*uid), None),
            Holder::Role(role, owner) => (*owner, Some(role.clone())),
        };
        Self { principal, role, resource: resource.clone(), action, owner, revoked_at: None }
    }

    fn holder(&self) -> Option<Holder> {
        match (&self.role, self.principal) {
            (Some(role), owner) => Some(Holder::Role(role.clone(), owner)),
            (None, Some(uid)) => Some(Holder::One(uid)),
            (None, None) => None,
        }
    }

    /// Whether it counts for that holder, in a namespace that `owner` owns now.
    fn stands(&self, holder: &Holder, owner: Option<Uid>) -> bool {
        self.revoked_at.is_none()
            && self.holder().as_ref() == Some(holder)
            && (self.owner.is_none() || self.owner == owner)
    }
}

impl Record for Held {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        let partition = match &self.role {
            Some(role) => format!("perm#role:{role}"),
            None => format!("perm#{}", self.principal.unwrap_or(Uid([0; 16]))),
        };
        Key::new(partition, self.resource.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        self.revoked_at
    }
}

/// The entry that lists a permission among those on a namespace's resources. The row of the permission is what counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Listed {
    principal: Principal,
    /// Who that was; none of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    resource: Resource,
}

impl Listed {
    fn new(principal: &Principal, holder: &Holder, resource: &Resource) -> Self {
        let uid = match holder {
            Holder::One(uid) => Some(*uid),
            Holder::Role(..) => None,
        };
        Self { principal: principal.clone(), uid, resource: resource.clone() }
    }

    fn partition(namespace: Option<&str>) -> String {
        format!("perm#on:{}", namespace.unwrap_or_default())
    }
}

impl Record for Listed {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        // No resource has a line break, so one's entries never stand among another's.
        Key::new(Self::partition(self.resource.namespace()), format!("{}\n{}", self.resource, self.principal))
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The schemes in which the owner of a namespace may do everything without a grant. To mint gate tokens is not among
/// them: they open what is behind a gate for whoever holds them, so an operator gives that right.
const OWNED: [&str; 9] = ["storage", "image", "job", "blob", "disk", "flow", "secret", "role", "serviceaccount"];

/// What somebody may do with a resource, to be answered by rows that are read together with others.
///
/// Whoever may not sign in may do nothing. Admins have `manage` on everything, owners on what is theirs, and no `deny` takes
/// that away; for everybody else the rows decide.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    subject: &'a Subject,
    resource: &'a Resource,
}

impl<'a> Question<'a> {
    /// What `subject` may do with `resource`.
    pub fn new(subject: &'a Subject, resource: &'a Resource) -> Self {
        Self { subject, resource }
    }

    /// What is known without a row.
    fn known(self) -> Option<Action> {
        let owns = || self.resource.namespace().is_some_and(|namespace| self.subject.owns(namespace));
        match self.subject.stands() {
            false => Some(Action::Deny),
            true if self.subject.is_admin() => Some(Action::Manage),
            true if OWNED.contains(&self.resource.scheme()) && owns() => Some(Action::Manage),
            true => None,
        }
    }

    /// The namespaces whose owners must be known: the resource's, and those of roles.
    fn namespaces(self) -> Vec<String> {
        let mut namespaces: Vec<String> = self.resource.namespace().map(ToOwned::to_owned).into_iter().collect();
        for holder in self.subject.holders(|_| None) {
            if let Holder::Role(role, _) = holder {
                namespaces.push(super::principal::namespace_of(&role).to_owned());
            }
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// What must be read to answer: nothing, if it is known.
    pub fn keys(self) -> Vec<Key> {
        if self.known().is_some() {
            return Vec::new();
        }
        let mut keys: Vec<Key> = self.namespaces().iter().map(|name| NamespaceOwner::key_of(name)).collect();
        for holder in self.subject.holders(|_| None) {
            keys.extend(self.resource.ancestors().map(|above| Held::key_of(&holder, above)));
        }
        keys
    }

    /// What it may do, by these rows, in the order of [`Question::keys`]; as many as those are taken.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn answer(self, rows: &mut impl Iterator<Item = Option<Item>>) -> Result<Option<Action>, Refusal> {
        if let Some(known) = self.known() {
            return Ok(Some(known));
        }
        let mut owners = Vec::new();
        for namespace in self.namespaces() {
            let owner = decode::<NamespaceOwner>(rows.next().flatten())?.map(|row| row.record.uid);
            owners.push((namespace, owner));
        }
        let owner_of =
            |name: &str| owners.iter().find(|(namespace, _)| namespace == name).and_then(|(_, owner)| *owner);
        let owner = self.resource.namespace().and_then(owner_of);
        let mut found = None;
        for holder in self.subject.holders(owner_of) {
            for above in self.resource.ancestors() {
                let held = decode::<Held>(rows.next().flatten())?.map(|row| row.record);
                // What is above the namespace was granted on a whole cluster, which nobody owns.
                let held = held.filter(|held| held.stands(&holder, owner) && held.resource.as_str() == above);
                found = match (found, held.map(|held| held.action)) {
                    (Some(Action::Deny), _) | (_, Some(Action::Deny)) => Some(Action::Deny),
                    (found, action) => found.max(action),
                };
            }
        }
        Ok(found)
    }
}

/// Whether somebody may do that with a resource now. One round trip, or none if it is known without.
///
/// # Errors
/// `Unavailable`.
pub async fn may(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    resource: &Resource,
    wanted: Action,
) -> Result<bool, Refusal> {
    let asked = [(resource.clone(), wanted)];
    Ok(not_granted(service, now, subject, &asked).await?.is_empty())
}

/// What somebody may do with a resource of this cluster now: the highest action, or `deny`, or nothing.
///
/// # Errors
/// `Unavailable`.
pub async fn level(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    resource: &Resource,
) -> Result<Option<Action>, Refusal> {
    let question = Question::new(subject, resource);
    let keys = question.keys();
    let rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? };
    question.answer(&mut rows.into_iter())
}

/// Refuses whoever may not do all of this now.
///
/// # Errors
/// `Forbidden`, with what is missing; `Unavailable`.
pub async fn require(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    asked: &[(Resource, Action)],
) -> Result<(), Refusal> {
    let missing = not_granted(service, now, subject, asked).await?;
    if missing.is_empty() { Ok(()) } else { Err(Refusal::not_granted(missing)) }
}

/// Those that somebody may not do now, in one round trip.
async fn not_granted(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    asked: &[(Resource, Action)],
) -> Result<Vec<(Resource, Action)>, Refusal> {
    let questions: Vec<_> = asked.iter().map(|(resource, _)| Question::new(subject, resource)).collect();
    let keys: Vec<Key> = questions.iter().flat_map(|question| question.keys()).collect();
    let rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? };
    let mut rows = rows.into_iter();
    let mut missing = Vec::new();
    for (question, (resource, wanted)) in questions.into_iter().zip(asked) {
        let has = question.answer(&mut rows)?;
        // In another cluster nobody has anything: that is for its own service to say.
        let here = resource.is_in(&service.policy.cluster);
        if !here || !has.is_some_and(|has| has.gives(*wanted)) {
            missing.push((resource.clone(), *wanted));
        }
    }
    Ok(missing)
}

fn check(service: &Service, resources: &[&Resource]) -> Result<(), Refusal> {
    if resources.is_empty() || resources.len() > MOST_AT_ONCE {
        return Err(Refusal::malformed(format!("between 1 and {MOST_AT_ONCE} resources must be given")));
    }
    for (n, resource) in resources.iter().enumerate() {
        if !resource.is_in(&service.policy.cluster) {
            return Err(of_another_cluster(&service.policy.cluster, "uri"));
        }
        if resources[..n].contains(resource) {
            return Err(Refusal::invalid("uri", "names a resource twice"));
        }
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
/// answer is what holds now, in the order asked.
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
    check(service, &resources)?;
    require_manage(service, now, by, &resources).await?;
    put(service, now, by, to, wanted).await
}

async fn require_manage(
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
    for _ in 0..ROUNDS {
        let mut writes = Vec::new();
        // Which of the wanted a write is about: every other write is the entry that lists it.
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
            if stays.is_none() {
                let when = row.as_ref().map_or(When::Absent, |row| When::VersionIs(row.version));
                writes.push(Held::new(&holder, resource, *wanted, *owner).put(when));
                writes.push(Listed::new(to, &holder, resource).put(When::Always));
                about.push(n);
            }
        }
        if writes.is_empty() {
            return Ok(outcome);
        }
        match service.commit(now, writes).await {
            Ok(_) => {
                for n in about {
                    audit("permission_granted", by, &outcome[n]);
                }
                return Ok(outcome);
            }
            Err(CommitError::Conflict { at, current }) => {
                let n =
                    about.get(at / 2).ok_or_else(|| Refusal::unavailable("a conflict of an unconditional write"))?;
                held[*n].1 = decode(current)?;
            }
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

/// Takes permissions of a principal away, grants and denials alike; `by` needs `manage` on each resource. What it holds
/// above or below them stays.
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
    check(service, &resources)?;
    require_manage(service, now, by, &resources).await?;
    let Rows { holder, held } = rows_of(service, now, of, &resources).await?;
    let revoked = held.iter().any(|(owner, row)| row.as_ref().is_some_and(|row| row.record.stands(&holder, *owner)));
    let rows = held.into_iter().filter_map(|(_, row)| row.map(|row| row.record)).collect();
    take_away(service, now, by, of, &holder, rows).await?;
    if revoked { Ok(()) } else { Err(Refusal::conflict("Operation has no effect")) }
}

/// A row and the entry that lists it go in one commit: of what is granted at the same moment both are there, or neither.
/// Whatever the row has become meanwhile, nothing is left of it.
async fn take_away(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    of: &Principal,
    holder: &Holder,
    rows: Vec<Held>,
) -> Result<(), Refusal> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let some: Vec<Held> = rows.by_ref().take(MOST_AT_ONCE).collect();
        let mut writes = Vec::with_capacity(2 * some.len());
        for held in &some {
            // A put, since a delete cannot tell whether it was done: a row that is past its purge time is absent.
            writes.push(Held { revoked_at: Some(now), ..held.clone() }.put(When::Always));
            writes.push(Write::Delete { key: Listed::new(of, holder, &held.resource).key(), when: When::Always });
        }
        service.commit(now, writes).await?;
        for held in some {
            let permission = Permission { principal: of.clone(), resource: held.resource, action: held.action };
            audit("permission_revoked", by, &permission);
        }
    }
    Ok(())
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
    if resources.iter().any(|resource| !resource.is_in(&service.policy.cluster)) {
        return Err(of_another_cluster(&service.policy.cluster, "uri"));
    }
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
                take_away(service, now, by, of, &holder, vec![held]).await?;
                put(service, now, by, of, &lesser).await?;
            }
            Some(_) => {}
            None => gone.push(held),
        }
    }
    take_away(service, now, by, of, &holder, gone).await
}

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
    let mut principals = vec![of.clone()];
    if let (true, Principal::User(name)) = (with_roles, of) {
        let row: Option<Row<Account>> = service.read(now, Account::key_of(AccountKey::of(name.as_str()))).await?;
        let roles = row.into_iter().flat_map(|row| row.record.roles);
        principals.extend(roles.filter(|role| role.as_str().contains('/')).map(Principal::Role));
    }
    let mut found = Vec::new();
    for principal in principals {
        let holder = principal.find(service, now).await?;
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
            if by.principal() != Some(of) {
                require_sight(service, now, by, None).await?;
            }
            match (own, by.namespace().filter(|_| by.principal() == Some(of))) {
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

/// Who owns which namespace now.
struct Owners(Vec<(String, Option<Uid>)>);

impl Owners {
    fn of(&self, resource: &Resource) -> Option<Uid> {
        let namespace = resource.namespace()?;
        self.0.iter().find(|(name, _)| name == namespace).and_then(|(_, owner)| *owner)
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
async fn rows_within<T: Record>(
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
/// `Forbidden`, `Absent`, `Malformed`, `Invalid` as [`grant`]; `Unavailable`.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::Version;

    const ADA: Uid = Uid([1; 16]);
    const EVE: Uid = Uid([2; 16]);

    /// Ada, who owns the namespace `ada`, with these roles.
    fn ada(roles: &[&str]) -> Account {
        serde_json::from_value(serde_json::json!({
            "name": "ada", "uid": ADA, "namespace": "ada", "email": "", "roles": roles, "enabled": true, "epoch": 0,
            "password": "no hash", "created_at": 0,
        }))
        .unwrap()
    }

    fn resource(text: &str) -> Resource {
        Resource::parse(text, "uri").unwrap()
    }

    /// Rows, with `eve` as the owner of the namespace `eve`.
    #[derive(Default)]
    struct Rows(BTreeMap<Key, String>);

    impl Rows {
        fn of(held: &[Held]) -> Self {
            let mut rows = Self::default();
            rows.owned("eve", EVE);
            for held in held {
                rows.add(held);
            }
            rows
        }

        fn owned(&mut self, name: &str, uid: Uid) {
            let namespace = crate::domain::ids::Name::parse(name, "name").unwrap();
            self.add(&NamespaceOwner { owner: namespace.clone(), namespace, uid });
        }

        fn add(&mut self, record: &impl Record) {
            let Write::Put { item, .. } = record.put(When::Always) else { unreachable!() };
            self.0.insert(item.key, item.body);
        }

        fn answer(&self, subject: &Subject, uri: &str) -> Option<Action> {
            let resource = resource(uri);
            let question = Question::new(subject, &resource);
            let row = |key: Key| {
                let body = self.0.get(&key)?.clone();
                Some(Item { key, version: Version([0; 16]), expires_at: None, body })
            };
            let mut rows = question.keys().into_iter().map(row);
            let answer = question.answer(&mut rows).unwrap();
            assert!(rows.next().is_none(), "as many rows are taken as are asked for");
            answer
        }
    }

    fn held(uri: &str, action: Action) -> Held {
        let resource = resource(uri);
        let owner = (resource.namespace() == Some("eve")).then_some(EVE);
        Held::new(&Holder::One(ADA), &resource, action, owner)
    }

    fn by_role(role: &str, owner: Option<Uid>, uri: &str, action: Action) -> Held {
        Held::new(&Holder::Role(Role::parse(role).unwrap(), owner), &resource(uri), action, None)
    }

    #[test]
    fn an_owner_has_everything_of_her_own_namespace_but_gate_tokens() {
        let (rows, ada) = (Rows::default(), Subject::of_account(&ada(&[]), true));
        for scheme in OWNED {
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/ada/x")), Some(Action::Manage));
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/ada")), Some(Action::Manage));
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/eve/x")), None);
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/ada.x/x")), None);
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default")), None);
        }
        for other in ["gatetoken://default/ada", "tokens://default/ada", "job-x://default/ada"] {
            assert_eq!(rows.answer(&ada, other), None, "{other}");
        }
    }

    #[test]
    fn an_admin_has_everything_while_she_may_sign_in() {
        let rows = Rows::default();
        let admin = Subject::of_account(&ada(&["admin"]), true);
        assert_eq!(rows.answer(&admin, "gatetoken://default/eve"), Some(Action::Manage));
        assert_eq!(rows.answer(&admin, "tokenreview://default"), Some(Action::Manage));
        let narrowed = Subject::of_account(&ada(&["admin"]), false);
        assert_eq!(rows.answer(&narrowed, "gatetoken://default/eve"), None);
        for roles in [&["admin"][..], &[]] {
            let disabled = Account { enabled: false, ..ada(roles) };
            let deleted = Account { deleted_at: Some(Timestamp(1)), ..ada(roles) };
            for gone in [disabled, deleted] {
                let gone = Subject::of_account(&gone, true);
                assert_eq!(rows.answer(&gone, "job://default/ada/x"), Some(Action::Deny));
                assert!(!gone.is_admin() && !gone.owns("ada"));
            }
        }
    }

    #[test]
    fn the_highest_of_a_resource_and_its_ancestors_counts_unless_one_denies() {
        let subject = Subject::of_account(&ada(&[]), true);
        let web = "job://default/eve/web/logs";
        for (rows, answer) in [
            (vec![], None),
            (vec![held("job://default/eve/web", Action::Read)], Some(Action::Read)),
            (vec![held("job://default", Action::Write), held("job://default/eve", Action::List)], Some(Action::Write)),
            (vec![held("job://default", Action::Manage), held(web, Action::Deny)], Some(Action::Deny)),
            (vec![held("job://default", Action::Deny), held(web, Action::Manage)], Some(Action::Deny)),
            (vec![held("job://default/eve/we", Action::Manage)], None),
            (vec![held("job://default/eve/web/logs/today", Action::Manage)], None),
            (vec![held("image://default/eve/web", Action::Manage)], None),
        ] {
            assert_eq!(Rows::of(&rows).answer(&subject, web), answer, "{rows:?}");
        }
    }

    #[test]
    fn a_role_counts_while_the_account_lists_it_and_for_no_other_owner_of_its_namespace() {
        let web = "job://default/eve/web";
        let rows = Rows::of(&[by_role("eve/readers", Some(EVE), "job://default/eve", Action::Read)]);
        let with = |roles: &[&str]| rows.answer(&Subject::of_account(&ada(roles), true), web);
        assert_eq!(with(&["eve/readers"]), Some(Action::Read));
        assert_eq!(with(&["other", "x/y", "eve/readers"]), Some(Action::Read));
        for none in [&[][..], &["eve/reader"], &["eve"], &["eve/readers/x"], &["readers"]] {
            assert_eq!(with(none), None, "{none:?}");
        }
        let of_another = Rows::of(&[by_role("eve/readers", Some(Uid([9; 16])), "job://default/eve", Action::Read)]);
        assert_eq!(of_another.answer(&Subject::of_account(&ada(&["eve/readers"]), true), web), None);
        let denied = Rows::of(&[
            by_role("eve/readers", Some(EVE), "job://default/eve", Action::Deny),
            held(web, Action::Manage),
        ]);
        let subject = Subject::of_account(&ada(&["eve/readers"]), false);
        assert_eq!(denied.answer(&subject, web), Some(Action::Deny), "a narrowed token gets around no denial");
    }

    #[test]
    fn neither_a_name_nor_a_namespace_that_is_made_again_inherits() {
        let web = "job://default/eve/web";
        let row = held(web, Action::Manage);
        let subject = Subject::of_account(&ada(&[]), true);
        assert_eq!(Rows::of(std::slice::from_ref(&row)).answer(&subject, web), Some(Action::Manage));
        let again = Subject::of_account(&Account { uid: Uid([3; 16]), ..ada(&[]) }, true);
        assert_eq!(Rows::of(std::slice::from_ref(&row)).answer(&again, web), None);
        // Another's row under this one's key: it holds whose it is.
        let mut planted = Rows::of(&[]);
        let Write::Put { item, .. } = row.put(When::Always) else { unreachable!() };
        planted.0.insert(Held::key_of(&Holder::One(Uid([3; 16])), web), item.body);
        assert_eq!(planted.answer(&again, web), None);
        // Eve's namespace belongs to another Eve now.
        let mut others = Rows::of(&[row]);
        others.owned("eve", Uid([4; 16]));
        assert_eq!(others.answer(&subject, web), None);
        // What was granted while nobody owned the namespace stands.
        let early = Held::new(&Holder::One(ADA), &resource(web), Action::Read, None);
        let mut rows = Rows::of(&[early]);
        rows.owned("eve", Uid([4; 16]));
        assert_eq!(rows.answer(&subject, web), Some(Action::Read));
    }

    #[test]
    fn no_deny_binds_an_owner_or_an_admin() {
        let own = Held::new(&Holder::One(ADA), &resource("job://default/ada/x"), Action::Deny, Some(ADA));
        let gate = Held::new(&Holder::One(ADA), &resource("gatetoken://default/vms"), Action::Deny, None);
        let rows = Rows::of(&[own, gate]);
        assert_eq!(rows.answer(&Subject::of_account(&ada(&[]), true), "job://default/ada/x"), Some(Action::Manage));
        let admin = Subject::of_account(&ada(&["admin"]), true);
        assert_eq!(rows.answer(&admin, "gatetoken://default/vms"), Some(Action::Manage));
        let plain = Subject::of_account(&ada(&[]), true);
        assert_eq!(rows.answer(&plain, "gatetoken://default/vms"), Some(Action::Deny));
    }

    #[test]
    fn an_action_has_a_name_and_a_rank() {
        for (action, name) in Action::ALL {
            assert_eq!((Action::parse(name), action.as_str()), (Some(action), name));
            assert!(!action.gives(Action::Deny), "nobody wants to be denied");
            assert!(!Action::Deny.gives(action));
        }
        assert!(Action::ALL.is_sorted());
        assert!(Action::Write.gives(Action::Read) && !Action::Read.gives(Action::Write));
        assert_eq!(Action::parse("own"), None);
    }

    #[test]
    fn a_row_of_the_version_before_is_read() {
        let body = serde_json::json!({ "principal": ADA, "resource": "job://default/eve/web", "action": "read" });
        let held: Held = serde_json::from_value(body).unwrap();
        assert!(held.stands(&Holder::One(ADA), Some(EVE)));
    }
}
