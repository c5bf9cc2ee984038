//! Tokens of keys that are made here, judged and tampered with.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        self as aws, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaPublicKeyComponents,
    },
};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);

type Sign = dyn Fn(&[u8]) -> Vec<u8>;

/// Signs as an algorithm does; the public half as a JWK without `kid` and `alg`.
struct Signer {
    alg: Alg,
    sign: Box<Sign>,
    jwk: Value,
}

fn curve(alg: Alg, crv: &str, how: &'static EcdsaSigningAlgorithm) -> Signer {
    let pair = EcdsaKeyPair::generate(how).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
    let jwk = json!({"kty": "EC", "crv": crv, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    let sign = move |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    Signer { alg, sign: Box::new(sign), jwk }
}

fn rsa(alg: Alg, size: KeySize, how: &'static dyn RsaEncoding) -> Signer {
    let pair = rsa::KeyPair::generate(size).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let jwk = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e)});
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(how, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    Signer { alg, sign: Box::new(sign), jwk }
}

fn edwards() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key())});
    Signer { alg: Alg::Ed25519, sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()), jwk }
}

fn es256() -> Signer {
    curve(Alg::ES256, "P-256", &aws::ECDSA_P256_SHA256_FIXED_SIGNING)
}

fn everybody() -> Vec<Signer> {
    vec![
        rsa(Alg::RS256, KeySize::Rsa2048, &aws::RSA_PKCS1_SHA256),
        rsa(Alg::RS384, KeySize::Rsa2048, &aws::RSA_PKCS1_SHA384),
        rsa(Alg::RS512, KeySize::Rsa3072, &aws::RSA_PKCS1_SHA512),
        rsa(Alg::PS256, KeySize::Rsa2048, &aws::RSA_PSS_SHA256),
        rsa(Alg::PS384, KeySize::Rsa2048, &aws::RSA_PSS_SHA384),
        rsa(Alg::PS512, KeySize::Rsa2048, &aws::RSA_PSS_SHA512),
        es256(),
        curve(Alg::ES384, "P-384", &aws::ECDSA_P384_SHA384_FIXED_SIGNING),
        curve(Alg::ES512, "P-521", &aws::ECDSA_P521_SHA512_FIXED_SIGNING),
        curve(Alg::ES256K, "secp256k1", &aws::ECDSA_P256K1_SHA256_FIXED_SIGNING),
        edwards(),
    ]
}

impl Signer {
    fn token(&self, header: &Value, claims: &Value) -> String {
        self.raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    fn raw(&self, header: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode((self.sign)(message.as_bytes())))
    }

    fn header(&self) -> Value {
        json!({"alg": self.alg.as_str(), "kid": "k"})
    }

    fn good(&self) -> String {
        self.token(&self.header(), &json!({"sub": "ada", "exp": NOW.0 + 900, "iat": NOW.0}))
    }

    /// A set of its key, with these members besides.
    fn keys(&self, more: &Value) -> Jwks {
        let mut key = self.jwk.clone();
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Jwks::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }
}

/// The codes of all faults.
fn faults(token: &str, keys: &Jwks) -> Vec<&'static str> {
    let found = inspect(token, Some(keys), NOW);
    assert_eq!(found.is_valid(), found.faults.is_empty(), "{found:?}");
    found.faults.iter().map(Fault::code).collect()
}

#[test]
fn every_algorithm_judges_its_own_signatures_and_no_others() {
    let everybody = everybody();
    for signer in &everybody {
        let (name, good) = (signer.alg.as_str(), signer.good());
        let keys = signer.keys(&json!({"kid": "k", "alg": name, "use": "sig", "key_ops": ["verify"]}));
        let found = inspect(&good, Some(&keys), NOW);
        assert!(found.is_valid(), "{name}: {found:?}");
        assert_eq!(found.signature, Signature::Matches(Some("k".into())));
        // With a bare key, and without a kid on either side.
        assert!(faults(&good, &signer.keys(&json!({}))).is_empty(), "{name}");
        let nameless = signer.token(&json!({ "alg": name }), &json!({}));
        assert!(faults(&nameless, &signer.keys(&json!({"kid": "other"}))).is_empty(), "{name}");

        let (message, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(faults(&forged, &keys), ["signature_mismatch"], "{name}, byte {at}");
        }
        for wrong in [vec![0; bytes.len()], vec![], [bytes.as_slice(), &[0]].concat(), bytes[1..].to_vec()] {
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&wrong));
            assert_eq!(faults(&forged, &keys), ["signature_mismatch"], "{name}, {} bytes", wrong.len());
        }
        for other in everybody.iter().filter(|other| other.alg != signer.alg) {
            // Another's key under the same kid, and another's name in the header.
            assert!(!faults(&good, &other.keys(&json!({"kid": "k"}))).is_empty());
            let renamed = signer.token(&other.header(), &json!({}));
            assert!(!faults(&renamed, &keys).is_empty(), "{name} as {}", other.alg.as_str());
        }
    }
}

