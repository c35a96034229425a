//! What `[auth]` means: who verifies logins, in which order, by which mechanisms.

use std::path::PathBuf;
use std::time::Duration;

use crate::smtp::sasl::Mechanisms;

/// Who may log in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Asked in this order; never empty.
    pub backends: Vec<AuthBackend>,
    /// None: whatever the backends can serve.
    pub mechanisms: Option<Mechanisms>,
    /// At most this many password hashes are computed at once.
    pub hashing_concurrent_max: usize,
    /// Positive answers remembered, all backends together.
    pub cache_entries_max: usize,
}

impl Auth {
    /// The mechanisms that may be offered, as far as it can be told without asking a backend.
    #[must_use]
    pub fn mechanisms(&self) -> Mechanisms {
        let served = self.backends.iter().fold(Mechanisms::NONE, |all, backend| all.or(backend.kind.could_serve()));
        self.mechanisms.unwrap_or(served)
    }
}

/// One of `[[auth.backend]]`, or what the short form names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthBackend {
    /// For errors, the log and metrics.
    pub name: String,
    /// How long a password that it called right is believed without asking again; None: it is asked each time.
    pub cache: Option<Duration>,
    pub kind: AuthBackendKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthBackendKind {
    /// A password file.
    File { path: PathBuf },
}

impl AuthBackendKind {
    /// What a backend of this kind can do for somebody; a given one may do less.
    #[must_use]
    pub const fn could_serve(&self) -> Mechanisms {
        match self {
            AuthBackendKind::File { .. } => Mechanisms::PASSWORDS,
        }
    }
}
