//! Where a URL points: its scheme and host, each in one spelling.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// The two schemes that are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// Parses a scheme, in any letter case (RFC 3986 §3.1).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }

    /// Its name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// No `http://` or `https://`.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// `user@host`
    #[error("it must not name a user")]
    Userinfo,
    /// Not a host name, an IPv4 address or an IPv6 address in brackets, with or without a port.
    #[error("it must name a host, with or without a port: a DNS name in ASCII (xn--… for others) or an IP address")]
    Host,
}

/// `host[:port]` in one spelling: lower case, without a final dot and without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    text: String,
    /// How much of the text is the name.
    name: usize,
}

impl Host {
    /// Parses a host as it stands in a URL or a Host header. Where the scheme is not told, either scheme's own port is left
    /// out: nothing is compared then that would tell them apart.
    ///
    /// # Errors
    /// [`BadOrigin`]: whatever is not a DNS name (RFC 1123 §2.1) or an IP address, with a port from 1 to 65535 or without
    /// one. A name whose last label is a number is an IPv4 address or nothing.
    pub fn parse(text: &str, scheme: Option<Scheme>) -> Result<Self, BadOrigin> {
        let (name, port) = if let Some(bracketed) = text.strip_prefix('[') {
            let (address, port) = bracketed.split_once(']').ok_or(BadOrigin::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| BadOrigin::Host)?;
            (format!("[{address}]"), port)
        } else {
            if text.contains('@') {
                return Err(BadOrigin::Userinfo);
            }
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let name = name.strip_suffix('.').unwrap_or(name);
            if !is_name_or_ipv4(name) {
                return Err(BadOrigin::Host);
            }
            (name.to_ascii_lowercase(), port)
        };
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port_of(port).ok_or(BadOrigin::Host)?),
            None if port.is_empty() => None,
            None => return Err(BadOrigin::Host),
        };
        let is_default = |port: &u16| match scheme {
            Some(scheme) => scheme.default_port() == *port,
            None => [Scheme::Http, Scheme::Https].iter().any(|scheme| scheme.default_port() == *port),
        };
        let (length, mut text) = (name.len(), name);
        if let Some(port) = port.filter(|port| !is_default(port)) {
            text.push(':');
            text.push_str(&port.to_string());
        }
        Ok(Self { text, name: length })
    }

    /// `host[:port]`
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host alone: a proxy finds its route by that, whatever the port is.
    pub fn name(&self) -> &str {
        &self.text[..self.name]
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_name_or_ipv4(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // What resolvers take for an address, in one of its many spellings.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix('0')
            .and_then(|rest| rest.strip_prefix(['x', 'X']))
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.len() <= 253 && name.split('.').all(is_label) && (!is_number || name.parse::<Ipv4Addr>().is_ok())
}

/// 1 to 65535, in the one way to write it.
fn port_of(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

/// Scheme and host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host, without the scheme's own port.
    pub host: Host,
}

impl Origin {
    /// The origin that an absolute URL begins with, and what is left of the URL: its path and all that follows, or
    /// nothing.
    ///
    /// # Errors
    /// Every [`BadOrigin`].
    pub fn of_url(url: &str) -> Result<(Self, &str), BadOrigin> {
        let (scheme, rest) = url.split_once("://").ok_or(BadOrigin::Scheme)?;
        let scheme = Scheme::parse(scheme).ok_or(BadOrigin::Scheme)?;
        let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        Ok((Self { scheme, host: Host::parse(host, Some(scheme))? }, rest))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: Option<Scheme> = Some(Scheme::Http);
    const HTTPS: Option<Scheme> = Some(Scheme::Https);

    #[test]
    fn a_host_has_one_spelling() {
        for (text, scheme, expected, name) in [
            ("example.org", HTTPS, "example.org", "example.org"),
            ("Example.ORG.", HTTPS, "example.org", "example.org"),
            ("example.org:443", HTTPS, "example.org", "example.org"),
            ("example.org.:443", HTTPS, "example.org", "example.org"),
            ("example.org:80", HTTPS, "example.org:80", "example.org"),
            ("example.org:80", HTTP, "example.org", "example.org"),
            ("example.org:443", HTTP, "example.org:443", "example.org"),
            ("example.org:80", None, "example.org", "example.org"),
            ("example.org:443", None, "example.org", "example.org"),
            ("example.org:8443", None, "example.org:8443", "example.org"),
            ("vnc--ada.jobs.example.org:9000", HTTP, "vnc--ada.jobs.example.org:9000", "vnc--ada.jobs.example.org"),
            ("xn--mnchen-3ya.example", HTTPS, "xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("localhost", HTTP, "localhost", "localhost"),
            ("127.0.0.1:65535", HTTP, "127.0.0.1:65535", "127.0.0.1"),
            ("127.0.0.1.", HTTP, "127.0.0.1", "127.0.0.1"),
            ("[::1]", HTTP, "[::1]", "[::1]"),
            ("[0:0::0:1]:80", HTTP, "[::1]", "[::1]"),
            ("[2001:DB8::A]:8080", HTTP, "[2001:db8::a]:8080", "[2001:db8::a]"),
        ] {
            let host = Host::parse(text, scheme).unwrap();
            assert_eq!((host.as_str(), host.name()), (expected, name), "{text}");
        }
    }

    #[test]
    fn whatever_is_no_host_is_refused() {
        let long = format!("{}.org", "a".repeat(64));
        let longer = format!("{}org", "a.".repeat(126));
        for bad in [
            "",
            ".",
            "..",
            "a..",
            "a..b",
            ".a",
            ":80",
            "a:",
            "a:0",
            "a:00",
            "a:080",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a:8 0",
            "a b",
            "a\t",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a,b",
            "a;b",
            "a%2eb",
            "a%00",
            "a\u{0}",
            "a\r\n",
            "a*",
            "*.a",
            "a_b",
            "-a",
            "a-",
            "a-.b",
            "münchen.example",
            "ａ",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "01.2.3.4",
            "0x7f.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "a.0x1",
            "example.1",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1].",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "[::1]:",
            "[::1]:0",
            "[[::1]]",
            "[ ::1]",
            &long,
            &longer,
        ] {
            assert_eq!(Host::parse(bad, HTTPS), Err(BadOrigin::Host), "{bad:?}");
            assert_eq!(Host::parse(bad, None), Err(BadOrigin::Host), "{bad:?}");
        }
        for user in ["u@a", "@a", "u:p@a", "a@", "a:80@b"] {
            assert_eq!(Host::parse(user, HTTPS), Err(BadOrigin::Userinfo), "{user}");
        }
    }

    #[test]
    fn a_url_is_an_origin_and_the_rest() {
        for (url, origin, rest) in [
            ("https://a/x", "https://a", "/x"),
            ("HTTPS://A:443/x?y#z", "https://a", "/x?y#z"),
            ("http://a:443", "http://a:443", ""),
            ("http://a?x", "http://a", "?x"),
            ("http://a#x", "http://a", "#x"),
        ] {
            let (found, left) = Origin::of_url(url).unwrap();
            assert_eq!((found.to_string().as_str(), left), (origin, rest), "{url}");
        }
        for (url, why) in [
            ("", BadOrigin::Scheme),
            ("/x", BadOrigin::Scheme),
            ("//a/x", BadOrigin::Scheme),
            ("https:/a/x", BadOrigin::Scheme),
            ("ftp://a/x", BadOrigin::Scheme),
            ("wss://a/x", BadOrigin::Scheme),
            ("javascript://a/x", BadOrigin::Scheme),
            (" https://a/x", BadOrigin::Scheme),
            ("https://", BadOrigin::Host),
            ("https:///x", BadOrigin::Host),
            ("https://\\a/x", BadOrigin::Host),
            ("https://ahttp://b/", BadOrigin::Host),
            ("https://a\\@b/x", BadOrigin::Userinfo),
            ("https://a@b/x", BadOrigin::Userinfo),
            ("https://a:b@c/x", BadOrigin::Userinfo),
        ] {
            assert_eq!(Origin::of_url(url).unwrap_err(), why, "{url}");
        }
    }
}
