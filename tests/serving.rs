//! Connections: none is held for ever, none keeps the others out, and the end comes when it is asked for.

// What the process measures, and whom it tells.
mod metrics;
// The real program: its end, its descriptors, a log that nobody reads.
mod program;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use gatemint::cli::listener::{Limits, serve};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

/// What must not be the reason that a connection ends.
const LONG: Duration = Duration::from_mins(10);
/// What is.
const SHORT: Duration = Duration::from_millis(400);
/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Limits that nobody meets.
fn wide() -> Limits {
    Limits {
        connections: 100,
        per_peer: 100,
        exempt: |_| false,
        head_time: LONG,
        idle_time: LONG,
        write_time: LONG,
        stop_time: LONG,
        ..Limits::usual()
    }
}

/// A service of our own behind the listener.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
    /// `/slow` was asked for.
    begun: Arc<Notify>,
    /// Lets `/slow` answer.
    go: Arc<Notify>,
}

impl Running {
    async fn with(limits: Limits) -> Self {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (asked, answer) = (begun.clone(), go.clone());
        let slow = async move || {
            asked.notify_one();
            answer.notified().await;
            "slow"
        };
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(slow))
            .route("/echo", post(async |body: Bytes| body))
            // More than any socket takes at once.
            .route("/long", get(async || Body::from(vec![b'x'; 64 << 20])));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self { address, stop, ended, begun, go }
    }

    fn connect(&self) -> Peer {
        Peer::at(self.address)
    }

    /// Asks for the end and waits for it.
    async fn ends(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it ends").unwrap();
    }
}

/// A client that does as it is told, byte by byte.
struct Peer(TcpStream);

impl Peer {
    fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn say(&mut self, text: &str) -> &mut Self {
        // Whoever was closed already hears of it when he reads.
        let _ = self.0.write_all(text.as_bytes());
        self
    }

