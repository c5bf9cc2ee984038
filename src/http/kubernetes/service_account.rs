//! The ServiceAccount as an object, with what is made of each: its Secret, its Role, its RoleBinding.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};

use super::{
    accept::{Column, Row},
    body::{Fields, Wrong},
    kinds::{Kind, RBAC, ROLE, ROLE_BINDING, SECRET, SERVICE_ACCOUNT},
    metadata::{age, given},
};
use crate::{
    clock::Timestamp,
    domain::service_account::{NewServiceAccount, ServiceAccount},
};

/// A ServiceAccount that is to be made.
pub(super) struct Wanted {
    /// What is asked for.
    pub(super) new: NewServiceAccount,
    /// What a made-up name begins with, if one is to be made up.
    pub(super) prefix: Option<String>,
}

/// Reads the object that is to be made in a namespace. Annotations are passed over, as for every kind; pods are not this
/// service's, so what a ServiceAccount says of them may be said, and images are pulled by nobody.
pub(super) fn read(body: &Fields<'_>, namespace: &str) -> Result<Wanted, Wrong> {
    let metadata = header(body, &SERVICE_ACCOUNT, namespace)?;
    body.only(&["apiVersion", "kind", "metadata", "automountServiceAccountToken", "secrets", "imagePullSecrets"])?;
    for list in ["secrets", "imagePullSecrets"] {
        if body.value(list).is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty())) {
            return Err(body.wrong_value(list, "must be empty: the one Secret of a ServiceAccount is named after it"));
        }
    }
    body.flag("automountServiceAccountToken")?;
    let new = NewServiceAccount {
        namespace: namespace.to_owned(),
        name: given(metadata.text("name")?),
        labels: metadata.named_texts("labels")?.collect(),
        defaults: None,
        expires_at: None,
        with_token: false,
    };
    Ok(Wanted { prefix: given(metadata.text("generateName")?).filter(|_| new.name.is_none()), new })
}

/// Judges what every object begins with; its metadata.
pub(super) fn header<'a>(body: &Fields<'a>, kind: &Kind, namespace: &str) -> Result<Fields<'a>, Wrong> {
    body.expect("apiVersion", &kind.api_version(), "must be that of the path")?;
    body.expect("kind", kind.name, "must be that of the path")?;
    let metadata = body.object("metadata")?;
    metadata.expect("namespace", namespace, "must be the namespace of the path")?;
    Ok(metadata)
}

/// What is shown of a service account: itself, or what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The account.
    Account,
    /// Its Secret, without data.
    Secret,
    /// The Role with which it may request tokens for itself.
    Role,
    /// That it has that Role.
    RoleBinding,
}

impl Form {
    /// Its kind.
    pub(super) fn kind(self) -> &'static Kind {
        match self {
            Self::Account => &SERVICE_ACCOUNT,
            Self::Secret => &SECRET,
            Self::Role => &ROLE,
            Self::RoleBinding => &ROLE_BINDING,
        }
    }

    /// What its name has behind that of the account.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Account => "",
            Self::Secret => "-token",
            Self::Role | Self::RoleBinding => "-create-token",
        }
    }

    /// Its name.
    pub(super) fn name_of(self, account: &ServiceAccount) -> String {
        format!("{}{}", account.name, self.suffix())
    }

    /// The name of the account that an object of this name is of.
    pub(super) fn account_of(self, name: &str) -> Option<&str> {
        name.strip_suffix(self.suffix()).filter(|account| !account.is_empty())
    }

    /// Its labels, as far as it has some of its own.
    pub(super) fn labels(self, account: &ServiceAccount) -> Cow<'_, BTreeMap<String, String>> {
        match self {
            Self::Account => Cow::Borrowed(&account.labels),
            Self::Secret | Self::Role | Self::RoleBinding => Cow::Owned(BTreeMap::new()),
        }
    }

    /// The columns of a table of these.
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Account => &[NAME, ("Secrets", "", "How many secrets it has."), AGE],
            Self::Secret => &[NAME, ("Type", "", "What it is for.")],
            Self::Role => &[NAME, ("Created At", "", "When it was made.")],
            Self::RoleBinding => &[NAME, ("Role", "", "What is given."), AGE],
        }
    }

    /// The object, with what a table shows of it.
    pub(super) fn row(self, account: &ServiceAccount, now: Timestamp) -> Row {
        let name = self.name_of(account);
        let age = age(now.since(account.created_at).as_secs());
        let cells = match self {
            Self::Account => vec![name, "1".to_owned(), age],
            Self::Secret => vec![name, SECRET_TYPE.to_owned()],
            Self::Role => vec![name, role_made_at(account).rfc3339()],
            Self::RoleBinding => {
                let role = format!("{}/{}", ROLE.name, Self::Role.name_of(account));
                vec![name, role, age]
            }
        };
        Row { cells, object: self.render(account) }
    }

    /// The object.
    pub(super) fn render(self, account: &ServiceAccount) -> Value {
        let mut metadata = json!({ "name": self.name_of(account), "namespace": account.namespace.as_str() });
        metadata["creationTimestamp"] = match self {
            Self::Role => role_made_at(account),
            Self::Account | Self::Secret | Self::RoleBinding => account.created_at,
        }
        .rfc3339()
        .into();
        let labels = self.labels(account);
        if !labels.is_empty() {
            metadata["labels"] = json!(labels);
        }
        match self {
            Self::Account => {
                metadata["uid"] = uid(account).into();
                let mut object = self.kind().object(metadata);
                object["secrets"] = json!([{ "name": Self::Secret.name_of(account) }]);
                object
            }
            Self::Secret => {
                metadata["annotations"] = json!({
                    "kubernetes.io/service-account.name": account.name.as_str(),
                    "kubernetes.io/service-account.uid": uid(account)
                });
                let mut object = self.kind().object(metadata);
                object["type"] = SECRET_TYPE.into();
                object
            }
            Self::Role => {
                let mut object = self.kind().object(metadata);
                object["rules"] = rules(account.name.as_str());
                object
            }
            Self::RoleBinding => {
                let mut object = self.kind().object(metadata);
                object["subjects"] = subjects(account.namespace.as_str(), account.name.as_str());
                object["roleRef"] = role_ref(account.name.as_str());
                object
            }
        }
    }
}

const NAME: Column = ("Name", "name", "The object's name.");
const AGE: Column = ("Age", "", "How long ago it was made.");

/// The `type` of a Secret that has a service account's token.
const SECRET_TYPE: &str = "kubernetes.io/service-account-token";

/// The `uid` of a service account's object.
pub(super) fn uid(account: &ServiceAccount) -> String {
    let id = account.id();
    id.strip_prefix("service-account-").unwrap_or(&id).to_owned()
}

fn role_made_at(account: &ServiceAccount) -> Timestamp {
    account.may_request_role.unwrap_or(account.created_at)
}

/// The rules of the one Role that there is for a service account.
pub(super) fn rules(name: &str) -> Value {
    json!([{ "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"] }])
}

/// Whom its RoleBinding is about.
pub(super) fn subjects(namespace: &str, name: &str) -> Value {
    json!([{ "kind": SERVICE_ACCOUNT.name, "name": name, "namespace": namespace }])
}

/// What its RoleBinding gives.
pub(super) fn role_ref(name: &str) -> Value {
    json!({ "apiGroup": RBAC, "kind": ROLE.name, "name": format!("{name}{}", Form::Role.suffix()) })
}
