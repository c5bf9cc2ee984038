//! Reading it: signed for the answer, and nothing is written.

use std::time::Duration;

use super::{FreshToken, NAME};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        access::{Action, Identity, Resource, permission},
        account::{Account, NamespaceOwner},
        client::Client,
        grant::Scope,
        ids::{AccountKey, Name, random_id},
        key::jwt::{AccessClaims, Audience, Kind},
    },
    store::{Row, decode},
};

/// How long the token lives from the moment in which it is signed: 30 minutes, whatever other access tokens do.
pub const LIFE: Duration = Duration::from_mins(30);

/// The token as it was signed for one answer.
#[derive(Debug)]
pub struct Shown {
    /// The token.
    pub token: Secret<String>,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Its record.
    pub row: Row<FreshToken>,
}

/// Finds the record of a namespace's token for whoever may read it: its owner, an admin, or whoever was granted `read` on
/// `secret://CLUSTER/NAMESPACE/access-token`. Nothing is signed.
///
/// # Errors
/// `Invalid`: no namespace's name. `Forbidden`; also for whoever shows such a token itself: one that was stolen must not
/// get itself a successor. `Absent`: none has begun, or it has ended. `Unavailable`.
pub async fn find(
    service: &Service,
    now: Timestamp,
    by: &Identity,
    namespace: &str,
) -> Result<Row<FreshToken>, Refusal> {
    Ok(found(service, now, by, namespace).await?.row)
}

/// Reads a namespace's token: an access token with the claims of the account as it is now, signed for this answer, with
/// [`LIFE`] to live. It has the usual scope; for its owner no more of it than the token that she shows.
///
/// # Errors
/// As [`find`].
pub async fn read(service: &Service, now: Timestamp, by: &Identity, namespace: &str) -> Result<Shown, Refusal> {
    let Found { account, row } = found(service, now, by, namespace).await?;
    let own = match by {
        Identity::Account(caller) if caller.account.record.uid == account.uid => Some(caller.scope()),
        _ => None,
    };
    let scope = own.map_or_else(Scope::usual, |own| Scope::usual().also_in(own));
    let (token, expires_at) = sign(service, now, &account, &row.record, &scope).await?;
    if own.is_none() {
        tracing::info!(
            target: "gatemint::audit", event = "fresh_token_read", user.name = %account.name, fresh.id = %row.record.id,
            namespace, actor = by.subject().name(),
        );
    }
    Ok(Shown { token, expires_at, row })
}

struct Found {
    account: Account,
    row: Row<FreshToken>,
}

async fn found(service: &Service, now: Timestamp, by: &Identity, namespace: &str) -> Result<Found, Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace")?;
    if by.shows_fresh_token() {
        return Err(Refusal::forbidden(
            "a token that is always fresh is not renewed by itself: read it with an access token of a sign-in, or with a \
             service account's token",
        ));
    }
    let secret = Name::parse(NAME, "metadata.name")?;
    let resource = Resource::secret(&service.policy.cluster, &namespace, &secret);
    permission::require(service, now, &by.subject(), &[(resource, Action::Read)]).await?;
    let owner: Option<Row<NamespaceOwner>> = service.read(now, NamespaceOwner::key_of(namespace.as_str())).await?;
    let owner = owner.ok_or_else(|| Refusal::absent("nobody owns that namespace"))?.record;
    let key = AccountKey::of(owner.owner.as_str());
    let mut rows = service.store.get(now, &[Account::key_of(key), FreshToken::key_of(key)]).await?.into_iter();
    let account: Option<Row<Account>> = decode(rows.next().flatten())?;
    let row: Option<Row<FreshToken>> = decode(rows.next().flatten())?;
    let account = account.map(|row| row.record).filter(|account| account.uid == owner.uid);
    let row = row.filter(|row| row.record.is_upheld_by(account.as_ref()));
    match (account, row) {
        (Some(account), Some(row)) => Ok(Found { account, row }),
        _ => Err(Refusal::absent("it begins when the namespace's owner signs in with her password")),
    }
}

/// Signs a token of that record.
///
/// # Errors
/// `Unavailable`.
pub(super) async fn sign(
    service: &Service,
    now: Timestamp,
    account: &Account,
    record: &FreshToken,
    scope: &Scope,
) -> Result<(Secret<String>, Timestamp), Refusal> {
    let (email, roles) = account.shown_in(scope);
    let expires_at = now + LIFE;
    let claims = AccessClaims {
        iss: service.policy.issuer.clone(),
        sub: account.uid.to_string(),
        aud: Audience(vec![service.policy.issuer.clone()]),
        client_id: Client::BUILT_IN.to_owned(),
        iat: now,
        nbf: now,
        exp: expires_at,
        jti: random_id(service.entropy.as_ref()),
        scope: scope.to_string(),
        auth_time: record.begun_at,
        sid: record.id.sid(),
        preferred_username: account.name.to_string(),
        identity: account.name.to_string(),
        namespace: account.namespace.to_string(),
        email,
        roles,
    };
    let token = service.sign(now, Kind::Access, &claims).await?;
    Ok((token, expires_at))
}
