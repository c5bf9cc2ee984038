//! The kinds of this dialect, with their names in every spelling that Kubernetes has for them.

use serde_json::{Value, json};

/// The group of kube-gateway's kinds, and its only version.
pub(super) const GROUP: &str = "kubegateway.kubevirt.io";
/// See [`GROUP`].
pub(super) const VERSION: &str = "v1beta1";

/// A kind.
pub(super) struct Kind {
    /// Empty for the core group.
    pub(super) group: &'static str,
    version: &'static str,
    /// As an object names it.
    pub(super) name: &'static str,
    /// As a path names it.
    pub(super) plural: &'static str,
    singular: &'static str,
    verbs: &'static [&'static str],
}

/// Gate tokens.
pub(super) const GATE_TOKEN: Kind = Kind {
    group: GROUP,
    version: VERSION,
    name: "GateToken",
    plural: "gatetokens",
    singular: "gatetoken",
    verbs: &["create", "delete", "get", "list"],
};

/// Where gate tokens are good: of the original's gateways there is one, this service.
pub(super) const GATE_SERVER: Kind = Kind {
    group: GROUP,
    version: VERSION,
    name: "GateServer",
    plural: "gateservers",
    singular: "gateserver",
    verbs: &["get", "list"],
};

/// Secrets, by name alone.
pub(super) const SECRET: Kind =
    Kind { group: "", version: "v1", name: "Secret", plural: "secrets", singular: "secret", verbs: &["get", "list"] };

impl Kind {
    /// `apiVersion` of its objects.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Its plural, or its kind, with the group behind it.
    pub(super) fn qualified(&self, name: &str) -> String {
        if self.group.is_empty() { name.to_owned() } else { format!("{name}.{}", self.group) }
    }

    /// An object of this kind.
    pub(super) fn object(&self, metadata: Value) -> Value {
        let mut object = json!({ "apiVersion": self.api_version(), "kind": self.name });
        object["metadata"] = metadata;
        object
    }

    /// A list of its objects; `next` is where the next page begins.
    pub(super) fn list(&self, items: Vec<Value>, next: Option<String>) -> Value {
        let mut list = json!({ "apiVersion": self.api_version(), "kind": format!("{}List", self.name) });
        list["metadata"] = list_metadata(next);
        list["items"] = items.into();
        list
    }

    /// What discovery says of it.
    pub(super) fn described(&self) -> Value {
        json!({
            "name": self.plural, "singularName": self.singular, "namespaced": true, "kind": self.name, "verbs": self.verbs
        })
    }
}

/// The metadata of a list. It has no version that could be watched from.
pub(super) fn list_metadata(next: Option<String>) -> Value {
    let mut metadata = json!({ "resourceVersion": "" });
    if let Some(next) = next {
        metadata["continue"] = next.into();
    }
    metadata
}
