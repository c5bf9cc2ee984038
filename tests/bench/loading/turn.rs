//! One server's turn: so many connections keep it busy for so long, and every answer is checked.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{child::Server, client::Connection};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Refreshes; each connection moves its part of the chains on, one after another.
    Refresh,
    /// A client's own tokens; the parameters that show who it is.
    ClientCredentials(String),
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Of every right answer, in microseconds.
    pub(crate) latencies: Vec<u32>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    /// The server's processor time, in seconds.
    pub(crate) cpu: f64,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.latencies.len()).unwrap_or(u32::MAX)) / self.seconds
    }

    fn failed(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Keeps a server busy. `chains` are the refresh tokens that are current; they come back moved on.
pub(crate) async fn turn(
    server: &Server,
    ask: &Ask,
    chains: &mut Vec<String>,
    connections: usize,
    time: Duration,
) -> Outcome {
    let mut shares: Vec<Vec<String>> = vec![Vec::new(); connections];
    for (n, chain) in chains.drain(..).enumerate() {
        shares[n % connections].push(chain);
    }
    let (begun, cpu) = (Instant::now(), server.cpu_time());
    let mut tasks = JoinSet::new();
    for share in shares {
        tasks.spawn(keep_asking(server.address, ask.clone(), share, begun + time));
    }
    let mut all = Outcome::default();
    while let Some(ended) = tasks.join_next().await {
        let (outcome, share) = ended.unwrap();
        all.add(outcome);
        chains.extend(share);
    }
    all.seconds = begun.elapsed().as_secs_f64();
    all.cpu = server.cpu_time() - cpu;
    all
}

async fn keep_asking(address: SocketAddr, ask: Ask, mut share: Vec<String>, until: Instant) -> (Outcome, Vec<String>) {
    let mut outcome = Outcome::default();
    let mut connection = None;
    let mut next = 0;
    while Instant::now() < until {
        let open = match &mut connection {
            Some(open) => open,
            None => match Connection::open(address).await {
                Ok(opened) => connection.insert(opened),
                Err(error) => {
                    outcome.failed(error.to_string());
                    // Nobody is there: asking without a pause would only count errors.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let begun = Instant::now();
        let asked = match &ask {
            Ask::Refresh => {
                let n = next % share.len();
                next += 1;
                refresh(open, &mut share[n]).await
            }
            Ask::ClientCredentials(client) => own_token(open, client).await,
        };
        match asked {
            Ok(None) => outcome.latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Ok(Some(why)) => outcome.failed(why),
            Err(error) => {
                outcome.failed(error.to_string());
                connection = None;
            }
        }
    }
    (outcome, share)
}

/// Moves a chain on; what was wrong with the answer, if anything.
async fn refresh(connection: &mut Connection, chain: &mut String) -> std::io::Result<Option<String>> {
    let answer = connection.post(&["grant_type=refresh_token&refresh_token=", chain]).await?;
    let (access, successor) = (answer.text("access_token"), answer.text("refresh_token"));
    match (answer.status, access, successor) {
        (200, Some(access), Some(successor)) if is_jwt(access) && successor != chain => {
            let successor = successor.to_owned();
            *chain = successor;
            Ok(None)
        }
        _ => Ok(Some(answer.explanation())),
    }
}

async fn own_token(connection: &mut Connection, client: &str) -> std::io::Result<Option<String>> {
    let answer = connection.post(&["grant_type=client_credentials&", client]).await?;
    let right = answer.status == 200 && answer.text("access_token").is_some_and(is_jwt);
    Ok((!right).then(|| answer.explanation()))
}

fn is_jwt(token: &str) -> bool {
    token.len() > 300 && token.bytes().filter(|byte| *byte == b'.').count() == 2
}
