//! Access tokens judged: what that costs on top of the check of the signature.

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use gatemint::domain::key::{
    Algorithm,
    jwt::{AccessClaims, Kind, Unverified},
};

use crate::{
    floor::Pair,
    local::Local,
    measure::{Pass, Spread, passes},
    table::Row,
};

/// The most that judging a token may cost on top of its signature's check, in microseconds.
const ON_TOP: f64 = 15.0;
/// The most that the whole of `/auth/verify` may cost on top of the signature's check, in microseconds.
const GATE_ON_TOP: f64 = 25.0;

fn parsed(pair: &Pair) -> ParsedPublicKey {
    match pair {
        Pair::Ec(pair) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()),
        Pair::Rsa(pair) => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref()),
        Pair::Ed25519(pair) => ParsedPublicKey::new(&ED25519, pair.public_key().as_ref()),
    }
    .unwrap()
}

/// The bare check of the signature of as long a text, by a key that was parsed once.
fn floor(alg: Algorithm, access: &str) -> impl FnMut() -> Duration + use<> {
    let pair = Pair::generate(alg);
    let (message, _) = access.rsplit_once('.').unwrap();
    let (message, signature, key) = (message.to_owned(), pair.sign(message.as_bytes()), parsed(&pair));
    move || {
        let begun = Instant::now();
        key.verify_sig(message.as_bytes(), &signature).unwrap();
        begun.elapsed()
    }
}

/// Form, key, signature, kind, issuer and time: all but the record.
pub(crate) fn token(alg: Algorithm) -> Row {
    let local = Local::new(alg);
    let (_, tokens) = local.sign_in();
    let mut judge = || {
        let service = &local.service;
        let begun = Instant::now();
        let claims = local.runtime.block_on(async {
            let now = service.now();
            let unverified = Unverified::parse(&tokens.access).unwrap();
            let judging = service.keys.judging(now, service.entropy.as_ref(), service.store.as_ref(), unverified.kid());
            let key = judging.await.unwrap().unwrap();
            let claims: AccessClaims = unverified.verify(&key, Kind::Access).unwrap();
            claims.check(&service.policy.issuer, now).unwrap();
            claims
        });
        let took = begun.elapsed();
        assert_eq!(claims.preferred_username, "ada");
        took
    };
    row(format!("access token judged, {alg}; beside the bare check"), alg, &tokens.access, &mut judge, Some(ON_TOP))
}

/// `GET /v1/me` as a whole, with its record and its log line.
pub(crate) fn me() -> Row {
    let local = Local::new(Algorithm::ES256);
    let (_, tokens) = local.sign_in();
    let what = "GET /v1/me as a whole, ES256; beside the bare check".to_owned();
    row(what, Algorithm::ES256, &tokens.access, &mut || local.me(&tokens.access), None)
}

/// `/auth/verify` as a proxy asks it, with a gate token and its record, and with its log line: tokens that were not seen before, or
/// one that is shown again and again.
pub(crate) fn gate(alg: Algorithm, again: bool) -> Row {
    let local = Local::new(alg);
    // More than a process remembers, so that each is new to it when its turn comes again.
    let tokens = local.gate_tokens(if again { 1 } else { 10_000 });
    let mut turn = 0;
    let mut verify = || {
        turn += 1;
        local.verify(&tokens[turn % tokens.len()])
    };
    let which = if again { "shown again" } else { "shown first" };
    let what = format!("/auth/verify as a whole, gate token {which}, {alg}; beside the bare check");
    row(what, alg, &tokens[0], &mut verify, Some(GATE_ON_TOP))
}

/// The same beside a route that does nothing, as requests per second.
pub(crate) fn gate_beside_nothing() -> Row {
    let local = Local::new(Algorithm::ES256);
    let token = &local.gate_tokens(1)[0];
    let passes = passes(40, Duration::from_millis(20), &mut || local.nothing(), &mut || local.verify(token));
    let per_second = |side: fn(&Pass) -> f64| Spread::of(passes.iter().map(|pass| 1e6 / side(pass))).median;
    Row {
        what: "/auth/verify, gate token shown again, ES256; beside /healthz, requests per second of one thread"
            .to_owned(),
        floor: format!("{:.0}", per_second(|pass| pass.floor)),
        ours: format!("{:.0}", per_second(|pass| pass.ours)),
        against: format!("{}", Spread::of(passes.iter().map(|pass| pass.floor / pass.ours))),
        target: String::new(),
        met: None,
    }
}

fn row(what: String, alg: Algorithm, access: &str, ours: &mut dyn FnMut() -> Duration, target: Option<f64>) -> Row {
    let passes = passes(40, Duration::from_millis(20), &mut floor(alg, access), ours);
    let on_top = Spread::of(passes.iter().map(|pass| pass.ours - pass.floor));
    Row {
        what,
        floor: format!("{:.1} µs", Spread::of(passes.iter().map(|pass| pass.floor)).median),
        ours: format!("{:.1} µs", Spread::of(passes.iter().map(|pass| pass.ours)).median),
        against: format!("{}{on_top:.1} µs", if on_top.median < 0.0 { "" } else { "+" }),
        target: target.map_or_else(String::new, |most| format!("≤ +{most:.0} µs")),
        met: target.map(|most| on_top.median <= most),
    }
}
