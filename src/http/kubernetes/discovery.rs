//! What kubectl asks before it asks for anything: which groups, versions and kinds there are. Public, and without I/O.

use axum::Json;
use serde_json::{Value, json};

use super::kinds::{
    GATE_SERVER, GATE_TOKEN, Kind, ROLE, ROLE_BINDING, SECRET, SERVICE_ACCOUNT, TOKEN_REQUEST, TOKEN_REVIEW,
};

/// The core group's kinds.
const CORE: [&Kind; 3] = [&SECRET, &SERVICE_ACCOUNT, &TOKEN_REQUEST];

/// Each other group, by its kinds: all of one version.
const GROUPS: [&[&Kind]; 3] = [&[&GATE_TOKEN, &GATE_SERVER], &[&ROLE, &ROLE_BINDING], &[&TOKEN_REVIEW]];

/// `GET /version`: that of the API which clients are to expect, with our own behind it.
pub(super) async fn version() -> Json<Value> {
    Json(json!({
        "major": "1", "minor": "20", "gitVersion": concat!("v1.20.0+gatemint-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""
    }))
}

/// `GET /api`
pub(super) async fn core_versions() -> Json<Value> {
    Json(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
}

/// `GET /api/v1`
pub(super) async fn core_resources() -> Json<Value> {
    Json(resources(&CORE))
}

/// `GET /apis`
pub(super) async fn groups() -> Json<Value> {
    Json(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": GROUPS.map(group) }))
}

/// `GET /apis/kubegateway.kubevirt.io`
pub(super) async fn kube_gateway() -> Json<Value> {
    Json(alone(GROUPS[0]))
}

/// `GET /apis/kubegateway.kubevirt.io/v1beta1`
pub(super) async fn kube_gateway_resources() -> Json<Value> {
    Json(resources(GROUPS[0]))
}

/// `GET /apis/rbac.authorization.k8s.io`
pub(super) async fn rbac() -> Json<Value> {
    Json(alone(GROUPS[1]))
}

/// `GET /apis/rbac.authorization.k8s.io/v1`
pub(super) async fn rbac_resources() -> Json<Value> {
    Json(resources(GROUPS[1]))
}

/// `GET /apis/authentication.k8s.io`
pub(super) async fn authentication() -> Json<Value> {
    Json(alone(GROUPS[2]))
}

/// `GET /apis/authentication.k8s.io/v1`
pub(super) async fn authentication_resources() -> Json<Value> {
    Json(resources(GROUPS[2]))
}

/// A group, as a document of its own.
fn alone(kinds: &[&Kind]) -> Value {
    let mut group = group(kinds);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

/// A group, as one of many.
fn group(kinds: &[&Kind]) -> Value {
    let kind = kinds[0];
    let version = json!({ "groupVersion": kind.api_version(), "version": kind.version });
    json!({ "name": kind.group, "versions": [version], "preferredVersion": version })
}

/// The kinds of a group.
fn resources(kinds: &[&Kind]) -> Value {
    let (of, described) = (kinds[0], kinds.iter().map(|kind| kind.described(kinds[0].group)));
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": of.api_version(),
        "resources": described.collect::<Vec<_>>()
    })
}
