//! The small language of the settings.

/// `%xx` becomes the octet, for all that a list of words cannot hold. Invalid UTF-8 is replaced.
pub fn unescape(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = (*first == b'%').then(|| more.get(..2)).flatten();
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let Some(octet) = code {
            octets.push(octet);
            rest = &more[2..];
        } else {
            octets.push(*first);
            rest = more;
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// `name=value`.
pub fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

pub fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}
