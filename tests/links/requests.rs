//! `POST /auth/jwt/request`: kube-gateway's own way to ask for a token.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use gatemint::domain::access::Action;

use super::{Gate, SCREEN};
use crate::support::{Answer, ISSUER, asking::claims};

async fn ask(gate: &Gate, access: &str, body: &str) -> Answer {
    let mut request = Request::post("/auth/jwt/request");
    if !access.is_empty() {
        request = request.header("authorization", format!("Bearer {access}"));
    }
    // As `curl --data` says, whatever it sends.
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = gate.test.send(request.body(Body::from(body.to_owned())).unwrap()).await;
    if let Some(token) = answer.json["Token"].as_str() {
        gate.test.keep(token);
    }
    answer.is_private();
    answer
}

#[tokio::test]
async fn a_request_is_answered_in_the_originals_shape_and_order() {
    let gate = Gate::new().await;
    let body = format!(
        r#"{{"URLs":["{SCREEN}","/api/*"],"duration":"30m","from":"2027-01-15T08:30:00+00:00","verbs":["GET","Post"],"ID":"walk-1"}}"#
    );
    let answer = ask(&gate, &gate.access, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let token = answer.json["Token"].as_str().unwrap();
    let expected = format!(
        r#"{{"ID":"walk-1","From":"2027-01-15T08:30:00Z","Verbs":["get","post"],"Duration":"30m","URLs":["{SCREEN}","/api/*"],"NBf":1800001800,"Exp":1800003600,"Until":"2027-01-15T09:00:00Z","Token":"{token}"}}"#
    );
    assert_eq!(answer.text, expected);

    let plain = ask(&gate, &gate.access, r#"{"urls":["/a"]}"#).await;
    let token = plain.json["Token"].as_str().unwrap();
    assert_eq!(
        plain.text,
        format!(
            r#"{{"ID":"","From":"2027-01-15T08:00:00Z","Verbs":["get"],"Duration":"1h","URLs":["/a"],"NBf":1800000000,"Exp":1800003600,"Until":"2027-01-15T09:00:00Z","Token":"{token}"}}"#
        )
    );
    let claims = claims(token);
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some(ISSUER), Some("http://gatemint.test/gate")));
    // In the caller's own namespace, under a name that nobody has.
    let name = claims["sub"].as_str().unwrap().strip_prefix("gatetoken:root/request-").unwrap();
    assert!(name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    assert_eq!(gate.open(&[("token", token)]).await.header("location"), "/a");
}

#[tokio::test]
async fn a_request_is_refused_with_its_true_status_and_the_field_that_is_wrong() {
    let gate = Gate::new().await;
    let mut refused = 0;
    for (body, status, message) in [
        (r#"{"urls":[]}"#, 422, "URLs: must be 1 to 500 URLs"),
        ("{}", 422, "URLs: must be 1 to 500 URLs"),
        (r#"{"urls":["*"]}"#, 422, "URLs: URL 1: '*' alone"),
        (r#"{"urls":[""]}"#, 422, "URLs: URL 1: must not be empty"),
        (r#"{"urls":["/a","b"]}"#, 422, "URLs: URL 2: "),
        (r#"{"urls":["/a"],"URLS":["/b"]}"#, 422, "URLs: is given more than once"),
        (r#"{"urls":"/a"}"#, 422, "URLs: must be a list of strings"),
        (r#"{"urls":["/a"],"duration":"0"}"#, 422, "duration: "),
        (r#"{"urls":["/a"],"duration":"-1h"}"#, 422, "duration: "),
        (r#"{"urls":["/a"],"duration":"1x"}"#, 422, "duration: "),
        (r#"{"urls":["/a"],"duration":"9999999h"}"#, 422, "duration: "),
        (r#"{"urls":["/a"],"duration":"25h"}"#, 422, "duration: must be at most 86400 s"),
        (r#"{"urls":["/a"],"duration":3600}"#, 422, "duration: must be a string"),
        (r#"{"urls":["/a"],"from":"2028-01-01T00:00:00Z"}"#, 422, "from: "),
        (r#"{"urls":["/a"],"from":"tomorrow"}"#, 422, "from: must be a time as of RFC 3339"),
        (r#"{"urls":["/a"],"verbs":[]}"#, 422, "verbs: "),
        (r#"{"urls":["/a"],"verbs":["watch"]}"#, 422, "verbs: "),
        (r#"{"urls":["/a"],"id":"a b"}"#, 422, "id: "),
        (r#"{"urls":["/a"],"id":"<script>"}"#, 422, "id: "),
        (r#"{"urls":["/a"],"verb":["get"]}"#, 400, "the body has a field that is none of"),
        ("[]", 400, "the body is not a JSON object"),
        ("urls=/a", 400, "the body is not a JSON object"),
    ] {
        let answer = ask(&gate, &gate.access, body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        assert!(answer.text.starts_with(r#"{"kind":"Error","api":"kube-gateway/token","status":""#), "{}", answer.text);
        assert!(answer.json["status"].as_str().unwrap().starts_with(message), "{body}: {}", answer.text);
        assert_eq!(answer.json["code"], status);
        refused += 1;
    }
    let large = ask(&gate, &gate.access, &format!(r#"{{"urls":["/{}"]}}"#, "a".repeat(70_000))).await;
    assert_eq!((large.status.as_u16(), &large.json["code"]), (413, &413.into()));
    let many = format!(r#"{{"urls":[{}"/a"]}}"#, r#""/a","#.repeat(500));
    assert_eq!(ask(&gate, &gate.access, &many).await.status.as_u16(), 422);
    println!("counted: {} requests refused, each with its field", refused + 2);
}

#[tokio::test]
async fn who_asks_needs_a_token_of_her_own_and_the_right_to_mint_in_her_namespace() {
    let mut gate = Gate::new().await;
    gate.test = gate.test.user("ada", &[]).await;
    let body = r#"{"urls":["/a"]}"#;
    let nobody = ask(&gate, "", body).await;
    assert_eq!((nobody.status.as_u16(), nobody.header("www-authenticate")), (401, r#"Bearer realm="gatemint""#));
    assert_eq!(nobody.json["api"], "kube-gateway/token");
    let gate_token = gate.screen().await;
    for bad in ["x", gate_token.as_str()] {
        let answer = ask(&gate, bad, body).await;
        let challenge = r#"Bearer realm="gatemint", error="invalid_token""#;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, challenge));
    }
    let ada = gate.test.sign_in("ada").await.access;
    let answer = ask(&gate, &ada, body).await;
    assert_eq!(answer.status.as_u16(), 403, "an owner has no right of her own: {}", answer.text);
    gate.test.grant("ada", "gatetoken://default/ada", Action::Write).await;
    let answer = ask(&gate, &ada, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let subject = claims(answer.json["Token"].as_str().unwrap())["sub"].as_str().unwrap().to_owned();
    assert!(subject.starts_with("gatetoken:ada/request-"), "{subject}");

    let twice = Request::post("/auth/jwt/request")
        .header("authorization", format!("Bearer {ada}"))
        .header("authorization", format!("Bearer {ada}"));
    let twice = gate.test.send(twice.body(Body::from(body)).unwrap()).await;
    assert_eq!(twice.status.as_u16(), 400);
    gate.test.store.set_away(true);
    let away = ask(&gate, &ada, body).await;
    assert_eq!((away.status.as_u16(), away.header("retry-after")), (503, "1"));
    gate.test.store.set_away(false);
}
