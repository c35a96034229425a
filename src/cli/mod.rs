//! Floor 11: the commands. What a person typed becomes a call; what went wrong becomes a sentence and an exit code
//! (sysexits: 64 usage, 78 configuration, 1 anything else; `probe`, `filter`, `audit` and `explain-policy` have their own).

pub mod check;
pub mod demo;
mod door;
pub mod filter;
pub mod load;
pub mod passwd;
pub mod policy;
pub mod probe;
pub mod seen;
pub mod serve;
pub mod sink;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An SMTP filtering gateway programmed with sandboxed WebAssembly filters.
#[derive(Debug, Parser)]
#[command(name = "wasmilter", version, about, propagate_version = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Serve),
    /// Read a configuration and say what it means, or what is wrong with it.
    Check(check::Check),
    /// Try every relay trick on a configuration, as every kind of client, and say what would be relayed and why.
    Audit(policy::audit::Audit),
    /// Say what a client would hear, command by command, and which rule decides.
    ExplainPolicy(policy::explain::Explain),
    /// Make, change or test an entry of a password file.
    Passwd(passwd::Passwd),
    /// Ask a mail server what it offers to a gateway in front of it, and how it reads what it should not be sent.
    Probe(probe::Probe),
    /// Tell the running gateway that somebody has logged in from an address elsewhere, and may send from there.
    Seen(seen::Seen),
    /// Run a small mail server that stores a Maildir: an upstream to try things with.
    Sink(sink::Sink),
    /// Make filters, build them, look into them, try them on mail, test and measure them.
    #[command(subcommand)]
    Filter(filter::Filter),
    /// Show all of it at work on this machine, then let you try.
    Demo(demo::Demo),
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return if usage { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Audit(args) => policy::audit::run(&args),
        Command::ExplainPolicy(args) => policy::explain::run(&args),
        Command::Passwd(args) => passwd::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Seen(args) => seen::run(&args),
        Command::Sink(args) => sink::run(&args),
        Command::Filter(command) => filter::run(&command),
        Command::Demo(args) => demo::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("wasmilter: {error:#}");
        ExitCode::FAILURE
    })
}
