//! Whether MAIL and RCPT were said exactly as RFC 5321 4.1.1.2 and 4.1.2 write them. Everyday clients are not
//! held to it: what [`Command`](super::command::Command) understands is enough, unless the operator wants more.

use super::address::{Domain, Mailbox, split_path};

/// Of a whole line without its line end. True for every command that has no address; what is no command at all
/// is not judged here.
#[must_use]
pub fn is_exact(line: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(line) else { return false };
    let Some((command, rest)) = text.split_once(':') else { return true };
    let command = command.to_ascii_uppercase();
    if command != "MAIL FROM" && command != "RCPT TO" {
        // `MAIL  FROM:` is understood, and not exact.
        return !command.starts_with("MAIL") && !command.starts_with("RCPT");
    }
    if !rest.starts_with('<') {
        return false;
    }
    match split_path(rest) {
        Ok(("", _)) => command == "MAIL FROM",
        Ok((path, _)) if path.eq_ignore_ascii_case("postmaster") => command == "RCPT TO",
        Ok((path, _)) => {
            // A source route may stand there (appendix C); it was checked when it was taken off.
            let mailbox = if path.starts_with('@') { path.split_once(':').map_or("", |(_, rest)| rest) } else { path };
            Mailbox::parse(mailbox).is_ok_and(|mailbox| is_exact_mailbox(&mailbox))
        }
        Err(_) => false,
    }
}

/// Dot-string or Quoted-string, and labels of letters, digits and hyphens within (4.1.2).
fn is_exact_mailbox(mailbox: &Mailbox) -> bool {
    let local = mailbox.local();
    let dots = local.starts_with('"') || local.split('.').all(|atom| !atom.is_empty());
    dots && is_exact_domain(mailbox.domain())
}

fn is_exact_domain(domain: &Domain) -> bool {
    let exact = |label: &str| !label.contains('_') && !label.starts_with('-') && !label.ends_with('-');
    domain.is_literal() || domain.as_str().split('.').all(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_forms() {
        for good in [
            "MAIL FROM:<>",
            "mail from:<a@b.test> SIZE=1",
            "RCPT TO:<Postmaster>",
            "RCPT TO:<\"a..b\"@b.test>",
            "RCPT TO:<@x.test:a@b.test>",
            "RCPT TO:<a@[192.0.2.1]>",
            "MAIL FROM:<b\u{fc}@b\u{fc}cher.example> SMTPUTF8",
            "NOOP a:b",
            "QUIT",
        ] {
            assert!(is_exact(good.as_bytes()), "{good}");
        }
        for loose in [
            "MAIL FROM: <a@b.test>",
            "MAIL FROM:a@b.test",
            "MAIL  FROM:<a@b.test>",
            "RCPT TO:<>",
            "RCPT TO:<a.@b.test>",
            "RCPT TO:<a..b@b.test>",
            "RCPT TO:<a@b_c.test>",
            "RCPT TO:<a@-b.test>",
        ] {
            assert!(!is_exact(loose.as_bytes()), "{loose}");
        }
    }
}
