//! Grants, denials and revocations at the same moment: one order of them explains what each was told and what is left, and
//! both lists of permissions say the same.

use std::{collections::BTreeSet, sync::Arc};

use gatemint::domain::{
    RefusalKind,
    access::{Resource, Subject, permission},
    account::manage as accounts,
};
use tokio::task::JoinSet;

use super::{
    history::{action, listed, principal_of, rank, resource},
    model::{ACTIONS, DENY, MANAGE, READ, Rank, WRITE},
    service_on,
};
use crate::{
    store::{Memory, Sqlite, conformance::Backend},
    support::{TestService, asking::random},
};

/// What somebody does to ada's permission on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Grant(Rank),
    Revoke,
}

/// What she is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// This holds now.
    Holds(Rank),
    Revoked,
    NothingToRevoke,
    /// Others were always faster; nothing was done.
    TryAgain,
}

async fn does(test: &TestService, deed: Deed, on: &[Resource]) -> Told {
    let (service, now, operator, ada) = (&test.service, test.service.now(), Subject::operator(), principal_of("ada"));
    let refused = |kind| match kind {
        RefusalKind::Unavailable => Told::TryAgain,
        RefusalKind::Conflict => Told::NothingToRevoke,
        other => panic!("{other:?}"),
    };
    match deed {
        Deed::Grant(asked) => {
            let wanted: Vec<_> = on.iter().map(|on| (on.clone(), action(asked))).collect();
            let held = permission::grant(service, now, &operator, &ada, &wanted).await;
            held.map_or_else(|refusal| refused(refusal.kind), |held| Told::Holds(rank(held[0].action)))
        }
        Deed::Revoke => {
            let done = permission::revoke(service, now, &operator, &ada, on).await;
            done.map_or_else(|refusal| refused(refusal.kind), |()| Told::Revoked)
        }
    }
}

/// All of them at once, each by a task of its own.
async fn at_once(test: &Arc<TestService>, on: &Resource, deeds: &[Deed]) -> Vec<(Deed, Told)> {
    let mut tasks = JoinSet::new();
    for deed in deeds.iter().copied() {
        let (test, on) = (test.clone(), [on.clone()]);
        tasks.spawn(async move { (deed, does(&test, deed, &on).await) });
    }
    tasks.join_all().await
}

/// What may be left of a permission after these, told so, in any order that explains them.
fn explained(has: Option<Rank>, deeds: &[(Deed, Told)]) -> BTreeSet<Option<Rank>> {
    if deeds.is_empty() {
        return [has].into();
    }
    let mut left = BTreeSet::new();
    for first in 0..deeds.len() {
        let mut rest = deeds.to_vec();
        let next = match rest.remove(first) {
            (_, Told::TryAgain) => has,
            (Deed::Grant(asked), Told::Holds(holds)) => {
                let keeps = has.filter(|has| *has != DENY && asked != DENY && *has >= asked);
                if keeps.unwrap_or(asked) != holds {
                    continue;
                }
                Some(holds)
            }
            // Two who revoke at once may both have seen it.
            (Deed::Revoke, Told::Revoked) => None,
            (Deed::Revoke, Told::NothingToRevoke) if has.is_none() => None,
            _ => continue,
        };
        left.extend(explained(next, &rest));
    }
    left
}

