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
}

/// Judges the generation of an authentic token against its session (OAuth 2.0 Security BCP, RFC 9700 §4.14.2).
///
/// `reuse_window` is the age up to which a retry gets the same successor; the age of the current token is
/// `max(0, now − rotated_at)`, so a clock that is behind errs towards the retry.
pub fn decide(session: &Session, presented: Generation, now: Timestamp, reuse_window: Duration) -> Verdict {
    if session.is_over(now) {
        return Verdict::Expired;
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
            pepper: 1,
            rotated_at,
            ends_at: OPENED + Duration::from_hours(7 * 24),
        }
    }

    #[test]
    fn a_token_is_judged_by_its_generation_and_the_age_of_its_successor() {
        let row = session(5, OPENED);
        let at =
            |presented: u32, age: u64| decide(&row, Generation(presented), OPENED + Duration::from_secs(age), WINDOW);
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
        assert_eq!(decide(&row, Generation(4), OPENED, WINDOW), Verdict::Repeat);
    }

    #[test]
    fn without_a_window_a_retry_is_late_at_once() {
        assert_eq!(decide(&session(5, OPENED), Generation(4), OPENED, Duration::ZERO), Verdict::Late);
    }

    #[test]
    fn an_ended_session_is_expired_whatever_is_presented() {
        let row = session(5, OPENED);
        for presented in [3, 4, 5, 6] {
            assert_eq!(decide(&row, Generation(presented), row.ends_at, WINDOW), Verdict::Expired);
        }
    }

    #[test]
    fn the_last_generation_is_the_end() {
        assert_eq!(decide(&session(u32::MAX, OPENED), Generation(u32::MAX), OPENED, WINDOW), Verdict::Expired);
    }
}
