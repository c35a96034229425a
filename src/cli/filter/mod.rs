//! `wasmilter filter`: the tools of people who write filters, and of those who want to know what one does before they
//! let it near their mail. Each uses the very host that the gateway uses.
//!
//! What comes from a filter or a message is shown escaped ([`printable`](crate::report::printable)); a terminal is
//! asked for colours, a file is not.

mod answers;
mod bench;
mod build;
mod diff;
mod envelope;
mod inspect;
mod look;
mod mails;
mod marked;
mod new;
mod ours;
mod paint;
mod play;
mod project;
mod reload;
mod run;
mod site;
mod test;
mod trouble;
mod watch;

use std::process::ExitCode;

pub(crate) use trouble::Trouble;

#[derive(Debug, clap::Subcommand)]
pub enum Filter {
    /// Make a folder with a filter that builds and passes its tests: a place to begin.
    New(new::New),
    /// Build the filter in a folder, whatever its language, and say what came of it.
    Build(build::Build),
    /// Say what a filter is: its stages, what it would have to be granted, its size, its makers.
    Inspect(inspect::Inspect),
    /// Let the running gateway read one filter again, while mail goes on.
    Reload(reload::Reload),
    /// Run a filter over messages, offline, and show what it does with them and what that costs.
    Run(Box<run::Run>),
    /// Replay a filter's dialogs behind the real gateway, with answers of DNS and clock that the dialogs give.
    Test(test::Test),
    /// Measure what a filter costs, beside a filter that does nothing.
    Bench(bench::Bench),
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object, for programs.
    Json,
}

/// Runs one of the tools. What went wrong is said here, with what to do about it.
///
/// # Errors
/// What keeps a filter from being made or built. The other tools: only when nothing can be written any more.
pub fn run(command: &Filter) -> anyhow::Result<ExitCode> {
    let done = match command {
        Filter::New(args) => return new::run(args),
        Filter::Build(args) => return build::run(args),
        Filter::Inspect(args) => inspect::run(args),
        Filter::Reload(args) => reload::run(args),
        Filter::Run(args) => run::run(args),
        Filter::Test(args) => test::run(args),
        Filter::Bench(args) => bench::run(args),
    };
    done.or_else(Trouble::tell)
}
