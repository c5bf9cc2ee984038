//! Who may do what with a resource: an operator's grants, and what owners and admins have without one.

use serde::{Deserialize, Serialize};

use super::{Resource, resource::of_another_cluster};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, Service,
        account::{Account, manage},
        ids::Uid,
    },
    store::{CommitError, Key, Record, Row, When, Write, decode},
};

/// What may be done with a resource. A higher one implies the lower ones; `deny` is none of them, and gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing.
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
}

/// What a principal may do with exactly one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Whose it is: an account's uid, so that one that is made again under the name inherits nothing.
    pub principal: Uid,
    /// What it is about.
    pub resource: Resource,
    /// What may be done.
    pub action: Action,
}

impl Permission {
    /// Where the permission of a principal on a resource is.
    pub fn key_of(principal: Uid, resource: &Resource) -> Key {
        Key::new(Self::partition(principal), resource.as_str())
    }

    fn partition(principal: Uid) -> String {
        format!("perm#{principal}")
    }
}

impl Record for Permission {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of(self.principal, &self.resource)
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The schemes in which the owner of a namespace may do everything without a grant. To mint gate tokens is not among
/// them: they open what is behind a gate for whoever holds them, so an operator gives that right.
const OWNED: [&str; 9] = ["storage", "image", "job", "blob", "disk", "flow", "secret", "role", "serviceaccount"];

/// Whether an account may do that with a resource; `as_admin`: its token was not narrowed to less than its roles. `row` is
/// what is kept under [`Permission::key_of`] for the two.
///
/// An account that may not sign in may do nothing. Admins have `manage` on everything, owners on what is theirs, and no
/// row takes that away; for everybody else the row decides, if it is about this account and this resource.
pub fn allows(
    account: &Account,
    as_admin: bool,
    resource: &Resource,
    row: Option<&Permission>,
    wanted: Action,
) -> bool {
    let stands = account.enabled && account.deleted_at.is_none();
    // Nobody wants to be denied: whoever asks for that asks for something else by mistake.
    if !stands || wanted == Action::Deny {
        return false;
    }
    let owns = || OWNED.contains(&resource.scheme()) && resource.namespace() == account.namespace.as_str();
    let granted =
        || row.is_some_and(|row| row.principal == account.uid && row.resource == *resource && row.action >= wanted);
    (as_admin && account.is_admin()) || owns() || granted()
}

/// Gives a user a permission on a resource. What the user has already is never lowered: the answer is what holds now.
///
/// # Errors
/// `Absent`: there is no such user. `Invalid` for `uri`: the resource is in another cluster. `Unavailable`.
pub async fn grant(
    service: &Service,
    now: Timestamp,
    user: &str,
    resource: &Resource,
    action: Action,
    actor: &str,
) -> Result<Permission, Refusal> {
    if !resource.is_in(&service.policy.cluster) {
        return Err(of_another_cluster(&service.policy.cluster, "uri"));
    }
    let account = manage::get(service, now, user).await?.record;
    let mut row: Option<Row<Permission>> = service.read(now, Permission::key_of(account.uid, resource)).await?;
    for _ in 0..ROUNDS {
        let when = match row {
            Some(Row { record, .. }) if record.action >= action => return Ok(record),
            Some(Row { version, .. }) => When::VersionIs(version),
            None => When::Absent,
        };
        let permission = Permission { principal: account.uid, resource: resource.clone(), action };
        match service.commit(now, vec![permission.put(when)]).await {
            Ok(_) => {
                tracing::info!(
                    target: "gatemint::audit", event = "permission_granted", user.name = %account.name,
                    permission.resource = %resource, permission.action = action.as_str(), actor,
                );
                return Ok(permission);
            }
            Err(CommitError::Conflict { current, .. }) => row = decode(current)?,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a permission kept changing"))
}

/// Takes a user's permission on a resource away.
///
/// # Errors
/// `Absent`: there is no such user, or the user has no such permission. `Unavailable`.
pub async fn revoke(
    service: &Service,
    now: Timestamp,
    user: &str,
    resource: &Resource,
    actor: &str,
) -> Result<(), Refusal> {
    let account = manage::get(service, now, user).await?.record;
    let key = Permission::key_of(account.uid, resource);
    let row: Option<Row<Permission>> = service.read(now, key.clone()).await?;
    if row.is_none() {
        return Err(Refusal::absent("the user was granted nothing on this resource"));
    }
    // Whatever it has become meanwhile: nothing is left of it.
    service.commit(now, vec![Write::Delete { key, when: When::Always }]).await?;
    tracing::info!(
        target: "gatemint::audit", event = "permission_revoked", user.name = %account.name,
        permission.resource = %resource, actor,
    );
    Ok(())
}

/// Lists what a user was granted, by resource. What the user has as an owner or an admin is not among it.
///
/// # Errors
/// `Absent`: there is no such user. `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    user: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Permission>, Option<String>), Refusal> {
    let account = manage::get(service, now, user).await?.record;
    let page = service.store.list(now, &Permission::partition(account.uid), after, limit).await?;
    let mut permissions = Vec::with_capacity(page.items.len());
    for item in page.items {
        let row: Option<Row<Permission>> = decode(Some(item))?;
        permissions.extend(row.map(|row| row.record));
    }
    Ok((permissions, page.next))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ada, who owns the namespace `ada`, with these roles.
    fn ada(roles: &[&str]) -> Account {
        serde_json::from_value(serde_json::json!({
            "name": "ada", "uid": Uid([1; 16]), "namespace": "ada", "email": "", "roles": roles, "enabled": true, "epoch": 0,
            "password": "no hash", "created_at": 0,
        }))
        .unwrap()
    }

    fn resource(text: &str) -> Resource {
        Resource::parse(text, "uri").unwrap()
    }

    const WANTED: [Action; 4] = [Action::List, Action::Read, Action::Write, Action::Manage];

    #[test]
    fn an_owner_has_everything_of_her_own_namespace_but_gate_tokens() {
        for scheme in OWNED {
            assert!(allows(&ada(&[]), true, &resource(&format!("{scheme}://default/ada/x")), None, Action::Manage));
            assert!(!allows(&ada(&[]), true, &resource(&format!("{scheme}://default/eve/x")), None, Action::List));
            assert!(!allows(&ada(&[]), true, &resource(&format!("{scheme}://default/ada.x/x")), None, Action::List));
        }
        for other in ["gatetoken://default/ada", "tokens://default/ada", "job-x://default/ada"] {
            assert!(!allows(&ada(&[]), true, &resource(other), None, Action::List), "{other}");
        }
    }

    #[test]
    fn an_admin_has_everything_while_she_may_sign_in() {
        let gate = resource("gatetoken://default/eve");
        assert!(allows(&ada(&["admin"]), true, &gate, None, Action::Manage));
        for roles in [&["admin"][..], &[]] {
            let own = resource("job://default/ada/x");
            let disabled = Account { enabled: false, ..ada(roles) };
            let deleted = Account { deleted_at: Some(Timestamp(1)), ..ada(roles) };
            assert!(
                !allows(&disabled, true, &own, None, Action::List) && !allows(&deleted, true, &own, None, Action::List)
            );
        }
    }

    #[test]
    fn a_row_gives_its_action_and_less_on_its_resource_to_its_principal_alone() {
        let gate = resource("gatetoken://default/vms");
        for (action, _) in Action::ALL {
            let row = Permission { principal: Uid([1; 16]), resource: gate.clone(), action };
            for wanted in WANTED {
                assert_eq!(
                    allows(&ada(&[]), true, &gate, Some(&row), wanted),
                    wanted <= action,
                    "{action:?} {wanted:?}"
                );
                let below = resource("gatetoken://default/vms/x");
                assert!(!allows(&ada(&[]), true, &below, Some(&row), wanted), "only the exact one");
                let again = Account { uid: Uid([2; 16]), ..ada(&[]) };
                assert!(!allows(&again, true, &gate, Some(&row), wanted), "a name that is made again inherits nothing");
            }
            assert!(!allows(&ada(&["admin"]), true, &gate, Some(&row), Action::Deny), "nobody wants to be denied");
        }
    }

    #[test]
    fn no_deny_binds_an_owner_or_an_admin() {
        let own = resource("job://default/ada/x");
        let denied = Permission { principal: Uid([1; 16]), resource: own.clone(), action: Action::Deny };
        assert!(allows(&ada(&[]), true, &own, Some(&denied), Action::Manage));
        let gate = resource("gatetoken://default/vms");
        let denied = Permission { resource: gate.clone(), ..denied };
        assert!(allows(&ada(&["admin"]), true, &gate, Some(&denied), Action::Manage));
        assert!(!allows(&ada(&[]), true, &gate, Some(&denied), Action::List));
    }

    #[test]
    fn an_action_has_a_name_and_a_rank() {
        for (action, name) in Action::ALL {
            assert_eq!((Action::parse(name), action.as_str()), (Some(action), name));
        }
        assert!(Action::ALL.is_sorted());
        assert_eq!(Action::parse("own"), None);
    }
}
