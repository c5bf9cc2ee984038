//! Metrics for CloudWatch, in its embedded metric format: JSON lines in the function's log, which CloudWatch makes
//! metrics of. Nothing is sent, and nobody is waited for.
//!
//! CloudWatch charges for each combination of name and dimensions, in every hour in which it occurs (0.30 USD for a
//! month of hours). So only what somebody would look at or be woken by is exported, with few dimensions: 8 for a function
//! that issues tokens, and one for each grant and outcome that occurs. What did not occur is not in a line, and an idle
//! function costs nothing. The log has the rest.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde_json::{Map, Value, json};

use crate::{
    clock::Timestamp,
    metric::{
        AUTHORIZATIONS, GRANTS, MIRROR_FAILED, MIRROR_LEAST_LIFE, MIRROR_LEFT, MIRROR_WRITTEN, REPEATS, REPLAYS,
        REQUEST_DURATION, STORE_DURATION, STORE_RETRIES, STORE_ROUND_TRIPS, THROTTLED,
    },
};

const NAMESPACE: &str = "gatemint";
/// The dimension that every metric has.
const FUNCTION: &str = "function";
/// The member that is no dimension: it leads to the request's other lines.
const REQUEST_ID: &str = "requestId";

/// How many values CloudWatch takes of one metric in one line.
const VALUES: usize = 100;

/// What becomes of a metric.
struct Export {
    name: &'static str,
    unit: &'static str,
    /// The labels that become dimensions, beside the function. The values under the others are taken together.
    labels: &'static [&'static str],
}

const EXPORTS: [Export; 13] = [
    Export { name: GRANTS, unit: "Count", labels: &["grant", "outcome"] },
    Export { name: AUTHORIZATIONS, unit: "Count", labels: &["outcome"] },
    Export { name: REPLAYS, unit: "Count", labels: &[] },
    Export { name: REPEATS, unit: "Count", labels: &[] },
    Export { name: THROTTLED, unit: "Count", labels: &[] },
    Export { name: STORE_RETRIES, unit: "Count", labels: &[] },
    Export { name: STORE_ROUND_TRIPS, unit: "Count", labels: &[] },
    Export { name: STORE_DURATION, unit: "Seconds", labels: &[] },
    Export { name: REQUEST_DURATION, unit: "Seconds", labels: &[] },
    Export { name: MIRROR_WRITTEN, unit: "Count", labels: &[] },
    Export { name: MIRROR_FAILED, unit: "Count", labels: &[] },
    Export { name: MIRROR_LEFT, unit: "Count", labels: &[] },
    Export { name: MIRROR_LEAST_LIFE, unit: "Seconds", labels: &[] },
];

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// A metric with its labels.
type Series = (&'static str, Labels);

/// What was measured since the last lines.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<Series, Measured>>);

enum Measured {
    Count(u64),
    Times(Vec<f64>),
    /// What a gauge showed last.
    Last(f64),
}

impl Ledger {
    fn count(&self, series: &Series, number: u64) {
        // A counter that is announced with 0 has not occurred.
        if number == 0 {
            return;
        }
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Measured::Count(count) = ledger.entry(series.clone()).or_insert(Measured::Count(0)) {
            *count += number;
        }
    }

    fn time(&self, series: &Series, seconds: f64) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Measured::Times(times) = ledger.entry(series.clone()).or_insert_with(|| Measured::Times(Vec::new())) {
            times.push(seconds);
        }
    }

    fn show(&self, series: &Series, value: f64) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.insert(series.clone(), Measured::Last(value));
    }
}

/// One series on its way into the ledger.
struct Handle {
    ledger: Arc<Ledger>,
    series: Series,
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.ledger.count(&self.series, value);
    }

    /// No counter of ours is set.
    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.ledger.time(&self.series, value);
    }
}

/// Gauges of ours that are exported are set, never counted up or down.
impl GaugeFn for Handle {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.ledger.show(&self.series, value);
    }
}

