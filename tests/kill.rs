//! `kill -9` at any moment: nothing acknowledged is lost, nothing forks, and the next start just works.

use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::{Method, StatusCode};
use tokio::sync::Notify;

use crate::{
    race::generation,
    support::{
        Tokens,
        asking::{Asking, random},
        process::{Serve, gatemint},
    },
};

/// A session and one of its generations.
type Place = (String, u32);

/// What all clients were told, over all kills.
#[derive(Default)]
struct Told {
    /// Every acknowledged refresh token by its session and generation.
    tokens: Mutex<HashMap<Place, String>>,
    acknowledged: AtomicU64,
    progress: Notify,
}

impl Told {
    /// Books an acknowledged token; another one of the same generation would be a fork.
    fn book(&self, session: &str, token: &str) {
        let place = (session.to_owned(), generation(token));
        let first = self.tokens.lock().unwrap().entry(place.clone()).or_insert_with(|| token.to_owned()).clone();
        assert_eq!(first, token, "two tokens of generation {} of one session", place.1);
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.progress.notify_one();
    }

    async fn reach(&self, goal: u64) {
        while self.acknowledged.load(Ordering::SeqCst) < goal {
            self.progress.notified().await;
        }
    }
}

/// One client's chain of refresh tokens.
struct Chain {
    session: String,
    /// What it received in full, last.
    last: Tokens,
    /// Whether a request with `last` was under way when the connection broke.
    under_way: bool,
}

