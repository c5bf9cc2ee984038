//! `/api/v1/service_accounts`: made, listed, read, rotated and ended. They are those of the caller's own namespace.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Asker, Named,
    body::{Fields, json},
    dress::Failure,
    service_account::View,
};
use crate::{
    clock::Timestamp,
    domain::{
        Policy, Refusal, RefusalKind,
        ids::Name,
        service_account::{self, Defaults, Listed, NewServiceAccount, ServiceAccount},
        session::revoke::{LiveToken, TokenId},
    },
    http::App,
};

/// How many are read at a time.
const BATCH: usize = 90;

/// How long the token before it goes on after a rotation, unless it is said.
const USUAL_OVERLAP: u64 = 24 * 60 * 60;

const EXPIRES_AT: &str = "expires_at";

/// The field of the domain that a name stands in.
const NAME: &str = "metadata.name";

/// What comes of a refusal about one service account.
fn failing<'a>(app: &'a App, id_or_name: &'a str) -> impl Fn(Refusal) -> Failure + 'a {
    move |refusal| match refusal.kind {
        RefusalKind::Absent => Failure::no_such_account(id_or_name),
        _ => Failure::on(app)(refusal),
    }
}

/// `POST …/service_accounts`: with its token, which is shown here and nowhere else.
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let body = json(request.into_body()).await.map_err(Failure::on(&app))?;
    let new = wanted(&app.service.policy, &who, body).map_err(Failure::on(&app))?;
    let issued = service_account::create(&app.service, who.now, &who.by, new).await;
    let issued = issued.map_err(|refusal| match (refusal.kind, refusal.field) {
        (RefusalKind::Conflict, Some(NAME)) => Failure::taken(),
        (RefusalKind::Invalid, Some(NAME)) => {
            let text = format!("Invalid service account name: {}", refusal.text);
            Failure::on(&app)(Refusal::invalid(NAME, text))
        }
        _ => Failure::on(&app)(refusal),
    })?;
    let view = View::with_token(&app.service.policy, &issued.account, issued.token.as_ref());
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Reads what is to be made.
fn wanted(policy: &Policy, who: &Asker, body: Option<Value>) -> Result<NewServiceAccount, Refusal> {
    let mut fields = Fields::of(body.unwrap_or_default())?;
    let name = fields.text("name")?;
    let (cluster, project) = (fields.needed("default_cluster")?, fields.needed("default_project")?);
    let org = fields.text("default_org")?;
    let expires_at = end(&mut fields)?;
    let labels = fields.take::<BTreeMap<String, String>>("labels", "must be an object of strings")?;
    fields.end("name, default_cluster, default_project, default_org, expires_at and labels")?;
    if cluster != policy.cluster.as_str() {
        let text = format!("must be {}: its token is good at no other", policy.cluster);
        return Err(Refusal::invalid("default_cluster", text));
    }
    if org.as_ref().is_some_and(|org| *org != policy.organisation) {
        let text = format!("must be {}, the one that there is", policy.organisation);
        return Err(Refusal::invalid("default_org", text));
    }
    Name::parse(&project, "default_project")?;
    Ok(NewServiceAccount {
        namespace: who.namespace.to_string(),
        name,
        labels: labels.unwrap_or_default(),
        defaults: Some(Defaults { cluster, project, org }),
        expires_at,
        with_token: true,
    })
}

fn end(fields: &mut Fields) -> Result<Option<Timestamp>, Refusal> {
    let parse = |text: String| {
        Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| Refusal::invalid(EXPIRES_AT, "must be a time as of RFC 3339, e.g. 2027-01-31T10:00:00Z"))
    };
    fields.text(EXPIRES_AT)?.map(parse).transpose()
}

/// `GET …/service_accounts`: all of the namespace that the caller may see, as a JSON list or, if that is asked for, line
/// by line.
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let accounts = all(&app, &who).await.map_err(Failure::on(&app))?;
    let views: Vec<_> = accounts.iter().map(|account| View::of(&app.service.policy, account)).collect();
    if !wants_lines(request.headers()) {
        return Ok(Json(views).into_response());
    }
    let lines = views.iter().map(|view| serde_json::to_string(view).unwrap_or_default() + "\n");
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines.collect::<String>()).into_response())
}

