//! `login`, `logout`, `whoami`, `passwd` and `token`: what a user does over HTTP.

use axum::http::Method;
use clap::Args;
use etcetera::BaseStrategy;

use super::{
    CliError, Global, ask,
    door::Access,
    output,
    passed_config::{self, Passed},
    password,
};
use crate::{
    client::{ClientError, Credentials, LoginFile, PassedConfig, Remote, Session, Turn, WebUrl},
    clock::{Clock, SystemClock},
    domain::Secret,
    http::UserView,
    settings::USUAL_LISTEN,
};

#[derive(Args)]
pub(super) struct Login {
    /// Who signs in [default: asked for]
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from stdin; one line end is taken off
    #[arg(long)]
    password_stdin: bool,
    /// The OAuth client to sign in through
    #[arg(long, value_name = "CLIENT_ID", default_value = "gatemint")]
    client_id: String,
    /// Open a session that goes on for as long as it is used (scope offline_access), for programs
    #[arg(long)]
    offline: bool,
}

/// The login's file, in the platform's configuration directory.
///
/// # Errors
/// There is no home directory.
pub(super) fn file() -> Result<LoginFile, CliError> {
    let strategy = etcetera::choose_base_strategy()
        .map_err(|_| CliError::Failed("there is no home directory to keep a login in: set HOME".into()))?;
    Ok(LoginFile::within(&strategy.config_dir().join("gatemint")))
}

async fn turn(file: &LoginFile) -> Result<Turn, CliError> {
    let waits = || output::progress("another gatemint is using the login; waiting for it");
    Ok(file.turn(waits).await.map_err(ClientError::from)?)
}

/// The passed config of the environment, where no login is kept that comes before it.
///
/// # Errors
/// It is malformed.
pub(super) fn passed_in_place_of_a_login() -> Result<Option<Passed>, CliError> {
    if file().is_ok_and(|file| file.exists()) { Ok(None) } else { passed_config::of_environment() }
}

/// A fresh access token of the login.
///
/// # Errors
/// Nobody is signed in, or elsewhere than `--url` says; the session is over.
pub(super) async fn refresh(global: &Global) -> Result<(Remote, Session), CliError> {
    let file = file()?;
    if !file.exists() {
        return Err(ClientError::NoLogin.into());
    }
    let turn = turn(&file).await?;
    if let Some(login) = turn.read().map_err(ClientError::from)? {
        is_the_one(global, &login.url)?;
    }
    Ok(Remote::refresh(&turn, SystemClock.now()).await?)
}

/// Refuses `--url` where it names another place than the login's.
pub(super) fn is_the_one(global: &Global, url: &str) -> Result<(), CliError> {
    let Some(wanted) = &global.url else { return Ok(()) };
    if Remote::at(url)?.is_at(wanted) {
        return Ok(());
    }
    let wanted = WebUrl::parse(wanted).map_err(ClientError::from)?;
    Err(CliError::Usage(format!("the login is for {url}, not for {wanted}: gatemint login --url {wanted}")))
}

/// Refuses a store where only a login makes sense.
pub(super) fn over_http(global: &Global, command: &str) -> Result<(), CliError> {
    if global.data.is_some() {
        return Err(CliError::Usage(format!(
            "`{command}` works over HTTP with a login, not on a store: leave out --data"
        )));
    }
    Ok(())
}

impl Login {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        over_http(global, "login")?;
        let file = file()?;
        let kept = if file.exists() { turn(&file).await?.read().unwrap_or(None) } else { None };
        let url = global
            .url
            .clone()
            .or_else(|| kept.as_ref().map(|login| login.url.clone()))
            .unwrap_or_else(|| format!("http://{USUAL_LISTEN}"));
        let remote = Remote::at(&url)?;
        if remote.url().is_exposed() {
            output::aside(&format!("WARNING: {url} is plain http: the password crosses the network readable"));
        }
        let asks = ask::somebody(global);
        let username = match self.username {
            Some(name) => name,
            None if asks && !self.password_stdin => {
                ask::line(&format!("User at {url}"), kept.as_ref().map(|login| login.username.as_str()))?
            }
            None => return Err(CliError::Usage("who signs in? give --username NAME".into())),
        };
        let password = if self.password_stdin {
            password::line_from_stdin()?
        } else if asks {
            password::ask(&format!("Password of {username} at {url}: "))?
        } else {
            return Err(CliError::Usage("a password is needed and nobody can be asked: --password-stdin".into()));
        };
        let with =
            Credentials { username: &username, password: &password, client_id: &self.client_id, offline: self.offline };
        let now = SystemClock.now();
        // Nobody's turn while hashes are computed elsewhere; and whoever has no room to keep a login opens no session.
        drop(turn(&file).await?.rehearse().map_err(ClientError::from)?);
        let session = remote.sign_in(&with, now).await.inspect_err(|error| {
            if matches!(error, ClientError::Http(_)) && global.url.is_none() {
                output::aside("The service is elsewhere? gatemint login --url URL");
            }
        })?;
        let turn = turn(&file).await?;
        let before = turn.read().unwrap_or(None);
        if let Err(error) = turn.rehearse().and_then(|room| room.keep(&session.login)) {
            // A session that nobody holds is ended.
            let _ = remote.revoke(&session.login).await;
            return Err(ClientError::from(error).into());
        }
        drop(turn);
        // The session of the login before this one is nobody's any more.
        if let Some(before) = before.filter(|login| login.refresh_token.is_some()) {
            let ended = match Remote::at(&before.url) {
                Ok(remote) => remote.revoke(&before).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                output::aside(&format!("The session of {} at {} was not ended: {error}", before.username, before.url));
            }
        }
        if global.json {
            return output::json(&serde_json::json!({
                "url": session.login.url,
                "username": session.login.username,
                "client_id": session.login.client_id,
                "expires_at": session.login.expires_at.map(crate::clock::Timestamp::rfc3339),
                "file": file.path().display().to_string(),
            }));
        }
        output::aside(&format!("Signed in at {url} as {username}. The login is kept in {}", file.path().display()));
        if let Some(end) = session.login.expires_at {
            output::aside(&format!("until {}, and longer each time it is used. Next: gatemint whoami", end.rfc3339()));
        }
        Ok(())
    }
}

