//! The ways in which proxies say what they ask about.

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, HeaderName, Uri, header};

use super::{PATH, Refused};
use crate::domain::gate::{BadOrigin, Host, Method, Origin, Path, Scheme, Target};

/// A family of headers. Each of them has to be there once, and without a comma; together they are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `X-Original-Method`, and `X-Original-URL` or, where the scheme is not told, `X-Original-URI` and `Host`: nginx,
    /// haproxy.
    Nginx,
    /// `X-Forwarded-Method`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Uri`: Traefik, Caddy.
    Forwarded,
    /// The request's own method and `Host`, and its path after ours: Envoy. The scheme is not told.
    Envoy,
}

/// A name that no family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be nginx, forwarded or envoy")]
pub struct UnknownFamily;

/// A header, and how it is written where it is told.
type Name = (HeaderName, &'static str);

const ORIGINAL_METHOD: Name = (HeaderName::from_static("x-original-method"), "X-Original-Method");
const ORIGINAL_URL: Name = (HeaderName::from_static("x-original-url"), "X-Original-URL");
const ORIGINAL_URI: Name = (HeaderName::from_static("x-original-uri"), "X-Original-URI");
const FORWARDED_METHOD: Name = (HeaderName::from_static("x-forwarded-method"), "X-Forwarded-Method");
const FORWARDED_PROTO: Name = (HeaderName::from_static("x-forwarded-proto"), "X-Forwarded-Proto");
const FORWARDED_HOST: Name = (HeaderName::from_static("x-forwarded-host"), "X-Forwarded-Host");
const FORWARDED_URI: Name = (HeaderName::from_static("x-forwarded-uri"), "X-Forwarded-Uri");
const HOST: Name = (header::HOST, "Host");

const ALL: [Family; 3] = [Family::Nginx, Family::Forwarded, Family::Envoy];

impl Family {
    /// Its name in `GATEMINT_FORWARD_HEADERS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Forwarded => "forwarded",
            Self::Envoy => "envoy",
        }
    }

    /// The family that counts: the one that is set, whatever else the headers say, since others' decide nothing then; else
    /// the only one of which there is anything.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap, configured: Option<Self>) -> Result<Self, Refused> {
        if let Some(family) = configured {
            // A path after ours could be meant by nobody else.
            let is_envoys = beyond(uri).is_some();
            return match family {
                Self::Envoy if !is_envoys => Err(Refused::NoFamily),
                Self::Nginx | Self::Forwarded if is_envoys => Err(Refused::Mixed),
                _ => Ok(family),
            };
        }
        let mut there = ALL.into_iter().filter(|family| family.is_there(uri, headers));
        match (there.next(), there.next()) {
            (None, _) => Err(Refused::NoFamily),
            (Some(family), None) => Ok(family),
            (Some(_), Some(_)) => Err(Refused::Mixed),
        }
    }

    fn is_there(self, uri: &Uri, headers: &HeaderMap) -> bool {
        let any = |names: &[Name]| names.iter().any(|(name, _)| headers.contains_key(name));
        match self {
            Self::Nginx => any(&[ORIGINAL_METHOD, ORIGINAL_URL, ORIGINAL_URI]),
            Self::Forwarded => any(&[FORWARDED_METHOD, FORWARDED_PROTO, FORWARDED_HOST, FORWARDED_URI]),
            Self::Envoy => beyond(uri).is_some(),
        }
    }

    /// What is asked for, and the query of the request that it is asked for.
    pub(super) fn target<'r>(
        self,
        method: &axum::http::Method,
        uri: &'r Uri,
        headers: &'r HeaderMap,
    ) -> Result<(Target, Option<&'r str>), Refused> {
        match self {
            Self::Nginx => {
                let method = one(headers, &ORIGINAL_METHOD)?;
                let is_there = |(name, _): &Name| headers.contains_key(name);
                if is_there(&ORIGINAL_URL) {
                    if is_there(&ORIGINAL_URI) {
                        return Err(Refused::Repeated("X-Original-URL or X-Original-URI"));
                    }
                    let (origin, rest) = Origin::of_url(one(headers, &ORIGINAL_URL)?).map_err(|why| match why {
                        BadOrigin::Scheme => Refused::Scheme,
                        BadOrigin::Userinfo | BadOrigin::Host => Refused::Host,
                    })?;
                    return target(method, Some(origin.scheme), origin.host, rest);
                }
                let path = one(headers, &ORIGINAL_URI)?;
                target(method, None, own_host(uri, headers)?, path)
            }
            Self::Forwarded => {
                let method = one(headers, &FORWARDED_METHOD)?;
                let scheme = match one(headers, &FORWARDED_PROTO)? {
                    // As Traefik calls the request that opens a WebSocket.
                    "ws" => Scheme::Http,
                    "wss" => Scheme::Https,
                    other => Scheme::parse(other).ok_or(Refused::Scheme)?,
                };
                let host = Host::parse(one(headers, &FORWARDED_HOST)?, Some(scheme)).map_err(|_| Refused::Host)?;
                target(method, Some(scheme), host, one(headers, &FORWARDED_URI)?)
            }
            Self::Envoy => {
                let path = beyond(uri).ok_or(Refused::NoFamily)?;
                let (target, _) = target(method.as_str(), None, own_host(uri, headers)?, path)?;
                Ok((target, uri.query()))
            }
        }
    }
}

