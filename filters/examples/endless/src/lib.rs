//! A bad filter on purpose: for a recipient called `loop` it never answers. The gateway's demonstration shows that it
//! is stopped, and that nobody else notices.

use std::hint::black_box;

use wasmilter_filter::*;

#[derive(Default)]
struct Endless;

impl Filter for Endless {
    fn about() -> About {
        About::new("1.0.0", "never answers for a recipient called loop")
    }

    fn rcpt(&mut self, recipient: &Path) -> Verdict {
        while recipient.local().eq_ignore_ascii_case("loop") {
            black_box(recipient);
        }
        next()
    }
}

export!(Endless: about, rcpt);
