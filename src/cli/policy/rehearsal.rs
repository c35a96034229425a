//! A session with nobody at either end: the commands are said to the real state machine, filters have no opinion, and the
//! server behind says yes to everything. What is refused then is refused by policy.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::{Config, Listener, ListenerTls, Protocol, ProxyTls};
use crate::mail::{self, AfterLogin, Proxied, Ruled, SessionFacts, TlsFacts, Verdict};
use crate::policy;
use crate::policy::tables::{Found, Lookup, Tables};
use crate::session::{BodyOutcome, Errand, Identity, Input, KeysFound, Relayed, Rules, Session, Step};
use crate::smtp::sasl::{Mechanisms, Name, Served, Way};
use crate::smtp::{Offer, Reply, replies, xtext};
use crate::state::tables::{Table, TableError};

/// More steps than any few commands take: beyond it something goes in circles.
const STEPS_MAX: usize = 1_000;

/// Where it comes from and what it does before its mail.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Which of `Config::listeners`.
    pub(crate) listener: usize,
    pub(crate) address: IpAddr,
    /// Who says that it comes from there; None: it is the connection's own.
    pub(crate) introduced: Option<Introduced>,
    pub(crate) helo: String,
    /// By STARTTLS, or from the first octet where the listener wants that.
    pub(crate) tls: bool,
    /// Whom the certificate that it shows in the handshake names.
    pub(crate) certificate: Option<String>,
    /// Who logs in, with what is right.
    pub(crate) login: Option<Login>,
    /// Somebody has logged in from its address elsewhere.
    pub(crate) after_login: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Introduced {
    /// By a PROXY header of this proxy.
    ByProxy(IpAddr),
    /// By this server with XCLIENT.
    ByXclient(IpAddr),
    /// By XCLIENT of this server, which says that it does not know the address.
    AsUnknown(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) by: By,
}

/// What proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Password,
    Token,
    /// The client's own, of the TLS handshake: EXTERNAL.
    Certificate,
    /// An exchange that a backend has with the client, by this mechanism.
    Relayed(Name),
    /// Nothing but the word of who may speak for clients.
    Xclient,
}

impl Client {
    /// Whom the session is with as it begins.
    fn at_first(&self) -> IpAddr {
        match self.introduced {
            Some(Introduced::ByXclient(speaker) | Introduced::AsUnknown(speaker)) => speaker,
            Some(Introduced::ByProxy(_)) | None => self.address,
        }
    }

    /// XCLIENT, where it is said.
    fn introduction(&self) -> Option<String> {
        let address = match self.introduced? {
            Introduced::ByProxy(_) => return None,
            Introduced::AsUnknown(_) => "[UNAVAILABLE]".to_owned(),
            Introduced::ByXclient(_) if self.address.is_ipv6() => format!("IPV6:{}", self.address),
            Introduced::ByXclient(_) => self.address.to_string(),
        };
        let login = self.login.as_ref().filter(|login| login.by == By::Xclient);
        let login = login.map(|login| format!(" LOGIN={}", xtext::encode(&login.name))).unwrap_or_default();
        Some(format!("XCLIENT NAME=[UNAVAILABLE] ADDR={address}{login}"))
    }
}

