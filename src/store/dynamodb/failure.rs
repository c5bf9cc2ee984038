//! What went wrong, for the operator's log: what was tried on which table, and what to do about it. Whether it may pass.

use std::{error::Error, fmt};

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::CancellationReason,
};

use super::super::StoreError;
use crate::words;

/// Codes of errors that go away by themselves.
const PASSING: &[&str] = &[
    "InternalFailure",
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "ThrottlingError",
    "ThrottlingException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Why an attempt failed.
pub(super) enum Trouble {
    /// It may go better in a moment.
    Passing(Failure),
    /// It would fail again.
    Lasting(Failure),
    /// The reply holds a row that cannot be read.
    Unreadable(StoreError),
}

/// What was tried, and what came of it.
#[derive(Debug)]
pub(super) struct Failure {
    action: &'static str,
    table: String,
    cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, table, cause } = self;
        write!(f, "dynamodb:{action} on the table {table}: {cause}")
    }
}

impl Error for Failure {}

impl Failure {
    fn new(action: &'static str, table: &str, cause: impl Into<String>) -> Self {
        Self { action, table: table.to_owned(), cause: cause.into() }
    }

    /// A request that could not even be made.
    pub(super) fn mistake(action: &'static str, table: &str, error: &dyn Error) -> Self {
        Self::new(action, table, words::of(error))
    }

    /// Keys that were left for later.
    pub(super) fn unprocessed(table: &str, number: usize) -> Self {
        Self::new("BatchGetItem", table, format!("throttled, {number} keys were not read"))
    }

    /// A cancelled transaction that no reason was given for.
    pub(super) fn cancelled_for_nothing(table: &str) -> Self {
        Self::new("TransactWriteItems", table, "cancelled without a reason")
    }
}

/// Judges an error of the SDK.
pub(super) fn trouble<E>(action: &'static str, table: &str, error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let failure = |cause: String| Failure::new(action, table, cause);
    match error {
        SdkError::ServiceError(answer) => {
            let (code, message) =
                (answer.err().code().unwrap_or("an error"), answer.err().message().unwrap_or_default());
            let status = answer.raw().status().as_u16();
            let cause = failure(explained(action, code, &words::shortened(message)));
            if status >= 500 || PASSING.contains(&code) { Trouble::Passing(cause) } else { Trouble::Lasting(cause) }
        }
        SdkError::TimeoutError(_) => Trouble::Passing(failure("no answer in time".to_owned())),
        SdkError::DispatchFailure(lost) => {
            let why = lost.as_connector_error().map_or_else(|| "not sent".to_owned(), |error| words::of(error));
            if lost.is_io() || lost.is_timeout() || lost.as_other().is_some() {
                Trouble::Passing(failure(format!("the connection failed: {why}")))
            } else if why.to_ascii_lowercase().contains("credentials") {
                Trouble::Lasting(failure(no_credentials(&why)))
            } else {
                Trouble::Lasting(failure(why))
            }
        }
        // Something between here and DynamoDB answered; its words may be anybody's.
        SdkError::ResponseError(_) => Trouble::Passing(failure("an answer that is not DynamoDB's".to_owned())),
        error => {
            let why = words::of(error);
            let why = if why.to_ascii_lowercase().contains("credentials") { no_credentials(&why) } else { why };
            Trouble::Lasting(failure(why))
        }
    }
}

/// What keeps a cancelled transaction from being judged by its conditions; none if they are all that failed.
pub(super) fn cancelled(table: &str, reasons: &[CancellationReason]) -> Option<Trouble> {
    let codes: Vec<&str> = reasons.iter().map(|reason| reason.code().unwrap_or("None")).collect();
    let failure = |cause: String| Failure::new("TransactWriteItems", table, cause);
    let others = || codes.iter().zip(reasons).filter(|(code, _)| !matches!(**code, "None" | "ConditionalCheckFailed"));
    let (code, reason) = others().find(|(code, _)| !PASSING.contains(code)).or_else(|| others().next())?;
    let cause = failure(format!(
        "cancelled: {}",
        explained("TransactWriteItems", code, &words::shortened(reason.message().unwrap_or_default()))
    ));
    Some(if PASSING.contains(code) { Trouble::Passing(cause) } else { Trouble::Lasting(cause) })
}

/// A code of DynamoDB, and what to do about it.
fn explained(action: &str, code: &str, message: &str) -> String {
    match code {
        "ResourceNotFoundException" => {
            "there is no such table in this account and region; `sam deploy` makes it from template.yaml, where its keys \
             (pk, sk) and its TTL attribute (expires_at) are written"
                .to_owned()
        }
        "AccessDeniedException" => {
            // A transaction is allowed by what is in it; there is no permission of its name.
            let needed = match action {
                "TransactWriteItems" => "PutItem, dynamodb:DeleteItem and dynamodb:ConditionCheckItem",
                action => action,
            };
            format!("not allowed: whoever runs this needs dynamodb:{needed} on the table, for this kind of row: {message}")
        }
        "UnrecognizedClientException" | "ExpiredTokenException" | "InvalidSignatureException" | "MissingAuthenticationToken" => {
            format!("the AWS credentials are not accepted ({code}): {message}")
        }
        _ => format!("{code}: {message}"),
    }
}

fn no_credentials(why: &str) -> String {
    format!(
        "no AWS credentials were found (a function has those of its role; others set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY): {why}"
    )
}
