//! May this request pass? For whoever guards routes that are not ours.

use super::{Holder, standing};
use crate::{
    clock::Timestamp,
    domain::{Refusal, Secret, Service, grant::Scope},
};

/// Who passes, in the words that the guarded service is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passer {
    /// The account's name, or `client:` and the id for a client's own token; an account's name has no colon.
    pub user: String,
    /// The account's e-mail address; empty if there is none, or if the token's scope does not show it.
    pub email: String,
    /// The account's roles as they are now, under the same condition.
    pub groups: Vec<String>,
}

/// Judges the credential of a request to somebody else's route: an access token that stands, with the issuer in its
/// `aud`. One round trip once the public keys are in memory.
///
/// # Errors
/// `Unauthenticated`: no token, or one that is not good, whatever the reason. `Forbidden`: it is good for another
/// audience only. `Unavailable`: it could not be judged.
pub async fn verify(service: &Service, now: Timestamp, token: Option<&Secret<String>>) -> Result<Passer, Refusal> {
    let token = token.ok_or_else(|| Refusal::unauthenticated("an access token is needed"))?;
    let standing = standing(service, now, token)
        .await?
        .ok_or_else(|| Refusal::unauthenticated("the access token is not valid, or no longer"))?;
    if !standing.claims.aud.contains(&service.policy.issuer) {
        return Err(Refusal::forbidden("the access token is for another audience"));
    }
    let user = standing.claims.preferred_username;
    Ok(match standing.holder {
        Holder::Account { account, .. } => {
            let (email, groups) = account.record.shown_in(&Scope::of_claim(&standing.claims.scope));
            Passer { user, email, groups }
        }
        Holder::Client(_) => Passer { user, ..Passer::default() },
    })
}
