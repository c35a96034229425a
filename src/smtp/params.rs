//! ESMTP parameters as they were said.

/// One `KEYWORD[=value]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub keyword: String,
    pub value: Option<String>,
}

/// The parameters of one MAIL or RCPT in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(pub Vec<Param>);
