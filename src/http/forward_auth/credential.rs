//! What a request shows: a Bearer token, or cookies that may hold one.

use super::Refused;
use crate::domain::Secret;

/// The cookies that may hold a token: the original gateway's, which signed links set, and Apolo's.
const COOKIES: [&[u8]; 2] = [b"kg-jwt-session-code", b"dat"];

/// The most cookies that are tried.
const MOST: usize = 8;

/// The longest credentials that are looked at, in bytes: nginx and Apache take less for all headers together.
const LONGEST: usize = 64 * 1024;

/// A request's credential.
#[derive(Clone, Debug)]
pub enum Credential {
    /// None at all.
    None,
    /// A Bearer token (RFC 6750 §2.1). It decides alone: cookies beside it were not looked at.
    Bearer(Secret<String>),
    /// Cookies, each of which may hold a token, in the order in which they came: 1 to 8, none twice. Whatever is not a token
    /// in form is among them, so that it is refused like one.
    Cookies(Vec<Secret<String>>),
}

impl Credential {
    /// The tokens that may be tried.
    pub fn into_tokens(self) -> Vec<Secret<String>> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(token) => vec![token],
            Self::Cookies(tokens) => tokens,
        }
    }

    /// Reads the values of the Authorization and of the Cookie headers (where they come apart, of each cookie).
    ///
    /// # Errors
    /// [`Refused::Authorization`]: more than one Authorization header, or a Bearer without exactly one token.
    /// [`Refused::TooManyCookies`]: more than 8 cookies that may hold a token.
    pub fn of<'v>(
        authorization: impl IntoIterator<Item = &'v [u8]>,
        cookies: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<Self, Refused> {
        let mut authorization = authorization.into_iter();
        let first = authorization.next();
        if authorization.next().is_some() {
            return Err(Refused::Authorization);
        }
        if let Some(token) = first.and_then(after_bearer) {
            return bearer(token).map(Self::Bearer).ok_or(Refused::Authorization);
        }
        candidates(cookies).map(|found| if found.is_empty() { Self::None } else { Self::Cookies(found) })
    }
}

/// What follows the scheme, if that is Bearer, in any letter case (RFC 9110 §11.1).
fn after_bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer".len())?;
    let is_whole = rest.first().is_none_or(|next| !is_in_token(*next));
    (scheme.eq_ignore_ascii_case(b"bearer") && is_whole).then_some(rest)
}

/// One token (RFC 6750 §2.1) after spaces.
fn bearer(rest: &[u8]) -> Option<Secret<String>> {
    let token = rest.strip_prefix(b" ")?.trim_ascii();
    let is_token = !token.is_empty() && token.len() <= LONGEST && token.iter().all(|byte| is_in_token(*byte));
    let token = std::str::from_utf8(token).ok().filter(|_| is_token)?;
    Some(Secret::new(token.to_owned()))
}

fn is_in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn candidates<'v>(headers: impl IntoIterator<Item = &'v [u8]>) -> Result<Vec<Secret<String>>, Refused> {
    let mut found: Vec<Secret<String>> = Vec::new();
    let (mut length, mut count) = (0_usize, 0_usize);
    for header in headers {
        length = length.saturating_add(header.len());
        if length > LONGEST {
            return Err(Refused::TooManyCookies);
        }
        for value in header.split(|byte| *byte == b';').filter_map(value) {
            count += 1;
            if count > MOST {
                return Err(Refused::TooManyCookies);
            }
            let value = String::from_utf8_lossy(value).into_owned();
            let value = Secret::new(value);
            if !found.iter().any(|other| other.expose() == value.expose()) {
                found.push(value);
            }
        }
    }
    Ok(found)
}

