//! May this request pass? For whoever guards routes that are not ours.

use super::{
    Action, Mapping, Permission, Resource, Sites, allows,
    standing::{Holder, Presented as PresentedAccess},
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        gate::{Closed, Presented as PresentedGate, Standing, Target},
        grant::Scope,
        key::jwt::{Kind, Unverified},
    },
    store::{Item, Key, decode},
};

/// Who passes, in the words that the guarded service is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passer {
    /// The account's name; of a gate token its `sub`, which has a colon, as no account's name has.
    pub user: String,
    /// The account's e-mail address; empty if there is none, or if the token's scope does not show it.
    pub email: String,
    /// The account's roles as they are now, under the same condition.
    pub groups: Vec<String>,
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
    /// Whom an account's token must be for: our issuer, unless the guard says another.
    pub audience: &'a str,
}

/// Judges a request to somebody else's route by the tokens that came with it, at most a few. One lets it pass if it stands
/// and allows the request; of several the first that does, accounts' before gate tokens, so that a link that somebody
/// planted takes nobody's own place.
///
/// A gate token passes where it covers method and URL; a host that a site maps is opened by absolute URLs alone, and only if
/// the site still names a resource that was allowed at its minting. An account's token passes where a site maps the host to
/// a resource, with `read` (GET, HEAD, OPTIONS) or `write` on it now.
///
/// One round trip for gate tokens, two for accounts and for what came of an exchange, once the public keys are in memory.
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
        .map(|candidate| candidate.accept(&mut rows, asked, &mapping, now))
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
    Gate(PresentedGate),
    Account(Box<Holder>, Scope),
    Open(Box<Standing>),
}

/// What the header says that the token is; the signature is then judged for that kind alone.
fn is_gate(token: &Secret<String>) -> bool {
    Unverified::parse(token.expose()).is_ok_and(|unverified| unverified.typ() == Kind::Gate.typ())
}

async fn judge_signature(service: &Service, now: Timestamp, token: &Secret<String>) -> Result<Candidate, Refusal> {
    if is_gate(token) {
        return Ok(match PresentedGate::judge(service, now, token, Kind::Gate).await? {
            Ok(presented) => Candidate::Gate(presented),
            Err(closed) => Candidate::Refused(closed_gate(closed)),
        });
    }
    Ok(match PresentedAccess::judge(service, now, token).await? {
        Some(presented) => Candidate::Access(Box::new(presented)),
        None => Candidate::Refused(not_standing()),
    })
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
            Self::Gate(presented) => keys.extend(presented.keys()),
            Self::Refused(_) | Self::Account(..) | Self::Open(_) => {}
        }
    }

    fn accept(
        self,
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
                    Some(_) if !for_whom.contains(asked.audience) => {
                        Self::Refused(Refusal::forbidden("the access token is for another audience"))
                    }
                    Some(holder) => Self::Account(Box::new(holder), scope),
                }
            }
            Self::Gate(presented) => match presented.accept([rows.next().flatten(), rows.next().flatten()])? {
                Err(closed) => Self::Refused(closed_gate(closed)),
                Ok(standing) if covers(&standing, asked.target, mapping) => Self::Open(Box::new(standing)),
                Ok(_) => Self::Refused(Refusal::forbidden("the gate token does not open this")),
            },
            Self::Refused(_) | Self::Account(..) | Self::Open(_) => self,
        })
    }

    fn further_keys(&self, mapping: &Mapping, keys: &mut Vec<Key>) {
        match self {
            Self::Account(holder, _) => {
                if let (Holder::Account { account, .. }, Mapping::To(resource)) = (&**holder, mapping) {
                    keys.push(Permission::key_of(account.record.uid, resource));
                }
            }
            Self::Open(standing) => {
                if let Some(session) = standing.by_session() {
                    keys.extend(session.keys());
                    if let Mapping::To(resource) = mapping {
                        keys.push(Permission::key_of(standing.account.uid, resource));
                    }
                }
            }
            Self::Refused(_) | Self::Access(_) | Self::Gate(_) => {}
        }
    }

    fn decide(
        self,
        rows: &mut impl Iterator<Item = Option<Item>>,
        asked: Asked<'_>,
        mapping: &Mapping,
        now: Timestamp,
    ) -> Result<Result<Passer, Refusal>, Refusal> {
        match self {
            Self::Refused(refusal) => Ok(Err(refusal)),
            Self::Account(holder, scope) => {
                let Holder::Account { account, .. } = *holder else {
                    return Ok(Err(Refusal::forbidden("a client's own token opens nobody's site")));
                };
                let Mapping::To(resource) = mapping else {
                    return Ok(Err(Refusal::forbidden("no site maps this host to one resource")));
                };
                let permission = decode::<Permission>(rows.next().flatten())?.map(|row| row.record);
                let account = account.record;
                let is_admin = account.is_admin() && scope.has("roles");
                if !allows(&account, is_admin, resource, permission.as_ref(), wanted(asked)) {
                    return Ok(Err(not_granted(resource, asked)));
                }
                let (email, groups) = account.shown_in(&scope);
                Ok(Ok(Passer { user: account.name.to_string(), email, groups }))
            }
            Self::Open(standing) => {
                if let Some(session) = standing.by_session() {
                    // All of this one's rows are taken before any is judged: the next candidate's follow.
                    let of_session = [rows.next().flatten(), rows.next().flatten()];
                    let Mapping::To(resource) = mapping else {
                        return Ok(Err(Refusal::forbidden("no site maps this host to one resource")));
                    };
                    let permission = decode::<Permission>(rows.next().flatten())?.map(|row| row.record);
                    let account = &standing.account;
                    if !session.stands(of_session, account, now)? {
                        return Ok(Err(closed_gate(Closed::Revoked)));
                    }
                    if !allows(account, session.as_admin(), resource, permission.as_ref(), wanted(asked)) {
                        return Ok(Err(not_granted(resource, asked)));
                    }
                }
                Ok(Ok(Passer { user: standing.row.record.subject(), ..Passer::default() }))
            }
            // Both were accepted or refused before.
            Self::Access(_) | Self::Gate(_) => Ok(Err(not_standing())),
        }
    }
}

fn not_granted(resource: &Resource, asked: Asked<'_>) -> Refusal {
    Refusal::forbidden(format!("{} on {resource} was not granted", wanted(asked).as_str()))
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
