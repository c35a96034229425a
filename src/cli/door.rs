//! A request to the admin address of a running gateway.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::filter::Trouble;
use crate::admin::ORDER_HEADER;

/// EX_UNAVAILABLE: nobody answers there.
const EXIT_UNAVAILABLE: u8 = 69;
/// As long as the gateway keeps such a connection, and a little more.
const PATIENCE: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// POSTs nothing to this path, as an `order`; the status and the JSON that came back.
///
/// # Errors
/// Nobody answers, or somebody else.
pub(super) fn post(admin: SocketAddr, path: &str, order: &str) -> Result<(u16, Value), Trouble> {
    let answer = ask(admin, path, order).map_err(|why| {
        let help = "does the gateway run, with [admin] at this address? Its log says what became of it";
        Trouble::new(EXIT_UNAVAILABLE, format!("{admin}: {why}"), help)
    })?;
    taken_apart(&answer).ok_or_else(|| {
        let help = "--admin wants the address of [admin]";
        Trouble::new(EXIT_UNAVAILABLE, format!("{admin} is no admin address of wasmilter"), help)
    })
}

fn ask(admin: SocketAddr, path: &str, order: &str) -> std::io::Result<String> {
    let mut http = TcpStream::connect_timeout(&admin, CONNECT_TIMEOUT)?;
    http.set_read_timeout(Some(PATIENCE))?;
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
}
