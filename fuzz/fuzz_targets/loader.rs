//! A filter's file, its signature, its schema and what lies compiled on disk are a stranger's: whatever they hold, the
//! loader says so and nothing breaks. Compiling is wasmtime's, and fuzzed there.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    wasmilter::filter::hostile::load(input);
});
