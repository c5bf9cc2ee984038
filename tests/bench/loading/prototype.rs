//! The floor: axum, a key parsed once, and durable group commits to SQLite. It believes whatever it is told, logs
//! nothing, and knows no errors: nobody would run it, and hardly anything that is right can be faster.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
    serve::ListenerExt as _,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gatemint::{
    clock::{Clock as _, SystemClock},
    domain::key::{
        Algorithm,
        jwt::{AccessClaims, Audience},
    },
    entropy::{Entropy, SystemEntropy},
};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::floor::Pair;

/// The most commits that share an fsync.
const MAX_GROUP: usize = 64;

struct Commit {
    session: String,
    generation: i64,
    done: oneshot::Sender<()>,
}

struct Prototype {
    pair: Pair,
    header: String,
    commits: mpsc::Sender<Commit>,
}

/// Answers on a free port until it is killed.
pub(crate) fn serve(alg: Algorithm, directory: &Path) {
    let (commits, inbox) = mpsc::channel();
    let database = directory.join("prototype.db");
    std::thread::spawn(move || write(database, &inbox));
    let header = format!(r#"{{"alg":"{alg}","kid":"{}","typ":"at+jwt"}}"#, "k".repeat(43));
    let prototype = Arc::new(Prototype { pair: Pair::generate(alg), header: URL_SAFE_NO_PAD.encode(header), commits });
    let router = Router::new().route("/oauth2/token", post(token)).with_state(prototype);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("prototype on http://{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|connection| {
            let _ = connection.set_nodelay(true);
        });
        axum::serve(listener, router).await.unwrap();
    });
}

fn write(database: PathBuf, inbox: &mpsc::Receiver<Commit>) {
    let connection = Connection::open(database).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    let table = "CREATE TABLE sessions (id TEXT PRIMARY KEY, generation INTEGER NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID";
    connection.execute_batch(table).unwrap();
    let body = "x".repeat(480);
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        group.extend(inbox.try_iter().take(MAX_GROUP - 1));
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for Commit { session, generation, .. } in &group {
            let mut put = connection
                .prepare_cached(
                    "INSERT INTO sessions VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET generation = excluded.generation WHERE generation = excluded.generation - 1",
                )
                .unwrap();
            put.execute(params![session, generation, body]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        for commit in group {
            let _ = commit.done.send(());
        }
    }
}

/// As long as a real one.
fn refresh_token(session: &str, generation: i64) -> String {
    format!("gmr_{session}.{generation:0>48}")
}

async fn token(State(prototype): State<Arc<Prototype>>, form: String) -> Response {
    let entropy: &dyn Entropy = &SystemEntropy;
    let random = || URL_SAFE_NO_PAD.encode(entropy.bytes::<16>());
    let value = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let refresh = match value("grant_type") {
        Some("password") => Some((random(), 0)),
        Some("refresh_token") => {
            let current = value("refresh_token").and_then(|token| token.strip_prefix("gmr_")?.split_once('.'));
            let current = current.and_then(|(session, n)| Some((session.to_owned(), n.parse::<i64>().ok()?)));
            let Some((session, generation)) = current else { return StatusCode::BAD_REQUEST.into_response() };
            Some((session, generation + 1))
        }
        _ => None,
    };
    if let Some((session, generation)) = &refresh {
        let (done, committed) = oneshot::channel();
        let commit = Commit { session: session.clone(), generation: *generation, done };
        if prototype.commits.send(commit).is_err() || committed.await.is_err() {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    let now = SystemClock.now();
    let (session, user) = (refresh.as_ref().map_or_else(random, |(session, _)| session.clone()), "admin".to_owned());
    let claims = AccessClaims {
        iss: "http://127.0.0.1:9000".into(),
        sub: random(),
        aud: Audience(vec!["http://127.0.0.1:9000".into()]),
        client_id: "gatemint".into(),
        iat: now,
        nbf: now,
        exp: now + std::time::Duration::from_mins(15),
        jti: random(),
        scope: "profile email roles".into(),
        auth_time: now,
        sid: session.clone(),
        preferred_username: user.clone(),
        identity: user.clone(),
        namespace: user,
        email: String::new(),
        roles: vec!["admin".into()],
    };
    let mut access = format!("{}.{}", prototype.header, URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap()));
    let signature = prototype.pair.sign(access.as_bytes());
    access.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut access);
    let mut reply = format!(r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":900"#);
    if let Some((session, generation)) = &refresh {
        let token = refresh_token(session, *generation);
        let _ = write!(reply, r#","refresh_token":"{token}","refresh_expires_in":604800"#);
    }
    let _ = write!(reply, r#","scope":"profile email roles","session_state":"{session}"}}"#);
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], reply).into_response()
}
