//! Addresses as they were said.

/// `local@domain`, octet for octet as said, without a source route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    raw: Box<str>,
}

impl Mailbox {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.raw
    }
}

/// MAIL FROM: may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    Null,
    Mailbox(Mailbox),
}

/// RCPT TO: never empty; a bare `Postmaster` is one (RFC 5321 4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    Postmaster(Box<str>),
    Mailbox(Mailbox),
}
