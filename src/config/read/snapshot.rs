//! `snapshot` of `[state]`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::{Snapshot, State};

const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
/// What is written lies in the memory of the process anyway.
const BYTES: RangeInclusive<u64> = (64 << 10)..=(64 << 30);
/// Folders that the service manager made for this service, absolute, with `:` between them (systemd.exec(5),
/// StateDirectory=).
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
const FILE_NAME: &str = "state.redb";

pub(super) fn read(section: &Section<'_>) -> Option<Snapshot> {
    let base = State::snapshot_defaults();
    let every = section.get_or("snapshot-every", base.0, |v| v.duration(EVERY));
    let bytes_max = section.get_or("snapshot-size", base.1, |v| v.size(BYTES));
    let path = section
        .get("snapshot", |v| if v.is_off() { Ok(None) } else { v.path().map(Some) })
        .unwrap_or_else(|| of_the_service((section.reader.environment)(STATE_DIRECTORY)));
    if path.is_none() && section.lacks("snapshot") {
        for value in ["snapshot-every", "snapshot-size"].iter().filter_map(|key| section.value(key)) {
            let problem = Problem::at(value.head(), "there is no snapshot that this could be about").label("not used");
            let help = "add snapshot = \"/var/lib/wasmilter/state.redb\" to [state], or take this away";
            section.reader.error(problem.help(help));
        }
    }
    path.map(|path| Snapshot { path, every, bytes_max })
}

fn of_the_service(folders: Option<String>) -> Option<PathBuf> {
    let folders = folders?;
    let first = PathBuf::from(folders.split(':').next()?);
    first.is_absolute().then(|| first.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_with_a_folder_of_its_own_has_its_snapshot_there() {
        let of = |folders: &str| of_the_service(Some(folders.to_owned()));
        assert_eq!(of("/var/lib/wasmilter"), Some("/var/lib/wasmilter/state.redb".into()));
        assert_eq!(of("/var/lib/one:/var/lib/two"), Some("/var/lib/one/state.redb".into()));
        for none in ["", ":/var/lib/two", "relative"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of_the_service(None), None);
    }
}
