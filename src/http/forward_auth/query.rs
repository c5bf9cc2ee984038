//! What the operator has the proxy say in the query of its own request.

use super::Refused;
use crate::{domain::gate::Path, http::body::parse_form};

/// What it says.
#[derive(Default)]
pub(super) struct Own {
    /// What is taken off the path.
    pub(super) strip: Option<Path>,
    /// Whom an account's token must be for.
    pub(super) audience: Option<String>,
}

/// Reads the query of the proxy's own request. What a proxy passes on of its client's is no word of the operator's: a query
/// that the client's own request has, too, decides nothing.
pub(super) fn parse(query: Option<&str>, clients: Option<&str>) -> Result<Own, Refused> {
    let Some(query) = query else { return Ok(Own::default()) };
    let pairs = parse_form(query.as_bytes()).ok_or(Refused::Query)?;
    let one = |name: &str| {
        let mut values = pairs.iter().filter(|(own, _)| own == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() { Err(Refused::Query) } else { Ok(first) }
    };
    let (strip, audience) = (one("strip")?, one("audience")?);
    if (strip.is_some() || audience.is_some()) && clients == Some(query) {
        return Err(Refused::ClientsQuery);
    }
    let strip = strip.map(|prefix| Path::of_decoded(prefix)).transpose().map_err(|_| Refused::Query)?;
    Ok(Own { strip, audience: audience.cloned() })
}
