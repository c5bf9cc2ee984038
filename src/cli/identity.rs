//! `gatemint identity`: an identity for a client outside of the cluster, as Arrikto's guide has it made.

mod authorize;
mod create;
mod log;
mod steps;
mod token_file;

use std::fs;

use clap::{Args, Subcommand};

use super::{CliError, Global, ask, door::Access};
use crate::{domain::ids::Name, settings::Settings};

/// Where a pod finds the name of its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

#[derive(Subcommand)]
pub(super) enum Identity {
    /// Make a service account that requests short-lived tokens for itself, and store its long-lived token in a file
    #[command(after_help = "\
Examples:
  gatemint identity create
  gatemint identity create --service-account-name serving --service-account-namespace ada

It asks for what is missing. The token is stored in NAMESPACE-NAME.token, and what was done in service_account_creator.log,
in the current directory. Run again, it makes what is missing and keeps the rest: a stored token that is still good stays.")]
    Create {
        #[command(flatten)]
        account: Account,
    },
    /// Let a service account read, change or manage what is in a namespace
    #[command(after_help = "\
Examples:
  gatemint identity authorize --service-account-name serving
  gatemint identity authorize --service-account-name serving --namespace team --role edit

The roles are those of Kubeflow: view grants `read`, edit `write`, admin `manage`, each on job://, storage://, image://,
blob://, disk:// and flow:// of the namespace. Secrets, roles and service accounts are not among them: whoever has those
can become others; grant them by name with `gatemint acl grant`. Run it for each namespace.")]
    Authorize {
        #[command(flatten)]
        account: Account,
        /// The namespace whose resources it is about [default: the service account's]
        #[arg(short = 'n', long = "namespace", value_name = "NS")]
        of_namespace: Option<String>,
        /// What it may do there
        #[arg(long, value_enum, default_value_t = authorize::Role::View)]
        role: authorize::Role,
    },
}

/// Which service account it is about.
#[derive(Args)]
pub(super) struct Account {
    /// The name of the service account [default: asked for]
    #[arg(long = "service-account-name", value_name = "SERVICE_ACCOUNT_NAME")]
    name: Option<String>,
    /// The namespace of the service account [default: asked for; where nobody can be, the pod's namespace, or one's own]
    #[arg(long = "service-account-namespace", value_name = "SERVICE_ACCOUNT_NAMESPACE")]
    namespace: Option<String>,
}

/// A service account's name and namespace.
struct Chosen {
    namespace: Name,
    name: Name,
}

impl Identity {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        match self {
            Self::Create { account } => create::run(account, global, settings).await,
            Self::Authorize { account, of_namespace, role } => {
                authorize::run(account, of_namespace, role, global, settings).await
            }
        }
    }
}

impl Account {
    /// What was given, and else what is answered. `access`: who asks, for the usual namespace.
    ///
    /// # Errors
    /// An answer is missing, and nobody can be asked; a name that cannot be one was given.
    async fn chosen(self, access: Option<&Access>, global: &Global) -> Result<Chosen, CliError> {
        let name = self.name.map(|name| given(&name, "--service-account-name")).transpose()?;
        let namespace = self.namespace.map(|name| given(&name, "--service-account-namespace")).transpose()?;
        let name = match name {
            Some(name) => name,
            None if ask::somebody(global) => asked("What is the name of the ServiceAccount?", None)?,
            None => {
                return Err(CliError::Usage(
                    "which service account? nobody can be asked: give --service-account-name NAME".into(),
                ));
            }
        };
        if let Some(namespace) = namespace {
            return Ok(Chosen { namespace, name });
        }
        let usual = usual_namespace(access).await?;
        let namespace = match usual {
            usual if ask::somebody(global) => asked("What is the namespace of the ServiceAccount?", usual.as_ref())?,
            Some(usual) => usual,
            None => {
                return Err(CliError::Usage(
                    "which namespace? nobody can be asked: give --service-account-namespace NS".into(),
                ));
            }
        };
        Ok(Chosen { namespace, name })
    }
}

/// The pod's namespace, or else one's own; none for an operator, who has none.
async fn usual_namespace(access: Option<&Access>) -> Result<Option<Name>, CliError> {
    let mounted = fs::read_to_string(NAMESPACE_FILE).ok();
    if let Some(mounted) = mounted.and_then(|text| Name::parse(text.trim(), "namespace").ok()) {
        return Ok(Some(mounted));
    }
    match access {
        Some(access) => Ok(Some(Name::parse(&access.own_namespace().await?, "namespace")?)),
        None => Ok(None),
    }
}

fn given(text: &str, option: &str) -> Result<Name, CliError> {
    Name::parse(text, "name").map_err(|refusal| CliError::Usage(format!("{option} {}", refusal.text)))
}

/// Asks until it is a name.
fn asked(question: &str, usual: Option<&Name>) -> Result<Name, CliError> {
    loop {
        let answer = ask::line(question, usual.map(Name::as_str))?;
        match Name::parse(&answer, "name") {
            Ok(name) => return Ok(name),
            Err(refusal) => super::output::aside(&format!("A name {}", refusal.text)),
        }
    }
}
