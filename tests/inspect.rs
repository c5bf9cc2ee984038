//! `gatemint token inspect` through the real program: it tells a good token from every kind of bad one, and why; takes
//! keys from a file or over HTTP, and never from where a token says; and lets no token write on the terminal.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    asking::Asking,
    process::{Serve, gatemint, given},
};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the real program goes by the machine's clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A stranger with keys of both kinds, and a file of their public halves.
struct Stranger {
    home: TempDir,
    ec: EcdsaKeyPair,
    rsa: rsa::KeyPair,
}

impl Stranger {
    fn new() -> Self {
        let stranger = Self {
            home: tempfile::tempdir().unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            rsa: rsa::KeyPair::generate(KeySize::Rsa2048).unwrap(),
        };
        stranger.write("jwks.json", &stranger.jwks().to_string());
        stranger
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.path(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn jwks(&self) -> Value {
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "use": "sig", "x": b64(x), "y": b64(y)},
            {"kty": "RSA", "kid": "rsa", "n": b64(public.n), "e": b64(public.e)},
            {"kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc", "x": b64(x), "y": b64(y)},
            {"kty": "AKP", "kid": "new", "pub": "AAAA"},
        ]})
    }

    /// `header.payload`, to be signed.
    fn message(header: &Value, claims: &Value) -> String {
        format!("{}.{}", b64(header.to_string()), b64(claims.to_string()))
    }

    fn es256(&self, header: &Value, claims: &Value) -> String {
        let message = Self::message(header, claims);
        let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", b64(signature))
    }

    fn rs256(&self, header: &Value, claims: &Value) -> String {
        let message = Self::message(header, claims);
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", b64(signature))
    }

    fn good(&self) -> String {
        self.es256(&json!({"alg": "ES256", "kid": "ec"}), &claims())
    }

    /// What the program makes of a token with the file of keys.
    fn asked(&self, token: &str) -> Told {
        inspect(token, &["--jwks", self.path("jwks.json").to_str().unwrap()])
    }
}

fn claims() -> Value {
    json!({"iss": "https://strange.example.org", "sub": "ada", "iat": now(), "exp": now() + 900})
}

/// What the program said, once for people and once in JSON.
struct Told {
    code: i32,
    out: String,
    err: String,
    json: Value,
}

impl Told {
    #[track_caller]
    fn valid(self) -> Self {
        assert_eq!((self.code, self.out.lines().last()), (0, Some("valid")), "{}{}", self.out, self.err);
        assert_eq!((&self.json["valid"], &self.json["signature"]), (&json!(true), &json!("valid")));
        assert_eq!(self.json["reasons"], json!([]));
        self
    }

    /// Not valid, for these reasons and no other; the texts hold these words.
    #[track_caller]
    fn refused(self, codes: &[&str], words: &str) -> Self {
        assert_eq!(self.code, 1, "{}{}", self.out, self.err);
        assert_eq!(self.json["valid"], json!(false));
        let reasons = self.json["reasons"].as_array().unwrap();
        assert_eq!(
            reasons.iter().map(|reason| reason["code"].as_str().unwrap()).collect::<Vec<_>>(),
            codes,
            "{}",
            self.out
        );
        assert_eq!(self.json["signature"] == "mismatch", codes.contains(&"signature_mismatch"), "{}", self.json);
        assert!(
            self.out.lines().any(|line| line.starts_with("not valid: ") && line.contains(words)),
            "{words}: {}",
            self.out
        );
        assert!(!self.out.lines().any(|line| line == "valid"), "{}", self.out);
        self
    }
}

/// The same question twice: for people, and in JSON.
fn inspect(token: &str, arguments: &[&str]) -> Told {
    let ask = |more: &[&str]| {
        let mut command = gatemint();
        command.args(["token", "inspect"]).args(arguments).args(more).env("NO_PROXY", "*").env("no_proxy", "*");
        given(&mut command, token.as_bytes())
    };
    let (people, programs) = (ask(&[]), ask(&["--json"]));
    assert_eq!(people.status.code(), programs.status.code());
    let (out, err) = (String::from_utf8(people.stdout).unwrap(), String::from_utf8(people.stderr).unwrap());
    assert!(!err.contains("panicked"), "{err}");
    for text in [&out, &err] {
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }
    assert!(!programs.stdout.iter().any(|byte| *byte < 0x20 && *byte != b'\n'));
    let json = serde_json::from_slice(&programs.stdout).unwrap_or(Value::Null);
    Told { code: people.status.code().unwrap(), out, err, json }
}

