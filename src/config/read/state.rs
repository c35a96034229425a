//! `[state]`: what outlives sessions, and what several gateways hold in common.

use super::{shared, snapshot};
use crate::config::State;
use crate::config::section::Section;

pub(in crate::config) fn read(section: &Section<'_>) -> State {
    State { snapshot: snapshot::read(section), shared: shared::read(section) }
}
