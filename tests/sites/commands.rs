//! `gatemint site`: both doors show the same, and refuse the same.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use serde_json::json;

use super::{HOST, RESOURCE};
use crate::{
    operator::{Done, run, started},
    support::process::{Serve, gatemint, given},
};

/// A way to run a command.
type Door<'a> = (&'a str, &'a dyn Fn(&[&str]) -> Done);

/// A command over HTTP, by whoever is signed in at this home.
fn over_http(home: &Path, arguments: &[&str]) -> Output {
    gatemint().env("HOME", home).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_door_to_the_store_and_the_door_over_http_agree() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let password = std::fs::read(data.join("admin-password")).unwrap();
    let login = ["login", "--url", &serve.url, "--username", "admin", "--password-stdin"];
    let signed_in = given(gatemint().env("HOME", home.path()).args(login), &password);
    assert!(signed_in.status.success(), "{}", String::from_utf8_lossy(&signed_in.stderr));
    let http = |arguments: &[&str]| Done::new(over_http(home.path(), arguments));
    let doors: [Door<'_>; 2] = [("store", &|arguments| run(&data, arguments)), ("http", &http)];

    let mut asked = 0;
    for (name, door) in doors {
        let create = ["site", "create", name, "--host", HOST, "--resource", RESOURCE];
        let made = door(&create).ok().out;
        for word in
            ["Id", name, "Host", "{name}--{owner}.jobs.default.example.org", "Resource", "job://default/{owner}/{name}"]
        {
            assert!(made.contains(word), "{name}: {word}: {made}");
        }
        let set = ["site", "set", name, "--host", &format!("{{name}}--{{owner}}.{name}.example.org"), "--json"];
        assert_eq!(door(&set).ok().json()["host"], format!("{{name}}--{{owner}}.{name}.example.org"));
        let set = ["site", "set", name, "--resource", "job://{cluster}/{owner}/{name}/x", "--json"];
        assert_eq!(door(&set).ok().json()["resource"], "job://default/{owner}/{name}/x");

        door(&create).refused(1, &["there is a site of that id"]);
        door(&["site", "set", name]).refused(2, &["--host", "--resource"]);
        door(&["site", "create", "x", "--host", "a.example.org"]).refused(2, &["--resource"]);
        door(&["site", "create", "X", "--host", "a.example.org", "--resource", "job://default/a"]).refused(1, &["id"]);
        for (field, host, resource) in [
            ("host", "a.example.org:443", "job://default/a"),
            ("host", "{a}.example.org", "job://default/a"),
            ("resource", "a.example.org", "job:a"),
            ("resource", "a.example.org", "job://other/a"),
            ("resource", "a.example.org", "job://default/{a}"),
        ] {
            door(&["site", "create", "x", "--host", host, "--resource", resource]).refused(1, &[field]);
        }
        for verb in ["get", "delete", "rm"] {
            door(&["site", verb, "none"]).refused(1, &["there is no site of that id"]);
        }
        door(&["site", "set", "none", "--host", "a.example.org"]).refused(1, &["there is no site of that id"]);
        asked += 17;
    }
    // What was made at one door is there at the other one at once, and looks the same.
    let views: [&[&str]; 6] = [
        &["site", "list"],
        &["site", "ls", "--json"],
        &["site", "get", "store"],
        &["site", "get", "http", "--json"],
        &["--json", "site", "get", "store"],
        &["site", "get", "http"],
    ];
    for arguments in views {
        let shown = doors.map(|(_, door)| door(arguments).ok().out);
        assert_eq!(shown[0], shown[1], "{arguments:?}");
    }
    let list = run(&data, &["site", "list"]).ok().out;
    let first: Vec<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["ID", "http", "store"], "{list}");
    // Each door ends what the other one made.
    for (name, door) in [("http", doors[0].1), ("store", doors[1].1)] {
        let gone = door(&["site", "delete", name]).ok();
        assert!(gone.out.is_empty() && gone.err.contains(name), "{}", gone.err);
    }
    assert_eq!(http(&["site", "list", "--json"]).ok().json(), json!([]));
    println!("counted: {} commands on sites, through 2 doors", asked + 2 * views.len() + 4);
}

#[test]
fn the_cluster_is_a_setting_and_a_name() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let with = |cluster: &str, arguments: &[&str]| {
        let mut command = gatemint();
        command.env("GATEMINT_CLUSTER", cluster).args(arguments).arg("--data").arg(&data).stdin(Stdio::null());
        Done::new(command.output().unwrap())
    };
    let create = ["site", "create", "jobs", "--host", HOST, "--resource", RESOURCE, "--json"];
    let made = with("eu.prod", &create).ok().json();
    assert_eq!(
        (made["host"].as_str().unwrap(), made["resource"].as_str().unwrap()),
        ("{name}--{owner}.jobs.eu.prod.example.org", "job://eu.prod/{owner}/{name}")
    );
    let granted = with("eu.prod", &["acl", "grant", "gatetoken:vms", "admin", "write", "--json"]).ok().json();
    assert_eq!(granted["uri"], "gatetoken://eu.prod/vms");
    // What was granted in a cluster that the service was once called can still be taken away.
    run(&data, &["acl", "revoke", "gatetoken://eu.prod/vms", "admin"]).ok();
    for bad in ["", "A", "a b", "-", "a/b"] {
        with(bad, &["site", "list"]).refused(2, &["GATEMINT_CLUSTER", "e.g. default"]);
    }
    println!("counted: 1 cluster, 5 names that none can have");
}

#[test]
fn every_help_text_has_an_example() {
    let mut seen = 0;
    for command in [&["site", "create"][..], &["site", "set"]] {
        let help = gatemint().args(command).arg("--help").output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("Example") && text.contains(&format!("gatemint {}", command.join(" "))), "{text}");
        seen += 1;
    }
    println!("counted: {seen} help texts with examples");
}
