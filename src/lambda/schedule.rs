//! The function `refresh-secrets`: a schedule asks for a run that writes mirrored tokens anew.
//!
//! Nothing of the event counts but that it is one of a schedule's. Events may come twice, late, or not at all: a run does
//! what is due, and one that finds another at work leaves it to that. What is answered is for whoever asks by hand; a
//! schedule drops it.

use std::time::Duration;

use lambda_http::lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;

use crate::domain::{
    Service,
    fresh_token::mirror::{self, LONGEST_RUN, Outcome, Run},
};

/// How long a run may take: longer than it gives itself, and less than the 120 s that the function has, past which Lambda
/// ends the process without a word.
const PATIENCE: Duration = LONGEST_RUN.saturating_add(Duration::from_secs(5));

/// What a schedule of `EventBridge` Scheduler is given as its input, or an operator sends: `{"gatemint": "refresh-secrets"}`.
const ASKS_FOR: &str = "refresh-secrets";

/// Whether an event is one of a schedule's, to judge by its shape: of a rule on a schedule, of `EventBridge` Scheduler, or
/// our own words.
pub(super) fn is_schedule(event: &Value) -> bool {
    let is = |name: &str, value: &str| event.get(name).and_then(Value::as_str) == Some(value);
    let by_schedule = is("source", "aws.events") || is("source", "aws.scheduler");
    by_schedule && is("detail-type", "Scheduled Event") || is("gatemint", ASKS_FOR)
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// `done`; `busy`: another run is at it; `out_of_time`: what is left is for the next run.
    outcome: &'static str,
    /// How many secrets there are to look after, as far as they were looked at.
    mirrored: usize,
    written: usize,
    /// Whose account wants none any more, or is no more.
    removed: usize,
    failed: usize,
    /// Due, and not written for want of time.
    left: usize,
    /// Secrets that nobody knew any more.
    swept: usize,
    /// The shortest life that a mirrored token has after the run, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    least_left_s: Option<u64>,
}

impl Report {
    fn of(run: &Run) -> Self {
        Self {
            outcome: match run.outcome {
                Outcome::Done => "done",
                Outcome::Busy => "busy",
                Outcome::OutOfTime => "out_of_time",
                Outcome::GaveUp => "gave_up",
            },
            mirrored: run.mirrored,
            written: run.written,
            removed: run.removed,
            failed: run.failed,
            left: run.left,
            swept: run.swept,
            least_left_s: run.least_left.map(|left| left.as_secs()),
        }
    }

    /// Whether something was to be done and nothing was: then the invocation has failed, which is what alarms see.
    fn has_failed(&self) -> bool {
        self.outcome == "gave_up" || self.failed > 0 && self.written + self.removed == 0
    }
}

/// Runs once.
///
/// # Errors
/// The store or the vault is away, or nothing of what was due could be done. The next event tries again.
pub(super) async fn answer(service: &Service) -> Result<Report, Diagnostic> {
    let failed = |why: String| Diagnostic { error_type: "RunFailed".to_owned(), error_message: why };
    let run = match tokio::time::timeout(PATIENCE, mirror::refresh_secrets(service)).await {
        Ok(Ok(run)) => run,
        Ok(Err(refusal)) => {
            let cause = refusal.cause();
            tracing::error!(cause, "mirrored tokens could not be looked after");
            return Err(failed(refusal.text.into_owned()));
        }
        Err(_) => {
            tracing::error!("mirrored tokens were not looked after in time");
            return Err(failed("not done in time".to_owned()));
        }
    };
    let report = Report::of(&run);
    if report.has_failed() {
        let Report { outcome, failed: number, .. } = report;
        return Err(failed(format!("nothing was written: {number} failed, {outcome}; the log says why")));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedules_event_is_told_from_everybody_elses() {
        let of = |source: &str, kind: &str| json!({ "version": "0", "source": source, "detail-type": kind, "detail": {} });
        for event in [
            of("aws.events", "Scheduled Event"),
            of("aws.scheduler", "Scheduled Event"),
            json!({ "gatemint": "refresh-secrets" }),
        ] {
            assert!(is_schedule(&event), "{event}");
        }
        for event in [
            of("aws.ec2", "EC2 Instance State-change Notification"),
            of("aws.events", "Something Else"),
            of("com.example", "Scheduled Event"),
            json!({ "gatemint": "rotate-keys" }),
            json!({ "gatemint": ["refresh-secrets"] }),
            json!({ "detail-type": "Scheduled Event" }),
            json!("refresh-secrets"),
            json!(null),
        ] {
            assert!(!is_schedule(&event), "{event}");
        }
    }

    #[test]
    fn a_run_that_did_nothing_of_what_was_due_has_failed() {
        let run = |outcome, written, removed, failed| {
            let (mirrored, left, swept) = (3, 0, 0);
            Report::of(&Run { outcome, mirrored, written, removed, failed, left, swept, least_left: None })
        };
        let fine = [
            run(Outcome::Done, 0, 0, 0),
            run(Outcome::Done, 2, 0, 1),
            run(Outcome::Done, 0, 1, 1),
            run(Outcome::Busy, 0, 0, 0),
            run(Outcome::OutOfTime, 2, 0, 0),
        ];
        assert_eq!(fine.iter().position(Report::has_failed), None);
        let failed = [run(Outcome::GaveUp, 0, 0, 0), run(Outcome::GaveUp, 2, 0, 0), run(Outcome::Done, 0, 0, 1)];
        assert!(failed.iter().all(Report::has_failed));
    }

    #[test]
    fn a_report_is_json_and_says_nothing_of_a_life_that_nobody_has() {
        let least_left = Some(Duration::from_millis(719_900));
        let run = Run {
            outcome: Outcome::Done, mirrored: 3, written: 1, removed: 0, failed: 0, left: 0, swept: 0, least_left,
        };
        let told = serde_json::to_value(Report::of(&run)).unwrap();
        let expected = json!({
            "outcome": "done", "mirrored": 3, "written": 1, "removed": 0, "failed": 0, "left": 0, "swept": 0,
            "least_left_s": 719,
        });
        assert_eq!(told, expected);
        let none = serde_json::to_value(Report::of(&Run { least_left: None, ..run })).unwrap();
        assert_eq!(none.get("least_left_s"), None);
    }
}
