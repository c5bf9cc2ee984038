//! What a service account's long-lived token says of itself, unverified: it is one's own.

use serde::Deserialize;

use super::{access_token::claims_of, http::WebUrl};
use crate::{clock::Timestamp, domain::Secret};

/// No such token is longer.
pub const MAX_TOKEN: usize = 16 * 1024;

/// It is no service account's long-lived token. Nothing of it is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no service account's long-lived token")]
pub struct NoServiceAccountToken;

/// A service account's long-lived token, with what it says: whose it is, where it is from, when it ends.
#[derive(Clone, Debug)]
pub struct ServiceAccountToken {
    /// The token itself.
    pub token: Secret<String>,
    /// The account's namespace.
    pub namespace: String,
    /// The account's name.
    pub name: String,
    /// The service that issued it.
    pub issuer: WebUrl,
    /// When it ends by itself, if it does.
    pub expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    exp: Option<u64>,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    name: String,
}

impl ServiceAccountToken {
    /// Reads a token; what stands around it is no part of it.
    ///
    /// # Errors
    /// Another kind of token, or none at all.
    pub fn parse(text: &str) -> Result<Self, NoServiceAccountToken> {
        let text = text.trim();
        if text.len() > MAX_TOKEN {
            return Err(NoServiceAccountToken);
        }
        let claims: Claims = claims_of(text).ok_or(NoServiceAccountToken)?;
        let issuer = WebUrl::parse(&claims.iss).map_err(|_| NoServiceAccountToken)?;
        if claims.namespace.is_empty() || claims.name.is_empty() {
            return Err(NoServiceAccountToken);
        }
        Ok(Self {
            token: Secret::new(text.to_owned()),
            namespace: claims.namespace,
            name: claims.name,
            issuer,
            expires_at: claims.exp.map(Timestamp),
        })
    }

    /// The name that permissions are granted to.
    pub fn principal(&self) -> String {
        format!("{}/service-accounts/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    pub(in crate::client) fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    pub(in crate::client) fn claims() -> serde_json::Value {
        serde_json::json!({
            "iss": "https://auth.example.org", "kubernetes.io/serviceaccount/namespace": "ada",
            "kubernetes.io/serviceaccount/service-account.name": "ci",
        })
    }

    #[test]
    fn it_says_whose_it_is_and_from_where() {
        let read = ServiceAccountToken::parse(&format!(" {}\n", token(&claims()))).unwrap();
        assert_eq!((read.namespace.as_str(), read.name.as_str(), read.expires_at), ("ada", "ci", None));
        assert_eq!(
            (read.principal().as_str(), read.issuer.to_string().as_str()),
            ("ada/service-accounts/ci", "https://auth.example.org/")
        );
        assert_eq!(*read.token.expose(), token(&claims()));
        let mut ending = claims();
        ending["exp"] = 7.into();
        assert_eq!(ServiceAccountToken::parse(&token(&ending)).unwrap().expires_at, Some(Timestamp(7)));
    }

    #[test]
    fn other_tokens_are_told_apart_and_nothing_of_them_is_shown() {
        let good = token(&claims());
        let changed = |member: &str, value: serde_json::Value| {
            let mut claims = claims();
            claims[member] = value;
            token(&claims)
        };
        let long = "x".repeat(MAX_TOKEN);
        for bad in [
            String::new(),
            "a.b".into(),
            "a.b.c".into(),
            "..".into(),
            format!("{good}.x"),
            format!("{good}\u{1b}[31m"),
            good.replacen('.', " .", 1),
            token(&serde_json::json!({"iss": "https://auth.example.org", "sub": "secret-sub"})),
            token(&serde_json::json!([])),
            changed("iss", "javascript:x".into()),
            changed("kubernetes.io/serviceaccount/namespace", "".into()),
            changed("kubernetes.io/serviceaccount/service-account.name", 1.into()),
            changed("x", long.into()),
        ] {
            let error = ServiceAccountToken::parse(&bad).unwrap_err();
            assert!(bad.is_empty() || !format!("{error} {error:?}").contains(&bad), "{bad}");
        }
    }
}
