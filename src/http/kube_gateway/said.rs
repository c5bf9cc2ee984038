//! What a link says: `token`, `name`, `namespace`, `then`, in the query or in a form.

use axum::{
    extract::Request,
    http::{Method, header},
};
use zeroize::Zeroize;

use crate::{
    domain::{Refusal, RefusalKind, Secret, ids::Name},
    http::body::{BadBody, is_media_type, parse_form, read},
};

/// A link's parameters: each given once, others ignored.
#[derive(Debug)]
pub(super) struct Said {
    /// The token, without quotation marks.
    pub(super) token: Secret<String>,
    /// Namespace and name of the machine whose screen it leads to.
    pub(super) machine: Option<(Name, Name)>,
    /// Where else it leads to, not judged yet.
    pub(super) then: Option<String>,
}

/// Why a link's parameters cannot be used, for whoever made it.
#[derive(Debug)]
pub(super) enum BadLink {
    /// Not a link as one is made.
    Incomplete(String),
    /// The request cannot be read.
    Refused(Refusal),
}

impl Said {
    /// Reads a request: the query of a GET or HEAD, the form of a POST.
    pub(super) async fn read(request: Request) -> Result<Self, BadLink> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Self::parse(parts.uri.query().unwrap_or_default().as_bytes());
        }
        let refused = |refusal| Err(BadLink::Refused(refusal));
        if !is_media_type(parts.headers.get(header::CONTENT_TYPE), "application/x-www-form-urlencoded") {
            let text = "the body must be a form: Content-Type: application/x-www-form-urlencoded";
            return refused(Refusal::malformed(text));
        }
        match read(body).await {
            Ok(body) => Self::parse(Secret::new(body).expose()),
            Err(BadBody::TooLarge) => {
                refused(Refusal::new(RefusalKind::TooLarge, "the body is larger than 65536 bytes"))
            }
            Err(BadBody::Broken) => {
                refused(Refusal::malformed("the body ended early or is not framed as its headers say"))
            }
        }
    }

    fn parse(text: &[u8]) -> Result<Self, BadLink> {
        let incomplete = |text: &str| BadLink::Incomplete(text.to_owned());
        let pairs = Pairs(parse_form(text).ok_or_else(|| incomplete("the parameters are not UTF-8"))?);
        let token = pairs.once("token")?.ok_or_else(|| incomplete("token is missing"))?;
        let machine = match (pairs.once("namespace")?, pairs.once("name")?) {
            (Some(namespace), Some(name)) => {
                let name_of = |text: &str, field| {
                    Name::parse(text, field).map_err(|refusal| BadLink::Incomplete(refusal.to_string()))
                };
                Some((name_of(namespace, "namespace")?, name_of(name, "name")?))
            }
            (None, None) => None,
            _ => return Err(incomplete("name and namespace belong together")),
        };
        let then = pairs.once("then")?.map(str::to_owned);
        Ok(Self { token: Secret::new(unquoted(token).to_owned()), machine, then })
    }
}

/// `jq .status.token` without `-r`, as the original's guide has it, keeps JSON's quotation marks.
fn unquoted(token: &str) -> &str {
    token.strip_prefix('"').and_then(|token| token.strip_suffix('"')).unwrap_or(token)
}

struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn once(&self, name: &str) -> Result<Option<&str>, BadLink> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(BadLink::Incomplete(format!("{name} is given more than once")));
        }
        Ok(value)
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            value.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Said, String> {
        Said::parse(text.as_bytes()).map_err(|why| match why {
            BadLink::Incomplete(text) => text,
            BadLink::Refused(refusal) => refusal.to_string(),
        })
    }

    #[test]
    fn one_pair_of_quotation_marks_is_taken_off() {
        for (text, token) in [
            ("token=a.b.c", "a.b.c"),
            ("token=%22a.b.c%22", "a.b.c"),
            ("token=\"a.b.c\"", "a.b.c"),
            ("token=%22%22a.b.c%22%22", "\"a.b.c\""),
            ("token=%22a.b.c", "\"a.b.c"),
            ("token=a.b.c%22", "a.b.c\""),
            ("token=%22", "\""),
            ("token=%22%22", ""),
        ] {
            assert_eq!(said(text).unwrap().token.expose(), token, "{text}");
        }
    }

    #[test]
    fn a_link_that_nobody_could_have_made_is_told_apart() {
        for (text, words) in [
            ("", "token is missing"),
            ("token=", "token is missing"),
            ("token=a&token=b", "token is given more than once"),
            ("token=a&token=a", "token is given more than once"),
            ("token=a&name=vm", "belong together"),
            ("token=a&namespace=ns", "belong together"),
            ("token=a&name=vm&namespace=ns&name=vm", "name is given more than once"),
            ("token=a&then=/x&then=/y", "then is given more than once"),
            ("token=a&name=..&namespace=ns", "name: must be"),
            ("token=a&name=vm&namespace=..%2Fx", "namespace: must be"),
            ("token=a&name=VM&namespace=ns", "name: must be"),
            ("token=a&name=vm%0d%0a&namespace=ns", "name: must be"),
            ("token=a%ff", "not UTF-8"),
        ] {
            let told = said(text).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
        let whole = said("x=1&token=a&namespace=demo&name=vm-1.x&then=%2Fy&&").unwrap();
        let machine = whole.machine.map(|(namespace, name)| format!("{namespace}/{name}"));
        assert_eq!((machine.as_deref(), whole.then.as_deref()), (Some("demo/vm-1.x"), Some("/y")));
    }
}
