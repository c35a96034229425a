//! `[[filter]]`: what runs, what it may do, and how much it may use up.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::settings::SettingsJson;
use crate::config::url::Url;
use crate::config::value::Value;
use crate::config::{EditGrant, Filter, FilterBounds, FilterPhase, Grants, HttpGrant, KvGrant, Lifetime, OnFault};
use crate::config::{json, names, schema, suggest};

use super::table::TableNames;
use super::{quarantine, route, when};

const LIFETIME_CHOICES: &[(&str, Lifetime)] =
    &[("session", Lifetime::Session), ("transaction", Lifetime::Transaction), ("shared", Lifetime::Shared)];

const ON_FAULT_CHOICES: &[(&str, OnFault)] = &[
    ("defer", OnFault::Defer),
    ("next", OnFault::Next),
    ("reject", OnFault::Reject),
    ("disconnect", OnFault::Disconnect),
];

const PHASE_CHOICES: &[(&str, FilterPhase)] = &[
    ("inspect", FilterPhase::Inspect),
    ("decide", FilterPhase::Decide),
    ("transform", FilterPhase::Transform),
    ("seal", FilterPhase::Seal),
];

const DIGEST_HELP: &str = "write what `sha256sum` says of the file: digest = \"sha256:…\", with 64 digits";

const MEMORY_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 30);
const CPU: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);
const HOSTCALL_BYTES: RangeInclusive<u64> = (64 << 10)..=(256 << 20);
const LOG_LINES: RangeInclusive<u32> = 1..=100_000;
const INSTANCES: RangeInclusive<u32> = 1..=20_000;
const KV_QUOTA_BYTES: RangeInclusive<u64> = (4 << 10)..=(4 << 30);
const RESPONSE_BYTES: RangeInclusive<u64> = (1 << 10)..=(64 << 20);
const KV_VALUE_BYTES: RangeInclusive<u64> = 64..=(16 << 20);
/// Longer than this no filter holds back an answer: many clients would be gone by then.
const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// More patterns than this belong into a table.
const PATTERNS_MAX: usize = 1_000;

/// The name, read before the rest: other sections refer to it even where the rest is wrong.
pub(in crate::config) fn name(section: &Section<'_>) -> Option<String> {
    section.required("name", "name = \"greylist\"", |v| v.parsed("a name", names::NAME_HELP, names::name))
}

/// `upstreams` is missing where they could not be read: the fault is elsewhere.
pub(in crate::config) fn read(
    section: &Section<'_>,
    name: String,
    tables: &TableNames,
    upstreams: Option<&[&str]>,
) -> Option<Filter> {
    let path = section.required("path", "path = \"filters/greylist.wasm\"", Value::path);
    let grants = grants(&section.section("grants", &schema::GRANTS), tables, upstreams);
    let phase = section.get("phase", |v| v.one_of(PHASE_CHOICES));
    if grants.edit.is_of_content() && phase.is_some_and(|phase| !phase.edits_content()) {
        section.reader.error(
            Problem::at(
                section.reader.place(&format!("{}.phase", section.path)),
                "this filter may edit headers or the body, which no filter of this phase does",
            )
            .label("runs before others have judged the message")
            .help("write phase = \"transform\", or take the edit grant away"),
        );
    }
    Some(Filter {
        name,
        path: path?,
        digest: section.get("digest", |v| v.parsed("a digest", DIGEST_HELP, digest)),
        signature: section.get("signature", Value::path),
        require_signed: section.get("require-signed", Value::flag),
        lifetime: section.get_or("lifetime", Lifetime::Session, |v| v.one_of(LIFETIME_CHOICES)),
        on_fault: section.get_or("on-fault", OnFault::Defer, |v| v.one_of(ON_FAULT_CHOICES)),
        phase,
        shadow: section.get_or("shadow", false, Value::flag),
        when: when::read(&section.section("when", &schema::WHEN)),
        grants,
        settings_json: section.get_or("settings", SettingsJson::default(), settings).written(
            section.reader,
            &format!("{}.settings", section.path),
            section.span(),
        ),
        bounds: bounds(section),
    })
}

/// `sha256:` and 64 hexadecimal digits.
fn digest(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").ok_or("does not begin with sha256:")?;
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("is not the SHA-256 of anything".to_owned());
    }
    Ok(digits.to_ascii_lowercase())
}

fn settings(value: &Value<'_>) -> Result<SettingsJson, Problem> {
    if value.node.get_ref().as_table().is_none() {
        return Err(value
            .wrong_type("a section")
            .help("write settings = { key = \"value\" }, or [filter.settings] below"));
    }
    let mut text = String::new();
    json::write(value, &mut text)?;
    Ok(SettingsJson::new(text))
}

