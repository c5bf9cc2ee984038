//! When a token has to be renewed, and which of two is the better one: by the service's clock, whatever this machine's
//! does.

use std::time::Duration;

use crate::{client::AccessToken, clock::Timestamp, entropy::Entropy};

/// What a reader of a kept file can count on.
pub(super) const PROMISED: Duration = Duration::from_mins(10);
/// A token with less left than this is renewed: two minutes for a service that does not answer at once.
const RENEW_BELOW: Duration = Duration::from_mins(12);
/// How far two clocks of one machine may drift apart between two renewals. By more one was set.
const DRIFT: Duration = Duration::from_secs(30);
/// No try comes sooner after one that failed, but the first few.
const SHORTEST: Duration = Duration::from_secs(5);
/// How old a token may be that is as good as one that is fetched now.
const NEWS: Duration = Duration::from_secs(5);
/// How long an answer that may be lost is waited for: well within the time for which the service repeats it.
pub(super) const OPEN: Duration = Duration::from_secs(12);
/// By how much the service's clock is set back at most: one that was ten minutes ahead is ten minutes behind. What is older
/// yet was signed long before it was asked for.
const SET_BACK: Duration = Duration::from_mins(25);
/// How often another one is asked for, if the time of day says that the one that came has ended.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// How far into the future a token may begin, as verifiers have it.
const LEEWAY: Duration = Duration::from_mins(1);

/// A moment by both of the machine's clocks: the one that people set, and the one that stands still in a suspended
/// machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    /// Since the agent began.
    pub(super) steady: Duration,
}

/// A token that was fetched, and when: what the service's clock showed then is in it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: AccessToken,
    asked_at: Moment,
    /// Whether those from before may be of no use any more, however much they have left.
    is_anew: bool,
}

impl Held {
    /// `asked_at` is before the service was asked, so that its answer's way counts as time gone by.
    pub(super) fn new(token: AccessToken, asked_at: Moment) -> Self {
        Self { token, asked_at, is_anew: false }
    }

    /// One that was fetched because somebody did something that may have ended those from before: they are replaced by it.
    pub(super) fn anew(token: AccessToken, asked_at: Moment) -> Self {
        Self { is_anew: true, ..Self::new(token, asked_at) }
    }

    /// A token that was in a file before the service could be asked: all that tells its age is the time of day.
    pub(super) fn by_time_of_day(token: AccessToken, now: Moment) -> Self {
        let asked_at = Moment { wall: token.issued_at, ..now };
        Self::new(token, asked_at)
    }

    /// Whether it is too old to tell of what has happened since a moment.
    pub(super) fn is_from_before(&self, moment: Moment) -> bool {
        self.asked_at.steady + NEWS < moment.steady
    }

    /// The token's whole life.
    pub(super) fn life(&self) -> Duration {
        self.token.expires_at.since(self.token.issued_at)
    }

    /// With less than this left a token is renewed. One that lives shorter than a quarter of an hour is renewed when a
    /// fifth of its life is over.
    pub(super) fn renew_below(&self) -> Duration {
        RENEW_BELOW.min(self.life() * 4 / 5)
    }

    /// With less than this left something is wrong.
    pub(super) fn alarm_below(&self) -> Duration {
        PROMISED.min(self.renew_below() * 5 / 6)
    }

    /// What the service's clock shows now, or less: of this machine's clocks the one counts that says later.
    fn service_time(&self, now: Moment) -> Timestamp {
        let steady = now.steady.saturating_sub(self.asked_at.steady);
        self.token.issued_at + steady.max(now.wall.since(self.asked_at.wall))
    }

    /// Whether it had ended when it came, by the time of day: that is wrong, or the token is from a copy that somebody
    /// between here and the service has kept.
    pub(super) fn came_too_late(&self) -> bool {
        self.asked_at.wall >= self.token.expires_at
    }

    /// Whether what has just come instead of this one was signed so long before it that it is no answer to what was asked.
    /// Once this one has ended, whatever comes is better.
    pub(super) fn is_newer_by_far(&self, than: &AccessToken, now: Moment) -> bool {
        let service_time = self.token.issued_at + now.steady.saturating_sub(self.asked_at.steady);
        service_time < self.token.expires_at && than.issued_at + SET_BACK < service_time
    }

