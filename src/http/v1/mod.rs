//! Our own resources: users, clients, tokens, and oneself. Refusals are problems (RFC 9457).

mod clients;
mod dress;
mod me;
mod page;
mod request;
mod tokens;
mod users;

use axum::{
    Router,
    routing::{delete, get, post},
};

#[cfg(feature = "cli")]
pub(crate) use clients::ClientView;
pub(super) use dress::problem;
#[cfg(feature = "cli")]
pub(crate) use tokens::TokenView;
#[cfg(feature = "cli")]
pub(crate) use users::UserView;

use super::App;

/// The one resource that needs the rights of the function `token`.
pub(super) fn own_password() -> Router<App> {
    Router::new().route("/v1/me/password", post(me::change_password))
}

/// All the others.
pub(super) fn resources() -> Router<App> {
    Router::new()
        .route("/v1/me", get(me::get))
        .route("/v1/users", get(users::list).post(users::create))
        .route("/v1/users/{name}", get(users::get).patch(users::update).delete(users::delete))
        .route("/v1/clients", get(clients::list).post(clients::create))
        .route("/v1/clients/{id}", get(clients::get).patch(clients::update).delete(clients::delete))
        .route("/v1/tokens", get(tokens::list))
        .route("/v1/tokens/{id}", delete(tokens::end))
}
