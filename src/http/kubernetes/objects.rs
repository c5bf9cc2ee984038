//! Service accounts and what is made of each (its Secret, its Role, its RoleBinding): as lists, and one by one.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
    routing::{self, MethodRouter},
};

use super::{
    At,
    accept::{self, Row, listed},
    dress::Failure,
    kinds::NAMESPACE,
    options::{ListOptions, Query, continue_after},
    pages,
    patch::nothing_but_what_apply_remembers,
    role_bindings,
    service_account::Form,
    token_request::user_name,
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, RefusalKind,
        access::Subject,
        service_account::{self as accounts, ServiceAccount},
    },
    http::{App, bearer},
};

/// Who asks, and when.
pub(super) async fn asker(app: &App, headers: &HeaderMap) -> Result<(Timestamp, Subject), Refusal> {
    let now = app.service.now();
    Ok((now, bearer::identity(app, now, headers).await?.subject()))
}

/// `GET /api/v1/namespaces/{namespace}`: nobody may look at one, whether or not it is there. kubectl asks for it when something
/// in it is not there; told that neither is the namespace, it would say that alone, and not what it was told before.
pub(super) async fn read_no_namespace(State(app): State<App>, At(namespace): At<String>, request: Request) -> Failure {
    match asker(&app, request.headers()).await {
        Ok((_, by)) => Failure::cannot(&user_name(&by), "get", &NAMESPACE, &NAMESPACE, &namespace, &namespace),
        Err(refusal) => Failure::of(&refusal, &NAMESPACE, &namespace),
    }
}

/// What answers where all objects of one form are: a list, page by page.
pub(super) fn all(form: Form) -> MethodRouter<App> {
    routing::get(move |State(app): State<App>, At(namespace): At<String>, request: Request| async move {
        list(&app, form, &namespace, request.headers(), request.uri()).await
    })
}

/// What answers where one of them is: it is shown, and patched with what `kubectl apply` remembers, which changes nothing.
pub(super) fn one(form: Form) -> MethodRouter<App> {
    routing::get(
        move |State(app): State<App>, At((namespace, name)): At<(String, String)>, request: Request| async move {
            read(&app, form, &namespace, &name, request.headers(), request.uri()).await
        },
    )
    .patch(
        move |State(app): State<App>, At((namespace, name)): At<(String, String)>, request: Request| async move {
            patch(&app, form, &namespace, &name, request).await
        },
    )
}

async fn list(app: &App, form: Form, namespace: &str, headers: &HeaderMap, uri: &Uri) -> Result<Response, Failure> {
    let failing = |refusal: Refusal| Failure::of(&refusal, form.kind(), "");
    let (now, by) = asker(app, headers).await.map_err(failing)?;
    let query = Query::of(uri)?;
    let options = ListOptions::of(&query)?;
    let (rows, next) = page(app, now, &by, form, namespace, &options).await.map_err(failing)?;
    let next = next.as_deref().map(continue_after);
    listed(form.kind(), form.columns(), rows, next, headers, &query)
}

/// The rows of a page, and the name of the account after which the next one begins.
pub(super) async fn page(
    app: &App,
    now: Timestamp,
    by: &Subject,
    form: Form,
    namespace: &str,
    options: &ListOptions,
) -> Result<(Vec<Row>, Option<String>), Refusal> {
    let selector = &options.selector;
    if !selector.is_in(namespace) {
        return Ok((Vec::new(), None));
    }
    let bound = match form {
        Form::RoleBinding => role_bindings::bound(app, now, by, namespace).await?,
        Form::Account | Form::Secret | Form::Role => BTreeSet::new(),
    };
    let is_there = |account: &ServiceAccount| match form {
        Form::Account | Form::Secret => true,
        Form::Role => account.may_request_role.is_some(),
        Form::RoleBinding => bound.contains(account.name.as_str()),
    };
    let wanted =
        |account: &ServiceAccount| is_there(account) && selector.selects(&form.name_of(account), &form.labels(account));
    let wanted = &wanted;
    let read = |after: Option<String>, limit| async move {
        let (mut found, next) = match &selector.name {
            Some(name) => (find(app, now, by, form, namespace, name).await?.into_iter().collect(), None),
            None => accounts::list(&app.service, now, by, namespace, after.as_deref(), limit).await?,
        };
        found.retain(wanted);
        Ok((found, next))
    };
    pages::page(options, read, |account| (account.name.to_string(), form.row(account, now))).await
}

/// The account that an object of this name is of, if there is one that may be seen.
async fn find(
    app: &App,
    now: Timestamp,
    by: &Subject,
    form: Form,
    namespace: &str,
    name: &str,
) -> Result<Option<ServiceAccount>, Refusal> {
    let Some(name) = form.account_of(name) else { return Ok(None) };
    match get(app, now, by, namespace, name).await {
        Ok(account) => Ok(Some(account)),
        Err(refusal) if refusal.kind == RefusalKind::Absent => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// A service account by its name alone: Kubernetes knows no other way to speak of one.
pub(super) async fn get(
    app: &App,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
    name: &str,
) -> Result<ServiceAccount, Refusal> {
    let account = accounts::get(&app.service, now, by, namespace, name).await?;
    if account.name.as_str() == name { Ok(account) } else { Err(Refusal::absent("there is none of that name")) }
}

async fn read(
    app: &App,
    form: Form,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Response, Failure> {
    let failing = |refusal: Refusal| Failure::of(&refusal, form.kind(), name);
    let (now, by) = asker(app, headers).await.map_err(failing)?;
    let query = Query::of(uri)?;
    let account = existing(app, now, &by, form, namespace, name).await.map_err(failing)?;
    accept::shown(form.columns(), form.row(&account, now), headers, &query)
}

/// The account that an object of this name is of; it must be there, and so must be the object.
pub(super) async fn existing(
    app: &App,
    now: Timestamp,
    by: &Subject,
    form: Form,
    namespace: &str,
    name: &str,
) -> Result<ServiceAccount, Refusal> {
    let absent = || Refusal::absent("there is none of that name");
    let account = get(app, now, by, namespace, form.account_of(name).ok_or_else(absent)?).await?;
    let is_there = match form {
        Form::Account | Form::Secret => true,
        Form::Role => account.may_request_role.is_some(),
        Form::RoleBinding => role_bindings::is_bound(app, now, by, &account).await?,
    };
    if is_there { Ok(account) } else { Err(absent()) }
}

async fn patch(app: &App, form: Form, namespace: &str, name: &str, request: Request) -> Result<Response, Failure> {
    let failing = |refusal: Refusal| Failure::of(&refusal, form.kind(), name);
    let (now, by) = asker(app, request.headers()).await.map_err(failing)?;
    nothing_but_what_apply_remembers(request, form.kind(), name).await?;
    let account = existing(app, now, &by, form, namespace, name).await.map_err(failing)?;
    Ok(Json(form.render(&account)).into_response())
}
