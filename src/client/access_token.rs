//! What an access token says of itself, unverified: whoever keeps one has it from the service that signed it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use super::service_account_token::MAX_TOKEN;
use crate::{clock::Timestamp, domain::Secret};

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
        let mut parts = text.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NoAccessToken);
        };
        if !may_begin_one(text) || text.split('.').any(str::is_empty) {
            return Err(NoAccessToken);
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| NoAccessToken)?;
        let Claims { iss, sub, aud, iat, nbf, exp } = serde_json::from_slice(&claims).map_err(|_| NoAccessToken)?;
        if exp <= iat {
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
}

/// Whether this can be a token, or a piece of one that was cut off.
pub fn may_begin_one(text: &str) -> bool {
    let is_of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= MAX_TOKEN && text.starts_with("eyJ") && text.bytes().all(is_of_a_token)
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

    fn token(claims: &Value) -> String {
        format!("eyJ.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
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
            without("exp"),
            without("iat"),
            without("sub"),
            without("iss"),
            token(&json!({ "iss": "i", "sub": "s", "iat": 5, "exp": 5 })),
            token(&json!({ "iss": "i", "sub": "s", "iat": 5, "exp": 7.5 })),
            token(&json!({ "iss": "i", "sub": "s", "iat": -5, "exp": 7 })),
            token(&json!({ "iss": "x".repeat(MAX_TOKEN), "sub": "s", "iat": 5, "exp": 7 })),
        ] {
            assert_eq!(AccessToken::parse(&bad).unwrap_err(), NoAccessToken, "{bad}");
        }
        assert!(may_begin_one(first) && may_begin_one("eyJ") && !may_begin_one("") && !may_begin_one("eyJ x"));
    }
}
