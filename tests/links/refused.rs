//! Links that open nothing: each says why, sets nothing and leads nowhere.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatemint::domain::{Policy, Refusal, RefusalKind, gate::mint::NewGateToken};
use serde_json::json;

use super::{BROWSER, Gate, SCREEN, SET, asked, mint_at};
use crate::support::{form_request, process::Serve};

/// Asks as a browser and as a program: both are refused alike, each in its own words.
async fn refused(gate: &Gate, token: &str, title: &str, message: &str) {
    let page = gate.open(&[("token", token), ("name", "testvm"), ("namespace", "demo")]).await;
    page.is_refused(403);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text.contains(&format!("<h1>{title}</h1>")), "{message}: {}", page.text);
    assert!(token.len() < 4 || !page.text.contains(token), "the page repeats the token");
    for accept in ["application/json", "*/*", "text/plain", "application/json, text/*"] {
        let told = gate.ask(Method::GET, &[("token", token)], &[("accept", accept)]).await;
        told.is_refused(403);
        assert_eq!(told.header("content-type"), "application/json");
        assert_eq!(
            told.text,
            format!(r#"{{"kind":"Error","api":"kube-gateway/token","status":"{message}","code":403}}"#)
        );
    }
    gate.press("192.0.2.1", &[("token", token)]).await.is_refused(403);
}

const INVALID: (&str, &str) = ("This link is not valid", "the link is not valid");

#[tokio::test]
async fn a_link_says_why_it_opens_nothing() {
    let gate = Gate::new().await;
    let later = Some((gate.test.service.now() + Duration::from_mins(10)).rfc3339());
    let early = gate.mint(NewGateToken { from: later, ..asked("early", &[SCREEN]) }).await;
    refused(&gate, &early, "This link is not valid yet", "the link is not valid yet").await;

    let token = gate.screen().await;
    gate.revoke("screen").await;
    refused(&gate, &token, "This link was revoked", "the link was revoked").await;
    // Made again under the same name: the old link stays dead, and the new one is good.
    let again = gate.screen().await;
    refused(&gate, &token, "This link was revoked", "the link was revoked").await;
    assert_eq!(gate.open(&[("token", &again)]).await.cookie_value(), again);

    gate.test.clock.advance(Duration::from_mins(59));
    assert!(gate.open(&[("token", &again)]).await.cookie().unwrap().contains("; Max-Age=60"));
    gate.test.clock.advance(Duration::from_secs(59));
    assert!(gate.open(&[("token", &again)]).await.cookie().unwrap().ends_with("; Max-Age=1"));
    gate.test.clock.advance(Duration::from_secs(1));
    refused(&gate, &again, "This link has expired", "the link has expired").await;
    // Its time has come meanwhile.
    assert!(gate.open(&[("token", &early)]).await.cookie().is_some());
    println!("counted: 4 reasons, each to browsers and programs");
}

#[tokio::test]
async fn a_link_ends_with_its_minter() {
    let mut gate = Gate::new().await;
    gate.test = gate.test.user("boss", &["admin"]).await;
    let boss = gate.test.sign_in("boss").await.access;
    let minted = mint_at(&gate.test.service, &boss, asked("screen", &[SCREEN])).await.unwrap();
    let token = minted.token.unwrap().expose().clone();
    assert!(gate.open(&[("token", &token)]).await.cookie().is_some());
    let body = Some(json!({ "enabled": false }));
    let disabled = gate.test.v1(Method::PATCH, "/v1/users/boss", &gate.access, body).await;
    assert_eq!(disabled.status, StatusCode::OK, "{}", disabled.text);
    refused(&gate, &token, "This link was revoked", "the link was revoked").await;
}

