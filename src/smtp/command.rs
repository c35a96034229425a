//! One command line becomes one [`Command`], or an error that knows its reply (RFC 5321 4.1.1, RFC 3030, RFC 3207,
//! RFC 4954).
//!
//! Verbs count in any case and white space at the end is forgiven; arguments where none belong, control
//! characters, and text that is neither ASCII nor UTF-8 are not. Whether a command is allowed now is not
//! known here.

use super::address::{AddressError, ForwardPath, ReversePath, split_path};
use super::params::Params;
use super::replies;
use super::reply::Reply;
use super::sasl::Secret;

/// The name in HELO and EHLO.
pub const HELO_NAME_OCTETS_MAX: usize = 255;
/// RFC 4422 3.1.
pub const MECHANISM_OCTETS_MAX: usize = 20;
/// What is kept of an unknown verb, for the log.
pub const VERB_OCTETS_KEPT_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A domain, an address literal, or whatever the client calls itself: printable, without spaces.
    Helo {
        name: String,
    },
    /// LMTP's EHLO (RFC 2033 4.1).
    Lhlo {
        name: String,
    },
    Ehlo {
        name: String,
    },
    Mail {
        path: ReversePath,
        params: Params,
    },
    Rcpt {
        path: ForwardPath,
        params: Params,
    },
    Data,
    /// So many octets follow the line (RFC 3030). A number beyond 64 bits is as large as can be.
    Bdat {
        octets: u64,
        last: bool,
    },
    Rset,
    Noop,
    Quit,
    Vrfy {
        argument: String,
    },
    Expn {
        argument: String,
    },
    /// RFC 1985.
    Etrn {
        argument: String,
    },
    Help,
    /// Postfix's; what follows is read where it is known who may say it.
    Xclient {
        arguments: String,
    },
    Xforward {
        arguments: String,
    },
    StartTls,
    Auth {
        /// Upper case; RFC 4422 3.1 in form, not necessarily one we know.
        mechanism: String,
        /// Still in base64; `=`, the empty one, is empty here.
        initial: Option<Secret>,
    },
    /// A client of another protocol: HTTP, TLS, SSH, PROXY … Nothing it says may be taken for mail, so the
    /// session ends.
    Foreign,
    /// Once specified, not implemented here: 502.
    NotImplemented {
        verb: String,
    },
    /// A word that is no verb: 500.
    Unknown {
        verb: String,
    },
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("an empty line")]
    Empty,
    #[error("no verb")]
    NoVerb,
    #[error("a control character in the arguments")]
    ControlCharacter,
    #[error("arguments that are not UTF-8")]
    NotUtf8,
    #[error("bad sender address: {0}")]
    Sender(AddressError),
    #[error("bad recipient address: {0}")]
    Recipient(AddressError),
    #[error("malformed parameters")]
    Params,
    /// How many octets follow is not known, so nothing after it can be read.
    #[error("a malformed BDAT")]
    Bdat,
    /// With the form that would have been right.
    #[error("not of the form {0}")]
    Usage(&'static str),
}

impl CommandError {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            CommandError::Empty => replies::EMPTY_LINE,
            CommandError::NoVerb => replies::NOT_A_COMMAND,
            CommandError::ControlCharacter => replies::CONTROL_CHARACTER,
            CommandError::NotUtf8 => replies::NOT_UTF8,
            CommandError::Sender(error) => replies::sender_syntax(error),
            CommandError::Recipient(error) => replies::recipient_syntax(error),
            CommandError::Params => replies::PARAMETER_BAD,
            CommandError::Bdat => replies::usage("BDAT size [LAST]"),
            CommandError::Usage(form) => replies::usage(form),
        }
    }
}

