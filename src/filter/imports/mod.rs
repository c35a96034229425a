//! The capabilities: one file an interface, each the host's side of `filters/wit/filter.wit`.
//!
//! A linker holds only what the operator granted, so a function here never asks whether the filter may call
//! it; it asks whether the stage and the arguments are right.

mod dns;
mod edit;
mod envelope;
mod facts;
mod http;
mod mark;
mod message;
mod session;
mod shared_kv;
mod store;
mod world;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::wasmilter::filter as wit;
use super::guest::Guest;
use crate::config::Grants;

/// The package and version this host speaks.
pub(super) const PACKAGE: &str = "wasmilter:filter";
pub(super) const VERSION: &str = "0.1.0";

/// One interface a filter may import.
#[derive(Debug)]
pub(super) struct Capability {
    pub name: &'static str,
    /// What the operator would have to write for it.
    pub grant: &'static str,
    granted: fn(&Grants) -> bool,
    link: fn(&mut Linker<Guest>) -> wasmtime::Result<()>,
}

impl Capability {
    pub(super) fn is_granted(&self, grants: &Grants) -> bool {
        (self.granted)(grants)
    }
}

macro_rules! capability {
    ($name:literal, $interface:ident, $grant:literal, $granted:expr) => {
        Capability {
            name: $name,
            grant: $grant,
            granted: $granted,
            link: |linker| wit::$interface::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
        }
    };
}

/// All of them.
pub(super) static CAPABILITIES: [Capability; 19] = [
    capability!("types", types, "{}", |_| true),
    capability!("session", session, "{ session = true }", |g| g.session),
    capability!("envelope", envelope, "{ envelope = true }", |g| g.envelope),
    capability!("log", log, "{ log = true }", |g| g.log),
    capability!("config", config, "{ config = true }", |g| g.config),
    capability!("clock", clock, "{ clock = true }", |g| g.clock),
    capability!("random", random, "{ random = true }", |g| g.random),
    capability!("headers", headers, "{ headers = true }", |g| g.headers),
    capability!("body", body, "{ body = true }", |g| g.body),
    capability!("mime", mime, "{ mime = true }", |g| g.mime),
    capability!("edit", edit, "{ edit = { headers = [\"X-Example\"] } }", may_edit),
    capability!("mark", mark, "{ mark = true }", may_mark),
    capability!("metrics", metrics, "{ metrics = true }", |g| g.metrics),
    capability!("counters", counters, "{ counters = true }", |g| g.counters),
    capability!("tables", tables, "{ tables = [\"NAME\"] }", |g| g.tables.is_some()),
    capability!("kv", kv, "{ kv = { quota = \"16 MiB\" } }", |g| g.kv.is_some()),
    capability!("dns", dns, "{ dns = true }", |g| g.dns),
    capability!("http", http, "{ http = [\"https://api.example.org/v1/\"] }", |g| g.http.is_some()),
    capability!("facts", facts, "{ facts = true }", |g| g.facts),
];

/// What the operator has to write for a capability; none for one that every filter has unless it is taken away, and
/// for what is none of ours.
#[must_use]
pub fn grant_of(interface: &str) -> Option<&'static str> {
    let capability = CAPABILITIES.iter().find(|capability| capability.name == interface)?;
    (!capability.is_granted(&Grants::default())).then_some(capability.grant)
}

/// Whether any edit at all is granted.
fn may_edit(grants: &Grants) -> bool {
    let edit = &grants.edit;
    !edit.headers.is_empty() || edit.body || edit.sender || edit.recipients
}

/// Whether any mark at all is granted.
fn may_mark(grants: &Grants) -> bool {
    grants.mark || grants.delay.is_some() || grants.route.is_some()
}

/// Where a filter's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeysAre {
    Here,
    /// In common for several gateways.
    Shared,
}

/// Fills a linker with what is granted.
///
/// # Errors
/// None in practice: two of our own interfaces would have to have the same name.
pub(super) fn link(linker: &mut Linker<Guest>, grants: &Grants, keys: KeysAre) -> wasmtime::Result<()> {
    CAPABILITIES.iter().filter(|c| c.is_granted(grants)).try_for_each(|c| match (c.name, keys) {
        ("kv", KeysAre::Shared) => shared_kv::link(linker),
        _ => (c.link)(linker),
    })
}

impl wit::types::Host for Guest {}
