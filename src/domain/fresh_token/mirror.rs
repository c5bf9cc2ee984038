//! The mirror: tokens that are always fresh, kept in the vault for readers who can read secrets and nothing else.
//!
//! The one place where a token is at rest, so it is asked for account by account (`mirror_token`). The account says
//! whether; a row of the partition `fresh#mirror` per namespace says what the vault has of it, so that a run finds what is
//! due without reading the accounts, and whoever changes an account has the next run look at its namespace by writing that
//! row anew.
//!
//! A run writes what is due, the oldest first. Runs come every two minutes and write what has less than 19 minutes left: with
//! one of them missed, and three minutes for a slow one, readers find 12 minutes or more. What a run leaves undone (it was
//! killed, the vault was away, its time was up) is still due in the next one. The row is written after the vault, and a
//! vault's secret of a namespace that is to have none is deleted before its row is: so nothing is forgotten.

use std::{collections::VecDeque, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{FIELD, FreshToken, read::LIFE, read::sign};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Secret, Service,
        account::{Account, NamespaceOwner},
        grant::Scope,
        ids::{AccountKey, Name},
    },
    metric::{self, Stopwatch},
    store::{CommitError, Item, Key, MAX_PAGE, Record, Row, Version, When, Write, decode},
    vault::VaultError,
};

/// How often a run is to begin.
pub const EVERY: Duration = Duration::from_mins(2);

/// A token with less left than this is written anew.
pub const WRITE_BELOW: Duration = Duration::from_mins(19);

/// How long a run takes at most: less than [`EVERY`], so that one ends before the next begins.
pub const LONGEST_RUN: Duration = Duration::from_secs(110);

/// What a run goes by. Another one than the usual is for tests that want to see what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// A token with less left than this is written anew.
    pub write_below: Duration,
    /// How long the run may take; at most [`LONGEST_RUN`].
    pub longest_run: Duration,
}

impl Default for Timetable {
    fn default() -> Self {
        Self { write_below: WRITE_BELOW, longest_run: LONGEST_RUN }
    }
}

/// How long one call of the vault may take; the run goes on without it.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// With less than this of its time left, a run begins nothing more.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// How many namespaces are under way at a time.
const AT_A_TIME: usize = 8;

/// For how many namespaces owners and accounts are read at a time.
const READ_AT_A_TIME: usize = 50;

/// After so many failures in a row, also of those that were picked from everywhere, the vault is taken to be away.
const AWAY_AFTER: usize = 16;

/// After so many failures of its own a namespace waits until the others were tried.
const KEEPS_FAILING: u32 = 3;

/// How often the vault is searched for secrets of namespaces that are to have none.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Where in the vault the tokens are.
const PREFIX: &str = "fresh/";

/// What is known of a namespace's secret in the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    namespace: Name,
    holds: Holds,
    /// How many runs in a row have failed with it and have written others after it.
    #[serde(default)]
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holds {
    /// Something has changed: the next run finds out.
    Unknown,
    /// There is none, and there is to be none until something changes.
    Nothing,
    /// A token that was signed for this end.
    TokenUntil(Timestamp),
}

impl Mirrored {
    const PARTITION: &str = "fresh#mirror";

    /// What orders those that are due: none of them waits for one that keeps failing by itself, and the oldest is first.
    /// None: it is not due. A token from the future, of a clock that was set back since, is not good yet, so that one is due.
    fn due(&self, now: Timestamp, write_below: Duration) -> Option<(bool, Timestamp)> {
        let ends = match self.holds {
            Holds::Nothing => return None,
            Holds::Unknown => Timestamp(0),
            Holds::TokenUntil(ends) => ends,
        };
        let left = ends.since(now);
        (left < write_below || left > LIFE).then_some((self.keeps_failing(), ends))
    }

    fn keeps_failing(&self) -> bool {
        self.failures >= KEEPS_FAILING
    }
}

