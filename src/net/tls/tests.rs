//! Handshakes over loopback, both sides ours; and what is said about files that will not do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod clients;
mod sessions;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use rustls::CipherSuite;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{CertificateFiles, Handshakes, TlsFiles, TlsVersion};
use crate::mail::TlsFacts;
use crate::net::Stream;

struct Files {
    dir: tempfile::TempDir,
    files: TlsFiles,
}

fn write(name: &str, dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn files(name: &str) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let pair = self_signed(&[name]).unwrap();
    let certificate = write("cert.pem", &dir, &pair.certificate_pem);
    let key = write("key.pem", &dir, &pair.key_pem);
    Files {
        dir,
        files: TlsFiles {
            first: CertificateFiles { certificate, key },
            additional: Vec::new(),
            min_version: TlsVersion::Tls12,
        },
    }
}

fn load(files: &TlsFiles) -> Result<Identity, TlsError> {
    Identity::load(files, SystemTime::now())
}

fn acceptor(name: &str) -> Acceptor {
    Acceptor::new(&load(&files(name).files).unwrap()).unwrap()
}

type Ends = (Result<(Stream, TlsFacts), HandshakeError>, Result<(Stream, TlsFacts), HandshakeError>);

async fn handshake(acceptor: &Acceptor, connector: &Connector) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Stream::from(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
    let mut server = Stream::from(listener.accept().await.unwrap().0);
    tokio::join!(async move { server.start_tls_server(acceptor).await.map(|facts| (server, facts)) }, async move {
        client.start_tls_client(connector).await.map(|facts| (client, facts))
    },)
}

#[tokio::test]
async fn both_ends_agree_and_say_so_as_mail_logs_do() {
    let acceptor = acceptor("mx.example.org");
    let connector = Connector::new(&Expect::Any { host: "mx.example.org" }).unwrap();
    let (server, client) = handshake(&acceptor, &connector).await;
    let ((mut server, seen), (mut client, offered)) = (server.unwrap(), client.unwrap());
    assert_eq!(seen.version, "TLSv1.3");
    assert!(seen.cipher.starts_with("TLS_AES_") || seen.cipher.starts_with("TLS_CHACHA20_"), "{}", seen.cipher);
    assert_eq!(seen.bits, 256);
    assert_eq!(seen.sni.as_deref(), Some("mx.example.org"));
    assert_eq!((offered.version, &offered.cipher, offered.bits), (seen.version, &seen.cipher, seen.bits));

    client.write_all(b"EHLO client.test\r\n").await.unwrap();
    client.flush().await.unwrap();
    let mut line = Vec::new();
    while line.len() < 18 {
        server.read_more(&mut line, 100).await.unwrap();
    }
    assert_eq!(line, b"EHLO client.test\r\n");
    let large = vec![b'x'; 300_000];
    let mut back = vec![0; 300_000];
    let (sent, got) = tokio::join!(
        async {
            server.write_all(&large).await?;
            server.flush().await
        },
        client.read_exact(&mut back)
    );
    sent.unwrap();
    got.unwrap();
    assert_eq!(back, large);
    assert!(matches!(server.start_tls_server(&acceptor).await, Err(HandshakeError::NotPlain)));
    assert!(server.is_tls(), "a refused second handshake leaves the first alone");
}

#[tokio::test]
async fn a_close_without_close_notify_is_an_ordinary_end() {
    let acceptor = acceptor("mx.example.org");
    let connector = Connector::new(&Expect::Any { host: "127.0.0.1" }).unwrap();
    let (server, client) = handshake(&acceptor, &connector).await;
    let ((mut server, seen), (mut client, _)) = (server.unwrap(), client.unwrap());
    assert_eq!(seen.sni, None, "an address is not sent as a name (RFC 6066 3)");
    // The session ticket is read with it: unread input would make the close a reset.
    server.write_all(b"221 Bye\r\n").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut [0; 9]).await.unwrap();
    drop(client);
    let mut buf = Vec::new();
    assert_eq!(server.read_more(&mut buf, 100).await.unwrap(), 0);
}

#[tokio::test]
async fn a_verified_name_needs_the_ca_and_the_name() {
    let held = files("mail.example.org");
    let acceptor = Acceptor::new(&load(&held.files).unwrap()).unwrap();
    let expect = |name| Expect::Verified { name, ca_file: Some(&held.files.first.certificate) };
    let good = Connector::new(&expect("mail.example.org")).unwrap();
    assert!(handshake(&acceptor, &good).await.1.is_ok());

    let wrong_name = Connector::new(&expect("other.example.org")).unwrap();
    let (server, client) = handshake(&acceptor, &wrong_name).await;
    assert!(matches!(client, Err(HandshakeError::Failed(text)) if text.contains("other.example.org")));
    // The server's flight was done before the client refused it; what it learns depends on timing.
    drop(server);

    let stranger = files("mail.example.org");
    let expect = Expect::Verified { name: "mail.example.org", ca_file: Some(&stranger.files.first.certificate) };
    let (_, client) = handshake(&acceptor, &Connector::new(&expect).unwrap()).await;
    assert!(matches!(client, Err(HandshakeError::Failed(_))));
}

