//! `[engine]`, `[spool]`, `[resolver]`, `[log]`, `[admin]`, `[shutdown]`: the gateway as a program.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::resolver::{Dnssec, PeerNames, Resolver};
use crate::config::section::Section;
use crate::config::signing::{SIGNING_KEY_HELP, SigningKey};
use crate::config::suggest;
use crate::config::types::{Admin, AdminSocket, Engine, Log, LogFormat, Shutdown, Spool};
use crate::config::value::Value;

/// Beyond this the pool does not fit into an address space.
const INSTANCES: RangeInclusive<u32> = 1..=20_000;
/// Clients give up on a message after a few minutes; a filter must have answered by then.
const MESSAGE_DEADLINE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
/// More than these is a generated file gone wrong.
const SIGNING_KEYS_MAX: usize = 64;
const SPOOL_MEMORY_BYTES: RangeInclusive<u64> = 0..=(1 << 30);
const RESOLVER_PORT: u16 = 53;
const RESOLVERS_MAX: usize = 16;
const ADMIN_ADDRESS: &str = "127.0.0.1:9925";
const ADMIN_SOCKET: &str = "/run/wasmilter/admin.sock";
/// The kernel takes 107; while the socket is made it has a name that is a little longer.
const SOCKET_PATH_OCTETS_MAX: usize = 96;
const SOCKET_MODE: u32 = 0o660;
const SOCKET_MODE_HELP: &str = "write the permissions as chmod has them: \"0660\", \"0600\"";
const SOCKET_GROUP_HELP: &str = "write a group of this machine: \"dovecot\"";
/// As `useradd` has them.
const GROUP_OCTETS_MAX: usize = 32;
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3_600);

pub(in crate::config) fn engine(section: &Section<'_>) -> Engine {
    let base = Engine::default();
    let signing_keys = section.get_or("signing-keys", Vec::new(), |v| {
        if v.items().len() > SIGNING_KEYS_MAX {
            return Err(v.error(format!("has more than {SIGNING_KEYS_MAX} items")));
        }
        Ok(v.list(|item| item.parsed("a public key", SIGNING_KEY_HELP, SigningKey::parse)))
    });
    let require_signed = section.get_or("require-signed", base.require_signed, Value::flag);
    if require_signed && section.value("signing-keys").is_none() {
        section.reader.error(
            Problem::at(
                section.reader.place("engine.require-signed"),
                "nobody's signature counts, so no filter would load",
            )
            .label("`signing-keys` is missing")
            .help(SIGNING_KEY_HELP),
        );
    }
    Engine {
        signing_keys,
        require_signed,
        backtrace_lines: section.get_or("backtrace-lines", base.backtrace_lines, Value::flag),
        instances: section.get_or("instances", base.instances, |v| {
            if matches!(v.text(), Ok(text) if text == "auto") {
                return Ok(None);
            }
            v.number(INSTANCES).map(Some).map_err(|problem| problem.help("or \"auto\", for what the machine allows"))
        }),
        cache_dir: section.get_or("cache", base.cache_dir, |v| if v.is_off() { Ok(None) } else { v.path().map(Some) }),
        message_deadline: section.get_or("message-deadline", base.message_deadline, |v| v.duration(MESSAGE_DEADLINE)),
    }
}

pub(in crate::config) fn spool(section: &Section<'_>) -> Spool {
    let base = Spool::default();
    Spool {
        memory_bytes: section.get_or("memory", base.memory_bytes, |v| v.memory_size(SPOOL_MEMORY_BYTES)),
        directory: section.get_or("directory", base.directory, Value::path),
    }
}

pub(in crate::config) fn resolver(section: &Section<'_>) -> Resolver {
    let servers = section.get_or("servers", Vec::new(), |v| {
        if v.items().len() > RESOLVERS_MAX {
            return Err(v.error(format!("has more than {RESOLVERS_MAX} items")));
        }
        Ok(v.list(|item| item.socket_address(Some(RESOLVER_PORT))))
    });
    let asked = section.get_or("peer-names", true, Value::flag);
    let peer_names = if asked { PeerNames::Asked } else { PeerNames::Unasked };
    Resolver { servers, peer_names, dnssec: dnssec(section) }
}

fn dnssec(section: &Section<'_>) -> Dnssec {
    let validated = section.get("dnssec", Value::flag);
    let trust_anchor = section.get("trust-anchor", Value::path);
    if validated == Some(true) {
        return Dnssec::Validated { trust_anchor };
    }
    let off = validated == Some(false) || section.lacks("dnssec");
    if let Some(unused) = section.value("trust-anchor").filter(|_| off) {
        section.reader.error(
            Problem::at(unused.span(), "`trust-anchor` means nothing where no signature is looked at")
                .label("not used")
                .help("add dnssec = true to [resolver], or take this line away"),
        );
    }
    Dnssec::Unchecked
}

