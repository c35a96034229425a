//! Which bounds hold for a client. Counting is done elsewhere.

use std::net::IpAddr;

use crate::config::{Config, Limits};

/// The bounds for a client at this address, and whether rate limits count it: the most specific `[[network]]`
/// that holds the address, else the defaults.
#[must_use]
pub fn for_client(config: &Config, address: IpAddr) -> (Limits, bool) {
    let address = address.to_canonical();
    config
        .networks
        .iter()
        .filter_map(|rule| {
            let longest = rule.networks.iter().filter(|net| net.contains(&address)).map(ipnet::IpNet::prefix_len).max();
            longest.map(|prefix| (prefix, rule))
        })
        .max_by_key(|(prefix, _)| *prefix)
        .map_or_else(|| (config.limits.clone(), true), |(_, rule)| (rule.limits.clone(), rule.rates))
}
