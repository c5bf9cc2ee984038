//! `gatemint service-account`: what the guide shows, and what it has beyond that, through both doors.

use serde_json::json;

use super::{Door, Home, World, claims, unpacked};
use crate::operator::Done;

fn over_http(home: &Home) -> impl Fn(&[&str]) -> Done + '_ {
    |arguments| home.run(arguments)
}

fn on_store(world: &World) -> impl Fn(&[&str]) -> Done + '_ {
    |arguments| world.operator(&[arguments, &["-n", "ada"]].concat())
}

#[test]
fn what_is_printed_is_what_the_guide_shows_line_by_line() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let (http, store) = (over_http(&ada), on_store(&world));
    let doors: [Door<'_>; 2] = [("http", &http), ("store", &store)];
    for (name, door) in doors {
        let made = door(&["service-account", "create", "--name", name]).ok().out;
        let lines: Vec<_> = made.lines().collect();
        let id = lines[0].strip_prefix(" Id               service-account-").unwrap();
        assert_eq!(id.len(), 36, "{made}");
        let (full, bare) = (lines[11], lines[15]);
        let principal = format!("ada/service-accounts/{name}");
        let expected = [
            format!(" Id               service-account-{id}"),
            format!(" Name             {name}"),
            format!(" Role             {principal}"),
            " Owner            ada".into(),
            " Default cluster  default".into(),
            " Default org      default-org".into(),
            " Default project  ada".into(),
            lines[7].to_owned(),
            String::new(),
            "Full token with cluster and API url embedded (this value can be used as APOLO_PASSED_CONFIG environment \
             variable):"
                .into(),
            String::new(),
            full.to_owned(),
            String::new(),
            "Just auth token (this value can be passed to apolo config login-with-token):".into(),
            String::new(),
            bare.to_owned(),
            String::new(),
            "Save it to some secure place, you will be unable to retrieve it later!".into(),
            String::new(),
            "To allow access to your project resources for this service account, perform:".into(),
            String::new(),
            format!("gatemint acl grant scheme://default/ada {principal} {{read|write|manage}}"),
        ];
        assert_eq!(lines, expected);
        let created = lines[7].strip_prefix(" Created at       ").unwrap();
        assert!(created.starts_with("a moment ago") || created.ends_with("seconds ago") || created == "a second ago");
        let says = unpacked(full);
        assert_eq!(says["token"], bare);
        assert_eq!(
            (&says["cluster"], &says["project_name"], &says["org_name"]),
            (&json!("default"), &json!("ada"), &json!("default-org"))
        );
        assert_eq!(says["url"], format!("{}/api/v1", world.serve.url));
        assert_eq!(claims(bare)["identity"], principal);

        // Shown again it has no token.
        let got = door(&["service-account", "get", name]).ok().out;
        assert_eq!(got.lines().take(7).collect::<Vec<_>>(), expected[..7].iter().collect::<Vec<_>>());
        assert_eq!(got.lines().count(), 8);
        assert_eq!(
            door(&["service-account", "get", &format!("service-account-{id}"), "-q"]).ok().out.trim(),
            lines[0][18..].trim()
        );
    }
    for (name, door) in doors {
        let list = door(&["service-account", "ls"]).ok().out;
        let lines: Vec<_> = list.lines().collect();
        let words: Vec<_> = lines[0].split("   ").filter(|word| !word.is_empty()).map(str::trim).collect();
        assert_eq!(words, ["Id", "Name", "Role", "Default cluster", "Created At"], "{list}");
        assert!(lines[1].starts_with(" ───") && lines[1].trim().chars().all(|c| c == '─'), "{list}");
        assert!(lines[2..].is_sorted() && lines.len() == 4, "{list}");
        let ids = door(&["service-account", "ls", "-q"]).ok().out;
        assert_eq!(
            ids.lines().collect::<Vec<_>>(),
            lines[2..].iter().map(|line| line[2..54].trim()).collect::<Vec<_>>()
        );
        // Each door removes what the other one made.
        let other = if name == "http" { "store" } else { "http" };
        let gone = door(&["service-account", "rm", other]).ok().out;
        assert_eq!(gone, format!("Service account '{other}' was successfully removed.\n"));
        door(&["service-account", "create", "--name", other]).ok();
    }
    println!("counted: 46 lines of the guide through 2 doors");
}

