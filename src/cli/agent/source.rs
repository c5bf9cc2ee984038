//! Where a kept token comes from: the secret that is always fresh, or a refresh token.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::kept_file::KeptFile;
use crate::{
    cli::{
        CliError, Global,
        credential::{long_lived, warn_if_others_read},
        door::Access,
        login, output,
    },
    client::{AccessToken, ClientError, HttpError, Login, Remote, session_of},
    clock::{Clock, SystemClock, Timestamp},
    domain::{Secret, fresh_token::NAME},
    entropy::SystemEntropy,
    settings::USUAL_LISTEN,
};

/// How long another process may be at the same refresh token: as long as it may wait for the service, and a little more.
const TURN: Duration = Duration::from_secs(45);
/// A login that ends sooner than this is told of.
const SOON: Duration = Duration::from_hours(24);

/// Where a token comes from.
pub(super) enum Source {
    /// The secret that is always fresh, as the login, or what stands in its place, may read it.
    Secret(FreshSecret),
    /// The login's own access token.
    Login,
    /// The access token of a session whose refresh token is kept in a file.
    RefreshFile(Box<RefreshFile>),
}

/// A token, and when what it is fetched with ends.
pub(super) struct Fetched {
    pub(super) token: AccessToken,
    /// Known and soon.
    pub(super) login_ends_at: Option<Timestamp>,
}

impl Source {
    /// What logs call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Login | Self::RefreshFile(_) => "refresh-token",
        }
    }

    /// What tells the credential that is there now from others: the session of a login or refresh token, which stays the
    /// same while the one is used up and the next kept; a hash of a long-lived token. Nothing of it can be used.
    /// None if there is no such credential.
    pub(super) fn credential(&self) -> Option<String> {
        match self {
            Self::Secret(FreshSecret { token_file: Some(file), .. }) => print_of(file),
            Self::Secret(_) | Self::Login => login::file().ok()?.session(),
            Self::RefreshFile(file) => session_of(file.file.text().ok()??.trim()),
        }
    }

    /// Another token.
    ///
    /// # Errors
    /// The service cannot be reached or refuses; what comes is no access token; a refresh token cannot be kept.
    pub(super) async fn fetch(&mut self, global: &Global) -> Result<Fetched, CliError> {
        let (token, login_ends_at) = match self {
            Self::Secret(secret) => secret.fetch(global).await?,
            Self::Login => {
                let (_, session) = login::refresh(global).await?;
                (session.access, session.login.expires_at)
            }
            Self::RefreshFile(file) => file.fetch().await?,
        };
        let token = AccessToken::parse(token.expose())
            .map_err(|why| CliError::Failed(format!("what the service answers cannot be kept: {why}")))?;
        let now = SystemClock.now();
        Ok(Fetched { token, login_ends_at: login_ends_at.filter(|ends| ends.since(now) < SOON) })
    }
}

/// What tells the long-lived token in a file from others, of this process.
fn print_of(file: &Path) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    long_lived(file).ok()?.token.expose().hash(&mut hasher);
    Some(format!("{:016x}", hasher.finish()))
}

/// Whether it is not known what became of it: the request may have got there, and its answer is lost.
pub(super) fn is_open(error: &CliError) -> bool {
    matches!(error, CliError::Client(ClientError::Http(HttpError::Unreachable { sent: true, .. })))
}

/// Whether waiting does not help: somebody has to do something.
pub(super) fn is_lasting(error: &CliError) -> bool {
    match error {
        // Something in between that is at its limit, or has nobody to ask.
        CliError::Client(ClientError::NotGatemint { status, .. })
            if *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() =>
        {
            false
        }
        CliError::Client(error) => matches!(
            error,
            ClientError::File(_)
                | ClientError::NoLogin
                | ClientError::SessionOver { .. }
                | ClientError::Unauthenticated(_)
                | ClientError::Forbidden(_)
                | ClientError::Lacking(_)
                | ClientError::NotGatemint { .. }
                | ClientError::Http(HttpError::NotAUrl | HttpError::Credentials | HttpError::NoClient(_))
        ),
        _ => true,
    }
}

/// The secret of a namespace.
pub(super) struct FreshSecret {
    /// None: one's own.
    pub(super) namespace: Option<String>,
    /// A service account's long-lived token, to ask with instead of the login.
    pub(super) token_file: Option<PathBuf>,
    /// Whose own namespace it was last.
    own: Option<(String, String)>,
    warned: bool,
}

/// As Kubernetes has it.
#[derive(Deserialize)]
struct KubernetesSecret {
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "AUTH_TOKEN")]
    auth_token: Option<String>,
}

impl Drop for Data {
    fn drop(&mut self) {
        self.auth_token.zeroize();
    }
}

impl FreshSecret {
    pub(super) fn new(namespace: Option<String>, token_file: Option<PathBuf>) -> Self {
        Self { namespace, token_file, own: None, warned: false }
    }

