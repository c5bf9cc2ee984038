use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Asker, PASSWORD};
use crate::support::{Tokens, process::Serve};

/// Says something over a connection of its own, and hears everything that comes until the other side closes. `ends`: this
/// side has nothing more to say, where the other could wait for more.
fn say(serve: &Serve, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(serve.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // It may have heard enough before all is said.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => heard.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{:?}: the connection stays open: {error}", String::from_utf8_lossy(bytes)),
        }
    }
    heard
}

/// The statuses of the answers on a connection.
fn statuses(heard: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(heard);
    text.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse().ok()).collect()
}

#[test]
fn what_is_no_http_or_says_two_things_at_once_is_refused_and_the_service_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let serve = Serve::start(&home.path().join("data"));
    let healthy = || {
        assert_eq!(
            statuses(&say(&serve, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false)),
            [200]
        );
    };
    healthy();
    let form = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let post =
        |headers: &str, body: &str| format!("POST /oauth2/token HTTP/1.1\r\n{form}{headers}\r\n{body}").into_bytes();
    let smuggled = "GET /v1/users HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut tried = 0;

    // Two framings at once: one answer, then the connection is closed and what follows is never read as a request
    // (RFC 9112 §6.1).
    let chunked = format!("0\r\n\r\n{smuggled}");
    for headers in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".into(),
        "Content-Length: 4\r\nTransfer-Encoding: identity, chunked\r\n".into(),
        "Content-Length: 0\r\nContent-Length: 5\r\n".into(),
        "Content-Length: 0, 5\r\n".into(),
        "Content-Length: +0\r\n".into(),
        "Content-Length: -1\r\n".into(),
        "Content-Length: 0x0\r\n".into(),
        "Content-Length: 18446744073709551616\r\n".into(),
        "Content-Length:\r\n".into(),
        "Content-Length: 0\u{b}\r\n".into(),
        "Transfer-Encoding: xchunked\r\n".into(),
        "Transfer-Encoding: chunked, identity\r\n".into(),
        "Transfer-Encoding: \"chunked\"\r\n".into(),
        "Transfer-Encoding: gzip\r\nContent-Length: 0\r\n".into(),
        "Transfer-Encoding : chunked\r\n".into(),
        "Transfer-Encoding\r\n : chunked\r\n".into(),
        "Transfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n".into(),
        "X: y\r\n Content-Length: 9\r\n".into(),
        "X: a\rContent-Length: 9\r\n".into(),
        "X\0: a\r\n".into(),
        "X: a\0b\r\n".into(),
        ": empty\r\n".into(),
    ] {
        let statuses = statuses(&say(&serve, &post(&headers, &chunked), false));
        assert_eq!(statuses, [400], "{headers:?}");
        healthy();
        tried += 1;
    }
    // A body in chunks that are none.
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "5\r\nab",
        "-1\r\n\r\n",
        "ffffffffffffffffff\r\nx",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\n0\n\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "",
        "\r\n",
    ] {
        let body = format!("{body}{smuggled}");
        let statuses = statuses(&say(&serve, &post("Transfer-Encoding: chunked\r\n", &body), false));
        assert!(statuses.iter().all(|status| *status == 400) && statuses.len() <= 1, "{body:?}: {statuses:?}");
        healthy();
        tried += 1;
    }
    // Garbage, the beginnings of other protocols, and much too much.
    let deep = "X: y\r\n".repeat(500);
    for bytes in [
        b"".to_vec(),
        b"\r\n\r\n".to_vec(),
        b"\0".repeat(10_000),
        b"\xff\xfe\xfd".repeat(5000),
        b"GET".to_vec(),
        b"GET /\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET  / HTTP/1.1\r\n\r\n".to_vec(),
        b"G\xffT / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
        b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 10\r\n\r\nab".to_vec(),
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"USER anonymous\r\n".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        b"\n".repeat(100_000),
        [b"GET / HTTP/1.1\r\nX: ".as_slice(), &b"a".repeat(2_000_000), b"\r\n\r\n"].concat(),
        [b"GET /".as_slice(), &b"a".repeat(200_000), b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat(),
        format!("GET / HTTP/1.1\r\n{deep}\r\n").into_bytes(),
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nConnection: close\r\n\r\n", "a=b; ".repeat(10_000))
            .into_bytes(),
        [post("Content-Length: 70000\r\n", ""), b"x".repeat(70_000)].concat(),
        [
            post("Transfer-Encoding: chunked\r\n", ""),
            [b"1000\r\n".as_slice(), &b"x".repeat(4096), b"\r\n"].concat().repeat(20),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat(),
    ] {
        let statuses = statuses(&say(&serve, &bytes, true));
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(statuses.iter().all(|status| *status < 500), "{shown:?}: {statuses:?}");
        healthy();
        tried += 1;
    }
    // Requests one after another on one connection keep their order and their number.
    let mut pipelined = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    pipelined.push_str("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(statuses(&say(&serve, pipelined.as_bytes(), false)), [[200, 404].repeat(50), vec![200]].concat());
    let log = fs::read_to_string(home.path().join("data.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    assert!(serve.terminate().success());
    println!(
        "counted: {tried} connections with garbage or two framings, 0 smuggled requests, 0 crashes; 100 pipelined answered"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_holds_no_secret_at_any_level() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serve = Serve::start_with(&data, &[("GATEMINT_LOG", "trace")]);
    let asker = Asker::new(&serve);
    let mut secrets: Vec<(String, String)> = Vec::new();
    let first_password = fs::read_to_string(data.join("admin-password")).unwrap();
    let admin = asker.admin(&data).await;
    let wrong = "a wrong password that somebody typed";
    let new = "the password after the change of it";
    for (what, secret) in [
        ("first password", first_password.as_str()),
        ("password", PASSWORD),
        ("wrong password", wrong),
        ("new password", new),
    ] {
        secrets.push((what.into(), secret.into()));
    }
    let keep = |secrets: &mut Vec<(String, String)>, tokens: &Tokens| {
        secrets.push(("refresh token".into(), tokens.refresh.clone()));
        secrets.push(("access token".into(), tokens.access.clone()));
    };
    keep(&mut secrets, &admin);

    // Used rightly.
    let user = json!({"name": "ada", "password": PASSWORD, "email": "ada@example.org"});
    assert_eq!(asker.post_json("/v1/users", &admin.access, &user).await.status, 201);
    let shop = asker.post_json("/v1/clients", &admin.access, &json!({"id": "shop", "introspect": true})).await;
    let shop = shop.json["secret"].as_str().unwrap().to_owned();
    secrets.push(("client secret".into(), shop.clone()));
    let first = asker.sign_in("ada", PASSWORD).await.tokens();
    let second = asker.refresh(&first.refresh).await.tokens();
    let repeated = asker.refresh(&first.refresh).await.tokens();
    let changed = asker.post_json("/v1/me/password", &second.access, &json!({"old": PASSWORD, "new": new})).await;
    assert_eq!(changed.status, 204, "{changed:?}");
    let basic = format!("Basic {}", STANDARD.encode(format!("shop:{shop}")));
    secrets.push(("basic credentials".into(), basic["Basic ".len()..].into()));
    let own = asker
        .http
        .post(format!("{}/oauth2/token", asker.url))
        .header("authorization", &basic)
        .form(&[("grant_type", "client_credentials")]);
    let own = asker.send(own).await.json["access_token"].as_str().unwrap().to_owned();
    secrets.push(("a client's own token".into(), own.clone()));
    for token in [&second.access, &second.refresh, &own] {
        let seen = asker
            .form("/oauth2/introspect", &[("client_id", "shop"), ("client_secret", &shop), ("token", token)])
            .await;
        assert_eq!(seen.json["active"], true, "{seen:?}");
    }
    for tokens in [&first, &second, &repeated] {
        keep(&mut secrets, tokens);
    }

    // Used wrongly: each secret in each place where one can be put by mistake.
    let mut requests = 0;
    asker.sign_in("ada", wrong).await;
    asker.sign_in(wrong, wrong).await;
    for (_, secret) in secrets.clone() {
        for name in [
            "username",
            "client_id",
            "scope",
            "resource",
            "token",
            "token_type_hint",
            "client_secret",
            "grant_type",
            "refresh_token",
            "x",
        ] {
            let mut form = vec![("grant_type", "password"), ("username", "nobody"), ("password", wrong)];
            form.retain(|(given, _)| *given != name);
            form.push((name, &secret));
            let heard = asker.form("/oauth2/token", &form).await;
            assert!((400..500).contains(&heard.status), "{heard:?}");
            requests += 1;
        }
        let plain = reqwest::header::HeaderValue::from_str(&secret).unwrap();
        let url = format!("{}/oauth2/token?grant_type=password&username=ada", asker.url);
        let mut query = reqwest::Url::parse(&url).unwrap();
        query.query_pairs_mut().append_pair("refresh_token", &secret);
        let mut path = reqwest::Url::parse(&asker.url).unwrap();
        path.path_segments_mut().unwrap().extend(["v1", "tokens", &secret]);
        let mut nowhere = reqwest::Url::parse(&asker.url).unwrap();
        nowhere.path_segments_mut().unwrap().push(&secret);
        for request in [
            asker.http.post(query.clone()),
            asker.http.post(query.clone()).form(&[("grant_type", "refresh_token")]),
            asker.http.get(query),
            asker.http.delete(path.clone()).bearer_auth(&admin.access),
            asker.http.get(path),
            asker.http.get(nowhere),
            asker.http.get(format!("{}/v1/me", asker.url)).bearer_auth(&secret),
            asker.http.get(format!("{}/v1/me", asker.url)).header("authorization", plain.clone()),
            asker
                .http
                .get(format!("{}/v1/me", asker.url))
                .header("cookie", plain.clone())
                .header("x-forwarded-for", plain.clone()),
            asker
                .http
                .get(format!("{}/healthz", asker.url))
                .header("user-agent", plain.clone())
                .header("referer", plain),
            asker
                .http
                .post(format!("{}/v1/users", asker.url))
                .bearer_auth(&admin.access)
                .json(&json!({"name": secret, "password": secret})),
            asker
                .http
                .post(format!("{}/v1/users", asker.url))
                .bearer_auth(&admin.access)
                .json(&json!({ secret.clone(): secret })),
            asker.http.post(format!("{}/v1/users", asker.url)).bearer_auth(&admin.access).body(secret.clone()),
            asker
                .http
                .post(format!("{}/v1/me/password", asker.url))
                .bearer_auth(&admin.access)
                .json(&json!({"old": secret, "new": "x"})),
        ] {
            let heard = asker.send(request).await;
            assert!(heard.status < 500, "{heard:?}");
            requests += 1;
        }
    }
    // A store that fails says why, and no more than that.
    let lock = rusqlite::Connection::open(data.join("gatemint.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    asker.refresh(&second.refresh).await.assert_away();
    asker.sign_in("ada", new).await.assert_away();
    lock.execute_batch("ROLLBACK").unwrap();
    // A replay, at last.
    let third = asker.refresh(&repeated.refresh).await.tokens();
    keep(&mut secrets, &third);
    assert_eq!(asker.refresh(&first.refresh).await.json["error_description"], "Session ended");
    assert!(serve.terminate().success());

    let log = fs::read_to_string(data.with_extension("log")).unwrap();
    let answered = log.lines().filter(|line| line.contains("\"answered\"")).count();
    assert!(
        answered >= requests && log.contains("\"DEBUG\"") && log.contains("gatemint::audit"),
        "{answered} of {requests}"
    );
    let encode = |secret: &str| crate::support::encode_form(&[("", secret)])[1..].to_owned();
    let mut looked_for = 0;
    for (what, secret) in &secrets {
        // Whole, as a URL spells it, and the parts that make it a secret.
        let tail: String = secret.chars().skip(secret.chars().count() / 2).collect();
        for text in [secret.clone(), encode(secret), secret.replace(' ', "+"), tail] {
            let found = log.lines().find(|line| line.contains(&text));
            assert!(found.is_none(), "{what} is in the log: {}", found.unwrap_or_default());
            looked_for += 1;
        }
    }
    for text in [
        "username=ada",
        "grant_type=",
        "refresh_token=",
        "?",
        "Bearer ",
        "$argon2",
        "gmr_",
        "gmc_",
        "eyJhbGci",
        "eyJ0eXAi",
    ] {
        let found = log.lines().find(|line| line.contains(text));
        assert!(found.is_none(), "{text} is in the log: {}", found.unwrap_or_default());
    }
    println!(
        "counted: {} log lines of {answered} requests at trace, {looked_for} secrets and parts looked for, 0 found",
        log.lines().count()
    );
}
