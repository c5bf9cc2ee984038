//! Making, reading and ending gate tokens: who may, and what a request must say.

use std::{collections::BTreeMap, time::Duration};

use super::{Exchange, GateToken, Minter, Origin, Pattern, Patterns, Through, Verbs, parse_duration, token::LONGEST};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, RefusalKind, Secret, Service,
        access::{Action, Identity, Mapping, Question, Resource, Sites, Subject, permission},
        account::Account,
        ids::{Jti, Name},
        labels,
    },
    store::{CommitError, Item, Record, Row, When, Write, decode},
};

/// How far ahead a gate token may end: no key that signed it is dropped before (see [`crate::domain::key`]).
const FARTHEST: Duration = Duration::from_hours(31 * 24);

/// How long a gate token lives whose request says nothing.
const USUAL_LIFE: Duration = Duration::from_hours(1);

/// A gate token to be made: what its request says, not judged yet.
#[derive(Clone, Debug, Default)]
pub struct NewGateToken {
    /// Its name.
    pub name: String,
    /// What its owner writes on it.
    pub labels: BTreeMap<String, String>,
    /// The key set that signs; empty: the first one.
    pub key_set: String,
    /// Kept to be shown.
    pub secret_namespace: Option<String>,
    /// Kept to be shown.
    pub secret_file: Option<String>,
    /// The URL patterns that it opens.
    pub urls: Vec<String>,
    /// The methods; none: `get`.
    pub verbs: Option<Vec<String>>,
    /// From when on (RFC 3339); none: now.
    pub from: Option<String>,
    /// How long, in Go's syntax; none: an hour.
    pub duration: Option<String>,
    /// Whether it is a link that is exchanged once.
    pub one_time: bool,
}

/// A gate token with what its reader may be given.
#[derive(Debug)]
pub struct Shown {
    /// The record.
    pub row: Row<GateToken>,
    /// The signed token or link, for those who may mint; of what came of an exchange, for its own account alone.
    pub token: Option<Secret<String>>,
}

/// Makes a gate token.
///
/// # Errors
/// `Forbidden` without `write` on the namespace's gate tokens, or without `manage` on a site's resource that an absolute
/// URL names; `Invalid` for each field; `Conflict` for a name that is there; `Unavailable`.
pub async fn create(
    service: &Service,
    now: Timestamp,
    by: &Identity,
    namespace: &str,
    new: NewGateToken,
) -> Result<Shown, Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace")?;
    let subject = by.subject();
    let (may_write, sites) = rights(service, now, &subject, &namespace).await?;
    if !may_write {
        let missing = vec![(gate_tokens(service, &namespace), Action::Write)];
        return Err(Refusal {
            missing,
            ..Refusal::forbidden("writing gate tokens of this namespace was not granted to you")
        });
    }
    let mut draft = judge(service, now, namespace, new)?.by(service, by.minter());
    let resources = resources_of(&draft.urls, &sites)?;
    allowed_on(service, now, &subject, &resources, Action::Manage).await?;
    draft.resources = resources;
    commit(service, now, draft).await
}

/// Whether a URL may be asked for in an exchange: absolute, and with `*` right after the host's `/` only.
pub fn may_be_exchanged(pattern: &Pattern) -> bool {
    pattern.origin().is_some() && (pattern.exact_path().is_some() || pattern.is_whole_host())
}