fn bounds(section: &Section<'_>) -> FilterBounds {
    let base = FilterBounds::default();
    let cpu_per_call = section.get_or("cpu", base.cpu_per_call, |v| v.duration(CPU));
    let deadline = section.get_or("deadline", base.deadline, |v| v.duration(DEADLINE));
    if deadline < cpu_per_call {
        section.reader.error(
            Problem::at(
                section.reader.place(&format!("{}.deadline", section.path)),
                "the filter may compute for longer than it may take",
            )
            .label("shorter than `cpu`")
            .help("the deadline of a call counts waits and work; make it at least as long as `cpu`"),
        );
    }
    FilterBounds {
        memory_bytes: section.get_or("memory", base.memory_bytes, |v| v.memory_size(MEMORY_BYTES)),
        cpu_per_call,
        deadline,
        hostcall_bytes: section.get_or("hostcall-size", base.hostcall_bytes, |v| v.memory_size(HOSTCALL_BYTES)),
        log_lines_per_second: section
            .get_or("log-lines-per-second", base.log_lines_per_second, |v| v.number(LOG_LINES)),
        instances: section.get_or("instances", base.instances, |v| v.number(INSTANCES)),
    }
}

fn grants(section: &Section<'_>, tables: &TableNames, upstreams: Option<&[&str]>) -> Grants {
    let base = Grants::default();
    let flag = |key, base| section.get_or(key, base, Value::flag);
    Grants {
        session: flag("session", base.session),
        envelope: flag("envelope", base.envelope),
        log: flag("log", base.log),
        config: flag("config", base.config),
        clock: flag("clock", base.clock),
        random: flag("random", base.random),
        headers: flag("headers", base.headers),
        body: flag("body", base.body),
        mime: flag("mime", base.mime),
        metrics: flag("metrics", base.metrics),
        counters: flag("counters", base.counters),
        tables: section.get_or("tables", base.tables, |v| tables_granted(v, tables)),
        kv: section.get_or("kv", None, kv),
        dns: flag("dns", base.dns),
        http: section.get_or("http", None, http),
        facts: flag("facts", base.facts),
        edit: section.get_or("edit", EditGrant::default(), edit),
        mark: flag("mark", base.mark),
        delay: section.get_or("delay", base.delay, delay),
        route: section.get_or("route", base.route, |v| routes_granted(v, upstreams)),
        discard: flag("discard", base.discard),
        quarantine: section.get_or("quarantine", None, |v| quarantine::read(v, upstreams)),
    }
}

/// `false`, or a list, which may be empty.
fn tables_granted(value: &Value<'_>, known: &TableNames) -> Result<Option<Vec<String>>, Problem> {
    match value.node.get_ref().as_bool() {
        Some(false) => Ok(None),
        Some(true) => Err(value.wrong_type("a list of tables").help("name them: tables = [\"blocked-senders\"]")),
        None => Ok(Some(value.list(|item| table(item, known)))),
    }
}

fn table(value: &Value<'_>, known: &TableNames) -> Result<String, Problem> {
    let name = value.text().map_err(|problem| problem.help("name the tables: tables = [\"blocked-senders\"]"))?;
    if let Some(table) = known.0.iter().find(|table| table.name == name) {
        let help =
            "filters look into lists in memory; what has to be asked is for domains-table and recipients of [relay]";
        return if table.asked { Err(value.error("is a table that has to be asked").help(help)) } else { Ok(name) };
    }
    let problem = value.error("is not the name of a table");
    Err(match suggest::nearest(&name, known.0.iter().map(|table| table.name.as_str())) {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None => problem.help("add a section [table.NAME] of that name with its entries"),
    })
}

/// `false`, or a list, which may be empty.
fn routes_granted(value: &Value<'_>, known: Option<&[&str]>) -> Result<Option<Vec<String>>, Problem> {
    match value.node.get_ref().as_bool() {
        Some(false) => Ok(None),
        Some(true) => Err(value.wrong_type("a list of upstreams").help("name them: route = [\"quarantine\"]")),
        None => Ok(Some(value.list(|item| match known {
            Some(names) => route::known(item, "[[upstream]]", names),
            None => item.text(),
        }))),
    }
}

/// `false`, or how long at most.
fn delay(value: &Value<'_>) -> Result<Option<Duration>, Problem> {
    match value.node.get_ref().as_bool() {
        Some(false) => Ok(None),
        Some(true) => Err(value.wrong_type("a duration").help("say how long at most: delay = \"10s\"")),
        None => value.duration(DELAY).map(Some),
    }
}

/// `true`, `false`, or a section with a quota.
fn kv(value: &Value<'_>) -> Result<Option<KvGrant>, Problem> {
    if let Some(granted) = value.node.get_ref().as_bool() {
        return Ok(granted.then(KvGrant::default));
    }
    let section = Section::of(value, &schema::KV).map_err(|_| {
        value.wrong_type("true, false, or a quota").help("write kv = true, or kv = { quota = \"16 MiB\" }")
    })?;
    let base = KvGrant::default();
    let grant = KvGrant {
        quota_bytes: section.get_or("quota", base.quota_bytes, |v| v.memory_size(KV_QUOTA_BYTES)),
        value_bytes_max: section.get_or("value-size", base.value_bytes_max, |v| v.memory_size(KV_VALUE_BYTES)),
    };
    if section.value("value-size").is_some() && grant.value_bytes_max > grant.quota_bytes {
        return Err(Problem::at(value.head(), "one value may be larger than all of them together")
            .label("`value-size` is more than `quota`"));
    }
    Ok(Some(KvGrant { value_bytes_max: grant.value_bytes_max.min(grant.quota_bytes), ..grant }))
}

