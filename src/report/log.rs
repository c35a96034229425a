//! The log: one line an event, `key=value` or a JSON object, to standard error.
//!
//! Everything that is logged anywhere passes the formatter here, which escapes and cuts every value and every
//! sentence: whatever a client, filter or upstream said, an event is one line, and its fields are the ones we wrote.
//! Which lines appear is the configuration's `log.level` alone; no environment variable changes it.

use std::fmt::{self, Debug, Write};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::escape::{Escaped, Style, VALUE_BYTES_MAX, quoted, text_message, text_value};
use super::transaction;
use crate::config::{Log, LogFormat};

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level \"{level}\" is not understood: {reason}")]
    Level { level: String, reason: String },
    #[error("the process has a log already")]
    Twice,
}

/// What a reload changes of the process's log.
struct Switch {
    level: Box<dyn Fn(EnvFilter) + Send + Sync>,
    json: Arc<AtomicBool>,
}

static SWITCH: OnceLock<Switch> = OnceLock::new();

/// Begins to log, for the whole process. Once: a reload calls [`change`].
///
/// # Errors
/// A level that is none, or a second call.
pub fn init(log: &Log) -> Result<(), LogError> {
    let line = Line::new(log, std::io::stderr().is_terminal());
    let json = Arc::clone(&line.json);
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).event_format(line);
    let builder = builder.with_env_filter(filter(log)?).with_filter_reloading();
    let handle = builder.reload_handle();
    tracing::subscriber::set_global_default(builder.finish()).map_err(|_| LogError::Twice)?;
    let level = Box::new(move |filter| {
        // It fails only when the log itself is gone.
        let _ = handle.reload(filter);
    });
    SWITCH.set(Switch { level, json }).map_err(|_| LogError::Twice)
}

/// From now on the process's log has this level and format. Nothing happens without [`init`].
///
/// # Errors
/// A level that is none; the old one stays.
pub fn change(log: &Log) -> Result<(), LogError> {
    let filter = filter(log)?;
    if let Some(switch) = SWITCH.get() {
        (switch.level)(filter);
        switch.json.store(log.format == LogFormat::Json, Ordering::Relaxed);
    }
    Ok(())
}

fn filter(log: &Log) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(&log.level)
        .map_err(|error| LogError::Level { level: log.level.clone(), reason: error.to_string() })
}

/// A log of its own as [`init`] installs it, with a writer of the caller's.
///
/// # Errors
/// A level that is none.
pub fn subscriber<W>(log: &Log, colour: bool, writer: W) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let line = Line::new(log, colour);
    Ok(tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(writer).event_format(line).finish())
}

/// Writes one event.
#[derive(Debug)]
struct Line {
    /// One JSON object; otherwise text.
    json: Arc<AtomicBool>,
    /// Of text.
    colour: bool,
}

impl Line {
    fn new(log: &Log, colour: bool) -> Line {
        Line { json: Arc::new(AtomicBool::new(log.format == LogFormat::Json)), colour }
    }

    fn format(&self) -> LogFormat {
        if self.json.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        let moment = Moment(OffsetDateTime::now_utc());
        let target = shown_target(meta.target());
        let format = self.format();
        match format {
            LogFormat::Text => {
                let (before, after) = if self.colour { colour(*meta.level()) } else { ("", "") };
                write!(out, "{moment} {before}{:>5}{after}", meta.level())?;
                if let Some(target) = target {
                    write!(out, " {target}:")?;
                }
            }
            LogFormat::Json => {
                write!(out, "{{\"time\":\"{moment}\",\"level\":\"{}\"", lower(*meta.level()))?;
                write!(out, ",\"target\":\"{}\"", meta.target())?;
            }
        }
        // The sentence first, whatever the order of the macro's arguments.
        for message in [true, false] {
            let own_json = meta.target() == transaction::TARGET;
            let mut fields = Fields { out: &mut out, format, message, own_json, result: Ok(()) };
            event.record(&mut fields);
            fields.result?;
        }
        out.write_str(if format == LogFormat::Json { "}\n" } else { "\n" })
    }
}

/// Where an event came from, where that says something: `guest`, or another crate's path. Ours is left out.
fn shown_target(target: &'static str) -> Option<&'static str> {
    match target {
        "wasmilter::guest" => Some("guest"),
        _ if target == "wasmilter" || target.starts_with("wasmilter::") => None,
        _ => Some(target),
    }
}

fn colour(level: Level) -> (&'static str, &'static str) {
    let on = match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    };
    (on, "\u{1b}[0m")
}

fn lower(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// RFC 3339 in UTC with microseconds.
struct Moment(OffsetDateTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(f, "{:04}-{:02}-{:02}T", at.year(), u8::from(at.month()), at.day())?;
        write!(f, "{:02}:{:02}:{:02}.{:06}Z", at.hour(), at.minute(), at.second(), at.microsecond())
    }
}