pub(in crate::config) fn log(section: &Section<'_>) -> Log {
    let base = Log::default();
    Log {
        format: section
            .get_or("format", base.format, |v| v.one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)])),
        level: section.get_or("level", base.level, level),
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// A level for everything, or a comma-separated list of `part=level`.
fn level(value: &Value<'_>) -> Result<String, Problem> {
    let help = format!(
        "choose from {}; single parts may differ: \"info,wasmilter::upstream=debug\"",
        LEVELS.map(|level| format!("\"{level}\"")).join(", ")
    );
    value.parsed("a level", &help, |text| {
        for directive in text.split(',') {
            let (part, level) = match directive.split_once('=') {
                Some((part, level)) => (part, level),
                None => ("wasmilter", directive),
            };
            if !LEVELS.contains(&level) {
                return Err(match suggest::nearest(level, LEVELS) {
                    Some(near) => format!("has the level `{level}`; did you mean `{near}`?"),
                    None => format!("has the level `{level}`, which there is not"),
                });
            }
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':') {
                return Err("has a part that is not a module of the program".to_owned());
            }
        }
        Ok(text.to_owned())
    })
}

/// Nothing listens unless the section is there.
pub(in crate::config) fn admin(section: &Section<'_>) -> Option<Admin> {
    if !section.present() {
        return None;
    }
    let address = match section.value("address") {
        Some(_) => Some(section.get("address", |v| v.socket_address(None))?),
        None if section.lacks("socket") => Some(ADMIN_ADDRESS.parse().ok()?),
        None => None,
    };
    if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        section.reader.warn(
            Problem::at(
                section.reader.place("admin.address"),
                "metrics and health are shown to everybody who can connect",
            )
            .label("not a loopback address")
            .help(format!("write \"{ADMIN_ADDRESS}\", or keep others away with a firewall")),
        );
    }
    Some(Admin { address, socket: admin_socket(section) })
}

fn admin_socket(section: &Section<'_>) -> Option<AdminSocket> {
    let mode = section.get_or("socket-mode", SOCKET_MODE, |v| v.parsed("a mode", SOCKET_MODE_HELP, permissions));
    let group = section.get("socket-group", |v| v.parsed("a group", SOCKET_GROUP_HELP, group));
    if section.lacks("socket") {
        for key in ["socket-mode", "socket-group"] {
            let Some(unused) = section.value(key) else { continue };
            section.reader.error(
                Problem::at(unused.span(), format!("`{key}` is about a socket, and [admin] has none"))
                    .label("not used")
                    .help(format!("add socket = \"{ADMIN_SOCKET}\", or take this line away")),
            );
        }
    }
    if mode & 0o002 != 0
        && let Some(value) = section.value("socket-mode")
    {
        section.reader.warn(
            Problem::at(value.span(), "everybody on this machine may give the gateway orders")
                .label("others may write")
                .help("write \"0660\", and let `socket-group` name those who may"),
        );
    }
    let path = section.get("socket", |v| {
        let path = v.path()?;
        let named = path.file_name().is_some() && !v.text()?.ends_with('/');
        if !named {
            return Err(v
                .error("is not the path of a socket")
                .help(format!("write the whole path: \"{ADMIN_SOCKET}\"")));
        }
        if path.as_os_str().len() > SOCKET_PATH_OCTETS_MAX {
            let why = format!("is a longer path than a socket can have ({SOCKET_PATH_OCTETS_MAX} octets)");
            return Err(v.error(why).help(format!("write a shorter one, such as \"{ADMIN_SOCKET}\"")));
        }
        Ok(path)
    })?;
    Some(AdminSocket { path, mode, group })
}

/// The lower nine bits, in octal.
fn permissions(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|_| octal).ok_or_else(|| "is not a mode of a socket".to_owned())
}

fn group(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let named = (1..=GROUP_OCTETS_MAX).contains(&text.len()) && text.bytes().all(plain);
    if named { Ok(text.to_owned()) } else { Err("is not the name of a group".to_owned()) }
}

pub(in crate::config) fn shutdown(section: &Section<'_>) -> Shutdown {
    let base = Shutdown::default();
    Shutdown {
        drain: section.get_or("drain", base.drain, |v| v.duration(DRAIN)),
        final_reply: section.get_or("final-reply", base.final_reply, |v| v.duration(DRAIN)),
    }
}
