//! The agent at work: looks at its clocks and files, fetches when a token is due, and tells what happened.

use std::{cmp::Reverse, time::Duration};

use super::{
    held::{self, BackOff, Held, Moment},
    keeping::{Keeping, Kept},
    kept_file::KeptFile,
    source::{self, Fetched, Source},
    told::{self, Counts, Level},
};
use crate::{
    cli::{CliError, Global, stop_signals::StopSignals},
    client::ClientError,
    clock::{Clock, SystemClock, Timestamp},
    entropy::SystemEntropy,
};

/// How often the clocks and the files are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a fetch that is under way may take after SIGTERM: it may have used up a refresh token.
const GRACE: Duration = Duration::from_secs(20);

/// The agent at work.
pub(super) struct Keeper<'a> {
    global: &'a Global,
    source: Source,
    files: Vec<Keeping>,
    held: Option<Held>,
    /// What the credential was that it was fetched with.
    fetched_with: Option<String>,
    /// Whether what is held, or what is in the files at the beginning, may have ended: another one is asked for until there is
    /// one.
    is_suspect: bool,
    /// When the token was signed that was refused last, because that was too long ago.
    refused: Option<Timestamp>,
    back_off: BackOff,
    level: Level,
    counts: Counts,
    began: std::time::Instant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a clock that nobody sets: what has gone by, whatever the other one shows"
)]
fn steady_clock() -> std::time::Instant {
    std::time::Instant::now()
}

impl<'a> Keeper<'a> {
    /// An agent that has done nothing yet.
    pub(super) fn new(global: &'a Global, source: Source, files: Vec<KeptFile>) -> Self {
        Self {
            global,
            source,
            files: files.into_iter().map(Keeping::new).collect(),
            held: None,
            fetched_with: None,
            is_suspect: true,
            refused: None,
            back_off: BackOff::default(),
            level: Level::Good,
            counts: Counts::default(),
            began: steady_clock(),
        }
    }

    fn now(&self) -> Moment {
        Moment { wall: SystemClock.now(), steady: steady_clock().saturating_duration_since(self.began) }
    }

    /// What is wrong with all files before anything is fetched ends the agent: somebody has to do something.
    ///
    /// # Errors
    /// All files' troubles.
    pub(super) fn first_look(&mut self) -> Result<(), CliError> {
        self.files.iter_mut().for_each(Keeping::first_look);
        if self.files.iter().all(|keeping| keeping.trouble.is_some()) { Err(self.troubles()) } else { Ok(()) }
    }

    /// What is wrong with the files.
    fn troubles(&self) -> CliError {
        let of = |keeping: &Keeping| Some(format!("{}: {}", keeping.file.path().display(), keeping.trouble.as_ref()?));
        CliError::Failed(self.files.iter().filter_map(of).collect::<Vec<_>>().join("\n"))
    }

    /// Fetches and writes, and ends.
    ///
    /// # Errors
    /// No token was fetched; a file was not written.
    pub(super) async fn once(mut self) -> Result<(), CliError> {
        self.round().await?;
        if self.files.iter().any(|keeping| keeping.trouble.is_some()) { Err(self.troubles()) } else { Ok(()) }
    }

    /// Keeps the files until it is asked to stop.
    ///
    /// # Errors
    /// What is wrong at the first try, and waiting does not mend.
    pub(super) async fn keep_on(mut self, mut stop: StopSignals) -> Result<(), CliError> {
        told::begins(self.source.name(), self.files.len());
        let mut is_first = true;
        loop {
            let outcome = {
                let round = self.round();
                tokio::pin!(round);
                tokio::select! {
                    outcome = &mut round => Some(outcome),
                    () = stop.asked() => {
                        let _ = tokio::time::timeout(GRACE, &mut round).await;
                        None
                    }
                }
            };
            match outcome {
                // Told in the log; later it is waited for, because somebody may mend it.
                Some(Err(error)) if is_first && source::is_lasting(&error) => return Err(error),
                Some(outcome) => is_first &= outcome.is_err(),
                None => break,
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = stop.asked() => break,
            }
        }
        told::ends();
        Ok(())
    }

