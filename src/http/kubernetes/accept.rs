//! What an answer looks like: the object itself, or the `Table` of it that `kubectl get` prints.

use axum::{
    Json,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    dress::Failure,
    kinds::{Kind, list_metadata},
    options::Query,
};

/// How long a list gets, in bytes, before it ends early: an answer of a Lambda function ends at 6 MB.
pub(super) const LONGEST_LIST: usize = 4 * 1024 * 1024;

/// How whoever asks wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object or list itself.
    Object,
    /// Its metadata alone, which a Secret's data is not shown for; else it is answered with the object.
    Metadata,
    /// A table of this version of `meta.k8s.io`.
    Table(&'static str),
}

impl Shape {
    /// The first in `Accept` that can be given; what cannot is answered with the object, in JSON.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).find_map(Self::of_range).unwrap_or(Self::Object)
    }

    fn of_range(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next()?;
        if ["*/*", "application/*"].contains(&media_type) {
            return Some(Self::Object);
        }
        if !media_type.eq_ignore_ascii_case("application/json") {
            return None;
        }
        let (mut kind, mut group, mut version) = (None, None, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "as" => kind = Some(value),
                "g" => group = Some(value),
                "v" => version = Some(value),
                _ => {}
            }
        }
        match (kind, group, version) {
            (None, ..) => Some(Self::Object),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), _) => {
                Some(Self::Metadata)
            }
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Self::Table("meta.k8s.io/v1")),
            (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => Some(Self::Table("meta.k8s.io/v1beta1")),
            _ => None,
        }
    }
}

/// An object with what a table shows of it.
pub(super) struct Row {
    /// A cell for each column.
    pub(super) cells: Vec<String>,
    /// The object.
    pub(super) object: Value,
}

/// A column: its heading, its format, and what it is about.
pub(super) type Column = (&'static str, &'static str, &'static str);

/// A list, as whoever asks wants it.
pub(super) fn listed(
    kind: &Kind,
    columns: &[Column],
    rows: Vec<Row>,
    next: Option<String>,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response, Failure> {
    match Shape::of(headers) {
        Shape::Table(version) => table(version, columns, rows, next, query),
        Shape::Object | Shape::Metadata => {
            Ok(Json(kind.list(rows.into_iter().map(|row| row.object).collect(), next)).into_response())
        }
    }
}

/// One object, as whoever asks wants it.
pub(super) fn shown(columns: &[Column], row: Row, headers: &HeaderMap, query: &Query) -> Result<Response, Failure> {
    match Shape::of(headers) {
        Shape::Table(version) => table(version, columns, vec![row], None, query),
        Shape::Object | Shape::Metadata => Ok(Json(row.object).into_response()),
    }
}

/// A table of these rows. Each carries the metadata of its object, the object itself, or nothing of it, as
/// `includeObject` says; unless it is said, its metadata.
fn table(
    api_version: &str,
    columns: &[Column],
    rows: Vec<Row>,
    next: Option<String>,
    query: &Query,
) -> Result<Response, Failure> {
    let include = match query.get("includeObject")? {
        None | Some("Metadata") => |object: Value, api_version: &str| {
            let metadata = object.get("metadata").cloned().unwrap_or_default();
            json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": metadata })
        },
        Some("Object") => |object: Value, _: &str| object,
        Some("None") => |_: Value, _: &str| Value::Null,
        Some(_) => return Err(Failure::bad_request("includeObject must be None, Metadata or Object")),
    };
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, format, description)| {
            json!({ "name": name, "type": "string", "format": format, "description": description, "priority": 0 })
        })
        .collect();
    let rows: Vec<_> =
        rows.into_iter().map(|row| json!({ "cells": row.cells, "object": include(row.object, api_version) })).collect();
    Ok(Json(json!({
        "kind": "Table", "apiVersion": api_version, "metadata": list_metadata(next), "columnDefinitions": columns,
        "rows": rows
    }))
    .into_response())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_that_can_be_given_is_given() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let older = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        for (accept, shape) in [
            (format!("{table},{older},application/json"), Shape::Table("meta.k8s.io/v1")),
            (format!("{older}, application/json"), Shape::Table("meta.k8s.io/v1beta1")),
            (format!("application/json,{table}"), Shape::Object),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json".into(), Shape::Object),
            ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json".into(), Shape::Metadata),
            ("application/json;as=PartialObjectMetadata;v=v1".into(), Shape::Object),
            ("application/vnd.kubernetes.protobuf, */*".into(), Shape::Object),
            ("text/html".into(), Shape::Object),
            (String::new(), Shape::Object),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(&accept).unwrap())]);
            assert_eq!(Shape::of(&headers), shape, "{accept}");
        }
        assert_eq!(Shape::of(&HeaderMap::new()), Shape::Object);
    }
}
