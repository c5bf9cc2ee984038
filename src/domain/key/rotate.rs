//! Rotation: a new signing key, or a new pepper, takes its turn without anyone noticing; or, in an emergency, at once.
//!
//! Four steps, each of which may be repeated under its request id, and which are Secrets Manager's: *create* stages the
//! next document in the vault, *publish* lists its keys in the store, *test* signs and judges with it, *finish* makes it
//! the current one. The public row covers what the vault holds at every moment, so that wherever a rotation is cut off,
//! whatever signs is known to all verifiers.

use serde::Serialize;

use super::{Algorithm, KeySet, PublicKey, PublicKeys, State, Timetable, document::KeyDocument, jwt};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, RefusalKind, Service,
        session::{PepperRing, RingDocument},
    },
    store::{CommitError, Record, Row, When},
    vault::{SecretVersion, VaultError},
};

/// How often an emergency begins again when another rotation was faster: each of those can stand in its way once.
const EMERGENCY_ROUNDS: usize = 32;

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
        kid: new.kid,
    })
}

/// Brings the public row in line with the vault, and rotates the signing keys if it is time to: the newest is old enough, or not of the algorithm that is wanted. None if
/// it is not, or if another process has done it meanwhile.
///
/// # Errors
/// `Unavailable`.
pub async fn rotate_if_due(service: &Service, actor: &str) -> Result<Option<Rotated>, Refusal> {
    // What a rotation that was cut off has left in the public row, or not yet put there.
    change_row(service, service.now(), Listing::WhatTheVaultHolds).await?;
    let current = current(service).await?;
    let policy = &service.policy;
    let document = parse(&current)?;
    if !document.is_due(service.now(), policy.key_rotate_every, policy.signing_alg) {
        return Ok(None);
    }
    match rotate(service, Pace::Announced, actor).await {
        Ok(rotated) => Ok(Some(rotated)),
        Err(refusal) if refusal.kind == RefusalKind::Conflict => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Stages the next document under the request id. Says how many keys there were before.
///
/// # Errors
/// `Conflict`, `Unavailable`.
pub async fn create(service: &Service, now: Timestamp, request_id: &str, pace: Pace) -> Result<usize, Refusal> {
    let current = current(service).await?;
    let document = parse(&current)?;
    let before = document.keys().len();
    if current.id == request_id || staged(service, request_id).await?.is_some() {
        return Ok(before);
    }
    let alg = service.policy.signing_alg.unwrap_or_else(|| document.algorithm());
    let next = match pace {
        Pace::Announced => document.followed(&current.id, alg, now, service.policy.key_publish_ahead).await?,
        Pace::AtOnce => KeyDocument::replaced(&current.id, alg, now).await?,
    };
    service.vault.stage(KeySet::SECRET, request_id, next.render()).await.map_err(outrun)?;
    Ok(before)
}

/// Lists the staged document's keys in the store, beside those that are there: neither what signs now nor what signs
/// next is unknown to a verifier, wherever this is cut off.
///
/// # Errors
/// `Conflict`: another rotation has taken the place of this one. `Unavailable`.
pub async fn publish(service: &Service, now: Timestamp, request_id: &str) -> Result<(), Refusal> {
    change_row(service, now, Listing::WithStaged(request_id)).await
}

/// Signs with the newest key of the staged document and judges that by the row. The key comes back.
///
/// # Errors
/// `Unavailable`: the row does not list it, or what it signs does not hold.
pub async fn test(service: &Service, now: Timestamp, request_id: &str) -> Result<PublicKey, Refusal> {
    let version = match staged(service, request_id).await? {
        Some(staged) => staged,
        None => {
            current(service).await.and_then(|now| if now.id == request_id { Ok(now) } else { Err(superseded()) })?
        }
    };
    let unsound = |what: &str| Refusal::unavailable(format!("the new key was not put to use: {what}"));
    let set = key_set(&version)?;
    let new = set.newest().ok_or_else(|| unsound("there is none"))?;
    let row = public_row(service, now).await?;
    let listed = row.record.keys.into_iter().find(|key| key.kid == new.kid());
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
/// `Conflict`: another rotation was faster. `Unavailable`.
pub async fn finish(service: &Service, now: Timestamp, request_id: &str, actor: &str) -> Result<(), Refusal> {
    if let Some(staged) = staged(service, request_id).await? {
        let based_on =
            parse(&staged)?.based_on.ok_or_else(|| Refusal::unavailable("the staged keys follow on none"))?;
        service.vault.promote(KeySet::SECRET, request_id, &based_on).await.map_err(outrun)?;
        // From here on they are rotated, whatever becomes of the rest.
        let promoted = key_set(&staged)?;
        tracing::info!(
            target: "gatemint::audit",
            event = "keys_rotated",
            actor,
            key.id = promoted.newest().map(jwt::SigningKey::kid),
            keys.count = promoted.public().keys.len(),
        );
    } else if current(service).await?.id != request_id {
        return Err(superseded());
    }
    change_row(service, now, Listing::WhatTheVaultHolds).await?;
    service.keys.expire().await;
    Ok(())
}

/// What a rotation of the peppers has done.
#[derive(Clone, Copy, Debug)]
pub struct RotatedPepper {
    /// The new pepper's id.
    pub id: u8,
    /// From when on refresh tokens are derived with it.
    pub active_from: Timestamp,
}

/// Rotates the peppers: [`Pace::AtOnce`] ends every session.
///
/// # Errors
/// `Conflict`: a pepper is upcoming already, or another rotation was faster. `Unavailable`.
pub async fn rotate_peppers(service: &Service, pace: Pace, actor: &str) -> Result<RotatedPepper, Refusal> {
    let now = service.now();
    let entropy = service.entropy.as_ref();
    let name = PepperRing::SECRET;
    let none = || Refusal::unavailable(format!("the vault holds no {name}"));
    let current = service.vault.current(name).await?.ok_or_else(none)?;
    let ring = RingDocument::parse(current.value.expose()).map_err(Refusal::unavailable)?;
    let next = match pace {
        Pace::Announced => ring.followed(entropy, now)?,
        Pace::AtOnce => ring.replaced(entropy, now)?,
    };
    let request_id = new_request_id(service);
    service.vault.stage(name, &request_id, next.render()).await.map_err(outrun)?;
    service.vault.promote(name, &request_id, &current.id).await.map_err(outrun)?;
    service.keys.expire().await;
    let (id, active_from) = next.newest();
    tracing::info!(
        target: "gatemint::audit",
        event = "peppers_rotated",
        actor,
        pepper.id = id,
        pepper.active_from = active_from.rfc3339(),
        sessions.ended = pace == Pace::AtOnce,
    );
    Ok(RotatedPepper { id, active_from })
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
    let row = public_row(service, now).await?;
    Ok(row.record.keys.into_iter().map(|public| ListedKey { state: public.times.state(now), public }).collect())
}

/// What the public row is to list.
#[derive(Clone, Copy)]
enum Listing<'a> {
    /// What is staged under this request id, beside what is there.
    WithStaged(&'a str),
    /// What the vault holds, and what may yet be promoted there; nothing else.
    WhatTheVaultHolds,
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
                    return Ok(row.clone());
                }
                // What cannot be promoted any more is not listed: it may hold what an emergency has just dropped.
                let staged = staged.filter(|staged| follows(staged, &current)).ok_or_else(superseded)?;
                let new = key_set(&staged)?.public().keys.clone();
                let others = row.keys.iter().filter(|old| old.times.judges(now) && !holds(&new, &old.kid));
                keys =
                    others.map(|old| PublicKey { times: stopped(old.times, now), ..old.clone() }).collect::<Vec<_>>();
                keys.extend(new);
            }
            Self::WhatTheVaultHolds => {
                // In this order: what is promoted in between is found in the second place, and no more in the first.
                let staged = service.vault.staged(KeySet::SECRET).await?;
                let current = current(service).await?;
                keys = key_set(&current)?.public().keys.clone();
                if let Some(next) = staged.as_ref().filter(|next| follows(next, &current)) {
                    let next = key_set(next)?.public().keys.clone();
                    let next = next.into_iter().filter(|next| !holds(&keys, &next.kid));
                    // Known to verifiers, but not in turn before it is promoted.
                    let next: Vec<_> = next.map(|key| PublicKey { times: not_in_turn(key.times), ..key }).collect();
                    keys.extend(next);
                }
            }
        }
        Ok(PublicKeys { keys })
    }
}

