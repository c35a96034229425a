//! The least a filter can be: it sees HELO and has no opinion. What it costs is what the host costs.

wit_bindgen::generate!({
    path: "../../../filters/wit",
    inline: "package test:idle; world idle { export wasmilter:filter/on-helo@0.1.0; }",
    world: "test:idle/idle",
    generate_all,
});

use exports::wasmilter::filter::on_helo::{Guest, Verdict};
use wasmilter::filter::types::Action;

struct Idle;

impl Guest for Idle {
    fn helo(_name: String, _extended: bool) -> Verdict {
        Verdict { action: Action::Next, reply: None, reason: None }
    }
}

export!(Idle);
