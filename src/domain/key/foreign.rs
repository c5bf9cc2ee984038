//! Tokens of strangers: any JWT in compact form (RFC 7515 §3.1, RFC 7519), judged with anybody's key set, and told in
//! words why it is not valid.
//!
//! Pure: no key is fetched, and nothing that the token brings (`jwk`, `jku`, `x5c`, `x5u`) is used or followed. Every
//! reason is found, not only the first; a token is valid if its signature was judged right and there is no reason
//! against it. Whom it is for and whether it was revoked is not judged: only its issuer and its audience know.

mod date;
mod json;
mod jwk;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

pub use self::{
    date::NumericDate,
    json::Object,
    jwk::{Alg, BadJwks, Jwk, Jwks, MAX_JWKS},
};
use super::jwt::{CLOCK_LEEWAY, MAX_TOKEN};
use crate::clock::Timestamp;

/// Why a token is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than [`MAX_TOKEN`]; nothing of it was read.
    #[error("it is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not a JWT in compact form: what it is instead.
    #[error("it is not a JWT: {0}")]
    Form(String),
    /// A part of it cannot be read: which, and why.
    #[error("its {part} is malformed: {why}")]
    Malformed {
        /// `header`, `payload` or `signature`.
        part: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Signed by nobody.
    #[error("its alg is {0}: it is not signed, anybody can have written it")]
    Unsigned(String),
    /// Made with a secret that both sides share.
    #[error(
        "its alg is {0}, which is made and checked with one shared secret; no public key can check it, and one that is \
         used as that secret would let anybody forge tokens"
    )]
    Symmetric(String),
    /// An algorithm that is not known here.
    #[error("its alg is {0}, which is not a signature algorithm that can be checked here")]
    UnknownAlg(String),
    /// It names header members that must be understood (RFC 7515 §4.1.11), and none is understood here.
    #[error("its crit is {0}: whoever does not understand these header members must refuse it (RFC 7515 §4.1.11)")]
    Critical(String),
    /// There were no keys.
    #[error("its signature was not checked, because no keys were given")]
    NoKeys,
    /// No key has its `kid`.
    #[error("no key has its kid {kid}; there are {have}")]
    NoSuchKey {
        /// What it says.
        kid: String,
        /// The key set's.
        have: String,
    },
    /// The key is not for its algorithm.
    #[error("the key {0}")]
    KeyDoesNotFit(String),
    /// It has no `kid`, and no key is for its algorithm.
    #[error("it has no kid, and no key is for its alg {alg}: {why}")]
    NoFittingKey {
        /// What it says.
        alg: &'static str,
        /// Of each key, why not.
        why: String,
    },
    /// The signature does not have the form that its algorithm gives it.
    #[error("its signature has the wrong form: {0}")]
    SignatureForm(String),
    /// The signature is not that of a key.
    #[error("its signature does not match {0}: it was changed, or signed with another key")]
    Mismatch(String),
    /// `exp` has come.
    #[error("it expired {0} (exp)")]
    Expired(String),
    /// `nbf` has not come.
    #[error("it is not valid yet, but {0} (nbf)")]
    NotYet(String),
    /// `iat` has not come.
    #[error("it says that it was issued in the future, {0} (iat)")]
    Future(String),
}

impl Fault {
    /// A name for programs, which stays.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong | Self::Form(_) | Self::Malformed { .. } => "malformed",
            Self::Unsigned(_) => "algorithm_none",
            Self::Symmetric(_) => "algorithm_symmetric",
            Self::UnknownAlg(_) => "algorithm_unknown",
            Self::Critical(_) => "critical_header",
            Self::NoKeys => "no_keys",
            Self::NoSuchKey { .. } => "no_such_key",
            Self::KeyDoesNotFit(_) | Self::NoFittingKey { .. } => "key_does_not_fit",
            Self::SignatureForm(_) | Self::Mismatch(_) => "signature_mismatch",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not_yet_valid",
            Self::Future(_) => "issued_in_the_future",
        }
    }
}

/// What became of the signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// It was not judged; a fault says why.
    #[default]
    NotChecked,
    /// It is nobody's.
    Mismatch,
    /// It is that of the key with this `kid`, if the key has one.
    Matches(Option<String>),
}