/// `false`, a list of addresses, which may be empty, or a section with them.
fn http(value: &Value<'_>) -> Result<Option<HttpGrant>, Problem> {
    let help = "write the addresses it may ask for, each with all that lies below: \
                http = [\"https://api.example.org/v1/\"]";
    match value.node.get_ref().as_bool() {
        Some(false) => return Ok(None),
        Some(true) => return Err(value.wrong_type("a list of addresses").help(help)),
        None => {}
    }
    let base = HttpGrant::default();
    if value.node.get_ref().as_table().is_none() {
        return Ok(Some(HttpGrant { urls: urls(value, help)?, ..base }));
    }
    let section = Section::of(value, &schema::HTTP)?;
    Ok(Some(HttpGrant {
        urls: section
            .required("urls", "urls = [\"https://api.example.org/v1/\"]", |v| urls(v, help))
            .unwrap_or_default(),
        response_bytes_max: section.get_or("response-size", base.response_bytes_max, |v| v.memory_size(RESPONSE_BYTES)),
        ca: section.get("ca", Value::path),
    }))
}

fn urls(value: &Value<'_>, help: &str) -> Result<Vec<Url>, Problem> {
    if value.items().len() > PATTERNS_MAX {
        return Err(value.error(format!("has more than {PATTERNS_MAX} items")));
    }
    Ok(value.list(|item| {
        item.parsed("an address", help, |text| match Url::parse(text) {
            Ok(url) if url.query.is_some() => Err("has a query (?), which the filter is to write".to_owned()),
            Ok(url) => Ok(url),
            Err(why) => Err(why.to_owned()),
        })
    }))
}

fn edit(value: &Value<'_>) -> Result<EditGrant, Problem> {
    let section = Section::of(value, &schema::EDIT).map_err(|_| {
        value
            .wrong_type("a section that says what may be edited")
            .help("write edit = { headers = [\"X-Corp-*\"] }, or { headers = true, body = true, … }")
    })?;
    let (recipients, recipient_patterns) = section.get_or("recipients", (false, Vec::new()), recipients);
    Ok(EditGrant {
        headers: section.get_or("headers", Vec::new(), headers),
        body: section.get_or("body", false, Value::flag),
        sender: section.get_or("sender", false, Value::flag),
        recipients,
        recipient_patterns,
    })
}

/// `true` (all), `false` (none), or a list of patterns.
fn headers(value: &Value<'_>) -> Result<Vec<String>, Problem> {
    let help =
        "write the names of header fields, where `*` stands for anything at the end: [\"X-Corp-*\", \"Subject\"]";
    if let Some(granted) = value.node.get_ref().as_bool() {
        return Ok(if granted { vec!["*".to_owned()] } else { Vec::new() });
    }
    if value.items().len() > PATTERNS_MAX {
        return Err(value.error(format!("has more than {PATTERNS_MAX} items")));
    }
    Ok(value.list(|item| {
        item.parsed("a name", help, |text| {
            let stem = text.strip_suffix('*').unwrap_or(text);
            // RFC 5322 2.2: printable ASCII but for the colon.
            match stem.bytes().find(|b| !b.is_ascii_graphic() || *b == b':' || *b == b'*') {
                Some(b':') => Err("has a colon; the name goes without it".to_owned()),
                Some(b'*') => Err("has a `*` before its end".to_owned()),
                Some(_) => Err("is not the name of a header field".to_owned()),
                None if text.is_empty() => Err("is no name".to_owned()),
                None => Ok(text.to_owned()),
            }
        })
    }))
}

/// `true`: within relay policy. A list: also to these addresses outside.
fn recipients(value: &Value<'_>) -> Result<(bool, Vec<String>), Problem> {
    let help = "write true (within your own domains), or addresses outside of them that are allowed too: \
                [\"*@corp.example\", \"archive@example.net\"]";
    if let Some(granted) = value.node.get_ref().as_bool() {
        return Ok((granted, Vec::new()));
    }
    if value.items().len() > PATTERNS_MAX {
        return Err(value.error(format!("has more than {PATTERNS_MAX} items")));
    }
    let patterns = value.list(|item| {
        item.parsed("an address", help, |text| {
            let (local, domain) = text.rsplit_once('@').ok_or("has no `@`")?;
            if domain.contains('*') {
                return Err("would let the filter send mail to anywhere".to_owned());
            }
            if local.is_empty() || (local.contains('*') && local != "*") {
                return Err("has neither an address nor a single `*` before its `@`".to_owned());
            }
            if local.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '@')) {
                return Err("has a character that such a pattern does not have".to_owned());
            }
            Ok(format!("{local}@{}", names::domain(domain, true)?))
        })
    });
    Ok((true, patterns))
}
