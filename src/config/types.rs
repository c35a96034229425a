//! What a configuration means once it has been read: plain, resolved, valid values.
//!
//! Everything here is immutable data with its unit in the type or the name; no parsing happens in this file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::access::{AccessRule, SenderLogin};
use super::auth::Auth;
use super::behind::{Route, UPSTREAM_DEFAULT, Upstream};
use super::delegation::PolicyService;
use super::edge::{Handshakes, TlsFiles, Trust};
use super::filters::Filter;
use super::limit::Limit;
use super::resolver::Resolver;
use super::signing::SigningKey;
use super::state::State;
use super::tables::Table;

/// A whole configuration, checked: what `serve` runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name in the banner, in EHLO replies, and towards the upstream.
    pub hostname: String,
    pub listeners: Vec<Listener>,
    /// Certificate and key, when any listener offers TLS.
    pub tls: Option<TlsFiles>,
    /// One of them is [`UPSTREAM_DEFAULT`]; never empty.
    pub upstreams: Vec<Upstream>,
    /// In their order: the first that matches decides.
    pub routes: Vec<Route>,
    /// In their order.
    pub policy_services: Vec<PolicyService>,
    pub relay: Relay,
    /// In their order: of each stage, the first that matches decides.
    pub access: Vec<AccessRule>,
    pub auth: Option<Auth>,
    /// Bounds of one session, for everybody whom no `networks` entry names.
    pub limits: Limits,
    /// Exceptions by network, most specific prefix first.
    pub networks: Vec<NetworkRule>,
    pub rates: Rates,
    /// In their order: the first that refuses decides.
    pub rate_limits: Vec<Limit>,
    /// What is run when one of them with `alarm` is reached: a program and its words; empty: nothing.
    pub alarm_command: Vec<String>,
    pub state: State,
    pub timeouts: Timeouts,
    /// All filters in the order in which they are asked.
    pub filters: Vec<Filter>,
    pub tables: Vec<Table>,
    pub engine: Engine,
    pub spool: Spool,
    pub resolver: Resolver,
    pub log: Log,
    pub admin: Option<Admin>,
    pub shutdown: Shutdown,
}

impl Config {
    /// The place of the upstream for whatever no route takes elsewhere.
    #[must_use]
    pub fn default_upstream(&self) -> usize {
        self.upstreams.iter().position(|upstream| upstream.name == UPSTREAM_DEFAULT).unwrap_or_default()
    }
}

/// One place where clients connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// For logs, metrics, and `LISTEN_FDNAMES` of socket activation.
    pub name: String,
    /// Where to bind; empty when systemd passes the socket under this listener's name.
    pub addresses: Vec<SocketAddr>,
    pub protocol: Protocol,
    pub tls: ListenerTls,
    pub auth: ListenerAuth,
    /// What is said before MAIL without TLS: 530 5.7.0 when `Required`.
    pub require_tls: bool,
    /// What its TLS asks of clients.
    pub handshakes: Handshakes,
    /// Who may speak for clients.
    pub trust: Trust,
    /// Names of the filters that run here, in `Config::filters` order.
    pub filters: Vec<String>,
    /// What a stranger's HELO name must pass.
    pub helo_checks: Vec<HeloCheck>,
    pub vrfy: Vrfy,
    /// What HELP is answered: 214 with this text, or 502.
    pub help: Option<String>,
    /// Whose address the sender has to be, where somebody has logged in.
    pub sender_login: Option<SenderLogin>,
    /// Clients from here may send anywhere: its own list, or that of `[relay]`. Loopback is only in it when the operator
    /// wrote it.
    pub trusted_networks: Vec<IpNet>,
    /// From an address that has logged in elsewhere lately, anything may be sent, without a login.
    pub after_login: bool,
    /// Addresses must be in the exact form of RFC 5321 4.1.2.
    pub strict_addresses: bool,
}

/// One thing that a HELO or EHLO name can be held to (RFC 5321 4.1.1.1). Trusted networks are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeloCheck {
    /// A domain name or an address literal: 501.
    Syntax,
    /// One that has a dot in it, or an address literal: 504.
    Fqdn,
    /// Neither our own name nor the address of ours that the client came to: 550.
    NotOurs,
}

/// VRFY (RFC 5321 3.5.3): nobody learns here who exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vrfy {
    /// 252.
    Neutral,
    /// 502.
    Off,
}

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Smtp,
    /// RFC 2033: LHLO instead of EHLO, and an answer for each recipient after the message.
    Lmtp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    Off,
    /// RFC 3207.
    StartTls,
    /// RFC 8314: TLS from the first octet.
    Implicit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerAuth {
    Off,
    /// Offered; whoever does not log in is judged as a stranger.
    Optional,
    /// MAIL before AUTH is 530 5.7.0 (a submission listener, RFC 6409).
    Required,
}

/// Who may have mail taken to where. Closed by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relay {
    /// Ours: lower-case A-label domains; `.example.org` in the file means every subdomain and lands in
    /// `subdomains_of` without its dot.
    pub domains: Vec<String>,
    pub subdomains_of: Vec<String>,
    /// More of ours: the name of a table, `exact` or `domain`.
    pub domains_table: Option<String>,
    /// Who there is in our domains: the name of a table. `None`: only the upstream knows.
    pub recipients: Option<String>,
}

