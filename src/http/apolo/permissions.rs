//! `/api/v1/users/{name}/permissions`: who may do what, given, taken away, listed and asked about.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Asker, Named,
    body::{Fields, json},
    dress::{Failure, Missing},
    query::Query,
    uris::Uris,
};
use crate::{
    domain::{
        Refusal, RefusalKind,
        access::{
            Action, Permission, Principal, Resource,
            permission::{self, MOST_AT_ONCE},
        },
    },
    http::App,
};

/// A permission as it is shown.
#[derive(Serialize)]
struct Held<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    uri: &'a str,
    action: &'static str,
}

/// What somebody asks to give or asks about: the URI as it was written, what it means, and the action.
struct Asked {
    uri: String,
    action: Action,
}

/// A principal of a path: there its `/` is a `:`.
fn principal(name: &str) -> Result<Principal, Refusal> {
    if name.contains('/') {
        return Err(Refusal::invalid(
            "name",
            "in a path the '/' of a principal is a ':', e.g. ada:service-accounts:ci",
        ));
    }
    Principal::parse(&name.replace(':', "/"), "name")
}

/// Reads a list of `{"uri": …, "action": …}`.
fn asked(body: Option<Value>) -> Result<Vec<Asked>, Refusal> {
    let Some(Value::Array(items)) = body else {
        return Err(Refusal::malformed(r#"the body must be a JSON list: [{"uri": "job://…", "action": "read"}]"#));
    };
    let one = |item: Value| {
        let mut fields = Fields::of(item)?;
        let (uri, action) = (fields.needed("uri")?, fields.needed("action")?);
        fields.end("uri and action")?;
        let action = Action::parse(&action)
            .ok_or_else(|| Refusal::invalid("action", "must be one of deny, list, read, write, manage"))?;
        Ok(Asked { uri, action })
    };
    items.into_iter().map(one).collect()
}

/// Refuses to look up more than the domain takes.
fn few(uris: usize) -> Result<(), Refusal> {
    if (1..=MOST_AT_ONCE).contains(&uris) {
        return Ok(());
    }
    Err(Refusal::malformed(format!("there must be 1 to {MOST_AT_ONCE} URIs")))
}

/// What the asked URIs mean.
async fn pairs(app: &App, who: &Asker, asked: &[Asked]) -> Result<Vec<(Resource, Action)>, Refusal> {
    let texts: Vec<_> = asked.iter().map(|asked| asked.uri.as_str()).collect();
    let resources = Uris::of(app).resources(app, who.now, &who.by, &texts).await?;
    Ok(resources.into_iter().zip(asked.iter().map(|asked| asked.action)).collect())
}

fn show(status: StatusCode, held: &[Held<'_>]) -> Response {
    (status, Json(held)).into_response()
}

/// `POST …/permissions`: what holds now, each URI as it was asked for. What is held already is never lowered, except
/// that `deny` takes the place of what there is, and what is granted that of `deny`.
pub(super) async fn grant(State(app): State<App>, Named(name): Named, request: Request) -> Result<Response, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let granted = async {
        let (to, asked) = (principal(&name)?, asked(json(request.into_body()).await?)?);
        few(asked.len())?;
        let wanted = pairs(&app, &who, &asked).await?;
        let holds = permission::grant(&app.service, who.now, &who.by, &to, &wanted).await?;
        Ok((asked, holds))
    };
    let (asked, holds) = granted.await.map_err(Failure::on(&app))?;
    // In the order asked.
    let shown = asked.iter().zip(&holds).map(|(asked, holds)| Held {
        user: None,
        uri: &asked.uri,
        action: holds.action.as_str(),
    });
    Ok(show(StatusCode::CREATED, &shown.collect::<Vec<_>>()))
}

/// `PUT …/permissions`: these and no others; for admins.
pub(super) async fn replace(
    State(app): State<App>,
    Named(name): Named,
    request: Request,
) -> Result<StatusCode, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let replaced = async {
        let (of, asked) = (principal(&name)?, asked(json(request.into_body()).await?)?);
        // Before anything is looked up for who may not.
        if !who.by.is_admin() {
            return Err(Refusal::forbidden("only admins may replace all permissions of somebody"));
        }
        let all = pairs(&app, &who, &asked).await?;
        permission::replace(&app.service, who.now, &who.by, &of, &all).await
    };
    replaced.await.map_err(Failure::on(&app))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE …/permissions?uri=…[&uri=…]`: where there is nothing to take away, it says so with 400.
pub(super) async fn revoke(
    State(app): State<App>,
    Named(name): Named,
    request: Request,
) -> Result<StatusCode, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let uri = request.uri().clone();
    let revoked = async {
        let of = principal(&name)?;
        let query = Query::of(&uri, &["uri"])?;
        let uris = query.all("uri");
        few(uris.len())?;
        let resources = Uris::of(&app).resources(&app, who.now, &who.by, &uris).await?;
        permission::revoke(&app.service, who.now, &who.by, &of, &resources).await
    };
    revoked.await.map_err(|refusal| match refusal.kind {
        RefusalKind::Conflict => Failure::of(&app, &refusal, StatusCode::BAD_REQUEST),
        _ => Failure::on(&app)(refusal),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET …/permissions[?uri=…][&expand_roles=false]`: what somebody was granted, with what the roles were.
pub(super) async fn list(State(app): State<App>, Named(name): Named, request: Request) -> Result<Response, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let uri = request.uri().clone();
    let (now, by, uris) = (who.now, &who.by, Uris::of(&app));
    let listed = async {
        let of = principal(&name)?;
        let query = Query::of(&uri, &["uri", "expand_roles"])?;
        let with_roles = match query.get("expand_roles")? {
            None | Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(_) => return Err(Refusal::invalid("expand_roles", "must be true or false")),
        };
        let filter = uris.filter(&app, now, by, query.get("uri")?).await?;
        let mut held = permission::held(&app.service, now, by, &of, filter.below(), with_roles).await?;
        held.retain(|permission| filter.wants(&permission.resource));
        Ok(held)
    };
    let held = listed.await.map_err(Failure::on(&app))?;
    Ok(shown(&uris, &held, |_| None))
}

/// `GET …/permissions/shared[?uri=…]`: what others were granted on what is somebody's.
pub(super) async fn shared(State(app): State<App>, Named(name): Named, request: Request) -> Result<Response, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let uri = request.uri().clone();
    let (now, by, uris) = (who.now, &who.by, Uris::of(&app));
    let listed = async {
        let of = principal(&name)?;
        let query = Query::of(&uri, &["uri"])?;
        let filter = uris.filter(&app, now, by, query.get("uri")?).await?;
        let mut shared = permission::shared(&app.service, now, by, &of, filter.below()).await?;
        shared.retain(|permission| filter.wants(&permission.resource));
        Ok(shared)
    };
    let shared = listed.await.map_err(Failure::on(&app))?;
    Ok(shown(&uris, &shared, |permission| Some(permission.principal.to_string())))
}

