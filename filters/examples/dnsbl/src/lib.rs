//! Looks the client's address up in DNS lists (RFC 5782), gives points for what they say, and refuses who has too many.
//!
//! Stages: mail, rcpt. Grants: `dns = true`, `mark = true`. Settings:
//!
//! ```toml
//! [filter.settings]
//! # Zones in their order, with the points for a client that is there (default: 1). Of an answer that stands in `answers`
//! # its own points count instead, 0 for one that does not matter; of several answers the one with the most. A list of
//! # friends has a negative weight.
//! lists = [
//!     { zone = "bl.example", weight = 3, answers = { "127.0.0.10" = 1 } },
//!     { zone = "friends.example", weight = -5 },
//! ]
//! # So many points together are refused at RCPT. Without it the points are only marked, for other filters and the log.
//! reject-at = 3
//! # Where a list does not answer and the others do not suffice: "pass", or "defer" (the client comes back).
//! # Default: "pass".
//! on-failure = "pass"
//! # What the client is told in front of the names of the lists. Default: as here.
//! text = "Your address is listed, see your postmaster"
//! ```
//!
//! Whoever logged in, and private, shared, link-local and loopback addresses, are not looked up. The points of each list are
//! a symbol with the name of its zone (`mark::score`). Lists are asked once a session, one after the other: give the filter a
//! `deadline` that suits them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use wasmilter_filter::*;

/// Octets of a symbol's name.
const SYMBOL_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    lists: Vec<List>,
    reject_at: Option<f64>,
    #[serde(default)]
    on_failure: OnFailure,
    #[serde(default = "text")]
    text: String,
}

#[derive(Deserialize)]
struct List {
    zone: String,
    #[serde(default = "one")]
    weight: f64,
    #[serde(default)]
    answers: BTreeMap<Ipv4Addr, f64>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnFailure {
    #[default]
    Pass,
    Defer,
}

fn one() -> f64 {
    1.0
}

fn text() -> String {
    "Your address is listed, see your postmaster".to_owned()
}

/// What the lists say of one client.
#[derive(Clone, Default)]
struct Standing {
    client: Option<IpAddr>,
    /// Zone, points, answers.
    listed: Vec<(String, f64, String)>,
    unanswered: Vec<String>,
}

#[derive(Default)]
struct Dnsbl {
    settings: Option<Settings>,
    standing: Standing,
}

impl Filter for Dnsbl {
    fn about() -> About {
        About::new(env!("CARGO_PKG_VERSION"), "scores and refuses clients by what DNS lists say of their address")
            .settings(include_str!("../settings.json"))
    }

    fn init(&mut self) -> Result<(), String> {
        let settings: Settings = config()?;
        for (list, answer) in settings.lists.iter().flat_map(|list| list.answers.keys().map(move |key| (list, key))) {
            if !answer.is_loopback() {
                return Err(format!("settings: {answer} of {} is not in 127.0.0.0/8, as answers are", list.zone));
            }
        }
        self.settings = Some(settings);
        Ok(())
    }

    fn mail(&mut self, _sender: &Path) -> Verdict {
        for (zone, points, answers) in &self.look().listed {
            let symbol = zone.get(..SYMBOL_BYTES_MAX).unwrap_or(zone);
            if let Err(why) = mark::score(*points, symbol, Some(answers)) {
                warn!("the points of {zone} are not marked: {why:?}");
            }
        }
        next()
    }