/// The value of a cookie (RFC 6265 §5.4) that may hold a token. One that was emptied, as browsers do at a logout, is none.
fn value(cookie: &[u8]) -> Option<&[u8]> {
    let at = cookie.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (cookie[..at].trim_ascii(), cookie[at + 1..].trim_ascii());
    (COOKIES.contains(&name) && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credential, shown: a test's tokens are no secrets.
    fn read(authorization: &[&[u8]], cookies: &[&[u8]]) -> Result<Vec<String>, Refused> {
        let credential = Credential::of(authorization.iter().copied(), cookies.iter().copied())?;
        Ok(match credential {
            Credential::None => vec![],
            Credential::Bearer(token) => vec![format!("bearer {}", token.expose())],
            Credential::Cookies(found) => found.iter().map(|token| token.expose().clone()).collect(),
        })
    }

    #[test]
    fn a_bearer_decides_alone() {
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER   a.b-c_d~e+f/g== "] {
            assert_eq!(read(&[value.as_bytes()], &[b"dat=x"]), Ok(vec!["bearer a.b-c_d~e+f/g==".into()]), "{value}");
        }
        assert_eq!(read(&[b"Bearer a"], &[&b"dat=x;".repeat(9)]), Ok(vec!["bearer a".into()]));
        for wrong in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer  \t",
            b"Bearer\ta",
            b"Bearer a b",
            b"Bearer a,b",
            b"Bearer a, Bearer b",
            b"Bearer \"a\"",
            b"Bearer,a",
            b"Bearer a;b",
            b"Bearer a\xff",
            b"Bearer \xc3\xa9",
        ] {
            assert_eq!(read(&[wrong], &[b"dat=x"]), Err(Refused::Authorization), "{}", wrong.escape_ascii());
        }
        assert_eq!(read(&[&[b"Bearer ", &b"a".repeat(LONGEST + 1)[..]].concat()], &[]), Err(Refused::Authorization));
        for twice in [[&b"Bearer a"[..], b"Bearer a"], [b"Basic YTpi", b"Bearer a"], [b"", b""]] {
            assert_eq!(read(&twice, &[]), Err(Refused::Authorization));
        }
    }

    #[test]
    fn another_scheme_leaves_it_to_the_cookies() {
        for other in [&b""[..], b"Basic YTpi", b"Bearers a", b"BearerToken", b"DPoP a", b"\xff", b"Bear"] {
            assert_eq!(read(&[other], &[b"dat=x"]), Ok(vec!["x".into()]), "{}", other.escape_ascii());
            assert_eq!(read(&[other], &[]), Ok(vec![]));
        }
    }

    #[test]
    fn cookies_are_candidates_in_order() {
        for (headers, expected) in [
            (&[&b"dat=a"[..]][..], &["a"][..]),
            (&[b"kg-jwt-session-code=link; dat=a; other=b"], &["link", "a"]),
            (&[b"other=dat=x; dat=a=b"], &["a=b"]),
            (&[b"dat=a", b"kg-jwt-session-code=b"], &["a", "b"]),
            (&[b"dat=a;dat=b;dat=a"], &["a", "b"]),
            (&[b" dat = a ; ;;=; dat; dat=; xdat=c; datx=d; DAT=e"], &["a"]),
            (&[b"dat=\"a\""], &["\"a\""]),
            (&[b"dat=\xff"], &["\u{fffd}"]),
            (&[b"", b";", b"="], &[]),
        ] {
            assert_eq!(read(&[], headers), Ok(expected.iter().map(|text| (*text).to_owned()).collect()), "{headers:?}");
        }
    }

    #[test]
    fn eight_are_tried_and_nine_are_refused() {
        let cookies = |count: usize| (0..count).map(|n| format!("dat={n}")).collect::<Vec<_>>().join(";");
        assert_eq!(read(&[], &[cookies(8).as_bytes()]).unwrap().len(), 8);
        assert_eq!(read(&[], &[cookies(9).as_bytes()]), Err(Refused::TooManyCookies));
        assert_eq!(
            read(&[], &[cookies(5).as_bytes(), b"kg-jwt-session-code=a;dat=b; dat=c", b"dat=d"]),
            Err(Refused::TooManyCookies)
        );
        // The same one nine times is nine.
        assert_eq!(read(&[], &[&b"dat=a;".repeat(9)]), Err(Refused::TooManyCookies));
        let others = "other=a;".repeat(2000);
        assert_eq!(read(&[], &[others.as_bytes(), b"dat=a"]), Ok(vec!["a".into()]));
        assert_eq!(read(&[], &[&b"x".repeat(LONGEST + 1)]), Err(Refused::TooManyCookies));
    }
}
