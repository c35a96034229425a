//! From the text to the configuration: parse, read every section, then look at them together.

use ipnet::IpNet;
use toml::de::DeTable;

use super::access::AccessRule;
use super::behind::{Route, Upstream};
use super::delegation::PolicyService;
use super::edge::TlsVersion;
use super::limit::Limit;
use super::problem::{ConfigErrors, Problem, Span, Warning};
use super::read::table::TableNames;
use super::read::{
    access, auth, bounds, delegation, edge, filter, limit, listener, relay, route, service, state, table, upstream,
};
use super::reader::{Environment, Reader};
use super::section::Section;
use super::{Config, Filter, Limits, Listener, Table};
use super::{check, names, schema};

/// More listeners than this is a generated file gone wrong; the same for filters and tables.
const SECTIONS_MAX: usize = 1_000;

const HOSTNAME_HELP: &str = "write the name that the DNS knows this host by: hostname = \"mx.example.org\"";

/// A configuration from its text. `file` is the name to show in errors, and its folder is what relative paths are
/// relative to; `environment` answers for `${NAME}`.
///
/// # Errors
/// Everything that is wrong with it, as far as it can be told in one reading.
pub fn parse(text: &str, file: &str, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    parse_with_warnings(text, file, environment).map(|(config, _)| config)
}

/// Like [`parse`], with what is allowed but probably not meant.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_warnings(
    text: &str,
    file: &str,
    environment: Environment<'_>,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        return Err(ConfigErrors::new(file, text, syntax.iter().map(syntax_problem).collect()));
    }
    let reader = Reader::new(file, text, environment);
    let config = {
        let top = Section::open(&reader, String::new(), &schema::TOP, 0..0, document.get_ref());
        config(&top)
    };
    if let Some(config) = config.as_ref().filter(|_| !reader.failed()) {
        check::all(config, &reader);
    }
    let (problems, warnings) = reader.finish();
    match config {
        Some(config) if problems.is_empty() => Ok((config, Warning::all(file, text, warnings))),
        _ => Err(ConfigErrors::new(file, text, problems)),
    }
}

fn syntax_problem(error: &toml::de::Error) -> Problem {
    let title = format!("this is not TOML: {}", error.message().lines().collect::<Vec<_>>().join("; "));
    let problem = Problem::at(error.span().unwrap_or(0..0), title);
    if error.message().contains("duplicate") {
        return problem.help("a key and a [section] may stand there once; there may be several [[sections]] of a kind");
    }
    problem.help("texts, sizes, times and networks stand in quotes: address = \"127.0.0.1:10025\"")
}

/// `None` only where an error was noted.
fn config(top: &Section<'_>) -> Option<Config> {
    let hostname = hostname(top);
    let tls_section = top.section("tls", &schema::TLS);
    let tls = edge::tls(&tls_section);
    // A section with a mistake in it is a section.
    let tls_given = tls_section.present().then(|| tls.as_ref().map(|tls| tls.min_version).unwrap_or_default());
    let upstreams = upstream::read_all(top);
    let (tables, table_names, in_redis) = tables(top);
    let known_tables = table::names(&tables, &table_names);
    let relay_section = top.section("relay", &schema::RELAY);
    let relay = relay::read(&relay_section, &known_tables);
    let trusted = relay::trusted_networks(&relay_section).unwrap_or_default();
    let auth = auth::read(&top.section("auth", &schema::AUTH), upstreams.as_deref());
    let limits = bounds::limits(&top.section("limits", &schema::LIMITS), &Limits::default());
    let networks = bounds::networks(&top.sections("network", &schema::NETWORK), &limits);
    let (filters, filter_names) = filters(top, &known_tables, upstreams.as_deref());
    let listeners = listeners(top, tls_given, &filter_names, &known_tables, &trusted);
    let routes = routes(top, upstreams.as_deref(), listeners.as_deref());
    let hosts = listeners.as_deref();
    let access_shape = ("access", "access rule", &schema::ACCESS);
    let access =
        named(top, access_shape, hosts, |rule: &AccessRule| &rule.name, |s, l| access::read(s, l, &known_tables));
    let service_shape = ("policy-service", "policy-service", &schema::POLICY_SERVICE);
    let policy_services = named(top, service_shape, hosts, |one: &PolicyService| &one.name, delegation::read);
    let rates = bounds::rates(&top.section("rates", &schema::RATES));
    let limit_shape = ("limit", "limit", &schema::LIMIT);
    let rate_limits = named(top, limit_shape, hosts, |limit: &Limit| &limit.name, limit::read);
    let alarm_command = limit::alarm(&top.section("alarm", &schema::ALARM), &rate_limits);
    let state = state::read(&top.section("state", &schema::STATE), &in_redis);
    let timeouts = bounds::timeouts(&top.section("timeouts", &schema::TIMEOUTS));
    let engine = service::engine(&top.section("engine", &schema::ENGINE));
    let spool = service::spool(&top.section("spool", &schema::SPOOL));
    let resolver = service::resolver(&top.section("resolver", &schema::RESOLVER));
    let log = service::log(&top.section("log", &schema::LOG));
    let admin = service::admin(&top.section("admin", &schema::ADMIN));
    let shutdown = service::shutdown(&top.section("shutdown", &schema::SHUTDOWN));
    // Only now may something missing end it: everything was read, and every error noted.
    Some(Config {
        hostname: hostname?,
        listeners: listeners?,
        tls,
        upstreams: upstreams?,
        routes,
        policy_services,
        relay,
        access,
        auth,
        limits,
        networks,
        rates,
        rate_limits,
        alarm_command,
        state,
        timeouts,
        filters,
        tables,
        engine,
        spool,
        resolver,
        log,
        admin,
        shutdown,
    })
}

