//! `GET /refresh-token-download`: a name and a password become a file with a refresh token.

use gatemint::{domain::client::manage::NewClient, http::PeerAddress};

use super::*;

const DOWNLOAD: &str = "/refresh-token-download";
const WRONG: &str = "not the right password at all";

/// A request as `curl -u` sends it.
fn asking(method: Method, address: &str, user: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(DOWNLOAD);
    if !user.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(user)));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(PeerAddress(address.parse().unwrap()));
    request
}

async fn get(test: &TestService, user: &str) -> Answer {
    let answer = test.send(asking(Method::GET, "192.0.2.1", user, &[])).await;
    if answer.status == StatusCode::OK {
        test.keep(&answer.text);
    }
    answer
}

fn ada() -> String {
    format!("ada:{PASSWORD}")
}

/// How many sessions she has.
async fn sessions(test: &TestService) -> usize {
    let root = test.sign_in("root").await.access;
    let list = test.v1(Method::GET, "/v1/tokens?account=ada&limit=99", &root, None).await.json;
    list["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "session").count()
}

/// Refused with Basic's challenge, for this reason.
#[track_caller]
fn assert_challenged(answer: &Answer, text: &str) {
    assert_eq!(answer.refusal(), (401, "invalid_grant", text), "{}", answer.text);
    assert_eq!(answer.header("www-authenticate"), r#"Basic realm="gatemint", charset="UTF-8""#);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
}

#[tokio::test]
async fn a_name_and_a_password_become_a_file_with_an_offline_token_and_nothing_else() {
    let test = TestService::new().await.user("ada", &["analysts"]).await;
    let answer = get(&test, &ada()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-disposition", r#"attachment; filename="refresh-token.txt""#),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(answer.text.starts_with("gmr_") && !answer.text.ends_with('\n'), "{}", answer.text);
    // It lies idle for weeks, and goes on for months.
    let mut token = answer.text;
    for _ in 0..4 {
        test.clock.advance(Duration::from_hours(24 * 29));
        let given = test.refresh(&token).await;
        let tokens = given.tokens();
        assert_eq!(given.json["refresh_expires_in"], 30 * 86_400);
        assert_eq!(given.json["scope"], "offline_access profile email roles");
        let said = claims(&tokens.access);
        assert_eq!((&said["client_id"], &said["roles"]), (&json!("gatemint"), &json!(["analysts"])));
        token = tokens.refresh;
    }
    test.clock.advance(Duration::from_hours(24 * 30));
    assert_eq!(test.refresh(&token).await.refusal(), (400, "invalid_grant", "Refresh token expired"));
    println!("counted: 1 download, 4 refreshes in four months");
}

#[tokio::test]
async fn what_is_no_name_and_password_is_challenged_and_opens_nothing() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let wrong = get(&test, &format!("ada:{WRONG}")).await;
    assert_challenged(&wrong, "Invalid user credentials");
    let unknown = get(&test, &format!("nobody:{WRONG}")).await;
    assert_challenged(&unknown, "Invalid user credentials");
    assert_eq!(wrong.text, unknown.text, "whether there is such a user is nobody's business");

    let needed = "A user's name and password are needed, by HTTP Basic and in UTF-8";
    test.store.round_trips();
    for user in ["", "ada", "ada:", ":x", "ada:\u{7}"] {
        assert_challenged(&get(&test, user).await, needed);
    }
    let mut asked = 5;
    for value in ["Bearer x", "Basic", "Basic !", "Basic YWRhOv8=", "Digest username=ada", ""] {
        let request = Request::get(DOWNLOAD).header(header::AUTHORIZATION, value).body(Body::empty()).unwrap();
        assert_challenged(&test.send(request).await, needed);
        asked += 1;
    }
    let twice = Request::get(DOWNLOAD)
        .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(ada())))
        .header(header::AUTHORIZATION, "Bearer x")
        .body(Body::empty())
        .unwrap();
    assert_eq!(test.send(twice).await.refusal(), (400, "invalid_request", "Repeated header: Authorization"));
    assert_eq!(test.store.round_trips(), (0, 0), "nothing is read for them");

    // To ask is to sign in, and to ask with HEAD is not.
    let head = test.send(asking(Method::HEAD, "192.0.2.1", &ada(), &[])).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::UNAUTHORIZED, ""));
    assert_eq!(head.header("www-authenticate"), r#"Basic realm="gatemint", charset="UTF-8""#);
    assert_eq!(test.store.round_trips(), (0, 0));
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = test.send(asking(method, "192.0.2.1", &ada(), &[])).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET,HEAD"));
    }
    assert_eq!(sessions(&test).await, 0);
    println!("counted: {} requests without a session", asked + 8);
}

#[tokio::test]
async fn a_page_of_another_site_leads_here_and_loads_nothing() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let site = |site, mode, dest| [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)];
    for headers in [
        site("cross-site", "no-cors", "image"),
        site("cross-site", "cors", "empty"),
        site("cross-site", "navigate", "iframe"),
        site("same-site", "no-cors", "script"),
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Purpose", "prefetch;prerender")],
    ] {
        let answer = test.send(asking(Method::GET, "192.0.2.1", &ada(), &headers)).await;
        assert_eq!((answer.refusal().0, answer.refusal().1), (403, "invalid_request"), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), "", "no password is asked for: {headers:?}");
    }
    assert_eq!(sessions(&test).await, 0);
    for headers in [
        site("none", "navigate", "document"),
        site("cross-site", "navigate", "document"),
        site("same-origin", "cors", "empty"),
    ] {
        let answer = test.send(asking(Method::GET, "192.0.2.1", &ada(), &headers)).await;
        assert_eq!(answer.status, StatusCode::OK, "{headers:?}: {}", answer.text);
        assert_eq!(answer.header("access-control-allow-origin"), "");
        test.keep(&answer.text);
    }
    assert_eq!(sessions(&test).await, 3);
    println!("counted: 5 pages kept out, 3 led here");
}

