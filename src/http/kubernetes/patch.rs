//! `PATCH`, as far as it changes nothing: `kubectl apply` writes what it applied into an annotation, and would not go on
//! without an answer. Annotations are not kept here, so a later `apply` says "configured" where nothing was.

use axum::extract::Request;
use serde_json::{Map, Value};

use super::{body::object_of, dress::Failure, kinds::Kind, options::Query};

/// Where `kubectl apply` remembers what it has applied.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What patches of whole objects are sent as.
const TYPES: [&str; 2] = ["application/strategic-merge-patch+json", "application/merge-patch+json"];

/// Accepts a patch of that one annotation, and refuses every other.
pub(super) async fn nothing_but_what_apply_remembers(request: Request, kind: &Kind, name: &str) -> Result<(), Failure> {
    Query::of(request.uri())?.refuse_dry_run()?;
    let patch = object_of(request, &TYPES).await?.unwrap_or_default();
    if changes_nothing(&patch) {
        return Ok(());
    }
    let text = "cannot be changed: delete the object and create another";
    Err(Failure::invalid(kind, name, "metadata", "FieldValueForbidden", text))
}

fn changes_nothing(patch: &Map<String, Value>) -> bool {
    let only = |value: &Value, known: &str, inner: fn(&Value) -> bool| {
        value.as_object().is_some_and(|map| map.iter().all(|(key, value)| key == known && inner(value)))
    };
    patch.iter().all(|(key, value)| match key.as_str() {
        "apiVersion" | "kind" => value.is_string(),
        "metadata" => only(value, "annotations", |value| {
            value.as_object().is_some_and(|map| map.iter().all(|(key, value)| key == APPLIED && value.is_string()))
        }),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_apply_remembers_may_be_patched() {
        let judge = |patch: Value| changes_nothing(patch.as_object().unwrap());
        for right in [
            json!({}),
            json!({ "metadata": { "annotations": { APPLIED: "{}" } } }),
            json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": {} }),
        ] {
            assert!(judge(right.clone()), "{right}");
        }
        for wrong in [
            json!({ "metadata": { "annotations": { "a": "b" } } }),
            json!({ "metadata": { "annotations": { APPLIED: "{}", "a": "b" } } }),
            json!({ "metadata": { "annotations": { APPLIED: null } } }),
            json!({ "metadata": { "labels": { "a": "b" } } }),
            json!({ "metadata": { "annotations": null } }),
            json!({ "metadata": null }),
            json!({ "rules": [] }),
            json!({ "kind": 1 }),
        ] {
            assert!(!judge(wrong.clone()), "{wrong}");
        }
    }
}
