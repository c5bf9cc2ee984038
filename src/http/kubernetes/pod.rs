//! A pod, as far as it matters to whether and where it gets the token that is always fresh.
//!
//! Whatever an API server may send is read, so that no pod is refused for what is in it. What is no Pod at all (a text
//! where a list has to be) no API server sends.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::by_name::{ByName, by_name, by_name_if_any};

/// How a pod asks.
pub(super) const ANNOTATION: &str = "hpe-ezua/add-auth-token";
/// What the kubelet writes on what it was given as a file: such a pod cannot have secrets.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// How many elements of a list are kept. No pod has as many, and a patch stays small, whatever is sent.
pub(super) const MOST: usize = 1000;

/// A pod.
#[derive(Deserialize)]
pub(super) struct Pod {
    #[serde(default, deserialize_with = "by_name_if_any")]
    metadata: Option<Metadata>,
    #[serde(deserialize_with = "by_name")]
    pub(super) spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    annotations: Option<Marks>,
    labels: Option<Marks>,
}

/// Its containers, and the volumes that they may mount.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) containers: Option<Few<Container>>,
    pub(super) init_containers: Option<Few<Container>>,
    pub(super) volumes: Option<Few<Volume>>,
}

/// A container.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) volume_mounts: Option<Few<VolumeMount>>,
    pub(super) volume_devices: Option<Few<Device>>,
}

/// A volume's place in a container.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
    sub_path: Option<String>,
    sub_path_expr: Option<String>,
}

/// A raw device's place in a container.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) device_path: String,
}

/// A volume; of its kinds that of a Secret.
#[derive(Deserialize)]
pub(super) struct Volume {
    pub(super) name: String,
    #[serde(default, deserialize_with = "by_name_if_any")]
    pub(super) secret: Option<SecretVolume>,
}

/// What of a Secret is in a volume.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretVolume {
    pub(super) secret_name: Option<String>,
    pub(super) items: Option<Few<Item>>,
}

/// A key of a Secret, and the file that it is in.
#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) path: String,
}

impl Pod {
    /// Its name; one that is given when it is kept is told by what it begins with.
    pub(super) fn name(&self) -> &str {
        let Some(metadata) = &self.metadata else { return "" };
        let given = metadata.name.as_deref().filter(|name| !name.is_empty());
        given.or(metadata.generate_name.as_deref()).unwrap_or_default()
    }

    /// What its annotations say.
    pub(super) fn says(&self) -> Marks {
        self.metadata.as_ref().and_then(|metadata| metadata.annotations).unwrap_or_default()
    }

    /// What its labels say. It is no place to ask.
    pub(super) fn labels_say(&self) -> Marks {
        self.metadata.as_ref().and_then(|metadata| metadata.labels).unwrap_or_default()
    }
}

impl Spec {
    /// All containers, the first ones first.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = &Container> {
        [&self.containers, &self.init_containers].into_iter().flat_map(|some| list(some.as_ref()))
    }

    /// Whether it has a list that is longer than what is kept of one: then it is not known whole.
    pub(super) fn is_cut(&self) -> bool {
        let secrets = list(self.volumes.as_ref()).iter().filter_map(|volume| volume.secret.as_ref());
        is_cut(self.containers.as_ref())
            || is_cut(self.init_containers.as_ref())
            || is_cut(self.volumes.as_ref())
            || secrets.into_iter().any(|secret| is_cut(secret.items.as_ref()))
            || self
                .all_containers()
                .any(|one| is_cut(one.volume_mounts.as_ref()) || is_cut(one.volume_devices.as_ref()))
    }
}

impl VolumeMount {
    /// A mount of a part does not change when the Secret does.
    pub(super) fn is_whole(&self) -> bool {
        [&self.sub_path, &self.sub_path_expr].into_iter().all(|part| part.as_deref().is_none_or(str::is_empty))
    }
}

/// The first [`MOST`] elements of a list of objects.
pub(super) struct Few<T> {
    kept: Vec<T>,
    is_cut: bool,
}

/// A list's elements; one that is not there has none.
pub(super) fn list<T>(list: Option<&Few<T>>) -> &[T] {
    list.map_or(&[][..], |list| &list.kept[..])
}

fn is_cut<T>(list: Option<&Few<T>>) -> bool {
    list.is_some_and(|list| list.is_cut)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Few<T>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MOST {
                    match elements.next_element()? {
                        Some(ByName(element)) => kept.push(element),
                        None => return Ok(Few { kept, is_cut: false }),
                    }
                }
                Ok(Few { kept, is_cut: skip(elements)? > 0 })
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

/// Reads past the rest of a list, and tells how long that was.
fn skip<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<usize, A::Error> {
    let mut skipped = 0;
    while elements.next_element::<IgnoredAny>()?.is_some() {
        skipped += 1;
    }
    Ok(skipped)
}

/// What a pod's annotations, or its labels, say of this.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) asks: Option<Asks>,
    pub(super) is_mirror: bool,
}

