//! Lists: `limit` and `cursor`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{domain::Refusal, http::body::parse_form};

/// How many items a page has unless it is said.
pub(super) const USUAL: usize = 50;
/// How many items a page may have: one batch of reads.
pub(super) const MOST: usize = 99;

/// The query of a list.
pub(super) struct Query {
    pub(super) limit: usize,
    pub(super) after: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses a query string.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let pairs = parse_form(query.unwrap_or_default().as_bytes())
            .ok_or_else(|| Refusal::malformed("the query is not UTF-8"))?;
        let mut parsed = Self { limit: USUAL, after: None, pairs };
        if let Some(limit) = parsed.get("limit")? {
            parsed.limit = limit
                .parse()
                .ok()
                .filter(|limit| (1..=MOST).contains(limit))
                .ok_or_else(|| Refusal::malformed(format!("limit must be 1 to {MOST}")))?;
        }
        if let Some(cursor) = parsed.get("cursor")? {
            let after = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let after = after.ok_or_else(|| Refusal::malformed("cursor must be the next_cursor of an earlier page"))?;
            parsed.after = Some(after);
        }
        Ok(parsed)
    }

    /// A parameter that may be given once.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(Refusal::malformed("a query parameter is repeated"));
        }
        Ok(value)
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// What there is.
    items: Vec<T>,
    /// For the page after this one; the last page has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next_cursor: next.map(|after| URL_SAFE_NO_PAD.encode(after)) }
    }
}
