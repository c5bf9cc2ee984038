//! A gatemint that is asked over HTTP: its token endpoint with a login, its own resources with an access token.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroize;

use super::{
    http::{Answer, Http, HttpError, WebUrl},
    login::{Login, LoginFileError, Turn},
};
use crate::{clock::Timestamp, domain::Secret};

/// How long the token endpoint may take. A refresh is tried twice, and both have to fit well into the 30 s for which a lost
/// reply is repeated.
const TOKEN_TIME: Duration = Duration::from_secs(10);
/// No answer of a gatemint is longer.
const MOST: usize = 4 << 20;

/// Why a gatemint did not do as asked. The text is for the user, with a next step where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached, or what answers is not HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The login's file cannot be used.
    #[error(transparent)]
    File(#[from] LoginFileError),
    /// There is no login, or its session is over.
    #[error("nobody is signed in: gatemint login (or name a store with --data DIR)")]
    NoLogin,
    /// The session has ended.
    #[error("the session of {username} at {url} is over ({why}): gatemint login")]
    SessionOver {
        /// Whose.
        username: String,
        /// Where.
        url: String,
        /// What the service says.
        why: String,
    },
    /// The service refuses.
    #[error("{0}")]
    Refused(String),
    /// The service does not know who asks: the token is of no use any more.
    #[error("{0}")]
    Unauthenticated(String),
    /// The service knows who asks, and says no.
    #[error("{0}")]
    Forbidden(String),
    /// The same, with what was not granted.
    #[error("{}", told(.0))]
    Lacking(Vec<Lacking>),
    /// There is no such thing, or the caller may not know of it.
    #[error("{0}")]
    Absent(String),
    /// It is there already, or in another state.
    #[error("{0}")]
    Conflict(String),
    /// Too often.
    #[error("{text}; again in {seconds} s")]
    Throttled {
        /// What the service says.
        text: String,
        /// When it will listen again.
        seconds: u64,
    },
    /// Something else answers there.
    #[error("{url} does not answer like a gatemint ({status}): is the URL right?")]
    NotGatemint {
        /// What was asked.
        url: WebUrl,
        /// The answer's status.
        status: StatusCode,
    },
}

/// What was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The resource.
    pub uri: String,
    /// What was to be done with it.
    pub action: String,
}

fn told(lacking: &[Lacking]) -> String {
    let each: Vec<_> = lacking.iter().map(|Lacking { uri, action }| format!("{action} on {uri}")).collect();
    format!("{} was not granted", each.join(", "))
}

/// What a sign-in shows.
pub struct Credentials<'a> {
    /// The user's name.
    pub username: &'a str,
    /// The user's password.
    pub password: &'a Secret<String>,
    /// The client to sign in through.
    pub client_id: &'a str,
    /// Whether the session is to have no end of its own.
    pub offline: bool,
}

/// A reply of the token endpoint. Wiped when dropped.
#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    refresh_token: Option<String>,
    refresh_expires_in: Option<u64>,
    expires_in: Option<u64>,
}

