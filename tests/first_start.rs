//! From nothing to a running service: several first starts at once, the greeting, where it listens, how it ends.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::{
    kill::assert_private,
    support::{
        asking::{Asking, claims},
        process::{Serve, gatemint, given},
    },
};

const NEW_PASSWORD: &str = "a new and long enough one";

/// What was logged by all processes on a data directory.
fn log_of(data: &Path) -> String {
    std::fs::read_to_string(data.with_extension("log")).unwrap()
}

fn password_of(data: &Path) -> String {
    std::fs::read_to_string(data.join("admin-password")).unwrap()
}

/// Runs `gatemint serve` where it must not come up.
fn refused(settings: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        gatemint().arg("serve").args(arguments).envs(settings.iter().copied()).stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_first_starts_at_once_agree_on_everything() {
    let mut processes = 0;
    for count in [2, 4, 2, 4, 4] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let starts: Vec<_> = (0..count)
            .map(|_| {
                let data = data.clone();
                thread::spawn(move || Serve::start(&data))
            })
            .collect();
        let serves: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        processes += serves.len();
        let password = password_of(&data);
        let (mut issuers, mut keys, mut subjects) = (HashSet::new(), HashSet::new(), HashSet::new());
        for serve in &serves {
            let asking = Asking::at(&serve.url);
            let tokens = asking.password("admin", &password).await.tokens();
            let claims = claims(&tokens.access);
            let discovery = asking.get("/.well-known/openid-configuration").await;
            assert_eq!(discovery.json["issuer"], claims["iss"]);
            issuers.insert(claims["iss"].as_str().unwrap().to_owned());
            subjects.insert(claims["sub"].as_str().unwrap().to_owned());
            keys.insert(asking.get("/.well-known/jwks.json").await.text);
            // What one process signed, every other one takes.
            for other in &serves {
                let me = Asking::at(&other.url).v1(Method::GET, "/v1/me", &tokens.access, None).await;
                assert_eq!(me.status, StatusCode::OK, "{}", me.text);
            }
            let users = asking.v1(Method::GET, "/v1/users", &tokens.access, None).await;
            assert_eq!(users.json["items"].as_array().unwrap().len(), 1, "one admin: {}", users.text);
        }
        assert_eq!((issuers.len(), keys.len(), subjects.len()), (1, 1, 1), "{issuers:?}");
        let issuer = issuers.into_iter().next().unwrap();
        assert!(serves.iter().any(|serve| serve.url == issuer), "{issuer} is one of them");
        for serve in serves.iter().filter(|serve| serve.url != issuer) {
            assert!(serve.greeting.contains(&format!("Tokens name the issuer {issuer}.")), "{}", serve.greeting);
        }
        assert_eq!(log_of(&data).matches(r#""event":"first_start""#).count(), 1);
        assert_private(&data);
    }
    println!("counted: {processes} processes in 5 simultaneous first starts, one admin, one issuer, one key set each");
}

/// The command that a greeting shows.
fn shown_curl(greeting: &str) -> String {
    let mut shown = String::new();
    for line in greeting.lines().skip_while(|line| !line.trim_start().starts_with("curl ")) {
        shown.push_str(line);
        shown.push('\n');
        if !line.ends_with('\\') {
            break;
        }
    }
    shown
}

/// Runs it as it was printed; curl is asked through its own settings file to say the status.
fn paste(command: &str, directory: &Path) -> Output {
    let settings = tempfile::tempdir().unwrap();
    std::fs::write(settings.path().join(".curlrc"), "write-out = \"\\n%{http_code}\"\n").unwrap();
    Command::new("bash")
        .args(["-c", command])
        .env("CURL_HOME", settings.path())
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
fn the_curl_of_the_greeting_gets_a_token_as_it_was_printed() {
    let names =
        ["data", "my data", "it's", "a\"b", "$HOME `id`", "a=b", "-d", "~", "ä@ö", "a\\b", "a;b&c|d", "!x*?[a]"];
    for name in names {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join(name);
        let serve = Serve::start(&data);
        let command = shown_curl(&serve.greeting);
        assert!(command.lines().count() >= 3, "{}", serve.greeting);
        let output = paste(&command, Path::new("/"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.ends_with("\n200"), "{name}: {command}{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(r#""access_token":""#), "{said}");
        let password = password_of(&data);
        assert!(!password.ends_with('\n') && password.len() >= 15, "no line end, and long");
        assert!(!serve.greeting.contains(&password) && !log_of(&data).contains(&password), "{name}");
    }
    println!("counted: {} directories, each printed command gave 200, 0 passwords printed or logged", names.len());
}

#[test]
fn serve_without_a_word_makes_a_private_gatemint_directory_where_it_was_started() {
    for listen in [&["--listen", "127.0.0.1:0"][..], &["--listen", "0.0.0.0:0"]] {
        let home = tempfile::tempdir().unwrap();
        let mut command = gatemint();
        command.arg("serve").args(listen).current_dir(home.path());
        let serve = Serve::run(command, &home.path().join("log"));
        let data = home.path().join(".gatemint");
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_private(&data);
        let output = paste(&shown_curl(&serve.greeting), home.path());
        assert!(output.stdout.ends_with(b"\n200"), "{}", serve.greeting);
    }
    println!("counted: 2 starts in an empty directory, 2 private directories, 2 printed commands gave 200");
}

#[test]
fn a_store_and_a_vault_of_their_own_are_started_as_a_directory_is() {
    let home = tempfile::tempdir().unwrap();
    let (database, vault) = (home.path().join("state.db"), home.path().join("secrets"));
    let settings = [
        ("GATEMINT_STORE", format!("sqlite:{}", database.display())),
        ("GATEMINT_VAULT", format!("file:{}", vault.display())),
    ];
    let never = gatemint().args(["user", "list"]).envs(settings.clone()).output().unwrap();
    assert_eq!(never.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&never.stderr).contains("run `gatemint serve` once"));
    for _ in 0..2 {
        let mut command = gatemint();
        command.args(["serve", "--listen", "127.0.0.1:0"]).envs(settings.clone()).current_dir(home.path());
        let serve = Serve::run(command, &home.path().join("log"));
        let output = paste(&shown_curl(&serve.greeting), home.path());
        assert!(output.stdout.ends_with(b"\n200"), "{}", serve.greeting);
        assert_private(&vault);
        assert_private(&database);
    }
    let list = gatemint().args(["user", "list"]).envs(settings).output().unwrap();
    assert!(list.status.success() && String::from_utf8_lossy(&list.stdout).contains("\nadmin"));
    println!("counted: 2 starts with GATEMINT_STORE and GATEMINT_VAULT, 2 printed commands gave 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_password_goes_with_admins_first_change_over_http_or_by_the_operator() {
    let over_http = async |serve: &Serve, data: &Path, old: &str| {
        let asking = Asking::at(&serve.url);
        let admin = asking.admin(data).await;
        let body = json!({"old": old, "new": NEW_PASSWORD});
        let changed = asking.v1(Method::POST, "/v1/me/password", &admin.access, Some(body)).await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    };
    let by_an_admin = async |serve: &Serve, data: &Path| {
        let asking = Asking::at(&serve.url);
        let admin = asking.admin(data).await;
        let body = json!({"password": NEW_PASSWORD});
        let changed = asking.v1(Method::PATCH, "/v1/users/admin", &admin.access, Some(body)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    };
    for way in 0..3 {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let serve = Serve::start(&data);
        assert!(serve.greeting.contains("--data-urlencode"));
        let old = password_of(&data);
        match way {
            0 => over_http(&serve, &data, &old).await,
            1 => by_an_admin(&serve, &data).await,
            _ => {
                let mut command = gatemint();
                command.args(["user", "set", "admin", "--password-stdin", "--data"]).arg(&data);
                let output = given(&mut command, format!("{NEW_PASSWORD}\n").as_bytes());
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        assert!(!data.join("admin-password").exists(), "way {way}");
        let asking = Asking::at(&serve.url);
        assert_eq!(asking.password("admin", &old).await.refusal().2, "Invalid user credentials");
        assert_eq!(asking.password("admin", NEW_PASSWORD).await.status, StatusCode::OK);
        drop(serve);

        let serve = Serve::start(&data);
        assert!(!serve.greeting.contains("curl") && !serve.greeting.contains("password"), "{}", serve.greeting);
        assert!(!data.join("admin-password").exists(), "it does not come back");
        let log = log_of(&data);
        assert!(!log.contains(&old) && !log.contains(NEW_PASSWORD), "way {way}: a password was logged");
    }
    println!("counted: 3 ways to change the first password, 3 files gone, 3 greetings without a command");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_is_recorded_once_and_only_a_setting_overrides_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let issuer_of = async |serve: &Serve| {
        let asking = Asking::at(&serve.url);
        let tokens = asking.admin(&data).await;
        let discovery = asking.get("/.well-known/oauth-authorization-server").await;
        let issuer = claims(&tokens.access)["iss"].as_str().unwrap().to_owned();
        assert_eq!(discovery.json["issuer"].as_str(), Some(issuer.as_str()));
        let me = asking.v1(Method::GET, "/v1/me", &tokens.access, None).await;
        assert_eq!(me.status, StatusCode::OK);
        issuer
    };
    let first = Serve::start(&data);
    let recorded = first.url.clone();
    assert!(!first.greeting.contains("Tokens name the issuer"), "{}", first.greeting);
    assert_eq!(issuer_of(&first).await, recorded);

    // Beside the first one, so surely on another port.
    let second = Serve::start(&data);
    assert_ne!(second.url, recorded);
    assert!(second.greeting.contains(&format!("Tokens name the issuer {recorded}.")), "{}", second.greeting);
    assert_eq!(issuer_of(&second).await, recorded);

    let set = "https://auth.example.org/mint";
    let third = Serve::start_with(&data, &[("GATEMINT_ISSUER", set)]);
    assert!(third.greeting.contains(&format!("Tokens name the issuer {set}.")), "{}", third.greeting);
    assert_eq!(issuer_of(&third).await, set);

    let fourth = Serve::start(&data);
    assert_eq!(issuer_of(&fourth).await, recorded, "a setting is not recorded later");
    println!("counted: 4 processes, 1 recorded issuer, 1 set one");
}

#[test]
fn an_open_address_with_a_plain_issuer_is_warned_of_loudly() {
    let warned = |listen: &str, issuer: &str| {
        let home = tempfile::tempdir().unwrap();
        let mut command = gatemint();
        command.args(["serve", "--listen", listen, "--data"]).arg(home.path().join("data"));
        if !issuer.is_empty() {
            command.env("GATEMINT_ISSUER", issuer);
        }
        let log = home.path().join("log");
        let serve = Serve::run(command, &log);
        assert!(!serve.greeting.contains("WARNING"), "it is for stderr");
        let warnings = std::fs::read_to_string(log).unwrap();
        warnings.lines().filter(|line| line.starts_with("WARNING: ")).count()
    };
    assert_eq!(warned("0.0.0.0:0", ""), 1);
    assert_eq!(warned("0.0.0.0:0", "http://auth.example.org"), 1);
    assert_eq!(warned("0.0.0.0:0", "https://auth.example.org"), 0);
    assert_eq!(warned("127.0.0.1:0", ""), 0);
    assert_eq!(warned("127.0.0.1:0", "http://auth.example.org"), 0);
    println!("counted: 5 starts, 2 of them warned of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_the_sign_in_that_is_under_way_and_refuses_new_connections() {
    const ROUNDS: usize = 3;
    for _ in 0..ROUNDS {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let serve = Serve::start(&data);
        let address = serve.url.strip_prefix("http://").unwrap().to_owned();
        // A connection that is kept alive and idle must not hold it up.
        let idle = Asking::at(&serve.url);
        assert_eq!(idle.get("/healthz").await.status, StatusCode::OK);
        let body = format!("grant_type=password&username=admin&password={}", password_of(&data));
        let mut under_way = TcpStream::connect(&address).unwrap();
        write!(
            under_way,
            "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        )
        .unwrap();
        // The handler has begun to read the body: only then does this come.
        let mut go_on = [0; 25];
        under_way.read_exact(&mut go_on).unwrap();
        assert_eq!(go_on.as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n");

        serve.ask_to_end();
        while TcpStream::connect(&address).is_ok() {
            tokio::task::yield_now().await;
        }
        under_way.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        under_way.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(r#""refresh_token":"gmr_"#), "{answer}");
        assert_eq!(serve.wait().code(), Some(0));
        let log = log_of(&data);
        assert!(log.contains("asked to stop") && log.contains(r#""message":"stopped""#), "{log}");

        // What it gave out last is good at the next start.
        let token = answer.split(r#""refresh_token":""#).nth(1).unwrap().split('"').next().unwrap();
        let serve = Serve::start(&data);
        assert_eq!(Asking::at(&serve.url).refresh(token).await.status, StatusCode::OK);
        assert_eq!(serve.terminate().code(), Some(0));
    }
    println!("counted: {ROUNDS} sign-ins under way at SIGTERM, {ROUNDS} finished, {} exits with 0", 2 * ROUNDS);
}

#[test]
fn what_cannot_start_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let data = data.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = refused(&[], &["--listen", &address, "--data", data]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("in use") && text.contains("--listen"), "{text}");

    let (code, text) = refused(&[("GATEMINT_ACESS_LIFE", "15m")], &["--data", data]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("GATEMINT_ACESS_LIFE"), "{text}");

    let several = [
        ("GATEMINT_LISTEN", "localhost"),
        ("GATEMINT_REUSE_WINDOW", "61s"),
        ("GATEMINT_PASSWORD_MIN", "7"),
        ("GATEMINT_ISSUER", "auth.example.org"),
        ("GATEMINT_PASSWORD", "hunter2hunter2hunter2"),
    ];
    let (code, text) = refused(&several, &["--data", data]);
    assert_eq!(code, Some(2), "{text}");
    for (variable, _) in several {
        assert!(text.contains(variable), "{variable}: {text}");
    }
    assert!(!text.contains("hunter2"), "a value is not repeated, it may be a secret: {text}");

    let (code, text) = refused(&[("GATEMINT_LOG", "gatemint=[")], &["--data", data]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("GATEMINT_LOG"), "{text}");

    for (one, other) in [("GATEMINT_STORE", "GATEMINT_VAULT"), ("GATEMINT_VAULT", "GATEMINT_STORE")] {
        let value = if one == "GATEMINT_STORE" { format!("sqlite:{data}.db") } else { format!("file:{data}.vault") };
        let (code, text) = refused(&[(one, &value)], &["--listen", "127.0.0.1:0"]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(other), "{text}");
    }
    let (code, text) = refused(&[], &["--listen", "localhost", "--data", data]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--listen"), "{text}");

    // A directory that others may read, and a file in its place.
    let open = home.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, text) = refused(&[], &["--listen", "127.0.0.1:0", "--data", open.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("chmod 700"), "{text}");
    let file = home.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (code, text) = refused(&[], &["--listen", "127.0.0.1:0", "--data", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = refused(&[], &["--listen", "127.0.0.1:0", "--data", ""]);
    assert!(code == Some(1) || code == Some(2), "{code:?} {text}");
    println!("counted: 10 starts refused, each with its cause and what to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_went_away_does_not_end_the_service() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    drop(Serve::start(&data));
    // `gatemint serve 2>&1 | head -1`: nobody reads the log, nor the greeting after its first line.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = gatemint()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let asking = Asking::at(first.split(" on ").nth(1).unwrap().split(',').next().unwrap());
    let password = password_of(&data);
    let form = [("grant_type", "password"), ("username", "admin"), ("password", password.as_str())];
    let status = asking.try_form("/oauth2/token", &form).await.map(|answer| answer.status);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status.unwrap(), StatusCode::OK);
    println!("counted: 1 service without a reader of its output, 1 sign-in");
}

#[tokio::test]
async fn a_lost_vault_is_not_replaced_and_readiness_notices_that_it_went() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let ready = async || reqwest::get(format!("{}/readyz", serve.url)).await.unwrap().status().as_u16();
    assert_eq!(ready().await, 200);
    std::fs::rename(data.join("vault"), home.path().join("kept")).unwrap();
    assert_eq!(ready().await, 503, "what is in memory does not count");
    serve.terminate();

    let refused = Command::new(env!("CARGO_BIN_EXE_gatemint"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("backup"), "{text}");
    assert!(!data.join("vault/keys").exists(), "nothing lies where the old keys have to be put back");

    let _ = std::fs::remove_dir_all(data.join("vault"));
    std::fs::rename(home.path().join("kept"), data.join("vault")).unwrap();
    Serve::start(&data).terminate();
    println!("counted: 1 lost vault, 1 start refused, 1 start after it was put back");
}

#[tokio::test]
async fn a_request_whose_client_hangs_up_is_finished_and_audited() {
    use std::io::Write;
    /// As many as must be seen to be heard of; a hang-up that is faster than the request is no request.
    const HEARD: usize = 10;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
    let body = format!("grant_type=password&username=admin&password={password}");
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = serve.url.trim_start_matches("http://").to_owned();
    let log = || std::fs::read_to_string(data.with_extension("log")).unwrap();
    let requests = |log: &str| log.matches(r#""http.route":"/oauth2/token""#).count();
    let (mut tried, mut heard) = (0, 0);
    while heard < HEARD && tried < 400 {
        tried += 1;
        // Hashing takes longer than this takes to hang up. One after the other: more at once would be throttled.
        let mut connection = std::net::TcpStream::connect(&address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        // Whoever was answered or hung up on already is not connected any more; that is a hang-up too.
        let _ = connection.shutdown(std::net::Shutdown::Both);
        drop(connection);
        // An answer to the same question comes after the one before was finished: there is one hashing thread at least.
        let form = [("grant_type", "password"), ("username", "admin"), ("password", password.as_str())];
        let answer =
            reqwest::Client::new().post(format!("{}/oauth2/token", serve.url)).form(&form).send().await.unwrap();
        assert!([200, 429].contains(&answer.status().as_u16()));
        // A log line may come after its answer: what is not there yet is heard of next time.
        heard = requests(&log()).saturating_sub(tried);
    }
    assert!(heard >= HEARD, "{heard} of {tried} hang-ups were heard of");
    assert!(serve.terminate().success());
    let log = log();
    let requests = requests(&log);
    let audited = log.matches(r#""event":"signed_in""#).count() + log.matches(r#""reason":"throttled""#).count();
    // One whose body never came whole was no sign-in; every one that was begun has both lines.
    let broken = log.matches(r#""http.status":400"#).count();
    assert_eq!(audited + broken, requests, "an audit line for each request line");
    println!(
        "counted: {tried} hang-ups, {heard} heard of, {requests} requests in all, {audited} audited, {broken} broken"
    );
}
