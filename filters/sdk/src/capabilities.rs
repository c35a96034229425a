//! The world outside the mail: settings, log, time, and what outlives an instance.
//!
//! Thin: each function is one call of the host. What is never called is not imported.

use std::time::Duration;

use crate::bindings::wasmilter::filter as host;

/// The operator's settings of this filter (`[filter.settings]`), parsed. With
/// `#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]` on the type, a mistyped key is refused
/// when the gateway starts. For `init`.
///
/// # Errors
/// What does not fit the type, in words for the operator.
pub fn config<T: serde::de::DeserializeOwned>() -> Result<T, String> {
    serde_json::from_str(&host::config::json()).map_err(|wrong| format!("settings: {wrong}"))
}

/// Lines in the gateway's log. The macros [`log!`](crate::log!), [`debug!`](crate::debug!),
/// [`info!`](crate::info!), [`warn!`](crate::warn!) and [`error!`](crate::error!) call these.
pub mod log {
    use super::host;
    pub use host::log::{Level, enabled, log};
}

/// `log!(Level::Info, "{} parts", n)`: formats only what would be written.
#[macro_export]
macro_rules! log {
    ($level:expr, $($text:tt)+) => {{
        let level = $level;
        if $crate::log::enabled(level) {
            $crate::log::log(level, &::std::format!($($text)+));
        }
    }};
}

/// A line at level debug.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => { $crate::log!($crate::log::Level::Debug, $($text)+) };
}

/// A line at level info.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => { $crate::log!($crate::log::Level::Info, $($text)+) };
}

/// A line at level warn.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => { $crate::log!($crate::log::Level::Warn, $($text)+) };
}

/// A line at level error.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => { $crate::log!($crate::log::Level::Error, $($text)+) };
}

/// The time. `std::time::SystemTime::now()` and `Instant::now()` panic in a filter: there is no such clock.
pub mod clock {
    use super::{Duration, host};

    /// Since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now() -> Duration {
        milliseconds(host::clock::now())
    }

    /// Since some moment; never goes back.
    #[must_use]
    pub fn ticks() -> Duration {
        milliseconds(host::clock::ticks())
    }

    /// Until this call is stopped.
    #[must_use]
    pub fn time_left() -> Duration {
        milliseconds(host::clock::time_left())
    }

    fn milliseconds(count: f64) -> Duration {
        Duration::try_from_secs_f64(count / 1_000.0).unwrap_or_default()
    }
}

/// Random octets, at most 4 KiB a call.
pub mod random {
    pub use super::host::random::bytes;
}

/// Numbers in memory, shared by all instances of this filter. Never waits.
pub mod counters {
    use super::{Duration, host, ttl_ms};
    pub use host::counters::{read, take};

    /// Adds, and returns the sum. It falls to 0 `ttl` after the first addition.
    pub fn add(key: &str, by: i32, ttl: Duration) -> i32 {
        host::counters::add(key, by, ttl_ms(ttl))
    }
}

/// A small store, shared by all instances of this filter. May wait.
pub mod kv {
    use super::{Duration, host, ttl_ms};
    pub use host::kv::{Error, delete, get};

    /// `ttl` is cut to 49 days; none: until it is taken away.
    ///
    /// # Errors
    /// The value or the quota is at its bound, or the store is away.
    pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Error> {
        host::kv::set(key, value, ttl.map(ttl_ms))
    }

    /// Sets when what is there is `old` (none: nothing). False: it was not.
    ///
    /// # Errors
    /// The value or the quota is at its bound, or the store is away.
    pub fn swap(key: &str, old: Option<&[u8]>, value: &[u8], ttl: Option<Duration>) -> Result<bool, Error> {
        host::kv::swap(key, old, value, ttl.map(ttl_ms))
    }
}

/// Lists the operator named, held, indexed and reloaded by the host. A table that is not granted is
/// `Error::NoSuch`.
pub mod tables {
    use super::host;
    pub use host::tables::{Error, contains, lookup};

