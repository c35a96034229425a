//! The `wasmilter` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasmilter::cli::main()
}
