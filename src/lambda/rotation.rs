//! The function `rotate-keys`: Secrets Manager asks for the four steps of a rotation, one event each.
//!
//! It asks under one id per rotation and repeats what failed, from the first step on; each step may be repeated.

use lambda_http::lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::{
    Refusal, Service,
    key::rotate::{self, Pace},
};

/// Who rotates, in the audit log.
const ACTOR: &str = "secrets manager";

/// The longest name or ARN of a secret that is looked at, in bytes.
const LONGEST_SECRET_ID: usize = 2048;

/// What is asked for. Secrets Manager may say more, such as the `RotationToken` of another account's function.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    step: Step,
    secret_id: String,
    client_request_token: String,
}

#[derive(Clone, Copy, Deserialize)]
enum Step {
    #[serde(rename = "createSecret")]
    Create,
    #[serde(rename = "setSecret")]
    Set,
    #[serde(rename = "testSecret")]
    Test,
    #[serde(rename = "finishSecret")]
    Finish,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "createSecret",
            Self::Set => "setSecret",
            Self::Test => "testSecret",
            Self::Finish => "finishSecret",
        }
    }
}

/// Whether an event is one of Secrets Manager's, to judge by its shape.
pub fn is_rotation(event: &Value) -> bool {
    ["Step", "SecretId", "ClientRequestToken"].iter().all(|name| event.get(name).is_some())
}

/// Takes one step. `secret`: what the signing secret is called where the service keeps it; no other is rotated.
///
/// # Errors
/// The event is not in the form that it must have, is about another secret, or the step was refused. Secrets Manager
/// then tries the rotation again, and after some times shows it as failed.
pub async fn answer(service: &Service, secret: &str, event: &Value) -> Result<(), Diagnostic> {
    let asked = Asked::parse(event, secret).map_err(|why| {
        tracing::error!(reason = why, "rotation event refused");
        Diagnostic { error_type: "RotationEventRefused".to_owned(), error_message: why.to_owned() }
    })?;
    let (step, request_id) = (asked.step.name(), asked.client_request_token.as_str());
    match asked.take(service).await {
        Ok(()) => {
            tracing::info!(rotation.step = step, rotation.request_id = request_id, "rotation step taken");
            Ok(())
        }
        Err(refusal) => {
            let cause = refusal.source.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            let why = format!("{refusal}{cause}");
            tracing::error!(
                rotation.step = step,
                rotation.request_id = request_id,
                cause = why,
                "rotation step refused"
            );
            Err(Diagnostic { error_type: "RotationStepRefused".to_owned(), error_message: format!("{step}: {why}") })
        }
    }
}

impl Asked {
    fn parse(event: &Value, secret: &str) -> Result<Self, &'static str> {
        // The parser's own words would quote the event.
        let asked = event.as_object().and_then(|_| Self::deserialize(event).ok()).ok_or(
            "this is no rotation event: it has a Step (createSecret, setSecret, testSecret or finishSecret), a SecretId \
             and a ClientRequestToken",
        )?;
        let id = asked.client_request_token.as_bytes();
        if !(32..=64).contains(&id.len()) || !id.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return Err("the ClientRequestToken is not 32 to 64 letters, digits and hyphens");
        }
        if !is_of(&asked.secret_id, secret) {
            return Err("the SecretId is not that of this service's signing keys, and no other secret is rotated here");
        }
        Ok(asked)
    }

    async fn take(&self, service: &Service) -> Result<(), Refusal> {
        let (now, id) = (service.now(), self.client_request_token.as_str());
        match self.step {
            Step::Create => rotate::create(service, now, id, Pace::Announced).await.map(drop),
            Step::Set => rotate::publish(service, now, id).await,
            Step::Test => rotate::test(service, now, id).await.map(drop),
            Step::Finish => rotate::finish(service, now, id, ACTOR).await,
        }
    }
}

/// Whether a secret's id, its name or its ARN, means the secret of that name. An ARN ends in six characters that
/// Secrets Manager has made up: `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX`.
fn is_of(id: &str, name: &str) -> bool {
    if id.len() > LONGEST_SECRET_ID {
        return false;
    }
    let mut parts = id.splitn(7, ':');
    let [arn, _partition, service, _region, _account, kind, resource] =
        [(); 7].map(|()| parts.next().unwrap_or_default());
    if arn != "arn" {
        return id == name;
    }
    let made_up = resource.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let of_ours = made_up.is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    service == "secretsmanager" && kind == "secret" && of_ours
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAME: &str = "gatemint/keys/gatemint-jwt-secret";

    #[test]
    fn the_signing_secret_is_known_by_its_name_and_its_arn_and_no_other_is_taken_for_it() {
        let arn = |resource: &str| format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{resource}");
        assert!(is_of(NAME, NAME));
        assert!(is_of(&arn(&format!("{NAME}-a1B2c3")), NAME));
        let china = format!("arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:{NAME}-a1B2c3");
        assert!(is_of(&china, NAME));
        let others = [
            String::new(),
            "gatemint-jwt-secret".into(),
            format!("other/{NAME}"),
            format!("{NAME}-a1B2c3"),
            arn(NAME),
            arn("gatemint/keys/gatemint-jwt-a1B2c3"),
            arn(&format!("other/{NAME}-a1B2c3")),
            arn(&format!("{NAME}-other-a1B2c3")),
            arn(&format!("{NAME}-a1B2c")),
            arn(&format!("{NAME}-a1B2c3:more")),
            arn("gatemint/refresh/gatemint-refresh-secret-a1B2c3"),
            format!("arn:aws:ssm:us-east-1:123456789012:secret:{NAME}-a1B2c3"),
            format!("{NAME}{}", "x".repeat(LONGEST_SECRET_ID)),
        ];
        for other in others {
            assert!(!is_of(&other, NAME), "{other}");
        }
    }

    #[test]
    fn an_event_that_is_not_quite_right_is_refused_and_not_quoted() {
        let token = "a-needle-b3f2c1d4e5f60718293a4b5c6d7e8f";
        let right =
            json!({ "Step": "createSecret", "SecretId": NAME, "ClientRequestToken": token, "RotationToken": "x" });
        assert!(is_rotation(&right) && Asked::parse(&right, NAME).is_ok());
        let with = |name: &str, value: Value| {
            let mut event = right.clone();
            event[name] = value;
            event
        };
        let wrong = [
            json!({}),
            json!("needle"),
            json!(["needle"]),
            json!(["createSecret", NAME, token]),
            with("Step", json!("needle")),
            with("Step", json!("CREATESECRET")),
            with("Step", json!(null)),
            with("ClientRequestToken", json!("needle")),
            with("ClientRequestToken", json!("n".repeat(65))),
            with("ClientRequestToken", json!("needle needle needle needle needle")),
            with("ClientRequestToken", json!({ "needle": 1 })),
            with("SecretId", json!("needle")),
            with("SecretId", json!(["needle"])),
        ];
        for wrong in wrong {
            let said = Asked::parse(&wrong, NAME).err().unwrap();
            assert!(!said.contains("needle"), "{wrong}: {said}");
        }
    }
}
