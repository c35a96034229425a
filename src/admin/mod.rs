//! Floor 9: the operator's door: `GET /metrics`, `/healthz`, `/filters`, `/limits` and `/shared` over HTTP, on a loopback
//! address unless the configuration says otherwise, and on a local socket ([`socket`]). It shows, and changes nothing, but
//! for two requests from this machine: a filter is read again ([`filters`]), an address has logged in elsewhere ([`seen`]).
//! Where there is a socket, these are heard there and nowhere else.
//!
//! It is the last to go at shutdown, so that a load balancer sees 503 while sessions end. Connections are bounded in
//! number and in time: it is no place to wait at.

mod doors;
mod filters;
mod listener;
mod seen;
mod socket;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::report::Metrics;

pub use doors::{AdminError, Doors, Prepared};
pub use filters::{Exchanged, Filters, ORDER_RELOAD, Order};
pub use listener::{CONNECTION_TIME_MAX, CONNECTIONS_MAX};
pub use seen::{ORDER_SEEN, Seeing};
pub use socket::SocketError;

/// Says which order a request is; no web page can send it unasked.
pub const ORDER_HEADER: &str = "x-wasmilter";

/// How the gateway is, at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// It ends: no new sessions.
    pub draining: bool,
    /// Sessions open.
    pub sessions: u32,
    /// Octets that sessions and messages hold.
    pub memory_bytes: usize,
    /// When the upstream last answered as it should; `None` when it has not been asked yet.
    pub upstream_last_ok: Option<SystemTime>,
}

/// Makes a list for whoever asks.
pub type Listing = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What is listed beside the filters.
pub struct Lists {
    /// Every `[[limit]]`.
    pub limits: Listing,
    /// The servers of the shared state.
    pub shared: Listing,
}

impl std::fmt::Debug for Lists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lists").finish_non_exhaustive()
    }
}

/// How the gateway is, for whoever asks.
pub type Condition = Box<dyn Fn() -> Health + Send + Sync>;

/// What there is to see and to order.
struct Shown {
    metrics: Metrics,
    health: Condition,
    filters: Filters,
    lists: Lists,
    seeing: Seeing,
    began: Instant,
    /// The socket, when there is one: orders by TCP are refused then.
    orders_at: ArcSwapOption<PathBuf>,
}

impl Shown {
    fn router(self: Arc<Shown>) -> Router {
        Router::new()
            .route("/metrics", get(metrics_text))
            .route("/healthz", get(healthz))
            .route("/filters", get(filters::list))
            .route("/limits", get(limits_list))
            .route("/shared", get(shared_list))
            .route("/seen/{address}", post(seen::seen))
            .route("/filters/{name}/reload", post(filters::reload))
            .with_state(self)
    }
}

async fn metrics_text(State(shown): State<Arc<Shown>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), NO_STORE];
    shown.metrics.memory((shown.health)().memory_bytes);
    (headers, shown.metrics.render()).into_response()
}

/// 200 while new sessions are taken, 503 when not. The upstream being away is told, but is no 503: the gateway then
/// answers clients as it should (451), and taking it out of service would help nobody.
async fn healthz(State(shown): State<Arc<Shown>>) -> Response {
    let health = (shown.health)();
    let (status, word) =
        if health.draining { (StatusCode::SERVICE_UNAVAILABLE, "draining") } else { (StatusCode::OK, "ok") };
    let ago = health.upstream_last_ok.and_then(|moment| SystemTime::now().duration_since(moment).ok());
    let body = serde_json::json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shown.began.elapsed().as_secs(),
        "sessions": health.sessions,
        "upstream_ok_seconds_ago": ago.map(|ago| ago.as_secs()),
    });
    (status, [(header::CONTENT_TYPE, "application/json"), NO_STORE], format!("{body}\n")).into_response()
}

/// Every `[[limit]]`: what it remembers, how often it was reached, and by whom where that is an alarm.
async fn limits_list(State(shown): State<Arc<Shown>>) -> Response {
    filters::said(StatusCode::OK, &(shown.lists.limits)())
}

/// The servers of the shared state, and how they are; null where nothing is shared.
async fn shared_list(State(shown): State<Arc<Shown>>) -> Response {
    filters::said(StatusCode::OK, &(shown.lists.shared)())
}

const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");
