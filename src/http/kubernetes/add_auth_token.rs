//! Which patch gives a pod the token that is always fresh: decided from the pod alone.
//!
//! A pod with the annotation `hpe-ezua/add-auth-token: "true"` gets its namespace's Secret `access-token` as a volume, and
//! every container and init container has it mounted at `/etc/secrets/ezua`, so that the token is in the file
//! `.auth_token`. A pod that has been given it already is not changed. A container in which something is mounted there, or
//! above or below it, is left as it is: it might not start otherwise.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::pod::{Asks, Container, Item, MOST, Pod, Spec, Volume, list};
use crate::domain::fresh_token::{DIRECTORY, FIELD, FILE, NAME};

/// What the volume is called, unless another one is called so.
const VOLUME: &str = "ezua-auth-token";

/// How many containers are spoken of one by one.
const MOST_WARNINGS: usize = 5;

/// What becomes of a pod.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The operations of a JSON patch (RFC 6902); none if nothing is to be changed.
    pub(super) patch: Vec<Value>,
    /// What whoever made the pod should know.
    pub(super) warnings: Vec<String>,
    /// How many containers the patch gives the token to.
    pub(super) mounted: usize,
}

impl Verdict {
    /// No change, and why.
    pub(super) fn unchanged(warning: &str) -> Self {
        Self { warnings: vec![warning.to_owned()], ..Self::default() }
    }
}

/// The patch for a pod.
pub(super) fn decide(pod: &Pod) -> Verdict {
    match (pod.says().asks, pod.labels_say().asks) {
        (Some(Asks::Yes), _) if pod.says().is_mirror => {
            Verdict::unchanged("a static pod cannot have secrets: no token is added")
        }
        (Some(Asks::Yes), _) if pod.spec.is_cut() => {
            Verdict::unchanged(&format!("a list of this pod has more than {MOST} elements: no token is added"))
        }
        (Some(Asks::Yes), _) => patched(&pod.spec),
        (Some(Asks::Unclearly), _) => Verdict::unchanged(
            "the annotation hpe-ezua/add-auth-token is neither \"true\" nor \"false\", in quotes: no token is added",
        ),
        (None, Some(Asks::Yes)) => Verdict::unchanged(
            "hpe-ezua/add-auth-token is a label of this pod and must be an annotation: no token is added",
        ),
        _ => Verdict::default(),
    }
}

fn patched(spec: &Spec) -> Verdict {
    let volumes = list(spec.volumes.as_ref());
    let mut with_token =
        volumes.iter().filter(|volume| has_the_token(volume)).map(|volume| volume.name.as_str()).peekable();
    let (is_there, volume) = match with_token.peek() {
        Some(name) => (true, (*name).to_owned()),
        None => (false, unused_name(spec)),
    };
    // Asked once for each mount: as a set, since there may be thousands of either.
    let with_token: HashSet<&str> = with_token.collect();
    let mount = json!({ "name": volume, "mountPath": DIRECTORY, "readOnly": true });
    let (mut mounts, mut in_the_way) = (Vec::new(), Vec::new());
    for (kind, containers) in [("containers", &spec.containers), ("initContainers", &spec.init_containers)] {
        for (index, container) in list(containers.as_ref()).iter().enumerate() {
            match place(container, &with_token) {
                Place::Free => {
                    let path = format!("/spec/{kind}/{index}/volumeMounts");
                    mounts.push(added(&path, container.volume_mounts.is_some(), &mount));
                }
                Place::TokenIsThere => {}
                Place::Taken(path) => in_the_way.push((&container.name, path)),
            }
        }
    }
    let mounted = mounts.len();
    let mut patch = Vec::with_capacity(mounted + 1);
    if mounted > 0 && !is_there {
        patch.push(added("/spec/volumes", spec.volumes.is_some(), &volume_of_the_token(&volume)));
    }
    patch.append(&mut mounts);
    Verdict { patch, warnings: warnings(&in_the_way), mounted }
}

/// What is where a container would have the token.
enum Place<'a> {
    Free,
    TokenIsThere,
    /// This path is in use.
    Taken(&'a str),
}

fn place<'a>(container: &'a Container, with_token: &HashSet<&str>) -> Place<'a> {
    let mut taken = None;
    for mount in list(container.volume_mounts.as_ref()) {
        // The path first: of most mounts nothing else has to be known.
        let found = Stands::of(&mount.mount_path);
        if found == Stands::AtOurs && mount.is_whole() && with_token.contains(mount.name.as_str()) {
            return Place::TokenIsThere;
        }
        if found != Stands::Elsewhere {
            taken = taken.or(Some(mount.mount_path.as_str()));
        }
    }
    let devices = list(container.volume_devices.as_ref()).iter().map(|device| device.device_path.as_str());
    let taken = taken.or_else(|| devices.into_iter().find(|path| Stands::of(path) != Stands::Elsewhere));
    taken.map_or(Place::Free, Place::Taken)
}