/// What ada holds on a resource of eve's. Both lists and the decision say so.
async fn left(test: &TestService, on: &Resource) -> Option<Rank> {
    let (service, now, operator) = (&test.service, test.service.now(), Subject::operator());
    let held = permission::held(service, now, &operator, &principal_of("ada"), Some(on), false).await.unwrap();
    let shared = permission::shared(service, now, &operator, &principal_of("eve"), Some(on)).await.unwrap();
    let (held, shared) = (listed(held), listed(shared));
    assert_eq!(held, shared, "what ada holds, and what eve shares");
    let holds = held.first().map(|(_, _, rank)| *rank);
    let all: Vec<_> = (1..ACTIONS.len()).map(|rank| (on.clone(), action(rank))).collect();
    let missing = permission::missing(service, now, &operator, &principal_of("ada"), &all).await.unwrap();
    assert_eq!(missing.len(), MANAGE - holds.unwrap_or(DENY), "{missing:?} of {holds:?}");
    if let Some(role) = on.as_str().strip_prefix("role://default/") {
        let account = accounts::get(service, now, "ada").await.unwrap().record;
        let member = account.roles.iter().any(|has| has.as_str() == role);
        assert_eq!(member, holds.is_some_and(|holds| holds >= READ), "a member of {role}, who holds {holds:?} on it");
    }
    holds
}

/// A service with ada and eve.
async fn two<B: Backend>() -> (Arc<TestService>, crate::store::conformance::Bed) {
    let (test, bed) = service_on::<B>().await;
    (Arc::new(test.user("ada", &[]).await.user("eve", &[]).await), bed)
}

fn some_deed() -> Deed {
    match random(7) {
        0 | 1 => Deed::Revoke,
        2 => Deed::Grant(DENY),
        _ => Deed::Grant(1 + usize::try_from(random(4)).unwrap()),
    }
}

/// A few at once, again and again on one permission.
async fn a_few<B: Backend>(name: &str, on: &str, rounds: usize) {
    let (test, _bed) = two::<B>().await;
    let on = resource(on);
    let (mut has, mut deeds, mut orders) = (None, 0, BTreeSet::new());
    for _ in 0..rounds {
        let few: Vec<Deed> = (0..2 + random(3)).map(|_| some_deed()).collect();
        let told = at_once(&test, &on, &few).await;
        let possible = explained(has, &told);
        let left = left(&test, &on).await;
        assert!(possible.contains(&left), "{has:?}, then {told:?}, then {left:?}: only {possible:?} could be left");
        (has, deeds) = (left, deeds + few.len());
        orders.insert(possible.len());
    }
    assert!(orders.len() > 1, "sometimes the order decided: {orders:?}");
    println!(
        "counted: {name}: {deeds} grants, denials and revocations on {on}, up to 4 at once, all explained by one order"
    );
}

/// A grant and a denial, from everything that there could have been before.
async fn grant_beside_denial<B: Backend>(name: &str, rounds: usize) {
    let (test, _bed) = two::<B>().await;
    let (mut denied, mut granted) = (0, 0);
    for round in 0..rounds {
        let on = resource(&format!("job://default/eve/{round}"));
        let before = [None, Some(DENY), Some(READ), Some(MANAGE)][round % 4];
        if let Some(before) = before {
            assert_eq!(does(&test, Deed::Grant(before), std::slice::from_ref(&on)).await, Told::Holds(before));
        }
        let told = at_once(&test, &on, &[Deed::Grant(WRITE), Deed::Grant(DENY)]).await;
        let left = left(&test, &on).await;
        assert!(explained(before, &told).contains(&left), "{before:?}, then {told:?}, then {left:?}");
        assert!(!told.iter().any(|(_, told)| *told == Told::TryAgain), "one of two is never too slow three times");
        match left {
            Some(DENY) => denied += 1,
            Some(WRITE) => granted += 1,
            other => panic!("{other:?} is what nobody asked for"),
        }
    }
    println!("counted: {name}: {rounds} grants beside a denial, {denied} denied and {granted} granted in the end");
}

