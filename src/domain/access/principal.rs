//! Who holds permissions: a user, a service account, or whoever has a role.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Service,
        account::{Account, NamespaceOwner},
        ids::{AccountKey, Name, Role, Uid},
        service_account::ServiceAccount,
    },
    store::{Item, Key, decode},
};

/// What stands between namespace and name of a service account.
const SERVICE_ACCOUNTS: &str = "service-accounts";

/// Who a permission is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// A user: a name.
    User(Name),
    /// A service account: `NAMESPACE/service-accounts/NAME`.
    ServiceAccount {
        /// Where it lives.
        namespace: Name,
        /// Its name there.
        name: Name,
    },
    /// Whoever's account lists a role now. The role has a `/`: one without could be taken for a user.
    Role(Role),
}

impl Principal {
    /// Parses a principal's text.
    ///
    /// # Errors
    /// `Invalid`, for the field named.
    pub fn parse(text: &str, field: &'static str) -> Result<Self, Refusal> {
        let of_names = |text: &str| Name::parse(text, field);
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        match parts[..] {
            [name] => of_names(name).map(Self::User),
            [namespace, SERVICE_ACCOUNTS, name] => {
                Ok(Self::ServiceAccount { namespace: of_names(namespace)?, name: of_names(name)? })
            }
            _ => Role::parse(text).map(Self::Role).map_err(|_| {
                Refusal::invalid(
                    field,
                    "must be a user's name, NAMESPACE/service-accounts/NAME, or a role with a '/', e.g. ada/readers",
                )
            }),
        }
    }

    /// What must be read to learn who that is now.
    pub(super) fn keys(&self) -> Vec<Key> {
        match self {
            Self::User(name) => vec![Account::key_of(AccountKey::of(name.as_str()))],
            Self::ServiceAccount { namespace, name } => {
                vec![
                    ServiceAccount::key_of(namespace.as_str(), name.as_str()),
                    NamespaceOwner::key_of(namespace.as_str()),
                ]
            }
            Self::Role(role) => vec![NamespaceOwner::key_of(namespace_of(role))],
        }
    }

    /// Who that is now, by these rows, in the order of [`Principal::keys`]; none if there is nobody of that name.
    ///
    /// # Errors
    /// A row cannot be read.
    pub(super) fn resolve(&self, rows: &mut impl Iterator<Item = Option<Item>>) -> Result<Option<Holder>, Refusal> {
        let mut next = || rows.next().flatten();
        Ok(match self {
            Self::User(_) => decode::<Account>(next())?
                .filter(|row| row.record.deleted_at.is_none())
                .map(|row| Holder::One(row.record.uid)),
            Self::ServiceAccount { .. } => {
                let account = decode::<ServiceAccount>(next())?.map(|row| row.record);
                let owner = decode::<NamespaceOwner>(next())?.map(|row| row.record.uid);
                account
                    .filter(|account| account.deleted_at.is_none() && Some(account.owner.uid) == owner)
                    .map(|account| Holder::One(account.uid))
            }
            Self::Role(role) => {
                let owner = decode::<NamespaceOwner>(next())?.map(|row| row.record.uid);
                Some(Holder::Role(role.clone(), owner))
            }
        })
    }

    /// Who that is now.
    ///
    /// # Errors
    /// `Absent`, `Unavailable`.
    pub(super) async fn find(&self, service: &Service, now: Timestamp) -> Result<Holder, Refusal> {
        let mut rows = service.store.get(now, &self.keys()).await?.into_iter();
        self.resolve(&mut rows)?.ok_or_else(|| self.absent())
    }

    /// The refusal if there is nobody of that name.
    pub(super) fn absent(&self) -> Refusal {
        Refusal::absent(match self {
            Self::ServiceAccount { .. } => "there is no service account of that name",
            Self::User(_) | Self::Role(_) => "there is no user of that name",
        })
    }

    /// The namespace that is its own, or whose role or service account it is; none of a user, whose row tells.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::User(_) => None,
            Self::ServiceAccount { namespace, .. } => Some(namespace.as_str()),
            Self::Role(role) => Some(namespace_of(role)),
        }
    }
}

/// The namespace that a role begins with: its owner gives it.
pub(super) fn namespace_of(role: &Role) -> &str {
    role.as_str().split('/').next().unwrap_or_default()
}

/// A principal as it is now: one that is made again under the name is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// An account or a service account.
    One(Uid),
    /// A role, with the owner of the namespace that it begins with.
    Role(Role, Option<Uid>),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name.as_str()),
            Self::ServiceAccount { namespace, name } => write!(f, "{namespace}/{SERVICE_ACCOUNTS}/{name}"),
            Self::Role(role) => f.write_str(role.as_str()),
        }
    }
}

impl TryFrom<String> for Principal {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text, "principal")
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_a_user_a_service_account_or_a_role() {
        for (text, kind) in [
            ("ada", "user"),
            ("ada/service-accounts/ci", "service account"),
            ("ada/readers", "role"),
            ("ada/service-accounts", "role"),
            ("ada/service-accounts/ci/x", "role"),
            ("service-accounts/ada/ci", "role"),
        ] {
            let principal = Principal::parse(text, "principal").unwrap();
            let is = match principal {
                Principal::User(_) => "user",
                Principal::ServiceAccount { .. } => "service account",
                Principal::Role(_) => "role",
            };
            assert_eq!((is, principal.to_string().as_str()), (kind, text));
        }
        for bad in [
            "",
            "/",
            "ada/",
            "/ada",
            "ada:service-accounts:ci",
            "ada/service-accounts:ci",
            "ada:readers/x",
            "ada/service-accounts/",
            "ada/service-accounts/CI",
            "ada//ci",
            "a,b",
            "a/b,c",
            "system:masters",
            "ada/../eve",
            "Ada",
        ] {
            assert_eq!(Principal::parse(bad, "principal").unwrap_err().field, Some("principal"), "{bad:?}");
        }
    }
}
