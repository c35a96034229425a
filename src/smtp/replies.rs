//! Everything the gateway itself ever says to a client. There is no wording anywhere else: what is not here is
//! the upstream's, a filter's, or a bug.
//!
//! Sentences are short, say who refused and what would help, and reveal nothing a stranger should not know.

use super::address::AddressError;
use super::reply::{Enhanced, Reply};

const fn say(code: u16, (class, subject, detail): (u8, u16, u16), text: &'static str) -> Reply {
    Reply::fixed(code, Some(Enhanced::new(class, subject, detail)), text)
}

// ── Greeting and taking leave ──

#[must_use]
pub fn banner(hostname: &str, spoken: &str) -> Reply {
    Reply::new(220, None, format!("{hostname} {spoken}"))
}

/// To HELO; to EHLO see [`greeting`](super::ehlo::greeting).
#[must_use]
pub fn helo(hostname: &str) -> Reply {
    Reply::new(250, None, hostname.to_owned())
}

pub const BYE: Reply = say(221, (2, 0, 0), "Bye");
pub const SHUTTING_DOWN: Reply = say(421, (4, 3, 2), "Service is shutting down, try again shortly");
pub const TIMEOUT: Reply = say(421, (4, 4, 2), "Timeout, closing the connection");
pub const SESSION_TOO_LONG: Reply = say(421, (4, 4, 2), "This session has lasted too long, closing the connection");
pub const TOO_MANY_ERRORS: Reply = say(421, (4, 7, 0), "Too many errors, closing the connection");
pub const TOO_MANY_IDLE_COMMANDS: Reply = say(421, (4, 7, 0), "Too many commands that move no mail, closing");
pub const TOO_MANY_MESSAGES: Reply = say(421, (4, 7, 0), "Enough messages for one session, open another");
pub const FOREIGN_PROTOCOL: Reply = say(421, (4, 7, 0), "This is an SMTP server, closing the connection");
pub const TALKED_TOO_EARLY: Reply = say(554, (5, 5, 1), "SMTP clients wait for the greeting");
pub const INTERNAL_ERROR: Reply = say(421, (4, 3, 0), "Internal error, try again later");

// ── What went well ──

pub const OK: Reply = say(250, (2, 0, 0), "Ok");
pub const SENDER_OK: Reply = say(250, (2, 1, 0), "Ok");
pub const RECIPIENT_OK: Reply = say(250, (2, 1, 5), "Ok");
/// A filter may answer success and deliver nothing, where the operator granted that.
pub const DISCARDED: Reply = say(250, (2, 0, 0), "Ok");
pub const START_MAIL_INPUT: Reply = Reply::fixed(354, None, "End data with <CR><LF>.<CR><LF>");
pub const READY_FOR_TLS: Reply = say(220, (2, 0, 0), "Ready to start TLS");
pub const VRFY: Reply = say(252, (2, 0, 0), "Cannot verify the user, but will take mail and try to deliver it");
/// What HELP is told unless the operator has other words.
pub const HELP_TEXT: &str = "This is an SMTP gateway, see RFC 5321";

#[must_use]
pub fn help(text: &str) -> Reply {
    Reply::new(214, Some(Enhanced::new(2, 0, 0)), text.to_owned())
}

/// A chunk is in (RFC 3030).
#[must_use]
pub fn octets_received(octets: u64) -> Reply {
    Reply::new(250, Some(Enhanced::new(2, 0, 0)), format!("{octets} octets received"))
}

// ── Lines and commands ──

pub const LINE_TOO_LONG: Reply = say(500, (5, 5, 2), "Line too long");
pub const AUTH_LINE_TOO_LONG: Reply = say(500, (5, 5, 6), "Line too long");
pub const BARE_LINE_FEED: Reply =
    say(500, (5, 5, 2), "Lines must end in <CR><LF>, this one ended in <LF> alone (by hand: use telnet or nc -C)");