/// Where a path is, as seen from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    AtOurs,
    /// Above: the directory would be made in another volume, which cannot be done in one that is read-only, and then the
    /// container does not start. Below: so would be theirs, in ours.
    AboveOrBelow,
    Elsewhere,
}

impl Stands {
    fn of(path: &str) -> Self {
        let (theirs, ours) = (segments(path), segments(DIRECTORY));
        if theirs == ours {
            Self::AtOurs
        } else if theirs.iter().zip(&ours).all(|(theirs, ours)| theirs == ours) {
            Self::AboveOrBelow
        } else {
            Self::Elsewhere
        }
    }
}

/// A path's segments, as a runtime sees them; one that is not absolute is taken from the root.
fn segments(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                found.pop();
            }
            other => found.push(other),
        }
    }
    found
}

/// Whether the token is in a volume as it has to be.
fn has_the_token(volume: &Volume) -> bool {
    volume.secret.as_ref().is_some_and(|secret| {
        let is_it = |item: &Item| item.key == FIELD && item.path == FILE;
        secret.secret_name.as_deref() == Some(NAME) && list(secret.items.as_ref()).iter().any(is_it)
    })
}

/// A name that no volume has, and that no mount speaks of.
fn unused_name(spec: &Spec) -> String {
    let mounts = spec.all_containers().flat_map(|container| list(container.volume_mounts.as_ref()));
    let volumes = list(spec.volumes.as_ref()).iter().map(|volume| volume.name.as_str());
    let used: HashSet<&str> =
        volumes.chain(mounts.map(|mount| mount.name.as_str())).filter(|name| name.starts_with(VOLUME)).collect();
    let numbered = (2_u32..).map(|number| format!("{VOLUME}-{number}"));
    let mut names = std::iter::once(VOLUME.to_owned()).chain(numbered);
    names.find(|name| !used.contains(name.as_str())).unwrap_or_default()
}

/// The operation that adds an element to a list, or makes the list where there is none.
fn added(path: &str, is_there: bool, element: &Value) -> Value {
    if is_there {
        json!({ "op": "add", "path": format!("{path}/-"), "value": element })
    } else {
        json!({ "op": "add", "path": path, "value": [element] })
    }
}

fn volume_of_the_token(name: &str) -> Value {
    json!({
        "name": name,
        "secret": {
            "secretName": NAME,
            "items": [{ "key": FIELD, "path": FILE }],
            // A container may run as any user, and what is in this volume is for all of this pod and for nobody else.
            "defaultMode": 0o444,
            // Without it a pod would not start until the Secret is there; with it the file comes when the Secret does.
            "optional": true
        }
    })
}

fn warnings(in_the_way: &[(&String, &str)]) -> Vec<String> {
    let each = in_the_way.iter().take(MOST_WARNINGS).map(|(container, path)| {
        let (container, path) = (harmless(container), harmless(path));
        format!("container {container} gets no token: something is mounted at {path}, and it would be at {DIRECTORY}")
    });
    let more = in_the_way.len().saturating_sub(MOST_WARNINGS);
    each.chain((more > 0).then(|| format!("{more} more containers get no token for the same reason"))).collect()
}

