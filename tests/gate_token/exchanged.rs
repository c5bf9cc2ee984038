//! What came of a token exchange, among the GateTokens of its account's namespace: seen by whoever may see them, opened by
//! nobody else, gone with its session.

use gatemint::domain::access::site::{self, NewSite};

use super::*;

const HOST: &str = "train--vms.jobs.example.org";

impl Everybody {
    /// An exchange of the owner's own access token for one of his sites.
    async fn exchange(&self, access: &str) -> String {
        let url = format!("https://{HOST}/*");
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", access),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("requested_token_type", "urn:gatemint:params:oauth:token-type:gate"),
            ("resource", &url),
        ];
        self.test.form("/oauth2/token", &form).await.tokens().access
    }
}

#[tokio::test]
async fn what_came_of_an_exchange_is_listed_without_its_token_and_goes_with_its_session() {
    let all = Everybody::new().await;
    let new = NewSite {
        id: "jobs".into(),
        host: "{name}--{owner}.jobs.example.org".into(),
        resource: "job://{cluster}/{owner}/{name}".into(),
    };
    site::create(&all.test.service, all.test.service.now(), &new, "test").await.unwrap();
    let session = all.test.sign_in("bob").await;
    let exchanged = all.exchange(&session.access).await;
    let name = part(&exchanged, 1)["sub"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(name.starts_with("exchange-") && name.len() == 25, "{name}");

    // Who may mint here sees that it is there. What it opens is for its account alone.
    for access in [&all.root, &all.writer, &all.reader, &all.owner] {
        let list = all.get(PATH, access).await.json;
        let read = all.get(&at(&name), access).await.json;
        for object in [&list["items"][0], &read] {
            assert_eq!((&object["metadata"]["name"], &object["status"]["phase"]), (&json!(name), &json!("Ready")));
            assert!(object["status"].get("token").is_none(), "{object}");
        }
    }
    grant(&all.test, "bob", Action::Write).await;
    let own = all.get(&at(&name), &all.owner).await.json;
    assert_eq!(part(own["status"]["token"].as_str().unwrap(), 1)["jti"], part(&exchanged, 1)["jti"]);
    let tokens = all.get("/v1/tokens", &all.owner).await.json;
    let gate = tokens["items"].as_array().unwrap().iter().rfind(|token| token["kind"] != "fresh").unwrap().clone();
    assert_eq!(
        (&gate["kind"], &gate["subject"], &gate["client_id"]),
        (&json!("gate"), &json!(format!("gatetoken:vms/{name}")), &json!("gatemint"))
    );

    // The session ends, and the token with it: for whoever lists, and for whoever ends.
    let ended = all.test.form("/oauth2/revoke", &[("client_id", "gatemint"), ("token", &session.refresh)]).await;
    assert_eq!(ended.status, StatusCode::OK);
    assert_eq!(all.get(PATH, &all.root).await.json["items"], json!([]));
    assert_status(&all.get(&at(&name), &all.root).await, 404, "NotFound", None);
    assert_status(&all.delete(&name, &all.root).await, 404, "NotFound", None);
    let tokens = all.get("/v1/tokens", &all.owner).await.json;
    assert!(tokens["items"].as_array().unwrap().iter().all(|token| token["kind"] != "gate"));
    let path = format!("/v1/tokens/{}", gate["id"].as_str().unwrap());
    assert_eq!(all.ask(Method::DELETE, &path, &all.owner, None).await.status, StatusCode::NOT_FOUND);
    println!("counted: 1 exchanged token seen by 4 people, opened by 1, gone with its session in 5 places");
}
