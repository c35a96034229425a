//! One message through every stage of one filter, as a session of the gateway would take it there: the same chain, the
//! same host, and nobody on the other side.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::envelope::Guessed;
use super::marked::Marked;
use super::watch::{Line, Watch};
use crate::chain::{Call, Chain, Context, Held, Opinion, Outcome, SessionChain};
use crate::filter::CHUNK_BYTES_MAX;
use crate::mail::{
    AbortReason, AuthFacts, Delivery, Edit, Ending, Envelope, Hello, PeerName, Recipient, RecipientReply, SessionFacts,
    Stage, Summary, TlsFacts,
};
use crate::session::weigh::{Weighed, weigh};
use crate::smtp::headers::HeaderBlock;
use crate::smtp::{Reply, replies};
use crate::state::spool::{READ_BYTES_MAX, Spool};

/// The address the made-up gateway has.
const LOCAL: ([u8; 4], u16) = ([198, 51, 100, 1], 25);
const CLIENT_PORT: u16 = 4_321;
/// What an upstream says to every recipient and message.
const TAKEN: Reply = replies::OK;

/// Who hands the mail in.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub address: IpAddr,
    /// Confirmed.
    pub name: Option<String>,
    pub helo: String,
    pub tls: bool,
    pub auth: Option<String>,
}

/// What the filter says goes through here.
#[derive(Debug)]
pub(super) struct Player {
    pub chain: Arc<Chain>,
    pub listener: String,
    pub client: Client,
    pub watch: Watch,
}

/// What became of a message.
#[derive(Debug)]
pub(super) struct Played {
    /// None: it is delivered.
    pub ended: Option<Ended>,
    /// Of single recipients, when others were left.
    pub refused: Vec<(String, Ended)>,
    pub opinions: Vec<Opinion>,
    /// Of the envelope, in words.
    pub edits: Vec<String>,
    pub marked: Marked,
    /// Header and body, where the filter changed them.
    pub changed: Option<Vec<u8>>,
    pub costs: Vec<(Stage, Cost)>,
    /// Of the filter's instance, at the end.
    pub memory_bytes: usize,
    pub log: Vec<Line>,
}

/// How it ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub stage: Stage,
    /// As in the contract: "reject"; or "fault".
    pub action: &'static str,
    /// What the client hears.
    pub said: Reply,
    pub reason: Option<String>,
}

impl Ended {
    /// What the client hears, as lines.
    pub(super) fn reply(&self) -> Vec<String> {
        let mut octets = Vec::new();
        self.said.encode(&mut octets);
        String::from_utf8_lossy(&octets).lines().map(str::to_owned).collect()
    }
}

/// Of one stage.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub calls: u32,
    pub cpu: Duration,
    pub wall: Duration,
}

impl Played {
    /// What the filter did with the message, in a word.
    pub(super) fn action(&self) -> &'static str {
        match &self.ended {
            Some(ended) => ended.action,
            None if self.faults().next().is_some() => "fault",
            None => "next",
        }
    }

    pub(super) fn is_edited(&self) -> bool {
        self.changed.is_some() || !self.edits.is_empty()
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = &Opinion> {
        self.opinions.iter().filter(|opinion| opinion.action == "fault")
    }

    /// Why, if it says.
    pub(super) fn reason(&self) -> Option<&str> {
        let said = self.opinions.iter().rev().find_map(|opinion| opinion.reason.as_deref());
        self.ended.as_ref().and_then(|ended| ended.reason.as_deref()).or(said)
    }

    pub(super) fn cpu(&self) -> Duration {
        self.costs.iter().map(|(_, cost)| cost.cpu).sum()
    }

    pub(super) fn wall(&self) -> Duration {
        self.costs.iter().map(|(_, cost)| cost.wall).sum()
    }
}

/// Processor time of this thread, on which the guest runs.
pub(super) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// A session on its way.
struct Scene {
    chain: SessionChain,
    context: Context,
    played: Played,
}

impl Player {
    /// Plays one message. `id` is the session's, and of no other at the same time.
    pub(super) async fn play(&self, id: &str, content: &[u8], envelope: &Guessed) -> Played {
        let (peer, local) = (SocketAddr::new(self.client.address, CLIENT_PORT), SocketAddr::from(LOCAL));
        let facts = SessionFacts {
            peer_name: self.name(),
            reverse_name: self.name(),
            ..SessionFacts::new(id.into(), self.listener.as_str().into(), peer, local)
        };
        let mut scene = Scene {
            chain: SessionChain::new(Arc::clone(&self.chain), &self.listener),
            context: Context { session: Arc::new(facts), envelope: None },
            played: Played::new(),
        };
        let ended = match scene.greet(&self.client).await {
            Some(ended) => Some(ended),
            None => scene.transaction(content, envelope).await,
        };
        scene.played.ended = ended;
        scene.played.memory_bytes = scene.chain.usage().map(|usage| usage.memory_bytes).max().unwrap_or(0);
        let delivered = u32::from(scene.played.ended.is_none());
        let (octets, duration) = (content.len() as u64, scene.played.wall());
        scene.ask(Call::Quit(Summary { transactions: 1, delivered, octets, duration })).await;
        let mut played = scene.played;
        played.log = self.watch.take(id);
        played
    }

