//! The kinds of this dialect, with their names in every spelling that Kubernetes has for them.

use serde_json::{Value, json};

/// The group of kube-gateway's kinds.
pub(super) const KUBE_GATEWAY: &str = "kubegateway.kubevirt.io";
/// The group of roles and role bindings.
pub(super) const RBAC: &str = "rbac.authorization.k8s.io";
/// The group of what asks for a token, or about one.
pub(super) const AUTHENTICATION: &str = "authentication.k8s.io";

/// A kind.
pub(super) struct Kind {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    /// As an object names it.
    pub(super) name: &'static str,
    /// As a path names it.
    pub(super) plural: &'static str,
    singular: &'static str,
    /// What people write for the plural.
    short: &'static [&'static str],
    namespaced: bool,
    verbs: &'static [&'static str],
}

/// Gate tokens.
pub(super) const GATE_TOKEN: Kind = Kind {
    group: KUBE_GATEWAY,
    version: "v1beta1",
    name: "GateToken",
    plural: "gatetokens",
    singular: "gatetoken",
    short: &[],
    namespaced: true,
    verbs: &["create", "delete", "get", "list"],
};

/// Where gate tokens are good: of the original's gateways there is one, this service.
pub(super) const GATE_SERVER: Kind = Kind {
    group: KUBE_GATEWAY,
    version: "v1beta1",
    name: "GateServer",
    plural: "gateservers",
    singular: "gateserver",
    short: &[],
    namespaced: true,
    verbs: &["get", "list"],
};

/// Secrets: by name alone, but for those of service accounts.
pub(super) const SECRET: Kind = Kind {
    group: "",
    version: "v1",
    name: "Secret",
    plural: "secrets",
    singular: "secret",
    short: &[],
    namespaced: true,
    verbs: &["get", "list"],
};

/// Service accounts.
pub(super) const SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    name: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short: &["sa"],
    namespaced: true,
    verbs: &["create", "delete", "get", "list", "patch"],
};

/// Short-lived tokens of a service account, which are asked for and not kept as objects.
pub(super) const TOKEN_REQUEST: Kind = Kind {
    group: AUTHENTICATION,
    version: "v1",
    name: "TokenRequest",
    plural: "serviceaccounts/token",
    singular: "",
    short: &[],
    namespaced: true,
    verbs: &["create"],
};

/// Questions about tokens, which are answered and not kept.
pub(super) const TOKEN_REVIEW: Kind = Kind {
    group: AUTHENTICATION,
    version: "v1",
    name: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    short: &[],
    namespaced: false,
    verbs: &["create"],
};

/// What an API server asks before it keeps an object, which is answered and not kept.
pub(super) const ADMISSION_REVIEW: Kind = Kind {
    group: "admission.k8s.io",
    version: "v1",
    name: "AdmissionReview",
    plural: "admissionreviews",
    singular: "",
    short: &[],
    namespaced: false,
    verbs: &["create"],
};

/// The one role that there is: it lets a service account request tokens for itself.
pub(super) const ROLE: Kind = Kind {
    group: RBAC,
    version: "v1",
    name: "Role",
    plural: "roles",
    singular: "role",
    short: &[],
    namespaced: true,
    verbs: &["create", "delete", "get", "list", "patch"],
};

/// That the service account has that role.
pub(super) const ROLE_BINDING: Kind = Kind {
    group: RBAC,
    version: "v1",
    name: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    short: &[],
    namespaced: true,
    verbs: &["create", "delete", "get", "list", "patch"],
};

/// Namespaces are never shown; what is made in one that is not there is told so.
pub(super) const NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    name: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short: &[],
    namespaced: false,
    verbs: &[],
};

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

    /// What discovery says of it, among what a group has.
    pub(super) fn described(&self, group: &str) -> Value {
        let mut described = json!({
            "name": self.plural, "singularName": self.singular, "namespaced": self.namespaced, "kind": self.name,
            "verbs": self.verbs
        });
        if !self.short.is_empty() {
            described["shortNames"] = json!(self.short);
        }
        if self.group != group {
            described["group"] = self.group.into();
            described["version"] = self.version.into();
        }
        described
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
