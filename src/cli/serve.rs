//! `gatemint serve`: the service on one machine, from its first start on.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tokio::net::TcpListener;

use super::{
    CliError, keys,
    listener::{self, Limits},
    metrics::Metrics,
    mirror, output, password,
    stop_signals::StopSignals,
};
use crate::{
    domain::{
        RefusalKind, Secret, Service,
        birth::{self, Born},
    },
    http::{self, Function, Options},
    settings::{Settings, USUAL_LISTEN},
    wiring::{Opener, StateLocation, WiringError},
};

/// How long requests under way may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(25);

#[derive(Args)]
pub(super) struct Serve {
    /// The address and port to listen on; port 0 takes a free one [default: 127.0.0.1:9000] [env: GATEMINT_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) async fn run(self, settings: Settings) -> Result<(), CliError> {
        output::start_log(&settings, "info")?;
        output::log_panics();
        let place = match StateLocation::of_settings(&settings)? {
            Some(place) => place,
            None => StateLocation::of_data(Path::new(".gatemint")),
        };
        place.make()?;
        let listen = self.listen.or(settings.listen).unwrap_or(USUAL_LISTEN);
        let listener = listener::bind(listen).map_err(|error| {
            CliError::Failed(format!("cannot listen on {listen}: {error}; choose another address with --listen"))
        })?;
        let address = listener.local_addr().map_err(|error| CliError::Failed(error.to_string()))?;

        let metrics = match settings.metrics_listen {
            Some(listen) => Some(Metrics::start(listen).await?),
            None => None,
        };

        let backends = place.open(&settings, Opener::serve()).await?;
        let backends = if metrics.is_some() { backends.measured() } else { backends };
        let here = format!("http://{address}");
        let first_password = place.first_password();
        let born = if place.is_on_one_machine() { backends.born().await? } else { None };
        let recorded = born.as_ref().map(|born| born.issuer.clone());
        let issuer = settings.issuer.clone().or(recorded);
        let issuer = match issuer {
            Some(issuer) => issuer,
            None if place.is_on_one_machine() => here.clone(),
            None => return Err(WiringError::NoIssuer(place.name()).into()),
        };
        let mut service = backends.service(&settings, issuer);
        if !place.is_on_one_machine() {
            // What is shared was made by somebody else, and may be away for a while: the service answers 503 until then.
            if let Err(refusal) = service.ready(true).await {
                let cause = refusal.cause();
                output::aside(&format!("Not ready yet, and every request is answered 503 until it is: {cause}"));
                tracing::warn!(cause, "not ready yet");
            }
        } else if born.is_none() {
            let file = first_password.clone().unwrap_or_else(|| PathBuf::from("admin-password"));
            let recorded = first_start(&service, &file).await?;
            if settings.issuer.is_none() {
                // Of several first starts at once the winner's address counts.
                service.policy.issuer = recorded.issuer;
            }
        } else {
            // Keys that are missing now were lost: new ones in their place would fit nothing that was signed, and would
            // lie where the old ones have to be put back.
            service.ready(true).await.map_err(|refusal| {
                let cause = refusal.cause();
                CliError::Failed(format!(
                    "{} was started before, and cannot be started again: {cause}; put store and vault back together \
                     from one backup",
                    place.name()
                ))
            })?;
        }
        // Before anybody is told that it runs: from then on it may be asked to stop.
        let stop = StopSignals::listen()?;
        greet(&service, address, &here, &place, first_password.as_deref());
        if let Some(metrics) = &metrics {
            greet_metrics(metrics.address);
        }

        let options =
            Options::of(settings.trusted_proxies, &settings.cors_origins, settings.forward_headers.as_deref())
                .map_err(|error| CliError::Failed(error.to_string()))?;
        let service = Arc::new(service);
        // In the cloud functions of their own rotate keys and mirror tokens.
        let here = place.is_on_one_machine();
        let rotation = here.then(|| tokio::spawn(keys::keep_rotating(service.clone())));
        let mirror = here.then(|| tokio::spawn(mirror::keep_refreshing(service.clone())));
        let router = http::router(service, Function::Http, &options);
        let limits = Limits::usual().behind(settings.trusted_proxies);
        let answered = answer((listener, router, limits), metrics, stop).await;
        for task in [rotation, mirror].into_iter().flatten() {
            task.abort();
        }
        answered
    }
}

/// Answers until SIGTERM or SIGINT, then finishes what is under way.
async fn answer(
    service: (TcpListener, axum::Router, Limits),
    metrics: Option<Metrics>,
    mut stop_signals: StopSignals,
) -> Result<(), CliError> {
    let (asked, was_asked) = tokio::sync::watch::channel(false);
    let signals = async move {
        stop_signals.asked().await;
        tracing::info!("asked to stop; finishing what is under way");
        let _ = asked.send(true);
        tokio::time::sleep(GRACE).await;
    };
    let stop = |mut was_asked: tokio::sync::watch::Receiver<bool>| async move {
        let _ = was_asked.wait_for(|asked| *asked).await;
    };
    let (listener, router, limits) = service;
    let serving = listener::serve(listener, router, limits, stop(was_asked.clone()));
    let showing = async {
        if let Some(Metrics { listener, router, .. }) = metrics {
            listener::serve(listener, router, Metrics::limits(), stop(was_asked.clone())).await;
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(serving, showing) } => {}
        () = signals => tracing::warn!("some requests were not finished in {} s", GRACE.as_secs()),
    }
    tracing::info!("stopped");
    Ok(())
}

