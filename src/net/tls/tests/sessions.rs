//! Names, resumption, versions of a listener, and what is not negotiated.

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;

use super::*;

/// What a client of its own settings saw.
struct Seen {
    certificate: Vec<u8>,
    kind: HandshakeKind,
    alpn: Option<Vec<u8>>,
}

async fn seen(acceptor: &Acceptor, config: &Arc<rustls::ClientConfig>, name: &str) -> io::Result<Seen> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = Stream::from(listener.accept().await.unwrap().0);
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let server = async {
        if server.start_tls_server(acceptor).await.is_ok() {
            // The ticket travels with it.
            server.write_all(b"220 x\r\n").await.unwrap();
            server.flush().await.unwrap();
            let _ = server.read_more(&mut Vec::new(), 100).await;
        }
    };
    let client = async {
        let mut client = connector.connect(name, client).await?;
        client.read_exact(&mut [0; 7]).await?;
        let connection = client.get_ref().1;
        Ok(Seen {
            certificate: connection.peer_certificates().unwrap()[0].to_vec(),
            kind: connection.handshake_kind().unwrap(),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        })
    };
    tokio::join!(server, client).1
}

fn client_config(versions: &[&'static rustls::SupportedProtocolVersion]) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(client::AnyCertificate::new()))
        .with_no_client_auth()
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let (first, second, third) = (files("mx.example.org"), files("*.example.net"), files("mail.example.net"));
    let mut all = first.files.clone();
    all.additional = vec![second.files.first.clone(), third.files.first.clone()];
    let acceptor = Acceptor::new(&load(&all).unwrap()).unwrap();
    let leaf = |files: &Files| server::certificates("certificate", &files.files.first.certificate).unwrap()[0].to_vec();
    let config = Arc::new(client_config(BOTH));
    for (asked, wanted) in [
        ("mx.example.org", &first),
        ("mx.example.net", &second),
        // The order of the configuration decides.
        ("mail.example.net", &second),
        ("MX.Example.NET", &second),
        ("a.b.example.net", &first),
        ("nobody.test", &first),
        ("192.0.2.1", &first),
    ] {
        assert_eq!(seen(&acceptor, &config, asked).await.unwrap().certificate, leaf(wanted), "{asked}");
    }

    // A reload brings them in and takes them away.
    let terms = || Terms::load(&Handshakes::default()).unwrap();
    acceptor.renew(acceptor.prepare(&load(&first.files).unwrap(), terms()).unwrap());
    let fresh = Arc::new(client_config(BOTH));
    assert_eq!(seen(&acceptor, &fresh, "mx.example.net").await.unwrap().certificate, leaf(&first));
}

#[test]
fn an_additional_certificate_is_checked_like_the_first() {
    let (first, second) = (files("mx.example.org"), files("mx.example.net"));
    let mut all = first.files.clone();
    all.additional = vec![CertificateFiles { key: first.files.first.key.clone(), ..second.files.first.clone() }];
    assert!(matches!(load(&all), Err(TlsError::Mismatch { .. })));
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_reload() {
    let held = files("mx.example.org");
    for version in BOTH {
        let acceptor = Acceptor::new(&load(&held.files).unwrap()).unwrap();
        let config = Arc::new(client_config(&[*version]));
        let kind = async || seen(&acceptor, &config, "mx.example.org").await.unwrap().kind;
        assert_ne!(kind().await, HandshakeKind::Resumed);
        assert_eq!(kind().await, HandshakeKind::Resumed, "{version:?}");
        let terms = Terms::load(&Handshakes::default()).unwrap();
        acceptor.renew(acceptor.prepare(&load(&held.files).unwrap(), terms).unwrap());
        assert_eq!(kind().await, HandshakeKind::Resumed, "{version:?} after a reload");
        // Another listener has other tickets: it may ask more of its clients.
        let other = Acceptor::new(&load(&held.files).unwrap()).unwrap();
        assert_ne!(seen(&other, &config, "mx.example.org").await.unwrap().kind, HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn a_listener_has_its_own_lowest_version() {
    let held = files("mx.example.org");
    let settings = Handshakes { min_version: TlsVersion::Tls13, ..Handshakes::default() };
    let strict = Acceptor::on_terms(&load(&held.files).unwrap(), Terms::load(&settings).unwrap()).unwrap();
    let lenient = Acceptor::new(&load(&held.files).unwrap()).unwrap();
    let old = Arc::new(client_config(&[&rustls::version::TLS12]));
    assert!(seen(&strict, &old, "mx.example.org").await.is_err());
    assert!(seen(&lenient, &old, "mx.example.org").await.is_ok());
}

#[tokio::test]
async fn no_protocol_is_negotiated_inside_tls() {
    let held = files("mx.example.org");
    let acceptor = Acceptor::new(&load(&held.files).unwrap()).unwrap();
    let mut config = client_config(BOTH);
    config.alpn_protocols = vec![b"h2".to_vec(), b"smtp".to_vec()];
    assert_eq!(seen(&acceptor, &Arc::new(config), "mx.example.org").await.unwrap().alpn, None);
}
