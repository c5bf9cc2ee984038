//! The ring of peppers: the keys of refresh tokens' MACs, and how it moves on.

use std::{fmt, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{
    clock::Timestamp,
    domain::{Refusal, Secret, is_unfilled},
    entropy::Entropy,
};

const FORMAT: u32 = 1;

/// How long before its first use a pepper is published: longer than any process goes without reading the ring again
/// while the vault can be read.
const PUBLISHED_AHEAD: Duration = Duration::from_hours(1);

/// How long a pepper stays when no more tokens are made with it: the longest that a refresh token may lie idle under any
/// setting (400 days), and a day. Whoever rotates need not know the settings of whoever made the tokens, and a pepper
/// opens nothing but the sessions whose current token was made with it.
const STAYS_ON_FOR: Duration = Duration::from_hours(401 * 24);

/// A pepper: the key of refresh tokens' MACs and of the throttle's tags.
pub struct Pepper {
    /// Its id, 1..=255, as tokens and sessions name it.
    pub id: u8,
    /// The key, ready for use.
    pub key: hmac::Key,
    /// From when on new tokens are derived with it.
    pub active_from: Timestamp,
    /// From when on it judges nothing; none while no successor is known.
    pub gone_after: Option<Timestamp>,
}

/// What a pepper does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PepperState {
    /// It is published, so that every process knows it when it is used.
    Upcoming,
    /// Refresh tokens are made with it.
    Active,
    /// Refresh tokens that were made with it are still good.
    Judging,
}

/// The peppers that are known, as the vault's secret `refresh/gatemint-refresh-secret` holds them.
pub struct PepperRing {
    peppers: Vec<Pepper>,
}

impl fmt::Debug for PepperRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.peppers.iter().map(|pepper| pepper.id)).finish()
    }
}

/// The ring as the vault keeps it.
#[derive(Serialize)]
pub(crate) struct RingDocument {
    v: u32,
    peppers: Vec<PepperDocument>,
}

/// What may be in the vault: a ring, or the one pepper that a template has made, since Secrets Manager can add one
/// generated member to an object and no more.
#[derive(Deserialize)]
struct Found {
    v: u32,
    peppers: Option<Vec<PepperDocument>>,
    id: Option<u8>,
    secret: Option<String>,
}

impl Drop for Found {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct PepperDocument {
    id: u8,
    /// The key itself: the bytes of this text.
    secret: String,
    active_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_after: Option<Timestamp>,
}

impl Drop for PepperDocument {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl PepperRing {
    /// The secret's name in the vault.
    pub const SECRET: &'static str = "refresh/gatemint-refresh-secret";

    /// Reads the vault's document, without the peppers that are gone at `now`.
    ///
    /// # Errors
    /// It is not a ring that this version knows. The text holds nothing of the secret.
    pub fn parse(document: &[u8], now: Timestamp) -> Result<Self, String> {
        let document = RingDocument::parse(document)?;
        let peppers: Vec<_> = document
            .peppers
            .iter()
            .filter(|pepper| pepper.judges(now))
            .map(|pepper| Pepper {
                id: pepper.id,
                key: hmac::Key::new(hmac::HMAC_SHA256, pepper.secret.as_bytes()),
                active_from: pepper.active_from,
                gone_after: pepper.gone_after,
            })
            .collect();
        if peppers.is_empty() {
            return Err(format!("{} holds no pepper that is not gone", Self::SECRET));
        }
        Ok(Self { peppers })
    }

    /// All peppers, oldest first.
    pub fn all(&self) -> &[Pepper] {
        &self.peppers
    }

    /// What a pepper of this ring does at `now`.
    pub fn state(&self, pepper: &Pepper, now: Timestamp) -> PepperState {
        match () {
            () if pepper.id == self.active(now).id => PepperState::Active,
            () if now < pepper.active_from => PepperState::Upcoming,
            () => PepperState::Judging,
        }
    }

    /// The pepper of that id.
    pub fn find(&self, id: u8) -> Option<&Pepper> {
        self.peppers.iter().find(|pepper| pepper.id == id)
    }

    /// The pepper that new tokens are derived with: the latest that is active, else the first.
    pub fn active(&self, now: Timestamp) -> &Pepper {
        self.peppers
            .iter()
            .filter(|pepper| pepper.active_from <= now)
            .max_by_key(|pepper| pepper.active_from)
            .unwrap_or(&self.peppers[0])
    }
}

impl PepperDocument {
    fn new(entropy: &dyn Entropy, id: u8, active_from: Timestamp) -> Self {
        let mut key = entropy.bytes::<32>();
        let secret = URL_SAFE_NO_PAD.encode(key);
        key.zeroize();
        Self { id, secret, active_from, gone_after: None }
    }

