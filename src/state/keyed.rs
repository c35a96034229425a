//! Names as numbers: a keyed hash, so that they have a fixed size and nobody who does not know the key can look for two
//! names with one number. The key goes with the numbers where those are written down.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

/// Octets of a key.
pub const HASH_KEY_BYTES: usize = 16;

/// The key; it cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; HASH_KEY_BYTES]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl HashKey {
    /// One that nobody knows.
    #[must_use]
    pub fn random() -> HashKey {
        use std::hash::{BuildHasher as _, RandomState};
        let mut octets = [0; HASH_KEY_BYTES];
        if aws_lc_rs::rand::fill(&mut octets).is_err() {
            // The standard library's keys are from the system's generator as well.
            for (i, chunk) in octets.chunks_mut(8).enumerate() {
                chunk.copy_from_slice(&RandomState::new().hash_one(i).to_le_bytes());
            }
        }
        HashKey(octets)
    }

    /// One that was kept.
    #[must_use]
    pub const fn from_octets(octets: [u8; HASH_KEY_BYTES]) -> HashKey {
        HashKey(octets)
    }

    /// For keeping it, in a file that nobody else can read.
    #[must_use]
    pub fn octets(&self) -> &[u8; HASH_KEY_BYTES] {
        &self.0
    }

    /// The number of a name in so many parts; where one part ends and the next begins makes a difference.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for part in parts {
            hasher.write(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_on_the_key_and_on_where_parts_end_and_on_nothing_else() {
        let key = HashKey::from_octets([7; HASH_KEY_BYTES]);
        // Written into files: it must never change.
        assert_eq!(key.hash(&[b"anna@example.org"]), 4_317_571_765_307_330_763);
        assert_ne!(key.hash(&[b"ab", b"c"]), key.hash(&[b"a", b"bc"]));
        assert_ne!(HashKey::random().hash(&[b"a"]), HashKey::random().hash(&[b"a"]));
        assert_eq!(format!("{key:?}"), "HashKey(…)");
    }
}
