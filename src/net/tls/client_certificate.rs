//! Certificates of clients: asked for or required, verified against authorities the operator named, and told as facts.
//!
//! Where one is only asked for, a certificate that does not verify is as good as none: many mail servers show one that
//! nobody can verify, and mail must not stop for it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::identity::identity;
use super::server::certificates;
use super::subject::subject;
use super::{TlsError, provider};
use crate::config::WantedCertificate;
use crate::mail::TlsFacts;

/// Who looks at clients' certificates.
#[derive(Debug, Clone)]
pub(super) struct Verifiers {
    /// In the handshake.
    pub(super) handshake: Arc<dyn ClientCertVerifier>,
    /// For the facts.
    strict: Arc<dyn ClientCertVerifier>,
}

impl Verifiers {
    /// None: nobody is asked for a certificate.
    ///
    /// # Errors
    /// Names the file at fault.
    pub(super) fn load(settings: &WantedCertificate) -> Result<Option<Verifiers>, TlsError> {
        let (ca_file, required) = match settings {
            WantedCertificate::Off => return Ok(None),
            WantedCertificate::Ask(ca_file) => (ca_file, false),
            WantedCertificate::Require(ca_file) => (ca_file, true),
        };
        let strict = issued_under(ca_file)?;
        let handshake = if required { Arc::clone(&strict) } else { Arc::new(Asking(Arc::clone(&strict))) };
        Ok(Some(Verifiers { handshake, strict }))
    }

    /// Adds what a verified certificate says. Asked after a resumed handshake, too: what has expired meanwhile is no
    /// fact any more.
    pub(super) fn tell(&self, facts: &mut TlsFacts, shown: Option<&[CertificateDer<'_>]>) {
        let Some([leaf, others @ ..]) = shown else { return };
        if self.strict.verify_client_cert(leaf, others, UnixTime::now()).is_err() {
            return;
        }
        facts.client_subject = Some(subject(leaf).unwrap_or_else(|| Arc::from("unknown")));
        let mut digits = String::with_capacity(64);
        for octet in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf).as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(digits, "{octet:02x}");
        }
        facts.client_fingerprint = Some(digits.into());
        facts.client_identity = identity(leaf);
    }
}

fn issued_under(ca_file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    const WHAT: &str = "client CA file";
    let bad = |detail: String| TlsError::BadPem { what: WHAT, path: ca_file.to_owned(), detail };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(WHAT, ca_file)? {
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| bad(error.to_string()))
}

/// Lets every client in, whatever certificate it shows; that the client holds its key is checked all the same.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
