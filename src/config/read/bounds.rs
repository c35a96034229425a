//! `[limits]`, `[[network]]`, `[rates]` and `[timeouts]`: how much, how often, how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::schema;
use crate::config::section::Section;
use crate::config::types::{BareLineEnds, Limits, MemoryMax, NetworkRule, Rate, Rates, Timeouts};
use crate::config::value::Value;

/// RFC 5321 4.5.3.1.7: at least 64 KiB must be taken.
const MESSAGE_BYTES: RangeInclusive<u64> = (64 << 10)..=(1 << 40);
/// Smaller than this, ordinary mail would not pass.
const HEADER_BLOCK_BYTES: RangeInclusive<u64> = (16 << 10)..=(64 << 20);
/// RFC 5321 4.5.3.1.8.
const RECIPIENTS_USUAL_MIN: u32 = 100;
/// Less than 10 would refuse ordinary mail that was forwarded a few times; open multiparts take memory.
const MIME_DEPTH: RangeInclusive<u32> = 10..=1_000;
const COUNT: RangeInclusive<u32> = 1..=1_000_000_000;

const BARE_CHOICES: &[(&str, BareLineEnds)] =
    &[("reject", BareLineEnds::Reject), ("normalize", BareLineEnds::Normalize)];

/// `base` holds for what the section does not say.
pub(in crate::config) fn limits(section: &Section<'_>, base: &Limits) -> Limits {
    let count = |key, base| section.get_or(key, base, |v| v.or_off(count));
    let limits = Limits {
        message_bytes: section.get_or("message-size", base.message_bytes, |v| v.or_off(|v| v.size(MESSAGE_BYTES))),
        recipients: count("recipients", base.recipients),
        header_block_bytes: section
            .get_or("header-block", base.header_block_bytes, |v| v.or_off(|v| v.memory_size(HEADER_BLOCK_BYTES))),
        header_fields: count("header-fields", base.header_fields),
        received_fields: count("received-fields", base.received_fields),
        own_received_fields: count("own-received-fields", base.own_received_fields),
        mime_depth: section.get_or("mime-depth", base.mime_depth, |v| v.or_off(|v| v.number(MIME_DEPTH))),
        mime_parts: count("mime-parts", base.mime_parts),
        messages: count("messages", base.messages),
        errors: count("errors", base.errors),
        auth_failures: count("auth-failures", base.auth_failures),
        idle_commands: count("idle-commands", base.idle_commands),
        forbidden_commands: section
            .get("forbidden-commands", forbidden_commands)
            .unwrap_or_else(|| base.forbidden_commands.clone()),
        data_bytes_per_second_min: section.get_or("data-rate", base.data_bytes_per_second_min, |v| v.or_off(data_rate)),
        bare_line_ends: section.get_or("bare-line-ends", base.bare_line_ends, |v| v.one_of(BARE_CHOICES)),
    };
    if let (Some(value), Some(recipients)) = (section.value("recipients"), limits.recipients)
        && recipients < RECIPIENTS_USUAL_MIN
    {
        section.reader.warn(
            Problem::at(value.span(), "a mail server is expected to take at least 100 recipients (RFC 5321 4.5.3.1.8)")
                .label("fewer"),
        );
    }
    limits
}

/// Without these there is no mail.
const NEEDED_COMMANDS: [&str; 10] =
    ["HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT", "STARTTLS", "AUTH"];
/// A longer word is no command, and a longer list no policy.
const COMMAND_BYTES_MAX: usize = 32;
const FORBIDDEN_COMMANDS_MAX: usize = 100;