impl Record for Mirrored {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Key::new(Self::PARTITION, self.namespace.as_str())
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// Has the next run look at a namespace. What it does then depends on the account that owns it.
pub(in crate::domain) fn look_at(namespace: &Name) -> Write {
    Mirrored { namespace: namespace.clone(), holds: Holds::Unknown, failures: 0 }.put(When::Always)
}

/// Judges whether a namespace's token can be mirrored.
///
/// # Errors
/// `Invalid` for `mirror_token`: no vault takes a secret of that name.
pub(in crate::domain) fn check_namespace(namespace: &Name) -> Result<(), Refusal> {
    if std::path::Path::new(namespace.as_str()).extension().is_some_and(|ending| ending == "json") {
        return Err(Refusal::invalid("mirror_token", "the token of a namespace that ends in .json cannot be mirrored"));
    }
    Ok(())
}

/// One run at a time: who is at it, and how long at most.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lease {
    until: Timestamp,
}

impl Lease {
    fn key_of() -> Key {
        Key::new("fresh#run", "lease")
    }

    /// Whether a run is under way. One from the future, of a clock that was set back since, is not.
    fn holds(&self, now: Timestamp) -> bool {
        self.until > now && self.until <= now + LONGEST_RUN
    }
}

impl Record for Lease {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of()
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// When the vault was searched last for what is not to be there.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Swept {
    at: Timestamp,
}

impl Swept {
    fn key_of() -> Key {
        Key::new("fresh#swept", "at")
    }

    fn is_due(this: Option<&Self>, now: Timestamp) -> bool {
        this.is_none_or(|swept| swept.at > now || swept.at + SWEEP_EVERY <= now)
    }
}

