//! Public keys of minisign, as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a key file's second line looks like.
pub(super) const SIGNING_KEY_HELP: &str =
    "write the second line of the .pub file that `minisign -G` made: signing-keys = [\"RWQ…\"]";

/// A public key whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    text: String,
    id: String,
}

impl SigningKey {
    /// # Errors
    /// Completes a sentence that begins with the key.
    pub fn parse(text: &str) -> Result<SigningKey, String> {
        let octets = STANDARD.decode(text).map_err(|_| "is not a key of minisign".to_owned())?;
        // Two for the algorithm, eight for the name, 32 for the key itself.
        if octets.len() != 42 || !octets.starts_with(b"Ed") {
            return Err("is not a public key of minisign".to_owned());
        }
        let id = minisign_key_id(text).ok_or("is not a public key of minisign")?;
        Ok(SigningKey { text: text.to_owned(), id })
    }

    /// As in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As minisign shows it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The name of the key in the line of a public key or a signature.
#[must_use]
pub fn minisign_key_id(line: &str) -> Option<String> {
    let octets = STANDARD.decode(line).ok()?;
    let id: [u8; 8] = octets.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}
