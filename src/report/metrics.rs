//! Numbers for Prometheus. Names begin with `wasmilter_`; README and the manual list them, [`DESCRIBED`] describes
//! them. What filters record themselves comes beside them as `wasmilter_filter_…`.
//!
//! Handles of what is counted for every message are made once. Labels are values of ours or names from the
//! configuration, never something a client said.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::Outcome;
use crate::mail::Ruled;

/// From a local delivery to a ten-minute wait for the upstream.
const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];
/// How often samples that nobody has asked for are folded into their histograms.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
static METADATA: Metadata<'static> = Metadata::new("wasmilter::metrics", Level::INFO, None);

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric of the gateway's own: name, kind, what it says.
pub const DESCRIBED: [(&str, Kind, &str); 34] = [
    ("wasmilter_sessions_total", Kind::Counter, "Sessions begun, by listener"),
    ("wasmilter_sessions_open", Kind::Gauge, "Sessions open now, by listener"),
    (
        "wasmilter_transactions_total",
        Kind::Counter,
        "Transactions by outcome: accepted, discarded, quarantined, refused, deferred, aborted",
    ),
    ("wasmilter_transaction_seconds", Kind::Histogram, "From MAIL to the transaction's end"),
    ("wasmilter_upstream_seconds", Kind::Histogram, "Of a transaction, waiting for the upstream"),
    ("wasmilter_filters_seconds", Kind::Histogram, "Of a transaction, in filters"),
    ("wasmilter_message_bytes_total", Kind::Counter, "Octets of messages received"),
    ("wasmilter_replies_total", Kind::Counter, "Replies to clients by class: 2xx, 3xx, 4xx, 5xx"),
    ("wasmilter_upstream_errors_total", Kind::Counter, "The upstream failed us, by kind"),
    (
        "wasmilter_upstream_connections_total",
        Kind::Counter,
        "Connections that sessions got, by upstream and how: new, reused",
    ),
    ("wasmilter_upstream_server_up", Kind::Gauge, "1 unless the server gave no connection when last asked"),
    (
        "wasmilter_upstream_server_failures_total",
        Kind::Counter,
        "Servers that gave no connection, by upstream, server and kind",
    ),
    ("wasmilter_auth_total", Kind::Counter, "Logins by result: good, bad, unavailable"),
    (
        "wasmilter_auth_backend_total",
        Kind::Counter,
        "Questions to places with accounts by backend and result: good, bad, unknown, unavailable, remembered",
    ),
    ("wasmilter_tls_handshakes_total", Kind::Counter, "TLS handshakes with clients by result: good, failed"),
    (
        "wasmilter_limits_refused_total",
        Kind::Counter,
        "Refusals by rate limit, by the limit's name in the configuration",
    ),
    ("wasmilter_access_rules_total", Kind::Counter, "Access rules that matched, by rule, action and would"),
    ("wasmilter_limit_hits_total", Kind::Counter, "How often a [[limit]] was reached, by its name and its action"),
    ("wasmilter_limit_alarms_total", Kind::Counter, "How often a [[limit]] with alarm = true was reached, by its name"),
    ("wasmilter_state_shared_up", Kind::Gauge, "1 while all of [state] redis that is needed answers, else 0"),
    (
        "wasmilter_state_shared_total",
        Kind::Counter,
        "Questions to the shared state: what, and who answered: shared, local, unavailable",
    ),
    (
        "wasmilter_table_lookups_total",
        Kind::Counter,
        "Questions to tables elsewhere, by table and result: found, missing, unavailable, remembered",
    ),
    ("wasmilter_stress", Kind::Gauge, "1 while strangers get less patience, since hardly any room is left"),
    ("wasmilter_breaker_open", Kind::Gauge, "Whether calls of a filter do not wait for an instance for now"),
    ("wasmilter_shadow_total", Kind::Counter, "What filters in shadow would have said, beside what happened"),
    ("wasmilter_policy_answers_total", Kind::Counter, "What policy daemons said, by service"),
    ("wasmilter_faults_total", Kind::Counter, "Filters that failed, by filter and kind"),
    (
        "wasmilter_loaded_filter_info",
        Kind::Gauge,
        "1 for a filter that runs, 0 for one that did; its version is a label",
    ),
    ("wasmilter_memory_bytes", Kind::Gauge, "Octets that sessions and messages hold, of the rates.memory they may"),
    ("wasmilter_snapshots_total", Kind::Counter, "Snapshots of what is remembered, by result: written, failed"),
    ("wasmilter_snapshot_seconds", Kind::Histogram, "How long writing one took"),
    ("wasmilter_snapshot_bytes", Kind::Gauge, "Octets in the last one"),
    ("wasmilter_start_time_seconds", Kind::Gauge, "When the process began, in seconds since 1970"),
    ("wasmilter_build_info", Kind::Gauge, "Always 1; the version is a label"),
];

