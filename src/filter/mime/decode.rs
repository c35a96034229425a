//! Transfer encodings and charsets, as mail clients read them: broken ones too.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

/// Base64 (RFC 2045 6.8: what is not of the alphabet is ignored, and so it is by those who open attachments).
pub(super) fn base64(octets: &[u8]) -> Vec<u8> {
    base64_decode(octets).unwrap_or_else(|| {
        let plain: Vec<u8> =
            octets.iter().copied().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')).collect();
        base64_decode(&plain).unwrap_or_default()
    })
}

/// Quoted-printable; what is not is left as it is.
pub(super) fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    quoted_printable_decode(octets).unwrap_or_else(|| octets.to_vec())
}

/// To UTF-8; an unknown charset is read as UTF-8, and what is no character becomes U+FFFD.
pub(super) fn text(octets: &[u8], charset: Option<&str>) -> String {
    match charset.and_then(|name| charset_decoder(name.as_bytes())) {
        Some(decoder) => decoder(octets),
        None => String::from_utf8_lossy(octets).into_owned(),
    }
}
