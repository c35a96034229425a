//! Which of our certificates a client is shown: the first one for the name it asks for, else the first of all.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// In the order of the configuration; never empty.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) first: Arc<CertifiedKey>,
    pub(super) others: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.others.is_empty() {
            return Some(Arc::clone(&self.first));
        }
        let named = |key: &Arc<CertifiedKey>| hello.server_name().is_some_and(|name| is_for(key, name));
        // Of an RSA and an ECDSA certificate for one name, the one the client can verify.
        let usable = |key: &Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let all = || std::iter::once(&self.first).chain(&self.others);
        let found = all().find(|key| named(key) && usable(key)).or_else(|| all().find(|key| named(key)));
        Some(Arc::clone(found.unwrap_or(&self.first)))
    }
}

/// As a client would judge it: by the certificate's subject alternative names, wildcards included.
fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let parsed = key.end_entity_cert().ok().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    match (parsed, ServerName::try_from(name)) {
        (Some(leaf), Ok(name)) => verify_server_name(&leaf, &name).is_ok(),
        _ => false,
    }
}