/// The metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("the process has another recorder of metrics already")]
    Taken,
    #[error("the metrics cannot be set up: {0}")]
    Setup(String),
}

/// How a login came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Good,
    Bad,
    Unavailable,
}

/// All handles. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Handles>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Handles {
    recorder: Arc<PrometheusRecorder>,
    prometheus: PrometheusHandle,
    replies: [Counter; 4],
    transactions: [Counter; 6],
    logins: [Counter; 3],
    handshakes: [Counter; 2],
    message_bytes: Counter,
    transaction_seconds: Histogram,
    upstream_seconds: Histogram,
    filters_seconds: Histogram,
    /// As many as the configuration has (and had) listeners.
    listeners: RwLock<HashMap<Arc<str>, (Counter, Gauge)>>,
}

impl Metrics {
    /// The process's metrics: filters record into them, too. A second call gives the same.
    ///
    /// # Errors
    /// Somebody else (whoever embeds the gateway) has installed another recorder; [`Metrics::detached`] is for them.
    pub fn install() -> Result<Metrics, MetricsError> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let made = Metrics::detached()?;
        metrics::set_global_recorder(Arc::clone(&made.0.recorder)).map_err(|_| MetricsError::Taken)?;
        let upkeep = made.0.prometheus.clone();
        // Samples pile up until somebody asks for them. A thread, because there may be no runtime, or a later one.
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || {
                loop {
                    std::thread::park_timeout(UPKEEP_EVERY);
                    upkeep.run_upkeep();
                }
            })
            .map_err(|error| MetricsError::Setup(error.to_string()))?;
        Ok(INSTALLED.get_or_init(|| made).clone())
    }

    /// Metrics of their own, not the process's: for tests and for whoever embeds the gateway. Filters do not
    /// record into them, and [`upkeep`](Metrics::upkeep) is the caller's to call.
    ///
    /// # Errors
    /// Never, as long as the buckets above are some.
    pub fn detached() -> Result<Metrics, MetricsError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .map_err(|error| MetricsError::Setup(error.to_string()))?
            .build_recorder();
        describe(&recorder);
        Ok(Metrics(Arc::new(Handles::new(recorder))))
    }

    /// Everything recorded so far, in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.prometheus.render()
    }

    /// Folds samples into their histograms, so that they do not pile up. [`install`](Metrics::install) sees to it.
    pub fn upkeep(&self) {
        self.0.prometheus.run_upkeep();
    }

    /// A session began; it counts as open until the guard is dropped.
    #[must_use = "the session counts as open only while this lives"]
    pub fn session(&self, listener: &Arc<str>) -> OpenSession {
        let known = self.0.listeners.read().unwrap_or_else(PoisonError::into_inner).get(listener).cloned();
        let (total, open) = known.unwrap_or_else(|| {
            let label = || vec![Label::new("listener", listener.to_string())];
            let made =
                (self.0.counter("wasmilter_sessions_total", label()), self.0.gauge("wasmilter_sessions_open", label()));
            let mut all = self.0.listeners.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(Arc::clone(listener)).or_insert(made).clone()
        });
        total.increment(1);
        open.increment(1.0);
        OpenSession(open)
    }

    /// A reply went to a client.
    pub fn reply(&self, code: u16) {
        let class = usize::from(code / 100).checked_sub(2);
        if let Some(counter) = class.and_then(|class| self.0.replies.get(class)) {
            counter.increment(1);
        }
    }

    /// A transaction ended.
    pub fn transaction(&self, outcome: Outcome, total: Duration, in_upstream: Duration, in_filters: Duration) {
        let position = Outcome::NAMES.iter().position(|name| *name == outcome.name());
        if let Some(counter) = position.and_then(|position| self.0.transactions.get(position)) {
            counter.increment(1);
        }
        self.0.transaction_seconds.record(total);
        self.0.upstream_seconds.record(in_upstream);
        self.0.filters_seconds.record(in_filters);
    }

    /// So many octets of a message arrived.
    pub fn received(&self, octets: u64) {
        self.0.message_bytes.increment(octets);
    }

    /// The upstream failed us; `kind` is a word of ours.
    pub fn upstream_error(&self, kind: &'static str) {
        self.0.counter("wasmilter_upstream_errors_total", vec![Label::from_static_parts("kind", kind)]).increment(1);
    }

    /// A password was looked at, or could not be.
    pub fn login(&self, login: Login) {
        let [good, bad, unavailable] = &self.0.logins;
        match login {
            Login::Good => good.increment(1),
            Login::Bad => bad.increment(1),
            Login::Unavailable => unavailable.increment(1),
        }
    }

    /// A table elsewhere was asked; `result` is a word of ours.
    pub fn looked_up(&self, table: &str, result: &'static str) {
        let labels = vec![Label::new("table", table.to_owned()), Label::from_static_parts("result", result)];
        self.0.counter("wasmilter_table_lookups_total", labels).increment(1);
    }

    /// A rule of the operator's matched.
    pub fn ruled(&self, ruled: &Ruled) {
        let labels = vec![
            Label::new("rule", ruled.rule.to_string()),
            Label::from_static_parts("action", ruled.action),
            Label::from_static_parts("would", if ruled.would { "true" } else { "false" }),
        ];
        self.0.counter("wasmilter_access_rules_total", labels).increment(1);
    }

    /// A TLS handshake with a client is over.
    pub fn handshake(&self, done: Result<(), ()>) {
        let [good, failed] = &self.0.handshakes;
        if done.is_ok() { good.increment(1) } else { failed.increment(1) }
    }

    /// A snapshot was written, so large and in such a time, or was not.
    pub fn snapshot(&self, done: Result<(Duration, u64), ()>) {
        let result = if done.is_ok() { "written" } else { "failed" };
        let label = vec![Label::from_static_parts("result", result)];
        self.0.counter("wasmilter_snapshots_total", label).increment(1);
        let Ok((took, octets)) = done else { return };
        let seconds = Key::from_name("wasmilter_snapshot_seconds");
        self.0.recorder.register_histogram(&seconds, &METADATA).record(took);
        #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 octets nobody counts single ones")]
        self.0.gauge("wasmilter_snapshot_bytes", Vec::new()).set(octets as f64);
    }

    /// Sessions and messages hold so many octets.
    pub fn memory(&self, octets: usize) {
        #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 octets nobody counts single ones")]
        self.0.gauge("wasmilter_memory_bytes", Vec::new()).set(octets as f64);
    }

    /// Whether there is hardly any room left.
    pub fn stress(&self, is: bool) {
        self.0.gauge("wasmilter_stress", Vec::new()).set(f64::from(u8::from(is)));
    }

    /// A rate limit refused somebody; `limit` is its name in the configuration.
    pub fn limited(&self, limit: &str) {
        self.0.counter("wasmilter_limits_refused_total", vec![Label::new("limit", limit.to_owned())]).increment(1);
    }

    /// A `[[limit]]` was reached, whatever came of it.
    pub fn limit_hit(&self, limit: &str, action: &'static str) {
        let labels = vec![Label::new("limit", limit.to_owned()), Label::from_static_parts("action", action)];
        self.0.counter("wasmilter_limit_hits_total", labels).increment(1);
    }

    /// The same where the operator wants to be told.
    pub fn limit_alarm(&self, limit: &str) {
        self.0.counter("wasmilter_limit_alarms_total", vec![Label::new("limit", limit.to_owned())]).increment(1);
    }
}