    async fn fetch(&mut self, global: &Global) -> Result<(Secret<String>, Option<Timestamp>), CliError> {
        let access = match &self.token_file {
            // Read each time: it may have been rotated.
            Some(file) => {
                if !std::mem::replace(&mut self.warned, true) {
                    // Pods and groups of services share one; the world does not.
                    warn_if_others_read(file, 0o007);
                }
                let token = long_lived(file)?;
                let url = global.url.clone().unwrap_or_else(|| token.issuer.to_string());
                Access::of_service_account(&url, token, global)?
            }
            None => Access::of_login(global).await?,
        };
        let namespace = self.namespace_of(&access).await?;
        let path = ["api", "v1", "namespaces", &namespace, "secrets", NAME];
        let answer: Result<KubernetesSecret, _> = access.ask_at(Method::GET, &path, &[], None).await;
        let mut secret = answer.map_err(|error| access.with_what_to_grant(error))?;
        let encoded = secret.data.as_mut().and_then(|data| data.auth_token.take()).map(Zeroizing::new);
        let encoded = encoded.ok_or_else(|| {
            CliError::Failed(format!(
                "the service's {NAME} of {namespace} holds no AUTH_TOKEN: is the service older than this agent?"
            ))
        })?;
        let decoded = STANDARD.decode(encoded.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let token = decoded.ok_or_else(|| CliError::Failed("the service's answer holds no token".into()))?;
        Ok((Secret::new(token), access.login_ends_at))
    }

    async fn namespace_of(&mut self, access: &Access) -> Result<String, ClientError> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        if let Some((namespace, _)) = access.service_account() {
            return Ok(namespace.to_owned());
        }
        match &self.own {
            Some((user, namespace)) if *user == access.username => Ok(namespace.clone()),
            _ => {
                let namespace = access.own_namespace().await?;
                self.own = Some((access.username.clone(), namespace.clone()));
                Ok(namespace)
            }
        }
    }
}

/// A session whose refresh token is kept in a file.
pub(super) struct RefreshFile {
    file: KeptFile,
    url: String,
    client_id: String,
    /// The token that was refused: it is of no use to show it again.
    refused: Option<(Secret<String>, String)>,
    warned: bool,
}

impl RefreshFile {
    pub(super) fn new(path: PathBuf, client_id: String, global: &Global) -> Self {
        let url = global.url.clone().unwrap_or_else(|| format!("http://{USUAL_LISTEN}"));
        Self { file: KeptFile::new(path, 0o600), url, client_id, refused: None, warned: false }
    }

    async fn fetch(&mut self) -> Result<(Secret<String>, Option<Timestamp>), CliError> {
        let path = self.file.path().display().to_string();
        let failed = |why: &dyn std::fmt::Display| CliError::Failed(format!("{path}: {why}"));
        let remote = Remote::at(&self.url)?;
        if !std::mem::replace(&mut self.warned, true) {
            warn_if_others_read(self.file.path(), 0o077);
            if remote.url().is_exposed() {
                output::aside(&format!("WARNING: {} is plain http: the token crosses the network readable", self.url));
            }
        }
        let _turn = self.file.turn(TURN).await.map_err(|error| failed(&error))?;
        let text = self.file.text().map_err(|error| failed(&error))?;
        let token = text.as_deref().map(|text| text.trim()).filter(|text| is_token(text)).ok_or_else(|| {
            failed(&"it holds no refresh token; put one there, such as the one of /refresh-token-download")
        })?;
        let token = Secret::new(token.to_owned());
        if let Some((_, why)) = self.refused.as_ref().filter(|(refused, _)| refused.expose() == token.expose()) {
            return Err(self.is_over(why));
        }
        // A token is used up only where its successor can be kept.
        let draft = self.file.draft(&SystemEntropy).map_err(|error| failed(&error))?;
        let login = Login {
            url: self.url.clone(),
            client_id: self.client_id.clone(),
            username: String::new(),
            refresh_token: Some(token.clone()),
            expires_at: None,
        };
        let session = match remote.refresh_login(login, SystemClock.now()).await {
            Ok(session) => session,
            Err(ClientError::SessionOver { why, .. }) => {
                let error = self.is_over(&why);
                self.refused = Some((token, why));
                return Err(error);
            }
            Err(error) => return Err(error.into()),
        };
        // One that somebody has put there meanwhile is the next to be used, and nobody has a second one.
        let is_another = self.file.text().is_ok_and(|text| text.is_some_and(|text| text.trim() != token.expose()));
        if let Some(next) = session.login.refresh_token.as_ref().filter(|_| !is_another) {
            draft.keep(next.expose()).map_err(|error| failed(&error))?;
        }
        Ok((session.access, session.login.expires_at))
    }

    fn is_over(&self, why: &str) -> CliError {
        CliError::Client(ClientError::Unauthenticated(format!(
            "the refresh token in {} is of no use any more ({why}): put another one there",
            self.file.path().display()
        )))
    }
}

/// What goes into a form as a refresh token: RFC 6749 §A.17, without the space.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