fn shown(uris: &Uris<'_>, permissions: &[Permission], user: impl Fn(&Permission) -> Option<String>) -> Response {
    let all: Vec<_> = permissions.iter().map(|permission| uris.show(&permission.resource)).collect();
    let shown = permissions.iter().zip(&all).map(|(permission, uri)| Held {
        user: user(permission),
        uri,
        action: permission.action.as_str(),
    });
    show(StatusCode::OK, &shown.collect::<Vec<_>>())
}

/// `POST …/permissions/check`: 200 if somebody has all of these, else 403 with what is missing.
pub(super) async fn check(State(app): State<App>, Named(name): Named, request: Request) -> Result<Response, Failure> {
    let who = Asker::of(&app, request.headers()).await?;
    let checked = async {
        let (of, asked) = (principal(&name)?, asked(json(request.into_body()).await?)?);
        few(asked.len())?;
        let pairs = pairs(&app, &who, &asked).await?;
        let missing = permission::missing(&app.service, who.now, &who.by, &of, &pairs).await?;
        Ok(missing)
    };
    let missing = checked.await.map_err(Failure::on(&app))?;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::FORBIDDEN };
    Ok((status, Json(Missing::of(&Uris::of(&app), &missing))).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn in_a_path_a_colon_is_a_slash() {
        for (name, text) in
            [("ada", "ada"), ("ada:service-accounts:ci", "ada/service-accounts/ci"), ("ada:readers", "ada/readers")]
        {
            assert_eq!(principal(name).unwrap().to_string(), text);
        }
        for bad in
            ["", ":", "ada:", ":ada", "ada::ci", "ada/service-accounts/ci", "ada/service-accounts:ci", "Ada", "a,b"]
        {
            assert_eq!(principal(bad).unwrap_err().field, Some("name"), "{bad}");
        }
    }

    #[test]
    fn a_list_of_permissions_is_read_strictly() {
        let good = asked(Some(json!([{ "uri": "job://default/ada", "action": "read" }]))).unwrap();
        assert_eq!((good[0].uri.as_str(), good[0].action), ("job://default/ada", Action::Read));
        assert!(asked(Some(json!([]))).unwrap().is_empty());
        for (bad, words) in [
            (None, "list"),
            (Some(json!({ "uri": "job://default/ada", "action": "read" })), "list"),
            (Some(json!(["job://default/ada"])), "object"),
            (Some(json!([{ "uri": "job://default/ada" }])), "action: is missing"),
            (Some(json!([{ "uri": null, "action": "read" }])), "uri: is missing"),
            (Some(json!([{ "uri": 7, "action": "read" }])), "uri: must be a string"),
            (Some(json!([{ "uri": "x", "action": "own" }])), "action: must be one of"),
            (Some(json!([{ "uri": "x", "action": "Read" }])), "action: must be one of"),
            (Some(json!([{ "uri": "x", "action": "read", "until": "x" }])), "none of uri and action"),
        ] {
            let refused = asked(bad.clone()).map(|_| ()).unwrap_err().to_string();
            assert!(refused.contains(words), "{bad:?}: {refused}");
        }
    }
}
