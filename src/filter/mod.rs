//! Floor 7: the Wasm host.
