//! From the environment to a running function.

use std::{process::ExitCode, sync::Arc};

use super::{missing_runtime_variable, resolve, run, start_log};
use crate::{
    http::{self, Options},
    settings::Settings,
    wiring::{self, Opener, StateLocation},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Becomes the function that the environment names, and answers until the Runtime API goes away.
pub fn main() -> ExitCode {
    let ended = tokio::runtime::Builder::new_multi_thread()
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
    let service = wiring::existing(&settings, &place, Opener::Function { vault: true }).await?;
    let options = Options::of(settings.trusted_proxies, &settings.cors_origins)?;
    run(http::router(Arc::new(service), function, &options)).await
}
