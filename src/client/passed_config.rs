//! A passed config: the full token of a service account, which stands in an environment variable in place of a login.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::{
    http::WebUrl,
    service_account_token::{MAX_TOKEN, ServiceAccountToken},
};
use crate::domain::Secret;

/// No passed config is longer.
const MOST: usize = 2 * MAX_TOKEN;
/// What a service's URL for these clients ends with.
const API: &str = "/api/v1";

/// Why a passed config cannot be used. Nothing of it is in the text: it is a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassedConfig {
    /// Another alphabet, or cut off.
    #[error("it is not base64")]
    NotBase64,
    /// Something else than an object with the members that it needs.
    #[error("it is not base64 of JSON with the members token, cluster and url")]
    NotJson,
    /// A URL that cannot be asked.
    #[error("its url is not an http or https URL")]
    BadUrl,
    /// A token of another kind.
    #[error("its token is no service account's long-lived token")]
    BadToken,
}

/// What a full token says: base64 of JSON `{token, cluster, url, project_name?, org_name?}`.
#[derive(Clone, Debug)]
pub struct PassedConfig {
    /// The long-lived token.
    pub token: ServiceAccountToken,
    /// The cluster of URIs that name none.
    pub cluster: String,
    /// The service's URL, without `/api/v1`.
    pub url: String,
    /// The namespace of URIs that name none.
    pub project: Option<String>,
    /// The organisation that the system which this comes from has between cluster and project.
    pub organisation: Option<String>,
}

#[derive(Deserialize)]
struct Members {
    token: String,
    cluster: String,
    url: String,
    project_name: Option<String>,
    org_name: Option<String>,
}

impl Drop for Members {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

impl PassedConfig {
    /// Reads a full token; white space around it is no part of it.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(text: &Secret<String>) -> Result<Self, BadPassedConfig> {
        let text = text.expose().trim();
        if text.len() > MOST {
            return Err(BadPassedConfig::NotBase64);
        }
        let json = Zeroizing::new(STANDARD.decode(text).map_err(|_| BadPassedConfig::NotBase64)?);
        let mut members: Members = serde_json::from_slice(&json).map_err(|_| BadPassedConfig::NotJson)?;
        let url = members.url.trim_end_matches('/');
        let url = url.strip_suffix(API).unwrap_or(url).to_owned();
        WebUrl::parse(&url).map_err(|_| BadPassedConfig::BadUrl)?;
        let token = ServiceAccountToken::parse(&members.token).map_err(|_| BadPassedConfig::BadToken)?;
        Ok(Self {
            token,
            cluster: std::mem::take(&mut members.cluster),
            url,
            project: members.project_name.take(),
            organisation: members.org_name.take(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::service_account_token::tests::{claims, token},
        *,
    };

    fn parse(value: &Value) -> Result<PassedConfig, BadPassedConfig> {
        PassedConfig::parse(&Secret::new(format!("{}\n", STANDARD.encode(value.to_string()))))
    }

    fn full() -> Value {
        json!({
            "token": token(&claims()), "cluster": "default", "url": "https://auth.example.org/base/api/v1",
            "project_name": "ada", "org_name": "default-org",
        })
    }

    #[test]
    fn a_full_token_says_where_and_who() {
        let passed = parse(&full()).unwrap();
        assert_eq!((passed.url.as_str(), passed.cluster.as_str()), ("https://auth.example.org/base", "default"));
        assert_eq!((passed.project.as_deref(), passed.organisation.as_deref()), (Some("ada"), Some("default-org")));
        assert_eq!(passed.token.principal(), "ada/service-accounts/ci");
        for url in ["http://127.0.0.1:9000", "http://127.0.0.1:9000/", "http://127.0.0.1:9000/api/v1/"] {
            let passed = parse(&json!({"token": token(&claims()), "cluster": "c", "url": url, "more": 1})).unwrap();
            assert_eq!((passed.url.as_str(), passed.project), ("http://127.0.0.1:9000", None), "{url}");
        }
    }

    #[test]
    fn what_is_malformed_is_told_without_a_word_of_it() {
        let changed = |member: &str, value: Value| {
            let mut full = full();
            full[member] = value;
            parse(&full).unwrap_err()
        };
        assert_eq!(changed("token", Value::Null), BadPassedConfig::NotJson);
        assert_eq!(changed("token", "secret".into()), BadPassedConfig::BadToken);
        assert_eq!(changed("cluster", 1.into()), BadPassedConfig::NotJson);
        assert_eq!(changed("url", "file:///etc".into()), BadPassedConfig::BadUrl);
        assert_eq!(changed("url", "https://ada:secret@example.org".into()), BadPassedConfig::BadUrl);
        assert_eq!(parse(&json!([])).unwrap_err(), BadPassedConfig::NotJson);
        for text in ["secret!", "c2VjcmV0", "", "{\"token\":\"secret\"}", &"A".repeat(MOST + 4)] {
            let error = PassedConfig::parse(&Secret::new(text.to_owned())).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{text}");
        }
    }
}
