//! One event in, one reply out.

use axum::Router;
use lambda_http::lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{
    raw_event::{self, Refused},
    reply::Reply,
};

/// Answers one event. A request that is wrong is answered with a 400, an event of another kind with an error that names
/// what is supported, and a panic further down with a 500: the process lives on for the next event in any case.
pub(super) async fn answer(router: Router, event: LambdaEvent<Value>) -> Result<Reply, Diagnostic> {
    let LambdaEvent { payload, context } = event;
    // A task of its own, so that a panic ends this task and not the process. The hook has printed what it was.
    let task = tokio::spawn(respond(router, payload, context.request_id).in_current_span());
    task.await.unwrap_or_else(|_| {
        tracing::error!("a handler panicked; the caller got a 500");
        Ok(Reply::internal_error())
    })
}

async fn respond(router: Router, event: Value, invocation: String) -> Result<Reply, Diagnostic> {
    let request = match raw_event::parse(&event, &invocation) {
        Ok(request) => request,
        Err(Refused::Malformed(why)) => {
            tracing::info!(reason = why, http.status = 400, "event refused");
            return Ok(Reply::bad_request(why));
        }
        Err(Refused::Unsupported(kind)) => {
            tracing::warn!(event.kind = kind, "event not supported");
            return Err(Diagnostic {
                error_type: "UnsupportedEvent".to_owned(),
                error_message: format!(
                    "this is {kind}; this function answers events of API Gateway's HTTP APIs and of Lambda function \
                     URLs, payload format 2.0"
                ),
            });
        }
    };
    // The event may hold a large body; the request has its own copy by now.
    drop(event);
    match router.oneshot(request).await {
        Ok(response) => Ok(Reply::from_response(response).await),
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use serde_json::json;

    use super::*;

    fn event(path: &str) -> LambdaEvent<Value> {
        let payload = json!({
            "version": "2.0",
            "rawPath": path,
            "requestContext": { "http": { "method": "GET", "sourceIp": "192.0.2.1" } },
        });
        LambdaEvent::new(payload, lambda_http::Context::default())
    }

    async fn status(router: &Router, event: LambdaEvent<Value>) -> Value {
        serde_json::to_value(answer(router.clone(), event).await.unwrap()).unwrap()["statusCode"].clone()
    }

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_caller_a_500_and_nobody_else_anything() {
        async fn broken() {
            panic!("a fault of ours");
        }
        let router = Router::new().route("/fine", get(|| async {})).route("/broken", get(broken));
        assert_eq!(status(&router, event("/broken")).await, 500);
        assert_eq!(status(&router, event("/fine")).await, 200);
        assert_eq!(status(&router, event("/absent")).await, 404);
        assert_eq!(status(&router, event("no path")).await, 400);
    }

    #[tokio::test]
    async fn an_event_of_another_kind_is_an_error_that_names_what_is_supported() {
        let event = LambdaEvent::new(json!({ "Records": [] }), lambda_http::Context::default());
        let refused = answer(Router::new(), event).await.unwrap_err();
        assert_eq!(refused.error_type, "UnsupportedEvent");
        assert!(refused.error_message.contains("payload format 2.0"), "{}", refused.error_message);
    }
}