impl Command {
    /// One line without its line end. Its length is the caller's to bound.
    pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
        let line = trim(line);
        if line.is_empty() {
            return Err(CommandError::Empty);
        }
        let verb_octets = line.iter().position(|b| b" \t".contains(b)).unwrap_or(line.len());
        let (verb, arguments) = line.split_at_checked(verb_octets).unwrap_or((line, b""));
        let arguments = trim(arguments);
        if is_other_protocol(line) {
            return Ok(Command::Foreign);
        }
        if !verb.iter().all(u8::is_ascii_alphabetic) {
            return Err(CommandError::NoVerb);
        }
        let mut upper = [0; VERB_OCTETS_KEPT_MAX];
        let verb = upper_case(verb, &mut upper);
        if arguments.iter().any(u8::is_ascii_control) {
            return Err(if verb == b"BDAT" { CommandError::Bdat } else { CommandError::ControlCharacter });
        }
        let text = match (str::from_utf8(arguments), verb) {
            (Ok(text), _) if !text.contains(char::is_control) => text,
            (Ok(_), b"BDAT") => return Err(CommandError::Bdat),
            (Ok(_), _) => return Err(CommandError::ControlCharacter),
            (Err(_), b"MAIL") => return Err(CommandError::Sender(AddressError::NotUtf8)),
            (Err(_), b"RCPT") => return Err(CommandError::Recipient(AddressError::NotUtf8)),
            (Err(_), b"BDAT") => return Err(CommandError::Bdat),
            (Err(_), _) => return Err(CommandError::NotUtf8),
        };
        dispatch(verb, text)
    }
}

/// A verb of which no more is kept than anybody knows.
fn upper_case<'a>(verb: &[u8], room: &'a mut [u8; VERB_OCTETS_KEPT_MAX]) -> &'a [u8] {
    let kept = verb.len().min(room.len());
    let room = room.get_mut(..kept).unwrap_or_default();
    room.copy_from_slice(verb.get(..kept).unwrap_or_default());
    room.make_ascii_uppercase();
    room
}

fn dispatch(verb: &[u8], text: &str) -> Result<Command, CommandError> {
    match verb {
        b"HELO" => helo(text, "HELO hostname").map(|name| Command::Helo { name }),
        b"EHLO" => helo(text, "EHLO hostname").map(|name| Command::Ehlo { name }),
        b"LHLO" => helo(text, "LHLO hostname").map(|name| Command::Lhlo { name }),
        b"MAIL" => mail(text),
        b"RCPT" => rcpt(text),
        b"DATA" => alone(text, "DATA", Command::Data),
        b"BDAT" => bdat(text).ok_or(CommandError::Bdat),
        b"RSET" => alone(text, "RSET", Command::Rset),
        b"QUIT" => alone(text, "QUIT", Command::Quit),
        b"STARTTLS" => alone(text, "STARTTLS", Command::StartTls),
        b"NOOP" => Ok(Command::Noop),
        b"HELP" => Ok(Command::Help),
        b"VRFY" => some(text, "VRFY address").map(|argument| Command::Vrfy { argument }),
        b"EXPN" => some(text, "EXPN list").map(|argument| Command::Expn { argument }),
        b"ETRN" => some(text, "ETRN domain").map(|argument| Command::Etrn { argument }),
        b"AUTH" => auth(text),
        b"XCLIENT" => Ok(Command::Xclient { arguments: text.to_owned() }),
        b"XFORWARD" => Ok(Command::Xforward { arguments: text.to_owned() }),
        _ => {
            let kept = String::from_utf8_lossy(verb).into_owned();
            let known = is_known(verb);
            Ok(if known { Command::NotImplemented { verb: kept } } else { Command::Unknown { verb: kept } })
        }
    }
}

fn is_known(verb: &[u8]) -> bool {
    const VERBS: [&[u8]; 20] = [
        b"HELO",
        b"EHLO",
        b"MAIL",
        b"RCPT",
        b"DATA",
        b"RSET",
        b"QUIT",
        b"NOOP",
        b"HELP",
        b"VRFY",
        b"EXPN",
        b"ETRN",
        b"AUTH",
        b"STARTTLS",
        b"BDAT",
        b"TURN",
        b"ATRN",
        b"SEND",
        b"SOML",
        b"SAML",
    ];
    VERBS.iter().any(|known| known.eq_ignore_ascii_case(verb))
}

fn alone(text: &str, form: &'static str, command: Command) -> Result<Command, CommandError> {
    if text.is_empty() { Ok(command) } else { Err(CommandError::Usage(form)) }
}

fn some(text: &str, form: &'static str) -> Result<String, CommandError> {
    if text.is_empty() { Err(CommandError::Usage(form)) } else { Ok(text.to_owned()) }
}