pub const BARE_CARRIAGE_RETURN: Reply = say(500, (5, 5, 2), "A <CR> without <LF> is not allowed in a command");
pub const EMPTY_LINE: Reply = say(500, (5, 5, 2), "Error: empty line");
pub const NOT_A_COMMAND: Reply = say(500, (5, 5, 2), "Error: command not recognized");
pub const CONTROL_CHARACTER: Reply = say(501, (5, 5, 2), "Control characters are not allowed in a command");
pub const NOT_UTF8: Reply = say(501, (5, 5, 2), "Arguments must be ASCII or UTF-8");
pub const UNKNOWN_COMMAND: Reply = say(500, (5, 5, 1), "Error: command not recognized");
pub const NOT_IMPLEMENTED: Reply = say(502, (5, 5, 1), "Error: command not implemented");
pub const EXPN: Reply = say(502, (5, 7, 2), "Mailing lists are not expanded here");
pub const PARAMETER_UNKNOWN: Reply = say(555, (5, 5, 4), "Parameter not recognized or not offered");
pub const PARAMETER_BAD: Reply = say(501, (5, 5, 4), "Bad or repeated parameter");

/// How the command would have been right: `HELO hostname`.
#[must_use]
pub fn usage(form: &'static str) -> Reply {
    Reply::new(501, Some(Enhanced::new(5, 5, 4)), format!("Syntax: {form}"))
}

#[must_use]
pub fn sender_syntax(error: AddressError) -> Reply {
    Reply::new(501, Some(Enhanced::new(5, 1, 7)), format!("Bad sender address syntax: {error}"))
}

#[must_use]
pub fn recipient_syntax(error: AddressError) -> Reply {
    Reply::new(501, Some(Enhanced::new(5, 1, 3)), format!("Bad recipient address syntax: {error}"))
}

/// Only where the operator wants exact forms.
pub const SENDER_NOT_EXACT: Reply = say(501, (5, 1, 7), "Bad sender address syntax: say MAIL FROM:<local@domain>");
pub const RECIPIENT_NOT_EXACT: Reply = say(501, (5, 1, 3), "Bad recipient address syntax: say RCPT TO:<local@domain>");

// ── Names in HELO, where they are checked ──

pub const HELO_SYNTAX: Reply = say(501, (5, 5, 2), "Invalid name in HELO: a domain or [address] is needed");
pub const HELO_NOT_FQDN: Reply = say(504, (5, 5, 2), "Need a fully qualified name in HELO");
pub const HELO_OURS: Reply = say(550, (5, 7, 1), "You are not me: that name in HELO is this server's own");

// ── Order of commands ──

pub const NEED_HELO: Reply = say(503, (5, 5, 1), "Error: send HELO or EHLO first");
pub const NEED_MAIL: Reply = say(503, (5, 5, 1), "Error: need MAIL command");
pub const NEED_RCPT: Reply = say(503, (5, 5, 1), "Error: need RCPT command");
pub const NO_VALID_RECIPIENTS: Reply = say(554, (5, 5, 1), "Error: no valid recipients");
/// One message has one upstream.
pub const ANOTHER_UPSTREAM: Reply =
    say(452, (4, 5, 3), "This recipient is served elsewhere, send to it in another transaction");
/// One message is judged by one set of filters.
pub const OTHER_FILTERS: Reply =
    say(452, (4, 5, 3), "Other rules are for this recipient, send to it in another transaction");
/// RFC 2033 4.1.
pub const SPEAKS_LMTP: Reply = say(500, (5, 5, 1), "This is LMTP, say LHLO");
pub const NESTED_MAIL: Reply = say(503, (5, 5, 1), "Error: nested MAIL command");
pub const NOT_DURING_MAIL: Reply = say(503, (5, 5, 1), "Error: not allowed during a mail transaction");

/// Between the first BDAT and its LAST only BDAT goes on with the transaction (RFC 3030 2).
pub const CHUNKS_BEGUN: Reply =
    say(503, (5, 5, 1), "Error: the message has begun, finish it with BDAT LAST or say RSET");
pub const BINARY_NEEDS_BDAT: Reply = say(503, (5, 5, 1), "Error: a message with BODY=BINARYMIME comes by BDAT");
/// After the refusal of a BDAT whose octets are not known, or too many: the next command cannot be found.
pub const CHUNK_UNREAD: Reply =
    say(421, (4, 5, 0), "What follows cannot be told from commands, closing the connection");

// ── TLS and AUTH ──

