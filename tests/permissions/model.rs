//! The rules of permissions as they are told, in the plainest way: whatever was granted is a line in one list, and whoever
//! asks reads all of it, each time.
//!
//! Nothing here comes from the code that it judges: names, URIs and actions are texts, and an action's rank is its place
//! in a list of five words.

use std::collections::BTreeMap;

/// The actions, from the least to the most.
pub(super) const ACTIONS: [&str; 5] = ["deny", "list", "read", "write", "manage"];
/// An action, as its place among [`ACTIONS`].
pub(super) type Rank = usize;
pub(super) const DENY: Rank = 0;
pub(super) const READ: Rank = 2;
pub(super) const WRITE: Rank = 3;
pub(super) const MANAGE: Rank = 4;

/// The schemes in which an owner needs no grant.
const OWNED: [&str; 9] = ["storage", "image", "job", "blob", "disk", "flow", "secret", "role", "serviceaccount"];

/// What tells somebody from whoever has the same name later: the how many-eth she is of all that were ever made.
pub(super) type Birth = u32;

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) roles: Vec<String>,
    /// Of the roles that came of a permission: who owned the role's namespace then.
    pub(super) given_under: BTreeMap<String, Birth>,
    pub(super) enabled: bool,
    birth: Birth,
}

/// `namespace/service-accounts/name`, as one text.
#[derive(Clone, Debug)]
struct ServiceAccount {
    principal: String,
    birth: Birth,
    /// Who owned the namespace when it was made.
    owner: Birth,
}

/// What was granted once.
#[derive(Clone, Debug)]
struct Line {
    principal: String,
    /// Whom the name stood for then; of a role, who owned the namespace that it begins with, if anybody did.
    who: Option<Birth>,
    resource: String,
    action: Rank,
    /// Who owned the resource's namespace then, if anybody did.
    owner: Option<Birth>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum No {
    Forbidden,
    Absent,
    /// There is nothing to revoke.
    Idle,
    /// The name is taken.
    Taken,
}

/// Everybody, and everything that was granted.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    accounts: Vec<Account>,
    service_accounts: Vec<ServiceAccount>,
    lines: Vec<Line>,
    births: u32,
}

/// `a/service-accounts/b` is a service account, another text with a `/` a role, and a text without one a user.
fn is_service_account(principal: &str) -> bool {
    let parts: Vec<&str> = principal.split('/').collect();
    parts.len() == 3 && parts[1] == "service-accounts"
}

fn is_role(principal: &str) -> bool {
    principal.contains('/') && !is_service_account(principal)
}

/// The role that `role://CLUSTER/NAMESPACE/…` is about.
fn role_in(resource: &str) -> Option<&str> {
    resource.strip_prefix("role://default/").filter(|role| role.contains('/'))
}

/// What a principal's text begins with.
fn first_segment(principal: &str) -> &str {
    principal.split('/').next().unwrap()
}

/// `scheme://cluster/namespace/…`
pub(super) fn namespace_of(resource: &str) -> Option<&str> {
    resource.split('/').nth(3)
}

/// Whether something is the resource itself or above it, by segments.
pub(super) fn is_above(upper: &str, resource: &str) -> bool {
    let (upper, resource): (Vec<&str>, Vec<&str>) = (upper.split('/').collect(), resource.split('/').collect());
    upper.len() <= resource.len() && (0..upper.len()).all(|n| upper[n] == resource[n])
}

impl World {
    fn new_birth(&mut self) -> Birth {
        self.births += 1;
        self.births
    }

