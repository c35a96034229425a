//! Names and addresses: who a peer says it is by reverse DNS, where the upstream lives, and what filters ask.
//!
//! One shared resolver with a bounded cache. The hosts file comes first; loopback and link-local addresses are
//! answered from it or not at all, so nobody's DNS ever hears of them. Whatever DNS says is hostile: names are
//! checked before anybody sees them, and only so many of them are looked at. Refuses to guess: a failure is
//! told apart from an answer that there is nothing.

mod dnssec;
mod records;

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::PTR;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::hosts::{Hosts, host_name};
use crate::config::{self, Dnssec, PeerNames};
use crate::mail::PeerName;
pub use records::{ANSWER_BYTES_MAX, Answer, NoAnswer, RECORDS_MAX, Security, reverse};

/// PTR names of one address that are looked at; a hostile zone can hold thousands.
const PTR_NAMES_MAX: usize = 10;
/// Addresses of one host that are handed out.
const HOST_ADDRESSES_MAX: usize = 8;
/// Hosts of one service that are handed out.
const SERVICE_HOSTS_MAX: usize = 16;
/// Responses kept (each at most one DNS message), oldest out first.
const CACHED_RESPONSES_MAX: u64 = 4_096;
/// Nobody's TTL binds us longer than this.
const CACHE_TTL_MAX: Duration = Duration::from_secs(3_600);
/// One question to one server. The caller's own bound holds over all of them.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(3);
const HOSTS_FILE: &str = "/etc/hosts";
const HOSTS_FILE_BYTES_MAX: u64 = 1_048_576;

/// Why a host has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// DNS or the hosts file says so.
    #[error("no such host")]
    NotFound,
    /// Nobody knows for now.
    #[error("lookup failed: {0}")]
    Failed(String),
}

/// The resolver could not be built from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("resolver: {0}")]
pub struct ResolverError(String);

/// Answers to both questions, cached. Cheap to clone; all clones share the cache.
#[derive(Clone)]
pub struct Resolver {
    hosts: Arc<Hosts>,
    dns: TokioResolver,
    peer_names: PeerNames,
    /// Whether answers are verified.
    validates: bool,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// With the configured servers, else the system's; and the system's hosts file, read now.
    ///
    /// A system without `resolv.conf` is asked at 127.0.0.1, as resolv.conf(5) says.
    ///
    /// # Errors
    /// When the DNS library refuses the configuration, or the file of trust anchors cannot be read.
    pub fn new(settings: &config::Resolver) -> Result<Self, ResolverError> {
        Self::with_hosts(settings, Hosts::parse(&hosts_file()))
    }

