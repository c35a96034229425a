//! Tables that somebody elsewhere is asked for: `url` and `ldap` of `[table.NAME]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::directory;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::config::{AskedService, AskedTable, TableKind, TableSource, Url, schema, url};

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

pub(super) fn read(section: &Section<'_>, kind: TableKind) -> Option<TableSource> {
    if let Some(value) = section.value("kind").filter(|_| kind != TableKind::Exact) {
        let problem = Problem::at(value.span(), "whoever is asked compares keys in a way of its own").label("not used");
        section.reader.error(problem.help("take `kind` away"));
    }
    let timeout = section.get_or("timeout", TIMEOUT_DEFAULT, |v| v.duration(TIMEOUT));
    let concurrent_max = section.get_or("concurrent", CONCURRENT_DEFAULT, |v| v.number(CONCURRENT));
    let keep = section.get_or("keep", KEEP_DEFAULT, |v| v.duration(KEEP));
    let keep_missing = section.get_or("keep-missing", KEEP_MISSING_DEFAULT, |v| v.duration(KEEP));
    let service = if section.value("ldap").is_some() {
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

/// What only tables that are asked have.
pub(super) fn refuse(section: &Section<'_>) {
    for value in ABOUT_ASKING.iter().filter_map(|key| section.value(key)) {
        let problem = Problem::at(value.head(), "nobody is asked: the table is in memory").label("not used");
        section.reader.error(problem.help("take it away, or write `url` or `ldap` instead of the entries"));
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
