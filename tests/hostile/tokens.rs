use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{FORM, assert_dressed, still_works};
use crate::support::{Answer, ISSUER, TestService, encode_form};

const INVALID: (u16, &str, &str) = (400, "invalid_grant", "Invalid refresh token");
/// Of base64url.
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ENDED: (u16, &str, &str) = (400, "invalid_grant", "Session ended");

fn bytes_of(token: &str) -> Vec<u8> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("gmr_").unwrap()).unwrap();
    assert_eq!(bytes.len(), 70);
    bytes
}

fn spelt(bytes: &[u8]) -> String {
    format!("gmr_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Whoever has the pepper can make an authentic token of anything.
async fn authentic(test: &TestService, unsigned: &[u8]) -> String {
    let ring = test.service.vault.current("refresh/gatemint-refresh-secret").await.unwrap().unwrap();
    let ring: Value = serde_json::from_slice(ring.value.expose()).unwrap();
    let secret = ring["peppers"][0]["secret"].as_str().unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mac = hmac::sign(&key, &[&b"gatemint refresh v1\0"[..], unsigned].concat());
    spelt(&[unsigned, mac.as_ref()].concat())
}

#[tokio::test]
async fn a_refresh_token_with_any_one_bit_flipped_is_refused_without_a_read() {
    let test = TestService::new().await.user("ada", &[]).await;
    let tokens = test.sign_in("ada").await;
    let bytes = bytes_of(&tokens.refresh);
    test.store.round_trips();
    let mut tried = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = test.refresh(&spelt(&flipped)).await;
        assert_eq!(answer.refusal(), INVALID, "bit {bit}");
        assert_eq!(test.store.round_trips(), (0, 0), "bit {bit}");
        tried += 1;
    }
    // Whole bytes too, and what somebody who knows no pepper can put together.
    for byte in 0..bytes.len() {
        for value in [0, 0xff] {
            let mut changed = bytes.clone();
            changed[byte] = value;
            if changed != bytes {
                assert_eq!(test.refresh(&spelt(&changed)).await.refusal(), INVALID, "byte {byte}");
                tried += 1;
            }
        }
    }
    let other = bytes_of(&test.sign_in("ada").await.refresh);
    test.store.round_trips();
    let spliced = [[&bytes[..38], &other[38..]].concat(), [&other[..38], &bytes[38..]].concat()];
    for bytes in spliced.into_iter().chain([vec![0; 70], vec![0xff; 70], vec![1; 70]]) {
        assert_eq!(test.refresh(&spelt(&bytes)).await.refusal(), INVALID);
        tried += 1;
    }
    assert_eq!(test.store.round_trips(), (0, 0));
    assert_eq!(tried, 560 + 140 - tried_in_vain(&bytes) + 5);
    still_works(&test, &tokens).await;
    println!("counted: {tried} forged refresh tokens, among them each of 560 bits flipped, 0 accepted, 0 store reads");
}

/// How many bytes already were what they would be changed to.
fn tried_in_vain(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| matches!(byte, 0 | 0xff)).count()
}

