//! `dns`: questions of a filter, bounded in number, by the host's resolver or whoever answers in its place.

use std::net::IpAddr;
use std::result::Result as Answered;
use std::sync::Arc;

use wasmtime::Result;

use crate::filter::bindings::wasmilter::filter::dns::{
    Error, Exchangers, Host, MailExchanger, Octets, Security, Strings,
};
use crate::filter::guest::Guest;
use crate::filter::outside::{Answer, Dns, NoAnswer, Security as Proof};
use crate::net::dns::reverse;

/// Questions in one call of a filter.
pub(super) const QUESTIONS_MAX: u32 = 100;
/// Octets of a name or an address in a question.
const QUESTION_BYTES_MAX: usize = 320;

fn security(proof: Proof) -> Security {
    match proof {
        Proof::Secure => Security::Secure,
        Proof::Insecure => Security::Insecure,
        Proof::Unchecked => Security::Unchecked,
    }
}

fn error(why: &NoAnswer) -> Error {
    match why {
        NoAnswer::NotFound => Error::NotFound,
        NoAnswer::NoData => Error::NoData,
        NoAnswer::Failed(_) => Error::Failed,
        NoAnswer::Timeout => Error::Timeout,
        NoAnswer::Bogus => Error::Bogus,
        NoAnswer::Malformed => Error::Malformed,
    }
}

fn strings(answer: Answer) -> Strings {
    let text = |record: Vec<u8>| String::from_utf8(record).unwrap_or_default();
    Strings { values: answer.records.into_iter().map(text).collect(), security: security(answer.security) }
}

/// Two answers about one name: as secure as the weaker one.
fn joined(first: Answered<Answer, NoAnswer>, second: Answered<Answer, NoAnswer>) -> Answered<Answer, NoAnswer> {
    let nothing = |why: &NoAnswer| matches!(why, NoAnswer::NotFound | NoAnswer::NoData);
    match (first, second) {
        (Ok(mut one), Ok(other)) => {
            one.records.extend(other.records);
            if one.security != other.security {
                one.security = if one.security == Proof::Secure { other.security } else { one.security };
            }
            Ok(one)
        }
        // A forged half makes the whole worthless.
        (Err(NoAnswer::Bogus), _) | (_, Err(NoAnswer::Bogus)) => Err(NoAnswer::Bogus),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(one), Err(other)) => Err(if nothing(&one) && !nothing(&other) { other } else { one }),
    }
}

/// The name to look a thing up by in a DNS list.
fn entry(what: &str, zone: &str) -> String {
    let what = match what.parse::<IpAddr>() {
        Ok(address) => {
            let name = reverse(address);
            let (labels, _) =
                name.rsplit_once(".in-addr.").or_else(|| name.rsplit_once(".ip6.")).unwrap_or((&name, ""));
            labels.to_owned()
        }
        Err(_) => what.trim_end_matches('.').to_owned(),
    };
    format!("{what}.{zone}")
}

impl Guest {
    /// Whom to ask, if one more question may be asked.
    fn question(&mut self, words: &[&str]) -> Result<Answered<Arc<dyn Dns>, Error>> {
        if words.iter().any(|word| word.is_empty() || word.len() > QUESTION_BYTES_MAX) {
            return Ok(Err(Error::Malformed));
        }
        if self.asked.questions >= QUESTIONS_MAX {
            return Ok(Err(Error::Limit));
        }
        self.asked.questions += 1;
        // While a filter is loaded nobody is asked: whether the gateway starts is no matter of the network.
        if self.work()?.is_trial() {
            return Ok(Err(Error::Failed));
        }
        Ok(Ok(Arc::clone(&self.profile.outside.dns)))
    }

    /// One question, within the time of the call.
    async fn records(&mut self, name: &str, kind: &str) -> Result<Answered<Answer, Error>> {
        let dns = match self.question(&[name, kind])? {
            Ok(dns) => dns,
            Err(error) => return Ok(Err(error)),
        };
        let answer = self.pause().wait(dns.ask(name.trim_end_matches('.'), kind)).await?;
        Ok(answer.map_err(|why| error(&why)))
    }
}

