//! `docs/faults.md`: the cells as a page for postmasters.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::Played;
use super::cell::{Cell, Fault, Leaving, Moment, Place};
use super::stage::{Outcome, Told, WAITS};

const PAGE: &str = "docs/faults.md";
const MOMENT: Duration = Duration::from_secs(2);

const INTRODUCTION: &str = "\
# When something breaks

What a client is told, and what the mail server behind the gateway has taken, when one of them fails: every fault at
every place, played on a simulated network and clock by `tests/faults`, which writes this page (`cargo xtask faults`)
and fails when it is no longer true. Faults that need no waiting are played a second time with real sockets.

The law behind all of it: **250 means that the upstream said 250.** A client that was told 250 for a message has it
delivered once; a client that was told anything else, or nothing, keeps the message and comes again, and then the
upstream has taken nothing so far. There is one exception, and no protocol can close it
([RFC 1047](https://www.rfc-editor.org/rfc/rfc1047)): when the final dot has been sent and its answer is lost, nobody
can know whether the message counts. Those rows are marked with †. The gateway answers 451 there, because mail that
comes twice is better than mail that is lost.

\"After `upstream-command`\" is the wait in `[timeouts]` that passed first; without such a word it is at once. The client
says EHLO, MAIL, RCPT, RCPT, DATA, sends a message, and tries again in the same session when the upstream is well. It is
played in three ways: command by command; with MAIL, RCPT, RCPT and DATA in one packet (\"pipelined\"); and with its
message in two chunks (\"BDAT\", where the first chunk stands for DATA). What is pipelined behind a MAIL that was refused
is out of sequence and not shown: the answer to MAIL counts. A row without such a word holds for every way that has no row of its own.
";

pub(crate) fn page(played: &[Played]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## The upstream fails\n");
    for place in Place::ALL {
        write!(page, "\n### It fails {}\n\n{}\n\n", place.title(), why_upstream(place)).unwrap();
        page.push_str("| the upstream | the client is told | taken | the next try |\n|---|---|---:|---|\n");
        for fault in Fault::ALL {
            let cell = Cell::Upstream(place, fault);
            rows(&mut page, fault.title(), cell, played, |outcome| {
                let (taken, next) = (taken(cell, outcome), next(outcome));
                format!("{} | {taken} | {next}", told(&outcome.faulty))
            });
        }
    }
    page.push_str("\n## The client leaves\n");
    for moment in Moment::ALL {
        write!(page, "\n### It leaves {}\n\n", moment.title()).unwrap();
        page.push_str(
            "| the client | and is told | the upstream has taken | why that is right |\n|---|---|---:|---|\n",
        );
        for leaving in Leaving::ALL {
            let cell = Cell::Client(moment, leaving);
            rows(&mut page, leaving.title(), cell, played, |outcome| {
                let why = why_client(moment, leaving);
                format!("{} | {} | {why}", told_after(&outcome.faulty), taken(cell, outcome))
            });
        }
    }
    page
}

/// One row for all ways that fare the same.
fn rows(page: &mut String, title: &str, cell: Cell, played: &[Played], row: impl Fn(&Outcome) -> String) {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for (way, _, outcome) in played.iter().filter(|(_, played, _)| *played == cell) {
        let row = row(outcome);
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, ways)) => ways.push(way.title()),
            None => rows.push((row, vec![way.title()])),
        }
    }
    for (row, ways) in rows {
        let ways = if ways.iter().any(String::is_empty) { String::new() } else { ways.join("; ") };
        let ways = if ways.is_empty() { ways } else { format!(" ({ways})") };
        writeln!(page, "| {title}{ways} | {row} |").unwrap();
    }
}

fn taken(cell: Cell, outcome: &Outcome) -> String {
    let mark = if unknown(cell, outcome) { " †" } else { "" };
    format!("{}{mark}", outcome.count("attempt 0"))
}

/// Whether the two sides know different things.
fn unknown(cell: Cell, outcome: &Outcome) -> bool {
    let yes = outcome.faulty.iter().any(|told| told.asked == "the message" && told.class() == 2);
    cell.leaves_no_answer() && !yes
}

const fn why_upstream(place: Place) -> &'static str {
    match place {
        Place::Connect | Place::Banner | Place::Hello => {
            "No transaction has begun, so nothing can be lost. EHLO is answered all the same, with what the upstream \
             offered when it was last seen (or with everything), because a client that misses 8BITMIME would bounce mail; \
             MAIL is deferred."
        }
        Place::StartTls | Place::Handshake => {
            "Nothing of the client's is said in clear where TLS is demanded. No transaction has begun: MAIL is deferred."
        }
        Place::Xclient | Place::ClientHello => {
            "An upstream that has not heard who the client is would judge by the gateway's address. Nothing of the client's \
             is said to it."
        }
        Place::Mail => "Nothing has begun upstream.",
        Place::FirstRcpt | Place::SecondRcpt => {
            "The transaction is gone with its connection, and with it the recipients that were accepted before: all the rest \
             of it is deferred, DATA included."
        }
        Place::Data => "Nothing of the message has left.",
        Place::Body => {
            "An upstream that sees its connection end inside DATA has to forget the message (RFC 5321 4.1.1.10), and an \
             answer that comes before the end of the message is no answer to it. To one that is only silent the rest and \
             the dot are sent; should it wake up and find them, it is as if it had failed after the dot."
        }
        Place::Dot => {
            "The message is there as a whole and nobody knows whether it counts. Here the upstream had taken it; one that \
             fails a moment earlier has not, and the client is told the same. It comes again, and the message may be there \
             twice: that is the gap of RFC 1047, and it is as wide as the upstream's answer is late."
        }
        Place::AfterReply => {
            "250 was the upstream's own word. What happens then concerns the connection, which is replaced when the client \
             brings the next message: quietly where the fault shows before anything of it was said, else that message is \
             deferred."
        }
    }
}

