//! `gatemint identity`: run once, again, twice at a time, where nobody can be asked, and where something is in the way.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{Home, World, claims};
use crate::{
    operator::Done,
    support::process::{PROGRAM, without_settings},
};

const LOG: &str = "service_account_creator.log";

/// What a run says, on a pipe.
const SAID: [&str; 9] = [
    "Kubernetes ServiceAccount Creator",
    "",
    "Creating ServiceAccount...",
    "Created ServiceAccount!",
    "Authorizing ServiceAccount to create tokens for itself...",
    "Authorized ServiceAccount!",
    "Getting a long-lived token for the ServiceAccount...",
    "Retrieved token!",
    "Storing token in file...",
];

fn create(home: &Home, name: &str) -> Done {
    let arguments = ["identity", "create", "--service-account-name", name, "--service-account-namespace", "ada"];
    home.run(&arguments)
}

fn mode(home: &Home, file: &str) -> u32 {
    fs::metadata(home.place.join(file)).unwrap().permissions().mode() & 0o7777
}

/// How many long-lived tokens a service account has.
fn tokens(home: &Home, name: &str) -> usize {
    let all = home.run(&["service-account", "tokens", name, "--json"]).ok().json();
    all.as_array().unwrap().iter().filter(|token| token["kind"] == "long-lived").count()
}

#[test]
fn an_identity_is_made_in_four_steps_and_again_without_harm() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let done = create(&ada, "ci").ok();
    assert_eq!(done.out, "Successfully created ServiceAccount `ada/ci' and retrieved its token!\n");
    assert_eq!(done.err.lines().take(9).collect::<Vec<_>>(), SAID);
    assert!(!done.err.contains('\u{1b}') && !done.err.contains("eyJ"), "{}", done.err);
    let token = ada.read("ada-ci.token");
    assert!(!token.contains(char::is_whitespace) && claims(&token)["identity"] == "ada/service-accounts/ci");
    assert_eq!((mode(&ada, "ada-ci.token"), mode(&ada, LOG)), (0o600, 0o600));
    // It may request tokens for itself, and nothing else.
    let by_file = ["credential", "service-account", "--token-file", "ada-ci.token", "--audience", "x"];
    ada.run(&by_file).ok();
    let held = world.operator(&["acl", "ls", "-u", "ada/service-accounts/ci", "--json"]).ok().json();
    assert_eq!(held, json!([{"uri": "serviceaccount://default/ada/ci/token", "action": "write"}]));
    let labels = &ada.run(&["service-account", "get", "ci", "--json"]).ok().json()["labels"];
    assert_eq!(*labels, json!({"arrikto.com/service-account-creator": ""}));

    // Again and again: the same token stays, and no others pile up.
    for _ in 0..12 {
        assert_eq!(create(&ada, "ci").ok().err.lines().take(9).collect::<Vec<_>>(), SAID);
        assert_eq!(ada.read("ada-ci.token"), token);
    }
    assert_eq!(tokens(&ada, "ci"), 1);
    // What was lost is made again: the right, the file, its mode, a token that is good.
    ada.run(&["acl", "revoke", "serviceaccount:ci/token", "ada/service-accounts/ci"]).ok();
    ada.run(&by_file).refused(1, &[]);
    fs::set_permissions(ada.place.join("ada-ci.token"), Permissions::from_mode(0o644)).unwrap();
    create(&ada, "ci").ok();
    ada.run(&by_file).ok();
    assert_eq!((mode(&ada, "ada-ci.token"), ada.read("ada-ci.token")), (0o600, token.clone()));
    for damaged in ["", "x", "a.b.c", &token[..token.len() - 4], &format!("{token}\n{token}")] {
        fs::write(ada.place.join("ada-ci.token"), damaged).unwrap();
        create(&ada, "ci").ok();
        assert_eq!(ada.run(&by_file).ok().out.lines().count(), 1, "after {damaged:?}");
    }
    ada.run(&["service-account", "rotate", "ci", "--overlap", "0s"]).ok();
    create(&ada, "ci").ok();
    ada.run(&by_file).ok();
    ada.run(&["service-account", "rm", "ci"]).ok();
    let made = ada.run(&["identity", "create", "--service-account-name", "ci", "--json"]).ok().json();
    assert_eq!(made, json!({"namespace": "ada", "name": "ci", "file": "ada-ci.token", "log": LOG, "new_token": true}));
    ada.run(&by_file).ok();

    let log = ada.read(LOG);
    assert!(!log.contains("eyJ"), "{log}");
    for words in ["ServiceAccount made", "ServiceAccount already exists", "Role made", "stays", "of no use any more"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let is_a_line = |line: &str| line.starts_with("20") && line.contains("Z INFO ");
    assert!(log.lines().all(is_a_line), "{log}");
    println!("counted: 22 runs of identity create");
}

