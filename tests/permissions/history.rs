//! What happens in a history, and how it is done to a service and to the reference at the same time.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Request, header},
};
use gatemint::domain::{
    Refusal, RefusalKind, Secret,
    access::{
        Action, Permission, Principal, Resource, Subject, permission,
        site::{self, NewSite},
    },
    account::manage::{self as accounts, AccountPatch, NewAccount},
    service_account::{self, NewServiceAccount, ServiceAccount},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::model::{ACTIONS, Birth, MANAGE, No, READ, Rank, WRITE, World, namespace_of};
use crate::support::{PASSWORD, TestService};

/// Users with their namespaces. The last one comes later, into a namespace that nobody had.
pub(super) const USERS: [(&str, &str); 5] =
    [("root", "root"), ("ada", "ada"), ("bob", "bob"), ("cyd", "lab"), ("dan", "free")];
const SERVICE_ACCOUNTS: [&str; 4] =
    ["ada/service-accounts/ci", "lab/service-accounts/ci", "ada/service-accounts/bob", "free/service-accounts/ci"];
/// Roles that can hold something.
const ROLES: [&str; 4] = ["ada/readers", "lab/staff/night", "free/team", "service-accounts/ada/ci"];
/// Roles that an account lists: those, the admins', and two that are spelt like somebody else's principal.
const LISTED: [&str; 8] = [
    "ada/readers",
    "ada/readers",
    "lab/staff/night",
    "free/team",
    "service-accounts/ada/ci",
    "admin",
    "ada/service-accounts/ci",
    "ada",
];
/// What permissions are about: above and below each other, beside each other by one character, and of every kind of
/// namespace.
pub(super) const RESOURCES: [&str; 22] = [
    "job://default",
    "job://default/ada",
    "job://default/ada/web",
    "job://default/ada/web/log",
    "job://default/ada/webx",
    "job://default/lab",
    "job://default/lab/web",
    "job://default/free/web",
    "job://default/bob/web",
    "jobs://default/ada/web",
    "gatetoken://default",
    "gatetoken://default/ada",
    "gatetoken://default/free",
    "serviceaccount://default/ada",
    "serviceaccount://default/ada/ci/token",
    "serviceaccount://default/lab/ci",
    "tokenreview://default",
    "storage://default/lab/a/b/c",
    "role://default/ada",
    "role://default/ada/readers",
    "role://default/lab/staff/night",
    "role://default/ada/service-accounts/ci",
];

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Grant {
        by: &'static str,
        to: &'static str,
        wanted: Vec<(&'static str, Rank)>,
    },
    Revoke {
        by: &'static str,
        of: &'static str,
        resources: Vec<&'static str>,
    },
    /// Of what was granted: how far down the list, of ten thousand.
    RevokeSome {
        by: &'static str,
        at: usize,
    },
    Replace {
        by: &'static str,
        of: &'static str,
        all: Vec<(&'static str, Rank)>,
    },
    Roles {
        of: &'static str,
        roles: Vec<&'static str>,
    },
    Enable {
        who: &'static str,
        enabled: bool,
    },
    MakeAccount((&'static str, &'static str)),
    DeleteAccount(&'static str),
    MakeServiceAccount(&'static str),
    DeleteServiceAccount(&'static str),
    /// She is deleted, and made again at once.
    MakeAgain(&'static str),
    /// A proxy asks about a request to a site.
    Verify {
        who: &'static str,
        at: &'static str,
        write: bool,
    },
    /// Another process takes over.
    Restart,
}

fn principal() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => select(USERS.map(|(name, _)| name).to_vec()),
        3 => select(SERVICE_ACCOUNTS.to_vec()),
        3 => select(ROLES.to_vec()),
    ]
}

/// Who asks: mostly somebody who may.
fn actor() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just("operator"),
        3 => Just("root"),
        4 => select(USERS.map(|(name, _)| name).to_vec()),
        1 => select(SERVICE_ACCOUNTS.to_vec()),
    ]
}

/// Some different resources, with an action each.
fn wanted(most: usize) -> impl Strategy<Value = Vec<(&'static str, Rank)>> {
    vec((select(RESOURCES.to_vec()), 0..ACTIONS.len()), 1..most).prop_map(|all| {
        let each: BTreeMap<_, _> = all.into_iter().collect();
        each.into_iter().collect()
    })
}

fn user() -> impl Strategy<Value = &'static str> {
    // The admin stays, so that there is one.
    select(vec!["ada", "ada", "bob", "cyd", "dan"])
}

/// What whoever may read it is a member of.
fn role() -> impl Strategy<Value = &'static str> {
    select(vec!["role://default/ada/readers", "role://default/lab/staff/night"])
}