impl FromStr for Family {
    type Err = UnknownFamily;
    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        ALL.into_iter().find(|family| family.name() == text).ok_or(UnknownFamily)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The path that Envoy has put after ours, if there is one. `Uri` drops a fragment without a word, so this cannot refuse
/// one; Envoy does.
fn beyond(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix(PATH).filter(|rest| rest.starts_with('/'))
}

/// The one value of a header.
fn one<'h>(headers: &'h HeaderMap, (name, told): &Name) -> Result<&'h str, Refused> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|value| !value.is_empty()).ok_or(Refused::Missing(told))?;
    if values.next().is_some() {
        return Err(Refused::Repeated(told));
    }
    let value = std::str::from_utf8(value.as_bytes()).map_err(|_| Refused::Unreadable(told))?;
    if value.contains(',') {
        return Err(Refused::Joined(told));
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refused::Unreadable(told));
    }
    Ok(value)
}

/// The host that the proxy has asked us for, which is its client's. A request line that names another one is a trick.
fn own_host(uri: &Uri, headers: &HeaderMap) -> Result<Host, Refused> {
    let host = Host::parse(one(headers, &HOST)?, None).map_err(|_| Refused::Host)?;
    let is_the_same = |authority: &str| Host::parse(authority, None).is_ok_and(|other| other == host);
    if uri.authority().is_none_or(|authority| is_the_same(authority.as_str())) { Ok(host) } else { Err(Refused::Host) }
}

