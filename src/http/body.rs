//! Bodies: bounded before they are parsed, and parsed strictly.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;

/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How long one that nobody wants may take to arrive.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBody {
    /// Over [`MAX_BODY`].
    TooLarge,
    /// The connection ended in the middle, it took too long, or the framing is wrong.
    Broken,
}

/// Reads a body whole.
pub(super) async fn read(body: Body) -> Result<Vec<u8>, BadBody> {
    // What says that it is too large is not waited for.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BadBody::TooLarge);
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await {
        // Without a copy where it came in one piece: whoever wraps the result wipes what was read.
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BadBody::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BadBody::Broken),
    }
}

/// A body that is read as far as it is wanted, and then perhaps further.
pub(super) struct Arriving {
    body: Body,
    arrived: Vec<u8>,
}

impl Arriving {
    /// Nothing of it is read yet.
    pub(super) fn new(body: Body) -> Self {
        Self { body, arrived: Vec::new() }
    }

    /// Reads until it has ended, or more than so many bytes have arrived. Whether it has ended.
    pub(super) async fn read_past(&mut self, most: usize) -> Result<bool, BadBody> {
        let reading = async {
            while self.arrived.len() <= most {
                match self.body.frame().await {
                    Some(Ok(frame)) => {
                        // The other kind is trailers.
                        if let Some(data) = frame.data_ref() {
                            self.arrived.extend_from_slice(data);
                        }
                    }
                    Some(Err(_)) => return Err(BadBody::Broken),
                    None => return Ok(true),
                }
            }
            Ok(false)
        };
        tokio::time::timeout(BODY_TIME, reading).await.unwrap_or(Err(BadBody::Broken))
    }

    /// What has arrived.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.arrived
    }
}

/// Takes a body in and keeps nothing of it, up to so many bytes. A proxy that is still sending one takes a connection that
/// ends meanwhile for a broken one, and whoever asked is not told why he was refused.
pub(super) async fn discard(body: Body, most: usize) {
    let mut body = Limited::new(body, most);
    let taken_in = async { while let Some(Ok(_)) = body.frame().await {} };
    // Nothing depends on it.
    let _ = tokio::time::timeout(DISCARD_TIME, taken_in).await;
}

/// Whether a Content-Type names this media type, whatever its parameters.
pub(super) fn is_media_type(content_type: Option<&axum::http::HeaderValue>, expected: &str) -> bool {
    content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(expected))
}

/// One `application/x-www-form-urlencoded` text, decoded; none if it is not UTF-8 after that.
pub(super) fn decode_form_text(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A form's pairs in order, without those that have no value (RFC 6749 §3.2: they count as omitted). None if a name
/// or value is not UTF-8.
pub(super) fn parse_form(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode_form_text(name)?, decode_form_text(value)?);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_once_and_must_be_utf_8() {
        let pairs = parse_form(b"a=1+2%2B3&b=%C3%A4&empty=&c&d=x=y").unwrap();
        let expected = [("a", "1 2+3"), ("b", "ä"), ("d", "x=y")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parse_form(b"a=%ff"), None);
        assert_eq!(parse_form(b"a=\xff"), None);
    }
}
