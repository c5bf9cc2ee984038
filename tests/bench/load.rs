//! Load on the real `gatemint serve`, a child process with a disk under it, beside a bare prototype in the same run.
//!
//! `tests/bench/load` runs it; a plain `cargo bench` passes it by, because it takes minutes.
#![expect(clippy::unwrap_used, reason = "a measurement that meets what it did not expect is worth nothing")]
#![expect(clippy::print_stdout, reason = "tables are what this is for")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod floor;
mod loading;
mod table;

use std::time::Duration;

use gatemint::domain::key::Algorithm;
use loading::{prototype, run};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "tests/bench/load [--seconds N] [--alg ES256|RS256|EdDSA]… [--no-log] [--readme]
  --seconds N  how long each figure is measured (2 to 60) [default: 5]
  --alg ALG    what signs (repeatable) [default: ES256 and RS256]
  --no-log     gatemint logs nothing: what its log costs is the difference
  --readme     write the table into README.md";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("now") => {}
        Some("prototype") => {
            let alg = arguments.next().as_deref().and_then(Algorithm::parse).unwrap();
            return prototype::serve(alg, arguments.next().unwrap().as_ref());
        }
        _ => return println!("load: not part of `cargo bench`; run tests/bench/load"),
    }
    let (mut seconds, mut algorithms, mut log, mut readme) = (5, Vec::new(), true, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => match arguments.next().and_then(|seconds| seconds.parse().ok()) {
                Some(given @ 2..=60) => seconds = given,
                _ => return println!("{USAGE}"),
            },
            "--alg" => match arguments.next().as_deref().and_then(Algorithm::parse) {
                Some(alg) => algorithms.push(alg),
                None => return println!("{USAGE}"),
            },
            "--no-log" => log = false,
            "--readme" => readme = true,
            _ => return println!("{USAGE}"),
        }
    }
    if algorithms.is_empty() {
        algorithms = vec![Algorithm::ES256, Algorithm::RS256];
    }
    // One thread: what the load costs is taken from the same cores that the servers run on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
        // Whichever way it ends: what is dropped here ends its child process.
        tokio::select! {
            measured = run::all(&algorithms, Duration::from_secs(seconds), log) => Some(measured),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        }
    });
    match done {
        Some((rows, notes)) => table::publish("load", &rows, &notes, readme),
        None => println!("interrupted"),
    }
}