#[test]
fn where_nobody_can_be_asked_a_missing_answer_is_an_error() {
    let world = World::new();
    let ada = world.signed_in("ada");
    for more in [&[][..], &["--no-input"]] {
        for command in ["create", "authorize"] {
            let arguments = [&["identity", command][..], more].concat();
            ada.run(&arguments).refused(2, &["nobody can be asked", "--service-account-name"]);
            for bad in ["A", "a/b", "", "..", "a b"] {
                let arguments = [&["identity", command, "--service-account-name", bad][..], more].concat();
                ada.run(&arguments).refused(2, &["--service-account-name must be"]);
                let namespace = ["--service-account-name", "ci", "--service-account-namespace", bad];
                let arguments = [&["identity", command][..], &namespace, more].concat();
                ada.run(&arguments).refused(2, &["--service-account-namespace must be"]);
            }
        }
    }
    assert!(!ada.place.join(LOG).exists(), "nothing was begun");
    // Where a usual answer is known, it is taken: one's own namespace.
    ada.run(&["identity", "create", "--service-account-name", "ci", "--no-input"]).ok();
    assert!(ada.place.join("ada-ci.token").exists());
    world
        .operator(&["identity", "create", "--service-account-name", "ci"])
        .refused(2, &["--data", "service-account create"]);
    world
        .operator(&["identity", "authorize", "--service-account-name", "ci"])
        .refused(2, &["--service-account-namespace"]);
    world.nobody("nobody").run(&["identity", "create"]).refused(1, &["gatemint login"]);
    println!("counted: 47 commands refused");
}

#[test]
fn what_is_in_the_way_is_told_and_nothing_is_issued_that_cannot_be_stored() {
    let world = World::new();
    let (ada, eve) = (world.signed_in("ada"), world.signed_in("eve"));
    // Somebody else's namespace, and nobody's.
    eve.run(&["identity", "create", "--service-account-name", "ci", "--service-account-namespace", "ada"])
        .refused(1, &["forbidden", "safe to run this again"]);
    assert!(!eve.place.join("ada-ci.token").exists());
    assert!(eve.read(LOG).contains("Z ERROR "), "{}", eve.read(LOG));
    // Something else of that name.
    fs::create_dir(ada.place.join("ada-ci.token")).unwrap();
    create(&ada, "ci").refused(1, &["ada-ci.token: it is not a file"]);
    fs::remove_dir(ada.place.join("ada-ci.token")).unwrap();
    std::os::unix::fs::symlink("/dev/null", ada.place.join("ada-ci.token")).unwrap();
    create(&ada, "ci").refused(1, &["ada-ci.token: it is not a file"]);
    fs::remove_file(ada.place.join("ada-ci.token")).unwrap();
    ada.run(&["service-account", "get", "ci"]).refused(1, &["not found"]);
    // A disk without room.
    let program = PROGRAM;
    let script = format!("ulimit -f 1; trap '' XFSZ; exec {program} identity create --service-account-name ci");
    let mut full = without_settings(Command::new("bash"));
    full.args(["-c", &script]).env("HOME", &ada.place).current_dir(&ada.place).stdin(Stdio::null());
    Done::new(full.output().unwrap()).refused(1, &["File too large"]);
    let left: Vec<_> =
        fs::read_dir(&ada.place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains("token")), "{left:?}");
    // Ten tokens that were issued elsewhere: the eleventh is refused, and told why.
    create(&ada, "ci").ok();
    for _ in 0..9 {
        fs::remove_file(ada.place.join("ada-ci.token")).unwrap();
        create(&ada, "ci").ok();
    }
    assert_eq!(tokens(&ada, "ci"), 10);
    fs::remove_file(ada.place.join("ada-ci.token")).unwrap();
    create(&ada, "ci").refused(1, &["exceeded quota"]);
    assert!(!ada.place.join("ada-ci.token").exists());
    println!("counted: 5 things in the way, 10 tokens");
}

