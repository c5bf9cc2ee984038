//! Anybody's public keys (RFC 7517), and the judgement of a signature with one of them (RFC 7518, RFC 8037, RFC 8812).
//!
//! The key decides: a header's `alg` is taken only if the key is of that kind and made for it.

use aws_lc_rs::signature::{
    self as aws, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::json::Object;

/// A key set that is longer is refused before anything of it is parsed, in bytes.
pub const MAX_JWKS: usize = 1024 * 1024;

/// An asymmetric signature algorithm that can be judged here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are the registered ones")]
pub enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    ES256K,
    /// Also called `EdDSA` (RFC 8037), its name before RFC 9864; Ed448 cannot be judged here.
    Ed25519,
}

impl Alg {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::ES256K,
        Self::Ed25519,
    ];

    /// Reads the name in a header or a key.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self::Ed25519);
        }
        Self::ALL.into_iter().find(|alg| alg.as_str() == name)
    }

    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::ES256K => "ES256K",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// How many bytes its signatures have; those of RSA have as many as the key.
    pub fn signature_len(self) -> Option<usize> {
        match self.how() {
            How::Rsa(_) => None,
            How::Curve { coordinate, .. } | How::Edwards { coordinate, .. } => Some(2 * coordinate),
        }
    }

    fn how(self) -> How {
        let curve = |crv, coordinate, judge| How::Curve { crv, coordinate, judge };
        match self {
            Self::RS256 => How::Rsa(&aws::RSA_PKCS1_2048_8192_SHA256),
            Self::RS384 => How::Rsa(&aws::RSA_PKCS1_2048_8192_SHA384),
            Self::RS512 => How::Rsa(&aws::RSA_PKCS1_2048_8192_SHA512),
            Self::PS256 => How::Rsa(&aws::RSA_PSS_2048_8192_SHA256),
            Self::PS384 => How::Rsa(&aws::RSA_PSS_2048_8192_SHA384),
            Self::PS512 => How::Rsa(&aws::RSA_PSS_2048_8192_SHA512),
            Self::ES256 => curve("P-256", 32, &aws::ECDSA_P256_SHA256_FIXED),
            Self::ES384 => curve("P-384", 48, &aws::ECDSA_P384_SHA384_FIXED),
            Self::ES512 => curve("P-521", 66, &aws::ECDSA_P521_SHA512_FIXED),
            Self::ES256K => curve("secp256k1", 32, &aws::ECDSA_P256K1_SHA256_FIXED),
            Self::Ed25519 => How::Edwards { crv: "Ed25519", coordinate: 32, judge: &aws::ED25519 },
        }
    }
}

/// Which keys an algorithm takes, and what judges with them.
enum How {
    Rsa(&'static RsaParameters),
    Curve { crv: &'static str, coordinate: usize, judge: &'static dyn VerificationAlgorithm },
    Edwards { crv: &'static str, coordinate: usize, judge: &'static dyn VerificationAlgorithm },
}

/// Why a text is not a key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwks {
    /// Longer than [`MAX_JWKS`].
    #[error("they are longer than {MAX_JWKS} bytes")]
    TooLong,
    /// PEM, as certificates and OpenSSL's keys are written.
    #[error("they are PEM; a JWKS (RFC 7517) is needed: {{\"keys\":[…]}}")]
    Pem,
    /// Not JSON, or a name comes twice in it.
    #[error("they are not a JWKS: {0}")]
    NotJson(String),
    /// An issuer's metadata (RFC 8414), which says where the keys are.
    #[error("this is an issuer's metadata; its keys are at {0}")]
    Metadata(String),
    /// JSON of some other kind.
    #[error("they are not a JWKS: there is no array \"keys\" of objects in it")]
    NoKeys,
}

/// A set of keys; also a single key is one.
#[derive(Clone, Debug)]
pub struct Jwks(Vec<Jwk>);

impl Jwks {
    /// Reads a key set. A key of a kind that is not known does no harm (RFC 7517 §5).
    ///
    /// # Errors
    /// The text is no key set.
    pub fn parse(text: &[u8]) -> Result<Self, BadJwks> {
        if text.len() > MAX_JWKS {
            return Err(BadJwks::TooLong);
        }
        if text.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(BadJwks::Pem);
        }
        let set = Object::parse(text).map_err(BadJwks::NotJson)?;
        if set.get("kty").is_some() {
            return Ok(Self(vec![Jwk(set)]));
        }
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(set.text("jwks_uri").map_or(BadJwks::NoKeys, |at| BadJwks::Metadata(at.to_owned())));
        };
        let keys = keys.iter().map(|key| Object::of(key).map(Jwk).ok_or(BadJwks::NoKeys));
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// The keys, in their order.
    pub fn keys(&self) -> &[Jwk] {
        &self.0
    }
}

