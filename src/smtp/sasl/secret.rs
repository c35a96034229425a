//! What must not be printed.

use std::fmt;

/// Octets that cannot be printed, and are overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// The only way in: for verifying.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // The compiler has to believe that somebody still looks at the zeros.
        std::hint::black_box(&self.0);
    }
}
