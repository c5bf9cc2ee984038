//! `gatemint credential`: short-lived tokens for other programs, in the form that they take them.

mod aws;

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::Method;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    CliError, Global,
    door::Access,
    login::over_http,
    options::duration,
    output,
    plain_file::{self, Links},
};
use crate::{
    client::{ClientError, MAX_TOKEN, ServiceAccountToken},
    clock::{Clock, SystemClock, Timestamp},
    domain::Secret,
};

/// Where a program says what it wants of a plugin (client-go credential plugins).
const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";
/// The versions of the answer that differ in nothing that is said here; the first is the usual one.
const EXEC_VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

#[derive(Subcommand)]
pub(super) enum Credential {
    /// Print a fresh access token as an ExecCredential, for kubectl and other clients of Kubernetes
    #[command(after_help = "\
In a kubeconfig:
  users:
  - name: gatemint
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: gatemint
        args: [credential, kubectl]
        interactiveMode: Never")]
    Kubectl,
    /// Print an access token as credentials for AWS's SDKs and command line, for an S3 service that judges tokens
    #[command(after_help = "\
In ~/.aws/config:
  [profile ezua]
  credential_process = gatemint credential aws
  endpoint_url = https://s3.example.org

In a pod, or wherever `gatemint agent` keeps a file:
  credential_process = gatemint credential aws --file /etc/secrets/ezua/.auth_token")]
    Aws(aws::Aws),
    /// Print a short-lived token of a service account
    #[command(after_help = "\
Examples:
  gatemint credential service-account ci -n ada --audience istio-ingressgateway.istio-system.svc.cluster.local
  gatemint credential service-account --token-file ada-ci.token --audience sts.example.org --duration 10m
  gatemint credential service-account ci --json

It takes `write` on serviceaccount://CLUSTER/NS/NAME/token. The namespace's owner has it; `identity create` gives it to the
service account itself, which then needs no login: its long-lived token is in a file, or in GATEMINT_PASSED_CONFIG.")]
    ServiceAccount(ServiceAccount),
}

#[derive(Args)]
pub(super) struct ServiceAccount {
    /// Its name [default: the one whose long-lived token is used]
    name: Option<String>,
    /// Its namespace [default: one's own]
    #[arg(short = 'n', long, value_name = "NS")]
    namespace: Option<String>,
    /// Whom the token is for; may be given again [default: this service's Kubernetes door]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audiences: Vec<String>,
    /// How long it is good, 10m to 24h [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// A file with a long-lived token, to ask with instead of the login
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print an ExecCredential, as clients of Kubernetes take it
    #[arg(long, conflicts_with = "json")]
    exec_credential: bool,
}

/// What a TokenRequest is answered with, as far as it is read.
#[derive(Deserialize)]
struct Requested {
    #[serde(default)]
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: String,
    expiration_timestamp: String,
}

impl Credential {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Kubectl => {
                over_http(global, "credential kubectl")?;
                let access = Access::of_login(global).await?;
                let ends = access.token_ends_at.map(Timestamp::rfc3339);
                print_exec_credential(access.token.expose(), ends.as_deref())
            }
            Self::Aws(aws) => aws.run(global).await,
            Self::ServiceAccount(service_account) => service_account.run(global).await,
        }
    }
}

