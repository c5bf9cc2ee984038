//! The pages: no script, nothing from elsewhere, every text escaped, and readable by whoever comes.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use gatemint::domain::gate::mint::NewGateToken;

use super::{Gate, SCREEN, asked};
use crate::support::Answer;

/// What every page keeps to.
#[track_caller]
fn is_sound(answer: &Answer, title: &str) {
    let page = &answer.text;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    answer.is_private();
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes()));
    assert_eq!(
        answer.header("content-security-policy"),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    );
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">\n"), "{page}");
    for once in [
        "<h1>",
        "<main",
        "</main>",
        &format!("<title>{title}</title>"),
        &format!("<h1>{title}</h1>"),
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "<meta name=\"color-scheme\" content=\"light dark\">",
    ] {
        assert_eq!(page.matches(once).count(), 1, "{once} in {page}");
    }
    for loading in [
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<a ",
        "<base",
        "http-equiv",
        " src=",
        "url(",
        "@import",
        "style=",
        "javascript:",
    ] {
        assert!(!page.contains(loading), "{loading} in {page}");
    }
}

/// The form's hidden fields, unescaped.
fn hidden(page: &str) -> Vec<(String, String)> {
    let field = |input: &str| {
        let attribute =
            |name: &str| input.split_once(&format!("{name}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned();
        (
            attribute("name"),
            attribute("value")
                .replace("&#39;", "'")
                .replace("&quot;", "\"")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&"),
        )
    };
    page.split("<input type=\"hidden\" ").skip(1).map(field).collect()
}

#[tokio::test]
async fn every_page_is_small_and_closed_to_the_outside() {
    let gate = Gate::new().await;
    let token = gate.screen().await;
    let once = gate.mint(NewGateToken { one_time: true, ..asked("once", &[SCREEN]) }).await;
    let below = gate.mint(asked("below", &["/a/*"])).await;
    let early = Some("2027-01-15T09:00:00Z".to_owned());
    let early = gate.mint(NewGateToken { from: early, ..asked("early", &[SCREEN]) }).await;
    let mut seen = BTreeSet::new();
    let mut page = async |title: &str, parameters: &[(&str, &str)]| {
        let answer = gate.open(parameters).await;
        is_sound(&answer, title);
        assert!(answer.text.len() < 8_192, "{title}: {} bytes", answer.text.len());
        seen.insert(title.to_owned());
    };
    page("Open this link?", &[("token", &once)]).await;
    page("The link is open", &[("token", &below)]).await;
    page("This link is not valid", &[("token", "x")]).await;
    page("This link is not complete", &[]).await;
    page("This link is not valid yet", &[("token", &early)]).await;
    page("This link leads to the wrong place", &[("token", &below), ("then", "//x")]).await;
    gate.press("192.0.2.1", &[("token", &once)]).await;
    page("This link was used already", &[("token", &once)]).await;
    gate.revoke("screen").await;
    page("This link was revoked", &[("token", &token)]).await;
    gate.test.clock.advance(std::time::Duration::from_hours(1));
    page("This link has expired", &[("token", &below)]).await;
    gate.test.store.set_away(true);
    page("This link cannot be opened just now", &[("token", &early)]).await;
    gate.test.store.set_away(false);
    println!("counted: {} pages, each without a script and anything from elsewhere", seen.len());
}

#[tokio::test]
async fn a_pages_texts_are_escaped_and_its_form_sends_what_the_link_said() {
    let gate = Gate::new().await;
    let urls = ["/a\"><script>alert(1)</script>&'/*"];
    let once = gate.mint(NewGateToken { one_time: true, ..asked("once", &urls) }).await;
    let then = "/a\"><script>alert(1)</script>&'/x?\"<>'&";
    let answer = gate.open(&[("token", &once), ("then", then)]).await;
    is_sound(&answer, "Open this link?");
    assert_eq!(
        hidden(&answer.text),
        [("token".to_owned(), once.clone()), ("then".to_owned(), then.to_owned())],
        "{}",
        answer.text
    );
    assert!(answer.text.contains("<form method=\"post\" action=\"set\">"), "{}", answer.text);
    assert!(
        answer.text.contains("<time datetime=\"2027-01-15T09:00:00Z\">15 January 2027, 09:00 UTC</time>"),
        "{}",
        answer.text
    );
    let with_urls = gate.open(&[("token", &once)]).await;
    is_sound(&with_urls, "Open this link?");
    assert!(
        with_urls.text.contains("/a&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;/*"),
        "{}",
        with_urls.text
    );
    assert!(!answer.text.contains("alert(1)</script"));

    let machine =
        gate.open(&[("token", &once), ("name", "testvm"), ("namespace", "demo"), ("then", "//ignored")]).await;
    let expected = [("token", once.as_str()), ("name", "testvm"), ("namespace", "demo")];
    assert_eq!(hidden(&machine.text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let fields = hidden(&machine.text);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let pressed = gate.press("192.0.2.1", &fields).await;
    assert_eq!(pressed.header("location"), format!("/noVNC/vnc_lite.html?path=k8s{SCREEN}"));

    let many: Vec<String> = (0..20).map(|n| format!("/many/{n}/*")).collect();
    let texts: Vec<&str> = many.iter().map(String::as_str).collect();
    let many = gate.mint(asked("many", &texts)).await;
    let open = gate.open(&[("token", &many)]).await;
    is_sound(&open, "The link is open");
    assert_eq!((open.text.matches("<li>").count(), open.text.contains("<li>and 8 more</li>")), (13, true));
}