    fn name(&self) -> PeerName {
        self.client.name.as_deref().map_or(PeerName::Unavailable, |name| PeerName::Confirmed(name.into()))
    }
}

impl Played {
    fn new() -> Played {
        Played {
            ended: None,
            refused: Vec::new(),
            opinions: Vec::new(),
            edits: Vec::new(),
            marked: Marked::default(),
            changed: None,
            costs: Vec::new(),
            memory_bytes: 0,
            log: Vec::new(),
        }
    }

    fn count(&mut self, stage: Stage, cpu: Duration, wall: Duration) {
        if self.costs.iter().all(|(known, _)| *known != stage) {
            self.costs.push((stage, Cost::default()));
        }
        for (_, cost) in self.costs.iter_mut().filter(|(known, _)| *known == stage) {
            cost.calls = cost.calls.saturating_add(1);
            cost.cpu += cpu;
            cost.wall += wall;
        }
    }
}

impl Scene {
    async fn ask(&mut self, call: Call<'_>) -> Outcome {
        let stage = call.stage();
        let wanted = self.chain.wants(stage);
        let (cpu, wall) = (thread_cpu(), Instant::now());
        let mut outcome = self.chain.consult(call, &self.context).await;
        if wanted {
            self.played.count(stage, thread_cpu().saturating_sub(cpu), wall.elapsed());
        }
        self.played.marked.add(stage, &outcome);
        self.played.opinions.append(&mut outcome.opinions.clone());
        outcome.opinions.retain(|opinion| opinion.action == "fault");
        outcome
    }

    /// Asks, and says how the session or the message ended if it did.
    async fn put(&mut self, call: Call<'_>) -> (Option<Ended>, Vec<Edit>) {
        let stage = call.stage();
        let outcome = self.ask(call).await;
        let (action, reason) = (outcome.verdict.action, outcome.verdict.reason.clone());
        let action = if outcome.opinions.is_empty() { action.name() } else { "fault" };
        let reply = match weigh(stage, outcome.verdict) {
            Weighed::Pass => return (None, outcome.edits),
            Weighed::Refuse(reply) | Weighed::Disconnect(reply) => reply,
            Weighed::Discard | Weighed::Quarantine(_) => replies::DISCARDED,
        };
        (Some(Ended { stage, action, said: as_banner(stage, reply), reason }), Vec::new())
    }

    async fn greet(&mut self, client: &Client) -> Option<Ended> {
        if let (Some(ended), _) = self.put(Call::Connect).await {
            return Some(ended);
        }
        let hello = Hello { name: client.helo.as_str().into(), extended: true };
        let mut ended = self.hello(&hello).await;
        if ended.is_none() && client.tls {
            let tls = TlsFacts::new("TLSv1.3", "TLS_AES_256_GCM_SHA384".into(), 256);
            self.facts(|facts| facts.tls = Some(Arc::new(tls.clone())));
            ended = self.put(Call::Tls(&tls)).await.0;
            if ended.is_none() {
                ended = self.hello(&hello).await;
            }
        }
        if let Some(identity) = client.auth.as_deref().filter(|_| ended.is_none()) {
            let auth = AuthFacts { mechanism: crate::smtp::sasl::Mechanism::Plain.into(), identity: identity.into() };
            ended = self.put(Call::Auth(&auth)).await.0;
            self.facts(|facts| facts.auth = Some(Arc::new(auth)));
        }
        ended
    }

    async fn hello(&mut self, hello: &Hello) -> Option<Ended> {
        let (ended, _) = self.put(Call::Helo(hello)).await;
        self.facts(|facts| facts.hello = Some(hello.clone()));
        ended
    }

    fn facts(&mut self, change: impl FnOnce(&mut SessionFacts)) {
        change(Arc::make_mut(&mut self.context.session));
    }

    async fn transaction(&mut self, content: &[u8], envelope: &Guessed) -> Option<Ended> {
        let mut ended = self.envelope(envelope).await;
        let octets = content.len() as u64;
        if ended.is_none() {
            ended = self.content(content).await;
            let answer = ended.as_ref().map_or(TAKEN, |ended| ended.said.clone());
            let duration = self.played.wall();
            self.ask(Call::Reply(&Delivery { answer, each: Vec::new(), octets, duration })).await;
        }
        if ended.is_some() {
            let duration = self.played.wall();
            self.ask(Call::Abort(Ending { reason: AbortReason::Refused, octets, duration })).await;
        }
        ended
    }

