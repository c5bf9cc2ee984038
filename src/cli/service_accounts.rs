//! `gatemint service-account`: as Apolo's command line has it, with an end, rotation and a list of tokens on top.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::{CliError, Global, ago::ago_text, door::Door, options::duration, output};
use crate::{
    client::PassedConfig,
    clock::{Clock, SystemClock},
    domain::Secret,
    settings::Settings,
};

mod doors;

const ROTATE_EXAMPLES: &str = "\
Examples:
  gatemint service-account rotate test                    the older tokens work for another day
  gatemint service-account rotate test --overlap 1h --expires 30d
  gatemint service-account rotate test --overlap 0s       they end now, and all short-lived ones with them";

#[derive(Args)]
pub(super) struct ServiceAccounts {
    /// Print the token alone (create, rotate), ids alone (ls, get, tokens), or nothing (rm)
    #[arg(short, long, global = true)]
    quiet: bool,
    /// The namespace; on a store it must be said [default: one's own, and over HTTP no other]
    #[arg(short = 'n', long, global = true, value_name = "NS")]
    namespace: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a service account, and print its token, once
    #[command(after_help = "\
Examples:
  gatemint service-account create --name test
  (umask 077; gatemint service-account create --name ci --expires 30d -q > full-token)
  gatemint service-account create --name test -n ada --data .gatemint

It may do nothing until something is granted to its role, NAMESPACE/service-accounts/NAME: gatemint acl grant")]
    Create {
        /// Its name in the namespace, for ever [default: one is made up]
        #[arg(long)]
        name: Option<String>,
        /// The cluster that its full token names [default: the current one]
        #[arg(long, value_name = "CLUSTER")]
        default_cluster: Option<String>,
        /// The organisation that its full token names [default: the current one]
        #[arg(long, value_name = "ORG")]
        default_org: Option<String>,
        /// The project, which is a namespace, that its full token names [default: its own namespace]
        #[arg(long, value_name = "PROJECT")]
        default_project: Option<String>,
        /// When its token ends, e.g. 30d [default: never]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// Show a service account
    #[command(after_help = "Example:\n  gatemint service-account get test")]
    Get {
        /// Its id or name
        service_account: String,
    },
    /// List the service accounts of the namespace
    #[command(name = "ls", alias = "list", after_help = "Example:\n  gatemint service-account ls")]
    List,
    /// Remove service accounts, with all their tokens and permissions, at once
    #[command(name = "rm", alias = "delete", after_help = "Example:\n  gatemint service-account rm test ci")]
    Remove {
        /// Their ids or names
        #[arg(required = true)]
        service_accounts: Vec<String>,
    },
    /// Print a new token of a service account, once; the older ones end after an overlap
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        /// Its id or name
        service_account: String,
        /// For how long the older tokens still work, at most 31d [default: 24h]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        overlap: Option<Duration>,
        /// When the new token ends, e.g. 30d [default: never]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// List the live tokens of a service account; `tokens revoke ID` ends one
    #[command(after_help = "Example:\n  gatemint service-account tokens test")]
    Tokens {
        /// Its id or name
        service_account: String,
    },
}

/// What the commands read of a service account.
#[derive(Deserialize)]
struct View {
    id: String,
    name: String,
    role: String,
    owner: String,
    default_cluster: String,
    default_project: String,
    default_org: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    /// Only in the answer that made it: the full token.
    token: Option<String>,
}

impl Drop for View {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// A service account, as it came and as it is read.
struct Got {
    object: Value,
    view: View,
}

impl Got {
    fn of(object: Value) -> Result<Self, CliError> {
        let view = View::deserialize(&object).map_err(|_| {
            CliError::Failed("what answered is no service account: is the service a gatemint of this version?".into())
        })?;
        Ok(Self { object, view })
    }
}

/// A live token of a service account.
#[derive(Serialize, Deserialize)]
struct TokenView {
    id: String,
    kind: String,
    issued_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    issued_by: Option<String>,
    #[serde(default)]
    audiences: Vec<String>,
}

impl ServiceAccounts {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let door = Door::open(settings, global).await?;
        let namespace = door.namespace_of_service_accounts(self.namespace).await?;
        let quiet = self.quiet;
        let now = SystemClock.now();
        match self.command {
            Command::Create { name, default_cluster, default_org, default_project, expires } => {
                let new = doors::New {
                    name,
                    cluster: default_cluster,
                    organisation: default_org,
                    project: default_project,
                    expires_at: expires.map(|expires| now + expires),
                };
                let made = door.create_service_account(&namespace, new).await?;
                made.show_with_token(global, quiet, true)
            }
            Command::Get { service_account } => {
                let got = door.service_account(&namespace, &service_account).await?;
                if global.json {
                    return output::json(&got.object);
                }
                if quiet {
                    output::line(&output::harmless(&got.view.id));
                } else {
                    got.show();
                }
                Ok(())
            }
            Command::List => {
                let mut all = door.service_accounts(&namespace).await?;
                all.sort_by(|one, other| one.view.id.cmp(&other.view.id));
                if global.json {
                    return output::json(&all.iter().map(|got| &got.object).collect::<Vec<_>>());
                }
                if quiet {
                    for got in &all {
                        output::line(&output::harmless(&got.view.id));
                    }
                    return Ok(());
                }
                let rows = all.iter().map(|Got { view, .. }| {
                    let created = ago_text(&view.created_at, now);
                    [view.id.clone(), view.name.clone(), view.role.clone(), view.default_cluster.clone(), created]
                });
                output::ruled_table(["Id", "Name", "Role", "Default cluster", "Created At"], rows);
                Ok(())
            }
            Command::Remove { service_accounts } => {
                for account in &service_accounts {
                    door.remove_service_account(&namespace, account).await?;
                    if !quiet && !global.json {
                        output::line(&format!(
                            "Service account '{}' was successfully removed.",
                            output::harmless(account)
                        ));
                    }
                }
                if global.json { output::json(&serde_json::json!({ "removed": service_accounts })) } else { Ok(()) }
            }
            Command::Rotate { service_account, overlap, expires } => {
                let expires_at = expires.map(|expires| now + expires);
                let rotated = door.rotate_service_account(&namespace, &service_account, overlap, expires_at).await?;
                rotated.show_with_token(global, quiet, false)
            }
            Command::Tokens { service_account } => {
                let all = door.tokens_of_service_account(&namespace, &service_account).await?;
                if global.json {
                    return output::json(&all);
                }
                if quiet {
                    for token in &all {
                        output::line(&output::harmless(&token.id));
                    }
                    return Ok(());
                }
                let rows = all.into_iter().map(|token| {
                    let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
                    let (used, ends) = (or(token.last_used_at, "-"), or(token.expires_at, "never"));
                    vec![token.id, token.kind, token.issued_at, used, ends, token.audiences.join(" ")]
                });
                output::table(&["id", "kind", "issued", "last used", "expires", "audiences"], rows);
                Ok(())
            }
        }
    }
}

impl Got {
    /// Row by row as Apolo's command line has them; our own row comes last.
    fn show(&self) {
        let view = &self.view;
        let mut rows = vec![
            ("Id", view.id.clone()),
            ("Name", view.name.clone()),
            ("Role", view.role.clone()),
            ("Owner", view.owner.clone()),
            ("Default cluster", view.default_cluster.clone()),
            ("Default org", view.default_org.clone().unwrap_or_default()),
            ("Default project", view.default_project.clone()),
            ("Created at", ago_text(&view.created_at, SystemClock.now())),
        ];
        rows.extend(view.expires_at.clone().map(|ends| ("Expires at", ends)));
        output::inset_sheet(&rows);
    }

