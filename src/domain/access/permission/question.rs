//! What somebody may do with a resource: the decision.

use super::{
    super::{
        Resource, Subject,
        principal::{Holder, namespace_of},
    },
    Action,
    row::Held,
};
use crate::{
    clock::Timestamp,
    domain::{Refusal, Service, account::NamespaceOwner},
    store::{Item, Key, decode},
};

/// The schemes in which the owner of a namespace may do everything without a grant. To mint gate tokens is not among
/// them: they open what is behind a gate for whoever holds them, so an operator gives that right.
const OWNED: [&str; 9] = ["storage", "image", "job", "blob", "disk", "flow", "secret", "role", "serviceaccount"];

/// What somebody may do with a resource, to be answered by rows that are read together with others.
///
/// Whoever may not sign in may do nothing. Admins have `manage` on everything, owners on what is theirs, and no `deny` takes
/// that away; for everybody else the rows decide.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    subject: &'a Subject,
    resource: &'a Resource,
}

impl<'a> Question<'a> {
    /// What `subject` may do with `resource`.
    pub fn new(subject: &'a Subject, resource: &'a Resource) -> Self {
        Self { subject, resource }
    }

    /// What is known without a row.
    fn known(self) -> Option<Action> {
        self.known_of_whole_token().map(|action| self.limited(action))
    }

    fn limited(self, action: Action) -> Action {
        self.subject.limited(self.resource.scheme(), action)
    }

    fn known_of_whole_token(self) -> Option<Action> {
        let owns = || self.resource.namespace().is_some_and(|namespace| self.subject.owns(namespace));
        match self.subject.stands() {
            false => Some(Action::Deny),
            true if self.subject.is_admin() => Some(Action::Manage),
            true if OWNED.contains(&self.resource.scheme()) && owns() => Some(Action::Manage),
            true => None,
        }
    }

    /// The namespaces whose owners must be known: the resource's, and those of roles.
    fn namespaces(self) -> Vec<String> {
        let mut namespaces: Vec<String> = self.resource.namespace().map(ToOwned::to_owned).into_iter().collect();
        for (holder, _) in self.subject.holders(|_| None) {
            if let Holder::Role(role, _) = holder {
                namespaces.push(namespace_of(&role).to_owned());
            }
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// What must be read to answer: nothing, if it is known.
    pub fn keys(self) -> Vec<Key> {
        if self.known().is_some() {
            return Vec::new();
        }
        let mut keys: Vec<Key> = self.namespaces().iter().map(|name| NamespaceOwner::key_of(name)).collect();
        for (holder, _) in self.subject.holders(|_| None) {
            keys.extend(self.resource.ancestors().map(|above| Held::key_of(&holder, above)));
        }
        keys
    }

    /// What it may do, by these rows, in the order of [`Question::keys`]; as many as those are taken.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn answer(self, rows: &mut impl Iterator<Item = Option<Item>>) -> Result<Option<Action>, Refusal> {
        if let Some(known) = self.known() {
            return Ok(Some(known));
        }
        let mut owners = Vec::new();
        for namespace in self.namespaces() {
            let owner = decode::<NamespaceOwner>(rows.next().flatten())?.map(|row| row.record.uid);
            owners.push((namespace, owner));
        }
        let owner_of =
            |name: &str| owners.iter().find(|(namespace, _)| namespace == name).and_then(|(_, owner)| *owner);
        let owner = self.resource.namespace().and_then(owner_of);
        let mut found = None;
        for (holder, counts) in self.subject.holders(owner_of) {
            for above in self.resource.ancestors() {
                let held = decode::<Held>(rows.next().flatten())?.map(|row| row.record);
                // What is above the namespace was granted on a whole cluster, which nobody owns.
                let held = held.filter(|held| counts && held.stands(&holder, owner) && held.resource.as_str() == above);
                found = match (found, held.map(|held| held.action)) {
                    (Some(Action::Deny), _) | (_, Some(Action::Deny)) => Some(Action::Deny),
                    (found, action) => found.max(action),
                };
            }
        }
        Ok(found.map(|action| self.limited(action)))
    }
}

/// Whether somebody may do that with a resource now. One round trip, or none if it is known without.
///
/// # Errors
/// `Unavailable`.
pub async fn may(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    resource: &Resource,
    wanted: Action,
) -> Result<bool, Refusal> {
    let asked = [(resource.clone(), wanted)];
    Ok(not_granted(service, now, subject, &asked).await?.is_empty())
}

/// What somebody may do with a resource of this cluster now: the highest action, or `deny`, or nothing.
///
/// # Errors
/// `Unavailable`.
pub async fn level(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    resource: &Resource,
) -> Result<Option<Action>, Refusal> {
    let question = Question::new(subject, resource);
    let keys = question.keys();
    let rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? };
    question.answer(&mut rows.into_iter())
}

