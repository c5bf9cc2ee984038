//! `…/namespaces/{namespace}/roles`: the one Role of the manual way, by which a service account may request tokens for
//! itself. It gives nothing until it is bound, as in Kubernetes; to delete it takes away what its binding gave.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    At,
    body::{Fields, object},
    dress::{Failure, deleted},
    kinds::{ROLE, SERVICE_ACCOUNT},
    metadata::NAME,
    objects::{asker, existing, get},
    options::{Query, deletion},
    role_bindings,
    service_account::{Form, header, rules},
};
use crate::{
    domain::{Refusal, service_account as accounts},
    http::App,
};

fn failing(name: &str) -> impl Fn(Refusal) -> Failure + '_ {
    move |refusal| Failure::of(&refusal, &ROLE, name)
}

/// `POST …/roles`
pub(super) async fn create(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(""))?;
    Query::of(request.uri())?.refuse_dry_run()?;
    let body = object(request).await?.ok_or_else(|| Failure::bad_request("a Role is missing: the body is empty"))?;
    let fields = Fields::of(&body);
    let (name, account) = named(&fields, Form::Role, &namespace)?;
    if fields.value("rules") != Some(&rules(&account)) {
        let text = format!("the one rule that is known here, in a Role of this name, is {}", rules(&account));
        return Err(Failure::invalid(&ROLE, &name, "rules", "FieldValueNotSupported", &text));
    }
    fields
        .only(&["apiVersion", "kind", "metadata", "rules"])
        .map_err(|wrong| Failure::invalid(&ROLE, &name, &wrong.field, wrong.cause, wrong.text))?;
    let of_account = |refusal: Refusal| Failure::of(&refusal, &SERVICE_ACCOUNT, &account);
    let mut of = get(&app, now, &by, &namespace, &account).await.map_err(of_account)?;
    let made = accounts::set_may_request_role(&app.service, now, &by, &namespace, &account, true).await;
    if !made.map_err(failing(&name))? {
        return Err(failing(&name)(is_taken()));
    }
    of.may_request_role = Some(now);
    Ok((StatusCode::CREATED, Json(Form::Role.render(&of))).into_response())
}

/// The refusal of a second object of one name.
pub(super) fn is_taken() -> Refusal {
    Refusal { field: Some(NAME), ..Refusal::conflict("there is one of that name already") }
}

/// The name of an object that is to be made, and the account that it is of: the name says so.
pub(super) fn named(fields: &Fields<'_>, form: Form, namespace: &str) -> Result<(String, String), Failure> {
    let kind = form.kind();
    let name = header(fields, kind, namespace).and_then(|metadata| metadata.text("name"));
    let name = name.map_err(|wrong| Failure::invalid(kind, "", &wrong.field, wrong.cause, wrong.text))?;
    let name = name.unwrap_or_default();
    if let Some(account) = form.account_of(&name).map(ToOwned::to_owned) {
        return Ok((name, account));
    }
    let text = format!("must be the name of a ServiceAccount with {} behind it", form.suffix());
    Err(Failure::invalid(kind, &name, NAME, "FieldValueInvalid", &text))
}

/// `DELETE …/roles/{name}`
pub(super) async fn delete(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(&name))?;
    refuse_preconditions(deletion(request).await?.as_deref())?;
    let account = existing(&app, now, &by, Form::Role, &namespace, &name).await.map_err(failing(&name))?;
    // The permission first: while the Role is there, this can be tried again.
    role_bindings::unbind(&app, now, &by, &account).await.map_err(failing(&name))?;
    let made = accounts::set_may_request_role(&app.service, now, &by, &namespace, account.name.as_str(), false).await;
    made.map_err(failing(&name))?;
    Ok(deleted(&ROLE, &name, ""))
}

/// Roles and their bindings have no uid: none is told from another one that was of the name before.
pub(super) fn refuse_preconditions(uid: Option<&str>) -> Result<(), Failure> {
    match uid {
        None => Ok(()),
        Some(_) => Err(Failure::bad_request("preconditions: an object of this kind has no uid")),
    }
}
