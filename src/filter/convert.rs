//! Between the contract's words and the gateway's.

use std::time::Duration;

use super::answer::excerpt;
use super::bindings::exports::wasmilter::filter::{on_abort, on_quit};
use super::bindings::wasmilter::filter::types as wit;
use crate::mail::{AbortReason, Ending, Recipient, Sender, Summary};
use crate::smtp::{ForwardPath, Param, Params, Reply, ReversePath};

/// Parameters of one path a filter hands out.
pub(super) const PARAMS_MAX: usize = 16;

pub(super) fn sender_out(sender: &Sender) -> wit::PathResult {
    path_out(sender.path.as_str(), &sender.params)
}

pub(super) fn recipient_out(recipient: &Recipient) -> wit::PathResult {
    path_out(recipient.path.as_str(), &recipient.params)
}

fn path_out(address: &str, params: &Params) -> wit::PathResult {
    let params = params.iter().map(|p| (p.keyword.clone(), p.value.clone())).collect();
    wit::PathResult { address: address.to_owned(), params }
}

/// Parameters as an export takes them.
pub(super) fn params_out(params: &Params) -> Vec<(&str, Option<&str>)> {
    params.iter().map(|p| (p.keyword.as_str(), p.value.as_deref())).collect()
}

pub(super) fn ending_out(ending: Ending) -> on_abort::Ending {
    on_abort::Ending {
        reason: match ending.reason {
            AbortReason::Reset => wit::AbortReason::Reset,
            AbortReason::ClientGone => wit::AbortReason::ClientGone,
            AbortReason::Timeout => wit::AbortReason::Timeout,
            AbortReason::Refused => wit::AbortReason::Refused,
            AbortReason::UpstreamFailed => wit::AbortReason::UpstreamFailed,
            AbortReason::Shutdown => wit::AbortReason::Shutdown,
        },
        octets: count_out(ending.octets),
        duration: millis_out(ending.duration),
    }
}

pub(super) fn summary_out(summary: Summary) -> on_quit::Summary {
    on_quit::Summary {
        transactions: summary.transactions,
        delivered: summary.delivered,
        octets: count_out(summary.octets),
        duration: millis_out(summary.duration),
    }
}

/// A reply in parts that can be borrowed.
pub(super) struct ReplyOut<'a> {
    code: u16,
    enhanced: Option<String>,
    lines: Vec<&'a str>,
}

impl<'a> ReplyOut<'a> {
    pub(super) fn of(reply: &'a Reply) -> ReplyOut<'a> {
        let enhanced = reply.enhanced.map(|enhanced| enhanced.to_string());
        ReplyOut { code: reply.code, enhanced, lines: reply.lines().collect() }
    }

    pub(super) fn shown(&self) -> wit::ReplyParam<'_> {
        wit::ReplyParam { code: self.code, enhanced: self.enhanced.as_deref(), text: &self.lines }
    }
}

/// The contract has no 64-bit integers.
#[allow(clippy::cast_precision_loss, reason = "exact up to eight petabytes")]
pub(super) fn count_out(count: u64) -> f64 {
    count as f64
}

pub(super) fn millis_out(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The value of a field as the contract shows it: without the first space.
pub(super) fn value_out(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

/// A value as the contract shows it becomes one for the wire. One that begins with a fold has its white space there.
pub(super) fn value_in(value: &[u8]) -> Vec<u8> {
    if value.starts_with(b"\r\n") { value.to_vec() } else { [b" ", value].concat() }
}

/// A sender as a filter wrote it, through the parsers a client's goes through.
///
/// # Errors
/// A sentence for the filter's author.
pub(super) fn sender_in(path: wit::PathResult) -> Result<Sender, String> {
    plain(&path.address)?;
    let parsed = ReversePath::parse(&path.address).map_err(|e| e.to_string())?;
    Ok(Sender { path: parsed, params: params_in(path.params)? })
}

/// A recipient as a filter wrote it.
///
/// # Errors
/// A sentence for the filter's author.
pub(super) fn recipient_in(path: wit::PathResult) -> Result<Recipient, String> {
    plain(&path.address)?;
    let parsed = ForwardPath::parse(&path.address).map_err(|e| e.to_string())?;
    Ok(Recipient { path: parsed, params: params_in(path.params)? })
}

/// No brackets, no source route, nothing that could end a line.
fn plain(address: &str) -> Result<(), String> {
    if let Some(c) = address.chars().find(|c| c.is_control()) {
        return Err(format!("a control character, U+{:04X}", u32::from(c)));
    }
    if address.starts_with(['<', '@']) || address.ends_with('>') {
        return Err(format!("{}: an address has no angle brackets and no route here", excerpt(address)));
    }
    Ok(())
}

fn params_in(params: Vec<(String, Option<String>)>) -> Result<Params, String> {
    if params.len() > PARAMS_MAX {
        return Err(format!("more than {PARAMS_MAX} parameters"));
    }
    let mut out = Params::default();
    for (keyword, value) in params {
        if out.get(&keyword).is_some() {
            return Err(format!("the parameter {} twice", excerpt(&keyword)));
        }
        let param = Param { keyword, value };
        let word = param.to_string();
        // Read back: what is between keyword and value must be where the filter said it is.
        if Param::parse(&word).as_ref() != Some(&param) {
            return Err(format!("{} is not a parameter", excerpt(&word)));
        }
        out.0.push(param);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn path(address: &str, params: &[(&str, Option<&str>)]) -> wit::PathResult {
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        wit::PathResult { address: address.to_owned(), params }
    }

    #[test]
    fn honest_paths_pass() {
        let sender = sender_in(path("a@b.example", &[("SIZE", Some("10")), ("SMTPUTF8", None)])).unwrap();
        assert_eq!(sender.params.to_string(), " SIZE=10 SMTPUTF8");
        assert_eq!(sender_in(path("", &[])).unwrap().path, ReversePath::Null);
        assert!(recipient_in(path("Postmaster", &[])).is_ok());
    }

    #[test]
    fn hostile_ones_do_not() {
        for bad in ["a@b\r\nRCPT TO:<x@y>", "<a@b.example>", "@r.example:a@b.example", "a b@c", "a@b> SIZE=1", "a"] {
            assert!(sender_in(path(bad, &[])).is_err(), "{bad:?}");
            assert!(recipient_in(path(bad, &[])).is_err(), "{bad:?}");
        }
        assert!(recipient_in(path("", &[])).is_err());
        for bad in [("A B", None), ("X", Some("a\r\nb")), ("", None), ("X=1", None), ("X", Some(""))] {
            assert!(sender_in(path("a@b.example", &[bad])).is_err(), "{bad:?}");
        }
        assert!(sender_in(path("a@b.example", &[("RET", Some("FULL")), ("ret", Some("HDRS"))])).is_err());
    }
}
