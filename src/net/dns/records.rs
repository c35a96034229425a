//! Any question to the DNS, and its answer in the words of a zone file: what filters ask.
//!
//! Names are absolute whatever their last dot, and checked both ways: what is no name is not asked, and a name in an
//! answer that is none is left out. Names and addresses that mean something else on every machine (`localhost`, loopback,
//! what the hosts file settles) are answered here or not at all, so nobody's DNS ever hears of them.

use std::net::IpAddr;
use std::str::FromStr;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::dnssec::{nothing_there, security};
use super::{Resolver, is_ours_alone};
use crate::net::hosts::host_name;

/// Records of one answer that are handed out.
pub const RECORDS_MAX: usize = 128;
/// Octets of all of them together.
pub const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// Octets of a name, without its last dot (RFC 1035 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Octets of one label.
const LABEL_BYTES_MAX: usize = 63;

/// What DNSSEC says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Secure,
    Insecure,
    /// Nobody looked.
    Unchecked,
}

/// Records of the type that was asked for, each in the form of a zone file; addresses and names without the last dot, TXT
/// as the octets of its strings joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub records: Vec<Vec<u8>>,
    pub security: Security,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("no such name")]
    NotFound,
    #[error("the name has nothing of this kind")]
    NoData,
    #[error("no server had an answer: {0}")]
    Failed(String),
    #[error("no server answered in time")]
    Timeout,
    #[error("DNSSEC says that the answer is forged")]
    Bogus,
    #[error("is no name, or no type of record that can be asked for")]
    Malformed,
}

/// The name of an address below in-addr.arpa or ip6.arpa.
#[must_use]
pub fn reverse(address: IpAddr) -> String {
    Name::from(address.to_canonical()).to_ascii().trim_end_matches('.').to_owned()
}

impl Resolver {
    /// Asks for the records of one kind ("A", "TXT", "TLSA", …), following CNAME.
    ///
    /// # Errors
    /// Why there is nothing to hand out. Takes as long as DNS takes; the caller bounds it.
    pub async fn ask(&self, name: &str, kind: &str) -> Result<Answer, NoAnswer> {
        let kind = record_type(kind).ok_or(NoAnswer::Malformed)?;
        let name = question(name).ok_or(NoAnswer::Malformed)?;
        if let Some(settled) = self.settled(&name, kind) {
            let records = settled?;
            return if records.is_empty() {
                Err(NoAnswer::NoData)
            } else {
                Ok(Answer { records, security: if self.validates { Security::Insecure } else { Security::Unchecked } })
            };
        }
        // Boxed: the resolver's futures are kilobytes.
        match Box::pin(self.dns.lookup(name, kind)).await {
            Ok(lookup) => answer(&lookup, kind, if self.validates { security(&lookup)? } else { Security::Unchecked }),
            Err(error) => Err(no_answer(error)),
        }
    }

    /// What is answered without the DNS.
    fn settled(&self, name: &Name, kind: RecordType) -> Option<Result<Vec<Vec<u8>>, NoAnswer>> {
        if let Ok(network) = name.parse_arpa_name()
            && network.prefix_len() == network.max_prefix_len()
        {
            if let Some(known) = self.hosts.name(network.addr()) {
                let records = if kind == RecordType::PTR { vec![known.as_bytes().to_vec()] } else { Vec::new() };
                return Some(Ok(records));
            }
            return is_ours_alone(network.addr()).then_some(Err(NoAnswer::NotFound));
        }
        let text = name.to_ascii();
        let text = text.trim_end_matches('.');
        let mut addresses = self.hosts.addresses(text).to_vec();
        let local = text.eq_ignore_ascii_case("localhost") || text.to_ascii_lowercase().ends_with(".localhost");
        if addresses.is_empty() && local {
            addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
        }
        // Of a name in the hosts file only the addresses are settled.
        if addresses.is_empty() || (!local && !matches!(kind, RecordType::A | RecordType::AAAA)) {
            return None;
        }
        let wanted = |address: &&IpAddr| match kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        };
        Some(Ok(addresses.iter().filter(wanted).map(|address| address.to_string().into_bytes()).collect()))
    }
}

/// A type with records of its own: no questions about whole zones, and none that are about the transport.
fn record_type(kind: &str) -> Option<RecordType> {
    let kind = RecordType::from_str(&kind.to_ascii_uppercase()).ok()?;
    let refused = matches!(
        kind,
        RecordType::ANY | RecordType::AXFR | RecordType::TSIG | RecordType::SIG | RecordType::NULL | RecordType::OPT
    );
    (!refused).then_some(kind)
}

/// An absolute name to ask for: any printable ASCII in its labels, since not every name is a host.
fn question(name: &str) -> Option<Name> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let fits = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'\\' | b'"'))
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.split('.').all(fits) {
        return None;
    }
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn answer(lookup: &Lookup, kind: RecordType, security: Security) -> Result<Answer, NoAnswer> {
    let mut records = Vec::new();
    let mut room = ANSWER_BYTES_MAX;
    let shown = lookup.answers().iter().filter(|record| record.record_type() == kind).filter_map(|r| show(&r.data));
    for record in shown.take(RECORDS_MAX) {
        let Some(left) = room.checked_sub(record.len()) else { break };
        room = left;
        records.push(record);
    }
    if records.is_empty() { Err(NoAnswer::NoData) } else { Ok(Answer { records, security }) }
}

/// One record. `None`: there is a name in it that is none.
fn show(data: &RData) -> Option<Vec<u8>> {
    let host = |name: &Name| if name.is_root() { Some(".".into()) } else { host_name(&name.to_ascii()) };
    let text = match data {
        RData::A(address) => address.0.to_string(),
        RData::AAAA(address) => address.0.to_string(),
        RData::TXT(text) => return Some(text.txt_data.concat()),
        RData::MX(mx) => format!("{} {}", mx.preference, host(&mx.exchange)?),
        RData::PTR(name) => host(&name.0)?.to_string(),
        RData::NS(name) => host(&name.0)?.to_string(),
        RData::CNAME(name) => absolute(&name.0),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, host(&srv.target)?),
        other => other.to_string(),
    };
    // A zone file is printable; what is not would be somebody's idea of a joke.
    text.chars().all(|c| c == ' ' || c.is_ascii_graphic()).then(|| text.into_bytes())
}

/// Without the last dot, like every other name here.
fn absolute(name: &Name) -> String {
    let text = name.to_ascii();
    if name.is_root() { text } else { text.trim_end_matches('.').to_owned() }
}

fn no_answer(error: NetError) -> NoAnswer {
    match nothing_there(&error) {
        Some(ResponseCode::NXDomain) => return NoAnswer::NotFound,
        Some(ResponseCode::NoError) => return NoAnswer::NoData,
        Some(code) => return NoAnswer::Failed(code.to_string()),
        None => {}
    }
    match error {
        NetError::Dns(DnsError::DnssecBogus) => NoAnswer::Bogus,
        NetError::Timeout => NoAnswer::Timeout,
        error => NoAnswer::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
