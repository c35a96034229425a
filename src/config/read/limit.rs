//! `[[limit]]`: limits over all sessions, by whatever clients are told apart by.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{bounds, route};
use crate::config::limit::{Counted, KeyPart, Limit, LimitAction, LimitExcept, Most};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{schema, suggest, units};

/// A connection that waits takes room; nobody shall be held for longer.
const DELAY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);
/// One line of an answer.
const REPLY_BYTES_MAX: usize = 200;
/// The name is a tag, too.
const NAME_BYTES_MAX: usize = 64;
const AT_ONCE: RangeInclusive<u32> = 1..=1_000_000;

const PER_HELP: &str = "choose from \"address\", \"network/24,64\" (bits of IPv4 and of IPv6), \"listener\", \"identity\", \
                        \"sender\", \"sender-domain\", \"recipient\", \"recipient-domain\", \"helo\", \"tls\"";
const BYTES_HELP: &str = "write how much in how long, and how much at once if that differs: \"100 MiB/1h\" or \
                          \"100 MiB/1h burst 500 MiB\"";

const ALARM_WORDS_MAX: usize = 20;
const ALARM_WORD_BYTES_MAX: usize = 4_096;
const ALARM_HELP: &str = "write its whole path, and each word for itself: [\"/usr/local/bin/tell\", \"postmaster\"]; it is \
                          started as it is, without a shell";

/// What `action` says, before `delay` is known.
#[derive(Clone, Copy, PartialEq)]
enum Said {
    Plain(LimitAction),
    Delay,
}

const ACTIONS: &[(&str, Said)] = &[
    ("defer", Said::Plain(LimitAction::Defer)),
    ("refuse", Said::Plain(LimitAction::Refuse)),
    ("disconnect", Said::Plain(LimitAction::Disconnect)),
    ("delay", Said::Delay),
    ("mark", Said::Plain(LimitAction::Mark)),
    ("log", Said::Plain(LimitAction::Log)),
];

pub(in crate::config) fn read(section: &Section<'_>, listeners: &[&str]) -> Option<Limit> {
    let name = section.required("name", "name = \"newsletters\"", name);
    let count = section.required("count", "count = \"messages\"", |v| v.one_of(Counted::CHOICES));
    let listeners = route::known_names(section, "listeners", "[[listener]]", listeners);
    let per = count.map(|count| per(section, count));
    let most = count.and_then(|count| most(section, count));
    let except = except(&section.section("except", &schema::LIMIT_EXCEPT));
    let action = action(section);
    let reply = section.get("reply", reply);
    if let (Some(value), Some(action)) = (section.value("reply"), action)
        && !action.refuses()
    {
        section.reader.error(
            Problem::at(value.span(), format!("nobody is told anything by action = \"{}\"", action.name()))
                .label("never said")
                .help("take `reply` away, or write action = \"defer\", \"refuse\" or \"disconnect\""),
        );
    }
    let alarm = section.get_or("alarm", false, Value::flag);
    Some(Limit { name: name?, listeners, count: count?, per: per?, most: most?, except, action: action?, reply, alarm })
}

/// `command` of `[alarm]`.
pub(in crate::config) fn alarm(section: &Section<'_>, limits: &[Limit]) -> Vec<String> {
    let command = section.get_or("command", Vec::new(), |v| {
        let words = v.list(Value::text);
        let sound = |word: &String| word.len() <= ALARM_WORD_BYTES_MAX && !word.contains('\0');
        match words.first() {
            Some(program) if program.starts_with('/') && words.len() <= ALARM_WORDS_MAX && words.iter().all(sound) => {
                Ok(words)
            }
            _ => Err(v.error("is no program with its words").help(ALARM_HELP)),
        }
    });
    if let Some(value) = section.value("command").filter(|_| !limits.iter().any(|limit| limit.alarm)) {
        let problem = Problem::at(value.head(), "no [[limit]] has alarm = true").label("this is never run");
        section.reader.warn(problem.help("write alarm = true where somebody should hear of it"));
    }
    command
}

fn name(value: &Value<'_>) -> Result<String, Problem> {
    let help = "write letters, digits, `-`, `_` and `.`: name = \"newsletters\"";
    value.parsed("a name", help, |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        match text.len() {
            1..=NAME_BYTES_MAX if text.bytes().all(fits) => Ok(text.to_owned()),
            1..=NAME_BYTES_MAX => Err("has a character that is no part of a name".to_owned()),
            _ => Err(format!("has not between 1 and {NAME_BYTES_MAX} characters")),
        }
    })
}

