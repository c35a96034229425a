//! The server's side: certificate and key from files, the acceptor, and its reload while listeners run.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig, SupportedProtocolVersion};

use super::choice::Choice;
use super::client_certificate::Verifiers;
use super::validity::validity;
use super::{HandshakeError, ServerTls, TlsError, facts, provider, read_pem};
use crate::config::{CertificateFiles, Handshakes, TlsFiles, TlsVersion};
use crate::mail::TlsFacts;
use crate::net::socket::Socket;

/// How long before its end a certificate is warned about.
const EXPIRY_WARNING: Duration = Duration::from_hours(7 * 24);
/// Session tickets after a full handshake. One is what a mail client uses; each costs a record.
const TICKETS: usize = 1;
static TLS12_UP: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static TLS13_UP: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Who we are to clients: a certificate with its key, loaded and matched, not yet in use.
///
/// Loading and using are two steps, so that a reload can check everything before it changes anything.
pub struct Identity {
    keys: Arc<Choice>,
    min_version: TlsVersion,
    not_after: Option<SystemTime>,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files and checks that they belong together.
    ///
    /// # Errors
    /// Names the file at fault. A certificate out of its dates is no error: most mail servers do not check it,
    /// and mail must not stop for it. That comes as a [warning](Identity::warnings).
    pub fn load(files: &TlsFiles, now: SystemTime) -> Result<Identity, TlsError> {
        let mut warnings = Vec::new();
        let (first, mut not_after) = one(&files.first, now, &mut warnings)?;
        let mut others = Vec::new();
        for pair in &files.additional {
            let (key, end) = one(pair, now, &mut warnings)?;
            not_after = not_after.into_iter().chain(end).min();
            others.push(key);
        }
        Ok(Identity { keys: Arc::new(Choice { first, others }), min_version: files.min_version, not_after, warnings })
    }

    /// What the operator should hear although it works: dates, permissions. Whole sentences without a full stop.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// For the side that shows it.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.keys.first)
    }

    /// The end of the validity of the certificate that ends first, where it could be read.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }
}

/// One certificate with its key, and the end of its validity.
fn one(
    files: &CertificateFiles,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<(Arc<CertifiedKey>, Option<SystemTime>), TlsError> {
    let chain = certificates("certificate", &files.certificate)?;
    let key = private_key(&files.key)?;
    let dates = chain.first().and_then(|leaf| validity(leaf));
    if let Some(dates) = dates {
        let path = files.certificate.display();
        if now > dates.not_after {
            warnings.push(format!("the certificate {path} has expired"));
        } else if now < dates.not_before {
            warnings.push(format!("the certificate {path} is not valid yet; is the clock right?"));
        } else if now + EXPIRY_WARNING > dates.not_after {
            warnings.push(format!("the certificate {path} expires within seven days"));
        }
    }
    warnings.extend(open_to_all(&files.key));
    Ok((Arc::new(matched(files, chain, key)?), dates.map(|dates| dates.not_after)))
}

/// All certificates of a PEM file, in their order.
pub(super) fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read_pem(what, path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::BadPem { what, path: path.to_owned(), detail: pem_error(&error) })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read_pem("key", path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let encrypted = memchr::memmem::find(&bytes, b"BEGIN ENCRYPTED PRIVATE KEY").is_some()
                || memchr::memmem::find(&bytes, b"Proc-Type: 4,ENCRYPTED").is_some();
            let hint = if encrypted {
                ": it is protected by a password, which a server cannot type; write it out without one \
                 (openssl pkey -in OLD -out NEW)"
            } else {
                " (no BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY line)"
            };
            TlsError::NoKey { path: path.to_owned(), hint }
        }
        error => TlsError::BadPem { what: "key", path: path.to_owned(), detail: pem_error(&error) },
    })
}

/// What is wrong with a PEM file, without quoting it: a key's text must not land in a log.
fn pem_error(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line; is the file cut short?".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "the text between BEGIN and END is not base64".to_owned(),
        pem::Error::SectionTooLarge => "a section is too large".to_owned(),
        pem::Error::NoItemsFound => "nothing of use in it".to_owned(),
        _ => "it cannot be understood".to_owned(),
    }
}