    /// Looks at everything, and does what is due.
    ///
    /// # Errors
    /// No token could be fetched. (What is wrong with a file is kept with it.)
    async fn round(&mut self) -> Result<(), CliError> {
        let now = self.now();
        let held = self.held.as_ref();
        let mut due: Vec<bool> = self.files.iter_mut().map(|keeping| !keeping.is_fresh(held, now)).collect();
        let can = self.files.iter().zip(&due).any(|(keeping, due)| *due && keeping.back_off.is_over(now));
        let is_stale = self.held.as_ref().is_none_or(|held| held.is_stale(now));
        // A try that failed may have used up a refresh token, and its answer is given again for half a minute only: it is
        // made again, even if another agent has made the files fresh meanwhile.
        let is_open = self.back_off.failures() > 0;
        self.is_suspect |= self.may_have_ended(now);
        // Nor is it known at a beginning what has happened before it.
        let (is_anew, is_first) = (self.is_suspect, self.held.is_none());
        let tries = (is_open || is_anew || (can && is_stale)) && self.back_off.is_over(now);
        let fetched = if tries { self.fetch(now, is_anew).await.map(Some) } else { Ok(None) };
        if is_anew && !is_first && fetched.is_ok() {
            let held = self.held.as_ref();
            due = self.files.iter_mut().map(|keeping| !keeping.is_fresh(held, now)).collect();
        }
        let did = self.write(&due).await || tries;
        let now = self.now();
        let least_left = self.tell_level(now);
        if did {
            self.counts.tell(self.files.len(), fetched.as_ref().ok().copied().flatten(), least_left);
        }
        fetched.map(|_| ())
    }

    /// Whether somebody has done something that may have ended what is held: has taken away a file, or signed in anew, or
    /// put another credential in place of the one that it was fetched with.
    fn may_have_ended(&mut self, now: Moment) -> bool {
        let Some(held) = &self.held else { return false };
        // All are looked at: each remembers since when there is nothing.
        let mut asks = false;
        for keeping in &mut self.files {
            asks |= keeping.asks_for_another(held, now);
        }
        asks || self.source.credential() != self.fetched_with
    }

    /// Fetches a token; says how long that took.
    async fn fetch(&mut self, asked_at: Moment, is_anew: bool) -> Result<Duration, CliError> {
        // Before it is used: if it is another one afterwards, that one is used, too.
        let fetched_with = self.source.credential();
        let fetched = self.source.fetch(self.global).await;
        match fetched.and_then(|fetched| self.refuse_an_old_one(fetched)) {
            Ok(fetched) => {
                let is_first = self.held.is_none();
                let came_too_late = self.held.as_ref().is_some_and(Held::came_too_late);
                self.fetched_with = fetched_with;
                self.is_suspect = false;
                let held = if is_anew { Held::anew } else { Held::new }(fetched.token, asked_at);
                let held = self.held.insert(held);
                self.counts.fetches += 1;
                self.back_off.reset();
                if held.came_too_late() && !came_too_late {
                    told::came_too_late(held);
                }
                if is_first && held.alarm_below() < held::PROMISED {
                    told::short_lived(held);
                }
                if let Some(ends) = fetched.login_ends_at {
                    told::login_ends(ends);
                }
                Ok(self.now().steady.saturating_sub(asked_at.steady))
            }
            Err(error) => {
                self.counts.fetch_failures += 1;
                let asked = match &error {
                    CliError::Client(ClientError::Throttled { seconds, .. }) => Duration::from_secs(*seconds),
                    _ => Duration::ZERO,
                };
                let now = self.now();
                let least_left = self.least_left(now).unwrap_or_default();
                let most = self.held.as_ref().map_or(BackOff::LONGEST, |held| held.patience(least_left));
                let most = if source::is_open(&error) { most.min(held::OPEN) } else { most };
                let wait = self.back_off.fail(now, most, asked, &SystemEntropy);
                told::not_fetched(&error, self.source.name(), wait);
                Err(error)
            }
        }
    }

