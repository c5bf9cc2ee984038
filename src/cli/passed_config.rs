//! What stands in the environment in place of a login.

use super::CliError;
use crate::{client::PassedConfig, domain::Secret};

/// The first that is set counts. The others are what the service's tokens are called elsewhere.
const VARIABLES: [&str; 3] = ["GATEMINT_PASSED_CONFIG", "APOLO_PASSED_CONFIG", "NEURO_PASSED_CONFIG"];

/// A passed config, and which variable it is from.
pub(super) struct Passed {
    pub(super) variable: &'static str,
    pub(super) config: PassedConfig,
}

/// The passed config of the environment, if there is one. An empty variable is none.
///
/// # Errors
/// It is malformed; the error says which variable, and nothing of what is in it.
pub(super) fn of_environment() -> Result<Option<Passed>, CliError> {
    let set = VARIABLES.into_iter().find_map(|variable| {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
        Some((variable, Secret::new(value.to_string_lossy().into_owned())))
    });
    let Some((variable, value)) = set else { return Ok(None) };
    match PassedConfig::parse(&value) {
        Ok(config) => Ok(Some(Passed { variable, config })),
        Err(why) => Err(CliError::Usage(format!(
            "{variable} is malformed: {why}. It takes the full token that `gatemint service-account create` prints, as it \
             stands there"
        ))),
    }
}
