//! The command line: what was typed becomes a call of the service, and its answer a table or JSON.
//!
//! Exit codes: 0, 1 refused or failed, 2 used wrongly. Errors go to stderr and say what to do next.

mod backup;
mod clients;
mod door;
pub mod listener;
mod log_queue;
mod metrics;
mod output;
mod password;
mod serve;
mod tokens;
mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    domain::{Refusal, RefusalKind},
    settings::{Mistakes, Settings},
    wiring::WiringError,
};

const EXAMPLES: &str = "\
Examples:
  gatemint serve
  gatemint user create ada --role analysts --generate --data .gatemint
  gatemint client create ci --data .gatemint
  gatemint tokens list --account ada --data .gatemint";

/// A token service: a username and password, or a refresh token, become a short-lived JWT.
#[derive(Parser)]
#[command(name = "gatemint", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// The data directory: work on the state itself [env: GATEMINT_DATA]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    /// Never ask; a missing answer is an error
    #[arg(long, global = true)]
    no_input: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service on this machine
    Serve(serve::Serve),
    /// Make, show, change and end users
    #[command(subcommand)]
    User(users::User),
    /// Make, show, change and end OAuth clients
    #[command(subcommand)]
    Client(clients::Client),
    /// Show the live tokens of a user, or end one
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Write store and vault, as they are at one moment, into one file
    Backup(backup::Backup),
    /// Make a data directory from a backup
    Restore(backup::Restore),
}

/// Why a command did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// It was used wrongly.
    #[error("{0}")]
    Usage(String),
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] Mistakes),
    /// There is no service to ask.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The service refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Something of the machine failed.
    #[error("{0}")]
    Failed(String),
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl CliError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Settings(_) | Self::Wiring(WiringError::NoStore | WiringError::Half(..)) => {
                ExitCode::from(2)
            }
            Self::Wiring(_) | Self::Refused(_) | Self::Failed(_) => ExitCode::from(1),
        }
    }

    /// The cause that the operator sees: on the command line she is the operator.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) if refusal.kind == RefusalKind::Unavailable => {
                refusal.source.as_ref().map(ToString::to_string)
            }
            _ => None,
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = run(cli);
    // Before an error is told: it is what was last.
    output::finish_log();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error.to_string(), error.cause().as_deref());
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let mut settings = Settings::read(std::env::vars_os().filter_map(|(name, value)| {
        // A variable that is not UTF-8 is none of ours: our names are.
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    }))?;
    if cli.global.data.is_some() {
        // What is typed wins over what is set.
        settings.data.clone_from(&cli.global.data);
        (settings.store, settings.vault) = (None, None);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("the runtime did not start: {error}")))?;
    let global = cli.global;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => serve.run(settings).await,
            Command::User(user) => user.run(&global, &settings).await,
            Command::Client(client) => client.run(&global, &settings).await,
            Command::Tokens(tokens) => tokens.run(&global, &settings).await,
            Command::Backup(backup) => backup.run(&global, &settings).await,
            Command::Restore(restore) => restore.run(&global, &settings).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