/// As `openssl req -x509` makes them: a CA certificate, and the server's own.
#[tokio::test]
async fn a_pinned_key_is_enough_and_no_other_will_do() {
    let files = files("mx.example.org");
    let certificate = super::server::certificates("certificate", &files.files.first.certificate).unwrap().remove(0);
    let parsed = rustls::server::ParsedCertificate::try_from(&certificate).unwrap();
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parsed.subject_public_key_info());
    let key: [u8; 32] = key.as_ref().try_into().unwrap();
    let acceptor = Acceptor::new(&load(&files.files).unwrap()).unwrap();
    for (keys, good) in [(vec![[7; 32], key], true), (vec![[7; 32]], false)] {
        let connector = Connector::new(&Expect::Pinned { host: "192.0.2.1", keys: &keys }).unwrap();
        assert_eq!(handshake(&acceptor, &connector).await.1.is_ok(), good);
    }
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown_where_it_is_asked_for() {
    let (server, ours) = (files("mx.example.org"), files("gateway.example.org"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(super::server::certificates("certificate", &ours.files.first.certificate).unwrap().remove(0)).unwrap();
    let asks = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let identity = load(&server.files).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(asks.build().unwrap())
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.certified())));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    for (shown, seen) in [(Some(load(&ours.files).unwrap()), true), (None, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Stream::from(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let accepted = listener.accept().await.unwrap().0;
        let connector = Connector::showing(&Expect::Any { host: "mx.example.org" }, shown.as_ref()).unwrap();
        let (server, _) = tokio::join!(acceptor.accept(accepted), client.start_tls_client(&connector));
        assert_eq!(server.is_ok_and(|tls| tls.get_ref().1.peer_certificates().is_some()), seen);
    }
}

fn self_signed_ca(name: &str, first_day: i64, last_day: i64) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now + time::Duration::days(first_day);
    params.not_after = now + time::Duration::days(last_day);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = write("cert.pem", &dir, &params.self_signed(&pair).unwrap().pem());
    let key = write("key.pem", &dir, &pair.serialize_pem());
    Files {
        dir,
        files: TlsFiles {
            first: CertificateFiles { certificate, key },
            additional: Vec::new(),
            min_version: TlsVersion::Tls12,
        },
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_believed_where_it_is_named() {
    for (name, first_day, last_day, believed) in [
        ("mail.example.org", -1, 1, true),
        ("other.example.org", -1, 1, false),
        ("mail.example.org", -2, -1, false),
        ("mail.example.org", 1, 2, false),
    ] {
        let held = self_signed_ca(name, first_day, last_day);
        let acceptor = Acceptor::new(&load(&held.files).unwrap()).unwrap();
        let expect = Expect::Verified { name: "mail.example.org", ca_file: Some(&held.files.first.certificate) };
        let client = handshake(&acceptor, &Connector::new(&expect).unwrap()).await.1;
        assert_eq!(client.is_ok(), believed, "{name} {first_day} {last_day}: {client:?}");
    }
    let (held, stranger) = (self_signed_ca("mail.example.org", -1, 1), self_signed_ca("mail.example.org", -1, 1));
    let acceptor = Acceptor::new(&load(&held.files).unwrap()).unwrap();
    let expect = Expect::Verified { name: "mail.example.org", ca_file: Some(&stranger.files.first.certificate) };
    assert!(handshake(&acceptor, &Connector::new(&expect).unwrap()).await.1.is_err());
}

#[tokio::test]
async fn plain_text_at_a_tls_port_is_a_failed_handshake() {
    let acceptor = acceptor("mx.example.org");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = Stream::from(listener.accept().await.unwrap().0);
    client.write_all(b"EHLO client.test\r\n").await.unwrap();
    assert!(matches!(server.start_tls_server(&acceptor).await, Err(HandshakeError::Failed(_))));
    assert!(matches!(server, Stream::Lost));
    assert_eq!(server.read_into(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::NotConnected);

    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = Stream::from(listener.accept().await.unwrap().0);
    client.shutdown().await.unwrap();
    assert!(matches!(server.start_tls_server(&acceptor).await, Err(HandshakeError::Gone(_))));
}

#[tokio::test]
async fn a_reload_serves_the_next_handshake_and_bad_files_change_nothing() {
    let first = files("first.example.org");
    let acceptor = Acceptor::new(&load(&first.files).unwrap()).unwrap();
    let second = files("second.example.org");
    let expect = Expect::Verified { name: "second.example.org", ca_file: Some(&second.files.first.certificate) };
    let wants_second = Connector::new(&expect).unwrap();
    assert!(handshake(&acceptor, &wants_second).await.1.is_err());

    std::fs::write(&first.files.first.certificate, "").unwrap();
    assert!(load(&first.files).is_err());
    let any = Connector::new(&Expect::Any { host: "first.example.org" }).unwrap();
    assert!(handshake(&acceptor, &any).await.0.is_ok());

    let terms = Terms::load(&Handshakes::default()).unwrap();
    acceptor.renew(acceptor.prepare(&load(&second.files).unwrap(), terms).unwrap());
    assert!(handshake(&acceptor, &wants_second).await.1.is_ok());
}

#[tokio::test]
async fn a_minimum_of_1_3_is_kept() {
    let mut held = files("mx.example.org");
    held.files.min_version = TlsVersion::Tls13;
    let acceptor = Acceptor::new(&load(&held.files).unwrap()).unwrap();
    let old = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = Stream::from(listener.accept().await.unwrap().0);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(old));
    let name = rustls::pki_types::ServerName::try_from("mx.example.org").unwrap();
    let (server, client) = tokio::join!(server.start_tls_server(&acceptor), connector.connect(name, client));
    assert!(matches!(server, Err(HandshakeError::Failed(_))));
    assert!(client.is_err());
}

#[test]
fn every_file_that_will_not_do_is_named_with_its_reason() {
    let held = files("mx.example.org");
    let refuse = |change: &dyn Fn(&mut TlsFiles)| {
        let mut changed = held.files.clone();
        change(&mut changed);
        load(&changed).unwrap_err().to_string()
    };
    let missing = refuse(&|files| files.first.certificate = "/nonexistent/cert.pem".into());
    assert!(missing.contains("/nonexistent/cert.pem") && missing.contains("No such file"), "{missing}");

    let empty = write("empty.pem", &held.dir, "");
    assert!(refuse(&|files| files.first.certificate = empty.clone()).contains("holds no certificate"));
    assert!(refuse(&|files| files.first.key = empty.clone()).contains("holds no private key"));
    // The usual mistake: both settings name the same file.
    assert!(refuse(&|files| files.first.key = files.first.certificate.clone()).contains("holds no private key"));

    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = write("locked.pem", &held.dir, locked);
    assert!(refuse(&|files| files.first.key = locked.clone()).contains("protected by a password"));

    let torn = std::fs::read_to_string(&held.files.first.key).unwrap();
    let torn = write("torn.pem", &held.dir, &torn[..torn.len() / 2]);
    let said = refuse(&|files| files.first.key = torn.clone());
    assert!(said.contains("torn.pem") && said.contains("cut short"), "{said}");

    let other = files("mx.example.org");
    let said = refuse(&|files| files.first.key = other.files.first.key.clone());
    assert!(said.contains("does not belong to the certificate") && said.contains("same renewal"), "{said}");

    let mut reversed = std::fs::read_to_string(&other.files.first.certificate).unwrap();
    reversed.push_str(&std::fs::read_to_string(&held.files.first.certificate).unwrap());
    let reversed = write("reversed.pem", &held.dir, &reversed);
    let said = refuse(&|files| files.first.certificate = reversed.clone());
    assert!(said.contains("must come first"), "{said}");

    let huge = write("huge.pem", &held.dir, &"x".repeat(usize::try_from(PEM_BYTES_MAX).unwrap() + 1));
    assert!(refuse(&|files| files.first.certificate = huge.clone()).contains("not a PEM file"));
}

#[test]
fn dates_and_permissions_are_warnings() {
    let held = files("mx.example.org");
    let at = |now| Identity::load(&held.files, now).unwrap().warnings().join("; ");
    let now = SystemTime::now();
    let day = Duration::from_hours(24);
    assert_eq!(at(now), "");
    assert!(at(now + 366 * day).contains("has expired"));
    assert!(at(now + 362 * day).contains("expires within seven days"));
    assert!(at(now - 3 * day).contains("not valid yet"));
    std::fs::set_permissions(&held.files.first.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(at(now).contains("can be read by every user"));
    let left = load(&held.files).unwrap().not_after().unwrap().duration_since(now).unwrap();
    assert!(left > 364 * day && left <= 365 * day);
}

#[test]
fn garbage_has_no_validity() {
    let pem = self_signed(&["mx.example.org"]).unwrap();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem.certificate_pem.as_bytes()).unwrap();
    let der: rustls::pki_types::CertificateDer<'_> = der;
    assert!(validity::validity(&der).is_some());
    for cut in 0..der.len().min(120) {
        assert_eq!(validity::validity(&der[..cut]), None);
    }
    assert_eq!(validity::validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
}

#[test]
fn ciphers_are_spelled_as_openssl_spells_them() {
    let spelled = |suite| facts::cipher(suite);
    let (name, bits) = spelled(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    assert_eq!((&*name, bits), ("ECDHE-ECDSA-AES128-GCM-SHA256", 128));
    let (name, bits) = spelled(CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert_eq!((&*name, bits), ("TLS_AES_256_GCM_SHA384", 256));
    // Whatever the provider may offer has a spelling of its own in the table.
    for suite in &provider().cipher_suites {
        let (name, _) = spelled(suite.suite());
        assert!(!name.starts_with("TLS13_") && !name.contains("WITH"), "{name}");
    }
}

#[test]
fn secrets_do_not_print() {
    let pair = self_signed(&["mx.example.org"]).unwrap();
    assert!(!format!("{pair:?}").contains("PRIVATE"));
}