pub(super) fn steps(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let service_account = || select(SERVICE_ACCOUNTS.to_vec());
    let holder = prop_oneof![select(USERS.map(|(name, _)| name).to_vec()), select(SERVICE_ACCOUNTS.to_vec())];
    let sites = || select(vec!["job://default/ada/web", "job://default/lab/web", "job://default/bob/web"]);
    let step = prop_oneof![
        20 => (actor(), principal(), wanted(4)).prop_map(|(by, to, wanted)| Step::Grant { by, to, wanted }),
        3 => (actor(), principal(), wanted(4)).prop_map(|(by, of, resources)| Step::Revoke {
            by,
            of,
            resources: resources.into_iter().map(|(resource, _)| resource).collect(),
        }),
        3 => (actor(), user(), role(), 0..ACTIONS.len())
            .prop_map(|(by, to, on, rank)| Step::Grant { by, to, wanted: vec![(on, rank)] }),
        3 => (user(), role()).prop_map(|(who, on)| Step::Revoke { by: who, of: who, resources: vec![on] }),
        8 => (actor(), 0..10_000_usize).prop_map(|(by, at)| Step::RevokeSome { by, at }),
        1 => (actor(), principal(), wanted(6)).prop_map(|(by, of, all)| Step::Replace { by, of, all }),
        6 => (user(), vec(select(LISTED.to_vec()), 0..4)).prop_map(|(of, roles)| Step::Roles { of, roles }),
        2 => (user(), any::<bool>()).prop_map(|(who, enabled)| Step::Enable { who, enabled }),
        2 => select(USERS[1..].to_vec()).prop_map(Step::MakeAccount),
        1 => user().prop_map(Step::DeleteAccount),
        1 => user().prop_map(Step::MakeAgain),
        4 => service_account().prop_map(Step::MakeServiceAccount),
        1 => service_account().prop_map(Step::DeleteServiceAccount),
        8 => (holder, sites(), any::<bool>()).prop_map(|(who, at, write)| Step::Verify { who, at, write }),
        1 => Just(Step::Restart),
    ];
    vec(step, count)
}

/// What was done and compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) steps: usize,
    pub(super) granted: usize,
    pub(super) denied: usize,
    pub(super) revoked: usize,
    /// Grants and revocations that the reference refuses, too.
    pub(super) refused: usize,
    pub(super) deleted: usize,
    pub(super) again: usize,
    /// Decisions of the domain, and those of them that said yes.
    pub(super) decisions: usize,
    pub(super) allowed: usize,
    /// Lists of permissions.
    pub(super) lists: usize,
    /// Questions at `/auth/verify`, by status.
    pub(super) passed: usize,
    pub(super) forbidden: usize,
    pub(super) unauthenticated: usize,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.steps, other.steps),
            (&mut self.granted, other.granted),
            (&mut self.denied, other.denied),
            (&mut self.revoked, other.revoked),
            (&mut self.refused, other.refused),
            (&mut self.deleted, other.deleted),
            (&mut self.again, other.again),
            (&mut self.decisions, other.decisions),
            (&mut self.allowed, other.allowed),
            (&mut self.lists, other.lists),
            (&mut self.passed, other.passed),
            (&mut self.forbidden, other.forbidden),
            (&mut self.unauthenticated, other.unauthenticated),
        ] {
            *sum += more;
        }
    }
}

/// A service, the reference, and what tells one's answers from the other's.
pub(super) struct History {
    pub(super) test: TestService,
    pub(super) world: World,
    pub(super) tally: Tally,
    /// The newest token of each that has one, and whose it is; none if it was ended.
    tokens: BTreeMap<&'static str, (String, Option<Birth>)>,
}

pub(super) fn resource(text: &str) -> Resource {
    Resource::parse(text, "uri").unwrap()
}

pub(super) fn principal_of(text: &str) -> Principal {
    Principal::parse(text, "principal").unwrap()
}

pub(super) fn action(rank: Rank) -> Action {
    Action::parse(ACTIONS[rank]).unwrap()
}

pub(super) fn rank(action: Action) -> Rank {
    ACTIONS.iter().position(|name| *name == action.as_str()).unwrap()
}

