use std::cell::Cell;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri},
};
use gatemint::{
    domain::{
        gate::{Host, Path},
        key::jwt::Unverified,
    },
    http::forward_auth::{self, Credential, Family},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::{check, nasty, reference};
use crate::support::TestService;

/// What was read, and how much of it was good.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    read: usize,
    good: usize,
}

impl Seen {
    fn of(read: &Cell<Self>, good: bool) {
        let seen = read.get();
        read.set(Self { read: seen.read + 1, good: seen.good + usize::from(good) });
    }

    /// Prints it, for `tests/run`.
    pub(crate) fn report(self, what: &str) {
        assert!(
            self.good > 0 && self.good < self.read,
            "{what} are one-sided: {} of {} were good",
            self.good,
            self.read
        );
        println!("counted: {} {what} read without a panic, {} of them good", self.read, self.good);
    }
}

/// Every byte but a few changed, cut off, put in, or none of it.
fn damaged(text: String) -> impl Strategy<Value = String> {
    let change = (
        any::<Index>(),
        select(vec!["", ".", "..", "=", "A", "_", "-", " ", "\0", "é", "e30", "%", "\"", "{"]),
        0..5_u8,
    );
    vec(change, 0..3).prop_map(move |changes| {
        let mut text = text.clone();
        for (at, piece, how) in changes {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            match how {
                0 => text.truncate(at),
                1 => text.insert_str(at, piece),
                2 => text = text.split_off(at),
                3 if at < text.len() => text.replace_range(at..text.ceil_char_boundary(at + 1), piece),
                _ => {}
            }
        }
        text
    })
}

/// Tokens, true and damaged, and what was never one.
pub(crate) fn tokens(rounds: u32) -> Seen {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let token = runtime.block_on(async {
        let test = TestService::new().await.user("ada", &["a"]).await;
        test.sign_in("ada").await.access
    });
    let header =
        r#"\{"(alg|typ|kid|x)":("ES256"|"none"|"at\+jwt"|1|null|\[\]|\{\})(,"(alg|typ|kid)":("a"|"at\+jwt"|null))?\}"#;
    let made = (header, "\\PC{0,20}", vec(any::<u8>(), 0..70)).prop_map(|(header, claims, signature)| {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        [header.into_bytes(), claims.into_bytes(), signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    });
    let text = prop_oneof![6 => damaged(token.clone()), 2 => made, 1 => "[A-Za-z0-9_.=-]{0,60}", 1 => any::<String>()];
    let seen = Cell::new(Seen::default());
    check(rounds, &text, |text| {
        let read = Unverified::parse(&text);
        if text == token {
            prop_assert!(read.is_ok());
        }
        Seen::of(&seen, read.is_ok());
        Ok(())
    });
    seen.get()
}

/// Cookie and Authorization headers.
pub(crate) fn credentials(rounds: u32) -> Seen {
    let piece = select(vec![
        &b"dat="[..],
        b"kg-jwt-session-code=",
        b"dat",
        b"DAT=",
        b"xdat=",
        b"=",
        b";",
        b"; ",
        b";;",
        b" ",
        b"\t",
        b"a.b.c",
        b"t1",
        b"t2",
        b",",
        b"\"",
        b"\xff",
        b"\xc3\xa9",
        b"\0",
        b"other=1",
        b"dat=t3;",
        b"dat=t4; ",
        b"kg-jwt-session-code=t5;",
    ]);
    let cookie = vec(prop_oneof![4 => piece.prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..6)], 0..40)
        .prop_map(|pieces| pieces.concat());
    let scheme = select(vec!["Bearer ", "bearer ", "BEARER  ", "Bearer", "Bearer\t", "Basic ", "", "Bearers "]);
    let value = prop_oneof![3 => "[A-Za-z0-9._~+/=-]{0,20}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..12)];
    let authorization = (scheme, value).prop_map(|(scheme, value)| [scheme.as_bytes(), &value].concat());
    let seen = Cell::new(Seen::default());
    check(rounds, &(vec(authorization, 0..3), vec(cookie, 0..4)), |(authorization, cookies)| {
        let read = Credential::of(authorization.iter().map(Vec::as_slice), cookies.iter().map(Vec::as_slice));
        Seen::of(&seen, read.is_ok());
        let named = named(&cookies);
        match read {
            Ok(Credential::Bearer(token)) => {
                let value = String::from_utf8(authorization[0].clone()).unwrap();
                prop_assert!(value.to_lowercase().starts_with("bearer "));
                prop_assert_eq!(value[7..].trim(), token.expose());
            }
            Ok(Credential::Cookies(found)) => {
                prop_assert!(named.len() <= 8);
                let mut once: Vec<String> = Vec::new();
                for value in named {
                    if !once.contains(&value) {
                        once.push(value);
                    }
                }
                let found: Vec<String> = found.iter().map(|token| token.expose().clone()).collect();
                prop_assert_eq!(found, once);
            }
            Ok(Credential::None) => prop_assert!(named.is_empty()),
            Err(forward_auth::Refused::TooManyCookies) => prop_assert!(named.len() > 8),
            Err(why) => {
                prop_assert_eq!(why, forward_auth::Refused::Authorization);
                let is_bearers =
                    authorization.first().is_some_and(|value| value.to_ascii_lowercase().starts_with(b"bearer"));
                prop_assert!(authorization.len() > 1 || is_bearers);
            }
        }
        Ok(())
    });
    seen.get()
}

/// The values of the cookies that count, one character after the other.
fn named(headers: &[Vec<u8>]) -> Vec<String> {
    let mut found = Vec::new();
    for header in headers {
        for cookie in header.split(|byte| *byte == b';') {
            let cookie = cookie.trim_ascii();
            for name in ["dat", "kg-jwt-session-code"] {
                let Some(rest) = cookie.strip_prefix(name.as_bytes()) else { continue };
                let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { continue };
                if !value.trim_ascii().is_empty() {
                    found.push(String::from_utf8_lossy(value.trim_ascii()).into_owned());
                }
            }
        }
    }
    found
}

/// A request that a proxy might send, or somebody who pretends to be one.
#[derive(Debug)]
struct Attempt {
    method: String,
    uri: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    configured: Option<Family>,
}

const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "get", "GET,POST", "", "HEAD"];
const SCHEMES: [&str; 8] = ["https", "https", "http", "wss", "ftp", "https,http", "", "HTTPS"];
const HOSTS: [&str; 12] =
    ["h", "h.example", "H.Example.", "h:443", "h:0", "u@h", "[::1]:80", "h,evil", "", "h_x", "1.2.3.4", "é"];