/// What a person wants to see first. The password itself is never among it.
fn greet(service: &Service, address: SocketAddr, here: &str, place: &StateLocation, first_password: Option<&Path>) {
    let issuer = &service.policy.issuer;
    output::line(&format!("gatemint {} on {here}, state in {}", env!("CARGO_PKG_VERSION"), place.name()));
    if issuer != here {
        output::line(&format!("Tokens name the issuer {issuer}."));
        output::line("  (recorded at the first start or set by GATEMINT_ISSUER; another address does not change it)");
    }
    if !address.ip().is_loopback() && issuer.starts_with("http://") {
        let warning = format!(
            "WARNING: {address} can be reached from other machines, and the issuer {issuer} is plain http: \
             passwords and tokens cross the network readable. Put TLS in front and set GATEMINT_ISSUER=https://…"
        );
        output::aside(&warning);
        tracing::warn!(%address, issuer, "plain http on an address that is not loopback");
    }
    if let Some(file) = first_password.filter(|file| file.exists()) {
        let reachable = if address.ip().is_unspecified() {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            here.to_owned()
        };
        output::line("");
        output::line("A first token, for admin:");
        output::line("");
        output::line(&format!("  curl -sS {reachable}/oauth2/token \\"));
        output::line("    -d grant_type=password -d username=admin \\");
        output::line(&format!("    --data-urlencode {}", from_file("password", &file.display().to_string())));
        output::line("");
        output::line("The password is in that file until admin's password is changed.");
    }
}

/// Says where the metrics are.
fn greet_metrics(address: SocketAddr) {
    output::line(&format!("Metrics on http://{address}/metrics."));
    if !address.ip().is_loopback() {
        output::aside(&format!(
            "WARNING: the metrics on {address} can be read from other machines, by anybody and unencrypted. Listen on a \
             loopback address, or let a firewall pass only the one that collects them"
        ));
        tracing::warn!(%address, "metrics on an address that is not loopback");
    }
}

/// What makes curl send a file's content as a parameter. A `=` would be read as the end of the name, wherever it is.
fn from_file(name: &str, file: &str) -> String {
    if file.contains('=') { format!("{name}@- < {}", shell_word(file)) } else { shell_word(&format!("{name}@{file}")) }
}

/// The text as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/@:+,".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Makes keys, the first password and the admin, one process at a time; what another one has done, or has begun and was
/// killed in, stands. What the winner recorded comes back.
async fn first_start(service: &Service, file: &Path) -> Result<Born, CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("{}: {error}", file.display()));
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Given back when it is dropped, or when the process ends in whatever way.
    let turn = fs::File::open(directory).map_err(failed)?;
    turn.lock().map_err(failed)?;
    let recorded = || Born::read(service.store.as_ref(), service.now());
    birth::make_keys(service).await?;
    if let Some(born) = recorded().await? {
        return Ok(born);
    }
    let password = first_password_in(file, &turn, service).map_err(failed)?;
    birth::bear(service, password).await.map_err(|refusal| match refusal.kind {
        RefusalKind::Invalid => CliError::Failed(format!(
            "what is in {} cannot be the first password: {}; mend it (without a line end) or remove it",
            file.display(),
            refusal.text
        )),
        _ => refusal.into(),
    })?;
    recorded().await?.ok_or_else(|| CliError::Failed("the first start was not recorded; start again".into()))
}

/// The first password: the one that a start which was killed has left, or a new one, written whole.
fn first_password_in(file: &Path, directory: &fs::File, service: &Service) -> std::io::Result<Secret<Vec<u8>>> {
    // Written beside its place and renamed: whoever sees the file sees all of it. A draft that a kill has left is
    // written over by nobody else, since starts take turns.
    let draft = file.with_extension("new");
    if !file.try_exists()? {
        let made = password::generate(service.entropy.as_ref(), service.policy.password.min_bytes);
        let mut options = fs::OpenOptions::new();
        let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        new.write_all(made.expose().as_bytes())?;
        new.sync_all()?;
        fs::rename(&draft, file)?;
        // The file must not be lost when the account stays.
        directory.sync_all()?;
    }
    fs::read(file).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(shell_word("password@.gatemint/admin-password"), "password@.gatemint/admin-password");
        assert_eq!(shell_word("password@/my data/it's"), r"'password@/my data/it'\''s'");
        assert_eq!(from_file("password", "a=b/admin-password"), "password@- < 'a=b/admin-password'");
    }
}
