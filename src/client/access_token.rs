//! What an access token says of itself, unverified: whoever keeps one has it from the service that signed it.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{clock::Timestamp, domain::Secret};

/// What the header of an access token says that it is (RFC 9068 §2.1).
const KIND: &str = "at+jwt";
/// No access token is longer, in bytes: one with as many roles as there may be, each as long as it may be, has less than
/// half of it.
pub const MAX_ACCESS_TOKEN: usize = 64 * 1024;
/// How a header begins.
const HEADER: &[u8] = br#"{"alg":""#;
/// No header is longer.
const MAX_HEADER: usize = 512;
/// No access token lives longer; what says so is something else.
const MAX_LIFE: Duration = Duration::from_hours(24 * 400);

/// It is no access token. Nothing of it is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no access token")]
pub struct NoAccessToken;

/// An access token, with what it says: whose it is, for whom, and when.
#[derive(Clone)]
pub struct AccessToken {
    /// The token itself.
    pub token: Secret<String>,
    /// When it was signed, by the service's clock.
    pub issued_at: Timestamp,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Issuer, subject and audience.
    about: (String, String, Value),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    aud: Value,
    iat: Timestamp,
    nbf: Option<Timestamp>,
    exp: Timestamp,
}

impl AccessToken {
    /// Reads a token; what stands around it is no part of it.
    ///
    /// # Errors
    /// Another kind of token, or none at all.
    pub fn parse(text: &str) -> Result<Self, NoAccessToken> {
        let text = text.trim();
        if text.len() > MAX_ACCESS_TOKEN || !has_whole_signature(text) {
            return Err(NoAccessToken);
        }
        let Claims { iss, sub, aud, iat, nbf, exp } = claims_of(text).ok_or(NoAccessToken)?;
        if exp <= iat || exp.since(iat) > MAX_LIFE || !exp.has_date() {
            return Err(NoAccessToken);
        }
        Ok(Self {
            token: Secret::new(text.to_owned()),
            issued_at: iat,
            not_before: nbf.unwrap_or(iat),
            expires_at: exp,
            about: (iss, sub, aud),
        })
    }

    /// Whether it is of the same account, from the same service and for the same audience as another.
    pub fn is_about_the_same_as(&self, other: &Self) -> bool {
        self.about == other.about
    }

    /// Whether it says what another one says, and is signed otherwise. The service signs nothing twice, so one of both is
    /// damaged.
    pub fn differs_in_its_signature_from(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.token.expose(), other.token.expose());
        ours != theirs && ours.rsplit_once('.').map(|(said, _)| said) == theirs.rsplit_once('.').map(|(said, _)| said)
    }
}

