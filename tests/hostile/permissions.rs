use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use gatemint::domain::{
    RefusalKind, Secret,
    access::{
        Action, Principal, Resource, Subject, permission,
        site::{self, NewSite},
    },
    account::manage::{self as accounts, NewAccount},
};
use serde_json::json;

use super::still_works;
use crate::support::{PASSWORD, TestService};

pub(super) fn resource(text: &str) -> Resource {
    Resource::parse(text, "uri").unwrap()
}

pub(super) fn principal(text: &str) -> Principal {
    Principal::parse(text, "principal").unwrap()
}

/// Grants as the operator does.
pub(super) async fn grant(test: &TestService, to: &str, on: &str, action: Action) {
    let wanted = [(resource(on), action)];
    permission::grant(&test.service, test.service.now(), &Subject::operator(), &principal(to), &wanted).await.unwrap();
}

/// Revokes as the operator does.
pub(super) async fn revoke(test: &TestService, of: &str, on: &str) {
    let on = [resource(on)];
    permission::revoke(&test.service, test.service.now(), &Subject::operator(), &principal(of), &on).await.unwrap();
}

/// Whether somebody may do that now.
async fn may(test: &TestService, who: &str, on: &str, wanted: Action) -> bool {
    let (service, now, asked) = (&test.service, test.service.now(), [(resource(on), wanted)]);
    permission::missing(service, now, &Subject::operator(), &principal(who), &asked).await.unwrap().is_empty()
}

/// What somebody was granted, as the operator sees it.
pub(super) async fn granted(test: &TestService, who: &str) -> Vec<String> {
    let (service, now, who) = (&test.service, test.service.now(), principal(who));
    let held = permission::held(service, now, &Subject::operator(), &who, None, true).await.unwrap();
    held.into_iter().map(|held| format!("{} {}", held.action.as_str(), held.resource)).collect()
}

/// Makes a user whose name somebody had before.
pub(super) async fn user_again(test: &TestService, name: &str) {
    let new = NewAccount {
        name: name.into(),
        namespace: None,
        email: String::new(),
        roles: Vec::new(),
        enabled: true,
        mirror_token: false,
        password: Secret::new(PASSWORD.as_bytes().to_vec()),
    };
    accounts::create(&test.service, test.service.now(), new, "test").await.unwrap();
}

/// A service with ada and eve, an admin, and a site for everybody's jobs.
pub(super) async fn with_jobs() -> TestService {
    let test = TestService::new().await.user("root", &["admin"]).await.user("ada", &[]).await.user("eve", &[]).await;
    let jobs = NewSite {
        id: "jobs".into(),
        host: "{name}--{owner}.jobs.example.org".into(),
        resource: "job://{cluster}/{owner}/{name}".into(),
    };
    site::create(&test.service, test.service.now(), &jobs, "test").await.unwrap();
    test
}

/// A proxy asks about a look at ada's job `web`, with a token as a cookie and as a bearer.
pub(super) async fn at_the_door(test: &TestService, token: &str) -> u16 {
    let asked = |name: &str, value: String| {
        Request::get("/auth/verify")
            .header("x-original-method", "GET")
            .header("x-original-url", "https://web--ada.jobs.example.org/")
            .header(name, value)
            .body(Body::empty())
            .unwrap()
    };
    let cookie = test.send(asked("cookie", format!("dat={token}"))).await.status;
    let bearer = test.send(asked("authorization", format!("Bearer {token}"))).await.status;
    assert_eq!(cookie, bearer, "whichever way it comes");
    cookie.as_u16()
}

