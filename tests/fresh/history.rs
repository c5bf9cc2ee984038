//! Days of a mirror in ten seconds: runs that come, come late, come twice or not at all, faults, jumps of the clock, and
//! people who sign in, are disabled and leave. Beside it stands what each reader was promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::http::{Method, StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::{
    clock::Timestamp,
    domain::{
        Policy, Secret,
        access::{Action, Subject},
        account::manage::{self as accounts, AccountPatch, NewAccount},
        fresh_token::{
            LIFE,
            mirror::{self, Outcome, Run, Timetable},
        },
        key::rotate::{self, Pace},
        service_account::{self, NewServiceAccount},
    },
    store::Store,
};
use serde_json::json;

use super::{
    faulty::{Put, Trouble},
    place::Place,
    plan::{Deed, Goes, PEOPLE, Reader, Slot},
};
use crate::support::{ISSUER, PASSWORD, asking::claims, watched::Fault};

/// Nobody reads a token with less life left, in seconds.
pub(super) const LEAST: u64 = 600;
/// All its waiting for the vault takes at most so long.
const PATIENCE: Duration = Duration::from_secs(100);

/// How the mirror is run; a fault to be found is another rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) timetable: Timetable,
    /// Seconds from one run to the next.
    pub(super) every: u64,
    /// Of so many acknowledged writes one was not done; 0: none.
    pub(super) lies: u64,
}

impl Rules {
    /// Whether nothing is wrong with them.
    pub(super) fn is_usual(&self) -> bool {
        self.lies == 0 && self.every == mirror::EVERY.as_secs() && self.timetable == Timetable::default()
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { timetable: Timetable::default(), every: mirror::EVERY.as_secs(), lies: 0 }
    }
}

/// What a history came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: usize,
    pub(super) seconds: u64,
    pub(super) written: usize,
    pub(super) removed: usize,
    pub(super) missed: usize,
    pub(super) killed: usize,
    pub(super) busy: usize,
    pub(super) gave_up: usize,
    pub(super) deeds: usize,
    pub(super) jumps: usize,
    pub(super) reads: usize,
    pub(super) gets: usize,
    pub(super) refused: usize,
    /// The least life that a reader of the mirror could have seen, by how many runs in a row had not come to its
    /// namespace: one, none, or more.
    pub(super) least: BTreeMap<usize, u64>,
    /// The least life that anybody got by GET.
    pub(super) least_got: Option<u64>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.written += other.written;
        self.removed += other.removed;
        self.missed += other.missed;
        self.killed += other.killed;
        self.busy += other.busy;
        self.gave_up += other.gave_up;
        self.deeds += other.deeds;
        self.jumps += other.jumps;
        self.reads += other.reads;
        self.gets += other.gets;
        self.refused += other.refused;
        for (missed, least) in &other.least {
            self.saw(*missed, *least);
        }
        self.least_got = self.least_got.into_iter().chain(other.least_got).min();
    }

    fn saw(&mut self, missed: usize, left: u64) {
        let least = self.least.entry(missed.min(5)).or_insert(left);
        *least = left.min(*least);
    }
}

/// What is known of somebody.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each may be so or not, whatever the others are")]
struct Person {
    name: String,
    password: String,
    refresh: Option<String>,
    there: bool,
    enabled: bool,
    mirrored: bool,
    /// Whether she has signed in since everything of hers was ended last.
    begun: bool,
    /// Whether the service account that reads for others was granted to since she was made.
    granted: bool,
    /// The last run that had begun when something of hers was changed last.
    changed: usize,
    /// The last run that looked after her.
    served: usize,
    /// How many runs in a row have not.
    missed: usize,
    /// Whether something but the time may be why she is written to next.
    disturbed: bool,
    /// Until when the token is good that was written last.
    written: Option<u64>,
}

impl Person {
    /// Whether the vault is to have a token of hers.
    fn wanted(&self) -> bool {
        self.there && self.enabled && self.mirrored && self.begun
    }