    fn judges(&self, now: Timestamp) -> bool {
        self.gone_after.is_none_or(|gone| now < gone)
    }
}

impl RingDocument {
    /// One new pepper.
    pub(crate) fn first(entropy: &dyn Entropy, now: Timestamp) -> Self {
        Self { v: FORMAT, peppers: vec![PepperDocument::new(entropy, 1, now)] }
    }

    /// One pepper more, active an hour after `now`; those before it stay until no session can need them any more, and
    /// what is gone is dropped.
    ///
    /// # Errors
    /// `Conflict`: one is upcoming already, or no id is free.
    pub(crate) fn followed(self, entropy: &dyn Entropy, now: Timestamp) -> Result<Self, Refusal> {
        if let Some(upcoming) = self.peppers.iter().find(|pepper| now < pepper.active_from) {
            let from = upcoming.active_from.rfc3339();
            return Err(Refusal::conflict(format!("a new pepper is published already, and is used from {from}")));
        }
        let active_from = now + PUBLISHED_AHEAD;
        let id = self.free_id().ok_or_else(|| Refusal::conflict("the ring holds 255 peppers, no id is free"))?;
        let mut peppers: Vec<_> = self.peppers.into_iter().filter(|pepper| pepper.judges(now)).collect();
        for pepper in peppers.iter_mut().filter(|pepper| pepper.gone_after.is_none()) {
            pepper.gone_after = Some(active_from + STAYS_ON_FOR);
        }
        peppers.push(PepperDocument::new(entropy, id, active_from));
        Ok(Self { v: FORMAT, peppers })
    }

    /// One new pepper, used at once, in the place of all: every session ends.
    ///
    /// # Errors
    /// `Conflict`: no id is free.
    pub(crate) fn replaced(&self, entropy: &dyn Entropy, now: Timestamp) -> Result<Self, Refusal> {
        let id = self.free_id().ok_or_else(|| Refusal::conflict("the ring holds 255 peppers, no id is free"))?;
        Ok(Self { v: FORMAT, peppers: vec![PepperDocument::new(entropy, id, now)] })
    }

    /// The id after the newest one's that no pepper here has: an old token must not name a new pepper.
    fn free_id(&self) -> Option<u8> {
        let newest = self.peppers.last().map_or(0, |pepper| pepper.id);
        (1..=255_u8)
            .map(|step| newest.wrapping_add(step))
            .find(|id| *id != 0 && self.peppers.iter().all(|pepper| pepper.id != *id))
    }

    /// Id and first use of the newest pepper.
    pub(crate) fn newest(&self) -> (u8, Timestamp) {
        self.peppers.last().map_or((0, Timestamp(0)), |pepper| (pepper.id, pepper.active_from))
    }

    /// As it goes into the vault.
    pub(crate) fn render(&self) -> Secret<Vec<u8>> {
        // Room for all of it: a buffer that grows leaves copies behind that nobody wipes.
        let room = 64 + self.peppers.iter().map(|pepper| pepper.secret.len() + 160).sum::<usize>();
        let mut bytes = Vec::with_capacity(room);
        serde_json::to_writer(&mut bytes, self)
            .unwrap_or_else(|error| unreachable!("plain data always serialises: {error}"));
        Secret::new(bytes)
    }