    /// With its token, once. `is_new`: it may do nothing yet, and that is said.
    fn show_with_token(&self, global: &Global, quiet: bool, is_new: bool) -> Result<(), CliError> {
        let full = Secret::new(self.view.token.clone().unwrap_or_default());
        let passed = PassedConfig::parse(&full)
            .map_err(|why| CliError::Failed(format!("the service's answer holds no full token: {why}")))?;
        if global.json {
            return output::json(&self.object);
        }
        if quiet {
            output::line(full.expose().trim());
            return Ok(());
        }
        self.show();
        let bare = passed.token.token.expose();
        let text = Zeroizing::new(format!(
            "\n\
             Full token with cluster and API url embedded (this value can be used as APOLO_PASSED_CONFIG environment \
             variable):\n\n{}\n\n\
             Just auth token (this value can be passed to apolo config login-with-token):\n\n{bare}\n\n\
             Save it to some secure place, you will be unable to retrieve it later!",
            full.expose().trim(),
        ));
        output::line(&text);
        if is_new {
            let project = passed.project.as_deref().unwrap_or(&passed.token.namespace);
            let below = output::harmless(&format!("scheme://{}/{project}", passed.cluster));
            output::line(&format!(
                "\nTo allow access to your project resources for this service account, perform:\n\n\
                 gatemint acl grant {below} {} {{read|write|manage}}",
                passed.token.principal()
            ));
        }
        Ok(())
    }
}
