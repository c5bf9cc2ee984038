//! `gatemint user set --mirror-token`: whose token that is always fresh is kept in the secrets manager as well.

use serde_json::json;

use super::{Door, World};
use crate::support::{PASSWORD, process::given};

#[test]
fn an_admin_switches_it_on_and_off_through_both_doors_and_nobody_else_does() {
    let world = World::new();
    let data = world.data();
    let create = ["user", "create", "root", "--role", "admin", "--password-stdin", "--data"];
    assert!(given(crate::support::process::gatemint().args(create).arg(&data), PASSWORD.as_bytes()).status.success());
    let (root, ada) = (world.signed_in("root"), world.signed_in("ada"));
    let doors: [Door<'_>; 2] =
        [("store", &|arguments| world.operator(arguments)), ("HTTP", &|arguments| root.run(arguments))];
    for (name, door) in doors {
        let shown = || door(&["user", "get", "ada"]).ok().out;
        assert_eq!(door(&["user", "get", "ada", "--json"]).ok().json()["mirror_token"], false, "{name}");
        assert!(!shown().contains("Mirrored"), "{name}: {}", shown());
        let on = door(&["user", "set", "ada", "--mirror-token", "on", "--json"]).ok().json();
        assert_eq!((&on["mirror_token"], &on["enabled"]), (&json!(true), &json!(true)), "{name}");
        assert!(shown().contains("Mirrored    yes"), "{name}: {}", shown());
        // What else is changed leaves it on.
        let other = door(&["user", "set", "ada", "--email", "ada@example.org", "--json"]).ok().json();
        assert_eq!(other["mirror_token"], true, "{name}");
        let off = door(&["user", "set", "ada", "--mirror-token", "off"]).ok().out;
        assert!(!off.contains("Mirrored"), "{name}: {off}");
        for wrong in ["yes", "true", ""] {
            door(&["user", "set", "ada", "--mirror-token", wrong]).refused(2, &["--mirror-token", "on", "off"]);
        }
        door(&["user", "set", "ada"]).refused(2, &["--mirror-token"]);
    }
    ada.run(&["user", "set", "ada", "--mirror-token", "on"]).refused(1, &["admin"]);
    assert_eq!(root.run(&["user", "get", "ada", "--json"]).ok().json()["mirror_token"], false);
    println!("counted: 2 doors, by which it is switched on and off");
}
