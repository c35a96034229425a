//! SMTP smuggling: every variant of an end of data, split at every place, in every way the gateway takes a message,
//! by DATA and by BDAT, against an upstream that remembers every octet.
//!
//! Nothing is written by hand: what has to happen is worked out by `model.rs`. As many messages are upstream as the
//! client was told, octet for octet; nothing that was content is ever a command there; and outside of counted chunks no
//! octet goes upstream that a careless reader could take for an end. Real mail servers are asked the same in `tests/postfix`.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod client;
#[path = "../dialogs/components.rs"]
mod components;
mod model;
mod recorder;
mod variants;

use std::collections::{HashMap, HashSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmilter::config;
use wasmilter::net::stream::Stream;
use wasmilter::report::Metrics;
use wasmilter::server::{Gateway, Generation};

use components::build;
use model::{Outcome, Policy};
use recorder::{Recorder, Records};
use variants::VARIANTS;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the gateway takes a message (ARCHITECTURE.md, "One message").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stream,
    Spooled,
    Hold,
    /// Without a filter, because of `connect = "deferred"`.
    Deferred,
}

/// How the client sends its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Data,
    /// BDAT, the cuts being between chunks.
    Chunks,
    /// The same of a message declared as BINARYMIME.
    BinaryChunks,
}

/// Where the client's octets are cut into pieces.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Nowhere,
    Everywhere,
    /// Once, so many octets after two before the variant.
    At(usize),
}

#[derive(Debug)]
struct Case {
    name: String,
    pieces: Vec<Vec<u8>>,
    expected: Outcome,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled_however_it_is_cut() {
    let scratch = tempfile::tempdir().unwrap();
    let compiled = scratch.path().join("compiled");
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(compiled).unwrap();
    let (mut failures, mut sessions) = (Vec::new(), 0);
    for policy in [Policy::Reject, Policy::Normalize] {
        for mode in [Mode::Stream, Mode::Spooled, Mode::Hold, Mode::Deferred] {
            // In counted chunks of what is binary there is nothing for a policy to say.
            let binary = Some(Way::BinaryChunks).filter(|_| policy == Policy::Reject);
            for way in [Way::Data, Way::Chunks].into_iter().chain(binary) {
                let cases = cases(policy, way);
                sessions += cases.len();
                let found = run(mode, policy, way, &cases, scratch.path()).await;
                failures.extend(found.into_iter().map(|failure| format!("{policy:?} {mode:?} {way:?} {failure}")));
            }
        }
    }
    assert!(sessions > 8_000, "{sessions}");
    assert!(
        failures.is_empty(),
        "{} of {sessions}:\n{}",
        failures.len(),
        failures[..failures.len().min(20)].join("\n")
    );
}

fn cases(policy: Policy, way: Way) -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let cuts = (0..variant.len() + 4).map(Cut::At).chain([Cut::Nowhere, Cut::Everywhere]);
        for (cut_number, cut) in cuts.enumerate() {
            let name = format!("case-{number}-{cut_number}-");
            let content = variants::content(&name, variant, "b@example.org");
            let pieces = cut.pieces(&content);
            let expected = match way {
                Way::Data => model::after_data(&content, policy),
                Way::Chunks => model::after_chunks(&content, policy),
                // Declared as BINARYMIME, and the upstream has it.
                Way::BinaryChunks => Outcome { accepted: vec![content.clone()], ..Outcome::default() },
            };
            cases.push(Case { name, pieces: way.session(pieces), expected });
        }
    }
    cases
}

impl Cut {
    fn pieces(self, content: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Cut::Nowhere => vec![content.to_vec()],
            Cut::Everywhere => content.iter().map(|octet| vec![*octet]).collect(),
            Cut::At(after) => {
                let before_variant = model::find(content, b"more").unwrap() + b"more".len() - 2;
                let (head, tail) = content.split_at(before_variant + after);
                vec![head.to_vec(), tail.to_vec()]
            }
        }
    }
}

impl Way {
    /// All that the client says, with the message in these pieces.
    fn session(self, pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let (parameter, data) = match self {
            Way::Data => ("", "DATA\r\n"),
            Way::Chunks => ("", ""),
            Way::BinaryChunks => (" BODY=BINARYMIME", ""),
        };
        let envelope =
            format!("EHLO client.test\r\nMAIL FROM:<a@client.test>{parameter}\r\nRCPT TO:<b@example.org>\r\n{data}");
        let last = pieces.len() - 1;
        let chunk = |(number, octets): (usize, Vec<u8>)| {
            let mark = if number == last { " LAST" } else { "" };
            [format!("BDAT {}{mark}\r\n", octets.len()).into_bytes(), octets].concat()
        };
        let pieces = if self == Way::Data { pieces } else { pieces.into_iter().enumerate().map(chunk).collect() };
        [vec![envelope.into_bytes()], pieces, vec![b"QUIT\r\n".to_vec()]].concat()
    }
}

async fn run(mode: Mode, policy: Policy, way: Way, cases: &[Case], scratch: &Path) -> Vec<String> {
    // What is not binary goes upstream by DATA, to those who know nothing else as well.
    let recorder = Recorder::start(way == Way::BinaryChunks).await;
    let gateway = gateway(mode, policy, recorder.address, scratch);
    let listener: Arc<str> = Arc::from("mx");
    let gate = Arc::new(tokio::sync::Semaphore::new(8));
    let mut sessions = tokio::task::JoinSet::new();
    for (number, case) in cases.iter().enumerate() {
        let turn = Arc::clone(&gate).acquire_owned().await.unwrap();
        // Each client has a network of its own: limits by address are not what is asked here.
        let network = u16::try_from(number + 1).unwrap();
        let peer = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 1), 4_321));
        let (client, ear) = client::client(case.pieces.clone());
        gateway.welcome(&listener, Stream::over(client, recorder.address, peer), peer);
        sessions.spawn(async move {
            let replies = ear.replies(PATIENCE).await;
            drop(turn);
            (number, replies)
        });
    }
    let told = sessions.join_all().await;
    gateway.shutdown.begin();
    gateway.shutdown.finish(PATIENCE, PATIENCE).await;
    drop(gateway);
    let records = recorder.finish().await;
    let mut failures = careless(&records);
    let upstream = Upstream::of(&records);
    for (number, replies) in told {
        let case = &cases[number];
        failures.extend(judge(case, &replies, &upstream).err().map(|why| format!("{}: {why}\n{replies}", case.name)));
    }
    failures
}

