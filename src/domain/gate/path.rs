//! One canonical form for paths, whether they come encoded or decoded.
//!
//! A rule about paths is worth what the next server makes of them: whatever two servers may read differently is refused,
//! never repaired. So there is nothing to normalise, and what is left has one reading.

use std::fmt;

/// A path that has one reading, decoded. It begins with one `/` and has none of `%`, `\`, `?`, `#`, `;` or a control
/// character, no empty segment but a last one, and no segment `.` or `..`. Case counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(String);

/// Why a text is no path that could be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Over [`Path::MAX`].
    #[error("the path is too long")]
    TooLong,
    /// It does not begin with a slash.
    #[error("the path must begin with '/'")]
    NotAbsolute,
    /// Encoded, and with something that RFC 3986 §2 has no place for: a space, a control character, not ASCII.
    #[error("the path may hold printable ASCII only, without spaces; other characters are percent-encoded")]
    NotEncoded,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a '%' that begins no escape")]
    Escape,
    /// Decoded, it is not UTF-8: overlong forms are not, either.
    #[error("the path is not UTF-8 once it is decoded")]
    NotUtf8,
    /// `%2F`
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `%`, `\`, `?`, `#`, `;` or a control character, once decoded.
    #[error("the path has a '%', '\\', '?', '#', ';' or control character once it is decoded")]
    Forbidden,
    /// `//`
    #[error("the path has an empty segment, as in '//'")]
    EmptySegment,
    /// `.` or `..`
    #[error("the path has a segment '.' or '..'")]
    DotSegment,
}

impl Path {
    /// The longest path, in bytes, as it comes: what nginx and Apache take for a request line unless they are told otherwise.
    pub const MAX: usize = 8 * 1024;

    /// A path as it stands in a request line or a URL: percent-encoded, without a query. Decoded once.
    ///
    /// # Errors
    /// Every [`BadPath`].
    pub fn of_encoded(text: &str) -> Result<Self, BadPath> {
        if text.len() > Self::MAX {
            return Err(BadPath::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadPath::NotEncoded);
        }
        Self::judged(decoded(text)?)
    }

    /// A path that somebody else has decoded, once: API Gateway's `rawPath`. It is not decoded again.
    ///
    /// # Errors
    /// Every [`BadPath`] but those of the encoding; an encoded slash was turned into a plain one before we saw it.
    pub fn of_decoded(text: &str) -> Result<Self, BadPath> {
        if text.len() > Self::MAX {
            return Err(BadPath::TooLong);
        }
        Self::judged(text.to_owned())
    }

