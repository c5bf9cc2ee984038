//! What the operator has the proxy say in the query of its own request.

use percent_encoding::percent_decode_str;

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

/// Reads the query of the proxy's own request. Caddy, whose address has no `?`, puts its client's query there: so what the
/// client's own request says, too, may be no word of the operator's, and is refused.
pub(super) fn parse(query: Option<&str>, clients: Option<&str>) -> Result<Own, Refused> {
    let Some(query) = query else { return Ok(Own::default()) };
    let pairs = parse_form(query.as_bytes()).ok_or(Refused::Query)?;
    let one = |name: &str| {
        let mut values = pairs.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(Refused::Query);
        }
        if first.is_some_and(|value| clients.is_some_and(|clients| says(clients, name, value))) {
            return Err(Refused::ClientsQuery);
        }
        Ok(first)
    };
    let strip = one("strip")?.map(Path::of_decoded).transpose().map_err(|_| Refused::Query)?;
    Ok(Own { strip, audience: one("audience")?.map(str::to_owned) })
}

/// Whether a query has this pair in any reading: some proxies write a query anew, and some servers split it at `;`.
fn says(query: &str, name: &str, value: &str) -> bool {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let is_it = |pair: &str| pair.split_once('=').is_some_and(|(n, v)| decoded(n) == name && decoded(v) == value);
    query.split('&').any(is_it) || query.split(['&', ';']).any(is_it)
}
