//! Short-lived tokens of a service account (Kubernetes' TokenRequest): for the audiences asked, for a day at most.

use std::time::Duration;

use super::{ServiceAccount, ShortLived, manage};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        access::{Action, Resource, Subject, permission},
        ids::{Jti, Name},
        key::jwt::{Kind, KubernetesClaims, NamedUid, TokenRequestClaims},
    },
    store::{Record, When},
};

/// How long a token lives whose request says nothing.
pub const USUAL_LIFE: Duration = Duration::from_hours(1);

/// The shortest life that can be asked for.
pub const SHORTEST_LIFE: Duration = Duration::from_mins(10);

/// The longest life that is given; who asks for more gets this.
pub const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// The most that can be asked for, in seconds, as in Kubernetes.
const MOST_ASKED: i64 = 1 << 32;

/// The most audiences of a token, and the longest, in bytes.
const MOST_AUDIENCES: usize = 16;
const LONGEST_AUDIENCE: usize = 256;

/// What a request says, not judged yet.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// Whom the token is for; none: `{issuer}/kubernetes`.
    pub audiences: Vec<String>,
    /// How long it lives, in seconds; none: an hour.
    pub expiration_seconds: Option<i64>,
}

/// A token that was issued.
#[derive(Debug)]
pub struct Granted {
    /// The token.
    pub token: Secret<String>,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// How many seconds were asked for, if fewer are given.
    pub cut_from: Option<i64>,
}

/// The audience of a token whose request names none.
pub fn usual_audience(issuer: &str) -> String {
    format!("{issuer}/kubernetes")
}

/// Issues a short-lived token. Its service account may ask for itself once it was granted `write` on its own `token`, its
/// namespace's owner may, and admins.
///
/// # Errors
/// `Forbidden`, with what is missing; `Absent`; `Invalid` for `spec.audiences` or `spec.expirationSeconds`; `Unavailable`.
pub async fn request(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    name: &str,
    asked: TokenRequest,
) -> Result<Granted, Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace").map_err(|_| manage::absent())?;
    let name = Name::parse(name, "metadata.name").map_err(|_| manage::absent())?;
    let resource = Resource::service_account_token(&service.policy.cluster, &namespace, &name);
    permission::require(service, now, by, &[(resource, Action::Write)]).await?;
    let audiences = audiences(&service.policy.issuer, asked.audiences)?;
    let (life, cut_from) = life(asked.expiration_seconds)?;
    let account = manage::standing(service, now, &namespace, &name).await?;
    let id = Jti::draw(account.record.owner_key(), service.entropy.as_ref());
    let record = ShortLived {
        namespace,
        name,
        uid: account.record.uid,
        epoch: account.record.epoch,
        id,
        audiences,
        issued_at: now,
        expires_at: now + life,
        by: by.name().to_owned(),
    };
    let token = service.sign(now, Kind::TokenRequest, &claims(service, &account.record, &record)).await?;
    // A service account that is ended or rotated meanwhile has another uid or epoch, in which this token never stands.
    service.commit(now, vec![record.put(When::Absent)]).await?;
    tracing::info!(
        target: "gatemint::audit", event = "service_account_token_requested", actor = by.name(),
        service_account = %account.record.principal(), token.id = %id, token.expires_at = record.expires_at.0,
    );
    Ok(Granted { token, expires_at: record.expires_at, audiences: record.audiences, cut_from })
}

fn claims(service: &Service, account: &ServiceAccount, record: &ShortLived) -> TokenRequestClaims {
    TokenRequestClaims {
        aud: record.audiences.clone(),
        exp: record.expires_at,
        iat: record.issued_at,
        iss: service.policy.issuer.clone(),
        jti: record.id.to_string(),
        kubernetes: KubernetesClaims {
            namespace: account.namespace.to_string(),
            serviceaccount: NamedUid { name: account.name.to_string(), uid: account.uid.uuid() },
        },
        nbf: record.issued_at,
        sub: account.user_name(),
    }
}

fn audiences(issuer: &str, mut asked: Vec<String>) -> Result<Vec<String>, Refusal> {
    const FIELD: &str = "spec.audiences";
    if asked.is_empty() {
        return Ok(vec![usual_audience(issuer)]);
    }
    let mut seen = std::collections::BTreeSet::new();
    asked.retain(|one| seen.insert(one.clone()));
    let sound =
        |one: &String| (1..=LONGEST_AUDIENCE).contains(&one.len()) && one.bytes().all(|byte| byte.is_ascii_graphic());
    if asked.len() > MOST_AUDIENCES || !asked.iter().all(sound) {
        return Err(Refusal::invalid(
            FIELD,
            format!(
                "must be at most {MOST_AUDIENCES} texts of 1 to {LONGEST_AUDIENCE} printable ASCII characters without spaces"
            ),
        ));
    }
    let reserved = |one: &String| {
        one == issuer
            || [Kind::Gate, Kind::Link, Kind::ServiceAccount]
                .into_iter()
                .filter_map(|kind| kind.audience(issuer))
                .any(|of_kind| of_kind == *one)
    };
    if asked.iter().any(reserved) {
        return Err(Refusal::invalid(FIELD, "may not be the audience of another kind of token of this service"));
    }
    Ok(asked)
}

/// The life that is given, and what was asked for if it is more.
fn life(asked: Option<i64>) -> Result<(Duration, Option<i64>), Refusal> {
    const FIELD: &str = "spec.expirationSeconds";
    let Some(asked) = asked else { return Ok((USUAL_LIFE, None)) };
    let seconds = u64::try_from(asked).unwrap_or(0);
    if seconds < SHORTEST_LIFE.as_secs() {
        return Err(Refusal::invalid(FIELD, "may not specify a duration less than 10 minutes"));
    }
    if asked > MOST_ASKED {
        return Err(Refusal::invalid(FIELD, "may not specify a duration larger than 2^32 seconds"));
    }
    let life = Duration::from_secs(seconds);
    Ok(if life > LONGEST_LIFE { (LONGEST_LIFE, Some(asked)) } else { (life, None) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_ten_minutes_to_a_day() {
        let secs = |seconds| Duration::from_secs(seconds);
        for (asked, given, cut) in [
            (None, 3600, None),
            (Some(600), 600, None),
            (Some(86_400), 86_400, None),
            (Some(86_401), 86_400, Some(86_401)),
            (Some(1 << 32), 86_400, Some(1 << 32)),
        ] {
            assert_eq!(life(asked).unwrap(), (secs(given), cut));
        }
        for bad in [i64::MIN, -1, 0, 1, 599, (1 << 32) + 1, i64::MAX] {
            assert_eq!(life(Some(bad)).unwrap_err().field, Some("spec.expirationSeconds"), "{bad}");
        }
    }

    #[test]
    fn an_audience_is_never_one_of_another_kind() {
        let of = |asked: &[&str]| audiences("https://i", asked.iter().map(|one| (*one).to_owned()).collect());
        assert_eq!(of(&[]).unwrap(), ["https://i/kubernetes"]);
        assert_eq!(of(&["https://i/kubernetes", "x"]).unwrap(), ["https://i/kubernetes", "x"]);
        let long = "x".repeat(257);
        for bad in ["https://i", "https://i/gate", "https://i/link", "https://i/service-account", "", "a b", "ä", &long]
        {
            assert_eq!(of(&["x", bad]).unwrap_err().field, Some("spec.audiences"), "{bad}");
        }
        assert!(of(&["x"; 17]).is_ok(), "the same one again and again is one");
        let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        assert!(audiences("https://i", many).is_err());
    }
}
