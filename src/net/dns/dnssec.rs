//! DNSSEC (RFC 4033 to 4035): the keys to begin at, and what a verified answer is worth.
//!
//! The DNS library does the verifying, follows the chain of signatures and refuses what is forged. Nothing here decides
//! what an insecure answer is good for.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{DnssecSummary, Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};

use super::{NoAnswer, ResolverError, Security};

/// A file of keys is a few lines.
const TRUST_ANCHOR_BYTES_MAX: u64 = 1_048_576;

/// The keys of the root, and those of `file`: of the root in their place, of other zones beside them.
pub(super) fn trust_anchors(file: Option<&Path>) -> Result<Arc<TrustAnchors>, ResolverError> {
    let built_in = TrustAnchors::default();
    let Some(file) = file else { return Ok(Arc::new(built_in)) };
    let named = |why: String| ResolverError(format!("trust-anchor {}: {why}", file.display()));
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(TRUST_ANCHOR_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| named(error.to_string()))?;
    let entries = Parser::new(text.as_str()).parse().map_err(|error| {
        named(format!("{error}; it wants DNSKEY records as in a zone file, one a line: . IN DNSKEY 257 3 8 AwEA…"))
    })?;
    if entries.is_empty() {
        return Err(named("has no DNSKEY record".to_owned()));
    }
    let mut anchors = TrustAnchors::empty();
    for entry in &entries {
        let Entry::DNSKEY(key) = entry else { continue };
        anchors.insert_with_name(key.data().public_key(), key.name().into());
    }
    if anchors.is_empty() {
        // `is_empty` speaks of the root's keys alone.
        (0..built_in.len()).filter_map(|index| built_in.get(index)).for_each(|key| {
            anchors.insert(key);
        });
    }
    Ok(Arc::new(anchors))
}

/// What the signatures of an answer and of the aliases that led to it say, all together.
pub(super) fn security(lookup: &Lookup) -> Result<Security, NoAnswer> {
    match DnssecSummary::from_records(lookup.answers().iter()) {
        DnssecSummary::Secure => Ok(Security::Secure),
        DnssecSummary::Insecure => Ok(Security::Insecure),
        DnssecSummary::Bogus => Err(NoAnswer::Bogus),
    }
}

/// What a server said of a name that it has no records for.
pub(super) fn nothing_there(error: &NetError) -> Option<ResponseCode> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(nothing)) => Some(nothing.response_code),
        // Its proof takes more hashing than anybody should do (RFC 9276 3.2): as good as none, and no forgery.
        NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. }) if response.answers.is_empty() => {
            Some(response.response_code)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
