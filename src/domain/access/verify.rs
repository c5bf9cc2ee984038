//! May this request pass? For whoever guards routes that are not ours.

use std::borrow::Cow;

use super::{
    Action, Mapping, Question, Resource, Sites, Subject,
    standing::{Holder, Presented as PresentedAccess},
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        gate::{Closed, Presented as PresentedGate, Standing, Target},
        grant::Scope,
        key::jwt::{Audience, Kind, Unverified},
        service_account::{self, PresentedLongLived, PresentedShortLived, Use},
    },
    store::{Item, Key, decode},
};

/// Who passes, in the words that the guarded service is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passer {
    /// The account's name; of a service account `system:serviceaccount:NAMESPACE:NAME`, of a gate token its `sub`: these
    /// have a colon, as no account's name has.
    pub user: String,
    /// The account's e-mail address; empty if there is none, or if the token's scope does not show it.
    pub email: String,
    /// The account's roles as they are now, under the same condition; of a service account the groups that Kubernetes has
    /// it in.
    pub groups: Vec<String>,
    /// The use of a long-lived token to be written down, if it is due.
    pub used: Option<Use>,
}

impl Passer {
    /// What the guarded service is told, and under which names: all five, always, empty when unknown, so that nothing of the
    /// client's own can stand in their place.
    pub fn told(&self) -> [(&'static str, String); 5] {
        let user = || self.user.clone();
        [
            ("X-Auth-Request-User", user()),
            ("X-Auth-Request-Preferred-Username", user()),
            ("X-Auth-Request-Email", self.email.clone()),
            ("X-Auth-Request-Groups", self.groups.join(",")),
            ("kubeflow-userid", user()),
        ]
    }
}

/// What a request to somebody else's route wants.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Method and URL.
    pub target: &'a Target,
    /// Whom an account's token must be for; none: for us.
    pub audience: Option<&'a str>,
}

impl Asked<'_> {
    /// Whether a token is for whoever the guard says. What was requested for an audience is for no guard that names none.
    fn is_for(self, kind: Kind, issuer: &str, aud: &Audience) -> bool {
        match (self.audience, kind) {
            (Some(audience), _) => aud.contains(audience),
            (None, Kind::Access) => aud.contains(issuer),
            (None, Kind::ServiceAccount) => true,
            (None, Kind::TokenRequest | Kind::Gate | Kind::Link) => false,
        }
    }
}