/// Sixty-four at once on one permission, each until it is done.
async fn sixty_four<B: Backend>(name: &str, rounds: usize) {
    let (test, _bed) = two::<B>().await;
    let (mut done, mut again, mut nothing) = (0, 0, 0);
    for round in 0..rounds {
        let on = resource(&format!("job://default/eve/{round}"));
        let with_revocations = round % 2 == 1;
        let mut tasks = JoinSet::new();
        for n in 0..64 {
            let deed = if with_revocations && n % 4 == 0 { Deed::Revoke } else { Deed::Grant(1 + n % 4) };
            let (test, on) = (test.clone(), [on.clone()]);
            tasks.spawn(async move {
                let mut tries = 0;
                loop {
                    match does(&test, deed, &on).await {
                        Told::TryAgain => tries += 1,
                        told => return (deed, told, tries),
                    }
                }
            });
        }
        let mut revoked = false;
        for (deed, told, tries) in tasks.join_all().await {
            again += tries;
            done += 1;
            match (deed, told) {
                (Deed::Grant(asked), Told::Holds(holds)) => assert!(holds >= asked, "what was granted holds"),
                (Deed::Revoke, Told::Revoked) => revoked = true,
                (Deed::Revoke, Told::NothingToRevoke) => nothing += 1,
                other => panic!("{other:?}"),
            }
        }
        let left = left(&test, &on).await;
        if revoked {
            assert!(left.is_none_or(|left| left > DENY), "nobody denied");
        } else {
            assert_eq!(left, Some(MANAGE), "none lowered another");
        }
    }
    println!(
        "counted: {name}: {done} grants and revocations, 64 at once on one permission, {again} told to try again, \
         {nothing} with nothing to revoke"
    );
}

/// A grant of two beside a denial of the same two.
async fn two_resources<B: Backend>(name: &str, rounds: usize) {
    let (test, _bed) = two::<B>().await;
    for round in 0..rounds {
        let both = ["a", "b"].map(|end| resource(&format!("job://default/eve/{round}/{end}")));
        let mut turned = both.clone();
        turned.reverse();
        let (other, this) = (test.clone(), both.clone());
        let grant = tokio::spawn(async move { does(&other, Deed::Grant(WRITE), &this).await });
        let denial = does(&test, Deed::Grant(DENY), &turned).await;
        let grant = grant.await.unwrap();
        assert_eq!((grant, denial), (Told::Holds(WRITE), Told::Holds(DENY)));
        assert_eq!(left(&test, &both[0]).await, left(&test, &both[1]).await, "both, or neither");
    }
    println!("counted: {name}: {rounds} grants of 2 beside a denial of both, never one of each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_few_at_once_one_order_explains_what_each_was_told() {
    const JOB: &str = "job://default/eve/web";
    a_few::<Memory>("memory", JOB, 300).await;
    a_few::<Sqlite>("SQLite", JOB, 60).await;
    #[cfg(feature = "aws")]
    a_few::<crate::dynamodb::Ministack>("DynamoDB", JOB, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_at_once_the_members_of_a_role_are_those_who_may_read_it() {
    const ROLE: &str = "role://default/eve/team";
    a_few::<Memory>("memory", ROLE, 300).await;
    a_few::<Sqlite>("SQLite", ROLE, 60).await;
    #[cfg(feature = "aws")]
    a_few::<crate::dynamodb::Ministack>("DynamoDB", ROLE, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_grant_beside_a_denial_is_one_of_the_two() {
    grant_beside_denial::<Memory>("memory", 120).await;
    grant_beside_denial::<Sqlite>("SQLite", 40).await;
    #[cfg(feature = "aws")]
    grant_beside_denial::<crate::dynamodb::Ministack>("DynamoDB", 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixty_four_at_once_none_is_lost_and_none_lowers_another() {
    sixty_four::<Memory>("memory", 8).await;
    sixty_four::<Sqlite>("SQLite", 4).await;
    #[cfg(feature = "aws")]
    sixty_four::<crate::dynamodb::Ministack>("DynamoDB", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_granted_together_is_one_change() {
    two_resources::<Memory>("memory", 60).await;
    two_resources::<Sqlite>("SQLite", 20).await;
    #[cfg(feature = "aws")]
    two_resources::<crate::dynamodb::Ministack>("DynamoDB", 8).await;
}