/// A list of first words; `"off"` is the empty one.
fn forbidden_commands(value: &Value<'_>) -> Result<Vec<String>, Problem> {
    if value.is_off() {
        return Ok(Vec::new());
    }
    if value.items().len() > FORBIDDEN_COMMANDS_MAX {
        return Err(value.error(format!("has more than {FORBIDDEN_COMMANDS_MAX} items")));
    }
    let help = "write first words of lines, [\"CONNECT\", \"GET\", \"POST\"], or \"off\"";
    Ok(value.list(|item| {
        item.parsed("a word", help, |text| {
            let word = text.to_ascii_uppercase();
            if NEEDED_COMMANDS.contains(&word.as_str()) {
                return Err("is a command without which no mail comes".to_owned());
            }
            let fits = (1..=COMMAND_BYTES_MAX).contains(&word.len()) && !word.contains(' ');
            if fits && word.bytes().all(|b| b.is_ascii_graphic()) {
                Ok(word)
            } else {
                Err("is not one word".to_owned())
            }
        })
    }))
}

/// Faster than this, people on slow lines could send nothing.
const DATA_RATE_BYTES: RangeInclusive<u64> = 1..=(64 << 10);

fn data_rate(value: &Value<'_>) -> Result<u32, Problem> {
    let rate = value.size(DATA_RATE_BYTES)?;
    Ok(u32::try_from(rate).unwrap_or(u32::MAX))
}

fn count(value: &Value<'_>) -> Result<u32, Problem> {
    value.number(COUNT)
}

/// All `[[network]]` sections, most specific prefix first.
pub(in crate::config) fn networks(sections: &[Section<'_>], base: &Limits) -> Vec<NetworkRule> {
    let mut seen: Vec<(ipnet::IpNet, crate::config::problem::Span)> = Vec::new();
    let mut rules: Vec<NetworkRule> = sections.iter().filter_map(|section| network(section, base, &mut seen)).collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.networks.iter().map(ipnet::IpNet::prefix_len).max()));
    rules
}

fn network(
    section: &Section<'_>,
    base: &Limits,
    seen: &mut Vec<(ipnet::IpNet, crate::config::problem::Span)>,
) -> Option<NetworkRule> {
    let networks = section.required("networks", "networks = [\"192.0.2.0/24\"]", |list| {
        let networks = list.list(|item| {
            let net = item.network()?;
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == net) {
                return Err(item.error("is named twice").label("again").other(first.clone(), "first here"));
            }
            seen.push((net, item.span()));
            Ok(net)
        });
        if networks.is_empty() && list.items().is_empty() {
            return Err(list.error("has no network in it").help("write networks = [\"192.0.2.0/24\"]"));
        }
        Ok(networks)
    });
    let own = section.section("limits", &schema::NETWORK_LIMITS);
    let limits = limits(&own, base);
    let rates = section.get_or("rates", true, Value::flag);
    if rates && !own.present() {
        section.reader.warn(
            Problem::at(section.span(), "this `[[network]]` changes nothing")
                .label("no limits, and rates are counted")
                .help("give it limits = { … } or rates = false"),
        );
    }
    Some(NetworkRule { networks: networks?, limits, rates })
}

/// Keys are remembered in memory, about 100 octets each.
const KEYS: RangeInclusive<u32> = 1_000..=10_000_000;
/// A limiter computes in nanoseconds; beyond these it could not.
const RATE_COUNT_MAX: u32 = 10_000_000;
const RATE_PER_MAX: std::time::Duration = std::time::Duration::from_secs(31 * 24 * 3_600);

pub(in crate::config) fn rates(section: &Section<'_>) -> Rates {
    let base = Rates::default();
    let number = |key, base| section.get_or(key, base, |v| v.or_off(count));
    let rate = |key, base| section.get_or(key, base, |v| v.or_off(rate));
    Rates {
        memory: section.get_or("memory", base.memory, memory),
        connections_at_once: number("connections-at-once", base.connections_at_once),
        connections_at_once_per_address: number(
            "connections-at-once-per-address",
            base.connections_at_once_per_address,
        ),
        connections_per_address: rate("connections-per-address", base.connections_per_address),
        messages_per_address: rate("messages-per-address", base.messages_per_address),
        recipients_per_address: rate("recipients-per-address", base.recipients_per_address),
        messages_per_identity: rate("messages-per-identity", base.messages_per_identity),
        recipients_per_identity: rate("recipients-per-identity", base.recipients_per_identity),
        auth_failures_per_address: rate("auth-failures-per-address", base.auth_failures_per_address),
        auth_failures_per_account_and_address: rate(
            "auth-failures-per-account-and-address",
            base.auth_failures_per_account_and_address,
        ),
        auth_failure_delay: section.get_or("auth-failure-delay", base.auth_failure_delay, auth_failure_delay),
        stress: section.get_or("stress", base.stress, Value::flag),
        keys_max: section.get_or("keys", base.keys_max, |v| Ok(v.number(KEYS)? as usize)),
    }
}

