//! A service account's token that somebody presents: what it says, and whether its record still stands.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{ServiceAccount, ShortLived, Use, Used};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        access::Subject,
        account::Account,
        ids::{Jti, Name},
        key::jwt::{BadToken, Kind, LongLivedClaims, TokenRequestClaims, Unverified},
    },
    store::{Item, Key, decode},
};

/// The longest long-lived token, in bytes: we make none of that length.
const LONGEST: usize = 8 * 1024;

/// Whose token it is, as the rows are now.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The service account, which stands with its owner.
    pub account: ServiceAccount,
    /// The token's `jti`.
    pub id: Jti,
    /// The use to be written down by [`super::mark`], if it is due.
    pub used: Option<Use>,
}

impl Holder {
    /// Who asks, as far as permissions are concerned.
    pub fn subject(&self) -> Subject {
        Subject::of_service_account(&self.account, true)
    }
}

/// The SHA-256 of a token, in base64url.
pub(super) fn sha256(token: &Secret<String>) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.expose().as_bytes()))
}

/// A long-lived token that somebody presents. Of it nothing is known yet: its record judges it.
#[derive(Clone, Debug)]
pub struct PresentedLongLived {
    sha256: String,
    namespace: Name,
    name: Name,
    id: Jti,
}

impl PresentedLongLived {
    /// Reads which record judges it; none if it cannot be one of ours.
    pub fn read(token: &Secret<String>) -> Option<Self> {
        if token.expose().len() > LONGEST {
            return None;
        }
        let claims: LongLivedClaims = Unverified::parse(token.expose()).ok()?.claims(Kind::ServiceAccount).ok()?;
        let name = |text: &str| Name::parse(text, "token").ok();
        Some(Self {
            sha256: sha256(token),
            namespace: name(&claims.namespace)?,
            name: name(&claims.name)?,
            id: Jti::parse(&claims.jti)?,
        })
    }

    /// What must be read to judge it: the service account, its owner, and when the token was last used.
    pub fn keys(&self) -> [Key; 3] {
        let (namespace, name) = (self.namespace.as_str(), self.name.as_str());
        [
            ServiceAccount::key_of(namespace, name),
            Account::key_of(self.id.account),
            Used::key_of(namespace, name, &self.id),
        ]
    }

    /// Whose it is, by these rows, in the order of [`PresentedLongLived::keys`], which are taken; none if it is not good,
    /// or no longer.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn accept(
        &self,
        now: Timestamp,
        rows: &mut impl Iterator<Item = Option<Item>>,
    ) -> Result<Option<Holder>, Refusal> {
        let (account, owner) = account_and_owner(rows)?;
        let before = decode::<Used>(rows.next().flatten())?;
        let Some(account) = account else { return Ok(None) };
        let good = account
            .tokens
            .iter()
            .find(|token| token.id == self.id)
            .is_some_and(|token| token.is_of(&self.sha256) && !token.is_over(now));
        if !good || !stands(&account, owner.as_ref(), self.id) {
            return Ok(None);
        }
        let used = Used { namespace: self.namespace.clone(), name: self.name.clone(), id: self.id, at: now };
        Ok(Some(Holder { account, id: self.id, used: Use::of(used, before.as_ref()) }))
    }
}

/// The first two of the rows that both kinds need.
fn account_and_owner(
    rows: &mut impl Iterator<Item = Option<Item>>,
) -> Result<(Option<ServiceAccount>, Option<Account>), Refusal> {
    let account = decode::<ServiceAccount>(rows.next().flatten())?;
    let owner = decode::<Account>(rows.next().flatten())?;
    Ok((account.map(|row| row.record), owner.map(|row| row.record)))
}

/// Whether the account that the token's id names is the owner, and upholds the service account.
fn stands(account: &ServiceAccount, owner: Option<&Account>, id: Jti) -> bool {
    account.owner_key() == id.account && account.is_upheld_by(owner)
}

/// A short-lived token that somebody presents, with signature, kind, issuer and time judged; of its record nothing is
/// known yet.
#[derive(Clone, Debug)]
pub struct PresentedShortLived {
    /// What it says.
    pub claims: TokenRequestClaims,
    id: Jti,
}

impl PresentedShortLived {
    /// Judges a token; nothing is read but the public keys. The audience is for the caller of this to judge.
    ///
    /// # Errors
    /// `Unavailable`: it could not be judged. Inside: why it is not good.
    pub async fn judge(
        service: &Service,
        now: Timestamp,
        token: &Secret<String>,
    ) -> Result<Result<Self, BadToken>, Refusal> {
        let judged = service.judge::<TokenRequestClaims>(now, token, Kind::TokenRequest).await?;
        Ok(judged.and_then(|claims| {
            claims.check(&service.policy.issuer, now)?;
            let id = Jti::parse(&claims.jti).ok_or(BadToken::Malformed)?;
            Ok(Self { claims, id })
        }))
    }

    /// What must be read to go on: the service account, its owner, and the token's record.
    pub fn keys(&self) -> [Key; 3] {
        let claims = &self.claims.kubernetes;
        let (namespace, name) = (claims.namespace.as_str(), claims.serviceaccount.name.as_str());
        [
            ServiceAccount::key_of(namespace, name),
            Account::key_of(self.id.account),
            ShortLived::key_of(namespace, name, &self.id),
        ]
    }

    /// Whose it is, by these rows, in the order of [`PresentedShortLived::keys`], which are taken; none if it no longer
    /// stands.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn accept(
        &self,
        now: Timestamp,
        rows: &mut impl Iterator<Item = Option<Item>>,
    ) -> Result<Option<Holder>, Refusal> {
        let (account, owner) = account_and_owner(rows)?;
        let record = decode::<ShortLived>(rows.next().flatten())?.map(|row| row.record);
        let (Some(account), Some(record)) = (account, record) else { return Ok(None) };
        let good = record.stands(&account, now)
            && record.id == self.id
            && account.uid.uuid() == self.claims.kubernetes.serviceaccount.uid
            && account.user_name() == self.claims.sub
            && stands(&account, owner.as_ref(), self.id);
        Ok(good.then_some(Holder { account, id: self.id, used: None }))
    }
}
