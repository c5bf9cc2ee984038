/// A path in characters, or none where the rule refuses it. Encoded, or decoded by somebody else.
pub(crate) fn path(text: &str, encoded: bool) -> Option<Vec<char>> {
    let written: Vec<char> = text.chars().collect();
    // At most 8 KiB.
    if text.len() > 8192 {
        return None;
    }
    // It begins with one `/`.
    if written.first() != Some(&'/') || written.get(1) == Some(&'/') {
        return None;
    }
    let decoded = if encoded { decode(&written)? } else { written };
    // After decoding once it holds no `%` `\` `?` `#` `;` and no control.
    for character in &decoded {
        let number = u32::from(*character);
        let is_control = number < 0x20 || (0x7f..=0x9f).contains(&number);
        if is_control || matches!(character, '%' | '\\' | '?' | '#' | ';') {
            return None;
        }
    }
    // It holds no `//`.
    for at in 1..decoded.len() {
        if decoded[at - 1] == '/' && decoded[at] == '/' {
            return None;
        }
    }
    // It has no segment `.` or `..`.
    let mut segment = String::new();
    for character in decoded.iter().skip(1).chain(&['/']) {
        if *character != '/' {
            segment.push(*character);
            continue;
        }
        if segment == "." || segment == ".." {
            return None;
        }
        segment.clear();
    }
    Some(decoded)
}

/// One decoding: an escape is `%` and two hexadecimal digits, never that of a slash, and the whole is UTF-8. What is not
/// printable ASCII has to be escaped.
fn decode(written: &[char]) -> Option<Vec<char>> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < written.len() {
        let character = written[at];
        if !('!'..='~').contains(&character) {
            return None;
        }
        if character == '%' {
            let high = written.get(at + 1)?.to_digit(16)?;
            let low = written.get(at + 2)?.to_digit(16)?;
            let byte = high * 16 + low;
            if byte == 0x2f {
                return None;
            }
            bytes.push(byte);
            at += 3;
        } else {
            bytes.push(u32::from(character));
            at += 1;
        }
    }
    utf8(&bytes)
}

/// RFC 3629 §3 and §4: the table of what follows what.
fn utf8(bytes: &[u32]) -> Option<Vec<char>> {
    let mut characters = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let first = bytes[at];
        let (length, least, bits) = match first {
            0x00..=0x7f => (1, 0, first),
            0xc0..=0xdf => (2, 0x80, first - 0xc0),
            0xe0..=0xef => (3, 0x800, first - 0xe0),
            0xf0..=0xf7 => (4, 0x1_0000, first - 0xf0),
            _ => return None,
        };
        let mut number = bits;
        for more in 1..length {
            let next = *bytes.get(at + more)?;
            if !(0x80..=0xbf).contains(&next) {
                return None;
            }
            number = number * 64 + (next - 0x80);
        }
        // No overlong form, no surrogate, nothing past the last code point.
        if number < least || (0xd800..=0xdfff).contains(&number) || number > 0x10_ffff {
            return None;
        }
        characters.push(char::from_u32(number)?);
        at += length;
    }
    Some(characters)
}

/// Whether a text is a pattern, given what of it is behind scheme and host: `*` only last, and what is left is a path.
pub(crate) fn is_pattern(text: &str, path_part: &str) -> bool {
    let mut characters: Vec<char> = path_part.chars().collect();
    if characters.last() == Some(&'*') {
        characters.pop();
    }
    for character in &characters {
        if *character == '*' {
            return false;
        }
    }
    text.len() <= 2048 && path(&String::from_iter(characters), true).is_some()
}

/// Whether the path of a pattern covers a path. `/x/*` matches `/x/` and below, not `/x`; `/x*` matches `/x` and `/x/…`,
/// not `/xy`; without a star it matches itself.
pub(crate) fn covers(pattern: &str, wanted: &[char]) -> bool {
    let mut written: Vec<char> = pattern.chars().collect();
    let has_star = written.last() == Some(&'*');
    if has_star {
        written.pop();
    }
    let named = decode(&written).unwrap();
    if !has_star {
        return named == wanted;
    }
    if wanted.len() < named.len() {
        return false;
    }
    for (at, character) in named.iter().enumerate() {
        if wanted[at] != *character {
            return false;
        }
    }
    // `/x/*`
    if named.last() == Some(&'/') {
        return true;
    }
    // `/x*`
    wanted.len() == named.len() || wanted[named.len()] == '/'
}

/// What is left of a path below a prefix, which may end in a slash or not.
pub(crate) fn strip(path: &[char], prefix: &[char]) -> Option<Vec<char>> {
    let end = if prefix.last() == Some(&'/') { prefix.len() - 1 } else { prefix.len() };
    for (at, character) in prefix.iter().take(end).enumerate() {
        if path.get(at) != Some(character) {
            return None;
        }
    }
    if path.get(end) == Some(&'/') { Some(path[end..].to_vec()) } else { None }
}
