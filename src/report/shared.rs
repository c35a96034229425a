//! What becomes of the state that several gateways share: whether it is there, and who decided instead.

use std::sync::OnceLock;
use std::time::Instant;

use metrics::Counter;

use super::seldom::Seldom;

/// What is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Limits,
    Kv,
    Tables,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The shared state.
    All,
    /// This gateway, because the shared state is away.
    Here,
}

/// One of the servers gives no answers; what is in it is decided here until it does.
pub fn away(said: &Seldom, server: &str, why: &str, now: Instant) {
    if let Some(times) = said.may_say(&format!("{server} {why}"), now) {
        let error = why;
        tracing::warn!(server, error, times_before = times, "the shared state is away: each gateway decides alone");
    }
}

/// A server answers, for the first time or again.
pub fn there(said: &Seldom, server: &str, now: Instant) {
    if let Some(times) = said.may_say(server, now) {
        tracing::info!(server, times_before = times, "the shared state is there");
    }
}

/// A server answers what it should not; it is not taken for away because of that.
pub fn odd(said: &Seldom, server: &str, why: &str, now: Instant) {
    if let Some(times) = said.may_say(&format!("{server} {why}"), now) {
        let error = why;
        tracing::warn!(server, error, times_before = times, "the shared state could not be asked about one key");
    }
}

/// Whether all of it is there.
pub fn up(all: bool) {
    metrics::gauge!("wasmilter_state_shared_up").set(if all { 1.0 } else { 0.0 });
}

/// A question was answered.
pub fn answered(what: What, by: By) {
    static COUNTERS: OnceLock<[Counter; 6]> = OnceLock::new();
    let counters = COUNTERS.get_or_init(|| {
        [
            ("limits", "shared"),
            ("limits", "local"),
            ("kv", "shared"),
            ("kv", "unavailable"),
            ("tables", "shared"),
            ("tables", "unavailable"),
        ]
        .map(|(what, answer)| metrics::counter!("wasmilter_state_shared_total", "what" => what, "answer" => answer))
    });
    let [limits, limits_here, kv, kv_away, tables, tables_away] = counters;
    match (what, by) {
        (What::Limits, By::All) => limits,
        (What::Limits, By::Here) => limits_here,
        (What::Kv, By::All) => kv,
        (What::Kv, By::Here) => kv_away,
        (What::Tables, By::All) => tables,
        (What::Tables, By::Here) => tables_away,
    }
    .increment(1);
}