/// One key.
#[derive(Clone, Debug)]
pub struct Jwk(Object);

impl Jwk {
    /// Its id.
    pub fn kid(&self) -> Option<&str> {
        self.0.text("kid")
    }

    /// Its id, or a word in place of one.
    pub(super) fn name(&self) -> &str {
        self.kid().unwrap_or("(without kid)")
    }

    /// The key, ready to judge signatures of `alg`.
    ///
    /// # Errors
    /// Says why it is not for that.
    pub(super) fn judge_of(&self, alg: Alg) -> Result<Judge, String> {
        let (want_kty, want_crv) = match alg.how() {
            How::Rsa(_) => ("RSA", None),
            How::Curve { crv, .. } => ("EC", Some(crv)),
            How::Edwards { crv, .. } => ("OKP", Some(crv)),
        };
        let kty = self.0.text("kty").unwrap_or_default();
        if kty == "oct" {
            return Err("is a symmetric secret (oct), which whoever can check with can also forge with".into());
        }
        let crv = self.0.text("crv").unwrap_or_default();
        if kty != want_kty || want_crv.is_some_and(|want| want != crv) {
            let (alg, want) = (alg.as_str(), want_crv.unwrap_or(want_kty));
            return Err(format!("is of kind {} and {alg} needs {want}", if crv.is_empty() { kty } else { crv }));
        }
        self.is_made_for(alg)?;
        match alg.how() {
            How::Rsa(parameters) => self.rsa(parameters),
            How::Curve { coordinate, judge, .. } => {
                // An uncompressed point: 0x04 ‖ x ‖ y.
                let mut point = vec![4];
                point.extend(self.coordinate("x", coordinate)?);
                point.extend(self.coordinate("y", coordinate)?);
                Judge::whole(judge, point)
            }
            How::Edwards { coordinate, judge, .. } => Judge::whole(judge, self.coordinate("x", coordinate)?),
        }
    }

    /// What `kid`, `alg`, `use` and `key_ops` say, where they are present (RFC 7517 §4.2 to §4.5).
    fn is_made_for(&self, alg: Alg) -> Result<(), String> {
        if self.0.get("kid").is_some_and(|kid| !kid.is_string()) {
            return Err("has a kid that is not a string".into());
        }
        if let Some(made_for) = self.0.get("alg") {
            let made_for = made_for.as_str().unwrap_or("something that is not a string");
            if Alg::parse(made_for) != Some(alg) {
                return Err(format!("is for {made_for} alone, and the token says {}", alg.as_str()));
            }
        }
        if let Some(used) = self.0.get("use")
            && used.as_str() != Some("sig")
        {
            return Err(format!("is not for signatures: its use is {used}"));
        }
        if let Some(operations) = self.0.get("key_ops") {
            let verify = operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
            if !verify {
                return Err(format!("may not verify: its key_ops are {operations}"));
            }
        }
        Ok(())
    }

    fn rsa(&self, parameters: &'static RsaParameters) -> Result<Judge, String> {
        let unsigned = |name| {
            let bytes = self.bytes(name)?;
            // RFC 7518 §2 wants no leading zeros, and some write one.
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Ok::<_, String>(bytes[zeros..].to_vec())
        };
        let (n, e) = (unsigned("n")?, unsigned("e")?);
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(format!("has {bits} bits; RSA keys of 2048 to 8192 bits are judged (RFC 7518 §3.3)"));
        }
        Ok(Judge::Rsa { parameters, key: RsaPublicKeyComponents { n, e }, len: bits.div_ceil(8) })
    }

    fn coordinate(&self, name: &str, len: usize) -> Result<Vec<u8>, String> {
        let bytes = self.bytes(name)?;
        if bytes.len() == len {
            Ok(bytes)
        } else {
            Err(format!("has a {name} of {} bytes in place of {len}", bytes.len()))
        }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.0.text(name).ok_or_else(|| format!("has no {name}"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("has a {name} that is not base64url without padding"))
    }
}

