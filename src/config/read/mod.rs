//! One file a section: its keys, their defaults, and what is wrong within it. What concerns several sections is
//! `check`'s.

pub(super) mod access;
mod asked;
pub(super) mod auth;
mod backend;
pub(super) mod bounds;
pub(super) mod delegation;
mod directory;
pub(super) mod edge;
pub(super) mod filter;
pub(super) mod limit;
pub(super) mod listener;
mod oauth;
mod quarantine;
pub(super) mod relay;
pub(super) mod route;
pub(super) mod service;
mod shared;
mod snapshot;
pub(super) mod state;
pub(super) mod table;
mod trust;
pub(super) mod upstream;
mod when;

use std::ops::RangeInclusive;
use std::time::Duration;

/// No wait is shorter than this: it could not be told from a mistake.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// No wait is longer than this; clocks take it without a second thought.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What any timeout may be.
const WAIT: RangeInclusive<Duration> = WAIT_MIN..=WAIT_MAX;
