//! What becomes of a presented refresh token. Pure: the caller has read the row and does the writing.

use std::time::Duration;

use super::{Generation, Session};
use crate::clock::Timestamp;

/// How much longer than the reuse window a token one behind is merely refused, before it counts as a replay.
const LATE: Duration = Duration::from_mins(1);

/// What becomes of a presented refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the current one: the session moves to this generation.
    Rotate(Generation),
    /// It was used a moment ago: its user lost the reply, and gets the same successor again.
    Repeat,
    /// It was used a little while ago: refused, and the session stands.
    Late,
    /// It was used long ago, or was never given out: somebody else has it. The session ends.
    Replay,
    /// The session's time has come.
    Expired,
    /// Its MAC is right, but under a pepper that this token of the session was not made with: somebody has an old pepper.
    /// Refused, and the session stands.
    Forged,
}

/// Judges the generation of an authentic token against its session (OAuth 2.0 Security BCP, RFC 9700 §4.14.2).
///
/// `reuse_window` is the age up to which a retry gets the same successor; the age of the current token is
/// `max(0, now − rotated_at)`, so a clock that is behind errs towards the retry.
///
/// A token is `presented` by its generation and the id of its pepper: of the current token and of the one before it the
/// session knows which pepper they were made with, so an old pepper opens no session that has moved on to another.
pub fn decide(session: &Session, presented: (Generation, u8), now: Timestamp, reuse_window: Duration) -> Verdict {
    let (presented, pepper) = presented;
    if session.is_over(now) {
        return Verdict::Expired;
    }
    let made_with = match session.generation {
        current if presented >= current => Some(session.pepper),
        current if presented.next() == Some(current) => session.pepper_before,
        _ => None,
    };
    if made_with.is_some_and(|made_with| made_with != pepper) {
        return Verdict::Forged;
    }
    if presented == session.generation {
        return presented.next().map_or(Verdict::Expired, Verdict::Rotate);
    }
    let age = now.since(session.rotated_at);
    if presented.next() == Some(session.generation) {
        if age < reuse_window {
            return Verdict::Repeat;
        }
        if age < reuse_window + LATE {
            return Verdict::Late;
        }
    }
    Verdict::Replay
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        grant::Scope,
        ids::{AccountKey, Epoch, Name, SessionId, Uid},
    };

    const OPENED: Timestamp = Timestamp(1_000_000);
    const WINDOW: Duration = Duration::from_secs(30);

    fn session(generation: u32, rotated_at: Timestamp) -> Session {
        Session {
            id: SessionId([1; 16]),
            account: AccountKey::of("ada"),
            uid: Uid([2; 16]),
            epoch: Epoch(0),
            client: Name::parse("gatemint", "client_id").unwrap(),
            client_uid: Uid([0; 16]),
            client_epoch: Epoch(0),
            scope: Scope::default(),
            opened_at: OPENED,
            generation: Generation(generation),
            pepper: 2,
            pepper_before: Some(1),
            rotated_at,
            ends_at: OPENED + Duration::from_hours(7 * 24),
        }
    }

    /// A token of the session as it was made: up to generation 4 with pepper 1, from then on with pepper 2.
    fn token(generation: u32) -> (Generation, u8) {
        (Generation(generation), if generation < 5 { 1 } else { 2 })
    }

    #[test]
    fn a_pepper_that_the_session_has_left_behind_opens_nothing() {
        let row = session(5, OPENED);
        let with = |generation: u32, pepper: u8| decide(&row, (Generation(generation), pepper), OPENED, WINDOW);
        assert_eq!([with(5, 1), with(5, 3), with(6, 1), with(4, 2), with(4, 3)], [Verdict::Forged; 5]);
        assert_eq!([with(5, 2), with(4, 1)], [Verdict::Rotate(Generation(6)), Verdict::Repeat]);
        // Of older ones the session does not know: whatever they are, they are too old.
        assert_eq!([with(3, 1), with(3, 2)], [Verdict::Replay; 2]);
        let unknown = Session { pepper_before: None, ..row.clone() };
        assert_eq!(decide(&unknown, (Generation(4), 1), OPENED, WINDOW), Verdict::Repeat);
    }

    #[test]
    fn a_token_is_judged_by_its_generation_and_the_age_of_its_successor() {
        let row = session(5, OPENED);
        let at = |presented: u32, age: u64| decide(&row, token(presented), OPENED + Duration::from_secs(age), WINDOW);
        assert_eq!(at(5, 0), Verdict::Rotate(Generation(6)));
        assert_eq!(at(5, 86_400), Verdict::Rotate(Generation(6)));
        assert_eq!([at(4, 0), at(4, 29)], [Verdict::Repeat; 2]);
        assert_eq!([at(4, 30), at(4, 89)], [Verdict::Late; 2]);
        assert_eq!([at(4, 90), at(4, 86_400)], [Verdict::Replay; 2]);
        assert_eq!([at(3, 0), at(0, 0), at(6, 0), at(u32::MAX, 0)], [Verdict::Replay; 4]);
    }

    #[test]
    fn a_clock_that_is_behind_errs_towards_the_retry() {
        let row = session(5, OPENED + Duration::from_secs(100));
        assert_eq!(decide(&row, token(4), OPENED, WINDOW), Verdict::Repeat);
    }

    #[test]
    fn without_a_window_a_retry_is_late_at_once() {
        assert_eq!(decide(&session(5, OPENED), token(4), OPENED, Duration::ZERO), Verdict::Late);
    }

    #[test]
    fn an_ended_session_is_expired_whatever_is_presented() {
        let row = session(5, OPENED);
        for presented in [3, 4, 5, 6] {
            assert_eq!(decide(&row, token(presented), row.ends_at, WINDOW), Verdict::Expired);
        }
    }

    #[test]
    fn the_last_generation_is_the_end() {
        assert_eq!(decide(&session(u32::MAX, OPENED), (Generation(u32::MAX), 2), OPENED, WINDOW), Verdict::Expired);
    }
}
