//! Addresses from which somebody has logged in elsewhere lately: at the server that people fetch their mail from. Whoever
//! sends from there may be a device of theirs that cannot log in itself.
//!
//! IPv4 by address, IPv6 by /64, which is what one subscriber has. Bounded by forgetting those that would be forgotten
//! first anyway. Time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::snapshot::{Malformed, Moment, Part, Reading, Saving};

/// Addresses remembered.
pub const ADDRESSES_MAX: usize = 100_000;
/// The longest that one login counts: a day, after which the address may be somebody else's.
pub const ADDRESS_TTL_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long a login counts when nobody says.
pub const ADDRESS_TTL_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// One part in this many is forgotten at once when there is no room.
const FORGET_DIVISOR: usize = 8;

/// Until when each of them counts.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<IpAddr, Instant>>);

/// An address from which nobody can have logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody logs in from this address")]
pub struct Nobody;

impl Addresses {
    /// Somebody has logged in from there; it counts for so long from now on, at most [`ADDRESS_TTL_MAX`].
    ///
    /// # Errors
    /// It is no client's address.
    pub fn keep(&self, address: IpAddr, ttl: Duration, now: Instant) -> Result<(), Nobody> {
        let canonical = address.to_canonical();
        let broadcast = matches!(canonical, IpAddr::V4(four) if four.is_broadcast());
        if canonical.is_unspecified() || canonical.is_multicast() || broadcast {
            return Err(Nobody);
        }
        let mut known = self.lock();
        let key = subscriber(address);
        if known.len() >= ADDRESSES_MAX && !known.contains_key(&key) {
            make_room(&mut known, now);
        }
        let until = now + ttl.min(ADDRESS_TTL_MAX);
        let kept = known.entry(key).or_insert(until);
        *kept = until.max(*kept);
        Ok(())
    }

    /// Whether a login from there still counts.
    pub fn knows(&self, address: IpAddr, now: Instant) -> bool {
        self.lock().get(&subscriber(address)).is_some_and(|until| now < *until)
    }

    /// Gives the memory of those back that no longer count.
    pub fn sweep(&self, now: Instant) {
        let mut known = self.lock();
        known.retain(|_, until| now < *until);
        known.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one subscriber has: an IPv4 address, or the first address of an IPv6 /64.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => four.into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
    }
}

fn make_room(known: &mut HashMap<IpAddr, Instant>, now: Instant) {
    known.retain(|_, until| now < *until);
    if known.len() < ADDRESSES_MAX {
        return;
    }
    let mut ends: Vec<Instant> = known.values().copied().collect();
    let (_, &mut last, _) = ends.select_nth_unstable(ADDRESSES_MAX / FORGET_DIVISOR);
    known.retain(|_, until| *until > last);
}

impl Part for std::sync::Arc<Addresses> {
    fn name(&self) -> String {
        "addresses of logins".to_owned()
    }

    fn save(&self, saving: &mut Saving<'_>) {
        let moment = saving.moment();
        let copied: Vec<(IpAddr, Instant)> = self.lock().iter().map(|(address, until)| (*address, *until)).collect();
        for (address, until) in copied.into_iter().filter(|(_, until)| moment.instant() < *until) {
            let octets = match address {
                IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
                IpAddr::V6(six) => six.octets(),
            };
            saving.record(&[&octets, &moment.wall_ms_of(until).to_le_bytes()]);
        }
    }

    fn restore(&self, mut page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        while !page.is_at_end() {
            let (address, until_ms) = (IpAddr::from(page.octets::<16>()?), page.number()?);
            if let Some(ttl) = moment.until(until_ms) {
                self.keep(address, ttl, moment.instant()).map_err(|Nobody| Malformed)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_login_counts_for_its_time_and_for_what_one_subscriber_has() {
        let (addresses, now) = (Addresses::default(), Instant::now());
        addresses.keep(ip("192.0.2.1"), 60 * SECOND, now).unwrap();
        addresses.keep(ip("2001:db8:1:2::3"), 60 * SECOND, now).unwrap();
        for (address, known) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:3::3", false),
        ] {
            assert_eq!(addresses.knows(ip(address), now), known, "{address}");
        }
        // A shorter one takes nothing away.
        addresses.keep(ip("192.0.2.1"), SECOND, now).unwrap();
        assert!(addresses.knows(ip("192.0.2.1"), now + 59 * SECOND));
        assert!(!addresses.knows(ip("192.0.2.1"), now + 60 * SECOND));
        addresses.keep(ip("192.0.2.1"), 99 * ADDRESS_TTL_MAX, now).unwrap();
        assert!(!addresses.knows(ip("192.0.2.1"), now + ADDRESS_TTL_MAX));
        addresses.sweep(now + 2 * ADDRESS_TTL_MAX);
        assert!(addresses.lock().is_empty());
    }

    #[test]
    fn what_is_nobodys_is_refused() {
        let (addresses, now) = (Addresses::default(), Instant::now());
        for address in ["0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1"] {
            assert_eq!(addresses.keep(ip(address), SECOND, now), Err(Nobody), "{address}");
        }
    }

    #[test]
    fn there_are_never_too_many_and_the_last_ones_stay() {
        let (addresses, now) = (Addresses::default(), Instant::now());
        let all = u32::try_from(ADDRESSES_MAX).unwrap() + 10;
        for i in 1..=all {
            addresses.keep(Ipv4Addr::from_bits(i).into(), SECOND + Duration::from_millis(i.into()), now).unwrap();
        }
        assert!(addresses.lock().len() <= ADDRESSES_MAX);
        assert!(addresses.knows(Ipv4Addr::from_bits(all).into(), now));
        assert!(!addresses.knows(Ipv4Addr::from_bits(1).into(), now));
    }

    #[test]
    fn they_are_found_again_after_a_restart() {
        let (addresses, now) = (Arc::new(Addresses::default()), Moment::now());
        addresses.keep(ip("192.0.2.1"), 60 * SECOND, now.instant()).unwrap();
        addresses.keep(ip("2001:db8::1"), 60 * SECOND, now.instant()).unwrap();
        let mut pages = Vec::new();
        let mut sink = |page: &[u8]| {
            pages.extend_from_slice(page);
            Ok(())
        };
        let mut saving = Saving::new(now, 1_000, &mut sink);
        addresses.save(&mut saving);
        saving.finish().unwrap();
        let again = Arc::new(Addresses::default());
        again.restore(Reading::new(&pages), now).unwrap();
        for address in ["192.0.2.1", "2001:db8::2"] {
            assert!(again.knows(ip(address), now.instant() + 59 * SECOND));
            assert!(!again.knows(ip(address), now.instant() + 61 * SECOND));
        }
        assert!(again.restore(Reading::new(&[0; 7]), now).is_err());
    }
}
