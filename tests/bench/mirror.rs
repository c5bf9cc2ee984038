//! `refresh-secrets` over thousands of namespaces, beside what no mirror can do without: a signature for each token, a write
//! for each secret, and beside itself with fewer of them.
//!
//! `tests/bench/mirror` runs it, since it needs an emulator.
#![expect(clippy::unwrap_used, reason = "a measurement that meets what it did not expect is worth nothing")]
#![expect(clippy::print_stdout, reason = "tables are what this is for")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

#[path = "../support/emulator.rs"]
#[expect(dead_code, reason = "the tests' other emulator is not needed here")]
mod emulator;
mod floor;
#[path = "../support/many.rs"]
mod many;
mod measure;
mod mirroring;
mod table;

const USAGE: &str = "tests/bench/mirror [--readme]
  --readme  write the table into README.md";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("now") => {}
        // This very program, to see how much memory it takes.
        Some("memory") => {
            let count = arguments.next().unwrap().parse().unwrap();
            return mirroring::memory::child(arguments.next().unwrap().as_ref(), count);
        }
        _ => return println!("mirror: not part of `cargo bench`; run tests/bench/mirror"),
    }
    let mut readme = false;
    for argument in arguments {
        match argument.as_str() {
            "--readme" => readme = true,
            _ => return println!("{USAGE}"),
        }
    }
    let mut rows = mirroring::signatures();
    rows.extend(mirroring::writes());
    rows.push(mirroring::memory::row());
    table::publish("mirror", &rows, &[], readme);
}