pub const TLS_REQUIRED: Reply = say(530, (5, 7, 0), "Must issue a STARTTLS command first");
pub const TLS_NOT_AVAILABLE: Reply = say(454, (4, 7, 0), "TLS not available for now");
pub const TLS_NOT_OFFERED: Reply = say(502, (5, 5, 1), "STARTTLS is not offered here");
/// Something was sent behind STARTTLS before the handshake (CVE-2011-0411).
pub const PIPELINED_STARTTLS: Reply = say(421, (4, 7, 0), "Nothing may follow STARTTLS before the handshake, closing");
pub const TLS_ACTIVE: Reply = say(503, (5, 5, 1), "Error: TLS is already active");
pub const AUTH_REQUIRED: Reply = say(530, (5, 7, 0), "Authentication required");
pub const AUTH_NOT_OFFERED: Reply = say(502, (5, 5, 1), "AUTH is not offered here");
pub const AUTH_NEEDS_TLS: Reply = say(538, (5, 7, 11), "Encryption required for authentication, use STARTTLS first");
pub const AUTH_TWICE: Reply = say(503, (5, 5, 1), "Error: already authenticated");
pub const AUTH_MECHANISM_UNKNOWN: Reply = say(504, (5, 5, 4), "Authentication mechanism not offered");
pub const AUTH_CANCELLED: Reply = say(501, (5, 7, 0), "Authentication cancelled");
pub const AUTH_NOT_BASE64: Reply = say(501, (5, 5, 2), "Cannot decode this as base64");
pub const AUTH_MALFORMED: Reply = say(501, (5, 5, 2), "Malformed authentication data");
/// Of an unknown user and of a wrong password alike.
pub const AUTH_FAILED: Reply = say(535, (5, 7, 8), "Authentication credentials invalid");
pub const AUTH_OK: Reply = say(235, (2, 7, 0), "Authentication successful");
pub const AUTH_TRY_LATER: Reply = say(454, (4, 7, 0), "Temporary authentication failure");
pub const AUTH_TOO_MANY_FAILURES: Reply = say(421, (4, 7, 0), "Too many failed logins, closing the connection");

// ── Addresses and relay ──

pub const RELAY_DENIED: Reply = say(550, (5, 7, 1), "Relaying denied");
pub const ROUTING_DENIED: Reply = say(550, (5, 7, 1), "Relaying denied: routing in the local part");
pub const LITERAL_DENIED: Reply = say(550, (5, 7, 1), "Relaying denied: address literal");
pub const SMTPUTF8_NEEDED: Reply =
    say(553, (5, 6, 7), "A non-ASCII address needs SMTPUTF8, on this and the next server");
pub const TOO_MANY_RECIPIENTS: Reply = say(452, (4, 5, 3), "Too many recipients, send the rest in another transaction");

/// After a banner that was a refusal, until QUIT (RFC 5321 3.1).
pub const REFUSED_SESSION: Reply = say(503, (5, 5, 1), "Error: this session was refused, only QUIT is heard");

/// As Postfix words it for `reject_sender_login_mismatch`.
#[must_use]
pub fn sender_not_owned(sender: &str, identity: &str) -> Reply {
    let text = format!("<{}>: Sender address rejected: not owned by user {}", shown(sender), shown(identity));
    Reply::new(553, Some(Enhanced::new(5, 7, 1)), text)
}

/// As Postfix words it for `relay_recipient_maps`.
#[must_use]
pub fn recipient_unknown(recipient: &str) -> Reply {
    let text = format!("<{}>: Recipient address rejected: User unknown in relay recipient table", shown(recipient));
    Reply::new(550, Some(Enhanced::new(5, 1, 1)), text)
}

/// What somebody else said, as a part of our own line: printable ASCII, and not too much of it.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// Two of them and our words fit into a line.
const SHOWN_CHARS_MAX: usize = 180;

// ── The operator's rules, where they have no words of their own ──

pub const ACCESS_REJECTED: Reply = say(554, (5, 7, 1), "Access denied");
pub const ACCESS_DEFERRED: Reply = say(450, (4, 7, 1), "Access denied for now, try again later");
pub const ACCESS_DISCONNECTED: Reply = say(421, (4, 7, 1), "Access denied, closing the connection");

// ── The message ──

