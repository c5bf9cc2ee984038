//! What a request asks for besides: in its query, and a delete also in its body.

use axum::{
    extract::Request,
    http::{StatusCode, Uri},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    body::{Fields, object},
    dress::Failure,
    selector::Selector,
};
use crate::{domain::ids::Name, http::body::parse_form};

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
fn no_dry_run() -> Failure {
    Failure::bad_request("dryRun is not answered here: nothing was done")
}

/// Reads what a delete says besides: the uid of the object that is meant, if it says so. What it says of waiting has no
/// meaning here, where everything is over at once.
pub(super) async fn deletion(request: Request) -> Result<Option<String>, Failure> {
    Query::of(request.uri())?.refuse_dry_run()?;
    let options = object(request).await?.unwrap_or_default();
    let malformed = |_| Failure::bad_request("the DeleteOptions have a field whose value is not of its kind");
    let fields = Fields::of(&options);
    if fields.texts("dryRun").map_err(malformed)?.is_some_and(|wanted| !wanted.is_empty()) {
        return Err(no_dry_run());
    }
    let conditions = fields.object("preconditions").map_err(malformed)?;
    if conditions.text("resourceVersion").map_err(malformed)?.is_some() {
        return Err(Failure::bad_request("preconditions: an object is told from another by its uid alone"));
    }
    conditions.text("uid").map_err(malformed)
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
        // What a page ends with is a name.
        let after = query.get("continue")?.map(|text| {
            let name = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            name.filter(|name| Name::parse(name, "continue").is_ok())
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
