//! `/v1/sites`, for admins.

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
    domain::access::{
        Site,
        site::{self, NewSite, SitePatch},
    },
    http::App,
};

/// A site as it is shown, over HTTP and by the commands.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Site)]
pub(crate) struct SiteView {
    /// Its id, for ever.
    #[schema(value_type = described::Name)]
    pub(crate) id: String,
    /// The template of its hosts.
    #[schema(value_type = described::SiteHost)]
    pub(crate) host: String,
    /// The template of the resources that they are.
    #[schema(value_type = described::SiteResource)]
    pub(crate) resource: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
}

impl SiteView {
    pub(crate) fn of(site: &Site) -> Self {
        Self {
            id: site.id.to_string(),
            host: site.host.as_str().to_owned(),
            resource: site.resource.as_str().to_owned(),
            created_at: site.created_at.rfc3339(),
        }
    }
}

/// A site to be made.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewSite)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Its id, for ever.
    #[schema(value_type = described::Name)]
    id: String,
    /// The template of its hosts.
    #[schema(value_type = described::SiteHost)]
    host: String,
    /// The template of the resources that they are.
    #[schema(value_type = described::SiteResource)]
    resource: String,
}

/// What is to change of a site.
#[derive(Deserialize, ToSchema)]
#[schema(as = SitePatch)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    /// The template of its hosts.
    #[schema(value_type = Option<described::SiteHost>)]
    host: Option<String>,
    /// The template of the resources that they are.
    #[schema(value_type = Option<described::SiteResource>)]
    resource: Option<String>,
}

/// `POST /v1/sites`
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<(StatusCode, Json<SiteView>), Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    let create: Create = request::json(request).await?;
    let new = NewSite { id: create.id, host: create.host, resource: create.resource };
    let site = site::create(&app.service, now, &new, caller.account.record.name.as_str()).await?;
    Ok((StatusCode::CREATED, Json(SiteView::of(&site))))
}

/// `GET /v1/sites`
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Json<Page<SiteView>>, Dressed> {
    let now = app.service.now();
    request::admin(&app, now, request.headers()).await?;
    let query = Query::parse(request.uri().query())?;
    let (sites, next) = site::list(&app.service, now, query.after.as_deref(), query.limit).await?;
    Ok(Json(Page::new(sites.iter().map(SiteView::of).collect(), next)))
}

/// `GET /v1/sites/{id}`
pub(super) async fn get(State(app): State<App>, Named(id): Named, request: Request) -> Result<Json<SiteView>, Dressed> {
    let now = app.service.now();
    request::admin(&app, now, request.headers()).await?;
    Ok(Json(SiteView::of(&site::get(&app.service, now, &id).await?)))
}

/// `PATCH /v1/sites/{id}`
pub(super) async fn update(
    State(app): State<App>,
    Named(id): Named,
    request: Request,
) -> Result<Json<SiteView>, Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    let patch: Patch = request::json(request).await?;
    let patch = SitePatch { host: patch.host, resource: patch.resource };
    let actor = caller.account.record.name;
    Ok(Json(SiteView::of(&site::update(&app.service, now, &id, &patch, actor.as_str()).await?)))
}

/// `DELETE /v1/sites/{id}`
pub(super) async fn delete(State(app): State<App>, Named(id): Named, request: Request) -> Result<StatusCode, Dressed> {
    let now = app.service.now();
    let caller = request::admin(&app, now, request.headers()).await?;
    site::delete(&app.service, now, &id, caller.account.record.name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
