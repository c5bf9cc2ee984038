//! `POST /auth/jwt/request`: the original's way to ask for a token.

use std::fmt;

use axum::{
    Json,
    extract::{Request, State},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::Value;

use super::dress::Dressed;
use crate::{
    clock::Timestamp,
    domain::{
        Refusal, RefusalKind,
        gate::mint::{self, NewGateToken},
    },
    http::{
        App, bearer,
        body::{BadBody, read},
    },
};

/// The label under which the `id` of a request is kept.
const ID: &str = "id";

/// What is answered: the original's structure, in its order.
#[derive(Serialize)]
pub(super) struct Minted {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "From")]
    from: String,
    #[serde(rename = "Verbs")]
    verbs: Vec<&'static str>,
    #[serde(rename = "Duration")]
    duration: String,
    #[serde(rename = "URLs")]
    urls: Vec<String>,
    #[serde(rename = "NBf")]
    nbf: Timestamp,
    #[serde(rename = "Exp")]
    exp: Timestamp,
    #[serde(rename = "Until")]
    until: String,
    #[serde(rename = "Token")]
    token: String,
}

/// `POST /auth/jwt/request`: mints in the caller's own namespace.
pub(super) async fn mint(State(app): State<App>, request: Request) -> Result<Json<Minted>, Dressed> {
    let service = &app.service;
    let now = service.now();
    let caller = bearer::identity(&app, now, request.headers()).await?;
    // Whatever the Content-Type says, as in the original: its users send `curl --data`.
    let body = read(request.into_body()).await.map_err(|why| match why {
        BadBody::TooLarge => Refusal::new(RefusalKind::TooLarge, "the body is larger than 65536 bytes"),
        BadBody::Broken => Refusal::malformed("the body ended early or is not framed as its headers say"),
    })?;
    let asked = Asked::parse(&body)?;
    let drawn = u64::from_be_bytes(service.entropy.bytes());
    let id = asked.id.unwrap_or_default();
    let mut new = NewGateToken {
        name: format!("request-{drawn:016x}"),
        urls: asked.urls.unwrap_or_default(),
        verbs: asked.verbs,
        from: asked.from,
        duration: asked.duration,
        ..NewGateToken::default()
    };
    if !id.is_empty() {
        new.labels.insert(ID.to_owned(), id.clone());
    }
    let namespace = caller.namespace().clone();
    let shown = mint::create(service, now, &caller, namespace.as_str(), new).await?;
    let token = shown.token.ok_or_else(|| Refusal::unavailable("a new gate token was not signed"))?;
    let record = shown.row.record;
    Ok(Json(Minted {
        id,
        from: record.nbf.rfc3339(),
        verbs: record.verbs.as_slice().to_vec(),
        duration: record.duration_text(),
        urls: record.urls.as_slice().iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        nbf: record.nbf,
        exp: record.exp,
        until: record.exp.rfc3339(),
        token: token.expose().clone(),
    }))
}

/// What a request asks for, not judged yet.
#[derive(Debug, Default)]
struct Asked {
    id: Option<String>,
    from: Option<String>,
    verbs: Option<Vec<String>>,
    duration: Option<String>,
    urls: Option<Vec<String>>,
}

impl Asked {
    /// Reads a JSON object. Go's decoder takes keys in any letter case, and null for what is not there; so does this. It
    /// takes the last of several, too, and drops what it does not know; neither does this: what somebody meant to limit a
    /// token by must not get lost.
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let members: Members = serde_json::from_slice(body).map_err(|error| {
            Refusal::malformed(format!(
                "the body is not a JSON object (line {} column {})",
                error.line(),
                error.column()
            ))
        })?;
        let mut asked = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for (key, value) in members.0 {
            let field =
                ["id", "from", "verbs", "duration", "URLs"].into_iter().find(|field| key.eq_ignore_ascii_case(field));
            let Some(field) = field else {
                return Err(Refusal::malformed(
                    "the body has a field that is none of URLs, duration, from, verbs and id",
                ));
            };
            if seen.contains(&field) {
                return Err(Refusal::invalid(field, "is given more than once"));
            }
            seen.push(field);
            match field {
                "id" => asked.id = text(field, value)?,
                "from" => asked.from = text(field, value)?,
                "duration" => asked.duration = text(field, value)?,
                "verbs" => asked.verbs = typed(field, "must be a list of strings", value)?,
                _ => asked.urls = typed(field, "must be a list of strings", value)?,
            }
        }
        Ok(asked)
    }
}

/// A text; an empty one is none, as in the original.
fn text(field: &'static str, value: Value) -> Result<Option<String>, Refusal> {
    let text: Option<String> = typed(field, "must be a string", value)?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn typed<T: DeserializeOwned>(field: &'static str, shape: &'static str, value: Value) -> Result<Option<T>, Refusal> {
    serde_json::from_value(value).map_err(|_| Refusal::invalid(field, shape))
}

/// An object's members, each as often as it is there.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_any_letter_case_and_null_is_nothing() {
        let asked =
            Asked::parse(br#"{"Urls":["/a"],"DURATION":"1h","fRoM":"2026-11-22T10:00:00Z","Verbs":["get"],"ID":"x"}"#)
                .unwrap();
        assert_eq!(asked.urls, Some(vec!["/a".to_owned()]));
        assert_eq!(asked.verbs, Some(vec!["get".to_owned()]));
        let texts = [asked.duration, asked.from, asked.id];
        assert_eq!(texts, ["1h", "2026-11-22T10:00:00Z", "x"].map(|text| Some(text.to_owned())));
        let asked = Asked::parse(br#"{"urls":null,"duration":null,"from":"","verbs":null,"id":""}"#).unwrap();
        assert!(asked.urls.is_none() && asked.verbs.is_none() && asked.duration.is_none());
        assert!(asked.from.is_none() && asked.id.is_none());
    }

    #[test]
    fn what_would_get_lost_is_refused() {
        for (body, words) in [
            (r#"{"urls":["/a"],"URLs":["/b"]}"#, "URLs: is given more than once"),
            (r#"{"duration":"1h","duration":"1h"}"#, "duration: is given more than once"),
            (r#"{"verbs":null,"VERBS":["get"]}"#, "verbs: is given more than once"),
            (r#"{"urls":["/a"],"durationSeconds":1}"#, "none of URLs, duration"),
            (r#"{"urls":"/a"}"#, "URLs: must be a list"),
            (r#"{"urls":[1]}"#, "URLs: must be a list"),
            (r#"{"urls":[null]}"#, "URLs: must be a list"),
            (r#"{"verbs":"get"}"#, "verbs: must be a list"),
            (r#"{"duration":3600}"#, "duration: must be a string"),
            (r#"{"from":{}}"#, "from: must be a string"),
            (r#"{"id":7}"#, "id: must be a string"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("", "not a JSON object"),
            ("{", "not a JSON object"),
            ("{} {}", "not a JSON object"),
            ("\u{feff}{}", "not a JSON object"),
        ] {
            let refusal = Asked::parse(body.as_bytes()).unwrap_err();
            assert!(refusal.to_string().contains(words), "{body}: {refusal}");
        }
    }
}
