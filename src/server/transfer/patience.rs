//! How long the client is waited for while its message comes: a wait that octets earn back, so that a message
//! that trickles in cannot hold a session (and an upstream inside DATA) for as long as one that flows.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::session::Session;

/// Full at the beginning. Waiting uses it up, each octet fills it again by its share, never beyond `full`. Time that
/// filters and the upstream take is not the client's.
#[derive(Debug)]
pub(in crate::server) struct Patience {
    left: Duration,
    full: Duration,
    bytes_per_second_min: Option<u32>,
}

impl Patience {
    /// What this client is granted.
    pub(in crate::server) fn of(session: &Session, config: &Config) -> Patience {
        Patience::new(config.timeouts.data, session.limits().data_bytes_per_second_min)
    }

    /// Without a rate, every octet that comes fills it.
    pub(super) fn new(full: Duration, bytes_per_second_min: Option<u32>) -> Patience {
        Patience { left: full, full, bytes_per_second_min }
    }

    /// How long the next octets may take.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// So many octets came, after a wait that began then.
    pub(super) fn came(&mut self, octets: usize, since: Instant) {
        let Some(rate) = self.bytes_per_second_min else { return };
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1).saturating_mul(octets) / rate.max(1);
        self.left = self.left.saturating_sub(since.elapsed()).saturating_add(earned).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Pieces of so many octets, a minute apart: how many come before patience ends.
    async fn pieces(octets: usize, rate: Option<u32>) -> usize {
        let mut patience = Patience::new(5 * MINUTE, rate);
        for piece in 0..1_000 {
            if patience.left() < MINUTE {
                return piece;
            }
            let since = Instant::now();
            tokio::time::advance(MINUTE).await;
            patience.came(octets, since);
        }
        1_000
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_and_a_slow_stream_does_not() {
        assert_eq!(pieces(1, Some(100)).await, 5, "one octet a minute");
        assert_eq!(pieces(3_000, Some(100)).await, 9, "half as fast as asked for: twice as long, nearly");
        assert_eq!(pieces(6_000, Some(100)).await, 1_000, "as fast as asked for");
        assert_eq!(pieces(1, None).await, 1_000, "switched off");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_saved_up_beyond_the_wait() {
        let mut patience = Patience::new(5 * MINUTE, Some(100));
        patience.came(10_000_000, Instant::now());
        assert_eq!(patience.left(), 5 * MINUTE);
    }
}
