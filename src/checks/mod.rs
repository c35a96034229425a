//! Floor 6: who a message is really from: SPF, DKIM, DMARC, ARC, asked of the DNS by our own resolver.
//!
//! The only module that names mail-auth. Finds out and does not judge: what a result leads to is for a filter to say.
//! Everything is bounded: time, size, signatures, checks at once.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::net::dns::Resolver;

/// One check, all its questions together.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// DKIM signatures of a message that are verified: each costs a question and a public-key operation.
pub const SIGNATURES_MAX: usize = 10;
/// Octets of a message that is verified: it is hashed as a whole, once for each way its signatures want.
pub const MESSAGE_BYTES_MAX: u64 = 32 * 1_024 * 1_024;
/// Messages that are verified at the same moment: each is in memory, and has a thread.
const MESSAGES_AT_ONCE: usize = 16;

static VERIFYING: Semaphore = Semaphore::const_new(MESSAGES_AT_ONCE);

/// One result, in the words of RFC 8601.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: String,
    pub outcome: String,
    pub properties: Vec<(String, String)>,
}

impl Finding {
    fn new(check: &str, outcome: &str, properties: &[(&str, &str)]) -> Finding {
        let said = properties.iter().filter(|(_, value)| !value.is_empty());
        let properties = said.map(|(key, value)| ((*key).to_owned(), shown(value))).collect();
        Finding { check: check.to_owned(), outcome: outcome.to_owned(), properties }
    }
}

/// A value that strangers chose, fit for a line.
fn shown(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(256).collect()
}

/// Who sent something from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub address: IpAddr,
    pub helo: String,
    /// The reverse-path; "" is the null one.
    pub sender: String,
}

impl Origin {
    fn domain(&self) -> &str {
        self.sender.rsplit_once('@').map_or(&self.helo, |(_, domain)| domain)
    }
}

/// What SPF says, kept for DMARC.
#[derive(Debug, Clone)]
pub struct Spf {
    output: Option<SpfOutput>,
    pub finding: Finding,
}

/// Checks with our resolver. Cheap to clone.
#[derive(Clone)]
pub struct Checker(MessageAuthenticator);

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checker")
    }
}

impl Checker {
    #[must_use]
    pub fn new(resolver: &Resolver) -> Checker {
        Checker(MessageAuthenticator(resolver.dns()))
    }

    /// SPF of the reverse-path, or of the HELO name where that is null (RFC 7208 2.4).
    pub async fn spf(&self, origin: &Origin) -> Spf {
        let params = if origin.sender.is_empty() {
            SpfParameters::verify_ehlo(origin.address, &origin.helo, "")
        } else {
            SpfParameters::verify_mail_from(origin.address, &origin.helo, "", &origin.sender)
        };
        // Boxed: a session carries its largest await for its whole life.
        let checking = Box::pin(self.0.verify_spf(params));
        let output = tokio::time::timeout(CHECK_MAX, checking).await.ok();
        let outcome = match output.as_ref().map(SpfOutput::result) {
            Some(SpfResult::Pass) => "pass",
            Some(SpfResult::Fail) => "fail",
            Some(SpfResult::SoftFail) => "softfail",
            Some(SpfResult::Neutral) => "neutral",
            Some(SpfResult::TempError) | None => "temperror",
            Some(SpfResult::PermError) => "permerror",
            Some(SpfResult::None) => "none",
        };
        let scope = if origin.sender.is_empty() { "helo" } else { "mailfrom" };
        Spf { output, finding: Finding::new("spf", outcome, &[("domain", origin.domain()), ("scope", scope)]) }
    }

    /// DKIM, ARC and DMARC of a whole message, on a thread of its own: it computes.
    pub async fn message(&self, raw: Vec<u8>, origin: Origin, spf: Spf) -> Vec<Finding> {
        if raw.len() as u64 > MESSAGE_BYTES_MAX {
            return too_large();
        }
        let Ok(turn) = VERIFYING.acquire().await else { return all("temperror", "") };
        let (checker, runtime) = (self.clone(), Handle::current());
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            runtime.block_on(async {
                tokio::time::timeout(CHECK_MAX, checker.verify(&raw, &origin, &spf))
                    .await
                    .unwrap_or_else(|_| all("temperror", ""))
            })
        });
        // A panic of the parser is this message's alone.
        verified.await.unwrap_or_else(|_| all("temperror", ""))
    }

    async fn verify(&self, raw: &[u8], origin: &Origin, spf: &Spf) -> Vec<Finding> {
        let Some(mut message) = AuthenticatedMessage::parse(raw) else {
            return all("permerror", "the message cannot be parsed");
        };
        message.dkim_headers.truncate(SIGNATURES_MAX);
        message.errors.truncate(SIGNATURES_MAX);
        let signatures = self.0.verify_dkim(&message).await;
        let mut findings: Vec<Finding> = signatures.iter().map(dkim).collect();
        if findings.is_empty() {
            findings.push(Finding::new("dkim", "none", &[]));
        }
        let arc = self.0.verify_arc(&message).await;
        findings.push(Finding::new("arc", result(arc.result()), &[("sets", &arc.sets().len().to_string())]));
        findings.push(match &spf.output {
            Some(spf) => self.dmarc(&message, &signatures, spf, origin.domain()).await,
            None => Finding::new("dmarc", "temperror", &[]),
        });
        findings
    }

    async fn dmarc(
        &self,
        message: &AuthenticatedMessage<'_>,
        dkim_output: &[DkimOutput<'_>],
        spf_output: &SpfOutput,
        domain: &str,
    ) -> Finding {
        let params =
            DmarcParameters { message, dkim_output, dkim2_output: None, rfc5321_mail_from_domain: domain, spf_output };
        let output = self.0.verify_dmarc(params).await;
        let outcome = match output.result() {
            DmarcResult::Pass => "pass",
            DmarcResult::Fail(_) => "fail",
            DmarcResult::TempError(_) => "temperror",
            DmarcResult::PermError(_) => "permerror",
            DmarcResult::None => "none",
        };
        let policy = match output.policy() {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
            Policy::Unspecified => "",
        };
        Finding::new("dmarc", outcome, &[("domain", output.domain()), ("policy", policy)])
    }
}

/// What is said of a message over [`MESSAGE_BYTES_MAX`].
#[must_use]
pub fn too_large() -> Vec<Finding> {
    all("permerror", "the message is larger than is verified")
}

fn all(outcome: &str, reason: &str) -> Vec<Finding> {
    ["dkim", "arc", "dmarc"].map(|check| Finding::new(check, outcome, &[("reason", reason)])).to_vec()
}

fn result(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::Fail(_) => "fail",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

fn dkim(output: &DkimOutput<'_>) -> Finding {
    let reason = match output.result() {
        DkimResult::Neutral(why) | DkimResult::Fail(why) | DkimResult::PermError(why) | DkimResult::TempError(why) => {
            why.to_string()
        }
        DkimResult::Pass | DkimResult::None => String::new(),
    };
    let Some(signature) = output.signature() else {
        return Finding::new("dkim", result(output.result()), &[("reason", &reason)]);
    };
    // `l=` signs a beginning only: whoever wants to know should.
    let length = if signature.l > 0 { signature.l.to_string() } else { String::new() };
    let properties = [
        ("domain", signature.d.as_str()),
        ("selector", &signature.s),
        ("identity", &signature.i),
        ("length", &length),
        ("reason", &reason),
    ];
    Finding::new("dkim", result(output.result()), &properties)
}
