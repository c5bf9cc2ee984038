//! One event in, one answer out.

use std::{sync::Arc, time::Duration};

use axum::Router;
use lambda_http::lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{Function, authorizer, kind::Kind, raw_event, reply::Reply, rotation, schedule};
use crate::{
    domain::{Service, fresh_token::mirror::Run},
    http::{self, Options},
};

/// How long an answer to a request may take: less than the 25 s that the functions of template.yaml have, past which the
/// caller hears a 5xx of API Gateway, and less than the 30 s that API Gateway has.
const PATIENCE: Duration = Duration::from_secs(22);

/// What a function answers with.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// To a request.
    Http(Reply),
    /// To an authorizer event.
    Authorizer(authorizer::Verdict),
    /// To a schedule event.
    Schedule(Run),
    /// To who wants to know nothing but that it was done.
    Done,
}

/// A function at work.
#[derive(Clone)]
pub(super) struct Desk {
    function: Function,
    service: Arc<Service>,
    /// The routes; none without a function that serves some.
    router: Router,
    /// What the signing secret is called where it is kept.
    signing_secret: Arc<str>,
}

impl Desk {
    /// The function on a service.
    pub(super) fn new(function: Function, service: Service, options: &Options, signing_secret: &str) -> Self {
        let service = Arc::new(service);
        let routes = function.routes().map(|routes| http::router(Arc::clone(&service), routes, options));
        Self { function, service, router: routes.unwrap_or_default(), signing_secret: signing_secret.into() }
    }

    /// Answers one event. A request that is wrong is answered with a 400, an event of another kind with an error that names
    /// what is supported, and a panic further down with a 500: the process lives on for the next event in any case.
    pub(super) async fn answer(self, event: LambdaEvent<Value>) -> Result<Answer, Diagnostic> {
        let LambdaEvent { payload, context } = event;
        let kind = self.recognise(&payload)?;
        // A task of its own, so that a panic ends this task and not the process. The hook has printed what it was.
        let task = tokio::spawn(self.respond(kind, payload, context.request_id).in_current_span());
        task.await.unwrap_or_else(|_| {
            tracing::error!("a handler panicked; its caller was told of an internal error");
            match kind {
                Kind::Http => Ok(Answer::Http(Reply::internal_error())),
                Kind::Authorizer | Kind::Rotation | Kind::Schedule => Err(Diagnostic {
                    error_type: "InternalError".to_owned(),
                    error_message: "internal error".to_owned(),
                }),
            }
        })
    }

    fn recognise(&self, event: &Value) -> Result<Kind, Diagnostic> {
        let what = match Kind::of(event) {
            Ok(kind) if self.function.answers().contains(&kind) => return Ok(kind),
            Ok(kind) => kind.name(),
            Err(what) => what,
        };
        tracing::warn!(event.kind = what, "event not supported");
        let supported: Vec<_> = self.function.answers().iter().map(|kind| kind.name()).collect();
        Err(Diagnostic {
            error_type: "UnsupportedEvent".to_owned(),
            error_message: format!(
                "this is {what}; the function {} answers {}",
                self.function.name(),
                supported.join("; or ")
            ),
        })
    }

    async fn respond(self, kind: Kind, event: Value, invocation: String) -> Result<Answer, Diagnostic> {
        match kind {
            Kind::Http => Ok(Answer::Http(self.respond_to_request(event, &invocation).await)),
            Kind::Authorizer => authorizer::answer(&self.service, &event).await.map(Answer::Authorizer),
            Kind::Rotation => {
                rotation::answer(&self.service, &self.signing_secret, &event).await.map(|()| Answer::Done)
            }
            Kind::Schedule => schedule::answer(&self.service).await.map(Answer::Schedule),
        }
    }

    async fn respond_to_request(self, event: Value, invocation: &str) -> Reply {
        let request = match raw_event::parse(&event, invocation) {
            Ok(request) => request,
            Err(raw_event::Malformed(why)) => {
                tracing::info!(reason = why, http.status = 400, "event refused");
                return Reply::bad_request(why);
            }
        };
        // The event may hold a large body; the request has its own copy by now.
        drop(event);
        let answered = async {
            match self.router.oneshot(request).await {
                Ok(response) => Reply::from_response(response).await,
                Err(never) => match never {},
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| {
            tracing::error!(http.status = 503, "a request was not answered in time");
            Reply::unavailable()
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use serde_json::json;

    use super::*;
    use crate::{clock::SystemClock, domain::Policy, entropy::SystemEntropy, store::MemoryStore, vault::MemoryVault};

    fn desk(function: Function) -> Desk {
        let service = Service::new(
            Arc::new(MemoryStore::new()),
            Arc::new(MemoryVault::new()),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            Policy::new("https://auth.example.org"),
            1,
        );
        Desk::new(function, service, &Options::default(), "keys/gatemint-jwt-secret")
    }

    fn of(event: Value) -> LambdaEvent<Value> {
        LambdaEvent::new(event, lambda_http::Context::default())
    }

    fn request(path: &str) -> Value {
        json!({
            "version": "2.0",
            "rawPath": path,
            "requestContext": { "http": { "method": "GET", "sourceIp": "192.0.2.1" } },
        })
    }

    fn question() -> Value {
        json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "rawPath": "/", "headers": {} })
    }

    fn step() -> Value {
        json!({ "Step": "createSecret", "SecretId": "other", "ClientRequestToken": "0".repeat(32) })
    }

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_caller_a_500_and_nobody_else_anything() {
        async fn broken() {
            panic!("a fault of ours");
        }
        let router = Router::new().route("/fine", get(|| async {})).route("/broken", get(broken));
        let desk = Desk { router, ..desk(Function::All) };
        for (path, expected) in [("/fine", 200), ("/broken", 500), ("/fine", 200), ("/absent", 404), ("no path", 400)] {
            let answer = serde_json::to_value(desk.clone().answer(of(request(path))).await.unwrap()).unwrap();
            assert_eq!(answer["statusCode"], expected, "{path}");
        }
    }

    fn due() -> Value {
        json!({ "version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} })
    }

    #[tokio::test]
    async fn each_function_answers_its_own_kind_of_event_and_names_it_to_the_others() {
        let functions = [
            (Function::Http(http::Function::Token), "request of an HTTP API", request("/oauth2/token")),
            (Function::Authorizer, "authorizer event", question()),
            (Function::RotateKeys, "rotation event", step()),
            (Function::RefreshSecrets, "schedule event", due()),
        ];
        let of_nobody = json!({ "Records": [] });
        for (function, named, own) in &functions {
            let said = |event: Value| async {
                let answer = desk(*function).answer(of(event)).await;
                answer.err().filter(|refused| refused.error_type == "UnsupportedEvent").map(|it| it.error_message)
            };
            assert_eq!(said(own.clone()).await, None, "{function:?}");
            let foreign = functions.iter().map(|(_, _, event)| event).filter(|event| *event != own);
            for event in foreign.chain([&of_nobody]) {
                let message = said(event.clone()).await.unwrap();
                assert!(
                    message.contains(&format!("answers a {named}")) || message.contains(&format!("answers an {named}")),
                    "{message}"
                );
            }
        }
        for event in [request("/healthz"), question(), step(), due()] {
            let refused = desk(Function::All).answer(of(event)).await.err();
            assert!(refused.is_none_or(|refused| refused.error_type != "UnsupportedEvent"));
        }
    }

    #[tokio::test]
    async fn what_is_done_for_a_rotation_is_answered_with_null() {
        assert_eq!(serde_json::to_value(Answer::Done).unwrap(), Value::Null);
    }
}
