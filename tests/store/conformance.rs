//! The conformance suite of the store port: what every backend promises, whatever it stands on.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gatemint::{
    clock::Timestamp,
    store::{CommitError, Draft, Item, Key, MAX_WRITES, Page, Store, Version, When, Write},
};
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);

/// Makes empty stores of one kind.
pub(crate) trait Backend {
    /// How many races of 16 each race test holds.
    const RACES: usize = 160;

    async fn fresh() -> Bed;
}

/// A store and what it stands on.
pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) _directory: Option<TempDir>,
}

/// A commit id that no other commit of this run has.
pub(crate) fn fresh_id() -> Version {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    Version(u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

pub(crate) fn key(sort: &str) -> Key {
    Key::new("test#rows", sort)
}

pub(crate) fn put(sort: &str, body: &str, when: When) -> Write {
    put_until(sort, body, when, None)
}

pub(crate) fn put_until(sort: &str, body: &str, when: When, expires_at: Option<Timestamp>) -> Write {
    Write::Put { item: Draft { key: key(sort), expires_at, body: body.into() }, when }
}

pub(crate) fn delete(sort: &str, when: When) -> Write {
    Write::Delete { key: key(sort), when }
}

pub(crate) fn check(sort: &str, when: When) -> Write {
    Write::Check { key: key(sort), when }
}

/// Commits what must succeed; its version.
pub(crate) async fn done(store: &dyn Store, writes: Vec<Write>) -> Version {
    let id = fresh_id();
    store.commit(NOW, id, writes).await.unwrap();
    id
}

/// Commits what must conflict.
pub(crate) async fn conflict(store: &dyn Store, writes: Vec<Write>) -> (usize, Option<Item>) {
    conflict_of(store.commit(NOW, fresh_id(), writes).await)
}

pub(crate) fn conflict_of(outcome: Result<(), CommitError>) -> (usize, Option<Item>) {
    match outcome {
        Err(CommitError::Conflict { at, current }) => (at, current),
        other => panic!("a conflict was expected, not {other:?}"),
    }
}

pub(crate) fn unavailable(outcome: Result<(), CommitError>) -> String {
    match outcome {
        Err(CommitError::Unavailable(error)) => error.to_string(),
        other => panic!("Unavailable was expected, not {other:?}"),
    }
}

pub(crate) async fn row(store: &dyn Store, sort: &str) -> Option<Item> {
    store.get(NOW, &[key(sort)]).await.unwrap().remove(0)
}

pub(crate) async fn body(store: &dyn Store, sort: &str) -> Option<String> {
    row(store, sort).await.map(|row| row.body)
}

/// What every backend promises. Each test gets an empty store.
pub(crate) mod suite {
    use super::*;

    pub(crate) async fn what_was_put_is_read_back_whole(store: Arc<dyn Store>) {
        let text = "{\"name\":\"Ада\",\"quote\":\"\\\"'; --\"}";
        let until = Timestamp(NOW.0 + 60);
        let id = done(&*store, vec![put_until("a", text, When::Absent, Some(until))]).await;
        let expected = Item { key: key("a"), version: id, expires_at: Some(until), body: text.into() };
        assert_eq!(row(&*store, "a").await, Some(expected.clone()));
        assert_eq!(store.list(NOW, "test#rows", None, 10).await.unwrap().items, [expected]);
    }

    pub(crate) async fn a_commit_is_all_or_nothing(store: Arc<dyn Store>) {
        let one = done(&*store, vec![put("a", "1", When::Absent), put("b", "1", When::Absent)]).await;
        let failed = vec![
            put("a", "2", When::VersionIs(one)),
            put("new", "2", When::Absent),
            delete("b", When::VersionIs(fresh_id())),
        ];
        assert_eq!(conflict(&*store, failed).await.0, 2);
        assert_eq!(body(&*store, "a").await.as_deref(), Some("1"));
        assert_eq!(body(&*store, "b").await.as_deref(), Some("1"));
        assert_eq!(body(&*store, "new").await, None);

        let whole = vec![
            put("a", "2", When::VersionIs(one)),
            put("new", "2", When::Absent),
            delete("b", When::VersionIs(one)),
            check("never", When::Absent),
        ];
        let two = done(&*store, whole).await;
        assert_eq!(row(&*store, "a").await.unwrap().version, two);
        assert_eq!(row(&*store, "new").await.unwrap().version, two);
        assert_eq!(body(&*store, "b").await, None);
    }

    pub(crate) async fn a_conflict_names_the_first_write_that_failed_and_the_row_that_is_there(store: Arc<dyn Store>) {
        let id = done(&*store, vec![put("taken", "theirs", When::Absent)]).await;
        let current = Some(Item { key: key("taken"), version: id, expires_at: None, body: "theirs".into() });
        assert_eq!(conflict(&*store, vec![put("taken", "mine", When::Absent)]).await, (0, current.clone()));
        let two_wrong = vec![
            put("free", "mine", When::Absent),
            check("taken", When::VersionIs(fresh_id())),
            put("nothing", "mine", When::VersionIs(id)),
        ];
        assert_eq!(conflict(&*store, two_wrong).await, (1, current));
        assert_eq!(conflict(&*store, vec![put("nothing", "mine", When::VersionIs(id))]).await, (0, None));
        assert_eq!(conflict(&*store, vec![check("nothing", When::VersionIs(id))]).await, (0, None));
        assert_eq!(conflict(&*store, vec![check("taken", When::Absent)]).await.0, 0);
    }

    pub(crate) async fn a_put_without_a_condition_always_happens(store: Arc<dyn Store>) {
        done(&*store, vec![put("a", "1", When::Always)]).await;
        done(&*store, vec![put("a", "2", When::Always)]).await;
        assert_eq!(body(&*store, "a").await.as_deref(), Some("2"));
    }

    pub(crate) async fn a_delete_of_what_is_gone_is_done_and_of_another_version_a_conflict(store: Arc<dyn Store>) {
        let one = done(&*store, vec![put("a", "1", When::Absent)]).await;
        let (at, current) = conflict(&*store, vec![delete("a", When::VersionIs(fresh_id()))]).await;
        assert_eq!((at, current.map(|row| row.version)), (0, Some(one)));
        assert_eq!(conflict(&*store, vec![delete("a", When::Absent)]).await.0, 0);
        let removal = fresh_id();
        for _ in 0..2 {
            // The second time is the retry after a lost reply.
            store.commit(NOW, removal, vec![delete("a", When::VersionIs(one))]).await.unwrap();
            assert_eq!(row(&*store, "a").await, None);
        }
        done(&*store, vec![delete("a", When::Always)]).await;
        done(&*store, vec![delete("a", When::Absent)]).await;
    }

    pub(crate) async fn of_sixteen_who_create_a_row_one_wins(store: Arc<dyn Store>, rounds: usize) {
        for round in 0..rounds {
            one_wins(&store, &format!("row-{round}"), When::Absent).await;
        }
        println!("counted: {rounds} races for a new row, {rounds} with one winner");
    }

    pub(crate) async fn of_sixteen_who_change_a_row_one_wins(store: Arc<dyn Store>, rounds: usize) {
        let mut version = done(&*store, vec![put("row", "", When::Absent)]).await;
        for _ in 0..rounds {
            version = one_wins(&store, "row", When::VersionIs(version)).await;
        }
        println!("counted: {rounds} races for a change, {rounds} with one winner");
    }

    /// A race of 16; the winner's version. Every other one has two writes, of which the second decides.
    async fn one_wins(store: &Arc<dyn Store>, sort: &str, when: When) -> Version {
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let (store, sort) = (Arc::clone(store), sort.to_owned());
                tokio::spawn(async move {
                    let id = fresh_id();
                    let mut writes = vec![put(&sort, &racer.to_string(), when)];
                    if racer % 2 == 1 {
                        writes.insert(0, put(&format!("{sort}-beside-{racer}"), "", When::Always));
                    }
                    let decisive = writes.len() - 1;
                    (id, racer, decisive, store.commit(NOW, id, writes).await)
                })
            })
            .collect();
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for racer in racers {
            let (id, racer, decisive, outcome) = racer.await.unwrap();
            match outcome {
                Ok(()) => winners.push((id, racer)),
                other => losers.push((id, racer, decisive, conflict_of(other))),
            }
        }
        assert_eq!(winners.len(), 1, "who won: {winners:?}");
        let (id, winner) = winners[0];
        let standing = row(&**store, sort).await.unwrap();
        assert_eq!((standing.version, &standing.body), (id, &winner.to_string()));
        for (loser, racer, decisive, (at, current)) in losers {
            assert_eq!((at, current.as_ref()), (decisive, Some(&standing)), "a loser is told the row that won");
            let beside = row(&**store, &format!("{sort}-beside-{racer}")).await;
            assert_ne!(beside.map(|row| row.version), Some(loser), "a loser leaves nothing behind");
        }
        id
    }

    pub(crate) async fn a_row_past_its_purge_time_is_absent_for_every_purpose(store: Arc<dyn Store>) {
        let until = Timestamp(NOW.0 + 100);
        let old = done(&*store, vec![put_until("a", "old", When::Absent, Some(until))]).await;
        let before = Timestamp(until.0 - 1);
        for (now, there) in [(before, true), (until, false), (Timestamp(until.0 + 1), false)] {
            assert_eq!(store.get(now, &[key("a")]).await.unwrap()[0].is_some(), there);
            assert_eq!(store.list(now, "test#rows", None, 10).await.unwrap().items.len(), usize::from(there));
            let present = store.commit(now, fresh_id(), vec![check("a", When::VersionIs(old))]).await;
            let absent = store.commit(now, fresh_id(), vec![check("a", When::Absent)]).await;
            if there {
                present.unwrap();
                assert!(conflict_of(absent).1.is_some());
            } else {
                assert_eq!(conflict_of(present), (0, None));
                absent.unwrap();
            }
        }
        let changed = store.commit(until, fresh_id(), vec![put("a", "new", When::VersionIs(old))]).await;
        assert_eq!(conflict_of(changed), (0, None));
        // Gone is gone, also for a delete that names another version.
        store.commit(until, fresh_id(), vec![delete("a", When::VersionIs(fresh_id()))]).await.unwrap();
        store.commit(until, fresh_id(), vec![put("a", "new", When::Absent)]).await.unwrap();
        assert_eq!(body(&*store, "a").await.as_deref(), Some("new"));
    }

    pub(crate) async fn a_purged_row_neither_fills_a_page_nor_ends_a_list(store: Arc<dyn Store>) {
        let past = Some(Timestamp(NOW.0 - 1));
        for n in 0..30 {
            let expires_at = if n % 3 == 0 { None } else { past };
            done(&*store, vec![put_until(&format!("{n:02}"), "", When::Absent, expires_at)]).await;
        }
        let seen = walk(&*store, 4, |_| async {}).await;
        assert_eq!(seen, ["00", "03", "06", "09", "12", "15", "18", "21", "24", "27"]);
    }

    pub(crate) async fn a_commit_whose_reply_was_lost_finds_itself_done(store: Arc<dyn Store>) {
        let first = done(&*store, vec![put("a", "0", When::Absent), put("b", "0", When::Absent)]).await;
        // One put, created and changed.
        let created = fresh_id();
        for _ in 0..2 {
            store.commit(NOW, created, vec![put("c", "1", When::Absent)]).await.unwrap();
        }
        let changed = fresh_id();
        for _ in 0..2 {
            store.commit(NOW, changed, vec![put("c", "2", When::VersionIs(created))]).await.unwrap();
        }
        assert_eq!(row(&*store, "c").await.unwrap().version, changed);
        // Several writes of every kind.
        let transaction = fresh_id();
        let writes = vec![
            check("b", When::VersionIs(first)),
            put("a", "1", When::VersionIs(first)),
            put("d", "1", When::Absent),
            delete("c", When::VersionIs(changed)),
        ];
        for _ in 0..2 {
            store.commit(NOW, transaction, writes.clone()).await.unwrap();
        }
        assert_eq!(row(&*store, "a").await.unwrap().version, transaction);
        assert_eq!(row(&*store, "c").await, None);

        // Somebody went on from one of its rows: it was done all the same, and his change stands.
        let later = done(&*store, vec![put("a", "2", When::VersionIs(transaction))]).await;
        store.commit(NOW, transaction, writes.clone()).await.unwrap();
        assert_eq!(row(&*store, "a").await.unwrap().version, later);

        // Somebody went on from all of its rows: it is told what is there, and changes nothing.
        done(&*store, vec![put("d", "2", When::VersionIs(transaction))]).await;
        let (at, current) = conflict_of(store.commit(NOW, transaction, writes).await);
        assert_eq!((at, current.map(|row| row.version)), (1, Some(later)));
        assert_eq!(body(&*store, "d").await.as_deref(), Some("2"));
    }

    pub(crate) async fn one_row_that_is_left_proves_a_commit_done_whatever_its_condition_was(store: Arc<dyn Store>) {
        let first = done(&*store, vec![put("a", "0", When::Absent)]).await;
        let until = Some(Timestamp(NOW.0 + 60));
        let id = fresh_id();
        let writes = vec![
            put("a", "1", When::VersionIs(first)),
            put_until("b", "1", When::Always, until),
            check("c", When::Always),
        ];
        store.commit(NOW, id, writes.clone()).await.unwrap();
        let theirs = done(&*store, vec![put("a", "2", When::VersionIs(id))]).await;
        store.commit(NOW, id, writes.clone()).await.unwrap();
        // A purged row proves it as well as any.
        store.commit(Timestamp(NOW.0 + 60), id, writes).await.unwrap();
        assert_eq!(row(&*store, "a").await.unwrap().version, theirs);
        let again = done(&*store, vec![put("b", "2", When::Always)]).await;
        assert_eq!(row(&*store, "b").await.unwrap().version, again);
        for there in ["a", "c"] {
            done(&*store, vec![check(there, When::Always)]).await;
        }
    }

    pub(crate) async fn a_commit_that_is_sent_many_times_at_once_happens_once(store: Arc<dyn Store>, rounds: usize) {
        let rounds = rounds / 4;
        for round in 0..rounds {
            let id = fresh_id();
            let copies: Vec<_> = (0..8)
                .map(|_| {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move {
                        store.commit(NOW, id, vec![put(&format!("{round}"), "", When::Absent)]).await
                    })
                })
                .collect();
            for copy in copies {
                copy.await.unwrap().unwrap();
            }
        }
        println!("counted: {rounds} commits sent 8 times at once, {rounds} done once");
    }

    pub(crate) async fn a_list_is_sorted_by_bytes_and_stays_in_its_partition(store: Arc<dyn Store>) {
        for sort in ["b", "a", "é", "a/b", "Z", "a\u{0}", ""] {
            done(&*store, vec![put(if sort.is_empty() { "10" } else { sort }, "", When::Absent)]).await;
        }
        for partition in ["test#row", "test#rowsx", "test#rowr", "test#rowt"] {
            let item = Draft { key: Key::new(partition, "b"), expires_at: None, body: String::new() };
            done(&*store, vec![Write::Put { item, when: When::Absent }]).await;
        }
        let seen = walk(&*store, 2, |_| async {}).await;
        assert_eq!(seen, ["10", "Z", "a", "a\u{0}", "a/b", "b", "é"]);
        assert_eq!(store.list(NOW, "test#nothing", None, 5).await.unwrap(), Page::default());
        assert_eq!(store.list(NOW, "test#rows", Some("é"), 5).await.unwrap().items, []);
    }

    pub(crate) async fn a_walk_page_by_page_misses_and_repeats_nothing_while_rows_are_inserted(store: Arc<dyn Store>) {
        for n in 0..25 {
            done(&*store, vec![put(&format!("{n:03}0"), "", When::Absent)]).await;
        }
        let inserted = std::sync::Mutex::new(Vec::new());
        let seen = walk(&*store, 5, |page| {
            let store = Arc::clone(&store);
            // One before where the walk is, one right after it.
            let late = format!("{}~", page.items.last().unwrap().key.sort);
            if page.next.is_some() {
                inserted.lock().unwrap().push(late.clone());
            }
            async move {
                done(&*store, vec![put("0000-early", "", When::Always), put(&late, "", When::Always)]).await;
            }
        })
        .await;
        let mut expected: Vec<_> = (0..25).map(|n| format!("{n:03}0")).collect();
        expected.append(&mut inserted.lock().unwrap());
        expected.sort();
        assert_eq!(seen, expected);
    }

    /// Reads a partition page by page, with something happening after each page.
    async fn walk<F: Future<Output = ()>>(
        store: &dyn Store,
        limit: usize,
        meanwhile: impl Fn(Page) -> F,
    ) -> Vec<String> {
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.list(NOW, "test#rows", after.as_deref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.iter().map(|row| row.key.sort.clone()));
            after.clone_from(&page.next);
            if !page.items.is_empty() {
                meanwhile(page).await;
            }
            if after.is_none() {
                return seen;
            }
        }
    }

    pub(crate) async fn a_get_answers_in_order_and_a_key_may_repeat(store: Arc<dyn Store>) {
        assert_eq!(store.get(NOW, &[]).await.unwrap(), []);
        done(&*store, vec![put("a", "A", When::Absent), put("b", "B", When::Absent)]).await;
        let keys = ["b", "none", "a", "b", "b", "none"].map(key);
        let bodies: Vec<_> =
            store.get(NOW, &keys).await.unwrap().into_iter().map(|row| row.map(|row| row.body)).collect();
        let expected = [Some("B"), None, Some("A"), Some("B"), Some("B"), None];
        assert_eq!(bodies, expected.map(|body| body.map(String::from)));
        // More than one request of any backend holds.
        let many: Vec<_> = (0..250).map(|n| key(if n % 2 == 0 { "a" } else { "none" })).collect();
        let rows = store.get(NOW, &many).await.unwrap();
        assert_eq!(rows.len(), 250);
        assert!(rows.iter().enumerate().all(|(n, row)| row.is_some() == (n % 2 == 0)));
    }

    pub(crate) async fn a_commit_of_a_wrong_shape_is_refused_whole(store: Arc<dyn Store>) {
        let many = |count: usize| (0..count).map(|n| put(&format!("{n}"), "", When::Always)).collect::<Vec<_>>();
        let wrong = [
            vec![],
            many(MAX_WRITES + 1),
            vec![put("a", "1", When::Always), check("a", When::Absent)],
            vec![delete("a", When::Always), check("b", When::Absent)],
        ];
        for writes in wrong {
            unavailable(store.commit(NOW, fresh_id(), writes).await);
        }
        assert_eq!(store.list(NOW, "test#rows", None, 10).await.unwrap().items, []);
        done(&*store, many(MAX_WRITES)).await;
    }
}

