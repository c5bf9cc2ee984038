//! Who asks, as far as permissions are concerned.

use std::collections::BTreeMap;

use super::{
    Action, Principal,
    principal::{Holder, namespace_of},
};
use crate::domain::{
    account::Account,
    ids::{Name, Role, Uid},
    service_account::ServiceAccount,
};

/// Who asks: what it is called, what it owns, and whose permissions count for it.
#[derive(Clone, Debug)]
pub struct Subject {
    name: String,
    principal: Option<Principal>,
    uid: Option<Uid>,
    namespace: Option<Name>,
    owns_it: bool,
    roles: Vec<Role>,
    role_owners: BTreeMap<Role, Uid>,
    is_admin: bool,
    stands: bool,
    shown: Shown,
}

/// What a token is good for that shows who asks for our own resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// For everything that its account may do.
    Whole,
    /// It has not got the account's roles. It must not get them by way of a service account or of somebody else, who would
    /// read the account's secrets for it.
    WithoutRoles,
    /// It is one that is always fresh, and lies where programs read it. Whoever takes it must not get anything with it that
    /// lives longer.
    Fresh,
}

/// What stands for an account by itself, or gives somebody else what does.
const CREDENTIALS: [&str; 3] = ["serviceaccount", "secret", "role"];

impl Subject {
    /// The operator, who works on the store itself.
    pub fn operator() -> Self {
        Self {
            name: "operator".to_owned(),
            principal: None,
            uid: None,
            namespace: None,
            owns_it: false,
            roles: Vec::new(),
            role_owners: BTreeMap::new(),
            is_admin: true,
            stands: true,
            shown: Shown::Whole,
        }
    }

    /// An account; `as_admin`: its token was not narrowed to less than its roles. The permissions of its roles count
    /// with every token: one of them may be a denial.
    pub fn of_account(account: &Account, as_admin: bool) -> Self {
        Self {
            name: account.name.to_string(),
            principal: Some(Principal::User(account.name.clone())),
            uid: Some(account.uid),
            namespace: Some(account.namespace.clone()),
            owns_it: true,
            roles: account.roles.clone(),
            role_owners: account.role_owners.clone(),
            is_admin: as_admin && account.is_admin(),
            stands: account.enabled && account.deleted_at.is_none(),
            shown: Shown::Whole,
        }
    }

    /// A service account, which has what it was granted; `stands`: its owner does.
    pub fn of_service_account(account: &ServiceAccount, stands: bool) -> Self {
        let principal = account.principal();
        Self {
            name: principal.to_string(),
            principal: Some(principal),
            uid: Some(account.uid),
            namespace: Some(account.namespace.clone()),
            owns_it: false,
            roles: Vec::new(),
            role_owners: BTreeMap::new(),
            is_admin: false,
            stands,
            shown: Shown::Whole,
        }
    }

    /// Whoever has nothing but this role.
    pub(super) fn of_role(role: &Role) -> Self {
        Self {
            name: role.to_string(),
            principal: Some(Principal::Role(role.clone())),
            uid: None,
            namespace: None,
            owns_it: false,
            roles: vec![role.clone()],
            role_owners: BTreeMap::new(),
            is_admin: false,
            stands: true,
            shown: Shown::Whole,
        }
    }

    /// What it is called in the audit log: an account's name, a service account's principal, or `operator`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As whom it holds permissions; none for the operator, who needs none.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Where it lives.
    pub fn namespace(&self) -> Option<&Name> {
        self.namespace.as_ref()
    }

    /// Whether it may do everything.
    pub fn is_admin(&self) -> bool {
        self.stands && self.is_admin
    }

    /// Whether a namespace is its own.
    pub fn owns(&self, namespace: &str) -> bool {
        self.stands && self.owns_it && self.namespace.as_ref().is_some_and(|own| own.as_str() == namespace)
    }

    /// Whether it is the account or service account of that uid.
    pub fn has_uid(&self, uid: Uid) -> bool {
        self.uid == Some(uid)
    }

    /// The same, asking with a token that has not got the roles.
    #[must_use]
    pub(super) fn without_roles(self) -> Self {
        Self { shown: Shown::WithoutRoles, ..self }
    }

    /// The same, asking with a token that is always fresh.
    #[must_use]
    pub(super) fn with_fresh_token(self) -> Self {
        Self { shown: Shown::Fresh, ..self }
    }

    /// What is left of what it may do with a resource of that scheme, by the token that it shows.
    pub(super) fn limited(&self, scheme: &str, action: Action) -> Action {
        let reads = match self.shown {
            Shown::Whole => false,
            Shown::WithoutRoles => CREDENTIALS.contains(&scheme),
            Shown::Fresh => true,
        };
        if reads { action.min(Action::Read) } else { action }
    }

    /// What token would have been needed, if another one could do more.
    pub(super) fn another_token(&self) -> Option<&'static str> {
        match self.shown {
            Shown::Whole => None,
            Shown::WithoutRoles => Some("with a token whose scope has roles"),
            Shown::Fresh => Some("with a sign-in's token: one that is always fresh only reads here"),
        }
    }

    pub(super) fn stands(&self) -> bool {
        self.stands
    }

    /// Whose rows may count for it: its own, and those of its roles that may hold permissions; with each whether they do.
    /// `owner_of` tells who owns a namespace now.
    pub(super) fn holders(&self, owner_of: impl Fn(&str) -> Option<Uid>) -> Vec<(Holder, bool)> {
        let own = self.uid.map(|uid| (Holder::One(uid), true));
        let roles = self.roles.iter().filter(|role| role.as_str().contains('/')).map(|role| {
            let owner = owner_of(namespace_of(role));
            let counts = self.role_owners.get(role).is_none_or(|then| Some(*then) == owner);
            (Holder::Role(role.clone(), owner), counts)
        });
        own.into_iter().chain(roles).collect()
    }
}
