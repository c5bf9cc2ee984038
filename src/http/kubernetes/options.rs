//! What the query of a request asks for besides.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{dress::Failure, selector::Selector};
use crate::http::body::parse_form;
use axum::http::{StatusCode, Uri};

/// How many objects a page has at most, and unless it is said.
const MOST: usize = 500;

/// A query's pairs. Those without a value count as omitted.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the query.
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        parse_form(uri.query().unwrap_or_default().as_bytes())
            .map(Self)
            .ok_or_else(|| Failure::bad_request("the query is not UTF-8"))
    }

    /// A parameter that may be given once.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let value = values.next();
        match values.next() {
            Some(_) => Err(Failure::bad_request("a query parameter is repeated")),
            None => Ok(value),
        }
    }

    /// Refuses what would only have been tried.
    pub(super) fn refuse_dry_run(&self) -> Result<(), Failure> {
        match self.get("dryRun")? {
            Some(_) => Err(no_dry_run()),
            None => Ok(()),
        }
    }
}

/// The refusal of what would only have been tried.
pub(super) fn no_dry_run() -> Failure {
    Failure::bad_request("dryRun is not answered here: nothing was done")
}

/// What of a list is wanted.
pub(super) struct ListOptions {
    /// Which objects.
    pub(super) selector: Selector,
    /// How many at most.
    pub(super) limit: usize,
    /// After which name.
    pub(super) after: Option<String>,
}

impl ListOptions {
    /// Parses them.
    pub(super) fn of(query: &Query) -> Result<Self, Failure> {
        if query.get("watch")?.is_some_and(|watch| !["0", "false"].contains(&watch)) {
            return Err(Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "nothing is watched here; ask again instead",
            ));
        }
        // Kubernetes takes 0 for no limit, and may give fewer than it is asked for.
        let limit: usize = match query.get("limit")? {
            Some(limit) => limit.parse().map_err(|_| Failure::bad_request("limit must be a number from 0 on"))?,
            None => 0,
        };
        let after = query.get("continue")?.map(|text| {
            URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| Failure::bad_request("continue must be metadata.continue of the page before"))
        });
        Ok(Self {
            selector: Selector::parse(query.get("labelSelector")?, query.get("fieldSelector")?)?,
            limit: if limit == 0 { MOST } else { limit.min(MOST) },
            after: after.transpose()?,
        })
    }
}

/// `metadata.continue` of a page that ends with this name.
pub(super) fn continue_after(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}
