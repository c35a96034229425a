//! Where the server sees the end of a message: the smuggling question (CVE-2023-51764, -51765, -51766).
//!
//! Each ending but the right one is sent inside a message of its own on a connection of its own, to the recipient the
//! operator named. Then there is only waiting: a server that answers has seen an end where there was none. What
//! follows is one NOOP, and the connection is closed without a dot, so that nothing else can come of it.

use std::time::Duration;

use tokio::time::Instant;

use super::finding::Finding;
use super::talk::{Heard, Stopped, Talk, Target};

/// `<CR><LF>.<CR><LF>`, misspelt.
const ENDINGS: [&str; 14] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\r\r\n.\r\r\n",
    "\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n. \r\n",
    "\r\n..\r\n",
];
/// Inside a message that ends as it should.
const CONTENTS: [(&str, &str); 4] =
    [("a bare <LF>", "a\nb"), ("a bare <CR>", "a\rb"), ("a NUL", "a\0b"), ("an octet beyond ASCII", "a\u{e9}b")];

const ANSWER_WAIT_MIN: Duration = Duration::from_secs(1);
/// Connections that wait beside each other.
const AT_ONCE: usize = 5;
/// The server's usual time for a whole message, so often.
const PATIENCE: u32 = 3;

/// Who writes to whom.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) sender: String,
    pub(super) recipient: String,
}

/// Sends what there is to send. Up to five whole messages arrive when all goes well, and more when it does not.
pub(super) async fn look(target: &Target, letter: &Letter) -> Vec<Finding> {
    const TOPIC: &str = "end of data";
    let began = Instant::now();
    let usual = match whole(target, letter, "a message that ends as it should").await {
        Err(stopped) => {
            let advice = "Without a message that gets as far as its end, nothing can be said about ends.";
            return vec![Finding::warning(TOPIC, format!("not tried: {stopped}"), advice)];
        }
        Ok(heard) => heard,
    };
    let wait = (began.elapsed() * PATIENCE).clamp(ANSWER_WAIT_MIN, target.wait.max(ANSWER_WAIT_MIN));
    let mut found = vec![Finding::good(TOPIC, format!("{}: {usual}", spelt("\r\n.\r\n")))];
    if usual.class() == 0 {
        let advice = "Give it more time (--timeout), or the rest of this says nothing.";
        found = vec![Finding::warning(TOPIC, format!("{}: {usual}", spelt("\r\n.\r\n")), advice)];
    }
    for endings in ENDINGS.chunks(AT_ONCE) {
        let tries = endings.iter().map(|ending| {
            let (target, letter) = (target.clone(), letter.clone());
            let ending = *ending;
            (ending, tokio::spawn(async move { misspelt(&target, &letter, ending, wait).await }))
        });
        for (ending, tried) in tries.collect::<Vec<_>>() {
            found.push(match tried.await {
                Ok(Ok(read)) => judged(ending, &read),
                Ok(Err(stopped)) => Finding::note(TOPIC, format!("{}: not tried: {stopped}", spelt(ending))),
                Err(panicked) => Finding::note(TOPIC, format!("{}: not tried: {panicked}", spelt(ending))),
            });
        }
    }
    for (name, content) in CONTENTS {
        found.push(match whole(target, letter, content).await {
            Ok(heard) if heard.class() == 2 => Finding::note("content", format!("{name} in a message is taken")),
            Ok(heard) => Finding::good("content", format!("{name} in a message is not taken: {heard}")),
            Err(stopped) => Finding::note("content", format!("{name}: not tried: {stopped}")),
        });
    }
    found
}

/// What a misspelt end of data was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    /// It was waited for more.
    Content,
    /// No end, and no more of this.
    Refused(Heard),
    /// An end.
    End(Heard),
}

/// Up to the 354, with the beginning of a message.
async fn begin(target: &Target, letter: &Letter, content: &str) -> Result<(Talk, Vec<u8>), Stopped> {
    let mut talk = target.open().await?.talk;
    let commands = [format!("MAIL FROM:<{}>", letter.sender), format!("RCPT TO:<{}>", letter.recipient)];
    for (command, during) in commands.iter().zip(["MAIL", "RCPT"]) {
        let heard = talk.say(command).await;
        if heard.class() != 2 {
            return Err(Stopped::Said { during, heard });
        }
    }
    let heard = talk.say("DATA").await;
    if heard.class() != 3 {
        return Err(Stopped::Said { during: "DATA", heard });
    }
    let message =
        format!("From: <{}>\r\nTo: <{}>\r\nSubject: wasmilter probe\r\n\r\n{content}", letter.sender, letter.recipient);
    // One octet beyond ASCII is meant as one octet.
    Ok((talk, message.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()))
}

async fn whole(target: &Target, letter: &Letter, content: &str) -> Result<Heard, Stopped> {
    let (mut talk, mut message) = begin(target, letter, content).await?;
    message.extend_from_slice(b"\r\n.\r\n");
    talk.send(&message).await;
    let heard = talk.reply().await;
    if heard.class() != 0 {
        talk.quit().await;
    }
    Ok(heard)
}

async fn misspelt(target: &Target, letter: &Letter, ending: &str, wait: Duration) -> Result<Read, Stopped> {
    let content = format!("this message ends with {}, which is no end", spelt(ending));
    let (mut talk, mut message) = begin(target, letter, &content).await?;
    message.extend_from_slice(ending.as_bytes());
    talk.send(&message).await;
    let first = talk.reply_within(wait).await;
    if !matches!(first, Heard::Reply(_) | Heard::Silence) {
        return Ok(Read::Refused(first));
    }
    // A server that only knows with the next octet, and one that says no: does it hear commands again?
    talk.send(b"NOOP\r\n").await;
    let second = talk.reply_within(wait).await;
    Ok(match (first, second) {
        (first @ Heard::Reply(_), second) if first.class() == 2 || second.class() == 2 => Read::End(first),
        (first @ Heard::Reply(_), _) => Read::Refused(first),
        (_, second @ Heard::Reply(_)) if second.class() == 2 => Read::End(second),
        (_, Heard::Silence) => Read::Content,
        (_, second) => Read::Refused(second),
    })
}

fn judged(ending: &str, read: &Read) -> Finding {
    const TOPIC: &str = "end of data";
    let spelt = spelt(ending);
    match read {
        Read::Content => Finding::good(TOPIC, format!("{spelt} is part of the message")),
        Read::Refused(heard) => Finding::good(TOPIC, format!("{spelt} is refused: {heard}")),
        Read::End(heard) => Finding::warning(
            TOPIC,
            format!("{spelt} is taken for the end: {heard}"),
            "SMTP smuggling: one message can hold another one. Nothing but <CR><LF>.<CR><LF> gets through the gateway \
             as an end, and bare line ends do not get through at all unless you allow it; whoever reaches this server \
             past the gateway can do it. Postfix: smtpd_forbid_bare_newline=normalize (3.5.23, 3.6.13, 3.7.9, 3.8.4 \
             or later). Exim: 4.97.1 or later. Sendmail: 8.18 or later.",
        ),
    }
}

/// `<CR><LF>.<CR>`
fn spelt(octets: &str) -> String {
    octets
        .chars()
        .map(|c| match c {
            '\r' => "<CR>".to_owned(),
            '\n' => "<LF>".to_owned(),
            '\0' => "<NUL>".to_owned(),
            ' ' => "<SP>".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