fn pairs(all: &[(&str, Rank)]) -> Vec<(Resource, Action)> {
    all.iter().map(|(text, rank)| (resource(text), action(*rank))).collect()
}

/// As the reference lists them.
pub(super) fn listed(all: Vec<Permission>) -> Vec<(String, String, Rank)> {
    let mut listed: Vec<_> =
        all.into_iter().map(|one| (one.principal.to_string(), one.resource.to_string(), rank(one.action))).collect();
    listed.sort();
    listed
}

/// Namespace and name of a service account.
fn parts(principal: &str) -> (&str, &str) {
    let (namespace, name) = principal.split_once("/service-accounts/").unwrap();
    (namespace, name)
}

/// A refusal, in the reference's words.
fn no(refusal: &Refusal) -> No {
    match refusal.kind {
        RefusalKind::Forbidden => No::Forbidden,
        RefusalKind::Absent => No::Absent,
        RefusalKind::Conflict if refusal.text.contains("no effect") => No::Idle,
        RefusalKind::Conflict => No::Taken,
        other => panic!("{other:?}: {refusal}"),
    }
}

impl History {
    /// Begins with everybody but the last user, and two service accounts.
    pub(super) async fn begin(test: TestService) -> Self {
        let mut history = Self { test, world: World::default(), tally: Tally::default(), tokens: BTreeMap::new() };
        let jobs = NewSite {
            id: "jobs".into(),
            host: "{name}--{owner}.jobs.example.org".into(),
            resource: "job://default/{owner}/{name}".into(),
        };
        site::create(&history.test.service, history.test.service.now(), &jobs, "test").await.unwrap();
        for (name, namespace) in &USERS[..4] {
            history.make_account(name, namespace).await;
        }
        for principal in &SERVICE_ACCOUNTS[..2] {
            history.make_service_account(principal).await;
        }
        history
    }

    async fn subject(&self, name: &str) -> Option<Subject> {
        if name == "operator" {
            return Some(Subject::operator());
        }
        let (service, now) = (&self.test.service, self.test.service.now());
        match principal_of(name) {
            Principal::User(_) => {
                let account = accounts::get(service, now, name).await.ok()?.record;
                Some(Subject::of_account(&account, true))
            }
            Principal::ServiceAccount { namespace, name } => {
                let found = self.service_account(namespace.as_str(), name.as_str()).await?;
                let owner = accounts::get(service, now, found.owner.name.as_str()).await.ok()?.record;
                Some(Subject::of_service_account(&found, owner.enabled))
            }
            Principal::Role(_) => None,
        }
    }

    async fn service_account(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        let (service, now) = (&self.test.service, self.test.service.now());
        service_account::get(service, now, &Subject::operator(), namespace, name).await.ok()
    }

