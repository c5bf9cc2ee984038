//! What the service costs on top of what cannot be saved: each figure beside a floor of the same run.
//!
//! Nothing here fails because of a time: a target that is missed is printed as such.
#![expect(clippy::unwrap_used, reason = "a measurement that meets what it did not expect is worth nothing")]
#![expect(clippy::print_stdout, reason = "tables are what this is for")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod accounts;
mod commits;
mod floor;
mod grants;
mod local;
mod matching;
mod measure;
mod steps;
mod table;
mod verification;

use gatemint::domain::key::Algorithm;

const USAGE: &str = "cargo bench [--bench ratios] [-- [--readme | --steps]]
  --readme  write the table into README.md
  --steps   where a refresh's time goes, and matching's, step by step";

fn main() {
    let (mut readme, mut steps) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => {}
            "--readme" => readme = true,
            "--steps" => steps = true,
            _ => return println!("{USAGE}"),
        }
    }
    local::log_into_nothing();
    if steps {
        return steps::run();
    }
    let mut rows: Vec<_> = Algorithm::ALL.into_iter().map(grants::refresh).collect();
    rows.push(grants::password());
    rows.extend(Algorithm::ALL.into_iter().map(verification::token));
    rows.push(verification::me());
    for alg in [Algorithm::ES256, Algorithm::RS256] {
        rows.push(verification::gate(alg, false));
        rows.push(verification::gate(alg, true));
    }
    rows.push(verification::gate_beside_nothing());
    rows.extend(accounts::at_the_door());
    rows.push(accounts::token_request());
    rows.extend(accounts::decisions());
    rows.push(matching::row());
    rows.extend(commits::rows());
    table::publish("ratios", &rows, &[], readme);
}