    /// What was signed long before it was asked for is no answer of the service's, but a copy that something on the way has
    /// kept: it is not put in the place of a newer one. What is signed anew each time is the service's, whose clock was set.
    fn refuse_an_old_one(&mut self, fetched: Fetched) -> Result<Fetched, CliError> {
        let now = self.now();
        let is_old = if let Some(held) = &self.held {
            held.is_newer_by_far(&fetched.token, now)
        } else {
            let mut found = self.files.iter_mut().filter_map(|keeping| keeping.found_before(now));
            found.any(|found| found.is_newer_by_far_by_the_day(&fetched.token, now))
        };
        let signed_at = fetched.token.issued_at;
        if !is_old || self.refused.is_some_and(|refused| signed_at > refused) {
            self.refused = None;
            return Ok(fetched);
        }
        self.refused = Some(signed_at);
        let signed_at = signed_at.rfc3339();
        Err(CliError::Failed(format!(
            "what came was signed at {signed_at}, long before the token that is there: something between here and the service \
             keeps its answers, or the service's clock is wrong"
        )))
    }

    /// Puts what is held into the files that are due. One that cannot be written does not hold up the others. Says
    /// whether there was one to be written.
    async fn write(&mut self, due: &[bool]) -> bool {
        let now = self.now();
        let Some(held) = &self.held else { return false };
        // What is held and due itself is better than nothing, and no better than what is there.
        let (is_stale, is_over) = (held.is_stale(now), held.left(&held.token, now).is_zero());
        let mut did = false;
        for (keeping, _) in self.files.iter_mut().zip(due).filter(|(_, due)| **due) {
            if !keeping.back_off.is_over(now) || is_over || (is_stale && keeping.has_one_like(held)) {
                continue;
            }
            did = true;
            match keeping.keep(held, now).await {
                Ok(kept) => {
                    match kept {
                        Kept::Written(before) => {
                            self.counts.writes += 1;
                            told::written(keeping.file.path(), before, held, now, keeping.back_off.failures());
                        }
                        Kept::Left(expires_at) => {
                            self.counts.left += 1;
                            told::left(keeping.file.path(), expires_at);
                        }
                    }
                    keeping.back_off.reset();
                    keeping.trouble = None;
                }
                Err(error) => {
                    self.counts.write_failures += 1;
                    let most = held.patience(keeping.left(held, now).unwrap_or_default());
                    let wait = keeping.back_off.fail(now, most, Duration::ZERO, &SystemEntropy);
                    told::not_written(keeping.file.path(), &error.to_string(), wait);
                    keeping.trouble = Some(error.to_string());
                }
            }
        }
        did
    }

    /// Says once what the readers of tokens from before this agent can count on, while it has none itself.
    fn tell_level_before(&mut self, now: Moment) {
        let found = self.files.iter_mut().filter_map(|keeping| keeping.found_before(now));
        let lefts = found.map(|found| (found.left(&found.token, now), found.alarm_below()));
        // The worst of them, and within that the least.
        let worst = lefts
            .map(|(left, alarm_below)| (Level::of(Some(left), alarm_below), left))
            .max_by_key(|(level, left)| (*level, Reverse(*left)));
        let Some((level, left)) = worst else { return };
        if level != std::mem::replace(&mut self.level, level) {
            told::level(level, Some(left));
        }
    }

    /// The least that a reader of any file finds; None if one finds nothing.
    fn least_left(&mut self, now: Moment) -> Option<Duration> {
        let held = self.held.as_ref()?;
        let lefts = self.files.iter_mut().map(|keeping| keeping.left(held, now));
        lefts.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Says it when the readers can count on less than before, or on enough again.
    fn tell_level(&mut self, now: Moment) -> Option<Duration> {
        let least_left = self.least_left(now);
        // Before there is a token nobody counts on one, except on one that another agent has left.
        if let Some(held) = &self.held {
            let level = Level::of(least_left, held.alarm_below());
            if level != std::mem::replace(&mut self.level, level) {
                told::level(level, least_left);
            }
        } else {
            self.tell_level_before(now);
        }
        least_left
    }
}
