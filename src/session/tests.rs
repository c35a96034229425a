//! The state machine without a socket: what no sequence of commands and verdicts may bring about. What the wire
//! can see stands in tests/dialogs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod logins;
mod relay;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mail::{Action, Edit, Recipient, Verdict};
use crate::smtp::{ForwardPath, Offer, Params};

fn config() -> Arc<Config> {
    config_with("")
}

/// With more sections.
fn config_with(more: &str) -> Arc<Config> {
    let text = r#"
        hostname = "mx.example.org"
        [upstream]
        address = "127.0.0.1:10025"
        [relay]
        domains = ["example.org"]
        [[listener]]
        name = "mx"
        address = "127.0.0.1:2525"
    "#;
    Arc::new(crate::config::parse(&format!("{text}{more}"), "test.toml", &|_| None).unwrap())
}

fn session() -> Session {
    session_with(config())
}

fn session_with(config: Arc<Config>) -> Session {
    let (peer, local) = ("192.0.2.7:4321".parse().unwrap(), "192.0.2.1:25".parse().unwrap());
    let facts = SessionFacts::new(Arc::from("ID"), Arc::from("mx"), peer, local);
    let limits = Arc::new(Limits { errors: None, idle_commands: None, ..config.limits.clone() });
    Session::new(Rules { config, listener: 0, tables: Tables::default() }, limits, Arc::new(facts))
}

/// What the world around the session says; chosen by the property test.
#[derive(Debug, Clone)]
struct World {
    verdicts: Vec<u8>,
    answers: Vec<u16>,
    /// Commands come in groups, and the upstream takes groups.
    groups: bool,
}

/// Runs commands through the session as the driver would; gives every line that went upstream.
fn run(session: &mut Session, commands: &[String], world: &World) -> Vec<String> {
    let (mut upstream, mut verdicts, mut answers) =
        (Vec::new(), world.verdicts.iter().cycle(), world.answers.iter().cycle());
    let mut commands = commands.iter().peekable();
    let mut step = session.handle(Input::Begin(None));
    let mut chunks = Chunks::default();
    for _ in 0..1_000 {
        chunks.watch(&step);
        step = match step {
            Step::Reply(_) | Step::Listen | Step::Challenge(_) => match commands.next() {
                Some(line) => {
                    chunks.said(line);
                    session.handle(Input::Line(line.as_bytes()))
                }
                None => break,
            },
            Step::Close(_) => break,
            Step::ListenThenClose(reply) => Step::Close(vec![reply]),
            Step::Consult(ask) => {
                let (verdict, edits) = verdict(*verdicts.next().unwrap(), &ask);
                session.handle(Input::Verdict(verdict, edits))
            }
            Step::Tell(_, then) | Step::TellReply(_, then) | Step::TellRules(_, then) => *then,
            Step::Charge(_) => session.handle(Input::Charged(Ok(()))),
            Step::LookUp(_) => session.handle(Input::Found(crate::policy::tables::Found::Doubt)),
            Step::AskOffer | Step::Reach { .. } => session.handle(Input::Reached(Ok(Arc::new(Offer::default())))),
            Step::Forward(_, line) => {
                upstream.push(String::from_utf8(line).unwrap());
                session.handle(Input::Next)
            }
            Step::Await => match commands.next_if(|line| world.groups && session.joins(line.as_bytes(), true)) {
                Some(line) => session.handle(Input::Line(line.as_bytes())),
                None => {
                    let code = *answers.next().unwrap();
                    session.handle(Input::Answer(Ok(Reply::new(code, None, "as the world wills"))))
                }
            },
            Step::Recall(_) => session.handle(Input::Recalled(None)),
            Step::Said(_) | Step::LoneDot | Step::Forsake => session.handle(Input::Next),
            Step::Relay { .. } | Step::RelayOn(_) => session.handle(Input::Relayed(Relayed::Bad)),
            Step::RelayEnd(then) => *then,
            Step::FindKeys { .. } => session.handle(Input::Keys(KeysFound::Unavailable)),
            Step::Verify { .. } | Step::VerifyToken { .. } => session.handle(Input::Identity(Identity::Bad)),
            Step::StartTls(_) | Step::Introduce(..) => break,
            Step::Swallow(_, then) => *then,
            Step::ReceiveChunk(chunk, _) => match (*answers.next().unwrap(), chunk.last) {
                (code @ 400.., _) => {
                    chunks.open = false;
                    let reason = if code < 500 { AbortReason::UpstreamFailed } else { AbortReason::Refused };
                    let outcome = BodyOutcome {
                        reply: Reply::new(code, None, "as the world wills"),
                        each: Vec::new(),
                        close: false,
                        aborted: Some(reason),
                    };
                    session.handle(Input::Received(outcome))
                }
                (_, false) => session.handle(Input::ChunkReceived),
                (_, true) => session.handle(Input::Received(taken())),
            },
            Step::Receive(_) => session.handle(Input::Received(taken())),
        };
    }
    upstream
}

