//! Floor 0: the words and octets of SMTP, sans-IO. Knows no session, no policy, no socket.

pub mod address;
pub mod params;
pub mod reply;

pub use address::{ForwardPath, Mailbox, ReversePath};
pub use params::{Param, Params};
pub use reply::{Enhanced, Reply};
