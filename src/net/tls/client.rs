//! The client's side: TLS towards the upstream, with any certificate or with one that verifies.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::server::{Identity, certificates};
use super::validity::validity;
use super::{ClientTls, HandshakeError, TlsError, facts, provider};
use crate::mail::TlsFacts;
use crate::net::socket::Socket;

/// What the upstream's certificate must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect<'a> {
    /// Anything: keeps passive listeners out, nobody else (RFC 7435). The name only goes into SNI.
    Any { host: &'a str },
    /// One for this name, issued under `ca_file` or, without it, under the platform's roots.
    Verified { name: &'a str, ca_file: Option<&'a std::path::Path> },
    /// One with one of these public keys (SHA-256 of the SubjectPublicKeyInfo), whatever else it says. The name only
    /// goes into SNI.
    Pinned { host: &'a str, keys: &'a [[u8; 32]] },
}

/// Begins TLS with the upstream. Cheap to clone; sessions are resumed where the upstream offers it.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Connector {
    /// # Errors
    /// When the name is none, the CA file cannot be read, or there are no roots.
    pub fn new(expect: &Expect<'_>) -> Result<Connector, TlsError> {
        Connector::showing(expect, None)
    }

    /// The same, with a certificate of our own for servers that ask for one.
    ///
    /// # Errors
    /// As [`new`](Connector::new).
    pub fn showing(expect: &Expect<'_>, ours: Option<&Identity>) -> Result<Connector, TlsError> {
        let (name, verifier) = match *expect {
            Expect::Any { host } => (host, Arc::new(AnyCertificate::new()) as Arc<dyn ServerCertVerifier>),
            Expect::Verified { name, ca_file: Some(path) } => (name, issued_under(path)?),
            Expect::Verified { name, ca_file: None } => (name, issued_under_platform_roots()?),
            Expect::Pinned { host, keys } => {
                (host, Arc::new(Pinned { keys: keys.to_vec(), any: AnyCertificate::new() }) as Arc<_>)
            }
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match ours {
            Some(ours) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours.certified()))),
            None => config.with_no_client_auth(),
        };
        Ok(Connector { config: Arc::new(config), name })
    }

    /// The same for another name: certificate and SNI are to be this one's.
    ///
    /// # Errors
    /// When the name is none.
    pub fn named(&self, name: &str) -> Result<Connector, TlsError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        Ok(Connector { config: Arc::clone(&self.config), name })
    }

    /// What is believed, for a library that does its own handshakes.
    pub(crate) fn for_library(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The handshake; the caller bounds it in time.
    pub(in crate::net) async fn connect(&self, socket: Socket) -> Result<(Box<ClientTls>, TlsFacts), HandshakeError> {
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        let tls = connector.connect(self.name.clone(), socket).await.map_err(HandshakeError::from_io)?;
        let facts = facts::of_client(&tls);
        Ok((Box::new(tls), facts))
    }
}

fn issued_under(ca_file: &std::path::Path) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let named = certificates("CA file", ca_file)?;
    for certificate in &named {
        roots.add(certificate.clone()).map_err(|error| TlsError::BadPem {
            what: "CA file",
            path: ca_file.to_owned(),
            detail: error.to_string(),
        })?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::Roots(error.to_string()))?;
    Ok(Arc::new(Named { certificates: named, issued: verifier }))
}

fn issued_under_platform_roots() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let verifier =
        rustls_platform_verifier::Verifier::new(provider()).map_err(|error| TlsError::Roots(error.to_string()))?;
    Ok(Arc::new(verifier))
}

/// Takes what was issued under the certificates of a CA file, and these certificates themselves.
///
/// Self-signed certificates are usually made as CA certificates (`openssl req -x509` does), and webpki takes none of
/// those as a server's own. One that the operator named is believed all the same, for its name and its time.
#[derive(Debug)]
struct Named {
    certificates: Vec<CertificateDer<'static>>,
    issued: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.certificates.iter().any(|named| named.as_ref() == end_entity.as_ref()) {
            return self.issued.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let dates = validity(end_entity).ok_or(CertificateError::BadEncoding)?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if now > dates.not_after {
            return Err(CertificateError::Expired.into());
        }
        if now < dates.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

/// Takes a certificate for its key alone: whoever proves to hold it is the server, and dates and issuers say no more.
#[derive(Debug)]
struct Pinned {
    keys: Vec<[u8; 32]>,
    any: AnyCertificate,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let shown = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
        if self.keys.iter().any(|known| known == shown.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}

/// Takes any certificate, for opportunistic TLS (RFC 7435, and RFC 3207 4.1: a server without a certificate that
/// verifies is still better spoken to in cipher than in clear).
///
/// It protects from those who only listen. The handshake's signatures are checked all the same: whoever answers
/// holds the key of the certificate shown.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    pub(super) fn new() -> AnyCertificate {
        AnyCertificate { algorithms: provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