    /// Whether a run has had the chance to see to that since it is so.
    fn settled(&self) -> bool {
        self.served > self.changed
    }
}

/// The service, the mirror and everybody.
pub(super) struct World {
    place: Place,
    reader: String,
    admin: String,
    people: Vec<Person>,
    rules: Rules,
    /// The time by no clock that jumps, in seconds from the beginning.
    time: u64,
    /// For how many runs more the vault is away, and whether it is in this one.
    away: u8,
    is_away: bool,
    last_killed_at: Option<u64>,
    pub(super) tally: Tally,
}

/// What was promised and not kept.
type Kept = Result<(), String>;

macro_rules! promised {
    ($condition:expr, $($said:tt)+) => {
        if !$condition {
            return Err(format!($($said)+));
        }
    };
}

fn ns(person: &Person) -> &str {
    &person.name
}

impl World {
    /// Everybody is there, signed in and mirrored, each since another minute.
    pub(super) async fn begin(store: Arc<dyn Store>, rules: Rules) -> Self {
        let place = Place::at(store).await.user("operations", &["admin"]).await;
        let test = &place.test;
        let admin = test.sign_in("operations").await.refresh;
        let new = NewServiceAccount {
            namespace: "operations".into(),
            name: Some("reader".into()),
            with_token: true,
            ..NewServiceAccount::default()
        };
        let made = service_account::create(&test.service, test.service.now(), &Subject::operator(), new).await.unwrap();
        let reader = made.token.unwrap().expose().clone();
        test.keep(&reader);
        let people = (0..PEOPLE)
            .map(|n| Person {
                name: format!("p{n}"),
                password: PASSWORD.into(),
                refresh: None,
                there: false,
                enabled: false,
                mirrored: false,
                begun: false,
                granted: false,
                changed: 0,
                served: 0,
                missed: 0,
                disturbed: true,
                written: None,
            })
            .collect();
        let tally = Tally::default();
        let begun = test.service.now().0;
        let mut world =
            Self { place, reader, admin, people, rules, time: 0, away: 0, is_away: false, last_killed_at: None, tally };
        for who in 0..PEOPLE {
            world.settle(who).await;
            world.place.test.clock.advance(Duration::from_mins(1));
        }
        world.time = world.place.test.service.now().0 - begun;
        world
    }

    fn now(&self) -> Timestamp {
        self.place.test.service.now()
    }

    fn goes_on_to(&mut self, time: u64) {
        if time > self.time {
            self.place.test.clock.advance(Duration::from_secs(time - self.time));
            self.time = time;
        }
    }

    /// Lives through one slot.
    pub(super) async fn live(&mut self, number: usize, slot: &Slot) -> Kept {
        let first = PEOPLE as u64 * 60;
        let at = first + number as u64 * self.rules.every;
        let mut deeds = slot.deeds.iter().peekable();
        while let Some((offset, deed)) = deeds.next_if(|(offset, _)| *offset < slot.late) {
            self.goes_on_to(at + offset);
            self.does(deed).await?;
        }
        self.goes_on_to(at + slot.late);
        self.run(&slot.goes).await?;
        for (offset, deed) in deeds {
            self.goes_on_to(at + offset);
            self.does(deed).await?;
        }
        self.tally.seconds = self.time;
        Ok(())
    }

