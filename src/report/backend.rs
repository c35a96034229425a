//! What the places where accounts are said, and that one is away.
//!
//! Labels are names of the configuration. Neither the account nor anything it said is told here.

use std::fmt::Display;
use std::time::Instant;

use super::seldom::Seldom;

/// A backend was asked about a credential; `result` is a word of ours.
pub fn asked(backend: &str, result: &'static str) {
    metrics::counter!("wasmilter_auth_backend_total", "backend" => backend.to_owned(), "result" => result).increment(1);
}

/// A backend gave no answer that counts, and logins are put off.
pub fn away(said: &Seldom, backend: &str, why: &dyn Display, now: Instant) {
    let why = why.to_string();
    if let Some(times) = said.may_say(&why, now) {
        tracing::error!(backend, error = why, times_before = times, "an auth backend is away, logins are put off");
    }
}

/// The provider of tokens gave no answer that counts, and what is known of its keys goes on.
pub fn stale(said: &Seldom, backend: &str, why: &dyn Display, now: Instant) {
    let why = why.to_string();
    if let Some(times) = said.may_say(&why, now) {
        tracing::warn!(backend, error = why, times_before = times, "an auth backend is away, its last keys are used");
    }
}

/// A token that its provider made is no login here; the reason is one of a few sentences of ours.
pub fn refused(said: &Seldom, backend: &str, why: &dyn Display, now: Instant) {
    let why = why.to_string();
    if let Some(times) = said.may_say(&why, now) {
        tracing::warn!(backend, why, times_before = times, "a token of the provider is no login here");
    }
}
