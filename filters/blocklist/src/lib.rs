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
//! # "reject" (5xx), "defer" (4xx: they come back) or "disconnect" (554, and the connection is closed).
//! # Default: "reject".
//! action = "reject"
//! # What the client is told. The value beside the entry that matched, where there is one, is told instead.
//! # Default: as here.
//! text = "Not accepted here, see your postmaster"
//! ```
//!
//! Whoever is listed is refused at each of the stages again: at connect with 554 5.7.1 in place of the banner, at
//! helo and mail with 550 5.7.1 (defer: 421 and 450, with 4.7.1).

use serde::Deserialize;
use wasmilter_filter::*;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
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
    fn init(&mut self) -> Result<(), String> {
        self.0 = config()?;
        let Settings { networks, helo, senders, exempt, .. } = &self.0;
        tables::check([networks, helo, senders, exempt].into_iter().flatten())
    }

    fn connect(&mut self, peer: &Endpoint) -> Verdict {
        self.judge(&self.0.networks, &[&peer.address], "client", 554)
    }

    fn helo(&mut self, name: &str, _extended: bool) -> Verdict {
        self.judge(&self.0.helo, &[name.trim_end_matches('.')], "HELO name", 550)
    }

    fn mail(&mut self, sender: &Path) -> Verdict {
        let keys: &[&str] = if sender.is_null() { &["<>"] } else { &[&sender.address, sender.domain()] };
        self.judge(&self.0.senders, keys, "sender", 550)
    }
}

impl Blocklist {
    /// Refuses when one of `tables` lists one of `keys`; `what` they are goes to the log.
    fn judge(&self, tables: &[String], keys: &[&str], what: &str, code: u16) -> Verdict {
        for (table, key) in tables.iter().flat_map(|table| keys.iter().map(move |key| (table, key))) {
            match tables::lookup(table, key) {
                Ok(None) => {}
                Ok(Some(_)) if self.is_exempt() => return next(),
                Ok(Some(note)) => {
                    let text = if note.is_empty() { &self.0.text } else { &note };
                    return self.answer(text, code).because(format!("{what} {key} is in table {table}"));
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

    fn answer(&self, text: &str, code: u16) -> Verdict {
        match (self.0.action, code) {
            (Answer::Reject, code) => reject("5.7.1", text).code(code),
            // RFC 5321 4.2.3: 450 is for a mailbox, and before MAIL 421 is the only refusal for now.
            (Answer::Defer, 554) => defer("4.7.1", text).code(421),
            (Answer::Defer, _) => defer("4.7.1", text).code(450),
            (Answer::Disconnect, _) => disconnect("5.7.1", text),
        }
    }
}

export!(Blocklist: init, connect, helo, mail);
