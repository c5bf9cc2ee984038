//! The dialect of kube-gateway: signed links, and its way to ask for a token.
//!
//! Source: `pkg/token/token.go` of <https://github.com/kubevirt-ui/kube-gateway>, and `docs/token.md` of its operator. Paths,
//! parameters, the cookie and the shape of refusals are the original's. What differs on purpose: a link's token is verified
//! before it becomes a cookie; the cookie ends with the token; a refused request for a token has its true status; what a token
//! request says wrongly is refused, and never turned into a default. Quirk: the original's guide puts quotation marks around
//! the token (`jq .status.token` without `-r`), so one pair of them is taken off.

mod dress;
mod page;
mod place;
mod request;
mod said;
mod set;

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::Response,
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::{App, panicked};

/// The routes of this dialect.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/auth/jwt/set", get(set::open).post(set::open))
        .route("/auth/jwt/request", post(request::mint))
        .method_not_allowed_fallback(|| async {
            dress::refused(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer this method")
        })
        .layer(CatchPanicLayer::custom(|_| {
            panicked();
            dress::refused(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered")
        }))
        .layer(middleware::map_response(kept_by_nobody))
}

/// A link's URL holds a token: no cache keeps the answer, and no other server is told where the browser came from.
async fn kept_by_nobody(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
