//! Forward authentication.

use axum::Router;

use crate::http::App;

/// The routes of this dialect.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
