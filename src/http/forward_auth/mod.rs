//! What a proxy asks about somebody else's request: what that request wants, and what credential it shows.
//!
//! Three families of proxies tell it in three ways (see [`Family`]), and they never mix: whoever could add a header of
//! another family to a request would choose what it is judged for. Sources: nginx's `ngx_http_auth_request_module` with the
//! headers of ingress-nginx; Traefik's ForwardAuth and Caddy's `forward_auth`; Envoy's `ext_authz` over HTTP.
//!
//! Nothing is read here, and nothing judged but the form: [`parse`] is pure. What it refuses is a 401 or a 403, never more
//! than that. No query string of the request is kept.

mod credential;
mod families;
mod query;
mod verify;

use axum::http::{HeaderMap, HeaderValue, Uri};

pub use credential::Credential;
pub use families::{Family, UnknownFamily};
pub(super) use verify::routes;

use crate::domain::{
    Refusal,
    gate::{BadPath, Target},
};

/// The route. Envoy puts the path that it asks about after it.
pub const PATH: &str = "/auth/verify";

/// What is asked: may this credential do that?
#[derive(Clone, Debug)]
pub struct Asked {
    /// What the request wants.
    pub target: Target,
    /// What it shows.
    pub credential: Credential,
    /// The audience that an account's or a service account's token must have. With none an access token must be for the
    /// issuer, and what was requested for an audience does not pass.
    pub audience: Option<String>,
}

/// Why a request was not even judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No header of any family, and no path after the route's own.
    #[error("the proxy did not say what is asked for")]
    NoFamily,
    /// Headers of more than one family, or of another than the one that is set.
    #[error("headers of more than one kind of proxy say what is asked for")]
    Mixed,
    /// A header that its family has is not there, or is empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header is there twice.
    #[error("{0} is there more than once")]
    Repeated(&'static str),
    /// A header has a comma: it may have been two.
    #[error("{0} has a comma, so that it may be two joined into one; in a URL a comma is written %2C")]
    Joined(&'static str),
    /// A header has a space, a control character or something that is not ASCII.
    #[error("{0} is not printable ASCII")]
    Unreadable(&'static str),
    /// The method is none.
    #[error("the method is no HTTP method in capitals")]
    Method,
    /// The scheme is neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// The host is none.
    #[error("the host is no host name")]
    Host,
    /// The path has more than one reading.
    #[error("{0}")]
    Path(#[from] BadPath),
    /// `strip` or `audience` is there twice, or is not UTF-8, or the prefix is no path.
    #[error("the query of the proxy's own request is not one of strip=/prefix and audience=NAME")]
    Query,
    /// What the proxy's own request says is what its client's says.
    #[error("the query of the proxy's own request is its client's: the address that it asks must have a '?'")]
    ClientsQuery,
    /// The path is not below the prefix that is to be taken off.
    #[error("the path is not below the prefix that is taken off")]
    OutsidePrefix,
    /// More than one Authorization header, or a Bearer that is not one token.
    #[error("the Authorization header holds no single token")]
    Authorization,
    /// More cookies that could be credentials than are tried, or cookies longer than anybody's.
    #[error("there are too many session cookies")]
    TooManyCookies,
}

/// 401 where the credential cannot be read, else 403.
impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Authorization => Self::unauthenticated(refused.to_string()),
            _ => Self::forbidden(refused.to_string()),
        }
    }
}

