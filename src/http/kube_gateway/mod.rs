//! The dialect of kube-gateway: signed links, and its way to ask for a token.

use axum::Router;

use crate::http::App;

/// The routes of this dialect.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
