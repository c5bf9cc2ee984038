use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::domain::client::{GrantType, manage::NewClient};

use super::{FORM, assert_dressed, post, still_works};
use crate::support::{PASSWORD, TestService, encode_form};

/// The endpoints that take a form, with what they need.
const ENDPOINTS: [(&str, &[(&str, &str)]); 7] = [
    ("/oauth2/token", &[("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)]),
    ("/oauth2/revoke", &[("token", "x")]),
    ("/oauth2/introspect", &[("token", "x")]),
    ("/realms/any/protocol/openid-connect/token", &[("grant_type", "refresh_token"), ("refresh_token", "x")]),
    ("/realms/any/protocol/openid-connect/revoke", &[("token", "x")]),
    ("/realms/any/protocol/openid-connect/logout", &[("refresh_token", "x")]),
    ("/realms/any/protocol/openid-connect/token/introspect", &[("token", "x")]),
];

const PARAMETERS: [&str; 9] = [
    "grant_type",
    "username",
    "password",
    "refresh_token",
    "scope",
    "client_id",
    "client_secret",
    "token",
    "token_type_hint",
];

async fn confidential(test: &TestService) -> String {
    let new = NewClient {
        grants: Some(vec![GrantType::Password, GrantType::RefreshToken]),
        audiences: vec!["https://api.example.org".into()],
        ..NewClient::default()
    };
    test.client("shop", new).await.unwrap()
}

#[tokio::test]
async fn each_refusal_of_rfc_6749_comes_in_its_place() {
    let test = TestService::new().await.user("ada", &[]).await;
    let shop = confidential(&test).await;
    let machine = test.client("machine", NewClient::default()).await.unwrap();
    let tokens = test.sign_in("ada").await;
    let own = [("grant_type", "client_credentials"), ("client_id", "machine"), ("client_secret", &machine)];
    let own = test.form("/oauth2/token", &own).await.tokens().access;
    let password = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    let with = |more: &[(&'static str, &str)]| -> String { encode_form(&[&password[..], more].concat()) };
    let token = "/oauth2/token";
    let cases: Vec<(&str, String, u16, &str, &str)> = vec![
        (token, String::new(), 400, "invalid_request", "Missing parameter: grant_type"),
        (token, "&&&".into(), 400, "invalid_request", "Missing parameter: grant_type"),
        (token, "grant_type".into(), 400, "invalid_request", "Missing parameter: grant_type"),
        (token, "grant_type=".into(), 400, "invalid_request", "Missing parameter: grant_type"),
        (token, "grant_type=password".into(), 400, "invalid_request", "Missing parameter: username"),
        (token, "grant_type=password&username=ada".into(), 400, "invalid_request", "Missing parameter: password"),
        (
            token,
            "grant_type=password&username=ada&password=".into(),
            400,
            "invalid_request",
            "Missing parameter: password",
        ),
        (token, "grant_type=refresh_token".into(), 400, "invalid_request", "Missing parameter: refresh_token"),
        ("/oauth2/revoke", String::new(), 400, "invalid_request", "Missing parameter: token"),
        ("/oauth2/introspect", String::new(), 400, "invalid_request", "Missing parameter: token"),
        (
            token,
            "client_secret=x&grant_type=client_credentials".into(),
            400,
            "invalid_request",
            "Missing parameter: client_id",
        ),
        (token, "grant_type=authorization_code&code=x".into(), 400, "unsupported_grant_type", "grant_type must be"),
        (token, "grant_type=Password".into(), 400, "unsupported_grant_type", "grant_type must be"),
        (
            token,
            "grant_type=password+&username=a&password=b".into(),
            400,
            "unsupported_grant_type",
            "grant_type must be",
        ),
        (token, with(&[("client_id", "nobody")]), 401, "invalid_client", "Invalid client"),
        (token, with(&[("client_id", "machine")]), 401, "invalid_client", "Invalid client"),
        (token, with(&[("client_id", "machine"), ("client_secret", "wrong")]), 401, "invalid_client", "Invalid client"),
        (token, with(&[("client_id", "gatemint"), ("client_secret", "x")]), 401, "invalid_client", "Invalid client"),
        (
            token,
            with(&[("client_id", "../machine"), ("client_secret", &machine)]),
            401,
            "invalid_client",
            "Invalid client",
        ),
        (token, with(&[("client_id", &"a".repeat(9000))]), 401, "invalid_client", "Invalid client"),
        (
            token,
            encode_form(&[("grant_type", "client_credentials"), ("client_id", "shop"), ("client_secret", &shop)]),
            400,
            "unauthorized_client",
            "The client may not use this grant_type",
        ),
        (
            token,
            "grant_type=client_credentials".into(),
            400,
            "unauthorized_client",
            "The client may not use this grant_type",
        ),
        (token, with(&[("scope", "profile everything")]), 400, "invalid_scope", "Invalid scope"),
        (token, with(&[("scope", "pro\"file")]), 400, "invalid_scope", "Invalid scope"),
        (token, with(&[("scope", "pröfile")]), 400, "invalid_scope", "Invalid scope"),
        (token, with(&[("resource", "https://elsewhere.example")]), 400, "invalid_target", "The client may not ask"),
        (
            token,
            with(&[("client_id", "shop"), ("client_secret", &shop), ("resource", "http://gatemint.test")]),
            400,
            "invalid_target",
            "The client may not ask",
        ),
        (
            token,
            encode_form(&[("grant_type", "password"), ("username", "ada"), ("password", "wrong")]),
            400,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            token,
            encode_form(&[("grant_type", "password"), ("username", "nobody"), ("password", PASSWORD)]),
            400,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            token,
            encode_form(&[("grant_type", "password"), ("username", "ADA"), ("password", PASSWORD)]),
            400,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            token,
            encode_form(&[("grant_type", "password"), ("username", "ada "), ("password", PASSWORD)]),
            400,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            token,
            encode_form(&[
                ("grant_type", "password"),
                ("username", &"ä".repeat(20_000 / 6)),
                ("password", &"p".repeat(30_000)),
            ]),
            400,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            token,
            "grant_type=refresh_token&refresh_token=nonsense".into(),
            400,
            "invalid_grant",
            "Invalid refresh token",
        ),
        (
            "/oauth2/revoke",
            encode_form(&[("client_id", "machine"), ("client_secret", &machine), ("token", &own)]),
            400,
            "unsupported_token_type",
            "A client's own token",
        ),
        ("/oauth2/introspect", "token=x".into(), 401, "invalid_client", "Invalid client"),
        ("/oauth2/revoke", "token=x&client_id=nobody".into(), 401, "invalid_client", "Invalid client"),
    ];
    let mut codes = std::collections::BTreeMap::<&str, usize>::new();
    for (path, body, status, error, text) in &cases {
        let answer = post(&test, path, Some(FORM), body.clone()).await;
        let (found, code, description) = answer.refusal();
        assert_eq!((found, code), (*status, *error), "{path} {body:.80}: {}", answer.text);
        assert!(description.starts_with(text), "{path} {body:.80}: {description}");
        assert_dressed(&answer, body);
        // RFC 6749 §5.2: a challenge only for whoever used that scheme.
        assert_eq!(answer.header("www-authenticate"), "", "{body:.80}");
        *codes.entry(*error).or_default() += 1;
    }
    assert_eq!(codes.len(), 8, "{codes:?}");
    still_works(&test, &tokens).await;
    println!("counted: {} bad requests, each with its own of {} OAuth errors: {codes:?}", cases.len(), codes.len());
}

#[tokio::test]
async fn a_client_shows_who_it_is_in_one_way_or_is_refused_with_a_challenge() {
    let test = TestService::new().await.user("ada", &[]).await;
    let shop = confidential(&test).await;
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let right = basic(&format!("shop:{shop}"));
    let password = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    let ask = async |headers: &[&[u8]], more: &[(&str, &str)]| {
        let mut request = Request::post("/oauth2/token").header(header::CONTENT_TYPE, FORM);
        for header in headers {
            request = request.header(header::AUTHORIZATION, *header);
        }
        let body = encode_form(&[&password[..], more].concat());
        test.send(request.body(Body::from(body)).unwrap()).await
    };
    assert_eq!(ask(&[right.as_bytes()], &[]).await.status, StatusCode::OK);
    assert_eq!(ask(&[right.as_bytes()], &[("client_id", "shop")]).await.status, StatusCode::OK);
    assert_eq!(ask(&[basic("gatemint:").as_bytes()], &[]).await.status, StatusCode::OK, "clients in the wild");
    let mut refused = 0;
    for header in [
        basic("shop:wrong"),
        basic("shop:"),
        basic("nobody:x"),
        basic("shop"),
        basic(":"),
        basic(""),
        basic("%zz:x"),
        basic("%ff:x"),
        basic("shop\0:x"),
        format!("Basic {}", STANDARD.encode(b"\xff\xfe:x")),
        "Basic".into(),
        "Basic ".into(),
        "Basic !!!".into(),
        "Basic c2hvcA".into(),
        format!("{right}="),
        right.replace(' ', "  x "),
        "Digest username=shop".into(),
        "x".into(),
        format!("Bearer {shop}"),
        format!("Basic {}", "A".repeat(20_000)),
    ] {
        let answer = ask(&[header.as_bytes()], &[]).await;
        assert_eq!((answer.refusal().0, answer.refusal().1), (401, "invalid_client"), "{header:.40}: {}", answer.text);
        let scheme = if header.starts_with("Bearer") { "Bearer realm=" } else { "Basic realm=" };
        assert!(answer.header("www-authenticate").starts_with(scheme), "{header:.40}");
        assert_dressed(&answer, &header);
        refused += 1;
    }
    let answer = ask(&[b"Basic \xff\xfe"], &[]).await;
    assert_eq!((answer.refusal().0, answer.refusal().1), (401, "invalid_client"));
    for (headers, more) in [
        (vec![right.as_bytes(), right.as_bytes()], vec![]),
        (vec![right.as_bytes()], vec![("client_id", "machine")]),
        (vec![right.as_bytes()], vec![("client_secret", "x")]),
        (vec![right.as_bytes()], vec![("client_id", "shop"), ("client_secret", shop.as_str())]),
    ] {
        let answer = ask(&headers, &more).await;
        assert_eq!((answer.refusal().0, answer.refusal().1), (400, "invalid_request"), "{}", answer.text);
        refused += 1;
    }
    println!("counted: {} ways to show a client wrongly, all refused", refused + 1);
}

#[tokio::test]
async fn a_body_must_be_a_form_in_utf_8_of_at_most_64_kib() {
    let test = TestService::new().await.user("ada", &[]).await;
    let tokens = test.sign_in("ada").await;
    let mut tried = 0;
    for (path, form) in ENDPOINTS {
        let good = encode_form(form);
        for content_type in [
            None,
            Some(""),
            Some("application/json"),
            Some("multipart/form-data; boundary=x"),
            Some("text/plain"),
            Some("application/x-www-form-urlencodedx"),
            Some("x; application/x-www-form-urlencoded"),
        ] {
            let answer = post(&test, path, content_type, good.clone()).await;
            assert_eq!((answer.refusal().0, answer.refusal().1), (400, "invalid_request"), "{path} {content_type:?}");
            assert!(answer.refusal().2.contains(FORM), "{}", answer.text);
            tried += 1;
        }
        let bad_text: [&[u8]; 7] = [
            b"token=\xff",
            b"\xff=x",
            b"token=%ff",
            b"%ff=x",
            b"token=%C3%28",
            b"token=%ED%A0%80",
            b"x=1&y=\xc0\xaf&token=x",
        ];
        for body in bad_text {
            let answer = post(&test, path, Some(FORM), body).await;
            assert_eq!(answer.refusal(), (400, "invalid_request", "The body is not UTF-8"), "{path} {body:?}");
            assert_dressed(&answer, path);
            tried += 1;
        }
        let filled = |bytes: usize| format!("{good}&filler={}", "x".repeat(bytes - good.len() - "&filler=".len()));
        let longest = post(&test, path, Some(FORM), filled(64 * 1024)).await;
        assert_ne!(longest.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_ne!(longest.refusal().1, "invalid_request", "{path}: {}", longest.text);
        let too_long = post(&test, path, Some(FORM), filled(64 * 1024 + 1)).await;
        assert_eq!(too_long.refusal(), (413, "invalid_request", "The body is larger than 65536 bytes"), "{path}");
        assert_dressed(&too_long, path);
        let much_too_long = post(&test, path, Some(FORM), vec![b'x'; 10_000_000]).await;
        assert_eq!(much_too_long.status, StatusCode::PAYLOAD_TOO_LARGE);
        tried += 3;
        // Another charset is UTF-8 all the same, and an odd case is the same type.
        let odd = post(&test, path, Some("Application/X-WWW-Form-Urlencoded ; charset=latin1"), good).await;
        assert_ne!(odd.refusal().1, "invalid_request", "{path}: {}", odd.text);
    }
    still_works(&test, &tokens).await;
    println!("counted: {tried} bodies that are no form of at most 64 KiB, all refused by 7 endpoints");
}

#[tokio::test]
async fn a_repeated_parameter_and_a_control_character_are_named() {
    let test = TestService::new().await.user("ada", &[]).await;
    let tokens = test.sign_in("ada").await;
    let mut tried = 0;
    for (path, form) in ENDPOINTS {
        for parameter in PARAMETERS {
            let twice = format!("{}&{parameter}=a&{parameter}=a", encode_form(form));
            let answer = post(&test, path, Some(FORM), twice).await;
            let named = format!("Repeated parameter: {parameter}");
            // The first of two faults is told; a parameter that the form had already is the same fault.
            assert_eq!(answer.refusal(), (400, "invalid_request", named.as_str()), "{path}");
            tried += 1;
        }
    }
    let controls = (0..=0x1f).chain(0x7f..=0x9f).filter_map(char::from_u32).filter(|c| *c != '\t');
    for control in controls.collect::<Vec<_>>() {
        for parameter in PARAMETERS.into_iter().chain(["resource"]) {
            for value in [format!("{control}"), format!("a{control}b"), format!("{control}a"), format!("a{control}")] {
                let answer = test.form("/oauth2/token", &[(parameter, &value)]).await;
                let named = format!("Control character in parameter: {parameter}");
                assert_eq!(answer.refusal(), (400, "invalid_request", named.as_str()), "{control:?}");
                tried += 1;
            }
        }
    }
    // Unknown parameters are ignored, whatever they hold (RFC 6749 §3.2).
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &tokens.refresh),
        ("nonce", "a\0b"),
        ("nonce", "c"),
        ("\0", "\n"),
    ];
    let answer = test.form("/oauth2/token", &form).await;
    still_works(&test, &answer.tokens()).await;
    println!("counted: {tried} repeated parameters and control characters, each named in its refusal");
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_without_a_trace_of_them() {
    let test = TestService::new().await;
    let mut tried = 0;
    for (path, _) in ENDPOINTS {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = test.v1(method.clone(), path, "", None).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.header("allow"), "POST", "{method} {path}: RFC 9110 §15.5.6");
            tried += 1;
        }
    }
    for path in [
        "/",
        "/oauth2",
        "/oauth2/",
        "/oauth2/token/",
        "//oauth2/token",
        "/OAUTH2/token",
        "/oauth2/%74oken/x",
        "/oauth2/../healthz",
        "/oauth2/token/../../v1/users",
        "/.well-known/",
        "/realms/a/b/protocol/openid-connect/token",
        "/v1",
        "/v1/",
        "/v1/users/",
        "/v1/users/a/b",
        "/%00",
        "/%ff",
        "/v2/me",
        "/.git/config",
        "/etc/passwd",
        "/v1/clients/x/secret?token=gmr_secret",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = test.v1(method, path, "", None).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text);
            // Each dialect's paths are refused in its dress.
            let oauth = ["/oauth2", "/realms/", "/.well-known/"].iter().any(|start| path.starts_with(start));
            let content_type = if oauth { "application/json" } else { "application/problem+json" };
            assert_eq!(answer.header("content-type"), content_type, "{path}");
            assert!(!answer.text.contains("secret"), "{}", answer.text);
            tried += 1;
        }
    }
    println!("counted: {tried} requests to other methods and paths, refused with 405 or 404");
}
