//! `…/namespaces/{namespace}/rolebindings`: that a service account may request tokens for itself. A RoleBinding is that
//! permission, and nothing else of it is kept: it is there while its account holds `write` on its own `token`.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{
    At,
    body::{Fields, object},
    dress::{Failure, deleted},
    kinds::{ROLE, ROLE_BINDING, SERVICE_ACCOUNT},
    objects::{asker, existing, get},
    options::{Query, deletion},
    roles::{is_taken, named, refuse_preconditions},
    service_account::{Form, role_ref, subjects},
};
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, RefusalKind,
        access::{Action, Principal, Resource, Subject, permission},
        ids::Name,
        service_account::ServiceAccount,
    },
    http::App,
};

fn failing(name: &str) -> impl Fn(Refusal) -> Failure + '_ {
    move |refusal| Failure::of(&refusal, &ROLE_BINDING, name)
}

/// What the permission is about.
fn token_of(app: &App, account: &ServiceAccount) -> Resource {
    Resource::service_account_token(&app.service.policy.cluster, &account.namespace, &account.name)
}

/// Whether a service account has the permission, itself and for this very resource.
pub(super) async fn is_bound(
    app: &App,
    now: Timestamp,
    by: &Subject,
    account: &ServiceAccount,
) -> Result<bool, Refusal> {
    let resource = token_of(app, account);
    let held = permission::held(&app.service, now, by, &account.principal(), Some(&resource), false).await?;
    Ok(held.iter().any(|held| held.resource == resource && held.action.gives(Action::Write)))
}

/// The names of those in a namespace that have the permission, each for itself.
pub(super) async fn bound(
    app: &App,
    now: Timestamp,
    by: &Subject,
    namespace: &str,
) -> Result<BTreeSet<String>, Refusal> {
    let cluster = &app.service.policy.cluster;
    let namespace = Name::parse(namespace, "metadata.namespace")?;
    // What a user holds is no binding of a service account: to leave one out takes nothing away.
    let nobody = Principal::User(namespace.clone());
    let below = Resource::service_accounts(cluster, &namespace);
    let shared = permission::shared(&app.service, now, by, &nobody, Some(&below)).await?;
    let own = shared.into_iter().filter_map(|held| match held.principal {
        Principal::ServiceAccount { namespace, name } if held.action.gives(Action::Write) => {
            let own = held.resource == Resource::service_account_token(cluster, &namespace, &name);
            own.then(|| name.to_string())
        }
        _ => None,
    });
    Ok(own.collect())
}

/// Takes the permission away, if it is there.
pub(super) async fn unbind(app: &App, now: Timestamp, by: &Subject, account: &ServiceAccount) -> Result<(), Refusal> {
    let resource = token_of(app, account);
    match permission::revoke(&app.service, now, by, &account.principal(), &[resource]).await {
        Err(refusal) if refusal.kind == RefusalKind::Conflict => Ok(()),
        ended => ended,
    }
}

/// `POST …/rolebindings`: the Role must be there, as in Kubernetes.
pub(super) async fn create(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(""))?;
    Query::of(request.uri())?.refuse_dry_run()?;
    let body =
        object(request).await?.ok_or_else(|| Failure::bad_request("a RoleBinding is missing: the body is empty"))?;
    let fields = Fields::of(&body);
    let (name, account) = named(&fields, Form::RoleBinding, &namespace)?;
    let known = [("roleRef", role_ref(&account)), ("subjects", subjects(&namespace, &account))];
    for (field, known) in known {
        if fields.value(field).map(without_core_group).as_ref() != Some(&known) {
            let text = format!("the one that is known here, in a RoleBinding of this name, is {known}");
            return Err(Failure::invalid(&ROLE_BINDING, &name, field, "FieldValueNotSupported", &text));
        }
    }
    fields
        .only(&["apiVersion", "kind", "metadata", "roleRef", "subjects"])
        .map_err(|wrong| Failure::invalid(&ROLE_BINDING, &name, &wrong.field, wrong.cause, wrong.text))?;
    let of_account = |refusal: Refusal| Failure::of(&refusal, &SERVICE_ACCOUNT, &account);
    let account = get(&app, now, &by, &namespace, &account).await.map_err(of_account)?;
    if account.may_request_role.is_none() {
        return Err(Failure::of(&Refusal::absent("there is no such Role"), &ROLE, &name));
    }
    if is_bound(&app, now, &by, &account).await.map_err(failing(&name))? {
        return Err(failing(&name)(is_taken()));
    }
    let wanted = [(token_of(&app, &account), Action::Write)];
    permission::grant(&app.service, now, &by, &account.principal(), &wanted).await.map_err(failing(&name))?;
    Ok((StatusCode::CREATED, Json(Form::RoleBinding.render(&account))).into_response())
}

/// Subjects name their group or not: service accounts are of the core group, which is written as nothing.
fn without_core_group(value: &Value) -> Value {
    let mut value = value.clone();
    for subject in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if subject.get("apiGroup").and_then(Value::as_str) == Some("") {
            subject.remove("apiGroup");
        }
    }
    value
}

/// `DELETE …/rolebindings/{name}`
pub(super) async fn delete(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(&name))?;
    refuse_preconditions(deletion(request).await?.as_deref())?;
    let account = existing(&app, now, &by, Form::RoleBinding, &namespace, &name).await.map_err(failing(&name))?;
    unbind(&app, now, &by, &account).await.map_err(failing(&name))?;
    Ok(deleted(&ROLE_BINDING, &name, ""))
}