pub const MESSAGE_TOO_BIG: Reply = say(552, (5, 3, 4), "Message too big");
pub const HEADER_TOO_BIG: Reply = say(552, (5, 3, 4), "Message header too big");
pub const TOO_MANY_HEADER_FIELDS: Reply = say(550, (5, 6, 0), "Too many header fields");
pub const MAIL_LOOP: Reply = say(554, (5, 4, 6), "Too many hops, this message is in a loop");
pub const OWN_MAIL_LOOP: Reply = say(554, (5, 4, 6), "This message has passed this gateway too often, it is in a loop");
pub const MIME_TOO_DEEP: Reply = say(554, (5, 6, 0), "MIME parts are nested too deeply");
pub const TOO_MANY_MIME_PARTS: Reply = say(554, (5, 6, 0), "Too many MIME parts");
pub const CONTENT_BARE_CR: Reply = say(550, (5, 6, 11), "Bare <CR> in message content, lines must end in <CR><LF>");
pub const CONTENT_BARE_LF: Reply = say(550, (5, 6, 11), "Bare <LF> in message content, lines must end in <CR><LF>");
pub const CONTENT_NUL: Reply = say(550, (5, 6, 0), "NUL in message content");
pub const NO_ROOM: Reply = say(452, (4, 3, 1), "No room for this message now, try again later");

// ── Proxies and mail servers in front of us ──

pub const PROXY_HEADER_WANTED: Reply =
    say(421, (4, 7, 0), "This port is for proxies: a connection begins with a PROXY header, closing");

// ── Limits over sessions ──

pub const TOO_MANY_CONNECTIONS: Reply = say(421, (4, 7, 0), "Too many connections from your network, try again later");
pub const CONNECTING_TOO_OFTEN: Reply =
    say(421, (4, 7, 0), "Too many new connections from your network, try again later");
pub const SERVER_FULL: Reply = say(421, (4, 3, 2), "Too many connections, try again later");
pub const TOO_MANY_MESSAGES_NOW: Reply = say(450, (4, 7, 1), "Too much mail for now, try again later");
pub const TOO_MANY_RECIPIENTS_NOW: Reply = say(452, (4, 7, 1), "Too many recipients for now, try again later");
pub const TOO_MANY_LOGINS_NOW: Reply = say(421, (4, 7, 0), "Too many failed logins, try again later");

/// What somebody has had too much of, in the words of Postfix where it has such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    Connections,
    Mail,
    Recipients,
    FailedLogins,
    Errors,
}

/// To who has reached a `[[limit]]`. `code` is 421, 450, 550 or 554; `words` are the operator's.
#[must_use]
pub fn over_limit(code: u16, what: TooMuch, address: std::net::IpAddr, words: Option<&str>) -> Reply {
    let enhanced = match code {
        421 => Enhanced::new(4, 7, 0),
        450 => Enhanced::new(4, 7, 1),
        _ => Enhanced::new(5, 7, 1),
    };
    let what = match what {
        TooMuch::Connections => "too many connections",
        TooMuch::Mail => "too much mail",
        TooMuch::Recipients => "too many recipients",
        TooMuch::FailedLogins => "too many failed logins",
        TooMuch::Errors => "too many errors",
    };
    let text = words.map_or_else(|| format!("Error: {what} from {address}"), str::to_owned);
    Reply::new(code, Some(enhanced), text)
}

// ── Filters ──

pub const FILTER_REJECTED: Reply = say(550, (5, 7, 1), "Rejected by local policy");
pub const FILTER_DEFERRED: Reply = say(451, (4, 7, 1), "Not accepted for now, try again later");
pub const FILTER_DISCONNECTED: Reply = say(421, (4, 7, 1), "Closing the connection by local policy");
/// Who would know of a recipient is away.
pub const LOOKUP_FAILED: Reply = say(451, (4, 3, 0), "Cannot look this recipient up for now, try again later");
/// Whether the client may send elsewhere depends on something that cannot be asked.
pub const STANDING_UNKNOWN: Reply =
    say(451, (4, 3, 0), "Cannot tell for now whether you may send there, try again later");
