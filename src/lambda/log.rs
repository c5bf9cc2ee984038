//! Log lines for CloudWatch: one flat JSON object each, on standard output. A line that belongs to an invocation has its
//! `requestId`, under the name that Lambda's own lines give it.

use std::fmt;

use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt as _, Targets, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormattedFields, MakeWriter,
        format::{Format, Json, JsonFields, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// Writes log lines from now on, those that `filter` (e.g. `info,gatemint=debug`) lets through. Call it once; the text of
/// the error says what is wrong with the filter.
pub fn start_log(filter: &str) -> Result<(), String> {
    let filter: Targets = filter
        .parse()
        .map_err(|error| format!("GATEMINT_LOG is not a filter: {error}; e.g. info or info,gatemint=debug"))?;
    lines(filter, std::io::stdout).try_init().map_err(|error| error.to_string())
}

fn lines(filter: Targets, to: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) -> impl Subscriber + Send + Sync {
    let json = Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
    let lines = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(Flat(json)).with_writer(to);
    // Whatever is let through, the line says which invocation it is of.
    let invocation = filter_fn(is_invocation).with_max_level_hint(LevelFilter::INFO);
    tracing_subscriber::registry().with(lines.with_filter(filter.or(invocation)).with_filter(filter_fn(is_harmless)))
}

/// The span that the runtime opens around an invocation; it holds the request's id.
fn is_invocation(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == "lambda_runtime::layers::trace"
}

/// A line as tracing-subscriber writes it, with the fields of the spans around it, outermost first, as its own.
struct Flat(Format<Json>);

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(open) = line.trim_end().strip_suffix('}') else { return writer.write_str(&line) };
        writer.write_str(open)?;
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>().map_or("", |fields| fields.fields.as_str());
            let fields = fields.strip_prefix('{').and_then(|fields| fields.strip_suffix('}')).unwrap_or_default();
            if !fields.is_empty() {
                write!(writer, ",{fields}")?;
            }
        }
        writer.write_str("}\n")
    }
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
        let filter = "trace,lambda_runtime=trace,lambda_runtime::layers::api_response=trace".parse().unwrap();
        tracing::subscriber::with_default(lines(filter, move || writer.clone()), || {
            tracing::trace!(target: "lambda_runtime::layers::api_response", body = "a password", "raw event");
            tracing::trace!("ours");
            tracing::debug!(target: "lambda_runtime", "theirs");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!written.contains("password"), "{written}");
        assert!(written.contains("ours") && written.contains("theirs"), "{written}");
    }

    /// What is written under a filter, a line each.
    fn written(filter: &str, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let written = Lines::default();
        let writer = written.clone();
        tracing::subscriber::with_default(lines(filter.parse().unwrap(), move || writer.clone()), log);
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_is_flat_and_says_which_invocation_and_request_it_is_of() {
        for filter in ["debug", "warn", "off,gatemint=warn"] {
            let lines = written(filter, || {
                let invocation =
                    tracing::info_span!(target: "lambda_runtime::layers::trace", "invoke", requestId = "8476a536");
                let _inside = invocation.enter();
                let request = tracing::error_span!("request", request.id = "mine", client.address = "192.0.2.1");
                let _inside = request.enter();
                tracing::warn!(http.status = 503, cause = "a \"quoted\" one", "answered");
            });
            let [line] = &lines[..] else { panic!("one line under {filter}: {lines:?}") };
            assert_eq!(line["requestId"], "8476a536", "{filter}: {line}");
            assert_eq!((&line["request.id"], &line["http.status"]), (&"mine".into(), &503.into()));
            assert_eq!((&line["cause"], &line["message"]), (&"a \"quoted\" one".into(), &"answered".into()));
            let nested = line.as_object().unwrap().values().find(|value| value.is_object() || value.is_array());
            assert_eq!(nested, None, "{line}");
        }
        assert!(written("off", || tracing::error!("unheard")).is_empty());
        assert_eq!(written("info", || tracing::info!("outside")).len(), 1);
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        assert!(start_log("gatemint=loud").is_err());
    }
}