#[tokio::test]
async fn what_is_no_link_of_ours_is_refused() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let parts: Vec<&str> = token.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let wider = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap().replace(SCREEN, "/*");

    // Another issuer that signs with the same keys.
    let elsewhere = gate.test.beside(Policy::new("http://other.test"));
    let other = mint_at(&gate.test.service, &gate.access, asked("other", &[SCREEN])).await.unwrap();
    let foreign = other.row.record.sign(&elsewhere, elsewhere.now()).await.unwrap().expose().clone();
    // Another service with keys of its own.
    let stranger = Gate::new().await;
    let strange = stranger.screen().await;

    let bad = [
        foreign,
        strange,
        gate.access.clone(),
        format!("{head}.{}.{signature}", encoded(&wider)),
        format!("{}.{claims}.", encoded(r#"{"alg":"none","typ":"gate+jwt"}"#)),
        format!("{}.{claims}.{signature}", encoded(r#"{"alg":"HS256","typ":"gate+jwt","kid":"x"}"#)),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{token}x"),
        format!("{token}."),
        format!("{token}="),
        format!("{token}\r\nSet-Cookie: a=b"),
        format!("{token}; Domain=evil.example"),
        format!("\"\"{token}\"\""),
        format!(" {token}"),
        "a.b.c".to_owned(),
        "\"".to_owned(),
        "é".to_owned(),
        "x".repeat(3_501),
        format!("{head}.{}.{signature}", "A".repeat(3_501)),
        "x".repeat(60_000),
    ];
    for token in &bad {
        refused(&gate, token, INVALID.0, INVALID.1).await;
    }
    println!("counted: {} tokens that are no link's, refused in 6 ways each", bad.len());
}

#[tokio::test]
async fn a_link_is_good_for_nothing_but_opening() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let once = gate.mint(NewGateToken { one_time: true, ..asked("once", &[SCREEN]) }).await;
    for token in [&token, &once] {
        assert_eq!(gate.test.v1(Method::GET, "/v1/me", token, None).await.status, StatusCode::UNAUTHORIZED);
    }
    // At the gate a link opens nothing, in whatever place it stands; the token does.
    let at_gate = async |name: &'static str, value: String| {
        let request = Request::get("/auth/verify")
            .header("x-original-method", "GET")
            .header("x-original-url", format!("http://console.test{SCREEN}"))
            .header(name, value);
        gate.test.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!(at_gate("cookie", format!("kg-jwt-session-code={token}")).await, 200);
    assert_eq!(at_gate("authorization", format!("Bearer {token}")).await, 200);
    assert_eq!(at_gate("cookie", format!("kg-jwt-session-code={once}")).await, 401);
    assert_eq!(at_gate("authorization", format!("Bearer {once}")).await, 401);
}

#[tokio::test]
async fn what_was_not_made_as_links_are_made_is_told_so() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let mut told = 0;
    for (query, message) in [
        (String::new(), "token is missing"),
        ("token=".to_owned(), "token is missing"),
        (format!("token={token}&token={token}"), "token is given more than once"),
        (format!("token={token}&name=testvm"), "name and namespace belong together"),
        (format!("token={token}&then=/a&then=/b"), "then is given more than once"),
        (format!("token={token}%ff"), "the parameters are not UTF-8"),
    ] {
        let answer = gate.ask_as_written(Method::GET, &query, &[]).await;
        answer.is_refused(403);
        assert_eq!(answer.json["status"], message);
        let page = gate.ask_as_written(Method::GET, &query, &[("accept", BROWSER)]).await;
        page.is_refused(403);
        assert!(page.text.contains("<h1>This link is not complete</h1>"), "{}", page.text);
        told += 1;
    }
    // Forms that are none.
    for (content_type, body, status) in [
        ("application/json", format!("{{\"token\":\"{token}\"}}"), 400),
        ("multipart/form-data; boundary=x", format!("token={token}"), 400),
        ("application/x-www-form-urlencoded", "x".repeat(70_000), 413),
        ("application/x-www-form-urlencoded", String::new(), 403),
    ] {
        let mut request = form_request("192.0.2.1", SET, &[]);
        request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        *request.body_mut() = Body::from(body);
        gate.test.send(request).await.is_refused(status);
        told += 1;
    }
    println!("counted: {told} requests that are no link, told so");
}

#[tokio::test]
async fn nothing_is_set_while_the_store_is_away() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    gate.test.store.set_away(true);
    for accept in [BROWSER, "*/*"] {
        let answer = gate.ask(Method::GET, &[("token", &token)], &[("accept", accept)]).await;
        answer.is_refused(503);
        assert_eq!(answer.header("retry-after"), "1");
    }
    gate.test.store.set_away(false);
    assert!(gate.open(&[("token", &token)]).await.cookie().is_some());
}

