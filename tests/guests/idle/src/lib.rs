//! The least a filter can be: it sees HELO and has no opinion. What it costs is what the host costs.

use wasmilter_filter::*;

#[derive(Default)]
struct Idle;

impl Filter for Idle {}

export!(Idle: helo);