/// Writes either the sentence or all other fields.
struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    format: LogFormat,
    message: bool,
    /// Some fields bring their own JSON.
    own_json: bool,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>, LogFormat, bool) -> fmt::Result) {
        let is_message = field.name() == "message";
        if is_message != self.message || self.result.is_err() {
            return;
        }
        let key = match self.format {
            LogFormat::Text if is_message => self.out.write_char(' '),
            LogFormat::Text => write!(self.out, " {}=", field.name()),
            LogFormat::Json => write!(self.out, ",\"{}\":", field.name()),
        };
        self.result = key.and_then(|()| write(self.out, self.format, is_message));
    }
}

/// A number or a truth value, which looks the same in both formats.
fn plain(field: &Field, value: &dyn fmt::Display, fields: &mut Fields<'_, '_>) {
    fields.put(field, |out, _, _| write!(out, "{value}"));
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |out, format, is_message| match format {
            LogFormat::Json => quoted(out, value, Style::Json),
            LogFormat::Text if is_message => text_message(out, value),
            LogFormat::Text => text_value(out, value),
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.own_json && self.format == LogFormat::Json && transaction::OWN_JSON.contains(&field.name()) {
            return self.put(field, |out, _, _| write!(out, "{value:#?}"));
        }
        if self.format == LogFormat::Json {
            return self.put(field, |out, _, _| {
                out.write_char('"')?;
                write!(Escaped::new(out, Style::Json), "{value:?}")?;
                out.write_char('"')
            });
        }
        // Whether it needs quotes is seen only once it is there: bounded, so that it stays small.
        let mut text = Bounded(String::new());
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text.0);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            plain(field, &value, self);
        } else {
            self.record_str(field, if value.is_nan() { "NaN" } else { "infinite" });
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        plain(field, &value, self);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        plain(field, &value, self);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        plain(field, &value, self);
    }
}

/// A string that takes a little more than is shown, so that the cut is still marked, and ignores the rest.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.len() > VALUE_BYTES_MAX {
                break;
            }
            self.0.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a log of this format and level holds after `act`.
    pub(crate) fn logged(format: LogFormat, level: &str, act: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(octets);
                Ok(octets.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = sink.clone();
        let log = Log { format, level: level.to_owned() };
        tracing::subscriber::with_default(subscriber(&log, false, move || writer.clone()).unwrap(), act);
        let octets = sink.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    /// Without its time, which is checked.
    pub(crate) fn timeless(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        rest
    }

    const HOSTILE: &str = "x\r\n2026-01-01T00:00:00Z  INFO auth failed peer=192.0.2.1 \u{1b}]0;pwned\u{7}";

    fn hostile_event() {
        tracing::warn!(helo = HOSTILE, code = 550, tls = true, ms = 1.5, id = %HOSTILE, "{HOSTILE}");
    }

    #[test]
    fn text_is_one_line_and_its_fields_are_ours() {
        let text = logged(LogFormat::Text, "info", hostile_event);
        assert_eq!(text.lines().count(), 1);
        let shown = r#""x\r\n2026-01-01T00:00:00Z  INFO auth failed peer=192.0.2.1 \u{1b}]0;pwned\u{7}""#;
        let line = timeless(text.trim_end());
        assert_eq!(line, format!(" WARN {shown} helo={shown} code=550 tls=true ms=1.5 id={shown}"));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, "info", hostile_event);
        assert_eq!(text.lines().count(), 1);
        assert!(text.trim_end().bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "warn");
        for key in ["message", "helo", "id"] {
            assert_eq!(object[key], HOSTILE);
        }
        assert_eq!((&object["code"], &object["tls"], &object["ms"]), (&550.into(), &true.into(), &1.5.into()));
    }

    #[test]
    fn numbers_json_does_not_know_are_text() {
        let text = logged(LogFormat::Json, "info", || tracing::info!(a = f64::NAN, b = f64::INFINITY, "x"));
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&object["a"], &object["b"]), (&"NaN".into(), &"infinite".into()));
    }

    #[test]
    fn values_are_cut_in_both_formats() {
        let long = "y".repeat(1_000_000);
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, "info", || tracing::info!(a = long.as_str(), b = ?long, "{long}"));
            assert!(text.len() < 4 * VALUE_BYTES_MAX, "{}", text.len());
            assert_eq!(text.matches("[…]").count(), 3);
        }
    }

    #[test]
    fn guests_and_other_crates_are_told_apart() {
        let text = logged(LogFormat::Text, "info", || {
            tracing::info!(target: "wasmilter::guest", filter = "greylist", "{}", "auth failed peer=192.0.2.1");
            tracing::info!(target: "hickory_resolver::x", "lookup failed");
            tracing::info!("listening");
        });
        let lines: Vec<_> = text.lines().map(timeless).collect();
        assert_eq!(
            lines,
            [
                r#" INFO guest: "auth failed peer=192.0.2.1" filter=greylist"#,
                " INFO hickory_resolver::x: lookup failed",
                " INFO listening",
            ]
        );
    }

    #[test]
    fn the_level_is_the_configurations() {
        let act = || {
            tracing::debug!("fine");
            tracing::info!("coarse");
        };
        assert_eq!(logged(LogFormat::Text, "info", act).lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, "warn,wasmilter=debug", act).lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "off", act), "");
        let log = Log { format: LogFormat::Text, level: "wasmilter=loud".to_owned() };
        assert!(subscriber(&log, false, std::io::sink).is_err());
    }
}
