//! The filters of the running gateway: shown, and one of them exchanged while mail goes on.

use std::sync::Arc;

use serde_json::{Value, json};

use super::gateway::Gateway;
use crate::chain::ChainError;
use crate::filter::Program;

/// Why one filter was not exchanged. The old one goes on.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("there is no filter \"{0}\" in the running configuration")]
    Unknown(String),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl Gateway {
    /// All filters, in the order in which they are asked.
    #[must_use]
    pub fn filters(&self) -> Value {
        self.generation().chain.load().programs().map(|program| shown(program)).collect()
    }

    /// Reads the file of one filter again, with its signature, and lets sessions that begin from now on have it. Those
    /// under way keep what they have; counters, keys and settings are the same. Blocks, for seconds where a large
    /// component is compiled. Not to be called twice at the same time, nor while a generation is built.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub fn exchange_filter(&self, name: &str) -> Result<Value, ExchangeError> {
        let generation = self.generation();
        let chain = generation.chain.load_full();
        let find = |chain: &crate::chain::Chain| {
            let found = chain.programs().find(|program| *program.profile().name == *name);
            found.cloned().ok_or_else(|| ExchangeError::Unknown(name.to_owned()))
        };
        let before = find(&chain)?;
        let fresh = chain.with_fresh(&generation.config, name)?;
        let now = find(&fresh)?;
        generation.chain.store(Arc::new(fresh));
        Ok(json!({
            "filter": name,
            "changed": before.digest() != now.digest(),
            "before": { "version": before.version().map(|v| &**v), "digest": before.digest() },
            "now": { "version": now.version().map(|v| &**v), "digest": now.digest() },
        }))
    }
}

fn shown(program: &Program) -> Value {
    let profile = program.profile();
    let (calls, faults) = profile.memory.counts();
    json!({
        "name": &*profile.name,
        "version": program.version().map(|v| &**v),
        "summary": program.about().map(|about| &about.summary),
        "path": profile.config.path,
        "digest": format!("sha256:{}", program.digest()),
        "signed_by": program.signed().map(|signed| &signed.key_id),
        "phase": program.phase().name(),
        "stages": program.stages().iter().map(crate::mail::Stage::name).collect::<Vec<_>>(),
        "grants": program.granted(),
        "instances": program.instances_in_use(),
        "instances_max": profile.config.bounds.instances,
        "calls": calls,
        "faults": faults,
    })
}