    /// The same of a token that was in a file before the service could be asked, if it is good by the time of day.
    pub(super) fn is_newer_by_far_by_the_day(&self, than: &AccessToken, now: Moment) -> bool {
        let AccessToken { issued_at, expires_at, .. } = self.token;
        let is_good = (issued_at..expires_at).contains(&now.wall);
        is_good && than.is_about_the_same_as(&self.token) && than.issued_at + SET_BACK < issued_at
    }

    /// Whether one of the clocks was set since, or the machine was suspended: the service's may have been set with it. Or
    /// whether it is time to ask once more, where a clock is wrong.
    fn is_doubtful(&self, now: Moment) -> bool {
        let steady = now.steady.saturating_sub(self.asked_at.steady);
        if self.came_too_late() && steady >= ASK_AGAIN {
            return true;
        }
        let expected = self.asked_at.wall + steady;
        now.wall.since(expected).max(expected.since(now.wall)) > DRIFT
    }

    /// How much is left of a token.
    pub(super) fn left(&self, of: &AccessToken, now: Moment) -> Duration {
        of.expires_at.since(self.service_time(now))
    }

    /// How long a try that failed may be waited for after: short while the promise can still be kept.
    pub(super) fn patience(&self, least_left: Duration) -> Duration {
        let spare = least_left.saturating_sub(self.alarm_below());
        if spare.is_zero() { BackOff::LONGEST } else { (spare / 2).clamp(SHORTEST, BackOff::LONGEST) }
    }

    /// Whether the service has to be asked for another one.
    pub(super) fn is_stale(&self, now: Moment) -> bool {
        self.is_doubtful(now) || self.left(&self.token, now) < self.renew_below()
    }

    /// Whether what is in a file needs no renewing.
    pub(super) fn leaves(&self, found: &AccessToken, now: Moment) -> bool {
        !self.is_doubtful(now) && self.is_rival(found, now) && self.left(found, now) >= self.renew_below()
    }

    /// Whether what is in a file lives longer than this one: it is not replaced.
    pub(super) fn yields_to(&self, found: &AccessToken, now: Moment) -> bool {
        self.is_rival(found, now) && found.expires_at > self.token.expires_at
    }

    /// What a log calls a token that was in a file.
    pub(super) fn relation(&self, found: &AccessToken) -> &'static str {
        if found.differs_in_its_signature_from(&self.token) {
            "a damaged token"
        } else if found.is_about_the_same_as(&self.token) {
            "token"
        } else {
            "token of another"
        }
    }

    /// Whether it is for the same, and not damaged, and has begun, and is not one of those that may have ended. A token from
    /// before the service's clock was set back has not begun.
    fn is_rival(&self, found: &AccessToken, now: Moment) -> bool {
        found.is_about_the_same_as(&self.token)
            && !found.differs_in_its_signature_from(&self.token)
            && found.not_before <= self.service_time(now) + LEEWAY
            && (!self.is_anew || found.issued_at + NEWS >= self.token.issued_at)
    }
}

/// How long to wait before the next try: 1 s, 2, 4 … 60 s, each up to a half shorter, so that many agents do not come at
/// once.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
    until: Duration,
}

impl BackOff {
    /// Nobody waits longer.
    pub(super) const LONGEST: Duration = Duration::from_mins(1);

    /// It went well.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// It failed; says how long to wait now: at most `most`, but for as long as the service asks for.
    pub(super) fn fail(&mut self, now: Moment, most: Duration, asked: Duration, entropy: &dyn Entropy) -> Duration {
        let whole = Duration::from_secs(1 << self.failures.min(6)).min(most);
        self.failures = self.failures.saturating_add(1);
        let share = u32::from(u16::from_be_bytes(entropy.bytes()));
        let wait = whole / 2 + whole / 2 * share / u32::from(u16::MAX);
        let wait = wait.max(asked.min(Self::LONGEST));
        self.until = now.steady + wait;
        wait
    }