/// Bounds of one session. `None` means switched off for this network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub message_bytes: Option<u64>,
    pub recipients: Option<u32>,
    pub header_block_bytes: Option<usize>,
    pub header_fields: Option<u32>,
    /// Refused commands (syntax, sequence, policy, unknown recipient) before 421.
    pub errors: Option<u32>,
    /// Transactions in one session.
    pub messages: Option<u32>,
    /// Failed AUTH attempts in one session before 421.
    pub auth_failures: Option<u32>,
    /// Commands that move nothing (NOOP, RSET, VRFY, HELP, EHLO …) since the last message before 421.
    pub idle_commands: Option<u32>,
    /// Received fields in a message before it is called a loop, 554 5.4.6.
    pub received_fields: Option<u32>,
    /// The same for Received fields that this gateway wrote.
    pub own_received_fields: Option<u32>,
    /// Multiparts and messages inside each other.
    pub mime_depth: Option<u32>,
    pub mime_parts: Option<u32>,
    /// First words, in capitals, that end the session with 421.
    pub forbidden_commands: Vec<String>,
    /// Content, in the long run, must come this fast.
    pub data_bytes_per_second_min: Option<u32>,
    /// What a bare CR or bare LF in content means.
    pub bare_line_ends: BareLineEnds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareLineEnds {
    /// 550 5.6.11 (RFC 5321 2.3.8: MUST NOT be accepted as a line end).
    Reject,
    /// Each becomes CRLF before anybody else sees it; never an end of data.
    Normalize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    pub networks: Vec<IpNet>,
    pub limits: Limits,
    /// False: the rate limits do not count these clients.
    pub rates: bool,
}

/// One GCRA quota: `burst` at once, `count` per `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
    pub burst: u32,
}

/// How much memory sessions and messages may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryMax {
    /// Half of what the machine, or our control group, has.
    Auto,
    Bytes(usize),
    Off,
}

/// Counted over sessions. IPv6 clients are counted by /64. `None` means not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    pub connections_at_once_per_address: Option<u32>,
    pub connections_at_once: Option<u32>,
    /// Of sessions and messages together.
    pub memory: MemoryMax,
    pub connections_per_address: Option<Rate>,
    pub messages_per_address: Option<Rate>,
    pub recipients_per_address: Option<Rate>,
    pub auth_failures_per_address: Option<Rate>,
    pub auth_failures_per_account_and_address: Option<Rate>,
    /// The answer to an address's first failed login comes so much later, to each further one twice as late. None: at once.
    pub auth_failure_delay: Option<Duration>,
    pub messages_per_identity: Option<Rate>,
    pub recipients_per_identity: Option<Rate>,
    /// Whether strangers get less patience while there is hardly any room.
    pub stress: bool,
    /// Keys remembered per quota; beyond it the oldest quiet ones are forgotten first.
    pub keys_max: usize,
}

/// Every wait has one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Client: from one reply to the next command.
    pub command: Duration,
    /// Client: between two reads inside DATA.
    pub data: Duration,
    /// Client: a TLS handshake.
    pub handshake: Duration,
    /// Client: our write is not taken.
    pub write: Duration,
    /// Client: a whole session, however busy.
    pub session: Duration,
    pub upstream_connect: Duration,
    pub upstream_greeting: Duration,
    /// EHLO, XCLIENT, STARTTLS, MAIL, RCPT, RSET.
    pub upstream_command: Duration,
    /// DATA to 354.
    pub upstream_data: Duration,
    pub upstream_write: Duration,
    /// Final dot to its reply (RFC 5321 4.5.3.2.6: at least 10 minutes).
    pub upstream_final: Duration,
    /// A PTR lookup with its confirmation.
    pub resolve: Duration,
}

/// The Wasm engine as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Slots of the pool (all filters together); `None`: as many as the machine allows, at most 4,000.
    pub instances: Option<u32>,
    /// Compiled filters are kept here; `None`: compiled at each start.
    pub cache_dir: Option<PathBuf>,
    /// All filters of one message together, waits included.
    pub message_deadline: Duration,
    /// Whose signatures count.
    pub signing_keys: Vec<SigningKey>,
    /// Filters without a good signature do not load.
    pub require_signed: bool,
    /// Files and lines in the backtrace of a filter that failed.
    pub backtrace_lines: bool,
}

/// Where a held message waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// Up to here in memory, beyond it in an unlinked temporary file.
    pub memory_bytes: usize,
    pub directory: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `wasmilter=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub address: Option<SocketAddr>,
    pub socket: Option<AdminSocket>,
}

/// A local socket, and who may connect there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSocket {
    pub path: PathBuf,
    /// Its permissions, as `chmod` has them.
    pub mode: u32,
    /// Whose group it gets; else the gateway's own.
    pub group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long sessions may go on after SIGTERM before their next command is answered 421 and, at the end, cut.
    pub drain: Duration,
    /// Longer still, only for sessions between their final dot and its reply.
    pub final_reply: Duration,
}
