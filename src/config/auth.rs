//! What `[auth]` means: who verifies logins, in which order, by which mechanisms.

use std::path::PathBuf;
use std::time::Duration;

use super::{OauthAccounts, Password, Url};
use crate::smtp::sasl::{Mechanism, Mechanisms, Name, Served, Way, Witness};

/// Who may log in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Asked in this order; never empty.
    pub backends: Vec<AuthBackend>,
    /// None: what the backends can serve for everybody who has an account. EXTERNAL, which needs none of them, is only
    /// offered where it is named here. Names that there is no machine for here are relayed.
    pub mechanisms: Option<Vec<Name>>,
    /// At most this many password hashes are computed at once.
    pub hashing_concurrent_max: usize,
    /// Positive answers remembered, all backends together.
    pub cache_entries_max: usize,
}

impl Auth {
    /// The mechanisms that can be offered, as far as it can be told without asking a backend.
    #[must_use]
    pub fn could_offer(&self) -> Served {
        let Some(named) = &self.mechanisms else {
            let all = self.backends.iter().fold(Mechanisms::NONE, |all, backend| all.or(backend.kind.could_serve()));
            return Served::here(all);
        };
        let can =
            |name: Name| self.backends.iter().map(move |one| (one.kind.could_serve(), one.kind.could_relay(name)));
        named.iter().filter_map(|name| Way::of(*name, can(*name))).fold(Served::default(), Served::and)
    }

    /// Where a client that has no good token can read of the provider (OpenID Connect Discovery 1.0 section 4). None where
    /// there are several providers, since nobody can tell which of them is the client's, and where that page is not named
    /// or is not asked for by TLS.
    #[must_use]
    pub fn discovery(&self) -> Option<&Url> {
        let mut pages = self.backends.iter().filter_map(|backend| match &backend.kind {
            AuthBackendKind::Remote(AuthRemote { service: AuthService::Oauth(accounts), .. }) => Some(accounts.page()),
            _ => None,
        });
        let first = pages.next()?.filter(|page| page.secure)?;
        pages.all(|page| page == Some(first)).then_some(first)
    }

    /// Those of them that are named and that there is a machine for here.
    #[must_use]
    pub fn named_here(&self) -> Mechanisms {
        self.mechanisms.iter().flatten().filter_map(|name| Mechanism::parse(name.as_str())).collect()
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
    /// Somebody else who is asked.
    Remote(AuthRemote),
}

/// A backend that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRemote {
    /// For one answer, the wait for a place included.
    pub timeout: Duration,
    /// At most so many questions are with it at once.
    pub concurrent_max: usize,
    pub service: AuthService,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthService {
    /// Dovecot's auth client socket.
    Dovecot {
        socket: PathBuf,
    },
    /// Cyrus SASL's saslauthd.
    Saslauthd {
        socket: PathBuf,
        /// "smtp": what PAM calls it, for one.
        service: String,
        /// For names without an @; may be empty.
        realm: String,
    },
    /// nginx's auth_http.
    Http {
        url: Url,
        ca: Option<PathBuf>,
        /// Said with every question: name and value, which may be a secret.
        headers: Vec<(String, Password)>,
    },
    Ldap(LdapAccounts),
    Oauth(Box<OauthAccounts>),
    /// The mail server behind us: this one of `Config::upstreams`.
    Upstream {
        upstream: String,
    },
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapAccounts {
    pub host: String,
    pub port: u16,
    pub tls: LdapTls,
    /// None: the platform's roots.
    pub ca: Option<PathBuf>,
    pub find: LdapFind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LdapTls {
    Off,
    StartTls,
    /// ldaps.
    Implicit,
}

/// How a name becomes an entry. In the patterns `%u` is the name, `%n` what stands before its last @, `%d` what stands
/// behind it, `%%` a percent sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LdapFind {
    /// The entry's own name is a pattern.
    Pattern(String),
    /// It is searched for.
    Search {
        base: String,
        filter: String,
        /// Who searches; None: anybody may.
        searcher: Option<(String, PathBuf)>,
    },
}

impl AuthBackendKind {
    /// What a backend of this kind can do for somebody; a given one may do less.
    #[must_use]
    pub const fn could_serve(&self) -> Mechanisms {
        match self {
            AuthBackendKind::File { .. } => Mechanisms::PASSWORDS.or(Mechanisms::SCRAM),
            AuthBackendKind::Remote(remote) => remote.service.could_serve(),
        }
    }
}

impl AuthBackendKind {
    /// Whether it can have the exchange of this mechanism with a client; a given one may not.
    #[must_use]
    pub fn could_relay(&self, name: Name) -> bool {
        match self {
            AuthBackendKind::Remote(AuthRemote { service: AuthService::Dovecot { .. }, .. }) => name.can_be_relayed(),
            AuthBackendKind::Remote(AuthRemote { service: AuthService::Upstream { .. }, .. }) => {
                name.can_be_relayed() && Witness::of(name).is_some()
            }
            AuthBackendKind::File { .. } | AuthBackendKind::Remote(_) => false,
        }
    }
}

impl AuthService {
    /// As [`AuthBackendKind::could_serve`].
    #[must_use]
    pub const fn could_serve(&self) -> Mechanisms {
        match self {
            AuthService::Dovecot { .. }
            | AuthService::Saslauthd { .. }
            | AuthService::Http { .. }
            | AuthService::Ldap(_) => Mechanisms::PASSWORDS,
            AuthService::Oauth(_) => Mechanisms::TOKENS,
            AuthService::Upstream { .. } => Mechanisms::PASSWORDS,
        }
    }
}
