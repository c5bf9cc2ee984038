//! What a run cannot help: a vault that is away for minutes, a namespace that nothing helps, a time that is up. Everybody
//! else is looked after all the same, and what was left is done as soon as it can be.

use std::{collections::BTreeMap, time::Duration};

use gatemint::{
    domain::{
        account::Account,
        fresh_token::mirror::{EVERY, LONGEST_RUN, Outcome, Timetable},
        ids::AccountKey,
    },
    store::{Draft, Version, When, Write},
};

use super::{faulty::Trouble, history::LEAST, place::Place};
use crate::{
    store::Memory,
    support::{asking::claims, many},
};

const MINUTE: Duration = Duration::from_mins(1);

/// So many namespaces, made in groups a minute apart, each mirrored at once: so they come due one group after the other.
async fn in_groups(groups: usize, each: usize) -> (Place, Vec<String>) {
    let place = Place::on::<Memory>().await.user("ada", &["admin"]).await;
    let mut names = Vec::new();
    for group in 0..groups {
        names.extend(many::mirrored(&place.test.service, "ada", group * each..(group + 1) * each).await);
        let run = place.run().await;
        assert_eq!((run.written, run.mirrored), (each, names.len()));
        place.later(MINUTE);
    }
    place.vault.take_puts();
    (place, names)
}

/// The least life of all of these, none of which is missing.
async fn least_life(place: &Place, names: &[String]) -> u64 {
    let mut least = u64::MAX;
    for name in names {
        least = least.min(place.life(name).await.unwrap_or_else(|| panic!("{name} has no token")));
    }
    least
}

#[tokio::test]
async fn a_vault_that_is_away_for_nine_minutes_leaves_every_token_good_and_is_caught_up_with_by_one_run() {
    let (place, names) = in_groups(12, 4).await;
    let away = Trouble { away: true, ..Trouble::default() };
    let (mut outages, mut runs, mut gave_up, mut least_seen) = (0, 0, 0, u64::MAX);
    // From each place in the cycle of eleven to thirteen minutes, whenever between two runs it begins and ends.
    for begins in 0..8_u64 {
        for _ in 0..begins {
            place.run().await;
            assert!(least_life(&place, &names).await >= LEAST);
            place.later(EVERY);
        }
        place.run().await;
        let first = 1 + begins * 17 % 119;
        let last = first + 9 * 60;
        for second in 1..=12 * 60 {
            place.later(Duration::from_secs(1));
            if second == first {
                place.vault.set(away.clone());
            }
            if second == last {
                place.vault.set(Trouble::default());
            }
            if second % EVERY.as_secs() == 0 {
                runs += 1;
                let run = place.try_run().await.unwrap();
                let is_away = (first..last).contains(&second);
                assert!(!is_away || run.written == 0, "{run:?}");
                gave_up += usize::from(run.outcome == Outcome::GaveUp);
                if second >= last {
                    assert_eq!((run.outcome, run.failed, run.left), (Outcome::Done, 0, 0), "{run:?}");
                    assert!(least_life(&place, &names).await >= LEAST, "caught up with by one run");
                    break;
                }
            }
            if second % 15 == 0 {
                least_seen = least_seen.min(least_life(&place, &names).await);
            }
        }
        outages += 1;
        place.later(EVERY);
    }
    // 19 minutes were left when it went away, at least; the run after it comes within eleven minutes of the one before it,
    // or twelve if it ends right after its time.
    assert!(least_seen >= 7 * 60, "{least_seen}");
    println!(
        "counted: {outages} outages of 9 minutes of a vault with {} tokens, {runs} runs ({gave_up} gave up), the least life \
         read {least_seen} s, 0 expired, all over ten minutes after the first run that found it again",
        names.len()
    );
}

