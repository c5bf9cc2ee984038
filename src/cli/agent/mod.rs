//! `gatemint agent`: keeps files with a token that is always fresh.
//!
//! Whoever reads a file finds a whole token with ten minutes left, at any moment, as long as the service can be reached
//! and the file can be written. What cannot be done is told and tried again; what is in a file stays until there is
//! something better.

mod held;
mod keeper;
mod keeping;
mod kept_file;
mod source;
mod told;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::{
    keeper::Keeper,
    kept_file::KeptFile,
    source::{FreshSecret, RefreshFile, Source},
};
use super::{CliError, Global, login::over_http, output, plain_file, stop_signals::StopSignals};
use crate::settings::Settings;

/// Where the original has it, and its users' programs read it.
const USUAL_FILE: &str = "/etc/secrets/ezua/.auth_token";

pub(super) const EXAMPLES: &str = "\
Examples:
  gatemint agent --file ~/.auth_token
  gatemint agent --token-file ada-ci.token --file /run/gatemint/.auth_token --mode 0640
  gatemint agent --refresh-token-file refresh-token.txt --url https://auth.example.org --file token
  gatemint agent --once --file token

Every reader finds a whole token with at least ten minutes left: a new one takes the old one's place in one step when that has
less than twelve. The secret is one's own namespace's; somebody else's takes `read` on secret://CLUSTER/NS/access-token. For
months a login has to be an offline one: gatemint login --offline. SIGTERM ends the agent; the files stay.";

#[derive(Args)]
pub(super) struct Agent {
    /// A file to keep; may be given again
    #[arg(long = "file", value_name = "PATH", default_value = USUAL_FILE)]
    files: Vec<PathBuf>,
    /// The files' permission bits, in octal
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    mode: u32,
    /// Fetch and write once, and end
    #[arg(long)]
    once: bool,
    /// What to keep: the secret that is always fresh, or the access token of a session of one's own [default: secret, and
    /// refresh-token with --refresh-token-file]
    #[arg(long, value_name = "SOURCE")]
    from: Option<Origin>,
    /// Whose secret, by namespace [default: one's own]
    #[arg(short = 'n', long, value_name = "NS")]
    namespace: Option<String>,
    /// A file with a service account's long-lived token, to ask with instead of the login
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with a refresh token, to use instead of the login; each next one takes its place
    #[arg(long, value_name = "FILE", conflicts_with_all = ["namespace", "token_file"])]
    refresh_token_file: Option<PathBuf>,
    /// The OAuth client that the refresh token is from
    #[arg(long, value_name = "CLIENT_ID", default_value = "gatemint", requires = "refresh_token_file")]
    client_id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Origin {
    Secret,
    RefreshToken,
}

/// Permission bits that let nobody but the owner write.
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && bits & !0o755 == 0);
    bits.filter(|bits| bits & 0o400 != 0).ok_or_else(|| {
        "octal permission bits that let the owner read and nobody else write, e.g. 0600, 0640 or 0444".into()
    })
}

impl Agent {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        over_http(global, "agent")?;
        let source = self.source(global)?;
        self.must_not_replace_credentials()?;
        output::start_log(settings, "info")?;
        output::log_panics();
        let files = self.files.iter().map(|path| KeptFile::new(path.clone(), self.mode)).collect();
        let mut keeper = Keeper::new(global, source, files);
        keeper.first_look()?;
        if self.once { keeper.once().await } else { keeper.keep_on(StopSignals::listen()?).await }
    }

    /// What it asks with is nothing that it may write to: there would be no second one.
    fn must_not_replace_credentials(&self) -> Result<(), CliError> {
        let credentials = [("--token-file", &self.token_file), ("--refresh-token-file", &self.refresh_token_file)];
        for (option, credential) in credentials.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)))
        {
            if let Some(file) = self.files.iter().find(|file| plain_file::is_one(file, credential)) {
                return Err(CliError::Usage(format!(
                    "--file {} is the file of {option}, which would be lost: keep the token in another one",
                    file.display()
                )));
            }
        }
        Ok(())
    }

    fn source(&self, global: &Global) -> Result<Source, CliError> {
        let only = |option: &str, from: &str| Err(CliError::Usage(format!("{option} goes with --from {from} only")));
        let from = self.from.unwrap_or(match self.refresh_token_file {
            Some(_) => Origin::RefreshToken,
            None => Origin::Secret,
        });
        match (from, &self.refresh_token_file) {
            (Origin::Secret, Some(_)) => only("--refresh-token-file", "refresh-token"),
            (Origin::Secret, None) => {
                Ok(Source::Secret(FreshSecret::new(self.namespace.clone(), self.token_file.clone())))
            }
            (Origin::RefreshToken, _) if self.namespace.is_some() => only("--namespace", "secret"),
            (Origin::RefreshToken, _) if self.token_file.is_some() => only("--token-file", "secret"),
            (Origin::RefreshToken, Some(path)) => {
                Ok(Source::RefreshFile(Box::new(RefreshFile::new(path.clone(), self.client_id.clone(), global))))
            }
            (Origin::RefreshToken, None) => Ok(Source::Login),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_lets_the_owner_read_and_nobody_else_write() {
        for (text, bits) in [("0600", 0o600), ("640", 0o640), ("0444", 0o444), ("400", 0o400), ("0644", 0o644)] {
            assert_eq!(mode(text), Ok(bits), "{text}");
        }
        for wrong in ["", "0660", "0602", "0200", "1600", "4755", "8", "rw", "-600", "+600", "00600", "0o600"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