impl Login {
    /// The command, with all that is to be said. None: nothing is.
    fn command(&self) -> Option<String> {
        let name = &self.name;
        let (mechanism, initial) = match self.by {
            By::Password => ("PLAIN".to_owned(), format!("\0{name}\0password")),
            By::Token => {
                let name = name.replace('=', "=3D").replace(',', "=2C");
                ("OAUTHBEARER".to_owned(), format!("n,a={name},\u{1}auth=Bearer token\u{1}\u{1}"))
            }
            By::Certificate => return Some("AUTH EXTERNAL =".to_owned()),
            By::Relayed(mechanism) => (mechanism.to_string(), name.clone()),
            By::Xclient => return None,
        };
        Some(format!("AUTH {mechanism} {}", STANDARD.encode(initial)))
    }
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

/// The whole session: banner, HELO, TLS, introduction and login as they are wanted, then these commands. It ends where
/// the gateway ends it.
pub(crate) fn rehearse<L: AsRef<[u8]>>(
    config: &Arc<Config>,
    tables: &Tables,
    client: &Client,
    commands: &[L],
) -> Vec<Exchange> {
    let Some(listener) = config.listeners.get(client.listener) else { return Vec::new() };
    let mut lines: Vec<Vec<u8>> = opening(listener, client).into_iter().map(String::into_bytes).collect();
    lines.extend(commands.iter().map(|line| line.as_ref().to_vec()));
    if listener.protocol == Protocol::Lmtp {
        for line in lines.iter_mut().filter(|line| line.starts_with(b"EHLO ")) {
            line.splice(..1, *b"L");
        }
    }
    let (limits, _) = policy::limits::for_client(config, client.at_first());
    let rules = Rules { config: Arc::clone(config), listener: client.listener, tables: tables.clone() };
    let facts = facts(&listener.name, client);
    let mut session = Session::new(rules, Arc::new(limits), Arc::new(facts));
    session.set_after_login(if client.after_login { AfterLogin::Yes } else { AfterLogin::No });
    // Whatever mechanisms there are, the one that is said here is among them.
    let here = Mechanisms::PASSWORDS.or(Mechanisms::TOKENS).or(Mechanisms::CERTIFICATES);
    let served = match client.login.as_ref().map(|login| login.by) {
        Some(By::Relayed(mechanism)) => Served::here(here).and(Way::Relayed(mechanism)),
        _ => Served::here(here),
    };
    session.set_mechanisms(Arc::new(served));
    let encrypted = client.tls && (listener.tls == ListenerTls::Implicit || is_believed(listener, client));
    let encrypted = encrypted.then(|| tls(client));
    let (due, done) = (VecDeque::new(), vec![Exchange::default()]);
    Stage { config, session, client, due, done }.play(encrypted, &lines)
}

/// What is said before MAIL.
fn opening(listener: &Listener, client: &Client) -> Vec<String> {
    let hello = format!("EHLO {}", client.helo);
    let mut lines = vec![hello.clone()];
    if client.tls && listener.tls == ListenerTls::StartTls && !is_believed(listener, client) {
        lines.extend(["STARTTLS".to_owned(), hello.clone()]);
    }
    if let Some(introduction) = client.introduction() {
        lines.extend([introduction, hello]);
    }
    lines.extend(client.login.as_ref().and_then(Login::command));
    lines
}

/// Whether TLS ended at a proxy that is believed.
fn is_believed(listener: &Listener, client: &Client) -> bool {
    let believes = listener.trust.proxy.as_ref().is_some_and(|proxy| proxy.tls == ProxyTls::Believe);
    believes && matches!(client.introduced, Some(Introduced::ByProxy(_)))
}

fn facts(listener: &str, client: &Client) -> SessionFacts {
    let address = client.at_first();
    let local: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (peer, local) = (SocketAddr::new(address, 0), SocketAddr::new(local, 0));
    let mut facts = SessionFacts::new(Arc::from("rehearsal"), Arc::from(listener), peer, local);
    if let Some(Introduced::ByProxy(proxy)) = client.introduced {
        let peer = SocketAddr::new(proxy, 0);
        let proxied =
            Proxied { peer, tls: client.tls.then(|| Arc::new(tls(client))), authority: None, unique_id: None };
        facts.introduced = Some(Arc::new(mail::Introduced { proxy: Some(proxied), ..mail::Introduced::default() }));
    }
    facts
}

fn tls(client: &Client) -> TlsFacts {
    let certificate = client.certificate.as_deref().map(Arc::from);
    TlsFacts { client_identity: certificate, ..TlsFacts::new("TLSv1.3", Arc::from("TLS_AES_256_GCM_SHA384"), 256) }
}

/// A server that can do whatever a client may ask for.
fn everything() -> Arc<Offer> {
    Arc::new(Offer { eight_bit_mime: true, smtp_utf8: true, dsn: true, size: Some(0), ..Offer::default() })
}

struct Stage<'c> {
    config: &'c Config,
    session: Session,
    client: &'c Client,
    /// What the server behind is still to answer.
    due: VecDeque<Reply>,
    /// The last one is at hand.
    done: Vec<Exchange>,
}

impl Stage<'_> {
    fn play(mut self, encrypted: Option<TlsFacts>, lines: &[Vec<u8>]) -> Vec<Exchange> {
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

    fn say(&mut self, line: &[u8]) -> Step {
        self.done.push(Exchange { said: String::from_utf8_lossy(line).into_owned(), ..Exchange::default() });
        self.session.handle(Input::Line(line))
    }

    /// Whose login it is, where somebody logs in.
    fn login(&self) -> Option<Arc<str>> {
        self.client.login.as_ref().map(|login| Arc::from(login.name.as_str()))
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
                Input::Identity(self.login().map_or(Identity::Bad, Identity::Good))
            }
            Step::Relay { .. } | Step::RelayOn(_) => Input::Relayed(match self.login() {
                Some(identity) => Relayed::Good { identity, last: None },
                None => Relayed::Bad,
            }),
            Step::RelayEnd(then) => return *then,
            Step::FindKeys { .. } => Input::Keys(KeysFound::Unavailable),
            Step::StartTls(reply) => {
                self.hear([reply]);
                Input::Tls(Some(tls(self.client)))
            }
            Step::Introduce(peer, _) => {
                let (limits, _) = policy::limits::for_client(self.config, peer);
                Input::Introduced(Ok(Arc::new(limits)))
            }
            // No rehearsal comes this far: no message is sent.
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