/// Makes a gate token of an account's own access token: for hosts of sites that the account may read now, and in its own
/// namespace. It ends with the session, and each request is judged by what the account may then.
///
/// # Errors
/// `Forbidden`: a host is no site's, or reading its resource was not granted; `Invalid`: too long; `Unavailable`.
pub async fn exchange(
    service: &Service,
    now: Timestamp,
    account: &Account,
    exchange: Exchange,
    session_ends_at: Timestamp,
    urls: Patterns,
) -> Result<Shown, Refusal> {
    let sites = service.read::<Sites>(now, Sites::key()).await?.map(|row| row.record).unwrap_or_default();
    if origins(&urls).any(|origin| !matches!(sites.resolve(origin.host.name()), Mapping::To(_))) {
        return Err(Refusal::forbidden("a host is not that of a site"));
    }
    let resources = resources_of(&urls, &sites)?;
    let subject = Subject::of_account(account, exchange.as_admin);
    allowed_on(service, now, &subject, &resources, Action::Read).await?;
    let drawn = service.entropy.bytes::<8>();
    let new = NewGateToken {
        name: format!("exchange-{:016x}", u64::from_be_bytes(drawn)),
        urls: urls.into(),
        ..NewGateToken::default()
    };
    let minter = Minter { exchange: Some(exchange), ..Minter::account(account) };
    let mut draft = judge(service, now, account.namespace.clone(), new)?.by(service, minter);
    draft.exp = draft.exp.min(session_ends_at);
    draft.resources = resources;
    commit(service, now, draft).await
}

/// Whether somebody has `wanted` on each of these.
async fn allowed_on(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    resources: &[Resource],
    wanted: Action,
) -> Result<(), Refusal> {
    let asked: Vec<_> = resources.iter().map(|resource| (resource.clone(), wanted)).collect();
    let of_urls = |refusal: Refusal| match refusal.kind {
        RefusalKind::Forbidden => Refusal { field: Some(URLS), ..refusal },
        _ => refusal,
    };
    permission::require(service, now, subject, &asked).await.map_err(of_urls)
}

const URLS: &str = "spec.urls";

fn origins(urls: &Patterns) -> impl Iterator<Item = &Origin> {
    urls.as_slice().iter().filter_map(Pattern::origin)
}

/// The resources of the sites whose hosts the absolute URLs name.
fn resources_of(urls: &Patterns, sites: &Sites) -> Result<Vec<Resource>, Refusal> {
    let mut resources = Vec::new();
    for origin in origins(urls) {
        match sites.resolve(origin.host.name()) {
            Mapping::Unmapped => {}
            Mapping::To(resource) if resources.contains(&resource) => {}
            Mapping::To(resource) => resources.push(resource),
            Mapping::Ambiguous => {
                return Err(Refusal::invalid(URLS, "a host can be read as more than one resource of a site"));
            }
        }
    }
    Ok(resources)
}

/// What a request says, judged; who asks is not in it yet.
struct Judged {
    namespace: Name,
    name: Name,
    new: NewGateToken,
    urls: Patterns,
    verbs: Verbs,
    nbf: Timestamp,
    exp: Timestamp,
    now: Timestamp,
}

fn judge(service: &Service, now: Timestamp, namespace: Name, mut new: NewGateToken) -> Result<Judged, Refusal> {
    let name = Name::parse(&new.name, "metadata.name")?;
    labels::check(&new.labels)?;
    let key_sets = &service.policy.key_sets;
    if new.key_set.is_empty() {
        new.key_set = key_sets.first().cloned().unwrap_or_default();
    } else if !key_sets.contains(&new.key_set) {
        return Err(Refusal::invalid("spec.secret-name", format!("must be one of: {}", key_sets.join(", "))));
    }
    for (field, text) in [("spec.secret-namespace", &new.secret_namespace), ("spec.secret-file", &new.secret_file)] {
        if text.as_ref().is_some_and(|text| text.len() > 253 || text.chars().any(char::is_control)) {
            return Err(Refusal::invalid(field, "must be at most 253 bytes without control characters"));
        }
    }
    let urls = Patterns::parse(&new.urls)?;
    let verbs = match &new.verbs {
        Some(verbs) => Verbs::parse(verbs)?,
        None => Verbs::default(),
    };
    let (nbf, exp) = times(now, new.from.as_deref(), new.duration.as_deref(), service.policy.gate_max_life)?;
    Ok(Judged { namespace, name, new, urls, verbs, nbf, exp, now })
}

