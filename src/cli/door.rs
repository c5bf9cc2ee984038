//! Which service a command speaks to. So far there is one door: the store itself, for an operator.

use super::CliError;
use crate::{
    domain::{Refusal, Service},
    settings::Settings,
    wiring::{self, Place, WiringError},
};

/// Who the audit events name.
pub(super) const OPERATOR: &str = "operator";

/// The service on the store that `--data` or the settings name. Audit events go to stderr, as those of `serve` do.
///
/// # Errors
/// No store is named; it cannot be opened; it was never started.
pub(super) async fn store(settings: &Settings) -> Result<Service, CliError> {
    let place = Place::of_settings(settings)?.ok_or(WiringError::NoStore)?;
    super::output::start_log(settings, "gatemint::audit=info,warn")?;
    Ok(wiring::existing(settings, &place).await?)
}

/// Everything that a list holds, page by page. `page` gets how many to ask for, and after which place.
///
/// # Errors
/// The first page's that fails.
pub(super) async fn all_pages<T>(
    mut page: impl AsyncFnMut(Option<&str>, usize) -> Result<(Vec<T>, Option<String>), Refusal>,
) -> Result<Vec<T>, CliError> {
    const PAGE: usize = 90;
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let (items, next) = page(after.as_deref(), PAGE).await?;
        all.extend(items);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}
