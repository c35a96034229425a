//! What was named lately, for counting distinct ones: pairs of a key and a name by their keyed hash, with the moment
//! when they were last seen.
//!
//! An exact set as long as it has room. When it is full it forgets those that were seen longest ago, which count as new
//! when they come again: the error is to the strict side, and two pairs are taken for one with a chance of 1 in 2⁶⁴ for
//! each pair remembered.

use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore as _;
use governor::state::keyed::ShrinkableKeyedStateStore as _;

use super::quota::save_table;
use super::table::Table;
use crate::state::snapshot::{Malformed, Moment, Reading, Saving};

#[derive(Debug)]
pub(super) struct Seen {
    table: Table,
    lately: Duration,
}

impl Seen {
    pub(super) fn new(lately: Duration, pairs_max: usize) -> Seen {
        Seen { table: Table::new(pairs_max), lately }
    }

    pub(super) fn set_pairs_max(&self, pairs_max: usize) {
        self.table.set_keys_max(pairs_max);
    }

    /// In the table, where what was seen before this process began has to be, too.
    fn moment(&self, now: Duration) -> Duration {
        now + self.lately
    }

    /// Whether the pair was seen lately; then it is seen now. `now` counts from a moment that stays.
    pub(super) fn again(&self, pair: u64, now: Duration) -> bool {
        let now = self.moment(now);
        let since = now.saturating_sub(self.lately);
        let seen = self.table.measure_and_replace(&pair, |known| match known {
            Some(moment) if Duration::from_nanos(moment.as_u64()) >= since => Ok(((), Nanos::from(now))),
            _ => Err(()),
        });
        seen.is_ok()
    }

    /// The pair was let through.
    pub(super) fn keep(&self, pair: u64, now: Duration) {
        let _: Result<(), ()> = self.table.measure_and_replace(&pair, |_| Ok(((), Nanos::from(self.moment(now)))));
    }

    pub(super) fn sweep(&self, now: Duration) {
        self.table.retain_recent(Nanos::from(now));
    }

    /// Every pair and when it was seen.
    pub(super) fn save(&self, now: Duration, saving: &mut Saving<'_>) {
        let wall = Duration::from_millis(saving.moment().wall_ms());
        let current = self.moment(now);
        let seen_ms = |moment: u64| {
            let ago = current.saturating_sub(Duration::from_nanos(moment));
            u64::try_from(wall.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX)
        };
        save_table(&self.table, Nanos::from(now).as_u64(), seen_ms, saving);
    }

    pub(super) fn restore(&self, mut page: Reading<'_>, moment: Moment, now: Duration) -> Result<(), Malformed> {
        while !page.is_at_end() {
            let (pair, seen_ms) = (page.number()?, page.number()?);
            let since = self.moment(now).saturating_sub(moment.since(seen_ms));
            if since > now {
                self.table.put_back(pair, Nanos::from(since).as_u64());
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