impl Record for Swept {
    const FORMAT: u32 = 1;
    fn key(&self) -> Key {
        Self::key_of()
    }
    fn expires_at(&self) -> Option<Timestamp> {
        None
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was due was tried.
    #[default]
    Done,
    /// Another run is under way; this one has done nothing.
    Busy,
    /// Its time was up; the next run goes on.
    OutOfTime,
    /// The vault is away; the next run tries again.
    GaveUp,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// How many namespaces there are that have a secret, or are to have one.
    pub mirrored: usize,
    /// How many tokens it has written.
    pub written: usize,
    /// How many secrets it has removed, of accounts that are to have none.
    pub removed: usize,
    /// How many namespaces it has failed with.
    pub failed: usize,
    /// How many it has not come to.
    pub left: usize,
    /// How many secrets it has found that no row spoke of; the next run removes them.
    pub swept: usize,
    /// How much life the token has that has least, in seconds; none without tokens.
    #[serde(rename = "least_left_s", serialize_with = "seconds")]
    pub least_left: Option<Duration>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn seconds<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(to)
}

/// Writes the tokens that are due into the vault, and takes away those that are to be there no more. Takes at most
/// [`LONGEST_RUN`]; may be called at any time, by several at once, and be killed at any moment.
///
/// # Errors
/// `Unavailable`: the store or the signing keys are away. A vault that is away is an outcome.
pub async fn refresh_secrets(service: &Service) -> Result<Run, Refusal> {
    refresh_secrets_by(service, &Timetable::default()).await
}

/// The same by a timetable.
///
/// # Errors
/// As [`refresh_secrets`].
pub async fn refresh_secrets_by(service: &Service, timetable: &Timetable) -> Result<Run, Refusal> {
    let time = Time { begun: Stopwatch::start(), whole: timetable.longest_run.min(LONGEST_RUN) };
    let now = service.now();
    let mut rows = service.store.get(now, &[Lease::key_of(), Swept::key_of()]).await?.into_iter();
    let lease: Option<Row<Lease>> = decode(rows.next().flatten())?;
    let swept: Option<Row<Swept>> = decode(rows.next().flatten())?;
    let sweeps = Swept::is_due(swept.as_ref().map(|row| &row.record), now);
    let any = service.store.list(now, Mirrored::PARTITION, None, 1).await?;
    if any.items.is_empty() && !sweeps {
        metric::mirrored(0, 0, 0, None);
        return Ok(Run::default());
    }
    let Some(lease) = take_lease(service, now, lease).await? else {
        tracing::info!("another run of refresh-secrets is under way");
        return Ok(Run { outcome: Outcome::Busy, ..Run::default() });
    };
    let mut run = Run::default();
    let mut done = write_due(service, &time, timetable.write_below, &mut run).await;
    if done.is_ok() && run.outcome == Outcome::Done && sweeps {
        done = sweep(service, &time, &mut run).await;
    }
    // If this fails it ends by itself, before the next run is due.
    // Over for every clock, also for one that is set back now.
    let ended = Lease { until: Timestamp(0) }.put(When::VersionIs(lease));
    if let Err(error) = service.commit(service.now(), vec![ended]).await {
        tracing::debug!(cause = %error, "the lease of a run was not given back");
    }
    // Also of one that was cut off: what it has done counts.
    report(&run, time.begun);
    done.map(|()| run)
}

/// The time that a run has.
struct Time {
    begun: Stopwatch,
    whole: Duration,
}

impl Time {
    fn left(&self) -> Duration {
        self.whole.saturating_sub(self.begun.elapsed())
    }
}

fn report(run: &Run, begun: Stopwatch) {
    metric::mirrored(run.written, run.failed, run.left, run.least_left);
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let least = run.least_left.map(|left| left.as_secs());
    // Spelt twice, since a level is part of the line.
    if run.failed > 0 || run.left > 0 {
        tracing::warn!(
            run.outcome = ?run.outcome, run.mirrored, run.written, run.removed, run.failed, run.left, run.swept,
            run.least_left_s = least, run.took_ms = took, "some mirrored tokens could not be refreshed; the next run tries",
        );
    } else if run.written + run.removed + run.swept > 0 {
        tracing::info!(
            run.outcome = ?run.outcome, run.mirrored, run.written, run.removed, run.failed, run.left, run.swept,
            run.least_left_s = least, run.took_ms = took, "mirrored tokens are fresh",
        );
    }
}

/// Takes the lease, if nobody has it.
async fn take_lease(service: &Service, now: Timestamp, held: Option<Row<Lease>>) -> Result<Option<Version>, Refusal> {
    if held.as_ref().is_some_and(|row| row.record.holds(now)) {
        return Ok(None);
    }
    let when = held.map_or(When::Absent, |row| When::VersionIs(row.version));
    match service.commit(now, vec![Lease { until: now + LONGEST_RUN }.put(when)]).await {
        Ok(version) => Ok(Some(version)),
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(unavailable) => Err(unavailable.into()),
    }
}

/// What is due, the first to be written first; and of the others how much the oldest has left.
async fn due(
    service: &Service,
    now: Timestamp,
    write_below: Duration,
    run: &mut Run,
) -> Result<VecDeque<Row<Mirrored>>, Refusal> {
    let (mut due, mut after) = (Vec::new(), None);
    loop {
        let page = service.store.list(now, Mirrored::PARTITION, after.as_deref(), MAX_PAGE).await?;
        for item in page.items {
            let Some(row) = readable(item) else { continue };
            run.mirrored += usize::from(row.record.holds != Holds::Nothing);
            match (row.record.due(now, write_below), row.record.holds) {
                (Some(order), _) => due.push((order, row)),
                (None, Holds::TokenUntil(ends)) => run.saw(ends.since(now)),
                (None, _) => {}
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    due.sort_by_key(|(order, _)| *order);
    Ok(due.into_iter().map(|(_, row)| row).collect())
}

impl Run {
    fn saw(&mut self, left: Duration) {
        self.least_left = Some(self.least_left.map_or(left, |least| least.min(left)));
    }
}

/// A row that cannot be read is one namespace's misfortune.
fn readable(item: Item) -> Option<Row<Mirrored>> {
    let namespace = item.key.sort.clone();
    decode(Some(item)).unwrap_or_else(|error| {
        tracing::error!(namespace, cause = %error, "what is known of a mirrored token cannot be read");
        None
    })
}

/// What became of one namespace.
enum Mended {
    Written(Timestamp),
    Removed,
    /// Something changed meanwhile: the next run looks again.
    Overtaken,
    /// There was no time for it.
    Left,
    /// Why; and whether the vault lacks a token that readers are to find.
    Failed(String, Lacks),
}

#[derive(Clone, Copy)]
enum Lacks {
    Nothing,
    AToken,
}

async fn write_due(service: &Service, time: &Time, write_below: Duration, run: &mut Run) -> Result<(), Refusal> {
    let mut due = due(service, service.now(), write_below, run).await?;
    let (mut failed, mut left) = (Vec::new(), Vec::new());
    // How many failures were followed by a success, so that they are no sign of a vault that is away. Nor is one of those
    // that keep failing while others do not.
    let (mut of_their_own, mut in_a_row) = (0, 0);
    while time.left() >= LEAST_TIME && !due.is_empty() {
        // The oldest may be broken, every one of them: only if nobody fares better, nobody else has to be tried.
        let picks = in_a_row >= AWAY_AFTER;
        let rows = if picks { take_from_everywhere(&mut due) } else { take_first(&mut due) };
        let owners = owners(service, service.now(), &rows).await?;
        let mut mending = stream::iter(rows.into_iter().zip(owners))
            .map(|(row, owner)| async move {
                let mended = mend(service, &row, owner, time.left()).await;
                (row, mended)
            })
            .buffer_unordered(AT_A_TIME);
        while let Some((row, mended)) = mending.next().await {
            match mended {
                Mended::Written(ends) => {
                    run.written += 1;
                    run.saw(ends.since(service.now()));
                }
                Mended::Removed => run.removed += 1,
                Mended::Overtaken => {}
                Mended::Left => {
                    left.push(row);
                    continue;
                }
                Mended::Failed(cause, lacks) => {
                    tracing::warn!(namespace = %row.record.namespace, cause, "a mirrored token could not be refreshed");
                    match (row.record.holds, lacks) {
                        (Holds::TokenUntil(ends), _) => run.saw(ends.since(service.now())),
                        (_, Lacks::AToken) => run.saw(Duration::ZERO),
                        _ => {}
                    }
                    in_a_row += usize::from(!row.record.keeps_failing());
                    failed.push(row);
                    continue;
                }
            }
            (of_their_own, in_a_row) = (failed.len(), 0);
        }
        if picks && in_a_row >= AWAY_AFTER {
            break;
        }
    }
    left.extend(due);
    run.failed = failed.len();
    run.left = left.len();
    if in_a_row >= AWAY_AFTER {
        run.outcome = Outcome::GaveUp;
    }
    if run.left > 0 && run.outcome == Outcome::Done {
        run.outcome = Outcome::OutOfTime;
    }
    let now = service.now();
    for row in &left {
        if let Holds::TokenUntil(ends) = row.record.holds {
            run.saw(ends.since(now));
        }
    }
    failed.truncate(of_their_own);
    put_back(service, now, failed, time).await;
    Ok(())
}

/// The first of those that are due.
fn take_first(due: &mut VecDeque<Row<Mirrored>>) -> Vec<Row<Mirrored>> {
    due.drain(..READ_AT_A_TIME.min(due.len())).collect()
}

/// As many, from all over the list.
fn take_from_everywhere(due: &mut VecDeque<Row<Mirrored>>) -> Vec<Row<Mirrored>> {
    let every = due.len().div_ceil(READ_AT_A_TIME);
    let (picked, rest): (Vec<_>, Vec<_>) =
        std::mem::take(due).into_iter().enumerate().partition(|(n, _)| n % every == 0);
    *due = rest.into_iter().map(|(_, row)| row).collect();
    picked.into_iter().map(|(_, row)| row).collect()
}

/// Writes down who failed while others did not, as far as there is time: whoever keeps failing comes after the others, so
/// that nobody waits for it.
async fn put_back(service: &Service, now: Timestamp, failed: Vec<Row<Mirrored>>, time: &Time) {
    let mut writing = stream::iter(failed)
        .take_while(|_| std::future::ready(time.left() >= LEAST_TIME))
        .map(|row| async move {
            let record = Mirrored { failures: row.record.failures.saturating_add(1), ..row.record };
            service.commit(now, vec![record.put(When::VersionIs(row.version))]).await
        })
        .buffer_unordered(AT_A_TIME);
    while let Some(written) = writing.next().await {
        if let Err(error) = written {
            tracing::debug!(cause = %error, "a failure with a mirrored token was not written down");
        }
    }
}

/// Of each namespace the account that owns it now, with the record of its token, if it stands; or why it cannot be told,
/// which is one namespace's misfortune.
type Owner = Result<Option<(Account, Option<FreshToken>)>, String>;

/// The owners in the order of the rows, in two round trips.
async fn owners(service: &Service, now: Timestamp, rows: &[Row<Mirrored>]) -> Result<Vec<Owner>, Refusal> {
    let keys: Vec<_> = rows.iter().map(|row| NamespaceOwner::key_of(row.record.namespace.as_str())).collect();
    let owners = service.store.get(now, &keys).await?.into_iter();
    let owners: Vec<Result<Option<Row<NamespaceOwner>>, String>> = owners.map(read_row).collect();
    let key_of = |row: &Row<NamespaceOwner>| AccountKey::of(row.record.owner.as_str());
    let keys: Vec<_> = owners
        .iter()
        .flatten()
        .flatten()
        .flat_map(|row| [Account::key_of(key_of(row)), FreshToken::key_of(key_of(row))])
        .collect();
    let mut rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? }.into_iter();
    let owners = owners.into_iter().map(|owner| {
        let Some(owner) = owner? else { return Ok(None) };
        let (account, fresh) = (rows.next().flatten(), rows.next().flatten());
        let account: Option<Row<Account>> = read_row(account)?;
        let fresh: Option<Row<FreshToken>> = read_row(fresh)?;
        let account = account.map(|row| row.record);
        let account = account.filter(|account| account.uid == owner.record.uid && account.deleted_at.is_none());
        Ok(account.map(|account| {
            let fresh = fresh.map(|row| row.record).filter(|record| record.is_upheld_by(Some(&account)));
            (account, fresh)
        }))
    });
    Ok(owners.collect())
}

fn read_row<T: Record>(item: Option<Item>) -> Result<Option<Row<T>>, String> {
    decode(item).map_err(|error| error.to_string())
}

/// Brings the vault in line with one namespace's owner, if there is time.
async fn mend(service: &Service, row: &Row<Mirrored>, owner: Owner, time: Duration) -> Mended {
    if time < LEAST_TIME {
        return Mended::Left;
    }
    let time = time.min(LONGEST_CALL);
    let owner = match owner {
        Ok(owner) => owner,
        Err(cause) => return Mended::Failed(cause, Lacks::AToken),
    };
    match owner.filter(|(account, _)| account.mirror_token) {
        Some((account, Some(record))) => write(service, row, &account, &record, time).await,
        Some((_, None)) => {
            let nothing = Mirrored { holds: Holds::Nothing, failures: 0, ..row.record.clone() };
            remove(service, row, nothing.put(When::VersionIs(row.version)), time).await
        }
        None => {
            let gone = Write::Delete { key: row.record.key(), when: When::VersionIs(row.version) };
            remove(service, row, gone, time).await
        }
    }
}

fn secret_of(namespace: &str) -> String {
    format!("{PREFIX}{namespace}")
}

/// What the secret holds: `{"AUTH_TOKEN":"…"}`, the token under the name that it has in the cluster's secret. Of one size
/// from the start: what grows leaves copies behind that nobody wipes.
fn value_of(token: &str) -> Secret<Vec<u8>> {
    // Neither a JWT nor the name has a character that JSON would have to escape.
    let parts = [r#"{""#, FIELD, r#"":""#, token, r#""}"#];
    let mut value = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        value.extend_from_slice(part.as_bytes());
    }
    Secret::new(value)
}

async fn write(
    service: &Service,
    row: &Row<Mirrored>,
    account: &Account,
    record: &FreshToken,
    time: Duration,
) -> Mended {
    let now = service.now();
    let (token, ends) = match sign(service, now, account, record, &Scope::usual()).await {
        Ok(signed) => signed,
        Err(refusal) => return Mended::Failed(refusal.cause(), Lacks::AToken),
    };
    let name = secret_of(row.record.namespace.as_str());
    if let Err(cause) = in_time(time, service.vault.put(&name, value_of(token.expose()))).await {
        return Mended::Failed(cause, Lacks::AToken);
    }
    let written = Mirrored { holds: Holds::TokenUntil(ends), failures: 0, ..row.record.clone() };
    match service.commit(now, vec![written.put(When::VersionIs(row.version))]).await {
        Ok(_) => Mended::Written(ends),
        Err(CommitError::Conflict { .. }) => overtaken(service, row).await,
        // It is still due, and the next run writes it again.
        Err(error) => Mended::Failed(error.to_string(), Lacks::Nothing),
    }
}

/// Takes the secret away, and then writes down that it is gone.
async fn remove(service: &Service, row: &Row<Mirrored>, then: Write, time: Duration) -> Mended {
    let name = secret_of(row.record.namespace.as_str());
    if let Err(cause) = in_time(time, service.vault.delete(&name)).await {
        return Mended::Failed(cause, Lacks::Nothing);
    }
    match service.commit(service.now(), vec![then]).await {
        Ok(_) => Mended::Removed,
        Err(CommitError::Conflict { .. }) => overtaken(service, row).await,
        Err(error) => Mended::Failed(error.to_string(), Lacks::Nothing),
    }
}

/// Something changed meanwhile, or this run took longer than it may and another one was at work: what the vault has now may
/// be of an account that is to have none, or be missing, so somebody has to look again.
async fn overtaken(service: &Service, row: &Row<Mirrored>) -> Mended {
    let looked_at = service.commit(service.now(), vec![look_at(&row.record.namespace)]).await;
    looked_at.map_or_else(|error| Mended::Failed(error.to_string(), Lacks::Nothing), |_| Mended::Overtaken)
}

async fn in_time<T>(time: Duration, call: impl Future<Output = Result<T, VaultError>>) -> Result<T, String> {
    match tokio::time::timeout(time, call).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err("the vault did not answer in time".to_owned()),
    }
}

/// Finds what the vault has of namespaces that no row speaks of, or one that says that there is nothing: a run that was killed
/// after it took too long may have left that behind. It removes nothing: it has the next run look, which removes under its
/// row's eyes what nobody is to have.
async fn sweep(service: &Service, time: &Time, run: &mut Run) -> Result<(), Refusal> {
    let now = service.now();
    let names = match in_time(time.left(), service.vault.list(PREFIX)).await {
        Ok(names) => names,
        Err(cause) => {
            let minutes = SWEEP_EVERY.as_secs() / 60;
            tracing::warn!(
                cause,
                "the vault could not be searched for tokens of nobody; tried again in {minutes} minutes"
            );
            Vec::new()
        }
    };
    let namespaces: Vec<Name> =
        names.iter().filter_map(|name| Name::parse(name.strip_prefix(PREFIX)?, "namespace").ok()).collect();
    for namespaces in namespaces.chunks(READ_AT_A_TIME) {
        let keys: Vec<_> = namespaces.iter().map(|one| Key::new(Mirrored::PARTITION, one.as_str())).collect();
        let rows = service.store.get(now, &keys).await?;
        for (namespace, row) in namespaces.iter().zip(rows) {
            let when = match row {
                None => When::Absent,
                // What cannot be read says nothing, and is left alone.
                Some(item) => match readable(item) {
                    Some(row) if row.record.holds == Holds::Nothing => When::VersionIs(row.version),
                    _ => continue,
                },
            };
            if time.left() < LEAST_TIME {
                run.outcome = Outcome::OutOfTime;
                return Ok(());
            }
            let found = Mirrored { namespace: namespace.clone(), holds: Holds::Unknown, failures: 0 };
            match service.commit(now, vec![found.put(when)]).await {
                Ok(_) => run.swept += 1,
                // Somebody has just written it.
                Err(CommitError::Conflict { .. }) => {}
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
    }
    service.commit(now, vec![Swept { at: now }.put(When::Always)]).await?;
    Ok(())
}
