//! Refuses clients by network, HELO name or sender, from the operator's tables.
//!
//! Stages: connect, helo, mail. Grants: `tables = [...]` with every table named below. Settings:
//!
//! ```toml
//! [filter.settings]
//! # Tables asked for the client's address (kind cidr, or exact) before the banner.
//! networks = ["blocked-networks"]
//! # Tables asked for the name in HELO and EHLO (kind domain, exact or regex).
//! helo = ["blocked-names"]
//! # Tables asked for the sender's address, and for its domain alone (kind exact, domain or regex). In a table
//! # the null sender is "<>".
//! senders = ["blocked-senders"]
//! # Clients in these tables, and whoever logged in, are never refused.
//! exempt = ["friends"]
//! # "reject" (for good), "defer" (they come back) or "disconnect" (for good, and the connection is closed).
//! # Default: "reject".
//! action = "reject"
//! # What the client is told. The value beside the entry that matched, where there is one, is told instead.
//! # Default: as here.
//! text = "Not accepted here, see your postmaster"
//! ```
//!
//! Whoever is listed is refused at each of the stages again, with 550 5.7.1 or 450 4.7.1. At connect the refusal
//! stands in place of the banner, as 554 or 421.

use serde::Deserialize;
use wasmilter_filter::*;

#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    networks: Vec<String>,
    helo: Vec<String>,
    senders: Vec<String>,
    exempt: Vec<String>,
    action: Answer,
    text: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Reject,
    Defer,
    Disconnect,
}

impl Default for Settings {
    fn default() -> Self {
        let none = Vec::new;
        let text = "Not accepted here, see your postmaster".to_owned();
        Settings { networks: none(), helo: none(), senders: none(), exempt: none(), action: Answer::Reject, text }
    }
}

#[derive(Default)]
struct Blocklist(Settings);

impl Filter for Blocklist {
    fn about() -> About {
        About::new(env!("CARGO_PKG_VERSION"), "refuses clients by network, HELO name or sender, from tables")
            .settings(include_str!("../settings.json"))
    }

    fn init(&mut self) -> Result<(), String> {
        self.0 = config()?;
        let Settings { networks, helo, senders, exempt, .. } = &self.0;
        tables::check([networks, helo, senders, exempt].into_iter().flatten())
    }

    fn connect(&mut self, peer: &Endpoint) -> Verdict {
        self.judge(&self.0.networks, &[&peer.address], "client")
    }

    fn helo(&mut self, name: &str, _extended: bool) -> Verdict {
        self.judge(&self.0.helo, &[name.trim_end_matches('.')], "HELO name")
    }

    fn mail(&mut self, sender: &Path) -> Verdict {
        let keys: &[&str] = if sender.is_null() { &["<>"] } else { &[&sender.address, sender.domain()] };
        self.judge(&self.0.senders, keys, "sender")
    }
}

impl Blocklist {
    /// Refuses when one of `tables` lists one of `keys`; `what` they are goes to the log.
    fn judge(&self, tables: &[String], keys: &[&str], what: &str) -> Verdict {
        for (table, key) in tables.iter().flat_map(|table| keys.iter().map(move |key| (table, key))) {
            match tables::lookup(table, key) {
                Ok(None) => {}
                Ok(Some(_)) if self.is_exempt() => return next(),
                Ok(Some(note)) => {
                    let text = if note.is_empty() { &self.0.text } else { &note };
                    return self.answer(text).because(format!("{what} {key} is in table {table}"));
                }
                // It was there at the start, so a reload took it away: nobody is refused for that.
                Err(_) => warn!("table {table} is gone"),
            }
        }
        next()
    }

    fn is_exempt(&self) -> bool {
        session().auth().is_some()
            || !self.0.exempt.is_empty()
                && tables::any_contains(&self.0.exempt, &session().peer().address).unwrap_or(false)
    }

    fn answer(&self, text: &str) -> Verdict {
        match self.0.action {
            Answer::Reject => reject("5.7.1", text),
            Answer::Defer => defer("4.7.1", text).code(450),
            Answer::Disconnect => disconnect("5.7.1", text),
        }
    }
}

export!(Blocklist: about, init, connect, helo, mail);