/// The whole suite on one backend, each test on an empty store.
macro_rules! conformance {
    ($backend:ty) => {
        $crate::store::conformance::conformance! {
            @each $backend:
            what_was_put_is_read_back_whole
            a_commit_is_all_or_nothing
            a_conflict_names_the_first_write_that_failed_and_the_row_that_is_there
            a_put_without_a_condition_always_happens
            a_delete_of_what_is_gone_is_done_and_of_another_version_a_conflict
            a_row_past_its_purge_time_is_absent_for_every_purpose
            a_purged_row_neither_fills_a_page_nor_ends_a_list
            a_commit_whose_reply_was_lost_finds_itself_done
            one_row_that_is_left_proves_a_commit_done_whatever_its_condition_was
            a_list_is_sorted_by_bytes_and_stays_in_its_partition
            a_walk_page_by_page_misses_and_repeats_nothing_while_rows_are_inserted
            a_get_answers_in_order_and_a_key_may_repeat
            a_commit_of_a_wrong_shape_is_refused_whole
            ;
            of_sixteen_who_create_a_row_one_wins
            of_sixteen_who_change_a_row_one_wins
            a_commit_that_is_sent_many_times_at_once_happens_once
        }
    };
    (@each $backend:ty: $($test:ident)*; $($race:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let bed = <$backend as $crate::store::conformance::Backend>::fresh().await;
                $crate::store::conformance::suite::$test(std::sync::Arc::clone(&bed.store)).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $race() {
                let bed = <$backend as $crate::store::conformance::Backend>::fresh().await;
                let races = <$backend as $crate::store::conformance::Backend>::RACES;
                $crate::store::conformance::suite::$race(std::sync::Arc::clone(&bed.store), races).await;
            }
        )*
    };
}
pub(crate) use conformance;