    async fn make_account(&mut self, name: &'static str, namespace: &str) {
        let roles = if name == "root" { vec!["admin"] } else { Vec::new() };
        let expected = self.world.make_account(name, namespace, &roles);
        let new = NewAccount {
            name: name.into(),
            namespace: Some(namespace.into()),
            email: String::new(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            enabled: true,
            mirror_token: false,
            password: Secret::new(PASSWORD.as_bytes().to_vec()),
        };
        let service = &self.test.service;
        // Without hashing a password that is not needed.
        if expected.is_ok() {
            accounts::create(service, service.now(), new, "test").await.unwrap();
        }
    }

    async fn delete_account(&mut self, name: &'static str) {
        let expected = self.world.delete_account(name);
        let service = &self.test.service;
        let done = accounts::delete(service, service.now(), name, "test").await;
        assert_eq!(done.as_ref().map(drop).map_err(no), expected.as_ref().map(drop).map_err(|no| *no));
        self.tally.deleted += usize::from(done.is_ok());
    }

    async fn make_service_account(&mut self, principal: &'static str) {
        let expected = self.world.make_service_account(principal);
        let (namespace, name) = parts(principal);
        let new = NewServiceAccount {
            namespace: namespace.into(),
            name: Some(name.into()),
            with_token: true,
            ..NewServiceAccount::default()
        };
        let service = &self.test.service;
        let made = service_account::create(service, service.now(), &Subject::operator(), new).await;
        assert_eq!(made.as_ref().map(drop).map_err(no), expected, "{principal}");
        if let Ok(made) = made {
            let token = made.token.unwrap().expose().clone();
            self.test.keep(&token);
            let token = (token, self.world.who(principal));
            self.tally.again += usize::from(self.tokens.insert(principal, token).is_some());
        }
    }

    async fn delete_service_account(&mut self, principal: &'static str) {
        let expected = self.world.delete_service_account(principal);
        let (namespace, name) = parts(principal);
        let service = &self.test.service;
        let done = service_account::delete(service, service.now(), &Subject::operator(), namespace, name).await;
        assert_eq!(done.as_ref().map(drop).map_err(no), expected, "{principal}");
        self.tally.deleted += usize::from(done.is_ok());
    }

    async fn change(&mut self, name: &'static str, patch: AccountPatch, expected: Result<(), No>) {
        let service = &self.test.service;
        let done = accounts::update(service, service.now(), name, patch, "test").await;
        assert_eq!(done.as_ref().map(drop).map_err(no), expected, "{name}");
    }

    /// Does it, to both.
    pub(super) async fn step(&mut self, step: &Step) {
        self.tally.steps += 1;
        match step {
            Step::Grant { by, to, wanted } => self.grant(by, to, wanted).await,
            Step::Revoke { by, of, resources } => self.revoke(by, of, resources).await,
            Step::RevokeSome { by, at } => {
                if let Some((of, resource)) = self.world.line(*at) {
                    self.revoke(by, &of, &[&resource]).await;
                }
            }
            Step::Replace { by, of, all } => self.replace(by, of, all).await,
            Step::Roles { of, roles } => {
                let mut roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
                roles.dedup();
                let expected = self.world.change_account(of, |account| {
                    account.roles.clone_from(&roles);
                    account.given_under.clear();
                });
                self.change(of, AccountPatch { roles: Some(roles), ..AccountPatch::default() }, expected).await;
            }
            Step::Enable { who, enabled } => {
                let expected = self.world.change_account(who, |account| account.enabled = *enabled);
                self.change(who, AccountPatch { enabled: Some(*enabled), ..AccountPatch::default() }, expected).await;
                if let Some((_, whose)) = self.tokens.get_mut(who).filter(|_| !enabled) {
                    // Her sessions ended; a service account's token is asleep, and not ended.
                    *whose = None;
                }
            }
            Step::MakeAccount((name, namespace)) => self.make_account(name, namespace).await,
            Step::DeleteAccount(name) => self.delete_account(name).await,
            Step::MakeAgain(name) => {
                self.delete_account(name).await;
                let (_, namespace) = USERS.iter().find(|(user, _)| user == name).unwrap();
                self.make_account(name, namespace).await;
                self.tally.again += 1;
            }
            Step::MakeServiceAccount(principal) => self.make_service_account(principal).await,
            Step::DeleteServiceAccount(principal) => self.delete_service_account(principal).await,
            Step::Verify { who, at, write } => self.verify(who, at, *write).await,
            Step::Restart => self.test.restart(),
        }
    }

    async fn grant(&mut self, by: &str, to: &str, wanted: &[(&str, Rank)]) {
        let Some(subject) = self.subject(by).await else { return };
        let expected = self.world.grant(by, to, wanted);
        let (service, principal) = (&self.test.service, principal_of(to));
        let done = permission::grant(service, service.now(), &subject, &principal, &pairs(wanted)).await;
        match (done, expected) {
            (Ok(held), Ok(expected)) => {
                let held: Vec<_> = held.iter().map(|held| (held.resource.to_string(), rank(held.action))).collect();
                let expected: Vec<_> =
                    wanted.iter().zip(&expected).map(|((resource, _), rank)| ((*resource).to_owned(), *rank)).collect();
                assert_eq!(held, expected, "what holds after {by} gave {to} {wanted:?}");
                self.tally.granted += 1;
                self.tally.denied += usize::from(wanted.iter().any(|(_, rank)| *rank == 0));
            }
            (Err(refusal), Err(why)) => {
                assert!(why.contains(&no(&refusal)), "{by} gives {to} {wanted:?}: {refusal}, not {why:?}");
                if refusal.kind == RefusalKind::Forbidden {
                    // What is missing is told: `manage` on what she has it not on.
                    let missing: Vec<_> =
                        refusal.missing.iter().map(|(on, action)| (on.as_str(), rank(*action))).collect();
                    let lacking: Vec<_> = wanted
                        .iter()
                        .filter(|(resource, _)| !self.world.may(by, resource, MANAGE))
                        .map(|(resource, _)| (*resource, MANAGE))
                        .collect();
                    assert_eq!(missing, lacking, "{by} gives {to} {wanted:?}");
                }
                self.tally.refused += 1;
            }
            (done, expected) => panic!("{by} gives {to} {wanted:?}: {done:?}, not {expected:?}"),
        }
    }

    async fn revoke(&mut self, by: &str, of: &str, resources: &[&str]) {
        let Some(subject) = self.subject(by).await else { return };
        let expected = self.world.revoke(by, of, resources);
        let (service, principal) = (&self.test.service, principal_of(of));
        let all: Vec<Resource> = resources.iter().map(|text| resource(text)).collect();
        let done = permission::revoke(service, service.now(), &subject, &principal, &all).await;
        match (done, expected) {
            (Ok(()), Ok(())) => self.tally.revoked += 1,
            (Err(refusal), Err(why)) => {
                assert!(why.contains(&no(&refusal)), "{by} revokes {of}'s {resources:?}: {refusal}, not {why:?}");
                self.tally.refused += 1;
            }
            (done, expected) => panic!("{by} revokes {of}'s {resources:?}: {done:?}, not {expected:?}"),
        }
    }

    async fn replace(&mut self, by: &str, of: &str, all: &[(&str, Rank)]) {
        let Some(subject) = self.subject(by).await else { return };
        let expected = self.world.replace(by, of, all);
        let (service, principal) = (&self.test.service, principal_of(of));
        let done = permission::replace(service, service.now(), &subject, &principal, &pairs(all)).await;
        match (done, expected) {
            (Ok(()), Ok(())) => self.tally.granted += 1,
            (Err(refusal), Err(why)) => {
                assert!(why.contains(&no(&refusal)), "{by} replaces {of}'s by {all:?}: {refusal}, not {why:?}");
                self.tally.refused += 1;
            }
            (done, expected) => panic!("{by} replaces {of}'s by {all:?}: {done:?}, not {expected:?}"),
        }
    }

    /// The newest token of a user or service account. A user signs in when she can and has none that works.
    async fn token(&mut self, who: &'static str) -> Option<(String, Option<Birth>)> {
        let works = self.tokens.get(who).is_some_and(|(_, whose)| *whose == self.world.who(who));
        if self.world.account(who).is_some_and(|account| account.enabled) && !works {
            let access = self.test.sign_in(who).await.access;
            self.tokens.insert(who, (access, self.world.who(who)));
        }
        self.tokens.get(who).cloned()
    }

    /// Asks as a proxy does, with the newest token of somebody, dead or alive.
    async fn verify(&mut self, who: &'static str, at: &'static str, write: bool) {
        let Some((token, whose)) = self.token(who).await else { return };
        let mut rest = at.rsplit('/');
        let (name, owner) = (rest.next().unwrap(), rest.next().unwrap());
        let request = Request::get("/auth/verify")
            .header("x-original-method", if write { "POST" } else { "GET" })
            .header("x-original-url", format!("https://{name}--{owner}.jobs.example.org/x"))
            .header(header::COOKIE, format!("dat={token}"));
        let status = self.test.send(request.body(Body::empty()).unwrap()).await.status.as_u16();
        // A token is of whoever had the name when it was made.
        let stands = self.world.stands(who) && whose.is_some() && whose == self.world.who(who);
        let expected = match (stands, self.world.may(who, at, if write { WRITE } else { READ })) {
            (false, _) => 401,
            (true, true) => 200,
            (true, false) => 403,
        };
        assert_eq!(status, expected, "{who} at {at}, to write: {write}");
        match status {
            200 => self.tally.passed += 1,
            403 => self.tally.forbidden += 1,
            _ => self.tally.unauthenticated += 1,
        }
    }

    /// Everybody's every action on these resources, asked in every way that there is.
    pub(super) async fn compare(&mut self, resources: &[&str]) {
        let everybody = USERS.map(|(name, _)| name).into_iter().chain(SERVICE_ACCOUNTS).chain(ROLES);
        for who in everybody {
            self.compare_one(who, resources).await;
        }
    }

    /// Somebody's every action on these resources.
    pub(super) async fn compare_one(&mut self, who: &str, resources: &[&str]) {
        let (service, now) = (&self.test.service, self.test.service.now());
        let asked: Vec<(&str, Rank)> =
            resources.iter().flat_map(|on| (1..ACTIONS.len()).map(move |rank| (*on, rank))).collect();
        let principal = principal_of(who);
        for asked in asked.chunks(permission::MOST_AT_ONCE) {
            let missing = permission::missing(service, now, &Subject::operator(), &principal, &pairs(asked)).await;
            match missing {
                Ok(missing) => {
                    assert!(self.world.exists(who), "{who}");
                    let missing: Vec<_> = missing.iter().map(|(on, action)| (on.as_str(), rank(*action))).collect();
                    let expected: Vec<_> =
                        asked.iter().copied().filter(|(on, rank)| !self.world.may(who, on, *rank)).collect();
                    assert_eq!(missing, expected, "what {who} has not");
                    self.tally.decisions += asked.len();
                    self.tally.allowed += asked.len() - expected.len();
                }
                Err(refusal) => {
                    assert_eq!(no(&refusal), No::Absent, "{who}: {refusal}");
                    assert!(!self.world.exists(who), "{who} is there");
                }
            }
        }
        if let Some(subject) = self.subject(who).await {
            let service = &self.test.service;
            for (on, rank) in asked.iter().step_by(3) {
                let may = permission::may(service, now, &subject, &resource(on), action(*rank)).await.unwrap();
                assert_eq!(may, self.world.may(who, on, *rank), "{who} {} on {on}", ACTIONS[*rank]);
                self.tally.decisions += 1;
                self.tally.allowed += usize::from(may);
            }
            if let Some((on, _)) = asked.first() {
                let denied = permission::may(service, now, &subject, &resource(on), action(0)).await.unwrap();
                assert!(!denied, "nobody wants to be denied");
            }
        }
    }

    /// What everybody holds, and what others hold in everybody's namespace; and which roles everybody has.
    pub(super) async fn compare_lists(&mut self) {
        for (name, _) in USERS {
            let account = accounts::get(&self.test.service, self.test.service.now(), name).await.ok();
            let sorted = |mut roles: Vec<String>| {
                roles.sort();
                roles.dedup();
                roles
            };
            let has = account.map(|row| sorted(row.record.roles.iter().map(ToString::to_string).collect()));
            assert_eq!(has, self.world.account(name).map(|account| sorted(account.roles.clone())), "{name}'s roles");
        }
        let everybody = USERS.map(|(name, _)| name).into_iter().chain(SERVICE_ACCOUNTS).chain(ROLES);
        for who in everybody {
            let (service, now, operator) = (&self.test.service, self.test.service.now(), Subject::operator());
            let principal = principal_of(who);
            for with_roles in [false, true] {
                let held = permission::held(service, now, &operator, &principal, None, with_roles).await;
                match held {
                    Ok(held) => {
                        assert!(held.is_sorted_by_key(|one| one.resource.clone()), "{held:?}");
                        assert_eq!(listed(held), self.world.held(who, with_roles), "what {who} holds");
                    }
                    Err(refusal) => assert_eq!((no(&refusal), self.world.exists(who)), (No::Absent, false), "{who}"),
                }
                self.tally.lists += 1;
            }
            let Some(namespace) = self.world.account(who).map(|account| account.namespace.clone()) else { continue };
            let shared = permission::shared(service, now, &operator, &principal, None).await.unwrap();
            assert_eq!(listed(shared), self.world.shared(who, &namespace), "what others hold in {namespace}");
            self.tally.lists += 1;
        }
    }

    /// What a step was about: the resources that it could have changed the decision on.
    pub(super) fn touched(step: &Step) -> Vec<&'static str> {
        let about: Vec<&'static str> = match step {
            Step::Grant { wanted: all, .. } | Step::Replace { all, .. } => all.iter().map(|(on, _)| *on).collect(),
            Step::Revoke { resources, .. } => resources.clone(),
            Step::Verify { .. } | Step::Restart => Vec::new(),
            Step::RevokeSome { .. } | Step::Roles { .. } | Step::Enable { .. } => {
                vec!["job://default/ada/web", "gatetoken://default/ada", "job://default/lab"]
            }
            _ => RESOURCES.into_iter().filter(|on| namespace_of(on).is_some()).step_by(3).collect(),
        };
        let about = if about.iter().any(|on| on.starts_with("role://")) { RESOURCES.to_vec() } else { about };
        RESOURCES.into_iter().filter(|on| about.iter().any(|upper| super::model::is_above(upper, on))).collect()
    }
}
