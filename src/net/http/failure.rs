//! Why a request came to nothing.

/// As the contract has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request could not be sent as it was.
    #[error("{0}")]
    Malformed(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is larger than is allowed")]
    TooLarge,
    #[error("{0}")]
    Unreachable(String),
    /// What came was no HTTP, or the certificate was not good.
    #[error("{0}")]
    Protocol(String),
    /// More, or longer, header fields than are sent.
    #[error("more header fields than are sent")]
    Limit,
}

pub(super) fn of(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return Failure::TooLarge;
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Failure::Protocol(text)
}