const HEADERS: [&str; 11] = [
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-uri",
    "host",
    "x-http-method-override",
    "cookie",
    "authorization",
];

fn attempt() -> impl Strategy<Value = Attempt> {
    let good_or = |most: &'static str, all: &'static [&'static str]| prop_oneof![6 => Just(most), 1 => select(all)];
    let own =
        select(vec!["", "", "", "?strip=/x", "?strip=/", "?strip=x", "?audience=a", "?a=b", "?strip=/x&strip=/x", "?"]);
    let query = select(vec!["", "", "", "?a=b", "?", "?strip=/x", "?a,b", "?/../", "?a#b"]);
    let configured = select(vec![None, None, None, Some(Family::Nginx), Some(Family::Forwarded), Some(Family::Envoy)]);
    let extra = (select(&HEADERS[..]), prop_oneof![nasty::text().prop_map(String::into_bytes), vec(any::<u8>(), 0..8)]);
    let extras = prop_oneof![4 => Just(Vec::new()), 1 => vec(extra, 1..3)];
    (
        (0..4_u8, configured),
        good_or("GET", &METHODS),
        good_or("https", &SCHEMES),
        good_or("h", &HOSTS),
        nasty::text(),
        (own, query),
        extras,
    )
        .prop_map(|((family, configured), method, scheme, host, path, (own, query), extras)| {
            let whole = format!("{path}{query}");
            let mut uri = format!("/auth/verify{own}");
            let mut headers = match family {
                0 => vec![
                    ("x-original-method", method.to_owned()),
                    ("x-original-url", format!("{scheme}://{host}{whole}")),
                ],
                1 => {
                    vec![("x-original-method", method.to_owned()), ("x-original-uri", whole), ("host", host.to_owned())]
                }
                2 => vec![
                    ("x-forwarded-method", method.to_owned()),
                    ("x-forwarded-proto", scheme.to_owned()),
                    ("x-forwarded-host", host.to_owned()),
                    ("x-forwarded-uri", whole),
                ],
                _ => {
                    uri = format!("/auth/verify{whole}");
                    vec![("host", host.to_owned())]
                }
            };
            if family == 2 || family == 0 {
                headers.push(("host", "gatemint.test".to_owned()));
            }
            let mut headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            headers.extend(extras);
            Attempt { method: method.to_owned(), uri, headers, configured }
        })
}

/// What proxies say, and what somebody says in their name.
pub(crate) fn forwarded(rounds: u32) -> Seen {
    let seen = Cell::new(Seen::default());
    check(rounds, &attempt(), |attempt| {
        let (Ok(uri), Ok(method)) = (attempt.uri.parse::<Uri>(), Method::from_bytes(attempt.method.as_bytes())) else {
            return Ok(());
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &attempt.headers {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let read = forward_auth::parse(&method, &uri, &headers, attempt.configured);
        Seen::of(&seen, read.is_ok());
        let Ok(asked) = read else { return Ok(()) };
        let (path, host) = (asked.target.path.as_str(), asked.target.host.as_str());
        // It is in the one spelling already.
        prop_assert_eq!(Path::of_decoded(path), Ok(asked.target.path.clone()));
        prop_assert_eq!(Host::parse(host, asked.target.scheme), Ok(asked.target.host.clone()));
        // It comes from one family, each of whose headers is there once and could not have been two.
        let families: [&[&str]; 3] = [
            &["x-original-method", "x-original-url", "x-original-uri"],
            &["x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"],
            &[],
        ];
        let there = |name: &&&str| headers.contains_key(**name);
        let envoy = attempt.uri.starts_with("/auth/verify/");
        let sources =
            families.iter().filter(|names| names.iter().any(|name| there(&name))).count() + usize::from(envoy);
        prop_assert!(attempt.configured.is_some() || sources == 1);
        let counted = match attempt.configured {
            None => families.concat(),
            Some(Family::Nginx) => families[0].to_vec(),
            Some(Family::Forwarded) => families[1].to_vec(),
            Some(Family::Envoy) => vec!["host"],
        };
        for name in counted.iter().filter(|name| headers.contains_key(**name)) {
            let values: Vec<_> = headers.get_all(*name).iter().collect();
            prop_assert_eq!(values.len(), 1, "{}", name);
            prop_assert!(!values[0].as_bytes().contains(&b','), "{}", name);
        }
        // The path is what the reference makes of what stands before the query, without the prefix.
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        let is_forwarded = attempt.configured == Some(Family::Forwarded)
            || attempt.configured.is_none() && families[1].iter().any(|name| there(&name));
        let written = if let Some(path) = attempt.uri.strip_prefix("/auth/verify").filter(|_| envoy) {
            // A fragment is dropped before anybody can see it.
            path.split('#').next().unwrap()
        } else if is_forwarded {
            value("x-forwarded-uri").unwrap()
        } else if let Some(url) = value("x-original-url") {
            let (_, rest) = url.split_once("://").unwrap();
            &rest[rest.find('/').unwrap()..]
        } else {
            value("x-original-uri").unwrap()
        };
        let written = written.split('?').next().unwrap();
        let mut expected = reference::path(written, true);
        if !envoy && let Some(prefix) = uri.query().and_then(|query| query.strip_prefix("strip=")) {
            let prefix = reference::path(prefix, false).unwrap();
            expected = expected.and_then(|path| reference::strip(&path, &prefix));
        }
        prop_assert_eq!(Some(path.chars().collect::<Vec<_>>()), expected);
        Ok(())
    });
    seen.get()
}

/// Forms, through the router: nobody else may call the parser.
pub(crate) fn forms(rounds: u32) -> Seen {
    let name = select(vec![
        "grant_type",
        "refresh_token",
        "scope",
        "client_id",
        "client_secret",
        "resource",
        "token",
        "username",
        "x",
    ]);
    let value = prop_oneof![
        // Not `password`: a hash a case would be all that is measured.
        select(vec![
            "refresh_token",
            "client_credentials",
            "gatemint",
            "ada",
            "gmr_",
            "a.b.c",
            "%",
            "%zz",
            "%ff",
            "%00",
            "+",
            "%c3%a9",
            ""
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..10),
    ];
    let pair = (name, value, select(vec![&b"="[..], b"=", b"=", b"", b"=="]))
        .prop_map(|(name, value, is)| [name.as_bytes(), is, &value].concat());
    let body = prop_oneof![4 => vec(pair, 0..7).prop_map(|pairs| pairs.join(&b'&')), 1 => vec(any::<u8>(), 0..60)];
    let path = select(vec!["/oauth2/token", "/oauth2/revoke", "/oauth2/introspect"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = runtime.block_on(TestService::new());
    let seen = Cell::new(Seen::default());
    check(rounds, &(path, body), |(path, body)| {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        let answer = runtime.block_on(test.send(request.body(Body::from(body)).unwrap()));
        let status = answer.status.as_u16();
        prop_assert!([200, 400, 401].contains(&status), "{} {}", status, answer.text);
        Seen::of(&seen, status == 200);
        Ok(())
    });
    seen.get()
}

#[test]
fn every_token_is_read_to_a_verdict() {
    tokens(8_000).report("tokens");
}

#[test]
fn every_credential_is_read_to_a_verdict() {
    credentials(8_000).report("Authorization and Cookie headers");
}

#[test]
fn every_forward_header_is_read_to_a_verdict() {
    forwarded(12_000).report("requests of proxies");
}

#[test]
fn every_form_is_read_to_a_verdict() {
    forms(3_000).report("forms");
}
