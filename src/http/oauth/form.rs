//! A request of this dialect: a form, and how the client shows who it is. Each parameter is parsed once, here.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroize;

use super::dress::Dressed;
use crate::{
    domain::{
        GrantError, GrantRefusal, Secret,
        client::{Client, Presented},
    },
    http::body::{BadBody, decode_form_text, is_media_type, parse_form, read},
};

/// The parameters that some endpoint here reads. Others are ignored (RFC 6749 §3.2).
pub(super) const KNOWN: [&str; 15] = [
    "grant_type",
    "username",
    "password",
    "refresh_token",
    "scope",
    "client_id",
    "client_secret",
    "resource",
    "token",
    "token_type_hint",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "actor_token",
    "audience",
];
/// The ones that may be given more than once (RFC 8707 §2).
const REPEATABLE: [&str; 1] = ["resource"];

/// A form whose known parameters are sound: given once, without control characters.
pub(super) struct Form {
    pairs: Vec<(String, String)>,
    authorization: Option<Authorization>,
}

/// What the Authorization header says.
enum Authorization {
    Basic { id: String, secret: String },
    Bearer(Secret<String>),
    Other,
}

impl Drop for Form {
    fn drop(&mut self) {
        for (_, value) in &mut self.pairs {
            value.zeroize();
        }
        if let Some(Authorization::Basic { secret, .. }) = &mut self.authorization {
            secret.zeroize();
        }
    }
}

/// Reads a form.
///
/// # Errors
/// `invalid_request`: another content type, too long, not UTF-8, a repeated parameter, a control character.
pub(super) async fn form(request: Request) -> Result<Form, Dressed> {
    let (parts, body) = request.into_parts();
    let bad = |text: &'static str| Dressed::from(GrantRefusal::invalid_request(text));
    if !is_media_type(parts.headers.get(header::CONTENT_TYPE), "application/x-www-form-urlencoded") {
        return Err(bad("The body must be a form: Content-Type: application/x-www-form-urlencoded"));
    }
    let body = read(body).await.map_err(|why| match why {
        BadBody::TooLarge => {
            Dressed { status: Some(StatusCode::PAYLOAD_TOO_LARGE), ..bad("The body is larger than 65536 bytes") }
        }
        BadBody::Broken => bad("The body ended early or is not framed as its headers say"),
    })?;
    let body = Secret::new(body);
    let pairs = parse_form(body.expose()).ok_or_else(|| bad("The body is not UTF-8"))?;
    let form = Form { pairs, authorization: authorization(&parts.headers)? };
    for known in KNOWN {
        if form.values(known).count() > 1 && !REPEATABLE.contains(&known) {
            return Err(GrantRefusal::invalid_request(format!("Repeated parameter: {known}")).into());
        }
        // RFC 6749 appendix A.15 and A.16: no character below U+0020 but the tab.
        if form.values(known).any(|value| value.chars().any(|c| c != '\t' && c.is_control())) {
            return Err(GrantRefusal::invalid_request(format!("Control character in parameter: {known}")).into());
        }
    }
    Ok(form)
}

fn authorization(headers: &HeaderMap) -> Result<Option<Authorization>, Dressed> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || Dressed {
        tried: Some("Basic"),
        ..GrantRefusal::new(GrantError::InvalidClient, "The Authorization header cannot be read").into()
    };
    if values.next().is_some() {
        return Err(GrantRefusal::invalid_request("Repeated header: Authorization").into());
    }
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Ok(Some(Authorization::Bearer(Secret::new(credentials.trim().to_owned()))));
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Ok(Some(Authorization::Other));
    }
    let decoded = STANDARD.decode(credentials.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = Secret::new(decoded.ok_or_else(malformed)?);
    let (id, secret) = decoded.expose().split_once(':').ok_or_else(malformed)?;
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    match (decode_form_text(id), decode_form_text(secret)) {
        (Some(id), Some(secret)) if !id.is_empty() => Ok(Some(Authorization::Basic { id, secret })),
        _ => Err(malformed()),
    }
}

impl Form {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter's value.
    ///
    /// # Errors
    /// `invalid_request`, naming it.
    pub(super) fn need(&self, name: &'static str) -> Result<&str, GrantRefusal> {
        self.get(name).ok_or_else(|| GrantRefusal::invalid_request(format!("Missing parameter: {name}")))
    }

    /// A parameter's value that must not be seen.
    ///
    /// # Errors
    /// `invalid_request`, naming it.
    pub(super) fn need_secret(&self, name: &'static str) -> Result<Secret<String>, GrantRefusal> {
        self.need(name).map(|value| Secret::new(value.to_owned()))
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.values(name).map(str::to_owned).collect()
    }

    /// The scheme of the Authorization header, for the challenge.
    pub(super) fn tried(&self) -> Option<&'static str> {
        match &self.authorization {
            Some(Authorization::Bearer(_)) => Some("Bearer"),
            Some(_) => Some("Basic"),
            None => None,
        }
    }

    /// The access token of the Authorization header.
    pub(super) fn bearer(&self) -> Option<Secret<String>> {
        match &self.authorization {
            Some(Authorization::Bearer(token)) => Some(token.clone()),
            _ => None,
        }
    }

    /// The client and how it shows who it is (RFC 6749 §2.3); with nothing said, the built-in public client.
    ///
    /// # Errors
    /// `invalid_request` for two ids or two ways at once, `invalid_client` for a way that is not known.
    pub(super) fn client(&self) -> Result<(String, Presented), GrantRefusal> {
        let (id, secret) = (self.get("client_id"), self.get("client_secret"));
        match &self.authorization {
            Some(Authorization::Basic { id: basic, secret: basic_secret }) => {
                if id.is_some_and(|id| id != basic) {
                    return Err(GrantRefusal::invalid_request("Two different clients: client_id and Authorization"));
                }
                if secret.is_some() {
                    return Err(GrantRefusal::invalid_request("Two secrets: client_secret and Authorization"));
                }
                Ok((basic.clone(), Presented::Secret(Secret::new(basic_secret.clone()))))
            }
            Some(Authorization::Bearer(_) | Authorization::Other) => Err(GrantRefusal::invalid_client()),
            None => {
                let id = match (id, secret) {
                    (Some(id), _) => id,
                    (None, Some(_)) => return Err(GrantRefusal::invalid_request("Missing parameter: client_id")),
                    (None, None) => Client::BUILT_IN,
                };
                let presented =
                    secret.map_or(Presented::Public, |secret| Presented::Secret(Secret::new(secret.to_owned())));
                Ok((id.to_owned(), presented))
            }
        }
    }
}