    pub(super) fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    fn owner_of(&self, namespace: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.namespace == namespace)
    }

    fn birth_of_owner(&self, namespace: &str) -> Option<Birth> {
        self.owner_of(namespace).map(|owner| owner.birth)
    }

    fn service_account(&self, principal: &str) -> Option<&ServiceAccount> {
        let owner = self.birth_of_owner(first_segment(principal))?;
        self.service_accounts.iter().find(|account| account.principal == principal && account.owner == owner)
    }

    /// Whether there is somebody of that name; anything may be a role.
    pub(super) fn exists(&self, principal: &str) -> bool {
        if is_service_account(principal) {
            self.service_account(principal).is_some()
        } else {
            is_role(principal) || self.account(principal).is_some()
        }
    }

    /// Whether whoever has that name could sign in, or show a token.
    pub(super) fn stands(&self, principal: &str) -> bool {
        if is_service_account(principal) {
            self.service_account(principal).is_some()
                && self.owner_of(first_segment(principal)).is_some_and(|owner| owner.enabled)
        } else {
            is_role(principal) || self.account(principal).is_some_and(|account| account.enabled)
        }
    }

    pub(super) fn make_account(&mut self, name: &str, namespace: &str, roles: &[&str]) -> Result<(), No> {
        if self.account(name).is_some() || self.owner_of(namespace).is_some() {
            return Err(No::Taken);
        }
        let birth = self.new_birth();
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        self.accounts.push(Account {
            name: name.into(),
            namespace: namespace.into(),
            roles,
            given_under: BTreeMap::new(),
            enabled: true,
            birth,
        });
        Ok(())
    }

    pub(super) fn delete_account(&mut self, name: &str) -> Result<(), No> {
        let before = self.accounts.len();
        self.accounts.retain(|account| account.name != name);
        // What she was granted is nobody's now.
        self.lines.retain(|line| line.principal != name);
        if self.accounts.len() == before { Err(No::Absent) } else { Ok(()) }
    }

    pub(super) fn change_account(&mut self, name: &str, change: impl FnOnce(&mut Account)) -> Result<(), No> {
        let account = self.accounts.iter_mut().find(|account| account.name == name).ok_or(No::Absent)?;
        change(account);
        Ok(())
    }

    pub(super) fn make_service_account(&mut self, principal: &str) -> Result<(), No> {
        let owner = self.birth_of_owner(first_segment(principal)).ok_or(No::Absent)?;
        if self.service_account(principal).is_some() {
            return Err(No::Taken);
        }
        let birth = self.new_birth();
        self.service_accounts.push(ServiceAccount { principal: principal.into(), birth, owner });
        Ok(())
    }

    pub(super) fn delete_service_account(&mut self, principal: &str) -> Result<(), No> {
        let gone = self.service_account(principal).ok_or(No::Absent)?.birth;
        self.service_accounts.retain(|account| account.birth != gone);
        Ok(())
    }

    /// Whom a name stands for now, as a line holds it.
    pub(super) fn who(&self, principal: &str) -> Option<Birth> {
        if is_service_account(principal) {
            self.service_account(principal).map(|account| account.birth)
        } else if is_role(principal) {
            self.birth_of_owner(first_segment(principal))
        } else {
            self.account(principal).map(|account| account.birth)
        }
    }

    /// Whether a line still means what it meant: the principal is who it was, and so is the owner of the resource's
    /// namespace, if it had one.
    fn counts(&self, line: &Line) -> bool {
        let same_owner = match line.owner {
            Some(owner) => {
                namespace_of(&line.resource).and_then(|namespace| self.birth_of_owner(namespace)) == Some(owner)
            }
            None => true,
        };
        self.exists(&line.principal) && self.who(&line.principal) == line.who && same_owner
    }

    /// What counts of what was granted to exactly this principal on exactly this resource: there is one line of it.
    fn granted(&self, principal: &str, resource: &str) -> Option<Rank> {
        let line = self.lines.iter().find(|line| line.principal == principal && line.resource == resource)?;
        self.counts(line).then_some(line.action)
    }

    /// Principal and resource of a line: how far down the list, of ten thousand.
    pub(super) fn line(&self, at: usize) -> Option<(String, String)> {
        let line = self.lines.get(at * self.lines.len() / 10_000)?;
        Some((line.principal.clone(), line.resource.clone()))
    }

    /// Whether a role gives its member what it was granted: not one that came of a permission while somebody else owned the
    /// role's namespace.
    fn role_counts(&self, account: &Account, role: &str) -> bool {
        let owner = role.split('/').next().and_then(|namespace| self.birth_of_owner(namespace));
        account.given_under.get(role).is_none_or(|then| Some(*then) == owner)
    }

    /// The principal, and the roles that its account lists: those with a `/` may hold something.
    fn all_of(&self, principal: &str) -> Vec<String> {
        let mut all = vec![principal.to_owned()];
        if let Some(account) = self.account(principal) {
            all.extend(account.roles.iter().filter(|role| is_role(role) && self.role_counts(account, role)).cloned());
        }
        all
    }

    pub(super) fn is_admin(&self, principal: &str) -> bool {
        self.stands(principal)
            && self.account(principal).is_some_and(|account| account.roles.iter().any(|role| role == "admin"))
    }

    /// Whether somebody may do that now. `operator` may everything.
    pub(super) fn may(&self, principal: &str, resource: &str, wanted: Rank) -> bool {
        if wanted == DENY {
            return false;
        }
        if principal == "operator" {
            return true;
        }
        if !self.stands(principal) {
            return false;
        }
        if self.is_admin(principal) {
            return true;
        }
        let scheme = resource.split(':').next().unwrap();
        let own =
            self.account(principal).is_some_and(|account| Some(account.namespace.as_str()) == namespace_of(resource));
        if own && OWNED.contains(&scheme) {
            return true;
        }
        let mut found: Vec<Rank> = Vec::new();
        for holder in self.all_of(principal) {
            for line in &self.lines {
                if line.principal == holder && is_above(&line.resource, resource) && self.counts(line) {
                    found.push(line.action);
                }
            }
        }
        !found.contains(&DENY) && found.into_iter().max().is_some_and(|most| most >= wanted)
    }

    /// Grants, all or nothing; what holds then, in the same order.
    pub(super) fn grant(&mut self, by: &str, to: &str, wanted: &[(&str, Rank)]) -> Result<Vec<Rank>, Vec<No>> {
        self.allowed(by, to, wanted.iter().map(|(resource, _)| *resource))?;
        let mut holds = Vec::new();
        for (resource, action) in wanted {
            holds.push(self.write(to, resource, *action));
            self.set_member(to, resource, holds[holds.len() - 1] >= READ);
        }
        Ok(holds)
    }

    /// The members of the role `NAMESPACE/…` are who was granted `read` on `role://CLUSTER/NAMESPACE/…`, besides those to
    /// whom it was given otherwise.
    fn set_member(&mut self, who: &str, resource: &str, member: bool) {
        let Some(role) = role_in(resource) else { return };
        let owner = role.split('/').next().and_then(|namespace| self.birth_of_owner(namespace));
        let Some(at) = self.accounts.iter().position(|account| account.name == who) else { return };
        let has = self.accounts[at].roles.iter().any(|has| has == role);
        if member && has && self.role_counts(&self.accounts[at], role) {
            return;
        }
        let account = &mut self.accounts[at];
        account.roles.retain(|has| has != role);
        account.given_under.remove(role);
        if member {
            account.roles.push(role.to_owned());
            account.given_under.extend(owner.map(|owner| (role.to_owned(), owner)));
        }
    }

    /// Nothing is lowered, except that a denial takes the place of anything, and anything that of a denial.
    fn write(&mut self, to: &str, resource: &str, asked: Rank) -> Rank {
        if let Some(has) = self.granted(to, resource)
            && has != DENY
            && asked != DENY
            && has >= asked
        {
            return has;
        }
        self.lines.retain(|line| line.principal != to || line.resource != resource);
        self.lines.push(Line {
            principal: to.to_owned(),
            who: self.who(to),
            resource: resource.to_owned(),
            action: asked,
            owner: namespace_of(resource).and_then(|namespace| self.birth_of_owner(namespace)),
        });
        asked
    }

    /// Takes away what there is, whether or not it still counts.
    fn erase(&mut self, of: &str, resource: &str) {
        let before = self.lines.len();
        self.lines.retain(|line| line.principal != of || line.resource != resource);
        if self.lines.len() < before {
            self.set_member(of, resource, false);
        }
    }

    /// Everything that stands in the way of granting or revoking this.
    fn allowed<'a>(&self, by: &str, of: &str, resources: impl Iterator<Item = &'a str>) -> Result<(), Vec<No>> {
        let mut why = Vec::new();
        for resource in resources {
            if !self.may(by, resource, MANAGE) {
                why.push(No::Forbidden);
            }
        }
        if !self.exists(of) {
            why.push(No::Absent);
        }
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    /// Revokes what there is of these; there must be something.
    pub(super) fn revoke(&mut self, by: &str, of: &str, resources: &[&str]) -> Result<(), Vec<No>> {
        // Whoever was made a member of a role may leave it; a denial is nobody's own to take away.
        let is_member = |resource: &&str| {
            let made_member = |line: &&Line| line.principal == of && line.resource == **resource && line.action >= READ;
            role_in(resource).is_some()
                && self.lines.iter().find(made_member).is_some_and(|line| line.who == self.who(of))
        };
        if by == of && self.exists(of) && resources.iter().all(is_member) {
            return self.take(of, resources);
        }
        self.allowed(by, of, resources.iter().copied())?;
        self.take(of, resources)
    }

    fn take(&mut self, of: &str, resources: &[&str]) -> Result<(), Vec<No>> {
        let effect = resources.iter().any(|resource| self.granted(of, resource).is_some());
        for resource in resources {
            self.erase(of, resource);
        }
        if effect { Ok(()) } else { Err(vec![No::Idle]) }
    }

    /// Everything that the principal holds is replaced by this. For admins.
    pub(super) fn replace(&mut self, by: &str, of: &str, all: &[(&str, Rank)]) -> Result<(), Vec<No>> {
        if by != "operator" && !self.is_admin(by) {
            return Err(if self.exists(of) { vec![No::Forbidden] } else { vec![No::Forbidden, No::Absent] });
        }
        if !self.exists(of) {
            return Err(vec![No::Absent]);
        }
        let before: Vec<(String, Rank)> = self
            .lines
            .iter()
            .filter(|line| line.principal == of)
            .map(|line| (line.resource.clone(), line.action))
            .collect();
        for (resource, has) in before {
            let wanted = all.iter().find(|(wanted, _)| *wanted == resource).map(|(_, wanted)| *wanted);
            if wanted.is_none_or(|wanted| wanted != DENY && has > wanted) {
                self.erase(of, &resource);
            }
        }
        for (resource, action) in all {
            self.write(of, resource, *action);
            self.set_member(of, resource, *action >= READ);
        }
        Ok(())
    }

    /// What the principal was granted, and with `with_roles` what its roles were: (holder, resource, action), sorted.
    pub(super) fn held(&self, of: &str, with_roles: bool) -> Vec<(String, String, Rank)> {
        let holders = if with_roles { self.all_of(of) } else { vec![of.to_owned()] };
        let of_those = |line: &&Line| holders.contains(&line.principal) && self.counts(line);
        let mut held: Vec<_> = self
            .lines
            .iter()
            .filter(of_those)
            .map(|line| (line.principal.clone(), line.resource.clone(), line.action))
            .collect();
        held.sort();
        held
    }

    /// What others than the principal hold in a namespace: (holder, resource, action), sorted.
    pub(super) fn shared(&self, of: &str, namespace: &str) -> Vec<(String, String, Rank)> {
        let in_there =
            |line: &&Line| line.principal != of && namespace_of(&line.resource) == Some(namespace) && self.counts(line);
        let mut shared: Vec<_> = self
            .lines
            .iter()
            .filter(in_there)
            .map(|line| (line.principal.clone(), line.resource.clone(), line.action))
            .collect();
        shared.sort();
        shared
    }
}