#[test]
fn a_changed_payload_is_noticed() {
    let signer = es256();
    let good = signer.good();
    let parts: Vec<&str> = good.split('.').collect();
    let admin = URL_SAFE_NO_PAD.encode(br#"{"sub":"admin"}"#);
    let forged = format!("{}.{admin}.{}", parts[0], parts[2]);
    assert_eq!(faults(&forged, &signer.keys(&json!({}))), ["signature_mismatch"]);
}

#[test]
fn the_key_decides_and_not_the_header() {
    let signer = es256();
    let keys = signer.keys(&json!({"kid": "k"}));
    let claims = json!({});
    for none in ["none", "None", "nOnE"] {
        assert_eq!(faults(&signer.token(&json!({ "alg": none }), &claims), &keys), ["algorithm_none"]);
    }
    for shared in ["HS256", "HS384", "HS512", "hs256"] {
        assert_eq!(faults(&signer.token(&json!({ "alg": shared }), &claims), &keys), ["algorithm_symmetric"]);
    }
    for strange in ["", "ES257", "es256", "RSA-OAEP", "Ed448", "ÄÖ"] {
        assert_eq!(faults(&signer.token(&json!({ "alg": strange }), &claims), &keys), ["algorithm_unknown"]);
    }
    for (more, why) in [
        (json!({"kid": "k", "use": "enc"}), "key_does_not_fit"),
        (json!({"kid": "k", "alg": "ES384"}), "key_does_not_fit"),
        (json!({"kid": "k", "key_ops": ["sign"]}), "key_does_not_fit"),
        (json!({"kid": "other"}), "no_such_key"),
        (json!({"kid": 7}), "no_such_key"),
    ] {
        assert_eq!(faults(&signer.good(), &signer.keys(&more)), [why], "{more}");
    }
    assert_eq!(faults(&signer.good(), &Jwks::parse(br#"{"keys":[]}"#).unwrap()), ["no_such_key"]);
    let own = json!({"alg": "ES256", "jwk": signer.jwk});
    assert_eq!(faults(&signer.token(&own, &claims), &es256().keys(&json!({}))), ["signature_mismatch"]);
}

#[test]
fn of_several_fitting_keys_the_right_one_is_found() {
    let (one, other) = (es256(), es256());
    let set = |first: &Signer, second: &Signer| {
        let mut keys = [first.jwk.clone(), second.jwk.clone()];
        for key in &mut keys {
            key["kid"] = "k".into();
        }
        let strange = json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "k"});
        Jwks::parse(json!({"keys": [strange, keys[0], keys[1]]}).to_string().as_bytes()).unwrap()
    };
    assert!(faults(&one.good(), &set(&one, &other)).is_empty());
    assert!(faults(&one.good(), &set(&other, &one)).is_empty());
    assert_eq!(faults(&one.good(), &set(&other, &other)), ["signature_mismatch"]);
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let signer = es256();
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!("x"), json!(null)] {
        let token = signer.token(&json!({"alg": "ES256", "b64": true, "crit": crit}), &json!({}));
        assert_eq!(faults(&token, &signer.keys(&json!({}))), ["critical_header"]);
    }
}

#[test]
fn times_are_judged_by_our_clock() {
    let signer = es256();
    let keys = signer.keys(&json!({}));
    let judged = |claims: Value| faults(&signer.token(&signer.header(), &claims), &keys);
    let at = |offset: i64| 1_800_000_000_i64 + offset;
    for good in [json!({"exp": at(1)}), json!({"nbf": at(10), "iat": at(10)}), json!({}), json!({"exp": 1e300})] {
        assert!(judged(good.clone()).is_empty(), "{good}");
    }
    assert_eq!(judged(json!({"exp": at(0)})), ["expired"]);
    assert_eq!(judged(json!({"exp": -1})), ["expired"]);
    assert_eq!(judged(json!({"nbf": at(11)})), ["not_yet_valid"]);
    assert_eq!(judged(json!({"iat": at(11)})), ["issued_in_the_future"]);
    assert_eq!(judged(json!({"exp": "1800000900"})), ["malformed"]);
    assert_eq!(judged(json!({"exp": null})), ["malformed"]);
    assert_eq!(judged(json!({"exp": at(-300), "nbf": at(300)})), ["expired", "not_yet_valid"]);
    let found = inspect(&signer.token(&signer.header(), &json!({"exp": at(-300)})), Some(&keys), NOW);
    assert_eq!(found.faults[0].to_string(), "it expired 5 minutes ago, at 2027-01-15T07:55:00Z (exp)");
}

#[test]
fn a_text_that_is_no_jwt_is_told_where() {
    let signer = es256();
    let keys = signer.keys(&json!({}));
    let told = |token: &str| {
        let found = inspect(token, Some(&keys), NOW);
        assert!(!found.is_valid());
        found.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (token, words) in [
        ("", "nothing"),
        ("opaque", "no dot"),
        ("a.b", "2 parts"),
        ("a.b.c.d.e", "five parts"),
        ("a.b.c~d~", "SD-JWT"),
        ("{\"payload\":\"\"}", "JSON"),
        ("gmr_AAAA", "refresh token"),
        ("..", "its header is malformed"),
        ("e30.e30.", "no alg"),
        ("e30=.e30.", "no = at its end"),
        ("W10.e30.", "its header is malformed"),
    ] {
        assert!(told(token).contains(words), "{token}: {}", told(token));
    }
    assert!(told(&"a".repeat(MAX_TOKEN + 1)).contains("longer than 131072 bytes"));
    let twice = signer.raw(br#"{"alg":"ES256","alg":"none"}"#, b"{}");
    assert!(told(&twice).contains(r#"header is malformed: it is not a JSON object (the member "alg" comes twice"#));
    let twice = signer.raw(br#"{"alg":"ES256"}"#, br#"{"exp":1,"exp":9}"#);
    assert!(told(&twice).contains(r#"the member "exp" comes twice"#), "{}", told(&twice));
    for claims in [&b"[]"[..], b"ada", b"", b"\xff"] {
        assert!(told(&signer.raw(br#"{"alg":"ES256"}"#, claims)).contains("its payload is malformed"));
    }
    for header in [json!({"alg": 1}), json!({"alg": "ES256", "kid": 1}), json!({"alg": null})] {
        assert!(told(&signer.token(&header, &json!({}))).contains("is not a string"));
    }
    // Bits that no byte takes, and padding: one token has one spelling.
    for more in ["=", "==", "A", "\n", "%3D"] {
        assert!(told(&format!("{}{more}", signer.good())).contains("its signature"), "{more}");
    }
}

#[test]
fn without_keys_the_rest_is_still_told() {
    let found = inspect(&es256().good(), None, NOW);
    assert_eq!((found.is_valid(), found.faults.as_slice()), (false, &[Fault::NoKeys][..]));
    assert_eq!(found.claims.unwrap().text("sub"), Some("ada"));
    assert_eq!(found.signature, Signature::NotChecked);
}

#[test]
fn what_is_worth_knowing_is_noted() {
    let signer = es256();
    let noted = |header: Value, claims: Value| {
        let found = inspect(&signer.token(&header, &claims), Some(&signer.keys(&json!({}))), NOW);
        assert!(found.is_valid());
        found.notes.join("\n")
    };
    assert!(noted(json!({"alg": "ES256"}), json!({})).contains("never expires"));
    assert!(noted(json!({"alg": "ES256", "typ": "DPoP+jwt", "jwk": {}}), json!({})).contains("DPoP proof"));
    assert!(noted(json!({"alg": "ES256", "jku": "http://x"}), json!({})).contains("never used"));
    assert!(noted(json!({"alg": "ES256"}), json!({"cnf": {"jkt": "x"}})).contains("bound to a key"));
}

#[test]
fn the_examples_of_the_rfcs_are_judged_as_they_say() {
    const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rs256 = concat!(
        r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm"#,
        "4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTB",
        "EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4",
        r#"FRWyuXpoQ"}"#
    );
    let es256 = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let eddsa = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let examples = [
        // RFC 7515, appendix A.2
        (
            rs256,
            format!(
                "eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
                 _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0Gar\
                 ZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIh\
                 WkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
            ),
            "expired",
        ),
        // RFC 7515, appendix A.3
        (
            es256,
            format!(
                "eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU\
                 1Q"
            ),
            "expired",
        ),
        // RFC 8037, appendix A.4: what is signed is no JSON.
        (
            eddsa,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iy\
             lGjg5BhVsPt9g7sVvpAr_MuM0KAg"
                .to_owned(),
            "malformed",
        ),
    ];
    for (key, token, against) in examples {
        let found = inspect(&token, Some(&Jwks::parse(key.as_bytes()).unwrap()), NOW);
        assert_eq!(found.signature, Signature::Matches(None), "{token}: {found:?}");
        assert_eq!(found.faults.iter().map(Fault::code).collect::<Vec<_>>(), [against]);
        assert!(!found.is_valid());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_panic_and_none_is_valid(text in ".{0,200}", json in r#"[\[\]{}":,a-z0-9. -]{0,80}"#) {
        let keys = Jwks::parse(br#"{"keys":[{"kty":"RSA"},{"kty":"EC","crv":"P-256"},{}]}"#).unwrap();
        let parts = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(&json), URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text));
        for token in [text.as_str(), json.as_str(), parts.as_str()] {
            proptest::prop_assert!(!inspect(token, Some(&keys), NOW).is_valid());
        }
        let _ = Jwks::parse(json.as_bytes());
    }
}