    /// Reads the vault's document.
    ///
    /// # Errors
    /// It is not a ring that this version knows. The text holds nothing of the secret.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, String> {
        let name = PepperRing::SECRET;
        if is_unfilled(document) {
            return Err(format!("no peppers yet: {name} is empty, `gatemint key rotate --refresh` makes the first"));
        }
        let mut found: Found = serde_json::from_slice(document)
            .map_err(|error| format!("{name} is not a pepper ring: {:?} error", error.classify()))?;
        if found.v != FORMAT {
            return Err(format!("{name} has format {}, this version knows {FORMAT}", found.v));
        }
        let peppers = match (found.peppers.take(), found.id, found.secret.take()) {
            (Some(peppers), None, None) => peppers,
            // Used since ever.
            (None, Some(id), Some(secret)) => {
                vec![PepperDocument { id, secret, active_from: Timestamp(0), gone_after: None }]
            }
            (_, _, mut secret) => {
                secret.zeroize();
                return Err(format!("{name} is not a pepper ring: it holds `peppers`, or `id` and `secret`"));
            }
        };
        let sound = |pepper: &PepperDocument| pepper.id != 0 && pepper.secret.len() >= 32;
        if peppers.is_empty() || !peppers.iter().all(sound) {
            return Err(format!("{name} holds no pepper, or one under 32 characters or with id 0"));
        }
        Ok(Self { v: FORMAT, peppers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn ring(document: &RingDocument, now: Timestamp) -> PepperRing {
        PepperRing::parse(document.render().expose(), now).unwrap()
    }

    #[test]
    fn a_new_pepper_is_used_an_hour_later_and_the_old_one_outlives_its_last_token() {
        let entropy = SystemEntropy;
        let document = RingDocument::first(&entropy, NOW).followed(&entropy, NOW).unwrap();
        let used_from = NOW + PUBLISHED_AHEAD;
        assert_eq!(ring(&document, NOW).active(NOW).id, 1);
        assert_eq!(ring(&document, NOW).active(used_from).id, 2);
        let last_token_ends = used_from + Duration::from_hours(400 * 24);
        assert!(ring(&document, last_token_ends).find(1).is_some());
        assert!(ring(&document, used_from + STAYS_ON_FOR).find(1).is_none());
        assert!(ring(&document, used_from + STAYS_ON_FOR).find(2).is_some());
    }

    #[test]
    fn the_one_pepper_of_a_template_is_a_ring_that_goes_on_as_any_other() {
        let entropy = SystemEntropy;
        let secret = "abcdefghijklmnopqrstuvwxyz012345";
        let made = format!(r#"{{"v":1,"id":1,"secret":"{secret}"}}"#);
        let ring_of_template = PepperRing::parse(made.as_bytes(), NOW).unwrap();
        assert_eq!((ring_of_template.all().len(), ring_of_template.active(NOW).id), (1, 1));
        let next = RingDocument::parse(made.as_bytes()).unwrap().followed(&entropy, NOW).unwrap();
        let kept = &next.peppers[0];
        assert_eq!((kept.id, kept.secret.as_str(), kept.active_from), (1, secret, Timestamp(0)));
        let next = ring(&next, NOW + PUBLISHED_AHEAD);
        assert_eq!((next.all().len(), next.active(NOW + PUBLISHED_AHEAD).id), (2, 2));
    }

    #[test]
    fn what_is_no_ring_is_refused_by_name_and_not_quoted() {
        let hush = "hush-hush-hush-hush-hush-hush-hush";
        let wrong = [
            format!(r#"{{"v":1,"id":1,"secret":"{hush}","peppers":[]}}"#),
            format!(r#"{{"v":1,"id":0,"secret":"{hush}"}}"#),
            format!(r#"{{"v":1,"id":256,"secret":"{hush}"}}"#),
            format!(r#"{{"v":1,"secret":"{hush}"}}"#),
            format!(r#"{{"v":2,"id":1,"secret":"{hush}"}}"#),
            format!(r#"{{"v":1,"id":1,"secret":"{hush}""#),
            format!(r#"{{"v":1,"id":1,"secret":["{hush}"]}}"#),
            format!(r#""{hush}""#),
            r#"{"v":1,"id":1,"secret":"hush-short"}"#.to_owned(),
            r#"{"v":1,"id":1}"#.to_owned(),
            r#"{"v":1,"peppers":[]}"#.to_owned(),
            r#"{"gatemint":"empty"}"#.to_owned(),
        ];
        for wrong in wrong {
            let said = RingDocument::parse(wrong.as_bytes()).err().unwrap();
            assert!(said.contains(PepperRing::SECRET) && !said.contains("hush"), "{wrong}: {said}");
        }
    }

    #[test]
    fn one_pepper_is_upcoming_at_a_time() {
        let entropy = SystemEntropy;
        let document = RingDocument::first(&entropy, NOW).followed(&entropy, NOW).unwrap();
        let refused = document.followed(&entropy, NOW + Duration::from_mins(59)).err().unwrap();
        assert!(refused.text.contains("published already"), "{}", refused.text);
    }

    #[test]
    fn an_id_is_not_given_out_again_before_all_others_were() {
        let entropy = SystemEntropy;
        let mut document = RingDocument::first(&entropy, NOW);
        let mut ids = vec![];
        for _ in 0..300 {
            document = document.replaced(&entropy, NOW).unwrap();
            ids.push(document.peppers[0].id);
        }
        let expected: Vec<u8> = (2..=255).chain(1..=46).collect();
        assert_eq!(ids, expected);
    }
}
