//! `gatemint agent`: keeps files with a token that is always fresh.
//!
//! Whoever reads a file finds a whole token with ten minutes left, at any moment, as long as the service can be reached
//! and the file can be written. What cannot be done is told and tried again; what is in a file stays until there is
//! something better.

mod held;
mod kept_file;
mod source;
mod told;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    held::{BackOff, Held, Moment},
    kept_file::{Found, KeptFile},
    source::{FreshSecret, RefreshFile, Source},
    told::{Counts, Level},
};
use super::{CliError, Global, login::over_http, output};
use crate::{
    client::ClientError,
    clock::{Clock, SystemClock, Timestamp},
    entropy::SystemEntropy,
    settings::Settings,
};

/// Where the original has it, and its users' programs read it.
const USUAL_FILE: &str = "/etc/secrets/ezua/.auth_token";
/// How often the clocks and the files are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long another agent that keeps the same file is waited for.
const TURN: Duration = Duration::from_secs(2);
/// How long a file is left as somebody else has written it just after this agent has.
const REST: Duration = Duration::from_secs(5);
/// How long a fetch that is under way may take after SIGTERM: it may have used up a refresh token.
const GRACE: Duration = Duration::from_secs(20);

pub(super) const EXAMPLES: &str = "\
Examples:
  gatemint agent --file ~/.auth_token
  gatemint agent --token-file ada-ci.token --file /run/gatemint/.auth_token --mode 0640
  gatemint agent --refresh-token-file refresh-token.txt --url https://auth.example.org --file token
  gatemint agent --once --file token

Every reader finds a whole token with at least ten minutes left: a new one takes the old one's place in one step when that has
less than twelve. The secret is one's own namespace's; somebody else's takes `read` on secret://CLUSTER/NS/access-token. For
months a login has to be an offline one: gatemint login --offline. SIGTERM ends the agent; the files stay.";

#[derive(Args)]
pub(super) struct Agent {
    /// A file to keep; may be given again
    #[arg(long = "file", value_name = "PATH", default_value = USUAL_FILE)]
    files: Vec<PathBuf>,
    /// The files' permission bits, in octal
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    mode: u32,
    /// Fetch and write once, and end
    #[arg(long)]
    once: bool,
    /// What to keep: the secret that is always fresh, or the access token of a session of one's own [default: secret, and
    /// refresh-token with --refresh-token-file]
    #[arg(long, value_name = "SOURCE")]
    from: Option<Origin>,
    /// Whose secret, by namespace [default: one's own]
    #[arg(short = 'n', long, value_name = "NS")]
    namespace: Option<String>,
    /// A file with a service account's long-lived token, to ask with instead of the login
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with a refresh token, to use instead of the login; each next one takes its place
    #[arg(long, value_name = "FILE", conflicts_with_all = ["namespace", "token_file"])]
    refresh_token_file: Option<PathBuf>,
    /// The OAuth client that the refresh token is from
    #[arg(long, value_name = "CLIENT_ID", default_value = "gatemint", requires = "refresh_token_file")]
    client_id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Origin {
    Secret,
    RefreshToken,
}

/// Permission bits that let nobody but the owner write.
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && bits & !0o755 == 0);
    bits.filter(|bits| bits & 0o400 != 0).ok_or_else(|| {
        "octal permission bits that let the owner read and nobody else write, e.g. 0600, 0640 or 0444".into()
    })
}

impl Agent {
    pub(super) async fn run(self, global: &Global, settings: &Settings) -> Result<(), CliError> {
        over_http(global, "agent")?;
        let source = self.source(global)?;
        output::start_log(settings, "info")?;
        output::log_panics();
        let files = self.files.iter().map(|path| Keeping::new(KeptFile::new(path.clone(), self.mode))).collect();
        let mut keeper = Keeper {
            global,
            source,
            files,
            held: None,
            back_off: BackOff::default(),
            level: Level::Good,
            counts: Counts::default(),
            began: steady_clock(),
        };
        keeper.first_look()?;
        if self.once { keeper.once().await } else { keeper.keep_on(StopSignals::listen()?).await }
    }