impl Handles {
    fn new(recorder: PrometheusRecorder) -> Handles {
        let recorder = Arc::new(recorder);
        let counter = |name: &'static str, label: &'static str, value: &'static str| {
            let key = Key::from_parts(name, vec![Label::from_static_parts(label, value)]);
            recorder.register_counter(&key, &METADATA)
        };
        let histogram = |name: &'static str| recorder.register_histogram(&Key::from_static_name(name), &METADATA);
        let handles = Handles {
            prometheus: recorder.handle(),
            replies: ["2xx", "3xx", "4xx", "5xx"].map(|class| counter("wasmilter_replies_total", "class", class)),
            transactions: Outcome::NAMES.map(|name| counter("wasmilter_transactions_total", "outcome", name)),
            logins: ["good", "bad", "unavailable"].map(|result| counter("wasmilter_auth_total", "result", result)),
            handshakes: ["good", "failed"].map(|result| counter("wasmilter_tls_handshakes_total", "result", result)),
            message_bytes: recorder
                .register_counter(&Key::from_static_name("wasmilter_message_bytes_total"), &METADATA),
            transaction_seconds: histogram("wasmilter_transaction_seconds"),
            upstream_seconds: histogram("wasmilter_upstream_seconds"),
            filters_seconds: histogram("wasmilter_filters_seconds"),
            listeners: RwLock::default(),
            recorder: Arc::clone(&recorder),
        };
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        handles.gauge("wasmilter_start_time_seconds", Vec::new()).set(began.as_secs_f64());
        let version = vec![Label::from_static_parts("version", env!("CARGO_PKG_VERSION"))];
        handles.gauge("wasmilter_build_info", version).set(1.0);
        handles
    }

    fn counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }
}