#[tokio::test]
async fn nobody_gives_herself_a_role_and_no_role_is_a_list_or_somebody_else() {
    let test = with_jobs().await;
    let (root, ada) = (test.sign_in("root").await, test.sign_in("ada").await);
    grant(&test, "eve/readers", "job://default/eve", Action::Manage).await;
    let before = test.v1(Method::GET, "/v1/users/ada", &root.access, None).await.text;
    let roles = [
        "system:masters",
        "system:serviceaccount:eve:ci",
        "eve:readers",
        "eve/readers,admin",
        "admin,eve/readers",
        "eve/readers eve/writers",
        "eve/readers\nadmin",
        "eve/readers/",
        "/eve/readers",
        "eve//readers",
        "eve/../admin",
        "eve/./readers",
        "eve\\readers",
        "eve/Readers",
        "eve/reade\u{301}rs",
        "eve%2freaders",
        "*",
        "eve/*",
        "",
    ];
    let patch = |roles: serde_json::Value| Some(json!({"roles": roles}));
    for role in roles {
        let answer = test.v1(Method::PATCH, "/v1/users/ada", &root.access, patch(json!([role]))).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json["field"]),
            (422, &json!("roles")),
            "{role:?}: {}",
            answer.text
        );
        assert!(Principal::parse(role, "principal").is_err(), "{role:?} is no principal either");
    }
    // Her own row is not hers to change, by whatever path.
    let mut refused = 0;
    for role in ["admin", "eve/readers", "ada/readers", "readers"] {
        for (method, path) in [
            (Method::PATCH, "/v1/users/ada"),
            (Method::PATCH, "/v1/me"),
            (Method::PUT, "/v1/me"),
            (Method::POST, "/v1/users"),
            (Method::PUT, "/v1/users/ada"),
            (Method::PATCH, "/v1/users/ada/"),
            (Method::PATCH, "/v1/users/eve"),
        ] {
            let body = if method == Method::POST {
                Some(json!({"name": "eva", "password": PASSWORD, "roles": [role]}))
            } else {
                patch(json!([role]))
            };
            let answer = test.v1(method.clone(), path, &ada.access, body).await;
            assert!([403, 404, 405].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.text);
            refused += 1;
        }
    }
    assert_eq!(test.v1(Method::GET, "/v1/users/ada", &root.access, None).await.text, before, "nothing changed");
    assert!(!may(&test, "ada", "job://default/eve", Action::List).await);
    // A role counts from the moment that the row lists it, and to that at which it no longer does; whatever a token says.
    for (roles, counts) in [(json!(["eve/readers"]), true), (json!(["eve/reader"]), false), (json!([]), false)] {
        let answer = test.v1(Method::PATCH, "/v1/users/ada", &root.access, patch(roles.clone())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(may(&test, "ada", "job://default/eve/web", Action::Manage).await, counts, "{roles}");
    }
    // A role that is spelt like a service account, or like a user, gives nothing of theirs.
    grant(&test, "eve", "job://default/root", Action::Manage).await;
    for role in ["eve", "eve/service-accounts/ci", "eve/service-accounts"] {
        let answer = test.v1(Method::PATCH, "/v1/users/ada", &root.access, patch(json!([role]))).await;
        assert!([200, 422].contains(&answer.status.as_u16()), "{}", answer.text);
        assert!(!may(&test, "ada", "job://default/root", Action::List).await, "{role}");
    }
    still_works(&test, &ada).await;
    println!("counted: {} roles of a wrong shape and {refused} ways to one's own, all refused", roles.len());
}

#[tokio::test]
async fn what_is_taken_away_above_leaves_what_was_granted_below_and_the_other_way_round() {
    let test = with_jobs().await;
    let all = ["job://default", "job://default/ada", "job://default/ada/web", "job://default/ada/web/log"];
    let mut decisions = 0;
    for parent in 0..all.len() {
        for child in parent + 1..all.len() {
            for (above, below) in
                [(Action::Manage, Action::Read), (Action::Read, Action::Write), (Action::Deny, Action::Read)]
            {
                grant(&test, "eve", all[parent], above).await;
                grant(&test, "eve", all[child], below).await;
                let most = if above == Action::Deny { Action::Deny } else { above.max(below) };
                for wanted in [Action::List, Action::Read, Action::Write, Action::Manage] {
                    assert_eq!(may(&test, "eve", all[child], wanted).await, wanted <= most, "{above:?} over {below:?}");
                }
                revoke(&test, "eve", all[parent]).await;
                for wanted in [Action::List, Action::Read, Action::Write, Action::Manage] {
                    assert_eq!(may(&test, "eve", all[child], wanted).await, wanted <= below, "the child's own stays");
                    assert!(!may(&test, "eve", all[parent], wanted).await, "the parent's is gone");
                    decisions += 3;
                }
                assert_eq!(granted(&test, "eve").await, [format!("{} {}", below.as_str(), all[child])]);
                revoke(&test, "eve", all[child]).await;
                assert!(!may(&test, "eve", all[child], Action::List).await);
            }
        }
    }
    println!("counted: {decisions} decisions around a permission that was taken away above another");
}

