//! Rotation: a new signing key takes its turn without anyone noticing; or, in an emergency, at once.
//!
//! Four steps, each of which may be repeated under its request id, and which are Secrets Manager's: *create* stages the
//! next document in the vault, *publish* lists its keys in the store, *test* signs and judges with it, *finish* makes it
//! the current one. The public row covers what the vault holds at every moment, so that wherever a rotation is cut off,
//! whatever signs is known to all verifiers. A secret that is still empty gets its first key the same way, and the store
//! its public row; what is neither empty nor a key set is refused and stays as it is.
//!
//! What is staged and cannot be promoted any more is taken away by the step that meets it: while it is staged, Secrets
//! Manager goes on with it for ever and begins no other.

use std::time::Duration;

use serde::Serialize;

use super::{
    Algorithm, KeySet, PublicKey, PublicKeys, State, Timetable, cached::NO_PUBLIC_KEYS, document::KeyDocument, jwt,
};
use crate::{
    clock::Timestamp,
    domain::{ROUNDS, Refusal, RefusalKind, Service, is_unfilled},
    store::{CommitError, Record, Row, When},
    vault::{SecretVersion, VaultError},
};

/// How often an emergency begins again when another rotation was faster: each of those can stand in its way once.
const EMERGENCY_ROUNDS: usize = 32;

/// How long before it signs a key has to be in the public row: verifiers may keep a JWKS for two hours, and processes
/// keep the row for six minutes. Less than the shortest time that a key may be announced ahead.
const KNOWN_BEFORE: Duration = Duration::from_mins(130);

/// How the keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The new key is published first, and signs when every verifier can know it. Nothing that was signed dies.
    Announced,
    /// The new key replaces all others now, for keys that somebody else may have: what they signed dies.
    AtOnce,
}

/// What a rotation has done.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The new key.
    pub kid: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// How many keys it has replaced at once.
    pub replaced: usize,
    /// Whether there was none before: it signs at once, whatever the pace.
    pub first: bool,
}

/// Rotates the signing keys.
///
/// # Errors
/// `Conflict`: a key is upcoming already, or another rotation was faster. `Unavailable`.
pub async fn rotate(service: &Service, pace: Pace, actor: &str) -> Result<Rotated, Refusal> {
    let mut rounds = 1..EMERGENCY_ROUNDS;
    loop {
        match rotate_once(service, pace, actor).await {
            // An emergency stands above a rotation that was faster: it depends on nothing that was there.
            Err(refusal) if refusal.kind == RefusalKind::Conflict && pace == Pace::AtOnce => {
                rounds.next().ok_or(refusal)?;
            }
            outcome => return outcome,
        }
    }
}

async fn rotate_once(service: &Service, pace: Pace, actor: &str) -> Result<Rotated, Refusal> {
    let now = service.now();
    let request_id = new_request_id(service);
    let before = create(service, now, &request_id, pace).await?;
    publish(service, now, &request_id).await?;
    let new = test(service, now, &request_id).await?;
    finish(service, now, &request_id, actor).await?;
    Ok(Rotated {
        algorithm: new.material.algorithm(),
        signs_from: new.times.signs_from,
        replaced: if pace == Pace::AtOnce { before } else { 0 },
        first: before == 0,
        kid: new.kid,
    })
}

