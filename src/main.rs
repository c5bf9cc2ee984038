//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatemint::cli::main()
}
