//! How the domain says no.
//!
//! A [`Refusal`] carries what the caller may read and, apart from it, what only the operator needs. Each dialect maps
//! the kinds to its own statuses and shapes in one exhaustive match.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use super::access::{Action, Resource};
use crate::{
    store::{CommitError, StoreError},
    vault::VaultError,
};

/// A kind exists because some dialect answers differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is not in the form that it must have.
    Malformed,
    /// A field's value is not allowed.
    Invalid,
    /// Nobody, or nobody that we know, is asking.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
    /// There is no such thing, or none that the caller may know of.
    Absent,
    /// It clashes with what is there.
    Conflict,
    /// It was there once.
    Gone,
    /// More than is accepted.
    TooLarge,
    /// Too often; again after this long.
    Throttled(Duration),
    /// Store or keys are away.
    Unavailable,
}

type Source = Box<dyn Error + Send + Sync>;

/// A refusal: fixed text for the caller, the cause for the operator's log.
#[derive(Debug)]
pub struct Refusal {
    /// Which kind.
    pub kind: RefusalKind,
    /// What the caller may read.
    pub text: Cow<'static, str>,
    /// The field that is at fault, if it is one.
    pub field: Option<&'static str>,
    /// What whoever asks was not granted, of a `Forbidden`: the resource, and what would have been needed on it.
    pub missing: Vec<(Resource, Action)>,
    /// The cause, for the log.
    pub source: Option<Source>,
}

impl Refusal {
    /// What the operator's log says of it: the cause in its own words, never as Debug would show it, which may hold what
    /// was read or sent.
    pub fn cause(&self) -> String {
        self.source.as_ref().map_or_else(|| self.text.to_string(), ToString::to_string)
    }

    /// A refusal without a field and a cause.
    pub fn new(kind: RefusalKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, text: text.into(), field: None, missing: Vec::new(), source: None }
    }

    /// The request is not in the form that it must have.
    pub fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Malformed, text)
    }

    /// A field's value is not allowed; the text says what is.
    pub fn invalid(field: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field), ..Self::new(RefusalKind::Invalid, text) }
    }

    /// Nobody that we know is asking.
    pub fn unauthenticated(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Unauthenticated, text)
    }

    /// Whoever asks may not.
    pub fn forbidden(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Forbidden, text)
    }

    /// Whoever asks was not granted this.
    pub fn not_granted(missing: Vec<(Resource, Action)>) -> Self {
        let first = missing.first().map(|(resource, action)| format!("{} on {resource} ", action.as_str()));
        Self { missing, ..Self::forbidden(format!("{}was not granted to you", first.unwrap_or_default())) }
    }

    /// There is no such thing.
    pub fn absent(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Absent, text)
    }

    /// It clashes with what is there.
    pub fn conflict(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Conflict, text)
    }

    /// Store or keys are away.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(RefusalKind::Unavailable, "the service cannot reach its state just now; try again")
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.text)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        Self::unavailable(error)
    }
}

/// A conflict that the caller had no answer for: the row kept changing.
impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        Self::unavailable(error)
    }
}

/// The error codes of RFC 6749 §5.2 with those of RFC 7009 §2.2.1, RFC 8707 §2 and RFC 6749 §4.1.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_client`
    InvalidClient,
    /// `invalid_grant`
    InvalidGrant,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_target` (RFC 8707 §2)
    InvalidTarget,
    /// `unsupported_token_type` (RFC 7009 §2.2.1)
    UnsupportedTokenType,
    /// `temporarily_unavailable`, after too many attempts
    Throttled(Duration),
    /// `temporarily_unavailable`, with the store or the keys away
    Unavailable,
}

impl GrantError {
    /// The code as it goes over the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::Throttled(_) | Self::Unavailable => "temporarily_unavailable",
        }
    }
}

/// How the token endpoint says no: RFC 6749 §5.2 is an alphabet of its own.
#[derive(Debug)]
pub struct GrantRefusal {
    /// The code.
    pub error: GrantError,
    /// `error_description`
    pub description: Cow<'static, str>,
    /// The cause, for the log.
    pub source: Option<Source>,
}

impl GrantRefusal {
    /// A refusal without a cause.
    pub fn new(error: GrantError, description: impl Into<Cow<'static, str>>) -> Self {
        Self { error, description: description.into(), source: None }
    }

    /// `invalid_request`
    pub fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(GrantError::InvalidRequest, description)
    }

    /// `invalid_grant`
    pub fn invalid_grant(description: &'static str) -> Self {
        Self::new(GrantError::InvalidGrant, description)
    }

    /// `invalid_client`: the same text for an unknown client, a wrong secret and a disabled client.
    pub fn invalid_client() -> Self {
        Self::new(GrantError::InvalidClient, "Invalid client or Invalid client credentials")
    }

    /// Store or keys are away.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(GrantError::Unavailable, "The service cannot reach its state just now; try again")
        }
    }
}

impl From<StoreError> for GrantRefusal {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl From<CommitError> for GrantRefusal {
    fn from(error: CommitError) -> Self {
        Self::unavailable(error)
    }
}

impl From<Refusal> for GrantRefusal {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal.kind {
            RefusalKind::Unavailable => GrantError::Unavailable,
            RefusalKind::Throttled(after) => GrantError::Throttled(after),
            RefusalKind::Unauthenticated => GrantError::InvalidClient,
            RefusalKind::Forbidden => GrantError::UnauthorizedClient,
            RefusalKind::Malformed
            | RefusalKind::Invalid
            | RefusalKind::Absent
            | RefusalKind::Conflict
            | RefusalKind::Gone
            | RefusalKind::TooLarge => GrantError::InvalidRequest,
        };
        Self { error, description: refusal.to_string().into(), source: refusal.source }
    }
}