#[tokio::test]
async fn wrong_guesses_are_throttled_with_those_at_the_token_endpoint() {
    let test = TestService::new().await.user("ada", &[]).await;
    let guess = async |n: usize, user: &str| {
        let address = format!("203.0.113.{n}");
        test.send(asking(Method::GET, &address, user, &[])).await
    };
    for name in ["ada", "nobody"] {
        // Three here and two there: both draw on the same allowance.
        for n in 0..3 {
            assert_challenged(&guess(n, &format!("{name}:{WRONG}")).await, "Invalid user credentials");
        }
        for n in 3..5 {
            let form = [("grant_type", "password"), ("username", name), ("password", WRONG)];
            let answer = test.form_from(&format!("203.0.113.{n}"), "/oauth2/token", &form).await;
            assert_eq!(answer.refusal(), (400, "invalid_grant", "Invalid user credentials"));
        }
        // Not even the right password is judged before its time.
        let throttled = guess(6, &format!("{name}:{PASSWORD}")).await;
        assert_eq!((throttled.refusal().0, throttled.refusal().1), (429, "temporarily_unavailable"), "{name}");
        assert!(throttled.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert_eq!(throttled.header("www-authenticate"), "", "a browser would ask again at once");
        let form = [("grant_type", "password"), ("username", name), ("password", PASSWORD)];
        assert_eq!(test.form_from("203.0.113.7", "/oauth2/token", &form).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    test.clock.advance(Duration::from_mins(1));
    assert_eq!(get(&test, &ada()).await.status, StatusCode::OK, "her own patience is rewarded");
    println!("counted: 10 wrong guesses judged, 4 requests throttled");
}

#[tokio::test]
async fn a_password_is_read_as_it_was_typed() {
    let test = TestService::new().await.user("root", &["admin"]).await;
    let root = test.sign_in("root").await.access;
    let mut made = 0;
    for password in
        ["with:several:colons:in it", "p%20lus+and+percent %zz", "grüße 🔑 aus dem schönen Köln", " spaces around it "]
    {
        test.keep(password);
        let name = format!("user-{made}");
        let new = json!({ "name": name, "password": password });
        assert_eq!(test.v1(Method::POST, "/v1/users", &root, Some(new)).await.status, StatusCode::CREATED);
        let answer = get(&test, &format!("{name}:{password}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{password}: {}", answer.text);
        assert_eq!(test.refresh(&answer.text).await.status, StatusCode::OK);
        made += 1;
    }
    println!("counted: {made} passwords of every kind");
}

#[tokio::test]
async fn what_the_operator_has_closed_is_closed_here_too() {
    let test = TestService::new().await.user("ada", &[]).await.user("root", &["admin"]).await;
    let root = test.sign_in("root").await.access;
    let change = async |path: &str, body: Value| {
        let changed = test.v1(Method::PATCH, path, &root, Some(body)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    };
    // A disabled account is told so, if its password is right.
    change("/v1/users/ada", json!({ "enabled": false })).await;
    assert_challenged(&get(&test, &ada()).await, "Account disabled");
    assert_challenged(&get(&test, &format!("ada:{WRONG}")).await, "Invalid user credentials");
    change("/v1/users/ada", json!({ "enabled": true })).await;
    let downloaded = get(&test, &ada()).await;
    assert_eq!(downloaded.status, StatusCode::OK);
    // Another client's users get no token of this one by its being another's.
    let other = test.client("other", NewClient { public: true, ..NewClient::default() }).await;
    assert!(other.is_none());
    let form = [("grant_type", "refresh_token"), ("client_id", "other"), ("refresh_token", downloaded.text.as_str())];
    assert_eq!(test.form("/oauth2/token", &form).await.refusal(), (400, "invalid_grant", "Invalid refresh token"));

    // Without the password grant, or without the client, no password helps, so none is asked for.
    change("/v1/clients/gatemint", json!({ "grants": ["refresh_token"] })).await;
    let answer = get(&test, &ada()).await;
    assert_eq!((answer.refusal().0, answer.refusal().1), (403, "unauthorized_client"), "{}", answer.text);
    assert_eq!(answer.header("www-authenticate"), "");
    change("/v1/clients/gatemint", json!({ "grants": ["password", "refresh_token"] })).await;
    assert_eq!(get(&test, &ada()).await.status, StatusCode::OK);
    change("/v1/clients/gatemint", json!({ "enabled": false })).await;
    let answer = get(&test, &ada()).await;
    assert_eq!((answer.refusal().0, answer.refusal().1), (403, "invalid_client"), "{}", answer.text);

    test.store.set_away(true);
    let answer = get(&test, &ada()).await;
    assert_eq!((answer.refusal().0, answer.refusal().1), (503, "temporarily_unavailable"), "{}", answer.text);
    assert_eq!(answer.header("retry-after"), "1");
    test.store.set_away(false);
    println!("counted: 6 downloads refused, 2 given");
}