#[tokio::test]
async fn whoever_leaves_a_role_leaves_no_denial() {
    let test = with_jobs().await;
    let (service, now, team) = (&test.service, test.service.now(), "role://default/ada/team");
    let leave = async |who: &str| {
        let eve = Subject::of_account(&accounts::get(service, now, "eve").await.unwrap().record, true);
        permission::revoke(service, now, &eve, &principal(who), &[resource(team)]).await.map_err(|refusal| refusal.kind)
    };
    grant(&test, "ada/team", "job://default/ada/web", Action::Write).await;
    assert_eq!(leave("eve").await, Err(RefusalKind::Forbidden), "she is no member");
    grant(&test, "eve", team, Action::Read).await;
    assert!(may(&test, "eve", "job://default/ada/web", Action::Write).await);
    leave("eve").await.unwrap();
    assert!(!may(&test, "eve", "job://default/ada/web", Action::List).await);
    // Who manages all roles but one does not get at that one by leaving what keeps her from it.
    grant(&test, "eve", "role://default/ada", Action::Manage).await;
    grant(&test, "eve", team, Action::Deny).await;
    assert_eq!(leave("eve").await, Err(RefusalKind::Forbidden));
    assert!(!may(&test, "eve", team, Action::List).await);
    assert!(granted(&test, "eve").await.contains(&format!("deny {team}")));
    grant(&test, "root", team, Action::Read).await;
    assert_eq!(leave("root").await, Err(RefusalKind::Forbidden), "nor does she make others leave");
    // Not even by being quicker than the denial.
    let mut denied = 0;
    for _ in 0..40 {
        revoke(&test, "eve", team).await;
        grant(&test, "eve", team, Action::Read).await;
        let denial = grant(&test, "eve", team, Action::Deny);
        let leaving = async {
            for _ in 0..3 {
                let _ = leave("eve").await;
            }
        };
        tokio::join!(denial, leaving);
        assert!(!may(&test, "eve", team, Action::List).await, "what was denied stays denied");
        assert!(granted(&test, "eve").await.contains(&format!("deny {team}")));
        denied += 1;
    }
    println!("counted: 1 role left, {denied} denials that nobody left");
}

#[tokio::test]
async fn ten_thousand_permissions_are_listed_judged_and_gone_with_their_principal() {
    const MANY: usize = 10_000;
    let test = with_jobs().await;
    let (service, now, operator, eve) = (&test.service, test.service.now(), Subject::operator(), principal("eve"));
    let job = |n: usize| resource(&format!("job://default/ada/batch/{n:05}"));
    let give = async |from: usize, to: usize| {
        let all: Vec<_> = (from..to).map(|n| (job(n), Action::Read)).collect();
        for some in all.chunks(permission::MOST_AT_ONCE) {
            permission::grant(service, now, &operator, &eve, some).await.unwrap();
        }
    };
    give(0, MANY).await;
    let held = permission::held(service, now, &operator, &eve, None, true).await.unwrap();
    assert!(
        held.iter().map(|held| &held.resource).eq((0..MANY).map(job).collect::<Vec<_>>().iter()),
        "each once, sorted"
    );
    let ada = principal("ada");
    let shared = permission::shared(service, now, &operator, &ada, None).await.unwrap();
    assert_eq!(shared.len(), MANY, "as their namespace's owner sees them");
    for (below, count) in
        [("job://default/ada/batch", MANY), ("job://default/ada/batch/00007", 1), ("job://default/ada/bat", 0)]
    {
        let below = resource(below);
        assert_eq!(permission::held(service, now, &operator, &eve, Some(&below), false).await.unwrap().len(), count);
        assert_eq!(permission::shared(service, now, &operator, &ada, Some(&below)).await.unwrap().len(), count);
    }
    // A decision reads what it needs, and not the list.
    let account = accounts::get(service, now, "eve").await.unwrap().record;
    let subject = Subject::of_account(&account, true);
    test.store.round_trips();
    for n in [0, 1, 4_999, MANY - 1, MANY] {
        let may = permission::may(service, now, &subject, &job(n), Action::Read).await.unwrap();
        assert_eq!(may, n < MANY, "{n}");
        assert_eq!(test.store.round_trips(), (1, 0), "one round trip");
    }
    // One that denies all of them, and its end.
    grant(&test, "eve", "job://default/ada/batch", Action::Deny).await;
    assert!(!permission::may(service, now, &subject, &job(7), Action::List).await.unwrap());
    revoke(&test, "eve", "job://default/ada/batch").await;
    assert!(permission::may(service, now, &subject, &job(7), Action::Read).await.unwrap());
    // There is an end to what is listed at once, and a way around it.
    give(MANY, 2 * MANY + 1).await;
    for (of, below) in [(&eve, None), (&eve, Some(resource("job://default/ada")))] {
        let refusal = permission::held(service, now, &operator, of, below.as_ref(), true).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::TooLarge, "{refusal}");
        let refusal = permission::shared(service, now, &operator, &ada, below.as_ref()).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::TooLarge, "{refusal}");
    }
    let one = resource("job://default/ada/batch/20000");
    assert_eq!(permission::held(service, now, &operator, &eve, Some(&one), true).await.unwrap().len(), 1);
    assert!(permission::may(service, now, &subject, &one, Action::Read).await.unwrap());
    // She goes, and comes again: nothing of it is hers.
    accounts::delete(service, now, "eve", "test").await.unwrap();
    user_again(&test, "eve").await;
    assert_eq!(granted(&test, "eve").await, [""; 0]);
    assert!(!may(&test, "eve", "job://default/ada/batch/00007", Action::List).await);
    println!(
        "counted: {} permissions on one principal, 5 decisions of one round trip, 4 lists refused as too long",
        2 * MANY + 1
    );
}

