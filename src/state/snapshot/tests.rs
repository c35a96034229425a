//! What is written is found again, by whom it means the same; what is damaged never is, and stops nobody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::state::counters::{Counters, CountersPart};
use crate::state::keyed::HashKey;
use crate::state::kv::{Kv, KvPart};

const ROOM: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// Records that are texts.
struct Texts(String, Mutex<Vec<String>>);

impl Texts {
    fn new(name: &str, texts: &[&str]) -> Arc<Texts> {
        Arc::new(Texts(name.into(), Mutex::new(texts.iter().map(|text| (*text).to_owned()).collect())))
    }

    fn texts(&self) -> Vec<String> {
        self.1.lock().unwrap().clone()
    }
}

impl Part for Arc<Texts> {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn save(&self, saving: &mut Saving<'_>) {
        for text in self.texts() {
            saving.record(&[&sized(text.as_bytes()), text.as_bytes()]);
        }
    }

    fn restore(&self, mut page: Reading<'_>, _: Moment) -> Result<(), Malformed> {
        while !page.is_at_end() {
            self.1.lock().unwrap().push(page.text()?.to_owned());
        }
        Ok(())
    }
}

fn parts(texts: &[&Arc<Texts>]) -> Vec<Box<dyn Part>> {
    texts.iter().map(|part| Box::new(Arc::clone(part)) as Box<dyn Part>).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.redb")
    }

    fn open(&self) -> Opened {
        File::open(&self.path()).unwrap()
    }

    /// A file with these parts in it, closed.
    fn write(&self, key: HashKey, parts: &[Box<dyn Part>]) -> Written {
        let mut opened = self.open();
        opened.file.write(key, parts, ROOM, Moment::now).unwrap()
    }

    fn read(&self, name: &str) -> Vec<String> {
        let part = Texts::new(name, &[]);
        self.open().file.restore(&parts(&[&part]), Moment::now()).unwrap();
        part.texts()
    }
}

