//! A certificate nobody vouches for: for the demonstration, tests, and a first start.

use super::TlsError;

/// How long a self-signed certificate is valid.
const VALID_DAYS: i64 = 365;

/// A certificate and its key, both PEM. The key is wiped when this is dropped.
#[derive(Clone)]
pub struct SelfSigned {
    pub certificate_pem: String,
    pub key_pem: zeroize::Zeroizing<String>,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}

/// Makes an ECDSA P-256 certificate for these names (host names or addresses), valid for a year from yesterday.
///
/// # Errors
/// [`TlsError::Name`] when a name is not ASCII; [`TlsError::Setup`] when the key cannot be made.
pub fn self_signed(names: &[&str]) -> Result<SelfSigned, TlsError> {
    let setup = |error: rcgen::Error| TlsError::Setup(error.to_string());
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let shown = names.join(", ");
    let mut params = rcgen::CertificateParams::new(names).map_err(|_| TlsError::Name(shown.clone()))?;
    params.distinguished_name.push(rcgen::DnType::CommonName, shown);
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(VALID_DAYS);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(setup)?;
    let certificate = params.self_signed(&key).map_err(setup)?;
    Ok(SelfSigned { certificate_pem: certificate.pem(), key_pem: key.serialize_pem().into() })
}
