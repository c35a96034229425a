//! Connections that are open now: in all, by address, and by network, so that no network takes all of them.
//!
//! What a network may hold follows from what is free (the dynamic threshold that switches share their buffers by): at
//! most four times as much. While there is much room nobody notices; near the cap the newest connections of the largest
//! networks are refused first, and small ones still come in. One greedy network gets four fifths of the cap, two get four
//! ninths each. The machine's own addresses share nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Refused, address_key};

/// A network may hold this many times what is free.
const SHARE_OF_FREE: u32 = 4;
/// Bits of an address that make a network.
const NETWORK_BITS_V4: u32 = 24;
const NETWORK_BITS_V6: u32 = 48;

/// What the configuration allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AtOnce {
    pub(super) all: Option<u32>,
    pub(super) per_address: Option<u32>,
}

/// Holds no more keys than there are connections.
#[derive(Debug)]
pub(super) struct Open {
    counts: Mutex<Counts>,
    /// As in `counts`, for those who only look.
    total: AtomicU32,
    ceiling: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    total: u32,
    pub(super) by_address: HashMap<u64, u32>,
    pub(super) by_network: HashMap<u64, u32>,
}

impl Default for Open {
    fn default() -> Open {
        Open { counts: Mutex::default(), total: AtomicU32::new(0), ceiling: AtomicU32::new(u32::MAX) }
    }
}

impl Open {
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn set_ceiling(&self, sessions: u32) {
        self.ceiling.store(sessions, Ordering::Relaxed);
    }

    /// The most there can be.
    pub(super) fn cap(&self, at_once: &AtOnce) -> u32 {
        at_once.all.unwrap_or(u32::MAX).min(self.ceiling.load(Ordering::Relaxed))
    }

    /// Without an address only the total counts.
    pub(super) fn enter(
        open: &Arc<Open>,
        address: Option<IpAddr>,
        at_once: &AtOnce,
    ) -> Result<ConnectionGuard, Refused> {
        let refused = |which| Err(Refused { which, retry_after: None });
        let mut counts = open.counts();
        if at_once.all.is_some_and(|max| counts.total >= max) {
            return refused("connections-at-once");
        }
        let keys = address.map(|address| (address_key(address), network_key(address)));
        if let (Some((key, network)), Some(address)) = (keys, address) {
            let here = counts.by_address.get(&key).copied().unwrap_or(0);
            if at_once.per_address.is_some_and(|max| here >= max) {
                return refused("connections-at-once-per-address");
            }
            let around = counts.by_network.get(&network).copied().unwrap_or(0);
            let free = open.cap(at_once).saturating_sub(counts.total);
            if !address.to_canonical().is_loopback() && around >= free.saturating_mul(SHARE_OF_FREE) {
                return refused("fair-share");
            }
            counts.by_address.insert(key, here + 1);
            counts.by_network.insert(network, around + 1);
        }
        counts.total += 1;
        open.total.store(counts.total, Ordering::Relaxed);
        Ok(ConnectionGuard { open: Arc::clone(open), keys })
    }
}

/// IPv4 by /24, IPv6 by /48; they do not meet, since nobody calls from `::/24`.
fn network_key(address: IpAddr) -> u64 {
    let key = address_key(address);
    match address.to_canonical() {
        IpAddr::V4(_) => key >> (32 - NETWORK_BITS_V4),
        IpAddr::V6(_) => key >> (64 - NETWORK_BITS_V6) << (64 - NETWORK_BITS_V6),
    }
}

/// One open connection; dropping it is what closes it in the counts.
#[derive(Debug)]
#[must_use = "the connection counts as open only while this lives"]
pub struct ConnectionGuard {
    open: Arc<Open>,
    /// Of its address and its network.
    keys: Option<(u64, u64)>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.open.counts();
        counts.total = counts.total.saturating_sub(1);
        self.open.total.store(counts.total, Ordering::Relaxed);
        let Some((address, network)) = self.keys else { return };
        one_less(&mut counts.by_address, address);
        one_less(&mut counts.by_network, network);
    }
}

fn one_less(counts: &mut HashMap<u64, u32>, key: u64) {
    match counts.get_mut(&key) {
        Some(here) if *here > 1 => *here -= 1,
        _ => {
            counts.remove(&key);
        }
    }
}
