//! `[upstream]`: the mail server behind the gateway.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::types::{Identify, Upstream, UpstreamTls};
use crate::config::value::Value;
use crate::config::{names, schema};

const IDENTIFY_CHOICES: &[(&str, Identify)] = &[
    ("xclient", Identify::Xclient),
    ("xforward", Identify::Xforward),
    ("auto", Identify::Auto),
    ("none", Identify::None),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Opportunistic,
    Verify,
}

const TLS_CHOICES: &[(&str, Mode)] =
    &[("none", Mode::Off), ("opportunistic", Mode::Opportunistic), ("verify", Mode::Verify)];

/// An EHLO answer older than this says little about today's upstream.
const EXTENSIONS_TTL_MAX: Duration = Duration::from_secs(24 * 3_600);

const ADDRESS_HELP: &str = "write a host and a port: \"127.0.0.1:10025\", \"mail.internal:25\", \"[2001:db8::25]:25\"";

pub(in crate::config) fn read(top: &Section<'_>) -> Option<Upstream> {
    let section = top.section("upstream", &schema::UPSTREAM);
    if top.lacks("upstream") {
        section.reader.error(
            Problem::at(0..0, "there is no `[upstream]`: the gateway delivers nothing itself")
                .help("add [upstream] with address = \"127.0.0.1:10025\", where your mail server listens"),
        );
    }
    if !section.present() {
        return None;
    }
    let section = &section;
    let address = section.required("address", "address = \"127.0.0.1:10025\"", |v| {
        v.parsed("a host and a port", ADDRESS_HELP, names::host_and_port)
    });
    let identify = section.get_or("identify", Identify::Xclient, |v| v.one_of(IDENTIFY_CHOICES));
    let extensions_ttl =
        section.get_or("extensions-ttl", Duration::ZERO, |v| v.duration(Duration::ZERO..=EXTENSIONS_TTL_MAX));
    let host = address.as_ref().map(|(host, _)| host.as_str());
    let tls = tls(section, host);
    let (host, port) = address?;
    Some(Upstream { host, port, identify, tls: tls?, extensions_ttl })
}

fn tls(section: &Section<'_>, host: Option<&str>) -> Option<UpstreamTls> {
    let mode = section.get_or("tls", Mode::Off, |v| v.one_of(TLS_CHOICES));
    let name = section.get("tls-name", server_name);
    let ca_file = section.get("tls-ca", Value::path);
    if mode == Mode::Verify {
        let host = host?;
        let is_address = host.parse::<IpAddr>().is_ok();
        if name.is_none() && is_address {
            section.reader.error(
                Problem::at(
                    section.reader.place("upstream.tls"),
                    "the upstream's certificate cannot be verified without a name",
                )
                .label("`upstream.address` is an IP address")
                .help("add the name in the upstream's certificate: tls-name = \"mail.internal\""),
            );
        }
        return Some(UpstreamTls::Verify { name: name.unwrap_or_else(|| host.to_owned()), ca_file });
    }
    for key in ["tls-name", "tls-ca"] {
        if let Some(value) = section.value(key) {
            section.reader.error(
                Problem::at(value.span(), format!("`{key}` means nothing unless the certificate is verified"))
                    .label("not used")
                    .help("add tls = \"verify\" to [upstream], or take this line away"),
            );
        }
    }
    Some(if mode == Mode::Off { UpstreamTls::Off } else { UpstreamTls::Opportunistic })
}

fn server_name(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a host name", "write the name in the upstream's certificate: \"mail.internal\"", |text| match text
        .parse::<IpAddr>(
    ) {
        Ok(address) => Ok(address.to_string()),
        Err(_) => names::domain(text, false),
    })
}
