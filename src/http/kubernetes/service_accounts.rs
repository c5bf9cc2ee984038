//! `…/namespaces/{namespace}/serviceaccounts`: made, listed, read, ended.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    At,
    body::{Fields, object},
    dress::Failure,
    kinds::{NAMESPACE, SERVICE_ACCOUNT},
    metadata::{GENERATE_NAME, NAME, like_made_up, made_up},
    objects::{asker, get},
    options::{Query, deletion},
    service_account::{self, Form, Wanted, uid},
};
use crate::{
    clock::Timestamp,
    domain::{
        ROUNDS, Refusal, RefusalKind,
        access::Subject,
        ids::Name,
        service_account::{self as accounts, NewServiceAccount, ServiceAccount},
    },
    http::App,
};

/// What comes of a refusal about one ServiceAccount, or about all.
pub(super) fn failing(name: &str) -> impl Fn(Refusal) -> Failure + '_ {
    move |refusal| Failure::of(&refusal, &SERVICE_ACCOUNT, name)
}

/// `POST …/serviceaccounts`: without a token, which is asked for apart.
pub(super) async fn create(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(""))?;
    Query::of(request.uri())?.refuse_dry_run()?;
    let body =
        object(request).await?.ok_or_else(|| Failure::bad_request("a ServiceAccount is missing: the body is empty"))?;
    let Wanted { new, prefix } = service_account::read(&Fields::of(&body), &namespace).map_err(|wrong| {
        let name = body.get("metadata").and_then(|metadata| metadata["name"].as_str()).unwrap_or_default();
        Failure::invalid(&SERVICE_ACCOUNT, name, &wrong.field, wrong.cause, wrong.text)
    })?;
    let account = match (&new.name, prefix) {
        (None, Some(prefix)) => create_under(&app, now, &by, new, &prefix).await?,
        (None, None) => {
            let text = "a name, or generateName, is needed";
            return Err(Failure::invalid(&SERVICE_ACCOUNT, "", NAME, "FieldValueRequired", text));
        }
        (Some(name), _) => {
            let name = name.clone();
            let issued = accounts::create(&app.service, now, &by, new).await;
            issued.map_err(|refusal| not_made(&refusal, &namespace, &name))?.account
        }
    };
    Ok((StatusCode::CREATED, Json(Form::Account.render(&account))).into_response())
}

/// A namespace that is nobody's is told apart from a ServiceAccount that is not there.
fn not_made(refusal: &Refusal, namespace: &str, name: &str) -> Failure {
    match refusal.kind {
        RefusalKind::Absent => Failure::of(&Refusal::absent(refusal.text.clone()), &NAMESPACE, namespace),
        _ => Failure::of(refusal, &SERVICE_ACCOUNT, name),
    }
}

/// Makes it under a name that begins with `prefix` and that nobody has.
async fn create_under(
    app: &App,
    now: Timestamp,
    by: &Subject,
    new: NewServiceAccount,
    prefix: &str,
) -> Result<ServiceAccount, Failure> {
    Name::parse(&like_made_up(prefix), GENERATE_NAME).map_err(failing(""))?;
    let namespace = new.namespace.clone();
    let mut taken = None;
    for _ in 0..ROUNDS {
        let name = made_up(prefix, app.service.entropy.as_ref());
        let new = NewServiceAccount { name: Some(name.clone()), ..new.clone() };
        match accounts::create(&app.service, now, by, new).await {
            Ok(issued) => return Ok(issued.account),
            Err(refusal) => {
                let failure = not_made(&refusal, &namespace, &name);
                if refusal.kind != RefusalKind::Conflict {
                    return Err(failure);
                }
                taken = Some(failure);
            }
        }
    }
    Err(taken.unwrap_or_else(|| Failure::bad_request("no name was found")))
}

/// `DELETE …/serviceaccounts/{name}`: with all its tokens, at once. The answer is what it was, as Kubernetes has it.
pub(super) async fn delete(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let (now, by) = asker(&app, request.headers()).await.map_err(failing(&name))?;
    let meant = deletion(request).await?;
    let account = get(&app, now, &by, &namespace, &name).await.map_err(failing(&name))?;
    let whom = match meant {
        None => name.clone(),
        // By its id: one that is made under the name in between is another one, and stays.
        Some(meant) if meant == uid(&account) => account.id(),
        Some(_) => {
            let text = "there is another one of that name now: its uid is not the one in preconditions";
            return Err(failing(&name)(Refusal::conflict(text)));
        }
    };
    let deleted = accounts::delete(&app.service, now, &by, &namespace, &whom).await.map_err(failing(&name))?;
    Ok(Json(Form::Account.render(&deleted)).into_response())
}
