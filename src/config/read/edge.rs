//! Of `[[listener]]`: proxies in front of it, and who may speak for clients.

use ipnet::IpNet;

use super::relay::{Danger, own_networks};
use crate::config::edge::{Proxy, ProxyTls, Trust};
use crate::config::problem::Problem;
use crate::config::section::Section;

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
