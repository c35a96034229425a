//! `POST /seen/ADDRESS?seconds=N`: somebody has logged in from there elsewhere.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::Shown;
use super::filters::{Peer, allowed, failed, said};

/// What [`ORDER_HEADER`](super::ORDER_HEADER) must say.
pub const ORDER_SEEN: &str = "seen";
/// Digits of a number of seconds.
const SECONDS_DIGITS_MAX: usize = 9;

/// Takes an address for so long, or says why not.
pub type Seeing = Box<dyn Fn(IpAddr, Duration) -> Result<Value, String> + Send + Sync>;

pub(super) async fn seen(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(address): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Err(why) = allowed(&shown, peer, &headers, ORDER_SEEN) {
        return failed(StatusCode::FORBIDDEN, &why);
    }
    let (Ok(address), Some(ttl)) = (address.parse(), ttl(query.as_deref())) else {
        return failed(StatusCode::BAD_REQUEST, "this is POST /seen/ADDRESS?seconds=N");
    };
    match (shown.seeing)(address, ttl) {
        Ok(done) => said(StatusCode::OK, &done),
        Err(why) => failed(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

fn ttl(query: Option<&str>) -> Option<Duration> {
    let digits = query?.strip_prefix("seconds=")?;
    let strict = (1..=SECONDS_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits.parse().ok().filter(|seconds| strict && *seconds > 0)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_and_nothing_else() {
        assert_eq!(ttl(Some("seconds=90")), Some(Duration::from_secs(90)));
        for other in
            ["", "seconds=", "seconds=0", "seconds=-1", "seconds=+1", "seconds=1&x", "seconds=9999999999", "s=1"]
        {
            assert_eq!(ttl(Some(other)), None, "{other}");
        }
        assert_eq!(ttl(None), None);
    }
}
