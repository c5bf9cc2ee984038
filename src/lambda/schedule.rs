//! The function `refresh-secrets`: a schedule asks for a run that writes mirrored tokens anew.
//!
//! Nothing of the event counts but that it is one of a schedule's. Events may come twice, late, or not at all: a run does
//! what is due, and one that finds another under way leaves it to that. What is answered is for whoever asks by hand; a
//! schedule drops it.

use std::time::Duration;

use lambda_http::lambda_runtime::Diagnostic;
use serde_json::Value;

use crate::domain::{
    Service,
    fresh_token::mirror::{self, LONGEST_RUN, Outcome, Run},
};

/// How long a run may take: longer than it gives itself, and less than the 120 s that the function has, past which Lambda
/// ends the process without a word.
const PATIENCE: Duration = LONGEST_RUN.saturating_add(Duration::from_secs(5));

/// What a schedule of EventBridge Scheduler is given as its input, or an operator sends: `{"gatemint": "refresh-secrets"}`.
const ASKED_FOR: &str = "refresh-secrets";

/// Whether an event is one of a schedule's, to judge by its shape: of a rule with a schedule, of EventBridge Scheduler, or
/// our own words.
pub(super) fn is_schedule(event: &Value) -> bool {
    let is = |name: &str, value: &str| event.get(name).and_then(Value::as_str) == Some(value);
    let by_schedule = is("source", "aws.events") || is("source", "aws.scheduler");
    by_schedule && is("detail-type", "Scheduled Event") || is("gatemint", ASKED_FOR)
}

/// Whether the run was for nothing: the vault is away, its time was up before it had done anything, or it has failed with
/// everything that is mirrored. Then the invocation has failed, which is what alarms see. One namespace of many that keeps
/// failing is no alarm until its token grows old.
fn has_failed(run: &Run) -> bool {
    let has_done_nothing = run.written + run.removed == 0;
    let all_failed = run.failed > 0 && run.failed == run.mirrored;
    run.outcome == Outcome::GaveUp || has_done_nothing && (run.left > 0 || all_failed)
}

/// Runs once, and says what came of it.
///
/// # Errors
/// The store or the vault is away, or nothing of what was due could be done. The next event tries again.
pub(super) async fn answer(service: &Service) -> Result<Run, Diagnostic> {
    let failed = |why: String| Diagnostic { error_type: "RunFailed".to_owned(), error_message: why };
    match tokio::time::timeout(PATIENCE, mirror::refresh_secrets(service)).await {
        Ok(Ok(run)) if has_failed(&run) => {
            let Run { written, failed: failures, left, .. } = run;
            let what = format!("{written} mirrored tokens were written, {failures} failed, {left} are left");
            Err(failed(format!("{what}; the log says why")))
        }
        Ok(Ok(run)) => Ok(run),
        Ok(Err(refusal)) => {
            let cause = refusal.cause();
            tracing::error!(cause, "mirrored tokens were not refreshed; the next run tries");
            Err(failed(refusal.text.into_owned()))
        }
        Err(_) => {
            tracing::error!("mirrored tokens were not refreshed in time; the next run goes on");
            Err(failed("not done in time".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedules_event_is_told_from_everybody_elses() {
        let of =
            |source: &str, kind: &str| json!({ "version": "0", "source": source, "detail-type": kind, "detail": {} });
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
        let run = |outcome, written, removed, failed| Run { outcome, written, removed, failed, ..Run::default() };
        let fine = [
            run(Outcome::Done, 0, 0, 0),
            run(Outcome::Done, 2, 0, 1),
            run(Outcome::Done, 0, 1, 1),
            Run { mirrored: 2, ..run(Outcome::Done, 0, 0, 1) },
            run(Outcome::Busy, 0, 0, 0),
            run(Outcome::OutOfTime, 2, 0, 0),
        ];
        assert_eq!(fine.iter().position(has_failed), None);
        let left = Run { left: 3, ..run(Outcome::OutOfTime, 0, 0, 0) };
        let all = Run { mirrored: 2, ..run(Outcome::Done, 0, 0, 2) };
        let failed = [run(Outcome::GaveUp, 0, 0, 16), run(Outcome::GaveUp, 2, 0, 0), left, all];
        assert!(failed.iter().all(has_failed));
    }

    #[test]
    fn what_is_answered_is_json_with_units_in_its_names() {
        let run = Run { mirrored: 3, written: 1, least_left: Some(Duration::from_millis(719_900)), ..Run::default() };
        let expected = json!({
            "outcome": "done", "mirrored": 3, "written": 1, "removed": 0, "failed": 0, "left": 0, "swept": 0,
            "least_left_s": 719,
        });
        assert_eq!(serde_json::to_value(run).unwrap(), expected);
        assert_eq!(serde_json::to_value(Outcome::OutOfTime).unwrap(), "out_of_time");
    }
}
