//! Why a tool cannot do what it was asked: an exit status that scripts know (sysexits), and a sentence with what to do.

use std::path::Path;
use std::process::ExitCode;

use crate::report::printable;

/// EX_USAGE: arguments that make no sense together.
pub(crate) const EXIT_USAGE: u8 = 64;
/// EX_DATAERR: a filter, or mail, that is not what it should be.
pub(crate) const EXIT_DATA: u8 = 65;
/// EX_NOINPUT: a file that cannot be read.
pub(crate) const EXIT_NO_INPUT: u8 = 66;
/// EX_SOFTWARE: what should not happen.
pub(crate) const EXIT_SOFTWARE: u8 = 70;
/// EX_CONFIG.
pub(crate) const EXIT_CONFIG: u8 = 78;

/// A tool stops here.
#[derive(Debug)]
pub(crate) struct Trouble {
    status: u8,
    what: String,
    help: String,
}

impl Trouble {
    pub(crate) fn new(status: u8, what: impl std::fmt::Display, help: impl Into<String>) -> Trouble {
        Trouble { status, what: what.to_string(), help: help.into() }
    }

    /// The same, with another status.
    pub(crate) fn with_status(self, status: u8) -> Trouble {
        Trouble { status, ..self }
    }

    /// A file that cannot be read.
    pub(crate) fn unreadable(path: &Path, why: &std::io::Error) -> Trouble {
        let help = "check its name, and whether you may read it";
        Trouble::new(EXIT_NO_INPUT, format!("cannot read {}: {why}", path.display()), help)
    }

    /// Says it on standard error.
    pub(crate) fn tell(self) -> anyhow::Result<ExitCode> {
        let lines = self.what.lines().map(printable).collect::<Vec<_>>().join("\n");
        eprintln!("wasmilter: {lines}");
        if !self.help.is_empty() {
            eprintln!("  help: {}", self.help);
        }
        Ok(ExitCode::from(self.status))
    }
}

impl From<std::io::Error> for Trouble {
    /// Of writing what was found.
    fn from(why: std::io::Error) -> Trouble {
        Trouble::new(EXIT_SOFTWARE, format!("cannot write the result: {why}"), "")
    }
}
