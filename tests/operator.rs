//! The operator's commands through the real program: for people and in JSON, refused with a next step, and seen by a
//! running service at once.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    kill::tree,
    support::{
        PASSWORD,
        asking::Asking,
        process::{Serve, gatemint, given, operator},
    },
};

/// A directory that was started once, and serves no more.
pub(crate) fn started(home: &Path) -> std::path::PathBuf {
    let data = home.join("data");
    assert_eq!(Serve::start(&data).terminate().code(), Some(0));
    data
}

/// What a command did: its exit code, stdout, stderr.
pub(crate) struct Done {
    code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn new(output: Output) -> Self {
        let done = Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!done.err.contains("panicked"), "{}", done.err);
        // An error is told on stderr, and only there.
        assert_eq!(done.code != 0, done.err.contains("gatemint: ") || done.err.contains("error: "), "{}", done.err);
        assert!(done.code == 0 || done.out.is_empty(), "{}", done.out);
        done
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.err);
        self
    }

    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word}: {}", self.err);
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

pub(crate) fn run(data: &Path, arguments: &[&str]) -> Done {
    Done::new(operator(data, arguments))
}

/// With a password on stdin.
fn run_with(data: &Path, arguments: &[&str], stdin: &[u8]) -> Done {
    Done::new(given(gatemint().args(arguments).arg("--data").arg(data), stdin))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_from_create_to_delete_for_people_and_in_json() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let email = "ada@example.org";
    let create = ["user", "create", "ada", "--email", email, "--role", "a", "--role", "b/c", "--password-stdin"];
    let made = run_with(&data, &create, PASSWORD.as_bytes()).ok();
    for word in ["Name", "ada", email, "a, b/c", "Enabled     yes"] {
        assert!(made.out.contains(word), "{word}: {}", made.out);
    }
    assert!(!made.out.contains(PASSWORD) && !made.out.contains("argon2") && !made.out.contains("Password"));
    let got = run(&data, &["user", "get", "ada", "--json"]).ok().json();
    assert_eq!(
        (&got["namespace"], &got["roles"], &got["enabled"]),
        (&json!("ada"), &json!(["a", "b/c"]), &json!(true))
    );
    let made = run(&data, &["--json", "user", "create", "eve", "--namespace", "eves", "--generate"]).ok().json();
    assert_eq!(made["namespace"], "eves");
    assert!(made["password"].as_str().unwrap().len() >= 15);

    let list = run(&data, &["user", "list"]).ok().out;
    let first: Vec<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["NAME", "ada", "admin", "eve"], "{list}");
    let list = run(&data, &["user", "ls", "--json"]).ok().json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ada", "admin", "eve"]);
    assert!(list.as_array().unwrap().iter().all(|user| user.get("password").is_none()), "shown once");

    let set = run(&data, &["user", "set", "ada", "--email", "", "--role", "x", "--json"]).ok().json();
    assert_eq!((&set["email"], &set["roles"], &set["uid"]), (&json!(""), &json!(["x"]), &got["uid"]));
    let set = run(&data, &["user", "set", "ada", "--no-roles", "--json"]).ok().json();
    assert_eq!(set["roles"], json!([]));
    run(&data, &["user", "set", "ada"]).refused(2, &["--email", "--role", "--password-stdin"]);
    run(&data, &["user", "set", "ada", "--no-roles", "--role", "x"]).refused(2, &["--no-roles"]);

    let disabled = run(&data, &["user", "disable", "ada", "--json"]).ok().json();
    assert_eq!(disabled["enabled"], false);
    assert!(run(&data, &["user", "get", "ada"]).ok().out.contains("Enabled     no"));
    assert_eq!(run(&data, &["user", "enable", "ada", "--json"]).ok().json()["enabled"], true);

    run_with(&data, &["user", "create", "ada", "--password-stdin"], PASSWORD.as_bytes())
        .refused(1, &["there is a user of that name"]);
    run_with(&data, &["user", "create", "bob", "--namespace", "ada", "--password-stdin"], PASSWORD.as_bytes())
        .refused(1, &["the namespace is somebody else's"]);
    let gone = run(&data, &["user", "delete", "ada"]).ok();
    assert!(gone.out.is_empty() && gone.err.contains("ada"), "{}", gone.err);
    for verb in ["get", "disable", "enable", "delete", "rm"] {
        run(&data, &["user", verb, "ada"]).refused(1, &["there is no user of that name"]);
    }
    println!("counted: 25 commands on users");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_from_create_to_delete_for_people_and_in_json() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let made = run(&data, &["client", "create", "ci"]).ok().out;
    assert!(
        made.contains("confidential") && made.contains("password, refresh_token, token-exchange, client_credentials"),
        "{made}"
    );
    let secret = made.lines().find_map(|line| line.strip_prefix("Secret")).unwrap().split_whitespace().next().unwrap();
    assert!(secret.len() >= 43, "256 bits: {secret}");
    let public = run(&data, &["client", "create", "app", "--public", "--json"]).ok().json();
    assert_eq!((&public["public"], public.get("secret")), (&json!(true), None));
    assert_eq!(
        public["grants"],
        json!(["password", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"])
    );
    let get = run(&data, &["client", "get", "ci"]).ok().out;
    assert!(!get.contains(secret) && !get.contains("Secret"), "{get}");

    let arguments = [
        "client",
        "set",
        "ci",
        "--grant",
        "client_credentials",
        "--audience",
        "https://api.example.org",
        "--scope",
        "jobs:run",
        "--introspect",
        "true",
        "--access-life",
        "60",
        "--json",
    ];
    let set = run(&data, &arguments).ok().json();
    let expected = json!({"grants": ["client_credentials"], "audiences": ["https://api.example.org"],
        "scopes": ["jobs:run"], "introspect": true, "access_life": 60});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&set[name], value);
    }
    let renewed = run(&data, &["client", "set", "ci", "--new-secret", "--json"]).ok().json();
    assert_ne!(renewed["secret"], secret);
    assert_eq!(run(&data, &["client", "disable", "ci", "--json"]).ok().json()["enabled"], false);
    assert_eq!(run(&data, &["client", "enable", "ci", "--json"]).ok().json()["enabled"], true);

    let list = run(&data, &["client", "list", "--json"]).ok().json();
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|client| client["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gatemint", "app", "ci"]);
    let list = run(&data, &["client", "list"]).ok().out;
    assert!(list.starts_with("ID") && list.lines().count() == 4 && !list.contains(secret), "{list}");

    run(&data, &["client", "set", "ci"]).refused(2, &["--grant", "--new-secret"]);
    run(&data, &["client", "set", "app", "--new-secret"]).refused(1, &["public"]);
    run(&data, &["client", "create", "x", "--grant", "implicit"]).refused(2, &["password, refresh_token"]);
    run(&data, &["client", "create", "x", "--public", "--grant", "client_credentials"]).refused(1, &["confidential"]);
    run(&data, &["client", "create", "x", "--access-life", "0"]).refused(1, &["1 s to 24 h"]);
    run(&data, &["client", "create", "ci"]).refused(1, &["there is a client of that id"]);
    for verb in ["create", "delete"] {
        run(&data, &["client", verb, "gatemint"]).refused(1, &["built in"]);
    }
    run(&data, &["client", "delete", "ci"]).ok();
    for verb in ["get", "disable", "enable", "delete"] {
        run(&data, &["client", verb, "ci"]).refused(1, &["there is no client of that id"]);
    }
    println!("counted: 22 commands on clients, 2 secrets shown once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_takes_effect_at_once_on_the_service_that_runs() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let asking = Asking::at(&serve.url);
    run_with(&data, &["user", "create", "ada", "--password-stdin"], format!("{PASSWORD}\n").as_bytes()).ok();
    let mut ended = 0;
    let ada = asking.password("ada", PASSWORD).await.tokens();
    run(&data, &["user", "set", "ada", "--role", "analysts"]).ok();
    let ada = asking.refresh(&ada.refresh).await.tokens();
    assert_eq!(crate::support::asking::claims(&ada.access)["roles"], json!(["analysts"]));

    // A changed password, a disabled user: all sessions end.
    let generated = run(&data, &["user", "set", "ada", "--generate", "--json"]).ok().json();
    let password = generated["password"].as_str().unwrap();
    assert_eq!(asking.refresh(&ada.refresh).await.refusal().2, "Session ended");
    assert_eq!(asking.password("ada", PASSWORD).await.refusal().2, "Invalid user credentials");
    let ada = asking.password("ada", password).await.tokens();
    run(&data, &["user", "disable", "ada"]).ok();
    assert_eq!(asking.refresh(&ada.refresh).await.refusal().2, "Session ended");
    assert_eq!(asking.password("ada", password).await.refusal().2, "Account disabled");
    run(&data, &["user", "enable", "ada"]).ok();
    ended += 2;

    // One token by its id.
    let two = [asking.password("ada", password).await.tokens(), asking.password("ada", password).await.tokens()];
    let list = run(&data, &["tokens", "list", "--account", "ada", "--json"]).ok().json();
    assert_eq!(list.as_array().unwrap().len(), 3, "two sessions and the fresh token: {list}");
    let id = list[0]["id"].as_str().unwrap();
    let shown = run(&data, &["tokens", "ls", "--account", "ada"]).ok().out;
    assert!(shown.starts_with("ID") && shown.contains(id) && shown.lines().count() == 4, "{shown}");
    for tokens in &two {
        assert!(!shown.contains(&tokens.refresh) && !list.to_string().contains(&tokens.refresh));
    }
    run(&data, &["tokens", "revoke", id]).ok();
    run(&data, &["tokens", "revoke", id]).refused(1, &["there is no token of that id"]);
    run(&data, &["tokens", "revoke", "nonsense"]).refused(1, &["there is no token of that id"]);
    run(&data, &["tokens", "list", "--account", "nobody"]).refused(1, &["there is no user of that name"]);
    run(&data, &["tokens", "list"]).refused(2, &["--account"]);
    let mut alive = 0;
    for tokens in &two {
        let me = asking.v1(Method::GET, "/v1/me", &tokens.access, None).await;
        let refresh = asking.refresh(&tokens.refresh).await;
        assert_eq!(me.status == StatusCode::OK, refresh.status == StatusCode::OK);
        alive += usize::from(me.status == StatusCode::OK);
    }
    assert_eq!(alive, 1);
    ended += 1;

    // A client and its secret; the built-in client.
    let client = run(&data, &["client", "create", "ci", "--json"]).ok().json();
    let own = async |secret: &Value| {
        let form =
            [("grant_type", "client_credentials"), ("client_id", "ci"), ("client_secret", secret.as_str().unwrap())];
        asking.form("/oauth2/token", &form).await.status.as_u16()
    };
    assert_eq!(own(&client["secret"]).await, 200);
    let renewed = run(&data, &["client", "set", "ci", "--new-secret", "--json"]).ok().json();
    assert_eq!((own(&client["secret"]).await, own(&renewed["secret"]).await), (401, 200));
    run(&data, &["client", "delete", "ci"]).ok();
    assert_eq!(own(&renewed["secret"]).await, 401);
    run(&data, &["client", "disable", "gatemint"]).ok();
    assert_eq!(asking.password("ada", password).await.refusal().1, "invalid_client");
    run(&data, &["client", "enable", "gatemint"]).ok();
    let ada = asking.password("ada", password).await.tokens();
    run(&data, &["user", "delete", "ada"]).ok();
    assert_eq!(asking.refresh(&ada.refresh).await.refusal().2, "Session ended");
    ended += 3;
    println!("counted: {ended} ends by an operator, each seen by the running service at the next request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_stdin_or_is_made_and_never_from_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let asking = Asking::at(&serve.url);
    // One line end is taken off, and nothing else.
    let given = [
        ("plain", "  a password with spaces ".to_owned(), ""),
        ("unix", "a password from a file".into(), "\n"),
        ("dos", "a password from elsewhere".into(), "\r\n"),
        ("long", "x".repeat(1024), "\n"),
        ("umlaut", "ein längeres Paßwort ✓".into(), "\n"),
    ];
    for (name, password, end) in &given {
        run_with(&data, &["user", "create", name, "--password-stdin"], format!("{password}{end}").as_bytes()).ok();
        assert_eq!(asking.password(name, password).await.status, StatusCode::OK, "{name}");
    }
    for bad in
        ["", "\n", "fourteen bytes\n", "a password and two ends\n\n", "two\nlines of password", &"x".repeat(1025)]
    {
        run_with(&data, &["user", "create", "bad", "--password-stdin"], bad.as_bytes()).refused(1, &["password"]);
    }
    run_with(&data, &["user", "create", "bad", "--password-stdin"], &[0xff; 20]).refused(1, &["UTF-8"]);

    let made = run(&data, &["user", "create", "made", "--generate"]).ok();
    let password =
        made.out.lines().find_map(|line| line.strip_prefix("Password")).unwrap().split_whitespace().next().unwrap();
    assert_eq!((made.out.matches(password).count(), made.err.matches(password).count()), (1, 0), "once");
    assert!(
        made.err.contains(r#""event":"account_created""#) && made.err.contains(r#""actor":"operator""#),
        "{}",
        made.err
    );
    assert_eq!(asking.password("made", password).await.status, StatusCode::OK);
    assert!(!run(&data, &["user", "get", "made"]).ok().out.contains(password));

    // Without either, nobody there to ask: what to do instead. And none on the command line, where everybody reads it.
    for more in [&[][..], &["--no-input"]] {
        let arguments = [&["user", "create", "bad"][..], more].concat();
        run(&data, &arguments).refused(2, &["--password-stdin", "--generate"]);
    }
    for argument in
        [&["--password", PASSWORD][..], &["--password=x"], &["-p", PASSWORD], &[PASSWORD], &["--password-stdin=x"]]
    {
        for verb in ["create", "set"] {
            let arguments = [&["user", verb, "made"][..], argument].concat();
            run(&data, &arguments).refused(2, &[]);
        }
    }
    run(&data, &["user", "set", "made", "--password"]).refused(2, &["--password-stdin", "--generate"]);
    run(&data, &["user", "create", "bad", "--generate", "--password-stdin"]).refused(2, &["cannot be used with"]);
    let variable = gatemint().args(["user", "list", "--data"]).arg(&data).env("GATEMINT_PASSWORD", PASSWORD).output();
    let done = Done::new(variable.unwrap()).refused(2, &["GATEMINT_PASSWORD"]);
    assert!(!done.err.contains(PASSWORD));
    run(&data, &["user", "get", "bad"]).refused(1, &["there is no user"]);

    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(!log.contains(password) && given.iter().all(|(_, given, _)| !log.contains(given.as_str())));
    println!("counted: {} passwords from stdin, 1 made, 20 ways refused", given.len());
}

/// A command's arguments and settings.
type Run<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

#[test]
fn the_directory_is_named_before_or_after_the_command_or_by_a_setting() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let path = data.to_str().unwrap();
    let database = format!("sqlite:{path}/gatemint.db");
    let vault = format!("file:{path}/vault");
    let runs: [Run<'_>; 7] = [
        (&["--data", path, "user", "list"], &[]),
        (&["user", "--data", path, "list"], &[]),
        (&["user", "list", "--data", path], &[]),
        (&["user", "list"], &[("GATEMINT_DATA", path)]),
        (&["user", "list"], &[("GATEMINT_STORE", &database), ("GATEMINT_VAULT", &vault)]),
        // What is typed wins over what is set.
        (&["user", "list", "--data", path], &[("GATEMINT_DATA", "/nowhere")]),
        (&["user", "list", "--data", path], &[("GATEMINT_STORE", "memory:"), ("GATEMINT_VAULT", "file:/nowhere")]),
    ];
    let with = |arguments: &[&str], settings: &[(&str, &str)]| {
        let mut command = gatemint();
        command.args(arguments).envs(settings.iter().copied()).current_dir(home.path()).stdin(Stdio::null());
        Done::new(command.output().unwrap())
    };
    for (arguments, settings) in runs {
        assert!(with(arguments, settings).ok().out.contains("\nadmin"), "{arguments:?} {settings:?}");
    }
    let commands: [&[&str]; 9] = [
        &["gate-token", "list"],
        &["gate-token", "create", "--allow", "/x"],
        &["link", "--allow", "/x"],
        &["user", "list"],
        &["user", "create", "ada", "--generate"],
        &["client", "list"],
        &["site", "list"],
        &["tokens", "list", "--account", "admin"],
        &["tokens", "revoke", "x"],
    ];
    // Without a store they go over HTTP; and nobody is signed in here.
    for command in commands {
        with(command, &[]).refused(1, &["nobody is signed in", "gatemint login", "--data"]);
    }
    with(&["key", "list"], &[]).refused(2, &["--data", "GATEMINT_DATA", "GATEMINT_STORE", "GATEMINT_VAULT"]);
    with(&["user", "list"], &[("GATEMINT_STORE", &database)]).refused(2, &["GATEMINT_VAULT"]);
    with(&["user", "list"], &[("GATEMINT_VAULT", &vault)]).refused(2, &["GATEMINT_STORE"]);
    println!("counted: {} ways to name the directory, {} commands without one refused", runs.len(), commands.len() + 3);
}

#[test]
fn a_directory_that_was_never_started_is_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let absent = home.path().join("absent");
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::set_permissions(&empty, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let commands: [&[&str]; 12] = [
        &["gate-token", "list", "-n", "vms"],
        &["gate-token", "revoke", "x", "-n", "vms"],
        &["site", "list"],
        &["acl", "ls", "-u", "admin"],
        &["user", "list"],
        &["user", "create", "ada", "--generate"],
        &["user", "delete", "admin"],
        &["client", "create", "ci"],
        &["client", "list"],
        &["tokens", "list", "--account", "admin"],
        &["tokens", "revoke", "x"],
        &["--json", "user", "get", "admin"],
    ];
    let mut refused = 0;
    for data in [&absent, &empty] {
        for command in commands {
            run(data, command).refused(1, &["gatemint serve"]);
            refused += 1;
        }
    }
    assert!(!absent.exists());
    assert_eq!(tree(home.path()).len(), 2, "nothing was made: {:?}", tree(home.path()));
    println!("counted: {refused} commands refused, 0 files made");
}

#[test]
fn a_name_of_the_wrong_shape_is_refused_with_the_shape() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let names = ["Ada", "a_b", "a b", "", ".", "a..b", "-a-", "ä", "../x", &"a".repeat(64), "a/b", "a\nb"];
    for name in names {
        // `--` so that a name may begin with a dash.
        for noun in ["user", "client"] {
            let mut command = gatemint();
            command.args([noun, "create", "--data"]).arg(&data);
            if noun == "user" {
                command.arg("--generate");
            }
            let done = Done::new(command.args(["--", name]).stdin(Stdio::null()).output().unwrap());
            done.refused(1, &["1 to 63 of a-z, 0-9"]);
            for verb in ["get", "delete", "disable"] {
                let mut command = gatemint();
                command.args([noun, verb, "--data"]).arg(&data).args(["--", name]);
                Done::new(command.stdin(Stdio::null()).output().unwrap()).refused(1, &["there is no"]);
            }
        }
    }
    for (option, value, word) in [
        ("--role", "Admin", "e.g. admin"),
        ("--email", "nobody", "'@'"),
        ("--namespace", "default-org", "organisation"),
    ] {
        run(&data, &["user", "create", "ada", "--generate", option, value]).refused(1, &[word]);
    }
    println!("counted: {} names and 3 values refused", names.len());
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[test]
fn help_says_something_everywhere_and_needs_nothing() {
    let empty = tempfile::tempdir().unwrap();
    let help = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = gatemint();
        command.args(arguments).arg("--help").current_dir(empty.path()).envs(variables.iter().copied());
        Done::new(command.stdin(Stdio::null()).output().unwrap()).ok().out
    };
    let mut paths: Vec<Vec<String>> = vec![Vec::new()];
    let mut at = 0;
    while at < paths.len() {
        let path = paths[at].clone();
        let arguments: Vec<_> = path.iter().map(String::as_str).collect();
        // A mistake in the settings is no reason to refuse help.
        let text = help(&arguments, &[("GATEMINT_NONSENSE", "1")]);
        let sentence = text.lines().next().unwrap();
        assert!(sentence.split_whitespace().count() >= 3, "{arguments:?}: {text}");
        assert!(text.contains("Usage: gatemint"), "{arguments:?}: {text}");
        if ["create", "set"].iter().any(|verb| arguments == ["user", *verb])
            || arguments == ["client", "create"]
            || arguments.is_empty()
        {
            assert!(text.contains("Example"), "{arguments:?}: {text}");
        }
        paths.extend(commands(&text).into_iter().map(|name| [path.clone(), vec![name]].concat()));
        at += 1;
    }
    assert!(paths.len() >= 21, "{paths:?}");
    let version = Done::new(gatemint().arg("--version").output().unwrap()).ok().out;
    assert!(version.starts_with(concat!("gatemint ", env!("CARGO_PKG_VERSION"))), "{version}");
    for wrong in [&[][..], &["user"], &["nonsense"], &["user", "nonsense"], &["user", "get"], &["--nonsense"]] {
        let output = gatemint().args(wrong).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && String::from_utf8(output.stderr).unwrap().contains("Usage"), "{wrong:?}");
    }
    assert_eq!(tree(empty.path()).len(), 1, "help makes nothing");
    println!("counted: {} helps, 6 wrong uses", paths.len());
}