    async fn run(&mut self, goes: &Goes) -> Kept {
        let everybody: BTreeSet<String> = self.people.iter().map(|person| person.name.clone()).collect();
        let of = |bits: u8| {
            everybody.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, name)| name.clone()).collect()
        };
        let mut trouble = Trouble { lies: self.rules.lies, patience: PATIENCE, ..Trouble::default() };
        if let Goes::VaultAway(runs) = goes {
            self.away = self.away.max(*runs);
        }
        let away = self.away > 0;
        self.is_away = away;
        trouble.away = away;
        self.away = self.away.saturating_sub(1);
        match goes {
            Goes::Missed => {
                self.tally.missed += 1;
                self.serves(&BTreeSet::new(), self.tally.runs);
                return Ok(());
            }
            Goes::Slowly(seconds) => trouble.slow = Duration::from_secs(u64::from(*seconds)),
            Goes::Refused(bits) => trouble.broken = of(*bits),
            Goes::Unheard(bits) => trouble.unheard = of(*bits),
            Goes::Elsewhere => self.place.runner = self.place.test.beside(Policy::new(ISSUER)),
            Goes::Commit(at, lost) => {
                let fault = if *lost { Fault::LostReply } else { Fault::Refused };
                self.place.test.store.fail((0..*at).map(|_| None).chain([Some(fault)]));
            }
            Goes::StoreAway => self.place.test.store.set_away(true),
            Goes::Well | Goes::VaultAway(_) | Goes::Killed(_) | Goes::Twice | Goes::Meanwhile(..) => {}
        }
        self.place.vault.set(trouble);
        self.tally.runs += 1;
        let number = self.tally.runs;
        let began_at = self.time;
        let clock_before = self.now().0;
        let mut jumped = 0;
        let (runner, timetable) = (self.place.runner.clone(), self.rules.timetable);
        let ended = match goes {
            Goes::Killed(door) => {
                let (reached, lets) = self.place.stops.at(*door);
                let run = mirror::refresh_secrets_by(&runner, &timetable);
                let ended = tokio::select! {
                    biased;
                    Ok(()) = reached => None,
                    run = run => Some(run),
                };
                drop(lets);
                ended
            }
            Goes::Meanwhile(door, deed) => {
                let (reached, lets) = self.place.stops.at(*door);
                let run = mirror::refresh_secrets_by(&runner, &timetable);
                tokio::pin!(run);
                let early = tokio::select! {
                    biased;
                    Ok(()) = reached => None,
                    run = &mut run => Some(run),
                };
                if let Some(ended) = early {
                    Some(ended)
                } else {
                    let before = self.now().0;
                    self.does(deed).await?;
                    jumped = self.now().0.cast_signed() - before.cast_signed();
                    let _ = lets.send(());
                    Some(run.await)
                }
            }
            Goes::Twice => {
                let other = self.place.test.beside(Policy::new(ISSUER));
                let (one, two) = tokio::join!(
                    mirror::refresh_secrets_by(&runner, &timetable),
                    mirror::refresh_secrets_by(&other, &timetable)
                );
                Some(match (one, two) {
                    (Ok(one), Ok(two)) => Ok(self.both(one, two)?),
                    // Without a vault a process that has just started cannot sign.
                    (Ok(only), Err(_)) | (Err(_), Ok(only)) if away => Ok(only),
                    (Err(why), _) | (_, Err(why)) => Err(why),
                })
            }
            _ => Some(mirror::refresh_secrets_by(&runner, &timetable).await),
        };
        self.place.stops.lift();
        self.place.vault.set(Trouble::default());
        self.place.test.store.set_away(false);
        self.place.test.store.forget_faults();
        // What the vault took of the time.
        let took = (self.now().0.cast_signed() - clock_before.cast_signed() - jumped).cast_unsigned();
        self.time += took;

        let failed = self.place.vault.take_failed();
        let puts = self.place.vault.take_puts();
        self.judge_puts(&puts)?;
        let everybody_else = everybody.difference(&failed).cloned().collect();
        match ended {
            None => {
                self.tally.killed += 1;
                self.last_killed_at = Some(began_at);
                self.people.iter_mut().for_each(|person| person.disturbed = true);
                self.serves(&BTreeSet::new(), number);
            }
            Some(Err(why)) => {
                let expected = away || matches!(goes, Goes::Commit(..) | Goes::StoreAway);
                promised!(expected, "run {number} failed for no reason: {why:?}");
                // It may have left its lease behind.
                self.last_killed_at = Some(began_at);
                self.people.iter_mut().for_each(|person| person.disturbed = true);
                self.serves(&BTreeSet::new(), number);
            }
            Some(Ok(run)) => self.judge_run(goes, run, number, began_at, &puts, &failed, &everybody_else)?,
        }
        Ok(())
    }

    /// Of two runs at once one does the work; nothing is written twice.
    fn both(&mut self, one: Run, two: Run) -> Result<Run, String> {
        let outcomes = [one.outcome, two.outcome];
        promised!(
            outcomes.iter().any(|outcome| *outcome != Outcome::Busy) || self.last_killed_at.is_some(),
            "of two runs at once none did anything: {outcomes:?}"
        );
        if outcomes.contains(&Outcome::Busy) {
            self.tally.busy += 1;
        }
        let (worker, idle) = if one.outcome == Outcome::Busy { (two, one) } else { (one, two) };
        promised!(idle.written == 0 || worker.written == 0, "two runs at once both wrote: {one:?} {two:?}");
        Ok(Run { written: one.written + two.written, removed: one.removed + two.removed, ..worker })
    }

    #[expect(clippy::too_many_arguments, reason = "everything that is known of a run is judged together")]
    fn judge_run(
        &mut self,
        goes: &Goes,
        run: Run,
        number: usize,
        began_at: u64,
        puts: &[Put],
        failed: &BTreeSet<String>,
        served: &BTreeSet<String>,
    ) -> Kept {
        self.tally.removed += run.removed + run.swept;
        let store_fault = matches!(goes, Goes::Commit(..) | Goes::StoreAway);
        if !store_fault && !matches!(goes, Goes::Unheard(_) | Goes::Meanwhile(..)) {
            promised!(run.written == puts.len(), "run {number} says {run:?}, and wrote {}", puts.len());
        }
        match run.outcome {
            Outcome::Busy => {
                self.tally.busy += 1;
                let killed_at = self.last_killed_at;
                promised!(
                    killed_at.is_some_and(|killed| began_at < killed + mirror::EVERY.as_secs()),
                    "run {number} at {began_at} found another at work, and the last that was killed began at {killed_at:?}"
                );
                self.serves(&BTreeSet::new(), number);
            }
            Outcome::GaveUp => {
                self.tally.gave_up += 1;
                self.serves(&BTreeSet::new(), number);
            }
            Outcome::OutOfTime => return Err(format!("run {number} had all the time that it needs")),
            Outcome::Done => {
                self.last_killed_at = store_fault.then_some(began_at);
                // A commit that failed, or a key that could not be read, may have been for anybody.
                let unknown = run.failed > failed.len();
                promised!(
                    run.failed == failed.len() || store_fault || self.is_away,
                    "run {number} says {run:?}; failed with {failed:?}"
                );
                let nobody = BTreeSet::new();
                self.serves(if unknown || store_fault && run.failed > 0 { &nobody } else { served }, number);
            }
        }
        if store_fault || !failed.is_empty() {
            self.people.iter_mut().for_each(|person| person.disturbed = true);
        }
        Ok(())
    }

    /// What each write replaced was the oldest that anybody could read there.
    fn judge_puts(&mut self, puts: &[Put]) -> Kept {
        let number = self.tally.runs;
        for put in puts {
            self.tally.written += 1;
            let Some(person) = self.people.iter_mut().find(|person| ns(person) == put.namespace) else {
                return Err(format!("{} is nobody's namespace", put.namespace));
            };
            let life = claims(&put.token)["exp"].as_u64().unwrap().saturating_sub(put.at.0);
            // It was signed when it went on its way, and others were on theirs.
            promised!(life + PATIENCE.as_secs() >= LIFE.as_secs(), "{} was given {life} s", put.namespace);
            let (promised, missed) = (person.wanted() && person.settled(), person.missed);
            if let Some(before) = put.before.as_ref().filter(|_| promised) {
                let ends = claims(before)["exp"].as_u64().unwrap();
                let left = ends.saturating_sub(put.at.0);
                self.tally.saw(missed, left);
                promised!(
                    left >= LEAST || missed > 1,
                    "{} had {left} s left when it was replaced, {missed} runs in a row missed",
                    put.namespace
                );
            }
            // Secrets Manager asks for ten minutes between two writes: what is written was signed just before.
            let ends = claims(&put.token)["exp"].as_u64().unwrap();
            if let Some(last) = person.written.replace(ends).filter(|_| !person.disturbed) {
                let apart = ends.saturating_sub(last);
                promised!(apart >= LEAST, "{} was written twice within {apart} s, for no reason", put.namespace);
            }
            person.disturbed = person.changed >= number;
        }
        Ok(())
    }

    /// These were looked after in this run; the others have missed one.
    fn serves(&mut self, served: &BTreeSet<String>, number: usize) {
        for person in &mut self.people {
            if served.contains(ns(person)) {
                person.served = number;
                person.missed = 0;
            } else {
                person.missed += 1;
            }
        }
    }

    fn change(&mut self, who: usize, change: impl FnOnce(&mut Person)) {
        let runs = self.tally.runs;
        let person = &mut self.people[who];
        change(person);
        person.changed = runs;
        person.disturbed = true;
    }

    async fn patch(&mut self, who: usize, patch: AccountPatch) {
        accounts::update(&self.place.test.service, self.now(), &self.people[who].name, patch, "test").await.unwrap();
    }

    /// Does it, if it can be done.
    async fn does(&mut self, deed: &Deed) -> Kept {
        match deed {
            Deed::Read(who, reader) => return self.reads(*who, *reader).await,
            Deed::Settle(who) => self.settle(*who).await,
            Deed::SignIn(who) if self.people[*who].there => self.sign_in(*who).await,
            Deed::Disable(who) if self.people[*who].there => {
                self.patch(*who, AccountPatch { enabled: Some(false), ..AccountPatch::default() }).await;
                self.change(*who, |person| (person.enabled, person.begun, person.refresh) = (false, false, None));
            }
            Deed::NewPassword(who) if self.people[*who].there => {
                let password = format!("{PASSWORD} {}", self.tally.deeds);
                let given = Some(Secret::new(password.clone().into_bytes()));
                self.patch(*who, AccountPatch { password: given, ..AccountPatch::default() }).await;
                self.change(*who, |person| (person.password, person.begun, person.refresh) = (password, false, None));
            }
            Deed::OwnPassword(who) if self.people[*who].refresh.is_some() => self.own_password(*who).await?,
            Deed::EndByHand(who) if self.people[*who].there => self.end_by_hand(*who).await?,
            Deed::Unmirror(who) if self.people[*who].there => {
                self.patch(*who, AccountPatch { mirror_token: Some(false), ..AccountPatch::default() }).await;
                self.change(*who, |person| person.mirrored = false);
            }
            Deed::Delete(who) if self.people[*who].there => {
                accounts::delete(&self.place.test.service, self.now(), &self.people[*who].name, "test").await.unwrap();
                self.change(*who, |person| {
                    (person.there, person.enabled, person.begun) = (false, false, false);
                    (person.mirrored, person.granted, person.refresh) = (false, false, None);
                });
            }
            Deed::Jump(seconds) => {
                self.place.test.clock.jump(i64::from(*seconds));
                self.tally.jumps += 1;
                // A lease that was left behind ends by the clock.
                self.last_killed_at = self.last_killed_at.map(|_| self.time + 600);
                for who in 0..PEOPLE {
                    self.change(who, |_| ());
                }
            }
            Deed::RotateKeys => {
                // Refused while a key is on its way.
                let _ = rotate::rotate(&self.place.test.service, Pace::Announced, "test").await;
            }
            _ => return Ok(()),
        }
        self.tally.deeds += 1;
        Ok(())
    }

    /// Makes her what she lacks, so that she is to have a token in the mirror.
    async fn settle(&mut self, who: usize) {
        let person = self.people[who].clone();
        if !person.there {
            let new = NewAccount {
                name: person.name.clone(),
                namespace: None,
                email: String::new(),
                roles: Vec::new(),
                enabled: true,
                mirror_token: false,
                password: Secret::new(person.password.clone().into_bytes()),
            };
            accounts::create(&self.place.test.service, self.now(), new, "test").await.unwrap();
            let secret = format!("secret://default/{}/access-token", person.name);
            self.place.test.grant("operations/service-accounts/reader", &secret, Action::Read).await;
            self.change(who, |person| (person.there, person.enabled, person.granted) = (true, true, true));
        } else if !person.enabled {
            self.patch(who, AccountPatch { enabled: Some(true), ..AccountPatch::default() }).await;
            self.change(who, |person| person.enabled = true);
        }
        if !person.mirrored {
            self.patch(who, AccountPatch { mirror_token: Some(true), ..AccountPatch::default() }).await;
            self.change(who, |person| person.mirrored = true);
        }
        if !person.begun {
            self.sign_in(who).await;
        }
    }

    async fn sign_in(&mut self, who: usize) {
        let person = &self.people[who];
        let form = [("grant_type", "password"), ("username", &person.name), ("password", &person.password)];
        let answer = self.place.test.form("/oauth2/token", &form).await;
        if !person.enabled {
            assert_eq!(answer.refusal(), (400, "invalid_grant", "Account disabled"));
            return;
        }
        let refresh = answer.tokens().refresh;
        if !person.begun {
            self.change(who, |person| person.begun = true);
        }
        self.people[who].refresh = Some(refresh);
    }

    /// Her own access token.
    async fn access(&mut self, who: usize) -> Result<String, String> {
        let refresh = self.people[who].refresh.clone().ok_or("nobody is signed in")?;
        let answer = self.place.test.refresh(&refresh).await;
        promised!(answer.status == StatusCode::OK, "{}: {}", self.people[who].name, answer.text);
        let tokens = answer.tokens();
        self.people[who].refresh = Some(tokens.refresh);
        Ok(tokens.access)
    }

    async fn admin_access(&mut self) -> String {
        let tokens = self.place.test.refresh(&self.admin).await.tokens();
        self.admin = tokens.refresh;
        tokens.access
    }

    async fn own_password(&mut self, who: usize) -> Kept {
        let access = self.access(who).await?;
        let password = format!("{PASSWORD} of mine {}", self.tally.deeds);
        let body = json!({ "old": self.people[who].password, "new": password });
        let answer = self.place.test.v1(Method::POST, "/v1/me/password", &access, Some(body)).await;
        promised!(answer.status.is_success(), "{}", answer.text);
        self.change(who, |person| (person.password, person.begun) = (password, false));
        Ok(())
    }

    /// An admin ends the token, by its id in the list.
    async fn end_by_hand(&mut self, who: usize) -> Kept {
        let admin = self.admin_access().await;
        let name = self.people[who].name.clone();
        let fresh = self.place.listed(&admin, &name).await;
        let stands = self.people[who].begun && self.people[who].enabled;
        promised!(fresh.len() == usize::from(stands), "{name}'s list has {fresh:?}, and one stands: {stands}");
        if let Some(id) = fresh.first() {
            let ended = self.place.test.v1(Method::DELETE, &format!("/v1/tokens/{id}"), &admin, None).await;
            promised!(ended.status.is_success(), "{}", ended.text);
            self.change(who, |person| person.begun = false);
        }
        Ok(())
    }

    async fn reads(&mut self, who: usize, reader: Reader) -> Kept {
        match reader {
            Reader::Mirror => self.reads_mirror(who).await,
            Reader::Owner if self.people[who].refresh.is_none() => Ok(()),
            Reader::Owner => {
                let access = self.access(who).await?;
                self.gets(who, &access).await
            }
            Reader::Admin => {
                let access = self.admin_access().await;
                self.gets(who, &access).await
            }
            Reader::Granted if !self.people[who].granted => Ok(()),
            Reader::Granted => {
                let token = self.reader.clone();
                self.gets(who, &token).await
            }
        }
    }

    /// Reads the vault, as whoever cannot ask us does.
    async fn reads_mirror(&mut self, who: usize) -> Kept {
        self.tally.reads += 1;
        let person = self.people[who].clone();
        let now = self.now().0;
        let token = self.place.vault.reads(ns(&person)).await;
        let name = &person.name;
        if !person.settled() {
            // It may be an old one, or none; one of somebody who has no more is good for nothing.
            let stands = person.there && person.enabled && person.begun;
            if let Some(token) = token.filter(|_| !stands) {
                promised!(!self.place.is_good(&token).await, "{name}'s token outlived its record");
                self.tally.refused += 1;
            }
            return Ok(());
        }
        let Some(token) = token else {
            promised!(!person.wanted(), "{name} has no token in the vault, {} runs missed", person.missed);
            return Ok(());
        };
        promised!(person.wanted(), "{name} is to have no token in the vault, and has one");
        let said = claims(&token);
        let left = said["exp"].as_u64().unwrap().saturating_sub(now);
        self.tally.saw(person.missed, left);
        promised!(left >= LEAST || person.missed > 1, "{name} read {left} s, {} runs in a row missed", person.missed);
        promised!(said["preferred_username"] == person.name.as_str(), "{name} read {said}");
        promised!(said["namespace"] == ns(&person), "{name} read {said}");
        promised!(left == 0 || self.place.is_good(&token).await, "{name}'s token is not good: {said}");
        Ok(())
    }

    /// Asks us for the secret.
    async fn gets(&mut self, who: usize, bearer: &str) -> Kept {
        self.tally.gets += 1;
        let person = self.people[who].clone();
        let name = &person.name;
        let path = format!("/api/v1/namespaces/{name}/secrets/access-token");
        let answer = self.place.test.v1(Method::GET, &path, bearer, None).await;
        let stands = person.there && person.enabled && person.begun;
        if !stands {
            promised!(answer.status == StatusCode::NOT_FOUND, "{name} has none: {} {}", answer.status, answer.text);
            self.tally.refused += 1;
            return Ok(());
        }
        promised!(answer.status == StatusCode::OK, "{name}: {} {}", answer.status, answer.text);
        let data = answer.json["data"]["AUTH_TOKEN"].as_str().unwrap_or_default();
        let token = String::from_utf8(STANDARD.decode(data).map_err(|why| why.to_string())?).unwrap();
        let said = claims(&token);
        let left = said["exp"].as_u64().unwrap().saturating_sub(self.now().0);
        self.tally.least_got = self.tally.least_got.into_iter().chain([left]).min();
        promised!(left >= LEAST, "{name} got {left} s");
        promised!(left == LIFE.as_secs(), "{name} got {left} s, which is not half an hour");
        promised!(said["namespace"] == ns(&person), "{name} got {said}");
        promised!(self.place.is_good(&token).await, "{name} got a token that is not good: {said}");
        Ok(())
    }

    /// What is left when everything has been quiet for two runs: of who is to have a token, and of nobody else.
    pub(super) async fn end(&mut self, number: usize) -> Kept {
        self.away = 0;
        let quiet = Slot { late: 0, goes: Goes::Well, deeds: Vec::new() };
        for n in 0..3 {
            self.live(number + n, &quiet).await?;
        }
        for who in 0..PEOPLE {
            self.reads_mirror(who).await?;
        }
        let wanted: BTreeSet<String> =
            self.people.iter().filter(|person| person.wanted()).map(|person| person.name.clone()).collect();
        let left = self.place.vault.mirrored().await;
        promised!(left == wanted, "in the vault are {left:?}, not {wanted:?}");
        Ok(())
    }
}
