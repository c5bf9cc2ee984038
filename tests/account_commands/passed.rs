//! A passed config in place of a login: which one counts, what it opens, and that nothing of it is ever shown.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{World, unpacked};

const VARIABLES: [&str; 3] = ["GATEMINT_PASSED_CONFIG", "APOLO_PASSED_CONFIG", "NEURO_PASSED_CONFIG"];

/// Two of ada's service accounts, as full tokens.
fn two(world: &World) -> [String; 2] {
    let ada = world.signed_in("ada");
    ["one", "two"].map(|name| {
        let full = ada.run(&["service-account", "create", "--name", name, "-q"]).ok().out.trim().to_owned();
        ada.run(&["acl", "grant", "job:", &format!("ada/service-accounts/{name}"), "manage"]).ok();
        full
    })
}

#[test]
fn each_variable_stands_in_place_of_a_login_and_the_first_counts() {
    let world = World::new();
    let [one, two] = two(&world);
    let home = world.nobody("runner");
    for variable in VARIABLES {
        let me = home.with(&[(variable, &one)], &["whoami", "--json"]).ok().json();
        let expected = json!({
            "name": "ada/service-accounts/one", "namespace": "ada", "cluster": "default", "url": world.serve.url,
            "expires_at": null,
        });
        assert_eq!(me, expected, "{variable}");
        // White space around it is what a secret's file leaves.
        home.with(&[(variable, &format!(" {one}\n"))], &["whoami"]).ok();
        home.with(&[(variable, "")], &["whoami"]).refused(1, &["nobody is signed in"]);
    }
    for (first, second) in [(0, 1), (1, 2), (0, 2)] {
        let both = [(VARIABLES[first], one.as_str()), (VARIABLES[second], two.as_str())];
        assert_eq!(home.with(&both, &["whoami", "--json"]).ok().json()["name"], "ada/service-accounts/one");
        let empty = [(VARIABLES[first], ""), (VARIABLES[second], two.as_str())];
        assert_eq!(home.with(&empty, &["whoami", "--json"]).ok().json()["name"], "ada/service-accounts/two");
    }
    // A login that is kept comes before it, and a store before both.
    let eve = world.signed_in("eve");
    assert_eq!(eve.with(&[(VARIABLES[0], &one)], &["whoami", "--json"]).ok().json()["name"], "eve");
    eve.with(&[(VARIABLES[0], "malformed")], &["whoami"]).ok();
    eve.run(&["logout"]).ok();
    let after = eve.with(&[(VARIABLES[0], &one)], &["whoami", "--json"]).ok().json();
    assert_eq!(after["name"], "ada/service-accounts/one");
    let data = world.data();
    let store = ["user", "list", "--json", "--data", data.to_str().unwrap()];
    assert_eq!(home.with(&[(VARIABLES[0], "malformed")], &store).ok().json().as_array().unwrap().len(), 3);
    println!("counted: 3 variables, {} commands", 9 + 6 + 5);
}

#[test]
fn a_short_uri_is_where_the_passed_config_says() {
    let world = World::new();
    let [one, _] = two(&world);
    let home = world.nobody("runner");
    let passed = [(VARIABLES[1], one.as_str())];
    let granted = home.with(&passed, &["acl", "grant", "job:x", "eve", "read", "--json"]).ok().json();
    assert_eq!(granted, json!({"uri": "job://default/ada/x", "action": "read"}));
    home.with(&passed, &["acl", "check", "job:x", "eve", "read"]).ok();
    let held = home.with(&passed, &["acl", "ls", "--json"]).ok().json();
    assert_eq!(held, json!([{"uri": "job://default/ada", "action": "manage"}]));
    home.with(&passed, &["acl", "revoke", "job:x", "eve"]).ok();
    // What it was not granted it cannot do; what is for users it is told is for users.
    home.with(&passed, &["service-account", "create"]).refused(1, &["manage on serviceaccount://default/ada"]);
    for command in [&["user", "list"][..], &["tokens", "list"], &["client", "list"], &["site", "list"]] {
        home.with(&passed, command).refused(1, &["for users", VARIABLES[1], "gatemint login"]);
    }
    home.with(&passed, &["token"]).refused(2, &["credential service-account"]);
    let elsewhere = ["whoami", "--url", "http://127.0.0.1:1"];
    home.with(&passed, &elsewhere).refused(2, &[]);
    println!("counted: 4 commands of a service account, 7 that are not its own");
}

#[test]
fn one_that_is_malformed_or_dead_is_told_without_a_word_of_it() {
    let world = World::new();
    let [one, _] = two(&world);
    let home = world.nobody("runner");
    let token = unpacked(&one)["token"].as_str().unwrap().to_owned();
    let packed = |value: serde_json::Value| STANDARD.encode(value.to_string());
    let url = format!("{}/api/v1", world.serve.url);
    let malformed = [
        token.clone(),
        one[..one.len() - 3].to_owned(),
        one.replacen('e', "!", 1),
        format!("{one}{one}"),
        packed(json!({"token": token, "cluster": "default"})),
        packed(json!({"token": token, "url": url})),
        packed(json!({"token": "not.a.token", "cluster": "default", "url": url})),
        packed(json!({"token": token, "cluster": "default", "url": "ftp://x"})),
        packed(json!({"token": token, "cluster": "default", "url": "http://ada:pass@127.0.0.1"})),
        packed(json!([token])),
        "{}".into(),
        "x".repeat(100_000),
    ];
    for text in &malformed {
        for variable in VARIABLES {
            for command in [&["whoami"][..], &["token"], &["acl", "ls"], &["credential", "kubectl"]] {
                let told = home.with(&[(variable, text)], command).refused(2, &[variable, "malformed"]).err;
                assert!(!told.contains(&token) && !told.contains(&one[..20]) && !told.contains("eyJ"), "{told}");
            }
        }
    }
    // A token that ended.
    world.operator(&["service-account", "rm", "one", "-n", "ada"]).ok();
    for command in [&["whoami"][..], &["acl", "ls"], &["service-account", "ls"]] {
        let told = home.with(&[(VARIABLES[0], &one)], command).refused(1, &[VARIABLES[0], "of no use any more"]).err;
        assert!(!told.contains("eyJ"), "{told}");
    }
    println!("counted: {} malformed passed configs, 3 refusals of a dead one", malformed.len() * VARIABLES.len());
}
