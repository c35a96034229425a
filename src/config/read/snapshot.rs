//! `snapshot` of `[state]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::{Snapshot, State};

const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
/// What is written lies in the memory of the process anyway.
const BYTES: RangeInclusive<u64> = (64 << 10)..=(64 << 30);

pub(super) fn read(section: &Section<'_>) -> Option<Snapshot> {
    let base = State::snapshot_defaults();
    let every = section.get_or("snapshot-every", base.0, |v| v.duration(EVERY));
    let bytes_max = section.get_or("snapshot-size", base.1, |v| v.size(BYTES));
    let path = section.get("snapshot", |v| if v.is_off() { Ok(None) } else { v.path().map(Some) }).flatten();
    if section.lacks("snapshot") {
        for value in ["snapshot-every", "snapshot-size"].iter().filter_map(|key| section.value(key)) {
            let problem = Problem::at(value.head(), "there is no snapshot that this could be about").label("not used");
            let help = "add snapshot = \"/var/lib/wasmilter/state.redb\" to [state], or take this away";
            section.reader.error(problem.help(help));
        }
    }
    path.map(|path| Snapshot { path, every, bytes_max })
}
