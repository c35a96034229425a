//! Defers first contacts: whoever comes back after a while, as mail servers do, is let in and remembered.
//!
//! Stage: rcpt. Grants: `kv`, and `tables = [...]` with the tables named below (`tables = []` when there are none). A contact
//! is the client's network (/24 or /64) with a sender and a recipient. Whoever logged in passes. When the store is
//! away or full, everybody passes: greylisting is not worth losing mail for. Settings:
//!
//! ```toml
//! [filter.settings]
//! # Seconds that must go by between first and second try. Default: 300.
//! delay-seconds = 300
//! # Hours after which a first try is forgotten. Default: 48.
//! retry-hours = 48
//! # Days for which a contact that came back is remembered, from its last message on. Default: 36.
//! remember-days = 36
//! # Clients in these tables (kind cidr, or exact) pass. Default: none.
//! trusted = ["friends"]
//! # What the client is told. Default: as here.
//! text = "Greylisted, please try again later"
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::Deserialize;
use wasmilter_filter::*;

#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    delay_seconds: u32,
    retry_hours: u32,
    remember_days: u32,
    trusted: Vec<String>,
    text: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            delay_seconds: 300,
            retry_hours: 48,
            remember_days: 36,
            trusted: Vec::new(),
            text: "Greylisted, please try again later".to_owned(),
        }
    }
}

/// What the store holds for a contact: the second it was first seen in, or this when it has come back.
const KNOWN: &[u8] = b"known";

#[derive(Default)]
struct Greylist(Settings);

impl Filter for Greylist {
    fn about() -> About {
        About::new(env!("CARGO_PKG_VERSION"), "defers first contacts; who comes back is let in and remembered")
            .settings(include_str!("../settings.json"))
    }

    fn init(&mut self) -> Result<(), String> {
        self.0 = config()?;
        let Settings { delay_seconds, retry_hours, trusted, .. } = &self.0;
        if u64::from(*retry_hours) * 3_600 <= u64::from(*delay_seconds) {
            return Err("settings: retry-hours must be longer than delay-seconds".to_owned());
        }
        tables::check(trusted)
    }

    fn rcpt(&mut self, recipient: &Path) -> Verdict {
        if session().auth().is_some() {
            return next();
        }
        let peer = session().peer();
        if tables::any_contains(&self.0.trusted, &peer.address).unwrap_or(false) {
            return next();
        }
        let network = peer.network(24, 64);
        let sender = envelope().sender().map(|sender| sender.address).unwrap_or_default();
        let contact = contact(&network, &sender, &recipient.address);
        self.judge(&contact, clock::now().as_secs()).unwrap_or_else(|wrong| {
            warn!("the store cannot be used, nobody is greylisted: {wrong:?}");
            next()
        })
    }
}

impl Greylist {
    fn judge(&self, contact: &str, now: u64) -> Result<Verdict, kv::Error> {
        let remember = Some(Duration::from_secs(u64::from(self.0.remember_days) * 86_400));
        let retry = Some(Duration::from_secs(u64::from(self.0.retry_hours) * 3_600));
        let Some(seen) = kv::get(contact)? else {
            // Another session may have been faster: the first of them counts.
            kv::swap(contact, None, now.to_string().as_bytes(), retry)?;
            return Ok(self.later(u64::from(self.0.delay_seconds)));
        };
        if seen != KNOWN {
            let first = std::str::from_utf8(&seen).ok().and_then(|text| text.parse().ok()).unwrap_or(now);
            let due = u64::saturating_add(first, u64::from(self.0.delay_seconds));
            if now < due {
                return Ok(self.later(due - now));
            }
        }
        // Renews the time to live; whatever another session did meanwhile is just as good.
        kv::swap(contact, Some(&seen), KNOWN, remember)?;
        Ok(next())
    }

    fn later(&self, seconds: u64) -> Verdict {
        defer("4.7.1", &self.0.text).because(format!("greylisted for another {seconds} s"))
    }
}

/// A key of bounded length for the store, however long the addresses are. Case does not count, nor what changes
/// from one message to the next: a tag after `+`, and numbers in the sender (`bounce-4711=x@list.example`).
fn contact(network: &str, sender: &str, recipient: &str) -> String {
    let mut steady = String::new();
    let (local, domain) = sender.rsplit_once('@').unwrap_or((sender, ""));
    for c in local.split('+').next().unwrap_or("").chars() {
        let c = if c.is_ascii_digit() { '#' } else { c.to_ascii_lowercase() };
        if c != '#' || !steady.ends_with('#') {
            steady.push(c);
        }
    }
    let who = (steady, domain.to_ascii_lowercase(), recipient.to_ascii_lowercase());
    let hash = |round: u8| {
        let mut hasher = DefaultHasher::new();
        (round, network, &who).hash(&mut hasher);
        hasher.finish()
    };
    format!("{network} {:016x}{:016x}", hash(0), hash(1))
}

export!(Greylist: about, init, rcpt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_who_it_is_not_which_message() {
        let one = contact("192.0.2.0/24", "Bounce-4711+x@List.test", "B@c.test");
        assert_eq!(one, contact("192.0.2.0/24", "bounce-8@list.test", "b@c.test"));
        assert_ne!(one, contact("192.0.3.0/24", "bounce-8@list.test", "b@c.test"));
        assert_ne!(one, contact("192.0.2.0/24", "bounce-8@list.test", "d@c.test"));
        assert!(contact("2001:db8:1111:2222::/64", &"x".repeat(9_999), "y").len() < 80);
    }
}
