//! What the original's guide looks up: the one GateServer, and the names of two Secrets. Never a Secret's data.
//!
//! They say nothing that is not public, so every account may read them, in every namespace.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    At,
    accept::{Column, Row, Shape, table},
    dress::Failure,
    kinds::{GATE_SERVER, Kind, SECRET},
    options::{ListOptions, Query},
};
use crate::{
    domain::{Refusal, ids::Name},
    http::{App, bearer},
};

/// The name of the one GateServer: that of its key is made of it.
const SERVER: &str = "gatemint";

/// The name of the secret that has a token which is always fresh.
const ACCESS_TOKEN: &str = "access-token";

/// A kind with all its objects, each under its name.
struct Given {
    kind: &'static Kind,
    columns: &'static [Column],
    rows: Vec<(String, Row)>,
}

/// Who asks must be an account, and what is asked for must be a namespace.
async fn admit(app: &App, headers: &HeaderMap, kind: &Kind, namespace: &str) -> Result<(), Failure> {
    let failing = |refusal: Refusal| Failure::of(&refusal, kind, "");
    bearer::caller(app, app.service.now(), headers).await.map_err(failing)?;
    Name::parse(namespace, "metadata.namespace").map(drop).map_err(failing)
}

fn gate_servers(app: &App, namespace: &str) -> Given {
    let issuer = &app.service.policy.issuer;
    let route = issuer.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_default();
    let mut object = GATE_SERVER.object(json!({ "name": SERVER, "namespace": namespace }));
    object["spec"] = json!({ "route": route });
    object["status"] = json!({ "phase": "Ready", "conditions": [] });
    Given {
        kind: &GATE_SERVER,
        columns: &[("Name", "name", "The object's name."), ("Route", "", "The host of signed links.")],
        rows: vec![(SERVER.to_owned(), Row { cells: vec![SERVER.to_owned(), route], object })],
    }
}

fn secrets(app: &App, namespace: &str) -> Given {
    let mut names = app.service.policy.key_sets.clone();
    if !names.iter().any(|name| name == ACCESS_TOKEN) {
        names.push(ACCESS_TOKEN.to_owned());
    }
    names.sort_unstable();
    let row = |name: String| {
        let mut object = SECRET.object(json!({ "name": name, "namespace": namespace }));
        object["type"] = "Opaque".into();
        let cells = vec![name.clone(), "Opaque".to_owned()];
        (name, Row { cells, object })
    };
    Given {
        kind: &SECRET,
        columns: &[("Name", "name", "The object's name."), ("Type", "", "What it is for.")],
        rows: names.into_iter().map(row).collect(),
    }
}

impl Given {
    fn list(self, namespace: &str, headers: &HeaderMap, uri: &Uri) -> Result<Response, Failure> {
        let query = Query::of(uri)?;
        let options = ListOptions::of(&query)?;
        let selected = |(name, row): (String, Row)| {
            let selector = &options.selector;
            // They are few: there is no second page, and whoever asks for it has got all of them.
            let wanted =
                options.after.is_none() && selector.is_in(namespace) && selector.selects(&name, &BTreeMap::default());
            wanted.then_some(row)
        };
        let rows: Vec<Row> = self.rows.into_iter().filter_map(selected).collect();
        match Shape::of(headers) {
            Shape::Table(version) => table(version, self.columns, rows, None, &query),
            Shape::Object => {
                let items: Vec<Value> = rows.into_iter().map(|row| row.object).collect();
                Ok(Json(self.kind.list(items, None)).into_response())
            }
        }
    }

    fn read(self, name: &str, headers: &HeaderMap, uri: &Uri) -> Result<Response, Failure> {
        let found = self.rows.into_iter().find(|(have, _)| have == name).map(|(_, row)| row);
        let row = found.ok_or_else(|| Failure::of(&Refusal::absent("there is none of that name"), self.kind, name))?;
        match Shape::of(headers) {
            Shape::Table(version) => table(version, self.columns, vec![row], None, &Query::of(uri)?),
            Shape::Object => Ok(Json(row.object).into_response()),
        }
    }
}

/// `GET …/gateservers`
pub(super) async fn list_gate_servers(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    admit(&app, request.headers(), &GATE_SERVER, &namespace).await?;
    gate_servers(&app, &namespace).list(&namespace, request.headers(), request.uri())
}

/// `GET …/gateservers/{name}`
pub(super) async fn read_gate_server(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    admit(&app, request.headers(), &GATE_SERVER, &namespace).await?;
    gate_servers(&app, &namespace).read(&name, request.headers(), request.uri())
}

/// `GET …/secrets`
pub(super) async fn list_secrets(
    State(app): State<App>,
    At(namespace): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    admit(&app, request.headers(), &SECRET, &namespace).await?;
    secrets(&app, &namespace).list(&namespace, request.headers(), request.uri())
}

/// `GET …/secrets/{name}`
pub(super) async fn read_secret(
    State(app): State<App>,
    At((namespace, name)): At<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    admit(&app, request.headers(), &SECRET, &namespace).await?;
    secrets(&app, &namespace).read(&name, request.headers(), request.uri())
}
