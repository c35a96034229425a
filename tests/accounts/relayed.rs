//! Mechanisms that a real Dovecot has with clients of other people, through a whole gateway.

use crate::dovecot::Dovecot;
use crate::gateway::Running;

const NAME: &str = "tim@inside.test";
const PASSWORD: &str = "tanstaaf";
const GOOD: &str = "235 2.7.0 Authentication successful";
const BAD: &str = "535 5.7.8 Authentication credentials invalid";
const LATER: &str = "454 4.7.0 Temporary authentication failure";
fn start(dovecot: &Dovecot, auth: &str) -> Running {
    let backend =
        format!("[[auth.backend]]\nname = \"d\"\nkind = \"dovecot\"\nsocket = \"{}\"", dovecot.socket().display());
    Running::start(&format!("{auth}\n{backend}"))
}

#[test]
fn every_mechanism_of_dovecot_is_offered_and_works() {
    let dovecot = Dovecot::start_with("plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 anonymous external");
    let gateway = start(&dovecot, "");
    gateway.wait_for_offer("SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 DIGEST-MD5 PLAIN LOGIN");
    for (mechanism, initial) in [
        ("SCRAM-SHA-1", true),
        ("SCRAM-SHA-1", false),
        ("SCRAM-SHA-256", true),
        ("SCRAM-SHA-256", false),
        ("PLAIN", true),
    ] {
        assert_eq!(gateway.rsasl(mechanism, NAME, PASSWORD, initial), GOOD, "{mechanism}");
        assert_eq!(gateway.rsasl(mechanism, NAME, "tanstaafl", initial), BAD, "{mechanism}");
        assert_eq!(gateway.rsasl(mechanism, "nobody@inside.test", PASSWORD, initial), BAD, "{mechanism}");
        assert_eq!(gateway.rsasl(mechanism, "ghost@inside.test", PASSWORD, initial), BAD, "{mechanism}");
    }
    assert!(gateway.smtplib("CRAM-MD5", NAME, PASSWORD).starts_with("235 "));
    assert!(gateway.smtplib("CRAM-MD5", NAME, "tanstaafl").starts_with("535 "));
    for mechanism in ["CRAM-MD5", "DIGEST-MD5"] {
        let said = gateway.swaks(mechanism, NAME, PASSWORD);
        assert!(said.contains(&format!("~> AUTH {mechanism}")) && said.contains(&format!("<~  {GOOD}")), "{said}");
        let said = gateway.swaks(mechanism, NAME, "tanstaafl");
        assert!(said.contains(&format!("<~* {BAD}")), "{said}");
    }
    for mechanism in ["CRAM-MD5", "PLAIN", "LOGIN"] {
        let (taken, said) = gateway.curl(&format!("{NAME}:{PASSWORD}"), mechanism, &[]);
        assert!(
            taken && said.contains(&format!("> AUTH {mechanism}")) && said.contains(&format!("< {GOOD}")),
            "{said}"
        );
        let (taken, said) = gateway.curl(&format!("{NAME}:tanstaafl"), mechanism, &[]);
        assert!(!taken && said.contains(&format!("< {BAD}")), "{said}");
    }
    for refused in ["AUTH ANONYMOUS dGlt", "AUTH EXTERNAL =", "AUTH APOP", "AUTH SCRAM-SHA-1-PLUS"] {
        assert_eq!(gateway.say(&[refused]), "504 5.5.4 Authentication mechanism not offered", "{refused}");
    }
}

#[test]
fn the_client_may_leave_and_what_is_no_base64_is_said() {
    let dovecot = Dovecot::start_with("plain cram-md5 scram-sha-256");
    let gateway = start(&dovecot, "[auth]\nmechanisms = [\"cram-md5\", \"PLAIN\", \"DIGEST-MD5\"]");
    // Named, and not to be had.
    gateway.wait_for_offer("CRAM-MD5 PLAIN");
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", "*"]), "501 5.7.0 Authentication cancelled");
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", "*", "AUTH CRAM-MD5", "!"]), "501 5.5.2 Cannot decode this as base64");
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", ""]), BAD);
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", "dGlt"]), BAD);
    // Dovecot speaks first, whatever was said.
    assert!(gateway.say(&["AUTH CRAM-MD5 dGltIDAw"]).starts_with("334 "));
    assert!(gateway.say(&["AUTH CRAM-MD5 ="]).starts_with("334 "));
    let long = "A".repeat(12_280);
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", &long]), BAD);
    assert_eq!(gateway.say(&["AUTH CRAM-MD5", &format!("{long}AAAAAAAA")]), "500 5.5.6 Line too long");
    assert!(gateway.smtplib("CRAM-MD5", NAME, PASSWORD).starts_with("235 "), "Dovecot still listens to us");
}

#[test]
fn dovecot_that_is_away_puts_logins_off_and_comes_back_with_what_it_has_then() {
    let mut dovecot = Dovecot::start_with("plain cram-md5");
    let gateway = start(&dovecot, "");
    gateway.wait_for_offer("CRAM-MD5 PLAIN LOGIN");
    dovecot.daemon.stop();
    // Its auth process may outlive it for a moment.
    while gateway.say(&["AUTH CRAM-MD5"]) != LATER {}
    assert_eq!(gateway.rsasl("PLAIN", NAME, PASSWORD, true), LATER);
    assert_eq!(gateway.offer(), "CRAM-MD5 PLAIN LOGIN", "as it was when it was last reached");
    dovecot.set_mechanisms("plain scram-sha-1");
    dovecot.again();
    assert_eq!(gateway.rsasl("PLAIN", NAME, PASSWORD, true), GOOD);
    assert_eq!(gateway.offer(), "SCRAM-SHA-1 PLAIN LOGIN");
    assert_eq!(gateway.rsasl("SCRAM-SHA-1", NAME, PASSWORD, true), GOOD);
}
