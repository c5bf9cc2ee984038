//! From the environment to a running function.

use std::{process::ExitCode, time::Duration};

use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use serde_json::Value;

use super::{Function, dispatch::Desk, metrics::Measurements, missing_runtime_variable, resolve, start_log};
use crate::{
    clock::{Clock as _, SystemClock},
    domain::{Service, key::KeySet},
    http::Options,
    metric::Stopwatch,
    settings::{Settings, VaultSetting},
    vault,
    wiring::{self, Opener, StateLocation},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long keys are waited for at init, of the ten seconds that Lambda gives it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Becomes the function that the environment names, and answers until the Runtime API goes away.
pub fn main() -> ExitCode {
    // One event at a time, so one thread: others would cost their start and a wake-up for every answer of the network.
    // Passwords and SQLite have threads of their own, made when they are needed.
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(start()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The platform's log shows what is written to stderr before a function is ready.
            eprintln!("gatemint-lambda: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(missing) = missing_runtime_variable(variable) {
        return Err(format!(
            "{missing} is not set: this runs in AWS Lambda or under `cargo lambda watch`; on one machine use `gatemint serve`"
        )
        .into());
    }
    let [function, handler, root] = ["GATEMINT_FUNCTION", "_HANDLER", "LAMBDA_TASK_ROOT"].map(variable);
    let function = resolve(function.as_deref(), handler.as_deref(), root.as_deref())?;
    let settings = Settings::read(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))),
    )?;
    start_log(settings.log.as_deref().unwrap_or("info"))?;
    let place = StateLocation::of_settings(&settings)?.ok_or(
        "no store: set GATEMINT_DATA to the data directory of a `gatemint serve`, or GATEMINT_STORE and GATEMINT_VAULT",
    )?;
    if root.is_some() && place.is_on_one_machine() {
        // A function's disk is gone with it, and no two instances share one.
        return Err("GATEMINT_STORE and GATEMINT_VAULT must name what outlives a function: dynamodb:TABLE and \
             secretsmanager:PREFIX; sqlite:, memory: and file: are for one machine"
            .into());
    }
    let options = Options::of(settings.trusted_proxies, &settings.cors_origins, settings.forward_headers.as_deref())?;
    let measurements =
        Measurements::start(&variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(), SystemClock.now())?;
    let service = wiring::existing(&settings, &place, Opener::function(function.uses_vault())).await?;
    if function.keeps_keys() {
        warm(&service, function).await;
    }
    let desk = Desk::new(function, service, &options, &signing_secret(&settings));
    serve(desk, measurements).await
}

/// What the signing secret is called where it is kept.
fn signing_secret(settings: &Settings) -> String {
    match &settings.vault {
        Some(VaultSetting::SecretsManager(prefix)) => vault::id_under(prefix, KeySet::SECRET),
        _ => KeySet::SECRET.to_owned(),
    }
}

/// Reads keys and opens connections while nobody waits for an answer. Where that fails, requests read for themselves,
/// each anew, and are told to try again for as long as they cannot: nothing need be started again.
async fn warm(service: &Service, function: Function) {
    let begun = Stopwatch::start();
    let warmed = tokio::time::timeout(PATIENCE, service.warm(function.signs(), function.judges_refresh_tokens())).await;
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    match warmed {
        Ok(Ok(())) => tracing::debug!(init.duration_us = took, "keys are at hand"),
        Ok(Err(refusal)) => {
            let cause = refusal.cause();
            tracing::error!(init.duration_us = took, cause, "keys could not be read at init; requests will try");
        }
        Err(_) => tracing::error!(init.duration_us = took, "keys were not read in time at init; requests will try"),
    }
}

/// Answers events, one after the other, until the Runtime API goes away.
async fn serve(desk: Desk, measurements: Measurements) -> Result<(), Failure> {
    let answer = service_fn(move |event: LambdaEvent<Value>| {
        let (desk, measurements) = (desk.clone(), measurements.clone());
        let request_id = event.context.request_id.clone();
        async move {
            let answer = desk.answer(event).await;
            // Before the answer is sent: the process may be frozen from then on.
            measurements.write(SystemClock.now(), &request_id);
            answer
        }
    });
    lambda_runtime::run(answer).await
}
