//! Tables that somebody elsewhere is asked for: `url`, `ldap` and `redis` of `[table.NAME]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::directory;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{AskedService, AskedTable, RedisTable, TableKind, TableSource, Url, schema, url};

/// A client waits for it at every recipient.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const CONCURRENT: RangeInclusive<u32> = 1..=1_000;
const CONCURRENT_DEFAULT: u32 = 16;
const KEEP: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
const KEEP_DEFAULT: Duration = Duration::from_secs(300);
const KEEP_MISSING_DEFAULT: Duration = Duration::from_secs(60);
/// Keys that mean nothing for a list in memory.
const ABOUT_ASKING: [&str; 5] = ["ca", "timeout", "concurrent", "keep", "keep-missing"];
/// Those of them that the servers of `[state]` have for themselves.
const ABOUT_REACHING: [&str; 3] = ["ca", "timeout", "concurrent"];
/// Keys of `redis`.
const WHERE: [&str; 3] = ["set", "hash", "prefix"];
/// Octets of what a set or hash in Redis is called, or keys begin with.
const REDIS_NAME_BYTES_MAX: usize = 255;
const REDIS_HELP: &str = "write redis = { set = \"mail:domains\" }, { hash = \"mail:recipients\" }, or \
                          { prefix = \"mail:recipient:\" } for a key each";

pub(super) fn read(section: &Section<'_>, kind: TableKind) -> Option<TableSource> {
    if let Some(value) = section.value("kind").filter(|_| kind != TableKind::Exact) {
        let problem = Problem::at(value.span(), "whoever is asked compares keys in a way of its own").label("not used");
        section.reader.error(problem.help("take `kind` away"));
    }
    let timeout = section.get_or("timeout", TIMEOUT_DEFAULT, |v| v.duration(TIMEOUT));
    // All questions to Redis go over one connection, so that more at once cost it nothing.
    let in_redis = section.value("redis").is_some();
    let concurrent = if in_redis { *CONCURRENT.end() } else { CONCURRENT_DEFAULT };
    let concurrent_max = section.get_or("concurrent", concurrent, |v| v.number(CONCURRENT));
    let keep = section.get_or("keep", KEEP_DEFAULT, |v| v.duration(KEEP));
    let keep_missing = section.get_or("keep-missing", KEEP_MISSING_DEFAULT, |v| v.duration(KEEP));
    let service = if in_redis {
        place(section).map(AskedService::Redis)
    } else if section.value("ldap").is_some() {
        if let Some(value) = section.value("ca") {
            let problem = Problem::at(value.span(), "this is for `url`").label("not used");
            section.reader.error(problem.help("write it into [table.NAME.ldap]"));
        }
        directory::searched(&section.section("ldap", &schema::TABLE_LDAP)).map(AskedService::Ldap)
    } else {
        let ca = section.get("ca", Value::path);
        section.get("url", web).map(|(url, base)| AskedService::Http { url, base, ca })
    };
    Some(TableSource::Asked(Box::new(AskedTable { service: service?, timeout, concurrent_max, keep, keep_missing })))
}

/// Where in Redis.
fn place(section: &Section<'_>) -> Option<RedisTable> {
    for value in ABOUT_REACHING.iter().filter_map(|key| section.value(key)) {
        let problem = Problem::at(value.head(), "how Redis is reached stands in [state]").label("not used");
        section.reader.error(problem.help("take it away; `timeout` of [state] is how long an answer is waited for"));
    }
    let place = section.section("redis", &schema::TABLE_REDIS);
    if !place.present() {
        return None;
    }
    let given: Vec<Value<'_>> = WHERE.iter().filter_map(|key| place.value(key)).collect();
    if let [_, second, ..] = given.as_slice() {
        let problem = Problem::at(second.span(), "a table has one place where its entries are").label("one more");
        section.reader.error(problem.help(REDIS_HELP));
    }
    if WHERE.iter().all(|key| place.lacks(key)) {
        let problem = Problem::at(place.span(), "it does not say where in Redis the entries are").label("no name");
        section.reader.error(problem.help(REDIS_HELP));
    }
    let set = place.get("set", name_there).map(RedisTable::Set);
    let hash = place.get("hash", name_there).map(RedisTable::Hash);
    let prefix = place.get("prefix", name_there).map(RedisTable::Prefix);
    set.or(hash).or(prefix)
}

fn name_there(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a name", REDIS_HELP, |text| match text.len() {
        1..=REDIS_NAME_BYTES_MAX if !text.contains(char::is_control) => Ok(text.to_owned()),
        1..=REDIS_NAME_BYTES_MAX => Err("has a control character in it".to_owned()),
        _ => Err(format!("has not between 1 and {REDIS_NAME_BYTES_MAX} octets")),
    })
}

/// What only tables that are asked have.
pub(super) fn refuse(section: &Section<'_>) {
    for value in ABOUT_ASKING.iter().filter_map(|key| section.value(key)) {
        let problem = Problem::at(value.head(), "nobody is asked: the table is in memory").label("not used");
        section.reader.error(problem.help("take it away, or write `url`, `ldap` or `redis` instead of the entries"));
    }
}

fn web(value: &Value<'_>) -> Result<(String, Url), Problem> {
    let help = "write \"https://directory.example.org/recipients/\": the key is put behind it, and 200 is yes, 404 no";
    let text = value.text()?;
    let base = value.parsed("an address", help, |text| Url::parse(text).map_err(str::to_owned))?;
    if !text.ends_with(['/', '=']) {
        return Err(value.error("ends neither in / nor in =, and the key is put behind it").help(help));
    }
    if !base.secure && !url::is_near(&base.host) {
        let why = "is another machine, asked in clear: whoever is on the way could say which domains are yours";
        return Err(value.error(why).help("begin it with https://"));
    }
    Ok((text, base))
}
