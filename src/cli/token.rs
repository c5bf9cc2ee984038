//! `gatemint token`: a fresh one of the login, or a look into any.

use clap::Subcommand;

use super::{CliError, Global, inspect::Inspect, login};

#[derive(Subcommand)]
pub(super) enum Token {
    /// Show what any JWT says, and whether it is valid
    Inspect(Inspect),
}

pub(super) async fn run(command: Option<Token>, global: &Global) -> Result<(), CliError> {
    match command {
        Some(Token::Inspect(inspect)) => inspect.run(global).await,
        None => login::token(global).await,
    }
}
