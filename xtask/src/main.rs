//! The chores of this repository as one program, so that a person and a build machine type the same words.
//!
//! It uses the standard library alone and compiles in a second. It holds no logic of the gateway: whatever is
//! worth testing lives in the tests it starts.

#![allow(clippy::print_stdout, reason = "a command line tool talks to its terminal")]

mod bench;
mod demo;
mod fuzz;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--once]                    a gateway, a mailbox behind it, and mail going through both
  test [--all] [--list] [--only STEP]...
                                   everything a change has to pass, in order; stops at the first failure.
                                   --all: the SDKs in every language as well, with what they fetch
  bench [--rounds N] [--only LOAD] [--filters | --logins] [--write-readme] [--program FILE]
                                   cost of a message and of an idle connection, beside the direct way and HAProxy;
                                   or, with --filters, what filters cost there; or, with --logins, what logins cost,
                                   and how an attack from 10,000 addresses is felt
  faults                           plays every fault and writes docs/faults.md anew
  fuzz [--seconds N] [TARGET]...   each fuzz target for so long (60), from its seeds and the dialogs; wants nightly Rust
  advisories                       the dependencies against the RustSec database (needs the network)
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        Some((&"test", rest)) => test::all(rest),
        Some((&"demo", rest)) => demo::main(rest),
        Some((&"bench", rest)) => bench::main(rest),
        Some((&"faults", [])) => test::write_faults(),
        Some((&"fuzz", rest)) => fuzz::run_targets(rest),
        Some((&"advisories", [])) => test::advisories(),
        Some((&"help" | &"--help" | &"-h", _)) => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("this is not a command\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