fn helo(name: &str, form: &'static str) -> Result<String, CommandError> {
    let fits = (1..=HELO_NAME_OCTETS_MAX).contains(&name.len());
    if fits && !name.contains(char::is_whitespace) { Ok(name.to_owned()) } else { Err(CommandError::Usage(form)) }
}

fn mail(text: &str) -> Result<Command, CommandError> {
    let rest = after_keyword(text, "FROM:").ok_or(CommandError::Usage("MAIL FROM:<address>"))?;
    let (path, rest) = split_path(rest).map_err(CommandError::Sender)?;
    let path = ReversePath::parse(path).map_err(CommandError::Sender)?;
    let params = Params::parse(rest).ok_or(CommandError::Params)?;
    Ok(Command::Mail { path, params })
}

fn rcpt(text: &str) -> Result<Command, CommandError> {
    let rest = after_keyword(text, "TO:").ok_or(CommandError::Usage("RCPT TO:<address>"))?;
    let (path, rest) = split_path(rest).map_err(CommandError::Recipient)?;
    let path = ForwardPath::parse(path).map_err(CommandError::Recipient)?;
    let params = Params::parse(rest).ok_or(CommandError::Params)?;
    Ok(Command::Rcpt { path, params })
}

fn bdat(text: &str) -> Option<Command> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let digits = words.next().filter(|size| size.bytes().all(|b| b.is_ascii_digit()))?;
    let last = words.next();
    if words.next().is_some() || last.is_some_and(|word| !word.eq_ignore_ascii_case("LAST")) {
        return None;
    }
    // Nothing but digits: what does not parse is too large a number.
    Some(Command::Bdat { octets: digits.parse().unwrap_or(u64::MAX), last: last.is_some() })
}

fn after_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (said, rest) = text.split_at_checked(keyword.len())?;
    said.eq_ignore_ascii_case(keyword).then_some(rest)
}

fn auth(text: &str) -> Result<Command, CommandError> {
    const FORM: CommandError = CommandError::Usage("AUTH mechanism [initial-response]");
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let (mechanism, initial) = (words.next().ok_or(FORM)?, words.next());
    let well_formed = mechanism.len() <= MECHANISM_OCTETS_MAX
        && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !well_formed || words.next().is_some() || !initial.is_none_or(str::is_ascii) {
        return Err(FORM);
    }
    let initial = initial.map(|said| Secret::new(if said == "=" { Vec::new() } else { said.into() }));
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// Spaces and tabs only: other white space is a control character, and to be complained about.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether these octets, a line or the beginning of one, are another protocol's. It counts before everything else
/// that may be wrong with the line, its end included. (What of it ends a session is [`Command::Foreign`], and the
/// operator's list of forbidden words.)
#[must_use]
pub fn is_foreign(line: &[u8]) -> bool {
    /// HTTP, also where a proxy is asked for a connection, before any version is said.
    const WORDS: [&[u8]; 3] = [b"GET ", b"POST ", b"CONNECT "];
    WORDS.iter().any(|word| begins(line, word)) || is_other_protocol(line)
}

fn begins(line: &[u8], beginning: &[u8]) -> bool {
    line.get(..beginning.len()).is_some_and(|said| said.eq_ignore_ascii_case(beginning))
}

fn is_other_protocol(line: &[u8]) -> bool {
    /// TLS, PROXY version 2 (its fourth line), RDP, SOCKS 4 and 5, SSH, PROXY version 1, HTTP/2.
    const BEGINNINGS: [&[u8]; 8] = [b"\x16\x03", b"\0", b"\x03\0", b"\x04\x01", b"\x05", b"SSH-", b"PROXY ", b"PRI "];
    /// Request lines end in a protocol and a version.
    const PROTOCOLS: [&[u8]; 4] = [b"HTTP/", b"RTSP/", b"SIP/", b"ICAP/"];
    let verb = line.split(|b| b" \t".contains(b)).next().unwrap_or_default();
    if is_known(verb) {
        return false;
    }
    let last_word = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
    BEGINNINGS.iter().any(|beginning| begins(line, beginning))
        || PROTOCOLS.iter().any(|protocol| last_word.starts_with(protocol))
}

#[cfg(test)]
mod tests;
