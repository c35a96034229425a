//! `[[listener]]` and `[tls]`.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::config::access::SenderLogin;
use crate::config::edge::TlsVersion;
use crate::config::names;
use crate::config::problem::Problem;
use crate::config::schema;
use crate::config::section::Section;
use crate::config::suggest;
use crate::config::value::Value;
use crate::config::{HeloCheck, Listener, ListenerAuth, ListenerTls, Protocol, TableKind, Vrfy};
use crate::smtp::replies;

use super::edge;
use super::relay::trusted_networks;
use super::table::TableNames;

const TLS_CHOICES: &[(&str, ListenerTls)] =
    &[("off", ListenerTls::Off), ("starttls", ListenerTls::StartTls), ("implicit", ListenerTls::Implicit)];

const PROTOCOL_CHOICES: &[(&str, Protocol)] = &[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];

/// RFC 2033 5: nobody may take this for an SMTP server.
const SMTP_PORT: u16 = 25;

const AUTH_CHOICES: &[(&str, ListenerAuth)] =
    &[("off", ListenerAuth::Off), ("optional", ListenerAuth::Optional), ("required", ListenerAuth::Required)];

const HELO_CHOICES: &[(&str, HeloCheck)] =
    &[("syntax", HeloCheck::Syntax), ("fqdn", HeloCheck::Fqdn), ("not-ours", HeloCheck::NotOurs)];

const VRFY_CHOICES: &[(&str, Vrfy)] = &[("neutral", Vrfy::Neutral), ("off", Vrfy::Off)];

/// With its code, one line of RFC 5321 4.5.3.1.5.
const HELP_BYTES_MAX: usize = 400;

const HELO_AT_SUBMISSION: &str = "mail programs call themselves whatever they like in HELO";

/// Several addresses of one listener share its settings, not its name; more than this is a generated file gone wrong.
const ADDRESSES_MAX: usize = 64;

const ADDRESS_HELP: &str = "write an IP address and a port, \"0.0.0.0:25\" or \"[::]:25\", or a list of them; \"systemd\" takes the \
                            socket that systemd passes under this listener's name";

/// `tls_given`: there is a `[tls]` section with this lowest version, so STARTTLS is what a listener does unless it says
/// otherwise. `trusted`: the networks of `[relay]`.
pub(in crate::config) fn read(
    section: &Section<'_>,
    tls_given: Option<TlsVersion>,
    filter_names: &[String],
    tables: &TableNames,
    trusted: &[IpNet],
) -> Option<Listener> {
    let name = section.required("name", "name = \"mx\"", |v| v.parsed("a name", names::NAME_HELP, names::name));
    let addresses = section.required("address", "address = \"0.0.0.0:25\"", addresses);
    let protocol = section.get_or("protocol", Protocol::Smtp, |v| v.one_of(PROTOCOL_CHOICES));
    let at_smtp_port = addresses.iter().flatten().any(|address| address.port() == SMTP_PORT);
    if protocol == Protocol::Lmtp && at_smtp_port {
        section.reader.error(
            Problem::at(section.reader.place(&format!("{}.protocol", section.path)), "LMTP is not spoken on port 25")
                .label("mail servers that connect there speak SMTP")
                .help("choose another port, 24 for instance (RFC 2033 section 5)"),
        );
    }
    let default_tls = if tls_given.is_some() { ListenerTls::StartTls } else { ListenerTls::Off };
    let tls = section.get_or("tls", default_tls, |v| v.one_of(TLS_CHOICES));
    let auth = section.get_or("auth", ListenerAuth::Off, |v| v.one_of(AUTH_CHOICES));
    let require_tls = section.get_or("require-tls", auth == ListenerAuth::Required, Value::flag);
    let handshakes = edge::handshakes(section, tls, require_tls, tls_given.unwrap_or_default());
    let trust = edge::trust(section);
    let filters = section.get("filters", |v| Ok(filters(v, filter_names))).unwrap_or_else(|| filter_names.to_vec());
    let helo_checks = section.get("helo-checks", |v| Ok(v.list(|item| item.one_of(HELO_CHOICES)))).unwrap_or_default();
    let vrfy = section.get_or("vrfy", Vrfy::Neutral, |v| v.one_of(VRFY_CHOICES));
    let help = section.get("help", help).unwrap_or_else(|| Some(replies::HELP_TEXT.to_owned()));
    let strict_addresses = section.get_or("strict-addresses", false, Value::flag);
    let trusted_networks = trusted_networks(section).unwrap_or_else(|| trusted.to_vec());
    let after_login = section.get_or("after-login", false, Value::flag);
    let sender_login = sender_login(section, tables);
    if sender_login.is_some() && auth == ListenerAuth::Off && trust.xclient.is_empty() {
        section.reader.error(
            Problem::at(section.reader.place(&format!("{}.sender-login", section.path)), "nobody can log in here")
                .label("never asked")
                .help("write auth = \"optional\" or \"required\" for this listener, or take this away"),
        );
    }
    if !helo_checks.is_empty() && auth != ListenerAuth::Off {
        section.reader.warn(
            Problem::at(section.reader.place(&format!("{}.helo-checks", section.path)), HELO_AT_SUBMISSION)
                .label("before anybody can log in")
                .help("leave it out where people log in; their passwords say more than their names"),
        );
    }
    Some(Listener {
        name: name?,
        addresses: addresses?,
        protocol,
        tls,
        auth,
        require_tls,
        handshakes,
        trust,
        filters,
        helo_checks,
        vrfy,
        help,
        sender_login,
        trusted_networks,
        after_login,
        strict_addresses,
    })
}