    fn source(&self, global: &Global) -> Result<Source, CliError> {
        let only = |option: &str, from: &str| Err(CliError::Usage(format!("{option} goes with --from {from} only")));
        let from = self.from.unwrap_or(match self.refresh_token_file {
            Some(_) => Origin::RefreshToken,
            None => Origin::Secret,
        });
        match (from, &self.refresh_token_file) {
            (Origin::Secret, Some(_)) => only("--refresh-token-file", "refresh-token"),
            (Origin::Secret, None) => {
                Ok(Source::Secret(FreshSecret::new(self.namespace.clone(), self.token_file.clone())))
            }
            (Origin::RefreshToken, _) if self.namespace.is_some() => only("--namespace", "secret"),
            (Origin::RefreshToken, _) if self.token_file.is_some() => only("--token-file", "secret"),
            (Origin::RefreshToken, Some(path)) => {
                Ok(Source::RefreshFile(Box::new(RefreshFile::new(path.clone(), self.client_id.clone(), global))))
            }
            (Origin::RefreshToken, None) => Ok(Source::Login),
        }
    }
}

/// What asks the agent to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on the signals do not end the process by themselves.
    fn listen() -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::Failed(error.to_string());
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A file, and how keeping it goes.
struct Keeping {
    file: KeptFile,
    back_off: BackOff,
    /// Whether it is ours to write: it was looked at, and held a token or nothing.
    is_ours: bool,
    /// When it was written last.
    written_at: Option<Moment>,
    /// What went wrong last.
    trouble: Option<String>,
}

impl Keeping {
    fn new(file: KeptFile) -> Self {
        Self { file, back_off: BackOff::default(), is_ours: false, written_at: None, trouble: None }
    }

    /// Whether there is nothing to be done for it. What cannot be looked at is found out when it is written.
    fn is_fresh(&mut self, held: Option<&Held>, now: Moment) -> bool {
        let is_new = self.written_at.is_some_and(|written| now.steady.saturating_sub(written.steady) < REST);
        match (self.file.look(), held) {
            (Ok(Found::Token(found)), Some(held)) if held.leaves(found, now) => true,
            // Two that keep it for two accounts would write it all the time.
            (Ok(Found::Token(_) | Found::Torn | Found::Other), Some(held)) => is_new && !held.is_stale(now),
            _ => false,
        }
    }

    /// How much its readers can count on, if that is known.
    fn left(&mut self, held: &Held, now: Moment) -> Option<Duration> {
        match self.file.look() {
            Ok(Found::Token(found)) => Some(held.left(found, now)),
            _ => None,
        }
    }

    /// Puts a token there, unless a better one is there.
    async fn keep(&mut self, held: &Held, now: Moment) -> std::io::Result<Kept> {
        let turn = self.file.turn(TURN).await?;
        let before = match self.file.look()? {
            Found::Token(found) if held.yields_to(found, now) => return Ok(Kept::Left(found.expires_at)),
            Found::Token(found) => held.relation(found),
            Found::Nothing => "nothing",
            Found::Torn => "a piece of a token",
            Found::Other if self.is_ours => "something else",
            Found::Other => return Err(std::io::Error::other(NOT_OURS)),
        };
        self.is_ours = true;
        self.file.draft(turn.as_ref(), &SystemEntropy)?.keep(held.token.token.expose())?;
        self.written_at = Some(now);
        Ok(Kept::Written(before))
    }
}

const NOT_OURS: &str = "it holds something else than a token, which is not replaced; move it away";

enum Kept {
    /// With what was there before.
    Written(&'static str),
    /// With when what is there ends.
    Left(Timestamp),
}

/// The agent at work.
struct Keeper<'a> {
    global: &'a Global,
    source: Source,
    files: Vec<Keeping>,
    held: Option<Held>,
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

impl Keeper<'_> {
    fn now(&self) -> Moment {
        Moment { wall: SystemClock.now(), steady: steady_clock().saturating_duration_since(self.began) }
    }

