//! `gatemint acl`: short URIs, what is held and what is shared, and verdicts, through both doors.

use serde_json::{Value, json};

use super::{Door, Home, World};

const SA: &str = "ada/service-accounts/test";

/// A verdict is an answer, and its exit code says it too.
fn verdict(home: &Home, arguments: &[&str]) -> (i32, String) {
    let output = home.command(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn permissions_are_given_listed_and_taken_away_through_both_doors() {
    let world = World::new();
    let ada = world.signed_in("ada");
    ada.run(&["service-account", "create", "--name", "test"]).ok();
    let http = |arguments: &[&str]| ada.run(arguments);
    let store = |arguments: &[&str]| {
        let short = arguments.iter().any(|word| word.starts_with("job:") && !word.contains("://"));
        world.operator(&[arguments, if short { &["-n", "ada"] } else { &[] }].concat())
    };
    let doors: [Door<'_>; 2] = [("http", &http), ("store", &store)];
    let mut commands = 0;
    for (_, door) in doors {
        let granted = door(&["acl", "grant", "job:mytestjob", SA, "read", "--json"]).ok().json();
        assert_eq!(granted, json!({"uri": "job://default/ada/mytestjob", "action": "read"}));
        let sheet = door(&["acl", "grant", "job:mytestjob", SA, "write"]).ok();
        assert_eq!(sheet.out, "Uri     job://default/ada/mytestjob\nAction  write\n");
        assert!(!sheet.err.contains("higher"), "{}", sheet.err);
        let lower = door(&["acl", "grant", "job://default/ada/mytestjob", SA, "read", "--json"]).ok();
        assert_eq!(lower.json()["action"], "write", "never lowered");
        let warned: Vec<_> = lower.err.lines().filter(|line| !line.starts_with('{')).collect();
        assert_eq!(warned[0], "User already has higher permission: write");
        assert!(warned[1].contains("acl revoke job://default/ada/mytestjob"), "{warned:?}");

        let held = json!([{"uri": "job://default/ada/mytestjob", "action": "write"}]);
        for list in
            [&["acl", "ls", "job:", "-u", SA, "--json"][..], &["acl", "list", "job:mytestjob", "--user", SA, "--json"]]
        {
            assert_eq!(door(list).ok().json(), held);
        }
        assert_eq!(door(&["acl", "ls", "storage://default/ada", "-u", SA, "--json"]).ok().json(), json!([]));
        assert_eq!(door(&["acl", "ls", "job://default/ada/mytestjob/x", "-u", SA, "--json"]).ok().json(), json!([]));
        let table = door(&["acl", "ls", "job:", "-u", SA]).ok().out;
        assert_eq!(
            table.split_whitespace().collect::<Vec<_>>(),
            ["URI", "ACTION", "job://default/ada/mytestjob", "write"]
        );
        let shared = door(&["acl", "ls", "--shared", "-u", "ada", "--json"]).ok().json();
        assert_eq!(shared, json!([{"user": SA, "uri": "job://default/ada/mytestjob", "action": "write"}]));
        let table = door(&["acl", "ls", "job:", "--shared", "-u", "ada"]).ok().out;
        assert!(table.contains("USER") && table.contains(SA), "{table}");

        // A whole URI may have the other system's organisation.
        let theirs = "job://default/default-org/ada/mytestjob";
        let revoked = door(&["acl", "revoke", theirs, SA]).ok();
        assert!(revoked.out.is_empty(), "{}", revoked.out);
        door(&["acl", "revoke", "job:mytestjob", SA]).refused(1, &["Operation has no effect"]);
        assert_eq!(door(&["acl", "ls", "job:", "-u", SA, "--json"]).ok().json(), json!([]));

        // A denial is given and taken in the same way.
        door(&["acl", "grant", "job:", SA, "manage"]).ok();
        let denied = door(&["acl", "grant", "job:secret", SA, "deny", "--json"]).ok().json();
        assert_eq!(denied["action"], "deny");
        assert_eq!(verdict(&ada, &["acl", "check", "job:secret", SA, "read"]).0, 1);
        assert_eq!(verdict(&ada, &["acl", "check", "job:other", SA, "manage"]).0, 0);
        door(&["acl", "revoke", "job:secret", SA]).ok();
        assert_eq!(verdict(&ada, &["acl", "check", "job:secret", SA, "read"]).0, 0);
        door(&["acl", "revoke", "job:", SA]).ok();

        for bad in ["own", "", "WRITE", "admin", "exec"] {
            door(&["acl", "grant", "job:x", SA, bad]).refused(2, &["list, read, write, manage"]);
        }
        door(&["acl", "check", "job:x", SA, "deny"]).refused(2, &["list, read, write, manage"]);
        for uri in ["vms", "", "job://default/../x", "job://default/ada/x?y", "job:a//b", "job:../eve", "Job:x"] {
            door(&["acl", "grant", uri, "eve", "read"]).refused(1, &["uri: "]);
            door(&["acl", "revoke", uri, "eve"]).refused(1, &["uri: "]);
        }
        door(&["acl", "grant", "job://other/ada/x", "eve", "read"]).refused(1, &["another cluster"]);
        for user in ["ada:service-accounts:test", "ada/service-accounts/", "No!", "a,b", "system:masters", ".."] {
            door(&["acl", "grant", "job:x", user, "read"]).refused(1, &["user: "]);
            door(&["acl", "ls", "-u", user]).refused(1, &["user: "]);
        }
        for user in ["nobody", "ada/service-accounts/nobody"] {
            door(&["acl", "grant", "job:x", user, "read"]).refused(1, &["there is no "]);
        }
        commands += 52;
    }
    println!("counted: {commands} commands on permissions through 2 doors");
}

#[test]
fn a_short_uri_is_in_the_current_namespace_and_cluster() {
    let world = World::new();
    let (ada, eve) = (world.signed_in("ada"), world.signed_in("eve"));
    let granted = |home: &Home, uri: &str, more: &[&str]| {
        let arguments = [&["acl", "grant", uri, "eve", "read", "--json"], more].concat();
        home.run(&arguments).ok().json()["uri"].as_str().unwrap().to_owned()
    };
    for (uri, whole) in [
        ("job:a/b", "job://default/ada/a/b"),
        ("storage:", "storage://default/ada"),
        ("image:/ada/x", "image://default/ada/x"),
    ] {
        assert_eq!(granted(&ada, uri, &[]), whole);
    }
    assert_eq!(granted(&ada, "job:z", &["-n", "ada"]), "job://default/ada/z");
    // What is not hers is not hers to give: she is told what she lacks.
    for uri in ["job:/eve/x", "gatetoken:vms", "tokenreview://default"] {
        let told = ada.run(&["acl", "grant", uri, "eve", "read"]).refused(1, &["manage on ", "not granted"]).err;
        assert!(told.contains("://default"), "{told}");
    }
    ada.run(&["acl", "ls", "-u", "eve"]).refused(1, &["gatemint acl ls job: -u eve"]);
    assert_eq!(ada.run(&["acl", "ls", "job:", "-u", "eve", "--json"]).ok().json().as_array().unwrap().len(), 2);
    assert_eq!(eve.run(&["acl", "ls", "storage://", "--json"]).ok().json().as_array().unwrap().len(), 1);
    assert_eq!(eve.run(&["acl", "ls", "--json"]).ok().json().as_array().unwrap().len(), 4, "her own, without -u");
    // On the store nobody is at home.
    world.operator(&["acl", "grant", "job:x", "eve", "read"]).refused(1, &["whole URI"]);
    world.operator(&["acl", "ls"]).refused(2, &["--user"]);
    let whole = world.operator(&["acl", "grant", "job:x", "eve", "read", "-n", "ada", "--json"]).ok().json();
    assert_eq!(whole["uri"], "job://default/ada/x");
    let gate = world.operator(&["acl", "grant", "gatetoken:vms", "ada", "write", "--json"]).ok().json();
    assert_eq!(gate["uri"], "gatetoken://default/vms");
    world.operator(&["acl", "revoke", "gatetoken://default/vms", "ada"]).ok();
    println!("counted: 7 short URIs, 7 commands refused");
}

#[test]
fn a_verdict_is_printed_and_is_the_exit_code() {
    let world = World::new();
    let ada = world.signed_in("ada");
    ada.run(&["service-account", "create", "--name", "test"]).ok();
    ada.run(&["acl", "grant", "job:x", SA, "write"]).ok();
    for (action, code, says) in [("list", 0, "yes"), ("read", 0, "yes"), ("write", 0, "yes"), ("manage", 1, "no")] {
        let said = verdict(&ada, &["acl", "check", "job:x/below", SA, action]);
        assert_eq!(said, (code, format!("{says}: {action} on job://default/ada/x/below\n")));
        let store = world.data();
        let said =
            verdict(&ada, &["acl", "check", "job:x/below", SA, action, "-n", "ada", "--data", store.to_str().unwrap()]);
        assert_eq!(said.0, code);
        let (_, said) = verdict(&ada, &["acl", "check", "job:x/below", SA, action, "--json"]);
        let missing =
            if code == 0 { json!([]) } else { json!([{"uri": "job://default/ada/x/below", "action": action}]) };
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({ "missing": missing }));
    }
    ada.run(&["acl", "check", "job:x", "nobody", "read"]).refused(1, &["there is no "]);
    println!("counted: 12 verdicts");
}

#[test]
fn a_user_that_is_made_again_has_nothing_and_grants_are_audited() {
    let world = World::new();
    let granted = world.operator(&["acl", "grant", "gatetoken:vms", "ada", "write"]).ok();
    assert!(granted.out.contains("gatetoken://default/vms") && granted.out.contains("write"), "{}", granted.out);
    let event = granted
        .err
        .lines()
        .find(|line| line.contains("permission_granted"))
        .unwrap_or_else(|| panic!("{}", granted.err));
    for word in ["ada", "gatetoken://default/vms", "write", "operator"] {
        assert!(event.contains(&format!("\"{word}\"")), "{word}: {event}");
    }
    world.operator(&["user", "delete", "ada"]).ok();
    world.operator(&["user", "create", "ada", "--generate"]).ok();
    assert_eq!(world.operator(&["acl", "ls", "-u", "ada", "--json"]).ok().json(), json!([]));
    let revoked = world.operator(&["acl", "grant", "gatetoken:vms", "ada", "read"]).ok();
    assert!(revoked.err.contains("permission_granted"));
    let revoked = world.operator(&["acl", "revoke", "gatetoken:vms", "ada"]).ok();
    assert!(revoked.err.contains("permission_revoked"), "{}", revoked.err);
    println!("counted: 3 audit events");
}