#[tokio::test]
async fn our_own_token_is_valid_however_it_is_given() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start(&data);
    let access = Asking::at(&serve.url).admin(&data).await.access;
    let url = format!("{}/.well-known/jwks.json", serve.url);
    let jwks = ["--jwks", url.as_str()];
    let file = home.path().join("token");
    fs::write(&file, format!("{access}\n")).unwrap();

    let told = inspect(&access, &jwks).valid();
    assert_eq!(told.json["claims"]["preferred_username"], "admin");
    assert_eq!((&told.json["header"]["typ"], &told.json["header"]["kid"]), (&json!("at+jwt"), &told.json["key"]));
    let exp = told.out.lines().find(|line| line.trim_start().starts_with("exp ")).unwrap();
    assert!(exp.ends_with("Z (in 15 minutes)") || exp.ends_with("Z (in 14 minutes)"), "{exp}");
    assert!(told.err.is_empty(), "{}", told.err);

    let reply = json!({"access_token": access, "token_type": "Bearer"}).to_string();
    let ways = [format!("{access}\r\n"), format!("Bearer {access}"), format!("  \"{access}\" "), reply];
    for way in &ways {
        inspect(way, &jwks).valid();
    }
    inspect("", &[jwks[0], jwks[1], file.to_str().unwrap()]).valid();
    inspect(&access, &[jwks[0], jwks[1], "-"]).valid();

    // Without keys it is shown, and not believed.
    let told = inspect(&access, &[]).refused(&["no_keys"], "was not checked");
    assert!(told.err.contains(&format!("--jwks {url}")), "{}", told.err);
    // The discovery document is no key set, but says where that is.
    let told = inspect(&access, &["--jwks", &format!("{}/.well-known/openid-configuration", serve.url)]);
    assert!(told.code == 1 && told.err.contains(&url) && told.out.is_empty(), "{}", told.err);
    println!("counted: {} ways to give a token of ours, each valid", ways.len() + 3);
}

