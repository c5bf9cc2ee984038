//! `…/namespaces/{namespace}/secrets`: the names that the guides look up, and the Secret of each service account.
//!
//! A list has names and no data. To read one service account's Secret *issues* a long-lived token, which is in the answer
//! and nowhere else; so neither a table nor `HEAD` reads it. `access-token` has the namespace's token that is always fresh.
//! The key sets have a name and no data.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    At,
    accept::{self, Row, Shape, listed},
    dress::Failure,
    fresh_token,
    kinds::SECRET,
    objects::{asker, get, page},
    options::{ListOptions, Query, continue_after},
    service_account::Form,
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, RefusalKind, Service,
        access::Subject,
        fresh_token::NAME as ACCESS_TOKEN,
        ids::Name,
        service_account::{self as accounts, ServiceAccount},
    },
    http::{App, bearer},
};

fn failing(name: &str) -> impl Fn(Refusal) -> Failure + '_ {
    move |refusal| Failure::of(&refusal, &SECRET, name)
}

/// The names that there are in every namespace, in order.
fn given(service: &Service) -> Vec<&str> {
    let key_sets = service.policy.key_sets.iter().map(String::as_str);
    let mut names: Vec<&str> = key_sets.chain([ACCESS_TOKEN]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// One of those, by its name alone: it says nothing that is not public.
fn given_row(namespace: &str, name: &str) -> Row {
    let mut object = SECRET.object(json!({ "name": name, "namespace": namespace }));
    object["type"] = "Opaque".into();
    Row { cells: vec![name.to_owned(), "Opaque".to_owned()], object }
}

/// `GET …/secrets`
pub(super) async fn list(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(""))?;
    Name::parse(&namespace, "metadata.namespace").map_err(failing(""))?;
    let query = Query::of(request.uri())?;
    let options = ListOptions::of(&query)?;
    let (rows, next) = match page(&app, now, &by, Form::Secret, &namespace, &options).await {
        // Whoever may not see the service accounts sees the rest, as everybody does.
        Err(refusal) if matches!(refusal.kind, RefusalKind::Forbidden | RefusalKind::Absent) => (Vec::new(), None),
        page => page.map_err(failing(""))?,
    };
    let mut all = Vec::new();
    // They are few, and all on the first page.
    if options.after.is_none() && options.selector.is_in(&namespace) {
        let selected = |name: &&str| options.selector.selects(name, &std::collections::BTreeMap::new());
        all.extend(given(&app.service).into_iter().filter(selected).map(|name| given_row(&namespace, name)));
    }
    // Of two of one name the one that is in every namespace is the one that is read.
    let hidden = given(&app.service);
    all.extend(rows.into_iter().filter(|row| !row.cells.first().is_some_and(|name| hidden.contains(&name.as_str()))));
    let next = next.as_deref().map(continue_after);
    listed(&SECRET, Form::Secret.columns(), all, next, request.headers(), &query)
}

/// `GET …/secrets/{name}`
pub(super) async fn read(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, headers) = (app.service.now(), request.headers());
    let by = bearer::identity(&app, now, headers).await.map_err(failing(&name))?;
    Name::parse(&namespace, "metadata.namespace").map_err(failing(&name))?;
    let query = Query::of(request.uri())?;
    let columns = Form::Secret.columns();
    let shows_data = request.method() == Method::GET && Shape::of(headers) == Shape::Object;
    if name == ACCESS_TOKEN {
        return fresh_token::read(&app, now, &by, &namespace, shows_data, headers, &query).await;
    }
    if given(&app.service).contains(&name.as_str()) {
        return accept::shown(columns, given_row(&namespace, &name), headers, &query);
    }
    let absent = || failing(&name)(Refusal::absent("there is none of that name"));
    let account = Form::Secret.account_of(&name).ok_or_else(absent)?;
    let by = by.subject();
    let account = get(&app, now, &by, &namespace, account).await.map_err(failing(&name))?;
    if !shows_data {
        return accept::shown(columns, Form::Secret.row(&account, now), headers, &query);
    }
    let object = issue(&app, now, &by, &account).await.map_err(failing(&name))?;
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(object)).into_response())
}

/// The Secret with a token that was issued for this answer.
async fn issue(app: &App, now: Timestamp, by: &Subject, account: &ServiceAccount) -> Result<Value, Refusal> {
    let issued = accounts::issue(&app.service, now, by, account.namespace.as_str(), account.name.as_str()).await?;
    let token = issued.token.ok_or_else(|| Refusal::unavailable("a token was issued and is not there"))?;
    let mut object = Form::Secret.render(&issued.account);
    object["data"] = json!({
        "namespace": STANDARD.encode(issued.account.namespace.as_str()), "token": STANDARD.encode(token.expose())
    });
    Ok(object)
}
