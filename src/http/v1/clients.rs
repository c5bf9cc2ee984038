//! `/v1/clients`, for admins.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{
    described,
    dress::Dressed,
    page::{Page, Query},
    request::{self, Named},
};
use crate::{
    domain::{
        Secret,
        client::{
            Client, GrantType,
            manage::{self, ClientPatch, NewClient},
        },
    },
    http::App,
};

/// A client as it is shown, over HTTP and by the commands.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Client)]
pub(crate) struct ClientView {
    /// Its `client_id`, for ever.
    #[schema(value_type = described::Name)]
    pub(crate) id: String,
    /// Whether it is without a secret.
    pub(crate) public: bool,
    /// Whether it may be used.
    pub(crate) enabled: bool,
    /// The grants that it may use.
    #[schema(value_type = Vec<described::Grant>)]
    pub(crate) grants: Vec<GrantType>,
    /// The audiences of its access tokens; empty: the issuer.
    #[schema(value_type = Vec<described::Audience>)]
    pub(crate) audiences: Vec<String>,
    /// The scopes that it may ask for beside the standard ones.
    #[schema(value_type = Vec<described::Scope>)]
    pub(crate) scopes: Vec<String>,
    /// Whether it may introspect tokens that are not its own.
    pub(crate) introspect: bool,
    /// How long its access tokens live, in seconds; null: as usual.
    #[schema(minimum = 1, maximum = 86400)]
    pub(crate) access_life: Option<u64>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) secret: Option<String>,
}

impl ClientView {
    pub(crate) fn of(client: &Client, secret: Option<&Secret<String>>) -> Self {
        Self {
            id: client.id.to_string(),
            public: client.secret.is_none(),
            enabled: client.enabled,
            grants: client.grants.clone(),
            audiences: client.audiences.clone(),
            scopes: client.scopes.clone(),
            introspect: client.introspect,
            access_life: client.access_life.map(|life| life.as_secs()),
            created_at: client.created_at.rfc3339(),
            secret: secret.map(|secret| secret.expose().clone()),
        }
    }
}

/// A client to be made.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewClient)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Its `client_id`, for ever.
    #[schema(value_type = described::Name)]
    id: String,
    /// Whether it is without a secret.
    #[serde(default)]
    public: bool,
    /// The grants that it may use.
    #[serde(default)]
    #[schema(value_type = Option<Vec<described::Grant>>)]
    grants: Option<Vec<GrantType>>,
    /// The audiences of its access tokens; none: the issuer.
    #[serde(default)]
    #[schema(value_type = Vec<described::Audience>, max_items = 64)]
    audiences: Vec<String>,
    /// The scopes that it may ask for beside the standard ones.
    #[serde(default)]
    #[schema(value_type = Vec<described::Scope>, max_items = 64)]
    scopes: Vec<String>,
    /// Whether it may introspect tokens that are not its own.
    #[serde(default)]
    introspect: bool,
    /// How long its access tokens live, in seconds; null: as usual.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    access_life: Option<u64>,
}

/// What is to change of a client.
#[derive(Deserialize, ToSchema)]
#[schema(as = ClientPatch)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    /// Whether it may be used.
    enabled: Option<bool>,
    /// The grants that it may use.
    #[schema(value_type = Option<Vec<described::Grant>>)]
    grants: Option<Vec<GrantType>>,
    /// The audiences of its access tokens; none: the issuer.
    #[schema(value_type = Option<Vec<described::Audience>>, max_items = 64)]
    audiences: Option<Vec<String>>,
    /// The scopes that it may ask for beside the standard ones.
    #[schema(value_type = Option<Vec<described::Scope>>, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// Whether it may introspect tokens that are not its own.
    introspect: Option<bool>,
    /// How long its access tokens live, in seconds; `null` is a value: as usual.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 86400)]
    access_life: Option<Option<u64>>,
    /// Whether to draw a new secret.
    #[serde(default)]
    new_secret: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `POST /v1/clients`: the secret is shown here and never again.
pub(super) async fn create(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<ClientView>), Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    let create: Create = request::json(request).await?;
    let new = NewClient {
        public: create.public,
        grants: create.grants,
        audiences: create.audiences,
        scopes: create.scopes,
        introspect: create.introspect,
        access_life: create.access_life.map(Duration::from_secs),
    };
    let actor = caller.account.record.name;
    let (client, secret) = manage::create(&app.service, now, &create.id, new, actor.as_str()).await?;
    Ok((StatusCode::CREATED, Json(ClientView::of(&client, secret.as_ref()))))
}

/// `GET /v1/clients`
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Json<Page<ClientView>>, Dressed> {
    let now = app.service.now();
    request::admin(&app, now, request.headers()).await?;
    let query = Query::parse(request.uri().query())?;
    let (clients, next) = manage::list(&app.service, now, query.after.as_deref(), query.limit).await?;
    Ok(Json(Page::new(clients.iter().map(|client| ClientView::of(client, None)).collect(), next)))
}

/// `GET /v1/clients/{id}`
pub(super) async fn get(
    State(app): State<App>,
    Named(id): Named,
    request: Request,
) -> Result<Json<ClientView>, Dressed> {
    let now = app.service.now();
    request::admin(&app, now, request.headers()).await?;
    Ok(Json(ClientView::of(&manage::get(&app.service, now, &id).await?, None)))
}

/// `PATCH /v1/clients/{id}`: with `"new_secret": true` a new secret is shown here and never again.
pub(super) async fn update(
    State(app): State<App>,
    Named(id): Named,
    request: Request,
) -> Result<Json<ClientView>, Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    let patch: Patch = request::json(request).await?;
    let patch = ClientPatch {
        enabled: patch.enabled,
        grants: patch.grants,
        audiences: patch.audiences,
        scopes: patch.scopes,
        introspect: patch.introspect,
        access_life: patch.access_life.map(|life| life.map(Duration::from_secs)),
        new_secret: patch.new_secret,
    };
    let actor = caller.account.record.name;
    let (client, secret) = manage::update(&app.service, now, &id, &patch, actor.as_str()).await?;
    Ok(Json(ClientView::of(&client, secret.as_ref())))
}

/// `DELETE /v1/clients/{id}`
pub(super) async fn delete(State(app): State<App>, Named(id): Named, request: Request) -> Result<StatusCode, Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    manage::delete(&app.service, now, &id, caller.account.record.name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