    /// The same with this hosts file instead of the system's.
    ///
    /// # Errors
    /// As [`Resolver::new`].
    pub fn with_hosts(settings: &config::Resolver, hosts: Hosts) -> Result<Self, ResolverError> {
        let (servers, mut options) = servers(settings);
        options.timeout = options.timeout.min(QUESTION_TIMEOUT);
        options.cache_size = CACHED_RESPONSES_MAX;
        options.use_hosts_file = ResolveHosts::Never;
        options.positive_max_ttl = Some(CACHE_TTL_MAX);
        options.negative_max_ttl = Some(CACHE_TTL_MAX);
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let mut builder =
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default()).with_options(options);
        if let Dnssec::Validated { trust_anchor } = &settings.dnssec {
            builder = builder.with_trust_anchor(dnssec::trust_anchors(trust_anchor.as_deref())?);
        }
        let dns = builder.build().map_err(|error| ResolverError(error.to_string()))?;
        let validates = settings.dnssec != Dnssec::Unchecked;
        Ok(Self { hosts: Arc::new(hosts), dns, peer_names: settings.peer_names, validates })
    }

    /// For a library that asks for itself. The hosts file does not hold there.
    pub(crate) fn dns(&self) -> TokioResolver {
        self.dns.clone()
    }

    /// Forward-confirmed reverse DNS: the confirmed name, and the name whether it was confirmed or not.
    ///
    /// A PTR name is confirmed when its own addresses hold the peer's. No PTR, no valid name or no
    /// confirmation is `Unavailable`; a failure, or no answer within `timeout`, is `TemporarilyUnavailable`.
    /// Never fails and never takes longer than `timeout`. Where the operator wants no names, nobody is asked.
    pub async fn peer_name(&self, peer: IpAddr, timeout: Duration) -> (PeerName, PeerName) {
        if self.peer_names == PeerNames::Unasked {
            return (PeerName::Unavailable, PeerName::Unavailable);
        }
        let peer = peer.to_canonical();
        if let Some(name) = self.hosts.name(peer) {
            return (PeerName::Confirmed(name.clone()), PeerName::Confirmed(name));
        }
        if is_ours_alone(peer) {
            return (PeerName::Unavailable, PeerName::Unavailable);
        }
        let mut reverse = PeerName::TemporarilyUnavailable;
        // Boxed: the resolver's futures are kilobytes, and a session carries its largest await for its whole life.
        let walk = Box::pin(self.confirm(peer, &mut reverse));
        match tokio::time::timeout(timeout, walk).await {
            Ok(PeerName::Confirmed(name)) => (PeerName::Confirmed(name.clone()), PeerName::Confirmed(name)),
            Ok(unconfirmed) => (unconfirmed, reverse),
            Err(_) => (PeerName::TemporarilyUnavailable, reverse),
        }
    }

    /// `reverse` is written as soon as it is known, so that a time-out during confirmation does not lose it.
    async fn confirm(&self, peer: IpAddr, reverse: &mut PeerName) -> PeerName {
        let names = match self.pointer_names(peer).await {
            Ok(names) => names,
            Err(unknown) => {
                *reverse = unknown.clone();
                return unknown;
            }
        };
        *reverse = names.first().map_or(PeerName::Unavailable, |(name, _)| PeerName::Confirmed(name.clone()));
        let record_type = if peer.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let mut verdict = PeerName::Unavailable;
        for (name, mut question) in names {
            if self.hosts.addresses(&name).contains(&peer) {
                return PeerName::Confirmed(name);
            }
            // Absolute: search domains are for the operator's names, not for a stranger's.
            question.set_fqdn(true);
            match self.dns.lookup(question, record_type).await {
                Ok(answer) if answer.answers().iter().any(|record| address(&record.data) == Some(peer)) => {
                    return PeerName::Confirmed(name);
                }
                Ok(_) => {}
                Err(error) if says_nothing_there(&error) => {}
                Err(_) => verdict = PeerName::TemporarilyUnavailable,
            }
        }
        verdict
    }

    /// The valid ones among the first PTR names.
    async fn pointer_names(&self, peer: IpAddr) -> Result<Vec<(Arc<str>, Name)>, PeerName> {
        let answer = self.dns.lookup(Name::from(peer), RecordType::PTR).await.map_err(|error| {
            if says_nothing_there(&error) { PeerName::Unavailable } else { PeerName::TemporarilyUnavailable }
        })?;
        let pointers = answer.answers().iter().filter_map(|record| match &record.data {
            RData::PTR(name) => Some(name),
            _ => None,
        });
        let checked = |name: &PTR| Some((host_name(&name.0.to_ascii())?, name.0.clone()));
        Ok(pointers.take(PTR_NAMES_MAX).filter_map(checked).collect())
    }

    /// All addresses of `host` (an address, a name of the hosts file, or a name in DNS), at most eight, IPv4 first:
    /// a half-configured IPv6 is more often found than a half-configured IPv4. `localhost` is never asked of DNS.
    ///
    /// # Errors
    /// When there is none, or nobody knows for now. Takes as long as DNS takes; the caller bounds it.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let literal = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let settled = self.hosts.addresses(host);
        if !settled.is_empty() {
            return Ok(settled.iter().copied().take(HOST_ADDRESSES_MAX).collect());
        }
        if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return Ok(vec![IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)]);
        }
        self.addresses_in_dns(host).await
    }

    /// The hosts of a service (RFC 2782), at most sixteen, as the DNS lists them; remembered for as long as their TTL
    /// allows. Names that are none are passed over; a target of `.` means that there is no such service.
    ///
    /// # Errors
    /// As [`addresses`](Self::addresses).
    pub async fn service(&self, name: &str) -> Result<Vec<config::Server>, LookupError> {
        let mut question = Name::from_ascii(name).map_err(|error| LookupError::Failed(error.to_string()))?;
        question.set_fqdn(true);
        match Box::pin(self.dns.lookup(question, RecordType::SRV)).await {
            Ok(answer) => {
                let servers = targets(answer.answers().iter().map(|record| record.data.clone()));
                if servers.is_empty() { Err(LookupError::NotFound) } else { Ok(servers) }
            }
            Err(error) if says_nothing_there(&error) => Err(LookupError::NotFound),
            Err(error) => Err(LookupError::Failed(error.to_string())),
        }
    }

    async fn addresses_in_dns(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        match Box::pin(self.dns.lookup_ip(host)).await {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().collect();
                addresses.sort_by_key(IpAddr::is_ipv6);
                addresses.dedup();
                addresses.truncate(HOST_ADDRESSES_MAX);
                if addresses.is_empty() { Err(LookupError::NotFound) } else { Ok(addresses) }
            }
            Err(error) if says_nothing_there(&error) => Err(LookupError::NotFound),
            Err(error) => Err(LookupError::Failed(error.to_string())),
        }
    }
}

fn targets(records: impl Iterator<Item = RData>) -> Vec<config::Server> {
    let server = |record: RData| match record {
        RData::SRV(srv) => Some(config::Server {
            host: host_name(&srv.target.to_ascii())?.to_ascii_lowercase(),
            port: Some(srv.port).filter(|port| *port > 0)?,
            priority: srv.priority,
            weight: srv.weight,
        }),
        _ => None,
    };
    records.filter_map(server).take(SERVICE_HOSTS_MAX).collect()
}

fn servers(settings: &config::Resolver) -> (ResolverConfig, ResolverOpts) {
    if settings.servers.is_empty() {
        return hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|error| {
            tracing::warn!(%error, "the system's resolver configuration cannot be read; asking 127.0.0.1");
            let local = NameServerConfig::udp_and_tcp(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
            (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
        });
    }
    let servers = settings.servers.iter().map(|server| {
        let at_port = |mut connection: ConnectionConfig| {
            connection.port = server.port();
            connection
        };
        let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
        NameServerConfig::new(server.ip(), true, connections)
    });
    (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
}

fn hosts_file() -> String {
    let mut octets = Vec::new();
    match std::fs::File::open(HOSTS_FILE) {
        Ok(file) => {
            if let Err(error) = file.take(HOSTS_FILE_BYTES_MAX).read_to_end(&mut octets) {
                tracing::warn!(%error, file = HOSTS_FILE, "cannot be read to its end");
            }
        }
        Err(error) => tracing::debug!(%error, file = HOSTS_FILE, "no hosts file"),
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// Addresses that mean something else on every machine or link: no DNS server can know them.
fn is_ours_alone(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_loopback() || address.is_unspecified()
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// NXDOMAIN or no data, said by a server: an answer, not a failure.
fn says_nothing_there(error: &NetError) -> bool {
    matches!(dnssec::nothing_there(error), Some(ResponseCode::NXDomain | ResponseCode::NoError))
}

#[cfg(test)]
#[path = "dns_tests.rs"]
pub(crate) mod tests;
