//! What kind of event is this? Told by its shape, since nothing in it says so.

use serde_json::Value;

use super::{rotation::is_rotation, schedule::is_schedule};

/// The kinds of events that some function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request to an HTTP API or a function URL, payload format 2.0.
    Http,
    /// The question of an HTTP API whether a request may pass, payload format 2.0.
    Authorizer,
    /// One step of a rotation, asked for by Secrets Manager.
    Rotation,
    /// A schedule's: it is time for a run.
    Schedule,
}

impl Kind {
    /// Tells what kind an event is of; else, as far as can be seen, what it is instead. A missing part of a frame that is
    /// otherwise recognised is for whoever answers that kind to judge.
    pub(super) fn of(event: &Value) -> Result<Self, &'static str> {
        let Some(members) = event.as_object() else { return Err("no JSON object") };
        // cargo-lambda sends members of other events as null.
        let has = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
        let is = |name: &str, value: &str| members.get(name).and_then(Value::as_str) == Some(value);
        if has("routeArn") || has("methodArn") {
            return if is("version", "2.0") && has("routeArn") {
                Ok(Self::Authorizer)
            } else {
                Err("an API Gateway authorizer event of payload format 1.0")
            };
        }
        if is("version", "2.0") && (has("rawPath") || has("routeKey")) {
            return Ok(Self::Http);
        }
        if is_rotation(event) {
            return Ok(Self::Rotation);
        }
        if is_schedule(event) {
            return Ok(Self::Schedule);
        }
        Err(if has("httpMethod") {
            "an event of payload format 1.0 or of a load balancer"
        } else if has("Records") {
            "an event of a queue, a stream or a bucket"
        } else if has("detail-type") {
            "an EventBridge event that is no schedule's"
        } else {
            "an event of a shape that gatemint does not know"
        })
    }

    /// Its name, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "a request of an HTTP API or of a function URL, payload format 2.0",
            Self::Authorizer => "an authorizer event of an HTTP API, payload format 2.0",
            Self::Rotation => "a rotation event of Secrets Manager",
            Self::Schedule => "a schedule event of EventBridge",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_is_told_by_its_shape() {
        let http = json!({ "version": "2.0", "routeKey": "$default", "rawPath": "/", "routeArn": null });
        assert_eq!(Kind::of(&http), Ok(Kind::Http));
        let authorizer = json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "rawPath": "/" });
        assert_eq!(Kind::of(&authorizer), Ok(Kind::Authorizer));
        let rotation = json!({ "SecretId": "a", "ClientRequestToken": "b", "Step": "createSecret" });
        assert_eq!(Kind::of(&rotation), Ok(Kind::Rotation));
        let schedule =
            json!({ "version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} });
        assert_eq!(Kind::of(&schedule), Ok(Kind::Schedule));
    }

    #[test]
    fn an_event_of_another_kind_is_named() {
        let named = |event: Value| Kind::of(&event).unwrap_err();
        assert!(named(json!({ "version": "1.0", "httpMethod": "GET", "path": "/" })).contains("1.0"));
        assert!(named(json!({ "version": "1.0", "type": "REQUEST", "methodArn": "a" })).contains("authorizer"));
        assert!(named(json!({ "version": "1.0", "routeArn": "a", "rawPath": "/" })).contains("authorizer"));
        assert!(named(json!({ "type": "TOKEN", "authorizationToken": "a", "methodArn": "a" })).contains("authorizer"));
        assert!(named(json!({ "source": "aws.ec2", "detail-type": "EC2 Instance State" })).contains("no schedule's"));
        assert!(named(json!({ "Records": [] })).contains("queue"));
        for event in [json!(null), json!([]), json!(1), json!("a"), json!({}), json!({ "version": "2.0" })] {
            named(event);
        }
    }
}
