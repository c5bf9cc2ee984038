//! The dialect of Kubernetes: GateTokens and service accounts as its clients make, read and delete them, with what kubectl
//! asks before.
//!
//! The resources are those of kube-gateway-operator (group `kubegateway.kubevirt.io/v1beta1`), service accounts with their
//! TokenRequests and TokenReviews, and of its roles the one by which a service account may request tokens for itself; the
//! way to list, to refuse and to be discovered is that of the Kubernetes API: every refusal is a `Status`, a list is read
//! page by page (`limit`, `continue`), and `kubectl get` is given the `Table` that it prints.
//!
//! Quirks: a GateToken is Ready when it is made, so nothing has to be waited for. Nothing is changed in place, or watched:
//! `PUT`, `watch`, and `PATCH` of more than what `kubectl apply` remembers are refused. `dryRun` is refused, since it would
//! say nothing of rights and races. A field that is not known is refused where it could have meant a limit: dropped in
//! silence, a mistyped `one-time` would make a link that works for ever. Annotations are not kept.
//! A GateToken that ended stays listed until it is deleted, or purged a day later, with the condition Ready `False` and
//! without a token.
//!
//! Quirks of Secrets: a list has their names alone, and those of key sets and of `access-token` are in every namespace. The
//! token of `access-token` is signed at each read, so that each read has another `resourceVersion`; its `uid` is that of the
//! record that stands behind it, and is another one when it has ended and begun again.
//!
//! Quirks of service accounts: to read the Secret of one issues a token, so it is another one at each read. A RoleBinding
//! is a permission (`write` on the account's own `token`): it is there if the permission is, however that was granted. To
//! delete the Role ends it, too, and to delete the ServiceAccount ends both (`kubectl delete -f` of all three wants
//! `--ignore-not-found`).

mod accept;
mod add_auth_token;
mod admission;
mod body;
mod by_name;
mod discovery;
mod dress;
mod fresh_token;
mod gate_servers;
mod gate_token;
mod gate_tokens;
mod kinds;
mod metadata;
mod objects;
mod options;
mod pages;
mod patch;
mod pod;
mod protobuf;
mod role_bindings;
mod roles;
mod secrets;
mod selector;
mod service_account;
mod service_accounts;
mod token_request;
mod token_review;

use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde::de::DeserializeOwned;
use tower_http::catch_panic::CatchPanicLayer;

#[cfg(feature = "cli")]
pub(crate) use gate_token::render as gate_token_object;

use super::{App, panicked};
use dress::Failure;
use service_account::Form;

/// Gate tokens, and what kubectl asks before: the routes of the function `gate`.
pub(super) fn gate_routes() -> Router<App> {
    let discovery = [
        ("/version", get(discovery::version)),
        ("/api", get(discovery::core_versions)),
        ("/api/v1", get(discovery::core_resources)),
        ("/apis", get(discovery::groups)),
        ("/apis/kubegateway.kubevirt.io", get(discovery::kube_gateway)),
        ("/apis/kubegateway.kubevirt.io/v1beta1", get(discovery::kube_gateway_resources)),
        ("/apis/rbac.authorization.k8s.io", get(discovery::rbac)),
        ("/apis/rbac.authorization.k8s.io/v1", get(discovery::rbac_resources)),
        ("/apis/authentication.k8s.io", get(discovery::authentication)),
        ("/apis/authentication.k8s.io/v1", get(discovery::authentication_resources)),
    ];
    // Clients that are generated from Kubernetes' own document put a slash behind it.
    let with_slash = |router: Router<App>, (path, answers): (&str, MethodRouter<App>)| {
        router.route(path, answers.clone()).route(&format!("{path}/"), answers)
    };
    let routes = discovery
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
        .route("/apis/kubegateway.kubevirt.io/v1beta1/namespaces/{namespace}/gateservers", get(gate_servers::list))
        .route(
            "/apis/kubegateway.kubevirt.io/v1beta1/namespaces/{namespace}/gateservers/{name}",
            get(gate_servers::read),
        );
    dressed(routes, "this path does not answer this method; a GateToken is immutable: delete it and create another")
}

/// Service accounts, their tokens and their Secrets, and what they may: the routes of the function `admin`.
pub(super) fn admin_routes() -> Router<App> {
    let routes = Router::new()
        .route(
            "/api/v1/namespaces/{namespace}/serviceaccounts",
            objects::all(Form::Account).post(service_accounts::create),
        )
        .route(
            "/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
            objects::one(Form::Account).delete(service_accounts::delete),
        )
        .route(
            "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            get(token_request::read_nothing).post(token_request::create),
        )
        .route("/api/v1/namespaces/{namespace}", get(objects::read_no_namespace))
        .route("/api/v1/namespaces/{namespace}/secrets", get(secrets::list))
        .route("/api/v1/namespaces/{namespace}/secrets/{name}", get(secrets::read))
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review::create))
        .route("/webhooks/add-auth-token", admission::route())
        .route(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
            objects::all(Form::Role).post(roles::create),
        )
        .route(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/{name}",
            objects::one(Form::Role).delete(roles::delete),
        )
        .route(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
            objects::all(Form::RoleBinding).post(role_bindings::create),
        )
        .route(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/{name}",
            objects::one(Form::RoleBinding).delete(role_bindings::delete),
        )
        // Where a gateway shows these paths of a cluster to those outside, and their programs look for them.
        .route(
            "/kubernetes/api/v1/namespaces/{namespace}/serviceaccounts",
            objects::all(Form::Account).post(service_accounts::create),
        )
        .route(
            "/kubernetes/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
            objects::one(Form::Account).delete(service_accounts::delete),
        )
        .route(
            "/kubernetes/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            get(token_request::read_nothing).post(token_request::create),
        );
    dressed(routes, "this path does not answer this method; to change an object delete it and create another")
}

/// What no handler answers wears this dialect's dress, too.
fn dressed(routes: Router<App>, not_allowed: &'static str) -> Router<App> {
    routes
        .method_not_allowed_fallback(move || async move {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", not_allowed)
        })
        .layer(CatchPanicLayer::custom(|_| {
            panicked();
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the request could not be answered")
                .into_response()
        }))
}

/// Whether a path is one of Kubernetes' API, so that what is not there is told in its way.
pub(super) fn is_ours(path: &str) -> bool {
    ["/api", "/apis", "/kubernetes", "/webhooks"]
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
