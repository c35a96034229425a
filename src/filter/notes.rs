//! Notes that stay with a session when instances do not. Each filter writes under its own name and reads all.

/// Notes of one session, all filters together.
pub(super) const NOTES_MAX: usize = 64;
/// Octets of a key, without the filter's name.
pub(super) const NOTE_KEY_BYTES_MAX: usize = 64;
/// Octets of a value.
pub(super) const NOTE_VALUE_BYTES_MAX: usize = 1_024;

/// One session's notes: few, so a list.
#[derive(Debug, Default)]
pub struct Notes(Vec<Note>);

#[derive(Debug)]
struct Note {
    filter: Box<str>,
    key: Box<str>,
    value: Box<str>,
}

impl Notes {
    /// `key` is "filter.key", or a bare key of `filter` itself. (A filter's name may have dots, a key has none.)
    #[must_use]
    pub fn get(&self, filter: &str, key: &str) -> Option<&str> {
        let (filter, key) = key.rsplit_once('.').unwrap_or((filter, key));
        self.0.iter().find(|note| &*note.filter == filter && &*note.key == key).map(|note| &*note.value)
    }

    /// The same, if it is one of `filter` itself.
    #[must_use]
    pub fn own(&self, filter: &str, key: &str) -> Option<&str> {
        let of = key.rsplit_once('.').map_or(filter, |(of, _)| of);
        if of == filter { self.get(filter, key) } else { None }
    }

    /// False: a bound is reached, or the key is empty or has a dot. `None` takes the note away.
    pub fn set(&mut self, filter: &str, key: &str, value: Option<&str>) -> bool {
        if key.is_empty() || key.contains('.') || key.len() > NOTE_KEY_BYTES_MAX {
            return false;
        }
        let place = self.0.iter().position(|note| &*note.filter == filter && &*note.key == key);
        let Some(value) = value else {
            if let Some(place) = place {
                self.0.swap_remove(place);
            }
            return true;
        };
        if value.len() > NOTE_VALUE_BYTES_MAX {
            return false;
        }
        if let Some(note) = place.and_then(|place| self.0.get_mut(place)) {
            note.value = value.into();
        } else if self.0.len() < NOTES_MAX {
            self.0.push(Note { filter: filter.into(), key: key.into(), value: value.into() });
        } else {
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn own_notes_are_written_and_all_are_read() {
        let mut notes = Notes::default();
        assert!(notes.set("a", "k", Some("1")));
        assert!(notes.set("b.c", "k", Some("2")));
        assert_eq!(notes.get("a", "k"), Some("1"));
        assert_eq!(notes.get("a", "b.c.k"), Some("2"));
        assert_eq!(notes.get("b.c", "a.k"), Some("1"));
        assert_eq!(notes.get("x", "k"), None);
        assert!(notes.set("a", "k", None));
        assert_eq!(notes.get("a", "k"), None);
    }

    #[test]
    fn bounds_hold() {
        let mut notes = Notes::default();
        assert!(!notes.set("a", "b.k", Some("1")));
        assert!(!notes.set("a", "", Some("1")));
        assert!(!notes.set("a", "k", Some(&"x".repeat(NOTE_VALUE_BYTES_MAX + 1))));
        for i in 0..NOTES_MAX {
            assert!(notes.set("a", &format!("{i}"), Some("1")));
        }
        assert!(!notes.set("a", "more", Some("1")));
        assert!(notes.set("a", "0", Some("2")));
    }
}
