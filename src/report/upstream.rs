//! What happens with the servers behind us: who went, who came back, and where connections came from.
//!
//! Labels are names of the configuration; servers that only the DNS knows are counted under the name that was asked.

use std::fmt::Display;
use std::sync::OnceLock;

use metrics::Counter;

/// Where a connection for a client came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    New,
    /// Another client had done with it.
    Reused,
}

/// Counts the connections that sessions have had to one upstream. Looked up once: it is counted for every message.
#[derive(Default)]
pub struct Connected {
    new: OnceLock<Counter>,
    reused: OnceLock<Counter>,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}

impl Connected {
    /// A session has a connection to this upstream.
    pub fn count(&self, upstream: &str, how: How) {
        let (counter, how) = match how {
            How::New => (&self.new, "new"),
            How::Reused => (&self.reused, "reused"),
        };
        let look_up = || {
            let upstream = upstream.to_owned();
            metrics::counter!("wasmilter_upstream_connections_total", "upstream" => upstream, "how" => how)
        };
        counter.get_or_init(look_up).increment(1);
    }
}

/// A server gave no connection.
pub fn server_failed(upstream: &str, counted: &str, kind: &'static str) {
    let (upstream, server) = (upstream.to_owned(), counted.to_owned());
    metrics::counter!("wasmilter_upstream_server_failures_total", "upstream" => upstream, "server" => server, "kind" => kind)
        .increment(1);
}

/// A server that gave connections gives none any more; others go before it for a while.
pub fn server_went(upstream: &str, server: &str, counted: &str, error: &dyn Display) {
    tracing::warn!(upstream, server, %error, "an upstream server is out");
    up(upstream, counted, 0.0);
}

/// A server that was out gives connections again.
pub fn server_came(upstream: &str, server: &str, counted: &str) {
    tracing::info!(upstream, server, "an upstream server is back");
    up(upstream, counted, 1.0);
}

/// A server of the configuration that nothing is known of yet.
pub fn server_listed(upstream: &str, counted: &str) {
    up(upstream, counted, 1.0);
}

fn up(upstream: &str, counted: &str, value: f64) {
    let (upstream, server) = (upstream.to_owned(), counted.to_owned());
    metrics::gauge!("wasmilter_upstream_server_up", "upstream" => upstream, "server" => server).set(value);
}
