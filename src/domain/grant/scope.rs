//! Scopes (RFC 6749 §3.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{GrantError, GrantRefusal};

/// The scopes that every client may ask for.
const STANDARD: [&str; 4] = ["profile", "email", "roles", "offline_access"];
/// What is granted when none is asked for.
const DEFAULT: [&str; 3] = ["profile", "email", "roles"];
const OFFLINE: &str = "offline_access";

/// A set of scopes, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Vec<String>);

impl Scope {
    /// What a new grant is good for: what was asked of what the client may have, or the default. `offline_access`
    /// alone asks how long, not what for, so the default comes with it.
    ///
    /// # Errors
    /// `invalid_scope`.
    pub fn granted(asked: Option<&str>, also_allowed: &[String]) -> Result<Self, GrantRefusal> {
        let mut asked = Self::parse(asked.unwrap_or_default())?;
        if asked.0.iter().any(|one| !STANDARD.contains(&one.as_str()) && !also_allowed.contains(one)) {
            return Err(GrantRefusal::new(
                GrantError::InvalidScope,
                "Invalid scope: the client may ask for profile, email, roles, offline_access and what it lists",
            ));
        }
        if asked.0.iter().all(|one| one == OFFLINE) {
            asked.0.extend(DEFAULT.map(str::to_owned));
        }
        Ok(asked)
    }

    /// What is left of a session's scope when its client may have these of its own.
    #[must_use]
    pub fn still_allowed(&self, also_allowed: &[String]) -> Self {
        let allowed = |one: &&String| STANDARD.contains(&one.as_str()) || also_allowed.contains(one);
        Self(self.0.iter().filter(allowed).cloned().collect())
    }

    /// What one access token of a session is good for: what was asked, if the session has all of it; else everything
    /// (RFC 6749 §6).
    ///
    /// # Errors
    /// `invalid_scope`.
    pub fn narrowed(&self, asked: Option<&str>) -> Result<Self, GrantRefusal> {
        let asked = Self::parse(asked.unwrap_or_default())?;
        if asked.0.is_empty() {
            return Ok(self.clone());
        }
        if asked.0.iter().all(|one| self.0.contains(one)) {
            return Ok(asked);
        }
        Err(GrantRefusal::new(GrantError::InvalidScope, "Invalid scope: more than was granted to the session"))
    }

    /// The scope of a token that we signed, from its claim.
    pub fn of_claim(claim: &str) -> Self {
        Self(claim.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect())
    }

    /// What is granted when none is asked for.
    pub fn usual() -> Self {
        Self(DEFAULT.map(str::to_owned).into())
    }

    /// What both have.
    #[must_use]
    pub fn also_in(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|one| other.has(one)).cloned().collect())
    }

    /// Whether this one is in it.
    pub fn has(&self, scope: &str) -> bool {
        self.0.iter().any(|one| one == scope)
    }

    /// Whether the session may lie idle for long, and has no end of its own.
    pub fn is_offline(&self) -> bool {
        self.has(OFFLINE)
    }

    /// Whether the text is one `scope-token` (RFC 6749 §3.3: printable ASCII without space, `"` and `\`).
    pub fn is_token(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    }

    fn parse(text: &str) -> Result<Self, GrantRefusal> {
        let mut scopes: Vec<String> = Vec::new();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if !Self::is_token(token) || scopes.len() >= 64 {
                return Err(GrantRefusal::new(GrantError::InvalidScope, "Invalid scope: not a list of scope tokens"));
            }
            if !scopes.iter().any(|one| one == token) {
                scopes.push(token.to_owned());
            }
        }
        Ok(Self(scopes))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_asked_is_the_default_and_offline_alone_brings_it_along() {
        assert_eq!(Scope::granted(None, &[]).unwrap().to_string(), "profile email roles");
        assert_eq!(Scope::granted(Some(""), &[]).unwrap().to_string(), "profile email roles");
        let offline = Scope::granted(Some("offline_access"), &[]).unwrap();
        assert_eq!(offline.to_string(), "offline_access profile email roles");
        assert!(offline.is_offline());
        assert_eq!(Scope::granted(Some("email email"), &[]).unwrap().to_string(), "email");
    }

    #[test]
    fn a_client_has_its_own_scopes_and_no_others() {
        assert!(Scope::granted(Some("jobs:run"), &["jobs:run".into()]).is_ok());
        assert!(Scope::granted(Some("jobs:run"), &[]).is_err());
        assert!(Scope::granted(Some("pro\"file"), &[]).is_err());
    }

    #[test]
    fn a_refresh_narrows_and_never_widens() {
        let session = Scope::granted(Some("profile email"), &[]).unwrap();
        assert_eq!(session.narrowed(Some("email")).unwrap().to_string(), "email");
        assert_eq!(session.narrowed(None).unwrap(), session);
        assert!(session.narrowed(Some("email roles")).is_err());
    }
}