#[tokio::test]
async fn a_token_that_no_browser_would_keep_is_not_made() {
    let gate = Gate::new().await;
    let urls: Vec<String> = (0..60).map(|n| format!("/apis/example/{n:02}/{}", "x".repeat(40))).collect();
    let texts: Vec<&str> = urls.iter().map(String::as_str).collect();
    let refusal: Refusal = mint_at(&gate.test.service, &gate.access, asked("long", &texts)).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.field), (RefusalKind::Invalid, Some("spec.urls")), "{refusal}");
    assert!(refusal.text.contains("3500"), "{refusal}");
}

/// A place for log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_has_a_token() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let once = gate.mint(NewGateToken { one_time: true, ..asked("once", &["/a", "/b"]) }).await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let collecting = tracing::subscriber::set_default(subscriber);
    let forged = format!("{token}x");
    let machine = [("name", "testvm"), ("namespace", "demo")];
    let mut cookies = Vec::new();
    for token in [&token, &once, &forged, &gate.access] {
        for method in [Method::GET, Method::HEAD, Method::PUT] {
            gate.ask(method, &[("token", token), machine[0], machine[1]], &[("accept", BROWSER)]).await;
        }
        gate.open(&[("token", token), ("then", "//evil.example")]).await;
        let pressed = gate.press("192.0.2.1", &[("token", token)]).await;
        cookies.extend(pressed.cookie().map(|_| pressed.cookie_value().to_owned()));
    }
    gate.revoke("screen").await;
    gate.open(&[("token", &token)]).await;
    gate.test.store.set_away(true);
    gate.open(&[("token", &token)]).await;
    gate.test.store.set_away(false);
    drop(collecting);

    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for event in ["link_opened", "link_used", "a link was not opened", "/auth/jwt/set", "away"] {
        assert!(log.contains(event), "no {event} in\n{log}");
    }
    assert_eq!(cookies.len(), 2);
    for secret in [&token, &once, &forged, &gate.access].into_iter().chain(&cookies) {
        for part in secret.split('.').filter(|part| part.len() > 20) {
            assert!(!log.contains(part), "a part of a token is in the log:\n{log}");
        }
    }
    assert!(!log.contains("evil.example") && !log.contains("token="), "{log}");
    println!("counted: {} log lines, none with a token", log.lines().count());
}

#[tokio::test]
async fn nor_has_the_log_of_the_real_program_at_its_most_talkative() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start_with(&data, &[("GATEMINT_LOG", "trace")]);
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let asking = crate::support::asking::Asking::at(&serve.url);
    let access = asking.admin(&data).await.access;
    let body = json!({ "URLs": ["/a"], "duration": "10m", "id": "walk" });
    let minted = asking.v1(Method::POST, "/auth/jwt/request", &access, Some(body)).await;
    assert_eq!(minted.status, StatusCode::OK, "{}", minted.text);
    let token = minted.json["Token"].as_str().unwrap().to_owned();
    let mut sent = 0;
    for query in [format!("token={token}"), format!("token=%22{token}%22"), format!("token={token}x")] {
        let url = format!("{}{SET}?{query}", serve.url);
        let answer = http.get(&url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), if query.ends_with('x') { 403 } else { 302 }, "{query}");
        sent += 1;
    }
    let answer = http.post(format!("{}{SET}", serve.url)).form(&[("token", &token)]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert!(serve.terminate().success());
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("link_opened"), "{log}");
    for secret in [&token, &access] {
        for part in secret.split('.').filter(|part| part.len() > 20) {
            assert!(!log.contains(part), "a part of a token is in the log:\n{log}");
        }
    }
    println!("counted: {} links, {} log lines", sent + 1, log.lines().count());
}
