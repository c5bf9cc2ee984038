//! Grants: they are the account's and not the name's, are never lowered by another grant, and end when they are revoked.

use std::sync::Arc;

use gatemint::domain::{
    RefusalKind,
    access::{Action, Principal, Resource, Subject, permission},
    account::{Account, manage},
};

use crate::support::TestService;

fn resource(text: &str) -> Resource {
    Resource::parse(text, "uri").unwrap()
}

fn user(name: &str) -> Principal {
    Principal::parse(name, "user").unwrap()
}

async fn account(test: &TestService, name: &str) -> Account {
    manage::get(&test.service, test.service.now(), name).await.unwrap().record
}

/// Whether somebody may do that now.
async fn may(test: &TestService, name: &str, uri: &str, wanted: Action) -> bool {
    let subject = Subject::of_account(&account(test, name).await, true);
    permission::may(&test.service, test.service.now(), &subject, &resource(uri), wanted).await.unwrap()
}

async fn granted(test: &TestService, name: &str) -> Vec<(String, Action)> {
    let (now, by) = (test.service.now(), Subject::operator());
    let all = permission::held(&test.service, now, &by, &user(name), None, true).await.unwrap();
    all.into_iter().map(|permission| (permission.resource.to_string(), permission.action)).collect()
}

const VMS: &str = "gatetoken://default/vms";

#[tokio::test]
async fn a_name_that_is_made_again_inherits_nothing() {
    let test = TestService::new().await.user("ada", &[]).await.user("eve", &[]).await;
    let (now, by) = (test.service.now(), Subject::operator());
    test.grant("ada", VMS, Action::Write).await;
    assert!(may(&test, "ada", VMS, Action::Write).await && !may(&test, "ada", VMS, Action::Manage).await);
    assert!(!may(&test, "eve", VMS, Action::List).await);
    let before = account(&test, "ada").await;

    manage::delete(&test.service, now, "ada", "test").await.unwrap();
    let asked = [(resource(VMS), Action::Read)];
    for refusal in [
        permission::grant(&test.service, now, &by, &user("ada"), &asked).await.unwrap_err(),
        permission::revoke(&test.service, now, &by, &user("ada"), &[resource(VMS)]).await.unwrap_err(),
        permission::held(&test.service, now, &by, &user("ada"), None, false).await.unwrap_err(),
    ] {
        assert_eq!(refusal.kind, RefusalKind::Absent);
    }
    let test = test.user("ada", &[]).await;
    assert_ne!(account(&test, "ada").await.uid, before.uid);
    assert_eq!(granted(&test, "ada").await, []);
    assert!(!may(&test, "ada", VMS, Action::List).await);
    println!("counted: 1 name made again, 1 grant not inherited");
}

#[tokio::test]
async fn a_grant_counts_for_its_resource_and_below_and_only_a_revocation_lowers_it() {
    let test = TestService::new().await.user("ada", &[]).await.user("eve", &[]).await;
    let (now, by) = (test.service.now(), Subject::operator());
    let job = "job://default/eve/web";
    for (asked, has) in [
        (Action::Read, Action::Read),
        (Action::List, Action::Read),
        (Action::Manage, Action::Manage),
        (Action::Write, Action::Manage),
    ] {
        assert_eq!(test.grant("ada", job, asked).await, has);
    }
    assert!(may(&test, "ada", "job://default/eve/web/logs", Action::Manage).await);
    for beside in ["job://default/eve/web2", "job://default/eve", "job://default", "image://default/eve/web"] {
        assert!(!may(&test, "ada", beside, Action::List).await, "{beside}");
    }
    test.grant("ada", "gatetoken://default/a", Action::Write).await;
    assert_eq!(
        granted(&test, "ada").await,
        [("gatetoken://default/a".to_owned(), Action::Write), (job.to_owned(), Action::Manage)]
    );
    let elsewhere = [(resource("job://other/eve/web"), Action::Read)];
    let elsewhere = permission::grant(&test.service, now, &by, &user("ada"), &elsewhere).await.unwrap_err();
    assert_eq!((elsewhere.kind, elsewhere.field), (RefusalKind::Invalid, Some("uri")));

    test.revoke("ada", job).await;
    assert!(!may(&test, "ada", job, Action::List).await);
    let again = permission::revoke(&test.service, now, &by, &user("ada"), &[resource(job)]).await.unwrap_err();
    assert_eq!((again.kind, &*again.text), (RefusalKind::Conflict, "Operation has no effect"));
    assert_eq!(test.grant("ada", job, Action::Read).await, Action::Read);
    // A denial takes the place of what there is, and gives way to what is granted after it.
    assert_eq!(test.grant("ada", job, Action::Deny).await, Action::Deny);
    assert!(!may(&test, "ada", job, Action::List).await);
    assert_eq!(test.grant("ada", job, Action::List).await, Action::List);

    for n in 0..20 {
        test.grant("ada", &format!("job://default/eve/n{n:02}"), Action::Read).await;
    }
    assert_eq!(granted(&test, "ada").await.len(), 22);
    let below = |uri: &'static str| {
        let (test, by) = (&test, &by);
        async move {
            let below = resource(uri);
            permission::held(&test.service, now, by, &user("ada"), Some(&below), false).await.unwrap().len()
        }
    };
    assert_eq!((below("job://default/eve").await, below(job).await, below("job://default/ev").await), (21, 1, 0));
    println!("counted: 28 grants, 1 revoked, 22 listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_grants_at_once_the_most_is_what_holds() {
    let test = Arc::new(TestService::new().await.user("ada", &[]).await);
    let now = test.service.now();
    let (mut done, mut again) = (0, 0);
    for round in 0..10 {
        let job = format!("job://default/eve/{round}");
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (test, job) = (test.clone(), resource(&job));
            let action = [Action::List, Action::Read, Action::Write, Action::Manage][n % 4];
            tasks.spawn(async move {
                let (by, asked) = (Subject::operator(), [(job, action)]);
                let has = permission::grant(&test.service, now, &by, &user("ada"), &asked).await;
                has.map(|has| (action, has[0].action))
            });
        }
        let mut most = Action::Deny;
        for outcome in tasks.join_all().await {
            match outcome {
                Ok((asked, has)) => {
                    assert!(has >= asked, "what was granted holds");
                    most = most.max(asked);
                    done += 1;
                }
                Err(refusal) => {
                    assert_eq!(refusal.kind, RefusalKind::Unavailable);
                    again += 1;
                }
            }
        }
        assert!(may(&test, "ada", &job, most).await, "{most:?}");
    }
    println!("counted: {done} grants at once on 10 resources, none lowered another; {again} told to try again");
}

