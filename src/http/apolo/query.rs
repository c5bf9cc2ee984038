//! What the query of a request asks for.

use axum::http::Uri;

use crate::{domain::Refusal, http::body::parse_form};

/// A query's pairs. Those without a value count as omitted.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query that has no other parameters than these: a mistyped `uri` would be about everything.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Refusal> {
        let pairs = parse_form(uri.query().unwrap_or_default().as_bytes())
            .ok_or_else(|| Refusal::malformed("the query is not UTF-8"))?;
        if pairs.iter().any(|(name, _)| !known.contains(&name.as_str())) {
            return Err(Refusal::malformed("the query has a parameter that this path does not take"));
        }
        Ok(Self(pairs))
    }

    /// A parameter that may be given once.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.all(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Refusal::malformed("a query parameter is repeated")),
        }
    }

    /// A parameter that may be given more than once.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }
}
