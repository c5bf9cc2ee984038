//! `/v1/users`, for admins.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    described,
    dress::Dressed,
    page::{Page, Query},
    request::{self, Named},
};
use crate::{
    domain::{
        Refusal, Secret,
        access::Caller,
        account::{
            Account,
            manage::{self, AccountPatch, NewAccount},
        },
        ids::Role,
    },
    http::App,
};

/// An account as it is shown, over HTTP and by the commands: nothing of its password.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserView {
    /// Its name, for ever.
    #[schema(value_type = described::Name)]
    pub(crate) name: String,
    /// What it is: `sub` of its tokens. One that is made again under the name has another.
    pub(crate) uid: String,
    /// Its namespace.
    #[schema(value_type = described::Name)]
    pub(crate) namespace: String,
    /// Its e-mail address, or empty.
    #[schema(value_type = described::Email)]
    pub(crate) email: String,
    /// Its roles.
    #[schema(value_type = Vec<described::Role>)]
    pub(crate) roles: Vec<String>,
    /// Whether it may sign in.
    pub(crate) enabled: bool,
    /// Whether its token that is always fresh is kept in the secrets manager as well.
    #[serde(default)]
    pub(crate) mirror_token: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// Only in the answer of the command that made it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub(crate) password: Option<String>,
}

impl UserView {
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            name: account.name.to_string(),
            uid: account.uid.to_string(),
            namespace: account.namespace.to_string(),
            email: account.email.as_str().to_owned(),
            roles: account.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            enabled: account.enabled,
            mirror_token: account.mirror_token,
            created_at: account.created_at.rfc3339(),
            password: None,
        }
    }
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewUser)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Its name, for ever.
    #[schema(value_type = described::Name)]
    name: String,
    /// Its password.
    #[schema(value_type = described::NewPassword)]
    password: String,
    /// Its namespace, nobody else's; its name unless said.
    #[serde(default)]
    #[schema(value_type = Option<described::Name>)]
    namespace: Option<String>,
    /// Its e-mail address.
    #[serde(default)]
    #[schema(value_type = described::Email)]
    email: String,
    /// Its roles.
    #[serde(default)]
    #[schema(value_type = Vec<described::Role>, max_items = 64)]
    roles: Vec<String>,
    /// Whether it may sign in; yes unless said.
    #[serde(default = "yes")]
    enabled: bool,
    /// Whether its token that is always fresh is kept in the secrets manager as well.
    #[serde(default)]
    mirror_token: bool,
}

fn yes() -> bool {
    true
}

/// What is to change of a user.
#[derive(Deserialize, ToSchema)]
#[schema(as = UserPatch)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    /// Its e-mail address.
    #[schema(value_type = Option<described::Email>)]
    email: Option<String>,
    /// All its roles.
    #[schema(value_type = Option<Vec<described::Role>>, max_items = 64)]
    roles: Option<Vec<String>>,
    /// Whether it may sign in.
    enabled: Option<bool>,
    /// A new password.
    #[schema(value_type = Option<described::NewPassword>)]
    password: Option<String>,
    /// Whether its token that is always fresh is kept in the secrets manager as well.
    mirror_token: Option<bool>,
}

/// An admin cannot take the last admin away by mistake: another admin can, and so can the operator.
fn not_oneself(caller: &Caller, name: &str) -> Result<(), Refusal> {
    if caller.account.record.name.as_str() == name {
        return Err(Refusal::conflict("admins cannot disable, delete or demote themselves; another admin can"));
    }
    Ok(())
}

/// `POST /v1/users`
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<(StatusCode, Json<UserView>), Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    let create: Create = request::json(request).await?;
    let new = NewAccount {
        name: create.name,
        namespace: create.namespace,
        email: create.email,
        roles: create.roles,
        enabled: create.enabled,
        password: Secret::new(create.password.into_bytes()),
        mirror_token: create.mirror_token,
    };
    let account = manage::create(&app.service, now, new, caller.account.record.name.as_str()).await?;
    Ok((StatusCode::CREATED, Json(UserView::of(&account))))
}

/// `GET /v1/users`
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Json<Page<UserView>>, Dressed> {
    let now = app.service.now();
    request::admin(&app, now, request.headers()).await?;
    let query = Query::parse(request.uri().query())?;
    let (accounts, next) = manage::list(&app.service, now, query.after.as_deref(), query.limit).await?;
    Ok(Json(Page::new(accounts.iter().map(UserView::of).collect(), next)))
}

/// `GET /v1/users/{name}`
pub(super) async fn get(
    State(app): State<App>,
    Named(name): Named,
    request: Request,
) -> Result<Json<UserView>, Dressed> {
    let now = app.service.now();
    request::admin(&app, now, request.headers()).await?;
    Ok(Json(UserView::of(&manage::get(&app.service, now, &name).await?.record)))
}

/// `PATCH /v1/users/{name}`
pub(super) async fn update(
    State(app): State<App>,
    Named(name): Named,
    request: Request,
) -> Result<Json<UserView>, Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    let patch: Patch = request::json(request).await?;
    let stays_admin = patch.roles.as_ref().is_none_or(|roles| roles.iter().any(|role| role == Role::ADMIN));
    if patch.enabled == Some(false) || !stays_admin {
        not_oneself(&caller, &name)?;
    }
    let patch = AccountPatch {
        email: patch.email,
        roles: patch.roles,
        enabled: patch.enabled,
        password: patch.password.map(|password| Secret::new(password.into_bytes())),
        mirror_token: patch.mirror_token,
    };
    let account = manage::update(&app.service, now, &name, patch, caller.account.record.name.as_str()).await?;
    Ok(Json(UserView::of(&account)))
}

/// `DELETE /v1/users/{name}`
pub(super) async fn delete(
    State(app): State<App>,
    Named(name): Named,
    request: Request,
) -> Result<StatusCode, Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    not_oneself(&caller, &name)?;
    manage::delete(&app.service, now, &name, caller.account.record.name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
