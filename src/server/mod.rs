//! Floor 9: where all meet: listen, connection, transfer, reload, shutdown.

mod accept;
mod after_login;
mod alarm;
mod buffers;
mod client;
mod connection;
mod delegation;
mod filters;
mod gateway;
mod ids;
mod keeper;
mod leg;
mod limits;
mod listeners;
mod overload;
mod proxied;
mod record;
mod shutdown;
mod transfer;
mod wait;

pub use filters::ExchangeError;
pub use gateway::{BuildError, Environment, Gateway, Generation};
pub use keeper::{Found, Keeper};
pub use listeners::Listeners;
pub use shutdown::Shutdown;
