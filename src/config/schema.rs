//! Every section and every key there is, on one page. A key that is not here is an error in a file, and a key that
//! is here must be read by `read/` and explained in `config/wasmilter.toml` (tests see to both).

use super::suggest;

/// A section: how it is written in a file, and its keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// `[upstream]`, `[[listener]]`; empty for the top of the file.
    pub(super) title: &'static str,
    pub(super) keys: &'static [&'static str],
}

pub(super) const TOP: Shape = Shape {
    title: "",
    keys: &[
        "hostname",
        "listener",
        "tls",
        "upstream",
        "route",
        "relay",
        "access",
        "policy-service",
        "auth",
        "limits",
        "network",
        "rates",
        "limit",
        "alarm",
        "state",
        "timeouts",
        "filter",
        "table",
        "engine",
        "spool",
        "resolver",
        "log",
        "admin",
        "shutdown",
    ],
};

pub(super) const LISTENER: Shape = Shape {
    title: "[[listener]]",
    keys: &[
        "name",
        "address",
        "protocol",
        "tls",
        "auth",
        "require-tls",
        "min-version",
        "client-certificate",
        "client-ca",
        "proxy-protocol",
        "proxy-networks",
        "proxy-tls",
        "xclient-networks",
        "xforward-networks",
        "filters",
        "helo-checks",
        "vrfy",
        "help",
        "strict-addresses",
        "sender-login",
        "trusted-networks",
        "after-login",
    ],
};

pub(super) const SENDER_LOGIN: Shape =
    Shape { title: "[listener.sender-login]", keys: &["map", "domains", "plus-addressing", "would"] };

pub(super) const TLS: Shape = Shape { title: "[tls]", keys: &["certificate", "key", "min-version", "additional"] };

pub(super) const ADDITIONAL: Shape = Shape { title: "[[tls.additional]]", keys: &["certificate", "key"] };

pub(super) const UPSTREAM: Shape = Shape {
    title: "[upstream]",
    keys: &[
        "name",
        "address",
        "protocol",
        "connect",
        "identify",
        "proxy-protocol",
        "tls",
        "tls-name",
        "tls-ca",
        "tls-pin",
        "tls-certificate",
        "tls-key",
        "user",
        "password",
        "password-file",
        "extensions-ttl",
        "keep-answers",
        "connections",
        "idle-connections",
        "idle-time",
        "transactions-per-connection",
        "health-check",
    ],
};

/// One server in a list of addresses.
pub(super) const SERVER: Shape = Shape { title: "[upstream.address]", keys: &["address", "priority", "weight"] };

pub(super) const ROUTE: Shape =
    Shape { title: "[[route]]", keys: &["listeners", "identities", "senders", "recipients", "upstream"] };

pub(super) const POLICY_SERVICE: Shape = Shape {
    title: "[[policy-service]]",
    keys: &["name", "address", "at", "listeners", "timeout", "connections", "on-failure", "would", "context"],
};

pub(super) const RELAY: Shape =
    Shape { title: "[relay]", keys: &["domains", "domains-table", "recipients", "trusted-networks"] };

pub(super) const ACCESS: Shape = Shape {
    title: "[[access]]",
    keys: &[
        "name",
        "listeners",
        "at",
        "client",
        "helo",
        "sender",
        "recipient",
        "identity",
        "authenticated",
        "tls",
        "action",
        "reply",
        "would",
    ],
};

/// A table in place of a list.
pub(super) const ACCESS_TABLE: Shape = Shape { title: "[access.sender]", keys: &["table"] };

pub(super) const AUTH: Shape =
    Shape { title: "[auth]", keys: &["password-file", "backend", "mechanisms", "hashing-concurrent", "cache-entries"] };

/// Of every kind; which has which says `read::backend`.
pub(super) const AUTH_BACKEND: Shape = Shape {
    title: "[[auth.backend]]",
    keys: &[
        "name",
        "kind",
        "cache",
        "timeout",
        "concurrent",
        "path",
        "socket",
        "service",
        "realm",
        "url",
        "ca",
        "headers",
        "starttls",
        "bind-dn",
        "search",
        "issuer",
        "audience",
        "scope",
        "identity",
        "trust-email",
        "domains",
        "jwks",
        "algorithms",
        "introspection",
        "client-id",
        "client-secret-file",
        "upstream",
    ],
};

