//! `…/namespaces/{namespace}/gatetokens`: made, listed, read, ended.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    At,
    accept::{self, Row, listed},
    body::{Fields, object},
    dress::{Failure, deleted},
    gate_token::{self, COLUMNS, Wanted},
    kinds::GATE_TOKEN,
    metadata::{GENERATE_NAME, NAME, like_made_up, made_up},
    options::{ListOptions, Query, continue_after, deletion},
    pages,
};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, RefusalKind,
        access::Identity,
        gate::{
            GateToken,
            mint::{self, NewGateToken, Shown},
        },
        ids::Name,
    },
    http::{App, bearer},
};

/// What comes of a refusal about one GateToken, or about all.
fn failing(name: &str) -> impl Fn(Refusal) -> Failure + '_ {
    move |refusal| Failure::of(&refusal, &GATE_TOKEN, name)
}

/// `POST …/gatetokens`: it is Ready at once.
pub(super) async fn create(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let now = app.service.now();
    let caller = bearer::identity(&app, now, request.headers()).await.map_err(failing(""))?;
    Query::of(request.uri())?.refuse_dry_run()?;
    let body =
        object(request).await?.ok_or_else(|| Failure::bad_request("a GateToken is missing: the body is empty"))?;
    let Wanted { new, prefix } = gate_token::read(&Fields::of(&body), &namespace).map_err(|wrong| {
        let name = body.get("metadata").and_then(|metadata| metadata["name"].as_str()).unwrap_or_default();
        Failure::invalid(&GATE_TOKEN, name, &wrong.field, wrong.cause, wrong.text)
    })?;
    let shown = match prefix.filter(|_| new.name.is_empty()) {
        Some(prefix) => create_under(&app, now, &caller, &namespace, new, &prefix).await?,
        None if new.name.is_empty() => {
            let text = "a name, or generateName, is needed";
            return Err(Failure::invalid(&GATE_TOKEN, "", NAME, "FieldValueRequired", text));
        }
        None => {
            let name = new.name.clone();
            mint::create(&app.service, now, &caller, &namespace, new).await.map_err(failing(&name))?
        }
    };
    Ok((StatusCode::CREATED, Json(gate_token::render(&shown, now))).into_response())
}

/// Makes it under a name that begins with `prefix` and that nobody has.
async fn create_under(
    app: &App,
    now: Timestamp,
    caller: &Identity,
    namespace: &str,
    new: NewGateToken,
    prefix: &str,
) -> Result<Shown, Failure> {
    Name::parse(&like_made_up(prefix), GENERATE_NAME).map_err(failing(""))?;
    let mut taken = None;
    for _ in 0..ROUNDS {
        let name = made_up(prefix, app.service.entropy.as_ref());
        let new = NewGateToken { name: name.clone(), ..new.clone() };
        match mint::create(&app.service, now, caller, namespace, new).await {
            Ok(shown) => return Ok(shown),
            Err(refusal) if refusal.kind == RefusalKind::Conflict => taken = Some(failing(&name)(refusal)),
            Err(refusal) => return Err(failing(&name)(refusal)),
        }
    }
    Err(taken.unwrap_or_else(|| Failure::bad_request("no name was found")))
}

/// `GET …/gatetokens`
pub(super) async fn list(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let now = app.service.now();
    let caller = bearer::identity(&app, now, request.headers()).await.map_err(failing(""))?;
    let query = Query::of(request.uri())?;
    let options = ListOptions::of(&query)?;
    let (rows, next) = page(&app, now, &caller, &namespace, &options).await.map_err(failing(""))?;
    let next = next.as_deref().map(continue_after);
    listed(&GATE_TOKEN, &COLUMNS, rows, next, request.headers(), &query)
}

/// The rows of a page, and the name after which the next one begins.
async fn page(
    app: &App,
    now: Timestamp,
    caller: &Identity,
    namespace: &str,
    options: &ListOptions,
) -> Result<(Vec<Row>, Option<String>), Refusal> {
    let selector = &options.selector;
    if !selector.is_in(namespace) {
        return Ok((Vec::new(), None));
    }
    let wanted = |token: &GateToken| selector.selects(token.name.as_str(), &token.labels);
    let read = |after: Option<String>, limit| async move {
        let Some(name) = &selector.name else {
            return mint::list(&app.service, now, caller, namespace, after.as_deref(), limit, wanted).await;
        };
        match mint::get(&app.service, now, caller, namespace, name).await {
            Ok(shown) => Ok((Some(shown).filter(|shown| wanted(&shown.row.record)).into_iter().collect(), None)),
            Err(refusal) if refusal.kind == RefusalKind::Absent => Ok((Vec::new(), None)),
            Err(refusal) => Err(refusal),
        }
    };
    pages::page(options, read, |shown| (shown.row.record.name.to_string(), gate_token::row(shown, now))).await
}

/// `GET …/gatetokens/{name}`
pub(super) async fn read(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let now = app.service.now();
    let caller = bearer::identity(&app, now, request.headers()).await.map_err(failing(&name))?;
    let query = Query::of(request.uri())?;
    let shown = mint::get(&app.service, now, &caller, &namespace, &name).await.map_err(failing(&name))?;
    accept::shown(&COLUMNS, gate_token::row(&shown, now), request.headers(), &query)
}

/// `DELETE …/gatetokens/{name}`: it is over at once. What its options say of waiting has no meaning here.
pub(super) async fn delete(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let now = app.service.now();
    let caller = bearer::identity(&app, now, request.headers()).await.map_err(failing(&name))?;
    let uid = deletion(request).await?;
    let only = |token: &GateToken| uid.is_none_or(|uid| uid == gate_token::uid(token));
    let token = mint::delete(&app.service, now, &caller, &namespace, &name, only).await.map_err(failing(&name))?;
    Ok(deleted(&GATE_TOKEN, &name, &gate_token::uid(&token)))
}