impl Judged {
    fn by(self, service: &Service, minter: Minter) -> GateToken {
        GateToken {
            namespace: self.namespace,
            name: self.name,
            id: Jti::draw(minter.key(), service.entropy.as_ref()),
            minter,
            created_at: self.now,
            labels: self.new.labels,
            key_set: self.new.key_set,
            secret_namespace: self.new.secret_namespace,
            secret_file: self.new.secret_file,
            urls: self.urls,
            verbs: self.verbs,
            resources: Vec::new(),
            from: self.new.from,
            duration: self.new.duration,
            nbf: self.nbf,
            exp: self.exp,
            one_time: self.new.one_time,
            used: None,
        }
    }
}

/// From when to when: not already over, not longer than the operator allows, not over 31 days ahead.
fn times(
    now: Timestamp,
    from: Option<&str>,
    duration: Option<&str>,
    longest: Duration,
) -> Result<(Timestamp, Timestamp), Refusal> {
    const FROM: &str = "spec.from";
    const DURATION: &str = "spec.duration";
    // Whoever asks for none gets what the operator allows.
    let life = duration.map_or(Ok(USUAL_LIFE.min(longest)), parse_duration)?;
    if life > longest {
        return Err(Refusal::invalid(DURATION, format!("must be at most {} s", longest.as_secs())));
    }
    let nbf = match from {
        None => now,
        Some(text) => Timestamp::parse_rfc3339(text)
            .ok_or_else(|| Refusal::invalid(FROM, "must be a time as of RFC 3339, e.g. 2026-11-22T10:00:00Z"))?,
    };
    let exp = nbf + life;
    if exp <= now {
        return Err(Refusal::invalid(FROM, "with this duration the token would have ended already"));
    }
    if exp > now + FARTHEST {
        return Err(Refusal::invalid(FROM, "with this duration the token would end more than 31 days from now"));
    }
    Ok((nbf, exp))
}

/// Writes a new gate token, and signs it.
async fn commit(service: &Service, now: Timestamp, draft: GateToken) -> Result<Shown, Refusal> {
    let token = draft.sign(service, now).await?;
    if token.expose().len() > LONGEST {
        return Err(Refusal::invalid(
            URLS,
            format!(
                "the token would have {} bytes, and browsers keep cookies of up to {LONGEST}: name fewer or shorter URLs",
                token.expose().len()
            ),
        ));
    }
    let mut when = When::Absent;
    for _ in 0..ROUNDS {
        match service.commit(now, vec![draft.put(when)]).await {
            Ok(version) => {
                audit("gatetoken_created", &draft, &draft.minter.actor());
                return Ok(Shown { row: Row { record: draft, version }, token: Some(token) });
            }
            Err(CommitError::Conflict { current, .. }) => {
                // What an account left behind that is another one since, or none, is absent.
                let Some(row) = decode::<GateToken>(current)? else {
                    when = When::Absent;
                    continue;
                };
                when = When::VersionIs(row.version);
                if !standing(service, now, vec![row]).await?.is_empty() {
                    return Err(Refusal {
                        field: Some("metadata.name"),
                        ..Refusal::conflict("there is a gate token of that name")
                    });
                }
            }
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a gate token kept changing"))
}

/// Those that stand with the accounts that minted them, and with what they were minted through. One round trip, and one
/// more for sessions and service accounts.
async fn standing(
    service: &Service,
    now: Timestamp,
    rows: Vec<Row<GateToken>>,
) -> Result<Vec<Row<GateToken>>, Refusal> {
    let mut minters: Vec<_> = rows.iter().map(|row| row.record.minter.key()).collect();
    minters.sort_unstable_by_key(|key| key.0);
    minters.dedup();
    if minters.is_empty() {
        return Ok(rows);
    }
    let keys: Vec<_> = minters.iter().map(|key| Account::key_of(*key)).collect();
    let accounts: Vec<Option<Row<Account>>> =
        service.store.get(now, &keys).await?.into_iter().map(decode).collect::<Result<_, _>>()?;
    let minter_of = |row: &Row<GateToken>| {
        let place = minters.iter().position(|key| *key == row.record.minter.key())?;
        let account = accounts[place].as_ref().map(|row| &row.record);
        account.filter(|account| row.record.minter.is_upheld_by(Some(account)))
    };
    let upheld = rows.iter().filter(|row| minter_of(row).is_some());
    let keys: Vec<_> =
        upheld.filter_map(|row| Through::of(&row.record.minter)).flat_map(|through| through.keys()).collect();
    let mut items = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? }.into_iter();
    let mut stand = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(account) = minter_of(&row) else { continue };
        let stands = match Through::of(&row.record.minter) {
            Some(through) => through.stands(&mut items, account, now)?,
            None => true,
        };
        if stands {
            stand.push(row);
        }
    }
    Ok(stand)
}