/// All that can be said of a token.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Its header, if that could be read.
    pub header: Option<Object>,
    /// Its claims, if they could be read.
    pub claims: Option<Object>,
    /// What became of its signature.
    pub signature: Signature,
    /// Why it is not valid: all there is.
    pub faults: Vec<Fault>,
    /// What is worth knowing of it besides.
    pub notes: Vec<&'static str>,
}

impl Inspection {
    /// Whether the signature is right and the time has come and not gone.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty() && matches!(self.signature, Signature::Matches(_))
    }
}

/// Judges a token, without anything around it, at `now`.
pub fn inspect(token: &str, keys: Option<&Jwks>, now: Timestamp) -> Inspection {
    let mut found = Inspection::default();
    let parts = match Parts::of(token) {
        Ok(parts) => parts,
        Err(fault) => {
            found.faults.push(fault);
            return found;
        }
    };
    match object("header", parts.header) {
        Ok(header) => {
            match judge_signature(&header, &parts, keys) {
                Ok(kid) => found.signature = Signature::Matches(kid),
                Err(fault) => {
                    if fault.code() == "signature_mismatch" {
                        found.signature = Signature::Mismatch;
                    }
                    found.faults.push(fault);
                }
            }
            found.header = Some(header);
        }
        Err(fault) => found.faults.push(fault),
    }
    match object("payload", parts.payload) {
        Ok(claims) => {
            judge_times(&claims, now, &mut found.faults);
            found.claims = Some(claims);
        }
        Err(fault) => found.faults.push(fault),
    }
    found.notes = notes(found.header.as_ref(), found.claims.as_ref());
    found
}

/// The three parts, none of them decoded.
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// What is signed: the first two with the dot between.
    message: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_TOKEN {
            return Err(Fault::TooLong);
        }
        let form = |what: &str| Err(Fault::Form(what.to_owned()));
        if token.is_empty() {
            return form("there is nothing");
        }
        if token.contains('~') {
            return form("parts follow after a ~, as in an SD-JWT; what stands before the first ~ is one");
        }
        if token.starts_with('{') {
            return form("it is JSON; a JWT is three parts with dots between them");
        }
        if token.starts_with("gmr_") {
            return form("it is a refresh token of gatemint, which only the service that made it can read");
        }
        match token.split('.').collect::<Vec<_>>()[..] {
            [header, payload, signature] => {
                let message = &token[..token.len() - signature.len() - 1];
                Ok(Self { header, payload, signature, message })
            }
            [_, _, _, _, _] => {
                form("it has five parts, as an encrypted token (JWE) has; only its addressee can read it")
            }
            [_] => form("there is no dot in it; opaque tokens can be judged by those alone who made them"),
            ref parts => form(&format!("it has {} parts between dots in place of three", parts.len())),
        }
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let padding = if text.ends_with('=') { ", which has no = at its end" } else { "" };
        Fault::Malformed { part, why: format!("it is not base64url{padding} ({error})") }
    })
}

fn object(part: &'static str, text: &str) -> Result<Object, Fault> {
    let json = decode(part, text)?;
    Object::parse(&json).map_err(|why| Fault::Malformed { part, why: format!("it is not a JSON object ({why})") })
}

