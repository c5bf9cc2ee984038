//! Where a link leads. Never to another host, whatever it says: a link is clicked by whoever trusts this host.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::said::Said;
use crate::domain::{
    Policy,
    gate::{GateToken, Method, Origin, Path, Pattern, Target},
};

/// The longest `then`, in bytes.
const LONGEST: usize = 2_048;

/// What a query may not hold as it is (RFC 3986 §3.4); escapes were looked at before.
const NOT_IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/')
    .remove(b'?');

/// Why a link's `then` is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPlace {
    /// Not a path on this host.
    #[error("then must be a path that begins with one '/', and may have a query")]
    NotAPath,
    /// A path that the token does not open.
    #[error("then must be a path that the token opens for GET")]
    NotCovered,
}

/// Where a link leads: with a machine the operator's template, else what it says, else the first URL that its token names
/// whole; none if it says nothing and its token names none. A path of this host, in ASCII, ready for a `Location`.
///
/// # Errors
/// [`BadPlace`]
pub(super) fn of(said: &Said, token: &GateToken, policy: &Policy) -> Result<Option<String>, BadPlace> {
    if let Some((namespace, name)) = &said.machine {
        // Both are names: lower-case letters, digits, '-' and '.' are nothing special, wherever the template has them.
        let filled = policy.link_target.replace("{namespace}", namespace.as_str()).replace("{name}", name.as_str());
        return Ok(Some(filled));
    }
    if let Some(then) = &said.then {
        return followed(then, token, policy).map(Some);
    }
    let first = token.urls.as_slice().iter().filter(|pattern| pattern.origin().is_none()).find_map(Pattern::exact_path);
    Ok(first.filter(|path| opens(token, path, policy)).map(Path::encoded))
}

fn followed(then: &str, token: &GateToken, policy: &Policy) -> Result<String, BadPlace> {
    if then.len() > LONGEST || !then.bytes().all(|byte| byte.is_ascii_graphic()) || then.contains('#') {
        return Err(BadPlace::NotAPath);
    }
    let (path, query) = then.split_once('?').map_or((then, None), |(path, query)| (path, Some(query)));
    let path = Path::of_encoded(path).map_err(|_| BadPlace::NotAPath)?;
    if !opens(token, &path, policy) {
        return Err(BadPlace::NotCovered);
    }
    let mut place = path.encoded();
    if let Some(query) = query {
        place.push('?');
        place.push_str(&encoded_query(query).ok_or(BadPlace::NotAPath)?);
    }
    Ok(place)
}

/// Whether the token opens a page of the host that links are opened on, as far as it can be known here.
fn opens(token: &GateToken, path: &Path, policy: &Policy) -> bool {
    let Some(method) = Method::parse("GET") else { return false };
    let Ok((Origin { scheme, host }, _)) = Origin::of_url(&policy.issuer) else { return false };
    let target = Target { method, scheme: Some(scheme), host, path: path.clone() };
    token.verbs.covers(&target.method) && token.urls.covers(&target)
}

/// A query with its escapes as they are; what may not stand there is escaped. None for a `%` that begins no escape.
fn encoded_query(query: &str) -> Option<String> {
    let mut pieces = query.split('%');
    let mut encoded = utf8_percent_encode(pieces.next()?, NOT_IN_QUERY).to_string();
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(2)?;
        if !escape.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let _ = write!(encoded, "%{escape}{}", utf8_percent_encode(rest, NOT_IN_QUERY));
    }
    Some(encoded)
}
