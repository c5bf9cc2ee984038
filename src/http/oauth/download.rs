//! `GET /refresh-token-download`: a user's name and password, by Basic, become a file with a refresh token that lasts while it
//! is used once in 30 days: for whoever has a browser, or one line of `curl`, and a program that is to go on without her.
//!
//! It is the password grant, for the built-in client and with the scope `offline_access`: throttled, logged and refused as that
//! one is, but for statuses, which are Basic's. To ask for it is to sign in, though the method is GET; hence `HEAD` only learns
//! that a password is needed, and what loads ahead or from another site is refused: there a browser that knows the password
//! would send it without being asked to.

use axum::{
    extract::{Extension, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    dress::{BASIC, Dressed},
    token::uncached,
};
use crate::{
    domain::{
        GrantError, GrantRefusal, Secret,
        client::{Client, Presented},
        grant::{self, Grant},
    },
    http::{App, source_address::SourceAddress},
};

/// `GET /refresh-token-download`
pub(super) async fn download(
    State(app): State<App>,
    Extension(SourceAddress(address)): Extension<SourceAddress>,
    request: Request,
) -> Result<Response, Refused> {
    let headers = request.headers();
    if !is_come_for(headers) {
        let text = "Another site's page may lead here, and may not load what is here; nor may anything load it ahead";
        return Err(Refused { refusal: GrantRefusal::invalid_request(text), status: Some(StatusCode::FORBIDDEN) });
    }
    let given = if request.method() == Method::HEAD { None } else { credentials(headers)? };
    let (username, password) = given.ok_or_else(|| {
        let text = "A user's name and password are needed, by HTTP Basic and in UTF-8";
        Refused::from(GrantRefusal::invalid_grant(text))
    })?;
    let asked = grant::Request {
        client_id: Client::BUILT_IN.to_owned(),
        presented: Presented::Public,
        grant: Grant::Password { username, password },
        scope: Some("offline_access".to_owned()),
        resource: Vec::new(),
        address,
    };
    let tokens = grant::exchange(&app.service, asked).await?;
    let refresh = tokens.access.and_then(|access| access.refresh);
    let (token, _) = refresh.ok_or_else(|| GrantRefusal::unavailable("a sign-in gave no refresh token"))?;
    let as_a_file = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, r#"attachment; filename="refresh-token.txt""#),
    ];
    Ok(uncached((as_a_file, token.expose().clone()).into_response()))
}

/// Whether somebody has come for it, by herself or by a link. A page of another origin may lead here and not load from here
/// (Fetch Metadata §2), and a browser may not do so before it is wanted. Programs say nothing of it.
fn is_come_for(headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &[&str]| {
        headers.get_all(name).iter().all(|value| wanted.iter().any(|wanted| value.as_bytes() == wanted.as_bytes()))
    };
    let by_herself = is("sec-fetch-site", &["none", "same-origin"]);
    let by_a_link = headers.contains_key("sec-fetch-mode")
        && is("sec-fetch-mode", &["navigate"])
        && is("sec-fetch-dest", &["document"]);
    (by_herself || by_a_link) && !headers.contains_key("sec-purpose")
}

/// A user's name and password.
type Credentials = (String, Secret<Vec<u8>>);

/// The name and the password (RFC 7617 §2), neither of them empty; none if there are none that can be read.
fn credentials(headers: &HeaderMap) -> Result<Option<Credentials>, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(GrantRefusal::invalid_request("Repeated header: Authorization").into());
    }
    Ok(value.and_then(|value| value.to_str().ok()).and_then(basic))
}

fn basic(value: &str) -> Option<Credentials> {
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = Secret::new(STANDARD.decode(credentials.trim()).ok()?);
    let text = std::str::from_utf8(decoded.expose()).ok()?;
    // The first colon ends the name: a password may have more of them.
    let (name, password) = text.split_once(':')?;
    let is_sound = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    let both = is_sound(name) && is_sound(password);
    both.then(|| (name.to_owned(), Secret::new(password.as_bytes().to_vec())))
}

/// A refusal: as the token endpoint has it, but that what is wrong with a user is told as Basic has it.
pub(super) struct Refused {
    refusal: GrantRefusal,
    /// Instead of the status that the code has here.
    status: Option<StatusCode>,
}

impl From<GrantRefusal> for Refused {
    fn from(refusal: GrantRefusal) -> Self {
        Self { refusal, status: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let is_hers = self.refusal.error == GrantError::InvalidGrant;
        let status = self.status.or(match self.refusal.error {
            GrantError::InvalidGrant => Some(StatusCode::UNAUTHORIZED),
            // The operator has disabled the client, or taken the grant from it: another password would not help.
            GrantError::InvalidClient | GrantError::UnauthorizedClient => Some(StatusCode::FORBIDDEN),
            _ => None,
        });
        let mut response = Dressed { refusal: self.refusal, tried: None, status }.into_response();
        if is_hers {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(plain: &[u8]) -> Option<(String, String)> {
        let (name, password) = basic(&format!("basic {}", STANDARD.encode(plain)))?;
        Some((name, String::from_utf8(password.expose().clone()).unwrap()))
    }

    #[test]
    fn a_name_and_a_password_are_read_as_they_were_typed() {
        for (plain, name, password) in [
            ("ada:x", "ada", "x"),
            ("ada:a:b: c", "ada", "a:b: c"),
            ("ada:a+b%20c", "ada", "a+b%20c"),
            ("ä:ö\u{1f511}", "ä", "ö\u{1f511}"),
        ] {
            assert_eq!(read(plain.as_bytes()), Some((name.to_owned(), password.to_owned())), "{plain}");
        }
        for plain in [&b"ada"[..], b"ada:", b":x", b":", b"", b"ada:\xff", b"a\x00da:x", b"ada:x\n", b"ada:\xc2\x80"] {
            assert_eq!(read(plain), None, "{plain:?}");
        }
        for value in ["", "Basic", "Basic ", "Basic !", "Basic YWRhOng", "Bearer YWRhOng=", "BasicYWRhOng="] {
            assert!(basic(value).is_none(), "{value}");
        }
    }

    #[test]
    fn a_page_of_another_origin_may_lead_here_and_load_nothing() {
        for (site, mode, dest, purpose, expected) in [
            ("", "", "", "", true),
            ("none", "navigate", "document", "", true),
            ("same-origin", "cors", "empty", "", true),
            ("cross-site", "navigate", "document", "", true),
            ("cross-site", "navigate", "", "", true),
            ("same-site", "navigate", "document", "", true),
            ("cross-site", "navigate", "iframe", "", false),
            ("cross-site", "no-cors", "image", "", false),
            ("cross-site", "cors", "empty", "", false),
            ("cross-site", "", "", "", false),
            ("same-site", "no-cors", "image", "", false),
            ("anything", "no-cors", "image", "", false),
            ("none", "navigate", "document", "prefetch;prerender", false),
            ("same-origin", "navigate", "document", "prefetch", false),
        ] {
            let pairs = [
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
                ("sec-purpose", purpose),
            ];
            let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let headers: HeaderMap =
                said.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            assert_eq!(is_come_for(&headers), expected, "{site} {mode} {dest} {purpose}");
        }
    }
}
