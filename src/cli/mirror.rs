//! What `refresh-secrets` is in the cloud, `serve` does by itself: tokens that are always fresh, in the file vault.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::domain::{
    Service,
    fresh_token::mirror::{EVERY, refresh_secrets},
};

/// By how much a run may come early, in milliseconds: several processes on one state are not to come all at once.
const JITTER_MS: u16 = 4096;

/// Refreshes mirrored tokens for as long as the service runs.
pub(super) async fn keep_refreshing(service: Arc<Service>) {
    loop {
        #[expect(clippy::disallowed_methods, reason = "how long to wait, which no clock that is set decides")]
        let begun = Instant::now();
        // On a task of its own, so that not even a panic ends the refreshing.
        let turn = service.clone();
        let cause = match tokio::spawn(async move { refresh_secrets(&turn).await }).await {
            Ok(Ok(_)) => None,
            Ok(Err(refusal)) => Some(refusal.cause()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(cause) = cause {
            tracing::error!(cause, "mirrored tokens were not refreshed; tried again in {} s", EVERY.as_secs());
        }
        let early = u16::from_be_bytes(service.entropy.bytes()) % JITTER_MS;
        sleep_until(begun + EVERY - Duration::from_millis(early.into())).await;
    }
}
