//! What is revoked is closed at once, in every process: two of the real program on one data directory, asked as proxies ask.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};
use reqwest::redirect;
use serde_json::{Value, json};

use crate::support::{
    Answer, PASSWORD, Tokens,
    asking::{Asking, claims},
    process::{Serve, gatemint, given, operator},
};

const GATE_TOKENS: &str = "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/vms/gatetokens";
const HOST: &str = "vms.example.org";
const SITE: &str = "train--ada.jobs.example.org";
const JOB: &str = "job://default/ada/train";

/// How a proxy may say what it asks about.
const FAMILIES: [&str; 3] = ["nginx", "forwarded", "envoy"];

/// Two processes on one data directory, with users and a site.
struct Doors {
    http: reqwest::Client,
    one: Asking,
    other: Asking,
    data: PathBuf,
    _running: [Serve; 2],
    _home: tempfile::TempDir,
}

impl Doors {
    fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let running = [Serve::start(&data), Serve::start(&data)];
        let one = Asking::at(&running[0].url);
        let other = one.elsewhere(&running[1].url);
        let http = reqwest::Client::builder().redirect(redirect::Policy::none()).timeout(Duration::from_mins(1));
        let doors = Self { http: http.build().unwrap(), one, other, data, _running: running, _home: home };
        for name in ["ada", "bob"] {
            let mut command = gatemint();
            command.args(["user", "create", name, "--password-stdin", "--data"]).arg(&doors.data);
            assert!(given(&mut command, PASSWORD.as_bytes()).status.success());
        }
        let host = "{name}--{owner}.jobs.example.org";
        doors.operator(&["site", "create", "jobs", "--host", host, "--resource", "job://{cluster}/{owner}/{name}"]);
        doors.operator(&["acl", "grant", "gatetoken:vms", "ada", "write"]);
        doors.operator(&["acl", "grant", JOB, "bob", "read"]);
        doors
    }

    fn operator(&self, arguments: &[&str]) -> String {
        let done = operator(&self.data, arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    async fn sign_in(&self, name: &str) -> Tokens {
        self.one.password(name, PASSWORD).await.tokens()
    }

    /// Makes a gate token in the namespace vms.
    async fn mint(&self, access: &str, name: &str, spec: Value) -> String {
        let mut body = json!({ "metadata": { "name": name }, "spec": { "urls": ["/ok/*"] } });
        for (field, value) in spec.as_object().unwrap() {
            body["spec"][field] = value.clone();
        }
        let made = self.one.v1(Method::POST, GATE_TOKENS, access, Some(body)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json["status"]["token"].as_str().unwrap().to_owned()
    }

    /// What the second process signs from a record.
    async fn read_again(&self, access: &str, name: &str) -> Answer {
        self.other.v1(Method::GET, &format!("{GATE_TOKENS}/{name}"), access, None).await
    }

    async fn delete(&self, at: &Asking, access: &str, name: &str) {
        let deleted = at.v1(Method::DELETE, &format!("{GATE_TOKENS}/{name}"), access, None).await;
        assert_eq!(deleted.status, StatusCode::OK, "{}", deleted.text);
    }

    /// What a process answers to one way of asking.
    async fn judged(&self, at: &Asking, family: &str, as_cookie: bool, host: &str, token: &str) -> u16 {
        let url = &at.url;
        let request = match family {
            "nginx" => {
                let request = self.http.get(format!("{url}/auth/verify"));
                request.header("x-original-method", "GET").header("x-original-url", format!("http://{host}/ok/a"))
            }
            "forwarded" => self
                .http
                .get(format!("{url}/auth/verify"))
                .header("x-forwarded-method", "GET")
                .header("x-forwarded-proto", "http")
                .header("x-forwarded-host", host)
                .header("x-forwarded-uri", "/ok/a"),
            _ => self.http.get(format!("{url}/auth/verify/ok/a")).header("host", host),
        };
        let request = if as_cookie {
            request.header("cookie", format!("kg-jwt-session-code={token}"))
        } else {
            request.bearer_auth(token)
        };
        request.send().await.unwrap().status().as_u16()
    }

    /// Both processes, each family, as a Bearer and as a cookie: all must say the same.
    #[track_caller]
    fn everywhere<'a>(&'a self, host: &'a str, token: &'a str, expected: u16) -> impl Future<Output = usize> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut asked = 0;
            // The one that did not hear of it from its own caller is asked first.
            for at in [&self.other, &self.one] {
                for family in FAMILIES {
                    for as_cookie in [false, true] {
                        let status = self.judged(at, family, as_cookie, host, token).await;
                        assert_eq!(status, expected, "{family}, cookie: {as_cookie}, {}, asked at {caller}", at.url);
                        asked += 1;
                    }
                }
            }
            asked
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_at_one_it_is_closed_at_the_other_on_the_next_request() {
    let doors = Doors::open();
    let ada = doors.sign_in("ada").await.access;
    let mut asked = 0;
    for (round, at) in [&doors.one, &doors.other].into_iter().enumerate() {
        let token = doors.mint(&ada, "console", json!({})).await;
        asked += doors.everywhere(HOST, &token, 200).await;
        doors.delete(at, &ada, "console").await;
        asked += doors.everywhere(HOST, &token, 401).await;
        assert_eq!(doors.read_again(&ada, "console").await.status, StatusCode::NOT_FOUND, "round {round}");
        // Made again under its name it is another one.
        let again = doors.mint(&ada, "console", json!({})).await;
        asked += doors.everywhere(HOST, &again, 200).await;
        asked += doors.everywhere(HOST, &token, 401).await;
        doors.delete(at, &ada, "console").await;
    }
    // The operator's ways, and one's own list of live tokens.
    let own = doors.mint(&ada, "own", json!({})).await;
    asked += doors.everywhere(HOST, &own, 200).await;
    doors.operator(&["gate-token", "revoke", "own", "-n", "vms"]);
    asked += doors.everywhere(HOST, &own, 401).await;
    doors.operator(&["acl", "grant", "gatetoken:ada", "ada", "write"]);
    let listed = json!({ "metadata": { "name": "listed" }, "spec": { "urls": ["/ok/*"] } });
    let made = doors.one.v1(Method::POST, &GATE_TOKENS.replace("vms", "ada"), &ada, Some(listed)).await;
    let listed = made.json["status"]["token"].as_str().unwrap();
    asked += doors.everywhere(HOST, listed, 200).await;
    let tokens = doors.one.v1(Method::GET, "/v1/tokens", &ada, None).await;
    let items = tokens.json["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["kind"] == "gate").unwrap();
    let ended = doors.one.v1(Method::DELETE, &format!("/v1/tokens/{}", item["id"].as_str().unwrap()), &ada, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text);
    asked += doors.everywhere(HOST, listed, 401).await;
    println!("counted: {asked} questions to 2 processes about 6 gate tokens, each closed on the next request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_that_began_after_the_deletion_passes() {
    let doors = Arc::new(Doors::open());
    let ada = doors.sign_in("ada").await.access;
    let token = doors.mint(&ada, "console", json!({})).await;
    let (gone, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (doors, token, gone, passed) = (doors.clone(), token.clone(), gone.clone(), passed.clone());
        tasks.spawn(async move {
            let at = if n % 2 == 0 { doors.one.clone() } else { doors.other.clone() };
            let (mut before, mut after) = (0, 0);
            while after < 20 {
                let was_gone = gone.load(Ordering::SeqCst);
                let status = doors.judged(&at, FAMILIES[n % 3], n % 4 < 2, HOST, &token).await;
                if was_gone {
                    assert_eq!(status, 401, "began after the deletion was acknowledged");
                    after += 1;
                } else {
                    assert!(matches!(status, 200 | 401), "{status}");
                    before += usize::from(status == 200);
                    passed.fetch_add(1, Ordering::SeqCst);
                }
            }
            (before, after)
        });
    }
    while passed.load(Ordering::SeqCst) < 200 {
        tokio::task::yield_now().await;
    }
    doors.delete(&doors.one, &ada, "console").await;
    gone.store(true, Ordering::SeqCst);
    let done = tasks.join_all().await;
    let (before, after) = done.into_iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(before >= 100, "{before} passed before");
    println!("counted: {before} requests passed before a deletion under load, 0 of {after} that began after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_account_that_minted_it() {
    let doors = Doors::open();
    let ada = doors.sign_in("ada").await.access;
    let root = doors.one.admin(&doors.data).await.access;
    let token = doors.mint(&ada, "console", json!({})).await;
    let link = doors.mint(&ada, "link", json!({ "one-time": true })).await;
    let mut asked = doors.everywhere(HOST, &token, 200).await;
    for (enabled, ways) in [(false, "disabled"), (true, "enabled again")] {
        let changed = doors.one.v1(Method::PATCH, "/v1/users/ada", &root, Some(json!({ "enabled": enabled }))).await;
        assert_eq!(changed.status, StatusCode::OK, "{ways}: {}", changed.text);
        asked += doors.everywhere(HOST, &token, 401).await;
        let pressed = doors.http.post(format!("{}/auth/jwt/set", doors.other.url)).form(&[("token", &link)]);
        assert_eq!(pressed.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{ways}");
    }
    // The permission that it was minted with is not asked for again: what was given out is ended by ending it.
    let ada = doors.sign_in("ada").await.access;
    let token = doors.mint(&ada, "console", json!({})).await;
    doors.operator(&["acl", "revoke", "gatetoken:vms", "ada"]);
    asked += doors.everywhere(HOST, &token, 200).await;
    let deleted = doors.one.v1(Method::DELETE, "/v1/users/ada", &root, None).await;
    assert!(deleted.status.is_success(), "{}", deleted.text);
    asked += doors.everywhere(HOST, &token, 401).await;
    println!("counted: {asked} questions about 2 gate tokens of an account that was disabled, enabled and deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchanged_token_ends_with_the_permission_and_with_the_session() {
    let doors = Doors::open();
    let bob = doors.sign_in("bob").await;
    let site = format!("http://{SITE}/*");
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &bob.access),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
        ("resource", &site),
    ];
    let exchanged = doors.one.form("/oauth2/token", &form).await;
    assert_eq!(exchanged.status, StatusCode::OK, "{}", exchanged.text);
    let token = exchanged.json["access_token"].as_str().unwrap();
    let mut asked = doors.everywhere(SITE, token, 200).await;
    doors.operator(&["acl", "revoke", JOB, "bob"]);
    asked += doors.everywhere(SITE, token, 403).await;
    asked += doors.everywhere(SITE, &bob.access, 403).await;
    doors.operator(&["acl", "grant", JOB, "bob", "read"]);
    asked += doors.everywhere(SITE, token, 200).await;
    asked += doors.everywhere(SITE, &bob.access, 200).await;
    let out = doors.one.form("/oauth2/revoke", &[("token", &bob.refresh)]).await;
    assert_eq!(out.status, StatusCode::OK);
    asked += doors.everywhere(SITE, token, 401).await;
    asked += doors.everywhere(SITE, &bob.access, 401).await;
    println!("counted: {asked} questions about an exchanged token and its access token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_links_cookie_is_closed_by_deletion() {
    let doors = Doors::open();
    let ada = doors.sign_in("ada").await.access;
    let mut asked = 0;
    for one_time in [true, false] {
        let link = doors.mint(&ada, "link", json!({ "one-time": one_time, "urls": ["/ok/a"] })).await;
        if one_time {
            asked += doors.everywhere(HOST, &link, 401).await;
        }
        let press = async |at: &Asking| {
            let request = doors.http.post(format!("{}/auth/jwt/set", at.url)).form(&[("token", &link)]);
            let answer = request.send().await.unwrap();
            let cookie = answer.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
            (answer.status(), cookie)
        };
        let (status, cookie) = press(&doors.one).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let cookie = cookie.unwrap();
        let cookie = cookie.strip_prefix("kg-jwt-session-code=").unwrap().split(';').next().unwrap();
        asked += doors.everywhere(HOST, cookie, 200).await;
        doors.delete(&doors.other, &ada, "link").await;
        asked += doors.everywhere(HOST, cookie, 401).await;
        assert_eq!(press(&doors.one).await, (StatusCode::FORBIDDEN, None), "the same button again");
    }
    println!("counted: {asked} questions about the cookies of 2 links");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_signing_key_closes_nothing() {
    let doors = Doors::open();
    let ada = doors.sign_in("ada").await.access;
    let token = doors.mint(&ada, "console", json!({})).await;
    doors.operator(&["key", "rotate"]);
    let mut asked = doors.everywhere(HOST, &token, 200).await;
    let again = doors.read_again(&ada, "console").await.json["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&again)["jti"], claims(&token)["jti"], "signed again, it is the same token");
    asked += doors.everywhere(HOST, &again, 200).await;
    doors.delete(&doors.one, &ada, "console").await;
    for token in [&token, &again] {
        asked += doors.everywhere(HOST, token, 401).await;
    }
    println!("counted: {asked} questions across a key rotation");
}
