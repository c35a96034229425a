//! What wasmtime makes of `filters/wit/filter.wit`: the only place where bindings are generated.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    unused,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "filters/wit",
    world: "everything",
    imports: {
        "wasmilter:filter/body.read": async | trappable,
        "wasmilter:filter/body.find": async | trappable,
        "wasmilter:filter/body.sha256": async | trappable,
        "wasmilter:filter/mime": async | trappable,
        "wasmilter:filter/edit.write-body": async | trappable,
        "wasmilter:filter/dns": async | trappable,
        "wasmilter:filter/http": async | trappable,
        "wasmilter:filter/facts.find": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