    fn ask(&mut self, path: &str) -> &mut Self {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    /// The next answer's status and body; none if the connection was closed before it.
    fn hear(&mut self) -> Option<(u16, String)> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) if head.is_empty() => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length =
            head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Some((head[9..12].parse().unwrap(), String::from_utf8(body).unwrap()))
    }

    #[track_caller]
    fn hears(&mut self, status: u16, body: &str) {
        assert_eq!(self.hear(), Some((status, body.to_owned())));
    }

    #[track_caller]
    fn is_closed(&mut self) {
        assert_eq!(self.hear(), None, "the connection is closed without another word");
    }

    /// Whether nothing comes for a moment.
    fn hears_nothing_yet(&mut self) -> bool {
        self.0.set_read_timeout(Some(SHORT)).unwrap();
        let quiet = self.0.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_and_one_that_never_begins_are_waited_for_only_so_long() {
    let running = Running::with(Limits { head_time: SHORT, ..wide() }).await;
    let mut silent = running.connect();
    let mut halting = running.connect();
    halting.say("GET / HTTP/1.1\r\nX: ");
    // Every byte is in time, the head is not.
    let mut drip = Peer(halting.0.try_clone().unwrap());
    let dripping = std::thread::spawn(move || {
        while drip.0.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // The first head in time, the second one not: each has its own time.
    let mut second = running.connect();
    second.ask("/").hears(200, "hello");
    second.say("GET / HT");
    silent.is_closed();
    halting.is_closed();
    second.is_closed();
    dripping.join().unwrap();
    running.connect().ask("/").hears(200, "hello");
    running.ends().await;
    println!("counted: 3 slow heads cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_lie_idle_for_a_while_and_an_answer_in_the_making_is_not_idle() {
    let running = Running::with(Limits { idle_time: SHORT, ..wide() }).await;
    let mut idle = running.connect();
    for _ in 0..3 {
        idle.ask("/").hears(200, "hello");
    }
    let mut waiting = running.connect();
    waiting.ask("/slow");
    running.begun.notified().await;
    let mut sending = running.connect();
    sending.say("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
    idle.is_closed();
    assert!(waiting.hears_nothing_yet() && sending.hears_nothing_yet());
    running.go.notify_one();
    waiting.hears(200, "slow");
    sending.say("dy").hears(200, "body");
    waiting.is_closed();
    sending.is_closed();
    running.ends().await;
    println!("counted: 3 idle connections closed, none that was at something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_its_answer_gives_its_place_back() {
    // One that reads nothing, and one that reads a little all the time.
    for (limits, reads) in
        [(Limits { write_time: SHORT, ..wide() }, false), (Limits { idle_time: SHORT * 2, ..wide() }, true)]
    {
        let running = Running::with(Limits { connections: 1, ..limits }).await;
        let mut deaf = running.connect();
        deaf.ask("/long");
        let reading = std::thread::spawn(move || {
            if reads {
                while deaf.0.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            deaf
        });
        // There is one place: this one is heard when the other was given up.
        running.connect().ask("/").hears(200, "hello");
        drop(reading.join().unwrap());
        running.ends().await;
    }
    println!("counted: 2 peers given up that did not read what they asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_places_are_taken_newcomers_wait_and_nobody_is_harmed() {
    let running = Running::with(Limits { connections: 3, ..wide() }).await;
    let mut inside: Vec<_> = (0..3).map(|_| running.connect()).collect();
    for peer in &mut inside {
        peer.ask("/").hears(200, "hello");
    }
    let mut outside: Vec<_> = (0..10).map(|_| running.connect()).collect();
    for peer in &mut outside {
        peer.ask("/");
    }
    assert!(outside[0].hears_nothing_yet());
    for peer in &mut inside {
        peer.ask("/").hears(200, "hello");
    }
    // One after another comes in as others leave.
    drop(inside);
    for mut peer in outside {
        peer.hears(200, "hello");
    }
    running.ends().await;
    println!("counted: 10 newcomers waited for 3 places and were answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_cannot_take_all_places() {
    let running = Running::with(Limits { per_peer: 4, ..wide() }).await;
    let mut inside: Vec<_> = (0..4).map(|_| running.connect()).collect();
    for peer in &mut inside {
        peer.ask("/").hears(200, "hello");
    }
    for _ in 0..20 {
        running.connect().ask("/").is_closed();
    }
    for peer in &mut inside {
        peer.ask("/").hears(200, "hello");
    }
    inside.pop();
    // The listener learns of the end a moment later.
    let mut tries = 0;
    while running.connect().ask("/").hear().is_none() {
        tries += 1;
        assert!(tries < 10_000, "the place came back");
    }
    running.ends().await;

    let running = Running::with(Limits { per_peer: 1, exempt: |peer| peer.is_loopback(), ..wide() }).await;
    let mut many: Vec<_> = (0..20).map(|_| running.connect()).collect();
    for peer in &mut many {
        peer.ask("/").hears(200, "hello");
    }
    running.ends().await;
    println!("counted: 20 connections of one peer too many closed, 20 of an exempt one served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_a_length() {
    let running = Running::with(Limits { head_bytes: 16 << 10, ..wide() }).await;
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    running.connect().say(&head(15 << 10)).hears(200, "hello");
    let mut refused = 0;
    for too_long in
        [head(17 << 10), head(1 << 20), format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20 << 10))]
            .into_iter()
            .chain([format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: x\r\n".repeat(200))])
    {
        // Whoever sends on while he is refused may hear nothing but the end.
        let answer = running.connect().say(&too_long).hear();
        assert!(answer.as_ref().is_none_or(|(status, _)| *status == 431), "{answer:?}");
        refused += 1;
    }
    // In one packet there is no such excuse, nor where nothing ends it.
    running.connect().say(&head(17 << 10)[..=16 << 10]).hears(431, "");
    running.ends().await;
    println!("counted: {} heads that are too long refused", refused + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_answers_but_not_for_those_who_do_not_ask() {
    // Time enough for the one who is in time, on a machine that is busy.
    let running = Running::with(Limits { stop_time: Duration::from_secs(4), ..wide() }).await;
    let mut idle = running.connect();
    idle.ask("/").hears(200, "hello");
    let mut half_a_head = running.connect();
    half_a_head.say("GET / HTTP/1.1\r\nHo");
    let mut half_a_second = running.connect();
    half_a_second.ask("/").hears(200, "hello");
    half_a_second.say("GET / HTTP/1.1\r\nHo");
    let mut half_a_body = running.connect();
    half_a_body.say("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
    let mut in_time = running.connect();
    in_time.say("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
    let mut silent = running.connect();
    let mut slow = running.connect();
    slow.ask("/slow");
    running.begun.notified().await;

    let Running { address, stop, ended, go, .. } = running;
    stop.send(()).unwrap();
    in_time.say("dy").hears(200, "body");
    idle.is_closed();
    silent.is_closed();
    half_a_head.is_closed();
    half_a_second.is_closed();
    half_a_body.is_closed();
    assert!(TcpStream::connect(address).is_err(), "nobody new comes in");
    assert!(!ended.is_finished(), "one answer is under way");
    go.notify_one();
    slow.hears(200, "slow");
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends").unwrap();
    println!("counted: 5 connections closed at the end without an answer that was not asked for, 2 answered");
}