#[test]
fn every_kind_of_bad_token_is_told() {
    let stranger = Stranger::new();
    let es256 = json!({"alg": "ES256", "kid": "ec"});
    let good = stranger.good();
    stranger.asked(&good).valid();
    stranger.asked(&stranger.rs256(&json!({"alg": "RS256", "kid": "rsa"}), &claims())).valid();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let header = message.split('.').next().unwrap();

    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        stranger.es256(&es256, &claims)
    };
    let mut told = 0;
    let mut expect = |token: &str, codes: &[&str], words: &str| {
        told += 1;
        stranger.asked(token).refused(codes, words);
    };
    // Time.
    expect(&with("exp", json!(now() - 300)), &["expired"], "it expired 5 minutes ago, at ");
    expect(&with("nbf", json!(now() + 3 * 3600)), &["not_yet_valid"], "it is not valid yet, but in ");
    expect(&with("iat", json!(now() + 900)), &["issued_in_the_future"], "issued in the future, in 1");
    expect(&with("exp", json!("soon")), &["malformed"], "exp is not a number");
    // Forged.
    let admin = b64(json!({"sub": "admin", "exp": now() + 900}).to_string());
    expect(&format!("{header}.{admin}.{signature}"), &["signature_mismatch"], "does not match the key ec");
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[40] ^= 4;
    expect(&format!("{message}.{}", b64(bytes)), &["signature_mismatch"], "does not match the key ec");
    expect(&format!("{message}.{}", b64([0; 64])), &["signature_mismatch"], "does not match the key ec");
    expect(&format!("{message}."), &["signature_mismatch"], "it is empty");
    let pkcs8 = stranger.ec.to_pkcs8v1().unwrap();
    let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let der = der.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    expect(&format!("{message}.{}", b64(der)), &["signature_mismatch"], "looks like DER");
    // Another algorithm than the key's.
    for none in ["none", "NONE"] {
        let message = Stranger::message(&json!({"alg": none, "kid": "ec"}), &claims());
        expect(&format!("{message}."), &["algorithm_none"], "it is not signed");
    }
    let message = Stranger::message(&json!({"alg": "HS256", "kid": "ec"}), &claims());
    for secret in [stranger.ec.public_key().as_ref().to_vec(), fs::read(stranger.path("jwks.json")).unwrap()] {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        expect(&format!("{message}.{}", b64(mac)), &["algorithm_symmetric"], "HS256");
    }
    expect(&stranger.rs256(&json!({"alg": "RS256", "kid": "ec"}), &claims()), &["key_does_not_fit"], "RS256 needs RSA");
    expect(&stranger.es256(&json!({"alg": "ES256", "kid": "rsa"}), &claims()), &["key_does_not_fit"], "is of kind RSA");
    expect(
        &stranger.es256(&json!({"alg": "ES256", "kid": "enc"}), &claims()),
        &["key_does_not_fit"],
        "its use is \"enc\"",
    );
    expect(&stranger.es256(&json!({"alg": "ES256", "kid": "new"}), &claims()), &["key_does_not_fit"], "is of kind AKP");
    expect(&stranger.es256(&json!({"alg": "ES999", "kid": "ec"}), &claims()), &["algorithm_unknown"], "ES999");
    // Another's key.
    expect(
        &stranger.es256(&json!({"alg": "ES256", "kid": "gone"}), &claims()),
        &["no_such_key"],
        "there are ec, rsa, enc, new",
    );
    expect(&Stranger::new().good(), &["signature_mismatch"], "signed with another key");
    // Not a JWT that can be trusted.
    let crit = json!({"alg": "ES256", "kid": "ec", "crit": ["exp"]});
    expect(&stranger.es256(&crit, &claims()), &["critical_header"], "RFC 7515");
    expect(&good.replacen('.', "..", 1), &["malformed"], "4 parts");
    expect(&format!("{good}.a.b"), &["malformed"], "five parts");
    expect("", &["malformed"], "there is nothing");
    expect("\u{0}\u{1b}[2J", &["malformed"], "no dot");
    expect(&"a.".repeat(70_000), &["malformed"], "longer than 131072 bytes");
    expect(&"{".repeat(1_000_000), &["malformed"], "longer than 131072 bytes");
    let twice = format!("{}.{}", b64(es256.to_string()), b64(r#"{"sub":"ada","sub":"admin"}"#));
    let both = stranger.ec.sign(&SystemRandom::new(), twice.as_bytes()).unwrap();
    expect(&format!("{twice}.{}", b64(both)), &["malformed"], r#"the member "sub" comes twice"#);
    // Several at once are all told.
    let old = Stranger::new().es256(&es256, &json!({"exp": 1}));
    expect(&old, &["signature_mismatch", "expired"], "years ago");
    println!("counted: {told} bad tokens, each told why");
}

#[test]
fn a_token_writes_nothing_on_the_terminal_but_text() {
    let stranger = Stranger::new();
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\r\n  valid\nvalid";
    let header = json!({"alg": "ES256", "kid": evil, evil: evil});
    let told = stranger.asked(&stranger.es256(&header, &json!({"sub": evil, evil: [evil], "iss": evil})));
    let told = told.refused(&["no_such_key"], "no key has its kid");
    assert_eq!(told.json["claims"]["sub"], evil, "JSON keeps the value");
    stranger.asked(&stranger.es256(&json!({ "alg": evil }), &json!({}))).refused(&["algorithm_unknown"], "its alg is");
    // The issuer's name is shown as a place for keys only if it can be pasted safely.
    for issuer in [evil, "https://x.example/$(id)", "https://x.example/'", "javascript:1"] {
        let told = inspect(&stranger.es256(&json!({"alg": "ES256"}), &json!({"iss": issuer})), &[]);
        assert!(told.err.contains("--jwks FILE") && !told.err.contains("likely"), "{}", told.err);
    }
    println!("counted: 6 tokens that tried");
}

/// A web server that gives one answer to all, and keeps what it was asked.
struct Web {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut question = String::new();
                for line in BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    question.push_str(&line);
                    question.push('\n');
                }
                let path = question.split(' ').nth(1).unwrap_or_default().to_owned();
                heard.lock().unwrap().push(question);
                // Who has heard enough hangs up.
                let _ = stream.write_all(&answer(&path));
            }
        });
        Self { url, asked }
    }
}

fn http(status: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let question = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n", body.len());
    [question.as_bytes(), body].concat()
}

