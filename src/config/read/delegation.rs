//! `[[policy-service]]`: daemons that are asked what Postfix would ask them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::route::known;
use crate::config::delegation::{OnPolicyFailure, PolicyAddress, PolicyService, PolicyStage};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
const CONNECTIONS: RangeInclusive<u32> = 1..=1_000;
const CONTEXT_BYTES_MAX: usize = 256;

const ADDRESS_EXAMPLE: &str = "address = \"127.0.0.1:10031\"";
const ADDRESS_HELP: &str = "an address and a port (\"127.0.0.1:10031\"), or a socket (\"unix:/run/policy.sock\")";

const STAGES: [(&str, PolicyStage); 6] = [
    ("connect", PolicyStage::Connect),
    ("helo", PolicyStage::Helo),
    ("mail", PolicyStage::Mail),
    ("rcpt", PolicyStage::Rcpt),
    ("data", PolicyStage::Data),
    ("end-of-message", PolicyStage::EndOfMessage),
];

pub(in crate::config) fn read(section: &Section<'_>, listeners: &[&str]) -> Option<PolicyService> {
    let name = section.required("name", "name = \"quota\"", name);
    let address = section.required("address", ADDRESS_EXAMPLE, address);
    let at = section.get_or("at", vec![PolicyStage::Rcpt], |v| match v.items().len() {
        0 => Err(v.error("has no stage in it").help("leave it out for \"rcpt\"")),
        _ => Ok(v.list(|item| item.one_of(&STAGES))),
    });
    let wanted = section.get("listeners", |v| Ok(v.list(|item| known(item, "[[listener]]", listeners))));
    let connections = section.get_or("connections", 100, |v| v.number(CONNECTIONS));
    let failures = [("defer", OnPolicyFailure::Defer), ("next", OnPolicyFailure::Next)];
    let service = |name, address| PolicyService {
        name,
        address,
        at,
        listeners: wanted.unwrap_or_default(),
        timeout: section.get_or("timeout", Duration::from_secs(30), |v| v.duration(TIMEOUT)),
        connections: usize::try_from(connections).unwrap_or(usize::MAX),
        on_failure: section.get_or("on-failure", OnPolicyFailure::Defer, |v| v.one_of(&failures)),
        would: section.get_or("would", false, Value::flag),
        context: section.get_or("context", String::new(), context),
    };
    // Made in any case: every key is to be read, whatever is wrong with the others.
    let (known_name, known_address) = (name.clone().unwrap_or_default(), address.clone());
    let service = service(known_name, known_address.unwrap_or_else(|| PolicyAddress::Unix(PathBuf::new())));
    name.and(address).map(|_| service)
}

fn name(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a name", "letters, digits, `-` and `_`: name = \"quota\"", |text| {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if fits { Ok(text.to_owned()) } else { Err("is not a name of 1 to 64 letters, digits, `-` and `_`".to_owned()) }
    })
}

fn address(value: &Value<'_>) -> Result<PolicyAddress, Problem> {
    let text = value.text()?;
    match text.strip_prefix("unix:") {
        Some(path) if Path::new(path).is_absolute() => Ok(PolicyAddress::Unix(PathBuf::from(path))),
        Some(_) => Err(value.error("is not the whole path of a socket").help(ADDRESS_HELP)),
        None => value.socket_address(None).map(PolicyAddress::Tcp).map_err(|problem| problem.help(ADDRESS_HELP)),
    }
}

fn context(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a text", "one line of printable ASCII", |text| {
        let fits = text.len() <= CONTEXT_BYTES_MAX && text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if fits {
            Ok(text.to_owned())
        } else {
            Err("is not one line of at most 256 printable ASCII characters".to_owned())
        }
    })
}