fn matched(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    let others: Vec<_> = chain.iter().skip(1).cloned().collect();
    let spare = key.clone_key();
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let later = others
                .into_iter()
                .any(|certificate| CertifiedKey::from_der(vec![certificate], spare.clone_key(), &provider()).is_ok());
            let hint = if later {
                ": it belongs to a later certificate in that file; the server's own must come first"
            } else {
                "; are they from the same renewal?"
            };
            TlsError::Mismatch { key: files.key.clone(), certificate: files.certificate.clone(), hint }
        }
        error => TlsError::Unusable {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
            detail: error.to_string(),
        },
    })
}

fn open_to_all(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0)
        .then(|| format!("the key {} can be read by every user of this machine; chmod o= it", path.display()))
}

/// What one listener asks of handshakes beside the certificates, which are everybody's.
#[derive(Debug)]
pub struct Terms {
    min_version: TlsVersion,
    clients: Option<Verifiers>,
}

impl Terms {
    /// # Errors
    /// When the authorities of client certificates cannot be read.
    pub fn load(settings: &Handshakes) -> Result<Terms, TlsError> {
        Ok(Terms { min_version: settings.min_version, clients: Verifiers::load(&settings.client_certificate)? })
    }
}

/// Begins TLS with clients. One for a listener; a reload changes what the next handshake uses, and sessions never
/// have to know.
pub struct Acceptor {
    current: ArcSwap<Current>,
    /// Kept over reloads, so that tickets handed out before are still good.
    tickets: Arc<dyn ProducesTickets>,
}

struct Current {
    config: Arc<ServerConfig>,
    clients: Option<Verifiers>,
}

/// What handshakes are to use from some moment on.
pub struct NextHandshakes(Arc<Current>);

impl std::fmt::Debug for NextHandshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextHandshakes").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Without terms of its own: the identity's versions, no client certificates.
    ///
    /// # Errors
    /// [`TlsError::Setup`] when the crypto library has no randomness or refuses the versions.
    pub fn new(identity: &Identity) -> Result<Acceptor, TlsError> {
        Acceptor::on_terms(identity, Terms { min_version: identity.min_version, clients: None })
    }

    /// # Errors
    /// As [`Acceptor::new`].
    pub fn on_terms(identity: &Identity, terms: Terms) -> Result<Acceptor, TlsError> {
        let tickets = ticketer()?;
        let current = current(identity, terms, Arc::clone(&tickets))?;
        Ok(Acceptor { current: ArcSwap::from_pointee(current), tickets })
    }

    /// Another identity and other terms for [`Acceptor::renew`]; nothing changes yet.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn prepare(&self, identity: &Identity, terms: Terms) -> Result<NextHandshakes, TlsError> {
        // A ticket vouches for the certificate that its client showed, or did not have to show, under the terms of
        // before.
        let vouches = terms.clients.is_some() || self.current.load().clients.is_some();
        let tickets = if vouches { ticketer()? } else { Arc::clone(&self.tickets) };
        Ok(NextHandshakes(Arc::new(current(identity, terms, tickets)?)))
    }

    /// Handshakes that begin from now on use this; connections that stand are not touched.
    pub fn renew(&self, next: NextHandshakes) {
        self.current.store(next.0);
    }

    /// The handshake. Without a time limit of its own: the caller bounds it and drops it when time is up.
    pub(in crate::net) async fn accept(&self, socket: Socket) -> Result<(Box<ServerTls>, TlsFacts), HandshakeError> {
        let current = self.current.load_full();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&current.config));
        let tls = acceptor.accept(socket).await.map_err(HandshakeError::from_io)?;
        let mut facts = facts::of_server(&tls);
        if let Some(clients) = &current.clients {
            clients.tell(&mut facts, tls.get_ref().1.peer_certificates());
        }
        Ok((Box::new(tls), facts))
    }
}

fn ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsError::Setup(error.to_string()))
}

fn current(identity: &Identity, terms: Terms, tickets: Arc<dyn ProducesTickets>) -> Result<Current, TlsError> {
    let versions = match terms.min_version {
        TlsVersion::Tls12 => TLS12_UP,
        TlsVersion::Tls13 => TLS13_UP,
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = match &terms.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.handshake)),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(&identity.keys) as Arc<dyn ResolvesServerCert>);
    config.ticketer = tickets;
    config.send_tls13_tickets = TICKETS;
    // Tickets carry the sessions; a table of them would be memory per client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Current { config: Arc::new(config), clients: terms.clients })
}
