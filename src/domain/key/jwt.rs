//! JSON Web Tokens: made with a key pair that was parsed once, judged by a key that decides the algorithm itself.
//!
//! The only file that knows the jsonwebtoken crate, and it uses nothing of it but the check of a signature: header and
//! claims are read here, strictly, and time is judged by our clock (RFC 8725 is the list of what goes wrong otherwise).

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::{Algorithm, Material, PublicKey};
use crate::{clock::Timestamp, domain::Secret};

/// No token of ours is longer; a longer text is refused before anything of it is parsed.
pub const MAX_TOKEN: usize = 128 * 1024;

/// A kind of token: the header's `typ`, checked together with `aud`, so that none passes for another
/// (RFC 8725 §3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An access token (RFC 9068 §2.1).
    Access,
    /// A gate token: it opens the URLs that it names, and nothing else.
    Gate,
    /// A one-time link: it is exchanged for a gate token once, and good for nothing else.
    Link,
    /// A service account's long-lived token. It is judged by its record alone, never by its signature.
    ServiceAccount,
    /// A service account's short-lived token, as Kubernetes issues it on a TokenRequest.
    TokenRequest,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Access, Self::Gate, Self::Link, Self::ServiceAccount, Self::TokenRequest];

    /// The `typ` of its header.
    pub fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Gate => "gate+jwt",
            Self::Link => "link+jwt",
            Self::ServiceAccount => "sa+jwt",
            Self::TokenRequest => "JWT",
        }
    }

    /// The `aud` of a kind that has only one; an access token's is its issuer or its client's audiences, a short-lived
    /// service account token's is what was asked for.
    pub fn audience(self, issuer: &str) -> Option<String> {
        match self {
            Self::Access | Self::TokenRequest => None,
            Self::ServiceAccount => Some(format!("{issuer}/service-account")),
            Self::Gate => Some(format!("{issuer}/gate")),
            Self::Link => Some(format!("{issuer}/link")),
        }
    }
}

/// Why a token is not good. For the operator's log; a caller hears one text for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Not three parts, not base64url, not JSON, or a claim is missing or of the wrong type.
    #[error("it is not a token of ours in form")]
    Malformed,
    /// Its `kid` names no key that judges.
    #[error("its key is not known")]
    UnknownKey,
    /// Its signature does not match.
    #[error("its signature does not match")]
    BadSignature,
    /// `typ`, `iss` or `aud` are those of something else.
    #[error("it is for something else")]
    ForSomethingElse,
    /// Its `exp` has come.
    #[error("it expired")]
    Expired,
    /// Its `nbf` has not come.
    #[error("it is not valid yet")]
    NotYet,
}

/// `aud`: one string, or an array of them (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience(pub Vec<String>);

impl Audience {
    /// Whether it names `who`.
    pub fn contains(&self, who: &str) -> bool {
        self.0.iter().any(|one| one == who)
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> serde::de::Visitor<'de> for OneOrSeveral {
            type Value = Audience;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or an array of strings")
            }
            fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Audience, E> {
                Ok(Audience(vec![one.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Audience, A::Error> {
                let mut several = Vec::new();
                while let Some(one) = seq.next_element()? {
                    several.push(one);
                }
                Ok(Audience(several))
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// The claims of an access token (RFC 9068 §2.2, and ours).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who issued it: our issuer.
    pub iss: String,
    /// The account's uid; for `client_credentials` the `client_id`.
    pub sub: String,
    /// Whom it is for.
    pub aud: Audience,
    /// The client that obtained it.
    pub client_id: String,
    /// When it was made.
    pub iat: Timestamp,
    /// From when on it is good.
    pub nbf: Timestamp,
    /// Until when it is good.
    pub exp: Timestamp,
    /// Its own id.
    pub jti: String,
    /// What it is good for (RFC 8693 §4.2).
    pub scope: String,
    /// When the password was given (OpenID Connect Core §2); of a client's own token, when it was made.
    pub auth_time: Timestamp,
    /// Its record: the session, or the client's uid and epoch.
    pub sid: String,
    /// The account's name; `client:` and the id for a client's own token, which no account can be called.
    pub preferred_username: String,
    /// The same.
    pub identity: String,
    /// The account's namespace; empty for a client's own token.
    pub namespace: String,
    /// The account's e-mail address, or empty.
    pub email: String,
    /// The account's roles, or none.
    pub roles: Vec<String>,
}

/// The claims of a gate token and of a one-time link: these nine, under these names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GateClaims {
    /// Who issued it: our issuer.
    pub iss: String,
    /// Which GateToken it is: `gatetoken:NAMESPACE/NAME`.
    pub sub: String,
    /// Its kind's own audience.
    pub aud: Audience,
    /// The id of its record, or of the one cookie that a one-time link was exchanged for.
    pub jti: String,
    /// When it was signed.
    pub iat: Timestamp,
    /// From when on it is good.
    pub nbf: Timestamp,
    /// Until when it is good.
    pub exp: Timestamp,
    /// The URL patterns that it opens.
    #[serde(rename = "URLs")]
    pub urls: Vec<String>,
    /// The HTTP methods that it opens them for, in lower case.
    pub verbs: Vec<String>,
}

/// The claims of a service account's long-lived token. They say which record judges it; whoever else reads them finds
/// the names that Kubernetes' own long-lived tokens and Apolo's tokens have for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LongLivedClaims {
    /// Who issued it: our issuer.
    pub iss: String,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
    /// The kind's own audience.
    pub aud: Audience,
    /// The id of its record.
    pub jti: String,
    /// When it was made.
    pub iat: Timestamp,
    /// Until when it is good, if it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<Timestamp>,
    /// `NAMESPACE/service-accounts/NAME`.
    pub identity: String,
    /// The same.
    #[serde(rename = "https://platform.neuromation.io/user")]
    pub user: String,
    /// Where the account lives.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// Its name there.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub name: String,
    /// Its uid.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
    /// The name of the Secret that shows tokens of it.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
}

/// The claims of a service account's short-lived token: those of Kubernetes, under its names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRequestClaims {
    /// Whom it is for: an array, also of one.
    pub aud: Vec<String>,
    /// Until when it is good.
    pub exp: Timestamp,
    /// When it was made.
    pub iat: Timestamp,
    /// Who issued it: our issuer.
    pub iss: String,
    /// The id of its record.
    pub jti: String,
    /// Which service account it is of.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// From when on it is good.
    pub nbf: Timestamp,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
}

/// The claim `kubernetes.io`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// Where the service account lives.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: NamedUid,
}

/// What has a name and a uid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamedUid {
    /// The name.
    pub name: String,
    /// The uid, as a UUID.
    pub uid: String,
}