/// Refuses whoever may not do all of this now.
///
/// # Errors
/// `Forbidden`, with what is missing; `Unavailable`.
pub async fn require(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    asked: &[(Resource, Action)],
) -> Result<(), Refusal> {
    let missing = not_granted(service, now, subject, asked).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let refusal = Refusal::not_granted(missing);
    Err(match subject.another_token() {
        Some(how) => Refusal { text: format!("{}; ask {how}", refusal.text).into(), ..refusal },
        None => refusal,
    })
}

/// Those that somebody may not do now, in one round trip.
pub(super) async fn not_granted(
    service: &Service,
    now: Timestamp,
    subject: &Subject,
    asked: &[(Resource, Action)],
) -> Result<Vec<(Resource, Action)>, Refusal> {
    let questions: Vec<_> = asked.iter().map(|(resource, _)| Question::new(subject, resource)).collect();
    let keys: Vec<Key> = questions.iter().flat_map(|question| question.keys()).collect();
    let rows = if keys.is_empty() { Vec::new() } else { service.store.get(now, &keys).await? };
    let mut rows = rows.into_iter();
    let mut missing = Vec::new();
    for (question, (resource, wanted)) in questions.into_iter().zip(asked) {
        let has = question.answer(&mut rows)?;
        // In another cluster nobody has anything: that is for its own service to say.
        let here = resource.is_in(&service.policy.cluster);
        if !here || !has.is_some_and(|has| has.gives(*wanted)) {
            missing.push((resource.clone(), *wanted));
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        domain::{
            account::Account,
            ids::{Role, Uid},
        },
        store::{Record, Version, When, Write},
    };

    const ADA: Uid = Uid([1; 16]);
    const EVE: Uid = Uid([2; 16]);

    /// Ada, who owns the namespace `ada`, with these roles.
    fn ada(roles: &[&str]) -> Account {
        serde_json::from_value(serde_json::json!({
            "name": "ada", "uid": ADA, "namespace": "ada", "email": "", "roles": roles, "enabled": true, "epoch": 0,
            "password": "no hash", "created_at": 0,
        }))
        .unwrap()
    }

    fn resource(text: &str) -> Resource {
        Resource::parse(text, "uri").unwrap()
    }

    /// Rows, with `eve` as the owner of the namespace `eve`.
    #[derive(Default)]
    struct Rows(BTreeMap<Key, String>);

    impl Rows {
        fn of(held: &[Held]) -> Self {
            let mut rows = Self::default();
            rows.owned("eve", EVE);
            for held in held {
                rows.add(held);
            }
            rows
        }

        fn owned(&mut self, name: &str, uid: Uid) {
            let namespace = crate::domain::ids::Name::parse(name, "name").unwrap();
            self.add(&NamespaceOwner { owner: namespace.clone(), namespace, uid });
        }

        fn add(&mut self, record: &impl Record) {
            let Write::Put { item, .. } = record.put(When::Always) else { unreachable!() };
            self.0.insert(item.key, item.body);
        }

        fn answer(&self, subject: &Subject, uri: &str) -> Option<Action> {
            let resource = resource(uri);
            let question = Question::new(subject, &resource);
            let row = |key: Key| {
                let body = self.0.get(&key)?.clone();
                Some(Item { key, version: Version([0; 16]), expires_at: None, body })
            };
            let mut rows = question.keys().into_iter().map(row);
            let answer = question.answer(&mut rows).unwrap();
            assert!(rows.next().is_none(), "as many rows are taken as are asked for");
            answer
        }
    }

    fn held(uri: &str, action: Action) -> Held {
        let resource = resource(uri);
        let owner = (resource.namespace() == Some("eve")).then_some(EVE);
        Held::new(&Holder::One(ADA), &resource, action, owner)
    }

    fn by_role(role: &str, owner: Option<Uid>, uri: &str, action: Action) -> Held {
        Held::new(&Holder::Role(Role::parse(role).unwrap(), owner), &resource(uri), action, None)
    }

    #[test]
    fn an_owner_has_everything_of_her_own_namespace_but_gate_tokens() {
        let (rows, ada) = (Rows::default(), Subject::of_account(&ada(&[]), true));
        for scheme in OWNED {
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/ada/x")), Some(Action::Manage));
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/ada")), Some(Action::Manage));
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/eve/x")), None);
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default/ada.x/x")), None);
            assert_eq!(rows.answer(&ada, &format!("{scheme}://default")), None);
        }
        for other in ["gatetoken://default/ada", "tokens://default/ada", "job-x://default/ada"] {
            assert_eq!(rows.answer(&ada, other), None, "{other}");
        }
    }

    #[test]
    fn an_admin_has_everything_while_she_may_sign_in() {
        let rows = Rows::default();
        let admin = Subject::of_account(&ada(&["admin"]), true);
        assert_eq!(rows.answer(&admin, "gatetoken://default/eve"), Some(Action::Manage));
        assert_eq!(rows.answer(&admin, "tokenreview://default"), Some(Action::Manage));
        let narrowed = Subject::of_account(&ada(&["admin"]), false);
        assert_eq!(rows.answer(&narrowed, "gatetoken://default/eve"), None);
        for roles in [&["admin"][..], &[]] {
            let disabled = Account { enabled: false, ..ada(roles) };
            let deleted = Account { deleted_at: Some(Timestamp(1)), ..ada(roles) };
            for gone in [disabled, deleted] {
                let gone = Subject::of_account(&gone, true);
                assert_eq!(rows.answer(&gone, "job://default/ada/x"), Some(Action::Deny));
                assert!(!gone.is_admin() && !gone.owns("ada"));
            }
        }
    }

    #[test]
    fn the_highest_of_a_resource_and_its_ancestors_counts_unless_one_denies() {
        let subject = Subject::of_account(&ada(&[]), true);
        let web = "job://default/eve/web/logs";
        for (rows, answer) in [
            (vec![], None),
            (vec![held("job://default/eve/web", Action::Read)], Some(Action::Read)),
            (vec![held("job://default", Action::Write), held("job://default/eve", Action::List)], Some(Action::Write)),
            (vec![held("job://default", Action::Manage), held(web, Action::Deny)], Some(Action::Deny)),
            (vec![held("job://default", Action::Deny), held(web, Action::Manage)], Some(Action::Deny)),
            (vec![held("job://default/eve/we", Action::Manage)], None),
            (vec![held("job://default/eve/web/logs/today", Action::Manage)], None),
            (vec![held("image://default/eve/web", Action::Manage)], None),
        ] {
            assert_eq!(Rows::of(&rows).answer(&subject, web), answer, "{rows:?}");
        }
    }

    #[test]
    fn a_role_counts_while_the_account_lists_it_and_for_no_other_owner_of_its_namespace() {
        let web = "job://default/eve/web";
        let rows = Rows::of(&[by_role("eve/readers", Some(EVE), "job://default/eve", Action::Read)]);
        let with = |roles: &[&str]| rows.answer(&Subject::of_account(&ada(roles), true), web);
        assert_eq!(with(&["eve/readers"]), Some(Action::Read));
        assert_eq!(with(&["other", "x/y", "eve/readers"]), Some(Action::Read));
        for none in [&[][..], &["eve/reader"], &["eve"], &["eve/readers/x"], &["readers"]] {
            assert_eq!(with(none), None, "{none:?}");
        }
        let of_another = Rows::of(&[by_role("eve/readers", Some(Uid([9; 16])), "job://default/eve", Action::Read)]);
        assert_eq!(of_another.answer(&Subject::of_account(&ada(&["eve/readers"]), true), web), None);
        let denied = Rows::of(&[
            by_role("eve/readers", Some(EVE), "job://default/eve", Action::Deny),
            held(web, Action::Manage),
        ]);
        let subject = Subject::of_account(&ada(&["eve/readers"]), false);
        assert_eq!(denied.answer(&subject, web), Some(Action::Deny), "a narrowed token gets around no denial");
    }

    #[test]
    fn neither_a_name_nor_a_namespace_that_is_made_again_inherits() {
        let web = "job://default/eve/web";
        let row = held(web, Action::Manage);
        let subject = Subject::of_account(&ada(&[]), true);
        assert_eq!(Rows::of(std::slice::from_ref(&row)).answer(&subject, web), Some(Action::Manage));
        let again = Subject::of_account(&Account { uid: Uid([3; 16]), ..ada(&[]) }, true);
        assert_eq!(Rows::of(std::slice::from_ref(&row)).answer(&again, web), None);
        // Another's row under this one's key: it holds whose it is.
        let mut planted = Rows::of(&[]);
        let Write::Put { item, .. } = row.put(When::Always) else { unreachable!() };
        planted.0.insert(Held::key_of(&Holder::One(Uid([3; 16])), web), item.body);
        assert_eq!(planted.answer(&again, web), None);
        // Eve's namespace belongs to another Eve now.
        let mut others = Rows::of(&[row]);
        others.owned("eve", Uid([4; 16]));
        assert_eq!(others.answer(&subject, web), None);
        // What was granted while nobody owned the namespace stands.
        let early = Held::new(&Holder::One(ADA), &resource(web), Action::Read, None);
        let mut rows = Rows::of(&[early]);
        rows.owned("eve", Uid([4; 16]));
        assert_eq!(rows.answer(&subject, web), Some(Action::Read));
    }

    #[test]
    fn no_deny_binds_an_owner_or_an_admin() {
        let own = Held::new(&Holder::One(ADA), &resource("job://default/ada/x"), Action::Deny, Some(ADA));
        let gate = Held::new(&Holder::One(ADA), &resource("gatetoken://default/vms"), Action::Deny, None);
        let rows = Rows::of(&[own, gate]);
        assert_eq!(rows.answer(&Subject::of_account(&ada(&[]), true), "job://default/ada/x"), Some(Action::Manage));
        let admin = Subject::of_account(&ada(&["admin"]), true);
        assert_eq!(rows.answer(&admin, "gatetoken://default/vms"), Some(Action::Manage));
        let plain = Subject::of_account(&ada(&[]), true);
        assert_eq!(rows.answer(&plain, "gatetoken://default/vms"), Some(Action::Deny));
    }

    #[test]
    fn an_action_has_a_name_and_a_rank() {
        for (action, name) in Action::ALL {
            assert_eq!((Action::parse(name), action.as_str()), (Some(action), name));
            assert!(!action.gives(Action::Deny), "nobody wants to be denied");
            assert!(!Action::Deny.gives(action));
        }
        assert!(Action::ALL.is_sorted());
        assert!(Action::Write.gives(Action::Read) && !Action::Read.gives(Action::Write));
        assert_eq!(Action::parse("own"), None);
    }

    #[test]
    fn a_row_of_the_version_before_is_read() {
        let body = serde_json::json!({ "principal": ADA, "resource": "job://default/eve/web", "action": "read" });
        let held: Held = serde_json::from_value(body).unwrap();
        assert!(held.stands(&Holder::One(ADA), Some(EVE)));
    }
}