fn describe(recorder: &PrometheusRecorder) {
    for (name, kind, text) in DESCRIBED {
        let unit = name.ends_with("_seconds").then_some(Unit::Seconds);
        match kind {
            Kind::Counter => recorder.describe_counter(name.into(), unit, text.into()),
            Kind::Gauge => recorder.describe_gauge(name.into(), unit, text.into()),
            Kind::Histogram => recorder.describe_histogram(name.into(), unit, text.into()),
        }
    }
}

/// One open session; dropping it ends it in the gauge.
pub struct OpenSession(Gauge);

impl std::fmt::Debug for OpenSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenSession")
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::AbortReason;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "no {line:?} in:\n{text}");
    }

    fn ruled() -> Ruled {
        let (rule, about) = ("no-dialups".into(), String::new());
        Ruled { rule, stage: crate::mail::Stage::Connect, action: "reject", would: true, reply: None, about }
    }

    #[test]
    fn what_happens_is_counted_under_the_documented_names() {
        let metrics = Metrics::detached().unwrap();
        let (mx, submission): (Arc<str>, Arc<str>) = ("mx".into(), "submission".into());
        let open = metrics.session(&mx);
        drop(metrics.session(&mx));
        let _other = metrics.session(&submission);
        for code in [250, 221, 354, 451, 550, 99, 700] {
            metrics.reply(code);
        }
        let ms = Duration::from_millis;
        metrics.transaction(Outcome::Accepted, ms(20), ms(7), ms(1));
        metrics.transaction(Outcome::Aborted(AbortReason::Timeout), ms(200), ms(0), ms(0));
        metrics.received(4096);
        metrics.upstream_error("connect");
        metrics.login(Login::Bad);
        metrics.handshake(Ok(()));
        metrics.handshake(Err(()));
        metrics.limited("messages-per-address");
        metrics.ruled(&ruled());
        let text = metrics.render();
        has(&text, r#"wasmilter_sessions_total{listener="mx"} 2"#);
        has(&text, r#"wasmilter_sessions_open{listener="mx"} 1"#);
        has(&text, r#"wasmilter_sessions_open{listener="submission"} 1"#);
        has(&text, r#"wasmilter_replies_total{class="2xx"} 2"#);
        has(&text, r#"wasmilter_replies_total{class="5xx"} 1"#);
        has(&text, r#"wasmilter_transactions_total{outcome="accepted"} 1"#);
        has(&text, r#"wasmilter_transactions_total{outcome="aborted"} 1"#);
        has(&text, r#"wasmilter_transactions_total{outcome="refused"} 0"#);
        has(&text, r#"wasmilter_transaction_seconds_bucket{le="0.025"} 1"#);
        has(&text, "wasmilter_transaction_seconds_count 2");
        has(&text, r#"wasmilter_upstream_seconds_bucket{le="0.01"} 2"#);
        has(&text, "wasmilter_message_bytes_total 4096");
        has(&text, r#"wasmilter_upstream_errors_total{kind="connect"} 1"#);
        has(&text, r#"wasmilter_auth_total{result="bad"} 1"#);
        has(&text, r#"wasmilter_tls_handshakes_total{result="failed"} 1"#);
        has(&text, r#"wasmilter_limits_refused_total{limit="messages-per-address"} 1"#);
        has(&text, r#"wasmilter_access_rules_total{rule="no-dialups",action="reject",would="true"} 1"#);
        has(&text, &format!(r#"wasmilter_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")));
        drop(open);
        has(&metrics.render(), r#"wasmilter_sessions_open{listener="mx"} 0"#);
    }

    #[test]
    fn every_metric_shown_is_described() {
        let metrics = Metrics::detached().unwrap();
        let _open = metrics.session(&"mx".into());
        metrics.upstream_error("connect");
        metrics.limited("connections-at-once");
        metrics.ruled(&ruled());
        metrics.upkeep();
        let text = metrics.render();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(DESCRIBED.iter().any(|(known, _, _)| *known == base), "{name}");
            assert!(text.contains(&format!("# HELP {base} ")), "{base}");
        }
    }

    #[test]
    fn installing_twice_is_installing_once() {
        let (one, two) = (Metrics::install().unwrap(), Metrics::install().unwrap());
        one.limited("connections-at-once");
        has(&two.render(), r#"wasmilter_limits_refused_total{limit="connections-at-once"} 1"#);
        metrics::counter!("wasmilter_faults_total", "filter" => "x", "kind" => "trap").increment(1);
        has(&two.render(), r#"wasmilter_faults_total{filter="x",kind="trap"} 1"#);
    }
}
