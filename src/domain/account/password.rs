//! Passwords: Argon2id (RFC 9106), in the PHC string format.

use std::fmt;

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{self, Output, ParamsString, Salt},
};
use serde::{Deserialize, Serialize};

use crate::domain::{Refusal, same_secret};

/// The longest password, in bytes.
pub(super) const MAX_PASSWORD: usize = 1024;
/// Argon2id with m = 19456 KiB, t = 2, p = 1: what a hash made now is made with.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
/// No stored hash may ask for more than this: a damaged row must not take the machine's memory.
const MOST_MEMORY_KIB: u32 = 262_144;
const MOST_PASSES: u32 = 16;

/// The shortest password that is accepted at creation, in bytes (8..=1024; 15 unless set).
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// The least number of bytes.
    pub min_bytes: usize,
}

impl PasswordPolicy {
    /// Judges a new password's shape.
    ///
    /// # Errors
    /// `Invalid` for `password`: too short, too long, a control character, not UTF-8.
    pub fn check(self, password: &[u8]) -> Result<(), Refusal> {
        if password.len() < self.min_bytes || password.len() > MAX_PASSWORD {
            return Err(Refusal::invalid(
                "password",
                format!("must be {} to {MAX_PASSWORD} bytes long; length is what protects it", self.min_bytes),
            ));
        }
        let sound = std::str::from_utf8(password).is_ok_and(|text| !text.chars().any(char::is_control));
        if sound { Ok(()) } else { Err(Refusal::invalid("password", "must be UTF-8 without control characters")) }
    }
}

/// A password's hash as it is kept, e.g. `$argon2id$v=19$m=19456,t=2,p=1$…$…`. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[password hash]")
    }
}

/// A hash that cannot be made or judged: a damaged row. The text holds nothing of the hash.
#[derive(Debug, thiserror::Error)]
#[error("a password hash cannot be used: {0}")]
pub(super) struct BadHash(String);

impl BadHash {
    fn because(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The working memory of one hash, kept between hashes that follow one another.
pub(super) type Memory = Vec<Block>;

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub matches: bool,
    /// The hash was made with less than what is used now: worth making again.
    pub weaker: bool,
}

impl PasswordHash {
    /// Hashes a password.
    pub(super) fn make(password: &[u8], salt: [u8; 16], memory: &mut Memory) -> Result<Self, BadHash> {
        let params = current_params()?;
        let output = compute(params, password, &salt, HASH_BYTES, memory)?;
        let hash = phc::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&current_params()?).map_err(BadHash::because)?,
            salt: Some(Salt::new(&salt).map_err(BadHash::because)?),
            hash: Some(Output::new(&output).map_err(BadHash::because)?),
        };
        Ok(Self(hash.to_string()))
    }

    /// Whether it was made with less than what is used now, or cannot be judged at all. It is made again when its user
    /// signs in.
    pub fn is_stale(&self) -> bool {
        parse(&self.0).map_or(true, |(_, params)| is_weaker(&params))
    }

    /// Checks a password. With no hash at all (an unknown user) the same work is done, and nothing matches.
    pub(super) fn judge(hash: Option<&Self>, password: &[u8], memory: &mut Memory) -> Result<Judgement, BadHash> {
        let Some(Self(text)) = hash else {
            compute(current_params()?, password, &[0; 16], HASH_BYTES, memory)?;
            return Ok(Judgement { matches: false, weaker: false });
        };
        let (kept, params) = parse(text)?;
        let (Some(salt), Some(expected)) = (kept.salt, kept.hash) else {
            return Err(BadHash("it has no salt or no hash".into()));
        };
        let weaker = is_weaker(&params);
        let output = compute(params, password, salt.as_ref(), expected.len(), memory)?;
        Ok(Judgement { matches: same_secret(&output, expected.as_bytes()), weaker })
    }
}

/// A kept hash and what it was made with.
fn parse(text: &str) -> Result<(phc::PasswordHash, Params), BadHash> {
    let kept = phc::PasswordHash::new(text).map_err(BadHash::because)?;
    if kept.algorithm != Algorithm::Argon2id.ident() || kept.version != Some(Version::V0x13.into()) {
        return Err(BadHash("it is not argon2id, version 19".into()));
    }
    let params = Params::try_from(&kept).map_err(BadHash::because)?;
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES {
        return Err(BadHash("it asks for more memory or time than is safe".into()));
    }
    Ok((kept, params))
}

fn is_weaker(params: &Params) -> bool {
    params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES
}

fn current_params() -> Result<Params, BadHash> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(BadHash::because)
}

fn compute(
    params: Params,
    password: &[u8],
    salt: &[u8],
    length: usize,
    memory: &mut Memory,
) -> Result<Vec<u8>, BadHash> {
    let mut output = vec![0; length];
    memory.resize(params.block_count(), Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut output, memory.as_mut_slice())
        .map_err(BadHash::because)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let mut memory = Memory::new();
        let hash = PasswordHash::make(b"correct horse battery", [7; 16], &mut memory).unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        let judge = |password: &[u8], memory: &mut Memory| PasswordHash::judge(Some(&hash), password, memory).unwrap();
        assert_eq!(judge(b"correct horse battery", &mut memory), Judgement { matches: true, weaker: false });
        assert!(!judge(b"correct horse batterz", &mut memory).matches);
        assert!(!PasswordHash::judge(None, b"correct horse battery", &mut memory).unwrap().matches);
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn a_weaker_hash_says_so_and_a_monstrous_one_is_refused() {
        let mut memory = Memory::new();
        // Made with the reference implementation's parameters for tests: m=8, t=1, p=1.
        let output =
            compute(Params::new(8, 1, 1, Some(32)).unwrap(), b"an old password", &[1; 16], 32, &mut memory).unwrap();
        let text = format!(
            "$argon2id$v=19$m=8,t=1,p=1${}${}",
            Salt::new(&[1; 16]).unwrap().to_salt_string(),
            Output::new(&output).unwrap()
        );
        let weak = PasswordHash(text.clone());
        let judged = PasswordHash::judge(Some(&weak), b"an old password", &mut memory).unwrap();
        assert_eq!(judged, Judgement { matches: true, weaker: true });
        assert!(weak.is_stale());
        assert!(!PasswordHash::make(b"an old password", [1; 16], &mut memory).unwrap().is_stale());
        let monstrous = PasswordHash(text.replace("m=8", "m=4000000"));
        assert!(PasswordHash::judge(Some(&monstrous), b"an old password", &mut memory).is_err());
        let garbage = PasswordHash("$argon2id$".into());
        assert!(PasswordHash::judge(Some(&garbage), b"x", &mut memory).is_err());
    }

    #[test]
    fn a_new_password_has_15_to_1024_bytes() {
        let policy = PasswordPolicy { min_bytes: 15 };
        assert!(policy.check(&[b'a'; 14]).is_err());
        assert!(policy.check(&[b'a'; 15]).is_ok());
        assert!(policy.check(&[b'a'; 1024]).is_ok());
        assert!(policy.check(&[b'a'; 1025]).is_err());
        assert!(policy.check(b"with a \0 in the middle").is_err());
        assert!(policy.check(&[0xff; 20]).is_err());
    }
}
