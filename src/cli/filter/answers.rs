//! What the world says, written down: lines of a dialog's head, or of a file for `filter run --answers`.
//!
//! ```text
//! clock: 2026-01-01T00:00:00Z
//! dns: example.org TXT "v=spf1 -all"
//! dns: gone.example A nxdomain
//! http: GET https://api.example.org/x -> 200 {"ok":true}
//! kv: key = value
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::chain::Chain;
use crate::filter::outside::{Answer, Failure, NoAnswer, Response, Security};
use crate::filter::{Clock, Outside, Script as OutsideScript};

/// When it is in a dialog that does not say: 2026-01-01T00:00:00Z.
const CLOCK_DEFAULT: Duration = Duration::from_secs(1_767_225_600);

/// The clock of a dialog that does not say what time it is.
pub(super) fn standing() -> Clock {
    Clock::standing_at(SystemTime::UNIX_EPOCH + CLOCK_DEFAULT)
}

/// Keys of the lines that are understood here.
pub(super) const KEYS: [&str; 4] = ["clock", "dns", "http", "kv"];

/// Of one name and kind: records in the form of a zone file, or why there are none.
type Records = Result<Vec<Vec<u8>>, NoAnswer>;

/// All answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    clock: Option<SystemTime>,
    /// By name and kind.
    dns: BTreeMap<(String, String), Records>,
    /// Method, address, what comes.
    http: Vec<(String, String, Result<Response, Failure>)>,
    kv: Vec<(String, Vec<u8>)>,
}

/// What is made of them for one replay.
#[derive(Debug)]
pub(super) struct World {
    pub outside: Outside,
    script: Arc<OutsideScript>,
    kv: Vec<(String, Vec<u8>)>,
}

impl Answers {
    /// The lines of a file.
    ///
    /// # Errors
    /// The first that is not understood: its number, and why.
    pub(super) fn parse(text: &str) -> Result<Answers, (usize, String)> {
        let mut answers = Answers::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let known = line.split_once(": ").ok_or_else(|| "write `key: value`".to_owned());
            known.and_then(|(key, value)| answers.add(key, value.trim())).map_err(|why| (index + 1, why))?;
        }
        Ok(answers)
    }

    /// One line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "clock" => self.clock = Some(moment(value)?),
            "dns" => self.dns(value)?,
            "http" => self.http(value)?,
            "kv" => {
                let (key, value) = value.split_once(" = ").ok_or("write `kv: key = value`")?;
                self.kv.push((key.trim().to_owned(), value.as_bytes().to_vec()));
            }
            _ => return Err(format!("unknown answer `{key}`; there are {}", KEYS.join(", "))),
        }
        Ok(())
    }

    fn dns(&mut self, line: &str) -> Result<(), String> {
        let help = "write a name, a type and what it has: `dns: example.org TXT \"v=spf1 -all\"`";
        let (name, rest) = line.split_once(' ').ok_or(help)?;
        let (kind, what) = rest.trim_start().split_once(' ').ok_or(help)?;
        let key = (name.trim_end_matches('.').to_ascii_lowercase(), kind.to_ascii_uppercase());
        let what = what.trim();
        let none = match what {
            "nxdomain" => Some(NoAnswer::NotFound),
            "nodata" => Some(NoAnswer::NoData),
            "timeout" => Some(NoAnswer::Timeout),
            "servfail" => Some(NoAnswer::Failed("the dialog says so".to_owned())),
            "bogus" => Some(NoAnswer::Bogus),
            _ => None,
        };
        if let Some(none) = none {
            self.dns.insert(key, Err(none));
            return Ok(());
        }
        let record = if key.1 == "TXT" { strings(what)? } else { what.trim_end_matches('.').as_bytes().to_vec() };
        match self.dns.entry(key).or_insert_with(|| Ok(Vec::new())) {
            Ok(records) => records.push(record),
            Err(_) => return Err("this name was said to have no answer already".to_owned()),
        }
        Ok(())
    }

    fn http(&mut self, line: &str) -> Result<(), String> {
        let help = "write a request and what comes: `http: GET https://api.example.org/x -> 200 {\"ok\":true}`";
        let (request, answer) = line.split_once(" -> ").ok_or(help)?;
        let (method, url) = request.trim().split_once(' ').ok_or(help)?;
        let answer = answer.trim();
        let answer = match answer {
            "timeout" => Err(Failure::Timeout),
            "unreachable" => Err(Failure::Unreachable("it is written so".to_owned())),
            "too-large" => Err(Failure::TooLarge),
            _ => {
                let (status, body) = answer.split_once(' ').unwrap_or((answer, ""));
                let status = status.parse().ok().filter(|status| (100..600).contains(status)).ok_or(help)?;
                Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
            }
        };
        let (method, url) = (method.to_owned(), url.trim().to_owned());
        OutsideScript::default().http(&method, &url, answer.clone())?;
        self.http.push((method, url, answer));
        Ok(())
    }

    /// The servers of all requests: what a filter has to be granted for them.
    pub(super) fn servers(&self) -> Vec<String> {
        let server = |url: &String| url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/") + "/";
        let mut servers: Vec<String> = self.http.iter().map(|(_, url, _)| server(url)).collect();
        servers.dedup();
        servers
    }

    /// A world in which nothing was asked yet; where no time is said, it has the clock `otherwise`.
    pub(super) fn world(&self, otherwise: &Clock) -> World {
        let script = Arc::new(OutsideScript::default());
        for ((name, kind), answer) in &self.dns {
            let answer = answer.clone().map(|records| Answer { records, security: Security::Unchecked });
            script.dns(name, kind, answer);
        }
        for (method, url, answer) in &self.http {
            // It was tried when it was read.
            let _ = script.http(method, url, answer.clone());
        }
        let clock = self.clock.map_or_else(|| otherwise.clone(), Clock::standing_at);
        World { outside: Outside::scripted(clock, &script), script, kv: self.kv.clone() }
    }
}

