//! Log lines for CloudWatch: one JSON object each, on standard output.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Writes log lines from now on, those that `filter` (e.g. `info,gatemint=debug`) lets through. Call it once; the text of
/// the error says what is wrong with the filter.
pub fn start_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    lines(filter, std::io::stdout).try_init().map_err(|error| error.to_string())
}

fn lines(filter: EnvFilter, to: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) -> impl Subscriber + Send + Sync {
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(to);
    tracing_subscriber::registry().with(lines.with_filter(filter).with_filter(filter_fn(is_harmless)))
}

/// The runtime's TRACE holds whole events, and with them passwords and tokens: no filter may let it through.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != Level::TRACE || !metadata.target().starts_with("lambda_runtime")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_lets_the_runtimes_trace_through() {
        let written = Lines::default();
        let writer = written.clone();
        let filter = EnvFilter::new("trace,lambda_runtime=trace,lambda_runtime::layers::api_response=trace");
        tracing::subscriber::with_default(lines(filter, move || writer.clone()), || {
            tracing::trace!(target: "lambda_runtime::layers::api_response", body = "a password", "raw event");
            tracing::trace!("ours");
            tracing::debug!(target: "lambda_runtime", "theirs");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!written.contains("password"), "{written}");
        assert!(written.contains("ours") && written.contains("theirs"), "{written}");
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        assert!(start_log("gatemint=loud").is_err());
    }
}
