//! Where a link leads: to a page of this host that its token opens, and never anywhere else.

use axum::http::{Method, StatusCode};
use gatemint::domain::{Policy, gate::mint::NewGateToken};

use super::{Gate, asked};
use crate::support::ISSUER;

#[tokio::test]
async fn then_is_followed_where_the_token_opens_it() {
    let gate = Gate::new().await;
    let token = gate
        .mint(asked("pages", &["/console/*", "/caf%C3%A9", "http://gatemint.test/own", "http://other.test/x"]))
        .await;
    let followed = [
        ("/console/", "/console/"),
        ("/console/a/b", "/console/a/b"),
        ("/console/a?x=1&y=/z?", "/console/a?x=1&y=/z?"),
        ("/console/a?", "/console/a?"),
        ("/console/a%20b", "/console/a%20b"),
        ("/console/%61", "/console/a"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/console/a'b\"c", "/console/a'b%22c"),
        ("/console/<script>", "/console/%3Cscript%3E"),
        ("/console/a?q=<\"'>\\^`{|}", "/console/a?q=%3C%22'%3E%5C%5E%60%7B%7C%7D"),
        ("/console/a?q=%0d%0aSet-Cookie:x", "/console/a?q=%0d%0aSet-Cookie:x"),
        ("/console/a?next=https://evil.example", "/console/a?next=https://evil.example"),
        ("/own", "/own"),
    ];
    for (then, place) in followed {
        let answer = gate.open(&[("token", &token), ("then", then)]).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, place), "{then}: {}", answer.text);
        assert_eq!(answer.cookie_value(), token);
    }
    println!("counted: {} places that a link led to", followed.len());
}

#[tokio::test]
async fn then_never_leads_away_and_a_link_that_tries_opens_nothing() {
    let gate = Gate::new().await;
    // It opens everything, so that only the place is at fault.
    let token = gate.mint(asked("all", &["/*"])).await;
    let narrow = gate.mint(asked("narrow", &["/console/*", "http://other.test/x"])).await;
    let poster = gate.mint(NewGateToken { verbs: Some(vec!["post".into()]), ..asked("poster", &["/*"]) }).await;
    let long = format!("/{}", "a".repeat(2_048));
    let elsewhere = [
        "//evil.example",
        "///evil.example",
        "//evil.example/..",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "/%5cevil.example",
        "/%09/evil.example",
        "/\t/evil.example",
        "/%2fevil.example",
        "/%2F%2Fevil.example",
        "/.//evil.example",
        "/..//evil.example",
        "/a/..//evil.example",
        "/a/%2e%2e/b",
        "/%252e%252e/",
        "https://evil.example/",
        "http:evil.example",
        "HTTPS:/evil.example",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)//",
        "data:text/html,x",
        "evil.example",
        " /x",
        "/x y",
        "/x\r\nSet-Cookie: a=b",
        "/x\nLocation: //evil.example",
        "/x?a\r\nb",
        "/%0d%0aSet-Cookie:%20a=b",
        "/x%00",
        "/x;y",
        "/x#y",
        "/x?y#z",
        "/x?a=%",
        "/x?a=%2",
        "/x?a=%zz",
        "/é",
        "?x",
        "#",
        "*",
        &long,
    ];
    for then in elsewhere {
        let answer = gate.open(&[("token", &token), ("then", then)]).await;
        answer.is_refused(403);
        assert!(answer.text.contains("leads to the wrong place"), "{then:?}: {}", answer.text);
        // Nor from a form.
        gate.press("192.0.2.1", &[("token", &token), ("then", then)]).await.is_refused(403);
    }
    for (token, then) in [(&narrow, "/console"), (&narrow, "/x"), (&narrow, "/"), (&poster, "/a")] {
        let answer = gate.ask(Method::GET, &[("token", token), ("then", then)], &[]).await;
        answer.is_refused(403);
        assert_eq!(answer.json["status"], "then must be a path that the token opens for GET", "{then}");
    }
    println!("counted: {} ways to another place, none followed", elsewhere.len() + 4);
}

#[tokio::test]
async fn the_machine_goes_before_then_and_then_before_the_first_whole_path() {
    let gate = Gate::new().await;
    let token =
        gate.mint(asked("order", &["/below/*", "http://gatemint.test/absolute", "/first%20one", "/second"])).await;
    let token = ("token", token.as_str());
    let machine = [("name", "vm-1.x"), ("namespace", "demo")];
    let place = |answer: crate::support::Answer| answer.header("location").to_owned();
    assert_eq!(
        place(gate.open(&[token, machine[0], machine[1], ("then", "//evil.example")]).await),
        "/noVNC/vnc_lite.html?path=k8s/apis/subresources.kubevirt.io/v1/namespaces/demo/virtualmachineinstances/vm-1.x/vnc"
    );
    assert_eq!(place(gate.open(&[token, ("then", "/second")]).await), "/second");
    assert_eq!(place(gate.open(&[token]).await), "/first%20one");
    assert_eq!(place(gate.open(&[token, ("then", "")]).await), "/first%20one");
}

#[tokio::test]
async fn a_link_without_a_place_says_that_it_is_open() {
    let gate = Gate::new().await;
    let below = gate.mint(asked("below", &["/a/*", "/b*", "http://gatemint.test/c"])).await;
    let poster = gate.mint(NewGateToken { verbs: Some(vec!["post".into()]), ..asked("poster", &["/a"]) }).await;
    for token in [&below, &poster] {
        let answer = gate.open(&[("token", token)]).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::OK, ""));
        assert_eq!(answer.cookie_value(), token);
        assert!(answer.text.contains("<h1>The link is open</h1>"), "{}", answer.text);
        answer.is_private();
    }
}

#[tokio::test]
async fn the_operators_template_is_filled_in() {
    let policy = Policy { link_target: "/console?vm={namespace}/{name}&again={name}".into(), ..Policy::new(ISSUER) };
    let gate = Gate::with(policy).await;
    let token = gate.screen().await;
    let answer = gate.open(&[("token", &token), ("name", "vm"), ("namespace", "n.s")]).await;
    assert_eq!(answer.header("location"), "/console?vm=n.s/vm&again=vm");
    // What is no name is never filled in.
    for (name, namespace) in [
        ("..", "demo"),
        ("../../x", "demo"),
        ("vm", "demo/../x"),
        ("vm\r\nX: y", "demo"),
        ("vm&path=//evil.example", "demo"),
        ("vm%2f", "demo"),
        ("{namespace}", "demo"),
        ("VM", "demo"),
        ("vm.", "demo"),
    ] {
        gate.open(&[("token", &token), ("name", name), ("namespace", namespace)]).await.is_refused(403);
    }
    gate.open(&[("token", &token), ("name", "vm")]).await.is_refused(403);
    gate.open(&[("token", &token), ("namespace", "demo")]).await.is_refused(403);
    println!("counted: 11 names that are none, refused");
}
