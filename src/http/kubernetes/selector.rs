//! Label and field selectors: which objects of a list are wanted.
//!
//! One that is not understood is refused. Passed over, it would select everything, and `kubectl delete -l` with it.

use std::collections::BTreeMap;

use super::dress::Failure;

/// What is asked of one label.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Is(String),
    IsNot(String),
    There,
    NotThere,
}

/// Which objects are wanted: all, unless it says otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<(String, Wanted)>,
    /// The one name that is wanted.
    pub(super) name: Option<String>,
    namespace: Option<String>,
}

impl Selector {
    /// Parses both. Labels: `key=value`, `key==value`, `key!=value`, `key`, `!key`, joined by commas. Fields: `metadata.name`
    /// and `metadata.namespace`, with `=` or `==`.
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Failure> {
        let mut selector = Self::default();
        for term in labels.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
            selector.labels.push(label(term).ok_or_else(|| {
                Failure::bad_request(
                    "labelSelector: key=value, key!=value, key and !key are understood, joined by commas",
                )
            })?);
        }
        for term in fields.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
            let place = match equation(term) {
                Some(("metadata.name", value)) => (&mut selector.name, value),
                Some(("metadata.namespace", value)) => (&mut selector.namespace, value),
                _ => {
                    return Err(Failure::bad_request(
                        "fieldSelector: metadata.name=NAME and metadata.namespace=NAMESPACE are understood",
                    ));
                }
            };
            match place {
                (Some(other), value) if other != value => {
                    return Err(Failure::bad_request("fieldSelector: a field cannot have two values"));
                }
                (wanted, value) => *wanted = Some(value.to_owned()),
            }
        }
        Ok(selector)
    }

    /// Whether everything is wanted.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything of a namespace can be wanted.
    pub(super) fn is_in(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }

    /// Whether an object of this name with these labels is wanted.
    pub(super) fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.labels.iter().all(|(key, wanted)| match (wanted, labels.get(key)) {
                (Wanted::Is(value), have) => have == Some(value),
                (Wanted::IsNot(value), have) => have != Some(value),
                (Wanted::There, have) => have.is_some(),
                (Wanted::NotThere, have) => have.is_none(),
            })
    }
}

fn label(term: &str) -> Option<(String, Wanted)> {
    let (key, wanted) = if let Some((key, value)) = term.split_once("!=") {
        (key, Wanted::IsNot(plain(value)?))
    } else if let Some((key, value)) = equation(term) {
        (key, Wanted::Is(plain(value)?))
    } else if let Some(key) = term.strip_prefix('!') {
        (key, Wanted::NotThere)
    } else {
        (term, Wanted::There)
    };
    let key = plain(key).filter(|key| !key.is_empty())?;
    Some((key, wanted))
}

fn equation(term: &str) -> Option<(&str, &str)> {
    let (key, value) = term.split_once('=')?;
    Some((key.trim(), value.strip_prefix('=').unwrap_or(value).trim()))
}

/// A key or value; none for the other kinds of terms, which have parentheses and spaces.
fn plain(text: &str) -> Option<String> {
    let text = text.trim();
    let sound = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    sound.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_selects_what_it_says() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), String::new())]);
        for (text, selected) in [
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("app", true),
            ("!app", false),
            ("other", false),
            ("!other", true),
            ("other!=x", true),
            ("app=web,tier=", true),
            ("app=web,!tier", false),
        ] {
            let selector = Selector::parse(Some(text), None).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(selector.selects("a", &labels), selected, "{text}");
        }
        for (text, name, namespace) in [
            ("metadata.name=a", true, true),
            ("metadata.name==b", false, true),
            ("metadata.name=a,metadata.namespace=n", true, true),
            ("metadata.namespace=m", true, false),
        ] {
            let selector = Selector::parse(None, Some(text)).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!((selector.selects("a", &labels), selector.is_in("n")), (name, namespace), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_selects_nothing_and_is_refused() {
        for text in ["app in (web)", "app notin (a,b)", "a=b=c", "=b", "a=b,", ",", "a b", "app>1", "ä"] {
            assert!(Selector::parse(Some(text), None).is_err(), "{text}");
        }
        for text in ["status.phase=Ready", "metadata.name", "metadata.name!=a", "metadata.name=a,metadata.name=b", "x"]
        {
            assert!(Selector::parse(None, Some(text)).is_err(), "{text}");
        }
    }
}