#[tokio::test]
async fn one_broken_namespace_among_a_thousand_holds_up_nobody() {
    const BROKEN: &str = "n00500";
    const UNREADABLE: &str = "n00250";
    let place = Place::on::<Memory>().await.user("ada", &["admin"]).await;
    let names = many::mirrored(&place.test.service, "ada", 0..1000).await;
    // One that the vault never takes, and one whose account nobody can read.
    let key = Account::key_of(AccountKey::of(UNREADABLE));
    let draft = Draft { key, expires_at: None, body: r#"{"v":1,"record":{"name":7}}"#.to_owned() };
    let (service, now) = (&place.test.service, place.test.service.now());
    let garbage = Write::Put { item: draft, when: When::Always };
    service.store.commit(now, Version([9; 16]), vec![garbage]).await.unwrap();
    let broken = Trouble { broken: [BROKEN.to_owned()].into(), ..Trouble::default() };
    place.vault.set(broken);

    let others: Vec<_> = names.iter().filter(|name| ![BROKEN, UNREADABLE].contains(&name.as_str())).cloned().collect();
    let (mut runs, mut written, mut least) = (0, 0, u64::MAX);
    for _ in 0..30 {
        let run = place.run().await;
        assert_eq!((run.mirrored, run.failed, run.left), (1000, 2, 0), "{run:?}");
        runs += 1;
        written += run.written;
        place.later(EVERY);
        least = least.min(least_life(&place, &others).await);
    }
    assert!(least >= LEAST, "{least}");
    assert!(place.life(BROKEN).await.is_none() && place.life(UNREADABLE).await.is_none());
    // They failed thirty times; when nothing is in their way any more they are not made to wait for it.
    place.vault.set(Trouble::default());
    assert_eq!(place.run().await.failed, 1);
    assert_eq!(place.life(BROKEN).await, Some(30 * 60));
    println!(
        "counted: 1000 namespaces of which 2 cannot be written: {runs} runs over an hour, {written} writes for the other \
         998, the least life read {least} s; the broken one written by the first run after it was mended"
    );
}

#[tokio::test]
async fn a_run_whose_time_is_up_is_gone_on_with_by_the_next_the_oldest_first_and_none_twice() {
    let (place, names) = in_groups(6, 50).await;
    place.later(20 * MINUTE);
    // The vault takes real time here, since a run's own is real.
    place.vault.set(Trouble { lingers: Duration::from_millis(100), ..Trouble::default() });
    let cut = Timetable { longest_run: Duration::from_secs(2), ..Timetable::default() };
    let (mut runs, mut idle, mut written, mut left) = (0, 0, Vec::new(), names.len());
    while left > 0 {
        let run = place.run_by(cut).await;
        assert_eq!((run.failed, run.mirrored), (0, names.len()), "{run:?}");
        // A machine that stands still for two seconds takes all of a run's time.
        idle += usize::from(run.written == 0);
        assert!(idle < 4, "{idle} runs have not got on: {run:?}");
        assert_eq!(run.outcome, if run.left > 0 { Outcome::OutOfTime } else { Outcome::Done }, "{run:?}");
        assert_eq!(run.written + run.left, left, "{run:?}");
        left = run.left;
        written.extend(place.vault.take_puts());
        runs += 1;
    }
    assert!(runs >= 2, "it took {runs} runs");
    let ends: Vec<u64> =
        written.iter().map(|put| claims(put.before.as_ref().unwrap())["exp"].as_u64().unwrap()).collect();
    // A few are under way at the same time, in whatever order they end.
    let in_order = (16..ends.len()).all(|n| ends[n - 16] <= ends[n]);
    assert!(in_order, "the oldest first: {ends:?}");
    let mut each = BTreeMap::<_, usize>::new();
    for put in &written {
        *each.entry(put.namespace.clone()).or_default() += 1;
    }
    assert_eq!(each.len(), names.len(), "none was forgotten");
    assert!(each.values().all(|times| *times == 1), "none was written twice: {each:?}");
    println!("counted: {} tokens written by {runs} runs whose time was up, the oldest first, none twice", names.len());
}

#[tokio::test]
async fn however_many_are_broken_nobody_else_waits() {
    // More of them than are tried at first, all of them older than the others.
    let (place, broken) = in_groups(1, 120).await;
    let mut others = Vec::new();
    for group in 0..4 {
        let range = broken.len() + group * 5..broken.len() + group * 5 + 5;
        others.extend(many::mirrored(&place.test.service, "ada", range).await);
        place.run().await;
        place.later(3 * MINUTE);
    }
    place.vault.set(Trouble { broken: broken.iter().cloned().collect(), ..Trouble::default() });
    let (mut least, mut gave_up, mut ended) = (u64::MAX, Vec::new(), None);
    for run in 0..60 {
        let done = place.try_run().await.unwrap();
        if done.outcome == Outcome::GaveUp {
            gave_up.push(run);
        }
        ended = Some(done);
        place.later(EVERY);
        least = least.min(least_life(&place, &others).await);
    }
    assert!(least >= LEAST, "{least}");
    // Once it is known that they fail by themselves they are no sign of a vault that is away.
    assert!(gave_up.iter().all(|run| *run < 20), "{gave_up:?}");
    assert_eq!(ended.map(|run| (run.outcome, run.failed)), Some((Outcome::Done, broken.len())));
    place.vault.set(Trouble::default());
    assert_eq!(place.run().await.failed, 0);
    assert_eq!(place.life(&broken[0]).await, Some(30 * 60));
    println!(
        "counted: {} namespaces of {} cannot be written: the least life of the others in two hours {least} s; {} of 60 runs \
         took the vault to be away",
        broken.len(),
        broken.len() + others.len(),
        gave_up.len()
    );
}

#[tokio::test]
async fn a_run_that_was_killed_is_followed_by_the_next_one_that_is_due() {
    let (place, names) = in_groups(1, 40).await;
    let mut kills = 0;
    for door in (0..200).step_by(7) {
        place.later(12 * MINUTE);
        let (reached, lets) = place.stops.at(door);
        let killed = tokio::select! {
            biased;
            Ok(()) = reached => true,
            run = place.try_run() => run.is_err(),
        };
        drop(lets);
        place.stops.lift();
        kills += usize::from(killed);
        place.later(LONGEST_RUN);
        let run = place.run().await;
        assert_eq!((run.failed, run.left), (0, 0), "{run:?}");
        assert!(least_life(&place, &names).await >= 19 * 60, "killed at door {door}: {run:?}");
    }
    assert!(kills > 5, "{kills}");
    println!("counted: {kills} runs killed at as many places, each made good by the next one 110 s later");
}

#[tokio::test]
async fn a_vault_that_goes_away_in_the_middle_of_a_run_makes_nobody_wait_behind_the_younger_ones() {
    let (place, names) = in_groups(2, 60).await;
    place.later(11 * MINUTE);
    // The first group is due; some of it is written, then nothing answers any more, for two runs.
    let (reached, lets) = place.stops.at(60);
    let goes_away = async {
        reached.await.unwrap();
        place.vault.set(Trouble { away: true, ..Trouble::default() });
        let _ = lets.send(());
    };
    let (run, ()) = tokio::join!(place.try_run(), goes_away);
    let run = run.unwrap();
    assert!(run.written > 0 && run.failed > 0 && run.outcome == Outcome::GaveUp, "{run:?}");
    place.later(EVERY);
    assert_eq!(place.try_run().await.unwrap().outcome, Outcome::GaveUp);
    place.later(EVERY);
    place.vault.set(Trouble::default());
    place.vault.take_puts();
    let run = place.run().await;
    assert_eq!((run.failed, run.left), (0, 0), "{run:?}");
    let ends = |put: &super::faulty::Put| claims(put.before.as_ref().unwrap())["exp"].as_u64().unwrap();
    let ends: Vec<u64> = place.vault.take_puts().iter().map(ends).collect();
    assert!((16..ends.len()).all(|n| ends[n - 16] <= ends[n]), "the oldest first: {ends:?}");
    assert!(least_life(&place, &names).await >= 17 * 60);
    println!(
        "counted: {} tokens written after a vault had gone away in the middle of a run, the oldest first",
        ends.len()
    );
}
