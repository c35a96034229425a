//! A session with nobody at either end: the commands are said to the real state machine, filters have no opinion, and the
//! server behind says yes to everything. What is refused then is refused by policy.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::{Config, ListenerTls};
use crate::mail::{Ruled, SessionFacts, TlsFacts, Verdict};
use crate::policy;
use crate::policy::tables::{Found, Lookup, Tables};
use crate::session::{BodyOutcome, Errand, Identity, Input, KeysFound, Relayed, Rules, Session, Step};
use crate::smtp::sasl::{Mechanisms, Served};
use crate::smtp::{Offer, Reply, replies};
use crate::state::tables::{Table, TableError};

/// More steps than any few commands take: beyond it something goes in circles.
const STEPS_MAX: usize = 1_000;

/// Where it comes from and what it does before its mail.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Which of `Config::listeners`.
    pub(crate) listener: usize,
    pub(crate) address: IpAddr,
    pub(crate) helo: String,
    /// By STARTTLS, or from the first octet where the listener wants that.
    pub(crate) tls: bool,
    /// Who logs in, with a password that is right.
    pub(crate) login: Option<String>,
    /// Somebody has logged in from its address elsewhere.
    pub(crate) after_login: bool,
}

/// One command, or the banner, and what came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchange {
    /// Empty: the banner.
    pub(crate) said: String,
    pub(crate) replies: Vec<Reply>,
    /// The operator's rules that matched.
    pub(crate) ruled: Vec<Ruled>,
    /// What the server behind heard, without line ends.
    pub(crate) forwarded: Vec<String>,
}

impl Exchange {
    /// Whether the client hears a 4xx or 5xx.
    pub(crate) fn is_refusal(&self) -> bool {
        self.replies.iter().any(|reply| reply.code >= 400)
    }
}

/// The tables that policy looks into, read anew.
///
/// # Errors
/// The first that cannot be used.
pub(crate) fn tables(config: &Config) -> Result<Tables, TableError> {
    let wanted = config.tables_of_policy();
    let named = config.tables.iter().filter(|table| wanted.contains(table.name.as_str()));
    let loaded = named.map(|table| Ok((table.name.clone(), Arc::new(Table::load(table)?) as Arc<dyn Lookup>)));
    loaded.collect::<Result<Vec<_>, TableError>>().map(|all| all.into_iter().collect())
}

/// The whole session: banner, HELO, TLS and login as they are wanted, then these commands. It ends where the gateway
/// ends it.
pub(crate) fn rehearse(config: &Arc<Config>, tables: &Tables, client: &Client, commands: &[String]) -> Vec<Exchange> {
    let Some(listener) = config.listeners.get(client.listener) else { return Vec::new() };
    let hello = format!("EHLO {}", client.helo);
    let mut lines = vec![hello.clone()];
    if client.tls && listener.tls == ListenerTls::StartTls {
        lines.extend(["STARTTLS".to_owned(), hello]);
    }
    if let Some(login) = &client.login {
        let response = STANDARD.encode(format!("\0{login}\0password"));
        lines.push(format!("AUTH PLAIN {response}"));
    }
    lines.extend_from_slice(commands);
    if listener.protocol == crate::config::Protocol::Lmtp {
        lines.iter_mut().for_each(|line| *line = line.replacen("EHLO ", "LHLO ", 1));
    }
    let (limits, _) = policy::limits::for_client(config, client.address);
    let rules = Rules { config: Arc::clone(config), listener: client.listener, tables: tables.clone() };
    let facts = facts(&listener.name, client);
    let mut session = Session::new(rules, Arc::new(limits), Arc::new(facts));
    session.set_after_login(client.after_login);
    // Whatever mechanisms there are, the one that is said here is among them.
    session.set_mechanisms(Arc::new(Served::here(Mechanisms::PASSWORDS)));
    let tls = (client.tls && listener.tls == ListenerTls::Implicit).then(tls);
    Stage {
        session,
        login: client.login.as_deref().map(Arc::from),
        due: VecDeque::new(),
        done: vec![Exchange::default()],
    }
    .play(tls, &lines)
}

fn facts(listener: &str, client: &Client) -> SessionFacts {
    let local: IpAddr =
        if client.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (peer, local) = (SocketAddr::new(client.address, 0), SocketAddr::new(local, 0));
    SessionFacts::new(Arc::from("rehearsal"), Arc::from(listener), peer, local)
}

