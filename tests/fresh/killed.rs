//! `gatemint serve`, killed while it mirrors 400 namespaces, and again: no reader ever finds half a token, and the next start
//! that is due goes on with what is left.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gatemint::{
    clock::{Clock, SystemClock, Timestamp},
    domain::{
        Policy, Service,
        fresh_token::mirror::{Outcome, refresh_secrets},
    },
    entropy::SystemEntropy,
    store::SqliteStore,
    vault::{FileVault, Vault},
};

use super::faulty::{MIRRORED, token_in};
use crate::support::{
    ISSUER,
    asking::{Asking, claims, random},
    many,
    process::{PROGRAM, Serve, without_settings},
};

const NAMESPACES: usize = 400;
/// How long to wait for something that takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// The machine's clock, and so many seconds.
struct Off(i64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add_signed(self.0))
    }
}

fn vault(data: &Path) -> FileVault {
    FileVault::open(&data.join("vault")).unwrap()
}

/// A service on a directory, with a clock that is off.
fn service(data: &Path, off: i64) -> Service {
    let store = Arc::new(SqliteStore::open(&data.join("gatemint.db")).unwrap());
    let (vault, clock) = (Arc::new(vault(data)), Arc::new(Off(off)));
    Service::new(store, vault, clock, Arc::new(SystemEntropy), Policy::new(ISSUER), 1)
}

/// `serve`, so many seconds from now by its clock, which is what the library that `faketime` preloads is for.
fn serve_later(data: &Path, seconds: i64) -> Serve {
    let printed = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output().unwrap();
    let library = String::from_utf8(printed.stdout).unwrap();
    let mut command = without_settings(Command::new(PROGRAM));
    command.env("HOME", "/nobody-is-at-home").env_remove("XDG_CONFIG_HOME");
    if seconds != 0 {
        command.env("LD_PRELOAD", library.trim()).env("FAKETIME", format!("{seconds:+}"));
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Serve::launch(command, data, &[("GATEMINT_ISSUER", ISSUER)])
}

/// When the tokens in a vault end; one that is not whole fails here.
async fn ends(vault: &FileVault) -> Vec<u64> {
    let mut ends = Vec::new();
    for name in vault.list(MIRRORED).await.unwrap() {
        let secret = vault.current(&name).await.unwrap().expect("a secret that is listed is there");
        ends.push(claims(&token_in(secret.value.expose()))["exp"].as_u64().unwrap());
    }
    ends
}

/// Waits until this one of the tokens ends later than this. It is looked at alone, since whoever is to be killed half way does
/// not wait for somebody who looks at all of them; they are written in the order of their names.
async fn until_there(vault: &FileVault, which: usize, later_than: u64) {
    let name = format!("{MIRRORED}n{which:05}");
    let waiting = async {
        loop {
            let secret = vault.current(&name).await.unwrap();
            let ends = secret.map(|secret| claims(&token_in(secret.value.expose()))["exp"].as_u64().unwrap());
            if ends.is_some_and(|ends| ends > later_than) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the mirror gets on");
}

/// Waits until so many tokens end later than this.
async fn until(vault: &FileVault, count: usize, later_than: u64) {
    let waiting = async {
        while ends(vault).await.iter().filter(|ends| **ends > later_than).count() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the mirror gets on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_killed_while_it_mirrors_400_namespaces_and_again_leaves_whole_tokens_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (mut kills, mut caught_half_way) = (0, 0);
    let reads = Arc::new(AtomicUsize::new(0));
    // With nothing in the vault, and with tokens there that have five minutes left.
    for old in [false, true] {
        let data = home.path().join(if old { "old" } else { "new" });
        // An hour ago, so that its keys are good for what was signed since.
        serve_later(&data, -3600).terminate();
        many::mirrored(&service(&data, 0), "admin", 0..NAMESPACES).await;
        if old {
            let run = refresh_secrets(&service(&data, -25 * 60)).await.unwrap();
            assert_eq!((run.outcome, run.written), (Outcome::Done, NAMESPACES), "{run:?}");
        }
        let before = SystemClock.now().0 + 10 * 60;
        let vault = vault(&data);

        // Somebody who reads all the time, whatever happens.
        let over = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn({
            let (vault, over, reads) = (vault.clone(), over.clone(), reads.clone());
            async move {
                while !over.load(Ordering::SeqCst) {
                    let name = format!("{MIRRORED}n{:05}", random(NAMESPACES as u64));
                    let secret = vault.current(&name).await.unwrap();
                    assert!(secret.is_some() || !old, "{name} was there, and is not");
                    if let Some(secret) = secret {
                        assert!(claims(&token_in(secret.value.expose()))["exp"].is_u64());
                        reads.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });

        // A lease that a killed run leaves behind is over two minutes later.
        for (n, least) in [(0, 5), (1, 100)] {
            let goal = least + usize::try_from(random(40)).unwrap();
            let serve = serve_later(&data, n * 125);
            until_there(&vault, goal, before).await;
            serve.kill();
            kills += 1;
            let done = ends(&vault).await.iter().filter(|ends| **ends > before).count();
            caught_half_way += usize::from(done < NAMESPACES);
        }
        let serve = serve_later(&data, 250);
        until(&vault, NAMESPACES, before).await;
        let now = SystemClock.now().0 + 250;
        let left: Vec<u64> = ends(&vault).await.into_iter().map(|ends| ends.saturating_sub(now)).collect();
        assert_eq!(left.len(), NAMESPACES);
        assert!(left.iter().all(|left| *left >= 19 * 60 + 30), "{left:?}");
        let token = vault.current(&format!("{MIRRORED}n00007")).await.unwrap().unwrap();
        let me =
            Asking::at(&serve.url).v1(axum::http::Method::GET, "/v1/me", &token_in(token.value.expose()), None).await;
        assert_eq!(me.json["name"], "n00007", "{}", me.text);
        over.store(true, Ordering::SeqCst);
        reader.await.unwrap();
        serve.terminate();
    }
    assert!(caught_half_way > 0, "no kill came while it was at work");
    println!(
        "counted: {kills} kills of `serve` while it mirrored {NAMESPACES} namespaces ({caught_half_way} half way), {} reads \
         meanwhile, 0 of them torn, all {NAMESPACES} written by the next starts",
        reads.load(Ordering::SeqCst)
    );
}