fn holds(keys: &[PublicKey], kid: &str) -> bool {
    keys.iter().any(|key| key.kid == kid)
}

/// Changes the public row; again with the row that won, if another change was faster.
async fn change_row(service: &Service, now: Timestamp, listing: Listing<'_>) -> Result<(), Refusal> {
    for _ in 0..ROUNDS {
        let row = public_row(service, now).await?;
        let next = listing.after(service, now, &row.record).await?;
        if next == row.record {
            return Ok(());
        }
        match service.commit(now, vec![next.put(When::VersionIs(row.version))]).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { .. }) => {}
            Err(unavailable) => return Err(unavailable.into()),
        }
    }
    Err(Refusal::unavailable("keys#jwks kept changing during a rotation"))
}

/// Whether a staged version can still be promoted.
fn follows(staged: &SecretVersion, current: &SecretVersion) -> bool {
    parse(staged).is_ok_and(|staged| staged.based_on.as_ref() == Some(&current.id))
}

fn not_in_turn(times: Timetable) -> Timetable {
    Timetable { signs_until: Some(times.signs_from), ..times }
}

/// A key that signs no more from `now` on, if it signed until then.
fn stopped(times: Timetable, now: Timestamp) -> Timetable {
    Timetable { signs_until: Some(times.signs_until.unwrap_or(now).min(now)), ..times }
}

async fn public_row(service: &Service, now: Timestamp) -> Result<Row<PublicKeys>, Refusal> {
    let row = service.read(now, PublicKeys::row()).await?;
    row.ok_or_else(|| Refusal::unavailable("the store holds no public keys (keys#jwks)"))
}

/// 32 characters that no request had before: what Secrets Manager takes for one, too.
fn new_request_id(service: &Service) -> String {
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

fn key_set(version: &SecretVersion) -> Result<KeySet, Refusal> {
    KeySet::parse(version.value.expose()).map_err(Refusal::unavailable)
}

fn superseded() -> Refusal {
    Refusal::conflict("another rotation was faster; `key list` shows what is there now")
}

/// The vault's compare-and-swap failed: somebody else has rotated.
fn outrun(error: VaultError) -> Refusal {
    match error {
        VaultError::Conflict(_) => superseded(),
        unavailable @ VaultError::Unavailable(_) => unavailable.into(),
    }
}
