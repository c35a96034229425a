//! What each EHLO keyword means for a gateway in front of the server that says it. Pure.

use super::finding::Finding;
use crate::config::show_size;
use crate::smtp::Offer;

/// Keywords and what the gateway does with them; those with a field of their own in [`Offer`] are not here.
const OTHERS: [(&str, &str); 14] = [
    ("BINARYMIME", "offered on to clients, together with CHUNKING"),
    ("REQUIRETLS", "offered on to clients over TLS"),
    ("DELIVERBY", "offered on to clients"),
    ("MT-PRIORITY", "offered on to clients"),
    ("FUTURERELEASE", "offered on to clients"),
    ("LIMITS", "heeded, and offered on where it binds clients, too"),
    ("ETRN", "not offered on: nobody behind a gateway is to empty a queue"),
    ("VRFY", "not offered on: the gateway answers VRFY itself, without looking anybody up"),
    ("EXPN", "not offered on"),
    ("HELP", "the gateway answers HELP itself"),
    ("ATRN", "not offered on"),
    ("BURL", "not offered on"),
    ("CHECKPOINT", "not offered on"),
    ("SUBMITTER", "not offered on"),
];

/// One finding for each keyword, and one for each that is missed.
pub(super) fn meanings(offer: &Offer) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut flag = |on: bool, keyword: &'static str, yes: &str, no: Result<&str, (&str, &str)>| {
        found.push(match (on, no) {
            (true, _) => Finding::good(keyword, yes),
            (false, Ok(no)) => Finding::note(keyword, no),
            (false, Err((no, advice))) => Finding::warning(keyword, no, advice),
        });
    };
    let slower = "not offered: every command is a round trip of its own";
    flag(offer.pipelining, "PIPELINING", "the gateway sends it groups of commands in one write", Ok(slower));
    flag(
        offer.eight_bit_mime,
        "8BITMIME",
        "offered on to clients",
        Err((
            "not offered, so clients are not offered it either",
            "Mail with letters beyond ASCII has to be encoded by its sender, and some of it will be refused. Every \
             current mail server can do 8BITMIME; look why this one does not.",
        )),
    );
    flag(offer.smtp_utf8, "SMTPUTF8", "offered on to clients", Ok("not offered: no addresses with such letters"));
    flag(offer.dsn, "DSN", "offered on to clients", Ok("not offered: clients cannot ask for delivery reports"));
    flag(
        offer.chunking,
        "CHUNKING",
        "known; clients are offered BDAT either way",
        Ok("not offered: clients' BDAT becomes DATA on the way"),
    );
    flag(
        offer.enhanced_status_codes,
        "ENHANCEDSTATUSCODES",
        "its codes are passed on as they are",
        Ok("not offered: where its replies have no such code, the gateway adds X.0.0"),
    );
    found.push(size(offer));
    if !offer.auth.is_empty() {
        let what = format!("{}: for the gateway only; logins of clients are checked by [auth]", offer.auth.join(" "));
        found.push(Finding::note("AUTH", what));
    }
    for line in &offer.others {
        let keyword = line.split(' ').next().unwrap_or_default();
        let known = OTHERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(keyword));
        let meaning = known.map_or("unknown to the gateway, and not offered on", |(_, meaning)| *meaning);
        found.push(Finding::note("other", format!("{line}: {meaning}")));
    }
    found
}

fn size(offer: &Offer) -> Finding {
    match offer.size {
        Some(0) => Finding::note("SIZE", "no fixed limit; the gateway's own `message-size` holds"),
        Some(octets) => {
            Finding::good("SIZE", format!("{}; clients are offered this or `message-size`, the smaller", show(octets)))
        }
        None => Finding::note("SIZE", "not offered: a message that is too large is refused after it was sent"),
    }
}

fn show(octets: u64) -> String {
    if octets.is_multiple_of(1_024) { show_size(octets) } else { format!("{octets} octets") }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Weight;
    use super::*;
    use crate::smtp::Reply;

    fn of(text: &'static str) -> Vec<Finding> {
        meanings(&Offer::parse(&Reply::fixed(250, None, text)))
    }

    #[test]
    fn every_keyword_has_a_meaning() {
        let found = of("mx\nPIPELINING\nSIZE 10485760\n8BITMIME\nSMTPUTF8\nDSN\nCHUNKING\nENHANCEDSTATUSCODES\n\
                        AUTH PLAIN\nETRN\nX-CORP a");
        assert!(!found.iter().any(Finding::is_warning));
        let what = |topic: &'static str| found.iter().filter(move |f| f.topic == topic).map(|f| f.what.as_str());
        assert!(what("SIZE").all(|what| what.starts_with("10 MiB")));
        assert_eq!(
            what("other").collect::<Vec<_>>(),
            [
                "ETRN: not offered on: nobody behind a gateway is to empty a queue",
                "X-CORP a: unknown to the gateway, and not offered on"
            ]
        );
    }

    #[test]
    fn what_is_missed_is_said() {
        let found = of("mx");
        let warned: Vec<_> = found.iter().filter(|finding| finding.is_warning()).map(|f| f.topic).collect();
        assert_eq!(warned, ["8BITMIME"]);
        assert!(found.iter().any(|f| f.topic == "PIPELINING" && f.weight == Weight::Note));
    }
}
