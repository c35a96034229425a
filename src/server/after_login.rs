//! Who sends from an address from which somebody has logged in elsewhere lately.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::gateway::{Gateway, Generation};
use crate::mail::AfterLogin;
use crate::shared::Keys;

impl Gateway {
    /// Somebody has logged in from there; it counts for so long where a listener has `after-login`. What is answered to
    /// whoever told it.
    ///
    /// # Errors
    /// In words: it counts nowhere, or it is no client's address.
    pub fn saw(&self, address: IpAddr, ttl: Duration) -> Result<serde_json::Value, String> {
        let generation = self.generation();
        let listeners = generation.config().listeners.iter().filter(|listener| listener.after_login);
        let names: Vec<&str> = listeners.map(|listener| listener.name.as_str()).collect();
        if names.is_empty() {
            return Err("no listener has after-login = true, so nobody would be let send".to_owned());
        }
        let ttl = ttl.min(crate::state::addresses::ADDRESS_TTL_MAX);
        self.addresses.keep(address, ttl, Instant::now()).map_err(|error| error.to_string())?;
        if let Some(keys) = generation.shared.as_ref().and_then(Keys::of) {
            drop(tokio::spawn(async move {
                if let Err(why) = keys.keep_address(address, ttl).await {
                    tracing::warn!(%address, error = %why, "this gateway alone knows that somebody was seen");
                }
            }));
        }
        tracing::info!(%address, seconds = ttl.as_secs(), "seen: somebody has logged in from there elsewhere");
        Ok(serde_json::json!({ "address": address, "seconds": ttl.as_secs(), "listeners": names }))
    }

    /// Whether that still counts, as far as it was told to this gateway.
    pub(super) fn has_seen(&self, address: IpAddr) -> bool {
        self.addresses.knows(address, Instant::now())
    }
}

impl Generation {
    /// Whether that still counts, as far as it was told to another gateway.
    pub(super) async fn others_have_seen(&self, address: IpAddr) -> AfterLogin {
        let Some(keys) = self.shared.as_ref().and_then(Keys::of) else { return AfterLogin::No };
        match keys.knows_address(address).await {
            Ok(true) => AfterLogin::Yes,
            Ok(false) => AfterLogin::No,
            Err(_) => AfterLogin::Unknown,
        }
    }
}
