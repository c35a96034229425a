//! `log`, `config`, `clock`, `random`, `metrics`: small windows to the world.

use std::time::UNIX_EPOCH;

use wasmtime::Result;

use crate::filter::bindings::wasmilter::filter::{clock, config, log, metrics, random};
use crate::filter::guest::Guest;
use crate::filter::log::{self as lines, Level};
use crate::filter::metrics::Sample;

/// Octets of one call to `random`.
const RANDOM_BYTES_MAX: usize = 4_096;

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Trace => Level::Trace,
        log::Level::Debug => Level::Debug,
        log::Level::Info => Level::Info,
        log::Level::Warn => Level::Warn,
        log::Level::Error => Level::Error,
    }
}

impl log::Host for Guest {
    fn log(&mut self, of: log::Level, message: String) -> Result<()> {
        let profile = self.profile.clone();
        let session = &self.work()?.session.id;
        lines::write(&profile.memory.log, &profile.name, session, level(of), &message);
        Ok(())
    }

    fn enabled(&mut self, of: log::Level) -> Result<bool> {
        Ok(lines::enabled(level(of)))
    }
}

impl config::Host for Guest {
    fn json(&mut self) -> Result<String> {
        Ok(self.profile.config.settings_json.as_str().to_owned())
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> Result<f64> {
        let since = self.profile.outside.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((since.as_secs_f64() * 1_000.0).floor())
    }

    fn ticks(&mut self) -> Result<f64> {
        Ok(self.profile.outside.clock.ticks().as_secs_f64() * 1_000.0)
    }

    fn time_left(&mut self) -> Result<f64> {
        Ok(self.meter.time_left().as_secs_f64() * 1_000.0)
    }
}

impl random::Host for Guest {
    fn bytes(&mut self, len: u32) -> Result<Vec<u8>> {
        let mut octets = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(RANDOM_BYTES_MAX)];
        aws_lc_rs::rand::fill(&mut octets).map_err(|_| wasmtime::format_err!("no randomness to be had"))?;
        Ok(octets)
    }
}

impl metrics::Host for Guest {
    fn count(&mut self, name: String, labels: Vec<(String, String)>, by: u32) -> Result<()> {
        self.profile.memory.metrics.record(&name, &labels, Sample::Count(by));
        Ok(())
    }

    fn gauge(&mut self, name: String, labels: Vec<(String, String)>, value: f64) -> Result<()> {
        self.profile.memory.metrics.record(&name, &labels, Sample::Gauge(value));
        Ok(())
    }

    fn observe(&mut self, name: String, labels: Vec<(String, String)>, value: f64) -> Result<()> {
        self.profile.memory.metrics.record(&name, &labels, Sample::Observe(value));
        Ok(())
    }
}
