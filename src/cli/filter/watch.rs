//! What filters write to the log, and what the host says of their faults, kept for whoever shows it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Lines of one session that are kept.
const LINES_MAX: usize = 1_000;
/// The target of what guests write.
const GUEST: &str = "wasmilter::guest";

/// One line: of a filter, or about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub level: Level,
    /// It is the filter's own.
    pub own: bool,
    /// Any text: to be escaped when it is shown.
    pub text: String,
}

/// All lines since they were last asked for, by session.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<HashMap<String, Vec<Line>>>>);

impl Watch {
    /// Begins to listen, for the whole process.
    pub(super) fn begin() -> Watch {
        let watch = Watch::default();
        // A process has one log; a second one would be heard by nobody, and a tool begins once.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(watch.clone()));
        watch
    }

    /// Of one session, and no longer kept.
    pub(super) fn take(&self, session: &str) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(session).unwrap_or_default()
    }

    /// Of all sessions.
    pub(super) fn take_all(&self) -> Vec<Line> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_values().flatten().collect()
    }
}

impl<S: Subscriber> Layer<S> for Watch {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == GUEST || *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let own = event.metadata().target() == GUEST;
        let text = match (fields.kind, fields.detail) {
            (Some(kind), Some(detail)) => format!("{} ({kind}): {detail}", fields.message),
            (_, Some(detail)) => format!("{}: {detail}", fields.message),
            _ => fields.message,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = all.entry(fields.session).or_default();
        if lines.len() < LINES_MAX {
            lines.push(Line { level: *event.metadata().level(), own, text });
        }
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    session: String,
    kind: Option<String>,
    detail: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "session" => value.clone_into(&mut self.session),
            "kind" => self.kind = Some(value.to_owned()),
            "detail" | "error" | "why" => self.detail = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
