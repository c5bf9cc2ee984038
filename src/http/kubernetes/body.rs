//! Bodies of this dialect: one JSON object, whose fields are told apart by their place.

use axum::{
    extract::Request,
    http::{StatusCode, header},
};
use serde_json::{Map, Value};

use super::{
    dress::Failure,
    protobuf::{self, Unreadable},
};
use crate::http::{
    body::{BadBody, is_media_type, read},
    json::Unrepeated,
};

/// Reads a body of JSON, or of Kubernetes' Protobuf; none if it is empty.
pub(super) async fn object(request: Request) -> Result<Option<Map<String, Value>>, Failure> {
    object_of(request, &["application/json"]).await
}

/// Reads a body of one of these media types, all of them JSON; none if it is empty.
pub(super) async fn object_of(request: Request, types: &[&str]) -> Result<Option<Map<String, Value>>, Failure> {
    let (parts, body) = request.into_parts();
    let body = read(body).await.map_err(|why| match why {
        BadBody::TooLarge => {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "the body is larger than 65536 bytes")
        }
        BadBody::Broken => Failure::bad_request("the body ended early or is not framed as its headers say"),
    })?;
    if body.is_empty() {
        return Ok(None);
    }
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    if types.contains(&"application/json") && is_media_type(content_type, protobuf::MEDIA_TYPE) {
        return protobuf::read(&body).map(Some).map_err(|why| match why {
            Unreadable::Kind => unsupported(types),
            Unreadable::Form => Failure::bad_request("the body is not in the form of Kubernetes' Protobuf"),
        });
    }
    // Kubernetes' Python client names none, and means JSON. Nothing is authorised by a cookie, so no form can come this way.
    if content_type.is_some() && !types.iter().any(|wanted| is_media_type(content_type, wanted)) {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body must be JSON: Content-Type: {} (kubectl turns YAML into it by itself)",
                types.join(" or ")
            ),
        ));
    }
    match serde_json::from_slice(&body) {
        Ok(Unrepeated(Value::Object(object))) => Ok(Some(object)),
        Ok(Unrepeated(Value::Null)) => Ok(None),
        Ok(Unrepeated(_)) => Err(Failure::bad_request("the body must be a JSON object")),
        Err(error) => {
            let place = format!("line {} column {}", error.line(), error.column());
            // What somebody meant to limit a token by must not get lost.
            let what = if error.is_data() { "the body has a field twice" } else { "the body is not JSON" };
            Err(Failure::bad_request(format!("{what} ({place})")))
        }
    }
}

fn unsupported(types: &[&str]) -> Failure {
    let types = types.join(" or ");
    Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        format!("the body must be JSON: Content-Type: {types} (kubectl turns YAML into it by itself)"),
    )
}

/// A field whose value is not what its place takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where it is.
    pub(super) field: String,
    /// The kind of mistake, as Kubernetes names it.
    pub(super) cause: &'static str,
    /// What must be there.
    pub(super) text: &'static str,
}

/// The fields of an object in a body. One that is null counts as absent.
pub(super) struct Fields<'a> {
    at: &'a str,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// The fields of the whole body.
    pub(super) fn of(map: &'a Map<String, Value>) -> Self {
        Self { at: "", map: Some(map) }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.and_then(|map| map.get(name)).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, text: &'static str) -> Wrong {
        let field = if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) };
        Wrong { field, cause: "FieldValueTypeInvalid", text }
    }

    /// A field of the right type that says something else than it must.
    pub(super) fn wrong_value(&self, name: &str, text: &'static str) -> Wrong {
        Wrong { cause: "FieldValueInvalid", ..self.wrong(name, text) }
    }

    /// The fields of an object in it, which is empty if it is absent.
    pub(super) fn object(&self, name: &'a str) -> Result<Self, Wrong> {
        match self.get(name) {
            None => Ok(Self { at: name, map: None }),
            Some(Value::Object(map)) => Ok(Self { at: name, map: Some(map) }),
            Some(_) => Err(self.wrong(name, "must be an object")),
        }
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Wrong> {
        self.get(name).map(|value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, TEXT))).transpose()
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Wrong> {
        let wrong = || self.wrong(name, "must be a list of strings");
        let list = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        self.get(name).map(|value| list(value).ok_or_else(wrong)).transpose()
    }

    /// Yes or no; no if it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Wrong> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(name, "must be true or false")),
        }
    }

    /// A whole number.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Wrong> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| self.wrong(name, "must be a whole number"))).transpose()
    }

    /// The value itself.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.get(name)
    }

    /// Refuses a field that is there and says something else.
    pub(super) fn expect(&self, name: &str, expected: &str, text: &'static str) -> Result<(), Wrong> {
        match self.text(name)? {
            Some(other) if other != expected => Err(self.wrong_value(name, text)),
            Some(_) | None => Ok(()),
        }
    }

    /// An object whose values are texts.
    pub(super) fn named_texts(&self, name: &'a str) -> Result<impl Iterator<Item = (String, String)>, Wrong> {
        let inner = self.object(name)?;
        let pairs = inner.map.into_iter().flatten().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let pairs: Option<Vec<_>> = pairs.collect();
        pairs.map(Vec::into_iter).ok_or_else(|| self.wrong(name, "must be an object whose values are strings"))
    }

    /// Refuses fields that are not among these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Wrong> {
        let unknown = self.map.into_iter().flat_map(Map::keys).find(|name| !known.contains(&name.as_str()));
        match unknown {
            // A body is 64 KiB at most, and a refusal need not be.
            Some(name) if name.len() <= 253 => Err(Wrong { cause: "FieldValueForbidden", ..self.wrong(name, UNKNOWN) }),
            Some(_) => Err(Wrong { field: self.at.to_owned(), cause: "FieldValueForbidden", text: UNKNOWN }),
            None => Ok(()),
        }
    }
}

const TEXT: &str = "must be a string";
const UNKNOWN: &str = "is not a field that is known here";
