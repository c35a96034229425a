//! What concerns several sections at once: listeners and their TLS and AUTH, loops, things that nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::behind::{Identify, Server, Servers, UPSTREAM_DEFAULT, Upstream, UpstreamProtocol, UpstreamTls};
use super::conditions;
use super::edge::{ProxyTls, WantedCertificate};
use super::problem::{Problem, Span};
use super::reader::Reader;
use super::{
    Auth, AuthBackend, AuthBackendKind, AuthRemote, AuthService, Config, Filter, Listener, ListenerAuth, ListenerTls,
};
use crate::smtp::sasl::Mechanism;

/// The port where the world delivers mail.
const PORT_SMTP: u16 = 25;
/// RFC 8314: TLS from the first octet.
const PORT_SUBMISSIONS: u16 = 465;
/// RFC 6409.
const PORT_SUBMISSION: u16 = 587;

pub(super) fn all(config: &Config, reader: &Reader<'_>) {
    for (place, listener) in config.listeners.iter().enumerate() {
        security(config, listener, &format!("listener.{place}"), reader);
        public_port(listener, &format!("listener.{place}"), reader);
        submission_port(listener, &format!("listener.{place}"), reader);
    }
    addresses(config, reader);
    upstream_is_us(config, reader);
    for (place, upstream) in config.upstreams.iter().enumerate() {
        identify(upstream, &format!("upstream.{place}"), reader);
    }
    routes(config, reader);
    nobody_may_send(config, reader);
    unused(config, reader);
    conditions::check(config, reader);
    waits(config, reader);
    trusted_proxies(config, reader);
    all_in_clear(config, reader);
}

/// Names that must be unique, with the path of each.
pub(super) fn unique<'n>(what: &str, names: impl Iterator<Item = (&'n str, String)>, reader: &Reader<'_>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for (name, path) in names {
        let span = reader.place(&path);
        match seen.get(name) {
            Some(first) => reader.error(
                Problem::at(span, format!("there are two {what}s with the name \"{name}\""))
                    .label("again")
                    .other(first.clone(), "first here")
                    .help("give each its own name"),
            ),
            None => drop(seen.insert(name, span)),
        }
    }
}

fn security(config: &Config, listener: &Listener, path: &str, reader: &Reader<'_>) {
    let name = &listener.name;
    let at = |key: &str, title: String| Problem::at(reader.place(&format!("{path}.{key}")), title);
    if listener.tls != ListenerTls::Off && config.tls.is_none() {
        reader.error(
            at("tls", format!("listener \"{name}\" offers TLS, but there is no certificate"))
                .label("TLS is wanted here")
                .help("add [tls] with certificate = \"…\" and key = \"…\", or write tls = \"off\""),
        );
    }
    let encrypted = listener.tls != ListenerTls::Off
        || listener.trust.proxy.as_ref().is_some_and(|proxy| proxy.tls == ProxyTls::Believe);
    if listener.auth != ListenerAuth::Off && !encrypted {
        reader.error(
            at("auth", format!("listener \"{name}\" would take passwords in clear"))
                .label("AUTH without TLS")
                .help("write tls = \"starttls\" or tls = \"implicit\" for it (and add [tls]), or auth = \"off\""),
        );
    }
    if listener.auth != ListenerAuth::Off && config.auth.is_none() {
        reader.error(
            at("auth", format!("listener \"{name}\" offers AUTH, but nobody can check a password"))
                .label("AUTH is wanted here")
                .help("add [auth] with password-file = \"…\"; `wasmilter passwd` makes its lines"),
        );
    }
    // With AUTH required the fault is named above.
    if listener.require_tls && !encrypted && listener.auth == ListenerAuth::Off {
        reader.error(
            at("require-tls", format!("listener \"{name}\" requires TLS and does not offer it"))
                .label("nobody could send anything")
                .help("write tls = \"starttls\" for it, or take require-tls away"),
        );
    }
}

/// What does not suit the ports where people hand in mail.
fn submission_port(listener: &Listener, path: &str, reader: &Reader<'_>) {
    let name = &listener.name;
    let at = |port: u16| listener.addresses.iter().any(|address| address.port() == port);
    if at(PORT_SUBMISSIONS) && listener.tls == ListenerTls::StartTls {
        reader.warn(
            Problem::at(
                reader.place(&format!("{path}.tls")),
                format!("clients of port 465 begin with TLS, and listener \"{name}\" waits for STARTTLS"),
            )
            .label("nobody will understand each other")
            .help("write tls = \"implicit\" for it"),
        );
    }
    if (at(PORT_SUBMISSION) || at(PORT_SUBMISSIONS)) && listener.auth == ListenerAuth::Off {
        reader.warn(
            Problem::at(
                reader.place(&format!("{path}.auth")),
                format!("people hand in mail at this port, and cannot log in at listener \"{name}\""),
            )
            .label("without AUTH")
            .help("write auth = \"required\" for it"),
        );
    }
}

