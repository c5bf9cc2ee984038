//! `gatemint key`, and what `serve` does of it by itself.

use std::{sync::Arc, time::Duration};

use clap::Subcommand;
use serde::Serialize;

use super::{
    CliError, Global,
    door::{OPERATOR, store},
    output,
};
use crate::{
    clock::Timestamp,
    domain::{
        Service,
        key::{
            State,
            rotate::{self, ListedKey, Pace},
        },
        session::{self, Pepper, PepperState},
    },
    settings::Settings,
};

/// How often `serve` looks whether it is time for a new key.
const LOOK_EVERY: Duration = Duration::from_mins(10);

#[derive(Subcommand)]
pub(super) enum Key {
    /// List the signing keys that verifiers know, and the peppers of refresh tokens
    #[command(alias = "ls")]
    List,
    /// Publish a new key, which signs when every verifier can know it; nothing dies
    #[command(after_help = "\
Examples:
  gatemint key rotate --data .gatemint                  a new signing key, a day ahead
  gatemint key rotate --refresh --data .gatemint        a new key for refresh tokens, an hour ahead
  gatemint key rotate --now --data .gatemint            somebody else may have the signing keys: all access tokens die
  gatemint key rotate --refresh --now --data .gatemint  somebody else may have the vault: all sessions end, too
  GATEMINT_SIGNING_ALG=RS256 gatemint key rotate --data .gatemint    a new key of another algorithm

`serve` does the first by itself, every GATEMINT_KEY_ROTATE_EVERY; in AWS the secret's rotation schedule does.
A secret that holds {\"gatemint\":\"empty\"} gets its first key, or its first pepper, which is used at once.")]
    Rotate {
        /// An emergency: replace all keys at once. What they signed dies
        #[arg(long)]
        now: bool,
        /// Rotate the pepper of refresh tokens in place of the signing keys
        #[arg(long)]
        refresh: bool,
    },
}

#[derive(Serialize)]
struct KeyView {
    kid: String,
    alg: &'static str,
    state: State,
    published_at: String,
    signs_from: String,
    signs_until: Option<String>,
    gone_after: Option<String>,
}

impl KeyView {
    fn of(key: &ListedKey) -> Self {
        let times = key.public.times;
        Self {
            kid: key.public.kid.clone(),
            alg: key.public.material.algorithm().as_str(),
            state: key.state,
            published_at: times.published_at.rfc3339(),
            signs_from: times.signs_from.rfc3339(),
            signs_until: times.signs_until.map(Timestamp::rfc3339),
            gone_after: times.gone_after.map(Timestamp::rfc3339),
        }
    }
}

#[derive(Serialize)]
struct PepperView {
    id: u8,
    state: PepperState,
    active_from: String,
    gone_after: Option<String>,
}

impl PepperView {
    fn of(pepper: &Pepper, state: PepperState) -> Self {
        Self {
            id: pepper.id,
            state,
            active_from: pepper.active_from.rfc3339(),
            gone_after: pepper.gone_after.map(Timestamp::rfc3339),
        }
    }
}

#[derive(Serialize)]
struct KeysView {
    signing: Vec<KeyView>,
    refresh: Vec<PepperView>,
}

fn word<T: Serialize>(state: &T) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Key {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        let service = store(settings).await?;
        match self {
            Self::List => list(&service, global).await,
            Self::Rotate { now, refresh: false } => rotate_keys(&service, pace(now), global).await,
            Self::Rotate { now, refresh: true } => rotate_peppers(&service, pace(now), global).await,
        }
    }
}

fn pace(now: bool) -> Pace {
    if now { Pace::AtOnce } else { Pace::Announced }
}

async fn list(service: &Service, global: &Global) -> Result<(), CliError> {
    let now = service.now();
    let signing = rotate::list(service, now).await?.iter().map(KeyView::of).collect();
    let ring = service.keys.peppers(now, service.entropy.as_ref(), service.vault.as_ref()).await?;
    let refresh = ring.all().iter().map(|pepper| PepperView::of(pepper, ring.state(pepper, now))).collect();
    let view = KeysView { signing, refresh };
    // What is listed is in the store; whether anything can sign with it, the vault knows.
    if let Err(refusal) = service.ready(true).await {
        output::aside(&format!("WARNING: no token can be signed now: {}", refusal.cause()));
    }
    if global.json {
        return output::json(&view);
    }
    let or_dash = |time: Option<String>| time.unwrap_or_else(|| "-".to_owned());
    output::table(
        &["signing key", "alg", "state", "signs from", "signs until", "gone after"],
        view.signing.into_iter().map(|key| {
            let state = word(&key.state);
            vec![key.kid, key.alg.to_owned(), state, key.signs_from, or_dash(key.signs_until), or_dash(key.gone_after)]
        }),
    );
    output::line("");
    output::table(
        &["refresh pepper", "state", "used from", "gone after"],
        view.refresh.into_iter().map(|pepper| {
            vec![pepper.id.to_string(), word(&pepper.state), pepper.active_from, or_dash(pepper.gone_after)]
        }),
    );
    Ok(())
}

