//! `[state]`, as far as it is about what several gateways hold in common.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::{Problem, Span};
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{RedisServer, SharedState, names, url};

/// It is waited for at every step of a message, once for each outage.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(2);
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(100);
const SERVERS_MAX: usize = 64;
const DATABASES: RangeInclusive<u32> = 0..=65_535;
const PREFIX_BYTES_MAX: usize = 64;
const PREFIX_DEFAULT: &str = "wasmilter";
const USER_BYTES_MAX: usize = 255;
const PORT: u16 = 6_379;

const URL_HELP: &str = "write \"redis://host:6379\", or \"rediss://host:6379\" for TLS; who logs in, and to which database, \
                        say `user`, `password-file` and `database`";
const SHARED: [(&str, Kept); 2] = [("limits", Kept::Limits), ("kv", Kept::Kv)];
/// Keys that mean nothing without a server.
const ABOUT_SERVERS: [&str; 8] = ["cluster", "user", "password-file", "database", "ca", "prefix", "timeout", "share"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Limits,
    Kv,
}

pub(super) fn read(section: &Section<'_>, in_redis: &[Span]) -> Option<SharedState> {
    if section.lacks("redis") {
        for value in ABOUT_SERVERS.iter().filter_map(|key| section.value(key)) {
            let problem = Problem::at(value.head(), "this is about a server, and there is none").label("not used");
            section.reader.error(problem.help("add redis = [\"redis://127.0.0.1:6379\"] to [state], or take it away"));
        }
        for span in in_redis {
            let problem = Problem::at(span.clone(), "the table is in Redis, and there is none").label("nobody to ask");
            section.reader.error(problem.help("add redis = [\"redis://127.0.0.1:6379\"] to [state]"));
        }
        return None;
    }
    let servers = section.get("redis", servers);
    let tls = servers.as_ref().is_some_and(|(tls, _)| *tls);
    let cluster = section.get_or("cluster", false, Value::flag);
    let (user, password_file) = login(section);
    let database = section.get_or("database", 0, |v| v.number(DATABASES));
    if let Some(value) = section.value("database").filter(|_| cluster && database != 0) {
        let problem = Problem::at(value.span(), "a cluster has one database, and that is 0").label("not there");
        section.reader.error(problem.help("take it away, and tell its gateways apart from others by `prefix`"));
    }
    let ca = section.get("ca", Value::path);
    if let Some(value) = section.value("ca").filter(|_| !tls && servers.is_some()) {
        let problem = Problem::at(value.span(), "no certificate is looked at where there is no TLS").label("not used");
        section.reader.error(problem.help("begin the addresses with rediss://, or take this away"));
    }
    let prefix = section.get_or("prefix", PREFIX_DEFAULT.to_owned(), prefix);
    let timeout = section.get_or("timeout", TIMEOUT_DEFAULT, |v| v.duration(TIMEOUT));
    let kept = section.get_or("share", vec![Kept::Limits, Kept::Kv], |v| match v.items().len() {
        // Tables are asked for whatever is shared.
        0 if in_redis.is_empty() => {
            Err(v.error("shares nothing").help("choose from \"limits\", \"kv\", or take `redis` away"))
        }
        _ => Ok(v.list(|item| item.one_of(&SHARED))),
    });
    let (tls, servers) = servers?;
    let in_clear = password_file.is_some() && !tls && servers.iter().any(|server| !url::is_near(&server.host));
    if let Some(value) = section.value("redis").filter(|_| in_clear) {
        let problem = Problem::at(value.span(), "the password goes to another machine in clear").label("no TLS");
        section.reader.warn(problem.help("begin the addresses with rediss://"));
    }
    Some(SharedState {
        servers,
        tls,
        ca,
        cluster,
        user,
        password_file,
        database,
        prefix,
        timeout,
        limits: kept.contains(&Kept::Limits),
        kv: kept.contains(&Kept::Kv),
    })
}

/// Whether they are spoken to by TLS, and which they are.
fn servers(value: &Value<'_>) -> Result<(bool, Vec<RedisServer>), Problem> {
    let items = value.items();
    if items.is_empty() || items.len() > SERVERS_MAX {
        return Err(value.error(format!("has not between 1 and {SERVERS_MAX} addresses")).help(URL_HELP));
    }
    let read =
        value.list(|item| item.parsed("an address", URL_HELP, address).map_err(|problem| unshown(item, problem)));
    let tls = read.iter().any(|(tls, _)| *tls);
    if read.iter().any(|(other, _)| *other != tls) {
        return Err(value.error("has servers with TLS and servers without").help("one password goes to all of them"));
    }
    Ok((tls, read.into_iter().map(|(_, server)| server).collect()))
}

/// What is wrong with an address that may have a password in it is said without showing it.
fn unshown(item: &Value<'_>, problem: Problem) -> Problem {
    match item.text() {
        Ok(text) if text.contains('@') => {
            Problem::at(item.span(), "there is a login in an address").label("`redis`").help(URL_HELP)
        }
        _ => problem,
    }
}

fn address(text: &str) -> Result<(bool, RedisServer), String> {
    let (tls, rest) = match text.split_once("://") {
        Some(("redis", rest)) => (false, rest),
        Some(("rediss", rest)) => (true, rest),
        _ => return Err("does not begin with redis:// or rediss://".to_owned()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '@']) {
        return Err("has more in it than a host and a port".to_owned());
    }
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let whole = if has_port { rest.to_owned() } else { format!("{rest}:{PORT}") };
    let (host, port) = names::host_and_port(&whole)?;
    Ok((tls, RedisServer { host, port }))
}

/// The password stands in a file of its own: this one is read by more people than may know it.
fn login(section: &Section<'_>) -> (Option<String>, Option<PathBuf>) {
    let user = section.get("user", user);
    let file = section.get("password-file", Value::path);
    if let Some(value) = section.value("user").filter(|_| section.lacks("password-file")) {
        let problem = Problem::at(value.span(), "`user` is of no use without a password").label("alone");
        section.reader.error(problem.help("add password-file = \"…\""));
    }
    (user, file)
}

fn user(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    if (1..=USER_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) {
        return Ok(text);
    }
    Err(value.error(format!("is not a word of 1 to {USER_BYTES_MAX} octets")))
}

/// Braces decide in which part of a cluster a key lies.
fn prefix(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a word", "write letters, digits, `-`, `_`, `.` and `:`: prefix = \"mail\"", |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        match text.len() {
            1..=PREFIX_BYTES_MAX if text.bytes().all(fits) => Ok(text.to_owned()),
            1..=PREFIX_BYTES_MAX => Err("has a character that no prefix has".to_owned()),
            _ => Err(format!("has not between 1 and {PREFIX_BYTES_MAX} characters")),
        }
    })
}