#[tokio::test]
async fn who_may_read_a_role_is_its_member() {
    let test = TestService::new().await.user("ada", &[]).await.user("eve", &["other/role"]).await;
    let (now, web) = (test.service.now(), "job://default/ada/web");
    let by = Subject::of_account(&account(&test, "ada").await, true);
    let give = async |uri: &str, to: &str, action: Action| {
        permission::grant(&test.service, now, &by, &user(to), &[(resource(uri), action)]).await.map(|has| has[0].action)
    };
    give(web, "ada/readers", Action::Read).await.unwrap();
    assert!(!may(&test, "eve", web, Action::Read).await);
    give("role://default/ada/readers", "eve", Action::Read).await.unwrap();
    let roles = async || account(&test, "eve").await.roles.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(roles().await, ["other/role", "ada/readers"]);
    assert!(may(&test, "eve", web, Action::Read).await && !may(&test, "eve", web, Action::Write).await);
    // She gives nobody the roles of others, and nobody gives his to her.
    let others = give("role://default/other/role", "ada", Action::Read).await.unwrap_err();
    assert_eq!(others.kind, RefusalKind::Forbidden);
    let eve = Subject::of_account(&account(&test, "eve").await, true);
    let own = [(resource("role://default/ada/readers"), Action::Manage)];
    let own = permission::grant(&test.service, now, &eve, &user("eve"), &own).await.unwrap_err();
    assert_eq!((own.kind, own.missing.len()), (RefusalKind::Forbidden, 1));

    permission::revoke(&test.service, now, &by, &user("eve"), &[resource("role://default/ada/readers")]).await.unwrap();
    assert_eq!(roles().await, ["other/role"]);
    assert!(!may(&test, "eve", web, Action::Read).await);

    // A member may leave; whoever is denied a role may not take that away.
    let leave = async || {
        let eve = Subject::of_account(&account(&test, "eve").await, true);
        let role = [resource("role://default/ada/readers")];
        permission::revoke(&test.service, now, &eve, &user("eve"), &role).await.map_err(|refusal| refusal.kind)
    };
    assert_eq!(leave().await, Err(RefusalKind::Forbidden), "there is nothing to leave");
    give("role://default/ada/readers", "eve", Action::Read).await.unwrap();
    leave().await.unwrap();
    assert_eq!(roles().await, ["other/role"]);
    give("role://default/ada/readers", "eve", Action::Deny).await.unwrap();
    assert_eq!(leave().await, Err(RefusalKind::Forbidden), "a denial");
    permission::revoke(&test.service, now, &by, &user("eve"), &[resource("role://default/ada/readers")]).await.unwrap();

    // Nobody is given so many that her tokens are of no use.
    for n in 0..8 {
        give(&format!("role://default/ada/r{n}"), "eve", Action::Read).await.unwrap();
    }
    let full = give("role://default/ada/r8", "eve", Action::Read).await.unwrap_err();
    assert_eq!((full.kind, full.field), (RefusalKind::Invalid, Some("roles")));
    let on_role = [(resource("role://default/ada/r8"), Action::List)];
    let missing = permission::missing(&test.service, now, &Subject::operator(), &user("eve"), &on_role).await.unwrap();
    assert_eq!(missing.len(), 1, "what was refused was not done");

    // Ada is made again: who was the predecessor's member is not hers.
    give(web, "ada/r0", Action::Read).await.unwrap();
    assert!(may(&test, "eve", web, Action::Read).await);
    manage::delete(&test.service, now, "ada", "test").await.unwrap();
    let test = test.user("ada", &[]).await;
    assert_eq!(test.grant("ada/r0", web, Action::Read).await, Action::Read);
    assert!(!may(&test, "eve", web, Action::Read).await);
    assert_eq!(test.grant("eve", "role://default/ada/r0", Action::Read).await, Action::Read);
    assert!(may(&test, "eve", web, Action::Read).await);
    println!("counted: 10 roles given, 2 left or taken, 1 refused, 1 of an owner before");
}
