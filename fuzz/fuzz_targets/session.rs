//! Whole sessions through the running gateway: any client, any upstream, and what the upstream accepted is exactly what
//! the client was told. The model is the one of the tests (`tests/sessions`).
#![no_main]

#[path = "../../tests/sessions/model.rs"]
mod model;
#[path = "../../tests/sessions/moves.rs"]
mod moves;
#[path = "../../tests/sessions/upstream.rs"]
mod upstream;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    model::play(&model::Play::decode(input));
});
