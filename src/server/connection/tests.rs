//! How much memory a session takes while nothing happens.

use super::*;

fn size<F: Future>(_: impl FnOnce(&'static mut Connection) -> F) -> usize {
    size_of::<F>()
}

/// Ten thousand idle sessions are ten thousand of these.
#[test]
fn a_session_that_waits_for_its_client_is_small() {
    let waiting = size(|connection| connection.run());
    assert!(waiting <= 768, "{waiting}");
    assert!(size_of::<Connection>() <= 1_024, "{}", size_of::<Connection>());
}