/// What a careless reader could take for an end, in anything that went upstream.
fn careless(records: &Records) -> Vec<String> {
    let sent = records.messages.iter().chain(&records.cut).chain(&records.commands);
    let odd = sent.filter(|octets| model::is_bare(octets) || octets.contains(&0));
    odd.map(|octets| format!("went upstream: {:?}", String::from_utf8_lossy(octets))).collect()
}

/// What went upstream, by the name of its case.
struct Upstream<'a> {
    messages: HashMap<String, Vec<&'a [u8]>>,
    smuggled: HashSet<String>,
}

impl<'a> Upstream<'a> {
    fn of(records: &'a Records) -> Upstream<'a> {
        let mut messages: HashMap<String, Vec<&[u8]>> = HashMap::new();
        for wire in records.messages.iter().chain(&records.binary) {
            let content = below_trace(wire);
            messages.entry(word_behind(content, b"Subject: ").unwrap_or_default()).or_default().push(content);
        }
        let smuggled =
            records.commands.iter().filter_map(|command| word_behind(command, b"MAIL FROM:<evil-")).collect();
        Upstream { messages, smuggled }
    }
}

/// The name of the case, which ends in a hyphen.
fn word_behind(octets: &[u8], beginning: &[u8]) -> Option<String> {
    let rest = octets.strip_prefix(beginning)?;
    let name: Vec<u8> =
        rest.iter().copied().take_while(|octet| octet.is_ascii_alphanumeric() || *octet == b'-').collect();
    String::from_utf8(name).ok()
}

fn judge(case: &Case, replies: &str, upstream: &Upstream<'_>) -> Result<(), String> {
    let accepted = replies.lines().filter(|line| *line == "250 2.0.0 queued").count();
    let refused = replies.lines().filter(|line| line.starts_with("550 5.6.")).count();
    if (accepted, refused) != (case.expected.accepted.len(), case.expected.refused) {
        return Err(format!("{accepted} accepted and {refused} refused, and not {:?}", case.expected));
    }
    let messages = upstream.messages.get(&case.name).cloned().unwrap_or_default();
    if messages != case.expected.accepted.iter().map(Vec::as_slice).collect::<Vec<_>>() {
        let shown: Vec<String> = messages.iter().map(|wire| String::from_utf8_lossy(wire).into_owned()).collect();
        return Err(format!("upstream has {shown:?}, and not {:?}", case.expected));
    }
    let heard = upstream.smuggled.contains(&case.name);
    if heard != case.expected.second_is_the_clients {
        return Err(format!("the second MAIL is a command upstream: {heard}"));
    }
    Ok(())
}

/// Without our Received field: from the first line that is not its own or a continuation.
fn below_trace(wire: &[u8]) -> &[u8] {
    assert!(wire.starts_with(b"Received: "), "{}", String::from_utf8_lossy(wire));
    let mut rest = wire;
    while let Some(end) = model::find(rest, b"\r\n") {
        rest = &rest[end + 2..];
        if !rest.starts_with(b"\t") {
            break;
        }
    }
    rest
}

fn gateway(mode: Mode, policy: Policy, upstream: SocketAddr, scratch: &Path) -> Arc<Gateway> {
    let ends = if policy == Policy::Reject { "reject" } else { "normalize" };
    let connect = if mode == Mode::Deferred { "deferred" } else { "eager" };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let filter = match mode {
        Mode::Stream | Mode::Deferred => String::new(),
        Mode::Spooled => {
            format!(
                "path = {:?}\ngrants = {{ mime = true }}\n",
                build(&root.join("filters")).join("attachment_guard.wasm")
            )
        }
        Mode::Hold => format!(
            "path = {:?}\nsettings = {{ do = \"\" }}\n[filter.grants]\nheaders = true\nbody = true\nmime = true\n\
             metrics = true\ncounters = true\nkv = true\ndns = true\nhttp = []\nfacts = true\ndiscard = true\ntables = [\"words\"]\n\
             route = []\nedit = {{ headers = true, body = true, sender = true }}\n[table.words]\nentries = [\"word\"]\n",
            build(&root.join("tests/guests")).join("puppet.wasm")
        ),
    };
    let filter = if filter.is_empty() { filter } else { format!("[[filter]]\nname = \"reader\"\n{filter}") };
    let text = format!(
        "hostname = \"mx.example.org\"\n[upstream]\naddress = \"{upstream}\"\nidentify = \"none\"\nconnect = \"{connect}\"\n\
         [relay]\ndomains = [\"example.org\"]\n[limits]\nbare-line-ends = \"{ends}\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n[resolver]\npeer-names = false\n\
         [engine]\ninstances = 64\ncache = \"{}/compiled\"\n{filter}",
        scratch.display()
    );
    let config = config::parse(&text, "smuggling.toml", &|_| None).unwrap_or_else(|why| panic!("{why}"));
    Gateway::new(Generation::build(config, None).unwrap(), Metrics::install().unwrap())
}