    /// Whether it may be tried now.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        now.steady >= self.until
    }

    /// How often it failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;
    use crate::entropy::SystemEntropy;

    fn token(issued_at: u64, life: u64) -> AccessToken {
        token_of("ada", issued_at, life)
    }

    fn token_of(subject: &str, issued_at: u64, life: u64) -> AccessToken {
        let claims = serde_json::json!({
            "iss": "i", "sub": subject, "iat": issued_at, "nbf": issued_at, "exp": issued_at + life
        });
        let [header, claims] =
            [r#"{"alg":"x","typ":"at+jwt"}"#, &claims.to_string()].map(|of| URL_SAFE_NO_PAD.encode(of));
        AccessToken::parse(&format!("{header}.{claims}.c2ln")).unwrap()
    }

    fn moment(wall: u64, steady: u64) -> Moment {
        Moment { wall: Timestamp(wall), steady: Duration::from_secs(steady) }
    }

    #[test]
    fn a_token_is_renewed_with_less_than_twelve_minutes_left() {
        // This machine's clock is an hour behind the service's.
        let held = Held::new(token(10_000, 1800), moment(6400, 0));
        assert!(!held.is_stale(moment(6400 + 1080, 1080)) && held.is_stale(moment(6400 + 1081, 1081)));
        assert_eq!(held.left(&held.token, moment(6400 + 1080, 1080)), Duration::from_mins(12));
        assert_eq!((held.renew_below().as_secs(), held.alarm_below().as_secs()), (720, 600));
        let short = Held::new(token(10_000, 20), moment(0, 0));
        assert_eq!(
            (short.renew_below().as_secs(), short.is_stale(moment(4, 4)), short.is_stale(moment(5, 5))),
            (16, false, true)
        );
        let usual = Held::new(token(10_000, 900), moment(0, 0));
        assert_eq!(usual.renew_below(), Duration::from_mins(12));
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_never_lengthens_a_life() {
        let held = Held::new(token(10_000, 1800), moment(10_000, 0));
        for (wall, steady, left) in [(9_500, 100, 1700), (10_700, 100, 1100), (10_131, 100, 1669)] {
            assert!(held.is_stale(moment(wall, steady)), "{wall}");
            assert_eq!(held.left(&held.token, moment(wall, steady)).as_secs(), left, "{wall}");
        }
        assert!(!held.is_stale(moment(10_130, 100)) && !held.is_stale(moment(10_070, 100)), "clocks drift a little");
    }

    #[test]
    fn the_longer_lived_of_two_stays_if_it_is_good() {
        let held = Held::new(token(10_000, 1800), moment(0, 0));
        let now = moment(10, 10);
        assert!(held.yields_to(&token(10_001, 1800), now) && held.leaves(&token(10_001, 1800), now));
        assert!(held.yields_to(&token(9_000, 86_400), now) && !held.yields_to(&token(10_000, 1800), now));
        assert!(!held.yields_to(&token(9_999, 1800), now) && held.leaves(&token(9_999, 1800), now));
        assert!(!held.leaves(&token(9_000, 1600), now), "too little is left");
        for other in [token_of("eve", 10_000, 9000), token(10_100, 1800)] {
            assert!(!held.yields_to(&other, now) && !held.leaves(&other, now), "another's, or not begun: {other:?}");
        }
    }

    #[test]
    fn one_that_was_fetched_anew_replaces_whatever_is_older() {
        let held = Held::anew(token(10_000, 900), moment(0, 100));
        let now = moment(0, 101);
        for (issued_at, life, stays) in [(9_994, 86_400, false), (9_995, 1800, true), (10_001, 1800, true)] {
            let found = token(issued_at, life);
            assert_eq!((held.yields_to(&found, now), held.leaves(&found, now)), (stays, stays), "{issued_at}");
        }
        assert!(held.is_from_before(moment(0, 106)) && !held.is_from_before(moment(0, 105)));
    }

    #[test]
    fn an_answer_that_is_not_of_now_is_told_from_a_clock_that_was_set() {
        let held = Held::new(token(10_000, 1800), moment(10_000, 0));
        let now = moment(10_600, 600);
        for (issued_at, is_old) in [(10_600, false), (9_400, false), (9_100, false), (9_099, true), (0, true)] {
            assert_eq!(held.is_newer_by_far(&token(issued_at, 1800), now), is_old, "{issued_at}");
        }
        assert!(!held.is_newer_by_far(&token(0, 1800), moment(11_800, 1800)), "nothing better is left");
        let found = Held::by_time_of_day(token(10_000, 1800), now);
        for (issued_at, is_old) in [(10_600, false), (8_500, false), (8_499, true)] {
            assert_eq!(found.is_newer_by_far_by_the_day(&token(issued_at, 1800), now), is_old, "{issued_at}");
        }
        assert!(!found.is_newer_by_far_by_the_day(&token(0, 1800), moment(11_800, 9)), "it has ended");
        assert!(!found.is_newer_by_far_by_the_day(&token(0, 1800), moment(9_999, 9)), "its clock was ahead");
        // The first one: what has ended by the time of day is asked for once more every minute.
        let late = Held::new(token(10_000, 1800), moment(11_800, 0));
        assert!(late.came_too_late() && !late.is_stale(moment(11_859, 59)) && late.is_stale(moment(11_860, 60)));
        assert!(late.leaves(&late.token, moment(11_859, 59)) && !late.leaves(&late.token, moment(11_860, 60)));
        assert!(!Held::new(token(10_000, 1800), moment(11_799, 0)).came_too_late());
    }

    #[test]
    fn a_token_that_is_signed_otherwise_is_damaged() {
        let held = Held::new(token(10_000, 1800), moment(10_000, 0));
        let text = held.token.token.expose().replace("c2ln", "c2lm");
        let damaged = AccessToken::parse(&text).unwrap();
        let now = moment(10_001, 1);
        assert!(!held.leaves(&damaged, now) && !held.yields_to(&damaged, now) && held.leaves(&held.token, now));
        assert_eq!(held.relation(&damaged), "a damaged token");
    }

    #[test]
    fn before_the_service_was_asked_the_time_of_day_tells_a_token_s_age() {
        for (wall, left) in [(10_000, 1800), (11_300, 500), (11_800, 0), (99_999, 0), (9_000, 1800)] {
            let held = Held::by_time_of_day(token(10_000, 1800), moment(wall, 7));
            assert_eq!(held.left(&held.token, moment(wall, 7)).as_secs(), left, "{wall}");
        }
    }

    /// Days of an agent: its clock is set, the service is away for up to a minute and a half at a time, its answers take
    /// up to 10 s. What a reader finds is judged by the service's clock.
    #[test]
    fn however_the_clock_is_set_ten_minutes_are_left_at_every_second() {
        let random = |most: u64| u64::from_be_bytes((&SystemEntropy as &dyn Entropy).bytes()) % most;
        let (mut wall_ahead, mut away_until, mut least, mut failures) = (1000, 0, u64::MAX, 0);
        let mut in_file = token(0, 1800);
        let mut held = Held::new(in_file.clone(), moment(1000, 0));
        let (mut back_off, mut sets, mut outages, mut answer) = (BackOff::default(), 0, 0, None);
        for second in 1..4 * 86_400 {
            if random(1200) == 0 {
                wall_ahead = 400 + random(1201);
                sets += 1;
            }
            if second > away_until + 300 && random(1200) == 0 {
                away_until = second + random(90);
                outages += 1;
            }
            let now = moment(wall_ahead + second, second);
            match answer.take() {
                Some((at, asked_at)) if at == second => {
                    if second < away_until {
                        let most = held.patience(held.left(&in_file, now));
                        back_off.fail(now, most, Duration::ZERO, &SystemEntropy);
                        failures += 1;
                    } else {
                        back_off.reset();
                        held = Held::new(token(second, 1800), asked_at);
                        if !held.yields_to(&in_file, now) {
                            in_file = held.token.clone();
                        }
                    }
                }
                None if !held.leaves(&in_file, now) && back_off.is_over(now) => {
                    answer = Some((second + 1 + random(10), now));
                }
                waited => answer = waited,
            }
            least = least.min(in_file.expires_at.since(Timestamp(second)).as_secs());
        }
        let history = format!("set {sets} times, {outages} outages, {failures} failures, {least} s left");
        assert!(sets > 100 && outages > 50 && failures > 10 && (600..720).contains(&least), "{history}");
    }

    #[test]
    fn waits_grow_to_a_minute_and_differ() {
        let mut back_off = BackOff::default();
        let (mut waits, mut now) = (Vec::new(), moment(0, 0));
        for failures in 1..=40 {
            let wait = back_off.fail(now, BackOff::LONGEST, Duration::ZERO, &SystemEntropy);
            assert!(!back_off.is_over(now) && back_off.failures() == failures);
            now.steady += wait;
            assert!(back_off.is_over(now));
            let whole = Duration::from_secs(60_u64.min(1 << (failures - 1).min(6)));
            assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
            waits.push(wait);
        }
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 20, "{waits:?}");
        assert_eq!(back_off.fail(now, SHORTEST, Duration::from_hours(9), &SystemEntropy), BackOff::LONGEST);
        assert!(back_off.fail(now, SHORTEST, Duration::ZERO, &SystemEntropy) <= SHORTEST);
        back_off.reset();
        assert_eq!(back_off.fail(now, SHORTEST, Duration::from_secs(7), &SystemEntropy), Duration::from_secs(7));
    }
}
