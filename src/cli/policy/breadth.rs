//! What is wider than it looks, as far as the file itself shows it: networks, authorities of certificates, providers of
//! tokens; and what others than policy may permit.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use ipnet::IpNet;

use super::findings::Report;
use crate::config::{
    AuthBackendKind, AuthService, Config, ListenerAuth, OauthAccounts, TableSource, WantedCertificate,
};
use crate::smtp::sasl::Mechanism;

/// Public networks that are wider than this are hardly one site's.
const PUBLIC_V4_PREFIX_MIN: u8 = 16;
/// Public networks that are wider than this are hardly one site's.
const PUBLIC_V6_PREFIX_MIN: u8 = 32;
/// Nobody's own network is wider than this.
const OWN_V4_PREFIX_MIN: u8 = 8;
/// Nobody has more certificate authorities of their own.
const OWN_AUTHORITIES_MAX: usize = 16;
/// Of a file of authorities.
const AUTHORITIES_BYTES_MAX: u64 = 16 << 20;
/// Where anybody gets an account; Microsoft's is that of personal accounts.
const PUBLIC_ISSUERS: &[&str] = &[
    "https://accounts.google.com",
    "accounts.google.com",
    "https://appleid.apple.com",
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
    "https://gitlab.com",
    "https://www.facebook.com",
    "https://api.login.yahoo.com",
];

/// Whose network is that?
pub(super) fn networks(report: &mut Report, config: &Config) {
    let trusted: BTreeSet<&IpNet> = config.listeners.iter().flat_map(|one| &one.trusted_networks).collect();
    for network in trusted {
        if let Some(why) = too_wide(network) {
            report.surprise(&format!("trusted network {network}: {why}"));
        }
    }
    for listener in &config.listeners {
        for proxy in listener.trust.proxy.iter().flat_map(|proxy| &proxy.networks) {
            let trusted = |one: &&IpNet| one.contains(proxy) || proxy.contains(*one);
            if let Some(network) = listener.trusted_networks.iter().find(trusted) {
                report.surprise(&format!(
                    "listener \"{}\": clients that the proxy {proxy} does not know relay, as it is in the trusted \
                     network {network}",
                    listener.name
                ));
            }
        }
        for network in &listener.trust.xclient {
            let who = format!("listener \"{}\": whoever is in {network} relays by XCLIENT", listener.name);
            match too_wide(network) {
                Some(why) => report.surprise(&format!("{who}: {why}")),
                None => report.line(&format!("{who}, naming a login (xclient-networks)")),
            }
        }
    }
}

fn too_wide(network: &IpNet) -> Option<&'static str> {
    let public = match network {
        IpNet::V4(four) => {
            let address = four.addr();
            let shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
            !(address.is_private() || address.is_loopback() || address.is_link_local() || shared)
        }
        IpNet::V6(six) => {
            let address = six.addr();
            !(address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local())
        }
    };
    let (own, public_min) = match network {
        IpNet::V4(_) => (OWN_V4_PREFIX_MIN, PUBLIC_V4_PREFIX_MIN),
        IpNet::V6(_) => (0, PUBLIC_V6_PREFIX_MIN),
    };
    match network.prefix_len() {
        0 => Some("that is everybody"),
        prefix if prefix < own => Some("wider than any one network"),
        prefix if public && prefix < public_min => Some("a public network that is hardly all yours"),
        _ => None,
    }
}

/// Who says who there is, where it is not the operator?
pub(super) fn vouchers(report: &mut Report, config: &Config) {
    let Some(auth) = &config.auth else { return };
    let logins = || config.listeners.iter().filter(|listener| listener.auth != ListenerAuth::Off);
    if auth.could_offer().are_here().contains(Mechanism::External) {
        for listener in logins() {
            let path = match &listener.handshakes.client_certificate {
                WantedCertificate::Off => continue,
                WantedCertificate::Ask(path) | WantedCertificate::Require(path) => path,
            };
            let count = authorities(path);
            if count > OWN_AUTHORITIES_MAX {
                report.surprise(&format!(
                    "listener \"{}\": whoever has a certificate of any of the {count} authorities in {} logs in \
                     (EXTERNAL)",
                    listener.name,
                    path.display()
                ));
            }
        }
    }
    for backend in auth.backends.iter().filter(|_| logins().next().is_some()) {
        let AuthBackendKind::Remote(remote) = &backend.kind else { continue };
        let AuthService::Oauth(accounts) = &remote.service else { continue };
        if let Some(issuer) = public_issuer(accounts) {
            report.surprise(&format!(
                "backend \"{}\": anybody can have an account at {issuer} and log in; say whose with domains",
                backend.name
            ));
        }
    }
}

/// Certificates in a PEM file; 0 where it cannot be read, which `check` says.
fn authorities(path: &Path) -> usize {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(AUTHORITIES_BYTES_MAX).read_to_end(&mut text));
    let begins =
        |line: &&[u8]| line.starts_with(b"-----BEGIN ") && line.trim_ascii_end().ends_with(b"CERTIFICATE-----");
    read.map_or(0, |_| text.split(|octet| *octet == b'\n').filter(begins).count())
}

fn public_issuer(accounts: &OauthAccounts) -> Option<&str> {
    let issuer = accounts.issuer.as_deref().filter(|_| accounts.domains.is_empty())?;
    PUBLIC_ISSUERS.contains(&issuer.trim_end_matches('/')).then_some(issuer)
}

/// Who else says what is ours: nobody is asked here, and until somebody is, it is nothing.
pub(super) fn asked(report: &mut Report, config: &Config) {
    for table in &config.tables {
        if let (Some(name), TableSource::Asked(_)) = (&config.relay.domains_table, &table.source)
            && *name == table.name
        {
            report.line(&format!(
                "table \"{name}\": whoever is asked says which other domains are yours; not asked here"
            ));
        }
    }
}

/// Where filters may send anybody's mail.
pub(super) fn grants(report: &mut Report, config: &Config) {
    for filter in &config.filters {
        for pattern in &filter.grants.edit.recipient_patterns {
            report.line(&format!("filter \"{}\": may send anybody's mail to {pattern} (its grant)", filter.name));
        }
    }
}
