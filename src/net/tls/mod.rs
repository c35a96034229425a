//! TLS, both ways: towards clients ([`Acceptor`]) and towards the upstream ([`Connector`]).
//!
//! This folder is the only place that names rustls. The crypto provider (aws-lc-rs) is always passed
//! explicitly, never taken from the process. No TLS below 1.2, no early data, no ALPN.

mod choice;
mod client;
mod client_certificate;
mod facts;
mod identity;
mod self_signed;
mod server;
mod shown;
mod subject;
#[cfg(test)]
mod tests;
mod validity;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use client::{Connector, Expect};
pub use self_signed::{SelfSigned, self_signed};
pub use server::{Acceptor, Identity, NextHandshakes, Terms};
pub use shown::Certificate;
pub(in crate::net) use shown::of_server;

/// A connection on which we are the server.
pub type ServerTls = tokio_rustls::server::TlsStream<super::socket::Socket>;
/// A connection on which we are the client.
pub type ClientTls = tokio_rustls::client::TlsStream<super::socket::Socket>;

/// A PEM file larger than this is not read to its end.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// What stops TLS from being set up. Every message names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the {what} {}: {source}", path.display())]
    Unreadable { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the {what} {} is larger than {PEM_BYTES_MAX} octets; that is not a PEM file", path.display())]
    TooLarge { what: &'static str, path: PathBuf },
    #[error("the {what} {} is not readable PEM: {detail}", path.display())]
    BadPem { what: &'static str, path: PathBuf, detail: String },
    #[error("{} holds no certificate (no BEGIN CERTIFICATE line)", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key{hint}", path.display())]
    NoKey { path: PathBuf, hint: &'static str },
    #[error("the key {} does not belong to the certificate {}{hint}", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf, hint: &'static str },
    #[error("certificate {} with key {} cannot be used: {detail}", certificate.display(), key.display())]
    Unusable { key: PathBuf, certificate: PathBuf, detail: String },
    #[error("no trusted root certificates: {0}")]
    Roots(String),
    #[error("\"{0}\" is neither a host name nor an address a certificate could be checked for")]
    Name(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a handshake came to nothing. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer closed, reset, or the network failed.
    #[error("the peer went away during the TLS handshake: {0}")]
    Gone(io::Error),
    /// The peers do not agree, or a certificate was refused; the text is safe to log once escaped.
    #[error("TLS handshake failed: {0}")]
    Failed(String),
    /// The connection has TLS already, or was lost in an earlier attempt.
    #[error("TLS cannot begin on this connection")]
    NotPlain,
}

impl HandshakeError {
    /// tokio-rustls wraps what rustls said as `InvalidData`; all else is the network's.
    pub(super) fn from_io(error: io::Error) -> HandshakeError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(said) => HandshakeError::Failed(said.to_string()),
            None if error.kind() == io::ErrorKind::InvalidData => HandshakeError::Failed(error.to_string()),
            None => HandshakeError::Gone(error),
        }
    }
}

/// The one crypto provider.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// A whole PEM file, bounded.
fn read_pem(what: &'static str, path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsError> {
    use std::io::Read as _;

    let unreadable = |source| TlsError::Unreadable { what, path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Reserved at once where the size is known, so that growing leaves no copies of a key behind.
    let size = file.metadata().map_or(0, |meta| meta.len()).min(PEM_BYTES_MAX);
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge { what, path: path.to_owned() });
    }
    Ok(bytes)
}
