//! The whole run: both servers for each algorithm, in turns, and what is made of it.

use std::{net::SocketAddr, path::Path, time::Duration};

use gatemint::domain::key::Algorithm;

use super::{
    child::{Server, gatemint},
    client::Connection,
    turn::{Ask, Outcome, turn},
};
use crate::{floor::Pair, table::Row};

const CHAINS: usize = 64;
const CONNECTIONS: [usize; 2] = [64, 16];
/// Each figure is measured in so many turns of each side.
const TURNS: u32 = 5;

/// Durable refreshes, in the prototype's.
const REFRESHES: f64 = 0.8;
/// What the signatures alone would allow, in ours.
const SIGNATURES: f64 = 1.3;
/// Of 100 requests on 16 connections 99 are answered within so many milliseconds.
const P99: f64 = 5.0;
/// The most resident memory outside of hashing, in millions of bytes.
const MEMORY: f64 = 25.0;

/// The median of a few figures, and the least and the largest of them.
struct Few {
    least: f64,
    median: f64,
    most: f64,
}

impl Few {
    fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self { least: figures[0], median: figures[figures.len() / 2], most: figures[figures.len() - 1] }
    }
}

impl std::fmt::Display for Few {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

/// What was found for one kind of request on so many connections.
struct Cell {
    alg: Algorithm,
    kind: &'static str,
    connections: usize,
    signatures: Vec<f64>,
    prototype: Vec<Outcome>,
    ours: Vec<Outcome>,
}

/// Latency in milliseconds: so many of a thousand are answered within it.
fn within(outcomes: &[Outcome], of_a_thousand: usize) -> f64 {
    let mut all: Vec<u32> = outcomes.iter().flat_map(|outcome| outcome.latencies.iter().copied()).collect();
    all.sort_unstable();
    all.get(all.len() * of_a_thousand / 1000).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
}

fn rates(outcomes: &[Outcome]) -> Few {
    Few::of(outcomes.iter().map(Outcome::rate))
}

/// Processor time of the server for each request, in microseconds.
fn cpu(outcomes: &[Outcome]) -> f64 {
    let requests: f64 = outcomes.iter().map(|outcome| outcome.rate() * outcome.seconds).sum();
    outcomes.iter().map(|outcome| outcome.cpu).sum::<f64>() * 1e6 / requests
}

fn side(outcomes: &[Outcome]) -> String {
    let (p50, p99) = (within(outcomes, 500), within(outcomes, 990));
    format!("{:.0}/s, p50 {p50:.1}, p99 {p99:.1} ms, CPU {:.0} µs", rates(outcomes).median, cpu(outcomes))
}

impl Cell {
    fn what(&self) -> String {
        format!("{}, {}, {} connections", self.kind, self.alg, self.connections)
    }

    fn is_refresh(&self) -> bool {
        self.kind == "refresh"
    }

    fn rows(&self) -> Vec<Row> {
        let ratio = Few::of(self.ours.iter().zip(&self.prototype).map(|(ours, floor)| ours.rate() / floor.rate()));
        let mut rows = vec![Row {
            what: format!("{}; beside a bare prototype", self.what()),
            floor: side(&self.prototype),
            ours: side(&self.ours),
            against: ratio.to_string(),
            target: if self.is_refresh() { format!("≥ {REFRESHES}") } else { String::new() },
            met: self.is_refresh().then_some(ratio.median >= REFRESHES),
        }];
        if self.alg == Algorithm::RS256 && self.connections == CONNECTIONS[0] {
            let ratio = Few::of(self.ours.iter().zip(&self.signatures).map(|(ours, floor)| floor / ours.rate()));
            rows.push(Row {
                what: format!("{}; beside signatures on all cores and nothing else", self.what()),
                floor: format!("{:.0}/s", Few::of(self.signatures.iter().copied()).median),
                ours: format!("{:.0}/s", rates(&self.ours).median),
                against: ratio.to_string(),
                target: format!("≤ {SIGNATURES}"),
                met: Some(ratio.median <= SIGNATURES),
            });
        }
        if self.connections == CONNECTIONS[1] {
            let (floor, ours) = (within(&self.prototype, 990), within(&self.ours, 990));
            rows.push(Row {
                what: format!("{}; p99", self.what()),
                floor: format!("{floor:.1} ms"),
                ours: format!("{ours:.1} ms"),
                against: format!("{:.2}", ours / floor),
                target: format!("≤ {P99:.0} ms"),
                met: Some(ours <= P99),
            });
        }
        rows
    }
}

/// Every table row, and what is to be said below the table.
pub(crate) async fn all(algorithms: &[Algorithm], time: Duration, log: bool) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let mut requests = 0;
    for alg in algorithms {
        let (cells, memory) = measure(*alg, time, log).await;
        for cell in &cells {
            rows.extend(cell.rows());
            for (server, outcomes) in [("gatemint", &cell.ours), ("the prototype", &cell.prototype)] {
                requests += outcomes.iter().map(|outcome| outcome.latencies.len()).sum::<usize>();
                let errors: u64 = outcomes.iter().map(|outcome| outcome.errors).sum();
                let first = outcomes.iter().find_map(|outcome| outcome.first_error.as_deref()).unwrap_or_default();
                if errors > 0 {
                    notes.push(format!("**{errors} errors** of {server}, {}; the first: {first}", cell.what()));
                }
            }
        }
        rows.push(memory);
    }
    let errors = if notes.is_empty() { "without an error" } else { "and the errors above" };
    notes.push(format!("{requests} right answers, each checked, {errors}."));
    if !log {
        notes.push("gatemint ran without its log.".into());
    }
    (rows, notes)
}