#[tokio::test]
async fn a_refresh_token_has_one_spelling() {
    let test = TestService::new().await.user("ada", &[]).await;
    let mut tokens = test.sign_in("ada").await;
    // One that another alphabet would spell differently.
    let body = |token: &str| token["gmr_".len()..].to_owned();
    let mut generations = 0;
    while !(body(&tokens.refresh).contains('-') && body(&tokens.refresh).contains('_')) {
        tokens = test.refresh(&tokens.refresh).await.tokens();
        generations += 1;
    }
    let token = tokens.refresh.clone();
    let encoded = body(&token);
    assert_eq!(encoded.len(), 94);
    let last = ALPHABET.iter().position(|c| *c == *encoded.as_bytes().last().unwrap()).unwrap();
    assert_eq!(last % 16, 0, "70 bytes leave four bits");
    let mut spellings: Vec<String> =
        (1..16).map(|stray| format!("gmr_{}{}", &encoded[..93], char::from(ALPHABET[last + stray]))).collect();
    let standard = encoded.replace('-', "+").replace('_', "/");
    spellings.extend([
        format!("{token}="),
        format!("{token}=="),
        format!("{token}A"),
        format!("{token}AA"),
        format!("{token}AAAA"),
        token[..token.len() - 1].to_owned(),
        token[..token.len() - 2].to_owned(),
        token[..50].to_owned(),
        format!("gmr_{standard}"),
        format!("gmr_{}", encoded.replacen('-', "+", 1)),
        format!("gmr_{}", encoded.replacen('_', "/", 1)),
        format!(" {token}"),
        format!("{token} "),
        format!("gmr_ {encoded}"),
        format!("{}\t{}", &token[..40], &token[40..]),
        format!("{} {}", &token[..40], &token[40..]),
        format!("{token}\u{a0}"),
        format!("\u{feff}{token}"),
        encoded.clone(),
        format!("GMR_{encoded}"),
        format!("gmr-{encoded}"),
        format!("gmr{encoded}"),
        format!("gmr_gmr_{encoded}"),
        format!("gm_{encoded}"),
        format!("gmr__{encoded}"),
        format!("gmc_{encoded}"),
        format!("Bearer {token}"),
        format!("\"{token}\""),
        format!("gmr_{}", encoded.to_uppercase()),
        format!("gmr_{}", encoded.to_lowercase()),
        format!("gmr_{}", encoded.replace('-', "－")),
        "gmr_".into(),
        "g".into(),
        "gmr".into(),
        "A".repeat(98),
        format!("gmr_{}", "A".repeat(60_000)),
        tokens.access.clone(),
        "ä".repeat(49),
        "\u{1F980}".repeat(24),
    ]);
    test.store.round_trips();
    for spelling in &spellings {
        let answer = test.refresh(spelling).await;
        assert_eq!(answer.refusal(), INVALID, "{spelling:.120}");
        assert_dressed(&answer, spelling);
    }
    for (spelling, at) in [("\n", 98), ("\r\n", 98), ("\0", 98), ("\n", 50), ("\n", 0)] {
        let answer = test.refresh(&format!("{}{spelling}{}", &token[..at], &token[at..])).await;
        assert_eq!((answer.refusal().0, answer.refusal().1), (400, "invalid_request"), "{}", answer.text);
    }
    assert_eq!(test.store.round_trips(), (0, 0));
    // To revoke or to introspect with another spelling does nothing either.
    for spelling in &spellings[..20] {
        test.form("/oauth2/revoke", &[("token", spelling)]).await;
    }
    still_works(&test, &tokens).await;
    println!("counted: {} other spellings of generation {generations}, 0 accepted, 0 store reads", spellings.len() + 5);
}