impl Drop for TokenReply {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

/// A login and an access token that was just made with it.
pub struct Session {
    /// The login as it is now.
    pub login: Login,
    /// The access token.
    pub access: Secret<String>,
    /// When it ends, if the service says so.
    pub access_ends_at: Option<Timestamp>,
}

/// Where refusals tell what they are: RFC 6749 §5.2, RFC 9457, a Kubernetes `Status`, or Apolo's JSON.
#[derive(Default, Deserialize)]
struct Told {
    message: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    detail: Option<String>,
    field: Option<String>,
    description: Option<String>,
    #[serde(default)]
    missing: Vec<Lacking>,
}

impl Told {
    fn of(answer: &Answer) -> Self {
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    fn text(&self) -> Option<String> {
        if let Some(detail) = &self.detail {
            return Some(match &self.field {
                Some(field) if !detail.contains(field.as_str()) => format!("{field}: {detail}"),
                _ => detail.clone(),
            });
        }
        [&self.error_description, &self.message, &self.description, &self.error].into_iter().find_map(Clone::clone)
    }
}

/// The line of text with which Apolo's dialect says that there is no such service account.
fn absent_account(answer: &Answer) -> Option<String> {
    let text = std::str::from_utf8(&answer.body).ok()?;
    (text.starts_with("Service account ") && text.len() <= 400 && !text.contains('\n')).then(|| text.to_owned())
}

/// A reply that no gatemint gives.
fn strange(url: &WebUrl) -> ClientError {
    ClientError::NotGatemint { url: url.clone(), status: StatusCode::OK }
}

fn refused(answer: &Answer, url: &WebUrl) -> ClientError {
    let told = Told::of(answer);
    if answer.status == StatusCode::FORBIDDEN && !told.missing.is_empty() {
        return ClientError::Lacking(told.missing);
    }
    if let (StatusCode::NOT_FOUND, Some(text)) = (answer.status, absent_account(answer)) {
        return ClientError::Absent(text);
    }
    match (told.text(), answer.retry_after) {
        (Some(text), Some(seconds)) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
            ClientError::Throttled { text, seconds }
        }
        (Some(text), _) if answer.status == StatusCode::UNAUTHORIZED => ClientError::Unauthenticated(text),
        (Some(text), _) if answer.status == StatusCode::FORBIDDEN => ClientError::Forbidden(text),
        (Some(text), _) if answer.status == StatusCode::NOT_FOUND => ClientError::Absent(text),
        (Some(text), _) if answer.status == StatusCode::CONFLICT => ClientError::Conflict(text),
        (Some(text), _) => ClientError::Refused(text),
        (None, after) if answer.status.is_server_error() => {
            let after = after.map(|seconds| format!(", again in {seconds} s")).unwrap_or_default();
            ClientError::Refused(format!("{url} answers {}{after}: is the service up behind its proxy?", answer.status))
        }
        (None, _) => ClientError::NotGatemint { url: url.clone(), status: answer.status },
    }
}

/// One gatemint.
pub struct Remote {
    http: Http,
    url: WebUrl,
}

impl Remote {
    /// The gatemint at this URL. Nothing is asked yet.
    ///
    /// # Errors
    /// `Http`: not a URL.
    pub fn at(url: &str) -> Result<Self, ClientError> {
        let url = WebUrl::parse(url.trim_end_matches('/'))?;
        Ok(Self { http: Http::for_secrets(&url)?, url })
    }

    /// Whether this text names the same place.
    pub fn is_at(&self, url: &str) -> bool {
        WebUrl::parse(url.trim_end_matches('/')).is_ok_and(|url| url == self.url)
    }

    /// Its URL.
    pub fn url(&self) -> &WebUrl {
        &self.url
    }

    /// Signs in.
    ///
    /// # Errors
    /// `Refused`, `Throttled`, `Http`, `NotGatemint`.
    pub async fn sign_in(&self, with: &Credentials<'_>, now: Timestamp) -> Result<Session, ClientError> {
        let mut form = vec![
            ("grant_type", "password"),
            ("username", with.username),
            ("password", with.password.expose()),
            ("client_id", with.client_id),
        ];
        if with.offline {
            form.push(("scope", "profile email roles offline_access"));
        }
        let url = self.url.below(&["oauth2", "token"]);
        let reply = self.token(&url, &form).await?.map_err(|answer| refused(&answer, &url))?;
        let nobody = Login {
            url: self.url.to_string().trim_end_matches('/').to_owned(),
            client_id: with.client_id.to_owned(),
            username: with.username.to_owned(),
            refresh_token: None,
            expires_at: None,
        };
        let session = Self::session(nobody, reply, now).ok_or_else(|| strange(&url))?;
        if session.login.refresh_token.is_none() {
            return Err(ClientError::Refused(
                "the service gave no refresh token, without which there is no login: may the client use the grant \
                 refresh_token?"
                    .into(),
            ));
        }
        Ok(session)
    }

    /// Refreshes the login whose turn it is, and keeps what comes of it.
    ///
    /// # Errors
    /// `NoLogin`, `SessionOver`, and as [`Remote::sign_in`].
    pub async fn refresh(turn: &Turn, now: Timestamp) -> Result<(Self, Session), ClientError> {
        let login = turn.read()?.ok_or(ClientError::NoLogin)?;
        if login.refresh_token.is_none() {
            return Err(ClientError::NoLogin);
        }
        let remote = Self::at(&login.url)?;
        let room = turn.rehearse()?;
        match remote.refresh_login(login.clone(), now).await {
            Ok(session) => {
                room.keep(&session.login)?;
                Ok((remote, session))
            }
            Err(error) => {
                if matches!(error, ClientError::SessionOver { .. }) {
                    // What it was signed in to is kept, for the next sign-in.
                    room.keep(&Login { refresh_token: None, expires_at: None, ..login })?;
                }
                Err(error)
            }
        }
    }

