//! The deployed artefact: one of the functions, told which by its environment.

use std::{process::ExitCode, sync::Arc};

use gatemint::{
    http::{self, Options},
    lambda,
    settings::Settings,
    wiring::{self, Place},
};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // CloudWatch shows what is written to stderr before a function is ready.
            eprintln!("gatemint-lambda: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn run() -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(missing) = lambda::missing_runtime_variable(variable) {
        return Err(format!("{missing} is not set: this runs in AWS Lambda or under `cargo lambda watch`; on one machine use `gatemint serve`").into());
    }
    let (function, handler, root) = (variable("GATEMINT_FUNCTION"), variable("_HANDLER"), variable("LAMBDA_TASK_ROOT"));
    let function = lambda::resolve(function.as_deref(), handler.as_deref(), root.as_deref())?;
    if root.is_some() {
        // A function's disk is gone with it, and no two instances share one.
        return Err("GATEMINT_STORE must name a store that outlives a function; this version has none for AWS Lambda yet \
                    (sqlite: and memory: are for one machine)"
            .into());
    }
    let settings = Settings::read(std::env::vars())?;
    lambda::start_log(settings.log.as_deref().unwrap_or("info"))?;
    let place = Place::of_settings(&settings)?.ok_or(
        "no store: set GATEMINT_DATA to the data directory of a `gatemint serve` (or GATEMINT_STORE and GATEMINT_VAULT)",
    )?;
    let service = wiring::existing(&settings, &place).await?;
    let origins: Result<Vec<_>, _> = settings.cors_origins.iter().map(|origin| origin.parse()).collect();
    let options = Options { trusted_proxies: settings.trusted_proxies, cors_origins: origins? };
    lambda::run(http::router(Arc::new(service), function, &options)).await
}