pub(super) const AUTH_SEARCH: Shape =
    Shape { title: "[auth.backend.search]", keys: &["base", "filter", "bind-dn", "password-file"] };

pub(super) const LIMITS: Shape = Shape {
    title: "[limits]",
    keys: &[
        "message-size",
        "recipients",
        "header-block",
        "header-fields",
        "received-fields",
        "own-received-fields",
        "mime-depth",
        "mime-parts",
        "messages",
        "errors",
        "auth-failures",
        "idle-commands",
        "forbidden-commands",
        "data-rate",
        "bare-line-ends",
    ],
};

pub(super) const NETWORK: Shape = Shape { title: "[[network]]", keys: &["networks", "limits", "rates"] };

pub(super) const NETWORK_LIMITS: Shape = Shape { title: "[network.limits]", keys: LIMITS.keys };

pub(super) const RATES: Shape = Shape {
    title: "[rates]",
    keys: &[
        "memory",
        "connections-at-once",
        "connections-at-once-per-address",
        "connections-per-address",
        "messages-per-address",
        "recipients-per-address",
        "messages-per-identity",
        "recipients-per-identity",
        "auth-failures-per-address",
        "auth-failures-per-account-and-address",
        "auth-failure-delay",
        "stress",
        "keys",
    ],
};

pub(super) const ALARM: Shape = Shape { title: "[alarm]", keys: &["command"] };

pub(super) const LIMIT: Shape = Shape {
    title: "[[limit]]",
    keys: &["name", "listeners", "count", "per", "rate", "at-once", "except", "action", "delay", "reply", "alarm"],
};

pub(super) const LIMIT_EXCEPT: Shape =
    Shape { title: "[limit.except]", keys: &["networks", "identities", "senders", "recipients"] };

pub(super) const STATE: Shape = Shape {
    title: "[state]",
    keys: &[
        "snapshot",
        "snapshot-every",
        "snapshot-size",
        "redis",
        "cluster",
        "user",
        "password-file",
        "database",
        "ca",
        "prefix",
        "timeout",
        "share",
    ],
};

pub(super) const TIMEOUTS: Shape = Shape {
    title: "[timeouts]",
    keys: &[
        "command",
        "data",
        "handshake",
        "write",
        "session",
        "resolve",
        "upstream-connect",
        "upstream-greeting",
        "upstream-command",
        "upstream-data",
        "upstream-write",
        "upstream-final",
    ],
};

pub(super) const FILTER: Shape = Shape {
    title: "[[filter]]",
    keys: &[
        "name",
        "path",
        "digest",
        "signature",
        "require-signed",
        "lifetime",
        "on-fault",
        "phase",
        "shadow",
        "when",
        "grants",
        "settings",
        "memory",
        "cpu",
        "deadline",
        "hostcall-size",
        "log-lines-per-second",
        "instances",
    ],
};

pub(super) const WHEN: Shape = Shape {
    title: "[filter.when]",
    keys: &[
        "listeners",
        "networks",
        "except-networks",
        "authenticated",
        "min-size",
        "max-size",
        "sender-domains",
        "recipient-domains",
    ],
};

pub(super) const GRANTS: Shape = Shape {
    title: "[filter.grants]",
    keys: &[
        "session",
        "envelope",
        "log",
        "config",
        "clock",
        "random",
        "headers",
        "body",
        "mime",
        "metrics",
        "counters",
        "tables",
        "kv",
        "dns",
        "http",
        "facts",
        "edit",
        "mark",
        "delay",
        "route",
        "discard",
        "quarantine",
    ],
};

pub(super) const KV: Shape = Shape { title: "[filter.grants.kv]", keys: &["quota", "value-size"] };

