//! Whose token is this, and is it for me? (Kubernetes' TokenReview): for whoever is shown tokens and does not judge them
//! itself.

use super::{PresentedShortLived, token_request::usual_audience};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        access::{Action, Holder, Resource, Subject, permission, standing},
        grant::Scope,
        key::jwt::{Audience, Kind, Unverified},
    },
};

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewee {
    /// The account's name, or `system:serviceaccount:NAMESPACE:NAME`.
    pub username: String,
    /// Its uid.
    pub uid: String,
    /// An account's roles, or the groups that Kubernetes has service accounts in; always `system:authenticated`.
    pub groups: Vec<String>,
    /// The token's own id.
    pub jti: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Whose token it is; none if it is not good, or not for whoever asks.
    pub who: Option<Reviewee>,
    /// For which of the audiences asked about it is.
    pub audiences: Vec<String>,
    /// Why it is not good, in a few words.
    pub error: Option<&'static str>,
}

impl Reviewed {
    fn no(error: &'static str) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

/// Reviews a token for `audiences`; none: for us, `{issuer}/kubernetes` or the issuer itself. Accounts' access tokens and
/// service accounts' short-lived tokens can be good; gate tokens, links and long-lived tokens never are.
///
/// # Errors
/// `Forbidden` without `read` on the cluster's token reviews; `Unavailable`.
pub async fn review(
    service: &Service,
    now: Timestamp,
    by: &Subject,
    token: &Secret<String>,
    audiences: &[String],
) -> Result<Reviewed, Refusal> {
    let resource = Resource::token_review(&service.policy.cluster);
    permission::require(service, now, by, &[(resource, Action::Read)]).await?;
    let asked = if audiences.is_empty() {
        vec![usual_audience(&service.policy.issuer), service.policy.issuer.clone()]
    } else {
        audiences.to_vec()
    };
    let Ok(unverified) = Unverified::parse(token.expose()) else { return Ok(Reviewed::no(INVALID)) };
    let (who, aud) = if unverified.typ() == Kind::TokenRequest.typ() {
        let presented = match PresentedShortLived::judge(service, now, token).await? {
            Ok(presented) => presented,
            Err(why) => {
                tracing::debug!(reason = %why, "a service account token was not accepted");
                return Ok(Reviewed::no(INVALID));
            }
        };
        let mut rows = service.store.get(now, &presented.keys()).await?.into_iter();
        let Some(holder) = presented.accept(now, &mut rows)? else { return Ok(Reviewed::no(INVALIDATED)) };
        let who = Reviewee {
            username: holder.account.user_name(),
            uid: holder.account.uid.uuid(),
            groups: holder.account.groups(),
            jti: presented.claims.jti,
        };
        (who, Audience(presented.claims.aud))
    } else {
        // Everything but an access token is refused there by its kind.
        let Some(standing) = standing(service, now, token).await? else { return Ok(Reviewed::no(INVALID)) };
        let Holder::Account { account, .. } = standing.holder else { return Ok(Reviewed::no(INVALID)) };
        // What the token was narrowed to, it stays.
        let (_, mut groups) = account.record.shown_in(&Scope::of_claim(&standing.claims.scope));
        groups.push("system:authenticated".to_owned());
        let who = Reviewee {
            username: account.record.name.to_string(),
            uid: account.record.uid.to_string(),
            groups,
            jti: standing.claims.jti,
        };
        (who, standing.claims.aud)
    };
    let audiences: Vec<String> = asked.into_iter().filter(|one| aud.contains(one)).collect();
    if audiences.is_empty() {
        return Ok(Reviewed::no(FOR_ANOTHER));
    }
    Ok(Reviewed { who: Some(who), audiences, error: None })
}

const INVALID: &str = "invalid bearer token";
const INVALIDATED: &str = "service account token has been invalidated";
const FOR_ANOTHER: &str = "token audiences are invalid for the target audiences";
