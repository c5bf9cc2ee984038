//! The dialect of Kubernetes: GateTokens as its clients make, read and delete them.

use axum::Router;

use crate::http::App;

/// The routes of this dialect.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
