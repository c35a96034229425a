//! `[upstream]` and `[[upstream]]`: the mail servers behind the gateway.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::behind::{
    Connect, Identify, Pool, ProxyVersion, Server, Servers, UPSTREAM_DEFAULT, Upstream, UpstreamProtocol,
};
use crate::config::parse::too_many;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{check, names, schema};

use super::trust;

const IDENTIFY_CHOICES: &[(&str, Identify)] = &[
    ("xclient", Identify::Xclient),
    ("xforward", Identify::Xforward),
    ("auto", Identify::Auto),
    ("none", Identify::None),
];

const CONNECT_CHOICES: &[(&str, Connect)] =
    &[("eager", Connect::Eager), ("lazy", Connect::Lazy), ("deferred", Connect::Deferred)];

const PROTOCOL_CHOICES: &[(&str, UpstreamProtocol)] =
    &[("smtp", UpstreamProtocol::Smtp), ("lmtp", UpstreamProtocol::Lmtp)];

const PROXY_CHOICES: &[(&str, Option<ProxyVersion>)] =
    &[("off", None), ("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))];

/// An EHLO answer older than this says little about today's upstream.
const EXTENSIONS_TTL_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Where it is not asked at each EHLO.
const EXTENSIONS_TTL: Duration = Duration::from_secs(60);
/// A mailbox that was there yesterday may be gone.
const KEEP_ANSWERS_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Servers of one upstream; more than this is a generated file gone wrong.
const SERVERS_MAX: usize = 64;
/// More connections than any mail server takes from one client.
const CONNECTIONS_MAX: u32 = 100_000;
/// Idle connections hold a process of the upstream each, for nothing.
const IDLE_CONNECTIONS_MAX: u32 = 1_000;
/// Longer than this, mail servers hang up by themselves (Postfix: smtpd_timeout, 300 s).
const IDLE_TIME_MAX: Duration = Duration::from_secs(240);
/// More often than this is an attack, less often is of no help.
const HEALTH_CHECK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
const TRANSACTIONS_MAX: u32 = 1_000_000;

const ADDRESS_HELP: &str = "write a host and a port: \"127.0.0.1:10025\", \"mail.internal:25\", \"[2001:db8::25]:25\"";
const SERVICE_HELP: &str = "write the name of the SRV records: \"srv:_smtp._tcp.example.org\"";
const SERVICE_PREFIX: &str = "srv:";

/// All upstreams; `None` only where an error was noted.
pub(in crate::config) fn read_all(top: &Section<'_>) -> Option<Vec<Upstream>> {
    let sections = top.one_or_more("upstream", &schema::UPSTREAM);
    too_many(top, "upstream", sections.len());
    if top.lacks("upstream") {
        top.reader.error(
            Problem::at(0..0, "there is no `[upstream]`: the gateway delivers nothing itself")
                .help("add [upstream] with address = \"127.0.0.1:10025\", where your mail server listens"),
        );
    }
    let read: Vec<Option<Upstream>> = sections.iter().map(read).collect();
    let upstreams: Vec<Upstream> = read.into_iter().collect::<Option<_>>().filter(|all: &Vec<_>| !all.is_empty())?;
    let paths = upstreams.iter().enumerate().map(|(place, one)| (one.name.as_str(), format!("upstream.{place}.name")));
    check::unique("upstream", paths, top.reader);
    if upstreams.iter().all(|upstream| upstream.name != UPSTREAM_DEFAULT) {
        top.reader.error(
            Problem::at(top.reader.place("upstream.0.name"), "no upstream is for the mail that no route takes")
                .label("has a name of its own")
                .help("leave the name of one upstream away, or call it \"default\""),
        );
    }
    Some(upstreams)
}

fn read(section: &Section<'_>) -> Option<Upstream> {
    let name =
        section.get_or("name", UPSTREAM_DEFAULT.to_owned(), |v| v.parsed("a name", names::NAME_HELP, names::name));
    let servers = section.required("address", "address = \"127.0.0.1:10025\"", servers).flatten();
    let connect = section.get_or("connect", Connect::Eager, |v| v.one_of(CONNECT_CHOICES));
    let protocol = section.get_or("protocol", UpstreamProtocol::Smtp, |v| v.one_of(PROTOCOL_CHOICES));
    let proxy_protocol = section.get_or("proxy-protocol", None, |v| v.one_of(PROXY_CHOICES));
    let identify = identify(section, protocol, proxy_protocol);
    // Who may not hear of a client at its EHLO cannot be asked there.
    let ttl = if connect == Connect::Eager { Duration::ZERO } else { EXTENSIONS_TTL };
    let extensions_ttl = section.get_or("extensions-ttl", ttl, |v| v.duration(Duration::ZERO..=EXTENSIONS_TTL_MAX));
    let keep_answers =
        section.get_or("keep-answers", None, |v| v.or_off(|v| v.duration(Duration::from_secs(1)..=KEEP_ANSWERS_MAX)));
    let tls = trust::tls(section, servers.as_ref());
    let certificate = trust::certificate(section, tls.as_ref());
    let login = trust::login(section, servers.as_ref(), tls.as_ref());
    let pool = pool(section);
    let health_check = section.get_or("health-check", None, |v| v.or_off(|v| v.duration(HEALTH_CHECK)));
    Some(Upstream {
        name,
        servers: servers?,
        protocol,
        connect,
        identify,
        proxy_protocol,
        tls: tls?,
        certificate,
        login,
        extensions_ttl,
        keep_answers,
        pool,
        health_check,
    })
}

/// A server that delivers to its own users relays for nobody, and one that was told by the PROXY protocol asks the
/// client's address whether it may use XCLIENT.
fn identify(section: &Section<'_>, protocol: UpstreamProtocol, proxy: Option<ProxyVersion>) -> Identify {
    let plain = protocol == UpstreamProtocol::Smtp && proxy.is_none();
    let default = if plain { Identify::Xclient } else { Identify::None };
    let identify = section.get_or("identify", default, |v| v.one_of(IDENTIFY_CHOICES));
    if proxy.is_some() && matches!(identify, Identify::Xclient | Identify::Auto) {
        section.reader.error(
            Problem::at(
                section.reader.place(&format!("{}.identify", section.path)),
                "XCLIENT and `proxy-protocol` tell the same thing, and the one keeps the other from being believed",
            )
            .label("not with `proxy-protocol`")
            .help("take one of the two away: the server judges clients by either")
            .help("only XCLIENT tells the server about logins"),
        );
    }
    identify
}

fn pool(section: &Section<'_>) -> Pool {
    let default = Pool::default();
    let connections =
        section.get_or("connections", default.connections, |v| v.or_off(|v| v.number(1..=CONNECTIONS_MAX)));
    let idle_connections =
        section.get_or("idle-connections", default.idle_connections, |v| v.number(0..=IDLE_CONNECTIONS_MAX));
    let idle_time =
        section.get_or("idle-time", default.idle_time, |v| v.duration(Duration::from_millis(100)..=IDLE_TIME_MAX));
    let transactions_per_connection =
        section.get_or("transactions-per-connection", default.transactions_per_connection, |v| {
            v.number(1..=TRANSACTIONS_MAX)
        });
    Pool { connections, idle_connections, idle_time, transactions_per_connection }
}

/// `None` where an error in the list was noted.
fn servers(value: &Value<'_>) -> Result<Option<Servers>, Problem> {
    if let DeValue::String(text) = value.node.get_ref()
        && text.starts_with(SERVICE_PREFIX)
    {
        return value.parsed("an address", SERVICE_HELP, service).map(|name| Some(Servers::Service(name)));
    }
    let items = value.items();
    if items.is_empty() || items.len() > SERVERS_MAX {
        return Err(value.error("has no address in it, or too many").help(ADDRESS_HELP));
    }
    let servers: Vec<Server> = value.list(server).into_iter().flatten().collect();
    Ok((!servers.is_empty()).then_some(Servers::Listed(servers)))
}

fn service(text: &str) -> Result<String, String> {
    let name = text.strip_prefix(SERVICE_PREFIX).unwrap_or(text);
    let mut labels = name.splitn(3, '.');
    let marked = |label: Option<&str>| label.is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    if !(marked(labels.next()) && marked(labels.next())) {
        return Err("does not begin with a service and a protocol".to_owned());
    }
    let domain = names::domain(labels.next().unwrap_or_default(), false)?;
    let start = name.len() - name.splitn(3, '.').nth(2).unwrap_or_default().len();
    Ok(format!("{}{domain}", name.get(..start).unwrap_or_default().to_lowercase()))
}

fn server(item: &Value<'_>) -> Result<Option<Server>, Problem> {
    let parsed = |value: &Value<'_>| value.parsed("a host and a port", ADDRESS_HELP, names::host_and_port);
    if !item.node.get_ref().is_table() {
        if let DeValue::String(text) = item.node.get_ref()
            && text.starts_with(SERVICE_PREFIX)
        {
            return Err(item.error("stands for the whole list, not for one server").help(SERVICE_HELP));
        }
        let (host, port) = parsed(item)?;
        return Ok(Some(Server { host, port, priority: 0, weight: 1 }));
    }
    let section = Section::of(item, &schema::SERVER)?;
    let address = section.required("address", "address = \"127.0.0.1:10025\"", |v| parsed(v));
    let any = 0..=u32::from(u16::MAX);
    let priority = section.get_or("priority", 0, |v| v.number(any.clone()));
    let weight = section.get_or("weight", 1, |v| v.number(1..=u32::from(u16::MAX)));
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Ok(address.map(|(host, port)| Server { host, port, priority: small(priority), weight: small(weight) }))
}