fn gate_tokens(service: &Service, namespace: &Name) -> Resource {
    Resource::gatetoken(&service.policy.cluster, namespace)
}

/// Whether somebody may write a namespace's gate tokens, and the sites: in one round trip.
async fn rights(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    namespace: &Name,
) -> Result<(bool, Sites), Refusal> {
    let resource = gate_tokens(service, namespace);
    let question = Question::new(subject, &resource);
    let mut keys = vec![Sites::key()];
    keys.extend(question.keys());
    let mut rows = service.store.get(now, &keys).await?.into_iter();
    let sites = decode::<Sites>(rows.next().flatten())?.map(|row| row.record).unwrap_or_default();
    let has = question.answer(&mut rows)?;
    Ok((has.is_some_and(|has| has.gives(Action::Write)), sites))
}

/// Whether somebody may write gate tokens of a namespace. Those who may not may read them with `read`, and as the
/// namespace's owner: without the tokens themselves.
///
/// # Errors
/// `Forbidden`, `Unavailable`.
async fn may_write(service: &Service, now: Timestamp, subject: &Subject, namespace: &Name) -> Result<bool, Refusal> {
    let resource = gate_tokens(service, namespace);
    let has = permission::level(service, now, subject, &resource).await?;
    if has.is_some_and(|has| has.gives(Action::Write)) {
        return Ok(true);
    }
    if has.is_some_and(|has| has.gives(Action::Read)) || subject.owns(namespace.as_str()) {
        return Ok(false);
    }
    let missing = vec![(resource, Action::Read)];
    Err(Refusal { missing, ..Refusal::forbidden("reading gate tokens of this namespace was not granted to you") })
}

async fn shown(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    row: Row<GateToken>,
    may_write: bool,
) -> Result<Shown, Refusal> {
    let token = &row.record;
    // One whose time is over is not signed again, and a link that was used opens nothing.
    let live = !token.is_over(now) && token.used.is_none();
    // What came of an exchange opens what its account may open, which is not for everybody who may mint here.
    let for_caller = token
        .minter
        .exchange
        .as_ref()
        .is_none_or(|exchange| subject.has_uid(token.minter.uid) && (!exchange.as_admin || subject.is_admin()));
    let token = if may_write && live && for_caller { Some(token.sign(service, now).await?) } else { None };
    Ok(Shown { row, token })
}

fn absent() -> Refusal {
    Refusal::absent("there is no gate token of that name")
}

/// Finds a gate token that still stands with whoever minted it; who asks is for the caller of this to judge.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn find(service: &Service, now: Timestamp, namespace: &Name, name: &str) -> Result<Row<GateToken>, Refusal> {
    Name::parse(name, "metadata.name").map_err(|_| absent())?;
    let row: Option<Row<GateToken>> = service.read(now, GateToken::key_of(namespace.as_str(), name)).await?;
    standing(service, now, row.into_iter().collect()).await?.pop().ok_or_else(absent)
}

/// Reads a gate token; with the signed token for those who may write here.
///
/// # Errors
/// `Forbidden`, `Absent`, `Unavailable`.
pub async fn get(
    service: &Service,
    now: Timestamp,
    by: &Identity,
    namespace: &str,
    name: &str,
) -> Result<Shown, Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace").map_err(|_| absent())?;
    let subject = by.subject();
    let may_write = may_write(service, now, &subject, &namespace).await?;
    let row = find(service, now, &namespace, name).await?;
    shown(service, now, &subject, row, may_write).await
}

