//! An error in words, for the operator's log.

use std::error::Error;

/// The most that is told of what others say, in bytes.
const LONGEST: usize = 400;

/// The words of an error and of what caused it, cut at a length. Not its debug text, which may show what was read or
/// sent.
pub(crate) fn of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        // Some repeat their cause's words themselves.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    shortened(&text)
}

/// Words of somebody else, cut at a length.
pub(crate) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: String,
        source: Option<Box<Told>>,
    }

    fn told(texts: &[&str]) -> Option<Box<Told>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Told { text: (*text).to_owned(), source: told(rest) }))
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_none_of_them_twice() {
        assert_eq!(of(&*told(&["not sent", "no way: refused", "refused"]).unwrap()), "not sent: no way: refused");
    }

    #[test]
    fn however_much_is_said_little_of_it_is_told() {
        let long = "\u{e9}".repeat(LONGEST);
        let said = of(&*told(&["x", &long, &long]).unwrap());
        assert!(said.starts_with("x: \u{e9}") && (LONGEST - 1..=LONGEST).contains(&said.len()), "{}", said.len());
    }
}