    async fn envelope(&mut self, envelope: &Guessed) -> Option<Ended> {
        let (ended, edits) = self.put(Call::Mail(&envelope.sender)).await;
        if ended.is_some() {
            return ended;
        }
        let mut sender = envelope.sender.clone();
        for edit in edits {
            self.note(&edit, None);
            if let Edit::SetSender(changed) = edit {
                sender = changed;
            }
        }
        let id = format!("{}.1", self.context.session.id).into();
        self.context.envelope = Some(Arc::new(Envelope { id, sender, recipients: Vec::new() }));
        let mut last = None;
        for recipient in &envelope.recipients {
            match self.put(Call::Rcpt(recipient)).await {
                (Some(ended), _) if ended.action == "disconnect" => return Some(ended),
                (Some(ended), _) => {
                    self.played.refused.push((recipient.path.as_str().to_owned(), ended.clone()));
                    last = Some(ended);
                }
                (None, edits) => self.accept(recipient, edits).await,
            }
        }
        if self.context.envelope.as_ref().is_none_or(|envelope| envelope.recipients.is_empty()) {
            self.played.refused.pop();
            return last;
        }
        self.put(Call::Data).await.0
    }

    /// The filter lets it pass, and the upstream that is not there takes it.
    async fn accept(&mut self, recipient: &Recipient, edits: Vec<Edit>) {
        let mut accepted = recipient.clone();
        for edit in edits {
            self.note(&edit, Some(recipient));
            if let Edit::ReplaceRecipient { recipient, .. } = edit {
                accepted = recipient;
            }
        }
        if let Some(envelope) = &mut self.context.envelope {
            Arc::make_mut(envelope).recipients.push(accepted.clone());
        }
        let told = RecipientReply { said: recipient.path.clone(), recipient: accepted, answer: TAKEN };
        self.ask(Call::RcptReply(&told)).await;
    }

    async fn content(&mut self, content: &[u8]) -> Option<Ended> {
        let (mut block, start) = HeaderBlock::parse(content);
        let (ended, _) = self.put(Call::Headers(&mut block)).await;
        if ended.is_some() {
            return ended;
        }
        let body = content.get(start..).unwrap_or_default();
        for chunk in body.chunks(CHUNK_BYTES_MAX) {
            let (ended, _) = self.put(Call::Body(chunk)).await;
            if ended.is_some() {
                return ended;
            }
        }
        let mut spool = Spool::new(super::mails::MESSAGE_BYTES_MAX, &std::env::temp_dir());
        if let Err(why) = spool.append(body).await {
            return Some(Ended {
                stage: Stage::Message,
                action: "fault",
                said: replies::NO_ROOM,
                reason: Some(why.to_string()),
            });
        }
        let mut held = Held::new(block, spool);
        let (ended, edits) = self.put(Call::Message(&mut held)).await;
        edits.iter().for_each(|edit| self.note(edit, None));
        if ended.is_none() {
            let after = whole(&held).await;
            self.played.changed = (after != content).then_some(after);
        }
        ended
    }

    fn note(&mut self, edit: &Edit, at_hand: Option<&Recipient>) {
        let said = match edit {
            Edit::SetSender(sender) => format!("sender becomes <{}>", sender.path.as_str()),
            Edit::ReplaceRecipient { recipient, .. } => {
                let before = at_hand.map_or("", |recipient| recipient.path.as_str());
                format!("recipient <{before}> becomes <{}>", recipient.path.as_str())
            }
            Edit::AddRecipient { recipient, .. } => format!("recipient <{}> is added", recipient.path.as_str()),
            Edit::RemoveRecipient { address } => format!("recipient <{address}> is taken away"),
            Edit::Route(upstream) => return self.played.marked.chose(upstream),
        };
        self.played.edits.push(said);
    }
}

/// Before a session has begun, a refusal is its banner (docs/filters.md).
fn as_banner(stage: Stage, reply: Reply) -> Reply {
    match stage {
        Stage::Connect if reply.class() == 5 => Reply { code: 554, ..reply },
        Stage::Connect => Reply { code: 421, ..reply },
        _ => reply,
    }
}

/// Header and body as they would leave.
async fn whole(held: &Held) -> Vec<u8> {
    let mut content = Vec::new();
    held.headers.write_into(&mut content);
    let mut offset = 0;
    while let Ok(piece) = held.body.read_at(offset, READ_BYTES_MAX).await
        && !piece.is_empty()
    {
        content.extend_from_slice(&piece);
        offset += piece.len() as u64;
    }
    content
}