fn taken() -> BodyOutcome {
    BodyOutcome { reply: replies::OK, each: Vec::new(), close: false, aborted: None }
}

/// What the octets behind each BDAT come to: all of them are content or thrown away, before anything is read as a
/// command again, and no message is made of anything but all its chunks.
#[derive(Debug, Default)]
struct Chunks {
    due: Option<u64>,
    /// A message has begun and goes on with the next chunk.
    open: bool,
}

impl Chunks {
    fn said(&mut self, line: &str) {
        let mut words = line.split(' ');
        self.due = (words.next() == Some("BDAT")).then(|| words.next().unwrap().parse().unwrap());
    }

    fn watch(&mut self, step: &Step) {
        match step {
            Step::ReceiveChunk(chunk, plan) => {
                assert_eq!(self.due.take(), Some(chunk.octets));
                assert_eq!(plan.is_some(), !self.open, "a plan for the first chunk, and for no other");
                self.open = !chunk.last;
            }
            Step::Swallow(octets, _) => assert_eq!(self.due.take(), Some(*octets)),
            Step::Tell(..) => self.open = false,
            Step::Reply(_) | Step::Listen | Step::Challenge(_) => {
                assert_eq!(self.due, None, "what follows is no command");
            }
            _ => {}
        }
    }
}

/// A filter that may say anything, and tries to send mail elsewhere.
fn verdict(choice: u8, ask: &Ask) -> (Verdict, Vec<Edit>) {
    let action = match choice % 7 {
        0 => Action::Reject,
        1 => Action::Defer,
        2 => Action::Discard,
        3 => Action::Quarantine,
        _ => Action::Next,
    };
    let elsewhere = Recipient { path: ForwardPath::parse("victim@elsewhere.test").unwrap(), params: Params::default() };
    let edits = match (ask, choice % 5) {
        (Ask::Rcpt(_), 0) => vec![Edit::ReplaceRecipient { recipient: elsewhere, beyond_relay: false }],
        (Ask::Rcpt(_), 1) => vec![Edit::AddRecipient { recipient: elsewhere, beyond_relay: false }],
        (Ask::Mail(_), 0 | 1) | (Ask::Rcpt(_), 2) => vec![Edit::Route("elsewhere.test".to_owned())],
        _ => Vec::new(),
    };
    (Verdict { action, filter: Some("any".into()), ..Verdict::NEXT }, edits)
}

fn command() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("EHLO client.test".to_owned()),
        Just("HELO client.test".to_owned()),
        Just("MAIL FROM:<a@client.test>".to_owned()),
        Just("RCPT TO:<b@example.org>".to_owned()),
        Just("RCPT TO:<b@elsewhere.test>".to_owned()),
        Just("RCPT TO:<b%elsewhere.test@example.org>".to_owned()),
        Just("RCPT TO:<\"b@elsewhere.test\"@example.org>".to_owned()),
        Just("RCPT TO:<elsewhere.test!b@example.org>".to_owned()),
        Just("RCPT TO:<@example.org:b@elsewhere.test>".to_owned()),
        Just("RCPT TO:<b@[192.0.2.1]>".to_owned()),
        Just("RCPT TO:<b@example.org.elsewhere.test>".to_owned()),
        Just("RCPT TO:<b@EXAMPLE.ORG.>".to_owned()),
        Just("DATA".to_owned()),
        Just("BDAT 100".to_owned()),
        Just("BDAT 0 LAST".to_owned()),
        Just("RSET".to_owned()),
        Just("NOOP".to_owned()),
        Just("STARTTLS".to_owned()),
        Just("AUTH PLAIN AGEAYg==".to_owned()),
        "[ -~]{0,40}",
    ]
}

