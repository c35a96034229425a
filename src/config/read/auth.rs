//! `[auth]` and `[[auth.backend]]`.

use super::backend;
use crate::config::auth::{Auth, AuthBackend, AuthBackendKind};
use crate::config::behind::Upstream;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{check, schema};
use crate::smtp::sasl::{Mechanism, Mechanisms, Name, Way};

/// Computing more password hashes at once than this only trades memory (19 MiB each) for nothing.
const HASHING_CONCURRENT_MAX: u32 = 64;
const HASHING_CONCURRENT_DEFAULT: usize = 2;
/// About 200 octets each.
const CACHE_ENTRIES_MAX: u32 = 10_000_000;
const CACHE_ENTRIES_DEFAULT: usize = 10_000;
/// Each may be asked at every login; more than this is a generated file gone wrong.
const BACKENDS_MAX: usize = 32;
/// What the short form is called.
const SHORT_FORM: &str = "password-file";

/// `upstreams` is missing where those could not be read.
pub(in crate::config) fn read(section: &Section<'_>, upstreams: Option<&[Upstream]>) -> Option<Auth> {
    if !section.present() {
        return None;
    }
    let sections = section.sections("backend", &schema::AUTH_BACKEND);
    if sections.len() > BACKENDS_MAX {
        let place = section.reader.place("auth.backend");
        section.reader.error(Problem::at(place, format!("there can be {BACKENDS_MAX} backends at most")));
    }
    let short = if section.value("backend").is_some() {
        section.get("password-file", Value::path)
    } else {
        section.required("password-file", "password-file = \"/etc/wasmilter/passwd\"", Value::path)
    };
    let mut backends: Vec<AuthBackend> = short
        .map(|path| AuthBackend { name: SHORT_FORM.to_owned(), cache: None, kind: AuthBackendKind::File { path } })
        .into_iter()
        .collect();
    let before = backends.len();
    backends.extend(sections.iter().filter_map(|section| backend::read(section, upstreams)));
    let named = backends.iter().enumerate().map(|(place, backend)| {
        let path = match place.checked_sub(before) {
            Some(place) => format!("auth.backend.{place}.name"),
            None => "auth.password-file".to_owned(),
        };
        (backend.name.as_str(), path)
    });
    check::unique("backend", named, section.reader);
    let mechanisms = section.get("mechanisms", |v| mechanisms(v, &backends));
    let hashing_concurrent_max = section.get_or("hashing-concurrent", HASHING_CONCURRENT_DEFAULT, |v| {
        Ok(v.number(1..=HASHING_CONCURRENT_MAX)? as usize)
    });
    let cache_entries_max =
        section.get_or("cache-entries", CACHE_ENTRIES_DEFAULT, |v| Ok(v.number(1..=CACHE_ENTRIES_MAX)? as usize));
    (!backends.is_empty()).then_some(Auth { backends, mechanisms, hashing_concurrent_max, cache_entries_max })
}

/// Each must be one that somebody can serve: what is offered and never works is worse than what is not offered.
fn mechanisms(value: &Value<'_>, backends: &[AuthBackend]) -> Result<Vec<Name>, Problem> {
    let all = Mechanism::ALL.iter().map(|known| format!("\"{}\"", known.name())).collect::<Vec<_>>().join(", ");
    let served = backends.iter().fold(Mechanisms::NONE, |all, backend| all.or(backend.kind.could_serve()));
    if value.items().is_empty() {
        return Err(value
            .error("is empty, so nobody could log in")
            .help("leave it out, or write auth = \"off\" for the listeners"));
    }
    let help = format!("choose from {all}; backends of the kinds \"dovecot\" and \"upstream\" may have others");
    let known_here = |name: Name| Mechanism::parse(name.as_str()).is_some();
    let relayed = |name: Name| backends.iter().any(|backend| backend.kind.could_relay(name));
    Ok(value.list(|item| {
        let name = item.parsed("the name of a mechanism", &help, |text| {
            let name = Name::parse(text).filter(|name| known_here(*name) || relayed(*name));
            name.ok_or_else(|| "is not a mechanism that there is here".to_owned())
        })?;
        let can = backends.iter().map(|backend| (backend.kind.could_serve(), backend.kind.could_relay(name)));
        if backends.is_empty() || Way::of(name, can).is_some() {
            return Ok(name);
        }
        Err(item
            .error("is something that no backend can serve")
            .help(format!("those of this file can serve {served}; by a client's certificate, EXTERNAL")))
    }))
}
