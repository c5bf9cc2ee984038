//! What a start of the deployed artefact costs, beside a bare lambda_http hello-world in the same run: child processes,
//! fed by a Runtime API, the function's state in a stand-in for DynamoDB and Secrets Manager in this process.
//!
//! `tests/bench/cold_start` runs it; a plain `cargo bench` passes it by. Times of the stand-in's own are no one's here:
//! what is compared is the processor time of the children.
#![expect(clippy::unwrap_used, reason = "a measurement that meets what it did not expect is worth nothing")]
#![expect(clippy::print_stdout, reason = "tables are what this is for")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod starting;
mod table;

const USAGE: &str = "tests/bench/cold_start [--starts N] [--readme]
  --starts N  how often each is started (3 to 200) [default: 20]
  --readme    write the table into README.md";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if arguments.next().as_deref() != Some("now") {
        return println!("cold_start: not part of `cargo bench`; run tests/bench/cold_start");
    }
    let (mut starts, mut readme) = (20, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--starts" => match arguments.next().and_then(|starts| starts.parse().ok()) {
                Some(given @ 3..=200) => starts = given,
                _ => return println!("{USAGE}"),
            },
            "--readme" => readme = true,
            _ => return println!("{USAGE}"),
        }
    }
    // One thread: a child has a core for itself.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (rows, notes) = runtime.block_on(starting::measure(starts));
    table::publish("cold_start", &rows, &notes, readme);
}