    /// Whether one of these tables lists `key`.
    ///
    /// # Errors
    /// One of them (those before it did not list it) is not granted.
    pub fn any_contains(tables: &[String], key: &str) -> Result<bool, Error> {
        for table in tables {
            if contains(table, key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether each of these may be looked into: for `init`, so that a missing grant is found at start-up.
    ///
    /// # Errors
    /// The first that may not, in words for the operator.
    pub fn check<'a>(tables: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
        for table in tables {
            contains(table, "").map_err(|_| format!("the table {table:?} does not exist or is not granted"))?;
        }
        Ok(())
    }
}

/// Questions to the DNS, by the host's resolver and its cache. May wait: a wait counts against the deadline, not against
/// the processor time. Names are absolute, whatever their last dot. At most 100 questions a call.
pub mod dns {
    use super::host;
    pub use host::dns::{
        Error, Exchangers, MailExchanger, Octets, Security, Strings, addresses, listed, lookup, mail_exchangers, names,
        texts,
    };

    /// Whether a DNS list has an entry for `what`, an address or a name: the plain question, where it does not matter
    /// what the entry says.
    ///
    /// ```
    /// use wasmilter_filter::*;
    ///
    /// #[derive(Default)]
    /// struct Listed;
    ///
    /// impl Filter for Listed {
    ///     fn connect(&mut self, peer: &Endpoint) -> Verdict {
    ///         match dns::is_listed(&peer.address, "zen.example") {
    ///             Ok(true) => reject("5.7.1", format!("{} is listed by zen.example", peer.address)),
    ///             // Nobody knows for now: no reason to keep mail out.
    ///             Ok(false) | Err(_) => next(),
    ///         }
    ///     }
    /// }
    ///
    /// export!(Listed: connect);
    /// ```
    ///
    /// # Errors
    /// Nobody knows, or the question was none.
    pub fn is_listed(what: &str, zone: &str) -> Result<bool, Error> {
        Ok(!listed(what, zone)?.values.is_empty())
    }
}

/// Requests to the addresses that the operator's grant names, and to no other. Certificates are verified, redirects are
/// not followed. May wait: a wait counts against the deadline, not against the processor time. At most 16 requests a call.
pub mod http {
    use super::host;
    pub use host::http::{Error, Method, Request, Response, send};

    /// A GET without any fields, in at most 5 seconds.
    ///
    /// # Errors
    /// As the contract says.
    pub fn get(url: &str) -> Result<Response, Error> {
        send(&request(Method::Get, url, Vec::new()))
    }

    /// A POST with this body, as `content-type`.
    ///
    /// # Errors
    /// As the contract says.
    pub fn post(url: &str, content_type: &str, body: Vec<u8>) -> Result<Response, Error> {
        let mut request = request(Method::Post, url, body);
        request.headers.push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
        send(&request)
    }

    fn request(method: Method, url: &str, body: Vec<u8>) -> Request {
        Request { method, url: url.to_owned(), headers: Vec::new(), body, timeout_ms: None }
    }
}

/// What the host already knows, or can find out once for all filters: "rdns", "standing", "tls", "auth", "client"; from MAIL
/// on "spf"; at the stage message "dkim", "arc", "dmarc". May wait.
pub mod facts {
    use super::host;
    pub use host::facts::{Fact, find, names};

    /// The outcome of a check: "none" where nothing is known, of several (dkim) "pass" when one of them passed, else the
    /// first.
    #[must_use]
    pub fn outcome(name: &str) -> String {
        let facts = find(name);
        let best = facts.iter().find(|fact| fact.outcome == "pass").or(facts.first());
        best.map_or_else(|| "none".to_owned(), |fact| fact.outcome.clone())
    }
}

/// Changes. Where each is possible stands in the contract; what is granted, in the configuration.
pub mod edit {
    use super::host;
    use crate::message::Header;
    pub use host::edit::{Error, add_recipient, remove_recipient, replace_recipient, set_sender, write_body};

    /// A field below the last one.
    ///
    /// # Errors
    /// As the contract says for every edit.
    pub fn append_header(name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        host::edit::append_header(&field(name, value.as_ref()))
    }

    /// A field at this place; 0 is the top.
    ///
    /// # Errors
    /// As the contract says for every edit.
    pub fn insert_header(place: u32, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        host::edit::insert_header(place, &field(name, value.as_ref()))
    }

    /// Another value for the nth field of this name (0 is the topmost).
    ///
    /// # Errors
    /// As the contract says for every edit.
    pub fn change_header(name: &str, nth: u32, value: impl AsRef<[u8]>) -> Result<(), Error> {
        host::edit::change_header(name, nth, Some(value.as_ref()))
    }

    /// Takes the nth field of this name away (0 is the topmost); the ones below it move up.
    ///
    /// # Errors
    /// As the contract says for every edit.
    pub fn remove_header(name: &str, nth: u32) -> Result<(), Error> {
        host::edit::change_header(name, nth, None)
    }

    fn field(name: &str, value: &[u8]) -> Header {
        Header { name: name.to_owned(), value: value.to_owned() }
    }
}

/// What a filter says of a message beside its verdict.
pub mod mark {
    use super::{Duration, host};
    pub use host::mark::{Error, Symbol, symbols, tag, tags, total};

    /// Adds points to the transaction's score, under a name of letters, digits, `_`, `-` and `.`; said again by the same
    /// filter it replaces what that filter said before. From MAIL to the whole message. Granted by `mark = true`, as are
    /// [`total`], [`symbols`], [`tag`] and [`tags`] (which without it see nothing).
    ///
    /// ```
    /// use wasmilter_filter::*;
    ///
    /// #[derive(Default)]
    /// struct Judge;
    ///
    /// impl Filter for Judge {
    ///     fn message(&mut self, _: &Message) -> Verdict {
    ///         if mark::total() >= 10.0 { reject("5.7.1", "Looks like spam") } else { next() }
    ///     }
    /// }
    ///
    /// export!(Judge: message);
    /// ```
    ///
    /// # Errors
    /// Not in this stage, not granted, a bound is reached, or a name or number that cannot be one.
    pub fn score(points: f64, name: &str, detail: Option<&str>) -> Result<(), Error> {
        host::mark::score(points, name, detail)
    }

    /// Holds back the answer to this stage, at most as long as the operator granted (`delay = "10s"`), which is what
    /// comes back.
    ///
    /// # Errors
    /// Not in this stage, or not granted.
    pub fn delay(time: Duration) -> Result<Duration, Error> {
        let held = host::mark::delay(super::ttl_ms(time))?;
        Ok(Duration::from_millis(u64::from(held)))
    }

    /// Sends mail to another upstream, by the operator's name for it (`route = ["quarantine"]` of the grants): at MAIL
    /// the transaction, at RCPT the recipient at hand. The last word holds. A transaction has one upstream, so a
    /// recipient that belongs elsewhere than those before it hears 452 and comes again; to be sure of a whole message,
    /// choose at MAIL.
    ///
    /// ```
    /// use wasmilter_filter::*;
    ///
    /// #[derive(Default)]
    /// struct Bounces;
    ///
    /// impl Filter for Bounces {
    ///     fn mail(&mut self, sender: &Path) -> Verdict {
    ///         if sender.address.is_empty() && mark::route("quarantine").is_err() {
    ///             return defer("4.3.5", "Not configured for this");
    ///         }
    ///         next()
    ///     }
    /// }
    ///
    /// export!(Bounces: mail);
    /// ```
    ///
    /// # Errors
    /// The stage is neither MAIL nor RCPT, the grant does not name this upstream, or a bound is reached. Mail goes where
    /// it would have gone.
    pub fn route(upstream: &str) -> Result<(), Error> {
        host::mark::route(upstream)
    }
}

/// Figures for the operator, under this filter's name.
pub mod metrics {
    use super::host;

    pub fn count(name: &str, labels: &[(&str, &str)], by: u32) {
        host::metrics::count(name, &owned(labels), by);
    }

    pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) {
        host::metrics::gauge(name, &owned(labels), value);
    }

    pub fn observe(name: &str, labels: &[(&str, &str)], value: f64) {
        host::metrics::observe(name, &owned(labels), value);
    }

    fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}

/// The contract counts times to live, and to wait, in 32 bits of milliseconds.
fn ttl_ms(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)
}