#[test]
fn keys_come_from_where_the_user_says_and_from_nowhere_else() {
    let stranger = Stranger::new();
    let jwks = stranger.jwks().to_string();
    let web = Web::answering(move |path| match path {
        "/jwks" => http("200 OK", "", jwks.as_bytes()),
        "/moved" => http("302 Found", "Location: /jwks\r\n", b""),
        "/elsewhere" => http("302 Found", "Location: https://127.0.0.1:1/jwks\r\n", b""),
        "/file" => http("302 Found", "Location: file:///etc/passwd\r\n", b""),
        "/round" => http("302 Found", "Location: /round\r\n", b""),
        "/large" => http("200 OK", "", &vec![b' '; 1024 * 1024 + 1]),
        "/endless" => [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &vec![b' '; 1024 * 1024 + 1]].concat(),
        "/page" => http("200 OK", "", b"<html>"),
        "/broken" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec(),
        _ => http("404 Not Found", "", b""),
    });
    let at = |path: &str| inspect(&stranger.good(), &["--jwks", &format!("{}{path}", web.url)]);
    at("/jwks").valid();
    at("/moved").valid();
    for head in web.asked.lock().unwrap().iter() {
        let head = head.to_lowercase();
        assert!(
            head.contains("\nuser-agent: gatemint/") && !head.contains("authorization") && !head.contains("cookie"),
            "{head}"
        );
        assert!(!head.contains("referer"), "{head}");
    }
    let fails = [
        ("/elsewhere", "another scheme"),
        ("/file", "answered 302"),
        ("/round", "redirects too often"),
        ("/large", "more than 1048576 bytes"),
        ("/endless", "more than 1048576 bytes"),
        ("/page", "not a JWKS"),
        ("/broken", "cannot be reached"),
        ("/no", "404"),
    ];
    for (path, words) in fails {
        let told = at(path);
        assert_eq!((told.code, told.out.as_str()), (1, ""), "{path}: {}", told.err);
        assert!(told.err.starts_with("gatemint: no keys: ") && told.err.contains(words), "{path}: {}", told.err);
    }

    // What a token names is not asked.
    web.asked.lock().unwrap().clear();
    let url = format!("{}/jwks", web.url);
    let header = json!({"alg": "ES256", "jku": url, "x5u": url, "jwk": stranger.jwks()["keys"][0]});
    let token = stranger.es256(&header, &json!({"iss": web.url, "exp": now() + 900}));
    let told = inspect(&token, &[]).refused(&["no_keys"], "not checked");
    assert!(
        told.out.contains("brings or names a key of its own") && told.err.contains(&web.url),
        "{}{}",
        told.out,
        told.err
    );
    let other = Stranger::new();
    other.asked(&token).refused(&["signature_mismatch"], "signed with another key");
    assert_eq!(web.asked.lock().unwrap().len(), 0);
    println!("counted: 2 places that gave keys, {} that did not, 2 tokens that named one in vain", fails.len());
}

#[test]
fn keys_in_a_file_may_be_of_many_forms_and_wrong_ones_are_told() {
    let stranger = Stranger::new();
    let set = stranger.jwks();
    let mut bare = set["keys"][0].clone();
    for member in ["kid", "alg", "use"] {
        bare.as_object_mut().unwrap().remove(member);
    }
    let nameless = stranger.es256(&json!({"alg": "ES256"}), &claims());
    let good =
        [set.to_string(), set["keys"][0].to_string(), bare.to_string(), format!("\n {}\n", json!({"keys": [bare]}))];
    for keys in &good {
        for token in [&stranger.good(), &nameless] {
            inspect(token, &["--jwks", &stranger.write("keys", keys)]).valid();
        }
    }
    let symmetric = json!({"keys": [{"kty": "oct", "kid": "ec", "k": "AAAA"}]}).to_string();
    inspect(&stranger.good(), &["--jwks", &stranger.write("keys", &symmetric)])
        .refused(&["key_does_not_fit"], "symmetric secret");
    inspect(&nameless, &["--jwks", &stranger.write("keys", &symmetric)])
        .refused(&["key_does_not_fit"], "no kid, and no key is for");
    let wrong = [
        ("", "not a JWKS"),
        ("{}", "no array \"keys\""),
        ("-----BEGIN PUBLIC KEY-----\n", "PEM"),
        (r#"{"keys":[],"keys":[]}"#, "comes twice"),
        (r#"{"jwks_uri":"https://x.example/keys"}"#, "https://x.example/keys; give that to --jwks"),
        (&" ".repeat(1024 * 1024 + 1), "longer than"),
    ];
    for (keys, words) in wrong {
        let told = inspect(&nameless, &["--jwks", &stranger.write("keys", keys)]);
        assert!(told.code == 1 && told.out.is_empty() && told.err.contains(words), "{words}: {}", told.err);
    }
    println!("counted: {} forms of keys taken, {} refused", good.len(), wrong.len() + 1);
}

#[test]
fn wrong_use_is_told_and_a_token_is_not_repeated() {
    let stranger = Stranger::new();
    let good = stranger.good();
    let secret = "https://ada:pass@127.0.0.1:1/jwks";
    let cases: [(&[&str], i32, &str); 8] = [
        (&[&good], 2, "can be read by every process"),
        (&["--jwks", "ftp://127.0.0.1/jwks"], 2, "not an http or https URL"),
        (&["--jwks", "https:"], 2, "not an http or https URL"),
        (&["--jwks", secret], 2, "leave out"),
        (&["--jwks", "/no/such/file"], 1, "/no/such/file: No such file"),
        (&["--jwks", "http://127.0.0.1:1/"], 1, "cannot be reached"),
        (&["/no/such/token"], 1, "/no/such/token: No such file"),
        (&["--key", "x"], 2, "--key"),
    ];
    for (arguments, code, words) in cases {
        let told = inspect(&good, arguments);
        assert_eq!((told.code, told.out.as_str()), (code, ""), "{arguments:?}: {}", told.err);
        assert!(told.err.contains(words), "{arguments:?}: {}", told.err);
        assert!(!told.err.contains(&good) && !told.err.contains("pass@"), "{}", told.err);
    }
    println!("counted: {} ways to use it wrongly", cases.len());
}
