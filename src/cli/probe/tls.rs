//! What the server's TLS is worth to a gateway: whether there is any, and whether its certificate can be believed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::macros::format_description;

use super::finding::Finding;
use super::suggest::{Facts, Tls};
use super::talk::{Cipher, Opened, Target};
use crate::net::tls::{Certificate, Connector, Expect, TlsError};

const TOPIC: &str = "TLS";
const EXPIRY_WARNING: Duration = Duration::from_hours(14 * 24);

/// STARTTLS is offered, and does not work.
pub(super) fn broken(why: &str) -> Finding {
    Finding::warning(
        TOPIC,
        format!("STARTTLS is offered and fails: {why}"),
        "The gateway goes on in clear with tls = \"opportunistic\", after an attempt for each connection, and delivers \
         nothing with tls = \"verify\". The rest of this was found out in clear.",
    )
}

/// Findings about the connection that is open, and about one more whose certificate has to be good.
pub(super) async fn look(
    target: &Target,
    opened: &Opened,
    ca: Option<&Path>,
    facts: &mut Facts,
) -> Result<Vec<Finding>, TlsError> {
    let near = opened.peer.ip().is_loopback();
    let Some((session, certificate)) = &opened.tls else {
        return Ok(vec![without(target, near)]);
    };
    let mut found =
        vec![Finding::good(TOPIC, format!("{} with {} ({} bits)", session.version, session.cipher, session.bits))];
    found.push(dates(certificate));
    found.push(Finding::note("certificate", names(certificate)));
    let named = Connector::new(&Expect::Verified { name: &target.host, ca_file: ca });
    let verified = match named {
        Ok(connector) => {
            let strict = Target { connector, ..target.clone() };
            match strict.open().await {
                Ok(opened) => {
                    opened.talk.quit().await;
                    Ok(())
                }
                Err(stopped) => Err(stopped.to_string()),
            }
        }
        // Neither a name nor an address: never looked up, so never here.
        Err(error @ TlsError::Name(_)) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    facts.tls = if verified.is_ok() { Tls::Verified } else { Tls::Unverified };
    found.push(match verified {
        Ok(()) => Finding::good("certificate", format!("good for {}", target.host)),
        Err(why) if near => Finding::note("certificate", format!("does not verify for {}: {why}", target.host)),
        Err(why) => Finding::warning(
            "certificate",
            format!("does not verify for {}: {why}", target.host),
            "Without that, whoever sits between can read and change mail. Name the authority, or a self-signed \
             certificate itself, with tls-ca (here: --ca), and a name that it holds with tls-name.",
        ),
    });
    if target.cipher == Cipher::Implicit {
        found.push(Finding::note(TOPIC, "the gateway itself begins TLS with STARTTLS, towards a server"));
    }
    if opened.before_tls.as_ref().is_some_and(|before| !before.auth.is_empty()) {
        found.push(Finding::note("AUTH", "offered before TLS as well: passwords may travel in clear"));
    }
    Ok(found)
}

fn without(target: &Target, near: bool) -> Finding {
    let what = if target.cipher == Cipher::Never { "not tried" } else { "STARTTLS is not offered" };
    if near || target.cipher == Cipher::Never {
        return Finding::note(TOPIC, what);
    }
    let advice = "Mail travels to the server in clear, logins by XCLIENT included. Give its listener a certificate.";
    Finding::warning(TOPIC, what, advice)
}

fn names(certificate: &Certificate) -> String {
    if certificate.names.is_empty() {
        return "names no host (it has no subjectAltName), so it is good for none".to_owned();
    }
    format!("for {}", certificate.names.join(", "))
}

fn dates(certificate: &Certificate) -> Finding {
    let Some(end) = certificate.not_after else {
        return Finding::note("certificate", "its dates cannot be read");
    };
    let day = OffsetDateTime::from(end).format(format_description!("[year]-[month]-[day]")).unwrap_or_default();
    let now = SystemTime::now();
    if end < now {
        return Finding::warning("certificate", format!("expired on {day}"), "Renew it.");
    }
    if end < now + EXPIRY_WARNING {
        return Finding::warning("certificate", format!("valid until {day}, no longer than two weeks"), "Renew it.");
    }
    Finding::good("certificate", format!("valid until {day}"))
}