/// Whether a pod asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Yes,
    No,
    /// It says something else than `true` or `false`, or not as a text: `true` without quotes is none.
    Unclearly,
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Marks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Marks, A::Error> {
                let mut marks = Marks::default();
                while let Some(name) = members.next_key::<String>()? {
                    if name == ANNOTATION {
                        // Of two readers one takes the first, the other the last.
                        if marks.asks.replace(members.next_value()?).is_some() {
                            return Err(A::Error::custom("it is there twice"));
                        }
                    } else {
                        marks.is_mirror |= name == MIRROR;
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(marks)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'de> Deserialize<'de> for Asks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Asks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Asks, E> {
                Ok(match text {
                    "true" => Asks::Yes,
                    "false" => Asks::No,
                    _ => Asks::Unclearly,
                })
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Asks, E> {
                Ok(Asks::Unclearly)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Asks, E> {
                Ok(Asks::Unclearly)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Asks, E> {
                Ok(Asks::Unclearly)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Asks, E> {
                Ok(Asks::Unclearly)
            }

            fn visit_unit<E: Error>(self) -> Result<Asks, E> {
                Ok(Asks::Unclearly)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Asks, A::Error> {
                skip(elements).map(|_| Asks::Unclearly)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Asks, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Asks::Unclearly)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(pod: &Value) -> Option<Pod> {
        // As it is sent: the text, and not the value, is what has a place.
        serde_json::from_str(&pod.to_string()).ok()
    }

    #[test]
    fn whatever_an_annotation_says_is_read() {
        for (said, asks) in [
            (json!("true"), Asks::Yes),
            (json!("false"), Asks::No),
            (json!(["true"]), Asks::Unclearly),
            (json!([]), Asks::Unclearly),
            (json!({}), Asks::Unclearly),
            (json!({ "a": [{ "b": null }], "c": "true" }), Asks::Unclearly),
        ] {
            let pod =
                json!({ "metadata": { "annotations": { ANNOTATION: said, MIRROR: [1] }, "name": "n" }, "spec": {} });
            let pod = read(&pod).unwrap();
            assert_eq!((pod.says().asks, pod.says().is_mirror, pod.name()), (Some(asks), true, "n"), "{said}");
            assert_eq!(pod.labels_say().asks, None);
        }
        let nothing = read(&json!({ "metadata": null, "spec": {} })).unwrap();
        assert_eq!((nothing.says().asks, nothing.name()), (None, ""));
        let twice = r#"{"metadata":{"annotations":{"hpe-ezua/add-auth-token":"false","hpe-ezua/add-auth-token":"true"}},"spec":{}}"#;
        assert!(serde_json::from_str::<Pod>(twice).is_err());
    }

    #[test]
    fn of_a_list_that_is_too_long_the_beginning_is_kept_and_that_is_known() {
        let many = |element: &Value, number: usize| Value::Array(vec![element.clone(); number]);
        let of = |member: &str, list: Value| match member {
            "containers" | "initContainers" | "volumes" => json!({ member: list }),
            "items" => json!({ "volumes": [{ "name": "v" }, { "name": "v", "secret": { "items": list } }] }),
            _ => json!({ "initContainers": [{ "name": "a" }, { "name": "b", member: list }] }),
        };
        for (member, element) in [
            ("containers", json!({ "name": "a" })),
            ("initContainers", json!({ "name": "a" })),
            ("volumes", json!({ "name": "a" })),
            ("volumeMounts", json!({ "name": "a", "mountPath": "/a" })),
            ("volumeDevices", json!({ "name": "a", "devicePath": "/a" })),
            ("items", json!({ "key": "a", "path": "a" })),
        ] {
            for (number, cut) in [(0, false), (MOST, false), (MOST + 1, true), (3 * MOST, true)] {
                let pod = read(&json!({ "spec": of(member, many(&element, number)) })).unwrap();
                assert_eq!(pod.spec.is_cut(), cut, "{member}: {number}");
                assert!(pod.spec.all_containers().count() <= MOST);
            }
        }
    }

    #[test]
    fn nothing_is_read_by_place() {
        let (name, mount) = (json!({ "name": "a" }), json!({ "name": "a", "mountPath": "/a" }));
        let whole = json!({ "metadata": {}, "spec": {
            "containers": [{ "name": "a", "volumeMounts": [mount], "volumeDevices": [{ "devicePath": "/a" }] }],
            "initContainers": [name],
            "volumes": [{ "name": "a", "secret": { "items": [{ "key": "a", "path": "a" }] } }]
        } });
        assert!(read(&whole).is_some());
        for (place, list) in [
            ("/metadata", json!(["n", null, { ANNOTATION: "true" }, null])),
            ("/spec", json!([[name], null, null])),
            ("/spec/containers/0", json!(["a", null, null])),
            ("/spec/initContainers/0", json!(["a", null, null])),
            ("/spec/containers/0/volumeMounts/0", json!(["a", "/a", null, null])),
            ("/spec/containers/0/volumeDevices/0", json!(["/a"])),
            ("/spec/volumes/0", json!(["a", null])),
            ("/spec/volumes/0/secret", json!(["a", null])),
            ("/spec/volumes/0/secret/items/0", json!(["a", "a"])),
        ] {
            let mut listed = whole.clone();
            *listed.pointer_mut(place).unwrap() = list;
            assert!(read(&listed).is_none(), "{place}");
        }
    }
}