impl ServiceAccount {
    async fn run(self, global: &Global) -> Result<(), CliError> {
        over_http(global, "credential service-account")?;
        let access = match &self.token_file {
            Some(file) => {
                warn_if_others_read(file, 0o077);
                let token = long_lived(file)?;
                let url = global.url.clone().unwrap_or_else(|| token.issuer.to_string());
                Access::of_service_account(&url, token, global)?
            }
            None => Access::of_login(global).await?,
        };
        let (namespace, name) = match (access.service_account(), self.namespace, self.name) {
            (Some((own, _)), namespace, Some(name)) => (namespace.unwrap_or_else(|| own.to_owned()), name),
            (Some((own, name)), None, None) => (own.to_owned(), name.to_owned()),
            (None, namespace, Some(name)) => (access.namespace_or_own(namespace).await?, name),
            (_, _, None) => {
                return Err(CliError::Usage("which service account? give its NAME".into()));
            }
        };
        let asked_at = SystemClock.now();
        let mut spec = json!({ "audiences": self.audiences });
        if let Some(duration) = self.duration {
            spec["expirationSeconds"] = duration.as_secs().into();
        }
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let path = ["api", "v1", "namespaces", &namespace, "serviceaccounts", &name, "token"];
        let answer: Result<Requested, _> = access.ask_at(Method::POST, &path, &[], Some(body)).await;
        let Requested { spec, status } = answer.map_err(|error| match (error, &self.token_file) {
            (ClientError::Unauthenticated(told), Some(file)) => CliError::Failed(format!(
                "the token in {} is of no use any more ({told}): it ended, was rotated or revoked, or its account is gone; \
                 `gatemint identity create` gets another one",
                file.display()
            )),
            (error, _) => access.with_what_to_grant(error),
        })?;
        let token = Secret::new(status.token);
        if !is_token(token.expose()) {
            return Err(CliError::Failed("the service's answer holds no token".into()));
        }
        let ends = output::harmless(&status.expiration_timestamp);
        if is_cut(asked_at, self.duration, &ends) {
            output::aside(&format!("The token is good until {ends}, which is sooner than was asked for."));
        }
        if self.exec_credential {
            return print_exec_credential(token.expose(), Some(&ends));
        }
        if global.json {
            return output::json(&json!({
                "token": token.expose(), "expires_at": ends, "namespace": namespace, "name": name,
                "audiences": if spec.audiences.is_empty() { &self.audiences } else { &spec.audiences },
            }));
        }
        output::line(token.expose());
        Ok(())
    }
}

/// Whether a token ends well before it was asked to; two clocks may differ a little.
fn is_cut(asked_at: Timestamp, duration: Option<Duration>, ends: &str) -> bool {
    const DIFFERENCE: Duration = Duration::from_mins(5);
    let ends = Timestamp::parse_rfc3339(ends);
    duration.zip(ends).is_some_and(|(duration, ends)| ends + DIFFERENCE < asked_at + duration)
}

/// A long-lived token out of a file.
///
/// # Errors
/// It cannot be read, or holds something else; nothing of it is in the error.
pub(super) fn long_lived(file: &Path) -> Result<ServiceAccountToken, CliError> {
    let failed = |why: &str| CliError::Failed(format!("{}: {why}", file.display()));
    // In pods it is a link.
    let opened = plain_file::open(file, OpenOptions::new().read(true), Links::Followed);
    let opened = opened.and_then(|opened| opened.ok_or_else(|| io::ErrorKind::NotFound.into()));
    let (opened, _) = opened.map_err(|error| failed(&error.to_string()))?;
    // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN + 2));
    let most = MAX_TOKEN as u64 + 1;
    opened.take(most).read_to_string(&mut text).map_err(|error| failed(&error.to_string()))?;
    ServiceAccountToken::parse(&text).map_err(|why| failed(&why.to_string()))
}

/// Says it where a token's file may be read by others, whose permission bits are given: all but its owner, or the world.
pub(super) fn warn_if_others_read(file: &Path, others: u32) {
    if std::fs::metadata(file).is_ok_and(|data| data.mode() & others != 0) {
        let file = file.display();
        output::aside(&format!("WARNING: others may read the token in {file}: chmod 600 '{file}'"));
    }
}

/// What goes into headers and onto terminals.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// Prints an ExecCredential, of the version that the program asks for. Without an end the program keeps it until it is
/// refused.
fn print_exec_credential(token: &str, ends: Option<&str>) -> Result<(), CliError> {
    let wanted = std::env::var(EXEC_INFO).ok().and_then(|info| serde_json::from_str::<Value>(&info).ok());
    let wanted = wanted.as_ref().and_then(|info| info["apiVersion"].as_str()).unwrap_or(EXEC_VERSIONS[0]);
    if !EXEC_VERSIONS.contains(&wanted) {
        return Err(CliError::Usage(format!(
            "{EXEC_INFO} asks for {}; this speaks {}",
            output::harmless(wanted),
            EXEC_VERSIONS.join(" and ")
        )));
    }
    let mut status = json!({ "token": token });
    if let Some(ends) = ends {
        status["expirationTimestamp"] = ends.into();
    }
    output::json(&json!({ "apiVersion": wanted, "kind": "ExecCredential", "status": status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_cut_is_told_apart_from_clocks_that_differ() {
        let (now, ends) = (Timestamp(1_800_000_000), "2027-01-15T09:00:00Z");
        let is_cut = |minutes, ends| is_cut(now, Some(Duration::from_mins(minutes)), ends);
        assert!(!is_cut(60, ends) && !is_cut(65, ends) && is_cut(66, ends));
        assert!(!is_cut(66, "x"));
    }
}
