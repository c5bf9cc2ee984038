//! The deployed artefact: one of the functions, told which by its environment.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatemint::lambda::main()
}
