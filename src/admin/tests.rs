//! Asked over a socket, as a load balancer and Prometheus ask.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Running {
    address: SocketAddr,
    draining: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    let admin = Admin::bind(&config::Admin { address: "127.0.0.1:0".parse().unwrap() }).await.unwrap();
    let address = admin.local_addr();
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
    let (stop, stopped) = oneshot::channel();
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
    let task = tokio::spawn(admin.serve(
        metrics,
        health,
        filters,
        Lists {
            limits: Box::new(|| serde_json::json!([{ "name": "one" }])),
            shared: Box::new(|| serde_json::json!({ "up": true })),
        },
        Box::new(|address, ttl| match ttl.as_secs() {
            7 => Err("not now".to_owned()),
            seconds => Ok(serde_json::json!({ "address": address, "seconds": seconds })),
        }),
        async move {
            let _ = stopped.await;
        },
    ));
    Running { address, draining, stop: Some(stop), task }
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
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
    let mut running = start().await;
    drop(running.stop.take());
    running.task.await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = start().await;
    let error = Admin::bind(&config::Admin { address: running.address }).await.unwrap_err().to_string();
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