/// A public key with the algorithm that it was asked to judge.
pub(super) enum Judge {
    Rsa { parameters: &'static RsaParameters, key: RsaPublicKeyComponents<Vec<u8>>, len: usize },
    Whole { key: UnparsedPublicKey<Vec<u8>> },
}

impl Judge {
    fn whole(judge: &'static dyn VerificationAlgorithm, bytes: Vec<u8>) -> Result<Self, String> {
        let key = UnparsedPublicKey::new(judge, bytes);
        // A point that is not on its curve is told as such, not as a signature that does not match.
        key.parse().map_err(|_| "is not a point of its curve".to_owned())?;
        Ok(Self::Whole { key })
    }

    /// Whether the signature is that of the message.
    pub(super) fn matches(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { parameters, key, len } => {
                signature.len() == *len && key.verify(parameters, message, signature).is_ok()
            }
            Self::Whole { key } => key.verify(message, signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(key: &str, alg: Alg) -> String {
        Jwks::parse(key.as_bytes()).unwrap().keys()[0].judge_of(alg).err().unwrap_or_default()
    }

    #[test]
    fn names_go_both_ways_and_only_asymmetric_ones_are_known() {
        for alg in Alg::ALL {
            assert_eq!(Alg::parse(alg.as_str()), Some(alg));
        }
        assert_eq!(Alg::parse("EdDSA"), Some(Alg::Ed25519));
        for name in ["none", "HS256", "es256", "Ed448", "ES256 ", ""] {
            assert_eq!(Alg::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_key_set_is_told() {
        let bad = |text: &str| Jwks::parse(text.as_bytes()).unwrap_err();
        assert_eq!(bad("\n-----BEGIN PUBLIC KEY-----"), BadJwks::Pem);
        assert_eq!(bad(r#"{"issuer":"x","jwks_uri":"https://x/keys"}"#), BadJwks::Metadata("https://x/keys".into()));
        assert_eq!(bad("{}"), BadJwks::NoKeys);
        assert_eq!(bad(r#"{"keys":{}}"#), BadJwks::NoKeys);
        assert_eq!(bad(r#"{"keys":["x"]}"#), BadJwks::NoKeys);
        assert!(matches!(bad("<html>"), BadJwks::NotJson(_)));
        assert!(matches!(bad(r#"{"keys":[{"kid":"a","kid":"b"}]}"#), BadJwks::NotJson(_)));
        assert_eq!(bad(&" ".repeat(MAX_JWKS + 1)), BadJwks::TooLong);
        assert!(Jwks::parse(br#"{"keys":[{"kty":"new"},{}]}"#).is_ok());
    }

    #[test]
    fn a_key_says_why_it_is_not_for_an_algorithm() {
        let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
        let odd = URL_SAFE_NO_PAD.encode([0xff; 255]);
        assert!(why(r#"{"kty":"oct","k":"AAAA"}"#, Alg::RS256).contains("symmetric"));
        assert!(why(r#"{"kty":"EC","crv":"P-384"}"#, Alg::ES256).contains("P-384 and ES256 needs P-256"));
        assert!(why(r#"{"kty":"EC","crv":"P-256"}"#, Alg::RS256).contains("P-256 and RS256 needs RSA"));
        assert!(why(r#"{"kty":"RSA","alg":"RS512"}"#, Alg::RS256).contains("is for RS512 alone"));
        assert!(why(r#"{"kty":"RSA","alg":5}"#, Alg::RS256).contains("not a string"));
        assert!(why(r#"{"kty":"RSA","use":"enc"}"#, Alg::RS256).contains("\"enc\""));
        assert!(why(r#"{"kty":"RSA","key_ops":["sign"]}"#, Alg::RS256).contains("may not verify"));
        assert!(why(r#"{"kty":"RSA","kid":1}"#, Alg::RS256).contains("kid"));
        assert!(why(r#"{"kty":"RSA","e":"AQAB"}"#, Alg::RS256).contains("has no n"));
        assert!(why(r#"{"kty":"RSA","n":"AQ==","e":"AQAB"}"#, Alg::RS256).contains("base64url"));
        assert!(why(&format!(r#"{{"kty":"RSA","n":"{odd}","e":"AQAB"}}"#), Alg::PS256).contains("2040 bits"));
        assert!(why(&format!(r#"{{"kty":"RSA","n":"{zeros}","e":"AQAB"}}"#), Alg::PS256).contains("0 bits"));
        assert!(why(r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#, Alg::Ed25519).contains("3 bytes in place of 32"));
        let no_point = format!(r#"{{"kty":"EC","crv":"P-256","x":"{zeros}","y":"{zeros}"}}"#);
        assert!(why(&no_point, Alg::ES256).contains("not a point"));
    }
}
