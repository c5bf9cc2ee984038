//! The deployed artefact: the same router as `gatemint serve`, fed by the Lambda Runtime API.
//!
//! ```text
//! function    which function am I? decided once, at init
//! start       from the environment to a function that has its keys at hand
//! dispatch    one event in, one answer out; the last net under everything
//! kind        what an event is, told by its shape
//! raw_event   JSON → http::Request, or the reason why not
//! reply       http::Response → API Gateway's payload 2.0
//! authorizer  may this request to somebody else's route pass?
//! rotation    the four steps of a rotation, as Secrets Manager asks for them
//! schedule    a run that writes mirrored tokens anew
//! log         lines for CloudWatch, and what they must not hold
//! metrics     lines that CloudWatch makes metrics of
//! ```
//!
//! The event is read here and nowhere else. `lambda_http` 1.3.2 builds a URL from the Host and X-Forwarded-Proto headers
//! and unwraps the result, expects base64 to be base64, and lets a decoded `rawPath` run on into the query and be
//! normalised (`?`, `#`, `..`); each of these belongs to whoever sends the request. So a strange event is answered, not
//! survived: `raw_event` has no way to panic, and `dispatch` catches what a handler might do.

mod authorizer;
mod dispatch;
mod function;
mod kind;
mod log;
mod metrics;
mod raw_event;
mod reply;
pub mod rotation;
mod schedule;
mod start;

pub use function::{Function, NoFunction, resolve};
pub use log::start_log;
pub use start::main;

/// The variables without which the runtime would panic instead of saying what is missing.
const RUNTIME_VARIABLES: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

/// The first of the variables that Lambda (or cargo-lambda) sets for every function and that is not there, if any.
pub fn missing_runtime_variable(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    RUNTIME_VARIABLES.into_iter().find(|name| variable(name).is_none_or(|value| value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_outside_of_lambda_is_told_what_is_missing() {
        assert_eq!(missing_runtime_variable(|_| None), Some("AWS_LAMBDA_RUNTIME_API"));
        assert_eq!(missing_runtime_variable(|_| Some("1".to_owned())), None);
        assert_eq!(
            missing_runtime_variable(|name| (name != "AWS_LAMBDA_FUNCTION_VERSION").then(|| "1".to_owned())),
            Some("AWS_LAMBDA_FUNCTION_VERSION")
        );
    }
}
