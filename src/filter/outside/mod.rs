//! What a filter can reach beyond the mail at hand: the time, the DNS.
//!
//! The gateway gives the real ones; a tool gives answers that somebody wrote down, and a clock that stands still until it
//! is moved. A filter cannot tell.

mod clock;
mod script;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use crate::net::dns::Resolver;
pub use crate::net::dns::{Answer, NoAnswer, Security};
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

/// All of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outside {
    pub clock: Clock,
    pub dns: Arc<dyn Dns>,
}

impl Outside {
    /// The system's clock, and a resolver of the gateway's.
    #[must_use]
    pub fn real(resolver: &Resolver) -> Outside {
        Outside { clock: Clock::System, dns: Arc::new(resolver.clone()) }
    }

    /// Nothing but what `script` says, at the time `clock` tells.
    #[must_use]
    pub fn scripted(clock: Clock, script: &Arc<Script>) -> Outside {
        Outside { clock, dns: Arc::clone(script) as Arc<dyn Dns> }
    }
}

impl Default for Outside {
    /// The system's clock, and nobody who answers.
    fn default() -> Outside {
        Outside::scripted(Clock::System, &Arc::default())
    }
}