impl Chain {
    /// Refreshes once; whether there was an answer.
    async fn step(&mut self, asking: &Asking, told: &Told) -> bool {
        let before = generation(&self.last.refresh);
        let Ok(answer) = asking.try_refresh(&self.last.refresh).await else {
            self.under_way = true;
            return false;
        };
        let tokens = answer.tokens();
        assert_eq!(answer.json["session_state"].as_str(), Some(self.session.as_str()));
        assert_eq!(generation(&tokens.refresh), before + 1, "a refresh is one generation, never back");
        told.book(&self.session, &tokens.refresh);
        (self.last, self.under_way) = (tokens, false);
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_under_load_lose_and_fork_no_refresh_token() {
    const CLIENTS: usize = 16;
    const KILLS: usize = 10;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut serve = Serve::start(&data);
    let told = Arc::new(Told::default());
    let mut chains = Vec::new();
    let first = Asking::at(&serve.url);
    let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
    for _ in 0..CLIENTS {
        let answer = first.password("admin", &password).await;
        let session = answer.json["session_state"].as_str().unwrap().to_owned();
        chains.push(Chain { session, last: answer.tokens(), under_way: false });
    }

    let (mut interrupted, mut committed_unheard) = (0, 0);
    for kill in 1..=KILLS {
        let url = serve.url.clone();
        let clients: Vec<_> = chains
            .into_iter()
            .map(|mut chain| {
                let (asking, told) = (Asking::at(&url), told.clone());
                tokio::spawn(async move {
                    while chain.step(&asking, &told).await {}
                    chain
                })
            })
            .collect();
        let goal = told.acknowledged.load(Ordering::SeqCst) + 1 + random(400);
        told.reach(goal).await;
        serve.kill();
        chains = Vec::new();
        for client in clients {
            chains.push(client.await.unwrap());
        }

        let repeated_before = repeats(&data);
        serve = Serve::start(&data);
        let asking = Asking::at(&serve.url);
        for chain in &mut chains {
            assert!(chain.under_way, "every client was refused by a dead process");
            interrupted += 1;
            assert!(chain.step(&asking, &told).await, "kill {kill}: the retry after the restart");
            let me = asking.v1(Method::GET, "/v1/me", &chain.last.access, None).await;
            assert_eq!(me.status, StatusCode::OK, "kill {kill}: {}", me.text);
        }
        committed_unheard += repeats(&data) - repeated_before;
        for chain in &chains {
            // Once more the one before: inside the reuse window it is the same successor.
            let one_before =
                told.tokens.lock().unwrap().get(&(chain.session.clone(), generation(&chain.last.refresh) - 1)).cloned();
            if let Some(token) = one_before {
                assert_eq!(asking.refresh(&token).await.tokens().refresh, chain.last.refresh, "kill {kill}");
            }
        }
    }

    let asking = Asking::at(&serve.url);
    let listed = asking.v1(Method::GET, "/v1/tokens?limit=99", &chains[0].last.access, None).await;
    let sessions = listed.json["items"].as_array().unwrap().iter().filter(|token| token["kind"] == "session");
    assert_eq!(sessions.count(), CLIENTS, "{}", listed.text);
    for chain in &mut chains {
        assert!(chain.step(&asking, &told).await);
    }
    let tokens = told.tokens.lock().unwrap();
    let acknowledged = told.acknowledged.load(Ordering::SeqCst);
    assert_eq!(tokens.len() as u64, acknowledged, "each generation was acknowledged once");
    for chain in &chains {
        let last = generation(&chain.last.refresh);
        let heard = (1..=last).filter(|n| tokens.contains_key(&(chain.session.clone(), *n))).count();
        assert_eq!(heard, last as usize, "no generation is missing");
    }
    println!(
        "counted: {KILLS} kills, {acknowledged} acknowledged refreshes of {CLIENTS} sessions, {interrupted} interrupted \
         and retried, {committed_unheard} of them had been committed unheard, 0 lost, 0 forked"
    );
}

/// How many refreshes were repeats of one before, by the log.
fn repeats(data: &Path) -> usize {
    std::fs::read_to_string(data.with_extension("log")).unwrap().matches(r#""event":"refresh_repeated""#).count()
}

/// Everything below a directory, and itself.
pub(crate) fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while next < found.len() {
        // What is gone by the time that it is looked at was never there.
        if let Ok(entries) = std::fs::read_dir(&found[next]) {
            found.extend(entries.map_while(Result::ok).map(|entry| entry.path()));
        }
        next += 1;
    }
    found.retain(|path| path.exists());
    found
}

/// Asserts that nobody but the owner gets at anything; the number of files and directories.
pub(crate) fn assert_private(data: &Path) -> usize {
    let all = tree(data);
    for path in &all {
        let metadata = std::fs::metadata(path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{}", path.display());
    }
    all.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_killed_anywhere_is_completed_by_the_next_one() {
    const KILLS: usize = 20;
    let mut stages = std::collections::BTreeMap::<usize, usize>::new();
    let mut files = 0;
    for kill in 0..KILLS {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let mut child = gatemint()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Progress is what appears in the directory: its own entry first, the first password last. Then a little more.
        let goal = if kill < 12 { kill } else { 9 + kill % 3 };
        let mut spins = 20_000_u64;
        while spins > 0 && (!data.exists() || tree(&data).len() < goal) {
            spins -= 1;
        }
        for _ in 0..random(200) {
            std::hint::black_box(data.exists());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let stage = if data.exists() { tree(&data).len() } else { 0 };
        *stages.entry(stage).or_default() += 1;
        if data.exists() {
            assert_private(&data);
        }

        let serve = Serve::start(&data);
        let asking = Asking::at(&serve.url);
        let admin = asking.admin(&data).await;
        assert_eq!(asking.v1(Method::GET, "/v1/me", &admin.access, None).await.json["name"], "admin");
        assert_eq!(asking.refresh(&admin.refresh).await.status, StatusCode::OK);
        files += assert_private(&data);
        // (The vault may keep a draft: a second name of the secret that it became, gone when that is next written.)
        let leftovers: Vec<_> = tree(&data)
            .into_iter()
            .filter(|path| path.parent() == Some(&data))
            .filter(|path| path.extension().is_some_and(|end| end == "new"))
            .collect();
        assert!(leftovers.is_empty(), "kill {kill} at {stage}: {leftovers:?}");
        // Killed again, it is as it was.
        serve.kill();
        let serve = Serve::start(&data);
        Asking::at(&serve.url).admin(&data).await;
    }
    assert!(stages.len() >= 3, "the kills were spread: {stages:?}");
    println!(
        "counted: {KILLS} first starts killed with so many files there (files: kills) {stages:?}, {KILLS} completed, {files} private files"
    );
}
