//! A whole session: any client, any upstream, and the gateway between them, on pipes in memory and a clock that jumps.
//!
//! The upstream marks each of its answers with a number of its own. So the law can be read off what the client heard:
//! **what the upstream accepted is exactly what the client was told.** Used by the tests beside it, with inputs that are
//! the same everywhere, and by the fuzz target `session`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wasmilter::config;
use wasmilter::net::Stream;
use wasmilter::net::dial::{Dial, Dialing};
use wasmilter::report::Metrics;
use wasmilter::server::{Environment, Gateway, Generation};
use wasmilter::smtp::ReplyParser;

use super::upstream::{Accepted, Choices, Heard, converse};

/// What a pipe holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1_024;
/// Longer than all waits of a session together, on the clock that jumps.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Replies of our own with 250.
const OWN: [&str; 3] = ["2.0.0 Ok", "2.1.0 Ok", "2.1.5 Ok"];

/// One session to be played.
#[derive(Debug, Clone, Default)]
pub struct Play {
    /// What the client sends, each piece in one write.
    pub packets: Vec<Vec<u8>>,
    /// What the upstream makes of what it hears, answer by answer; then it is content.
    pub choices: Vec<u8>,
    /// Which extensions the upstream offers, by bit.
    pub offer: u8,
    /// `connect` of the upstream.
    pub connect: &'static str,
}

impl Play {
    /// Any octets are a play.
    #[must_use]
    pub fn decode(input: &[u8]) -> Play {
        let (head, rest) = input.split_at(input.len().min(2));
        let (first, second) = (head.first().copied().unwrap_or(0), head.get(1).copied().unwrap_or(0));
        let (choices, client) = rest.split_at(rest.len().min(usize::from(second % 32)));
        let packets = if first & 0x80 == 0 { super::moves::decode(client) } else { vec![client.to_vec()] };
        let connect = match first & 0x30 {
            0x10 => "lazy",
            0x20 => "deferred",
            _ => "eager",
        };
        Play { packets, choices: choices.to_vec(), offer: first & 0x0f, connect }
    }
}

/// The upstream of one play: a pipe to a task for every connection.
#[derive(Debug, Clone)]
struct Model {
    heard: Arc<Mutex<Heard>>,
    choices: Arc<Mutex<Choices>>,
}

impl Dial for Model {
    fn dial(&self, to: SocketAddr) -> Dialing<'_> {
        let model = self.clone();
        Box::pin(async move {
            if model.choices.lock().unwrap().refuses_connection() {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(converse(far, model.heard, model.choices));
            Ok(Stream::over(near, "127.0.0.1:40000".parse().unwrap(), to))
        })
    }
}

/// Plays it to its end, and holds what happened against the law. How many messages were accepted.
///
/// # Panics
/// When the law is broken.
pub fn play(play: &Play) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let said = runtime.block_on(async {
        let choices = Arc::new(Mutex::new(Choices::new(&play.choices, play.offer)));
        let gateway = gateway(play, Model { heard: Arc::clone(&heard), choices });
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let address: SocketAddr = "127.0.0.1:4321".parse().unwrap();
        let server = Stream::over(server, "127.0.0.1:25".parse().unwrap(), address);
        gateway.welcome(&Arc::from("mx"), server, address);
        let said = tokio::time::timeout(LONGEST, speak(client, &play.packets)).await.expect("the session never ends");
        gateway.shutdown.begin();
        assert_eq!(gateway.shutdown.finish(LONGEST, LONGEST).await, 0, "the session never ends");
        said
    });
    drop(runtime);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.offences, Vec::<String>::new(), "the upstream was told nonsense");
    hold_against_the_law(play, &said, &heard.accepted);
    heard.accepted.len()
}

