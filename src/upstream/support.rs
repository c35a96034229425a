//! An upstream that follows a script on 127.0.0.1, and a client that exists only as facts.
//!
//! A script is a dialog seen from the upstream. `U:` it says; `P:` what it must hear; `U! close`, `U! reset`,
//! `U! hold` (until the other side leaves), `U! stall` (reads nothing more), `U! tls` and `U! refuse-tls` are what it
//! does; `---` is the next connection. `U:` lines that follow each other leave in one write, and `U~` is one
//! without its line end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Upstream;
use crate::config::{self as types, CertificateFiles, Identify, Timeouts, TlsFiles, TlsVersion, UpstreamTls};
use crate::mail::{AfterLogin, Hello, PeerName, SessionFacts};
use crate::net::dial::Tcp;
use crate::net::dns::Resolver;
use crate::net::hosts::Hosts;
use crate::net::stream::Stream;
use crate::net::tls::{self, Acceptor};

/// 192.0.2.7:4321, client.test, EHLO client.test.
pub(super) fn client() -> SessionFacts {
    SessionFacts {
        after_login: AfterLogin::No,
        id: "abc".into(),
        listener: "mx".into(),
        peer: "192.0.2.7:4321".parse().unwrap(),
        local: "198.51.100.1:25".parse().unwrap(),
        peer_name: PeerName::Confirmed("client.test".into()),
        reverse_name: PeerName::Confirmed("client.test".into()),
        hello: Some(Hello { name: "client.test".into(), extended: true }),
        tls: None,
        auth: None,
        introduced: None,
    }
}

/// Long enough never to matter.
pub(super) fn patient() -> Timeouts {
    let long = Duration::from_secs(60);
    Timeouts {
        command: long,
        data: long,
        handshake: long,
        write: long,
        session: long,
        upstream_connect: long,
        upstream_greeting: long,
        upstream_command: long,
        upstream_data: long,
        upstream_write: long,
        upstream_final: long,
        resolve: long,
    }
}

pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    pub(super) extensions_ttl: Duration,
    task: JoinHandle<()>,
    /// PEM of the certificate it shows, in a file.
    pub(super) certificate: Option<tempfile::NamedTempFile>,
}

impl Scripted {
    pub(super) async fn new(script: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = if script.contains("STARTTLS") || script.contains("U! tls") {
            let (acceptor, certificate) = acceptor();
            (Some(std::sync::Arc::new(acceptor)), Some(certificate))
        } else {
            (None, None)
        };
        let task = tokio::spawn(async move {
            let mut plays = tokio::task::JoinSet::new();
            for section in script.split("---\n") {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let acceptor = acceptor.clone();
                plays.spawn(async move { play(section, Stream::from(tcp), acceptor.as_deref()).await });
            }
            drop(listener);
            while let Some(played) = plays.join_next().await {
                played.unwrap();
            }
        });
        Scripted { address, extensions_ttl: Duration::ZERO, task, certificate }
    }

    pub(super) fn upstream(&self, identify: Identify) -> Upstream {
        self.upstream_with(identify, UpstreamTls::Off, patient())
    }

    pub(super) fn upstream_with(&self, identify: Identify, tls: UpstreamTls, timeouts: Timeouts) -> Upstream {
        self.upstream_of(
            |settings| {
                settings.identify = identify;
                settings.tls = tls;
            },
            timeouts,
        )
    }

    pub(super) fn upstream_of(&self, change: impl FnOnce(&mut types::Upstream), timeouts: Timeouts) -> Upstream {
        let extensions_ttl = self.extensions_ttl;
        let changed = |settings: &mut types::Upstream| {
            settings.extensions_ttl = extensions_ttl;
            change(settings);
        };
        made(self.address, changed, &timeouts)
    }

    /// The script was played to its end, word for word.
    pub(super) async fn played(self) {
        self.task.await.unwrap();
    }
}

pub(super) fn upstream_at(address: SocketAddr, change: impl FnOnce(&mut types::Upstream)) -> Upstream {
    made(address, change, &patient())
}

fn made(address: SocketAddr, change: impl FnOnce(&mut types::Upstream), timeouts: &Timeouts) -> Upstream {
    let mut settings = types::Upstream::at(&address.ip().to_string(), address.port());
    settings.identify = Identify::None;
    change(&mut settings);
    let resolver =
        Resolver::with_hosts(&types::Resolver { servers: vec![address], ..Default::default() }, Hosts::default())
            .unwrap();
    Upstream::new(&settings, "gw.test", timeouts, resolver, std::sync::Arc::new(Tcp)).unwrap()
}

fn acceptor() -> (Acceptor, tempfile::NamedTempFile) {
    let made = tls::self_signed(&["mx.test"]).unwrap();
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(certificate.path(), &made.certificate_pem).unwrap();
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), made.key_pem.as_bytes()).unwrap();
    let files = TlsFiles {
        first: CertificateFiles { certificate: certificate.path().to_owned(), key: key.path().to_owned() },
        additional: Vec::new(),
        min_version: TlsVersion::Tls12,
    };
    let identity = tls::Identity::load(&files, std::time::SystemTime::now()).unwrap();
    (Acceptor::new(&identity).unwrap(), certificate)
}

async fn play(section: &str, mut stream: Stream, acceptor: Option<&Acceptor>) {
    let mut heard = Vec::new();
    let mut saying = Vec::new();
    for line in section.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        if let Some(said) = line.strip_prefix("U: ") {
            saying.extend_from_slice(said.as_bytes());
            saying.extend_from_slice(b"\r\n");
            continue;
        }
        if let Some(said) = line.strip_prefix("U~ ") {
            saying.extend_from_slice(said.as_bytes());
            continue;
        }
        if !saying.is_empty() {
            stream.write_all(&std::mem::take(&mut saying)).await.unwrap();
            stream.flush().await.unwrap();
        }
        match line {
            "U! close" => return,
            "U! reset" => {
                return socket2::SockRef::from(stream.tcp().unwrap()).set_linger(Some(Duration::ZERO)).unwrap();
            }
            "U! hold" => {}
            "U! stall" => return std::future::pending().await,
            "U! refuse-tls" => {
                stream.read_more(&mut Vec::new(), 65_536).await.unwrap();
                return stream.write_all(b"500 what?\r\n").await.unwrap();
            }
            "U! tls" => {
                // What the client makes of it is the test's concern.
                if stream.start_tls_server(acceptor.unwrap()).await.is_err() {
                    return;
                }
            }
            _ => {
                let wanted = line.strip_prefix("P: ").unwrap_or_else(|| panic!("no such step: {line}"));
                assert_eq!(hear_line(&mut stream, &mut heard).await.as_deref(), Some(wanted), "in\n{section}");
            }
        }
    }
    if !saying.is_empty() {
        stream.write_all(&saying).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(hear_line(&mut stream, &mut heard).await, None, "after the end of\n{section}");
}

async fn hear_line(stream: &mut Stream, heard: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = heard.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = heard.drain(..=end).collect();
            return Some(String::from_utf8(line).unwrap().trim_end_matches("\r\n").to_owned());
        }
        match stream.read_more(heard, 65_536).await {
            Ok(0) | Err(_) => {
                assert!(heard.is_empty(), "cut: {heard:?}");
                return None;
            }
            Ok(_) => {}
        }
    }
}
