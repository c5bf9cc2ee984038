//! `/v1/me`: oneself.

use axum::{
    Json,
    extract::{Extension, Request, State},
    http::StatusCode,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{described, dress::Dressed, request, users::UserView};
use crate::{
    domain::{Secret, account::manage},
    http::{App, bearer, source_address::SourceAddress},
};

/// `GET /v1/me`
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Json<UserView>, Dressed> {
    let caller = bearer::caller(&app, app.service.now(), request.headers()).await?;
    Ok(Json(UserView::of(&caller.account.record)))
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePassword {
    /// The password until now.
    #[schema(format = Password)]
    old: String,
    /// The one from now on.
    #[schema(value_type = described::NewPassword)]
    new: String,
}

/// `POST /v1/me/password`: ends all other sessions.
pub(super) async fn change_password(
    State(app): State<App>,
    Extension(SourceAddress(address)): Extension<SourceAddress>,
    request: Request,
) -> Result<StatusCode, Dressed> {
    let now = app.service.now();
    let caller = bearer::caller(&app, now, request.headers()).await?;
    let ChangePassword { old, new } = request::json(request).await?;
    let (old, new) = (Secret::new(old.into_bytes()), Secret::new(new.into_bytes()));
    manage::change_own_password(&app.service, now, caller, old, new, address).await?;
    Ok(StatusCode::NO_CONTENT)
}
