//! PLAIN (RFC 4616) and LOGIN: what comes out is a password for somebody else to verify.

use super::{Challenged, Exchange, Secret, Step, ask_for, identity, password};
use crate::smtp::replies;

/// `[authzid] NUL authcid NUL passwd`. Acting for somebody else is not provided for.
pub(super) fn plain(message: &[u8]) -> Option<Step> {
    let mut parts = message.split(|&b| b == 0);
    let (acting_for, name, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let identity = identity(name)?;
    let password = password(secret).filter(|_| parts.next().is_none())?;
    if !acting_for.is_empty() && acting_for != name {
        return Some(Step::Failed(replies::AUTH_FAILED));
    }
    Some(Step::Password { identity, password })
}

/// The answer to "Username:".
pub(super) fn login_name(message: &[u8]) -> Option<Step> {
    identity(message).map(|identity| ask_for(Exchange(Challenged::LoginPassword { identity })))
}

/// The answer to "Password:".
pub(super) fn login_password(identity: String, message: &[u8]) -> Option<Step> {
    let password: Secret = password(message)?;
    Some(Step::Password { identity, password })
}
