//! "Did you mean": the word among those allowed that is nearest to what was written.

/// Words longer than this are not compared; nobody mistypes a key that long.
const WORD_BYTES_MAX: usize = 64;

/// The nearest of `choices`, if any is near enough to be what was meant.
pub(super) fn nearest<'a>(written: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > WORD_BYTES_MAX {
        return None;
    }
    let written = written.to_lowercase().replace('_', "-");
    let allowed = (written.chars().count() / 3).max(1);
    choices
        .into_iter()
        .map(|choice| (distance(&written, choice), choice))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, choice)| choice)
}

/// How many letters to insert, drop, change or swap with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    // Three rows of the usual table: two above (for the swap), above, and the one at hand.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    let mut last = None;
    for (row, letter) in one.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, wanted) in other.iter().enumerate() {
            let at = |cells: &[usize], place: usize| cells.get(place).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&above, column) + usize::from(letter != *wanted))
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = column > 0 && last == Some(*wanted) && other.get(column - 1) == Some(&letter);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
        last = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("kitten", "sitting", 3),
            ("adress", "address", 1),
            ("ab", "ba", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_or_none() {
        let keys = ["hostname", "listener", "limits"];
        assert_eq!(nearest("hostnam", keys), Some("hostname"));
        assert_eq!(nearest("Listeners", keys), Some("listener"));
        assert_eq!(nearest("zebra", keys), None);
        assert_eq!(nearest("message_size", ["message-size"]), Some("message-size"));
    }
}