async fn all(app: &App, who: &Asker) -> Result<Vec<ServiceAccount>, Refusal> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let namespace = who.namespace.as_str();
        let (page, next) =
            service_account::list(&app.service, who.now, &who.by, namespace, after.as_deref(), BATCH).await?;
        all.extend(page);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|range| {
        range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-ndjson"))
    })
}

/// `GET …/service_accounts/{id_or_name}`
pub(super) async fn read(
    State(app): State<App>,
    Named(account): Named,
    request: Request,
) -> Result<Json<View>, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let found = service_account::get(&app.service, who.now, &who.by, who.namespace.as_str(), &account).await;
    found.map(|found| Json(View::of(&app.service.policy, &found))).map_err(failing(&app, &account))
}

/// `DELETE …/service_accounts/{id_or_name}`: all its tokens are over at once.
pub(super) async fn delete(
    State(app): State<App>,
    Named(account): Named,
    request: Request,
) -> Result<StatusCode, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    service_account::delete(&app.service, who.now, &who.by, who.namespace.as_str(), &account)
        .await
        .map_err(failing(&app, &account))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/service_accounts/{id_or_name}/rotate`: another token; those before it go on for the overlap.
pub(super) async fn rotate(
    State(app): State<App>,
    Named(account): Named,
    request: Request,
) -> Result<Json<View>, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let rotated = async {
        let body = json(request.into_body()).await?;
        let mut fields = Fields::of(body.unwrap_or_else(|| Map::new().into()))?;
        let overlap = fields.take::<u64>("overlap", "must be a number of seconds from 0 on")?;
        let expires_at = end(&mut fields)?;
        fields.end("overlap and expires_at")?;
        let overlap = Duration::from_secs(overlap.unwrap_or(USUAL_OVERLAP));
        let namespace = who.namespace.as_str();
        service_account::rotate(&app.service, who.now, &who.by, namespace, &account, overlap, expires_at).await
    };
    let issued = rotated.await.map_err(failing(&app, &account))?;
    Ok(Json(View::with_token(&app.service.policy, &issued.account, issued.token.as_ref())))
}

/// A live token of a service account, as it is shown: no credential.
#[derive(Serialize)]
pub(super) struct TokenView {
    id: String,
    kind: &'static str,
    issued_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    issued_by: String,
    audiences: Vec<String>,
}

impl TokenView {
    fn of(account: &ServiceAccount, token: Listed) -> Self {
        let id = TokenId::of(&LiveToken::ServiceAccount(token.clone()), account.owner.name.as_str()).to_string();
        match token {
            Listed::Long(_, token, used) => Self {
                id,
                kind: "long-lived",
                issued_at: token.issued_at.rfc3339(),
                expires_at: token.expires_at.map(Timestamp::rfc3339),
                last_used_at: used.map(Timestamp::rfc3339),
                issued_by: token.by.as_str().to_owned(),
                audiences: Vec::new(),
            },
            Listed::Short(token) => Self {
                id,
                kind: "short-lived",
                issued_at: token.issued_at.rfc3339(),
                expires_at: Some(token.expires_at.rfc3339()),
                last_used_at: None,
                issued_by: token.by,
                audiences: token.audiences,
            },
        }
    }
}

/// A service account's live tokens as they are shown, for the command line on a store.
#[cfg(feature = "cli")]
pub(crate) fn token_objects(account: &ServiceAccount, tokens: Vec<Listed>) -> Value {
    let shown: Vec<_> = tokens.into_iter().map(|token| TokenView::of(account, token)).collect();
    serde_json::to_value(shown).unwrap_or_default()
}

/// `GET …/service_accounts/{id_or_name}/tokens`: what is live. Each is ended by `DELETE /v1/tokens/{id}`.
pub(super) async fn tokens(
    State(app): State<App>,
    Named(account): Named,
    request: Request,
) -> Result<Json<Vec<TokenView>>, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let namespace = who.namespace.as_str();
    let found = service_account::tokens(&app.service, who.now, &who.by, namespace, &account).await;
    let (account, tokens) = found.map_err(failing(&app, &account))?;
    Ok(Json(tokens.into_iter().map(|token| TokenView::of(&account, token)).collect()))
}