fn per(section: &Section<'_>, count: Counted) -> Vec<KeyPart> {
    let parts: Vec<KeyPart> = section.get("per", |list| Ok(list.list(|item| part(item, count)))).unwrap_or_default();
    let place = |part: &KeyPart| matches!(part, KeyPart::Address | KeyPart::Network(..));
    if count == Counted::AuthFailures && parts.contains(&KeyPart::Identity) && !parts.iter().any(place) {
        section.reader.error(
            Problem::at(
                section.reader.place(&format!("{}.per", section.path)),
                "anybody could lock an account's owner out",
            )
            .label("failed logins of all the world count")
            .help("add \"address\" or a network: per = [\"identity\", \"address\"]"),
        );
    }
    parts
}

fn part(item: &Value<'_>, count: Counted) -> Result<KeyPart, Problem> {
    let text = item.text().map_err(|problem| problem.help(PER_HELP))?;
    let part = match text.strip_prefix("network/") {
        Some(bits) => network(bits).map_err(|why| item.error(why).help(PER_HELP))?,
        None => *KeyPart::CHOICES.iter().find(|(word, _)| *word == text).map(|(_, part)| part).ok_or_else(|| {
            let problem = item.error("is nothing that clients can be told apart by");
            match suggest::nearest(&text, KeyPart::CHOICES.iter().map(|(word, _)| *word)) {
                Some(near) => problem.help(format!("did you mean \"{near}\"?")),
                None => problem.help(PER_HELP),
            }
        })?,
    };
    if !part.is_known_at(count) {
        let known = KeyPart::CHOICES.iter().filter(|(_, part)| part.is_known_at(count)).map(|(word, _)| *word);
        let known: Vec<&str> = known.chain(["network/24,64"]).collect();
        return Err(item
            .error(format!("is not known where `{}` are counted", count.name()))
            .help(format!("what is known there: {}", known.join(", "))));
    }
    Ok(part)
}

fn network(bits: &str) -> Result<KeyPart, String> {
    let (v4, v6) = bits.split_once(',').ok_or("needs the bits of IPv4 and of IPv6")?;
    let number = |text: &str, max: u8| {
        let number = text.trim().parse::<u8>().ok().filter(|bits| (1..=max).contains(bits));
        number.ok_or_else(|| format!("has something else where 1 to {max} bits belong"))
    };
    Ok(KeyPart::Network(number(v4, 32)?, number(v6, 128)?))
}

fn most(section: &Section<'_>, count: Counted) -> Option<Most> {
    let at_once = count == Counted::ConnectionsAtOnce;
    let (wanted, other) = if at_once { ("at-once", "rate") } else { ("rate", "at-once") };
    if let Some(value) = section.value(other) {
        section.reader.error(
            Problem::at(value.span(), format!("`{}` are not limited by `{other}`", count.name()))
                .label("says nothing here")
                .help(format!("write `{wanted}` instead")),
        );
        return None;
    }
    if at_once {
        return section.required("at-once", "at-once = 20", |v| v.number(AT_ONCE)).map(Most::AtOnce);
    }
    let rate = match count {
        Counted::Bytes => section.required("rate", "rate = \"100 MiB/1h\"", |v| {
            v.parsed("a rate", BYTES_HELP, units::size_rate).and_then(|rate| bounds::bounded(v, rate))
        }),
        _ => section.required("rate", "rate = \"100/1h burst 20\"", bounds::rate),
    };
    rate.map(Most::Rate)
}

fn except(section: &Section<'_>) -> LimitExcept {
    LimitExcept {
        networks: section.get("networks", |v| Ok(v.list(Value::network))).unwrap_or_default(),
        identities: section.get("identities", |v| Ok(v.list(Value::text))).unwrap_or_default(),
        senders: route::patterns(section, "senders"),
        recipients: route::patterns(section, "recipients"),
    }
}

fn action(section: &Section<'_>) -> Option<LimitAction> {
    let said = section.get_or("action", Said::Plain(LimitAction::Defer), |v| v.one_of(ACTIONS));
    match said {
        Said::Delay => section.required("delay", "delay = \"5s\"", |v| v.duration(DELAY)).map(LimitAction::Delay),
        Said::Plain(action) => {
            if let Some(value) = section.value("delay") {
                section.reader.error(
                    Problem::at(value.span(), format!("nobody waits by action = \"{}\"", action.name()))
                        .label("says nothing here")
                        .help("write action = \"delay\", or take this away"),
                );
            }
            Some(action)
        }
    }
}

fn reply(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a sentence", "write one line of ASCII, without codes: reply = \"Too much mail today\"", |text| {
        let plain = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        match text.len() {
            1..=REPLY_BYTES_MAX if plain => Ok(text.to_owned()),
            1..=REPLY_BYTES_MAX => Err("has a character that is no printable ASCII".to_owned()),
            _ => Err(format!("has not between 1 and {REPLY_BYTES_MAX} characters")),
        }
    })
}
