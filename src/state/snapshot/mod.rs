//! What the process remembers, written down so that a restart forgets nothing.
//!
//! A [`Part`] is one thing that remembers: a filter's keys, a limit. It hands its records to a [`Saving`] and takes them
//! back from a [`Reading`]; what a record looks like is its own affair. Moments are written as wall-clock time, since
//! nothing else means the same to the next process. [`file`] is where it all lies.

mod file;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant, SystemTime};

pub use self::file::{File, Opened, SnapshotError, Written};

/// Octets of a page, which holds whole records; only a record that is larger has a larger page. With its name it fits into
/// one of redb's, which are powers of two.
pub const PAGE_BYTES: usize = 31 << 10;

/// Something that remembers.
pub trait Part: Send + Sync {
    /// What its records are found under again. It says all that decides what they mean, so that what was counted by
    /// other rules is never found.
    fn name(&self) -> String;

    /// Tells everything that still counts, without keeping others waiting for long.
    fn save(&self, saving: &mut Saving<'_>);

    /// Takes a page of records back.
    ///
    /// # Errors
    /// [`Malformed`]: nobody of this version wrote that; what stood before it was taken.
    fn restore(&self, page: Reading<'_>, moment: Moment) -> Result<(), Malformed>;
}

/// Records that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Now, by both clocks: what one says can be said in terms of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    wall_ms: u64,
    instant: Instant,
}

impl Moment {
    #[must_use]
    pub fn now() -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment::of(wall, Instant::now())
    }

    /// `wall`: since 1970.
    #[must_use]
    pub fn of(wall: Duration, instant: Instant) -> Moment {
        Moment { wall_ms: millis(wall), instant }
    }

    /// The same moment, had the wall clock not gone back behind this: nothing lives longer than it would have then.
    #[must_use]
    pub fn not_before(self, wall_ms: u64) -> Moment {
        Moment { wall_ms: self.wall_ms.max(wall_ms), ..self }
    }

    #[must_use]
    pub fn wall_ms(self) -> u64 {
        self.wall_ms
    }

    #[must_use]
    pub fn instant(self) -> Instant {
        self.instant
    }

    /// On the wall clock.
    #[must_use]
    pub fn wall_ms_of(self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.instant) {
            Some(ahead) => self.wall_ms.saturating_add(millis(ahead)),
            None => self.wall_ms.saturating_sub(millis(self.instant.duration_since(instant))),
        }
    }

    /// How long it is until then; nothing when it has come.
    #[must_use]
    pub fn until(self, wall_ms: u64) -> Option<Duration> {
        wall_ms.checked_sub(self.wall_ms).filter(|ahead| *ahead > 0).map(Duration::from_millis)
    }

    /// How long ago that was; nothing, when it is still to come.
    #[must_use]
    pub fn since(self, wall_ms: u64) -> Duration {
        Duration::from_millis(self.wall_ms.saturating_sub(wall_ms))
    }
}

/// Rounded up: what has not expired is not written as expired.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Takes the records of one part, and sees to the room that there is.
pub struct Saving<'a> {
    moment: Moment,
    room_bytes: u64,
    dropped: u64,
    page: Vec<u8>,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>,
    failed: Option<SnapshotError>,
}

impl std::fmt::Debug for Saving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saving").field("room_bytes", &self.room_bytes).finish_non_exhaustive()
    }
}

impl<'a> Saving<'a> {
    /// `sink` takes whole pages, at most `room_bytes` in all.
    pub fn new(
        moment: Moment,
        room_bytes: u64,
        sink: &'a mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>,
    ) -> Saving<'a> {
        Saving { moment, room_bytes, dropped: 0, page: Vec::with_capacity(PAGE_BYTES), sink, failed: None }
    }

    #[must_use]
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// How much can still be told. A part that has more leaves out what it would miss least.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        self.room_bytes
    }

    /// One record, in pieces.
    pub fn record(&mut self, pieces: &[&[u8]]) {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        let needs = u64::try_from(size).unwrap_or(u64::MAX);
        if needs > self.room_bytes || self.failed.is_some() {
            self.dropped += 1;
            return;
        }
        self.room_bytes -= needs;
        if self.page.len() + size > PAGE_BYTES {
            self.turn();
        }
        pieces.iter().for_each(|piece| self.page.extend_from_slice(piece));
    }

    /// So many records were left out for want of room.
    pub fn dropped(&mut self, records: usize) {
        self.dropped += u64::try_from(records).unwrap_or(u64::MAX);
    }

    fn turn(&mut self) {
        if !self.page.is_empty() && self.failed.is_none() {
            self.failed = (self.sink)(&self.page).err();
        }
        self.page.clear();
    }

    /// Room that is left, and how many records found none.
    ///
    /// # Errors
    /// The first of the sink's.
    pub fn finish(mut self) -> Result<(u64, u64), SnapshotError> {
        self.turn();
        self.failed.map_or(Ok((self.room_bytes, self.dropped)), Err)
    }
}

/// A page, read from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    #[must_use]
    pub fn new(page: &'a [u8]) -> Reading<'a> {
        Reading(page)
    }

    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// There are not so many octets.
    pub fn octets<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    /// # Errors
    /// There are not so many octets.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        self.octets().map(u64::from_le_bytes)
    }

    /// What [`sized`] wrote before its octets, and those.
    ///
    /// # Errors
    /// There are not so many octets.
    pub fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let size = usize::try_from(u32::from_le_bytes(self.octets()?)).map_err(|_| Malformed)?;
        let (head, rest) = self.0.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    /// The same as text.
    ///
    /// # Errors
    /// There are not so many octets, or they are no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.sized()?).map_err(|_| Malformed)
    }
}

/// The piece that goes before octets whose number is not known to the reader.
#[must_use]
pub fn sized(octets: &[u8]) -> [u8; 4] {
    u32::try_from(octets.len()).unwrap_or(u32::MAX).to_le_bytes()
}