impl Host for Guest {
    async fn addresses(&mut self, name: String) -> Result<Answered<Strings, Error>> {
        let dns = match self.question(&[&name])? {
            Ok(dns) => dns,
            Err(error) => return Ok(Err(error)),
        };
        let name = name.trim_end_matches('.');
        let both = async { tokio::join!(dns.ask(name, "A"), dns.ask(name, "AAAA")) };
        let (v4, v6) = self.pause().wait(both).await?;
        Ok(joined(v4, v6).map(strings).map_err(|why| error(&why)))
    }

    async fn texts(&mut self, name: String) -> Result<Answered<Octets, Error>> {
        let answer = self.records(&name, "TXT").await?;
        Ok(answer.map(|answer| Octets { values: answer.records, security: security(answer.security) }))
    }

    async fn mail_exchangers(&mut self, name: String) -> Result<Answered<Exchangers, Error>> {
        let answer = self.records(&name, "MX").await?;
        Ok(answer.map(|answer| {
            let read = |record: Vec<u8>| {
                let text = String::from_utf8(record).ok()?;
                let (preference, host) = text.split_once(' ')?;
                Some(MailExchanger { preference: preference.parse().ok()?, host: host.trim().to_owned() })
            };
            let mut values: Vec<_> = answer.records.into_iter().filter_map(read).collect();
            values.sort_by_key(|exchanger| exchanger.preference);
            Exchangers { values, security: security(answer.security) }
        }))
    }

    async fn names(&mut self, address: String) -> Result<Answered<Strings, Error>> {
        let Ok(address) = address.parse::<IpAddr>() else { return Ok(Err(Error::Malformed)) };
        Ok(self.records(&reverse(address), "PTR").await?.map(strings))
    }

    async fn listed(&mut self, what: String, zone: String) -> Result<Answered<Strings, Error>> {
        if what.is_empty() || zone.is_empty() {
            return Ok(Err(Error::Malformed));
        }
        Ok(match self.records(&entry(&what, &zone), "A").await? {
            Ok(answer) => Ok(strings(answer)),
            // Who proves that something is not listed is not passed on: there is no answer to be secure.
            Err(Error::NotFound | Error::NoData) => Ok(Strings { values: Vec::new(), security: Security::Unchecked }),
            Err(error) => Err(error),
        })
    }

    async fn lookup(&mut self, name: String, kind: String) -> Result<Answered<Strings, Error>> {
        let answer = self.records(&name, &kind).await?;
        let quoted = kind.eq_ignore_ascii_case("TXT");
        Ok(answer.map(|mut answer| {
            if quoted {
                answer.records.iter_mut().for_each(|record| *record = quote(record).into_bytes());
            }
            strings(answer)
        }))
    }
}

/// A character string of a zone file (RFC 1035 5.1).
fn quote(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' ' => text.push(' '),
            _ if octet.is_ascii_graphic() => text.push(char::from(*octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_in_a_list_stands_in_front_of_its_zone() {
        assert_eq!(entry("192.0.2.99", "bl.example"), "99.2.0.192.bl.example");
        assert_eq!(entry("::ffff:192.0.2.99", "bl.example"), "99.2.0.192.bl.example");
        assert_eq!(
            entry("2001:db8::1", "bl.example"),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example"
        );
        assert_eq!(entry("Evil.example.", "dbl.example"), "Evil.example.dbl.example");
    }

    #[test]
    fn two_answers_are_as_good_as_the_weaker_one() {
        let answer = |record: &str, security| Ok(Answer { records: vec![record.as_bytes().to_vec()], security });
        let both = joined(answer("a", Proof::Secure), answer("b", Proof::Insecure));
        assert_eq!(both.map(|a| (a.records.len(), a.security)), Ok((2, Proof::Insecure)));
        assert_eq!(joined(answer("a", Proof::Secure), Err(NoAnswer::Bogus)), Err(NoAnswer::Bogus));
        assert_eq!(joined(answer("a", Proof::Secure), Err(NoAnswer::NoData)), answer("a", Proof::Secure));
        assert_eq!(joined(Err(NoAnswer::NoData), Err(NoAnswer::Timeout)), Err(NoAnswer::Timeout));
        assert_eq!(joined(Err(NoAnswer::NotFound), Err(NoAnswer::NotFound)), Err(NoAnswer::NotFound));
    }

    #[test]
    fn text_is_quoted_as_in_a_zone_file() {
        assert_eq!(quote(b"v=spf1 \"a\" \\ \xff\n"), r#""v=spf1 \"a\" \\ \255\010""#);
    }
}