impl World {
    /// Questions that nothing answered.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let mut all = self.script.unscripted();
        all.dedup();
        all
    }

    /// What the filters' stores hold before anything happens, by this world's clock.
    pub(super) fn kv(&self) -> Fill {
        Fill { entries: self.kv.clone(), clock: self.outside.clock.clone() }
    }
}

/// Entries for the filters' stores.
#[derive(Debug)]
pub(super) struct Fill {
    entries: Vec<(String, Vec<u8>)>,
    clock: Clock,
}

impl Fill {
    /// Puts them there.
    ///
    /// # Errors
    /// One does not fit.
    pub(super) fn fill(&self, chain: &Chain) -> Result<(), String> {
        let now = self.clock.instant();
        for program in chain.programs() {
            for (key, value) in &self.entries {
                let set = program.profile().memory.kv.set(key, value.clone(), None, now);
                set.map_err(|why| format!("kv: {key} cannot be kept ({why:?}): is `kv` granted?"))?;
            }
        }
        Ok(())
    }
}

fn moment(text: &str) -> Result<SystemTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "write a moment in UTC: `clock: 2026-01-01T00:00:00Z`".to_owned())
}

/// `"one" "two"`: joined, as a resolver joins them.
fn strings(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inner = rest.strip_prefix('"').ok_or("a TXT is written in quotes: \"v=spf1 -all\"")?;
        let end = inner.find('"').ok_or("a quote is not closed")?;
        let (string, more) = inner.split_at(end);
        out.extend_from_slice(string.as_bytes());
        rest = more.get(1..).unwrap_or_default().trim_start();
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_what_is_answered() {
        let text = "# the world\nclock: 2026-03-01T12:00:00Z\ndns: Example.org. TXT \"v=spf1 \" \"-all\"\n\
                    dns: example.org MX 10 mx.example.org.\ndns: 2.0.0.127.zen.example A 127.0.0.2\n\
                    dns: 2.0.0.127.zen.example A 127.0.0.4\ndns: gone.example A nxdomain\nkv: a = b = c\n\
                    http: GET https://api.example.org/x?y -> 200 a b\nhttp: POST https://api.example.org/z -> timeout\n";
        let answers = Answers::parse(text).unwrap();
        let world = answers.world(&standing());
        let dns = &world.outside.dns;
        assert_eq!(dns.ask("example.org", "TXT").await.unwrap().records, [b"v=spf1 -all".to_vec()]);
        assert_eq!(dns.ask("example.org", "MX").await.unwrap().records, [b"10 mx.example.org".to_vec()]);
        assert_eq!(dns.ask("2.0.0.127.zen.example", "A").await.unwrap().records.len(), 2);
        assert_eq!(dns.ask("gone.example", "AAAA").await, Err(NoAnswer::NotFound));
        assert!(world.unanswered().is_empty());
        assert!(dns.ask("other.example", "A").await.is_err());
        assert_eq!(world.unanswered(), ["dns: A other.example"]);
        assert_eq!(world.outside.clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_366_400));
        assert_eq!(answers.servers(), ["https://api.example.org/"]);
        assert_eq!(world.kv, [("a".to_owned(), b"b = c".to_vec())]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, line) in [
            ("dns: example.org", 1),
            ("\nclock: noon", 2),
            ("kv: x", 1),
            ("dns: a TXT v=spf1", 1),
            ("dns: a A nxdomain\ndns: a A 192.0.2.1", 2),
            ("ftp: x", 1),
            ("http: GET https://a.test/", 1),
            ("http: GET ftp://a.test/ -> 200", 1),
            ("http: GET https://a.test/ -> 1", 1),
            ("nothing", 1),
        ] {
            assert_eq!(Answers::parse(text).unwrap_err().0, line, "{text}");
        }
    }
}