/// A filter failed, and its configuration asks for `defer`.
pub const FILTER_FAULT: Reply = say(451, (4, 3, 0), "Cannot examine this for now, try again later");
/// A filter failed, and its configuration asks for `reject`.
pub const FILTER_FAULT_REJECTED: Reply = say(550, (5, 3, 0), "Cannot examine this");
/// A filter failed, and its configuration asks for `disconnect`.
pub const FILTER_FAULT_DISCONNECTED: Reply = say(421, (4, 3, 0), "Cannot examine this for now, closing the connection");

/// There is no instance of a filter to be had: our trouble, whatever the filter's configuration says of its own.
pub const FILTERS_FULL: Reply = say(421, (4, 3, 2), "Too busy to examine this, try again later");

// ── The upstream. What it says about us is our trouble, never the client's bounce ──

pub const UPSTREAM_AWAY: Reply =
    say(451, (4, 4, 1), "The mail server behind this gateway does not answer, try again later");
pub const UPSTREAM_LOST: Reply = say(451, (4, 4, 2), "Lost the mail server behind this gateway, try again later");
pub const UPSTREAM_TIMEOUT: Reply =
    say(451, (4, 4, 2), "The mail server behind this gateway takes too long, try again later");
pub const UPSTREAM_BUSY: Reply =
    say(451, (4, 4, 5), "The mail server behind this gateway is busy with others, try again later");
pub const UPSTREAM_NOT_READY: Reply =
    say(451, (4, 3, 2), "The mail server behind this gateway takes no mail for now, try again later");
pub const UPSTREAM_MISCONFIGURED: Reply =
    say(451, (4, 3, 5), "This gateway and its mail server do not work together for now, try again later");
/// In Postfix's words, for the same reason.
pub const POLICY_SERVICE_FAILED: Reply = say(451, (4, 3, 5), "Server configuration problem");
pub const UPSTREAM_NONSENSE: Reply =
    say(451, (4, 5, 0), "The mail server behind this gateway gave an unusable answer, try again later");
/// The client used what was offered when the upstream was last seen; it is not offered any more.
pub const UPSTREAM_CHANGED: Reply =
    say(451, (4, 3, 5), "The mail server behind this gateway has changed its extensions, try again");
/// A filter added, removed or rewrote an address and the upstream did not take the result.
pub const EDIT_REFUSED_UPSTREAM: Reply =
    say(451, (4, 3, 5), "The mail server behind this gateway refused what local policy made of this, try again later");
/// A deferred message was said to the upstream, and it took back what it had answered about sender or recipients.
pub const UPSTREAM_ANSWERS_OTHERWISE: Reply =
    say(451, (4, 3, 0), "The mail server behind this gateway answers otherwise than before, try again later");
/// An LMTP server took the message for some of its recipients.
pub const DELIVERED_IN_PART: Reply =
    say(451, (4, 3, 0), "The mail server behind this gateway did not take this for all recipients, try again later");
/// The final dot was sent and no answer came: the message may or may not be there (RFC 1047).
pub const OUTCOME_UNKNOWN: Reply =
    say(451, (4, 4, 2), "No answer from the mail server behind this gateway after the message, try again later");

// ── The embedded upstream ──

pub const NO_SUCH_USER: Reply = say(550, (5, 1, 1), "No such user here");
pub const MAILBOX_FULL: Reply = say(452, (4, 2, 2), "Mailbox full, try again later");
/// To XCLIENT and XFORWARD from those who may not speak for others.
pub const XCLIENT_DENIED: Reply = say(550, (5, 7, 0), "Insufficient authorization");

/// After the final dot, with the name the message was given.
#[must_use]
pub fn stored(name: &str) -> Reply {
    Reply::new(250, Some(Enhanced::new(2, 0, 0)), format!("Ok: stored as {name}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    /// Read from this file, so that no constant can be forgotten.
    #[test]
    fn the_enhanced_class_is_the_codes_and_every_line_fits() {
        let page = include_str!("replies.rs").split("#[cfg(test)]").next().unwrap();
        let mut sentences = 0;
        for said in page.split("say(").skip(2) {
            let (code, rest) = said.trim_start().split_once(", (").unwrap();
            assert_eq!(code.chars().next(), rest.chars().next(), "{said}");
            let text = rest.split('"').nth(1).unwrap();
            assert!(text.is_ascii() && text.len() < 490, "{text}");
            sentences += 1;
        }
        assert!(sentences > 60, "{sentences}");
    }
}
