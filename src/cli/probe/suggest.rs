//! `[upstream]` for the server that was looked at. Pure.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::introduce::Introduced;
use super::shown;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    None,
    Unverified,
    Verified,
}

/// What the suggestion follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    address: (String, u16),
    ca: Option<PathBuf>,
    pub(super) tls: Tls,
    pub(super) introduced: Introduced,
    /// It does not keep a silent connection as long as the pool would.
    pub(super) impatient: bool,
}

impl Facts {
    pub(super) fn new(address: &(String, u16), ca: Option<&Path>) -> Facts {
        Facts {
            address: address.clone(),
            ca: ca.map(Path::to_owned),
            tls: Tls::None,
            introduced: Introduced::default(),
            impatient: false,
        }
    }

    /// Lines that the gateway takes as they are.
    pub(super) fn toml(&self) -> String {
        let mut out = format!("[upstream]\naddress = \"{}\"\n", shown(&self.address));
        let Introduced { xclient, xforward, xclient_again: _ } = self.introduced;
        out.push_str(match (xclient, xforward) {
            (true, _) => "identify = \"xclient\"\n",
            (false, true) => "identify = \"xforward\"       # for its log only; better: let it take XCLIENT\n",
            (false, false) => "identify = \"none\"           # better: let it take XCLIENT\n",
        });
        match self.tls {
            Tls::None => {}
            Tls::Unverified => out.push_str("tls = \"opportunistic\"\n"),
            Tls::Verified => {
                out.push_str("tls = \"verify\"\n");
                if let Some(ca) = &self.ca {
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, "tls-ca = {:?}", ca.display().to_string());
                }
                if self.address.0.parse::<std::net::IpAddr>().is_ok() {
                    let _ = writeln!(out, "tls-name = \"{}\"", self.address.0);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config;

    #[test]
    fn the_gateway_takes_what_is_suggested() {
        let address = ("mail.internal".to_owned(), 25);
        for tls in [Tls::None, Tls::Unverified, Tls::Verified] {
            for (xclient, xforward) in [(true, true), (false, true), (false, false)] {
                for impatient in [true, false] {
                    let introduced = Introduced { xclient, xforward, xclient_again: false };
                    let facts =
                        Facts { tls, introduced, impatient, ..Facts::new(&address, Some(Path::new("/ca.pem"))) };
                    let rest = "[relay]\ndomains = [\"example.org\"]\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:25\"\n";
                    let text = format!("hostname = \"mx.example.org\"\n{}{rest}", facts.toml());
                    if let Err(errors) = config::parse(&text, "w.toml", &|_| None) {
                        panic!("{text}\n{errors}");
                    }
                }
            }
        }
        assert!(Facts::new(&("2001:db8::25".to_owned(), 25), None).toml().contains("\"[2001:db8::25]:25\""));
    }
}
