//! What reaching a `[[limit]]` means: who is told what, who waits, what is noted. Counting is done in `state/limits`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Counted, Limit, LimitAction};
use crate::policy::limits::Subject;
use crate::report::event;
use crate::report::seldom::Seldom;
use crate::smtp::Reply;
use crate::smtp::replies::{TooMuch, over_limit};
use crate::state::limits::{Hit, How, RuleGuard, Rules};

use super::gateway::Gateway;

/// An alarm about one client is told once a minute.
static ALARMS: Seldom = Seldom::new();

/// What comes of all limits that were reached at once.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    /// What the client hears, and no more than this happens.
    pub(super) refusal: Option<Reply>,
    /// The longest that any of them wants.
    pub(super) delay: Duration,
    /// Of those that mark.
    pub(super) tags: Vec<Arc<Limit>>,
}

/// Where a limit is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Before the banner, or instead of it.
    Connection,
    /// At a command.
    Command,
}

impl Ruling {
    fn of(hits: Vec<Hit>, door: Door, subject: &Subject<'_>, gateway: &Gateway, session: Option<&str>) -> Ruling {
        let mut ruling = Ruling::default();
        for hit in hits {
            tell(&hit, subject, gateway, session);
            match hit.limit.action {
                LimitAction::Delay(wait) => ruling.delay = ruling.delay.max(wait),
                LimitAction::Mark => ruling.tags.push(hit.limit),
                LimitAction::Log => {}
                LimitAction::Defer | LimitAction::Refuse | LimitAction::Disconnect => {
                    ruling.refusal.get_or_insert_with(|| refusal(&hit.limit, door, subject));
                }
            }
        }
        ruling
    }
}

fn refusal(limit: &Limit, door: Door, subject: &Subject<'_>) -> Reply {
    let code = match (limit.action, door) {
        (LimitAction::Refuse, Door::Connection) => 554,
        (LimitAction::Refuse, Door::Command) => 550,
        (LimitAction::Defer, Door::Command) => 450,
        _ => 421,
    };
    let what = match limit.count {
        Counted::ConnectionsAtOnce | Counted::Connections => TooMuch::Connections,
        Counted::Messages | Counted::Bytes => TooMuch::Mail,
        Counted::Recipients | Counted::DistinctRecipients => TooMuch::Recipients,
        Counted::AuthFailures => TooMuch::FailedLogins,
        Counted::Errors => TooMuch::Errors,
    };
    over_limit(code, what, subject.address, limit.reply.as_deref())
}

fn tell(hit: &Hit, subject: &Subject<'_>, gateway: &Gateway, session: Option<&str>) {
    let (limit, action, metrics) = (&hit.limit, hit.limit.action, &gateway.metrics);
    if action.refuses() {
        metrics.limited(&limit.name);
    }
    metrics.limit_hit(&limit.name, action.name());
    event::limit_hit(subject.address, subject.listener, session, &limit.name, action.name(), &hit.who);
    if limit.alarm {
        metrics.limit_alarm(&limit.name);
        if let Some(kept_back) = ALARMS.may_say(&format!("{} {}", limit.name, hit.who), Instant::now()) {
            tracing::warn!(limit = limit.name, key = hit.who, kept_back, "limit alarm");
            let generation = gateway.generation();
            let command = &generation.config().alarm_command;
            gateway.alarm.raise(command, limit, &hit.who, kept_back, subject, session);
        }
    }
}

impl Gateway {
    /// Asks every `[[limit]]` that counts one of these about the client.
    pub(super) async fn rule(
        &self,
        asks: &[(Counted, How, NonZeroU32)],
        door: Door,
        subject: &Subject<'_>,
        session: Option<&str>,
    ) -> Ruling {
        let rules = self.limits.rules();
        let checks = rules.checks(asks, subject);
        if checks.is_empty() {
            return Ruling::default();
        }
        Ruling::of(Rules::decide(checks), door, subject, self, session)
    }

    /// A client comes in: connections, those open at once, and the errors it made before.
    pub(super) async fn enter(&self, subject: &Subject<'_>) -> (RuleGuard, Ruling) {
        let (guard, hits) = self.limits.rules().enter(subject);
        let ruling = Ruling::of(hits, Door::Connection, subject, self, None);
        if ruling.refusal.is_some() {
            return (guard, ruling);
        }
        let asks =
            [(Counted::Connections, How::Charge, NonZeroU32::MIN), (Counted::Errors, How::Look, NonZeroU32::MIN)];
        let mut more = self.rule(&asks, Door::Connection, subject, None).await;
        more.delay = more.delay.max(ruling.delay);
        more.tags.extend(ruling.tags);
        (guard, more)
    }

    /// Whether clients are asked for anything before they may come in.
    pub(super) fn limits_entry(&self) -> bool {
        self.limits.rules().count_any(&[Counted::ConnectionsAtOnce, Counted::Connections, Counted::Errors])
    }

    /// For the operator: every `[[limit]]`, what it remembers and whom it met.
    #[must_use]
    pub fn shown_limits(&self) -> serde_json::Value {
        self.limits.rules().shown()
    }
}
