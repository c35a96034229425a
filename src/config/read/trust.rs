//! Of `[upstream]`: which certificate is believed, and what the gateway shows for itself.

use std::net::IpAddr;

use crate::config::behind::{
    Believed, ClientCertificate, KeyPin, Password, PasswordSource, Servers, TlsBegin, UpstreamLogin, UpstreamTls,
};
use crate::config::names;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::value::Value;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Opportunistic,
    Verify(TlsBegin),
}

const TLS_CHOICES: &[(&str, Mode)] = &[
    ("none", Mode::Off),
    ("opportunistic", Mode::Opportunistic),
    ("verify", Mode::Verify(TlsBegin::StartTls)),
    ("implicit", Mode::Verify(TlsBegin::Implicit)),
];

/// One for each server, and for each that is to come.
const PINS_MAX: usize = 32;
/// User and password together fit into a command line (RFC 4954 4).
const CREDENTIAL_BYTES_MAX: usize = 1_024;
const PIN_HELP: &str = "write \"sha256:\" and 64 hexadecimal digits; openssl x509 -pubkey -noout -in CERTIFICATE | \
                        openssl pkey -pubin -outform DER | sha256sum prints them";

pub(super) fn tls(section: &Section<'_>, servers: Option<&Servers>) -> Option<UpstreamTls> {
    let mode = section.get_or("tls", Mode::Off, |v| v.one_of(TLS_CHOICES));
    let name = section.get("tls-name", server_name);
    let ca_file = section.get("tls-ca", Value::path);
    let pins = section.get("tls-pin", pins);
    let unused = |keys: &[&'static str], title: &str, help: &str| {
        for &key in keys {
            if let Some(value) = section.value(key) {
                let title = format!("`{key}` means nothing {title}");
                section.reader.error(Problem::at(value.span(), title).label("not used").help(help));
            }
        }
    };
    let Mode::Verify(begin) = mode else {
        let help = "add tls = \"verify\" to [upstream], or take this line away";
        unused(&["tls-name", "tls-ca", "tls-pin"], "unless the certificate is verified", help);
        return Some(if mode == Mode::Off { UpstreamTls::Off } else { UpstreamTls::Opportunistic });
    };
    if let Some(pins) = pins {
        let help = "a certificate with this key is believed, whoever issued it and whatever its name is";
        unused(&["tls-name", "tls-ca"], "beside `tls-pin`", help);
        return Some(UpstreamTls::Verify { begin, trust: Believed::Pinned(pins) });
    }
    let unnamed = match servers? {
        Servers::Service(_) => Some("the hosts in SRV records are whatever the DNS says"),
        Servers::Listed(servers) => {
            let address = servers.iter().any(|server| server.host.parse::<IpAddr>().is_ok());
            address.then_some("`upstream.address` is an IP address")
        }
    };
    if let Some(why) = unnamed.filter(|_| name.is_none() && section.lacks("tls-pin")) {
        section.reader.error(
            Problem::at(
                section.reader.place(&format!("{}.tls", section.path)),
                "the upstream's certificate cannot be verified without a name",
            )
            .label(why)
            .help("add the name in the upstream's certificate: tls-name = \"mail.internal\""),
        );
    }
    Some(UpstreamTls::Verify { begin, trust: Believed::Named { name, ca_file } })
}

fn server_name(value: &Value<'_>) -> Result<String, Problem> {
    value.parsed("a host name", "write the name in the upstream's certificate: \"mail.internal\"", |text| match text
        .parse::<IpAddr>(
    ) {
        Ok(address) => Ok(address.to_string()),
        Err(_) => names::domain(text, false),
    })
}

fn pins(value: &Value<'_>) -> Result<Vec<KeyPin>, Problem> {
    let items = value.items().len();
    if items == 0 || items > PINS_MAX {
        return Err(value.error("has no key in it, or too many").help(PIN_HELP));
    }
    Ok(value.list(|item| item.parsed("a key", PIN_HELP, pin)))
}

fn pin(text: &str) -> Result<KeyPin, String> {
    let digits = text.strip_prefix("sha256:").ok_or("does not begin with \"sha256:\"")?;
    let mut key = [0; 32];
    if digits.len() != 2 * key.len() {
        return Err("has not 64 digits".to_owned());
    }
    for (octet, place) in key.iter_mut().zip((0..).step_by(2)) {
        let pair = digits.get(place..place + 2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        let parsed = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *octet = parsed.ok_or("has something else than hexadecimal digits")?;
    }
    Ok(KeyPin(key))
}

/// The certificate that is shown to the upstream.
pub(super) fn certificate(section: &Section<'_>, tls: Option<&UpstreamTls>) -> Option<ClientCertificate> {
    let certificate = section.get("tls-certificate", Value::path);
    let key = section.get("tls-key", Value::path);
    for (key, other) in [("tls-certificate", "tls-key"), ("tls-key", "tls-certificate")] {
        let Some(value) = section.value(key) else { continue };
        let error = |title: String, label: &str, help: String| {
            section.reader.error(Problem::at(value.span(), title).label(label).help(help));
        };
        if section.lacks(other) {
            error(format!("`{key}` is of no use without `{other}`"), "alone", format!("add `{other}`"));
        }
        if tls == Some(&UpstreamTls::Off) {
            let help = "add tls = \"verify\" to [upstream], or take this line away".to_owned();
            error("a certificate is shown only where there is TLS".to_owned(), "not used", help);
        }
    }
    Some(ClientCertificate { certificate: certificate?, key: key? })
}

/// Who the gateway is at the upstream. A password is said to nobody who could be somebody else.
pub(super) fn login(
    section: &Section<'_>,
    servers: Option<&Servers>,
    tls: Option<&UpstreamTls>,
) -> Option<UpstreamLogin> {
    let user = section.get("user", credential);
    let written = section.get("password", credential).map(|text| PasswordSource::Written(Password::new(text)));
    let file = section.get("password-file", Value::path).map(PasswordSource::File);
    let error = |key: &'static str, title: &str, label: &str, help: &str| {
        let place = section.reader.place(&format!("{}.{key}", section.path));
        section.reader.error(Problem::at(place, title).label(label).help(help));
    };
    let either = !(section.lacks("password") && section.lacks("password-file"));
    if written.is_some() && file.is_some() {
        error("password-file", "there are two passwords", "one too many", "take `password` or `password-file` away");
    }
    if user.is_some() && !either {
        error("user", "`user` is of no use without a password", "alone", "add password-file = \"…\"");
    }
    if either && section.lacks("user") {
        let key = if section.lacks("password") { "password-file" } else { "password" };
        error(key, "a password is of no use without `user`", "alone", "add user = \"…\"");
    }
    let near = servers.is_some_and(Servers::are_near);
    if user.is_some() && !near && !matches!(tls, None | Some(UpstreamTls::Verify { .. })) {
        error(
            "user",
            "the gateway's password would be said to whoever answers at the upstream's address",
            "AUTH without TLS that is verified",
            "add tls = \"verify\"",
        );
    }
    Some(UpstreamLogin { user: user?, password: written.or(file)? })
}

/// A NUL is what separates them in AUTH PLAIN. What is wrong with it is said without showing it.
fn credential(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    if text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX || text.contains(['\0', '\r', '\n']) {
        return Err(Problem::at(value.span(), "this cannot be said in AUTH")
            .label("empty, too long, or with a line end in it")
            .help(format!("anything up to {CREDENTIAL_BYTES_MAX} octets on one line would do")));
    }
    Ok(text)
}