fn sender_login(section: &Section<'_>, tables: &TableNames) -> Option<SenderLogin> {
    section.value("sender-login")?;
    let section = section.section("sender-login", &schema::SENDER_LOGIN);
    let map = section.get("map", |v| tables.one_of(v, &[TableKind::Exact, TableKind::Domain, TableKind::Regex]));
    Some(SenderLogin {
        map,
        domains: section.get_or("domains", false, Value::flag),
        plus_addressing: section.get_or("plus-addressing", true, Value::flag),
        would: section.get_or("would", false, Value::flag),
    })
}

fn addresses(value: &Value<'_>) -> Result<Vec<SocketAddr>, Problem> {
    if matches!(value.text(), Ok(text) if text == "systemd") {
        return Ok(Vec::new());
    }
    let items = value.items();
    if items.is_empty() || items.len() > ADDRESSES_MAX {
        return Err(value.error("has no address in it, or too many").help(ADDRESS_HELP));
    }
    Ok(value.list(|item| {
        item.parsed("an address", ADDRESS_HELP, |text| {
            text.parse().map_err(|_| match text {
                "systemd" => "stands for the whole list, not for one address".to_owned(),
                _ if text.parse::<std::net::IpAddr>().is_ok() => "has no port".to_owned(),
                _ if text.starts_with(':') || text.starts_with("*:") => {
                    "does not say on which address to listen".to_owned()
                }
                _ => "is not an IP address with a port".to_owned(),
            })
        })
    }))
}

fn help(value: &Value<'_>) -> Result<Option<String>, Problem> {
    if value.is_off() {
        return Ok(None);
    }
    value.parsed("a sentence", "one line of printable ASCII, or \"off\"", |text| {
        let fits = (1..=HELP_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if fits { Ok(Some(text.to_owned())) } else { Err("is not a line that a reply can have".to_owned()) }
    })
}

fn filters(value: &Value<'_>, known: &[String]) -> Vec<String> {
    let named = value.list(|item| {
        let name = item.text()?;
        if known.contains(&name) {
            return Ok(name);
        }
        let problem = item.error("is not the name of a `[[filter]]`");
        Err(match suggest::nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None if known.is_empty() => problem.help("there is no [[filter]] in this file"),
            None => problem.help(format!("the filters of this file are: {}", known.join(", "))),
        })
    });
    // In the order of the file, whatever order they are listed in: the order of filters is a property of the chain.
    known.iter().filter(|name| named.contains(name)).cloned().collect()
}
