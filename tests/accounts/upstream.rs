//! Logins that are said on to a real Postfix, which asks a real Dovecot: as Postfix answers itself, so does the gateway.

use crate::dovecot::Dovecot;
use crate::gateway::{Running, smtplib};
use crate::mta::Postfix;

const NAME: &str = "tim@inside.test";
const PASSWORD: &str = "tanstaaf";
const GOOD: &str = "235 2.7.0 Authentication successful";
const BAD: &str = "535 5.7.8 Authentication credentials invalid";
const LATER: &str = "454 4.7.0 Temporary authentication failure";

fn start(dovecot: &Dovecot) -> (Postfix, Running) {
    let postfix = Postfix::start_with(&["tim@inside.test"], |listener| {
        let sasl = format!("  -o smtpd_sasl_path={}\n", dovecot.socket().display());
        format!("{}{sasl}", listener.trim_end_matches('\n').to_owned() + "\n")
    });
    let upstream = format!("upstream = {{ address = \"{}\" }}", postfix.address);
    let gateway = Running::start_before(&upstream, "[[auth.backend]]\nname = \"mta\"\nkind = \"upstream\"");
    (postfix, gateway)
}

#[test]
fn postfix_decides_by_every_mechanism_in_which_the_name_can_be_read() {
    let dovecot = Dovecot::start_with("plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256");
    let (postfix, gateway) = start(&dovecot);
    gateway.wait_for_offer("SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN");
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"] {
        for initial in [true, false] {
            assert_eq!(gateway.rsasl(mechanism, NAME, PASSWORD, initial), GOOD, "{mechanism}");
            assert_eq!(gateway.rsasl(mechanism, NAME, "tanstaafl", initial), BAD, "{mechanism}");
            assert_eq!(gateway.rsasl(mechanism, "nobody@inside.test", PASSWORD, initial), BAD, "{mechanism}");
        }
    }
    for mechanism in ["CRAM-MD5", "PLAIN", "LOGIN"] {
        for password in [PASSWORD, "tanstaafl"] {
            let direct = smtplib("clear", postfix.address, mechanism, NAME, password);
            let through = gateway.smtplib(mechanism, NAME, password);
            assert_eq!(direct.get(..4), through.get(..4), "{mechanism} {direct} {through}");
            assert_eq!(through.starts_with("235 "), password == PASSWORD, "{through}");
        }
    }
    // Whose guess it was.
    postfix.log.wait_for(&["[127.0.0.2]: SASL CRAM-MD5 authentication failed"]);
    let (taken, said) = gateway.curl(&format!("{NAME}:{PASSWORD}"), "CRAM-MD5", &[]);
    assert!(taken && said.contains("> AUTH CRAM-MD5") && said.contains(&format!("< {GOOD}")), "{said}");
    postfix.log.wait_for(&["client=", &format!("sasl_username={NAME}")]);
    postfix.log.wait_for(&["to=<b@elsewhere.test>", "status=sent"]);
    // The connections of logins are left in order.
    assert!(!postfix.log.text().contains("lost connection after AUTH"), "{}", postfix.log.text());
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", "*"]), "501 5.7.0 Authentication cancelled");
    gateway.stop();
}

#[test]
fn postfix_that_is_away_or_cannot_ask_puts_logins_off() {
    let mut dovecot = Dovecot::start_with("plain cram-md5");
    let (postfix, gateway) = start(&dovecot);
    gateway.wait_for_offer("CRAM-MD5 PLAIN LOGIN");
    assert_eq!(gateway.rsasl("PLAIN", NAME, PASSWORD, true), GOOD);
    dovecot.daemon.stop();
    // Postfix may be connected to its auth process for a moment more.
    while gateway.rsasl("PLAIN", NAME, PASSWORD, true) != LATER {}
    assert_eq!(gateway.rsasl("PLAIN", NAME, "tanstaafl", true), LATER);
    dovecot.again();
    while gateway.rsasl("PLAIN", NAME, PASSWORD, true) != GOOD {}
    drop(postfix);
    assert_eq!(gateway.rsasl("PLAIN", NAME, PASSWORD, true), LATER);
    assert_eq!(gateway.say(&["AUTH CRAM-MD5"]), LATER);
    gateway.stop();
}