/// One rule of the operator's, whatever it says.
fn rule() -> impl Strategy<Value = String> {
    let at = prop_oneof![Just("connect"), Just("helo"), Just("mail"), Just("rcpt"), Just("rcpt")];
    let action = prop_oneof![Just("permit"), Just("permit"), Just("reject"), Just("defer"), Just("disconnect")];
    let condition = prop_oneof![
        Just(("connect", "")),
        Just(("connect", "client = ['192.0.2.0/24']")),
        Just(("helo", "helo = ['client.test']")),
        Just(("mail", "sender = ['/./']")),
        Just(("rcpt", "recipient = ['elsewhere.test', '/elsewhere/']")),
        Just(("rcpt", "recipient = ['/.*/']")),
    ];
    (at, action, condition, any::<bool>()).prop_map(|(at, action, (known, condition), would)| {
        const ORDER: [&str; 4] = ["connect", "helo", "mail", "rcpt"];
        let place = |stage| ORDER.iter().position(|one| *one == stage).unwrap();
        let at = ORDER[place(at).max(place(known))];
        let would = would && action != "permit";
        format!("at = {at:?}\naction = {action:?}\nwould = {would}\n{condition}\n")
    })
}

/// An upstream that keeps to RFC 5321, and what the client hears when it stands behind the session.
#[derive(Debug, Default)]
struct Model {
    addressed: bool,
    recipients: usize,
    /// DATA without a recipient is a 354 (RFC 2920 3.1), not a refusal.
    lenient: bool,
    answers: std::collections::VecDeque<u16>,
    /// Messages it took: recipients of each.
    taken: Vec<usize>,
}

impl Model {
    fn hear(&mut self, line: &str) {
        let refused = line.contains("no@");
        let code = match line.get(..4).unwrap() {
            "MAIL" if refused => 550,
            "MAIL" => {
                (self.addressed, self.recipients) = (true, 0);
                250
            }
            "RCPT" if !self.addressed => 503,
            "RCPT" if refused => 550,
            "RCPT" => {
                self.recipients += 1;
                250
            }
            "DATA" if self.addressed && (self.recipients > 0 || self.lenient) => 354,
            "DATA" => 554,
            _ => {
                self.addressed = false;
                250
            }
        };
        self.answers.push_back(code);
    }
}

/// What the client hears, and what the upstream takes, command by command or in groups.
fn talk(commands: &[String], lenient: bool, groups: bool) -> (Vec<u16>, Vec<usize>) {
    let (mut session, mut model, mut heard) = (session(), Model { lenient, ..Model::default() }, Vec::new());
    let mut commands = commands.iter().peekable();
    let mut step = session.handle(Input::Begin(None));
    loop {
        step = match step {
            Step::Said(reply) => {
                heard.push(reply.code);
                session.handle(Input::Next)
            }
            Step::Reply(reply) => {
                heard.push(reply.code);
                Step::Listen
            }
            Step::Listen => match commands.next() {
                Some(line) => session.handle(Input::Line(line.as_bytes())),
                None => return (heard, model.taken),
            },
            Step::Consult(_) => session.handle(Input::Verdict(Verdict::NEXT, Vec::new())),
            Step::Tell(_, then) => *then,
            Step::Charge(_) => session.handle(Input::Charged(Ok(()))),
            Step::AskOffer | Step::Reach { .. } => session.handle(Input::Reached(Ok(Arc::new(Offer::default())))),
            Step::Forward(_, line) => {
                model.hear(std::str::from_utf8(&line).unwrap());
                session.handle(Input::Next)
            }
            Step::Await => match commands.next_if(|line| groups && session.joins(line.as_bytes(), true)) {
                Some(line) => session.handle(Input::Line(line.as_bytes())),
                None => {
                    let reply = Reply::new(model.answers.pop_front().unwrap(), None, "as the model says");
                    session.handle(Input::Answer(Ok(reply)))
                }
            },
            Step::Recall(_) => session.handle(Input::Recalled(None)),
            Step::LoneDot => {
                assert_eq!(model.recipients, 0, "a dot that delivers something");
                model.addressed = false;
                session.handle(Input::Next)
            }
            Step::Forsake => {
                model = Model { lenient, taken: model.taken, ..Model::default() };
                session.handle(Input::Next)
            }
            Step::Receive(_) => {
                model.taken.push(model.recipients);
                (model.addressed, model.recipients) = (false, 0);
                session.handle(Input::Received(BodyOutcome {
                    reply: replies::OK,
                    each: Vec::new(),
                    close: false,
                    aborted: None,
                }))
            }
            other => panic!("{other:?}"),
        };
    }
}

