//! Against servers of our own on loopback, honest and hostile ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{self, CertificateFiles, TlsFiles, TlsVersion};
use crate::net::dial::Tcp;
use crate::net::hosts::Hosts;
use crate::net::tls::{Acceptor, Identity, self_signed};

const SOON: Duration = Duration::from_secs(20);

/// What a server says to one request.
#[derive(Clone, Copy)]
enum Says {
    /// These octets, and the connection stays.
    This(&'static str),
    /// These, and it closes.
    Last(&'static str),
    /// The first once, the second until nobody listens any more.
    Endless(&'static str, &'static str),
    /// These octets, and then nothing.
    Stalls(&'static str),
}

struct Server {
    address: SocketAddr,
    /// What it heard, one text a request; a connection begins with "connected".
    heard: Arc<Mutex<Vec<String>>>,
}

/// Reads one request, body and all.
async fn heard(stream: &mut Stream) -> Option<String> {
    let mut octets = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut octets).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve(says: Says, tls: Option<Acceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let (all, tls) = (Arc::clone(&log), Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (log, tls) = (Arc::clone(&all), Arc::clone(&tls));
            tokio::spawn(async move {
                log.lock().unwrap().push("connected".into());
                let mut stream = Stream::from(tcp);
                if let Some(acceptor) = &*tls
                    && stream.start_tls_server(acceptor).await.is_err()
                {
                    return;
                }
                while let Some(request) = heard(&mut stream).await {
                    log.lock().unwrap().push(request);
                    match says {
                        Says::This(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                        Says::Last(text) => {
                            let _ = stream.write_all(text.as_bytes()).await;
                            let _ = stream.shutdown().await;
                            return;
                        }
                        Says::Endless(first, then) => {
                            let mut going = stream.write_all(first.as_bytes()).await.is_ok();
                            while going {
                                going = stream.write_all(then.as_bytes()).await.is_ok();
                            }
                            return;
                        }
                        Says::Stalls(text) => {
                            stream.write_all(text.as_bytes()).await.unwrap();
                            std::future::pending::<()>().await;
                        }
                    }
                    let _ = stream.flush().await;
                }
            });
        }
    });
    Server { address, heard: log }
}

/// A client for servers on loopback that are called `api.test`; answers of at most 1,000 octets.
fn client(ca: Option<PathBuf>) -> Client {
    let settings = config::Resolver { servers: vec![SocketAddr::from(([127, 0, 0, 1], 9))], ..Default::default() };
    let resolver = Resolver::with_hosts(&settings, Hosts::parse("127.0.0.1 api.test other.test")).unwrap();
    let scheme = if ca.is_some() { "https://api.test" } else { "http://api.test" };
    let grant = HttpGrant { urls: vec![Url::parse(scheme).unwrap()], response_bytes_max: 1_000, ca };
    let dialer: Arc<dyn Dial> = Arc::new(Tcp);
    Client::new(&resolver, &dialer, &grant).unwrap()
}

fn get(server: &Server, path: &str) -> Request {
    let url = Url::parse(&format!("http://api.test:{}{path}", server.address.port())).unwrap();
    Request { method: "GET", url, headers: Vec::new(), body: Vec::new() }
}

async fn ask(says: Says) -> Result<Response, Failure> {
    let server = serve(says, None).await;
    client(None).send(&get(&server, "/"), SOON).await
}

#[tokio::test]
async fn a_request_and_its_answer_obeyed() {
    let server = serve(Says::This("HTTP/1.1 201 Created\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"), None).await;
    let client = client(None);
    let mut request = get(&server, "/v1/x?y=z");
    request.method = "POST";
    request.headers = vec![("X-Token".into(), b"t\xff".to_vec())];
    request.body = b"{}".to_vec();
    let answer = client.send(&request, SOON).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, b"hello".as_slice()));
    assert_eq!(answer.headers[0], ("x-a".to_owned(), b"b".to_vec()));
    // The connection is used again.
    client.send(&get(&server, "/"), SOON).await.unwrap();
    let heard = server.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard[1].starts_with("POST /v1/x?y=z HTTP/1.1\r\nx-token: t"), "{}", heard[1]);
    for field in [
        format!("host: api.test:{}", server.address.port()),
        "content-length: 2".into(),
        "user-agent: wasmilter".into(),
    ] {
        assert!(heard[1].lines().any(|line| line == field), "{field}: {}", heard[1]);
    }
    assert!(heard[2].starts_with("GET / HTTP/1.1\r\n") && !heard[2].contains("content-length"), "{}", heard[2]);
}

