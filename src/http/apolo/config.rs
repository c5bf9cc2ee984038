//! `GET /api/v1/config`: what that system's command line needs to sign in with a token.

use std::collections::{BTreeMap, HashSet};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{dress::Failure, uris::is_theirs};
use crate::{
    clock::Timestamp,
    domain::{
        Policy, Refusal, RefusalKind,
        access::{Action, Identity, Permission, permission},
    },
    http::{App, bearer},
};

/// The client of programs that were made for nobody else.
const CLIENT: &str = "gatemint";

/// What is answered, in the original's order.
#[derive(Serialize)]
struct Config {
    authorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    orgs: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clusters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projects: Option<Vec<Project>>,
    auth_url: String,
    token_url: String,
    logout_url: String,
    client_id: &'static str,
    audience: String,
    callback_urls: [&'static str; 0],
    headless_callback_url: String,
}

#[derive(Serialize)]
struct Project {
    name: String,
    cluster_name: String,
    org_name: String,
    role: &'static str,
}

/// `GET /api/v1/config`: without a token that stands, URLs alone.
pub(super) async fn read(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let now = app.service.now();
    let policy = &app.service.policy;
    let projects = match bearer::identity(&app, now, request.headers()).await {
        Ok(identity) => Some(projects(&app, now, &identity).await.map_err(Failure::on(&app))?),
        Err(refusal) if refusal.kind == RefusalKind::Unauthenticated => None,
        Err(refusal) => return Err(Failure::on(&app)(refusal)),
    };
    // Nobody signs in to this service in a browser: where that system's command line would send one, it says how.
    let page = format!("{}/docs", policy.issuer);
    Ok(Json(Config {
        authorized: projects.is_some(),
        orgs: projects.as_ref().map(|_| json!([{ "name": policy.organisation, "role": "user" }])),
        clusters: projects.as_ref().map(|_| json!([cluster(policy)])),
        projects,
        auth_url: page.clone(),
        token_url: format!("{}/oauth2/token", policy.issuer),
        logout_url: page.clone(),
        client_id: CLIENT,
        audience: policy.issuer.clone(),
        callback_urls: [],
        headless_callback_url: page,
    })
    .into_response())
}

/// The namespaces that whoever asks may know of: its own, and where it was granted something.
async fn projects(app: &App, now: Timestamp, identity: &Identity) -> Result<Vec<Project>, Refusal> {
    let (policy, by) = (&app.service.policy, identity.subject());
    let held = match by.principal() {
        Some(principal) => match permission::held(&app.service, now, &by, principal, None, true).await {
            // Whoever has so many permissions finds her way without a list.
            Err(refusal) if refusal.kind == RefusalKind::TooLarge => Vec::new(),
            held => held?,
        },
        None => Vec::new(),
    };
    let mut actions = listed(&held);
    let home = identity.namespace().to_string();
    let is_owner = by.owns(&home);
    // Its own namespace is no news to a service account: it is in its name.
    actions.entry(home.clone()).or_insert(Action::List);
    let projects = actions.into_iter().map(|(name, action)| Project {
        role: if is_owner && name == home { "owner" } else { role(action) },
        name,
        cluster_name: policy.cluster.to_string(),
        org_name: policy.organisation.clone(),
    });
    Ok(projects.collect())
}

/// The namespaces in which something may at least be listed, with the most that may be done there.
fn listed(held: &[Permission]) -> BTreeMap<String, Action> {
    let denied: HashSet<_> =
        held.iter().filter(|held| held.action == Action::Deny).map(|held| held.resource.as_str()).collect();
    let mut actions = BTreeMap::new();
    for permission in held {
        let resource = &permission.resource;
        let counts = is_theirs(resource) && !resource.ancestors().any(|above| denied.contains(above));
        if let Some(namespace) = resource.namespace().filter(|_| counts) {
            let most = actions.entry(namespace.to_owned()).or_insert(permission.action);
            *most = permission.action.max(*most);
        }
    }
    actions
}

/// What that system calls whoever may do that in a project.
fn role(action: Action) -> &'static str {
    match action {
        Action::Deny | Action::List | Action::Read => "reader",
        Action::Write => "writer",
        Action::Manage => "manager",
    }
}

fn cluster(policy: &Policy) -> Value {
    let issuer = &policy.issuer;
    json!({
        "name": policy.cluster,
        "registry_url": issuer,
        "storage_url": issuer,
        "users_url": format!("{issuer}/api/v1/users"),
        "monitoring_url": issuer,
        "secrets_url": issuer,
        "disks_url": issuer,
        "buckets_url": issuer,
        "resource_pool_types": [],
        "resource_presets": [],
        "orgs": [policy.organisation],
    })
}
