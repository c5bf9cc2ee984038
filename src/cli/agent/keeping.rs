//! One of an agent's files: whether it is fresh, and putting a token there.

use std::{io, time::Duration};

use super::{
    held::{BackOff, Held, Moment},
    kept_file::{Found, KeptFile},
};
use crate::{client::AccessToken, clock::Timestamp, entropy::SystemEntropy};

/// How long another agent that keeps the same file is waited for.
const TURN: Duration = Duration::from_secs(2);
/// How long a file is left as somebody else has written it just after this agent has.
const REST: Duration = Duration::from_secs(5);
const NOT_OURS: &str = "it holds something else than a token, which is not replaced; move it away";

/// A file, and how keeping it goes.
pub(super) struct Keeping {
    pub(super) file: KeptFile,
    pub(super) back_off: BackOff,
    /// When it was written last.
    written_at: Option<Moment>,
    /// Since when there is nothing.
    gone_since: Option<Moment>,
    /// What went wrong last.
    pub(super) trouble: Option<String>,
}

impl Keeping {
    pub(super) fn new(file: KeptFile) -> Self {
        Self { file, back_off: BackOff::default(), written_at: None, gone_since: None, trouble: None }
    }

    /// Looks at the file before anything is fetched for it, and remembers what is wrong.
    pub(super) fn first_look(&mut self) {
        self.trouble = match self.file.look() {
            Ok(Found::Other) => Some(NOT_OURS.to_owned()),
            Ok(_) => self.file.draft(&SystemEntropy).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
    }

    /// Whether there is nothing to be done for it. What cannot be looked at is found out when it is written.
    pub(super) fn is_fresh(&mut self, held: Option<&Held>, now: Moment) -> bool {
        let is_new = self.written_at.is_some_and(|written| now.steady.saturating_sub(written.steady) < REST);
        match (self.file.look(), held) {
            (Ok(Found::Token(found)), Some(held)) if held.leaves(found, now) => is_new || !self.file.has_a_wrong_mode(),
            // Two that keep it for two accounts would write it all the time.
            (Ok(Found::Token(_) | Found::Torn), Some(held)) => is_new && !held.is_stale(now),
            _ => false,
        }
    }

    /// Whether somebody has taken away the token since what is held was fetched: it may have ended.
    pub(super) fn asks_for_another(&mut self, held: &Held, now: Moment) -> bool {
        if matches!(self.file.look(), Ok(Found::Nothing)) {
            return held.is_from_before(*self.gone_since.get_or_insert(now));
        }
        self.gone_since = None;
        false
    }

    /// What is there, with the time of day alone to tell its age; none if it is no token.
    pub(super) fn found_before(&mut self, now: Moment) -> Option<Held> {
        match self.file.look() {
            Ok(Found::Token(found)) => Some(Held::by_time_of_day(AccessToken::clone(found), now)),
            _ => None,
        }
    }

    /// How much its readers can count on, if that is known.
    pub(super) fn left(&mut self, held: &Held, now: Moment) -> Option<Duration> {
        match self.file.look() {
            Ok(Found::Token(found)) => Some(held.left(found, now)),
            _ => None,
        }
    }

    /// Whether there is a token of the same account, however old.
    pub(super) fn has_one_like(&mut self, held: &Held) -> bool {
        matches!(self.file.look(), Ok(Found::Token(found)) if found.is_about_the_same_as(&held.token))
    }

    /// Puts a token there, unless a better one is there.
    pub(super) async fn keep(&mut self, held: &Held, now: Moment) -> io::Result<Kept> {
        let _turn = self.file.turn(TURN).await?;
        let before = match self.file.look()? {
            Found::Token(found) if held.yields_to(found, now) => {
                let expires_at = found.expires_at;
                match self.file.set_mode() {
                    Ok(()) => {
                        self.written_at = Some(now);
                        return Ok(Kept::Left(expires_at));
                    }
                    // Somebody else's file: one of one's own takes its place.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !held.is_stale(now) => "token",
                    Err(error) => return Err(error),
                }
            }
            Found::Token(found) => held.relation(found),
            Found::Nothing => "nothing",
            Found::Torn => "a piece of a token",
            Found::Other => return Err(io::Error::other(NOT_OURS)),
        };
        self.file.replace(held.token.token.expose(), &SystemEntropy)?;
        self.written_at = Some(now);
        Ok(Kept::Written(before))
    }
}

/// What became of a file.
pub(super) enum Kept {
    /// With what was there before.
    Written(&'static str),
    /// With when what is there ends.
    Left(Timestamp),
}