/// The `kid` of the key whose signature it is.
fn judge_signature(header: &Object, parts: &Parts<'_>, keys: Option<&Jwks>) -> Result<Option<String>, Fault> {
    let malformed = |why: &str| Fault::Malformed { part: "header", why: why.to_owned() };
    let name = match header.get("alg") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(malformed("alg is not a string")),
        None => return Err(malformed("there is no alg in it")),
    };
    let kid = match header.get("kid") {
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(malformed("kid is not a string")),
        None => None,
    };
    let alg = Alg::parse(name).ok_or_else(|| {
        if name.eq_ignore_ascii_case("none") {
            Fault::Unsigned(name.clone())
        } else if name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("HS")) {
            Fault::Symmetric(name.clone())
        } else {
            Fault::UnknownAlg(name.clone())
        }
    })?;
    if let Some(critical) = header.get("crit") {
        return Err(Fault::Critical(critical.to_string()));
    }
    let signature = decode("signature", parts.signature)?;
    well_formed(alg, &signature)?;
    let keys = keys.ok_or(Fault::NoKeys)?;

    // A key without an id may be anybody's.
    let candidates: Vec<&Jwk> =
        keys.keys().iter().filter(|key| kid.is_none() || key.kid().is_none() || key.kid() == kid).collect();
    let (mut unfit, mut tried) = (Vec::new(), Vec::new());
    for key in candidates {
        match key.judge_of(alg) {
            Ok(judge) if judge.matches(parts.message.as_bytes(), &signature) => {
                return Ok(key.kid().map(str::to_owned));
            }
            Ok(_) => tried.push(key.name()),
            Err(why) => unfit.push((key, format!("{} {why}", key.name()))),
        }
    }
    match (tried[..].as_ref(), kid) {
        ([one], _) => Err(Fault::Mismatch(format!("the key {one}"))),
        ([_, ..], _) => Err(Fault::Mismatch(format!("any of the {} keys that are for {}", tried.len(), alg.as_str()))),
        ([], Some(kid)) => match unfit.iter().find(|(key, _)| key.kid() == Some(kid)) {
            Some((_, why)) => Err(Fault::KeyDoesNotFit(why.clone())),
            None => {
                Err(Fault::NoSuchKey { kid: kid.to_owned(), have: some_of(keys.keys().iter().map(Jwk::name), ", ") })
            }
        },
        ([], None) => {
            let why = some_of(unfit.iter().map(|(_, why)| why.as_str()), "; ");
            Err(Fault::NoFittingKey { alg: alg.as_str(), why })
        }
    }
}

/// The first few, so that a set of thousands does not fill the screen.
fn some_of<'a>(all: impl ExactSizeIterator<Item = &'a str>, between: &str) -> String {
    const SHOWN: usize = 10;
    match all.len() {
        0 => "no keys at all".into(),
        many => {
            let shown = all.take(SHOWN).collect::<Vec<_>>().join(between);
            if many > SHOWN { format!("{shown}{between}and {} more", many - SHOWN) } else { shown }
        }
    }
}

fn well_formed(alg: Alg, signature: &[u8]) -> Result<(), Fault> {
    let Some(want) = alg.signature_len().filter(|want| *want != signature.len()) else { return Ok(()) };
    let (name, have) = (alg.as_str(), signature.len());
    let der = signature.first() == Some(&0x30) && name.starts_with("ES");
    Err(Fault::SignatureForm(match have {
        0 => "it is empty".into(),
        _ if der => format!("it looks like DER; {name} wants r and s of {} bytes each (RFC 7518 §3.4)", want / 2),
        _ => format!("it has {have} bytes, {name} has {want}"),
    }))
}

/// `exp`, `nbf` and `iat`: a claim of the wrong type is a fault, an absent one is none.
fn judge_times(claims: &Object, now: Timestamp, faults: &mut Vec<Fault>) {
    let (exactly, soon) = (NumericDate::at(now), NumericDate::at(now + CLOCK_LEEWAY));
    for name in ["exp", "nbf", "iat"] {
        let Some(value) = claims.get(name) else { continue };
        let Some(date) = NumericDate::of(value) else {
            faults.push(Fault::Malformed { part: "payload", why: format!("{name} is not a number") });
            continue;
        };
        let moment = || {
            let calendar = date.rfc3339().map_or_else(String::new, |moment| format!(", at {moment}"));
            format!("{}{calendar}", date.words(now))
        };
        match name {
            "exp" if exactly >= date => faults.push(Fault::Expired(moment())),
            "nbf" if date > soon => faults.push(Fault::NotYet(moment())),
            "iat" if date > soon => faults.push(Fault::Future(moment())),
            _ => {}
        }
    }
}

fn notes(header: Option<&Object>, claims: Option<&Object>) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if let Some(header) = header {
        if header.text("typ").is_some_and(|typ| typ.eq_ignore_ascii_case("dpop+jwt")) {
            notes.push(
                "it is a DPoP proof (RFC 9449): signed with the key in its own header, it shows who holds that key and is no \
                 access token",
            );
        } else if ["jwk", "jku", "x5c", "x5u"].iter().any(|name| header.get(name).is_some()) {
            notes.push("its header brings or names a key of its own, which is never used: anybody could put one there");
        }
    }
    if let Some(claims) = claims {
        if claims.get("exp").is_none() {
            notes.push("it has no exp: it never expires");
        }
        if claims.get("cnf").is_some() {
            notes.push("it is bound to a key (cnf): alone, without a proof of that key, it opens nothing");
        }
    }
    notes
}

#[cfg(test)]
mod tests;