#[test]
fn a_pipe_that_is_closed_is_no_panic() {
    let home = tempfile::tempdir().unwrap();
    let data = started(home.path());
    let commands: [&[&str]; 7] = [
        &["user", "list"],
        &["user", "list", "--json"],
        &["user", "get", "admin"],
        &["client", "list"],
        &["tokens", "list", "--account", "admin"],
        &["--help"],
        &["--version"],
    ];
    for arguments in commands {
        // Nobody reads from the start: `| head -0` without the race.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = gatemint();
        if !arguments[0].starts_with("--") {
            command.arg("--data").arg(&data);
        }
        let output = command.args(arguments).stdin(Stdio::null()).stdout(writer).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.is_empty(), "{arguments:?}: {err}");
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
    }
    // As it is typed.
    let line = r#""$0" user list --data "$1" | head -0; echo "${PIPESTATUS[0]}""#;
    let output = Command::new("bash").args(["-c", line, env!("CARGO_BIN_EXE_gatemint")]).arg(&data).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"0\n"[..], &b""[..]));
    // stderr closed as well.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status =
        gatemint().args(["user", "get", "nobody", "--data"]).arg(&data).stdout(Stdio::null()).stderr(writer).status();
    assert_eq!(status.unwrap().code(), Some(1));
    println!("counted: {} commands into closed pipes, 0 panics", commands.len() + 2);
}

#[test]
fn a_long_list_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    // More than a page of the store, without hashing as many passwords: clients.
    for n in 0..95 {
        run(&data, &["client", "create", &format!("client-{n:02}"), "--public"]).ok();
    }
    let list = run(&data, &["client", "list", "--json"]).ok().json();
    let ids: std::collections::BTreeSet<_> =
        list.as_array().unwrap().iter().map(|client| client["id"].to_string()).collect();
    assert_eq!((ids.len(), list.as_array().unwrap().len()), (96, 96));
    assert_eq!(run(&data, &["client", "list"]).ok().out.lines().count(), 97);
    drop(serve);
    println!("counted: 96 clients listed, each once");
}
