//! Sizes, times and rates as people write them: `"25 MiB"`, `"5min"`, `"100/1h burst 20"`.
//!
//! A number without its unit is refused where two units could be meant. Nothing is rounded and nothing saturates:
//! what does not fit is an error.

use std::time::Duration;

use super::types::Rate;

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

const TIME_UNITS_MS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Shown beside every error about a size.
pub(super) const SIZE_HELP: &str = "write a whole number and a unit: \"64 KiB\", \"25 MiB\", \"1 GiB\"";
/// Shown beside every error about a time.
pub(super) const TIME_HELP: &str = "write a whole number and a unit: \"500ms\", \"30s\", \"5min\", \"1h\", \"2d\"";
/// Shown beside every error about a rate.
pub(super) const RATE_HELP: &str =
    "write how many in how long, and how many at once if that differs: \"100/1h\" or \"100/1h burst 20\"";

/// Octets: a whole number and one of `B KiB MiB GiB TiB` (1,024) or `kB MB GB` (1,000).
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit, rest) = number_and_unit(text)?;
    if !rest.is_empty() {
        return Err("is more than one size".to_owned());
    }
    if unit.is_empty() {
        return Err("has no unit".to_owned());
    }
    let factor = find(SIZE_UNITS, unit).ok_or_else(|| format!("has the unit `{unit}`, which is not one of size"))?;
    number.checked_mul(factor).ok_or_else(|| "is too large".to_owned())
}

/// One or more of a whole number and `ms s min h d`: `1h 30min`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut total_ms: u64 = 0;
    let mut left = text.trim();
    loop {
        let (number, unit, rest) = number_and_unit(left)?;
        if unit.is_empty() {
            return Err("has no unit".to_owned());
        }
        let factor = find(TIME_UNITS_MS, unit).ok_or_else(|| match unit {
            "m" => "has the unit `m`, which could be minutes or months".to_owned(),
            _ => format!("has the unit `{unit}`, which is not one of time"),
        })?;
        let part = number.checked_mul(factor).ok_or_else(|| "is too long".to_owned())?;
        total_ms = total_ms.checked_add(part).ok_or_else(|| "is too long".to_owned())?;
        left = rest;
        if left.is_empty() {
            return Ok(Duration::from_millis(total_ms));
        }
    }
}

/// `COUNT/TIME`, optionally followed by `burst COUNT`; without it, the burst is the count. The time may be a bare
/// unit: `100/h`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let (count, rest) = text.split_once('/').ok_or("has no `/` between how many and how long")?;
    let (time, burst) = match rest.split_once("burst") {
        Some((time, burst)) => (time.trim(), Some(burst.trim())),
        None => (rest.trim(), None),
    };
    let count = whole(count.trim())?;
    let per = if time.starts_with(|c: char| c.is_ascii_digit()) {
        parse_duration(time)?
    } else {
        parse_duration(&format!("1{time}"))?
    };
    let burst = burst.map_or(Ok(count), whole)?;
    if count == 0 || burst == 0 || per.is_zero() {
        return Err("allows nothing at all, for ever".to_owned());
    }
    Ok(Rate { count, per, burst })
}

/// `SIZE/TIME`, optionally followed by `burst SIZE`; counted in KiB, and what is not a whole one counts as one.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn size_rate(text: &str) -> Result<Rate, String> {
    let kib = |text: &str| {
        let kib = size(text)?.div_ceil(1 << 10);
        u32::try_from(kib).map_err(|_| "is too large".to_owned())
    };
    let (amount, rest) = text.split_once('/').ok_or("has no `/` between how much and how long")?;
    let (time, burst) = match rest.split_once("burst") {
        Some((time, burst)) => (time.trim(), Some(kib(burst.trim())?)),
        None => (rest.trim(), None),
    };
    let count = kib(amount.trim())?;
    let Rate { per, .. } = rate(&format!("1/{time}"))?;
    let burst = burst.unwrap_or(count);
    if count == 0 || burst == 0 {
        return Err("allows nothing at all, for ever".to_owned());
    }
    Ok(Rate { count, per, burst })
}

fn whole(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("has something else where a whole number belongs".to_owned());
    }
    text.parse().map_err(|_| "has a number that is too large".to_owned())
}

/// Splits `25 MiB rest` into 25, `MiB`, `rest`.
fn number_and_unit(text: &str) -> Result<(u64, &str, &str), String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err("does not begin with a whole number".to_owned());
    }
    let number = number.parse().map_err(|_| "is too large".to_owned())?;
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    if unit.is_empty() && !rest.is_empty() {
        return Err("is not a whole number with a unit".to_owned());
    }
    Ok((number, unit, rest.trim_start()))
}

fn find(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// A size as people write it: the largest unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (unit, factor) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{} {unit}", bytes / factor);
        }
    }
    format!("{bytes} B")
}

/// A time as people write it: the largest unit that divides it.
#[must_use]
pub fn show_duration(time: Duration) -> String {
    let ms = time.as_millis();
    for (unit, factor) in [("d", 86_400_000u128), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("25 MiB"), Ok(25 << 20));
        assert_eq!(size(" 64KiB "), Ok(64 << 10));
        assert_eq!(size("50 MB"), Ok(50_000_000));
        assert_eq!(size("0 B"), Ok(0));
        for bad in
            ["", "MiB", "25", "25 M", "-1 MiB", "1.5 MiB", "1 MiB 2 MiB", "99999999999999999999 B", "9999999999 TiB"]
        {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1h 30min"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1h30min"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500 ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "30", "5m", "s", "1.5s", "-1s", "1h30", "99999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        let hour = Duration::from_secs(3600);
        assert_eq!(rate("100/1h burst 20"), Ok(Rate { count: 100, per: hour, burst: 20 }));
        assert_eq!(rate("100 / h"), Ok(Rate { count: 100, per: hour, burst: 100 }));
        assert_eq!(rate("7/1h30min burst 1"), Ok(Rate { count: 7, per: Duration::from_secs(5400), burst: 1 }));
        for bad in ["", "100", "100/", "/1h", "0/1h", "1/0s", "1/1h burst", "1/1h burst 0", "1/1h 5", "x/1h", "-1/1h"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for bytes in [0u64, 1, 1023, 1024, 1 << 20, (1 << 20) + 1, 50 << 20, 3 << 30] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        for ms in [0u64, 1, 999, 1000, 60_000, 61_000, 3_600_000, 86_400_000] {
            let time = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(time)), Ok(time));
        }
    }
}