/// What does not suit the port where strangers deliver mail.
fn public_port(listener: &Listener, path: &str, reader: &Reader<'_>) {
    if !listener.addresses.iter().any(|address| address.port() == PORT_SMTP && !address.ip().is_loopback()) {
        return;
    }
    let name = &listener.name;
    let warn = |key: &str, title: String, label: &str, help: &str| {
        reader.warn(Problem::at(reader.place(&format!("{path}.{key}")), title).label(label).help(help));
    };
    if listener.auth == ListenerAuth::Required {
        warn(
            "auth",
            format!("listener \"{name}\" on port 25 asks everybody to log in: no other mail server can deliver to you"),
            "no mail from outside",
            "people log in on port 587 or 465; write auth = \"off\" here",
        );
    } else if listener.require_tls && listener.tls == ListenerTls::StartTls {
        warn(
            "require-tls",
            format!("listener \"{name}\" on port 25 refuses mail servers that do not use TLS"),
            "RFC 3207 4 forbids it for public servers",
            "leave it out, unless only servers you know deliver here",
        );
    }
    if listener.tls == ListenerTls::Implicit {
        warn(
            "tls",
            format!("listener \"{name}\" expects TLS from the first octet on port 25: no mail server speaks so"),
            "no mail from outside",
            "write tls = \"starttls\" here; implicit TLS belongs to port 465",
        );
    }
}

/// Two sockets cannot have one address.
fn addresses(config: &Config, reader: &Reader<'_>) {
    let mut taken: Vec<(SocketAddr, Span, String)> = Vec::new();
    let mut take = |address: SocketAddr, span: Span, who: String| match taken
        .iter()
        .find(|(other, _, _)| overlap(*other, address))
    {
        Some((other, first, owner)) => reader.error(
            Problem::at(span, format!("{address} is taken already: {owner} listens on {other}"))
                .label("again")
                .other(first.clone(), "first here")
                .help("give each its own address or port"),
        ),
        None => taken.push((address, span, who)),
    };
    for (place, listener) in config.listeners.iter().enumerate() {
        for (item, address) in listener.addresses.iter().enumerate() {
            let span = reader.place(&format!("listener.{place}.address.{item}"));
            take(*address, span, format!("listener \"{}\"", listener.name));
        }
    }
    if let Some(address) = config.admin.as_ref().and_then(|admin| admin.address) {
        take(address, reader.place("admin.address"), "[admin]".to_owned());
    }
}

/// Port 0 takes any free port, so it collides with nothing. IPv6 sockets are IPv6 only.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// An upstream that is the gateway itself: every message would come back for ever.
fn upstream_is_us(config: &Config, reader: &Reader<'_>) {
    for (group, upstream) in config.upstreams.iter().enumerate() {
        let Servers::Listed(servers) = &upstream.servers else { continue };
        for (item, server) in servers.iter().enumerate() {
            server_is_us(config, server, &format!("upstream.{group}.address.{item}"), reader);
        }
    }
}

fn server_is_us(config: &Config, server: &Server, path: &str, reader: &Reader<'_>) {
    let address: Option<IpAddr> = match server.host.as_str() {
        "localhost" => None,
        host => host.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
    };
    let local = server.host == "localhost" || address.is_some_and(|a| a.is_loopback() || a.is_unspecified());
    for (place, listener) in config.listeners.iter().enumerate() {
        for (item, own) in listener.addresses.iter().enumerate() {
            let ip = own.ip().to_canonical();
            let same_host =
                address == Some(ip) || (local && (ip.is_unspecified() || (ip.is_loopback() && address.is_none())));
            if own.port() != server.port || !same_host {
                continue;
            }
            reader.error(
                Problem::at(
                    reader.place(path),
                    format!(
                        "the upstream is the gateway's own listener \"{}\": every message would go in circles",
                        listener.name
                    ),
                )
                .label("where mail is sent")
                .other(reader.place(&format!("listener.{place}.address.{item}")), "where the gateway listens")
                .help("let your mail server listen on a port of its own, such as 127.0.0.1:10025, and write that here"),
            );
            return;
        }
    }
    let same_port = config.listeners.iter().flat_map(|one| &one.addresses).any(|own| own.port() == server.port);
    if server.host == config.hostname && same_port {
        reader.warn(
            Problem::at(reader.place(path), "the upstream has the gateway's own name and a port of its listeners")
                .label("leads back here, unless another host has this name")
                .help("write the mail server's own address, such as \"127.0.0.1:10025\""),
        );
    }
}

