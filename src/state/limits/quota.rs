//! One quota: GCRA by governor over one bounded table, with one limiter that counts and one that only looks.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore as _;
use governor::state::keyed::ShrinkableKeyedStateStore as _;
use governor::{Quota as Gcra, RateLimiter};

use super::table::{Charge, Look, Table};
use crate::config::Rate;
use crate::state::snapshot::{Malformed, Moment, Reading, Saving};

/// Octets of a record of a snapshot: a key, and when its debt is paid.
const RECORD_BYTES: u64 = 16;
const MILLI: u64 = 1_000_000;

/// No room; from when on it would be allowed again, `None`: never at once.
pub type Exhausted = Option<Duration>;

type Limiter<S, C> = RateLimiter<u64, S, C, NoOpMiddleware<<C as Clock>::Instant>>;

pub(super) struct Quota<C: Clock> {
    pub(super) rate: Rate,
    period: Duration,
    table: Arc<Table>,
    charge: Limiter<Charge, C>,
    look: Limiter<Look, C>,
    clock: C,
    /// What moments in the table are counted from: the limiters were made at this very moment, or just after it.
    start: C::Instant,
}

impl<C: Clock + Clone> Quota<C> {
    pub(super) fn new(rate: Rate, keys_max: usize, clock: &C) -> Quota<C> {
        // A count or burst of zero cannot be said to governor; one is the least, and the configuration refuses zero.
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let period = period(rate);
        let gcra = Gcra::with_period(period).unwrap_or(Gcra::per_second(NonZeroU32::MIN)).allow_burst(burst);
        let table = Arc::new(Table::new(keys_max));
        Quota {
            rate,
            period,
            start: clock.now(),
            charge: RateLimiter::new(gcra, Charge(Arc::clone(&table)), clock.clone()),
            look: RateLimiter::new(gcra, Look(Arc::clone(&table)), clock.clone()),
            table,
            clock: clock.clone(),
        }
    }

    pub(super) fn set_keys_max(&self, keys_max: usize) {
        self.table.set_keys_max(keys_max);
    }

    /// Counts so many, all or none.
    pub(super) fn charge(&self, key: u64, count: NonZeroU32) -> Result<(), Exhausted> {
        match self.charge.check_key_n(&key, count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Some(until.wait_time_from(self.clock.now()))),
            Err(_) => Err(None),
        }
    }

    /// Whether one more would be allowed. Counts nothing.
    pub(super) fn look(&self, key: u64) -> Result<(), Exhausted> {
        self.look.check_key(&key).map_err(|until| Some(until.wait_time_from(self.clock.now())))
    }

    /// Counts what has happened already, whether it was allowed or not; more than the burst counts as the burst.
    pub(super) fn owe(&self, key: u64, count: NonZeroU32) {
        let weight = Nanos::from(self.period) * u64::from(count.get().min(self.rate.burst.max(1)));
        let now = self.clock.now().duration_since(self.start);
        let _: Result<(), ()> = self.table.measure_and_replace(&key, |known| {
            let due = known.unwrap_or(now).max(now);
            Ok(((), due + weight))
        });
    }

    /// How many of those counted are not forgotten yet.
    pub(super) fn debt(&self, key: u64) -> u32 {
        let now = self.clock.now().duration_since(self.start);
        let owed = self.table.get(key).map_or(0, |due| due.saturating_sub(now).as_u64());
        let period = Nanos::from(self.period).as_u64().max(1);
        u32::try_from(owed.div_ceil(period)).unwrap_or(u32::MAX)
    }

    /// Every key with a debt, and when that is paid.
    pub(super) fn save(&self, saving: &mut Saving<'_>) {
        let now = self.now();
        let wall_ms = saving.moment().wall_ms();
        let due = |moment: u64| wall_ms.saturating_add(moment.saturating_sub(now).div_ceil(MILLI));
        save_table(&self.table, now, due, saving);
    }

    /// Nobody owes more than a client of this process could.
    pub(super) fn restore(&self, mut page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        let now = self.now();
        let most = (Nanos::from(self.period) * u64::from(self.rate.burst.max(1))).as_u64();
        while !page.is_at_end() {
            let (key, due_ms) = (page.number()?, page.number()?);
            let debt = due_ms.saturating_sub(moment.wall_ms()).saturating_mul(MILLI).min(most);
            if debt > 0 {
                self.table.put_back(key, now.saturating_add(debt));
            }
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.clock.now().duration_since(self.start).as_u64()
    }

    pub(super) fn sweep(&self) {
        self.charge.retain_recent();
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// All entries above a moment, `said` in terms of the wall clock.
pub(super) fn save_table(table: &Table, above: u64, said: impl Fn(u64) -> u64, saving: &mut Saving<'_>) {
    let entries_max = usize::try_from(saving.room_bytes() / RECORD_BYTES).unwrap_or(usize::MAX);
    table.copies(above, entries_max, |copies| {
        for (key, moment) in copies.entries {
            saving.record(&[&key.to_le_bytes(), &said(*moment).to_le_bytes()]);
        }
        saving.dropped(copies.dropped);
    });
}

/// The time that one takes to be forgotten.
#[must_use]
pub fn period(rate: Rate) -> Duration {
    (rate.per / rate.count.max(1)).max(Duration::from_nanos(1))
}
