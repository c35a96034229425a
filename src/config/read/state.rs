//! `[state]`: what outlives sessions.

use super::snapshot;
use crate::config::State;
use crate::config::section::Section;

pub(in crate::config) fn read(section: &Section<'_>) -> State {
    State { snapshot: snapshot::read(section) }
}