fn identify(upstream: &Upstream, path: &str, reader: &Reader<'_>) {
    let place = reader.place(&format!("{path}.identify"));
    let warning = match upstream.identify {
        Identify::Xclient => None,
        Identify::Xforward => Some("the upstream logs the client's address, but judges by the gateway's"),
        Identify::Auto => Some("an upstream that does not offer XCLIENT judges every client by the gateway's address"),
        // It relays for nobody.
        Identify::None if upstream.protocol == UpstreamProtocol::Lmtp || upstream.proxy_protocol.is_some() => None,
        Identify::None => Some("the upstream takes the gateway for the client of all mail"),
    };
    if let Some(warning) = warning {
        reader.warn(Problem::at(place, warning).label("weaker than \"xclient\"").help(
            "make sure that the upstream does not trust the gateway's address (Postfix: it must not be in mynetworks), \
             or it relays for the world",
        ));
    }
    if let UpstreamTls::Opportunistic = upstream.tls {
        reader.warn(
            Problem::at(
                reader.place(&format!("{path}.tls")),
                "any certificate will do, so nobody knows who the upstream is",
            )
            .label("keeps listeners away, not impostors")
            .help("tls = \"verify\" checks it; on the same machine tls = \"none\" is as good"),
        );
    }
}

/// Mail programs of people make nothing of a recipient that is put off to another transaction.
fn routes(config: &Config, reader: &Reader<'_>) {
    for (place, route) in config.routes.iter().enumerate().filter(|(_, route)| !route.recipients.is_empty()) {
        let submission = config.listeners.iter().find(|listener| {
            listener.auth == ListenerAuth::Required
                && (route.listeners.is_empty() || route.listeners.contains(&listener.name))
        });
        let Some(listener) = submission else { continue };
        reader.error(
            Problem::at(
                reader.place(&format!("route.{place}.recipients")),
                format!(
                    "listener \"{}\" is where people hand in mail, and a route by recipient cannot be for it",
                    listener.name
                ),
            )
            .label("depends on the recipient")
            .help(
                "a message goes to one upstream; recipients of another hear 452 and have to be sent again in a \
                 message of their own, which mail servers do and mail programs do not",
            )
            .help("name the listeners that the route is for, without this one: listeners = [\"…\"]"),
        );
    }
}

fn nobody_may_send(config: &Config, reader: &Reader<'_>) {
    let relay = &config.relay;
    let ours = !relay.domains.is_empty() || !relay.subdomains_of.is_empty() || relay.domains_table.is_some();
    let login = config.listeners.iter().any(|listener| listener.auth != ListenerAuth::Off);
    let trusted = config.listeners.iter().any(|listener| !listener.trusted_networks.is_empty());
    if !ours && !login && !trusted {
        reader.warn(
            Problem::at(0..0, "nobody may send anything: no domain is yours, nobody is trusted, nobody can log in")
                .help("add [relay] with domains = [\"example.org\"], the domains that you take mail for"),
        );
    }
}