#[test]
fn both_doors_show_the_same_and_refuse_the_same() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let (http, store) = (over_http(&ada), on_store(&world));
    let doors: [Door<'_>; 2] = [("http", &http), ("store", &store)];
    let mut asked = 0;
    for (name, door) in doors {
        let create = ["service-account", "create", "--name", name, "--expires", "30d", "--json"];
        let made = door(&create).ok().json();
        assert_eq!(made["role_deleted"], false);
        let token = unpacked(made["token"].as_str().unwrap())["token"].as_str().unwrap().to_owned();
        let life = claims(&token)["exp"].as_u64().unwrap() - claims(&token)["iat"].as_u64().unwrap();
        assert!((30 * 86_400 - 60..=30 * 86_400 + 60).contains(&life), "{life}");
        door(&create).refused(1, &["Service Account with such name exists"]);
        for bad in ["A", "a/b", "-", "", "a:b", "..", &"x".repeat(64)] {
            door(&["service-account", "create", "--name", bad]).refused(1, &["name"]);
        }
        for bad in ["1", "1y", "-1d", "soon", ""] {
            door(&["service-account", "create", &format!("--expires={bad}")]).refused(2, &["--expires", "30d"]);
        }
        door(&["service-account", "create", "--expires", "0s"]).refused(1, &["expires_at"]);
        // One without a name gets one.
        let unnamed = door(&["service-account", "create", "--json"]).ok().json();
        let made_up = unnamed["name"].as_str().unwrap();
        assert!(made_up.len() == 16 && made_up.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made_up}");
        assert_eq!(door(&["service-account", "create", "-q"]).ok().out.lines().count(), 1);

        for verb in ["get", "rm", "rotate", "tokens"] {
            for absent in ["nobody", "service-account-06bed296-8b27-4aa8-9e2a-f3c47b41c807", "No!", "..", ""] {
                door(&["service-account", verb, absent]).refused(1, &[]);
            }
            door(&["service-account", verb]).refused(2, &[]);
        }
        asked += 40;
    }
    let views: [&[&str]; 7] = [
        &["service-account", "ls", "--json"],
        &["service-account", "list", "-q"],
        &["service-account", "get", "store", "--json"],
        &["service-account", "get", "http", "--json"],
        &["service-account", "tokens", "store", "--json"],
        &["service-account", "tokens", "http"],
        &["service-account", "-q", "tokens", "http"],
    ];
    for arguments in views {
        let shown = doors.map(|(_, door)| door(arguments).ok().out);
        assert_eq!(shown[0], shown[1], "{arguments:?}");
        assert!(!shown[0].contains("eyJ"), "a token was shown again: {}", shown[0]);
    }
    // The other namespaces are an operator's.
    world.operator(&["service-account", "ls"]).refused(2, &["-n NS"]);
    ada.run(&["service-account", "ls", "-n", "eve"]).refused(2, &["one's own namespace", "--data"]);
    ada.run(&["service-account", "ls", "-n", "ada"]).ok();
    world.operator(&["service-account", "create", "-n", "nobody"]).refused(1, &["no account owns"]);
    println!("counted: {} commands on service accounts, {} views through 2 doors", asked + 4, views.len());
}

