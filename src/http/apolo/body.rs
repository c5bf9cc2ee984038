//! Bodies of this dialect: JSON, whatever the Content-Type says, as in the original.

use axum::body::Body;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    domain::{Refusal, RefusalKind},
    http::{
        body::{BadBody, read},
        json::Unrepeated,
    },
};

/// Reads a body; none if it is empty.
pub(super) async fn json(body: Body) -> Result<Option<Value>, Refusal> {
    let body = read(body).await.map_err(|why| match why {
        BadBody::TooLarge => Refusal::new(RefusalKind::TooLarge, "the body is larger than 65536 bytes"),
        BadBody::Broken => Refusal::malformed("the body ended early or is not framed as its headers say"),
    })?;
    if body.is_empty() {
        return Ok(None);
    }
    let Unrepeated(value) = serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::malformed(format!("the body is not JSON that says everything once (line {line} column {column})"))
    })?;
    Ok(Some(value))
}

/// An object's fields: each is taken once, and what nobody takes is refused. Dropped in silence, a mistyped `expires_at`
/// would make a token that never ends.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of what must be an object.
    pub(super) fn of(value: Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Refusal::malformed("the body must be a JSON object")),
        }
    }

    /// A field's value; null is nothing.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        field: &'static str,
        shape: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let value = self.0.remove(field).unwrap_or_default();
        serde_json::from_value(value).map_err(|_| Refusal::invalid(field, shape))
    }

    /// A text; null is nothing.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Option<String>, Refusal> {
        self.take(field, "must be a string")
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, field: &'static str) -> Result<String, Refusal> {
        self.text(field)?.ok_or_else(|| Refusal::invalid(field, "is missing"))
    }

    /// Refuses what was not taken.
    pub(super) fn end(self, known: &'static str) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Refusal::malformed(format!("there is a field that is none of {known}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn said(text: &str) -> Result<Option<Value>, String> {
        json(Body::from(text.to_owned())).await.map_err(|refusal| refusal.to_string())
    }

    #[tokio::test]
    async fn a_body_is_json_that_says_nothing_twice() {
        assert_eq!(said("").await, Ok(None));
        assert_eq!(said(r#"[{"uri":"x"}]"#).await, Ok(Some(json!([{ "uri": "x" }]))));
        for bad in ["{", "{} {}", r#"{"a":1,"a":2}"#, r#"[{"a":1,"\u0061":2}]"#, "\u{feff}{}"] {
            assert!(said(bad).await.unwrap_err().contains("not JSON"), "{bad}");
        }
    }

    #[test]
    fn what_nobody_takes_is_refused() {
        let mut fields = Fields::of(json!({ "name": null, "overlap": 3, "more": 1 })).unwrap();
        assert_eq!(fields.text("name").unwrap(), None);
        assert_eq!(fields.take("overlap", "must be a number").unwrap(), Some(3));
        assert!(fields.needed("name").unwrap_err().to_string().contains("name: is missing"));
        assert!(fields.end("name and overlap").unwrap_err().to_string().contains("none of name and overlap"));
        let mut fields = Fields::of(json!({ "name": 7 })).unwrap();
        assert_eq!(fields.text("name").unwrap_err().to_string(), "name: must be a string");
        for other in [json!([]), json!(null), json!("x")] {
            assert!(Fields::of(other).is_err());
        }
    }
}