/// Clients that only mistyped wait for it, too.
const AUTH_FAILURE_DELAY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(15);

fn auth_failure_delay(value: &Value<'_>) -> Result<Option<Duration>, Problem> {
    if value.is_off() { Ok(None) } else { value.duration(AUTH_FAILURE_DELAY).map(Some) }
}

/// With less, a few messages would fill it.
const MEMORY_BYTES: RangeInclusive<u64> = (16 << 20)..=(1 << 44);

fn memory(value: &Value<'_>) -> Result<MemoryMax, Problem> {
    match value.text() {
        Ok(text) if text == "auto" => Ok(MemoryMax::Auto),
        Ok(text) if text == "off" => Ok(MemoryMax::Off),
        _ => {
            let help = "or \"auto\", for half of the machine's, or \"off\", for no limit";
            value.memory_size(MEMORY_BYTES).map(MemoryMax::Bytes).map_err(|problem| problem.help(help))
        }
    }
}

pub(super) fn rate(value: &Value<'_>) -> Result<Rate, Problem> {
    bounded(value, value.rate()?)
}

/// A rate that can be computed with.
pub(super) fn bounded(value: &Value<'_>, rate: Rate) -> Result<Rate, Problem> {
    if rate.count > RATE_COUNT_MAX || rate.burst > RATE_COUNT_MAX || rate.per > RATE_PER_MAX {
        return Err(value.error("is out of bounds").help(format!("at most {RATE_COUNT_MAX} in at most 31d would do")));
    }
    Ok(rate)
}

/// RFC 5321 4.5.3.2.7: what a client may expect to be waited for.
const CLIENT_WAIT_USUAL: std::time::Duration = std::time::Duration::from_secs(300);

pub(in crate::config) fn timeouts(section: &Section<'_>) -> Timeouts {
    let base = Timeouts::default();
    let wait = |key, base| section.get_or(key, base, |v| v.duration(super::WAIT));
    let timeouts = Timeouts {
        command: wait("command", base.command),
        data: wait("data", base.data),
        handshake: wait("handshake", base.handshake),
        write: wait("write", base.write),
        session: wait("session", base.session),
        resolve: wait("resolve", base.resolve),
        upstream_connect: wait("upstream-connect", base.upstream_connect),
        upstream_greeting: wait("upstream-greeting", base.upstream_greeting),
        upstream_command: wait("upstream-command", base.upstream_command),
        upstream_data: wait("upstream-data", base.upstream_data),
        upstream_write: wait("upstream-write", base.upstream_write),
        upstream_final: wait("upstream-final", base.upstream_final),
    };
    for (key, wait) in [("command", timeouts.command), ("data", timeouts.data)] {
        if wait > CLIENT_WAIT_USUAL {
            section.reader.warn(
                Problem::at(
                    section.reader.place(&format!("timeouts.{key}")),
                    "silent clients hold sessions for longer",
                )
                .label("RFC 5321 4.5.3.2.7 asks for 5min"),
            );
        }
    }
    if timeouts.upstream_final < base.upstream_final {
        section.reader.warn(
            Problem::at(section.reader.place("timeouts.upstream-final"), "less than 10 minutes can double mail")
                .label("RFC 5321 4.5.3.2.6 asks for 10min")
                .help("an upstream that answers later has taken the message, and the client sends it again"),
        );
    }
    timeouts
}