#[test]
fn what_was_written_is_found_again_under_its_name_and_with_its_key() {
    let place = Place::new();
    let key = place.open().key;
    let long = "x".repeat(2 * PAGE_BYTES);
    let many: Vec<String> = (0..5_000).map(|i| format!("text {i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (one, other) = (Texts::new("one", &many), Texts::new("other", &["a", &long, "b"]));
    place.write(key, &parts(&[&one, &other]));
    assert_eq!(place.open().key, key);
    assert_eq!(place.read("one"), many);
    assert_eq!(place.read("other"), ["a", &long, "b"]);
    assert_eq!(place.read("third"), [""; 0]);
    let mode = std::fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");

    // Less than before, and one part that there is no more.
    place.write(key, &parts(&[&Texts::new("one", &["left"])]));
    assert_eq!(place.read("one"), ["left"]);
    assert_eq!(place.read("other"), [""; 0]);

    // Numbers of another key mean nothing.
    let other = HashKey::random();
    place.write(other, &[]);
    assert_eq!(place.open().key, other);
    assert_eq!(place.read("one"), [""; 0]);
}

#[test]
fn there_is_never_more_than_the_room_and_the_first_come_first() {
    let place = Place::new();
    let mut opened = place.open();
    let (one, other) = (Texts::new("one", &["1234", "5678"]), Texts::new("other", &["12345", "12", "1"]));
    let written = opened.file.write(opened.key, &parts(&[&one, &other]), 23, Moment::now).unwrap();
    assert_eq!(written, Written { bytes: 22, dropped: 2 });
    drop(opened);
    assert_eq!((place.read("one"), place.read("other")), (vec!["1234".into(), "5678".into()], vec!["12".into()]));
}

#[test]
fn a_file_that_is_in_use_or_no_file_is_told_and_left_alone() {
    let place = Place::new();
    let first = place.open();
    assert!(matches!(File::open(&place.path()), Err(SnapshotError::Locked(_))));
    drop(first);
    let folder = Place::new();
    std::fs::create_dir(folder.path()).unwrap();
    assert!(matches!(File::open(&folder.path()), Err(SnapshotError::Unusable(..))));
    assert!(folder.path().is_dir());
    let nowhere = folder.0.path().join("no/such/state.redb");
    assert!(matches!(File::open(&nowhere), Err(SnapshotError::Unusable(..))));
}

#[test]
fn what_is_no_snapshot_is_moved_aside_as_it_is() {
    let place = Place::new();
    for foreign in [b"hello".as_slice(), &[0; 10_000], b"redb\x1a\x0a\xa9\x0d\x0a and more"] {
        std::fs::write(place.path(), foreign).unwrap();
        let opened = place.open();
        let (aside, why) = opened.aside.unwrap();
        assert!(opened.written_ms.is_none() && !why.is_empty());
        assert_eq!(std::fs::read(aside).unwrap(), foreign);
    }
    // Somebody else's database.
    std::fs::remove_file(place.path()).unwrap();
    let table: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("head");
    let other = redb::Database::create(place.path()).unwrap();
    let transaction = other.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert("format", "1").unwrap();
    transaction.commit().unwrap();
    drop(other);
    assert!(place.open().aside.is_some());
    assert!(place.open().aside.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whichever octets are others, and wherever it ends: it is whole, or it is moved aside.
    #[test]
    fn a_damaged_file_is_never_read(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), end in prop::option::of(any::<prop::sample::Index>())) {
        let place = Place::new();
        let texts = ["some text", "some more", &"long ".repeat(10_000)];
        let key = HashKey::random();
        place.write(key, &parts(&[&Texts::new("one", &texts)]));
        let mut octets = std::fs::read(place.path()).unwrap();
        for (at, value) in places {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        if let Some(end) = end {
            octets.truncate(end.index(octets.len()));
        }
        std::fs::write(place.path(), octets).unwrap();
        let opened = place.open();
        let part = Texts::new("one", &[]);
        let restored = opened.file.restore(&parts(&[&part]), Moment::now());
        if opened.aside.is_none() && opened.written_ms.is_some() && restored.is_ok() {
            prop_assert_eq!(part.texts(), texts);
            prop_assert_eq!(opened.key, key);
        } else {
            prop_assert!(part.texts().is_empty() || restored.is_err());
        }
    }

    /// A page that nobody wrote is refused, and never more than refused.
    #[test]
    fn pages_may_be_anything(page in prop::collection::vec(any::<u8>(), 0..200)) {
        let moment = Moment::now();
        let kv = Arc::new(Kv::new(1_000, 100));
        let _ = KvPart("f".into(), Arc::clone(&kv)).restore(Reading::new(&page), moment);
        prop_assert!(kv.used_bytes() <= 1_000);
        let counters = Arc::new(Counters::new(4));
        let _ = CountersPart("f".into(), Arc::clone(&counters)).restore(Reading::new(&page), moment);
        prop_assert!(counters.len() <= 4);
    }
}

/// Everything a part tells, given to another one `later`.
fn carry(from: &dyn Part, to: &dyn Part, room: u64, saved: Moment, restored: Moment) -> u64 {
    let mut pages: Vec<Vec<u8>> = Vec::new();
    let mut sink = |page: &[u8]| -> Result<(), SnapshotError> {
        pages.push(page.to_vec());
        Ok(())
    };
    let mut saving = Saving::new(saved, room, &mut sink);
    from.save(&mut saving);
    let (_, dropped) = saving.finish().unwrap();
    pages.iter().for_each(|page| to.restore(Reading::new(page), restored).unwrap());
    dropped
}

#[test]
fn keys_of_filters_live_on_for_the_rest_of_their_time() {
    let (now, later) = (Instant::now(), Instant::now() + 77 * SECOND);
    let wall = Duration::from_secs(1_700_000_000);
    let saved = Moment::of(wall, now);
    let kv = Arc::new(Kv::new(200_000, 1_000));
    for i in 0..1_200 {
        kv.set(&format!("many {i}"), vec![], None, now).unwrap();
    }
    kv.set("short", b"1".to_vec(), Some(SECOND), now).unwrap();
    kv.set("long", b"2".to_vec(), Some(60 * SECOND), now).unwrap();
    kv.set("ever", vec![0, 255], None, now).unwrap();
    let part = KvPart("f".into(), kv);
    let again = |restored: Moment| {
        let kv = Arc::new(Kv::new(200_000, 1_000));
        assert_eq!(carry(&part, &KvPart("f".into(), Arc::clone(&kv)), ROOM, saved, restored), 0);
        kv
    };
    // Ten seconds went by between the two processes.
    let kv = again(Moment::of(wall + 10 * SECOND, later));
    assert_eq!((kv.get("short", later), kv.get("long", later)), (None, Some(b"2".to_vec())));
    assert_eq!((kv.get("long", later + 49 * SECOND), kv.get("long", later + 50 * SECOND)), (Some(b"2".to_vec()), None));
    assert_eq!(kv.get("ever", later + 9_999 * SECOND), Some(vec![0, 255]));
    assert!(kv.get("many 0", later).is_some() && kv.get("many 700", later).is_some());
    // The clock was set back: as if no time had gone by.
    let kv = again(Moment::of(wall - 5_000 * SECOND, later).not_before(saved.wall_ms()));
    assert_eq!((kv.get("long", later + 59 * SECOND), kv.get("long", later + 60 * SECOND)), (Some(b"2".to_vec()), None));
}

#[test]
fn without_room_the_keys_that_expire_first_are_left_out() {
    let now = Moment::now();
    let kv = Arc::new(Kv::new(100_000, 1_000));
    for i in 1..=100_u32 {
        kv.set(&format!("{i:04}"), vec![0; 10], Some(SECOND * i), now.instant()).unwrap();
    }
    kv.set("ever", vec![0; 10], None, now.instant()).unwrap();
    let again = Arc::new(Kv::new(100_000, 1_000));
    let dropped = carry(&KvPart("f".into(), kv), &KvPart("f".into(), Arc::clone(&again)), 30 * 11, now, now);
    assert_eq!(dropped, 90);
    let kept: Vec<u32> = (1..=100).filter(|i| again.get(&format!("{i:04}"), now.instant()).is_some()).collect();
    assert_eq!(kept, (91..=100).collect::<Vec<_>>());
    assert!(again.get("ever", now.instant()).is_some());
}

#[test]
fn counters_go_on_where_they_were() {
    let (now, later) = (Instant::now(), Instant::now() + 77 * SECOND);
    let wall = Duration::from_secs(1_700_000_000);
    let counters = Arc::new(Counters::default());
    counters.add("sum", 7, 60 * SECOND, now);
    counters.add("short", 7, SECOND, now);
    assert!(counters.take("bucket", 10, 10, 1.0, now));
    let again = Arc::new(Counters::default());
    let (from, to) = (CountersPart("f".into(), counters), CountersPart("f".into(), Arc::clone(&again)));
    carry(&from, &to, ROOM, Moment::of(wall, now), Moment::of(wall + 5 * SECOND, later));
    assert_eq!((again.read("sum", later), again.read("short", later)), (7, 0));
    assert_eq!((again.read("sum", later + 54 * SECOND), again.read("sum", later + 55 * SECOND)), (7, 0));
    assert!(!again.take("bucket", 6, 10, 1.0, later) && again.take("bucket", 5, 10, 1.0, later));
}
