//! Sets of stages, and which of them a component exports.

use wasmtime::component::InstancePre;

use super::bindings::exports::wasmilter::filter as wit;
use super::guest::Guest;
use crate::mail::Stage;

/// A set of stages: one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageSet(u16);

impl StageSet {
    pub const NONE: StageSet = StageSet(0);

    #[must_use]
    pub const fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u16) != 0
    }

    #[must_use]
    pub const fn with(self, stage: Stage) -> StageSet {
        StageSet(self.0 | (1 << stage as u16))
    }

    #[must_use]
    pub const fn without(self, stage: Stage) -> StageSet {
        StageSet(self.0 & !(1 << stage as u16))
    }

    #[must_use]
    pub const fn union(self, other: StageSet) -> StageSet {
        StageSet(self.0 | other.0)
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the order of a session.
    pub fn iter(self) -> impl Iterator<Item = Stage> {
        Stage::ALL.into_iter().filter(move |stage| self.contains(*stage))
    }
}

/// Where a component's stages are; `None` for those it does not want.
#[derive(Clone)]
pub(super) struct Exports {
    pub about: Option<wit::about::GuestIndices>,
    pub lifecycle: Option<wit::lifecycle::GuestIndices>,
    pub connect: Option<wit::on_connect::GuestIndices>,
    pub helo: Option<wit::on_helo::GuestIndices>,
    pub tls: Option<wit::on_tls::GuestIndices>,
    pub auth: Option<wit::on_auth::GuestIndices>,
    pub mail: Option<wit::on_mail::GuestIndices>,
    pub rcpt: Option<wit::on_rcpt::GuestIndices>,
    pub rcpt_reply: Option<wit::on_rcpt_reply::GuestIndices>,
    pub data: Option<wit::on_data::GuestIndices>,
    pub headers: Option<wit::on_headers::GuestIndices>,
    pub body: Option<wit::on_body::GuestIndices>,
    pub message: Option<wit::on_message::GuestIndices>,
    pub reply: Option<wit::on_reply::GuestIndices>,
    pub abort: Option<wit::on_abort::GuestIndices>,
    pub unknown: Option<wit::on_unknown::GuestIndices>,
    pub quit: Option<wit::on_quit::GuestIndices>,
}

impl Exports {
    pub(super) fn find(pre: &InstancePre<Guest>) -> Exports {
        Exports {
            about: wit::about::GuestIndices::new(pre).ok(),
            lifecycle: wit::lifecycle::GuestIndices::new(pre).ok(),
            connect: wit::on_connect::GuestIndices::new(pre).ok(),
            helo: wit::on_helo::GuestIndices::new(pre).ok(),
            tls: wit::on_tls::GuestIndices::new(pre).ok(),
            auth: wit::on_auth::GuestIndices::new(pre).ok(),
            mail: wit::on_mail::GuestIndices::new(pre).ok(),
            rcpt: wit::on_rcpt::GuestIndices::new(pre).ok(),
            rcpt_reply: wit::on_rcpt_reply::GuestIndices::new(pre).ok(),
            data: wit::on_data::GuestIndices::new(pre).ok(),
            headers: wit::on_headers::GuestIndices::new(pre).ok(),
            body: wit::on_body::GuestIndices::new(pre).ok(),
            message: wit::on_message::GuestIndices::new(pre).ok(),
            reply: wit::on_reply::GuestIndices::new(pre).ok(),
            abort: wit::on_abort::GuestIndices::new(pre).ok(),
            unknown: wit::on_unknown::GuestIndices::new(pre).ok(),
            quit: wit::on_quit::GuestIndices::new(pre).ok(),
        }
    }

    pub(super) fn stages(&self) -> StageSet {
        let mut set = StageSet::NONE;
        for (there, stage) in [
            (self.connect.is_some(), Stage::Connect),
            (self.helo.is_some(), Stage::Helo),
            (self.tls.is_some(), Stage::Tls),
            (self.auth.is_some(), Stage::Auth),
            (self.mail.is_some(), Stage::Mail),
            (self.rcpt.is_some(), Stage::Rcpt),
            (self.rcpt_reply.is_some(), Stage::RcptReply),
            (self.data.is_some(), Stage::Data),
            (self.headers.is_some(), Stage::Headers),
            (self.body.is_some(), Stage::Body),
            (self.message.is_some(), Stage::Message),
            (self.reply.is_some(), Stage::Reply),
            (self.abort.is_some(), Stage::Abort),
            (self.unknown.is_some(), Stage::Unknown),
            (self.quit.is_some(), Stage::Quit),
        ] {
            if there {
                set = set.with(stage);
            }
        }
        set
    }
}
