//! `[state]`: what outlives sessions, and what several gateways hold in common.

use super::{shared, snapshot};
use crate::config::State;
use crate::config::problem::Span;
use crate::config::section::Section;

/// `in_redis`: where tables say that they are in Redis.
pub(in crate::config) fn read(section: &Section<'_>, in_redis: &[Span]) -> State {
    State { snapshot: snapshot::read(section), shared: shared::read(section, in_redis) }
}