/// A key that signs, parsed once, with the headers of its tokens, written once.
pub struct SigningKey {
    pair: Pair,
    kid: String,
    headers: Vec<(Kind, String)>,
    random: SystemRandom,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn of_pkcs8(alg: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        match alg {
            Algorithm::ES256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok().map(Self::Ec),
            Algorithm::RS256 => RsaKeyPair::from_pkcs8(pkcs8).ok().map(Self::Rsa),
            Algorithm::EdDSA => Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self::Ed25519),
        }
    }

    fn public(&self) -> Material {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(pair) => {
                // An uncompressed point: 0x04 ‖ x ‖ y.
                let point = pair.public_key().as_ref();
                Material::Ec { x: encode(&point[1..33]), y: encode(&point[33..65]) }
            }
            Self::Rsa(pair) => {
                let key = pair.public_key();
                Material::Rsa {
                    n: encode(key.modulus().big_endian_without_leading_zero()),
                    e: encode(key.exponent().big_endian_without_leading_zero()),
                }
            }
            Self::Ed25519(pair) => Material::Okp { x: encode(pair.public_key().as_ref()) },
        }
    }

    /// Appends the signature of all that `token` holds, in base64url, after a dot.
    fn sign(&self, random: &SystemRandom, token: &mut String) -> Result<(), Unspecified> {
        let message = token.as_bytes();
        match self {
            Self::Ec(pair) => append(pair.sign(random, message)?.as_ref(), token),
            Self::Ed25519(pair) => append(pair.try_sign(message)?.as_ref(), token),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, random, message, &mut signature)?;
                append(&signature, token);
            }
        }
        Ok(())
    }
}

fn append(signature: &[u8], token: &mut String) {
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, token);
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

#[derive(Serialize)]
struct HeaderOut<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

/// The three members that we write. Any other (`crit`, `jwk`, `jku`, `x5c`, …) makes the token not ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderIn {
    alg: String,
    kid: String,
    typ: String,
}

impl SigningKey {
    /// Parses a private key; with it comes its public half. None if it is not a key of that algorithm.
    pub(super) fn of_pkcs8(alg: Algorithm, pkcs8: &[u8]) -> Option<(Self, Material)> {
        let pair = Pair::of_pkcs8(alg, pkcs8)?;
        let material = pair.public();
        let kid = material.thumbprint();
        let header = |kind: Kind| {
            let header = HeaderOut { alg: alg.as_str(), kid: &kid, typ: kind.typ() };
            Some((kind, URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?)))
        };
        let headers = Kind::ALL.into_iter().map(header).collect::<Option<_>>()?;
        Some((Self { pair, kid, headers, random: SystemRandom::new() }, material))
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn sign<C: Serialize>(&self, kind: Kind, claims: &C) -> Result<Secret<String>, Unspecified> {
        let (_, header) = self.headers.iter().find(|(of, _)| *of == kind).ok_or(Unspecified)?;
        let claims = serde_json::to_vec(claims).map_err(|_| Unspecified)?;
        // Room for an RSA signature too: a text that grows leaves a copy behind.
        let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 360);
        token.push_str(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        self.pair.sign(&self.random, &mut token)?;
        Ok(Secret::new(token))
    }
}

