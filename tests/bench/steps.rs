//! Where a refresh's time goes, and matching's, step by step, with Criterion: for whoever wants to make it faster.

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{Criterion, Throughput};
use gatemint::{
    domain::{
        Secret,
        account::Account,
        client::{Client, Presented},
        grant::{self, Grant, Request},
        key::{
            Algorithm,
            jwt::{AccessClaims, Kind, Unverified},
        },
        session::{RefreshToken, Session},
    },
    store::{Record as _, Version, When, decode},
};

use crate::local::Local;

pub(crate) fn run() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .without_plots();
    let local = Local::new(Algorithm::ES256);
    let (service, runtime) = (&local.service, &local.runtime);
    let (_, mut tokens) = local.sign_in();
    let mut steps = criterion.benchmark_group("refresh");
    steps.throughput(Throughput::Elements(1));

    steps.bench_function("all of it, through the router", |bench| {
        bench.iter(|| (_, tokens) = local.refresh(&tokens.refresh));
    });
    steps.bench_function("all of it but HTTP", |bench| {
        bench.iter(|| {
            let request = Request {
                client_id: Client::BUILT_IN.into(),
                presented: Presented::Public,
                grant: Grant::RefreshToken { token: Secret::new(tokens.refresh.clone()) },
                scope: None,
                resource: Vec::new(),
                address: Ipv4Addr::LOCALHOST.into(),
            };
            let made = runtime.block_on(grant::exchange(service, request)).unwrap();
            let (refresh, _) = made.access.unwrap().refresh.unwrap();
            tokens.refresh.clone_from(refresh.expose());
        });
    });

    let now = service.now();
    let text = Secret::new(tokens.refresh.clone());
    let authentic = || runtime.block_on(RefreshToken::authentic(service, now, &text)).unwrap().unwrap();
    steps.bench_function("the token's MAC", |bench| bench.iter(authentic));
    let token = authentic();
    let keys = [
        Client::key_of(Client::BUILT_IN),
        Session::key_of(token.account, token.session),
        Account::key_of(token.account),
    ];
    let read = || runtime.block_on(service.store.get(now, &keys)).unwrap();
    steps.bench_function("reading three rows from memory", |bench| bench.iter(read));
    let mut rows = read();
    let (account, session) = (rows.pop().flatten(), rows.pop().flatten());
    steps.bench_function("two rows become records", |bench| {
        bench.iter(|| {
            black_box(decode::<Session>(session.clone()).unwrap());
            black_box(decode::<Account>(account.clone()).unwrap());
        });
    });
    let session = decode::<Session>(session).unwrap().unwrap().record;
    let mut id = 0_u128;
    steps.bench_function("a commit to memory", |bench| {
        bench.iter(|| {
            id += 1;
            let writes = vec![session.put(When::Always)];
            runtime.block_on(service.store.commit(now, Version(id.to_be_bytes()), writes)).unwrap();
        });
    });
    let ring = runtime.block_on(service.keys.peppers(now, service.entropy.as_ref(), service.vault.as_ref())).unwrap();
    steps.bench_function("the successor", |bench| bench.iter(|| RefreshToken::derive(&session, &ring).unwrap()));
    let published =
        runtime.block_on(service.keys.public(now, service.entropy.as_ref(), service.store.as_ref())).unwrap();
    let claims: AccessClaims =
        Unverified::parse(&tokens.access).unwrap().verify(&published.keys[0], Kind::Access).unwrap();
    steps.bench_function("claims written and signed", |bench| {
        bench.iter(|| runtime.block_on(service.sign(now, Kind::Access, &claims)).unwrap());
    });
    steps.finish();
    crate::matching::steps(&mut criterion);
}
