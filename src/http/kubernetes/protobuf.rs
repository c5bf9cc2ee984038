//! Bodies in the Protobuf of Kubernetes: so kubectl (since 1.32) and programs on client-go send the kinds that are Kubernetes'
//! own, whatever a server says of itself.
//!
//! A body is an envelope (four bytes, then the kind and the object). It becomes the JSON that the same client would have
//! sent otherwise, and is judged as that: a text that is empty is one that is not there. What no field is known for is
//! refused, like a field of JSON that is not known. Answers are JSON, which such clients accept.

use serde_json::{Map, Value};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What an envelope begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is of a kind that is not known here.
    Kind,
    /// It is not in the form that it must have.
    Form,
}

/// What a field holds.
enum Shape {
    Text,
    Texts,
    Number,
    Flag,
    /// Texts by name.
    Pairs,
    Message(&'static [Field]),
    Messages(&'static [Field]),
    /// What has no meaning here, or is the server's to say.
    Passed,
}

/// A field's number, its name in JSON, and what it holds.
type Field = (u64, &'static str, Shape);

/// `k8s.io/apimachinery/pkg/apis/meta/v1`: what all objects begin with.
const METADATA: &[Field] = &[
    (1, "name", Shape::Text),
    (2, "generateName", Shape::Text),
    (3, "namespace", Shape::Text),
    (4, "selfLink", Shape::Passed),
    (5, "uid", Shape::Passed),
    (6, "resourceVersion", Shape::Passed),
    (7, "generation", Shape::Passed),
    (8, "creationTimestamp", Shape::Passed),
    (9, "deletionTimestamp", Shape::Passed),
    (10, "deletionGracePeriodSeconds", Shape::Passed),
    (11, "labels", Shape::Pairs),
    (12, "annotations", Shape::Pairs),
    (13, "ownerReferences", Shape::Passed),
    (14, "finalizers", Shape::Passed),
    (17, "managedFields", Shape::Passed),
];

/// The kinds, as `k8s.io/api` numbers their fields.
const KINDS: [(&str, &[Field]); 6] = [
    (
        "ServiceAccount",
        &[
            (1, "metadata", Shape::Message(METADATA)),
            (2, "secrets", Shape::Messages(REFERENCE)),
            (3, "imagePullSecrets", Shape::Messages(REFERENCE)),
            (4, "automountServiceAccountToken", Shape::Flag),
        ],
    ),
    (
        "TokenRequest",
        &[
            (1, "metadata", Shape::Message(METADATA)),
            (
                2,
                "spec",
                Shape::Message(&[
                    (1, "audiences", Shape::Texts),
                    (3, "boundObjectRef", Shape::Message(BOUND_OBJECT)),
                    (4, "expirationSeconds", Shape::Number),
                ]),
            ),
            (3, "status", Shape::Passed),
        ],
    ),
    (
        "TokenReview",
        &[
            (1, "metadata", Shape::Message(METADATA)),
            (2, "spec", Shape::Message(&[(1, "token", Shape::Text), (2, "audiences", Shape::Texts)])),
            (3, "status", Shape::Passed),
        ],
    ),
    (
        "Role",
        &[
            (1, "metadata", Shape::Message(METADATA)),
            (
                2,
                "rules",
                Shape::Messages(&[
                    (1, "verbs", Shape::Texts),
                    (2, "apiGroups", Shape::Texts),
                    (3, "resources", Shape::Texts),
                    (4, "resourceNames", Shape::Texts),
                    (5, "nonResourceURLs", Shape::Texts),
                ]),
            ),
        ],
    ),
    (
        "RoleBinding",
        &[
            (1, "metadata", Shape::Message(METADATA)),
            (
                2,
                "subjects",
                Shape::Messages(&[
                    (1, "kind", Shape::Text),
                    (2, "apiGroup", Shape::Text),
                    (3, "name", Shape::Text),
                    (4, "namespace", Shape::Text),
                ]),
            ),
            (
                3,
                "roleRef",
                Shape::Message(&[(1, "apiGroup", Shape::Text), (2, "kind", Shape::Text), (3, "name", Shape::Text)]),
            ),
        ],
    ),
    (
        "DeleteOptions",
        &[
            (1, "gracePeriodSeconds", Shape::Passed),
            (2, "preconditions", Shape::Message(&[(1, "uid", Shape::Text), (2, "resourceVersion", Shape::Text)])),
            (3, "orphanDependents", Shape::Passed),
            (4, "propagationPolicy", Shape::Passed),
            (5, "dryRun", Shape::Texts),
        ],
    ),
];

/// A reference to an object, of which its being there is enough to be refused.
const REFERENCE: &[Field] = &[
    (1, "kind", Shape::Passed),
    (2, "namespace", Shape::Passed),
    (3, "name", Shape::Passed),
    (4, "uid", Shape::Passed),
    (5, "apiVersion", Shape::Passed),
    (6, "resourceVersion", Shape::Passed),
    (7, "fieldPath", Shape::Passed),
];

const BOUND_OBJECT: &[Field] =
    &[(1, "kind", Shape::Text), (2, "apiVersion", Shape::Text), (3, "name", Shape::Text), (4, "uid", Shape::Text)];

/// Reads an object from its envelope.
pub(super) fn read(body: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    let (api_version, kind, raw) = opened(body).ok_or(Unreadable::Form)?;
    let (_, fields) = KINDS.iter().find(|(name, _)| *name == kind).ok_or(Unreadable::Kind)?;
    let mut object = message(raw, fields).ok_or(Unreadable::Form)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(object)
}

/// `apiVersion`, `kind` and the object of an envelope (`k8s.io/apimachinery/pkg/runtime.Unknown`).
fn opened(body: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (mut api_version, mut kind, mut raw) = ("", "", &[][..]);
    let mut reader = Reader(body.strip_prefix(MAGIC)?);
    while let Some((number, bytes)) = reader.field_of_bytes()? {
        match number {
            1 => {
                let mut of = Reader(bytes);
                while let Some((number, bytes)) = of.field_of_bytes()? {
                    let place = match number {
                        1 => &mut api_version,
                        2 => &mut kind,
                        _ => return None,
                    };
                    *place = str::from_utf8(bytes).ok()?;
                }
            }
            2 => raw = bytes,
            // How the object is encoded besides: not at all.
            3 | 4 if bytes.is_empty() => {}
            _ => return None,
        }
    }
    Some((api_version, kind, raw))
}

/// A message as the object that it is in JSON; none if it is not in the form that it must have.
fn message(bytes: &[u8], fields: &[Field]) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, held)) = reader.field()? {
        let (_, name, shape) = fields.iter().find(|(known, ..)| *known == number)?;
        let (value, repeats) = match (shape, held) {
            (Shape::Passed, _) | (Shape::Text, Held::Bytes([])) => continue,
            (Shape::Text, Held::Bytes(bytes)) => (text(bytes)?, false),
            (Shape::Texts, Held::Bytes(bytes)) => (text(bytes)?, true),
            (Shape::Number, Held::Number(number)) => (number.cast_signed().into(), false),
            (Shape::Flag, Held::Number(number @ (0 | 1))) => ((number == 1).into(), false),
            (Shape::Message(fields), Held::Bytes(bytes)) => (message(bytes, fields)?.into(), false),
            (Shape::Messages(fields), Held::Bytes(bytes)) => (message(bytes, fields)?.into(), true),
            (Shape::Pairs, Held::Bytes(bytes)) => {
                let pairs = object.entry(*name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
                let (key, value) = pair(bytes)?;
                if pairs.insert(key, value).is_some() {
                    return None;
                }
                continue;
            }
            _ => return None,
        };
        if repeats {
            object.entry(*name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?.push(value);
        } else if object.insert((*name).to_owned(), value).is_some() {
            // Of two readers one would take the first, the other the last.
            return None;
        }
    }
    Some(object)
}

fn text(bytes: &[u8]) -> Option<Value> {
    str::from_utf8(bytes).ok().map(Value::from)
}

fn pair(bytes: &[u8]) -> Option<(String, Value)> {
    const PAIR: &[Field] = &[(1, "key", Shape::Texts), (2, "value", Shape::Texts)];
    let mut entry = message(bytes, PAIR)?;
    // As texts that may be repeated, so that an empty one is there too.
    let mut one = |name: &str| -> Option<String> {
        match entry.remove(name) {
            None => Some(String::new()),
            Some(Value::Array(mut values)) if values.len() == 1 => values.pop()?.as_str().map(str::to_owned),
            Some(_) => None,
        }
    };
    Some((one("key")?, one("value")?.into()))
}

/// What a field holds on the wire.
enum Held<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads a message field by field.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; none at the end. None outside: it is cut off, or of a kind that is not used.
    #[expect(clippy::option_option, reason = "the end of a message, and that it is none, are two things")]
    fn field(&mut self) -> Option<Option<(u64, Held<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.number()?;
        let held = match key & 7 {
            0 => Held::Number(self.number()?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Held::Bytes(bytes)
            }
            _ => return None,
        };
        Some(Some((key >> 3, held)))
    }

    /// The next field, which must hold bytes.
    #[expect(clippy::option_option, reason = "as above")]
    fn field_of_bytes(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        match self.field()? {
            None => Some(None),
            Some((number, Held::Bytes(bytes))) => Some(Some((number, bytes))),
            Some((_, Held::Number(_))) => None,
        }
    }

    /// A number, of seven bits a byte, at most ten of them.
    fn number(&mut self) -> Option<u64> {
        let mut number: u64 = 0;
        for n in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if n == 9 && bits > 1 {
                return None;
            }
            number |= bits << (7 * n);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).unwrap()).collect()
    }

    /// What kubectl 1.33 sends, and what kubectl 1.31 sends for the same command, without what is empty.
    const SENT: [&str; 4] = [
        "6b3873000a140a027631120e536572766963654163636f756e7412170a150a02636912001a0361646122002a003200380042001a002200",
        "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e5265717565737412230a100a0012001a00\
         22002a0032003800420012090a01410a014220d8041a040a0012001a002200",
        "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374122d0a100a0012001a00\
         22002a0032003800420012131a110a06536563726574120276311a017822001a040a0012001a002200",
        "6b3873000a2b0a1c726261632e617574686f72697a6174696f6e2e6b38732e696f2f7631120b526f6c6542696e64696e6712750a220a0f63\
         692d6372656174652d746f6b656e12001a0361646122002a00320038004200121b0a0e536572766963654163636f756e7412001a02636922\
         036164611a320a19726261632e617574686f72697a6174696f6e2e6b38732e696f1204526f6c651a0f63692d6372656174652d746f6b656e\
         1a002200",
    ];

    #[test]
    fn what_kubectl_sends_is_what_it_would_send_as_json() {
        let rbac = "rbac.authorization.k8s.io";
        let expected = [
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "ci", "namespace": "ada" } }),
            json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
                "spec": { "audiences": ["A", "B"], "expirationSeconds": 600 }
            }),
            json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
                "spec": { "boundObjectRef": { "kind": "Secret", "apiVersion": "v1", "name": "x" } }
            }),
            json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
                "metadata": { "name": "ci-create-token", "namespace": "ada" },
                "subjects": [{ "kind": "ServiceAccount", "name": "ci", "namespace": "ada" }],
                "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "ci-create-token" }
            }),
        ];
        for (sent, expected) in SENT.iter().zip(expected) {
            assert_eq!(Value::from(read(&bytes(sent)).unwrap()), expected);
        }
    }

    #[test]
    fn labels_and_lists_keep_what_is_empty_in_them() {
        let envelope = |kind: &str, raw: &str| {
            let of = |number: u8, bytes: &[u8]| {
                let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
                field.extend(bytes);
                field
            };
            let of_type = [of(1, b"v1"), of(2, kind.as_bytes())].concat();
            [MAGIC.to_vec(), of(1, &of_type), of(2, &bytes(raw))].concat()
        };
        // Labels {"a": "", "b": "c"}; a rule with verbs [""]; a number below 0; a flag.
        for (kind, raw, expected) in [
            (
                "ServiceAccount",
                "0a0f5a050a016112005a060a01621201632001",
                json!({ "metadata": { "labels": { "a": "", "b": "c" } }, "automountServiceAccountToken": true }),
            ),
            ("Role", "12020a00", json!({ "rules": [{ "verbs": [""] }] })),
            ("TokenRequest", "120b20ffffffffffffffffff01", json!({ "spec": { "expirationSeconds": -1 } })),
        ] {
            let mut read = Value::from(read(&envelope(kind, raw)).unwrap_or_else(|why| panic!("{kind}: {why:?}")));
            for field in ["apiVersion", "kind"] {
                read.as_object_mut().unwrap().remove(field);
            }
            assert_eq!(read, expected, "{kind}");
        }
        for (kind, raw, why) in [
            ("Pod", "", Unreadable::Kind),
            ("", "", Unreadable::Kind),
            // An unknown field; a field twice; a text that is a number; a number that is too long; a flag of 2.
            ("Role", "1a00", Unreadable::Form),
            ("TokenRequest", "12041204", Unreadable::Form),
            ("TokenRequest", "120420012001", Unreadable::Form),
            ("TokenRequest", "12020801", Unreadable::Form),
            ("TokenRequest", "120c20ffffffffffffffffffff01", Unreadable::Form),
            ("ServiceAccount", "2002", Unreadable::Form),
            ("ServiceAccount", "0a030a01ff", Unreadable::Form),
        ] {
            assert_eq!(read(&envelope(kind, raw)), Err(why), "{kind} {raw}");
        }
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_read_or_refused() {
        let mut judged = 0;
        for sent in SENT {
            let whole = bytes(sent);
            for length in 0..whole.len() {
                // Cut off between two fields it is whole again, with less in it.
                _ = read(&whole[..length]);
                for changed in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut other = whole.clone();
                    other[length] = changed;
                    _ = read(&other);
                    judged += 1;
                }
            }
        }
        assert!(judged > 1000);
        assert_eq!(read(b""), Err(Unreadable::Form));
        assert_eq!(read(b"{}"), Err(Unreadable::Form));
    }
}
