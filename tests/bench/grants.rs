//! Grants through the router: what they cost on top of the signature, or of Argon2id.

use std::time::{Duration, Instant};

use argon2::{Algorithm as Variant, Argon2, Block, Params, Version};
use gatemint::domain::key::Algorithm;

use crate::{
    floor::Pair,
    local::{Local, PASSWORD},
    measure::{Spread, passes},
    table::Row,
};

/// The most that a refresh may cost on top of its signature, in microseconds.
const REFRESH_ON_TOP: f64 = 60.0;
/// What a sign-in may cost, in Argon2ids.
const SIGN_IN: f64 = 1.03;

/// The refresh grant beside the bare signature of as long a text.
pub(crate) fn refresh(alg: Algorithm) -> Row {
    let local = Local::new(alg);
    let (_, mut tokens) = local.sign_in();
    let (message, _) = tokens.access.rsplit_once('.').unwrap();
    let (pair, message) = (Pair::generate(alg), message.to_owned());
    let passes = passes(
        40,
        Duration::from_millis(25),
        &mut || {
            let begun = Instant::now();
            std::hint::black_box(pair.sign(message.as_bytes()));
            begun.elapsed()
        },
        &mut || {
            let took;
            (took, tokens) = local.refresh(&tokens.refresh);
            took
        },
    );
    let on_top = Spread::of(passes.iter().map(|pass| pass.ours - pass.floor));
    Row {
        what: format!("refresh grant, {alg}; beside the bare signature"),
        floor: format!("{:.1} µs", Spread::of(passes.iter().map(|pass| pass.floor)).median),
        ours: format!("{:.1} µs", Spread::of(passes.iter().map(|pass| pass.ours)).median),
        against: format!("+{on_top:.1} µs"),
        target: format!("≤ +{REFRESH_ON_TOP:.0} µs"),
        met: Some(on_top.median <= REFRESH_ON_TOP),
    }
}

/// The password grant beside bare Argon2id with the same parameters, in a block of memory that is used again.
pub(crate) fn password() -> Row {
    let local = Local::new(Algorithm::ES256);
    let params = Params::new(19_456, 2, 1, Some(32)).unwrap();
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Variant::Argon2id, Version::V0x13, params);
    let passes = passes(
        150,
        Duration::ZERO,
        &mut || {
            let begun = Instant::now();
            let mut output = [0; 32];
            argon2
                .hash_password_into_with_memory(PASSWORD.as_bytes(), &[7; 16], &mut output, memory.as_mut_slice())
                .unwrap();
            std::hint::black_box(output);
            begun.elapsed()
        },
        &mut || local.sign_in().0,
    );
    let ratio = Spread::of(passes.iter().map(|pass| pass.ours / pass.floor));
    Row {
        what: "password grant; beside bare Argon2id".into(),
        floor: format!("{:.2} ms", Spread::of(passes.iter().map(|pass| pass.floor)).median / 1e3),
        ours: format!("{:.2} ms", Spread::of(passes.iter().map(|pass| pass.ours)).median / 1e3),
        against: format!("{ratio:.3}"),
        target: format!("≤ {SIGN_IN}"),
        met: Some(ratio.median <= SIGN_IN),
    }
}
