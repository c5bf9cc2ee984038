//! `gatemint service-account`, `acl`, `identity` and `credential` through the real program, over HTTP and on the store.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use crate::{
    operator::{Done, run},
    support::{
        PASSWORD,
        process::{Serve, gatemint, given},
    },
};

mod accounts;
mod credentials;
mod identities;
mod mirrored;
mod passed;
mod permissions;

/// A way to run a command, and its name.
type Door<'a> = (&'a str, &'a dyn Fn(&[&str]) -> Done);

/// A running service with the users ada and eve, and homes in which somebody is signed in.
struct World {
    home: tempfile::TempDir,
    serve: Serve,
}

/// Somebody's home: her login, and the directory that her commands run in.
struct Home {
    place: PathBuf,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let serve = Serve::start(&home.path().join("data"));
        let world = Self { home, serve };
        for user in ["ada", "eve"] {
            let create = ["user", "create", user, "--password-stdin", "--data"];
            let made = given(gatemint().args(create).arg(world.data()), PASSWORD.as_bytes());
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        world
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A command of an operator, on the store.
    fn operator(&self, arguments: &[&str]) -> Done {
        run(&self.data(), arguments)
    }

    /// A home where this user is signed in.
    fn signed_in(&self, user: &str) -> Home {
        let home = self.nobody(user);
        let login = ["login", "--url", &self.serve.url, "--username", user, "--password-stdin"];
        let done = given(&mut home.command(&login), PASSWORD.as_bytes());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        home
    }

    /// A home where nobody is signed in.
    fn nobody(&self, name: &str) -> Home {
        let place = self.home.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        Home { place }
    }
}

impl Home {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = gatemint();
        for variable in ["APOLO_PASSED_CONFIG", "NEURO_PASSED_CONFIG", "KUBERNETES_EXEC_INFO"] {
            command.env_remove(variable);
        }
        command.env("HOME", &self.place).current_dir(&self.place).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        Done::new(self.command(arguments).output().unwrap())
    }

    fn with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Done {
        Done::new(self.command(arguments).envs(variables.iter().copied()).output().unwrap())
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.place.join(file)).unwrap()
    }
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// What a full token says.
fn unpacked(full: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(full.trim()).unwrap()).unwrap()
}
