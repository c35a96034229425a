//! What happens to a session beside its transactions, one line each.
//!
//! The sentences and the key `peer` are for programs that read logs (fail2ban and the like) and do not change:
//! `auth failed … peer=ADDRESS`, `connection refused … peer=ADDRESS`.

use std::net::IpAddr;
use std::time::Duration;

use crate::mail::{Ruled, SessionFacts};
use crate::smtp::sasl::Name;

/// A client was turned away before its session began.
pub fn connection_refused(listener: &str, peer: IpAddr, limit: &'static str) {
    tracing::info!(peer = %peer, listener, limit, "connection refused");
}

/// Somebody a PROXY header is believed of sent none: the proxy is not set up for it, or speaks another version.
pub fn not_proxied(listener: &str, peer: IpAddr, reason: &str) {
    tracing::warn!(peer = %peer, listener, reason, "proxy header refused");
}

/// A limit was reached inside a session.
pub fn limit_reached(session: &SessionFacts, limit: &'static str) {
    tracing::info!(peer = %session.peer.ip(), listener = &*session.listener, session = &*session.id, limit, "limit reached");
}

/// A rule of the operator's matched: `reply` is what the client hears, or with `would` what it would have heard. What
/// was permitted is told at `debug`.
pub fn ruled(session: &SessionFacts, ruled: &Ruled) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                peer = %session.peer.ip(),
                listener = &*session.listener,
                session = &*session.id,
                rule = &*ruled.rule,
                stage = ruled.stage.name(),
                action = ruled.action,
                would = ruled.would,
                about = ruled.about,
                reply = ruled.reply.as_ref().map(tracing::field::display),
                "access rule"
            )
        };
    }
    if ruled.reply.is_some() { line!(info) } else { line!(debug) }
}

/// Somebody reached a `[[limit]]`: `key` is what it is counted under.
pub fn limit_hit(peer: IpAddr, listener: &str, session: Option<&str>, limit: &str, action: &'static str, key: &str) {
    tracing::info!(peer = %peer, listener, session, limit, action, key, "limit reached");
}

/// A login failed: the name as it was said, whether or not there is such an account.
pub fn auth_failed(session: &SessionFacts, mechanism: Name, account: &str) {
    tracing::info!(
        peer = %session.peer.ip(),
        listener = &*session.listener,
        session = &*session.id,
        mechanism = mechanism.as_str(),
        account,
        "auth failed"
    );
}

/// A login that could not be looked at, which the operator can do something about.
pub fn auth_unavailable(session: &SessionFacts, account: &str) {
    tracing::warn!(
        peer = %session.peer.ip(),
        session = &*session.id,
        account,
        "a login was put off: too many at once (auth.hashing-concurrent), or a backend is away"
    );
}

/// TLS with a client came to nothing.
pub fn handshake_failed(session: &SessionFacts, reason: &str) {
    tracing::info!(
        peer = %session.peer.ip(),
        listener = &*session.listener,
        session = &*session.id,
        reason,
        "tls handshake failed"
    );
}

/// A session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnd {
    /// `quit`, `client-gone`, `timeout`, `too-long`, `closed` (a 421 of ours), `refused`.
    pub how: &'static str,
    pub lasted: Duration,
    pub transactions: u32,
    /// Commands refused.
    pub errors: u32,
}

/// A session without a transaction has no other line, so it is told at `info`; the others at `debug`.
pub fn session_ended(session: &SessionFacts, end: SessionEnd) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                peer = %session.peer.ip(),
                listener = &*session.listener,
                session = &*session.id,
                proxy = session.proxy().map(|proxy| tracing::field::display(proxy.peer)),
                helo = session.hello.as_ref().map(|hello| &*hello.name),
                how = end.how,
                transactions = end.transactions,
                errors = end.errors,
                seconds = end.lasted.as_secs(),
                "session ended"
            )
        };
    }
    if end.transactions == 0 { line!(info) } else { line!(debug) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::log::tests::{logged, timeless};
    use super::*;
    use crate::config::LogFormat;
    use crate::mail::{AfterLogin, Hello, PeerName};
    use crate::smtp::sasl::Mechanism;

    fn facts() -> SessionFacts {
        SessionFacts {
            after_login: AfterLogin::No,
            id: "5f3a".into(),
            listener: "mx".into(),
            peer: "[2001:db8::1]:4711".parse().unwrap(),
            local: "[2001:db8::25]:25".parse().unwrap(),
            peer_name: PeerName::Unavailable,
            reverse_name: PeerName::Unavailable,
            hello: Some(Hello { name: "x\ny".into(), extended: false }),
            tls: None,
            auth: None,
            introduced: None,
        }
    }

    fn text(act: impl FnOnce()) -> String {
        logged(LogFormat::Text, "info", act)
    }

    #[test]
    fn a_failed_login_is_a_line_programs_can_read() {
        let line = text(|| auth_failed(&facts(), Mechanism::Plain.into(), "anna\nauth failed peer=192.0.2.1"));
        assert_eq!(
            timeless(line.trim_end()),
            " INFO auth failed peer=2001:db8::1 listener=mx session=5f3a mechanism=PLAIN \
             account=\"anna\\nauth failed peer=192.0.2.1\""
        );
    }

    #[test]
    fn refusals_name_the_limit() {
        let line = text(|| connection_refused("mx", "192.0.2.1".parse().unwrap(), "connections-at-once"));
        assert_eq!(
            timeless(line.trim_end()),
            " INFO connection refused peer=192.0.2.1 listener=mx limit=connections-at-once"
        );
        assert!(text(|| limit_reached(&facts(), "messages-per-address")).contains("limit=messages-per-address"));
    }

    #[test]
    fn a_rule_is_named() {
        let reply = Some(crate::smtp::replies::ACCESS_REJECTED);
        let ruled_so = Ruled {
            rule: "no-dialups".into(),
            stage: crate::mail::Stage::Helo,
            action: "reject",
            would: true,
            reply,
            about: "a\nb".to_owned(),
        };
        assert_eq!(
            timeless(text(|| ruled(&facts(), &ruled_so)).trim_end()),
            " INFO access rule peer=2001:db8::1 listener=mx session=5f3a rule=no-dialups stage=helo action=reject \
             would=true about=\"a\\nb\" reply=\"554 5.7.1 Access denied\""
        );
        assert_eq!(text(|| ruled(&facts(), &Ruled { reply: None, ..ruled_so })), "");
    }

    #[test]
    fn a_session_without_mail_is_seen() {
        let end = SessionEnd { how: "quit", lasted: Duration::from_secs(3), transactions: 0, errors: 2 };
        let line = text(|| session_ended(&facts(), end));
        assert_eq!(
            timeless(line.trim_end()),
            " INFO session ended peer=2001:db8::1 listener=mx session=5f3a helo=\"x\\ny\" how=quit transactions=0 \
             errors=2 seconds=3"
        );
        assert_eq!(text(|| session_ended(&facts(), SessionEnd { transactions: 1, ..end })), "");
    }
}