#[tokio::test]
async fn an_authentic_token_of_a_generation_ahead_ends_the_session() {
    let mut ended = 0;
    for ahead in [1, 2, 1000, u32::MAX - 1] {
        let test = TestService::new().await.user("ada", &[]).await;
        let first = test.sign_in("ada").await;
        let bystander = test.sign_in("ada").await;
        let tokens = test.refresh(&first.refresh).await.tokens();
        let bytes = bytes_of(&tokens.refresh);
        assert_eq!(authentic(&test, &bytes[..38]).await, tokens.refresh, "the pepper makes what the service makes");
        let mut unsigned = bytes[..38].to_vec();
        unsigned[34..].copy_from_slice(&(1 + ahead).to_be_bytes());
        let forged = authentic(&test, &unsigned).await;
        assert_eq!(test.refresh(&forged).await.refusal(), ENDED);
        for token in [&tokens.refresh, &first.refresh, &forged] {
            assert_eq!(test.refresh(token).await.refusal(), ENDED);
        }
        for access in [&first.access, &tokens.access] {
            assert_eq!(test.v1(Method::GET, "/v1/me", access, None).await.status, StatusCode::UNAUTHORIZED);
        }
        still_works(&test, &bystander).await;
        ended += 1;
    }

    // Authentic tokens of nothing that is there say no more than that, and end nothing.
    let test = TestService::new().await.user("ada", &[]).await.user("eve", &[]).await;
    let (tokens, eve) = (test.sign_in("ada").await, test.sign_in("eve").await);
    let (bytes, eve) = (bytes_of(&tokens.refresh), bytes_of(&eve.refresh));
    let changed = |at: std::ops::Range<usize>, with: &[u8]| {
        let mut unsigned = bytes[..38].to_vec();
        unsigned[at].copy_from_slice(with);
        unsigned
    };
    for (unsigned, expected) in [
        (changed(18..34, &[7; 16]), ENDED),
        (changed(2..18, &[7; 16]), ENDED),
        (changed(2..18, &eve[2..18]), ENDED),
        (changed(18..34, &eve[18..34]), ENDED),
        (changed(0..1, &[2]), INVALID),
        (changed(0..1, &[0]), INVALID),
        (changed(1..2, &[2]), INVALID),
        (changed(1..2, &[0]), INVALID),
        (changed(1..2, &[255]), INVALID),
    ] {
        let answer = test.refresh(&authentic(&test, &unsigned).await).await;
        assert_eq!(answer.refusal(), expected, "{:?}", &unsigned[..4]);
    }
    still_works(&test, &tokens).await;
    println!("counted: {ended} authentic tokens of a generation ahead, {ended} sessions ended; 9 of nothing, 0 ended");
}

/// What an attacker, or another service of ours, could sign with.
pub(super) struct Signer {
    pair: EcdsaKeyPair,
    der: EcdsaKeyPair,
    kid: String,
}

impl Signer {
    pub(super) async fn ours(test: &TestService) -> Self {
        let document = test.service.vault.current("keys/gatemint-jwt-secret").await.unwrap().unwrap();
        let document: Value = serde_json::from_slice(document.value.expose()).unwrap();
        let pkcs8 = STANDARD.decode(document["keys"][0]["pkcs8"].as_str().unwrap()).unwrap();
        let jwks = test.v1(Method::GET, "/.well-known/jwks.json", "", None).await;
        Self::of(&pkcs8, jwks.json["keys"][0]["kid"].as_str().unwrap())
    }

