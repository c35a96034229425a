//! Names of sessions for log, Received and filters: time, then a running number, so that they sort and never repeat
//! within a run or across restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static RUNNING: AtomicU32 = AtomicU32::new(0);

/// 14 characters of `0-9A-Z` (no vowels, so that no words appear): milliseconds, then the running number.
pub(super) fn session() -> Arc<str> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let running = u128::from(RUNNING.fetch_add(1, Ordering::Relaxed) & 0x00FF_FFFF);
    let number = (millis << 24) | running;
    let mut id = [b'0'; 14];
    let mut rest = number;
    for place in id.iter_mut().rev() {
        *place = digit(rest % 29);
        rest /= 29;
    }
    Arc::from(String::from_utf8_lossy(&id))
}

fn digit(value: u128) -> u8 {
    const DIGITS: &[u8; 29] = b"0123456789BCDFGHJKLMNPQRSTVWX";
    usize::try_from(value).ok().and_then(|index| DIGITS.get(index)).copied().unwrap_or(b'0')
}
