//! A new pepper takes its turn without anyone noticing; or, in an emergency, at once.

use super::{PepperRing, RingDocument};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, Service, is_unfilled,
        key::rotate::{Pace, new_request_id, outrun},
    },
};

/// What a rotation of the peppers has done.
#[derive(Clone, Copy, Debug)]
pub struct RotatedPepper {
    /// The new pepper's id.
    pub id: u8,
    /// From when on refresh tokens are derived with it.
    pub active_from: Timestamp,
    /// Whether there was none before.
    pub first: bool,
}

/// Rotates the peppers: [`Pace::AtOnce`] ends every session. A secret that is still empty gets its first pepper, which
/// is used at once.
///
/// # Errors
/// `Conflict`: a pepper is upcoming already, or another rotation was faster. `Unavailable`.
pub async fn rotate_peppers(service: &Service, pace: Pace, actor: &str) -> Result<RotatedPepper, Refusal> {
    let now = service.now();
    let entropy = service.entropy.as_ref();
    let name = PepperRing::SECRET;
    let none = || Refusal::unavailable(format!("the vault holds no {name}"));
    let current = service.vault.current(name).await?.ok_or_else(none)?;
    let first = is_unfilled(current.value.expose());
    let next = if first {
        RingDocument::first(entropy, now)
    } else {
        let ring = RingDocument::parse(current.value.expose()).map_err(Refusal::unavailable)?;
        match pace {
            Pace::Announced => ring.followed(entropy, now)?,
            Pace::AtOnce => ring.replaced(entropy, now)?,
        }
    };
    let request_id = new_request_id(service);
    service.vault.stage(name, &request_id, next.render()).await.map_err(outrun)?;
    if let Err(error) = service.vault.promote(name, &request_id, &current.id).await {
        // Done perhaps, and not heard of: whoever is told otherwise would replace it again.
        let held = service.vault.current(name).await;
        if !held.is_ok_and(|held| held.is_some_and(|held| held.id == request_id)) {
            return Err(outrun(error));
        }
    }
    service.keys.expire().await;
    let (id, active_from) = next.newest();
    tracing::info!(
        target: "gatemint::audit",
        event = "peppers_rotated",
        actor,
        pepper.id = id,
        pepper.active_from = active_from.rfc3339(),
        sessions.ended = pace == Pace::AtOnce && !first,
    );
    Ok(RotatedPepper { id, active_from, first })
}