    fn rcpt(&mut self, _recipient: &Path) -> Verdict {
        let standing = self.look();
        let Some(settings) = &self.settings else { return next() };
        let points: f64 = standing.listed.iter().map(|(_, points, _)| points).sum();
        if settings.reject_at.is_some_and(|limit| points >= limit) {
            let guilty: Vec<&str> =
                standing.listed.iter().filter(|(_, points, _)| *points > 0.0).map(|(zone, ..)| zone.as_str()).collect();
            return reject("5.7.1", format!("{} ({})", settings.text, guilty.join(", ")))
                .because(format!("{points} points in DNS lists"));
        }
        if settings.on_failure == OnFailure::Defer && !standing.unanswered.is_empty() {
            return defer("4.4.3", "A DNS list does not answer, please try again later")
                .because(format!("no answer of {}", standing.unanswered.join(", ")));
        }
        next()
    }
}

impl Dnsbl {
    /// Asks once for each client, and again where a list had no answer.
    fn look(&mut self) -> Standing {
        let client = session().peer().ip().filter(|client| is_public(*client));
        let client = client.filter(|_| session().auth().is_none());
        if self.standing.client != client || !self.standing.unanswered.is_empty() {
            self.standing = self.ask(client);
        }
        self.standing.clone()
    }

    fn ask(&self, client: Option<IpAddr>) -> Standing {
        let mut standing = Standing { client, ..Standing::default() };
        let Some(address) = client.map(|client| client.to_string()) else { return standing };
        for list in self.settings.iter().flat_map(|settings| &settings.lists) {
            match dns::listed(&address, &list.zone) {
                Ok(found) if is_refusal(&found.values) => {
                    warn!("{} does not serve us: {}", list.zone, found.values.join(" "));
                    standing.unanswered.push(list.zone.clone());
                }
                Ok(found) => {
                    if let Some(points) = list.points(&found.values) {
                        standing.listed.push((list.zone.clone(), points, found.values.join(" ")));
                    }
                }
                Err(why) => {
                    warn!("{} has no answer about {address}: {why:?}", list.zone);
                    standing.unanswered.push(list.zone.clone());
                }
            }
        }
        standing
    }
}

impl List {
    /// For the answer with the most points. What is not in 127.0.0.0/8 is none (RFC 5782 2.1): the zone has changed hands,
    /// or somebody's resolver answers everything.
    fn points(&self, answers: &[String]) -> Option<f64> {
        let answers = answers.iter().filter_map(|answer| answer.parse::<Ipv4Addr>().ok());
        let points = answers
            .filter(Ipv4Addr::is_loopback)
            .map(|answer| self.answers.get(&answer).copied().unwrap_or(self.weight));
        points.max_by(f64::total_cmp)
    }
}

/// 127.255.255.0/24 says that the list does not serve this resolver, by the custom of the large ones.
fn is_refusal(answers: &[String]) -> bool {
    answers.iter().any(|answer| answer.starts_with("127.255.255."))
}

/// Lists know nothing of other addresses, and nobody has to hear of ours.
fn is_public(client: IpAddr) -> bool {
    match client {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

export!(Dnsbl: about, init, mail, rcpt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_something_else_everywhere_are_not_looked_up() {
        for ours in
            ["10.0.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "100.127.0.1"]
        {
            assert!(!is_public(ours.parse().unwrap()), "{ours}");
        }
        for ours in ["::1", "::", "fd00::1", "fe80::1"] {
            assert!(!is_public(ours.parse().unwrap()), "{ours}");
        }
        for public in ["192.0.2.7", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2001:db8::7"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_answer_has_its_own_points_or_those_of_its_list() {
        let answers = BTreeMap::from([(Ipv4Addr::new(127, 0, 0, 4), 3.0), (Ipv4Addr::new(127, 0, 0, 9), 0.0)]);
        let list = List { zone: "bl.test".to_owned(), weight: -2.0, answers };
        let points = |answers: &[&str]| list.points(&answers.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(points(&[]), None);
        assert_eq!(points(&["127.0.0.2"]), Some(-2.0));
        assert_eq!(points(&["127.0.0.2", "127.0.0.4", "127.0.0.9"]), Some(3.0));
        assert_eq!(points(&["127.0.0.9"]), Some(0.0));
        assert_eq!(points(&["203.0.113.80", "nonsense"]), None);
    }
}