    /// Refreshes a login, which the caller has to keep: its refresh token is used up from here on.
    ///
    /// # Errors
    /// `NoLogin`, `SessionOver`, and as [`Remote::sign_in`].
    pub async fn refresh_login(&self, login: Login, now: Timestamp) -> Result<Session, ClientError> {
        let Some(token) = &login.refresh_token else { return Err(ClientError::NoLogin) };
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", token.expose()), ("client_id", &login.client_id)];
        let url = self.url.below(&["oauth2", "token"]);
        let answer = match self.token(&url, &form).await {
            // The answer may be what was lost: the same token again, at once, gets the same successor.
            Err(ClientError::Http(HttpError::Unreachable { .. })) => self.token(&url, &form).await?,
            answer => answer?,
        };
        match answer {
            Ok(reply) => Self::session(login, reply, now).ok_or_else(|| strange(&url)),
            Err(answer) => {
                let told = Told::of(&answer);
                if told.error.as_deref() != Some("invalid_grant") {
                    return Err(refused(&answer, &url));
                }
                let why = told.text().unwrap_or_default();
                Err(ClientError::SessionOver { username: login.username, url: login.url, why })
            }
        }
    }

    /// Ends the session of a login (RFC 7009).
    ///
    /// # Errors
    /// As [`Remote::sign_in`].
    pub async fn revoke(&self, login: &Login) -> Result<(), ClientError> {
        let Some(token) = &login.refresh_token else { return Ok(()) };
        let url = self.url.below(&["oauth2", "revoke"]);
        let form = [("token", token.expose().as_str()), ("client_id", login.client_id.as_str())];
        let answer = Http::answer(self.http.request(Method::POST, &url).form(&form), &url, MOST).await?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(refused(&answer, &url)) }
    }

    async fn token(&self, url: &WebUrl, form: &[(&str, &str)]) -> Result<Result<TokenReply, Answer>, ClientError> {
        let request = self.http.request(Method::POST, url).form(form).timeout(TOKEN_TIME);
        let mut answer = Http::answer(request, url, MOST).await?;
        if answer.status != StatusCode::OK {
            return Ok(Err(answer));
        }
        let reply = serde_json::from_slice(&answer.body);
        answer.body.zeroize();
        reply.map(Ok).map_err(|_| ClientError::NotGatemint { url: url.clone(), status: answer.status })
    }

    /// None if what came is no token (RFC 6750 §2.1, b64token): it goes into headers and onto terminals.
    fn session(login: Login, mut reply: TokenReply, now: Timestamp) -> Option<Session> {
        let is_token =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
        if !is_token(&reply.access_token) {
            return None;
        }
        let expires_at = reply.refresh_expires_in.map(|left| now + Duration::from_secs(left)).or(login.expires_at);
        // RFC 6749 §6: without a new one the old one goes on.
        let refresh_token = reply.refresh_token.take().map(Secret::new).or(login.refresh_token);
        let access = Secret::new(std::mem::take(&mut reply.access_token));
        let access_ends_at = reply.expires_in.map(|left| now + Duration::from_secs(left));
        Some(Session { login: Login { refresh_token, expires_at, ..login }, access, access_ends_at })
    }

    /// Asks for one of its resources, by a path in segments; an answer without a body is null.
    ///
    /// # Errors
    /// `Forbidden`, and as [`Remote::sign_in`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        access: &Secret<String>,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, ClientError> {
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            // A URL would lead elsewhere with them.
            return Err(ClientError::Refused("there is nothing of that name".into()));
        }
        let url = self.url.below(path).with_query(query);
        let mut request = self.http.request(method, &url).bearer_auth(access.expose());
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = Http::answer(request, &url, MOST).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer, &url));
        }
        let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
        serde_json::from_slice(body).map_err(|_| ClientError::NotGatemint { url, status: answer.status })
    }
}
