//! What kubectl asks before it asks for anything: which groups, versions and kinds there are. Public, and without I/O.

use axum::Json;
use serde_json::{Value, json};

use super::kinds::{GATE_SERVER, GATE_TOKEN, GROUP, SECRET, VERSION};

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
    Json(json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [SECRET.described()] }))
}

/// `GET /apis`
pub(super) async fn groups() -> Json<Value> {
    Json(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [our_group()] }))
}

/// `GET /apis/kubegateway.kubevirt.io`
pub(super) async fn group() -> Json<Value> {
    let mut group = our_group();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Json(group)
}

fn our_group() -> Value {
    let version = json!({ "groupVersion": GATE_TOKEN.api_version(), "version": VERSION });
    json!({ "name": GROUP, "versions": [version], "preferredVersion": version })
}

/// `GET /apis/kubegateway.kubevirt.io/v1beta1`
pub(super) async fn resources() -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GATE_TOKEN.api_version(),
        "resources": [GATE_TOKEN.described(), GATE_SERVER.described()]
    }))
}