/// A token whose header was read, and whose signature was not judged yet.
pub struct Unverified<'a> {
    header: HeaderIn,
    message: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(token: &'a str) -> Result<Self, BadToken> {
        if token.len() > MAX_TOKEN {
            return Err(BadToken::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(BadToken::Malformed)?;
        let header = object(header)?;
        Ok(Self { header, message, claims, signature })
    }

    /// The id of the key that it says it was signed with.
    pub fn kid(&self) -> &str {
        &self.header.kid
    }

    /// The kind that it says it is: nothing is known of it yet.
    pub fn typ(&self) -> &str {
        &self.header.typ
    }

    /// Judges signature and kind with the key that its `kid` named, then reads the claims.
    ///
    /// # Errors
    /// `BadSignature`, also for another `alg` than the key's; `ForSomethingElse`; `Malformed`.
    pub fn verify<C: DeserializeOwned>(&self, key: &PublicKey, kind: Kind) -> Result<C, BadToken> {
        self.check_signature(key)?;
        self.claims(kind)
    }

    /// Judges the signature with the key that its `kid` named.
    ///
    /// # Errors
    /// `BadSignature`, also for another `alg` than the key's.
    pub(in crate::domain) fn check_signature(&self, key: &PublicKey) -> Result<(), BadToken> {
        if self.header.alg != key.material.algorithm().as_str() || self.header.kid != key.kid {
            return Err(BadToken::BadSignature);
        }
        let (public, algorithm) = match &key.material {
            Material::Ec { x, y } => (DecodingKey::from_ec_components(x, y), jsonwebtoken::Algorithm::ES256),
            Material::Rsa { n, e } => (DecodingKey::from_rsa_components(n, e), jsonwebtoken::Algorithm::RS256),
            Material::Okp { x } => (DecodingKey::from_ed_components(x), jsonwebtoken::Algorithm::EdDSA),
        };
        let judged = public.and_then(|public| {
            jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), &public, algorithm)
        });
        if matches!(judged, Ok(true)) { Ok(()) } else { Err(BadToken::BadSignature) }
    }

    /// Judges the kind and reads the claims, once the signature was found good.
    ///
    /// # Errors
    /// `ForSomethingElse`; `Malformed`.
    pub(in crate::domain) fn claims<C: DeserializeOwned>(&self, kind: Kind) -> Result<C, BadToken> {
        if self.header.typ != kind.typ() {
            return Err(BadToken::ForSomethingElse);
        }
        object(self.claims)
    }
}

/// Reads a part that must be a JSON object (RFC 7519 §7.2): Serde would take an array for a structure too, by position.
fn object<T: DeserializeOwned>(part: &str) -> Result<T, BadToken> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Malformed)?;
    if json.first() != Some(&b'{') {
        return Err(BadToken::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_| BadToken::Malformed)
}

impl AccessClaims {
    /// Judges issuer and time. The audience is for the caller to judge: it knows whom the token is shown to.
    ///
    /// # Errors
    /// `ForSomethingElse`, `Expired`, `NotYet`.
    pub fn check(&self, issuer: &str, now: Timestamp) -> Result<(), BadToken> {
        if self.iss != issuer {
            return Err(BadToken::ForSomethingElse);
        }
        in_time(self.nbf, self.exp, now)
    }
}

impl TokenRequestClaims {
    /// Judges issuer and time. The audience is for the caller to judge: it knows whom the token is shown to.
    ///
    /// # Errors
    /// `ForSomethingElse`, `Expired`, `NotYet`.
    pub fn check(&self, issuer: &str, now: Timestamp) -> Result<(), BadToken> {
        if self.iss != issuer {
            return Err(BadToken::ForSomethingElse);
        }
        in_time(self.nbf, self.exp, now)
    }
}

impl GateClaims {
    /// Judges issuer, audience and time.
    ///
    /// # Errors
    /// `ForSomethingElse`, `Expired`, `NotYet`.
    pub fn check(&self, kind: Kind, issuer: &str, now: Timestamp) -> Result<(), BadToken> {
        if self.iss != issuer || Some(&self.aud) != kind.audience(issuer).map(|one| Audience(vec![one])).as_ref() {
            return Err(BadToken::ForSomethingElse);
        }
        in_time(self.nbf, self.exp, now)
    }
}

fn in_time(nbf: Timestamp, exp: Timestamp, now: Timestamp) -> Result<(), BadToken> {
    if now >= exp {
        return Err(BadToken::Expired);
    }
    // Another machine's clock may be a little ahead of ours.
    if nbf > now + CLOCK_LEEWAY {
        return Err(BadToken::NotYet);
    }
    Ok(())
}

/// How far two machines' clocks may differ; `exp` has no such leeway.
pub(super) const CLOCK_LEEWAY: std::time::Duration = std::time::Duration::from_secs(10);
