//! One `[[auth.backend]]`: which keys each kind has, and what they say.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{WAIT_MIN, directory, oauth, route};
use crate::config::auth::{AuthBackend, AuthBackendKind, AuthRemote, AuthService};
use crate::config::behind::{UPSTREAM_DEFAULT, Upstream, UpstreamTls};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{Password, Url, names};

/// A password that was changed is good for so long; more would be a back door.
const CACHE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// Clients wait no longer for an answer to AUTH.
const TIMEOUT: RangeInclusive<Duration> = WAIT_MIN..=Duration::from_mins(1);
const CONCURRENT_MAX: u32 = 10_000;
/// Octets of a word that a service is told.
const WORD_BYTES_MAX: usize = 255;
const SERVICE_DEFAULT: &str = "smtp";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dovecot,
    Saslauthd,
    Http,
    Ldap,
    Oauth,
    Upstream,
}

const KINDS: &[(&str, Kind)] = &[
    ("file", Kind::File),
    ("dovecot", Kind::Dovecot),
    ("http", Kind::Http),
    ("ldap", Kind::Ldap),
    ("oauth", Kind::Oauth),
    ("saslauthd", Kind::Saslauthd),
    ("upstream", Kind::Upstream),
];

impl Kind {
    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Timeout, and questions at once. Dovecot lets those who guessed wrong wait for up to 17 seconds, which costs
    /// nothing but a place; for the others a question is a connection.
    fn bounds(self) -> (Duration, usize) {
        match self {
            Kind::Dovecot => (Duration::from_secs(30), 1_000),
            // Who asks Dovecot, perhaps.
            Kind::Upstream => (Duration::from_secs(30), 50),
            Kind::File | Kind::Saslauthd | Kind::Http | Kind::Ldap | Kind::Oauth => (Duration::from_secs(10), 50),
        }
    }

    /// Those that not every kind has.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::File => &["path"],
            Kind::Dovecot => &["timeout", "concurrent", "socket"],
            Kind::Http => &["timeout", "concurrent", "url", "ca", "headers"],
            Kind::Ldap => &["timeout", "concurrent", "url", "starttls", "ca", "bind-dn", "search"],
            Kind::Oauth => &[
                "timeout",
                "concurrent",
                "issuer",
                "audience",
                "scope",
                "identity",
                "trust-email",
                "domains",
                "ca",
                "jwks",
                "algorithms",
                "introspection",
                "client-id",
                "client-secret-file",
            ],
            Kind::Upstream => &["timeout", "concurrent", "upstream"],
            Kind::Saslauthd => &["timeout", "concurrent", "socket", "service", "realm"],
        }
    }
}

/// `upstreams` is missing where those could not be read.
pub(super) fn read(section: &Section<'_>, upstreams: Option<&[Upstream]>) -> Option<AuthBackend> {
    let name = section.required("name", "name = \"staff\"", |v| v.parsed("a name", names::NAME_HELP, names::name));
    let cache = section.get_or("cache", None, |v| if v.is_off() { Ok(None) } else { v.duration(CACHE).map(Some) });
    let kind = section.required("kind", "kind = \"file\"", |v| v.one_of(KINDS))?;
    foreign_keys(section, kind);
    let (timeout, concurrent_max) = kind.bounds();
    let timeout = section.get_or("timeout", timeout, |v| v.duration(TIMEOUT));
    let concurrent_max = section.get_or("concurrent", concurrent_max, |v| Ok(v.number(1..=CONCURRENT_MAX)? as usize));
    let service = match kind {
        Kind::File => {
            let path = section.required("path", "path = \"/etc/wasmilter/passwd\"", Value::path)?;
            return Some(AuthBackend { name: name?, cache, kind: AuthBackendKind::File { path } });
        }
        Kind::Dovecot => {
            let socket = section.required("socket", "socket = \"/run/dovecot/auth-wasmilter\"", Value::path);
            socket.map(|socket| AuthService::Dovecot { socket })
        }
        Kind::Saslauthd => saslauthd(section),
        Kind::Http => http(section),
        Kind::Ldap => directory::read(section),
        Kind::Oauth => oauth::read(section),
        Kind::Upstream => upstream(section, upstreams),
    };
    let remote = AuthRemote { timeout, concurrent_max, service: service? };
    Some(AuthBackend { name: name?, cache, kind: AuthBackendKind::Remote(remote) })
}