#[tokio::test]
async fn a_resource_is_in_this_cluster_and_of_one_spelling_however_it_comes() {
    let test = with_jobs().await;
    let (service, now, operator, eve) = (&test.service, test.service.now(), Subject::operator(), principal("eve"));
    let deep = format!("job://default/ada{}", "/x".repeat(32));
    let long = format!("job://default/ada/{}", "x".repeat(751));
    let spellings = [
        "",
        "job",
        "job:",
        "job:web",
        "job:/ada/web",
        "job://",
        "job:///",
        "job:///ada",
        "job://default/",
        "job://default//ada",
        "job://default/ada/",
        "job://default/ada//web",
        "job://default/ada/web/",
        "job://default/ada/../eve",
        "job://default/ada/..",
        "job://default/./ada",
        "job://default/ada/%2e%2e/eve",
        "job://default/ada/web?x=y",
        "job://default/ada/web#x",
        "job://default/ada/w%65b",
        "job://default/ada/web\n",
        "job://default/ada/web\0",
        "job://default/ada/\u{85}",
        "job://default/Ada/web",
        "job://DEFAULT/ada/web",
        "JOB://default/ada/web",
        "job://default:443/ada/web",
        "job://root@default/ada/web",
        "job://default/ada:web/x",
        "job://{cluster}/ada",
        "://default/ada",
        "1job://default/ada",
        "job //default/ada",
        "//default/ada",
        " job://default/ada",
        &deep,
        &long,
    ];
    for text in spellings {
        let refusal = Resource::parse(text, "uri").unwrap_err();
        assert_eq!((refusal.kind, refusal.field), (RefusalKind::Invalid, Some("uri")), "{text:.40}");
    }
    // A scheme that nobody knows is a scheme; nobody owns anything in it.
    let unknown = "spaceship://default/ada/web";
    assert!(!may(&test, "ada", unknown, Action::List).await && may(&test, "root", unknown, Action::Manage).await);
    // Another cluster's: nothing is granted there, and nobody but admins has anything.
    let other = [(resource("job://other/ada/web"), Action::Read)];
    let mut refused = Vec::new();
    refused.push(permission::grant(service, now, &operator, &eve, &other).await.unwrap_err());
    refused.push(permission::replace(service, now, &operator, &eve, &other).await.unwrap_err());
    // It might have been granted when this cluster was called so: then it can be taken away.
    let nothing = permission::revoke(service, now, &operator, &eve, &[other[0].0.clone()]).await.unwrap_err();
    assert_eq!(nothing.kind, RefusalKind::Conflict);
    for refusal in &refused {
        assert_eq!((refusal.kind, refusal.field), (RefusalKind::Invalid, Some("uri")), "{refusal}");
    }
    // It may be one that was granted when the cluster had another name.
    let refusal = permission::revoke(service, now, &operator, &eve, &[other[0].0.clone()]).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal}");
    for who in ["ada", "eve"] {
        let missing = permission::missing(service, now, &operator, &principal(who), &other).await.unwrap();
        assert_eq!(missing, other, "{who}");
    }
    // None, too many, the same one twice.
    let many: Vec<_> =
        (0..=permission::MOST_AT_ONCE).map(|n| (resource(&format!("job://default/ada/{n}")), Action::Read)).collect();
    let twice = [(resource("job://default/ada/web"), Action::Read), (resource("job://default/ada/web"), Action::Deny)];
    for (what, wanted) in [("none", &[][..]), ("many", &many[..]), ("twice", &twice[..])] {
        let refusal = permission::grant(service, now, &operator, &eve, wanted).await.unwrap_err();
        assert!([RefusalKind::Malformed, RefusalKind::Invalid].contains(&refusal.kind), "{what}: {refusal}");
    }
    assert_eq!(granted(&test, "eve").await, [""; 0], "nothing was done by halves");
    println!("counted: {} spellings, {} requests about another cluster, 3 lists of a wrong length", spellings.len(), 6);
}