fn hostname(top: &Section<'_>) -> Option<String> {
    let name = top.required("hostname", "hostname = \"mx.example.org\"", |v| {
        v.parsed("a host name", HOSTNAME_HELP, |text| {
            if text.parse::<std::net::IpAddr>().is_ok() {
                return Err("is an address, not a name".to_owned());
            }
            names::domain(text, false)
        })
    })?;
    if !name.contains('.') {
        top.reader.warn(
            Problem::at(top.reader.place("hostname"), "many mail servers distrust a host name without a dot")
                .label("not fully qualified")
                .help(HOSTNAME_HELP),
        );
    }
    Some(name)
}

/// And all their names, and where it is said of one that it is in Redis.
fn tables(top: &Section<'_>) -> (Vec<Table>, Vec<String>, Vec<Span>) {
    let sections = top.named_sections("table", &schema::TABLE);
    let in_redis = sections.iter().filter_map(|(_, section)| Some(section.value("redis")?.head())).collect();
    let names = sections.iter().map(|(name, _)| name.get_ref().to_string()).collect();
    let tables = sections.iter().filter_map(|(name, section)| table::read(name.get_ref(), section)).collect();
    (tables, names, in_redis)
}

fn filters(top: &Section<'_>, tables: &TableNames, upstreams: Option<&[Upstream]>) -> (Vec<Filter>, Vec<String>) {
    let sections = top.sections("filter", &schema::FILTER);
    too_many(top, "filter", sections.len());
    let named: Vec<(String, &Section<'_>)> =
        sections.iter().filter_map(|section| Some((filter::name(section)?, section))).collect();
    let paths = named.iter().map(|(name, section)| (name.as_str(), format!("{}.name", section.path)));
    check::unique("filter", paths, top.reader);
    let names = named.iter().map(|(name, _)| name.clone()).collect();
    let upstreams: Option<Vec<&str>> = upstreams.map(|all| all.iter().map(|upstream| upstream.name.as_str()).collect());
    let read = |(name, section)| filter::read(section, name, tables, upstreams.as_deref());
    (named.into_iter().filter_map(read).collect(), names)
}

fn listeners(
    top: &Section<'_>,
    tls_given: Option<TlsVersion>,
    filters: &[String],
    tables: &TableNames,
    trusted: &[IpNet],
) -> Option<Vec<Listener>> {
    let sections = top.sections("listener", &schema::LISTENER);
    too_many(top, "listener", sections.len());
    if sections.is_empty() {
        // A `listener` that is not a list of sections was noted when it was read.
        if top.lacks("listener") {
            top.reader.error(
                Problem::at(0..0, "there is no `[[listener]]`: nobody could connect")
                    .help("add [[listener]] with name = \"mx\" and address = \"0.0.0.0:25\""),
            );
        }
        return None;
    }
    let read = |section| listener::read(section, tls_given, filters, tables, trusted);
    let listeners: Vec<Listener> = sections.iter().filter_map(read).collect();
    let paths = listeners.iter().enumerate().map(|(place, one)| (one.name.as_str(), format!("listener.{place}.name")));
    if !top.reader.failed() {
        check::unique("listener", paths, top.reader);
    }
    Some(listeners)
}

fn routes(top: &Section<'_>, upstreams: Option<&[Upstream]>, listeners: Option<&[Listener]>) -> Vec<Route> {
    let sections = top.sections("route", &schema::ROUTE);
    too_many(top, "route", sections.len());
    // Without them everything that is named would be unknown, and the fault is elsewhere.
    let (Some(upstreams), Some(listeners)) = (upstreams, listeners) else { return Vec::new() };
    let upstreams: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let listeners: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    sections.iter().filter_map(|section| route::read(section, &upstreams, &listeners)).collect()
}

/// `[[KEY]]`, each of which has a name of its own and may name listeners.
fn named<T>(
    top: &Section<'_>,
    (key, what, shape): (&'static str, &str, &'static schema::Shape),
    listeners: Option<&[Listener]>,
    name: impl Fn(&T) -> &str,
    read: impl Fn(&Section<'_>, &[&str]) -> Option<T>,
) -> Vec<T> {
    let sections = top.sections(key, shape);
    too_many(top, key, sections.len());
    // Without them every listener that is named would be unknown, and the fault is elsewhere.
    let Some(listeners) = listeners else { return Vec::new() };
    let listeners: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let read = |section: &Section<'_>| Some((read(section, &listeners)?, format!("{}.name", section.path)));
    let all: Vec<(T, String)> = sections.iter().filter_map(read).collect();
    check::unique(what, all.iter().map(|(one, path)| (name(one), path.clone())), top.reader);
    all.into_iter().map(|(one, _)| one).collect()
}

pub(super) fn too_many(top: &Section<'_>, key: &str, count: usize) {
    if count > SECTIONS_MAX {
        top.reader.error(Problem::at(0..0, format!("there are {count} of [[{key}]]; at most {SECTIONS_MAX} can be")));
    }
}

/// Every `(section, key)` that reading this text asks for.
#[cfg(test)]
pub(super) fn keys_asked_for(text: &str) -> std::collections::BTreeSet<(&'static str, &'static str)> {
    let (document, _) = DeTable::parse_recoverable(text);
    let reader = Reader::new("", text, &|_| None);
    let top = Section::open(&reader, String::new(), &schema::TOP, 0..0, document.get_ref());
    assert!(config(&top).is_some() && !reader.failed());
    reader.asked.borrow().clone()
}