#[tokio::test]
async fn a_connection_that_closed_meanwhile_is_made_anew() {
    let server = serve(Says::Last("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), None).await;
    let client = client(None);
    for _ in 0..3 {
        assert_eq!(client.send(&get(&server, "/"), SOON).await.map(|answer| answer.status), Ok(200));
    }
}

#[tokio::test]
async fn redirects_obeyed_as_answers() {
    let says = Says::This("HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(ask(says).await.map(|answer| answer.status), Ok(302));
}

#[tokio::test]
async fn answers_violated() {
    for (says, wanted) in [
        (Says::Endless("HTTP/1.1 200 OK\r\n", "X-More: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"), "head"),
        (Says::Endless("HTTP/1.1 200 OK\r\nX-Long: ", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), "head"),
        (Says::Endless("HTTP/1.1 200 OK\r\n\r\n", "more and more and more and more and more"), "body"),
        (Says::Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n"), "body"),
        (Says::Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "0123456789abcdef"), "body"),
        (Says::Endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "0123456789abcdef"), "body"),
        (Says::Last("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), "protocol"),
        (Says::Last("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), "protocol"),
        (Says::Last("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "protocol"),
        (Says::Last("220 mx.example.org ESMTP\r\n"), "protocol"),
        (Says::Last(""), "protocol"),
    ] {
        let answer = ask(says).await;
        let met = match &answer {
            Err(Failure::TooLarge) => wanted == "body" || wanted == "head",
            // Too many fields is a matter of form.
            Err(Failure::Protocol(_)) => wanted == "protocol" || wanted == "head",
            _ => false,
        };
        assert!(met, "{wanted}: {answer:?}");
    }
}

#[tokio::test]
async fn silence_violated() {
    for says in [
        Says::Stalls(""),
        Says::Stalls("HTTP/1.1 200 OK\r\nX-"),
        Says::Stalls("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"),
    ] {
        let server = serve(says, None).await;
        let answer = client(None).send(&get(&server, "/"), Duration::from_millis(100)).await;
        assert_eq!(answer, Err(Failure::Timeout));
    }
}

#[tokio::test]
async fn request_fields_violated() {
    let server = serve(Says::This("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), None).await;
    let client = client(None);
    let with = |name: &str, value: &[u8]| {
        let mut request = get(&server, "/");
        request.headers = vec![(name.to_owned(), value.to_vec())];
        request
    };
    for (name, value) in [
        ("Host", b"evil.test".as_slice()),
        ("connection", b"close"),
        ("Content-Length", b"5"),
        ("Transfer-Encoding", b"chunked"),
        ("X A", b"b"),
        ("X\r\nA", b"b"),
        ("", b"b"),
        ("X-A", b"b\r\nHost: evil.test"),
        ("X-A", b"b\nc"),
        ("X-A", b"\0"),
    ] {
        let answer = client.send(&with(name, value), SOON).await;
        assert!(matches!(answer, Err(Failure::Malformed(_))), "{name:?}: {answer:?}");
    }
    let mut body = get(&server, "/");
    body.body = b"x".to_vec();
    assert!(matches!(client.send(&body, SOON).await, Err(Failure::Malformed(_))));
    let mut many = get(&server, "/");
    many.headers = vec![("X-A".into(), b"b".to_vec()); FIELDS_MAX + 1];
    assert_eq!(client.send(&many, SOON).await, Err(Failure::Limit));
    assert_eq!(client.send(&with("X-A", &[b'x'; FIELDS_BYTES_MAX]), SOON).await, Err(Failure::Limit));
    assert!(server.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nobody_there_violated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server { address, heard: Arc::default() };
    assert!(matches!(client(None).send(&get(&server, "/"), SOON).await, Err(Failure::Unreachable(_))));
}

fn write(name: &str, folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A TLS server for this name; the file is the certificate to believe.
fn identity(name: &str, folder: &tempfile::TempDir) -> (Acceptor, PathBuf) {
    let pair = self_signed(&[name]).unwrap();
    let certificate = write(&format!("{name}.pem"), folder, &pair.certificate_pem);
    let key = write(&format!("{name}.key"), folder, &pair.key_pem);
    let first = CertificateFiles { certificate: certificate.clone(), key };
    let files = TlsFiles { first, additional: Vec::new(), min_version: TlsVersion::Tls12 };
    (Acceptor::new(&Identity::load(&files, SystemTime::now()).unwrap()).unwrap(), certificate)
}

fn secured(server: &Server) -> Request {
    let url = Url::parse(&format!("https://api.test:{}/", server.address.port())).unwrap();
    Request { url, ..get(server, "/") }
}

const FINE: Says = Says::This("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

#[tokio::test]
async fn certificates_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, ca) = identity("api.test", &folder);
    let server = serve(FINE, Some(acceptor)).await;
    assert_eq!(client(Some(ca)).send(&secured(&server), SOON).await.map(|answer| answer.status), Ok(200));
}

#[tokio::test]
async fn certificates_violated() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, own) = identity("other.test", &folder);
    let (_, another) = identity("api.test", &folder);
    let server = serve(FINE, Some(acceptor)).await;
    // For another name, and from another issuer.
    for ca in [own, another] {
        let answer = client(Some(ca)).send(&secured(&server), SOON).await;
        assert!(matches!(answer, Err(Failure::Protocol(_))), "{answer:?}");
    }
    assert!(server.heard.lock().unwrap().iter().all(|heard| heard == "connected"), "no request was sent");
}
