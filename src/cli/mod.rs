//! The command line: what was typed becomes a call of the service, and its answer a table or JSON.
//!
//! Exit codes: 0, 1 refused or failed, 2 used wrongly. Errors go to stderr and say what to do next.

mod acl;
mod agent;
mod ago;
mod ask;
mod backup;
mod clients;
mod credential;
mod door;
mod gate_tokens;
mod identity;
mod inspect;
mod keys;
mod link;
pub mod listener;
mod log_queue;
mod login;
mod metrics;
mod mirror;
mod options;
mod output;
mod passed_config;
mod password;
mod plain_file;
mod serve;
mod service_accounts;
mod shell;
mod sites;
mod stop_signals;
mod token;
mod tokens;
mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    client::ClientError,
    domain::{Refusal, RefusalKind},
    settings::{Mistakes, Settings},
    wiring::WiringError,
};

const EXAMPLES: &str = "\
With --data, GATEMINT_DATA or GATEMINT_STORE a command works on the state itself; else over HTTP, with the login.
Where there is none, GATEMINT_PASSED_CONFIG (or APOLO_ or NEURO_PASSED_CONFIG) may hold a service account's full token.

Examples:
  gatemint serve
  gatemint login --url https://auth.example.org
  gatemint token
  gatemint user create ada --role analysts --generate --data .gatemint
  gatemint client create ci --data .gatemint
  gatemint tokens list --account ada --data .gatemint
  gatemint link --allow '/reports/*' --then /reports/q3
  gatemint service-account create --name test
  gatemint acl grant job:mytestjob ada/service-accounts/test read
  gatemint token inspect --jwks http://127.0.0.1:9000/.well-known/jwks.json < access-token";

/// With the commit, where it is known: `0.1.0 (3f2a9c1d4b5e 2026-11-22)`.
const VERSION: &str = env!("VERSION_AND_COMMIT");

const LOGIN_EXAMPLES: &str = "\
Examples:
  gatemint login --url https://auth.example.org
  gatemint login --username ci --password-stdin --offline < password-file";

/// A token service: a username and password, or a refresh token, become a short-lived JWT.
#[derive(Parser)]
#[command(name = "gatemint", version = VERSION, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
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
    /// The service's URL, for `login` [default: the last login's, else http://127.0.0.1:9000]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "data")]
    url: Option<String>,
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
    /// Keep files with a token that is always fresh
    #[command(after_help = agent::EXAMPLES)]
    Agent(agent::Agent),
    /// Sign in over HTTP; the login is kept for the commands below
    #[command(after_help = LOGIN_EXAMPLES)]
    Login(login::Login),
    /// End the session of the login, and forget it
    Logout {
        /// Only forget it here, whether the service can be reached or not
        #[arg(long)]
        forget: bool,
    },
    /// Show who is signed in
    Whoami,
    /// Change one's password; ends all one's other sessions
    Passwd(login::Passwd),
    /// Print a fresh access token, or look into any token
    #[command(
        after_help = "Example:\n  gatemint token | sed 's/^/Authorization: Bearer /' | curl -H @- http://127.0.0.1:9000/v1/me"
    )]
    Token {
        #[command(subcommand)]
        command: Option<token::Token>,
    },
    /// Make, show, change and end users
    #[command(subcommand)]
    User(users::User),
    /// Make, show, change and end OAuth clients
    #[command(subcommand)]
    Client(clients::Client),
    /// Make, show, change and end sites: which hosts are which resources
    #[command(subcommand)]
    Site(sites::Site),
    /// Give, take away, list and check permissions
    #[command(subcommand)]
    Acl(acl::Acl),
    /// Make, show and end service accounts, for programs, and their long-lived tokens
    ServiceAccount(service_accounts::ServiceAccounts),
    /// Make an identity for a client elsewhere, which requests short-lived tokens for itself, and say what it may do
    #[command(subcommand)]
    Identity(identity::Identity),
    /// Print a short-lived token in the form that another program takes
    #[command(subcommand)]
    Credential(credential::Credential),
    /// Make, show and end gate tokens: each opens the URLs that it names, and nothing else
    #[command(subcommand)]
    GateToken(gate_tokens::GateToken),
    /// Make a link that opens URLs in a browser, without a password
    Link(link::Link),
    /// List and rotate the signing keys
    #[command(subcommand)]
    Key(keys::Key),
    /// Show live tokens, or end one
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Write store and vault, as they are at one moment, into one file
    Backup(backup::Backup),
    /// Make a data directory from a backup
    Restore(backup::Restore),
    /// Print what makes a shell complete gatemint's commands
    Completions(shell::Completions),
    /// Print the manual page, or write the pages of all commands
    Man(shell::Man),
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
    /// The service that was asked over HTTP refused, or cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something of the machine failed.
    #[error("{0}")]
    Failed(String),
    /// The answer was printed, and it is no.
    #[error("the answer is no")]
    AnsweredNo,
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
            Self::Wiring(_) | Self::Refused(_) | Self::Client(_) | Self::Failed(_) | Self::AnsweredNo => {
                ExitCode::from(1)
            }
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
    let outcome = run(cli).and_then(|()| output::all_printed());
    // Before an error is told: it is what was last.
    output::finish_log();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ CliError::AnsweredNo) => error.exit_code(),
        Err(error) => {
            output::error(&error.to_string(), error.cause().as_deref());
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    // These are of use before anything is set, and run while a shell starts.
    match &cli.command {
        Command::Completions(completions) => return completions.run(),
        Command::Man(man) => return man.run(),
        _ => {}
    }
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
            Command::Agent(agent) => agent.run(&global, &settings).await,
            Command::Login(login) => login.run(&global).await,
            Command::Logout { forget } => login::logout(&global, forget).await,
            Command::Whoami => login::whoami(&global).await,
            Command::Passwd(passwd) => passwd.run(&global).await,
            Command::Token { command } => token::run(command, &global).await,
            Command::User(user) => user.run(&global, &settings).await,
            Command::Client(client) => client.run(&global, &settings).await,
            Command::Site(site) => site.run(&global, &settings).await,
            Command::Acl(acl) => acl.run(&global, &settings).await,
            Command::ServiceAccount(accounts) => accounts.run(&global, &settings).await,
            Command::Identity(identity) => identity.run(&global, &settings).await,
            Command::Credential(credential) => credential.run(&global).await,
            Command::GateToken(gate_token) => gate_token.run(&global, &settings).await,
            Command::Link(link) => link.run(&global, &settings).await,
            Command::Key(key) => key.run(&global, &settings).await,
            Command::Tokens(tokens) => tokens.run(&global, &settings).await,
            Command::Backup(backup) => backup.run(&global, &settings).await,
            Command::Restore(restore) => restore.run(&global, &settings).await,
            Command::Completions(_) | Command::Man(_) => Ok(()),
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