fn tls() -> TlsFacts {
    TlsFacts::new("TLSv1.3", Arc::from("TLS_AES_256_GCM_SHA384"), 256)
}

/// A server that can do whatever a client may ask for.
fn everything() -> Arc<Offer> {
    Arc::new(Offer { eight_bit_mime: true, smtp_utf8: true, dsn: true, size: Some(0), ..Offer::default() })
}

struct Stage {
    session: Session,
    login: Option<Arc<str>>,
    /// What the server behind is still to answer.
    due: VecDeque<Reply>,
    /// The last one is at hand.
    done: Vec<Exchange>,
}

impl Stage {
    fn play(mut self, encrypted: Option<TlsFacts>, lines: &[String]) -> Vec<Exchange> {
        let mut lines = lines.iter();
        let mut step = self.session.handle(Input::Begin(encrypted));
        for _ in 0..STEPS_MAX {
            step = match step {
                Step::Reply(reply) | Step::Challenge(reply) => {
                    self.hear([reply]);
                    Step::Listen
                }
                Step::Listen => match lines.next() {
                    Some(line) => self.say(line),
                    None => break,
                },
                Step::Close(last) => {
                    self.hear(last);
                    break;
                }
                Step::ListenThenClose(reply) => Step::Close(vec![reply]),
                other => self.answer(other),
            };
        }
        self.done
    }

    fn hear(&mut self, replies: impl IntoIterator<Item = Reply>) {
        if let Some(exchange) = self.done.last_mut() {
            exchange.replies.extend(replies);
        }
    }

    fn say(&mut self, line: &str) -> Step {
        self.done.push(Exchange { said: line.to_owned(), ..Exchange::default() });
        self.session.handle(Input::Line(line.as_bytes()))
    }

    /// What the world says to the session.
    fn answer(&mut self, step: Step) -> Step {
        let exchange = self.done.last_mut();
        let input = match step {
            Step::Said(reply) => {
                self.hear([reply]);
                Input::Next
            }
            Step::Tell(_, then) | Step::TellReply(_, then) | Step::Swallow(_, then) => return *then,
            Step::TellRules(told, then) => {
                if let Some(exchange) = exchange {
                    exchange.ruled.extend(told);
                }
                return *then;
            }
            Step::Forward(errand, line) => {
                self.due.push_back(match errand {
                    Errand::Mail => replies::SENDER_OK,
                    Errand::Rcpt => replies::RECIPIENT_OK,
                    Errand::Data | Errand::Rset => replies::OK,
                });
                if let Some(exchange) = exchange {
                    exchange.forwarded.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
                Input::Next
            }
            Step::Consult(_) => Input::Verdict(Verdict::NEXT, Vec::new()),
            // Nobody is asked here: what only they know is in doubt.
            Step::LookUp(_) => Input::Found(Found::Doubt),
            Step::Charge(_) => Input::Charged(Ok(())),
            Step::AskOffer | Step::Reach { .. } => Input::Reached(Ok(everything())),
            Step::Recall(_) => Input::Recalled(None),
            Step::Await => Input::Answer(Ok(self.due.pop_front().unwrap_or(replies::OK))),
            Step::LoneDot | Step::Forsake => Input::Next,
            Step::Verify { .. } | Step::VerifyToken { .. } => {
                Input::Identity(self.login.clone().map_or(Identity::Bad, Identity::Good))
            }
            // AUTH is by PLAIN.
            Step::Relay { .. } | Step::RelayOn(_) => Input::Relayed(Relayed::Unavailable),
            Step::RelayEnd(then) => return *then,
            Step::FindKeys { .. } => Input::Keys(KeysFound::Unavailable),
            Step::StartTls(reply) => {
                self.hear([reply]);
                Input::Tls(Some(tls()))
            }
            // No rehearsal comes this far: nothing is said by XCLIENT, and no message is sent.
            Step::Introduce(..) => Input::Introduced(Err(replies::INTERNAL_ERROR)),
            Step::Receive(_) | Step::ReceiveChunk(..) => Input::Received(BodyOutcome {
                reply: replies::INTERNAL_ERROR,
                each: Vec::new(),
                close: true,
                aborted: None,
            }),
            Step::Reply(_) | Step::Challenge(_) | Step::Listen | Step::Close(_) | Step::ListenThenClose(_) => {
                return step;
            }
        };
        self.session.handle(input)
    }
}