proptest! {
    #[test]
    fn a_group_is_answered_as_its_commands_would_be_one_by_one(
        commands in prop::collection::vec(prop_oneof![
            Just("EHLO client.test".to_owned()),
            Just("MAIL FROM:<a@client.test>".to_owned()),
            Just("MAIL FROM:<a@client.test>".to_owned()),
            Just("MAIL FROM:<no@client.test>".to_owned()),
            Just("RCPT TO:<b@example.org>".to_owned()),
            Just("RCPT TO:<b@example.org>".to_owned()),
            Just("RCPT TO:<no@example.org>".to_owned()),
            Just("RCPT TO:<b@elsewhere.test>".to_owned()),
            Just("RCPT TO:<nonsense".to_owned()),
            Just("DATA".to_owned()),
            Just("DATA".to_owned()),
            Just("RSET".to_owned()),
        ], 0..40),
        lenient in any::<bool>(),
    ) {
        let commands: Vec<String> = std::iter::once("EHLO client.test".to_owned()).chain(commands).collect();
        let one_by_one = talk(&commands, lenient, false);
        let in_groups = talk(&commands, lenient, true);
        // After a lone dot there is no transaction any more; a refusal of DATA leaves it open.
        if !lenient {
            prop_assert_eq!(&one_by_one, &in_groups);
        }
        // The banner and an answer to each; what stands behind 354 is not counted here.
        prop_assert_eq!(in_groups.0.len(), commands.len() + 1);
        prop_assert!(in_groups.1.iter().all(|&recipients| recipients > 0));
    }

    #[test]
    fn no_command_and_no_verdict_makes_it_a_relay(
        commands in prop::collection::vec(command(), 0..30),
        verdicts in prop::collection::vec(any::<u8>(), 1..20),
        answers in prop::collection::vec(prop_oneof![Just(250u16), Just(250), Just(354), Just(451), Just(550)], 1..20),
        groups in any::<bool>(),
    ) {
        let upstream = run(&mut session(), &commands, &World { verdicts, answers, groups });
        for line in upstream.iter().filter(|line| line.starts_with("RCPT")) {
            let plain = line.trim_end();
            prop_assert!(plain == "RCPT TO:<b@example.org>" || plain == "RCPT TO:<b@EXAMPLE.ORG.>", "{}", plain);
        }
    }

    #[test]
    fn no_rule_lets_through_what_relay_policy_refused(
        rules in prop::collection::vec(rule(), 0..6),
        commands in prop::collection::vec(command(), 0..30),
        verdicts in prop::collection::vec(any::<u8>(), 1..20),
        (groups, senders) in any::<(bool, bool)>(),
    ) {
        let named = rules.iter().enumerate().map(|(place, rule)| format!("[[access]]\nname = \"r{place}\"\n{rule}"));
        let listener = "xclient-networks = [\"203.0.113.9\"]\nsender-login = { domains = true }\n";
        let more = if senders { listener } else { "" }.to_owned() + &named.collect::<String>();
        let mut session = session_with(config_with(&more));
        let commands: Vec<String> =
            ["EHLO client.test", "MAIL FROM:<a@client.test>"].map(str::to_owned).into_iter().chain(commands).collect();
        let upstream = run(&mut session, &commands, &World { verdicts, answers: vec![250], groups });
        for line in upstream.iter().filter(|line| line.starts_with("RCPT")) {
            let plain = line.trim_end();
            prop_assert!(plain == "RCPT TO:<b@example.org>" || plain == "RCPT TO:<b@EXAMPLE.ORG.>", "{}", plain);
        }
    }

    #[test]
    fn data_goes_upstream_only_after_an_accepted_recipient(
        commands in prop::collection::vec(command(), 0..30),
        answers in prop::collection::vec(prop_oneof![Just(250u16), Just(250), Just(354), Just(550)], 1..20),
    ) {
        let upstream = run(&mut session(), &commands, &World { verdicts: vec![5], answers: answers.clone(), groups: false });
        let mut accepted = false;
        for (line, code) in upstream.iter().zip(answers.iter().cycle()) {
            match line.split([' ', '\r']).next().unwrap() {
                "MAIL" | "RSET" => accepted = false,
                "RCPT" => accepted |= *code == 250,
                "DATA" => prop_assert!(accepted),
                other => prop_assert!(false, "{}", other),
            }
        }
    }
}
