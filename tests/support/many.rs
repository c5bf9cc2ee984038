//! Many accounts with a token that is always fresh and mirrored, as sign-ins make them, without hashing a password for each.

use gatemint::{
    domain::{
        Service,
        account::{
            Account, AccountName, NamespaceOwner,
            manage::{self, AccountPatch},
        },
        fresh_token::FreshToken,
        ids::{AccountKey, FreshId, Name, Uid},
    },
    store::{Record as _, When},
};

/// Makes accounts `n00000`, `n00001` …, each owner of the namespace of its name, with the password of an account that is
/// there; their names.
pub(crate) async fn mirrored(service: &Service, model: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    let now = service.now();
    let model = manage::get(service, now, model).await.unwrap().record;
    let mut names = Vec::with_capacity(numbers.len());
    for n in numbers {
        let name = Name::parse(&format!("n{n:05}"), "name").unwrap();
        let uid = Uid::draw(service.entropy.as_ref());
        let account = Account {
            name: name.clone(),
            namespace: name.clone(),
            uid,
            roles: Vec::new(),
            created_at: now,
            mirror_token: false,
            ..model.clone()
        };
        let owner = NamespaceOwner { namespace: name.clone(), owner: name.clone(), uid };
        let fresh = FreshToken {
            account: AccountKey::of(name.as_str()),
            name: name.clone(),
            namespace: name.clone(),
            uid,
            account_created_at: now,
            epoch: account.epoch,
            id: FreshId::draw(service.entropy.as_ref()),
            begun_at: now,
        };
        let listed = AccountName { name: name.clone() };
        let rows =
            [account.put(When::Absent), owner.put(When::Absent), listed.put(When::Always), fresh.put(When::Absent)];
        service.commit(now, rows.into()).await.unwrap();
        let mirrored = AccountPatch { mirror_token: Some(true), ..AccountPatch::default() };
        manage::update(service, now, name.as_str(), mirrored, "test").await.unwrap();
        names.push(name.to_string());
    }
    names
}
