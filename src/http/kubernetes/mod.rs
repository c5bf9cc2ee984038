//! The dialect of Kubernetes: GateTokens as its clients make, read and delete them, with what kubectl asks before.
//!
//! The resources are those of kube-gateway-operator (group `kubegateway.kubevirt.io/v1beta1`), the way to list, to refuse
//! and to be discovered that of the Kubernetes API: every refusal is a `Status`, a list is read page by page
//! (`limit`, `continue`), and `kubectl get` is given the `Table` that it prints.
//!
//! Quirks: a GateToken is Ready when it is made, so nothing has to be waited for. It is immutable, and not watched: `PUT`,
//! `PATCH` and `watch` are refused. `dryRun` is refused, since it would say nothing of rights and races. A field of `spec`
//! that is not known is refused: dropped in silence, a mistyped `one-time` would make a link that works for ever.
//! What ended stays listed until it is deleted, or purged a day later, with the condition Ready `False` and without a token.

mod accept;
mod body;
mod discovery;
mod dress;
mod gate_token;
mod gate_tokens;
mod kinds;
mod options;
mod read_only;
mod selector;

use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::de::DeserializeOwned;
use tower_http::catch_panic::CatchPanicLayer;

#[cfg(feature = "cli")]
pub(crate) use gate_token::render as gate_token_object;

use super::{App, panicked};
use dress::Failure;

/// The routes of this dialect.
pub(super) fn routes() -> Router<App> {
    let discovery = [
        ("/version", get(discovery::version)),
        ("/api", get(discovery::core_versions)),
        ("/api/v1", get(discovery::core_resources)),
        ("/apis", get(discovery::groups)),
        ("/apis/kubegateway.kubevirt.io", get(discovery::group)),
        ("/apis/kubegateway.kubevirt.io/v1beta1", get(discovery::resources)),
    ];
    // Clients that are generated from Kubernetes' own document put a slash behind it.
    let with_slash = |router: Router<App>, (path, answers): (&str, MethodRouter<App>)| {
        router.route(path, answers.clone()).route(&format!("{path}/"), answers)
    };
    discovery
        .into_iter()
        .fold(Router::new(), with_slash)
        .route(
            "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/{namespace}/gatetokens",
            get(gate_tokens::list).post(gate_tokens::create),
        )
        .route(
            "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/{namespace}/gatetokens/{name}",
            get(gate_tokens::read).delete(gate_tokens::delete),
        )
        .route(
            "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/{namespace}/gateservers",
            get(read_only::list_gate_servers),
        )
        .route(
            "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/{namespace}/gateservers/{name}",
            get(read_only::read_gate_server),
        )
        .route("/api/v1/namespaces/{namespace}/secrets", get(read_only::list_secrets))
        .route("/api/v1/namespaces/{namespace}/secrets/{name}", get(read_only::read_secret))
        .method_not_allowed_fallback(async || {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "this path does not answer this method; a GateToken is immutable: delete it and create another",
            )
        })
        .layer(CatchPanicLayer::custom(|_| {
            panicked();
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the request could not be answered")
                .into_response()
        }))
}

/// Whether a path is one of Kubernetes' API, so that what is not there is told in its way.
pub(super) fn is_ours(path: &str) -> bool {
    ["/api", "/apis"]
        .into_iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The answer to a path that is not there.
pub(super) fn nothing_here() -> Response {
    Failure::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource").into_response()
}

/// A path's names, decoded.
struct At<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let names = Path::<T>::from_request_parts(parts, state).await;
        names.map(|Path(names)| Self(names)).map_err(|_| Failure::bad_request("the path is not UTF-8"))
    }
}