/// Reads a request to [`PATH`]: what is asked, for whom. `configured` is the family that the operator has set; without it
/// the one whose headers are there, and no header of another may be.
///
/// # Errors
/// Every [`Refused`].
pub fn parse(
    method: &axum::http::Method,
    uri: &Uri,
    headers: &HeaderMap,
    configured: Option<Family>,
) -> Result<Asked, Refused> {
    let family = Family::of(uri, headers, configured)?;
    let (mut target, clients_query) = family.target(method, uri, headers)?;
    let mut audience = None;
    // Envoy appends the whole request target, so the query is the client's there.
    if family != Family::Envoy {
        let own = query::parse(uri.query(), clients_query)?;
        if let Some(prefix) = own.strip {
            target.path = target.path.strip(&prefix).ok_or(Refused::OutsidePrefix)?;
        }
        audience = own.audience;
    }
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let credential = Credential::of(values(axum::http::header::AUTHORIZATION), values(axum::http::header::COOKIE))?;
    Ok(Asked { target, credential, audience })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, Method};

    use super::*;
    use crate::domain::RefusalKind;

    fn asked(uri: &str, headers: &[(&str, &str)]) -> Result<Asked, Refused> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        parse(&Method::GET, &uri.parse().unwrap(), &headers, None)
    }

    fn forwarded(own: &str, path: &str) -> Result<Asked, Refused> {
        let headers = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "h"),
            ("x-forwarded-uri", path),
        ];
        asked(own, &headers)
    }

    #[test]
    fn a_prefix_is_taken_off_before_the_path_is_compared() {
        let path = |own: &str, path: &str| forwarded(own, path).map(|asked| asked.target.path.to_string());
        assert_eq!(path("/auth/verify?strip=/k8s", "/k8s/apis/x?watch=1"), Ok("/apis/x".into()));
        assert_eq!(path("/auth/verify?strip=%2Fk8s%2F&other=1", "/k8s/apis/x"), Ok("/apis/x".into()));
        assert_eq!(path("/auth/verify?strip=", "/k8s/apis/x"), Ok("/k8s/apis/x".into()));
        assert_eq!(path("/auth/verify?", "/x"), Ok("/x".into()));
        for outside in ["/k8s", "/k8s2/x", "/x/k8s/y", "/"] {
            assert_eq!(path("/auth/verify?strip=/k8s", outside), Err(Refused::OutsidePrefix), "{outside}");
        }
        for query in
            ["strip=k8s", "strip=/a/../b", "strip=/a&strip=/a", "strip=//", "strip=%ff", "audience=a&audience=b"]
        {
            assert_eq!(path(&format!("/auth/verify?{query}"), "/k8s/x"), Err(Refused::Query), "{query}");
        }
    }

    #[test]
    fn a_query_that_is_the_clients_own_decides_nothing() {
        // Caddy keeps the client's query where the configured address has none; others write it anew.
        for (own, clients) in [
            ("strip=/x", "strip=/x"),
            ("strip=/x", "%73trip=%2fx&a=b"),
            ("strip=%2Fx", "a;strip=/x;b=%ff"),
            ("a=b&strip=/x", "a=b&strip=/x"),
            ("audience=elsewhere", "audience=elsewhere"),
            ("audience=a%3Bb+c", "audience=a;b+c"),
        ] {
            let refused = forwarded(&format!("/auth/verify?{own}"), &format!("/x/a?{clients}")).unwrap_err();
            assert_eq!(refused, Refused::ClientsQuery, "{own} {clients}");
        }
        // What it could not decide anything with does no harm.
        assert_eq!(forwarded("/auth/verify?a=b", "/x/a?a=b").unwrap().target.path.as_str(), "/x/a");
        assert_eq!(forwarded("/auth/verify?strip=/x", "/x/a?strip=/").unwrap().target.path.as_str(), "/a");
        let envoy = asked("/auth/verify/x/a?strip=/x&audience=b&strip=%ff", &[("host", "h")]).unwrap();
        assert_eq!((envoy.target.path.as_str(), envoy.audience), ("/x/a", None));
    }

    #[test]
    fn an_audience_is_told_by_the_proxy() {
        let audience = |own: &str| forwarded(own, "/x").unwrap().audience;
        assert_eq!(audience("/auth/verify"), None);
        assert_eq!(audience("/auth/verify?audience="), None);
        assert_eq!(audience("/auth/verify?audience=https%3A%2F%2Fa%2Fb&strip=/"), Some("https://a/b".into()));
    }

    #[test]
    fn a_credential_that_cannot_be_read_is_a_401_and_all_else_a_403() {
        let headers = [("host", "h"), ("authorization", "Bearer a b")];
        let refused = asked("/auth/verify/x", &headers).unwrap_err();
        assert_eq!(Refusal::from(refused).kind, RefusalKind::Unauthenticated);
        for refused in
            [asked("/auth/verify", &[]).unwrap_err(), asked("/auth/verify//x", &[("host", "h")]).unwrap_err()]
        {
            assert_eq!(Refusal::from(refused).kind, RefusalKind::Forbidden, "{refused:?}");
        }
    }

    #[test]
    fn what_is_asked_can_be_shown_without_its_secrets() {
        let headers = [("host", "h"), ("authorization", "Bearer s3cr3t"), ("cookie", "dat=s3cr3t")];
        let shown = format!("{:?}", asked("/auth/verify/x?token=s3cr3t", &headers).unwrap());
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