/// Lists those of a namespace's gate tokens that are `wanted`, by name; with the signed tokens for those who may write here.
/// `limit` counts the others, too.
///
/// # Errors
/// `Forbidden`, `Unavailable`.
pub async fn list(
    service: &Service,
    now: Timestamp,
    by: &Identity,
    namespace: &str,
    after: Option<&str>,
    limit: usize,
    wanted: impl Fn(&GateToken) -> bool + Send,
) -> Result<(Vec<Shown>, Option<String>), Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace").map_err(|_| absent())?;
    let subject = by.subject();
    let may_write = may_write(service, now, &subject, &namespace).await?;
    let (mut rows, next) = standing_of(service, now, &namespace, after, limit).await?;
    rows.retain(|row| wanted(&row.record));
    let mut tokens = Vec::with_capacity(rows.len());
    for row in rows {
        tokens.push(shown(service, now, &subject, row, may_write).await?);
    }
    Ok((tokens, next))
}

/// The gate tokens of a namespace that stand with whoever minted them, by name.
///
/// # Errors
/// `Unavailable`.
pub async fn standing_of(
    service: &Service,
    now: Timestamp,
    namespace: &Name,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Row<GateToken>>, Option<String>), Refusal> {
    let page = service.store.list(now, &GateToken::partition(namespace.as_str()), after, limit).await?;
    let rows: Vec<Row<GateToken>> =
        page.items.into_iter().filter_map(|item| decode(Some(item)).transpose()).collect::<Result<_, _>>()?;
    Ok((standing(service, now, rows).await?, page.next))
}

/// Ends a gate token: at once, for every process. The namespace's owner may, too. `only`: unless that is true of it,
/// nothing happens.
///
/// # Errors
/// `Forbidden`, `Absent`, `Conflict`: it is not what `only` asks for, `Unavailable`.
pub async fn delete(
    service: &Service,
    now: Timestamp,
    by: &Identity,
    namespace: &str,
    name: &str,
    only: impl FnOnce(&GateToken) -> bool + Send,
) -> Result<GateToken, Refusal> {
    let namespace = Name::parse(namespace, "metadata.namespace").map_err(|_| absent())?;
    let subject = by.subject();
    if !may_write(service, now, &subject, &namespace).await? && !subject.owns(namespace.as_str()) {
        let missing = vec![(gate_tokens(service, &namespace), Action::Write)];
        let text = "deleting gate tokens of this namespace was not granted to you";
        return Err(Refusal { missing, ..Refusal::forbidden(text) });
    }
    let row = find(service, now, &namespace, name).await?;
    if !only(&row.record) {
        return Err(Refusal::conflict("the gate token of that name is another one"));
    }
    end(service, now, row, subject.name()).await
}

/// Ends this gate token, and none that was made since under its name.
///
/// # Errors
/// `Absent`, `Unavailable`.
pub async fn end(service: &Service, now: Timestamp, row: Row<GateToken>, actor: &str) -> Result<GateToken, Refusal> {
    let (token, mut version) = (row.record, row.version);
    for _ in 0..ROUNDS {
        match service.commit(now, vec![Write::Delete { key: token.key(), when: When::VersionIs(version) }]).await {
            Ok(_) => {
                audit("gatetoken_deleted", &token, actor);
                return Ok(token);
            }
            Err(CommitError::Conflict { current, .. }) => version = same(current, &token)?.ok_or_else(absent)?.version,
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("a gate token kept changing"))
}

/// The row, if it still is that token's.
pub(super) fn same(current: Option<Item>, token: &GateToken) -> Result<Option<Row<GateToken>>, Refusal> {
    Ok(decode::<GateToken>(current)?.filter(|row| row.record.id == token.id))
}

fn audit(event: &'static str, token: &GateToken, actor: &str) {
    tracing::info!(
        target: "gatemint::audit",
        event, actor,
        gatetoken.namespace = %token.namespace, gatetoken.name = %token.name, gatetoken.id = %token.id,
        gatetoken.expires_at = token.exp.0, gatetoken.one_time = token.one_time,
        exchanged = token.minter.exchange.is_some(),
    );
}
