//! Mail clients that other people wrote: swaks, curl, and Python's smtplib.
//!
//! Each sends from a loopback address of its own, so that Postfix's log can be asked whom it has seen.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::gateway::{ACCOUNT, PASSWORD};

/// The program that drives smtplib; it prints `sent`, or the refusal it met.
const SMTPLIB: &str = include_str!("submit.py");

/// The same by BDAT.
const CHUNKS: &str = include_str!("chunks.py");

/// How a client comes in.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Plain,
    /// STARTTLS and AUTH.
    StartTls,
    /// TLS from the first octet and AUTH.
    Implicit,
}

/// One message to hand in.
pub(crate) struct Mail<'a> {
    pub(crate) server: SocketAddr,
    pub(crate) way: Way,
    /// The address the client connects from.
    pub(crate) from_address: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) recipient: &'a str,
    /// With CRLF, as it has to arrive.
    pub(crate) message: &'a [u8],
}

/// What a client was told: whether the message was taken, and all that the client printed.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) taken: bool,
    pub(crate) printed: String,
}

/// Perl's SMTP tool. It adds the last line end by itself.
pub(crate) fn swaks(mail: &Mail<'_>) -> Told {
    let server = mail.server.ip().to_string();
    let port = mail.server.port().to_string();
    let mut command = Command::new("swaks");
    command.args(["--server", &server, "--port", &port, "--local-interface", mail.from_address]);
    command.args(["--from", mail.sender, "--to", mail.recipient, "--ehlo", "swaks.client.test", "--data", "-"]);
    match mail.way {
        Way::Plain => {}
        Way::StartTls => drop(command.args(["--tls"])),
        Way::Implicit => drop(command.args(["--tls-on-connect"])),
    }
    if mail.way != Way::Plain {
        command.args(["--auth", "PLAIN", "--auth-user", ACCOUNT, "--auth-password", PASSWORD]);
    }
    told(command, mail.message.strip_suffix(b"\r\n").unwrap_or(mail.message))
}

/// The library half of the world sends mail with.
pub(crate) fn curl(mail: &Mail<'_>) -> Told {
    let scheme = if mail.way == Way::Implicit { "smtps" } else { "smtp" };
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--verbose", "--max-time", "60", "--insecure", "--upload-file", "-"]);
    command.args(["--interface", mail.from_address, "--mail-from", mail.sender, "--mail-rcpt", mail.recipient]);
    if mail.way == Way::StartTls {
        command.arg("--ssl-reqd");
    }
    if mail.way != Way::Plain {
        command.args(["--user", &format!("{ACCOUNT}:{PASSWORD}")]);
    }
    command.arg(format!("{scheme}://{}/curl.client.test", mail.server));
    told(command, mail.message)
}

/// What Python programs use.
pub(crate) fn smtplib(mail: &Mail<'_>) -> Told {
    python(SMTPLIB, mail)
}

/// BDAT, in chunks of all sizes: pipelined in clear, one by one under TLS.
pub(crate) fn chunks(mail: &Mail<'_>) -> Told {
    python(CHUNKS, mail)
}

fn python(program: &str, mail: &Mail<'_>) -> Told {
    let way = match mail.way {
        Way::Plain => "plain",
        Way::StartTls => "starttls",
        Way::Implicit => "implicit",
    };
    let server = mail.server.ip().to_string();
    let port = mail.server.port().to_string();
    let mut command = Command::new("python3");
    command.args(["-c", program, &server, &port, way, mail.from_address, mail.sender, mail.recipient]);
    command.args([ACCOUNT, PASSWORD]);
    told(command, mail.message)
}

fn told(mut command: Command, message: &[u8]) -> Told {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let mut stdin = child.stdin.take().unwrap();
    let message = message.to_owned();
    // A client that is refused early does not read it all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&message)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let printed = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Told { taken: output.status.success(), printed }
}
