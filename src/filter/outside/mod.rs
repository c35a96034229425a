//! What a filter can reach beyond the mail at hand: the time, the DNS, the web.
//!
//! The gateway gives the real ones; a tool gives answers that somebody wrote down, and a clock that stands still until it
//! is moved. A filter cannot tell.

mod clock;
mod script;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::imports::KeysAre;
use crate::checks::Checker;
use crate::config::HttpGrant;
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
pub use crate::net::dns::{Answer, NoAnswer, Security};
use crate::net::http::Client;
pub use crate::net::http::{Failure, Request, Response};
use crate::net::tls::TlsError;
use crate::shared::Keys;
pub use clock::Clock;
pub use script::Script;

/// An answer on its way.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who answers questions to the DNS.
pub trait Dns: Debug + Send + Sync {
    /// The records of `name` of one kind ("A", "TXT", …), in the form [`Answer`] describes. `name` has no last dot.
    fn ask<'a>(&'a self, name: &'a str, kind: &'a str) -> Waiting<'a, Result<Answer, NoAnswer>>;
}

impl Dns for Resolver {
    fn ask<'a>(&'a self, name: &'a str, kind: &'a str) -> Waiting<'a, Result<Answer, NoAnswer>> {
        Box::pin(self.ask(name, kind))
    }
}

/// Who answers requests over HTTP. That the operator allows them was seen to before.
pub trait Http: Debug + Send + Sync {
    /// The whole answer, or a failure, in `timeout`.
    fn send<'a>(&'a self, request: &'a Request, timeout: Duration) -> Waiting<'a, Result<Response, Failure>>;
}

impl Http for Client {
    fn send<'a>(&'a self, request: &'a Request, timeout: Duration) -> Waiting<'a, Result<Response, Failure>> {
        Box::pin(self.send(request, timeout))
    }
}

/// Where a filter's HTTP client comes from.
#[derive(Debug, Clone)]
enum Web {
    /// One of its own, with this resolver and over connections made so.
    Real(Arc<Resolver>, Arc<dyn Dial>),
    Given(Arc<dyn Http>),
}

/// Who finds out about senders and messages.
#[derive(Debug, Clone)]
pub(crate) enum Checks {
    Real(Arc<Checker>),
    Script(Arc<Script>),
}

/// All of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outside {
    pub clock: Clock,
    pub dns: Arc<dyn Dns>,
    /// Who keeps filters' keys, where several gateways do it in common.
    pub keys: Option<Keys>,
    web: Web,
    checks: Checks,
}

impl Outside {
    /// The system's clock, a resolver of the gateway's, and connections made by its dialer.
    #[must_use]
    pub fn real(resolver: &Resolver, dialer: &Arc<dyn Dial>) -> Outside {
        let resolver = Arc::new(resolver.clone());
        let web = Web::Real(Arc::clone(&resolver), Arc::clone(dialer));
        let checks = Checks::Real(Arc::new(Checker::new(&resolver)));
        Outside { clock: Clock::System, dns: resolver, keys: None, web, checks }
    }

    /// Nothing but what `script` says, at the time `clock` tells.
    #[must_use]
    pub fn scripted(clock: Clock, script: &Arc<Script>) -> Outside {
        let web = Web::Given(Arc::clone(script) as Arc<dyn Http>);
        let (dns, checks) = (Arc::clone(script) as Arc<dyn Dns>, Checks::Script(Arc::clone(script)));
        Outside { clock, dns, keys: None, web, checks }
    }

    /// The same, with keys that are kept elsewhere.
    #[must_use]
    pub fn with_keys(self, keys: Option<Keys>) -> Outside {
        Outside { keys, ..self }
    }

    pub(super) fn keys_are(&self) -> KeysAre {
        if self.keys.is_some() { KeysAre::Shared } else { KeysAre::Here }
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// A filter's HTTP client.
    ///
    /// # Errors
    /// The grant's CA file cannot be read, or there are no trusted roots.
    pub(crate) fn http(&self, grant: &HttpGrant) -> Result<Arc<dyn Http>, TlsError> {
        match &self.web {
            Web::Real(resolver, dialer) => Ok(Arc::new(Client::new(resolver, dialer, grant)?)),
            Web::Given(given) => Ok(Arc::clone(given)),
        }
    }
}

impl Default for Outside {
    /// The system's clock, and nobody who answers.
    fn default() -> Outside {
        Outside::scripted(Clock::System, &Arc::default())
    }
}
