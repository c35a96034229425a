//! What a rule of the operator's came to, as it is told afterwards.

use std::sync::Arc;

use super::Stage;
use crate::smtp::Reply;

/// One rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// Its name.
    pub rule: Arc<str>,
    /// Where it was asked.
    pub stage: Stage,
    /// `permit`, `reject`, `defer` or `disconnect`.
    pub action: &'static str,
    /// It only says what would have happened.
    pub would: bool,
    /// What the client hears, or would have; None: it is let pass.
    pub reply: Option<Reply>,
    /// The name or address that the command was about; empty at connect.
    pub about: String,
}
