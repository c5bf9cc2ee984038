//! Random interleavings of clients, retries, lost replies and crashes, against a slow, obvious model of a session.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use axum::http::{Method, StatusCode};
use proptest::prelude::*;

use super::generation;
use crate::support::{Answer, TestService, Tokens, watched::Fault};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody presents the token that is so many generations behind the newest one ever seen.
    Refresh { behind: u32, fault: Option<Fault> },
    /// Several do, at the same moment.
    AtOnce(Vec<u32>),
    /// Time passes.
    Wait(u64),
    /// The process dies, and another one takes over.
    Crash,
    /// The owner signs out with some token.
    Revoke { behind: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly the newest token or the one before: older ones end the session, and then little more can be seen.
    let behind = || prop_oneof![12 => Just(0u32), 6 => Just(1), 1 => 2u32..5];
    let fault = prop_oneof![6 => Just(None), 1 => Just(Some(Fault::LostReply)), 1 => Just(Some(Fault::Refused))];
    let wait = prop_oneof![4 => 0u64..35, 2 => 25u64..100, 1 => Just(3 * 86_400)];
    let step = prop_oneof![
        8 => (behind(), fault).prop_map(|(behind, fault)| Step::Refresh { behind, fault }),
        4 => prop::collection::vec(behind(), 2..4).prop_map(Step::AtOnce),
        4 => wait.prop_map(Step::Wait),
        1 => Just(Step::Crash),
        1 => behind().prop_map(|behind| Step::Revoke { behind }),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a refresh must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The token of this generation.
    Successor(u32),
    AlreadyUsed,
    Ended,
    Expired,
}

/// The session as a list of all that ever happened to it.
#[derive(Clone, Debug)]
struct Model {
    /// When each generation's token was made; its length is one more than the current generation.
    made_at: Vec<u64>,
    opened_at: u64,
    ended: bool,
}

impl Model {
    fn refresh(&mut self, presented: u32, now: u64) -> Outcome {
        let current = u32::try_from(self.made_at.len()).unwrap() - 1;
        let made_at = *self.made_at.last().unwrap();
        let ends_at = (made_at + 7 * 86_400).min(self.opened_at + 30 * 86_400);
        // A day after its end nothing is known of a session any more.
        if self.ended || now >= ends_at + 86_400 {
            return Outcome::Ended;
        }
        if now >= ends_at {
            return Outcome::Expired;
        }
        if presented == current {
            self.made_at.push(now);
            return Outcome::Successor(current + 1);
        }
        if presented + 1 == current && now - made_at < 30 {
            return Outcome::Successor(current);
        }
        if presented + 1 == current && now - made_at < 90 {
            return Outcome::AlreadyUsed;
        }
        self.ended = true;
        Outcome::Ended
    }

    /// The model after these refreshes in some order that explains what each was answered.
    fn explain(&self, asked: &[(u32, Outcome)], now: u64) -> Option<Self> {
        if asked.is_empty() {
            return Some(self.clone());
        }
        (0..asked.len()).find_map(|first| {
            let mut model = self.clone();
            let (presented, outcome) = asked[first];
            if model.refresh(presented, now) != outcome {
                return None;
            }
            let mut rest = asked.to_vec();
            rest.remove(first);
            model.explain(&rest, now)
        })
    }
}

/// The tokens that clients hold, by generation: a generation has one token, ever.
struct Held(BTreeMap<u32, String>);

impl Held {
    fn newest(&self) -> u32 {
        *self.0.last_key_value().unwrap().0
    }

    /// The token so many generations behind, or the nearest older one that somebody holds.
    fn behind(&self, behind: u32) -> (u32, String) {
        let wanted = self.newest().saturating_sub(behind);
        let (generation, token) = self.0.range(..=wanted).next_back().unwrap();
        (*generation, token.clone())
    }

    fn take(&mut self, tokens: &Tokens) {
        let generation = generation(&tokens.refresh);
        let known = self.0.entry(generation).or_insert_with(|| tokens.refresh.clone());
        assert_eq!(*known, tokens.refresh, "generation {generation} has two tokens: the session was forked");
    }
}

fn outcome(answer: &Answer, held: &mut Held) -> Outcome {
    if answer.status == StatusCode::OK {
        let tokens = answer.tokens();
        held.take(&tokens);
        return Outcome::Successor(generation(&tokens.refresh));
    }
    match answer.refusal() {
        (400, "invalid_grant", "Refresh token already used") => Outcome::AlreadyUsed,
        (400, "invalid_grant", "Session ended") => Outcome::Ended,
        (400, "invalid_grant", "Refresh token expired") => Outcome::Expired,
        other => panic!("no answer of a refresh: {other:?}"),
    }
}

async fn live_through(steps: Vec<Step>) -> usize {
    let mut test = TestService::new().await.user("ada", &[]).await;
    let first = test.sign_in("ada").await;
    let now = |test: &TestService| test.service.now().0;
    let mut model = Model { made_at: vec![now(&test)], opened_at: now(&test), ended: false };
    let mut held = Held(BTreeMap::from([(0, first.refresh.clone())]));
    // The newest access token, and when it ends by itself.
    let mut access = (first.access, now(&test) + 900);
    let mut refreshes = 0;
    for step in steps {
        match step {
            Step::Wait(seconds) => test.clock.advance(Duration::from_secs(seconds)),
            Step::Crash => test.restart(),
            Step::Revoke { behind } => {
                let (_, token) = held.behind(behind);
                assert_eq!(test.form("/oauth2/revoke", &[("token", &token)]).await.status, StatusCode::OK);
                model.ended = true;
            }
            Step::Refresh { behind, fault } => {
                let (presented, token) = held.behind(behind);
                let before = model.clone();
                let expected = model.refresh(presented, now(&test));
                // A repeat, a late one and an ended session write nothing, so nothing can fail.
                let writes = model.made_at.len() != before.made_at.len() || model.ended != before.ended;
                if writes {
                    test.store.fail([fault]);
                }
                let answer = test.refresh(&token).await;
                refreshes += 1;
                match fault.filter(|_| writes) {
                    None => assert_eq!(outcome(&answer, &mut held), expected, "presented {presented} to {before:?}"),
                    Some(fault) => {
                        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
                        if fault == Fault::Refused {
                            model = before;
                        }
                    }
                }
                if answer.status == StatusCode::OK {
                    access = (answer.tokens().access, now(&test) + 900);
                }
            }
            Step::AtOnce(behind) => {
                let asked: Vec<_> = behind.into_iter().map(|behind| held.behind(behind)).collect();
                let answers = match asked.as_slice() {
                    [(_, a), (_, b)] => {
                        let (a, b) = tokio::join!(test.refresh(a), test.refresh(b));
                        vec![a, b]
                    }
                    [(_, a), (_, b), (_, c)] => {
                        let (a, b, c) = tokio::join!(test.refresh(a), test.refresh(b), test.refresh(c));
                        vec![a, b, c]
                    }
                    other => panic!("{} at once", other.len()),
                };
                refreshes += answers.len();
                let outcomes: Vec<_> = asked
                    .iter()
                    .zip(&answers)
                    .map(|((presented, _), answer)| (*presented, outcome(answer, &mut held)))
                    .collect();
                model = model
                    .explain(&outcomes, now(&test))
                    .unwrap_or_else(|| panic!("no order explains {outcomes:?} from {model:?}"));
                if let Some(answer) = answers.iter().find(|answer| answer.status == StatusCode::OK) {
                    access = (answer.tokens().access, now(&test) + 900);
                }
            }
        }
        // An access token is good as long as its session is and its own time lasts, and never a moment longer.
        let me = test.v1(Method::GET, "/v1/me", &access.0, None).await.status;
        let expected = if model.ended || now(&test) >= access.1 { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(me, expected, "{model:?}");
    }
    refreshes
}

#[test]
fn random_histories_of_a_session_agree_with_an_obvious_model() {
    const HISTORIES: u32 = 256;
    let refreshes = Cell::new(0);
    let config = ProptestConfig { cases: HISTORIES, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(config, |(steps in steps())| {
        refreshes.set(refreshes.get() + runtime.block_on(live_through(steps)));
    });
    println!("counted: {HISTORIES} random histories, {} refreshes, each answered as the model says", refreshes.get());
}