#[test]
fn runs_at_the_same_time_all_end_well() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let arguments = ["identity", "create", "--service-account-name", "ci"];
    let children: Vec<_> = (0..6)
        .map(|_| ada.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children {
        Done::new(child.wait_with_output().unwrap()).ok();
    }
    let stored = ada.read("ada-ci.token");
    assert_eq!(claims(&stored)["identity"], "ada/service-accounts/ci");
    ada.run(&["credential", "service-account", "--token-file", "ada-ci.token"]).ok();
    let left = fs::read_dir(&ada.place)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("token"));
    assert_eq!(left.count(), 1);
    println!("counted: 6 runs at the same time");
}

#[test]
fn a_service_account_is_authorized_in_the_words_of_kubeflow() {
    let world = World::new();
    let ada = world.signed_in("ada");
    create(&ada, "ci").ok();
    let principal = "ada/service-accounts/ci";
    let schemes = ["blob", "disk", "flow", "image", "job", "storage"];
    let held = |namespace: &str| -> Vec<_> {
        let all = world.operator(&["acl", "ls", "-u", principal, "--json"]).ok().json();
        let of_namespace = |uri: &str| schemes.iter().any(|scheme| uri == format!("{scheme}://default/{namespace}"));
        let actions = all.as_array().unwrap().iter().filter(|one| of_namespace(one["uri"].as_str().unwrap()));
        actions.map(|one| one["action"].as_str().unwrap().to_owned()).collect()
    };
    for (role, action) in [("", "read"), ("edit", "write"), ("admin", "manage")] {
        let more: &[&str] = if role.is_empty() { &[] } else { &["--role", role] };
        let arguments = [&["identity", "authorize", "--service-account-name", "ci"][..], more].concat();
        let done = ada.run(&arguments).ok();
        assert_eq!(done.out, format!("{principal} has {action} on what is in the namespace ada.\n"));
        assert_eq!(held("ada"), vec![action; 6]);
    }
    let lower = ada.run(&["identity", "authorize", "--service-account-name", "ci", "--role", "view"]).ok();
    assert!(lower.err.contains("User already has higher permission: manage"), "{}", lower.err);
    // Another namespace is its owner's to give, or an operator's.
    let other =
        ["identity", "authorize", "--service-account-name", "ci", "--service-account-namespace", "ada", "-n", "eve"];
    ada.run(&other).refused(1, &["manage on ", "://default/", "not granted"]);
    world.operator(&other).ok();
    assert_eq!(held("eve"), vec!["read"; 6]);
    ada.run(&["identity", "authorize", "--service-account-name", "nobody"])
        .refused(1, &["there is no service account"]);
    ada.run(&["identity", "authorize", "--service-account-name", "ci", "--role", "root"])
        .refused(2, &["view, edit, admin"]);
    println!("counted: 4 roles of 6 permissions each");
}
