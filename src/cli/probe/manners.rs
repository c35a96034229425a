//! How the server reads commands: groups in one packet, odd line ends, octets that have no place there, long lines;
//! and how long it bears silence. No mail is spoken of.

use std::time::Duration;

use super::finding::Finding;
use super::talk::{Heard, Opened, Target};

/// For an answer that probably does not come, once there was one.
const ONE_MORE_WAIT: Duration = Duration::from_millis(500);
/// Far beyond any command (RFC 5321 4.5.3.1.4 and what parameters add).
const LONG_LINE_OCTETS: usize = 8_000;

/// RSET, RCPT, RSET and NOOP in one write: yes, no, yes, yes.
pub(super) async fn pipelining(target: &Target, offered: bool) -> Finding {
    const TOPIC: &str = "groups";
    let mut talk = match target.open().await {
        Ok(opened) => opened.talk,
        Err(stopped) => return Finding::note(TOPIC, format!("not tried: {stopped}")),
    };
    talk.send(b"RSET\r\nRCPT TO:<postmaster>\r\nRSET\r\nNOOP\r\n").await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(talk.reply().await);
        if !matches!(heard.last(), Some(Heard::Reply(_))) {
            break;
        }
    }
    let classes: Vec<u8> = heard.iter().map(Heard::class).collect();
    let in_order = classes == [2, 5, 2, 2];
    if in_order {
        talk.quit().await;
        return Finding::good(TOPIC, "a group of commands in one write is answered in order");
    }
    let what = heard.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
    let what = format!("a group of commands in one write (RSET, RCPT, RSET, NOOP) is answered with: {what}");
    if offered {
        return Finding::warning(
            TOPIC,
            what,
            "It offers PIPELINING and does not keep it (RFC 2920): answers could be taken for those to other \
             commands. The server, or a device before it, is broken.",
        );
    }
    Finding::note(TOPIC, what)
}

/// What the server makes of something that is no proper command line. `odd` ends with CRLF.
struct Oddity {
    name: &'static str,
    odd: fn() -> Vec<u8>,
    /// When it is read as two commands.
    split: &'static str,
}

const ODDITIES: [Oddity; 4] = [
    Oddity {
        name: "a bare <LF> between commands",
        odd: || b"RSET\nNOOP\r\n".to_vec(),
        split: "ends a command line. The gateway never sends one; others might",
    },
    Oddity {
        name: "a bare <CR> between commands",
        odd: || b"RSET\rNOOP\r\n".to_vec(),
        split: "ends a command line. The gateway never sends one; others might",
    },
    Oddity {
        name: "a NUL in a command",
        odd: || b"NOOP a\0NOOP\r\n".to_vec(),
        split: "ends a command line. The gateway never sends one; others might",
    },
    Oddity { name: "a line of 8,000 octets", odd: long_line, split: "is read as several commands" },
];

fn long_line() -> Vec<u8> {
    // Wherever it is cut, a command begins there.
    let mut line = b"NOOP".to_vec();
    while line.len() < LONG_LINE_OCTETS {
        line.extend_from_slice(b" NOOP");
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// One finding for each kind of odd line, each on a connection of its own.
pub(super) async fn odd_lines(target: &Target) -> Vec<Finding> {
    let mut found = Vec::new();
    for oddity in ODDITIES {
        found.push(odd_line(target, &oddity).await);
    }
    found
}

async fn odd_line(target: &Target, oddity: &Oddity) -> Finding {
    const TOPIC: &str = "commands";
    let name = oddity.name;
    let mut talk = match target.open().await {
        Ok(opened) => opened.talk,
        Err(stopped) => return Finding::note(TOPIC, format!("{name}: not tried: {stopped}")),
    };
    talk.send(&(oddity.odd)()).await;
    let first = talk.reply().await;
    let second = talk.reply_within(ONE_MORE_WAIT).await;
    match (&first, &second) {
        (Heard::Reply(_), Heard::Reply(reply)) if reply.code != 421 => {
            Finding::note(TOPIC, format!("{name} {}: {first} | {second}", oddity.split))
        }
        (Heard::Reply(reply), _) if reply.class() >= 4 => Finding::good(TOPIC, format!("{name} is refused: {first}")),
        (Heard::Reply(_), _) => Finding::good(TOPIC, format!("{name} is part of its line: {first}")),
        _ => Finding::good(TOPIC, format!("{name}: {first}")),
    }
}

/// Whether the limit it offers is one.
pub(super) async fn size(target: &Target, limit: u64) -> Option<Finding> {
    let mut talk = target.open().await.ok()?.talk;
    let heard = talk.say(&format!("MAIL FROM:<> SIZE={}", limit.saturating_add(1))).await;
    talk.quit().await;
    Some(match &heard {
        Heard::Reply(reply) if reply.class() >= 4 => {
            Finding::good("SIZE", format!("more is refused at MAIL already: {heard}"))
        }
        _ => Finding::note("SIZE", format!("a message announced as larger is not refused at MAIL: {heard}")),
    })
}

/// Says nothing for `silence` on a connection that was greeted long enough ago to be idle.
pub(super) async fn idle(opened: Opened, silence: Duration) -> Finding {
    const TOPIC: &str = "idle";
    let mut talk = opened.talk;
    let seconds = silence.as_secs();
    match talk.reply_within(silence).await {
        Heard::Silence => {
            talk.quit().await;
            Finding::good(TOPIC, format!("a silent connection is still open after {seconds} s"))
        }
        heard => Finding::warning(
            TOPIC,
            format!("a silent connection is ended within {seconds} s: {heard}"),
            "Connections in the pool will turn out dead; they are replaced, and the time is lost. Let `idle-time` in \
             [upstream] be shorter than the server's patience.",
        ),
    }
}