/// What a whole JWT says of itself; none if it is no JWT, or says something else.
pub fn claims_of<T: DeserializeOwned>(jwt: &str) -> Option<T> {
    let parts: Vec<&str> = jwt.splitn(4, '.').collect();
    let [_, claims, _] = parts[..] else { return None };
    if !parts.iter().all(|part| !part.is_empty() && part.bytes().all(is_base64url)) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// Whether this is the beginning of an access token that was cut off. Three whole parts are none, and nothing that may be
/// the beginning of something else is: a long-lived token is shown once, and so is the text that it is passed on in.
pub fn is_piece_of_one(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(4, '.').collect();
    text.len() <= MAX_ACCESS_TOKEN
        && text.bytes().all(|byte| byte == b'.' || is_base64url(byte))
        && match parts[..] {
            [header] => header.starts_with("eyJ") && may_begin_a_header(header),
            [header, _] | [header, _, ""] => is_header(header),
            [header, _, _] => is_header(header) && !has_whole_signature(text),
            _ => false,
        }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

/// What the header of an access token says.
#[derive(Deserialize)]
struct Header {
    typ: String,
    #[serde(default)]
    alg: String,
}

impl Header {
    fn of(part: &str) -> Option<Self> {
        let header: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        (header.typ == KIND).then_some(header)
    }

    /// How many characters the signature has at least: of RSA's it is known for the shortest of keys alone.
    fn least_signature(&self) -> usize {
        match self.alg.as_str() {
            "ES256" | "EdDSA" => 86,
            "RS256" => 342,
            _ => 1,
        }
    }
}

/// Whether it is the header of an access token.
fn is_header(part: &str) -> bool {
    Header::of(part).is_some()
}

/// Whether it is an access token of three parts, of which nothing was cut off that is known to be missing.
fn has_whole_signature(jwt: &str) -> bool {
    let (Some((header, _)), Some((_, signature))) = (jwt.split_once('.'), jwt.rsplit_once('.')) else { return false };
    Header::of(header).is_some_and(|header| signature.len() >= header.least_signature())
}

/// Whether a header, of whatever kind, may begin like this; in a piece of one there is no secret.
fn may_begin_a_header(piece: &str) -> bool {
    if piece.len() > MAX_HEADER {
        return false;
    }
    // Four characters are three bytes; what is left over says less than a byte.
    let whole = &piece[..piece.len() / 4 * 4];
    let parsed = |text: &str| URL_SAFE_NO_PAD.decode(text).map(|json| (serde_json::from_slice::<Value>(&json), json));
    if let Ok((Ok(_), _)) = parsed(piece) {
        return is_header(piece);
    }
    parsed(whole).is_ok_and(|(value, json)| {
        value.is_err_and(|error| error.is_eof()) && (json.starts_with(HEADER) || HEADER.starts_with(&json))
    })
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SIGNATURE: &str = "c2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lnc2lncw";

    fn token(claims: &Value) -> String {
        token_of(KIND, claims)
    }

    fn token_of(typ: &str, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"k","typ":"{typ}"}}"#));
        format!("{header}.{}.{SIGNATURE}", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn claims() -> Value {
        json!({ "iss": "https://auth.example.org", "sub": "u1", "aud": "a", "iat": 1000, "nbf": 1000, "exp": 2800 })
    }

    #[test]
    fn it_says_whose_it_is_and_until_when() {
        let read = AccessToken::parse(&format!("{}\n", token(&claims()))).unwrap();
        assert_eq!(
            (read.issued_at, read.not_before, read.expires_at),
            (Timestamp(1000), Timestamp(1000), Timestamp(2800))
        );
        assert_eq!(*read.token.expose(), token(&claims()));
        assert!(!format!("{read:?}").contains("c2ln"));
        let damaged = AccessToken::parse(&token(&claims()).replace("c2lnc2", "c2lnd2")).unwrap();
        assert!(damaged.differs_in_its_signature_from(&read) && !read.differs_in_its_signature_from(&read));
        let mut later = claims();
        later["iat"] = 1001.into();
        assert!(!AccessToken::parse(&token(&later)).unwrap().differs_in_its_signature_from(&read));
        for (member, other) in [("iss", "x"), ("sub", "x"), ("aud", "x")] {
            let mut changed = claims();
            changed["exp"] = 9000.into();
            assert!(AccessToken::parse(&token(&changed)).unwrap().is_about_the_same_as(&read));
            changed[member] = other.into();
            assert!(!AccessToken::parse(&token(&changed)).unwrap().is_about_the_same_as(&read), "{member}");
        }
    }

    #[test]
    fn what_is_torn_or_something_else_is_none() {
        let whole = token(&claims());
        let (first, _) = whole.rsplit_once('.').unwrap();
        let without = |member: &str| {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(member);
            token(&claims)
        };
        for bad in [
            String::new(),
            "eyJ".into(),
            "..".into(),
            first.into(),
            format!("{first}."),
            format!("{whole}.x"),
            format!("{whole} {whole}"),
            whole.replacen("eyJ", "abc", 1),
            whole.replacen("eyJ", "eyJ\u{1b}", 1),
            token_of("JWT", &claims()),
            without("exp"),
            without("iat"),
            without("sub"),
            without("iss"),
            token(&json!({ "iss": "i", "sub": "s", "iat": 5, "exp": 5 })),
            token(&json!({ "iss": "i", "sub": "s", "iat": 5, "exp": 7.5 })),
            token(&json!({ "iss": "i", "sub": "s", "iat": -5, "exp": 7 })),
            token(&json!({ "iss": "i", "sub": "s", "iat": 5, "exp": u64::MAX })),
            token(&json!({ "iss": "i", "sub": "s", "iat": 5, "exp": 5 + 401 * 86_400 })),
            token(&json!({ "iss": "i", "sub": "s", "iat": u64::MAX - 5, "exp": u64::MAX })),
            token(&json!({ "iss": "x".repeat(MAX_ACCESS_TOKEN), "sub": "s", "iat": 5, "exp": 7 })),
        ] {
            assert_eq!(AccessToken::parse(&bad).unwrap_err(), NoAccessToken, "{bad}");
        }
        assert!(is_piece_of_one(first) && is_piece_of_one("eyJ") && !is_piece_of_one("") && !is_piece_of_one("eyJ x"));
    }

    #[test]
    fn only_what_can_be_a_piece_of_an_access_token_is_one() {
        let whole = token(&claims());
        for length in 3..whole.len() {
            assert!(is_piece_of_one(&whole[..length]), "{}", &whole[..length]);
            assert_eq!(AccessToken::parse(&whole[..length]).unwrap_err(), NoAccessToken, "{}", &whole[..length]);
        }
        assert!(!is_piece_of_one(&whole), "a whole one is none");
        // Service accounts' long-lived tokens, also of other services, whole and cut off; others' access tokens.
        let long_lived = json!({ "iss": "https://auth.example.org", "sub": "system:serviceaccount:ada:ci" });
        for other in [token(&long_lived), token_of("JWT", &long_lived), token_of("JWT", &claims())] {
            assert!(!is_piece_of_one(&other), "{other}");
        }
        let other = token_of("JWT", &long_lived);
        let header = other.find('.').unwrap();
        for length in header..=other.len() {
            assert!(!is_piece_of_one(&other[..length]), "{}", &other[..length]);
        }
        let without_a_kind = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#), "e30");
        // A full token is base64 of JSON, too.
        let full = URL_SAFE_NO_PAD.encode(json!({ "token": other, "cluster": "default", "url": "x" }).to_string());
        for other in [&without_a_kind, &full, &full[..40], "eyJ.", "eyJ.e30", "eyJhbGci.e30.c2ln", &"eyJh".repeat(200)]
        {
            assert!(!is_piece_of_one(other), "{other}");
        }
    }
}