    /// What is wrong with all files before anything is fetched ends the agent: somebody has to do something.
    fn first_look(&mut self) -> Result<(), CliError> {
        for Keeping { file, is_ours, trouble, .. } in &mut self.files {
            let why = match file.look() {
                Ok(Found::Other) => Some(NOT_OURS.to_owned()),
                Ok(_) => file.draft(None, &SystemEntropy).err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            *is_ours = why.is_none();
            *trouble = why;
        }
        if self.files.iter().all(|keeping| keeping.trouble.is_some()) { Err(self.troubles()) } else { Ok(()) }
    }

    /// What is wrong with the files.
    fn troubles(&self) -> CliError {
        let of = |keeping: &Keeping| Some(format!("{}: {}", keeping.file.path().display(), keeping.trouble.as_ref()?));
        CliError::Failed(self.files.iter().filter_map(of).collect::<Vec<_>>().join("\n"))
    }

    async fn once(mut self) -> Result<(), CliError> {
        self.round().await?;
        if self.files.iter().any(|keeping| keeping.trouble.is_some()) { Err(self.troubles()) } else { Ok(()) }
    }

    async fn keep_on(mut self, mut stop: StopSignals) -> Result<(), CliError> {
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
        let due: Vec<bool> = self.files.iter_mut().map(|keeping| !keeping.is_fresh(held, now)).collect();
        let can = self.files.iter().zip(&due).any(|(keeping, due)| *due && keeping.back_off.is_over(now));
        let mut fetched = Ok(None);
        if can && self.held.as_ref().is_none_or(|held| held.is_stale(now)) {
            if !self.back_off.is_over(now) {
                self.tell_level(now);
                return Ok(());
            }
            fetched = self.fetch(now).await.map(Some);
        }
        let did = match &fetched {
            Ok(_) => self.write(&due).await,
            Err(_) => true,
        };
        let now = self.now();
        let least_left = self.tell_level(now);
        if did {
            self.counts.tell(self.files.len(), fetched.as_ref().ok().copied().flatten(), least_left);
        }
        fetched.map(|_| ())
    }

    /// Fetches a token; says how long that took.
    async fn fetch(&mut self, asked_at: Moment) -> Result<Duration, CliError> {
        match self.source.fetch(self.global).await {
            Ok(fetched) => {
                let is_first = self.held.is_none();
                let held = self.held.insert(Held::new(fetched.token, asked_at));
                self.counts.fetches += 1;
                self.back_off.reset();
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
                let wait = self.back_off.fail(now, most, asked, &SystemEntropy);
                told::not_fetched(&error, self.source.name(), wait);
                Err(error)
            }
        }
    }

    /// Puts what is held into the files that are due. One that cannot be written does not hold up the others. Says
    /// whether there was one to be written.
    async fn write(&mut self, due: &[bool]) -> bool {
        let now = self.now();
        let Some(held) = &self.held else { return false };
        let mut did = false;
        for (keeping, _) in self.files.iter_mut().zip(due).filter(|(_, due)| **due) {
            if !keeping.back_off.is_over(now) {
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

    /// The least that a reader of any file finds; None if one finds nothing.
    fn least_left(&mut self, now: Moment) -> Option<Duration> {
        let held = self.held.as_ref()?;
        let lefts = self.files.iter_mut().map(|keeping| keeping.left(held, now));
        lefts.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Says it when the readers can count on less than before, or on enough again.
    fn tell_level(&mut self, now: Moment) -> Option<Duration> {
        let least_left = self.least_left(now);
        // Before there is a token nobody counts on one.
        if let Some(held) = &self.held {
            let level = match least_left {
                Some(left) if left >= held.alarm_below() => Level::Good,
                Some(left) if !left.is_zero() => Level::Low,
                _ => Level::Over,
            };
            if level != std::mem::replace(&mut self.level, level) {
                told::level(level, least_left);
            }
        }
        least_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_lets_the_owner_read_and_nobody_else_write() {
        for (text, bits) in [("0600", 0o600), ("640", 0o640), ("0444", 0o444), ("400", 0o400), ("0644", 0o644)] {
            assert_eq!(mode(text), Ok(bits), "{text}");
        }
        for wrong in ["", "0660", "0602", "0200", "1600", "4755", "8", "rw", "-600", "+600", "00600", "0o600"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