async fn rotate_keys(service: &Service, pace: Pace, global: &Global) -> Result<(), CliError> {
    let rotated = rotate::rotate(service, pace, OPERATOR).await?;
    if global.json {
        return output::json(&serde_json::json!({
            "kid": rotated.kid,
            "alg": rotated.algorithm.as_str(),
            "signs_from": rotated.signs_from.rfc3339(),
            "replaced": rotated.replaced,
        }));
    }
    let (kid, alg, from) = (rotated.kid, rotated.algorithm, rotated.signs_from.rfc3339());
    let noticed = span(service.keys.kept_for());
    match pace {
        _ if rotated.first => {
            output::line(&format!("The first key, {kid} ({alg}), is published, and signs."));
            output::line(&format!(
                "Processes that were refused for want of it go on at once, others within {noticed}."
            ));
        }
        Pace::Announced => {
            output::line(&format!("The new {alg} key {kid} is published, and signs from {from}."));
            output::line("Nothing dies: the key before it goes on judging what it signed.");
        }
        Pace::AtOnce => {
            output::line(&format!("The new {alg} key {kid} signs. It has replaced {}.", keys(rotated.replaced)));
            output::line(&format!(
                "Dead: every access token issued until now. Other processes of this service notice within {noticed}."
            ));
            output::line(
                "      Verifiers elsewhere notice when they read the JWKS again: most within 5 minutes, some keep",
            );
            output::line(
                "      it for two hours, and accept old tokens and refuse new ones until then. Restart those.",
            );
            output::line("Alive: all sessions. Their next refresh brings an access token that the new key signed.");
            output::line("If the whole vault may be known, end the sessions too: gatemint key rotate --refresh --now");
        }
    }
    Ok(())
}

/// A time that somebody waits for, in words.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 { format!("{seconds} seconds") } else { format!("{} minutes", seconds.div_ceil(60)) }
}

fn keys(count: usize) -> String {
    if count == 1 { "the only key".to_owned() } else { format!("all {count} keys") }
}

async fn rotate_peppers(service: &Service, pace: Pace, global: &Global) -> Result<(), CliError> {
    let rotated = session::rotate_peppers(service, pace, OPERATOR).await?;
    let from = rotated.active_from.rfc3339();
    if global.json {
        return output::json(&serde_json::json!({ "id": rotated.id, "active_from": from }));
    }
    let noticed = span(service.keys.kept_for());
    match pace {
        _ if rotated.first => {
            output::line(&format!(
                "The first pepper, {}, is used: refresh tokens can be made from now on.",
                rotated.id
            ));
        }
        Pace::Announced => {
            output::line(&format!(
                "The new pepper {} is published, and refresh tokens are made with it from {from}.",
                rotated.id
            ));
            output::line(
                "Nothing dies: those before it stay for 401 days, longer than any refresh token may lie idle.",
            );
            output::line("When it is used, the throttle begins anew: counters, and the addresses that it knows.");
        }
        Pace::AtOnce => {
            output::line(&format!("The new pepper {} is used. It has replaced all others.", rotated.id));
            output::line(
                "Dead: every session; nobody's refresh token is good any more. Other processes of this service",
            );
            output::line(&format!("      notice within {noticed}."));
            output::line("      The throttle begins anew: counters, and the addresses that it knows.");
            output::line("Alive: access tokens issued until now, each until its exp, which is 24 hours off at most.");
            output::line("To end them too: gatemint key rotate --now");
        }
    }
    Ok(())
}

/// Rotates the signing keys whenever it is time to, for as long as it is polled.
pub(super) async fn keep_rotating(service: Arc<Service>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        // On a task of its own, so that not even a panic ends the looking.
        let service = service.clone();
        let looked = tokio::spawn(async move { rotate::rotate_if_due(&service, "serve").await.map(|_| ()) }).await;
        let cause = match looked {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => Some(refusal.cause()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(cause) = cause {
            tracing::error!(
                cause,
                "the signing keys were not rotated; tried again in {} minutes",
                LOOK_EVERY.as_secs() / 60
            );
        }
    }
}