pub(super) const HTTP: Shape = Shape { title: "[filter.grants.http]", keys: &["urls", "response-size", "ca"] };

pub(super) const QUARANTINE: Shape = Shape { title: "[filter.grants.quarantine]", keys: &["upstream", "recipient"] };

pub(super) const EDIT: Shape =
    Shape { title: "[filter.grants.edit]", keys: &["headers", "body", "sender", "recipients"] };

pub(super) const TABLE: Shape = Shape {
    title: "[table.NAME]",
    keys: &["kind", "entries", "file", "url", "ca", "ldap", "redis", "timeout", "concurrent", "keep", "keep-missing"],
};

pub(super) const TABLE_LDAP: Shape = Shape {
    title: "[table.NAME.ldap]",
    keys: &["url", "starttls", "ca", "base", "filter", "bind-dn", "password-file"],
};

pub(super) const TABLE_REDIS: Shape = Shape { title: "[table.NAME.redis]", keys: &["set", "hash", "prefix"] };

pub(super) const ENGINE: Shape = Shape {
    title: "[engine]",
    keys: &["instances", "cache", "message-deadline", "signing-keys", "require-signed", "backtrace-lines"],
};

pub(super) const SPOOL: Shape = Shape { title: "[spool]", keys: &["memory", "directory"] };

pub(super) const RESOLVER: Shape =
    Shape { title: "[resolver]", keys: &["servers", "peer-names", "dnssec", "trust-anchor"] };

pub(super) const LOG: Shape = Shape { title: "[log]", keys: &["format", "level"] };

pub(super) const ADMIN: Shape = Shape { title: "[admin]", keys: &["address", "socket", "socket-mode", "socket-group"] };

pub(super) const SHUTDOWN: Shape = Shape { title: "[shutdown]", keys: &["drain", "final-reply"] };

/// In the order of the reference configuration.
pub(super) const ALL: &[&Shape] = &[
    &TOP,
    &LISTENER,
    &SENDER_LOGIN,
    &TLS,
    &ADDITIONAL,
    &UPSTREAM,
    &SERVER,
    &ROUTE,
    &POLICY_SERVICE,
    &RELAY,
    &ACCESS,
    &AUTH,
    &AUTH_BACKEND,
    &AUTH_SEARCH,
    &LIMITS,
    &NETWORK,
    &NETWORK_LIMITS,
    &RATES,
    &LIMIT,
    &ALARM,
    &LIMIT_EXCEPT,
    &STATE,
    &TIMEOUTS,
    &FILTER,
    &WHEN,
    &GRANTS,
    &KV,
    &HTTP,
    &EDIT,
    &TABLE,
    &TABLE_LDAP,
    &TABLE_REDIS,
    &ENGINE,
    &SPOOL,
    &RESOLVER,
    &LOG,
    &ADMIN,
    &SHUTDOWN,
];

impl Shape {
    /// For sentences: `[tls]`, or "the top of the file".
    pub(super) fn shown(&self) -> String {
        if self.title.is_empty() { "the top of the file".to_owned() } else { format!("`{}`", self.title) }
    }

    /// The key that was probably meant.
    pub(super) fn nearest(&self, key: &str) -> Option<&'static str> {
        suggest::nearest(key, self.keys.iter().copied())
    }

    /// What somebody who wrote this unknown key probably wants to hear.
    pub(super) fn advice(&self, key: &str) -> String {
        if let Some(near) = self.nearest(key) {
            return format!("did you mean `{near}`?");
        }
        // What belongs to [tls] is rather meant for the first certificate than for another one.
        let others = ALL.iter().filter(|shape| ![self.title, ADDITIONAL.title].contains(&shape.title));
        let homes: Vec<_> = others.filter(|shape| shape.keys.contains(&key)).collect();
        match homes.as_slice() {
            [home] if home.title.is_empty() => {
                format!("`{key}` belongs to the top of the file, above the first [section]")
            }
            [home] => format!("`{key}` belongs to {}", home.shown()),
            _ => format!("the keys of {} are: {}", self.shown(), self.keys.join(", ")),
        }
    }
}
