//! A service account as this dialect shows it, and its full token.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    domain::{
        Policy, Secret,
        service_account::{Defaults, ServiceAccount},
    },
};

/// A service account: the original's fields in its order, then ours.
#[derive(Serialize)]
pub(super) struct View {
    id: String,
    name: String,
    role: String,
    owner: String,
    default_cluster: String,
    default_project: String,
    default_org: Option<String>,
    created_at: String,
    role_deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

impl View {
    /// What is shown of it at any time.
    pub(super) fn of(policy: &Policy, account: &ServiceAccount) -> Self {
        let defaults = defaults(policy, account);
        Self {
            id: account.id(),
            name: account.name.to_string(),
            role: account.principal().to_string(),
            owner: account.owner.name.to_string(),
            default_cluster: defaults.cluster,
            default_project: defaults.project,
            default_org: defaults.org,
            created_at: account.created_at.rfc3339(),
            role_deleted: false,
            token: None,
            // The newest token's: the others end with the overlap of a rotation, if not before.
            expires_at: account.tokens.last().and_then(|token| token.expires_at).map(Timestamp::rfc3339),
            labels: account.labels.clone(),
        }
    }

    /// The same with its full token, which is shown once.
    pub(super) fn with_token(policy: &Policy, account: &ServiceAccount, token: Option<&Secret<String>>) -> Self {
        let full = token.map(|token| full_token(policy, account, token));
        Self { token: full, ..Self::of(policy, account) }
    }
}

/// A service account as it is shown, for the command line on a store; with its full token, if that is given.
#[cfg(feature = "cli")]
pub(crate) fn object(policy: &Policy, account: &ServiceAccount, token: Option<&Secret<String>>) -> serde_json::Value {
    serde_json::to_value(View::with_token(policy, account, token)).unwrap_or_default()
}

/// Where its tokens lead. One that was made through another door has nothing of its own.
fn defaults(policy: &Policy, account: &ServiceAccount) -> Defaults {
    account.defaults.clone().unwrap_or_else(|| Defaults {
        cluster: policy.cluster.to_string(),
        project: account.namespace.to_string(),
        org: Some(policy.organisation.clone()),
    })
}

/// A token with all that a client must know to use it, in base64: JSON with the keys, and the spaces, of the original.
fn full_token(policy: &Policy, account: &ServiceAccount, token: &Secret<String>) -> String {
    let Defaults { cluster, project, org } = defaults(policy, account);
    let url = format!("{}/api/v1", policy.issuer);
    let mut json = Zeroizing::new(String::from("{"));
    let pairs = [
        ("token", Some(token.expose().as_str())),
        ("cluster", Some(&cluster)),
        ("url", Some(&url)),
        ("project_name", Some(&project)),
        ("org_name", org.as_deref()),
    ];
    for (key, value) in pairs.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))) {
        if json.len() > 1 {
            json.push_str(", ");
        }
        let pair = Zeroizing::new(format!("\"{key}\": {}", serde_json::Value::from(value)));
        json.push_str(&pair);
    }
    json.push('}');
    STANDARD.encode(json.as_bytes())
}
