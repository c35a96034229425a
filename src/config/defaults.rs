//! What holds when a file says nothing. `config/wasmilter.toml` repeats each value, and a test compares them.

use std::path::PathBuf;
use std::time::Duration;

use super::behind::Pool;
use super::{
    BareLineEnds, Engine, FilterBounds, Grants, HttpGrant, KvGrant, Limits, Log, LogFormat, MemoryMax, Rate, Rates,
    Shutdown, Spool, State, Timeouts,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: Some(50 << 20),
            recipients: Some(1_000),
            header_block_bytes: Some(512 * KIB),
            header_fields: Some(2_000),
            received_fields: Some(50),
            own_received_fields: Some(10),
            mime_depth: Some(100),
            mime_parts: Some(10_000),
            forbidden_commands: ["CONNECT", "GET", "POST"].map(str::to_owned).to_vec(),
            data_bytes_per_second_min: Some(100),
            messages: Some(1_000),
            errors: Some(20),
            auth_failures: Some(5),
            idle_commands: Some(100),
            bare_line_ends: BareLineEnds::Reject,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        let rate = |count, per, burst| Some(Rate { count, per, burst });
        Rates {
            connections_at_once: Some(4_000),
            memory: MemoryMax::Auto,
            connections_at_once_per_address: Some(50),
            connections_per_address: rate(300, MINUTE, 300),
            messages_per_address: rate(600, MINUTE, 1_200),
            recipients_per_address: rate(2_000, MINUTE, 5_000),
            messages_per_identity: rate(600, HOUR, 300),
            recipients_per_identity: rate(3_000, HOUR, 2_000),
            auth_failures_per_address: rate(60, HOUR, 30),
            auth_failures_per_account_and_address: rate(20, HOUR, 10),
            auth_failure_delay: Some(SECOND / 2),
            stress: true,
            keys_max: 100_000,
        }
    }
}

impl State {
    /// How often a snapshot is written, and how much at most.
    pub(super) fn snapshot_defaults() -> (Duration, u64) {
        (MINUTE, 256 << 20)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            command: 5 * MINUTE,
            data: 5 * MINUTE,
            handshake: 30 * SECOND,
            write: 3 * MINUTE,
            session: 2 * HOUR,
            resolve: 10 * SECOND,
            upstream_connect: 30 * SECOND,
            upstream_greeting: 2 * MINUTE,
            upstream_command: 5 * MINUTE,
            upstream_data: 2 * MINUTE,
            upstream_write: 3 * MINUTE,
            upstream_final: 10 * MINUTE,
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Pool { connections: None, idle_connections: 4, idle_time: 5 * SECOND, transactions_per_connection: 100 }
    }
}

impl Default for Grants {
    fn default() -> Self {
        Grants {
            session: true,
            envelope: true,
            log: true,
            config: true,
            clock: true,
            random: true,
            headers: false,
            body: false,
            mime: false,
            metrics: false,
            counters: false,
            tables: None,
            kv: None,
            dns: false,
            http: None,
            facts: false,
            edit: super::EditGrant::default(),
            mark: false,
            delay: None,
            route: None,
            discard: false,
            quarantine: None,
        }
    }
}

impl Default for HttpGrant {
    fn default() -> Self {
        HttpGrant { urls: Vec::new(), response_bytes_max: MIB, ca: None }
    }
}

impl Default for KvGrant {
    fn default() -> Self {
        KvGrant { quota_bytes: 16 * MIB, value_bytes_max: 64 * KIB }
    }
}

impl Default for FilterBounds {
    fn default() -> Self {
        FilterBounds {
            memory_bytes: 32 * MIB,
            cpu_per_call: Duration::from_millis(50),
            deadline: 10 * SECOND,
            hostcall_bytes: 4 * MIB,
            log_lines_per_second: 50,
            instances: 1_000,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            instances: None,
            cache_dir: None,
            message_deadline: MINUTE,
            signing_keys: Vec::new(),
            require_signed: false,
            backtrace_lines: false,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Spool { memory_bytes: MIB, directory: PathBuf::from("/var/tmp") }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { drain: 30 * SECOND, final_reply: 10 * MINUTE }
    }
}
