//! What daemons of Postfix's policy delegation protocol say, for one session: asked in the order of the file, before the
//! filters, and after relay policy.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chain::{Opinion, Outcome};
use crate::config::{Config, OnPolicyFailure, PolicyService, PolicyStage};
use crate::mail::{Action, Stage, Verdict};
use crate::net::policy::PolicyClient;
use crate::policy::delegation::{ANSWER_BYTES_MAX, Answer, Question};
use crate::smtp::{Reply, replies};

/// Header fields that daemons prepend to one message.
const PREPENDED_MAX: usize = 32;

/// All daemons of a configuration.
#[derive(Debug)]
pub(super) struct Delegation {
    daemons: Vec<Daemon>,
}

#[derive(Debug)]
struct Daemon {
    settings: PolicyService,
    name: Arc<str>,
    client: Arc<PolicyClient>,
}

/// What one session knows of them.
#[derive(Debug, Default)]
pub(super) struct Delegated {
    /// Of the transaction at hand, in their order, without line ends.
    prepended: Vec<String>,
    /// A `DEFER_IF_REJECT` was said: what refuses for good from here on, refuses for now.
    softened: bool,
}

impl Delegation {
    /// Daemons that are as they were keep their connections.
    pub(super) fn new(config: &Config, before: Option<&Delegation>) -> Delegation {
        let daemon = |settings: &PolicyService| {
            let same = |old: &&Daemon| {
                old.settings.address == settings.address && old.settings.connections == settings.connections
            };
            let kept = before.and_then(|before| before.daemons.iter().find(same)).map(|old| Arc::clone(&old.client));
            let new = || Arc::new(PolicyClient::new(&settings.address, settings.connections, ANSWER_BYTES_MAX));
            Daemon { settings: settings.clone(), name: settings.name.as_str().into(), client: kept.unwrap_or_else(new) }
        };
        Delegation { daemons: config.policy_services.iter().map(daemon).collect() }
    }

    fn asked(&self, listener: &str, stage: PolicyStage) -> impl Iterator<Item = &Daemon> {
        self.daemons.iter().filter(move |daemon| {
            let settings = &daemon.settings;
            let here = settings.listeners.is_empty() || settings.listeners.iter().any(|name| name == listener);
            here && settings.at.contains(&stage)
        })
    }

    /// Whether any daemon is asked here.
    pub(super) fn wants(&self, listener: &str, stage: PolicyStage) -> bool {
        !self.daemons.is_empty() && self.asked(listener, stage).next().is_some()
    }

    /// Asks them. `next`, or the first refusal.
    pub(super) async fn ask(&self, question: Question<'_>, said: &mut Delegated) -> Verdict {
        let mut deferred = None;
        for daemon in self.asked(&question.facts.listener, question.stage) {
            let answer = daemon.ask(question).await;
            let verdict = |action, reply| Verdict {
                action,
                reply: Some(reply),
                filter: Some(Arc::clone(&daemon.name)),
                reason: Some("policy service".to_owned()),
            };
            match answer {
                Answer::Next | Answer::Warn(_) | Answer::Unusable(_) => {}
                Answer::Permit => break,
                Answer::Prepend(field) if said.prepended.len() < PREPENDED_MAX => said.prepended.push(field),
                Answer::Prepend(_) => {}
                Answer::Refuse(reply) if reply.class() == 4 => return verdict(Action::Defer, reply),
                Answer::Refuse(reply) if said.softened => return verdict(Action::Defer, softened(reply)),
                Answer::Refuse(reply) => return verdict(Action::Reject, reply),
                Answer::Disconnect(reply) => return verdict(Action::Disconnect, reply),
                Answer::DeferIfReject(_) => said.softened = true,
                Answer::DeferIfPermit(reply) => {
                    deferred.get_or_insert_with(|| verdict(Action::Defer, reply));
                }
            }
        }
        deferred.unwrap_or(Verdict::NEXT)
    }
}

impl Daemon {
    /// What it says, as far as something is to come of it.
    async fn ask(&self, question: Question<'_>) -> Answer {
        let settings = &self.settings;
        let question = Question { context: &settings.context, ..question };
        let heard = self.client.ask(&question.request(), Instant::now() + settings.timeout).await;
        let answer = match heard {
            Ok(text) => question.understand(&text),
            Err(error) => Answer::Unusable(error.to_string()),
        };
        let what = word(&answer);
        metrics::counter!("wasmilter_policy_answers_total", "service" => settings.name.clone(), "answer" => what)
            .increment(1);
        let (service, session) = (&*settings.name, &*question.facts.id);
        let stage = settings_stage(question.stage);
        match (&answer, settings.would) {
            (Answer::Unusable(why), would) => {
                tracing::warn!(service, session, stage, why, "a policy service cannot be asked");
                match settings.on_failure {
                    OnPolicyFailure::Defer if !would => Answer::Refuse(replies::POLICY_SERVICE_FAILED),
                    _ => Answer::Next,
                }
            }
            (Answer::Warn(text), _) => {
                tracing::warn!(service, session, stage, text, "a policy service warns");
                answer
            }
            (Answer::Refuse(reply) | Answer::Disconnect(reply) | Answer::DeferIfPermit(reply), true) => {
                tracing::info!(service, session, stage, %reply, "a policy service would refuse");
                Answer::Next
            }
            (Answer::DeferIfReject(_) | Answer::Prepend(_) | Answer::Permit, true) => Answer::Next,
            _ => answer,
        }
    }
}

impl Delegated {
    /// MAIL: what was said of a message before does not count.
    pub(super) fn begin_transaction(&mut self) {
        *self = Delegated::default();
    }

    /// What stands before our own trace field, with line ends.
    pub(super) fn fields(&self) -> String {
        self.prepended.iter().map(|field| format!("{field}\r\n")).collect()
    }
}

/// As the log is to show it: beside what filters say.
pub(super) fn refusal(stage: Stage, verdict: &Verdict) -> Outcome {
    let opinions = verdict.filter.iter().map(|name| Opinion {
        filter: Arc::clone(name),
        version: None,
        stage,
        action: verdict.action.name(),
        reason: verdict.reason.clone(),
        time: Duration::ZERO,
    });
    Outcome { opinions: opinions.collect(), ..Outcome::NEXT }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Next => "dunno",
        Answer::Permit => "ok",
        Answer::Refuse(reply) if reply.class() == 4 => "defer",
        Answer::Refuse(_) => "reject",
        Answer::Disconnect(_) => "disconnect",
        Answer::DeferIfPermit(_) => "defer-if-permit",
        Answer::DeferIfReject(_) => "defer-if-reject",
        Answer::Prepend(_) => "prepend",
        Answer::Warn(_) => "warn",
        Answer::Unusable(_) => "failed",
    }
}

fn settings_stage(stage: PolicyStage) -> &'static str {
    stage.state(true)
}

/// The same, for now.
fn softened(reply: Reply) -> Reply {
    let enhanced = reply.enhanced.map(|said| crate::smtp::Enhanced { class: 4, ..said });
    Reply { code: 450, enhanced, ..reply }
}
