//! `GET /filters` and `POST /filters/NAME/reload`.
//!
//! The second changes something. It is for programs of this machine: by the socket where there is one, and else from
//! loopback only, whatever address is listened on; and with a header that no form of a web page and no foreign script can
//! send unasked. What is sent with it is not read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{NO_STORE, ORDER_HEADER, Shown};

/// What [`ORDER_HEADER`] must say.
pub const ORDER_RELOAD: &str = "reload";
/// Octets of a filter's name.
const NAME_BYTES_MAX: usize = 256;

/// One filter is to be exchanged; the answer is waited for.
#[derive(Debug)]
pub struct Order {
    pub name: String,
    pub answer: oneshot::Sender<Exchanged>,
}

/// What became of an [`Order`].
#[derive(Debug, Clone, PartialEq)]
pub enum Exchanged {
    Done(Value),
    /// There is no such filter.
    Unknown(String),
    /// The old one goes on.
    Refused(String),
}

/// Where filters are asked about.
pub struct Filters {
    pub list: Box<dyn Fn() -> Value + Send + Sync>,
    pub orders: mpsc::Sender<Order>,
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filters").finish_non_exhaustive()
    }
}

/// Who is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody whom the permissions of the socket let in.
    Socket,
    Tcp(IpAddr),
}

pub(super) async fn list(State(shown): State<Arc<Shown>>) -> Response {
    said(StatusCode::OK, &(shown.filters.list)())
}

pub(super) async fn reload(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(why) = allowed(&shown, peer, &headers, ORDER_RELOAD) {
        return failed(StatusCode::FORBIDDEN, &why);
    }
    if name.len() > NAME_BYTES_MAX {
        return failed(StatusCode::NOT_FOUND, "no filter has a name of this length");
    }
    let (answer, answered) = oneshot::channel();
    if shown.filters.orders.try_send(Order { name, answer }).is_err() {
        return failed(StatusCode::SERVICE_UNAVAILABLE, "another reload is under way");
    }
    match answered.await {
        Ok(Exchanged::Done(done)) => said(StatusCode::OK, &done),
        Ok(Exchanged::Unknown(why)) => failed(StatusCode::NOT_FOUND, &why),
        Ok(Exchanged::Refused(why)) => failed(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(_) => failed(StatusCode::SERVICE_UNAVAILABLE, "the gateway stops"),
    }
}

/// Whether this may give orders, and means to give this one.
pub(super) fn allowed(shown: &Shown, peer: Peer, headers: &HeaderMap, order: &str) -> Result<(), String> {
    let socket = shown.orders_at.load();
    from_here(peer, socket.as_deref().map(std::path::PathBuf::as_path))?;
    meant(headers, order)
}

/// By the socket where there is one, so that its permissions say who may; else by a program of this machine.
fn from_here(peer: Peer, socket: Option<&std::path::Path>) -> Result<(), String> {
    match (peer, socket) {
        (Peer::Socket, _) => Ok(()),
        (Peer::Tcp(_), Some(path)) => Err(format!("orders are taken at the socket {} only", path.display())),
        (Peer::Tcp(ip), None) if ip.to_canonical().is_loopback() => Ok(()),
        (Peer::Tcp(_), None) => Err("orders are taken from this machine only".to_owned()),
    }
}

fn meant(headers: &HeaderMap, order: &str) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(ORDER_HEADER) != order {
        return Err(format!("the header `X-Wasmilter: {order}` is missing"));
    }
    // A web page whose own name leads here would be let send the header.
    if !is_this_machine(text(header::HOST.as_str())) {
        return Err("the header `Host` has to name a loopback address or localhost".to_owned());
    }
    Ok(())
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    let bare = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    address.or(bare).map_or(name.eq_ignore_ascii_case("localhost"), |ip| ip.to_canonical().is_loopback())
}

pub(super) fn failed(status: StatusCode, why: &str) -> Response {
    said(status, &json!({ "error": why }))
}

pub(super) fn said(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json"), NO_STORE], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_programs_of_this_machine_are_let_in() {
        for host in ["localhost", "LocalHost:9925", "127.0.0.1", "127.0.0.1:9925", "[::1]:9925", "[::1]", "::1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:9925", "localhost.evil.example", "192.0.2.1:9925", "127.0.0.1.x"]
        {
            assert!(!is_this_machine(host), "{host}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().unwrap());
        assert!(meant(&headers, ORDER_RELOAD).unwrap_err().contains("X-Wasmilter"));
        headers.insert(ORDER_HEADER, ORDER_RELOAD.parse().unwrap());
        assert!(meant(&headers, ORDER_RELOAD).is_ok());
        assert!(meant(&headers, "seen").is_err(), "another order");
        headers.insert("host", "evil.example".parse().unwrap());
        assert!(meant(&headers, ORDER_RELOAD).unwrap_err().contains("Host"));
    }

    #[test]
    fn where_there_is_a_socket_it_is_the_only_way() {
        let socket = std::path::Path::new("/run/wasmilter/admin.sock");
        let (here, elsewhere) = (Peer::Tcp([127, 0, 0, 1].into()), Peer::Tcp([192, 0, 2, 1].into()));
        assert!(from_here(here, None).is_ok());
        assert!(from_here(elsewhere, None).unwrap_err().contains("this machine"));
        assert!(from_here(Peer::Socket, Some(socket)).is_ok());
        for peer in [here, elsewhere] {
            assert!(from_here(peer, Some(socket)).unwrap_err().contains("/run/wasmilter/admin.sock"));
        }
    }
}
