//! EXTERNAL (RFC 4422 appendix A): the client is who its certificate says it is.

use std::sync::Arc;

use super::Step;
use crate::smtp::replies;

/// The message is the authorization identity: empty, or the certificate's own.
pub(super) fn external(certified: Option<&Arc<str>>, message: &[u8]) -> Step {
    match certified {
        Some(identity) if message.is_empty() || message == identity.as_bytes() => {
            Step::Proven { identity: identity.to_string(), last: None }
        }
        _ => Step::Failed(replies::AUTH_FAILED),
    }
}
