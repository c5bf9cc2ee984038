//! Grants: they are the account's and not the name's, are never lowered by another grant, and end when they are revoked.

use std::sync::Arc;

use gatemint::domain::{
    RefusalKind,
    access::{Action, Permission, Resource, allows, permission},
    account::{Account, manage},
};

use crate::support::TestService;

fn resource(text: &str) -> Resource {
    Resource::parse(text, "uri").unwrap()
}

async fn account(test: &TestService, name: &str) -> Account {
    manage::get(&test.service, test.service.now(), name).await.unwrap().record
}

/// Whether somebody may do that, by the row that is there now.
async fn may(test: &TestService, name: &str, resource: &Resource, wanted: Action) -> bool {
    let account = account(test, name).await;
    let key = Permission::key_of(account.uid, resource);
    let row = test.service.read::<Permission>(test.service.now(), key).await.unwrap().map(|row| row.record);
    allows(&account, true, resource, row.as_ref(), wanted)
}

async fn granted(test: &TestService, name: &str) -> Vec<(String, Action)> {
    let (all, next) = permission::list(&test.service, test.service.now(), name, None, 90).await.unwrap();
    assert_eq!(next, None);
    all.into_iter().map(|permission| (permission.resource.to_string(), permission.action)).collect()
}

#[tokio::test]
async fn a_name_that_is_made_again_inherits_nothing() {
    let test = TestService::new().await.user("ada", &[]).await.user("eve", &[]).await;
    let now = test.service.now();
    let vms = resource("gatetoken://default/vms");
    permission::grant(&test.service, now, "ada", &vms, Action::Write, "test").await.unwrap();
    assert!(may(&test, "ada", &vms, Action::Write).await && !may(&test, "ada", &vms, Action::Manage).await);
    assert!(!may(&test, "eve", &vms, Action::List).await);
    let before = account(&test, "ada").await;

    manage::delete(&test.service, now, "ada", "test").await.unwrap();
    for refusal in [
        permission::grant(&test.service, now, "ada", &vms, Action::Read, "test").await.unwrap_err(),
        permission::revoke(&test.service, now, "ada", &vms, "test").await.unwrap_err(),
        permission::list(&test.service, now, "ada", None, 9).await.unwrap_err(),
    ] {
        assert_eq!(refusal.kind, RefusalKind::Absent);
    }
    let test = test.user("ada", &[]).await;
    assert_ne!(account(&test, "ada").await.uid, before.uid);
    assert_eq!(granted(&test, "ada").await, []);
    assert!(!may(&test, "ada", &vms, Action::List).await);
    // Not even with the row of the one before: it holds whose it is.
    let key = Permission::key_of(before.uid, &vms);
    let row = test.service.read::<Permission>(now, key).await.unwrap().map(|row| row.record);
    assert!(!allows(&account(&test, "ada").await, true, &vms, row.as_ref(), Action::List));
    println!("counted: 1 name made again, 1 grant not inherited");
}

#[tokio::test]
async fn a_grant_is_on_one_resource_and_only_a_revocation_lowers_it() {
    let test = TestService::new().await.user("ada", &[]).await;
    let now = test.service.now();
    let job = resource("job://default/eve/web");
    let grant = async |resource: &Resource, action: Action| {
        permission::grant(&test.service, now, "ada", resource, action, "test").await.map(|permission| permission.action)
    };
    for (asked, has) in [
        (Action::Read, Action::Read),
        (Action::List, Action::Read),
        (Action::Manage, Action::Manage),
        (Action::Write, Action::Manage),
    ] {
        assert_eq!(grant(&job, asked).await.unwrap(), has);
    }
    assert!(!may(&test, "ada", &resource("job://default/eve/web2"), Action::List).await);
    assert!(!may(&test, "ada", &resource("job://default/eve"), Action::List).await);
    grant(&resource("gatetoken://default/a"), Action::Write).await.unwrap();
    assert_eq!(
        granted(&test, "ada").await,
        [("gatetoken://default/a".to_owned(), Action::Write), (job.to_string(), Action::Manage)]
    );
    let elsewhere = grant(&resource("job://other/eve/web"), Action::Read).await.unwrap_err();
    assert_eq!((elsewhere.kind, elsewhere.field), (RefusalKind::Invalid, Some("uri")));

    permission::revoke(&test.service, now, "ada", &job, "test").await.unwrap();
    assert!(!may(&test, "ada", &job, Action::List).await);
    let again = permission::revoke(&test.service, now, "ada", &job, "test").await.unwrap_err();
    assert_eq!(again.kind, RefusalKind::Absent);
    assert_eq!(grant(&job, Action::Read).await.unwrap(), Action::Read);

    let mut paged = 0;
    for n in 0..20 {
        grant(&resource(&format!("job://default/eve/n{n:02}")), Action::Read).await.unwrap();
    }
    let mut after = None;
    loop {
        let (page, next) = permission::list(&test.service, now, "ada", after.as_deref(), 7).await.unwrap();
        paged += page.len();
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, 22);
    println!("counted: 26 grants, 1 revoked, {paged} listed page by page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_grants_at_once_the_most_is_what_holds() {
    let test = Arc::new(TestService::new().await.user("ada", &[]).await);
    let now = test.service.now();
    let (mut done, mut again) = (0, 0);
    for round in 0..10 {
        let job = resource(&format!("job://default/eve/{round}"));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (test, job) = (test.clone(), job.clone());
            let action = [Action::List, Action::Read, Action::Write, Action::Manage][n % 4];
            tasks.spawn(async move {
                permission::grant(&test.service, now, "ada", &job, action, "test").await.map(|has| (action, has.action))
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
        let key = Permission::key_of(account(&test, "ada").await.uid, &job);
        let row = test.service.read::<Permission>(now, key).await.unwrap().unwrap();
        assert!(row.record.action >= most, "{:?} {most:?}", row.record.action);
    }
    println!("counted: {done} grants at once on 10 resources, none lowered another; {again} told to try again");
}
