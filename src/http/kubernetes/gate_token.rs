//! The GateToken as an object: read from a request, and shown.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    accept::Row,
    body::{Fields, Wrong},
    kinds::GATE_TOKEN,
    metadata::{age, given, uuid},
};
use crate::{
    clock::Timestamp,
    domain::gate::{
        GateToken,
        mint::{NewGateToken, Shown},
    },
};

/// A GateToken that is to be made.
pub(super) struct Wanted {
    /// What is asked for; the name is empty if it is to be made up.
    pub(super) new: NewGateToken,
    /// What a made-up name begins with.
    pub(super) prefix: Option<String>,
}

/// Reads the object that is to be made in a namespace. What its fields say is for the domain to judge; what else an object
/// may hold (annotations, a status) is passed over, except for fields of `spec` that nobody knows.
pub(super) fn read(body: &Fields<'_>, namespace: &str) -> Result<Wanted, Wrong> {
    body.expect("apiVersion", &GATE_TOKEN.api_version(), "must be kubegateway.kubevirt.io/v1beta1")?;
    body.expect("kind", GATE_TOKEN.name, "must be GateToken")?;
    // A field of the spec that got one level up must not get lost.
    body.only(&["apiVersion", "kind", "metadata", "spec", "status"])?;
    let metadata = body.object("metadata")?;
    metadata.expect("namespace", namespace, "must be the namespace of the path")?;
    let spec = body.object("spec")?;
    spec.only(&SPEC)?;
    let [key_set, secret_namespace, secret_file, urls, verbs, from, duration, one_time] = SPEC;
    let new = NewGateToken {
        name: metadata.text("name")?.unwrap_or_default(),
        labels: metadata.named_texts("labels")?.collect(),
        key_set: spec.text(key_set)?.unwrap_or_default(),
        secret_namespace: given(spec.text(secret_namespace)?),
        secret_file: given(spec.text(secret_file)?),
        urls: spec.texts(urls)?.unwrap_or_default(),
        verbs: spec.texts(verbs)?,
        // Whoever writes objects by a fixed form leaves empty what he does not say.
        from: given(spec.text(from)?),
        duration: given(spec.text(duration)?),
        one_time: spec.flag(one_time)?,
    };
    Ok(Wanted { new, prefix: given(metadata.text("generateName")?) })
}

const SPEC: [&str; 8] =
    ["secret-name", "secret-namespace", "secret-file", "urls", "verbs", "from", "duration", "one-time"];

/// The `uid` of a gate token's object.
pub(super) fn uid(token: &GateToken) -> String {
    uuid(token.id.drawn())
}

/// The one condition: whether the token is there to be used.
struct Condition {
    ready: bool,
    reason: &'static str,
    message: &'static str,
    since: Timestamp,
}

impl Condition {
    fn of(token: &GateToken, now: Timestamp) -> Self {
        let (ready, reason, message, since) = if token.is_over(now) {
            (false, "TokenExpired", "the token has expired", token.exp)
        } else if let Some(used) = &token.used {
            (false, "LinkUsed", "the one-time link was used", used.at)
        } else {
            (true, "TokenCreated", "token created", token.created_at)
        };
        Self { ready, reason, message, since }
    }

    fn status(&self) -> &'static str {
        if self.ready { "True" } else { "False" }
    }
}

/// The object, with the token if its reader is given it.
pub(crate) fn render(shown: &Shown, now: Timestamp) -> Value {
    let token = &shown.row.record;
    let mut metadata = json!({
        "name": token.name.as_str(), "namespace": token.namespace.as_str(), "uid": uid(token),
        "creationTimestamp": token.created_at.rfc3339(), "resourceVersion": URL_SAFE_NO_PAD.encode(shown.row.version.0),
        "generation": 1
    });
    if !token.labels.is_empty() {
        metadata["labels"] = json!(token.labels);
    }
    let urls: Vec<String> = token.urls.clone().into();
    let verbs: Vec<String> = token.verbs.clone().into();
    let mut spec = json!({ "secret-name": token.key_set, "urls": urls, "verbs": verbs });
    for (field, text) in [
        ("secret-namespace", &token.secret_namespace),
        ("secret-file", &token.secret_file),
        ("from", &token.from),
        ("duration", &token.duration),
    ] {
        if let Some(text) = text {
            spec[field] = text.as_str().into();
        }
    }
    if token.one_time {
        spec["one-time"] = true.into();
    }
    let condition = Condition::of(token, now);
    let mut status = json!({
        // The original's two words for it; what ended cannot be used.
        "phase": if condition.ready { "Ready" } else { "Error" },
        "conditions": [{
            "type": "Ready", "status": condition.status(), "reason": condition.reason, "message": condition.message,
            "lastTransitionTime": condition.since.rfc3339(), "observedGeneration": 1
        }],
        "data": {
            "from": token.from.clone().unwrap_or_else(|| token.nbf.rfc3339()), "until": token.exp.rfc3339(),
            "duration": token.duration_text(), "nbf": token.nbf.0, "exp": token.exp.0,
            "verbs": verbs, "urls": urls
        }
    });
    if let Some(signed) = &shown.token {
        status["token"] = signed.expose().as_str().into();
    }
    let mut object = GATE_TOKEN.object(metadata);
    object["spec"] = spec;
    object["status"] = status;
    object
}

/// The columns of a table of GateTokens.
pub(super) const COLUMNS: [(&str, &str, &str); 4] = [
    ("Name", "name", "The object's name."),
    ("Ready", "", "Whether the token can be used."),
    ("Expires", "", "Until when."),
    ("Age", "", "How long ago it was made."),
];

/// The row of a table for an object.
pub(super) fn row(shown: &Shown, now: Timestamp) -> Row {
    let token = &shown.row.record;
    let cells = vec![
        token.name.to_string(),
        Condition::of(token, now).status().to_owned(),
        token.exp.rfc3339(),
        age(now.since(token.created_at).as_secs()),
    ];
    Row { cells, object: render(shown, now) }
}