#[test]
fn a_rotation_prints_a_new_token_and_the_older_ones_end() {
    let world = World::new();
    let ada = world.signed_in("ada");
    let (http, store) = (over_http(&ada), on_store(&world));
    let doors: [Door<'_>; 2] = [("http", &http), ("store", &store)];
    let mut rotated = 0;
    for (name, door) in doors {
        let first = door(&["service-account", "create", "--name", name, "-q"]).ok().out;
        let runner = world.nobody("runner");
        let live = |full: &str| {
            let mut whoami = runner.command(&["whoami"]);
            whoami.env("GATEMINT_PASSED_CONFIG", full.trim()).output().unwrap().status.success()
        };
        assert!(live(&first));
        // The older one goes on for a while.
        let second = door(&["service-account", "rotate", name, "--overlap", "1h", "--expires", "30d", "-q"]).ok().out;
        assert!(live(&first) && live(&second) && first != second);
        let tokens = door(&["service-account", "tokens", name, "--json"]).ok().json();
        assert_eq!(tokens.as_array().unwrap().len(), 2, "{tokens}");
        let by: Vec<_> = tokens.as_array().unwrap().iter().map(|token| token["issued_by"].as_str().unwrap()).collect();
        assert_eq!(by, ["creation", "rotation"]);
        assert!(tokens.as_array().unwrap().iter().all(|token| !token["expires_at"].is_null()), "{tokens}");
        let table = door(&["service-account", "tokens", name]).ok().out;
        assert!(table.starts_with("ID") && table.contains("LAST USED") && table.lines().count() == 3, "{table}");
        // One of them is ended by its id, by the user or by an operator.
        let id = tokens[1]["id"].as_str().unwrap();
        if name == "http" {
            ada.run(&["tokens", "revoke", id]).ok();
        } else {
            world.operator(&["tokens", "revoke", id]).ok();
        }
        assert!(live(&first) && !live(&second));
        // At once.
        let third = door(&["service-account", "rotate", name, "--overlap", "0s"]).ok().out;
        let third = third.lines().find(|line| line.starts_with("eyJ")).unwrap();
        assert!(!live(&first) && !live(&second) && live(third));
        door(&["service-account", "rotate", name, "--overlap", "32d"]).refused(1, &["overlap"]);
        door(&["service-account", "rotate", name, "--overlap", "1"]).refused(2, &["--overlap"]);
        assert!(live(third), "a refused rotation changes nothing");
        door(&["service-account", "rm", name, "-q"]).ok();
        assert!(!live(third));
        rotated += 2;
    }
    println!("counted: {rotated} rotations, 2 tokens ended by their ids");
}

#[test]
fn of_several_that_are_to_go_each_is_told_of() {
    let world = World::new();
    let ada = world.signed_in("ada");
    for name in ["a", "b", "c"] {
        ada.run(&["service-account", "create", "--name", name]).ok();
    }
    let gone = ada.run(&["service-account", "rm", "a", "b"]).ok();
    assert_eq!(
        gone.out,
        "Service account 'a' was successfully removed.\nService account 'b' was successfully removed.\n"
    );
    assert!(ada.run(&["service-account", "rm", "c", "-q"]).ok().out.is_empty());
    // Somebody else's is not there.
    let eve = world.signed_in("eve");
    ada.run(&["service-account", "create", "--name", "mine"]).ok();
    eve.run(&["service-account", "get", "mine"]).refused(1, &["Service account mine not found"]);
    eve.run(&["service-account", "rm", "mine"]).refused(1, &["Service account mine not found"]);
    let nobody = world.nobody("nobody");
    nobody.run(&["service-account", "ls"]).refused(1, &["gatemint login"]);
    println!("counted: 3 service accounts removed, 3 commands refused");
}

#[test]
fn every_help_text_has_an_example() {
    let world = World::new();
    let nobody = world.nobody("nobody");
    let mut seen = 0;
    for (group, commands) in [
        ("service-account", &["create", "get", "ls", "rm", "rotate", "tokens"][..]),
        ("acl", &["grant", "revoke", "ls", "check"]),
        ("identity", &["create", "authorize"]),
        ("credential", &["service-account"]),
    ] {
        for command in commands {
            let text = nobody.run(&[group, command, "--help"]).ok().out;
            assert!(text.contains("Example") && text.contains(&format!("gatemint {group} {command}")), "{text}");
            seen += 1;
        }
    }
    assert!(nobody.run(&["credential", "kubectl", "--help"]).ok().out.contains("args: [credential, kubectl]"));
    println!("counted: {seen} help texts with examples");
}
