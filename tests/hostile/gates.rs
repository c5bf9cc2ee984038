//! The door for proxies: whatever it is asked, and whatever it is shown, a 401 or a 403, and the good request still passes.

use axum::{
    body::Body,
    http::{Method, Request},
};
use gatemint::domain::{Policy, gate::mint::NewGateToken};

use crate::links::{Gate, asked};

/// A request with these headers; how it is answered.
async fn judged(gate: &Gate, uri: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = gate.test.send(request.body(Body::empty()).unwrap()).await;
    if answer.status == 200 {
        for name in ["x-auth-request-user", "x-auth-request-preferred-username", "x-auth-request-email"] {
            assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}");
        }
    } else {
        assert!(!answer.headers.contains_key("x-auth-request-user"), "{:?}", answer.headers);
    }
    answer.status.as_u16()
}

/// As nginx asks for a URL, with this cookie.
async fn at(gate: &Gate, method: &str, url: &str, cookie: &str) -> u16 {
    let headers = [("x-original-method", method), ("x-original-url", url), ("cookie", cookie)];
    judged(gate, "/auth/verify", &headers).await
}

fn session(token: &str) -> String {
    format!("kg-jwt-session-code={token}")
}

#[tokio::test]
async fn no_spelling_of_a_path_or_a_host_opens_what_is_not_named() {
    let gate = Gate::new().await;
    let cookie = session(&gate.mint(asked("t", &["/a/*", "/exact", "https://h.example.org:8443/b/*"])).await);
    let paths = [
        "/a/../exact/x",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/%2E./b",
        "/a/..",
        "/a/.",
        "/a/%2e",
        "/a%2fb",
        "/a/%2Fb",
        "/a/%252e%252e/b",
        "/a/%25",
        "/a//b",
        "//a/b",
        "/a/\\b",
        "/a/%5cb",
        "/a/x;y=z",
        "/a/%3b",
        "/a/%00",
        "/a/%0d%0a",
        "/a/%7f",
        "/a/%c0%ae%c0%ae/b",
        "/a/%ff",
        "/a/%e0%80%af",
        "/a/%",
        "/a/%2",
        "/a/%zz",
        "/a",
        "/A/x",
        "/ab",
        "/exact/",
        "/exact/x",
        "/Exact",
        "/",
        "",
        "a/x",
        "*",
        "/a/%23/../x",
        "/b/x",
    ];
    for path in paths {
        let url = format!("https://vms.example.org{path}");
        let headers: Vec<_> =
            [("x-original-method", "GET"), ("x-original-url", url.as_str()), ("cookie", cookie.as_str())].into();
        assert_eq!(judged(&gate, "/auth/verify", &headers).await, 403, "{path}");
    }
    let hosts = [
        "h.example.org",
        "h.example.org:443",
        "h.example.org:8443.evil",
        "x@h.example.org:8443",
        "h.example.org:08443",
        "h.example.org:0",
        "",
        "[",
        "h_.example.org:8443",
        "h.example.org.:80",
    ];
    for host in hosts {
        assert_eq!(at(&gate, "GET", &format!("https://{host}/b/x"), &cookie).await, 403, "{host}");
    }
    for host in ["h.example.org:8443", "H.Example.ORG:8443", "h.example.org.:8443"] {
        assert_eq!(at(&gate, "GET", &format!("https://{host}/b/x"), &cookie).await, 200, "{host}");
    }
    for method in ["POST", "PUT", "DELETE", "get", "Get", "GET ", "", "GET,POST", "OPTIONS", "TRACE"] {
        assert_eq!(at(&gate, method, "https://vms.example.org/a/x", &cookie).await, 403, "{method}");
    }
    for (method, url) in [("GET", "https://vms.example.org/a/x?%00=../.."), ("HEAD", "https://vms.example.org/exact")] {
        assert_eq!(at(&gate, method, url, &cookie).await, 200, "{method} {url}");
    }
    println!("counted: {} paths, {} hosts and 10 methods refused", paths.len(), hosts.len());
}