fn upstream(section: &Section<'_>, upstreams: Option<&[Upstream]>) -> Option<AuthService> {
    let all = upstreams?;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    let named = |v: &Value<'_>| route::known(v, "[[upstream]]", &names);
    let upstream = match section.value("upstream") {
        Some(_) => section.get("upstream", named)?,
        None => UPSTREAM_DEFAULT.to_owned(),
    };
    let settings = all.iter().find(|one| one.name == upstream)?;
    if !matches!(settings.tls, UpstreamTls::Verify { .. }) && !settings.servers.are_near() {
        let place = section.value("upstream").or_else(|| section.value("kind")).map_or(section.span(), |v| v.span());
        let title = format!("passwords would be said to whoever answers at the address of the upstream \"{upstream}\"");
        let problem = Problem::at(place, title).label("AUTH without TLS that is verified");
        section.reader.error(problem.help("add tls = \"verify\" to the upstream"));
    }
    Some(AuthService::Upstream { upstream })
}

fn saslauthd(section: &Section<'_>) -> Option<AuthService> {
    let socket = section.required("socket", "socket = \"/run/saslauthd/mux\"", Value::path);
    let service = section.get_or("service", SERVICE_DEFAULT.to_owned(), word);
    let realm = section.get_or("realm", String::new(), word);
    Some(AuthService::Saslauthd { socket: socket?, service, realm })
}

fn http(section: &Section<'_>) -> Option<AuthService> {
    let help = "write an address of the web: \"https://auth.example.org/smtp\"";
    let url = section.required("url", "url = \"https://auth.example.org/smtp\"", |v| {
        let url = v.parsed("an address", help, |text| Url::parse(text).map_err(str::to_owned))?;
        if url.is_kept_private() { Ok(url) } else { Err(in_clear(v, "https://")) }
    });
    let headers = section.get_or("headers", Vec::new(), |v| Ok(v.list(header)));
    Some(AuthService::Http { url: url?, ca: section.get("ca", Value::path), headers })
}

/// What is wrong with it is said without showing it.
fn header(value: &Value<'_>) -> Result<(String, Password), Problem> {
    let text = value.text()?;
    let token = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match text.split_once(": ") {
        Some((name, said)) if token(name) && text.len() <= WORD_BYTES_MAX && !text.contains(char::is_control) => {
            Ok((name.to_owned(), Password::new(said.to_owned())))
        }
        _ => Err(Problem::at(value.span(), "this is no header field")
            .label("`headers`")
            .help(format!("write \"Name: value\", at most {WORD_BYTES_MAX} octets"))),
    }
}

pub(super) fn in_clear(value: &Value<'_>, better: &str) -> Problem {
    value.error("would send passwords in clear to another machine").help(format!("begin it with {better}"))
}

/// Keys that are there and mean nothing for a backend of this kind.
fn foreign_keys(section: &Section<'_>, kind: Kind) {
    let mut foreign: Vec<&'static str> = KINDS.iter().flat_map(|(_, other)| other.keys()).copied().collect();
    foreign.sort_unstable();
    foreign.dedup();
    for key in foreign.into_iter().filter(|key| !kind.keys().contains(key)) {
        let Some(value) = section.value(key) else { continue };
        let title = format!("a backend of kind \"{}\" has no `{key}`", kind.name());
        let help = format!("take it away; it has name, kind, cache, {}", kind.keys().join(", "));
        section.reader.error(Problem::at(value.head(), title).label("not used").help(help));
    }
}

fn word(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    if text.is_empty() || text.len() > WORD_BYTES_MAX || text.contains(char::is_control) {
        return Err(value.error(format!("is not a word of 1 to {WORD_BYTES_MAX} octets")));
    }
    Ok(text)
}
