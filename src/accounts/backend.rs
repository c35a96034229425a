//! One place where accounts are, as `[[auth.backend]]` names it, and what it can be asked. A backend of another kind
//! is one more variant here, with a file of its own for its protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{AuthBackend, AuthBackendKind};
use crate::smtp::sasl::scram::ScramKeys;
use crate::smtp::sasl::{Mechanisms, Name, Secret};
use crate::state::limits::LoginStanding;

use super::file::{PasswordFile, PasswordFileError};
use super::hashing::Hashing;
use super::{Client, Reach, Remote};
use crate::net::tls::TlsError;

/// What one backend says of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is this account's.
    Good(Arc<str>),
    /// It knows the account, and this is not its credential; or it cannot tell the two apart and speaks for all. No
    /// other backend is asked.
    Bad,
    /// It knows no such account: the next one is asked.
    NotMine,
    /// It is away, or too busy, or said what cannot be understood. No other backend is asked.
    Unavailable,
}

impl Verdict {
    /// For the metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Verdict::Good(_) => "good",
            Verdict::Bad => "bad",
            Verdict::NotMine => "unknown",
            Verdict::Unavailable => "unavailable",
        }
    }
}

/// What one backend says when asked for somebody's keys for SCRAM.
#[derive(Debug)]
pub(super) enum KeysVerdict {
    Keys(ScramKeys),
    /// It knows the account, or might, and has no keys for it. No other backend is asked.
    None,
    NotMine,
}

/// Why a backend cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error(transparent)]
    PasswordFile(#[from] PasswordFileError),
    #[error("the auth backend \"{backend}\": {error}")]
    Tls { backend: String, error: TlsError },
    #[error("the auth backend \"{backend}\": there is no upstream \"{upstream}\"")]
    Upstream { backend: String, upstream: String },
    #[error("the {key} of the auth backend \"{backend}\", {}: {error}", path.display())]
    Secret { backend: String, key: &'static str, path: PathBuf, error: std::io::Error },
}

/// One of several, with its own terms.
pub(super) struct Backend {
    pub(super) name: String,
    /// How long its positive answers are believed.
    pub(super) cache: Option<Duration>,
    kind: Kind,
}

enum Kind {
    File(Arc<PasswordFile>),
    Remote(Arc<Remote>),
}

impl Backend {
    /// # Errors
    /// What of it cannot be set up. A backend that is somewhere else may well be away now; that is no error.
    pub(super) fn load(settings: &AuthBackend, reach: &Reach<'_>) -> Result<Backend, BackendError> {
        let kind = match &settings.kind {
            AuthBackendKind::File { path } => Kind::File(Arc::new(PasswordFile::load(path)?)),
            AuthBackendKind::Remote(remote) => Kind::Remote(Arc::new(Remote::new(&settings.name, remote, reach)?)),
        };
        Ok(Backend { name: settings.name.clone(), cache: settings.cache, kind })
    }

    #[cfg(test)]
    pub(super) fn of_file(name: &str, file: PasswordFile, cache: Option<Duration>) -> Backend {
        Backend { name: name.to_owned(), cache, kind: Kind::File(Arc::new(file)) }
    }

    /// The mechanisms that somebody who has an account there can use.
    pub(super) fn serves(&self) -> Mechanisms {
        match &self.kind {
            Kind::File(file) if file.scram_accounts() > 0 => Mechanisms::PASSWORDS.or(Mechanisms::SCRAM),
            Kind::File(_) => Mechanisms::PASSWORDS,
            Kind::Remote(remote) => remote.serves(),
        }
    }

    /// Those that everybody there can use.
    pub(super) fn serves_all(&self) -> Mechanisms {
        match &self.kind {
            Kind::File(file) if file.scram_accounts() < file.count() => Mechanisms::PASSWORDS,
            Kind::File(_) | Kind::Remote(_) => self.serves(),
        }
    }

    /// The one that is asked over a connection.
    pub(super) fn remote(&self) -> Option<&Arc<Remote>> {
        match &self.kind {
            Kind::Remote(remote) => Some(remote),
            Kind::File(_) => None,
        }
    }

    /// Whether it has exchanges by this mechanism itself, as far as that is known.
    pub(super) fn relays(&self, name: Name) -> bool {
        self.remote().is_some_and(|remote| remote.relays(name))
    }

    /// The keys for SCRAM of an account.
    #[allow(clippy::unused_async, reason = "a backend that is not a file has to ask for them")]
    pub(super) async fn scram_keys(&self, name: &str) -> KeysVerdict {
        match &self.kind {
            Kind::File(file) => match file.scram_keys(name) {
                Some(Some(keys)) => KeysVerdict::Keys(keys.clone()),
                Some(None) => KeysVerdict::None,
                None => KeysVerdict::NotMine,
            },
            // It may know the name, and does not say: nobody after it may decide.
            Kind::Remote(remote) if remote.knows_passwords() => KeysVerdict::None,
            Kind::Remote(_) => KeysVerdict::NotMine,
        }
    }

    /// What keys for SCRAM look like there, where there are some: iterations, and octets of salt.
    pub(super) fn scram_kind(&self) -> Option<(u32, usize)> {
        match &self.kind {
            Kind::File(file) => file.scram_kind(),
            Kind::Remote(_) => None,
        }
    }

    /// Whether this token is good, whose it is, and how long that may be believed.
    pub(super) async fn verify_token(&self, token: &Secret) -> (Verdict, Duration) {
        match &self.kind {
            Kind::File(_) => (Verdict::NotMine, Duration::ZERO),
            Kind::Remote(remote) => remote.verify_token(token).await,
        }
    }

    /// What the operator should hear although it was set up.
    pub(super) fn warnings(&self) -> &[String] {
        match &self.kind {
            Kind::File(file) => file.warnings(),
            Kind::Remote(_) => &[],
        }
    }

    /// How many accounts it holds, where that can be known.
    pub(super) fn count(&self) -> usize {
        match &self.kind {
            Kind::File(file) => file.count(),
            Kind::Remote(_) => 0,
        }
    }

    /// Whether this is the account's password. An unknown name costs nothing here: see [`Backend::decoy`].
    pub(super) async fn verify_password(
        &self,
        client: &Client<'_>,
        name: &str,
        password: &Secret,
        hashing: &Hashing,
    ) -> Verdict {
        match &self.kind {
            Kind::Remote(remote) => remote.verify_password(client, name, password).await,
            Kind::File(file) if !file.knows(name) => Verdict::NotMine,
            Kind::File(file) => {
                let (file, name, password) = (Arc::clone(file), name.to_owned(), password.clone());
                let verified = hashing.compute(client.standing, move || file.verify(&name, password.reveal()));
                verified.await.unwrap_or(Verdict::Unavailable)
            }
        }
    }

    /// The work that a wrong password would have been, for a name that nobody knows. None: this backend does no such
    /// work here, whatever the name.
    pub(super) async fn decoy(&self, standing: LoginStanding, password: &Secret, hashing: &Hashing) -> Option<Verdict> {
        match &self.kind {
            Kind::File(file) => {
                let (file, password) = (Arc::clone(file), password.clone());
                let done = hashing.compute(standing, move || file.decoy(password.reveal())).await;
                Some(done.map_or(Verdict::Unavailable, |()| Verdict::NotMine))
            }
            Kind::Remote(_) => None,
        }
    }
}