/// A text of a request, short and printable.
pub(super) fn harmless(text: &str) -> String {
    const LONGEST: usize = 63;
    let shown = text.chars().take(LONGEST).map(|one| if one.is_ascii_graphic() { one } else { '?' });
    shown.chain("...".chars().take(if text.chars().nth(LONGEST).is_some() { 3 } else { 0 })).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::pod::{ANNOTATION, MIRROR},
        *,
    };
    use crate::metric::Stopwatch;

    fn verdict(pod: &Value) -> Verdict {
        decide(&serde_json::from_value(pod.clone()).unwrap())
    }

    /// A pod that asks, of these containers.
    fn asking(spec: &Value) -> Value {
        json!({ "metadata": { "generateName": "web-", "annotations": { ANNOTATION: "true", "a/b~c": "x" } }, "spec": spec })
    }

    fn mount(path: &str) -> Value {
        json!({ "name": "data", "mountPath": path })
    }

    #[test]
    fn every_container_gets_the_token_and_the_pod_one_volume() {
        let init = json!([{ "name": "i", "volumeMounts": [mount("/data")] }]);
        let containers = json!([{ "name": "a" }, { "name": "b", "volumeMounts": [] }]);
        let pod = asking(&json!({ "containers": containers, "initContainers": init }));
        let Verdict { patch, warnings, mounted } = verdict(&pod);
        assert!(warnings.is_empty());
        let mount = json!({ "name": VOLUME, "mountPath": "/etc/secrets/ezua", "readOnly": true });
        let volume = json!({ "name": VOLUME, "secret": {
            "secretName": "access-token", "items": [{ "key": "AUTH_TOKEN", "path": ".auth_token" }], "defaultMode": 292, "optional": true
        }});
        assert_eq!(
            (Value::Array(patch), mounted),
            (
                json!([
                    { "op": "add", "path": "/spec/volumes", "value": [volume] },
                    { "op": "add", "path": "/spec/containers/0/volumeMounts", "value": [mount] },
                    { "op": "add", "path": "/spec/containers/1/volumeMounts/-", "value": mount },
                    { "op": "add", "path": "/spec/initContainers/0/volumeMounts/-", "value": mount },
                ]),
                3
            )
        );
    }

    #[test]
    fn only_what_says_true_in_quotes_asks() {
        for (said, warns) in [
            (json!("false"), false),
            (json!(true), true),
            (json!("True"), true),
            (json!(""), true),
            (json!(1), true),
            (json!(-1), true),
            (json!(1.5), true),
            (Value::Null, true),
            (json!(["true"]), true),
            (json!({ "true": "true" }), true),
        ] {
            let mut pod = asking(&json!({ "containers": [{ "name": "a" }] }));
            pod["metadata"]["annotations"][ANNOTATION] = said.clone();
            let verdict = verdict(&pod);
            assert!(verdict.patch.is_empty() && verdict.warnings.is_empty() != warns, "{said}: {verdict:?}");
        }
        let nothing = json!({ "spec": { "containers": null } });
        assert!(verdict(&nothing).patch.is_empty() && verdict(&nothing).warnings.is_empty());
        let label =
            json!({ "metadata": { "labels": { ANNOTATION: "true" } }, "spec": { "containers": [{ "name": "a" }] } });
        assert!(verdict(&label).patch.is_empty() && verdict(&label).warnings[0].contains("must be an annotation"));
        let mut static_pod = asking(&json!({ "containers": [{ "name": "a" }] }));
        static_pod["metadata"]["annotations"][MIRROR] = "x".into();
        assert!(verdict(&static_pod).patch.is_empty() && verdict(&static_pod).warnings[0].contains("static"));
    }

    #[test]
    fn what_is_mounted_at_above_or_below_is_left_alone_and_that_is_said() {
        for path in [
            "/etc/secrets/ezua",
            "/etc/secrets/ezua/",
            "//etc/./secrets/x/../ezua",
            "etc/secrets/ezua",
            "/etc/secrets/ezua/.auth_token",
            "/etc/secrets/ezua/more/below",
            "/etc/secrets",
            "/etc",
            "/",
        ] {
            let containers = json!([{ "name": "a", "volumeMounts": [mount("/x"), mount(path)] }, { "name": "b" }]);
            let Verdict { patch, warnings, mounted } = verdict(&asking(&json!({ "containers": containers })));
            assert_eq!((patch.len(), mounted, warnings.len()), (2, 1, 1), "{path}");
            assert!(warnings[0].contains("container a") && warnings[0].contains(path), "{warnings:?}");
            let device = json!([{ "name": "a", "volumeDevices": [{ "name": "d", "devicePath": path }] }]);
            let alone = verdict(&asking(&json!({ "containers": device })));
            assert!(alone.patch.is_empty() && alone.warnings.len() == 1, "without a mount there is no volume: {path}");
        }
        for path in ["/etc/secrets/ezua2", "/etc/secrets/other", "/ezua", "/etc2", "/var/run/secrets"] {
            let containers = json!([{ "name": "a", "volumeMounts": [mount(path)] }]);
            assert!(verdict(&asking(&json!({ "containers": containers }))).warnings.is_empty(), "{path}");
        }
    }

    #[test]
    fn a_name_that_is_in_use_is_not_used_and_a_volume_with_the_token_is() {
        let names = |volumes: Value, mounts: Value| {
            let containers = json!([{ "name": "a", "volumeMounts": mounts }]);
            let patch = verdict(&asking(&json!({ "containers": containers, "volumes": volumes }))).patch;
            (patch.len(), patch.last().unwrap()["value"]["name"].as_str().unwrap().to_owned())
        };
        let empty = |name: &str| json!({ "name": name, "emptyDir": {} });
        let used = "ezua-auth-token";
        assert_eq!(names(json!([empty("x")]), json!([])), (2, used.to_owned()));
        assert_eq!(names(json!([empty(used)]), json!([])), (2, format!("{used}-2")));
        let spoken_of = json!([{ "name": format!("{used}-2"), "mountPath": "/x" }]);
        assert_eq!(names(json!([empty(used), empty("y")]), spoken_of), (2, format!("{used}-3")));
        let with = |secret: Value| json!([{ "name": "mine", "secret": secret }]);
        let items = json!([{ "key": "AUTH_TOKEN", "path": ".auth_token", "mode": 256 }]);
        let secret = json!({ "secretName": "access-token", "items": items, "optional": false });
        assert_eq!(names(with(secret.clone()), json!([])), (1, "mine".to_owned()));
        for (member, other) in [
            ("secretName", json!("other")),
            ("items", Value::Null),
            ("items", json!([{ "key": "AUTH_TOKEN", "path": "token" }])),
        ] {
            let mut secret = secret.clone();
            secret[member] = other;
            assert_eq!(names(with(secret), json!([])), (2, used.to_owned()));
        }
    }

    #[test]
    fn what_was_patched_is_not_patched_again() {
        let token = json!({ "secretName": "access-token", "items": [{ "key": "AUTH_TOKEN", "path": ".auth_token" }] });
        let spec = |mount: Value| json!({ "containers": [{ "name": "a", "volumeMounts": [mount] }], "volumes": [{ "name": "t", "secret": token }] });
        let mounted = json!({ "name": "t", "mountPath": "/etc/secrets/ezua/", "readOnly": true });
        let again = verdict(&asking(&spec(mounted.clone())));
        assert!(again.patch.is_empty() && again.warnings.is_empty());
        // One file of it would stay as it was when the pod began.
        let mut part = mounted;
        part["subPath"] = ".auth_token".into();
        assert_eq!(verdict(&asking(&spec(part))).warnings.len(), 1);
    }

    #[test]
    fn nothing_grows_beyond_measure() {
        let long = format!("/etc/secrets/ezua/{}", "\u{1b}".repeat(500));
        let taken = |number: usize| json!({ "name": "ä\n".repeat(100 + number), "volumeMounts": [mount(&long)] });
        let containers: Vec<Value> = (0..20).map(taken).collect();
        let warnings = verdict(&asking(&json!({ "containers": containers }))).warnings;
        assert_eq!(warnings.len(), MOST_WARNINGS + 1);
        assert!(
            warnings.iter().all(|text| text.len() <= 256 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        );
        assert!(warnings[MOST_WARNINGS].starts_with("15 more"));
        let many = |number: usize| {
            let containers: Vec<Value> = (0..number).map(|_| json!({ "name": "a" })).collect();
            asking(&json!({ "containers": containers }))
        };
        assert_eq!(verdict(&many(MOST)).mounted, MOST);
        let Verdict { patch, warnings, mounted } = verdict(&many(MOST + 1));
        assert!(patch.is_empty() && mounted == 0 && warnings.len() == 1, "{warnings:?}");
        assert!(warnings[0].contains("more than 1000 elements"), "{warnings:?}");
        let mut does_not_ask = many(MOST + 1);
        does_not_ask["metadata"]["annotations"] = Value::Null;
        assert!(verdict(&does_not_ask).warnings.is_empty());
    }

    /// A pod of volumes with the token, so many times ten, and of mounts in its place that are of none of them, so many times
    /// a hundred.
    fn crowded(tens: usize) -> Pod {
        let named = |kind: &str, number: usize| format!("{kind}-with-a-name-that-is-long-{number:06}");
        let token = json!({ "secretName": "access-token", "items": [{ "key": "AUTH_TOKEN", "path": ".auth_token" }] });
        let volumes: Vec<Value> =
            (0..10 * tens).map(|number| json!({ "name": named("a", number), "secret": token })).collect();
        let mounts: Vec<Value> =
            (0..100).map(|number| json!({ "name": named("b", number), "mountPath": DIRECTORY })).collect();
        let containers: Vec<Value> = (0..tens).map(|_| json!({ "name": "c", "volumeMounts": mounts })).collect();
        serde_json::from_value(asking(&json!({ "containers": containers, "volumes": volumes }))).unwrap()
    }

    #[test]
    fn ten_times_the_volumes_and_the_mounts_are_no_hundred_times_the_work() {
        let quickest = |pod: &Pod| {
            let took = (0..5).map(|_| {
                let begun = Stopwatch::start();
                assert!(decide(pod).patch.is_empty());
                begun.elapsed()
            });
            took.min().unwrap()
        };
        let (few, many) = (quickest(&crowded(10)), quickest(&crowded(100)));
        assert!(many < few * 35, "{few:?} and then {many:?}");
    }
}