/// `logout`: ends the session there and forgets it here.
pub(super) async fn logout(global: &Global, forget: bool) -> Result<(), CliError> {
    over_http(global, "logout")?;
    let file = file()?;
    if !file.exists() {
        output::aside("Nobody was signed in.");
        return Ok(());
    }
    let turn = turn(&file).await?;
    let login = match turn.read() {
        Ok(login) => login,
        // What cannot be used can still be forgotten.
        Err(_) if forget => None,
        Err(error) => return Err(ClientError::from(error).into()),
    };
    let Some(login) = login else {
        turn.forget().map_err(ClientError::from)?;
        output::aside("Nobody was signed in.");
        return Ok(());
    };
    is_the_one(global, &login.url)?;
    let _room = turn.rehearse().map_err(|error| {
        CliError::Failed(format!("{error}\nThe session is not ended: the login could not be forgotten afterwards"))
    })?;
    if !forget {
        Remote::at(&login.url)?.revoke(&login).await.map_err(|error| {
            CliError::Failed(format!(
                "{error}\nThe session is not ended, and the login is kept. To forget it here all the same: gatemint logout --forget"
            ))
        })?;
    }
    turn.forget().map_err(ClientError::from)?;
    output::aside(&if forget {
        format!("The login of {} at {} is forgotten here; its session there goes on.", login.username, login.url)
    } else {
        format!("Signed out of {}: the session of {} is ended.", login.url, login.username)
    });
    Ok(())
}

/// `whoami`: the account of the login as the service sees it now.
pub(super) async fn whoami(global: &Global) -> Result<(), CliError> {
    over_http(global, "whoami")?;
    let access = Access::of_login(global).await?;
    if let Some(passed) = access.passed() {
        return show_service_account(&access, passed, global).await;
    }
    let me: UserView = access.get(&["me"]).await?;
    super::users::show(&me, global)
}

/// Whom a passed config makes one, once the service has said that it still does.
async fn show_service_account(access: &Access, passed: &PassedConfig, global: &Global) -> Result<(), CliError> {
    let config: serde_json::Value = access.ask_at(Method::GET, &["api", "v1", "config"], &[], None).await?;
    if config["authorized"] != true {
        return Err(access.nobody("the service does not know it").into());
    }
    let token = &passed.token;
    let ends = token.expires_at.map(crate::clock::Timestamp::rfc3339);
    if global.json {
        return output::json(&serde_json::json!({
            "name": access.username, "namespace": token.namespace, "cluster": passed.cluster, "url": passed.url,
            "expires_at": ends,
        }));
    }
    output::sheet(&[
        ("Name", access.username.clone()),
        ("Namespace", token.namespace.clone()),
        ("Cluster", passed.cluster.clone()),
        ("Service", passed.url.clone()),
        ("Expires at", ends.unwrap_or_else(|| "never".to_owned())),
    ]);
    Ok(())
}

/// `token`: a fresh access token and nothing else on stdout.
pub(super) async fn token(global: &Global) -> Result<(), CliError> {
    over_http(global, "token")?;
    if let Some(passed) = passed_in_place_of_a_login()? {
        return Err(CliError::Usage(format!(
            "{} holds a long-lived token and no session: `gatemint credential service-account` makes a short-lived one of it",
            passed.variable
        )));
    }
    let (_, session) = refresh(global).await?;
    if global.json {
        return output::json(&serde_json::json!({ "access_token": session.access.expose() }));
    }
    output::line(session.access.expose());
    Ok(())
}

#[derive(Args)]
pub(super) struct Passwd {
    /// Read the old password and the new one from stdin, a line each
    #[arg(long)]
    password_stdin: bool,
}

impl Passwd {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        over_http(global, "passwd")?;
        let (old, new): (Secret<String>, Secret<String>) = if self.password_stdin {
            password::two_lines_from_stdin()?
        } else if !ask::somebody(global) {
            return Err(CliError::Usage("two passwords are needed and nobody can be asked: --password-stdin".into()));
        } else {
            (password::ask("Old password: ")?, password::ask_twice()?)
        };
        let access = Access::of_login(global).await?;
        let body = serde_json::json!({ "old": old.expose(), "new": new.expose() });
        let () = access.post(&["me", "password"], body).await?;
        output::aside("The password is changed. All your other sessions are ended; this login goes on.");
        Ok(())
    }
}