fn gateway(play: &Play, model: Model) -> Arc<Gateway> {
    let text = format!(
        "hostname = \"mx.example.org\"\n[upstream]\naddress = \"192.0.2.1:25\"\nidentify = \"auto\"\nconnect = \"{}\"\n\
         [relay]\ndomains = [\"example.org\"]\n[resolver]\npeer-names = false\nservers = [\"127.0.0.1\"]\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n",
        play.connect
    );
    let config = config::parse(&text, "model.toml", &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let generation =
        Generation::build_with(config, None, Environment { dialer: Arc::new(model), ..Environment::default() })
            .unwrap();
    Gateway::new(generation, Metrics::detached().unwrap())
}

/// Sends everything, hears everything.
async fn speak(client: DuplexStream, packets: &[Vec<u8>]) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(client);
    let mut said = Vec::new();
    let talking = async {
        for packet in packets {
            // A session that was ended hears no more.
            if to.write_all(packet).await.is_err() {
                break;
            }
            // Lets the others have their turn, so that a packet is a packet.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        let _ = to.shutdown().await;
    };
    let (_, heard) = tokio::join!(talking, from.read_to_end(&mut said));
    heard.unwrap();
    said
}

fn hold_against_the_law(play: &Play, said: &[u8], accepted: &[Accepted]) {
    let packets: Vec<_> = play.packets.iter().map(|packet| String::from_utf8_lossy(packet)).collect();
    let shown = || {
        format!(
            "{packets:#?} {:?} {:#x} {}\nclient heard {:?}\naccepted {accepted:?}",
            play.choices,
            play.offer,
            play.connect,
            String::from_utf8_lossy(said)
        )
    };
    let replies = replies(said);
    let numbers: Vec<(u16, usize)> = replies.iter().filter_map(|(code, text)| Some((*code, number(text)?))).collect();
    // A refusal is the answer to all that depended on what was refused.
    let in_turn = |pair: &[(u16, usize)]| pair[0].1 < pair[1].1 || (pair[0] == pair[1] && pair[0].0 >= 400);
    assert!(numbers.windows(2).all(in_turn), "an answer came twice or out of turn: {}", shown());
    let yes = |wanted: usize| replies.iter().any(|(code, text)| code / 100 == 2 && number(text) == Some(wanted));
    for message in accepted {
        assert!(yes(message.number), "accepted, and the client was not told: {}", shown());
        // A deferred message is said again: those answers are not the ones that the client heard.
        for recipient in message.recipients.iter().filter(|_| play.connect != "deferred") {
            assert!(yes(*recipient), "it goes to somebody whom the client believes refused: {}", shown());
        }
    }
    let told: Vec<usize> = replies
        .iter()
        .filter(|(code, text)| *code == 250 && text.contains("taken"))
        .filter_map(|(_, text)| number(text))
        .collect();
    let there: Vec<usize> = accepted.iter().map(|message| message.number).collect();
    assert_eq!(told, there, "the client was told of other messages than there are: {}", shown());
    for (code, text) in &replies {
        let own = OWN.contains(&text.as_str()) || text.contains("octets") || text.starts_with("mx.example.org");
        assert!(*code != 250 || own || number(text).is_some(), "whose 250 is {text:?}? {}", shown());
    }
    let stream = play.packets.concat();
    let chunked = stream.windows(4).any(|word| word.eq_ignore_ascii_case(b"BDAT"));
    for message in accepted.iter().filter(|_| !chunked) {
        // A dot too few on the way in is one too few to be taken away: what is meant is the same.
        assert!(
            holds(&unstuffed(&stream), &unstuffed(message.content())),
            "it is not what the client sent: {}",
            shown()
        );
    }
}

/// The replies the client heard, each with its code and its last line's text.
fn replies(mut said: &[u8]) -> Vec<(u16, String)> {
    let (mut parser, mut replies) = (ReplyParser::new(), Vec::new());
    while !said.is_empty() {
        let (consumed, reply) = parser.feed(said).expect("the client hears replies and nothing else");
        said = &said[consumed..];
        replies.extend(reply.map(|parsed| {
            let enhanced = parsed.reply.enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
            (parsed.reply.code, enhanced + &parsed.reply.text)
        }));
    }
    replies
}

/// The upstream's number, `#12`, in what the client was told.
fn number(text: &str) -> Option<usize> {
    let digits = text.split('#').nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    wasmilter::smtp::body::unstuff_into(wire, true, &mut content);
    content
}

fn holds(stream: &[u8], content: &[u8]) -> bool {
    content.is_empty() || stream.windows(content.len()).any(|window| window == content)
}
