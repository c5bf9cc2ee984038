//! `…/namespaces/{namespace}/gateservers`: what the original's guide looks up, the one GateServer. It says nothing that is
//! not public, so whoever has a token may read it, in every namespace.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri},
    response::Response,
};
use serde_json::json;

use super::{
    At,
    accept::{self, Column, Row, listed},
    dress::Failure,
    kinds::GATE_SERVER,
    options::{ListOptions, Query},
};
use crate::{
    domain::{Refusal, ids::Name},
    http::{App, bearer},
};

/// The name of the one GateServer: that of its key is made of it.
const SERVER: &str = "gatemint";

const COLUMNS: [Column; 2] = [("Name", "name", "The object's name."), ("Route", "", "The host of signed links.")];

fn failing(name: &str) -> impl Fn(Refusal) -> Failure + '_ {
    move |refusal| Failure::of(&refusal, &GATE_SERVER, name)
}

/// Who asks must be somebody, and what is asked for must be a namespace.
async fn admit(app: &App, headers: &HeaderMap, namespace: &str) -> Result<(), Refusal> {
    bearer::identity(app, app.service.now(), headers).await?;
    Name::parse(namespace, "metadata.namespace").map(drop)
}

fn row(app: &App, namespace: &str) -> Row {
    let issuer = &app.service.policy.issuer;
    let route = issuer.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_default();
    let mut object = GATE_SERVER.object(json!({ "name": SERVER, "namespace": namespace }));
    object["spec"] = json!({ "route": route });
    object["status"] = json!({ "phase": "Ready", "conditions": [] });
    Row { cells: vec![SERVER.to_owned(), route], object }
}

/// `GET …/gateservers`
pub(super) async fn list(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    admit(&app, request.headers(), &namespace).await.map_err(failing(""))?;
    let query = Query::of(request.uri())?;
    let ListOptions { selector, after, .. } = ListOptions::of(&query)?;
    // There is no second page: whoever asks for it has got what there is.
    let wanted = after.is_none() && selector.is_in(&namespace) && selector.selects(SERVER, &BTreeMap::new());
    let rows = wanted.then(|| row(&app, &namespace)).into_iter().collect();
    listed(&GATE_SERVER, &COLUMNS, rows, None, request.headers(), &query)
}

/// `GET …/gateservers/{name}`
pub(super) async fn read(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    admit(&app, request.headers(), &namespace).await.map_err(failing(""))?;
    if name != SERVER {
        return Err(failing(&name)(Refusal::absent("there is none of that name")));
    }
    accept::shown(&COLUMNS, row(&app, &namespace), request.headers(), &Query::of(request.uri())?)
}
