//! What reaching a `[[limit]]` means: who is told what, who waits, what is noted. Counting is done in `state/limits`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Counted, Limit, LimitAction};
use crate::policy::limits::Subject;
use crate::report::event;
use crate::report::seldom::Seldom;
use crate::shared::Shared;
use crate::smtp::Reply;
use crate::smtp::replies::{TooMuch, over_limit};
use crate::state::limits::{Check, Decided, Group, Hit, How, RateCheck, Refused, RuleGuard};

use super::accept::no_room;
use super::gateway::Gateway;

/// An alarm about one client is told once a minute.
static ALARMS: Seldom = Seldom::new();

/// What comes of all limits that were reached at once.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    /// What the client hears, and no more than this happens.
    pub(super) refusal: Option<Reply>,
    /// The setting of `[rates]` that refuses, where it is one.
    pub(super) limited: Option<&'static str>,
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
    /// Asks these quotas of `[rates]` and then every `[[limit]]` that counts one of these about the client.
    ///
    /// # Errors
    /// The quota that refuses; no `[[limit]]` was asked then.
    pub(super) async fn rule(
        &self,
        rates: Vec<RateCheck<'_>>,
        asks: &[(Counted, How, NonZeroU32)],
        door: Door,
        subject: &Subject<'_>,
        session: Option<&str>,
    ) -> Result<Ruling, Refused> {
        let checks = self.limits.rules().checks(asks, subject);
        if rates.is_empty() && checks.is_empty() {
            return Ok(Ruling::default());
        }
        let Decided { refused, hits } = self.decide(rates, checks).await;
        refused.map_or_else(|| Ok(Ruling::of(hits, door, subject, self, session)), Err)
    }

    /// By all gateways that share their limits, or by this one.
    async fn decide(&self, rates: Vec<RateCheck<'_>>, rules: Vec<Check>) -> Decided {
        let mut group = Group::new(rates, rules);
        if let Some(shared) = self.shared_limits() {
            shared.settle(&mut group).await;
        }
        group.finish()
    }

    fn shared_limits(&self) -> Option<Arc<Shared>> {
        self.generation_now().shared.as_ref().filter(|shared| shared.has_limits()).cloned()
    }

    /// Whether how often clients connect is counted by all gateways: then it is asked by [`enter`](Gateway::enter), and not
    /// while the connection is accepted.
    pub(super) fn shares_connections(&self) -> bool {
        self.shared_limits().is_some()
    }

    /// A client comes in: connections, those open at once, and the errors it made before.
    pub(super) async fn enter(&self, subject: &Subject<'_>) -> (RuleGuard, Ruling) {
        let (guard, hits) = self.limits.rules().enter(subject);
        let ruling = Ruling::of(hits, Door::Connection, subject, self, None);
        if ruling.refusal.is_some() {
            return (guard, ruling);
        }
        let rates = if self.shares_connections() { self.limits.connection_checks(subject.address) } else { Vec::new() };
        let asks =
            [(Counted::Connections, How::Charge, NonZeroU32::MIN), (Counted::Errors, How::Look, NonZeroU32::MIN)];
        match self.rule(rates, &asks, Door::Connection, subject, None).await {
            Ok(mut more) => {
                more.delay = more.delay.max(ruling.delay);
                more.tags.extend(ruling.tags);
                (guard, more)
            }
            Err(Refused { which, .. }) => {
                (guard, Ruling { refusal: Some(no_room(which)), limited: Some(which), ..Ruling::default() })
            }
        }
    }

    /// Whether clients are asked for anything before they may come in.
    pub(super) fn limits_entry(&self) -> bool {
        self.shares_connections()
            || self.limits.rules().count_any(&[Counted::ConnectionsAtOnce, Counted::Connections, Counted::Errors])
    }

    /// For the operator: the servers of the shared state; null without one.
    #[must_use]
    pub fn shown_shared(&self) -> serde_json::Value {
        self.generation_now().shared.as_ref().map_or(serde_json::Value::Null, |shared| shared.shown())
    }

    /// For the operator: every `[[limit]]`, what it remembers and whom it met.
    #[must_use]
    pub fn shown_limits(&self) -> serde_json::Value {
        self.limits.rules().shown()
    }
}
