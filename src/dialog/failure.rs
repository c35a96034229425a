//! Where a replay left its dialog, and how.

use std::fmt;

use super::script::How;

/// A dialog that is not heard as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of the file; None: at its end, or before its beginning.
    pub line: Option<usize>,
    pub how: How,
    pub why: Why,
    /// What either side had heard by then, and the dialog did not come to: "the client heard 250 Ok".
    pub meanwhile: Vec<String>,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Something else was said.
    Differs {
        /// As in the file: "S:", "P:".
        mark: &'static str,
        expected: Vec<String>,
        heard: Vec<String>,
    },
    /// Anything else, in words.
    Other(String),
}

impl From<String> for Why {
    fn from(what: String) -> Why {
        Why::Other(what)
    }
}

impl From<&str> for Why {
    fn from(what: &str) -> Why {
        Why::Other(what.to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} ({:?}): {}", self.how, self.why)?,
            None => write!(f, "({:?}): {}", self.how, self.why)?,
        }
        self.meanwhile.iter().try_for_each(|line| write!(f, "\n  meanwhile {line}"))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Other(what) => f.write_str(what),
            Why::Differs { mark, expected, heard } => {
                let space = "\n              ";
                write!(f, "expected {mark} {}\n  but heard   {}", expected.join(space), heard.join(space))
            }
        }
    }
}