/// Judges a request to somebody else's route by the tokens that came with it, at most a few. One lets it pass if it stands
/// and allows the request; of several the first that does, accounts' before gate tokens, so that a link that somebody
/// planted takes nobody's own place. Service accounts' tokens are judged as accounts' are.
///
/// A gate token passes where it covers method and URL; a host that a site maps is opened by absolute URLs alone, and only if
/// the site still names a resource that was allowed at its minting. An account's token passes where a site maps the host to
/// a resource, with `read` (GET, HEAD, OPTIONS) or `write` on it now.
///
/// One round trip for gate tokens, two for accounts and for what was minted through a session or a service account, once the public keys are in memory.
///
/// # Errors
/// `Unauthenticated`: no token, or none that is good, whatever the reason. `Forbidden`: it is good, but not for this.
/// `Unavailable`: it could not be judged.
pub async fn verify(
    service: &Service,
    now: Timestamp,
    asked: Asked<'_>,
    mut tokens: Vec<Secret<String>>,
) -> Result<Passer, Refusal> {
    tokens.sort_by_key(is_gate);
    let mut candidates = Vec::with_capacity(tokens.len());
    for token in &tokens {
        candidates.push(judge_signature(service, now, token).await?);
    }

    // The first round trip: the sites, and every candidate's own rows.
    let mut keys = vec![Sites::key()];
    for candidate in &candidates {
        candidate.keys(&mut keys);
    }
    let mut rows = if candidates.iter().any(Candidate::is_open) {
        service.store.get(now, &keys).await?.into_iter()
    } else {
        Vec::new().into_iter()
    };
    let sites = decode::<Sites>(rows.next().flatten())?.map(|row| row.record).unwrap_or_default();
    let mapping = sites.resolve(asked.target.host.name());
    let candidates: Vec<Candidate> = candidates
        .into_iter()
        .map(|candidate| candidate.accept(service, &mut rows, asked, &mapping, now))
        .collect::<Result<_, Refusal>>()?;

    // The second: what the accounts were granted, and the sessions of what was exchanged.
    let mut keys = Vec::new();
    for candidate in &candidates {
        candidate.further_keys(&mapping, &mut keys);
    }
    let mut rows =
        if keys.is_empty() { Vec::new().into_iter() } else { service.store.get(now, &keys).await?.into_iter() };

    let mut first = None;
    for candidate in candidates {
        match candidate.decide(&mut rows, asked, &mapping, now)? {
            Ok(passer) => return Ok(passer),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Err(first.unwrap_or_else(|| Refusal::unauthenticated("a token is needed")))
}

/// A candidate, from step to step. What is refused stays in its place: the first one's answer is the answer.
enum Candidate {
    Refused(Refusal),
    Access(Box<PresentedAccess>),
    LongLived(Box<PresentedLongLived>),
    ShortLived(Box<PresentedShortLived>),
    Gate(PresentedGate),
    Account(Box<Subject>, Box<Passer>),
    Open(Box<Standing>),
}

/// What the header says that the token is; the signature is then judged for that kind alone.
fn is_gate(token: &Secret<String>) -> bool {
    Unverified::parse(token.expose()).is_ok_and(|unverified| unverified.typ() == Kind::Gate.typ())
}

async fn judge_signature(service: &Service, now: Timestamp, token: &Secret<String>) -> Result<Candidate, Refusal> {
    let typ = Unverified::parse(token.expose()).map(|unverified| unverified.typ().to_owned()).unwrap_or_default();
    let is = |kind: Kind| typ == kind.typ();
    if is(Kind::Gate) {
        return Ok(match PresentedGate::judge(service, now, token, Kind::Gate).await? {
            Ok(presented) => Candidate::Gate(presented),
            Err(closed) => Candidate::Refused(closed_gate(closed)),
        });
    }
    if is(Kind::ServiceAccount) {
        let presented = PresentedLongLived::read(token).map(|presented| Candidate::LongLived(Box::new(presented)));
        return Ok(presented.unwrap_or_else(|| Candidate::Refused(service_account_gone())));
    }
    if is(Kind::TokenRequest) {
        return Ok(match PresentedShortLived::judge(service, now, token).await? {
            Ok(presented) => Candidate::ShortLived(Box::new(presented)),
            Err(why) => {
                tracing::debug!(reason = %why, "a service account token was not accepted");
                Candidate::Refused(service_account_gone())
            }
        });
    }
    Ok(match PresentedAccess::judge(service, now, token).await? {
        Some(presented) => Candidate::Access(Box::new(presented)),
        None => Candidate::Refused(not_standing()),
    })
}

fn service_account_gone() -> Refusal {
    Refusal::unauthenticated("the service account's token is not valid, or no longer")
}

fn for_another_audience() -> Refusal {
    Refusal::forbidden("the token is for another audience")
}

/// A service account's token that is good, if it is for whoever the guard says.
fn service_account(
    holder: Option<service_account::Holder>,
    asked: Asked<'_>,
    service: &Service,
    kind: Kind,
    aud: &Audience,
) -> Candidate {
    let Some(holder) = holder else { return Candidate::Refused(service_account_gone()) };
    if !asked.is_for(kind, &service.policy.issuer, aud) {
        return Candidate::Refused(for_another_audience());
    }
    let passer = Passer {
        user: holder.account.user_name(),
        email: String::new(),
        groups: holder.account.groups(),
        used: holder.used.clone(),
    };
    Candidate::Account(Box::new(holder.subject()), Box::new(passer))
}

fn not_standing() -> Refusal {
    Refusal::unauthenticated("the access token is not valid, or no longer")
}

fn closed_gate(closed: Closed) -> Refusal {
    Refusal::unauthenticated(match closed {
        Closed::Invalid => "the gate token is not valid",
        Closed::NotYet => "the gate token is not valid yet",
        Closed::Expired => "the gate token has expired",
        Closed::Revoked | Closed::Used => "the gate token was revoked",
    })
}

impl Candidate {
    fn is_open(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    fn keys(&self, keys: &mut Vec<Key>) {
        match self {
            Self::Access(presented) => keys.extend(presented.keys()),
            Self::LongLived(presented) => keys.extend(presented.keys()),
            Self::ShortLived(presented) => keys.extend(presented.keys()),
            Self::Gate(presented) => keys.extend(presented.keys()),
            Self::Refused(_) | Self::Account(..) | Self::Open(_) => {}
        }
    }

    fn accept(
        self,
        service: &Service,
        rows: &mut impl Iterator<Item = Option<Item>>,
        asked: Asked<'_>,
        mapping: &Mapping,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        Ok(match self {
            Self::Access(presented) => {
                let of_this = rows.take(presented.keys().len()).collect();
                let for_whom = presented.claims.aud.clone();
                let scope = Scope::of_claim(&presented.claims.scope);
                match presented.accept(now, of_this)? {
                    None => Self::Refused(not_standing()),
                    Some(_) if !asked.is_for(Kind::Access, &service.policy.issuer, &for_whom) => {
                        Self::Refused(for_another_audience())
                    }
                    Some(Holder::Client(_)) => {
                        Self::Refused(Refusal::forbidden("a client's own token opens nobody's site"))
                    }
                    Some(Holder::Account { account, .. }) => {
                        let account = account.record;
                        let (email, groups) = account.shown_in(&scope);
                        let passer = Passer { user: account.name.to_string(), email, groups, used: None };
                        let subject = Subject::of_account(&account, scope.has("roles"));
                        Self::Account(Box::new(subject), Box::new(passer))
                    }
                }
            }
            Self::LongLived(presented) => {
                let holder = presented.accept(now, rows)?;
                let aud = Audience(Kind::ServiceAccount.audience(&service.policy.issuer).into_iter().collect());
                service_account(holder, asked, service, Kind::ServiceAccount, &aud)
            }
            Self::ShortLived(presented) => {
                let holder = presented.accept(now, rows)?;
                let aud = Audience(presented.claims.aud);
                service_account(holder, asked, service, Kind::TokenRequest, &aud)
            }
            Self::Gate(presented) => match presented.accept([rows.next().flatten(), rows.next().flatten()])? {
                Err(closed) => Self::Refused(closed_gate(closed)),
                Ok(standing) if covers(&standing, asked.target, mapping) => Self::Open(Box::new(standing)),
                Ok(_) => Self::Refused(Refusal::forbidden("the gate token does not open this")),
            },
            Self::Refused(_) | Self::Account(..) | Self::Open(_) => self,
        })
    }

    /// As whom its request is judged by what was granted; none if it is not.
    fn subject(&self) -> Option<Cow<'_, Subject>> {
        match self {
            Self::Account(subject, _) => Some(Cow::Borrowed(subject)),
            Self::Open(standing) => {
                let as_admin = standing.through()?.judged_as_admin()?;
                Some(Cow::Owned(Subject::of_account(&standing.account, as_admin)))
            }
            _ => None,
        }
    }

    fn further_keys(&self, mapping: &Mapping, keys: &mut Vec<Key>) {
        if let Self::Open(standing) = self {
            keys.extend(standing.through().into_iter().flat_map(|through| through.keys()));
        }
        if let (Some(subject), Mapping::To(resource)) = (self.subject(), mapping) {
            keys.extend(Question::new(&subject, resource).keys());
        }
    }

    fn decide(
        self,
        rows: &mut impl Iterator<Item = Option<Item>>,
        asked: Asked<'_>,
        mapping: &Mapping,
        now: Timestamp,
    ) -> Result<Result<Passer, Refusal>, Refusal> {
        // All of this one's rows are taken before any verdict is told: the next candidate's follow.
        let through = match &self {
            Self::Open(standing) => {
                standing.through().map(|through| through.stands(rows, &standing.account, now)).transpose()?
            }
            _ => None,
        };
        let granted = match (self.subject(), mapping) {
            (None, _) => Ok(()),
            (Some(subject), Mapping::To(resource)) => {
                let has = Question::new(&subject, resource).answer(rows)?;
                if has.is_some_and(|has| has.gives(wanted(asked))) { Ok(()) } else { Err(not_granted(resource, asked)) }
            }
            (Some(_), _) => Err(Refusal::forbidden("no site maps this host to one resource")),
        };
        Ok(match self {
            Self::Refused(refusal) => Err(refusal),
            Self::Account(_, passer) => granted.map(|()| *passer),
            Self::Open(_) if through == Some(false) => Err(closed_gate(Closed::Revoked)),
            Self::Open(standing) => {
                granted.map(|()| Passer { user: standing.row.record.subject(), ..Passer::default() })
            }
            // All of them were accepted or refused before.
            Self::Access(_) | Self::LongLived(_) | Self::ShortLived(_) | Self::Gate(_) => Err(not_standing()),
        })
    }
}

fn not_granted(resource: &Resource, asked: Asked<'_>) -> Refusal {
    Refusal {
        missing: vec![(resource.clone(), wanted(asked))],
        ..Refusal::forbidden(format!("{} on {resource} was not granted", wanted(asked).as_str()))
    }
}

/// What the method needs on the site's resource.
fn wanted(asked: Asked<'_>) -> Action {
    if asked.target.method.is_read() { Action::Read } else { Action::Write }
}

/// Whether the record covers method and URL. A pattern that is a path alone never opens a host that a site maps.
fn covers(standing: &Standing, target: &Target, mapping: &Mapping) -> bool {
    let token = &standing.row.record;
    let by_path = matches!(mapping, Mapping::Unmapped);
    let of_site = match mapping {
        Mapping::Unmapped => true,
        Mapping::To(resource) => token.resources.contains(resource),
        Mapping::Ambiguous => false,
    };
    of_site
        && token.verbs.covers(&target.method)
        && token.urls.as_slice().iter().any(|pattern| (by_path || pattern.origin().is_some()) && pattern.covers(target))
}