const fn why_client(moment: Moment, leaving: Leaving) -> &'static str {
    match (moment, leaving) {
        (Moment::Banner, Leaving::FallsSilent) => "whoever says nothing is not kept",
        (Moment::Banner, _) => "nobody is there; the upstream never hears of it",
        (Moment::Hello | Moment::Mail | Moment::Rcpt, Leaving::FallsSilent) => {
            "the upstream's connection is given back, too"
        }
        (Moment::Hello | Moment::Mail | Moment::Rcpt, _) => {
            "no message has begun; the upstream hears QUIT or sees the end"
        }
        (Moment::Body, Leaving::HalfCloses) => "the end of input inside DATA is the end of the client: no dot follows",
        (Moment::Body, Leaving::FallsSilent) => "no dot follows; the upstream sees its connection end and forgets",
        (Moment::Body, Leaving::Resets) => "half a message is none: no dot follows",
        (Moment::BetweenChunks, _) => "a message without its last chunk is none: no dot follows",
        (Moment::Dot, Leaving::Resets) => {
            "its dot had gone on by then; the answer finds nobody, the client comes again and the message may be there twice"
        }
        (Moment::Dot, Leaving::FallsSilent) => "it is its turn to listen, and it was told",
        (Moment::Dot, Leaving::HalfCloses) => "who only stopped speaking still listens, and is served to the end",
    }
}

/// What matters of what was said: refusals, what took long, and the answer to the message.
fn told(all: &[Told]) -> String {
    let matters = |told: &&Told| !matches!(told.class(), 2 | 3) || wait(told).is_some() || told.asked == "the message";
    let mut said: Vec<String> = Vec::new();
    let mail = all.iter().position(|told| told.asked == "MAIL" && told.class() != 2);
    let all = mail.map_or(all, |mail| &all[..=mail]);
    for told in all.iter().filter(matters) {
        let wait = wait(told).map(|name| format!(" after {name}")).unwrap_or_default();
        said.push(format!("{}: {}{wait}", told.asked, code(told)));
    }
    if said.is_empty() { "nothing".to_owned() } else { said.join("; ") }
}

/// What a client that left still hears.
fn told_after(all: &[Told]) -> String {
    let heard = all.iter().filter(|told| matches!(told.asked, "nothing" | "the message") && told.answer.is_some());
    let said: Vec<String> = heard
        .map(|told| {
            let wait = wait(told).map(|name| format!(" after {name}")).unwrap_or_default();
            format!("{}{wait}", code(told))
        })
        .collect();
    if said.is_empty() { "nothing".to_owned() } else { said.join("; ") }
}

fn next(outcome: &Outcome) -> String {
    let tries: Vec<String> = outcome
        .well
        .iter()
        .map(|told| match told.iter().find(|told| !matches!(told.class(), 2 | 3)) {
            Some(refused) => {
                let wait = wait(refused).map(|name| format!(" after {name}")).unwrap_or_default();
                format!("{}: {}{wait}", refused.asked, code(refused))
            }
            None => "250".to_owned(),
        })
        .collect();
    tries.join(", then ")
}

/// The code, and the enhanced one.
fn code(told: &Told) -> String {
    let Some(answer) = &told.answer else { return "the connection ends".to_owned() };
    let mut words = answer.split([' ', '-']);
    let code = words.next().unwrap_or_default();
    match words.next().filter(|word| word.bytes().all(|octet| octet == b'.' || octet.is_ascii_digit())) {
        Some(enhanced) => format!("{code} {enhanced}"),
        None => code.to_owned(),
    }
}

/// The settings whose times it took, if it took longer than a moment.
fn wait(told: &Told) -> Option<String> {
    let near = |seconds: u64| {
        let wait = Duration::from_secs(seconds);
        told.after >= wait && told.after < wait + MOMENT
    };
    if told.after < MOMENT {
        return None;
    }
    if let Some((name, _)) = WAITS.iter().find(|(_, seconds)| near(*seconds)) {
        return Some(format!("`{name}`"));
    }
    let pairs = WAITS.iter().flat_map(|first| WAITS.iter().map(move |second| (first, second)));
    // The closest: what is left over is the packets' own time.
    let pair =
        pairs.filter(|(first, second)| near(first.1 + second.1)).max_by_key(|(first, second)| first.1 + second.1);
    let (first, second) = pair.unwrap_or_else(|| panic!("no wait is as long as this: {told:?}"));
    Some(format!("`{}` and `{}`", first.0, second.0))
}

/// The page in the repository has to be this one.
pub(crate) fn compare_or_write(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    if std::env::var_os("FAULTS").is_some_and(|word| word == "write") {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(kept.lines()).find(|(now, then)| now != then);
    assert!(page == kept, "{PAGE} is no longer true: `cargo xtask faults` writes it anew.\nfirst: {differs:#?}");
}
