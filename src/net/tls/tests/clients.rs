//! Certificates of clients: what is let in, and what is told of it.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::*;
use crate::config::WantedCertificate;

/// An authority and a certificate it issued, both PEM, and the certificate's key.
struct Issued {
    authority: String,
    certificate: String,
    key: String,
}

fn issued(days_left: i64) -> Issued {
    let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut of_authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    of_authority.distinguished_name.push(rcgen::DnType::CommonName, "Authority");
    let (authority_key, client_key) = (key(), key());
    let authority = of_authority.self_signed(&authority_key).unwrap();
    let mut params = rcgen::CertificateParams::new(["client.test".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Tests, Inc.");
    params.distinguished_name.push(rcgen::DnType::CommonName, "client.test");
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(9);
    params.not_after = now + time::Duration::days(days_left);
    let issuer = rcgen::Issuer::new(of_authority, authority_key);
    let certificate = params.signed_by(&client_key, &issuer).unwrap();
    Issued { authority: authority.pem(), certificate: certificate.pem(), key: client_key.serialize_pem() }
}

fn on_terms(held: &Files, client_certificate: WantedCertificate) -> Acceptor {
    let settings = Handshakes { client_certificate, ..Handshakes::default() };
    Acceptor::on_terms(&load(&held.files).unwrap(), Terms::load(&settings).unwrap()).unwrap()
}

/// A client that shows this certificate, or none, and reads until the server closes.
async fn shows(acceptor: &Acceptor, shown: Option<&Issued>) -> Result<TlsFacts, HandshakeError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(client::AnyCertificate::new()));
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![leaf], key).unwrap()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = Stream::from(listener.accept().await.unwrap().0);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("mx.example.org").unwrap();
    let (server, _client) = tokio::join!(server.start_tls_server(acceptor), connector.connect(name, client));
    server
}

#[tokio::test]
async fn one_that_verifies_is_told_and_any_other_is_as_good_as_none() {
    let (held, friend, expired, stranger) = (files("mx.example.org"), issued(9), issued(-1), issued(9));
    let authorities = write("ca.pem", &held.dir, &format!("{}{}", friend.authority, expired.authority));
    let acceptor = on_terms(&held, WantedCertificate::Ask(authorities));
    let facts = shows(&acceptor, Some(&friend)).await.unwrap();
    assert_eq!(facts.client_subject.as_deref(), Some("CN=client.test,O=Tests\\, Inc."));
    assert_eq!(facts.client_identity.as_deref(), Some("client.test"));
    let fingerprint = facts.client_fingerprint.unwrap();
    assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()), "{fingerprint}");
    for shown in [None, Some(&expired), Some(&stranger)] {
        let facts = shows(&acceptor, shown).await.unwrap();
        assert_eq!((facts.client_subject, facts.client_fingerprint), (None, None));
        assert_eq!(facts.client_identity, None);
    }
}

#[tokio::test]
async fn where_one_is_required_nobody_else_gets_in() {
    let (held, friend, expired, stranger) = (files("mx.example.org"), issued(9), issued(-1), issued(9));
    let authorities = write("ca.pem", &held.dir, &format!("{}{}", friend.authority, expired.authority));
    let acceptor = on_terms(&held, WantedCertificate::Require(authorities));
    assert!(shows(&acceptor, Some(&friend)).await.unwrap().client_subject.is_some());
    for shown in [None, Some(&expired), Some(&stranger)] {
        assert!(matches!(shows(&acceptor, shown).await, Err(HandshakeError::Failed(_))));
    }
}

#[tokio::test]
async fn who_asks_for_none_is_shown_none() {
    let held = files("mx.example.org");
    let facts = shows(&on_terms(&held, WantedCertificate::Off), Some(&issued(9))).await.unwrap();
    assert_eq!(facts.client_subject, None);
}

#[test]
fn authorities_that_cannot_be_read_are_named() {
    let missing = WantedCertificate::Ask("/nonexistent/ca.pem".into());
    let settings = Handshakes { client_certificate: missing, ..Handshakes::default() };
    let said = Terms::load(&settings).unwrap_err().to_string();
    assert!(said.contains("client CA file") && said.contains("/nonexistent/ca.pem"), "{said}");
}

#[test]
fn a_subject_is_read_or_there_is_none() {
    let issued = issued(9);
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    assert_eq!(subject::subject(&der).as_deref(), Some("CN=client.test,O=Tests\\, Inc."));
    for cut in 0..der.len().min(150) {
        assert_eq!(subject::subject(&der[..cut]), None, "{cut}");
    }
}

/// A certificate with these names.
fn named(alternative: &[rcgen::SanType], common: &[&str]) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = alternative.to_vec();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Tests, Inc.");
    for (place, name) in common.iter().enumerate() {
        // rcgen has one attribute of a kind; the same by its number is another kind to it.
        let kind = if place == 0 { rcgen::DnType::CommonName } else { rcgen::DnType::CustomDnType(vec![2, 5, 4, 3]) };
        params.distinguished_name.push(kind, *name);
    }
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn a_certificate_names_one_account_or_none() {
    let email = |text: &str| rcgen::SanType::Rfc822Name(text.try_into().unwrap());
    let host = rcgen::SanType::DnsName("client.test".try_into().unwrap());
    let who = |alternative: &[rcgen::SanType], common: &[&str]| {
        super::super::identity::identity(&named(alternative, common)).map(|name| name.to_string())
    };
    assert_eq!(who(&[], &["anna"]).as_deref(), Some("anna"));
    assert_eq!(who(std::slice::from_ref(&host), &["anna"]).as_deref(), Some("anna"));
    assert_eq!(
        who(&[host, email("anna@example.org"), email("b@example.org")], &["x"]).as_deref(),
        Some("anna@example.org")
    );
    assert_eq!(who(&[], &[]), None);
    assert_eq!(who(&[], &["a\nb"]), None);
    assert_eq!(who(&[], &["anna", "otto"]), None, "which of the two?");
    let whole = named(&[email("anna@example.org")], &["x"]);
    for cut in 0..whole.len() {
        let _ = super::super::identity::identity(&whole[..cut]);
    }
}
