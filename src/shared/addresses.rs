//! Addresses from which somebody has logged in elsewhere lately, in common for all gateways: a key for each, which ends
//! when the login no longer counts. An IMAP server may write them itself.

use std::net::IpAddr;
use std::time::Duration;

use redis::{Cmd, Value};

use super::kv::Unavailable;
use super::script::Call;
use super::{Keys, Shared};
use crate::state::addresses::{ADDRESS_TTL_MAX, subscriber};

impl Keys {
    /// Somebody has logged in from there, and it counts for so long.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn keep_address(&self, address: IpAddr, ttl: Duration) -> Result<(), Unavailable> {
        let key = address_key(self.shared(), address);
        let millis = u64::try_from(ttl.min(ADDRESS_TTL_MAX).as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = Cmd::new();
        command.arg("SET").arg(&key).arg("1").arg("PX").arg(millis);
        self.ask(&key, &Call::Plain(command)).await.map(drop)
    }

    /// Whether a login from there still counts, whatever was written beside it.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn knows_address(&self, address: IpAddr) -> Result<bool, Unavailable> {
        let key = address_key(self.shared(), address);
        let mut command = Cmd::new();
        command.arg("EXISTS").arg(&key);
        Ok(self.ask(&key, &Call::Plain(command)).await? == Value::Int(1))
    }
}

fn address_key(shared: &Shared, address: IpAddr) -> String {
    format!("{}:seen:{}", shared.settings.prefix, subscriber(address))
}
