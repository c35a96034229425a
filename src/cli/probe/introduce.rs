//! Whether the server can be told who the client is: XCLIENT, said once and said again, and XFORWARD.

use super::finding::Finding;
use super::talk::{Heard, Stopped, Target};
use crate::smtp::Offer;

/// For documentation (RFC 5737): nobody's, so nobody is trusted for it.
const SOMEBODY: &str = "192.0.2.1";
const SOMEBODY_ELSE: &str = "192.0.2.2";

/// What the gateway says by XCLIENT where it may, and what is lost where it may not.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("NAME", "the client's host name"),
    ("HELO", "what the client said in EHLO"),
    ("PROTO", "whether the client spoke ESMTP"),
    ("LOGIN", "who logged in: mail of people who did will be judged like a stranger's"),
    ("DESTADDR", "which of our addresses the client came to"),
];

/// What the tries came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Introduced {
    pub(super) xclient: bool,
    /// A connection may serve one client after the other.
    pub(super) xclient_again: bool,
    pub(super) xforward: bool,
}

/// Tries on connections of their own what `offer` lists.
pub(super) async fn look(target: &Target, offer: &Offer, us: &str) -> (Introduced, Vec<Finding>) {
    let mut found = Vec::new();
    let mut introduced = Introduced::default();
    if offer.xforward.iter().any(|attribute| attribute == "ADDR") {
        let (taken, finding) = xforward(target).await;
        introduced.xforward = taken;
        found.push(finding);
    }
    if offer.xclient.iter().any(|attribute| attribute == "ADDR") {
        match xclient(target).await {
            Ok(again) => {
                introduced.xclient = true;
                introduced.xclient_again = matches!(&again, Heard::Reply(reply) if reply.code == 220);
                found.push(Finding::good("XCLIENT", "taken from here: the server judges by the client's own address"));
                found.extend(missing(offer));
                found.push(reuse(introduced.xclient_again, &again));
            }
            Err(why) => {
                let what = format!("offered, and refused: {why}");
                let advice = "The gateway answers 451 to all mail with identify = \"xclient\".";
                found.push(Finding::warning("XCLIENT", what, advice));
            }
        }
    } else {
        found.push(not_offered(us, introduced.xforward));
    }
    (introduced, found)
}

/// The answer to the second one, or what went wrong with the first.
async fn xclient(target: &Target) -> Result<Heard, Stopped> {
    let mut talk = target.open().await?.talk;
    let heard = talk.say(&format!("XCLIENT ADDR={SOMEBODY}")).await;
    if !matches!(&heard, Heard::Reply(reply) if reply.class() == 2) {
        return Err(Stopped::Said { during: "XCLIENT", heard });
    }
    talk.hello(&target.hello).await?;
    let again = talk.say(&format!("XCLIENT ADDR={SOMEBODY_ELSE}")).await;
    talk.quit().await;
    Ok(again)
}

async fn xforward(target: &Target) -> (bool, Finding) {
    let heard = match target.open().await {
        Err(stopped) => return (false, Finding::note("XFORWARD", format!("not tried: {stopped}"))),
        Ok(mut opened) => {
            let heard = opened.talk.say(&format!("XFORWARD ADDR={SOMEBODY}")).await;
            opened.talk.quit().await;
            heard
        }
    };
    if heard.class() == 2 {
        return (true, Finding::good("XFORWARD", "taken from here: the client's address stands in the server's log"));
    }
    (false, Finding::note("XFORWARD", format!("offered, and refused: {heard}")))
}

fn missing(offer: &Offer) -> Vec<Finding> {
    let lacks = |attribute: &&(&str, &str)| !offer.xclient.iter().any(|offered| offered == attribute.0);
    let lost = ATTRIBUTES.iter().filter(lacks);
    lost.map(|(attribute, what)| Finding::note("XCLIENT", format!("without {attribute}: it cannot be told {what}")))
        .collect()
}

fn reuse(again: bool, heard: &Heard) -> Finding {
    if again {
        return Finding::good("XCLIENT", "taken again for another client: connections can be pooled");
    }
    Finding::warning(
        "XCLIENT",
        format!("taken once a connection ({heard}): no connection can serve a second client"),
        "It works, and costs a connection for each client. Postfix asks the address it was told last whether it may \
         say XCLIENT. On a listener that nobody but the gateway can reach: \
         smtpd_authorized_xclient_hosts=0.0.0.0/0,[::]/0.",
    )
}

fn not_offered(us: &str, xforward: bool) -> Finding {
    let half = if xforward { " XFORWARD only tells its log." } else { "" };
    Finding::warning(
        "XCLIENT",
        "not offered to this machine: the server takes every client for the gateway",
        format!(
            "Its restrictions, DNS lists and relay rules then judge the gateway's address.{half} Postfix: \
             smtpd_authorized_xclient_hosts={us} on the listener for the gateway. Without it, set identify, and make \
             sure that the server does not trust this address (mynetworks)."
        ),
    )
}
