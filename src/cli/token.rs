//! `gatemint token`

use clap::Subcommand;

use super::{CliError, Global, inspect::Inspect};

#[derive(Subcommand)]
pub(super) enum Token {
    /// Show what any JWT says, and whether it is valid
    Inspect(Inspect),
}

pub(super) async fn run(command: Option<Token>, global: &Global) -> Result<(), CliError> {
    match command {
        Some(Token::Inspect(inspect)) => inspect.run(global).await,
        None => Err(CliError::Usage(
            "there is no login to take a token from; to look into one: gatemint token inspect".into(),
        )),
    }
}
