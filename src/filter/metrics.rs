//! Numbers a guest gives to the operator: named, bounded, kept apart from the gateway's own.
//!
//! A series is a name with its labels. Its handle is made once and kept; names and label values of guests are
//! as hostile as anything else, so their number is bounded and what is beyond is dropped.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

/// Series of one filter.
pub(super) const SERIES_MAX: usize = 256;
/// Labels of one series beside `filter`.
pub(super) const LABELS_MAX: usize = 4;
/// Octets of a name, of a label's name.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Octets of a label's value; the rest is cut.
pub(super) const LABEL_VALUE_BYTES_MAX: usize = 64;

/// The series of one filter.
#[derive(Debug)]
pub struct Series {
    filter: String,
    inner: Mutex<HashMap<Key, Handle>>,
    /// Names with the kind they were first used for.
    kinds: Mutex<HashMap<String, Kind>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    Gauge,
    Observe,
}

enum Handle {
    Count(Counter),
    Gauge(Gauge),
    Observe(Histogram),
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

/// What a guest wants recorded.
#[derive(Debug, Clone, Copy)]
pub enum Sample {
    Count(u32),
    Gauge(f64),
    Observe(f64),
}

impl Sample {
    fn kind(self) -> Kind {
        match self {
            Sample::Count(_) => Kind::Count,
            Sample::Gauge(_) => Kind::Gauge,
            Sample::Observe(_) => Kind::Observe,
        }
    }
}

impl Series {
    #[must_use]
    pub fn new(filter: &str) -> Series {
        Series { filter: filter.to_owned(), inner: Mutex::default(), kinds: Mutex::default() }
    }

    /// Records under `wasmilter_filter_<name>` with the filter's name as a label. Silently does nothing past
    /// the bounds, for a name already used for another kind, and for numbers that are none.
    pub fn record(&self, name: &str, labels: &[(String, String)], sample: Sample) {
        if let Sample::Gauge(value) | Sample::Observe(value) = sample
            && !value.is_finite()
        {
            return;
        }
        let Some(name) = sanitize(name) else { return };
        if labels.len() > LABELS_MAX || !self.is_of_kind(&name, sample.kind()) {
            return;
        }
        let Some(key) = self.key(name, labels) else { return };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.contains_key(&key) {
            if inner.len() >= SERIES_MAX {
                return;
            }
            let handle = register(&key, sample.kind());
            inner.insert(key.clone(), handle);
        }
        match (inner.get(&key), sample) {
            (Some(Handle::Count(counter)), Sample::Count(by)) => counter.increment(u64::from(by)),
            (Some(Handle::Gauge(gauge)), Sample::Gauge(value)) => gauge.set(value),
            (Some(Handle::Observe(histogram)), Sample::Observe(value)) => histogram.record(value),
            _ => {}
        }
    }

    /// Series known.
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether the filter has recorded nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_of_kind(&self, name: &str, kind: Kind) -> bool {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get(name) {
            return *known == kind;
        }
        let room = kinds.len() < SERIES_MAX;
        if room {
            kinds.insert(name.to_owned(), kind);
        }
        room
    }

    fn key(&self, name: String, labels: &[(String, String)]) -> Option<Key> {
        let mut all = Vec::with_capacity(labels.len() + 1);
        all.push(Label::new("filter", self.filter.clone()));
        for (label, value) in labels {
            let label = sanitize(label).filter(|label| label != "filter")?;
            all.push(Label::new(label, cut(value)));
        }
        Some(Key::from_parts(format!("wasmilter_filter_{name}"), all))
    }
}

fn register(key: &Key, kind: Kind) -> Handle {
    static METADATA: Metadata<'static> = Metadata::new("wasmilter::guest", Level::INFO, None);
    metrics::with_recorder(|recorder| match kind {
        Kind::Count => Handle::Count(recorder.register_counter(key, &METADATA)),
        Kind::Gauge => Handle::Gauge(recorder.register_gauge(key, &METADATA)),
        Kind::Observe => Handle::Observe(recorder.register_histogram(key, &METADATA)),
    })
}

/// Letters, digits and underscores, the first no digit; `-`, `.` and ` ` become underscores.
fn sanitize(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    name.chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => Some(c),
            '-' | '.' | ' ' => Some('_'),
            _ => None,
        })
        .collect()
}

fn cut(value: &str) -> String {
    value
        .chars()
        .filter(|c| !c.is_control())
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= LABEL_VALUE_BYTES_MAX).then_some(c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn series_are_bounded() {
        let series = Series::new("f");
        for i in 0..1_000 {
            series.record("hits", &[("who".into(), format!("{i}"))], Sample::Count(1));
            series.record(&format!("n{i}"), &[], Sample::Gauge(1.0));
        }
        assert_eq!(series.len(), SERIES_MAX);
    }

    #[test]
    fn names_and_kinds_are_checked() {
        let series = Series::new("f");
        series.record("a-b.c", &[], Sample::Count(1));
        series.record("a_b_c", &[], Sample::Count(1));
        assert_eq!(series.len(), 1);
        series.record("a_b_c", &[], Sample::Gauge(1.0));
        series.record("1x", &[], Sample::Count(1));
        series.record("x\n", &[], Sample::Count(1));
        series.record("", &[], Sample::Count(1));
        series.record("x", &[("filter".into(), "other".into())], Sample::Count(1));
        series.record("y", &[], Sample::Gauge(f64::NAN));
        assert_eq!(series.len(), 1);
        assert_eq!(cut(&format!("a\nb{}", "é".repeat(100))).len(), 64);
    }
}
