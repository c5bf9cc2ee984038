//! Signatures that were found good: whoever shows the same token a thousand times has it checked once.
//!
//! That a text is signed by the key of a thumbprint (RFC 7638, our `kid`) stays true for ever, so nothing here grows
//! stale. Whether that key still judges, what the claims say, and whether the record stands is asked every time.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest;

/// How many are remembered at least; at most twice as many, in about 70 bytes each.
const KEPT: usize = 4096;

/// What is kept of a token.
type Digest = [u8; 32];

/// Tokens with a good signature, as SHA-256. Others are not remembered: they would cost an attacker nothing.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<Generations>);

/// When the young ones are many, they become the old ones, and what was old is forgotten.
#[derive(Default)]
struct Generations {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl Verdicts {
    /// Checks a token's signature, unless that was done. `check` is told nothing, and says whether it is good.
    pub(crate) fn once<E>(&self, token: &str, check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let digest = of(token);
        if self.knows(&digest) {
            return Ok(());
        }
        check()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(digest);
        Ok(())
    }

    fn knows(&self, digest: &Digest) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is in use moves on, so that only what nobody shows any more is forgotten.
        if kept.old.remove(digest) {
            kept.keep(*digest);
            return true;
        }
        kept.young.contains(digest)
    }
}

impl Generations {
    fn keep(&mut self, digest: Digest) {
        self.young.insert(digest);
        if self.young.len() >= KEPT {
            self.old = mem::take(&mut self.young);
        }
    }
}

fn of(token: &str) -> Digest {
    let mut kept = [0; 32];
    kept.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_signature_is_checked_once_and_a_bad_one_every_time() {
        let verdicts = Verdicts::default();
        let mut checked = 0;
        for _ in 0..3 {
            let good: Result<(), ()> = verdicts.once("a.b.c", || {
                checked += 1;
                Ok(())
            });
            assert_eq!(good, Ok(()));
            let bad = verdicts.once("a.b.d", || {
                checked += 100;
                Err(())
            });
            assert_eq!(bad, Err(()));
        }
        assert_eq!(checked, 301);
    }

    #[test]
    fn what_is_in_use_is_kept_and_what_is_kept_is_bounded() {
        let verdicts = Verdicts::default();
        let good = |token: &str| verdicts.once(token, || Ok::<(), ()>(()));
        for n in 0..5 * KEPT {
            good(&format!("{n}")).unwrap();
            good("mine").unwrap();
            // As many as are kept, each in use all the time.
            good(&format!("hot {}", n % KEPT)).unwrap();
            let kept = verdicts.0.lock().unwrap();
            assert!(kept.young.len() < KEPT && kept.old.len() <= KEPT);
            drop(kept);
        }
        assert_eq!(verdicts.once("mine", || Err(())), Ok(()));
        assert_eq!(verdicts.once("0", || Err(())), Err(()), "long forgotten");
    }
}