async fn measure(alg: Algorithm, time: Duration, log: bool) -> (Vec<Cell>, Row) {
    // On the disk that is built on: a temporary directory may be memory, where nothing is ever durable.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    // Signing in hashes passwords, which takes a block of memory that stays. The process under load never hashes.
    let first = Server::gatemint(&data, alg, log);
    let client = make_client(&data);
    let password = std::fs::read_to_string(data.join("admin-password")).unwrap();
    let mut ours_chains = sign_in(first.address, &password).await;
    let hashing = first.peak_memory();
    drop(first);
    let ours = Server::gatemint(&data, alg, log);
    let prototype = Server::prototype(directory.path(), alg);
    let mut prototype_chains = sign_in(prototype.address, "anything").await;

    let mut cells = Vec::new();
    for (kind, ask) in [("refresh", Ask::Refresh), ("client_credentials", Ask::ClientCredentials(client))] {
        for connections in CONNECTIONS {
            let mut cell =
                Cell { alg, kind, connections, signatures: Vec::new(), prototype: Vec::new(), ours: Vec::new() };
            for _ in 0..TURNS {
                let time = time / TURNS;
                cell.signatures.push(signatures(alg, time / 4));
                cell.prototype.push(turn(&prototype, &ask, &mut prototype_chains, connections, time).await);
                cell.ours.push(turn(&ours, &ask, &mut ours_chains, connections, time).await);
            }
            println!("{}: {} beside {}", cell.what(), side(&cell.ours), side(&cell.prototype));
            cells.push(cell);
        }
    }
    let megabytes = |bytes: u64| f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0;
    let (peak, floor) = (megabytes(ours.peak_memory()), megabytes(prototype.peak_memory()));
    let memory = Row {
        what: format!("peak resident memory outside of hashing, {alg}"),
        floor: format!("{floor:.1} MB"),
        ours: format!("{peak:.1} MB ({:.1} MB once passwords were hashed)", megabytes(hashing)),
        against: format!("+{:.1} MB", peak - floor),
        target: format!("≤ {MEMORY:.0} MB"),
        met: Some(peak <= MEMORY),
    };
    (cells, memory)
}

/// Opens the sessions whose refresh tokens are the chains.
async fn sign_in(address: SocketAddr, password: &str) -> Vec<String> {
    let mut connection = Connection::open(address).await.unwrap();
    let mut chains = Vec::with_capacity(CHAINS);
    for _ in 0..CHAINS {
        let form = ["grant_type=password&username=admin&password=", password.trim()];
        let answer = connection.post(&form).await.unwrap();
        let Some(token) = answer.text("refresh_token") else { panic!("no session: {}", answer.explanation()) };
        chains.push(token.to_owned());
    }
    chains
}

/// Makes a client for `client_credentials`; the parameters that show who it is.
fn make_client(data: &Path) -> String {
    let mut command = gatemint();
    command.args(["client", "create", "load", "--grant", "client_credentials", "--json", "--data"]).arg(data);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let view: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    format!("client_id=load&client_secret={}", view["secret"].as_str().unwrap())
}

/// Signatures per second on all cores.
fn signatures(alg: Algorithm, time: Duration) -> f64 {
    let pair = Pair::generate(alg);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let message = "m".repeat(700);
    std::thread::scope(|scope| {
        let sign = || {
            let begun = std::time::Instant::now();
            let mut signed = 0.0;
            while begun.elapsed() < time {
                std::hint::black_box(pair.sign(message.as_bytes()));
                signed += 1.0;
            }
            signed / begun.elapsed().as_secs_f64()
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(sign)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}
