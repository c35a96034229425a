//! `[tls]`; of `[[listener]]` what its TLS asks of clients, proxies in front of it, and who may speak for clients.

use ipnet::IpNet;

use super::relay::{Danger, own_networks};
use crate::config::edge::{
    CertificateFiles, Handshakes, Proxy, ProxyTls, TlsFiles, TlsVersion, Trust, WantedCertificate,
};
use crate::config::problem::Problem;
use crate::config::schema;
use crate::config::section::Section;
use crate::config::types::ListenerTls;
use crate::config::value::Value;

const ANYBODY_IS_ANYBODY: Danger = Danger {
    consequence: "everybody there could pretend to be any client",
    because: "whoever may name the client can send from a trusted network's address, and log any address they like",
    instead: "only your own proxies and mail servers belong here",
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Off,
    Required,
}

pub(super) fn trust(section: &Section<'_>) -> Trust {
    let networks = |key: &'static str| -> Vec<IpNet> {
        section.value(key).map(|value| own_networks(&value, &ANYBODY_IS_ANYBODY)).unwrap_or_default()
    };
    Trust {
        proxy: proxy(section, networks("proxy-networks")),
        xclient: networks("xclient-networks"),
        xforward: networks("xforward-networks"),
    }
}

fn proxy(section: &Section<'_>, networks: Vec<IpNet>) -> Option<Proxy> {
    let choices = [("off", Protocol::Off), ("required", Protocol::Required)];
    let protocol = section.get_or("proxy-protocol", Protocol::Off, |v| v.one_of(&choices));
    let choices = [("ignore", ProxyTls::Ignore), ("believe", ProxyTls::Believe)];
    let tls = section.get_or("proxy-tls", ProxyTls::Ignore, |v| v.one_of(&choices));
    let at = |key: &str| section.reader.place(&format!("{}.{key}", section.path));
    if protocol == Protocol::Required {
        if networks.is_empty() && !section.reader.failed() {
            section.reader.error(
                Problem::at(at("proxy-protocol"), "nobody may say who the client is, so nobody could connect")
                    .label("there are no `proxy-networks`")
                    .help("add the addresses of your proxies: proxy-networks = [\"192.0.2.10\"]"),
            );
        }
        return Some(Proxy { networks, tls });
    }
    let believed = (tls == ProxyTls::Believe).then_some("proxy-tls");
    for key in believed.into_iter().chain((!networks.is_empty()).then_some("proxy-networks")) {
        section.reader.error(
            Problem::at(at(key), format!("`{key}` means nothing without the PROXY protocol"))
                .label("not used")
                .help("add proxy-protocol = \"required\" to this listener, or take this line away"),
        );
    }
    None
}

/// Each is looked at in a handshake that names a host; more than this is a generated file gone wrong.
const CERTIFICATES_MAX: usize = 100;

pub(in crate::config) fn tls(section: &Section<'_>) -> Option<TlsFiles> {
    let additional = section.sections("additional", &schema::ADDITIONAL);
    if !section.present() {
        return None;
    }
    let first = certificate(section);
    if additional.len() > CERTIFICATES_MAX {
        let place = section.reader.place("tls.additional");
        section.reader.error(Problem::at(place, format!("there can be {CERTIFICATES_MAX} certificates at most")));
    }
    let additional = additional.iter().filter_map(certificate).collect();
    let min_version = min_version(section, TlsVersion::Tls12);
    Some(TlsFiles { first: first?, additional, min_version })
}

fn certificate(section: &Section<'_>) -> Option<CertificateFiles> {
    let certificate =
        section.required("certificate", "certificate = \"/etc/ssl/mx.example.org/fullchain.pem\"", Value::path);
    let key = section.required("key", "key = \"/etc/ssl/mx.example.org/privkey.pem\"", Value::path);
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

fn min_version(section: &Section<'_>, default: TlsVersion) -> TlsVersion {
    section.get_or("min-version", default, |v| v.one_of(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Off,
    Ask,
    Require,
}

pub(super) fn handshakes(section: &Section<'_>, tls: ListenerTls, require_tls: bool, least: TlsVersion) -> Handshakes {
    let min_version = min_version(section, least);
    let choices = [("off", Wanted::Off), ("ask", Wanted::Ask), ("require", Wanted::Require)];
    let wanted = section.get_or("client-certificate", Wanted::Off, |v| v.one_of(&choices));
    let ca_file = section.get("client-ca", Value::path);
    let error = |key: &str, title: &str, label: &str, help: &str| {
        let place = section.reader.place(&format!("{}.{key}", section.path));
        section.reader.error(Problem::at(place, title).label(label).help(help));
    };
    if wanted != Wanted::Off && tls == ListenerTls::Off {
        let help = "write tls = \"starttls\" or tls = \"implicit\" for this listener";
        error("client-certificate", "certificates are shown in TLS, which this listener does not do", "not used", help);
    }
    if wanted == Wanted::Require && tls == ListenerTls::StartTls && !require_tls {
        let help = "add require-tls = true, or write client-certificate = \"ask\"";
        let title = "whoever does not begin TLS needs no certificate";
        error("client-certificate", title, "easy to get around", help);
    }
    let client_certificate = match (wanted, ca_file) {
        (Wanted::Ask, Some(ca_file)) => WantedCertificate::Ask(ca_file),
        (Wanted::Require, Some(ca_file)) => WantedCertificate::Require(ca_file),
        (Wanted::Off, None) => WantedCertificate::Off,
        (Wanted::Off, Some(_)) => {
            let help = "add client-certificate = \"ask\" to this listener, or take this line away";
            error("client-ca", "`client-ca` means nothing where no certificate is asked for", "not used", help);
            WantedCertificate::Off
        }
        (Wanted::Ask | Wanted::Require, None) => {
            if section.lacks("client-ca") {
                let help = "name the authorities: client-ca = \"/etc/wasmilter/clients-ca.pem\"";
                let title = "nobody could verify a client's certificate";
                error("client-certificate", title, "there is no `client-ca`", help);
            }
            WantedCertificate::Off
        }
    };
    Handshakes { min_version, client_certificate }
}
