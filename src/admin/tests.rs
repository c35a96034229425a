//! Asked over a socket, as a load balancer and Prometheus ask.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::*;
use crate::config::{self, AdminSocket};

struct Running {
    address: SocketAddr,
    draining: Arc<AtomicBool>,
    doors: Doors,
}

fn at(address: SocketAddr) -> config::Admin {
    config::Admin { address: Some(address), socket: None }
}

fn socket(path: &Path) -> AdminSocket {
    AdminSocket { path: path.to_owned(), mode: 0o660, group: None }
}

async fn reach(doors: &mut Doors, settings: Option<&config::Admin>) -> Result<(), AdminError> {
    let prepared = doors.prepare(settings).await?;
    doors.open(prepared).await;
    Ok(())
}

async fn start() -> Running {
    let (mut doors, draining) = closed();
    reach(&mut doors, Some(&at(([127, 0, 0, 1], 0).into()))).await.unwrap();
    Running { address: doors.local_addr().unwrap(), draining, doors }
}

fn closed() -> (Doors, Arc<AtomicBool>) {
    let metrics = Metrics::detached().unwrap();
    metrics.received(7);
    let draining = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&draining);
    let health = move || Health {
        draining: flag.load(Ordering::Relaxed),
        sessions: 3,
        memory_bytes: 1_000,
        upstream_last_ok: Some(SystemTime::now() - Duration::from_secs(5)),
    };
    let (orders, mut ordered) = tokio::sync::mpsc::channel::<Order>(1);
    tokio::spawn(async move {
        while let Some(order) = ordered.recv().await {
            let _ = order.answer.send(match &*order.name {
                "good" => Exchanged::Done(serde_json::json!({ "filter": "good" })),
                "a b" => Exchanged::Refused("does not compile".into()),
                _ => Exchanged::Unknown("there is none".into()),
            });
        }
    });
    let filters = Filters { list: Box::new(|| serde_json::json!([{ "name": "good" }])), orders };
    let lists = Lists {
        limits: Box::new(|| serde_json::json!([{ "name": "one" }])),
        shared: Box::new(|| serde_json::json!({ "up": true })),
    };
    let seeing: Seeing = Box::new(|address, ttl| match ttl.as_secs() {
        7 => Err("not now".to_owned()),
        seconds => Ok(serde_json::json!({ "address": address, "seconds": seconds })),
    });
    (Doors::new(metrics, Box::new(health), filters, lists, seeing), draining)
}

async fn ask(address: SocketAddr, request: &str) -> String {
    asked(TcpStream::connect(address).await.unwrap(), request).await
}

async fn asked(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_says_ok_and_then_that_it_drains() {
    let running = start().await;
    let answer = ask(running.address, "GET /healthz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["status"], &body["sessions"]), (&"ok".into(), &3.into()));
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert!(body["upstream_ok_seconds_ago"].as_u64().unwrap() >= 5 && body["uptime_seconds"].is_u64());
    running.draining.store(true, Ordering::Relaxed);
    let answer = ask(running.address, "GET /healthz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"draining\""), "{answer}");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let running = start().await;
    let answer = ask(running.address, "GET /metrics HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nwasmilter_message_bytes_total 7\n"), "{answer}");
}

