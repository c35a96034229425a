//! What filters say of a transaction beside their verdicts: points under a name, and words. Every filter sees what was
//! said, the log has it, and it dies with the transaction.

use std::sync::Arc;

/// Symbols of one transaction, all filters together.
const SYMBOLS_MAX: usize = 64;
/// Tags of one transaction.
const TAGS_MAX: usize = 32;
/// Octets of the name of a symbol or a tag.
const MARK_NAME_BYTES_MAX: usize = 64;
/// Octets kept of a symbol's detail.
const DETAIL_BYTES_MAX: usize = 256;
/// Points of one symbol, to either side: so that no sum of them is anything but a number.
const POINTS_MAX: f64 = 1_000_000.0;

/// Why a mark was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmarked {
    /// A bound is reached.
    Limit,
    /// A name or a number that cannot be one.
    Malformed,
}

/// Points under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Symbol {
    /// Who said it.
    pub filter: Arc<str>,
    pub name: Box<str>,
    pub points: f64,
    pub detail: Option<Box<str>>,
}

/// All that was said, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Marks {
    symbols: Vec<Symbol>,
    tags: Vec<Box<str>>,
}

impl Marks {
    /// Of all filters.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.symbols.iter().fold(0.0, |sum, symbol| sum + symbol.points)
    }

    #[must_use]
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    #[must_use]
    pub fn tags(&self) -> &[Box<str>] {
        &self.tags
    }

    /// Adds points; said again by the same filter, instead of what it said before.
    ///
    /// # Errors
    /// No such name or number, or one too many.
    pub fn score(&mut self, filter: &Arc<str>, points: f64, name: &str, detail: Option<&str>) -> Result<(), Unmarked> {
        if !is_name(name) || !points.is_finite() {
            return Err(Unmarked::Malformed);
        }
        if points.abs() > POINTS_MAX {
            return Err(Unmarked::Limit);
        }
        let detail = detail.map(|text| text.get(..text.floor_char_boundary(DETAIL_BYTES_MAX)).unwrap_or(text).into());
        let symbol = Symbol { filter: Arc::clone(filter), name: name.into(), points, detail };
        let known = |known: &&mut Symbol| known.filter == *filter && *known.name == *name;
        if let Some(known) = self.symbols.iter_mut().find(known) {
            *known = symbol;
        } else if self.symbols.len() < SYMBOLS_MAX {
            self.symbols.push(symbol);
        } else {
            return Err(Unmarked::Limit);
        }
        Ok(())
    }

    /// Said again it is there once.
    ///
    /// # Errors
    /// No such name, or one too many.
    pub fn tag(&mut self, name: &str) -> Result<(), Unmarked> {
        if !is_name(name) {
            return Err(Unmarked::Malformed);
        }
        if self.tags.iter().any(|known| **known == *name) {
            return Ok(());
        }
        if self.tags.len() >= TAGS_MAX {
            return Err(Unmarked::Limit);
        }
        self.tags.push(name.into());
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= MARK_NAME_BYTES_MAX && name.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn points_add_up_and_are_replaced_by_who_said_them() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut marks = Marks::default();
        marks.score(&a, 2.5, "X", None).unwrap();
        marks.score(&b, -1.0, "X", Some("why")).unwrap();
        assert_eq!((marks.total(), marks.symbols().len()), (1.5, 2));
        marks.score(&a, 4.0, "X", Some(&"ü".repeat(200))).unwrap();
        assert_eq!((marks.total(), marks.symbols().len()), (3.0, 2));
        assert_eq!(marks.symbols()[0].detail.as_deref(), Some(&*"ü".repeat(128)));
    }

    #[test]
    fn bounds_hold() {
        let filter: Arc<str> = "a".into();
        let mut marks = Marks::default();
        let long = "x".repeat(MARK_NAME_BYTES_MAX + 1);
        for name in ["", " ", "a b", "a\n", "ü", "a/b", &long] {
            assert_eq!(marks.score(&filter, 1.0, name, None), Err(Unmarked::Malformed), "{name}");
            assert_eq!(marks.tag(name), Err(Unmarked::Malformed), "{name}");
        }
        for points in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(marks.score(&filter, points, "X", None), Err(Unmarked::Malformed));
        }
        assert_eq!(marks.score(&filter, -POINTS_MAX * 1.1, "X", None), Err(Unmarked::Limit));
        assert_eq!(marks, Marks::default());
        for i in 0..SYMBOLS_MAX {
            marks.score(&filter, POINTS_MAX, &format!("X{i}"), None).unwrap();
        }
        assert_eq!(marks.score(&filter, 1.0, "more", None), Err(Unmarked::Limit));
        marks.score(&filter, 1.0, "X0", None).unwrap();
        for i in 0..TAGS_MAX {
            marks.tag(&format!("T{i}")).unwrap();
        }
        assert_eq!((marks.tag("more"), marks.tag("T0")), (Err(Unmarked::Limit), Ok(())));
        assert_eq!((marks.symbols().len(), marks.tags().len()), (SYMBOLS_MAX, TAGS_MAX));
    }
}