#[tokio::test]
async fn nobody_gives_what_she_does_not_manage() {
    let test = with_jobs().await.user("bob", &["eve/readers"]).await;
    let (service, now) = (&test.service, test.service.now());
    grant(&test, "bob", "job://default/ada/web", Action::Write).await;
    grant(&test, "eve/readers", "job://default/ada/blog", Action::Read).await;
    grant(&test, "bob", "job://default/ada/shop", Action::Manage).await;
    grant(&test, "bob", "job://default/ada/shop/till", Action::Deny).await;
    let bob = Subject::of_account(&accounts::get(service, now, "bob").await.unwrap().record, true);
    let mut tried = 0;
    let not_his = [
        "job://default",
        "job://default/ada",
        "job://default/ada/web",
        "job://default/ada/blog",
        "job://default/ada/shopper",
        "job://default/ada/shop/till",
        "job://default/ada/shop/till/drawer",
        "jobs://default/bob",
        "gatetoken://default/bob",
        "tokenreview://default",
        "serviceaccount://default/ada/ci/token",
        "role://default/eve/readers",
    ];
    for on in not_his {
        for to in ["bob", "eve", "eve/readers", "bob/readers"] {
            for action in [Action::Deny, Action::List, Action::Manage] {
                // Among others that are his, too: all or nothing.
                let wanted = [(resource("job://default/bob/own"), action), (resource(on), action)];
                let refusal = permission::grant(service, now, &bob, &principal(to), &wanted).await.unwrap_err();
                assert_eq!(refusal.kind, RefusalKind::Forbidden, "{on}");
                assert_eq!(refusal.missing, [(resource(on), Action::Manage)], "what is missing is told");
                tried += 1;
            }
            let on = [resource("job://default/bob/own"), resource(on)];
            let refusal = permission::revoke(service, now, &bob, &principal(to), &on).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Forbidden);
            tried += 1;
        }
        let refusal = permission::replace(service, now, &bob, &principal("bob"), &[(resource(on), Action::Read)]).await;
        assert_eq!(refusal.unwrap_err().kind, RefusalKind::Forbidden);
        tried += 1;
    }
    // What he manages he gives; what others have elsewhere is not shown to him.
    let his: BTreeSet<_> = ["job://default/ada/shop", "job://default/ada/shop/x", "job://default/bob"].into();
    for on in &his {
        let wanted = [(resource(on), Action::Read)];
        permission::grant(service, now, &bob, &principal("eve"), &wanted).await.unwrap();
    }
    let eve = principal("eve");
    for below in [None, Some(resource("job://default/ada")), Some(resource("job://default"))] {
        let refusal = permission::held(service, now, &bob, &eve, below.as_ref(), true).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Forbidden);
        tried += 1;
    }
    let below = resource("job://default/ada/shop");
    assert_eq!(permission::held(service, now, &bob, &eve, Some(&below), true).await.unwrap().len(), 2);
    let asked = [(resource("job://default/ada/web"), Action::Read)];
    let refusal = permission::missing(service, now, &bob, &eve, &asked).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Forbidden, "a check is of oneself, or of what one manages");
    println!(
        "counted: {} attempts to give, take or see what was not managed, {} resources managed",
        tried + 1,
        his.len()
    );
}