#[tokio::test]
async fn nothing_else_is_to_be_had() {
    let running = start().await;
    assert!(ask(running.address, "GET / HTTP/1.1").await.starts_with("HTTP/1.1 404 "));
    assert!(ask(running.address, "POST /healthz HTTP/1.1").await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn it_stops_when_told() {
    let running = start().await;
    let mut open = TcpStream::connect(running.address).await.unwrap();
    drop(running.doors);
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest).await;
    // Whoever asks afterwards finds nobody, as soon as the task has seen it.
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = start().await;
    let error = closed().0.prepare(Some(&at(running.address))).await.unwrap_err().to_string();
    assert!(error.contains(&running.address.to_string()) && error.contains("[admin]"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_only_waits_is_cut() {
    let running = start().await;
    let mut tcp = TcpStream::connect(running.address).await.unwrap();
    tcp.write_all(b"GET /healthz HT").await.unwrap();
    let mut rest = Vec::new();
    // The clock is the test's: it jumps to the deadline once everybody waits.
    let _ = tcp.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test]
async fn orders_are_taken_only_from_who_says_so() {
    let running = start().await;
    let limits = ask(running.address, "GET /limits HTTP/1.1").await;
    assert!(limits.starts_with("HTTP/1.1 200 ") && limits.contains(r#"[{"name":"one"}]"#), "{limits}");
    let shared = ask(running.address, "GET /shared HTTP/1.1").await;
    assert!(shared.starts_with("HTTP/1.1 200 ") && shared.contains("\"up\":true"), "{shared}");
    let list = ask(running.address, "GET /filters HTTP/1.1").await;
    assert!(list.starts_with("HTTP/1.1 200 ") && list.ends_with("[{\"name\":\"good\"}]\n"), "{list}");
    for (request, status) in [
        ("POST /filters/good/reload HTTP/1.1\r\nX-Wasmilter: reload", 200),
        ("POST /filters/a%20b/reload HTTP/1.1\r\nX-Wasmilter: reload", 422),
        ("POST /filters/other/reload HTTP/1.1\r\nX-Wasmilter: reload", 404),
        // What a form of a web page can send.
        ("POST /filters/good/reload HTTP/1.1\r\nContent-Type: text/plain", 403),
        ("POST /filters/good/reload HTTP/1.1\r\nX-Wasmilter: reload\r\nHost: evil.example", 400),
        ("GET /filters/good/reload HTTP/1.1\r\nX-Wasmilter: reload", 405),
        ("POST /filters HTTP/1.1\r\nX-Wasmilter: reload", 405),
        ("POST /seen/192.0.2.1?seconds=60 HTTP/1.1\r\nX-Wasmilter: seen", 200),
        ("POST /seen/2001:db8::1?seconds=60 HTTP/1.1\r\nX-Wasmilter: seen", 200),
        ("POST /seen/192.0.2.1?seconds=7 HTTP/1.1\r\nX-Wasmilter: seen", 422),
        ("POST /seen/192.0.2.1?seconds=60 HTTP/1.1\r\nX-Wasmilter: reload", 403),
        ("POST /seen/192.0.2.1?seconds=60 HTTP/1.1\r\nContent-Type: text/plain", 403),
        ("POST /seen/192.0.2.1?seconds=0 HTTP/1.1\r\nX-Wasmilter: seen", 400),
        ("POST /seen/192.0.2.1 HTTP/1.1\r\nX-Wasmilter: seen", 400),
        ("POST /seen/192.0.2.0%2F24?seconds=60 HTTP/1.1\r\nX-Wasmilter: seen", 400),
        ("GET /seen/192.0.2.1?seconds=60 HTTP/1.1\r\nX-Wasmilter: seen", 405),
    ] {
        let answer = ask(running.address, request).await;
        // Two Hosts are no request at all.
        let fits = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(fits || status == 400 && answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
    }
    let long = format!("POST /filters/{}/reload HTTP/1.1\r\nX-Wasmilter: reload", "x".repeat(300));
    assert!(ask(running.address, &long).await.starts_with("HTTP/1.1 404 "));
}

const SEEN: &str = "POST /seen/192.0.2.1?seconds=60 HTTP/1.1\r\nX-Wasmilter: seen";

#[tokio::test]
async fn with_a_socket_orders_are_taken_there_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let mut running = start().await;
    assert!(ask(running.address, SEEN).await.starts_with("HTTP/1.1 200 "));
    let mut settings = at(([127, 0, 0, 1], 0).into());
    settings.socket = Some(socket(&path));
    reach(&mut running.doors, Some(&settings)).await.unwrap();
    assert_eq!(running.doors.local_addr(), Some(running.address), "the address stayed");

    let refused = ask(running.address, SEEN).await;
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains(path.to_str().unwrap()), "{refused}");
    let reload = "POST /filters/good/reload HTTP/1.1\r\nX-Wasmilter: reload";
    assert!(ask(running.address, reload).await.starts_with("HTTP/1.1 403 "));
    assert!(ask(running.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    for order in [SEEN, reload, "GET /healthz HTTP/1.1"] {
        let answer = asked(UnixStream::connect(&path).await.unwrap(), order).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let plain = "POST /seen/192.0.2.1?seconds=60 HTTP/1.1\r\nContent-Type: text/plain";
    assert!(asked(UnixStream::connect(&path).await.unwrap(), plain).await.starts_with("HTTP/1.1 403 "));

    // Without it all is as before.
    settings.socket = None;
    reach(&mut running.doors, Some(&settings)).await.unwrap();
    assert!(!path.exists());
    assert!(ask(running.address, SEEN).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_socket_has_its_mode_and_moves_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.sock"), folder.path().join("two.sock"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let alone = |socket| config::Admin { address: None, socket: Some(socket) };
    let (mut doors, _) = closed();
    reach(&mut doors, Some(&alone(socket(&one)))).await.unwrap();
    assert_eq!((mode(&one), doors.local_addr()), (0o660, None));

    // Another mode at the same path: another socket takes its place.
    let before = std::fs::metadata(&one).unwrap().ino();
    reach(&mut doors, Some(&alone(AdminSocket { mode: 0o600, ..socket(&one) }))).await.unwrap();
    assert_eq!(mode(&one), 0o600);
    assert_ne!(std::fs::metadata(&one).unwrap().ino(), before);
    assert!(asked(UnixStream::connect(&one).await.unwrap(), SEEN).await.starts_with("HTTP/1.1 200 "));

    // One that somebody removed is there again after a reload, unchanged as the settings are.
    std::fs::remove_file(&one).unwrap();
    reach(&mut doors, Some(&alone(AdminSocket { mode: 0o600, ..socket(&one) }))).await.unwrap();
    assert!(asked(UnixStream::connect(&one).await.unwrap(), SEEN).await.starts_with("HTTP/1.1 200 "));

    reach(&mut doors, Some(&alone(socket(&two)))).await.unwrap();
    assert!(!one.exists() && two.exists());
    drop(doors);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left over");
}

#[tokio::test]
async fn nothing_has_changed_when_a_socket_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let mut settings = config::Admin { address: None, socket: Some(socket(&path)) };
    let (doors, _) = closed();
    let refused = async |settings: &config::Admin| doors.prepare(Some(settings)).await.unwrap_err().to_string();

    std::fs::write(&path, "precious").unwrap();
    assert!(refused(&settings).await.contains("no socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    // Not even by way of a link to a dead one.
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    std::os::unix::fs::symlink(&dead, &path).unwrap();
    assert!(refused(&settings).await.contains("no socket"));
    assert!(dead.exists());
    std::fs::remove_file(&path).unwrap();

    let live = UnixListener::bind(&path).unwrap();
    assert!(refused(&settings).await.contains("another gateway is listening"));
    assert!(UnixStream::connect(&path).await.is_ok());
    drop(live);
    // It is dead now, and another program's no more. What was only prepared is taken back.
    drop(doors.prepare(Some(&settings)).await.unwrap());
    assert!(!path.exists());

    settings.socket.as_mut().unwrap().group = Some("no-such-group".to_owned());
    assert!(refused(&settings).await.contains("there is no group \"no-such-group\""));
    settings.socket = Some(socket(&folder.path().join("none/admin.sock")));
    assert!(refused(&settings).await.contains("its folder has to be there"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the dead socket of this test");
}