    /// The one judge of decoded paths.
    fn judged(text: String) -> Result<Self, BadPath> {
        let segments = text.strip_prefix('/').ok_or(BadPath::NotAbsolute)?;
        if text.contains(|c: char| c.is_control() || ['%', '\\', '?', '#', ';'].contains(&c)) {
            return Err(BadPath::Forbidden);
        }
        // All but the last, which may be empty.
        if segments.starts_with('/') || segments.contains("//") {
            return Err(BadPath::EmptySegment);
        }
        if segments.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(BadPath::DotSegment);
        }
        Ok(Self(text))
    }

    /// The path, decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as it stands in a URL: whatever RFC 3986 §3.3 has no place for is percent-encoded.
    pub fn encoded(&self) -> String {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut text = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push('%');
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 0x0f)]));
            }
        }
        text
    }

    /// What is left of this path when a prefix is taken off, at a segment's boundary: `/k8s` or `/k8s/` of `/k8s/api` leaves
    /// `/api`. None if the path is not below the prefix, as `/k8s2` and `/k8s` itself are not.
    pub fn strip(&self, prefix: &Self) -> Option<Self> {
        let prefix = prefix.0.strip_suffix('/').unwrap_or(&prefix.0);
        self.0.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).map(|rest| Self(rest.to_owned()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn decoded(text: &str) -> Result<String, BadPath> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(BadPath::Escape) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(BadPath::Escape) };
        rest = after;
        let byte = high << 4 | low;
        if byte == b'/' {
            return Err(BadPath::EncodedSlash);
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| BadPath::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::of_encoded(text).unwrap()
    }

    #[test]
    fn a_path_is_decoded_once_and_nothing_else_happens_to_it() {
        for (encoded, decoded) in [
            ("/", "/"),
            ("/x", "/x"),
            ("/x/", "/x/"),
            ("/X/y", "/X/y"),
            ("/a%20b", "/a b"),
            ("/%61%62", "/ab"),
            ("/%C3%a9", "/é"),
            ("/a*b", "/a*b"),
            ("/a%2Ab", "/a*b"),
            ("/.../..a/a..", "/.../..a/a.."),
            ("/a|b[c]{d}^~!$&'()+,=:@\"<>", "/a|b[c]{d}^~!$&'()+,=:@\"<>"),
        ] {
            assert_eq!(path(encoded).as_str(), decoded, "{encoded}");
            assert_eq!(Path::of_decoded(decoded), Ok(path(encoded)), "{encoded}");
        }
    }

    #[test]
    fn whatever_two_servers_may_read_differently_is_refused() {
        for (bad, why) in [
            ("", BadPath::NotAbsolute),
            ("x", BadPath::NotAbsolute),
            ("*", BadPath::NotAbsolute),
            ("https://example.org/x", BadPath::NotAbsolute),
            ("%2fx", BadPath::EncodedSlash),
            ("//", BadPath::EmptySegment),
            ("//evil", BadPath::EmptySegment),
            ("/x//", BadPath::EmptySegment),
            ("/a//b", BadPath::EmptySegment),
            ("/.", BadPath::DotSegment),
            ("/..", BadPath::DotSegment),
            ("/a/../b", BadPath::DotSegment),
            ("/a/./b", BadPath::DotSegment),
            ("/a/..", BadPath::DotSegment),
            ("/a/%2e%2e/b", BadPath::DotSegment),
            ("/a/.%2E/b", BadPath::DotSegment),
            ("/a%2fb", BadPath::EncodedSlash),
            ("/a%2Fb", BadPath::EncodedSlash),
            ("/a/..%2fb", BadPath::EncodedSlash),
            ("/a%252fb", BadPath::Forbidden),
            ("/a/%252e%252e/b", BadPath::Forbidden),
            ("/a%25", BadPath::Forbidden),
            ("/a\\b", BadPath::Forbidden),
            ("/a/..\\b", BadPath::Forbidden),
            ("/a%5cb", BadPath::Forbidden),
            ("/a;x=y", BadPath::Forbidden),
            ("/a/..;/b", BadPath::Forbidden),
            ("/a%3b", BadPath::Forbidden),
            ("/a?b", BadPath::Forbidden),
            ("/a%3Fb", BadPath::Forbidden),
            ("/a#b", BadPath::Forbidden),
            ("/a%23b", BadPath::Forbidden),
            ("/a%00", BadPath::Forbidden),
            ("/a%0d%0ab", BadPath::Forbidden),
            ("/%09/evil", BadPath::Forbidden),
            ("/a%7f", BadPath::Forbidden),
            ("/a%c2%85", BadPath::Forbidden),
            ("/a%", BadPath::Escape),
            ("/a%2", BadPath::Escape),
            ("/a%zz", BadPath::Escape),
            ("/a%+1", BadPath::Escape),
            ("/a%u002f", BadPath::Escape),
            ("/%c0%af", BadPath::NotUtf8),
            ("/%c0%ae%c0%ae/b", BadPath::NotUtf8),
            ("/%e0%80%af", BadPath::NotUtf8),
            ("/%ed%a0%80", BadPath::NotUtf8),
            ("/%ff", BadPath::NotUtf8),
            ("/%c3", BadPath::NotUtf8),
            ("/a b", BadPath::NotEncoded),
            ("/a\tb", BadPath::NotEncoded),
            ("/a\u{0}", BadPath::NotEncoded),
            ("/é", BadPath::NotEncoded),
        ] {
            assert_eq!(Path::of_encoded(bad), Err(why), "{bad:?}");
        }
        assert_eq!(Path::of_encoded(&"/a".repeat(Path::MAX)), Err(BadPath::TooLong));
        assert!(Path::of_encoded(&"/a".repeat(Path::MAX / 2)).is_ok());
    }

    #[test]
    fn a_decoded_path_is_judged_by_the_same_rules_and_not_decoded_again() {
        for (bad, why) in [
            ("", BadPath::NotAbsolute),
            ("a", BadPath::NotAbsolute),
            ("//", BadPath::EmptySegment),
            ("/a//b", BadPath::EmptySegment),
            ("/a/../b", BadPath::DotSegment),
            ("/%2e%2e", BadPath::Forbidden),
            ("/a%2fb", BadPath::Forbidden),
            ("/a%41", BadPath::Forbidden),
            ("/a\\b", BadPath::Forbidden),
            ("/a?b", BadPath::Forbidden),
            ("/a#b", BadPath::Forbidden),
            ("/a;b", BadPath::Forbidden),
            ("/a\u{0}", BadPath::Forbidden),
            ("/a\u{7f}", BadPath::Forbidden),
            ("/a\u{85}", BadPath::Forbidden),
            ("/a\r\nb", BadPath::Forbidden),
        ] {
            assert_eq!(Path::of_decoded(bad), Err(why), "{bad:?}");
        }
        assert_eq!(Path::of_decoded(&"/a".repeat(Path::MAX)), Err(BadPath::TooLong));
        assert_eq!(Path::of_decoded("/a b/é").unwrap(), path("/a%20b/%C3%A9"));
    }

    #[test]
    fn a_path_is_encoded_as_a_url_has_it() {
        for (written, encoded) in
            [("/", "/"), ("/a%20b/%c3%a9/%7e", "/a%20b/%C3%A9/~"), ("/a*b|\"<>,(x)", "/a*b%7C%22%3C%3E,(x)")]
        {
            assert_eq!(path(written).encoded(), encoded);
            assert_eq!(path(encoded), path(written));
        }
    }

    #[test]
    fn a_prefix_is_taken_off_at_a_segments_boundary() {
        for (whole, prefix, left) in [
            ("/k8s/apis/x", "/k8s", Some("/apis/x")),
            ("/k8s/apis/x", "/k8s/", Some("/apis/x")),
            ("/k8s/", "/k8s", Some("/")),
            ("/k8s", "/k8s", None),
            ("/k8s", "/k8s/", None),
            ("/k8s2/x", "/k8s", None),
            ("/K8s/x", "/k8s", None),
            ("/x/k8s/y", "/k8s", None),
            ("/a/b/c", "/a/b", Some("/c")),
            ("/a", "/", Some("/a")),
            ("/", "/", Some("/")),
            ("/", "/a", None),
        ] {
            let left = left.map(path);
            assert_eq!(path(whole).strip(&path(prefix)), left, "{whole} without {prefix}");
        }
    }
}