    fn strange() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::of(pair.to_pkcs8v1().unwrap().as_ref(), "strange")
    }

    fn of(pkcs8: &[u8], kid: &str) -> Self {
        Self {
            pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap(),
            der: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).unwrap(),
            kid: kid.into(),
        }
    }

    fn point(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    fn jwk(&self) -> Value {
        let point = self.point();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    }

    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(super) fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

pub(super) fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

pub(super) async fn introspected(test: &TestService, admin: &str, token: &str) -> Answer {
    let request = Request::post("/oauth2/introspect")
        .header(header::CONTENT_TYPE, FORM)
        .header(header::AUTHORIZATION, format!("Bearer {admin}"))
        .body(Body::from(encode_form(&[("token", token)])))
        .unwrap();
    test.send(request).await
}

/// Not accepted anywhere: as a bearer, under introspection, and to revoke with.
async fn assert_worthless(test: &TestService, admin: &str, token: &str, what: &str) {
    let me = test.v1(Method::GET, "/v1/me", token, None).await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED, "{what}: {}", me.text);
    assert!(me.header("www-authenticate").starts_with("Bearer "), "{what}");
    let seen = introspected(test, admin, token).await;
    assert_eq!(seen.text, r#"{"active":false}"#, "{what}");
    let revoked = test.form("/oauth2/revoke", &[("token", token)]).await;
    assert_eq!(revoked.status, StatusCode::OK, "{what}: {}", revoked.text);
}

#[tokio::test]
async fn an_access_token_with_another_header_is_worth_nothing() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let (tokens, admin) = (test.sign_in("ada").await, test.sign_in("root").await.access);
    let (ours, strange) = (Signer::ours(&test).await, Signer::strange());
    let (header, claims) = (part(&tokens.access, 0), part(&tokens.access, 1));
    assert_eq!(header, json!({"alg": "ES256", "kid": ours.kid, "typ": "at+jwt"}));
    let claims = claims.to_string();
    let control = ours.sign(&header.to_string(), &claims);
    assert_eq!(test.v1(Method::GET, "/v1/me", &control, None).await.status, StatusCode::OK, "the forger's tools work");

    let with = |changes: Value| {
        let mut header = header.clone();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        header.to_string()
    };
    let without = |name: &str| {
        let mut header = header.clone();
        header.as_object_mut().unwrap().remove(name);
        header.to_string()
    };
    let mut cases: Vec<(String, String)> = Vec::new();
    let old_signature = tokens.access.rsplit('.').next().unwrap();
    // No signature at all (RFC 8725 §2.1).
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "ES256"] {
        let header = with(json!({"alg": alg}));
        cases.push((format!("{alg} unsigned"), format!("{}.", message(&header, &claims))));
        cases.push((format!("{alg} unsigned, no dot"), message(&header, &claims)));
        if alg != "ES256" {
            cases.push((format!("{alg}, old signature"), format!("{}.{old_signature}", message(&header, &claims))));
            cases.push((format!("{alg}, signed by us"), ours.sign(&header, &claims)));
        }
    }
    // The public key as an HMAC secret, in every form in which somebody might hold it.
    let point = ours.point();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let spki = [
        &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ][..],
        &point,
    ]
    .concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&spki));
    let secrets: [&[u8]; 8] = [
        &point,
        &point[1..],
        x.as_bytes(),
        y.as_bytes(),
        &spki,
        pem.as_bytes(),
        ours.jwk().to_string().as_bytes(),
        b"",
    ]
    .map(|secret| Box::leak(secret.to_vec().into_boxed_slice()) as &[u8]);
    for (n, secret) in secrets.iter().enumerate() {
        for alg in ["HS256", "HS384", "ES256"] {
            let message = message(&with(json!({"alg": alg})), &claims);
            let algorithm = if alg == "HS384" { hmac::HMAC_SHA384 } else { hmac::HMAC_SHA256 };
            let mac = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
            cases.push((format!("{alg} with public key {n}"), format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac))));
        }
    }
    // Other algorithms, other keys, keys that come along, extensions that must be understood.
    let mut stranger = strange.jwk();
    stranger["kid"] = "strange".into();
    for changes in [
        json!({"alg": "ES384"}),
        json!({"alg": "RS256"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "PS256"}),
        json!({"alg": "es256"}),
        json!({"alg": 256}),
        json!({"alg": null}),
        json!({"alg": ["ES256"]}),
        json!({"kid": "unknown"}),
        json!({"kid": ""}),
        json!({"kid": null}),
        json!({"kid": 1}),
        json!({"kid": "../../dev/null"}),
        json!({"kid": "' OR 1=1 --"}),
        json!({"kid": "x".repeat(8000)}),
        json!({"kid": format!("{} ", ours.kid)}),
        json!({"jwk": strange.jwk()}),
        json!({"jwk": ours.jwk()}),
        json!({"jku": "https://evil.example/jwks.json"}),
        json!({"x5u": "https://evil.example/cert"}),
        json!({"x5c": ["MIIB"]}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"cty": "JWT"}),
        json!({"typ": "JWT"}),
        json!({"typ": "jwt"}),
        json!({"typ": "gate+jwt"}),
        json!({"typ": "link+jwt"}),
        json!({"typ": "sa+jwt"}),
        json!({"typ": "AT+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"typ": ""}),
        json!({"typ": null}),
        json!({"typ": ["at+jwt"]}),
        json!({"extra": 1}),
    ] {
        cases.push((format!("{changes:.60} signed by us"), ours.sign(&with(changes.clone()), &claims)));
        cases.push((format!("{changes:.60} signed by a stranger"), strange.sign(&with(changes), &claims)));
    }
    for name in ["alg", "kid", "typ"] {
        cases.push((format!("without {name}"), ours.sign(&without(name), &claims)));
    }
    let twice = header.to_string().replacen('{', r#"{"alg":"none","#, 1);
    for header in [
        twice.as_str(),
        "",
        "{}",
        "[]",
        "null",
        "\"ES256\"",
        "{",
        "\u{feff}{}",
        &"[".repeat(5000),
        &"{\"a\":".repeat(2000),
    ] {
        cases.push((format!("header {header:.20}"), ours.sign(header, &claims)));
    }
    cases.push(("signed by a stranger".into(), strange.sign(&header.to_string(), &claims)));
    for (what, token) in &cases {
        assert_worthless(&test, &admin, token, what).await;
    }
    still_works(&test, &tokens).await;
    println!("counted: {} access tokens with another header, 0 accepted", cases.len());
}

#[tokio::test]
async fn an_access_token_with_another_claim_is_worth_nothing_even_if_we_signed_it() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let (tokens, root) = (test.sign_in("ada").await, test.sign_in("root").await);
    let (admin, ours) = (root.access.clone(), Signer::ours(&test).await);
    let (header, claims, roots) = (part(&tokens.access, 0).to_string(), part(&tokens.access, 1), part(&admin, 1));
    let now = claims["iat"].as_u64().unwrap();
    let mut cases: Vec<(String, String)> = Vec::new();
    for changes in [
        // Times of another type, or not now (CVE-2026-25537).
        json!({"exp": "1900000000"}),
        json!({"exp": 1_900_000_000.5}),
        json!({"exp": 1.9e9}),
        json!({"exp": -1}),
        json!({"exp": null}),
        json!({"exp": true}),
        json!({"exp": [1_900_000_000]}),
        json!({"exp": {}}),
        json!({"exp": now}),
        json!({"exp": now - 1}),
        json!({"exp": 0}),
        json!({"nbf": now + 11}),
        json!({"nbf": "0"}),
        json!({"nbf": null}),
        json!({"iat": "0"}),
        json!({"iat": null}),
        json!({"auth_time": "0"}),
        // Somebody else's.
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": ""}),
        json!({"iss": [ISSUER]}),
        json!({"iss": null}),
        json!({"sub": roots["sub"]}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sid": roots["sid"]}),
        json!({"sid": ""}),
        json!({"sid": "x"}),
        json!({"sid": "A".repeat(22)}),
        json!({"sid": "A".repeat(32)}),
        json!({"sid": null}),
        json!({"sid": 7}),
        json!({"sid": roots["sid"], "sub": roots["sub"]}),
        json!({"preferred_username": "root"}),
        json!({"preferred_username": "root", "sid": roots["sid"]}),
        json!({"preferred_username": "nobody"}),
        json!({"preferred_username": null}),
        json!({"client_id": "nobody"}),
        json!({"client_id": ""}),
        json!({"client_id": null}),
        json!({"client_id": 1}),
        // Other shapes.
        json!({"roles": "admin"}),
        json!({"roles": null}),
        json!({"roles": [1]}),
        json!({"scope": ["profile"]}),
        json!({"jti": 5}),
        json!({"email": null}),
        json!({"aud": null}),
        json!({"aud": 5}),
        json!({"aud": [5]}),
        json!({"aud": {"a": 1}}),
        json!({"aud": [ISSUER, 5]}),
    ] {
        let mut changed = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            changed[name] = value.clone();
        }
        cases.push((changes.to_string(), ours.sign(&header, &changed.to_string())));
    }
    for name in claims.as_object().unwrap().keys() {
        let mut changed = claims.clone();
        changed.as_object_mut().unwrap().remove(name);
        cases.push((format!("without {name}"), ours.sign(&header, &changed.to_string())));
    }
    let twice = claims.to_string().replacen('{', r#"{"exp":1900000000,"#, 1);
    for text in [twice.as_str(), "", "{}", "[]", "null", "1", "{", &"[".repeat(5000)] {
        cases.push((format!("claims {text:.20}"), ours.sign(&header, text)));
    }
    // The same values by position, as some readers would take them.
    let names = ["iss", "sub", "aud", "client_id", "iat", "nbf", "exp", "jti", "scope", "auth_time", "sid"];
    let names = names.into_iter().chain(["preferred_username", "identity", "namespace", "email", "roles"]);
    let by_position: Vec<&Value> = names.map(|name| &claims[name]).collect();
    cases.push(("claims by position".into(), ours.sign(&header, &json!(by_position).to_string())));
    cases.push((
        "header by position".into(),
        ours.sign(&json!(["ES256", ours.kid, "at+jwt"]).to_string(), &claims.to_string()),
    ));
    // The text of a token, and its signature.
    let [head, body, signature] = tokens.access.splitn(3, '.').collect::<Vec<_>>().try_into().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let der = ours.der.sign(&SystemRandom::new(), format!("{head}.{body}").as_bytes()).unwrap();
    let signed = |bytes: &[u8]| format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(bytes));
    for (what, token) in [
        ("zero signature", signed(&[0; 64])),
        ("ones", signed(&[0xff; 64])),
        ("short", signed(&raw[..63])),
        ("DER", signed(der.as_ref())),
        ("long", signed(&[&raw[..], &[0]].concat())),
        ("twice", signed(&[&raw[..], &raw[..]].concat())),
        ("r = 0", signed(&[&[0; 32], &raw[32..]].concat())),
        ("s = 0", signed(&[&raw[..32], &[0; 32]].concat())),
        ("swapped", signed(&[&raw[32..], &raw[..32]].concat())),
        ("padded", format!("{}==", tokens.access)),
        ("padded header", format!("{head}=.{body}.{signature}")),
        ("padded claims", format!("{head}.{body}=.{signature}")),
        ("four parts", format!("{}.", tokens.access)),
        ("four parts", format!("{}.{signature}", tokens.access)),
        ("leading dot", format!(".{}", tokens.access)),
        ("two parts", format!("{head}.{body}")),
        ("five parts", format!("{head}.{body}.{signature}.{body}.{signature}")),
        ("one part", head.to_owned()),
        ("dots", "..".into()),
        ("more dots", "....".into()),
        ("inside", format!("{head}. {body}.{signature}")),
        ("quoted", format!("\"{}\"", tokens.access)),
        ("upper case", tokens.access.to_uppercase()),
        ("standard alphabet", format!("{head}.{body}.{}+/", &signature[..84])),
        ("huge", "a".repeat(60_000)),
        ("huge header", format!("{}.{body}.{signature}", "e".repeat(20_000))),
    ] {
        cases.push((what.into(), token));
    }
    let last = ALPHABET.iter().position(|c| *c == *signature.as_bytes().last().unwrap()).unwrap();
    for stray in 1..16 {
        let token = format!("{head}.{body}.{}{}", &signature[..85], char::from(ALPHABET[last ^ stray]));
        cases.push((format!("stray bits {stray}"), token));
    }
    for bit in 0..512 {
        let mut flipped = raw.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        cases.push((format!("bit {bit} of the signature"), signed(&flipped)));
    }
    for (what, token) in &cases {
        assert_worthless(&test, &admin, token, what).await;
    }

    // For somebody else: not ours to accept as a bearer.
    let mut elsewhere = 0;
    for kind in ["gate", "link", "service-account", "kubernetes"] {
        for aud in [json!(format!("{ISSUER}/{kind}")), json!([format!("{ISSUER}/{kind}")]), json!([])] {
            let mut changed = claims.clone();
            changed["aud"] = aud;
            let token = ours.sign(&header, &changed.to_string());
            assert_eq!(test.v1(Method::GET, "/v1/me", &token, None).await.status, StatusCode::UNAUTHORIZED, "{kind}");
            elsewhere += 1;
        }
    }
    let refresh_as_bearer = test.v1(Method::GET, "/v1/me", &tokens.refresh, None).await;
    assert_eq!(refresh_as_bearer.status, StatusCode::UNAUTHORIZED);
    still_works(&test, &tokens).await;
    println!(
        "counted: {} access tokens with another claim or text, {elsewhere} for another audience, 0 accepted",
        cases.len()
    );
}
