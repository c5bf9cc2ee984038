//! HTTP methods: the one of a request, and those that a token opens.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::Refusal;

const FIELD: &str = "spec.verbs";

/// What a token may name: RFC 9110 §9.3, PATCH (RFC 5789) and WebDAV's (RFC 4918 §9). Kubernetes' own verbs (`list`,
/// `watch`) are no HTTP methods.
const KNOWN: [&str; 16] = [
    "get",
    "head",
    "options",
    "post",
    "put",
    "patch",
    "delete",
    "trace",
    "connect",
    "propfind",
    "proppatch",
    "mkcol",
    "copy",
    "move",
    "lock",
    "unlock",
];

/// A request's method. Case counts (RFC 9110 §9.1), and none that is registered has a small letter: so `get` is no method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Method(String);

impl Method {
    /// Parses a method: 1 to 32 of `A-Z`, `0-9`, `-` and `_`, beginning with a letter. None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_method = (1..=32).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
        is_method.then(|| Self(text.to_owned()))
    }

    /// The method, in capitals.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it only reads: GET, HEAD and OPTIONS. Of any other nothing is known.
    pub fn is_read(&self) -> bool {
        ["GET", "HEAD", "OPTIONS"].contains(&self.0.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The HTTP methods that a token opens, in small letters: at least one, none twice, in the order in which they were named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Verbs(Vec<&'static str>);

impl Verbs {
    /// Parses verbs, in any letter case.
    ///
    /// # Errors
    /// `Invalid` for `spec.verbs`: none at all, or one that is no HTTP method.
    pub fn parse(texts: &[String]) -> Result<Self, Refusal> {
        let mut verbs = Vec::new();
        for text in texts {
            let known = KNOWN.into_iter().find(|known| text.eq_ignore_ascii_case(known));
            let verb = known.ok_or_else(|| {
                Refusal::invalid(
                    FIELD,
                    "each must be an HTTP method, e.g. get, post or delete, and no verb of Kubernetes",
                )
            })?;
            if !verbs.contains(&verb) {
                verbs.push(verb);
            }
        }
        if verbs.is_empty() {
            return Err(Refusal::invalid(FIELD, "must name at least one HTTP method, e.g. get"));
        }
        Ok(Self(verbs))
    }

    /// The verbs, in small letters.
    pub fn as_slice(&self) -> &[&'static str] {
        &self.0
    }

    /// Whether a request's method is among them; HEAD goes with GET (RFC 9110 §9.3.2).
    pub fn covers(&self, method: &Method) -> bool {
        let is = |verb: &str| method.0.eq_ignore_ascii_case(verb);
        self.0.iter().any(|verb| is(verb) || (*verb == "get" && is("head")))
    }
}

/// `["get"]`, the original's default.
impl Default for Verbs {
    fn default() -> Self {
        Self(vec!["get"])
    }
}

impl TryFrom<Vec<String>> for Verbs {
    type Error = Refusal;
    fn try_from(texts: Vec<String>) -> Result<Self, Refusal> {
        Self::parse(&texts)
    }
}

impl From<Verbs> for Vec<String> {
    fn from(verbs: Verbs) -> Self {
        verbs.0.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(texts: &[&str]) -> Result<Verbs, Refusal> {
        Verbs::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn verbs_are_http_methods_in_any_letter_case() {
        assert_eq!(verbs(&["GET", "Options", "get"]).unwrap().as_slice(), ["get", "options"]);
        assert_eq!(serde_json::to_string(&Verbs::default()).unwrap(), r#"["get"]"#);
        assert_eq!(serde_json::from_str::<Verbs>(r#"["Delete"]"#).unwrap().as_slice(), ["delete"]);
        for bad in
            [&[][..], &[""], &["*"], &["list"], &["watch"], &["get", "update"], &["get,post"], &["get "], &["ｇet"]]
        {
            let refusal = verbs(bad).expect_err(&bad.join(" "));
            assert_eq!(refusal.field, Some(FIELD), "{bad:?}");
        }
        assert!(serde_json::from_str::<Verbs>("[]").is_err());
    }

    #[test]
    fn a_methods_case_counts() {
        for good in ["GET", "M-SEARCH", "X_Y2"] {
            assert_eq!(Method::parse(good).unwrap().as_str(), good);
        }
        let long = "A".repeat(33);
        for bad in
            ["", "get", "GeT", "Get", "GET ", " GET", "GET,POST", "1GET", "-", "GÉT", "GET\0", "GET\r\n", "*", &long]
        {
            assert_eq!(Method::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn head_goes_with_get_and_nothing_else_goes_along() {
        let method = |text: &str| Method::parse(text).unwrap();
        let get = Verbs::default();
        for (text, covered) in [("GET", true), ("HEAD", true), ("OPTIONS", false), ("POST", false), ("GETS", false)] {
            assert_eq!(get.covers(&method(text)), covered, "{text}");
        }
        let head = verbs(&["head"]).unwrap();
        assert!(head.covers(&method("HEAD")) && !head.covers(&method("GET")));
        let reads = ["GET", "HEAD", "OPTIONS"];
        let writes = ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X"];
        assert!(reads.iter().all(|text| method(text).is_read()) && !writes.iter().any(|text| method(text).is_read()));
    }
}