struct IntoLedger(Arc<Ledger>);

impl IntoLedger {
    /// The handle of a metric that is exported.
    fn handle(&self, key: &Key) -> Option<Arc<Handle>> {
        let export = EXPORTS.iter().find(|export| export.name == key.name())?;
        let value = |label: &str| key.labels().find(|own| own.key() == label).map(|own| own.value().to_owned());
        let labels = export.labels.iter().map(|label| (*label, value(label).unwrap_or_default())).collect();
        Some(Arc::new(Handle { ledger: Arc::clone(&self.0), series: (export.name, labels) }))
    }
}

impl Recorder for IntoLedger {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.handle(key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.handle(key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.handle(key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

/// Somebody measures already.
#[derive(Debug, thiserror::Error)]
#[error("something else measures in this process already")]
pub(super) struct Already;

/// What this function measures.
#[derive(Clone)]
pub(super) struct Measurements {
    ledger: Arc<Ledger>,
    /// The function's name in its account, so that stacks do not share a metric, or an alarm.
    function: Arc<str>,
}

impl Measurements {
    /// Measures from now on; once in a process.
    pub(super) fn start(function: &str, now: Timestamp) -> Result<Self, Already> {
        let ledger = Arc::new(Ledger::default());
        metrics::set_global_recorder(IntoLedger(Arc::clone(&ledger))).map_err(|_| Already)?;
        crate::metric::switch_on(now.0);
        Ok(Self { ledger, function: function.into() })
    }

    /// Writes what was measured since the last time to standard output. The first time that includes the init's.
    pub(super) fn write(&self, now: Timestamp, request_id: &str) {
        let mut text = String::new();
        for line in self.lines(now, request_id) {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
            tracing::debug!(cause = %error, "metrics could not be written");
        }
    }

    /// A line for each combination of labels, the first of them with all that has none: as a rule, one.
    fn lines(&self, now: Timestamp, request_id: &str) -> Vec<Value> {
        let measured = std::mem::take(&mut *self.ledger.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut plain = Vec::new();
        let mut labelled: BTreeMap<Labels, Vec<(&'static str, Value)>> = BTreeMap::new();
        let mut late = Vec::new();
        for ((name, labels), measured) in measured {
            let value = match measured {
                Measured::Count(count) => json!(count),
                Measured::Times(times) => {
                    late.extend(times.chunks(VALUES).skip(1).map(|rest| (name, json!(rest))));
                    json!(times.get(..VALUES).unwrap_or(&times))
                }
                // No number is one that CloudWatch would not take.
                Measured::Last(value) if !value.is_finite() => continue,
                Measured::Last(value) => json!(value),
            };
            if labels.is_empty() {
                plain.push((name, value));
            } else {
                labelled.entry(labels).or_default().push((name, value));
            }
        }
        let mut lines = Vec::new();
        let mut labelled = labelled.into_iter();
        if let Some((labels, metrics)) = labelled.next() {
            lines.push(self.line(now, request_id, &[(&Vec::new(), std::mem::take(&mut plain)), (&labels, metrics)]));
        }
        lines.extend(labelled.map(|(labels, metrics)| self.line(now, request_id, &[(&labels, metrics)])));
        if !plain.is_empty() {
            lines.push(self.line(now, request_id, &[(&Vec::new(), plain)]));
        }
        lines.extend(late.into_iter().map(|metric| self.line(now, request_id, &[(&Vec::new(), vec![metric])])));
        lines
    }

    /// One line: for every set of labels, the metrics that have it.
    fn line(&self, now: Timestamp, request_id: &str, parts: &[(&Labels, Vec<(&'static str, Value)>)]) -> Value {
        let mut members = Map::new();
        let mut directives = Vec::new();
        for (labels, metrics) in parts.iter().filter(|(_, metrics)| !metrics.is_empty()) {
            let dimensions: Vec<&str> = [FUNCTION].into_iter().chain(labels.iter().map(|(name, _)| *name)).collect();
            let named: Vec<Value> =
                metrics.iter().map(|(name, _)| json!({ "Name": name, "Unit": unit(name) })).collect();
            directives.push(json!({ "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": named }));
            members.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
            members.extend(metrics.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        members.insert(FUNCTION.to_owned(), json!(self.function));
        members.insert(REQUEST_ID.to_owned(), json!(request_id));
        let milliseconds = now.0.saturating_mul(1000);
        members.insert("_aws".to_owned(), json!({ "Timestamp": milliseconds, "CloudWatchMetrics": directives }));
        Value::Object(members)
    }
}

fn unit(name: &str) -> &'static str {
    EXPORTS.iter().find(|export| export.name == name).map_or("None", |export| export.unit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    /// The lines of what is measured meanwhile.
    fn lines_of(measure: impl FnOnce()) -> Vec<Value> {
        let ledger = Arc::new(Ledger::default());
        with_local_recorder(&IntoLedger(Arc::clone(&ledger)), measure);
        let measurements = Measurements { ledger, function: "token".into() };
        let lines = measurements.lines(NOW, "8476a536");
        assert!(measurements.lines(NOW, "8476a536").is_empty(), "what was written is not written again");
        lines.iter().for_each(is_embedded_metric_format);
        lines
    }

    /// The rules of the format's specification, and that each name means one thing in a line.
    fn is_embedded_metric_format(line: &Value) {
        let aws = &line["_aws"];
        assert_eq!(aws["Timestamp"], json!(1_800_000_000_000_u64));
        let directives = aws["CloudWatchMetrics"].as_array().unwrap();
        assert!(!directives.is_empty());
        let mut named = Vec::new();
        for directive in directives {
            assert_eq!(directive["Namespace"], "gatemint");
            let sets = directive["Dimensions"].as_array().unwrap();
            assert!(!sets.is_empty());
            for dimension in sets.iter().flat_map(|set| {
                let set = set.as_array().unwrap();
                assert!((1..=30).contains(&set.len()));
                set
            }) {
                let value = line[dimension.as_str().unwrap()].as_str().unwrap();
                assert!((1..=1024).contains(&value.len()) && value.is_ascii());
            }
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!((1..=100).contains(&metrics.len()));
            for metric in metrics {
                assert!(["Count", "Seconds"].contains(&metric["Unit"].as_str().unwrap()));
                let name = metric["Name"].as_str().unwrap();
                assert!((1..=1024).contains(&name.len()));
                let is_value = |value: &Value| value.is_number();
                match &line[name] {
                    Value::Array(values) => {
                        assert!((1..=VALUES).contains(&values.len()) && values.iter().all(is_value));
                    }
                    value => assert!(is_value(value), "{name}: {value}"),
                }
                named.push(name);
            }
        }
        let all = named.len();
        named.sort_unstable();
        named.dedup();
        assert_eq!(named.len(), all, "a metric is in one directive of a line");
    }

    #[test]
    fn a_grant_and_its_round_trips_are_one_line() {
        let lines = lines_of(|| {
            counter!(GRANTS, "grant" => "refresh_token", "outcome" => "ok").increment(1);
            for (operation, seconds) in [("get", 0.002), ("commit", 0.004)] {
                counter!(STORE_ROUND_TRIPS, "operation" => operation, "outcome" => "ok").increment(1);
                histogram!(STORE_DURATION, "operation" => operation).record(Duration::from_secs_f64(seconds));
            }
            let labels = [("route", "/oauth2/token"), ("method", "POST"), ("status", "200")];
            histogram!(REQUEST_DURATION, &labels).record(0.007);
        });
        assert_eq!(
            lines,
            [json!({
                "_aws": {
                    "Timestamp": 1_800_000_000_000_u64,
                    "CloudWatchMetrics": [
                        {
                            "Namespace": "gatemint",
                            "Dimensions": [["function"]],
                            "Metrics": [
                                { "Name": "gatemint_http_request_duration_seconds", "Unit": "Seconds" },
                                { "Name": "gatemint_store_duration_seconds", "Unit": "Seconds" },
                                { "Name": "gatemint_store_round_trips_total", "Unit": "Count" },
                            ],
                        },
                        {
                            "Namespace": "gatemint",
                            "Dimensions": [["function", "grant", "outcome"]],
                            "Metrics": [{ "Name": "gatemint_grants_total", "Unit": "Count" }],
                        },
                    ],
                },
                "function": "token",
                "grant": "refresh_token",
                "outcome": "ok",
                "requestId": "8476a536",
                "gatemint_grants_total": 1,
                "gatemint_http_request_duration_seconds": [0.007],
                "gatemint_store_duration_seconds": [0.002, 0.004],
                "gatemint_store_round_trips_total": 2,
            })]
        );
    }

    #[test]
    fn a_replay_can_be_watched_by_the_function_alone() {
        let [line] = &lines_of(|| counter!(REPLAYS).increment(1))[..] else { panic!("one line") };
        assert_eq!(line["gatemint_replays_total"], 1);
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["function"]]));
    }

    #[test]
    fn what_did_not_occur_and_what_is_not_exported_is_in_no_line() {
        let lines = lines_of(|| {
            counter!(REPLAYS).increment(0);
            counter!(THROTTLED, "by" => "name").increment(0);
            gauge!("gatemint_connections").set(3.0);
            histogram!("gatemint_hashing_seconds").record(0.02);
        });
        assert!(lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn of_a_gauge_the_last_value_counts_and_no_value_is_no_life() {
        let lines = lines_of(|| {
            for seconds in [900.0, 720.0] {
                gauge!(MIRROR_LEAST_LIFE).set(seconds);
            }
            counter!(MIRROR_FAILED).increment(0);
        });
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        assert_eq!(line[MIRROR_LEAST_LIFE], json!(720.0));
        assert_eq!(line.get(MIRROR_FAILED), None, "nothing failed");
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["function"]]));
    }

    #[test]
    fn two_outcomes_are_two_lines_and_many_values_are_many() {
        let lines = lines_of(|| {
            for outcome in ["ok", "invalid_grant"] {
                counter!(GRANTS, "grant" => "password", "outcome" => outcome).increment(1);
            }
            for _ in 0..250 {
                histogram!(STORE_DURATION, "operation" => "get").record(0.001);
            }
        });
        let values: Vec<usize> =
            lines.iter().filter_map(|line| line[STORE_DURATION].as_array().map(Vec::len)).collect();
        assert_eq!((lines.len(), values), (4, vec![100, 100, 50]));
    }

    #[test]
    fn a_metric_of_ours_is_exported_under_labels_that_it_has() {
        // The names of labels are in the code that counts, so that code is asked.
        let recorder = IntoLedger(Arc::new(Ledger::default()));
        with_local_recorder(&recorder, || {
            crate::metric::switch_on(0);
            crate::metric::grant_judged("password", "ok", Duration::ZERO);
            crate::metric::authorized("allowed");
            crate::metric::replay_detected();
            crate::metric::refresh_repeated();
            crate::metric::throttled(crate::metric::Throttle::Name);
            crate::metric::store_called("get", "ok", Duration::ZERO);
            crate::metric::store_retried();
            crate::metric::request_answered("/v1/me", "GET", 200, Duration::ZERO);
            crate::metric::mirrored(1, 1, 1, Some(Duration::from_mins(12)));
        });
        let lines = Measurements { ledger: recorder.0, function: "all".into() }.lines(NOW, "1");
        lines.iter().for_each(is_embedded_metric_format);
        let counted = EXPORTS.iter().filter(|export| lines.iter().any(|line| line.get(export.name).is_some())).count();
        assert_eq!(counted, EXPORTS.len(), "{lines:?}");
    }
}