fn unused(config: &Config, reader: &Reader<'_>) {
    let listeners = &config.listeners;
    let warn = |path: &str, title: String, help: &str| {
        reader.warn(Problem::at(reader.place(path), title).label("not used").help(help));
    };
    if config.tls.is_some() && listeners.iter().all(|listener| listener.tls == ListenerTls::Off) {
        warn(
            "tls",
            "there is a certificate, but no listener offers TLS".to_owned(),
            "write tls = \"starttls\" for one",
        );
    }
    if config.auth.is_some() && listeners.iter().all(|listener| listener.auth == ListenerAuth::Off) {
        warn("auth", "there are accounts, but no listener offers AUTH".to_owned(), "write auth = \"required\" for one");
    }
    let external = config.auth.as_ref().map(Auth::named_here).unwrap_or_default();
    let asked = |listener: &Listener| {
        listener.auth != ListenerAuth::Off && listener.handshakes.client_certificate != WantedCertificate::Off
    };
    if external.contains(Mechanism::External) && !listeners.iter().any(asked) {
        warn(
            "auth.mechanisms",
            "EXTERNAL needs a client's certificate, and no listener with AUTH asks for one".to_owned(),
            "add client-certificate = \"ask\" and client-ca = \"…\" to the listener where people log in",
        );
    }
    for (place, filter) in config.filters.iter().enumerate() {
        if listeners.iter().all(|listener| !listener.filters.contains(&filter.name)) {
            let title = format!("the filter \"{}\" runs nowhere", filter.name);
            warn(&format!("filter.{place}.name"), title, "add it to the filters of a listener");
        }
        if filter.bounds.deadline > config.engine.message_deadline {
            warn(
                &format!("filter.{place}.deadline"),
                format!("the filter \"{}\" never gets as long as this", filter.name),
                "all filters of a message together have engine.message-deadline",
            );
        }
    }
    for (place, upstream) in config.upstreams.iter().enumerate() {
        let name = &upstream.name;
        let granted = config.filters.iter().any(|Filter { grants, .. }| {
            let kept = grants.quarantine.as_ref().and_then(|grant| grant.upstream.as_ref());
            grants.route.iter().flatten().chain(kept).any(|to| to == name)
        });
        let asked = |backend: &AuthBackend| matches!(&backend.kind, AuthBackendKind::Remote(AuthRemote { service: AuthService::Upstream { upstream }, .. }) if upstream == name);
        let granted = granted || config.auth.iter().flat_map(|auth| &auth.backends).any(asked);
        if name != UPSTREAM_DEFAULT && !granted && config.routes.iter().all(|route| route.upstream != *name) {
            let title = format!("no mail goes to the upstream \"{name}\"");
            warn(
                &format!("upstream.{place}.name"),
                title,
                "add a [[route]] that leads to it, or let a filter choose it",
            );
        }
    }
    let granted = config.filters.iter().flat_map(|filter| filter.grants.tables.iter().flatten()).map(String::as_str);
    let of_policy = config.tables_of_policy();
    let used: BTreeSet<&str> = granted.chain(of_policy).collect();
    for table in config.tables.iter().filter(|table| !used.contains(table.name.as_str())) {
        let title = format!("nobody looks into the table \"{}\"", table.name);
        warn(
            &format!("table.{}", table.name),
            title,
            "add it to grants = { tables = [\"…\"] } of a filter, or name it in [[access]] or [relay]",
        );
    }
}

fn waits(config: &Config, reader: &Reader<'_>) {
    if config.shutdown.final_reply < config.timeouts.upstream_final {
        reader.warn(
            Problem::at(
                reader.place("shutdown.final-reply"),
                "a shutdown may cut a session between the final dot and its reply",
            )
            .label("shorter than timeouts.upstream-final")
            .help("the client sends such a message again, although the upstream may have taken it"),
        );
    }
}

/// A proxy that does not know its client (a health check) is the client itself.
fn trusted_proxies(config: &Config, reader: &Reader<'_>) {
    for (place, listener) in config.listeners.iter().enumerate() {
        let networks = listener.trust.proxy.iter().flat_map(|proxy| &proxy.networks);
        for (item, network) in networks.enumerate() {
            if listener.trusted_networks.iter().any(|one| one.contains(network) || network.contains(one)) {
                reader.warn(
                    Problem::at(
                        reader.place(&format!("listener.{place}.proxy-networks.{item}")),
                        "clients this proxy does not know may send anything to anywhere",
                    )
                    .label("also in trusted-networks")
                    .help("take the proxy's address out of trusted-networks, or give this listener a list of its own"),
                );
            }
        }
    }
}

/// Said once, not for each listener.
fn all_in_clear(config: &Config, reader: &Reader<'_>) {
    let encrypted = |listener: &Listener| {
        listener.tls != ListenerTls::Off
            || listener.trust.proxy.as_ref().is_some_and(|proxy| proxy.tls == ProxyTls::Believe)
    };
    let public = |listener: &Listener| listener.addresses.iter().any(|address| !address.ip().is_loopback());
    let listeners = &config.listeners;
    if config.tls.is_none() && listeners.iter().any(public) && !listeners.iter().any(encrypted) {
        reader.warn(
            Problem::at(0..0, "there is no `[tls]`: all mail comes in clear, for everybody on its way to read").help(
                "add [tls] with certificate = \"…\" and key = \"…\"; mail servers use STARTTLS where it is offered",
            ),
        );
    }
}
