//! What happened, for log and metrics.

use super::gateway::Gateway;
use super::leg::Leg;
use crate::chain::Outcome;
use crate::mail::AbortReason;
use crate::session::{Identity, Session};
use crate::smtp::Reply;

#[derive(Debug)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) fn reply(&self, _: u16) {}
    pub(super) fn limited(&self, _: &str) {}
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) octets: u64,
}

impl Record {
    pub(super) fn said(&mut self, _: &Reply) {}
    pub(super) fn heard(&mut self, _: &Outcome) {}
    pub(super) fn transaction_began(&mut self) {}
    pub(super) fn transaction_ended(&mut self, _: &Gateway, _: &Session, _: &mut Leg, _: Option<AbortReason>) {}
    pub(super) fn session_ended(&mut self, _: &Gateway, _: &Session) {}
    pub(super) fn auth_failed(&self, _: &Gateway, _: &Session, _: &str) {}
    pub(super) fn limited(&self, _: &Gateway, _: &Session, _: &str) {}
    pub(super) fn auth_verified(&self, _: &Gateway, _: &Identity) {}
    pub(super) fn handshake_failed(&self, _: &Gateway, _: &Session, _: &str) {}
    pub(super) fn content_answered(&mut self, _: &Reply) {}
}