#[tokio::test]
async fn headers_of_two_kinds_of_proxies_never_count_together() {
    let gate = Gate::new().await;
    let cookie = session(&gate.mint(asked("t", &["/a/*"])).await);
    let nginx = [("x-original-method", "GET"), ("x-original-url", "https://h.example.org/a/x")];
    let uri = [("x-original-method", "GET"), ("x-original-uri", "/a/x"), ("host", "h.example.org")];
    let forwarded = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "h.example.org"),
        ("x-forwarded-uri", "/a/x"),
    ];
    let shown = ("cookie", cookie.as_str());
    let with = |base: &[(&'static str, &'static str)],
                more: &[(&'static str, &'static str)]|
     -> Vec<(&'static str, &'static str)> { [base, more].concat() };
    let mut good: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("/auth/verify", nginx.to_vec()),
        ("/auth/verify", uri.to_vec()),
        ("/auth/verify", forwarded.to_vec()),
        ("/auth/verify/a/x", vec![("host", "h.example.org")]),
    ];
    let mut bad: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("/auth/verify", vec![]),
        ("/auth/verify", vec![("host", "h.example.org")]),
        ("/auth/verify/a/x", vec![]),
        ("/auth/verify/a/x", with(&nginx, &[("host", "h.example.org")])),
        ("/auth/verify/a/x", with(&forwarded, &[("host", "h.example.org")])),
    ];
    for family in [&nginx[..], &uri, &forwarded] {
        for (name, value) in family.iter().filter(|(name, _)| *name != "host") {
            let others: Vec<_> = family.iter().copied().filter(|(other, _)| other != name).collect();
            bad.push(("/auth/verify", others.clone()));
            bad.push(("/auth/verify", with(&others, &[(name, "")])));
            bad.push(("/auth/verify", with(family, &[(name, value)])));
        }
    }
    for (name, _) in forwarded {
        bad.push(("/auth/verify", with(&nginx, &[(name, "")])));
    }
    bad.push(("/auth/verify", with(&nginx, &[("x-original-uri", "/b")])));
    for url in [
        "/a/x,/b",
        "/a/x, /a/y",
        "https://h.example.org/a/x,https://h.example.org/a/x",
        "ftp://h.example.org/a/x",
        "h.example.org/a/x",
    ] {
        bad.push(("/auth/verify", vec![("x-original-method", "GET"), ("x-original-url", url)]));
    }
    for request in [&mut good, &mut bad] {
        for (_, headers) in request {
            headers.push(shown);
        }
    }
    for (uri, headers) in &good {
        assert_eq!(judged(&gate, uri, headers).await, 200, "{headers:?}");
    }
    for (uri, headers) in &bad {
        assert_eq!(judged(&gate, uri, headers).await, 403, "{uri} {:?}", &headers[..headers.len() - 1]);
    }
    println!("counted: {} requests passed, {} refused", good.len(), bad.len());
}

#[tokio::test]
async fn no_token_passes_for_another_kind_and_no_crowd_of_cookies_hides_one() {
    let gate = Gate::new().await;
    let token = gate.mint(asked("t", &["/a/*"])).await;
    let link = gate.mint(NewGateToken { one_time: true, ..asked("once", &["/a/*"]) }).await;
    let elsewhere = Gate::with(Policy::new("https://other.example.org")).await;
    let foreign = elsewhere.mint(asked("t", &["/a/*"])).await;
    let url = "https://vms.example.org/a/x";
    let bearer = async |token: &str| {
        let authorization = format!("Bearer {token}");
        let nginx = [("x-original-method", "GET"), ("x-original-url", url), ("authorization", authorization.as_str())];
        judged(&gate, "/auth/verify", &nginx).await
    };
    assert_eq!(bearer(&token).await, 200);
    for (what, shown) in [("a link", &link), ("another issuer's", &foreign), ("nothing", &String::new())] {
        assert_eq!(bearer(shown).await, 401, "{what}");
        assert_eq!(at(&gate, "GET", url, &session(shown)).await, 401, "{what}");
    }
    // An access token opens no host that no site maps; a gate token and a link are no access tokens.
    assert_eq!(bearer(&gate.access).await, 403);
    for (path, shown) in [
        ("/v1/me", &token),
        ("/v1/me", &link),
        ("/apis/kubegateway.kubevirt.io/v1beta1/namespaces/demo/gatetokens", &token),
    ] {
        assert_eq!(gate.test.v1(Method::GET, path, shown, None).await.status, 401, "{path}");
    }
    for shown in [&gate.access, &foreign] {
        gate.open(&[("token", shown), ("then", "/a/x")]).await.is_refused(403);
    }
    // Up to eight cookies are tried, whatever the others are.
    let crowd = |count: usize| -> String { (0..count).fold(String::new(), |all, n| format!("{all}dat=a.b.{n}; ")) };
    assert_eq!(at(&gate, "GET", url, &format!("{}{}", crowd(7), session(&token))).await, 200);
    assert_eq!(at(&gate, "GET", url, &format!("{}{}", crowd(8), session(&token))).await, 403);
    assert_eq!(at(&gate, "GET", url, &format!("{}; {}", session(&token), session(&token))).await, 200);
    assert_eq!(at(&gate, "GET", url, &format!("{}; {}", session(&link), session(&token))).await, 200);
    // A name that is made again is another token.
    gate.revoke("t").await;
    let again = gate.mint(asked("t", &["/a/*"])).await;
    assert_eq!((bearer(&token).await, bearer(&again).await), (401, 200));
    gate.open(&[("token", &token), ("then", "/a/x")]).await.is_refused(403);
    assert_eq!(gate.open(&[("token", &again), ("then", "/a/x")]).await.status, 302);
    println!("counted: 21 tokens in right and wrong places");
}
