//! What a configuration means once it has been read: plain, resolved, valid values.
//!
//! Everything here is immutable data with its unit in the type or the name; no parsing happens in this file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::access::{AccessRule, SenderLogin};
use super::auth::Auth;
use super::behind::{Route, UPSTREAM_DEFAULT, Upstream};
use super::delegation::PolicyService;
use super::edge::{Handshakes, TlsFiles, Trust};
use super::limit::Limit;
use super::resolver::Resolver;
use super::settings::SettingsJson;
use super::signing::SigningKey;
use super::url::Url;
use super::when::When;

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
    /// Clients from here may send anywhere. Loopback is only in it when the operator wrote it.
    pub trusted_networks: Vec<IpNet>,
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

#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub name: String,
    pub path: PathBuf,
    /// SHA-256 that the file must have, lower-case hexadecimal.
    pub digest: Option<String>,
    /// `None`: the filter's path and `.minisig`.
    pub signature: Option<PathBuf>,
    /// `None`: as `[engine]` says.
    pub require_signed: Option<bool>,
    pub lifetime: Lifetime,
    pub on_fault: OnFault,
    /// inspect → decide → transform → seal; filters are ordered by phase, then as written. `None`: as the filter says
    /// of itself.
    pub phase: Option<FilterPhase>,
    /// It is asked, and nothing comes of it.
    pub shadow: bool,
    /// On which mail it runs at all.
    pub when: When,
    pub grants: Grants,
    /// The operator's `[filter.settings]`.
    pub settings_json: SettingsJson,
    pub bounds: FilterBounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Session,
    Transaction,
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    Defer,
    Next,
    Reject,
    Disconnect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterPhase {
    Inspect,
    Decide,
    Transform,
    Seal,
}

impl FilterPhase {
    /// As in the file and the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FilterPhase::Inspect => "inspect",
            FilterPhase::Decide => "decide",
            FilterPhase::Transform => "transform",
            FilterPhase::Seal => "seal",
        }
    }

    /// Whether filters of this phase may edit header fields and the body.
    #[must_use]
    pub const fn edits_content(self) -> bool {
        matches!(self, FilterPhase::Transform | FilterPhase::Seal)
    }
}

/// What a filter may import, with its arguments. One field per interface of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one switch per interface, read as a table")]
pub struct Grants {
    // These six reveal nothing beyond the stages themselves and are granted unless set to false.
    pub session: bool,
    pub envelope: bool,
    pub log: bool,
    pub config: bool,
    pub clock: bool,
    pub random: bool,
    // These must be asked for.
    pub headers: bool,
    pub body: bool,
    pub mime: bool,
    pub metrics: bool,
    pub counters: bool,
    /// Names of `[table.NAME]` it may look into; an empty list is for filters that can do without.
    pub tables: Option<Vec<String>>,
    pub kv: Option<KvGrant>,
    /// May ask the DNS.
    pub dns: bool,
    pub http: Option<HttpGrant>,
    pub facts: bool,
    pub edit: EditGrant,
    /// May give points and words to a transaction, and read them.
    pub mark: bool,
    /// The longest that it may hold back one answer.
    pub delay: Option<Duration>,
    /// Names of the upstreams it may send mail to; an empty list is for filters that can do without.
    pub route: Option<Vec<String>>,
    /// May answer 250 and deliver nothing.
    pub discard: bool,
    /// May have messages sent there instead.
    pub quarantine: Option<super::quarantine::QuarantineGrant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvGrant {
    pub quota_bytes: usize,
    pub value_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// What a request's address has to lie below; empty for a filter that can do without.
    pub urls: Vec<Url>,
    pub response_bytes_max: usize,
    /// Certificates to believe in place of the platform's.
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EditGrant {
    /// Field name patterns (`X-Corp-*`, `Subject`, `*`), ASCII case ignored. Empty: no header edits.
    pub headers: Vec<String>,
    pub body: bool,
    pub sender: bool,
    /// May replace, add and remove recipients. What it adds passes relay policy unless a pattern matches.
    pub recipients: bool,
    /// Addresses outside our domains it may add (`*@corp.example`, `x@y.example`).
    pub recipient_patterns: Vec<String>,
}

impl EditGrant {
    /// Whether header fields or the body may be edited, which only the phases transform and seal do.
    #[must_use]
    pub fn is_of_content(&self) -> bool {
        !self.headers.is_empty() || self.body
    }
}

/// What one filter may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterBounds {
    pub memory_bytes: usize,
    /// CPU of one stage call.
    pub cpu_per_call: Duration,
    /// Wall clock of one stage call, waits included.
    pub deadline: Duration,
    /// Octets copied from guest to host in one call.
    pub hostcall_bytes: usize,
    pub log_lines_per_second: u32,
    /// Instances alive at once, all sessions together.
    pub instances: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub kind: TableKind,
    pub source: TableSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The whole key, ASCII case ignored.
    Exact,
    /// The key or any parent domain of it; of an address, its domain.
    Domain,
    Cidr,
    Regex,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableSource {
    /// Key → value (empty value when only listed).
    Inline(BTreeMap<String, String>),
    /// One `key` or `key value` a line, `#` comments.
    File(PathBuf),
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
    pub address: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long sessions may go on after SIGTERM before their next command is answered 421 and, at the end, cut.
    pub drain: Duration,
    /// Longer still, only for sessions between their final dot and its reply.
    pub final_reply: Duration,
}