/// Brings the public row in line with the vault, and rotates the signing keys if it is time to: there is none yet, or
/// the newest is old enough or not of the algorithm that is wanted. None if it is not, or if another process has done it
/// meanwhile.
///
/// # Errors
/// `Unavailable`.
pub async fn rotate_if_due(service: &Service, actor: &str) -> Result<Option<Rotated>, Refusal> {
    let current = current(service).await?;
    must_belong_together(service, service.now(), &current).await?;
    // What a rotation that was cut off has left in the public row, or not yet put there.
    change_row(service, service.now(), Listing::WhatTheVaultHolds).await?;
    let policy = &service.policy;
    let due = |document: KeyDocument| document.is_due(service.now(), policy.key_rotate_every, policy.signing_alg);
    if !held(&current)?.is_none_or(due) {
        return Ok(None);
    }
    match rotate(service, Pace::Announced, actor).await {
        Ok(rotated) => Ok(Some(rotated)),
        Err(refusal) if refusal.kind == RefusalKind::Conflict => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Stages the next document under the request id; the first one, whose key signs at once, if there is none. Says how
/// many keys there were before. What is staged under this id already stays, if it may still be promoted.
///
/// # Errors
/// `Conflict`: a key is upcoming already, another rotation was faster, or what was staged is too old to go on with.
/// `Unavailable`: also if what the vault holds is neither empty nor a key set; it stays as it is.
pub async fn create(service: &Service, now: Timestamp, request_id: &str, pace: Pace) -> Result<usize, Refusal> {
    let current = current(service).await?;
    let held = held(&current)?;
    let before = held.as_ref().map_or(0, |document| document.keys().len());
    if current.id == request_id {
        return Ok(before);
    }
    if let Some(staged) = staged(service, request_id).await? {
        in_time(service, request_id, &parse(&staged)?, now, Duration::ZERO).await?;
        if !follows(&staged, &current) {
            service.vault.unstage(KeySet::SECRET, request_id).await?;
            return Err(superseded());
        }
        return Ok(before);
    }
    if pace == Pace::Announced {
        must_belong_together(service, now, &current).await?;
    }
    let wanted = service.policy.signing_alg;
    let next = match (held, pace) {
        (None, _) => KeyDocument::replaced(&current.id, wanted.unwrap_or(Algorithm::ES256), now).await?,
        (Some(document), Pace::AtOnce) => {
            KeyDocument::replaced(&current.id, wanted.unwrap_or_else(|| document.algorithm()), now).await?
        }
        (Some(document), Pace::Announced) => {
            let alg = wanted.unwrap_or_else(|| document.algorithm());
            document.followed(&current.id, alg, now, service.policy.key_publish_ahead).await?
        }
    };
    match service.vault.stage(KeySet::SECRET, request_id, next.render()).await {
        // This very step, run twice at a time: what is there will do.
        Err(VaultError::Conflict(_)) if staged(service, request_id).await?.is_some() => Ok(before),
        // Its id may stand for what was staged under it once, and given up.
        Err(VaultError::Conflict(_)) => Err(Refusal::conflict(
            "another rotation was faster, or this one was given up before; `key list` shows what is there now",
        )),
        staged => staged.map(|()| before).map_err(Refusal::from),
    }
}

/// Lists the staged document's keys in the store, beside those that are there: neither what signs now nor what signs
/// next is unknown to a verifier, wherever this is cut off. Makes the row if there is none.
///
/// # Errors
/// `Conflict`: nothing is staged under this id, another rotation has taken its place, or it is too late for verifiers to
/// learn of the key before it signs. `Unavailable`.
pub async fn publish(service: &Service, now: Timestamp, request_id: &str) -> Result<(), Refusal> {
    change_row(service, now, Listing::WithStaged(request_id)).await.map(drop)
}

/// Signs with the newest key of the staged document and judges that by the row. The key comes back.
///
/// # Errors
/// `Conflict`: nothing is staged under this id, or what was is too old to go on with. `Unavailable`: the row does not list the key, or what it signs does not
/// hold.
pub async fn test(service: &Service, now: Timestamp, request_id: &str) -> Result<PublicKey, Refusal> {
    let version = match staged(service, request_id).await? {
        Some(staged) => {
            in_time(service, request_id, &parse(&staged)?, now, Duration::ZERO).await?;
            staged
        }
        None => {
            current(service).await.and_then(|now| if now.id == request_id { Ok(now) } else { Err(not_staged()) })?
        }
    };
    let unsound = |what: &str| Refusal::unavailable(format!("the new key was not put to use: {what}"));
    let set = key_set(&version)?;
    let new = set.newest().ok_or_else(|| unsound("there is none"))?;
    let row = public_row(service, now).await?;
    let listed = row.and_then(|row| row.record.keys.into_iter().find(|key| key.kid == new.kid()));
    let Some(listed) = listed else {
        // Another rotation may have taken its place since, and its key out of the row.
        let ours = staged(service, request_id).await?.is_some() || current(service).await?.id == request_id;
        return Err(if ours { unsound("keys#jwks does not list it") } else { superseded() });
    };
    let probe = Probe { jti: request_id.to_owned() };
    let token = new.sign(jwt::Kind::Access, &probe).map_err(Refusal::unavailable)?;
    let judged: Result<Probe, _> =
        jwt::Unverified::parse(token.expose()).and_then(|token| token.verify(&listed, jwt::Kind::Access));
    if judged.is_ok_and(|judged| judged == probe) { Ok(listed) } else { Err(unsound("its signature does not hold")) }
}

/// Signed to see whether a key signs; good for nothing, since it has none of the claims that a token needs.
#[derive(PartialEq, Eq, Serialize, serde::Deserialize)]
struct Probe {
    jti: String,
}

/// Makes the staged document the current one, if the one that it was based on still is, and takes out of the store what
/// neither it nor a next one holds.
///
/// # Errors
/// `Conflict`: nothing is staged under this id, it is not published, another rotation was faster, or the key's turn has
/// come before. `Unavailable`.
pub async fn finish(service: &Service, now: Timestamp, request_id: &str, actor: &str) -> Result<(), Refusal> {
    if let Some(staged) = staged(service, request_id).await? {
        let next = parse(&staged)?;
        // The keys before it stop signing by then, and judge for as long as a token of that moment lives.
        in_time(service, request_id, &next, now, Duration::ZERO).await?;
        let based_on = next.based_on.clone().ok_or_else(|| Refusal::unavailable("the staged keys follow on none"))?;
        let row = public_row(service, now).await?;
        let published = row.is_some_and(|row| {
            key_set(&staged).is_ok_and(|set| set.newest().is_some_and(|new| row.record.lists(new.kid())))
        });
        if !published {
            let ours = current(service).await?.id == based_on;
            let early = || Refusal::conflict("the new key is not published yet: that comes before it is put to use");
            return Err(if ours { early() } else { superseded() });
        }
        service.vault.promote(KeySet::SECRET, request_id, &based_on).await.map_err(outrun)?;
        // From here on they are rotated, whatever becomes of the rest.
        tell_rotated(&key_set(&staged)?, actor);
        change_row(service, now, Listing::WithPromoted { promoted: &staged, instead_of: &based_on }).await?;
    } else {
        let current = current(service).await?;
        if current.id != request_id {
            return Err(not_staged());
        }
        // It was promoted before, perhaps by a call that did not hear of it: the row shows what it did not come to.
        if change_row(service, now, Listing::WhatTheVaultHolds).await? {
            tell_rotated(&key_set(&current)?, actor);
        }
    }
    service.keys.expire().await;
    Ok(())
}

fn tell_rotated(promoted: &KeySet, actor: &str) {
    tracing::info!(
        target: "gatemint::audit",
        event = "keys_rotated",
        actor,
        key.id = promoted.newest().map(jwt::SigningKey::kid),
        keys.count = promoted.public().keys.len(),
    );
}

/// A key as an operator sees it.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// Its public half.
    pub public: PublicKey,
    /// What it does now.
    pub state: State,
}

/// The signing keys that verifiers know, oldest first.
///
/// # Errors
/// `Unavailable`.
pub async fn list(service: &Service, now: Timestamp) -> Result<Vec<ListedKey>, Refusal> {
    let row = public_row(service, now).await?.ok_or_else(|| Refusal::unavailable(NO_PUBLIC_KEYS))?;
    Ok(row.record.keys.into_iter().map(|public| ListedKey { state: public.times.state(now), public }).collect())
}

/// What the public row is to list.
#[derive(Clone, Copy)]
enum Listing<'a> {
    /// What is staged under this request id, beside what is there.
    WithStaged(&'a str),
    /// What the vault holds, and what may yet be promoted there; nothing else.
    WhatTheVaultHolds,
    /// The same, when this version has just been promoted instead of that one, which the vault may still show for a
    /// moment: Secrets Manager promises no reader what was written just now.
    WithPromoted { promoted: &'a SecretVersion, instead_of: &'a str },
}

impl Listing<'_> {
    /// What follows on a row that was read before the vault is looked at here: whoever stages after this look finds the
    /// row changed, or we do.
    async fn after(self, service: &Service, now: Timestamp, row: &PublicKeys) -> Result<PublicKeys, Refusal> {
        let mut keys;
        match self {
            Self::WithStaged(request_id) => {
                let staged = staged(service, request_id).await?;
                let current = current(service).await?;
                if current.id == request_id {
                    return if row.keys.is_empty() { Ok(key_set(&current)?.public().clone()) } else { Ok(row.clone()) };
                }
                let staged = staged.ok_or_else(not_staged)?;
                // What cannot be promoted any more is not listed: it may hold what an emergency has just dropped.
                if !follows(&staged, &current) {
                    return Err(superseded());
                }
                let next = key_set(&staged)?.public().keys.clone();
                let listed = next.iter().all(|next| holds(&row.keys, &next.kid));
                let before = if listed { Duration::ZERO } else { KNOWN_BEFORE };
                in_time(service, request_id, &parse(&staged)?, now, before).await?;
                // Those in use by their own timetable, which knows no successor yet: this one may be given up.
                let in_use = match held(&current)? {
                    Some(document) => KeySet::of(&document).map_err(Refusal::unavailable)?.public().keys.clone(),
                    None => vec![],
                };
                let others = row
                    .keys
                    .iter()
                    .filter(|old| old.times.judges(now) && !holds(&in_use, &old.kid) && !holds(&next, &old.kid));
                keys =
                    others.map(|old| PublicKey { times: stopped(old.times, now), ..old.clone() }).collect::<Vec<_>>();
                keys.extend(in_use);
                add_not_in_turn(&mut keys, next);
            }
            Self::WhatTheVaultHolds | Self::WithPromoted { .. } => {
                // In this order: what is promoted in between is found in the second place, and no more in the first.
                let staged = service.vault.staged(KeySet::SECRET).await?;
                let mut current = current(service).await?;
                if let Self::WithPromoted { promoted, instead_of } = self
                    && current.id == instead_of
                {
                    current = promoted.clone();
                }
                if is_unfilled(current.value.expose()) {
                    // Nothing of it could be in the row, or be missing there.
                    return Ok(row.clone());
                }
                keys = key_set(&current)?.public().keys.clone();
                if let Some(next) = staged.as_ref().filter(|next| follows(next, &current)) {
                    add_not_in_turn(&mut keys, key_set(next)?.public().keys.clone());
                }
            }
        }
        Ok(PublicKeys { keys })
    }
}

