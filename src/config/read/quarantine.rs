//! `quarantine` of a filter's grants: where messages go that it wants there.

use crate::config::problem::Problem;
use crate::config::quarantine::QuarantineGrant;
use crate::config::schema;
use crate::config::section::Section;
use crate::config::value::Value;
use crate::smtp::{ForwardPath, Mailbox};

use super::route;

const HELP: &str = "name an upstream: quarantine = \"quarantine\", or a mailbox: \
                    quarantine = { recipient = \"quarantine@example.org\" }";

/// `false`, the name of an upstream, or a section with an upstream, a mailbox or both. `known` is missing where the
/// upstreams could not be read.
pub(super) fn read(value: &Value<'_>, known: Option<&[&str]>) -> Result<Option<QuarantineGrant>, Problem> {
    let upstream = |value: &Value<'_>| match known {
        Some(names) => route::known(value, "[[upstream]]", names),
        None => value.text(),
    };
    match value.node.get_ref().as_bool() {
        Some(false) => return Ok(None),
        Some(true) => return Err(value.wrong_type("an upstream or a mailbox").help(HELP)),
        None => {}
    }
    if value.node.get_ref().as_str().is_some() {
        return Ok(Some(QuarantineGrant { upstream: Some(upstream(value)?), recipient: None }));
    }
    let section =
        Section::of(value, &schema::QUARANTINE).map_err(|_| value.wrong_type("an upstream or a mailbox").help(HELP))?;
    if section.value("upstream").is_none() && section.value("recipient").is_none() {
        return Err(Problem::at(value.head(), "a quarantine that is nowhere")
            .label("neither `upstream` nor `recipient`")
            .help(HELP));
    }
    Ok(Some(QuarantineGrant {
        upstream: section.get("upstream", upstream),
        recipient: section.get("recipient", |item| {
            item.parsed("an address", "write one mailbox: recipient = \"quarantine@example.org\"", |text| {
                Mailbox::parse(text)
                    .and_then(|_| ForwardPath::parse(text))
                    .map_err(|error| format!("is not an address: {error}"))
            })
        }),
    }))
}
