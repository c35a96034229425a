//! What `[[auth.backend]]` says of a directory.

use super::backend::in_clear;
use crate::config::auth::{AuthService, LdapAccounts, LdapFind, LdapTls};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{names, schema, url};

const PORT_LDAP: u16 = 389;
const PORT_LDAPS: u16 = 636;
/// Octets of a name of an entry, or of a filter.
const PATTERN_BYTES_MAX: usize = 4_096;

/// A directory that is searched for keys of a table.
pub(super) fn searched(section: &Section<'_>) -> Option<LdapAccounts> {
    let find = search(section);
    server(section, find)
}

pub(super) fn read(section: &Section<'_>) -> Option<AuthService> {
    let find = found(section);
    server(section, find).map(AuthService::Ldap)
}

/// Where it is, and how it is spoken to.
fn server(section: &Section<'_>, find: Option<LdapFind>) -> Option<LdapAccounts> {
    let url = section.required("url", "url = \"ldaps://ldap.example.org\"", |v| {
        let help = "write \"ldaps://host\" or \"ldap://host\", with :port where it is another one";
        v.parsed("the address of a directory", help, address)
    });
    let starttls = section.get_or("starttls", false, Value::flag);
    let (implicit, host, port) = url?;
    let tls = match (implicit, starttls) {
        (true, false) => LdapTls::Implicit,
        (false, true) => LdapTls::StartTls,
        (false, false) => LdapTls::Off,
        (true, true) => {
            let place = section.reader.place(&format!("{}.starttls", section.path));
            let problem = Problem::at(place, "ldaps:// is TLS from the first octet, and STARTTLS comes later");
            section.reader.error(problem.label("not both").help("take it away, or write ldap://"));
            LdapTls::Implicit
        }
    };
    if let Some(value) = section.value("url").filter(|_| tls == LdapTls::Off && !url::is_near(&host)) {
        section.reader.error(in_clear(&value, "ldaps://, or add starttls = true"));
    }
    Some(LdapAccounts { host, port, tls, ca: section.get("ca", Value::path), find: find? })
}

/// How a name becomes an entry.
fn found(section: &Section<'_>) -> Option<LdapFind> {
    let searches = section.value("search").is_some();
    if searches {
        if let Some(value) = section.value("bind-dn") {
            let problem =
                Problem::at(value.span(), "the entry is searched for, so nobody needs the pattern of its name");
            section.reader.error(problem.label("not used").help("take `bind-dn` or `search` away"));
        }
        search(&section.section("search", &schema::AUTH_SEARCH))
    } else {
        let example = "bind-dn = \"uid=%u,ou=people,dc=example,dc=org\"";
        section.required("bind-dn", example, named_pattern).map(LdapFind::Pattern)
    }
}

/// Whether it is ldaps, host and port.
fn address(text: &str) -> Result<(bool, String, u16), String> {
    let (implicit, rest) = match text.split_once("://") {
        Some(("ldap", rest)) => (false, rest),
        Some(("ldaps", rest)) => (true, rest),
        _ => return Err("does not begin with ldaps:// or ldap://".to_owned()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let port = if implicit { PORT_LDAPS } else { PORT_LDAP };
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let whole = if has_port { rest.to_owned() } else { format!("{rest}:{port}") };
    let (host, port) = names::host_and_port(&whole)?;
    Ok((implicit, host, port))
}

fn search(section: &Section<'_>) -> Option<LdapFind> {
    let base = section.required("base", "base = \"ou=people,dc=example,dc=org\"", text);
    let filter = section.required("filter", "filter = \"(mail=%u)\"", named_pattern);
    let dn = section.get("bind-dn", text);
    let file = section.get("password-file", Value::path);
    for (key, other) in [("bind-dn", "password-file"), ("password-file", "bind-dn")] {
        if let Some(value) = section.value(key).filter(|_| section.lacks(other)) {
            let problem = Problem::at(value.span(), format!("`{key}` is of no use without `{other}`"));
            section.reader.error(problem.label("alone").help(format!("add `{other}`")));
        }
    }
    Some(LdapFind::Search { base: base?, filter: filter?, searcher: dn.zip(file) })
}

fn text(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    if text.len() > PATTERN_BYTES_MAX || text.contains(char::is_control) {
        return Err(value.error("is too long, or has a control character"));
    }
    Ok(text)
}

/// Without the name in it everybody would be the same.
fn named_pattern(value: &Value<'_>) -> Result<String, Problem> {
    let pattern = text(value)?;
    let help = "%u is the name, %n what stands before its @, %d what stands behind it, %% a percent sign";
    let mut named = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '%' { characters.next() } else { None }) {
            ('%', Some('u' | 'n')) => named = true,
            ('%', Some('d' | '%')) => {}
            ('%', _) => return Err(value.error("has a % that stands for nothing").help(help)),
            _ => {}
        }
    }
    if named {
        Ok(pattern)
    } else {
        Err(value.error("has no name in it, so it would be the same for everybody").help(help))
    }
}
