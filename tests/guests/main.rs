//! Hostile filters against the real host. Each test is named for the promise: `…_obeyed` is what an honest filter
//! gets, `…_violated` is what a dishonest one gets, and what nobody else notices of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod about;
mod bounds;
mod breaker;
mod conditions;
mod contract;
mod limits;
mod loading;
mod marks;
mod message;
mod shadow;
mod support;
mod trust;
mod verdicts;
mod world;
