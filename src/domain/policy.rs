//! Lifetimes, limits and the issuer, as the operator set them.

use std::time::Duration;

use super::{account::PasswordPolicy, ids::Name, key::Algorithm};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `iss` of every token: an http or https URL without a path's final slash. Never taken from a request.
    pub issuer: String,
    /// How long an access token lives, unless its client says otherwise (1 s to 24 h).
    pub access_life: Duration,
    /// How long a refresh token may lie unused (1 min to 400 days).
    pub refresh_idle: Duration,
    /// How long a session lasts in all (1 min to 400 days).
    pub refresh_max: Duration,
    /// How long a refresh token with `offline_access` may lie unused; such a session has no end of its own.
    pub offline_idle: Duration,
    /// Up to what age a refresh that is tried again gets the same successor (0 to 60 s).
    pub reuse_window: Duration,
    /// What the next key signs with; none keeps the algorithm of the newest key.
    pub signing_alg: Option<Algorithm>,
    /// How old the newest signing key grows before the next is made (longer than `key_publish_ahead`, to 365 days).
    pub key_rotate_every: Duration,
    /// How long a key is published before it signs (2 h 30 min to 30 days): verifiers may keep a JWKS for two hours.
    pub key_publish_ahead: Duration,
    /// What a new password must be.
    pub password: PasswordPolicy,
    /// A name that no namespace may take: clients of one dialect use it for their organisation.
    pub organisation: String,
    /// What stands for this service in resources: `job://CLUSTER/…`.
    pub cluster: Name,
}

impl Policy {
    /// The defaults, for an issuer.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            access_life: HOUR / 4,
            refresh_idle: 7 * DAY,
            refresh_max: 30 * DAY,
            offline_idle: 30 * DAY,
            reuse_window: Duration::from_secs(30),
            signing_alg: None,
            key_rotate_every: 30 * DAY,
            key_publish_ahead: DAY,
            password: PasswordPolicy { min_bytes: 15 },
            organisation: "default-org".into(),
            cluster: Name::usual_cluster(),
        }
    }
}
