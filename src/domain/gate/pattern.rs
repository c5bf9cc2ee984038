//! The URLs that a token opens, and whether a request is for one of them.
//!
//! ```text
//! /x               that path alone, on any host
//! /x/*             /x/ and everything below it; not /x
//! /x*              /x, and everything below it; not /xy
//! /*               everything
//! https://h/x/*    the same on one host, where the scheme is told with this scheme
//! ```
//! The path is judged as a request's is, and compared decoded: `/%61` covers `/a`. A `*` stands at the very end or
//! nowhere; a literal one is written `%2A`. What has no path (`https://h`) is refused rather than understood as one thing
//! or the other.

use serde::{Deserialize, Serialize};

use super::{BadOrigin, BadPath, Host, Method, Origin, Path, Scheme};
use crate::domain::Refusal;

const FIELD: &str = "spec.urls";

/// What a request wants, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The method.
    pub method: Method,
    /// The scheme, where it is told.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Host,
    /// The path.
    pub path: Path,
}

/// URLs that a token opens: a path or an absolute URL, alone or with all that is below it. Parsed once; serialised as it
/// was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    origin: Option<Origin>,
    path: Path,
    /// Whether what is below the path is covered, too.
    open: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum BadPattern {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most 2048 bytes")]
    TooLong,
    #[error("must be ASCII without spaces: percent-encoded in the path, punycode (xn--…) in the host")]
    NotAscii,
    #[error("'*' may stand at the very end only; a literal one is written %2A")]
    Star,
    #[error("'*' alone names no URL; every path is /*")]
    StarAlone,
    #[error("must be a path that begins with '/', or an absolute URL: {0}")]
    Origin(#[from] BadOrigin),
    #[error("must have a path: https://host/ is one page, https://host/* is all of them")]
    NoPath,
    #[error("must have no query and no fragment: the path alone is compared")]
    Query,
    #[error("{0}")]
    Path(#[from] BadPath),
}

impl Pattern {
    /// The longest pattern, in bytes.
    pub const MAX: usize = 2048;

    /// Parses a pattern.
    ///
    /// # Errors
    /// `Invalid` for `spec.urls`; the text says which rule it is.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::read(text).map_err(|why| Refusal::invalid(FIELD, why.to_string()))
    }

    fn read(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        if text.len() > Self::MAX {
            return Err(BadPattern::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadPattern::NotAscii);
        }
        let (url, open) = text.strip_suffix('*').map_or((text, false), |url| (url, true));
        if url.is_empty() {
            return Err(BadPattern::StarAlone);
        }
        if url.contains('*') {
            return Err(BadPattern::Star);
        }
        if url.contains(['?', '#']) {
            return Err(BadPattern::Query);
        }
        let (origin, path) = if url.starts_with('/') {
            (None, url)
        } else {
            let (origin, path) = Origin::of_url(url)?;
            (Some(origin), path)
        };
        if path.is_empty() {
            return Err(BadPattern::NoPath);
        }
        Ok(Self { text: text.to_owned(), origin, path: Path::of_encoded(path)?, open })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme and host of an absolute URL; none for a path, which is on any host.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The path that it names, if it names one alone: nothing below it.
    pub fn exact_path(&self) -> Option<&Path> {
        Some(&self.path).filter(|_| !self.open)
    }

    /// Whether a request for this is covered. The method is not looked at. A path covers any host here; that it opens none
    /// that somebody guards is for whoever knows those to say.
    pub fn covers(&self, target: &Target) -> bool {
        self.covers_path(&target.path)
            && self.origin.as_ref().is_none_or(|origin| {
                origin.host == target.host && target.scheme.is_none_or(|scheme| scheme == origin.scheme)
            })
    }

    /// Whether a path is covered, wherever it is.
    pub fn covers_path(&self, path: &Path) -> bool {
        let own = self.path.as_str();
        path.as_str()
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || (self.open && (own.ends_with('/') || rest.starts_with('/'))))
    }
}

impl TryFrom<String> for Pattern {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

/// The patterns of one token: 1 to 500.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// The most patterns that a token has.
    pub const MAX: usize = 500;

    /// Parses patterns, and keeps their order.
    ///
    /// # Errors
    /// `Invalid` for `spec.urls`: none, more than 500, or one that is no pattern; the text says which.
    pub fn parse(texts: &[String]) -> Result<Self, Refusal> {
        if texts.is_empty() || texts.len() > Self::MAX {
            return Err(Refusal::invalid(FIELD, "must be 1 to 500 URLs"));
        }
        let numbered = texts.iter().enumerate().map(|(n, text)| {
            Pattern::read(text).map_err(|why| Refusal::invalid(FIELD, format!("URL {}: {why}", n + 1)))
        });
        numbered.collect::<Result<_, _>>().map(Self)
    }

    /// The patterns, in order.
    pub fn as_slice(&self) -> &[Pattern] {
        &self.0
    }

    /// Whether some pattern covers a request.
    pub fn covers(&self, target: &Target) -> bool {
        self.0.iter().any(|pattern| pattern.covers(target))
    }
}

impl TryFrom<Vec<String>> for Patterns {
    type Error = Refusal;
    fn try_from(texts: Vec<String>) -> Result<Self, Refusal> {
        Self::parse(&texts)
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Self {
        patterns.0.into_iter().map(String::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(scheme: Option<Scheme>, host: &str, path: &str) -> Target {
        Target {
            method: Method::parse("GET").unwrap(),
            scheme,
            host: Host::parse(host, scheme).unwrap(),
            path: Path::of_encoded(path).unwrap(),
        }
    }

    #[track_caller]
    fn judged(pattern: &str, covered: &[&str], others: &[&str]) {
        let pattern = Pattern::parse(pattern).unwrap();
        for (paths, expected) in [(covered, true), (others, false)] {
            for path in paths {
                let covers = pattern.covers(&target(None, "any.example", path));
                assert_eq!(covers, expected, "{} and {path}", pattern.as_str());
            }
        }
    }

    #[test]
    fn a_star_covers_what_is_below_and_never_what_only_begins_alike() {
        judged("/x", &["/x", "/%78"], &["/", "/x/", "/x/y", "/xy", "/X"]);
        judged("/x/", &["/x/"], &["/x", "/x/y"]);
        judged("/x/*", &["/x/", "/x/y", "/x/y/", "/x/y/z"], &["/", "/x", "/xy", "/xy/z", "/X/y", "/a/x/y"]);
        judged("/x*", &["/x", "/x/", "/x/y"], &["/", "/xy", "/xy/z", "/X"]);
        judged("/pods*", &["/pods", "/pods/a"], &["/podsecrets", "/pod"]);
        judged("/*", &["/", "/x", "/x/y", "/x*"], &[]);
        judged("/", &["/"], &["/x"]);
        judged("/a%20b/*", &["/a%20b/c"], &["/a/c"]);
        judged("/a%2a", &["/a*", "/a%2A"], &["/a", "/a/b", "/ab"]);
        judged("/a%2A*", &["/a*", "/a*/b"], &["/a", "/ab"]);
        judged("/%C3%A9*", &["/%c3%a9", "/%c3%a9/x"], &["/e", "/%c3%a8"]);
        judged("/...*", &["/...", "/.../x"], &["/....", "/x"]);
    }

    #[test]
    fn an_absolute_url_covers_its_own_host_and_scheme() {
        let pattern = Pattern::parse("HTTPS://Example.org.:443/x/*").unwrap();
        assert_eq!(pattern.as_str(), "HTTPS://Example.org.:443/x/*");
        assert_eq!(pattern.origin().unwrap().to_string(), "https://example.org");
        for (scheme, host, path, covered) in [
            (Some(Scheme::Https), "example.org", "/x/y", true),
            (Some(Scheme::Https), "EXAMPLE.org.:443", "/x/y", true),
            (None, "example.org", "/x/y", true),
            (None, "example.org:443", "/x/y", true),
            (Some(Scheme::Http), "example.org", "/x/y", false),
            (Some(Scheme::Https), "example.org:8443", "/x/y", false),
            (None, "example.org:8443", "/x/y", false),
            (Some(Scheme::Https), "www.example.org", "/x/y", false),
            (Some(Scheme::Https), "example.org", "/x", false),
        ] {
            assert_eq!(pattern.covers(&target(scheme, host, path)), covered, "{scheme:?} {host} {path}");
        }
        assert!(Pattern::parse("https://h/*").unwrap().covers(&target(None, "h", "/")));
        assert!(Pattern::parse("http://[::1]:8080/").unwrap().covers(&target(None, "[0::1]:8080", "/")));
    }

    #[test]
    fn what_names_no_url_is_refused_and_told_why() {
        let long = format!("/{}", "a".repeat(Pattern::MAX));
        for (bad, words) in [
            ("", "empty"),
            ("*", "alone"),
            ("**", "very end"),
            ("/**", "very end"),
            ("/*/x", "very end"),
            ("/a*b", "very end"),
            ("https://*.example.org/", "very end"),
            ("https://h*", "must have a path"),
            ("https://h", "must have a path"),
            ("https://h:443", "must have a path"),
            ("x", "begins with '/'"),
            ("x*", "begins with '/'"),
            ("h/x", "begins with '/'"),
            ("//h/x", "empty segment"),
            ("//*", "empty segment"),
            ("/x//*", "empty segment"),
            ("/x/../*", "'.' or '..'"),
            ("/x/..*", "'.' or '..'"),
            ("/x/.*", "'.' or '..'"),
            ("/x/%2e%2e/*", "'.' or '..'"),
            ("/x%2f*", "encoded slash"),
            ("/x%252f*", "'%'"),
            ("/x%2*", "begins no escape"),
            ("/x\\*", "'\\'"),
            ("/x;a=b", "';'"),
            ("/x%00", "control"),
            ("/%c0%af", "UTF-8"),
            ("/x?a=b", "no query"),
            ("/x?*", "no query"),
            ("/x#y", "no query"),
            ("https://h?x", "no query"),
            ("https://h/x#", "no query"),
            ("/é", "ASCII"),
            ("/a b", "ASCII"),
            ("/a\n", "ASCII"),
            ("https://münchen.example/", "punycode"),
            ("https://u@h/", "user"),
            ("https://u:p@h/*", "user"),
            ("ftp://h/x", "http://"),
            ("javascript:alert(1)", "http://"),
            ("https:/h/x", "http://"),
            ("https:///x", "host"),
            ("https://h:0/", "host"),
            ("https://h:/", "host"),
            ("https://h_x/", "host"),
            ("https://1.2.3/", "host"),
            (&long, "2048"),
        ] {
            let refusal = Pattern::parse(bad).expect_err(bad);
            assert_eq!((refusal.kind, refusal.field), (crate::domain::RefusalKind::Invalid, Some(FIELD)), "{bad}");
            assert!(refusal.text.contains(words), "{bad}: {}", refusal.text);
        }
        assert!(Pattern::parse(&long[..Pattern::MAX]).is_ok());
    }

    #[test]
    fn a_token_has_1_to_500_patterns_and_keeps_their_text_and_order() {
        let texts = |count: usize| (0..count).map(|n| format!("/%61/{n}*")).collect::<Vec<_>>();
        assert!(Patterns::parse(&texts(0)).is_err() && Patterns::parse(&texts(501)).is_err());
        let patterns = Patterns::parse(&texts(500)).unwrap();
        assert!(patterns.covers(&target(None, "h", "/a/499/x")) && !patterns.covers(&target(None, "h", "/a/500")));
        let json = serde_json::to_string(&patterns).unwrap();
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), texts(500));
        assert_eq!(serde_json::from_str::<Patterns>(&json).unwrap(), patterns);
        assert!(serde_json::from_str::<Patterns>(r#"["/a","b"]"#).is_err());
        let refusal = Patterns::parse(&["/a".to_owned(), "b".to_owned()]).unwrap_err();
        assert!(refusal.text.starts_with("URL 2: "), "{}", refusal.text);
    }

    #[test]
    fn one_path_alone_can_be_asked_for() {
        assert_eq!(Pattern::parse("https://h/%61").unwrap().exact_path().unwrap().as_str(), "/a");
        assert_eq!(Pattern::parse("/a*").unwrap().exact_path(), None);
    }
}
