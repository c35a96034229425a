//! Messages through the stages of a filter, one after the other, with a clock in hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::envelope::{Guessed, guess};
use super::super::mails::Mail;
use super::super::play::thread_cpu;
use crate::chain::{Call, Chain, Context, Held, SessionChain};
use crate::filter::{CHUNK_BYTES_MAX, StageSet};
use crate::mail::{AuthFacts, Envelope, Hello, SessionFacts, Stage, TlsFacts};
use crate::smtp::headers::HeaderBlock;
use crate::state::spool::Spool;

/// Octets of the made-up message.
const MADE_UP_BYTES: usize = 64 << 10;
/// Messages of one session, before another one begins.
const SESSION_MESSAGES: usize = 100;

/// How old an instance is when a message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lap {
    /// It has had messages before.
    Warm,
    /// It is made for the message, with its session.
    Fresh,
}

/// A filter that is measured, at these stages.
#[derive(Debug, Clone)]
pub(super) struct Course {
    chain: Arc<Chain>,
    listener: String,
    stages: StageSet,
    hello: Hello,
    tls: TlsFacts,
    auth: AuthFacts,
    facts: Arc<SessionFacts>,
}

/// What a round took.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Of the processor, with what stands between the stages.
    pub cpu: Duration,
    /// Each message: its stages together, on the wall.
    pub each: Vec<Duration>,
    /// Each call.
    pub calls: Vec<(Stage, Duration)>,
    pub faults: u64,
}

impl Round {
    pub(super) fn messages(&self) -> usize {
        self.each.len()
    }
}

/// A message as there are many: 20 fields, and text.
pub(super) fn made_up() -> Mail {
    let mut content = b"From: ann@client.test\r\nTo: bob@example.org\r\nSubject: the minutes\r\n".to_vec();
    for number in 0..17 {
        content.extend_from_slice(format!("X-Field-{number}: some words of a value\r\n").as_bytes());
    }
    content.extend_from_slice(b"\r\n");
    while content.len() < MADE_UP_BYTES {
        content.extend_from_slice(b"a line of text as there are many in mail, more or less\r\n");
    }
    Mail { name: "made up".to_owned(), content, mbox_sender: None }
}

impl Course {
    pub(super) fn new(chain: &Arc<Chain>, listener: &str, stages: StageSet) -> Course {
        let hello = Hello { name: "client.test".into(), extended: true };
        let (peer, local) = (([192, 0, 2, 7], 4_321).into(), ([198, 51, 100, 1], 25).into());
        let hello_said = Some(hello.clone());
        let facts =
            SessionFacts { hello: hello_said, ..SessionFacts::new("bench".into(), listener.into(), peer, local) };
        Course {
            chain: Arc::clone(chain),
            listener: listener.to_owned(),
            stages,
            hello,
            tls: TlsFacts::new("TLSv1.3", "TLS_AES_256_GCM_SHA384".into(), 256),
            auth: AuthFacts {
                mechanism: crate::smtp::sasl::Mechanism::Plain.into(),
                identity: "ann@example.org".into(),
            },
            facts: Arc::new(facts),
        }
    }

    pub(super) fn stages(&self) -> StageSet {
        self.stages
    }

    /// The same filter, asked at no stage after this one.
    pub(super) fn up_to(&self, last: Stage) -> Course {
        let mut stages = StageSet::NONE;
        for stage in self.stages.iter().filter(|stage| *stage <= last) {
            stages = stages.with(stage);
        }
        Course { stages, ..self.clone() }
    }

    pub(super) fn session(&self) -> SessionChain {
        SessionChain::new(Arc::clone(&self.chain), &self.listener)
    }

    /// At least so long, and at least so many messages.
    pub(super) async fn round(&self, mails: &[Mail], lap: Lap, at_least: Duration, messages: usize) -> Round {
        let envelopes: Vec<Guessed> = mails.iter().map(|mail| guess(mail, None, &[])).collect();
        let mut round = Round::default();
        let mut session = self.session();
        let begun = Instant::now();
        let mut turn = mails.iter().zip(&envelopes).cycle();
        while round.messages() < messages || begun.elapsed() < at_least {
            let Some((mail, envelope)) = turn.next() else { break };
            if lap == Lap::Warm && round.messages().is_multiple_of(SESSION_MESSAGES) {
                // The first message of a session makes its instance: it is not counted.
                session = self.session();
                self.message(&mut session, mail, envelope, &mut Round::default()).await;
            }
            self.message(&mut session, mail, envelope, &mut round).await;
            if lap == Lap::Fresh {
                let cpu = thread_cpu();
                session = self.session();
                round.cpu += thread_cpu().saturating_sub(cpu);
            }
        }
        round
    }

    /// Every stage the filter exports is asked, whatever it answers.
    pub(super) async fn message(&self, session: &mut SessionChain, mail: &Mail, envelope: &Guessed, round: &mut Round) {
        let (mut block, start) = HeaderBlock::parse(&mail.content);
        let body = mail.content.get(start..).unwrap_or_default();
        let mut spool = Spool::new(super::super::mails::MESSAGE_BYTES_MAX, &std::env::temp_dir());
        if spool.append(body).await.is_err() {
            return;
        }
        let envelope_facts =
            Envelope { id: "bench.1".into(), sender: envelope.sender.clone(), recipients: envelope.recipients.clone() };
        let context = Context { session: Arc::clone(&self.facts), envelope: Some(Arc::new(envelope_facts)) };
        let mut clock = Clock { session, context: &context, stages: self.stages, all: Duration::ZERO, round };
        let cpu = thread_cpu();
        clock.ask(Call::Connect).await;
        clock.ask(Call::Helo(&self.hello)).await;
        clock.ask(Call::Tls(&self.tls)).await;
        clock.ask(Call::Auth(&self.auth)).await;
        clock.ask(Call::Mail(&envelope.sender)).await;
        for recipient in &envelope.recipients {
            clock.ask(Call::Rcpt(recipient)).await;
        }
        clock.ask(Call::Data).await;
        clock.ask(Call::Headers(&mut block)).await;
        for chunk in body.chunks(CHUNK_BYTES_MAX) {
            clock.ask(Call::Body(chunk)).await;
        }
        if self.stages.contains(Stage::Message) {
            let mut held = Held::new(block, spool);
            clock.ask(Call::Message(&mut held)).await;
        }
        clock.session.end_transaction();
        let all = clock.all;
        round.cpu += thread_cpu().saturating_sub(cpu);
        round.each.push(all);
    }
}

struct Clock<'a> {
    session: &'a mut SessionChain,
    context: &'a Context,
    stages: StageSet,
    all: Duration,
    round: &'a mut Round,
}

impl Clock<'_> {
    async fn ask(&mut self, call: Call<'_>) {
        let stage = call.stage();
        if !self.stages.contains(stage) {
            return;
        }
        let begun = Instant::now();
        let outcome = self.session.consult(call, self.context).await;
        let took = begun.elapsed();
        self.all += took;
        self.round.calls.push((stage, took));
        self.round.faults += outcome.opinions.iter().filter(|opinion| opinion.action == "fault").count() as u64;
    }
}
