//! At the same moment: many sign-ins, sign-ins and ends, and changes beside a run, at every place where it can be. What is
//! left is what one order of them would have left, and nothing of anybody who is to have nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use gatemint::domain::{
    RefusalKind,
    account::manage as accounts,
    fresh_token::mirror::{EVERY, LONGEST_RUN, refresh_secrets},
};
use serde_json::Value;

use super::place::Place;
use crate::{
    store::{Memory, Sqlite, conformance::Backend},
    support::{PASSWORD, TestService, asking::claims},
};

/// What a sign-in is answered: tokens, or to try again later, or that the account is disabled.
async fn sign_in(test: &TestService, name: &str) -> Option<String> {
    loop {
        let form = [("grant_type", "password"), ("username", name), ("password", PASSWORD)];
        let answer = test.form("/oauth2/token", &form).await;
        match answer.status {
            StatusCode::OK => return Some(answer.tokens().access),
            // As many as may be judged at once are.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => {
                assert_eq!(answer.refusal(), (400, "invalid_grant", "Account disabled"));
                return None;
            }
        }
    }
}

/// The records of fresh tokens that were ever written, by id.
fn records_written(test: &TestService) -> BTreeSet<String> {
    let bodies = test.store.bodies_written();
    let records = bodies.iter().map(|body| serde_json::from_str::<Value>(body).unwrap()["record"].take());
    let fresh = records.filter(|record| record["begun_at"].is_u64() && record["namespace"].is_string());
    fresh.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

async fn sixty_four_sign_ins<B: Backend>(name: &str, rounds: usize) {
    let mut records = BTreeSet::new();
    for _ in 0..rounds {
        let place = Arc::new(Place::on::<B>().await.user("ada", &[]).await);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let place = place.clone();
            tasks.spawn(async move { sign_in(&place.test, "ada").await.unwrap() });
        }
        let tokens = tasks.join_all().await;
        let begun = records_written(&place.test);
        assert_eq!(begun.len(), 1, "{begun:?}");
        let listed = place.listed(&tokens[0], "ada").await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        for access in [&tokens[0], &tokens[31], &tokens[63]] {
            let fresh = place.read(&place.identity(access).await, "ada").await.unwrap();
            assert!(place.is_good(&fresh).await);
            let said = claims(&fresh);
            assert_eq!(said["sid"], format!("fresh.{}", begun.first().unwrap()));
            records.insert(said["sid"].to_string());
        }
    }
    assert_eq!(records.len(), rounds);
    println!("counted: {name}: {} sign-ins, 64 at once, began {rounds} records in {rounds} rounds", 64 * rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_sign_ins_at_once_begin_one_record() {
    sixty_four_sign_ins::<Memory>("memory", 3).await;
    sixty_four_sign_ins::<Sqlite>("SQLite", 2).await;
    #[cfg(feature = "aws")]
    sixty_four_sign_ins::<crate::dynamodb::Ministack>("DynamoDB", 1).await;
}

/// Signs ada in; she stands still at a door of the store while something else happens. What she is told, whether there was
/// such a door, and what came of the other.
async fn at_a_door_of_hers<T>(
    place: &Place,
    door: usize,
    meanwhile: impl Future<Output = T>,
) -> Option<(Option<String>, T)> {
    let (reached, lets) = place.stops.at(door);
    let signing_in = sign_in(&place.test, "ada");
    tokio::pin!(signing_in);
    let stands = tokio::select! {
        biased;
        Ok(()) = reached => true,
        _ = &mut signing_in => false,
    };
    if !stands {
        place.stops.lift();
        return None;
    }
    let done = meanwhile.await;
    let _ = lets.send(());
    Some((signing_in.await, done))
}

async fn beside_disable<B: Backend>(name: &str) {
    let place = Place::on::<B>().await.user("ada", &[]).await.user("eve", &["admin"]).await;
    let eve = place.test.sign_in("eve").await.access;
    let (mut before, mut after) = (0, 0);
    // With a record that stands already, and without.
    for begun in [false, true] {
        for door in 0.. {
            if begun {
                sign_in(&place.test, "ada").await.unwrap();
            }
            let Some((access, ())) = at_a_door_of_hers(&place, door, place.enable("ada", false)).await else { break };
            *(if access.is_some() { &mut before } else { &mut after }) += 1;
            let by = place.identity(&eve).await;
            let nothing = async |when: &str| {
                let refused = place.read(&by, "ada").await.unwrap_err();
                assert_eq!(refused.kind, RefusalKind::Absent, "{when}, door {door}: {refused:?}");
                assert_eq!(place.listed(&eve, "ada").await, [""; 0], "{when}, door {door}");
            };
            nothing("disabled").await;
            place.enable("ada", true).await;
            nothing("enabled again: what had begun before does not go on").await;
            if let Some(access) = access {
                assert!(!place.is_good(&access).await);
            }
            let access = sign_in(&place.test, "ada").await.unwrap();
            assert!(place.is_good(&place.read(&place.identity(&access).await, "ada").await.unwrap()).await);
            assert_eq!(place.listed(&eve, "ada").await.len(), 1);
            // For the next one nothing has begun.
            place.enable("ada", false).await;
            place.enable("ada", true).await;
        }
    }
    assert!(before > 0 && after > 0, "{before} let in, {after} refused");
    println!(
        "counted: {name}: disabled at {} places of a sign-in, {before} let in first and {after} refused; no token outlived it, \
         or came back with the account",
        before + after
    );
}

#[tokio::test]
async fn a_sign_in_beside_a_disabling_leaves_no_token() {
    beside_disable::<Memory>("memory").await;
    beside_disable::<Sqlite>("SQLite").await;
    #[cfg(feature = "aws")]
    beside_disable::<crate::dynamodb::Ministack>("DynamoDB").await;
}

async fn beside_a_wish<B: Backend>(name: &str) {
    let place = Place::on::<B>().await.user("ada", &[]).await;
    let mut wishes = 0;
    for door in 0.. {
        // No record, no mirror, and nothing left of either.
        place.mirror("ada", false).await;
        place.enable("ada", false).await;
        place.enable("ada", true).await;
        place.later(EVERY);
        place.run().await;
        let wish = async {
            place.mirror("ada", true).await;
            place.run().await;
        };
        let Some((access, ())) = at_a_door_of_hers(&place, door, wish).await else { break };
        access.unwrap_or_else(|| panic!("door {door}: she is signed in"));
        place.later(EVERY);
        place.run().await;
        assert!(place.life("ada").await >= Some(28 * 60), "door {door}");
        wishes += 1;
    }
    assert!(wishes >= 4, "{wishes}");
    println!("counted: {wishes} places of a sign-in at which somebody wished for a mirror, none forgotten, {name}");
}

#[tokio::test]
async fn a_wish_for_a_mirror_beside_the_first_sign_in_is_not_forgotten() {
    beside_a_wish::<Memory>("memory").await;
    beside_a_wish::<Sqlite>("SQLite").await;
}

async fn beside_an_end<B: Backend>(name: &str) {
    let place = Place::on::<B>().await.user("ada", &[]).await.user("eve", &["admin"]).await;
    let eve = place.test.sign_in("eve").await.access;
    let (mut stands, mut ended) = (0, 0);
    for door in 0.. {
        sign_in(&place.test, "ada").await.unwrap();
        let by = place.identity(&eve).await;
        let old = place.read(&by, "ada").await.unwrap();
        let id = place.listed(&eve, "ada").await.remove(0);
        let path = format!("/v1/tokens/{id}");
        let ending = place.test.v1(Method::DELETE, &path, &eve, None);
        let Some((access, gone)) = at_a_door_of_hers(&place, door, ending).await else { break };
        assert!(gone.status.is_success(), "{}", gone.text);
        assert!(!place.is_good(&old).await, "what was ended is ended");
        match place.read(&by, "ada").await {
            // The sign-in came second, and began another.
            Ok(fresh) => {
                stands += 1;
                assert_ne!(claims(&fresh)["sid"], claims(&old)["sid"]);
                assert!(place.is_good(&fresh).await);
                assert_ne!(place.listed(&eve, "ada").await, [id]);
            }
            // It came first and found one; that one was ended.
            Err(refused) => {
                ended += 1;
                assert_eq!(refused.kind, RefusalKind::Absent, "{refused:?}");
                assert_eq!(place.listed(&eve, "ada").await, [""; 0]);
            }
        }
        assert!(place.is_good(&access.unwrap()).await, "the session is another thing");
    }
    assert!(stands > 0 && ended > 0, "{stands} begun after it, {ended} ended");
    println!(
        "counted: {name}: ended by hand at {} places of a sign-in, {stands} with another record begun after it and {ended} \
         without, 0 ended records that went on",
        stands + ended
    );
}

#[tokio::test]
async fn what_was_ended_by_hand_beside_a_sign_in_never_goes_on() {
    beside_an_end::<Memory>("memory").await;
    beside_an_end::<Sqlite>("SQLite").await;
    #[cfg(feature = "aws")]
    beside_an_end::<crate::dynamodb::Ministack>("DynamoDB").await;
}

/// What somebody does while a run stands still.
#[derive(Clone, Copy, Debug)]
enum Change {
    Disable,
    Delete,
    Unmirror,
    EndByHand,
    /// A new account of the same name and namespace.
    MakeAgain,
    /// Disabled and enabled again, and signed in.
    ComeBack,
}

const CHANGES: [Change; 6] =
    [Change::Disable, Change::Delete, Change::Unmirror, Change::EndByHand, Change::MakeAgain, Change::ComeBack];

impl Change {
    /// Whether she is to have a token in the vault afterwards.
    fn leaves_one(self) -> bool {
        matches!(self, Self::MakeAgain | Self::ComeBack)
    }

    async fn happens(self, place: &Place, eve: &str) {
        let test = &place.test;
        match self {
            Self::Disable => place.enable("ada", false).await,
            Self::Delete | Self::MakeAgain => {
                accounts::delete(&test.service, test.service.now(), "ada", "test").await.unwrap();
            }
            Self::Unmirror => place.mirror("ada", false).await,
            Self::EndByHand => {
                let id = place.listed(eve, "ada").await.remove(0);
                let gone = test.v1(Method::DELETE, &format!("/v1/tokens/{id}"), eve, None).await;
                assert!(gone.status.is_success(), "{}", gone.text);
            }
            Self::ComeBack => {
                place.enable("ada", false).await;
                place.enable("ada", true).await;
                sign_in(test, "ada").await.unwrap();
            }
        }
        if let Self::MakeAgain = self {
            settle(place).await;
        }
    }
}

/// Ada is there, enabled, mirrored and signed in.
async fn settle(place: &Place) {
    let test = &place.test;
    let now = test.service.now();
    match accounts::get(&test.service, now, "ada").await {
        Ok(row) if row.record.enabled => {}
        Ok(_) => place.enable("ada", true).await,
        Err(_) => {
            let new = accounts::NewAccount {
                name: "ada".into(),
                namespace: None,
                email: String::new(),
                roles: Vec::new(),
                enabled: true,
                mirror_token: false,
                password: gatemint::domain::Secret::new(PASSWORD.as_bytes().to_vec()),
            };
            accounts::create(&test.service, now, new, "test").await.unwrap();
        }
    }
    // Off and on, so that the next run has something to do.
    place.mirror("ada", false).await;
    place.mirror("ada", true).await;
    sign_in(test, "ada").await.unwrap();
}

/// Two runs later the vault has what it is to have.
async fn comes_right(place: &Place, eve: &str, has_one: bool, what: &str) {
    for _ in 0..2 {
        place.later(EVERY);
        place.run().await;
    }
    let names = place.vault.mirrored().await;
    let wanted: BTreeSet<String> = has_one.then(|| "ada".to_owned()).into_iter().collect();
    assert_eq!(names, wanted, "{what}");
    if has_one {
        let mirrored = place.vault.reads("ada").await.unwrap();
        assert!(place.is_good(&mirrored).await, "{what}");
        let read = place.read(&place.identity(eve).await, "ada").await.unwrap();
        assert_eq!(claims(&mirrored)["sid"], claims(&read)["sid"], "{what}: of the record that stands");
        assert!(place.life("ada").await.unwrap() >= 600, "{what}");
    }
}

/// A run that stands still at a door while something changes; `overtaken`: so long that another run comes and goes; `dies`: it
/// goes on through so many doors more and is killed there.
async fn at_a_door(
    place: &Place,
    eve: &str,
    door: usize,
    change: Change,
    overtaken: bool,
    dies: Option<usize>,
) -> bool {
    settle(place).await;
    let (reached, lets) = place.stops.at(door);
    let run = refresh_secrets(&place.runner);
    tokio::pin!(run);
    let stopped = tokio::select! {
        biased;
        Ok(()) = reached => true,
        _ = &mut run => false,
    };
    if !stopped {
        place.stops.lift();
        return false;
    }
    change.happens(place, eve).await;
    if overtaken {
        place.later(LONGEST_RUN);
        let other = place.test.beside(place.test.service.policy.clone());
        refresh_secrets(&other).await.unwrap();
    }
    if let Some(more) = dies {
        let (reached, never) = place.stops.at(more);
        let _ = lets.send(());
        tokio::select! {
            biased;
            Ok(()) = reached => {}
            _ = &mut run => {}
        }
        drop(never);
        place.stops.lift();
    } else {
        let _ = lets.send(());
        run.await.unwrap();
    }
    true
}

#[tokio::test]
async fn whatever_changes_at_any_place_of_a_run_the_next_ones_leave_no_secret_of_anybody_and_lose_none() {
    let place = Place::on::<Memory>().await.user("ada", &[]).await.user("eve", &["admin"]).await;
    let mut eves = place.test.sign_in("eve").await;
    let (mut stood, mut overtaken, mut doors) = (0, 0, 0);
    for change in CHANGES {
        for late in [false, true] {
            for door in 0.. {
                eves = place.test.refresh(&eves.refresh).await.tokens();
                let eve = &eves.access;
                if !at_a_door(&place, eve, door, change, late, None).await {
                    doors = doors.max(door);
                    break;
                }
                let what = format!("{change:?} at door {door}, overtaken: {late}");
                comes_right(&place, eve, change.leaves_one(), &what).await;
                *(if late { &mut overtaken } else { &mut stood }) += 1;
            }
        }
    }
    assert!(doors > 10, "a run has more places than {doors}");
    println!(
        "counted: {stood} changes at {doors} places of a run, {overtaken} with another run before it went on: 0 secrets of \
         anybody who is to have none, 0 missing, two runs later"
    );
}

#[tokio::test]
async fn what_an_overtaken_run_that_is_killed_leaves_behind_is_swept_within_the_hour() {
    let place = Place::on::<Memory>().await.user("ada", &[]).await.user("eve", &["admin"]).await;
    let mut eves = place.test.sign_in("eve").await;
    let (mut killed, mut left_behind) = (0, 0);
    for change in [Change::Disable, Change::Delete, Change::Unmirror] {
        for door in 0.. {
            eves = place.test.refresh(&eves.refresh).await.tokens();
            if !at_a_door(&place, &eves.access, door, change, true, Some(1)).await {
                break;
            }
            killed += 1;
            place.later(LONGEST_RUN);
            left_behind += usize::from(place.vault.reads("ada").await.is_some());
            for _ in 0..32 {
                place.later(EVERY);
                place.run().await;
            }
            assert!(place.vault.mirrored().await.is_empty(), "{change:?} at door {door}");
        }
    }
    println!(
        "counted: {killed} runs overtaken, then killed; {left_behind} left a secret behind, 0 of them an hour later"
    );
}
