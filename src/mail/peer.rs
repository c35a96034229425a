//! Who is speaking: facts of a session that filters, the upstream and the log are told.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Introduced, Proxied};
use crate::smtp::sasl::{ChannelBinding, Name};

/// What the reverse lookup of the peer's address gave (the NAME of XCLIENT).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerName {
    /// A PTR name whose own addresses hold the peer's: forward-confirmed.
    Confirmed(Arc<str>),
    /// No PTR, or it does not point back.
    Unavailable,
    /// The lookup failed for now.
    TemporarilyUnavailable,
}

/// HELO or EHLO as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub name: Arc<str>,
    /// EHLO.
    pub extended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// "TLSv1.3", "TLSv1.2".
    pub version: &'static str,
    /// "TLS_AES_256_GCM_SHA384", in the spelling of OpenSSL where it differs.
    pub cipher: Arc<str>,
    /// Strength of the cipher's key, for the Received field.
    pub bits: u16,
    pub sni: Option<Arc<str>>,
    /// Of a client certificate that verified.
    pub client_subject: Option<Arc<str>>,
    /// SHA-256 of that certificate, in hexadecimal digits.
    pub client_fingerprint: Option<Arc<str>>,
    /// Who may log in with that certificate: its first e-mail address among the alternative names, else its common name.
    pub client_identity: Option<Arc<str>>,
    /// Of the connection to this client itself, where it can be bound to (TLS 1.3).
    pub channel_binding: Option<ChannelBinding>,
}

impl TlsFacts {
    /// Of a client that named no host and showed no certificate, on a connection that nothing is bound to.
    #[must_use]
    pub const fn new(version: &'static str, cipher: Arc<str>, bits: u16) -> TlsFacts {
        TlsFacts {
            version,
            cipher,
            bits,
            sni: None,
            client_subject: None,
            client_fingerprint: None,
            client_identity: None,
            channel_binding: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFacts {
    pub mechanism: Name,
    /// The authenticated name.
    pub identity: Arc<str>,
}

/// Whether somebody has logged in from the client's address lately, elsewhere, where the listener takes that for leave to
/// send. It is nobody's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterLogin {
    /// Not that anybody said.
    #[default]
    No,
    Yes,
    /// Who would know cannot be asked.
    Unknown,
}

/// A snapshot of the session: cheap to share, replaced (not changed) when a fact is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// One a connection, shown in log and Received.
    pub id: Arc<str>,
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub peer_name: PeerName,
    /// The PTR name, whether it was confirmed or not (REVERSE_NAME of XCLIENT).
    pub reverse_name: PeerName,
    pub hello: Option<Hello>,
    pub tls: Option<Arc<TlsFacts>>,
    pub auth: Option<Arc<AuthFacts>>,
    pub after_login: AfterLogin,
    /// What proxies and mail servers in front of us said.
    pub introduced: Option<Arc<Introduced>>,
}

impl SessionFacts {
    /// Of a client that has just connected and of whom nothing else is known.
    #[must_use]
    pub const fn new(id: Arc<str>, listener: Arc<str>, peer: SocketAddr, local: SocketAddr) -> SessionFacts {
        SessionFacts {
            id,
            listener,
            peer,
            local,
            peer_name: PeerName::Unavailable,
            reverse_name: PeerName::Unavailable,
            hello: None,
            tls: None,
            auth: None,
            after_login: AfterLogin::No,
            introduced: None,
        }
    }

    /// The proxy that the client came through.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxied> {
        self.introduced.as_ref()?.proxy.as_ref()
    }
}
