//! Our own resources: users, clients, sites, tokens, and oneself. Refusals are problems (RFC 9457).

mod clients;
mod described;
mod dress;
mod me;
mod page;
mod request;
mod sites;
mod tokens;
mod users;

use axum::{Router, http::StatusCode};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::HttpMethod::{Delete, Get, Patch, Post};

#[cfg(feature = "cli")]
pub(crate) use clients::ClientView;
pub(super) use dress::problem;
#[cfg(feature = "cli")]
pub(crate) use sites::SiteView;
#[cfg(feature = "cli")]
pub(crate) use tokens::TokenView;
#[cfg(feature = "cli")]
pub(crate) use users::UserView;

use super::{App, Routes, panicked};

/// The one resource that needs the rights of the function `token`.
pub(super) fn own_password() -> Routes {
    Routes::new().route(Post, "/v1/me/password", me::change_password, described::change_password()).with(dressed)
}

/// All the others.
pub(super) fn resources() -> Routes {
    Routes::new()
        .route(Get, "/v1/me", me::get, described::me())
        .route(Get, "/v1/users", users::list, described::list_users())
        .route(Post, "/v1/users", users::create, described::create_user())
        .route(Get, "/v1/users/{name}", users::get, described::get_user())
        .route(Patch, "/v1/users/{name}", users::update, described::update_user())
        .route(Delete, "/v1/users/{name}", users::delete, described::delete_user())
        .route(Get, "/v1/clients", clients::list, described::list_clients())
        .route(Post, "/v1/clients", clients::create, described::create_client())
        .route(Get, "/v1/clients/{id}", clients::get, described::get_client())
        .route(Patch, "/v1/clients/{id}", clients::update, described::update_client())
        .route(Delete, "/v1/clients/{id}", clients::delete, described::delete_client())
        .route(Get, "/v1/sites", sites::list, described::list_sites())
        .route(Post, "/v1/sites", sites::create, described::create_site())
        .route(Get, "/v1/sites/{id}", sites::get, described::get_site())
        .route(Patch, "/v1/sites/{id}", sites::update, described::update_site())
        .route(Delete, "/v1/sites/{id}", sites::delete, described::delete_site())
        .route(Get, "/v1/tokens", tokens::list, described::list_tokens())
        .route(Delete, "/v1/tokens/{id}", tokens::end, described::end_token())
        .with(dressed)
}

/// What no handler answers wears this dialect's dress too.
pub(super) fn dressed(router: Router<App>) -> Router<App> {
    router
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer this method")
        })
        .layer(CatchPanicLayer::custom(|_| {
            panicked();
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be answered")
        }))
}