fn holds(keys: &[PublicKey], kid: &str) -> bool {
    keys.iter().any(|key| key.kid == kid)
}

/// Changes the public row; again with the row that won, if another change was faster. Says whether there was anything
/// to change.
async fn change_row(service: &Service, now: Timestamp, listing: Listing<'_>) -> Result<bool, Refusal> {
    for _ in 0..ROUNDS {
        let (row, when) = match public_row(service, now).await? {
            Some(row) => (row.record, When::VersionIs(row.version)),
            None => (PublicKeys { keys: vec![] }, When::Absent),
        };
        let next = listing.after(service, now, &row).await?;
        if next == row {
            return Ok(false);
        }
        match service.commit(now, vec![next.put(when)]).await {
            Ok(_) => return Ok(true),
            Err(CommitError::Conflict { .. }) => {}
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("keys#jwks kept changing during a rotation"))
}

/// Refuses a store and a vault of two services, which mistaken settings bring together: the keys of one would take the
/// place of the other's, and all that those signed would be refused. An emergency, which asks for that, does not come here.
async fn must_belong_together(service: &Service, now: Timestamp, current: &SecretVersion) -> Result<(), Refusal> {
    let listed: Vec<_> = match public_row(service, now).await? {
        Some(row) => row.record.keys.into_iter().filter(|key| key.times.judges(now)).collect(),
        None => vec![],
    };
    let unfilled = is_unfilled(current.value.expose());
    if listed.is_empty() && unfilled {
        return Ok(());
    }
    // A first rotation that was cut off has listed what is still staged.
    let staged = service.vault.staged(KeySet::SECRET).await?;
    let versions = staged.iter().chain((!unfilled).then_some(current));
    let is_listed = |set: KeySet| set.public().keys.iter().any(|key| holds(&listed, &key.kid));
    if versions.into_iter().any(|version| key_set(version).is_ok_and(is_listed)) {
        return Ok(());
    }
    Err(Refusal::conflict(
        "the store lists no key that the vault holds: one of the two is another service's, or was lost. Check \
         GATEMINT_STORE and GATEMINT_VAULT; if they are right, `key rotate --now` begins anew, and all that was signed dies",
    ))
}

/// Whether a staged version can still be promoted.
fn follows(staged: &SecretVersion, current: &SecretVersion) -> bool {
    parse(staged).is_ok_and(|staged| staged.based_on.as_ref() == Some(&current.id))
}

/// Adds what is not there yet: known to verifiers, but not in turn before it is promoted.
fn add_not_in_turn(keys: &mut Vec<PublicKey>, next: Vec<PublicKey>) {
    for key in next {
        if !holds(keys, &key.kid) {
            let times = Timetable { signs_until: Some(key.times.signs_from), ..key.times };
            keys.push(PublicKey { times, ..key });
        }
    }
}

/// A key that signs no more from `now` on, if it signed until then.
fn stopped(times: Timetable, now: Timestamp) -> Timetable {
    Timetable { signs_until: Some(times.signs_until.unwrap_or(now).min(now)), ..times }
}

async fn public_row(service: &Service, now: Timestamp) -> Result<Option<Row<PublicKeys>>, Refusal> {
    service.read(now, PublicKeys::row()).await
}

/// Refuses to go on with a rotation that was announced and then held up, so that less than `before` is left until its
/// key signs, and takes it away. The keys that it found went on signing, while its timetable counts on their having stopped.
async fn in_time(
    service: &Service,
    request_id: &str,
    next: &KeyDocument,
    now: Timestamp,
    before: Duration,
) -> Result<(), Refusal> {
    let Some(late) = next.announced().filter(|times| times.signs_from < now + before) else { return Ok(()) };
    service.vault.unstage(KeySet::SECRET, request_id).await?;
    Err(Refusal::conflict(format!(
        "this rotation began at {}, was held up for too long and is given up; the schedule or `gatemint key rotate` \
         begins another",
        late.published_at.rfc3339()
    )))
}

/// 32 characters that no request had before: what Secrets Manager takes for one, too.
pub(in crate::domain) fn new_request_id(service: &Service) -> String {
    format!("{:032x}", u128::from_be_bytes(service.entropy.bytes()))
}

async fn current(service: &Service) -> Result<SecretVersion, Refusal> {
    let current = service.vault.current(KeySet::SECRET).await?;
    current.ok_or_else(|| Refusal::unavailable(format!("the vault holds no {}", KeySet::SECRET)))
}

/// What is staged, if it is staged under this id.
async fn staged(service: &Service, request_id: &str) -> Result<Option<SecretVersion>, Refusal> {
    Ok(service.vault.staged(KeySet::SECRET).await?.filter(|staged| staged.id == request_id))
}

fn parse(version: &SecretVersion) -> Result<KeyDocument, Refusal> {
    KeyDocument::parse(version.value.expose()).map_err(Refusal::unavailable)
}

/// The key set that a version holds, each key of which can be read; none if it was never filled. An error stands for
/// all that must not be replaced.
fn held(version: &SecretVersion) -> Result<Option<KeyDocument>, Refusal> {
    if is_unfilled(version.value.expose()) {
        return Ok(None);
    }
    let document = parse(version)?;
    KeySet::of(&document).map_err(Refusal::unavailable)?;
    Ok(Some(document))
}

fn key_set(version: &SecretVersion) -> Result<KeySet, Refusal> {
    KeySet::parse(version.value.expose()).map_err(Refusal::unavailable)
}

fn not_staged() -> Refusal {
    Refusal::conflict(
        "nothing is staged for this rotation: it was not begun, or another has taken its place; `key list` shows what is \
         there now",
    )
}

fn superseded() -> Refusal {
    Refusal::conflict("another rotation was faster; `key list` shows what is there now")
}

/// The vault's compare-and-swap failed: somebody else has rotated.
pub(in crate::domain) fn outrun(error: VaultError) -> Refusal {
    match error {
        VaultError::Conflict(_) => superseded(),
        unavailable @ VaultError::Unavailable(_) => unavailable.into(),
    }
}
