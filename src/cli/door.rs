//! A request to the admin address or socket of a running gateway.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::filter::Trouble;
use crate::admin::ORDER_HEADER;

/// EX_UNAVAILABLE: nobody answers there.
const EXIT_UNAVAILABLE: u8 = 69;
/// As long as the gateway keeps such a connection, and a little more.
const PATIENCE: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Where packaging/systemd has the socket.
const SOCKET_USUAL: &str = "/run/wasmilter/admin.sock";
const ADDRESS_USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9925);

/// Where a gateway takes orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Door {
    Address(SocketAddr),
    Socket(PathBuf),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Address(address) => write!(f, "{address}"),
            Door::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `--admin` of the commands that give orders.
#[derive(Debug, clap::Args)]
pub(super) struct At {
    /// Where [admin] of the running gateway is: an address, or the whole path of its socket. By default
    /// /run/wasmilter/admin.sock where there is such a socket, else 127.0.0.1:9925.
    #[arg(long, value_name = "ADDRESS|PATH", value_parser = parse)]
    admin: Option<Door>,
}

impl At {
    fn door(&self) -> Door {
        self.admin.clone().unwrap_or_else(|| usual(Path::new(SOCKET_USUAL)))
    }
}

fn usual(socket: &Path) -> Door {
    let there = std::fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket());
    if there { Door::Socket(socket.to_owned()) } else { Door::Address(ADDRESS_USUAL) }
}

fn parse(text: &str) -> Result<Door, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('/') {
        return Ok(Door::Socket(path.into()));
    }
    let help =
        "it is no address with a port (127.0.0.1:9925) and no whole path of a socket (/run/wasmilter/admin.sock)";
    text.parse().map(Door::Address).map_err(|_| help.to_owned())
}

/// POSTs nothing to this path, as an `order`; the status and the JSON that came back.
///
/// # Errors
/// Nobody answers, or somebody else.
pub(super) fn post(at: &At, path: &str, order: &str) -> Result<(u16, Value), Trouble> {
    let door = at.door();
    let answer = match &door {
        Door::Address(address) => TcpStream::connect_timeout(address, CONNECT_TIMEOUT).and_then(|tcp| {
            tcp.set_read_timeout(Some(PATIENCE))?;
            ask(tcp, path, order)
        }),
        Door::Socket(socket) => connect(socket).and_then(|stream| ask(stream, path, order)),
    };
    let answer = answer.map_err(|why| {
        let help = match why.kind() {
            io::ErrorKind::PermissionDenied => "socket-mode and socket-group of [admin] say who may connect there",
            _ => "does the gateway run, with [admin] at this place? Its log says what became of it",
        };
        Trouble::new(EXIT_UNAVAILABLE, format!("{door}: {why}"), help)
    })?;
    taken_apart(&answer).ok_or_else(|| {
        let help = "--admin wants the address or the socket of [admin]";
        Trouble::new(EXIT_UNAVAILABLE, format!("at {door} there is no [admin] of wasmilter"), help)
    })
}

/// A queue that is full would be waited for without end, but for the time to write.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn ask(mut http: impl Read + Write, path: &str, order: &str) -> io::Result<String> {
    write!(
        http,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{ORDER_HEADER}: {order}\r\nContent-Length: 0\r\nConnection: \
         close\r\n\r\n",
    )?;
    let mut answer = String::new();
    http.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

/// RFC 3986 2.1.
pub(super) fn in_a_path(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The status and the JSON below it.
fn taken_apart(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_json() {
        let answer = "HTTP/1.1 422 Unprocessable Entity\r\ncontent-type: application/json\r\n\r\n{\"error\":\"x\"}\n";
        assert_eq!(taken_apart(answer), Some((422, serde_json::json!({ "error": "x" }))));
        for other in ["", "HTTP/1.1 200 OK\r\n\r\n", "220 mx ESMTP\r\n\r\n{}", "HTTP/1.1 €€€\r\n\r\n{}"] {
            assert_eq!(taken_apart(other), None, "{other}");
        }
        assert_eq!(in_a_path("a b/ü"), "a%20b%2F%C3%BC");
    }

    #[test]
    fn a_door_is_an_address_or_a_path() {
        assert_eq!(parse("127.0.0.1:9925"), Ok(Door::Address(ADDRESS_USUAL)));
        assert!(matches!(parse("[::1]:9925"), Ok(Door::Address(_))));
        for path in ["/run/wasmilter/admin.sock", "unix:/run/wasmilter/admin.sock"] {
            assert_eq!(parse(path), Ok(Door::Socket(SOCKET_USUAL.into())));
        }
        for other in ["", "unix:", "unix:admin.sock", "admin.sock", "127.0.0.1", "9925", "localhost:9925"] {
            assert!(parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_usual_door_is_the_socket_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        assert_eq!(usual(&path), Door::Address(ADDRESS_USUAL));
        std::fs::write(&path, "").unwrap();
        assert_eq!(usual(&path), Door::Address(ADDRESS_USUAL), "a file is no socket");
        std::fs::remove_file(&path).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(usual(&path), Door::Socket(path));
    }
}