/// What is asked for; the query is cut off first.
fn target<'r>(
    method: &str,
    scheme: Option<Scheme>,
    host: Host,
    path: &'r str,
) -> Result<(Target, Option<&'r str>), Refused> {
    let method = Method::parse(method).ok_or(Refused::Method)?;
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Ok((Target { method, scheme, host, path: Path::of_encoded(path)? }, query))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::domain::gate::BadPath;

    const NGINX: [(&str, &str); 2] = [("x-original-method", "GET"), ("x-original-url", "https://h/x")];
    const NGINX_URI: [(&str, &str); 3] = [("x-original-method", "GET"), ("x-original-uri", "/x"), ("host", "h")];
    const FORWARDED: [(&str, &str); 4] = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "h"),
        ("x-forwarded-uri", "/x"),
    ];
    const HOST_ALONE: [(&str, &str); 1] = [("host", "h")];

    fn read(configured: Option<Family>, uri: &str, pairs: &[(&str, &[u8])]) -> Result<Target, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        let family = Family::of(&uri, &headers, configured)?;
        family.target(&axum::http::Method::GET, &uri, &headers).map(|(target, _)| target)
    }

    fn asked(uri: &str, pairs: &[(&str, &str)]) -> Result<Target, Refused> {
        read(None, uri, &pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect::<Vec<_>>())
    }

    /// A family's headers, one of them with another value.
    fn with<const N: usize>(
        mut pairs: [(&'static str, &'static str); N],
        name: &str,
        value: &'static str,
    ) -> Result<Target, Refused> {
        pairs.iter_mut().find(|(own, _)| *own == name).unwrap().1 = value;
        asked("/auth/verify", &pairs)
    }

    fn shown(target: &Target) -> String {
        let scheme = target.scheme.map_or("?", Scheme::as_str);
        format!("{} {scheme}://{}{}", target.method, target.host, target.path)
    }

    #[test]
    fn each_family_says_method_host_and_path_and_two_of_them_the_scheme() {
        for (uri, pairs, expected) in [
            ("/auth/verify", &NGINX[..], "GET https://h/x"),
            ("/auth/verify", &NGINX_URI, "GET ?://h/x"),
            ("/auth/verify", &FORWARDED, "GET https://h/x"),
            ("/auth/verify/x", &HOST_ALONE, "GET ?://h/x"),
            ("/auth/verify/", &HOST_ALONE, "GET ?://h/"),
            ("/auth/verify/auth/verify", &HOST_ALONE, "GET ?://h/auth/verify"),
            ("/auth/verify/a,b?c,d", &HOST_ALONE, "GET ?://h/a,b"),
            ("http://H:80/auth/verify/x", &HOST_ALONE, "GET ?://h/x"),
        ] {
            let target = asked(uri, pairs).unwrap();
            assert_eq!(shown(&target), expected, "{uri} {pairs:?}");
        }
    }

    #[test]
    fn one_family_counts_and_it_is_whole() {
        let nothing = asked("/auth/verify", &HOST_ALONE);
        assert_eq!(nothing, Err(Refused::NoFamily));
        let families = [
            ("/auth/verify", &NGINX[..]),
            ("/auth/verify", &NGINX_URI),
            ("/auth/verify", &FORWARDED),
            ("/auth/verify/x", &HOST_ALONE),
        ];
        for (uri, own) in families {
            for (name, _) in own {
                let rest: Vec<_> = own.iter().copied().filter(|(other, _)| other != name).collect();
                assert!(asked(uri, &rest).is_err(), "{own:?} without {name}");
                let twice: Vec<_> = own.iter().chain(own.iter().filter(|(other, _)| other == name)).copied().collect();
                assert!(matches!(asked(uri, &twice), Err(Refused::Repeated(_))), "{own:?} with {name} twice");
                let empty: Vec<_> =
                    own.iter().map(|(other, value)| (*other, if other == name { "" } else { value })).collect();
                assert!(matches!(asked(uri, &empty), Err(Refused::Missing(_))), "{own:?} with {name} empty");
            }
            let foreign = NGINX.iter().chain(&NGINX_URI[..2]).chain(&FORWARDED);
            for header in foreign.filter(|(name, _)| !own.iter().any(|(other, _)| other == name)) {
                let more: Vec<_> = own.iter().chain([header]).copied().collect();
                let refused = asked(uri, &more).unwrap_err();
                let expected =
                    matches!(refused, Refused::Mixed | Refused::Repeated("X-Original-URL or X-Original-URI"));
                assert!(expected, "{own:?} and {header:?}: {refused:?}");
            }
        }
        for pairs in [&NGINX[..], &NGINX_URI, &FORWARDED] {
            assert_eq!(asked("/auth/verify/x", pairs), Err(Refused::Mixed), "{pairs:?}");
        }
    }

    #[test]
    fn with_the_setting_others_headers_decide_nothing() {
        let all: Vec<(&str, &[u8])> = NGINX
            .iter()
            .chain(&FORWARDED)
            .chain(&HOST_ALONE)
            .map(|(name, value)| (*name, value.as_bytes()))
            .chain([
                ("x-http-method-override", &b"DELETE"[..]),
                ("x-forwarded-port", b"1"),
                ("forwarded", b"host=evil"),
            ])
            .collect();
        for (family, uri) in
            [(Family::Nginx, "/auth/verify"), (Family::Forwarded, "/auth/verify"), (Family::Envoy, "/auth/verify/x")]
        {
            let target = read(Some(family), uri, &all).unwrap();
            assert_eq!(
                (target.method.as_str(), target.host.as_str(), target.path.as_str()),
                ("GET", "h", "/x"),
                "{family}"
            );
            assert!(read(Some(family), uri, &[]).is_err(), "{family}");
            assert_eq!(family.name().parse(), Ok(family));
        }
        assert_eq!(read(Some(Family::Envoy), "/auth/verify", &all), Err(Refused::NoFamily));
        for family in [Family::Nginx, Family::Forwarded] {
            assert_eq!(read(Some(family), "/auth/verify/x", &all), Err(Refused::Mixed), "{family}");
        }
        for wrong in ["", "NGINX", "traefik", "nginx,envoy"] {
            assert_eq!(wrong.parse::<Family>(), Err(UnknownFamily), "{wrong}");
        }
    }

    #[test]
    fn a_url_that_is_not_plain_is_refused() {
        for (url, why) in [
            ("/x", Refused::Scheme),
            ("//evil/x", Refused::Scheme),
            ("h/x", Refused::Scheme),
            ("wss://h/x", Refused::Scheme),
            ("https://", Refused::Host),
            ("https:///x", Refused::Host),
            ("https://u@h/x", Refused::Host),
            ("https://h:0/x", Refused::Host),
            ("https://h:/x", Refused::Host),
            ("https://h\\x", Refused::Host),
            ("https://hhttp://evil/x", Refused::Host),
            ("https://h*", Refused::Host),
            ("https://h", Refused::Path(BadPath::NotAbsolute)),
            ("https://h?x", Refused::Path(BadPath::NotAbsolute)),
            ("https://h#x", Refused::Path(BadPath::NotAbsolute)),
            ("https://h//x", Refused::Path(BadPath::EmptySegment)),
            ("https://h/x#y", Refused::Path(BadPath::Forbidden)),
            ("https://h/x#?y", Refused::Path(BadPath::Forbidden)),
            ("https://h/x%3fy", Refused::Path(BadPath::Forbidden)),
            ("https://h/a/../b", Refused::Path(BadPath::DotSegment)),
            ("https://h/x,https://h/y", Refused::Joined("X-Original-URL")),
            ("https://h/x?a,/y", Refused::Joined("X-Original-URL")),
            ("https://h/x y", Refused::Unreadable("X-Original-URL")),
            ("https://h/x?a\tb", Refused::Unreadable("X-Original-URL")),
        ] {
            assert_eq!(with(NGINX, "x-original-url", url), Err(why), "{url}");
        }
        let raw = [("x-original-method", &b"GET"[..]), ("x-original-url", b"https://h/\xc3\xa9")];
        assert_eq!(read(None, "/auth/verify", &raw), Err(Refused::Unreadable("X-Original-URL")));
        let raw = [("x-original-method", &b"GET"[..]), ("x-original-url", b"https://h/\xff")];
        assert_eq!(read(None, "/auth/verify", &raw), Err(Refused::Unreadable("X-Original-URL")));
    }

    #[test]
    fn a_path_that_is_not_plain_is_refused() {
        for (path, why) in [
            ("x", BadPath::NotAbsolute),
            ("?x", BadPath::NotAbsolute),
            ("*", BadPath::NotAbsolute),
            ("https://h/x", BadPath::NotAbsolute),
            ("//evil", BadPath::EmptySegment),
            ("//evil/x", BadPath::EmptySegment),
            ("/\\evil", BadPath::Forbidden),
            ("/x#y", BadPath::Forbidden),
            ("/x#?y", BadPath::Forbidden),
            ("/x;y", BadPath::Forbidden),
            ("/x/%2e%2e/y", BadPath::DotSegment),
            ("/x%2fy", BadPath::EncodedSlash),
        ] {
            assert_eq!(with(NGINX_URI, "x-original-uri", path), Err(Refused::Path(why)), "{path}");
            assert_eq!(with(FORWARDED, "x-forwarded-uri", path), Err(Refused::Path(why)), "{path}");
        }
        assert_eq!(with(FORWARDED, "x-forwarded-uri", "/x,/y"), Err(Refused::Joined("X-Forwarded-Uri")));
        for (path, kept) in [("/x?y#z", "/x"), ("/x?", "/x"), ("/x?a=/../b?c", "/x"), ("/?x", "/")] {
            assert_eq!(with(FORWARDED, "x-forwarded-uri", path).unwrap().path.as_str(), kept, "{path}");
        }
        for (uri, why) in [
            ("/auth/verify//x", BadPath::EmptySegment),
            ("/auth/verify/a/../b", BadPath::DotSegment),
            ("/auth/verify/%2e%2e/b", BadPath::DotSegment),
        ] {
            assert_eq!(asked(uri, &HOST_ALONE), Err(Refused::Path(why)), "{uri}");
        }
        for other in ["/auth/verifyx", "/auth/verify.", "/auth"] {
            assert_eq!(asked(other, &HOST_ALONE), Err(Refused::NoFamily), "{other}");
        }
    }

    #[test]
    fn a_host_or_scheme_that_is_not_plain_is_refused() {
        for host in ["u@h", "h:0", "h:", "h:99999", "h..", "h/x", "https://h", "[::1", "h:80:80", "*", "h_x", "1.2.3"] {
            assert_eq!(with(NGINX_URI, "host", host), Err(Refused::Host), "{host}");
            assert_eq!(with(FORWARDED, "x-forwarded-host", host), Err(Refused::Host), "{host}");
        }
        assert_eq!(with(FORWARDED, "x-forwarded-host", "h,evil"), Err(Refused::Joined("X-Forwarded-Host")));
        for (host, kept) in [("H.Example.", "h.example"), ("h:443", "h"), ("h:80", "h:80"), ("[::1]:443", "[::1]")] {
            assert_eq!(with(FORWARDED, "x-forwarded-host", host).unwrap().host.as_str(), kept, "{host}");
        }
        for scheme in ["ftp", "https:", "https://", "http,https", "h2c", "https "] {
            assert!(with(FORWARDED, "x-forwarded-proto", scheme).is_err(), "{scheme}");
        }
        for (scheme, kept) in
            [("http", Scheme::Http), ("HTTPS", Scheme::Https), ("ws", Scheme::Http), ("wss", Scheme::Https)]
        {
            assert_eq!(with(FORWARDED, "x-forwarded-proto", scheme).unwrap().scheme, Some(kept), "{scheme}");
        }
        // The request line names another host than the header.
        assert_eq!(asked("http://evil/auth/verify/x", &HOST_ALONE), Err(Refused::Host));
        assert_eq!(asked("http://u@h/auth/verify/x", &HOST_ALONE), Err(Refused::Host));
    }

    #[test]
    fn a_method_is_in_capitals() {
        for method in ["get", "GeT", "GET/", "1"] {
            assert_eq!(with(NGINX, "x-original-method", method), Err(Refused::Method), "{method}");
            assert_eq!(with(FORWARDED, "x-forwarded-method", method), Err(Refused::Method), "{method}");
        }
        assert_eq!(with(NGINX, "x-original-method", "GET,POST"), Err(Refused::Joined("X-Original-Method")));
        let overridden = [NGINX[0], NGINX[1], ("x-http-method-override", "DELETE")];
        assert_eq!(asked("/auth/verify", &overridden).unwrap().method.as_str(), "GET");
    }
}
